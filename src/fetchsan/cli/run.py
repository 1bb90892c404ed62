# SPDX-License-Identifier: GPL-2.0-or-later
"""`fetchsan run`: options to settings, a run, and its reports to where they were asked for."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from fetchsan.cli.options import as_click_options, gather, help_text, wants_help
from fetchsan.errors import InternalError, UsageError

if TYPE_CHECKING:
    from fetchsan.findings.outcome import RunResult

__all__ = ["ReportFiles", "run", "write_reports"]


@dataclass(slots=True)
class ReportFiles:
    """Where reports go. Files are opened before the guest starts: a bad name costs a second, not a run."""

    json: TextIO | None = None
    log: TextIO = field(default_factory=lambda: sys.stderr)

    @classmethod
    @contextlib.contextmanager
    def opened(cls, values: Mapping[str, Any]) -> Iterator[ReportFiles]:
        """The files that `json` and `log_file` name, closed at the end. Raises UsageError for one that cannot be written."""
        with contextlib.ExitStack() as stack:
            files = cls()
            if "json" in values:
                files.json = stack.enter_context(_writable(values["json"], "--json"))
            if "log_file" in values:
                files.log = stack.enter_context(_writable(values["log_file"], "--log-file"))
            yield files


@click.command(
    short_help="Run a program and report stale instruction fetches.",
    options_metavar="[OPTIONS] [--]",
    context_settings={"allow_interspersed_args": False},
    epilog="Every option is also a key of FETCHSAN_OPTIONS=key=value:key=value (help=1 lists them).",
)
@as_click_options
@click.argument("program", metavar="PROGRAM [ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run(context: click.Context, /, program: tuple[str, ...], **_: Any) -> int:
    """Run PROGRAM, an AArch64 (or x86-64) Linux executable, and report every instruction fetch that may be stale.

    What follows PROGRAM is the program's own. Exit status: 66 with findings, else the program's own (128+n for a signal);
    125 FetchSan failed, 126 not executable here, 127 not found, 2 bad usage.
    """
    if wants_help(os.environ):
        click.echo(help_text())
        return 0
    values = gather(context, os.environ)
    if not program:
        raise click.UsageError("no PROGRAM named", context)
    from fetchsan.settings import RunSettings

    settings = RunSettings(**{name: value for name, value in values.items() if name in RunSettings.__dataclass_fields__})
    with ReportFiles.opened(values) as files:
        from fetchsan.api import Machine
        from fetchsan.machine.engine import on_abort

        on_abort(_end_at_once)
        result: RunResult = Machine(**settings.keywords()).run(list(program))
        write_reports(result, files)
    return result.exit_status


def write_reports(result: RunResult, files: ReportFiles) -> None:
    """The text report to the log, the JSON report to its file. A reader that went away is no failure of the run."""
    from fetchsan.findings.text_report import Style, render_report

    with contextlib.suppress(BrokenPipeError):
        files.log.write(render_report(result, Style.of(files.log)))
        files.log.flush()
    if files.json is not None:
        from fetchsan.findings.json_report import render_json

        with contextlib.suppress(BrokenPipeError):
            files.json.write(render_json(result))
            files.json.flush()


def _end_at_once() -> None:
    """Nothing of the run can be reported: its stack is still there, and so are the locks it holds."""
    os.write(2, b"fetchsan: internal error: the engine gave up on an instruction of the program\n")
    os._exit(InternalError.exit_status)


def _writable(name: str, option: str) -> TextIO:
    from fetchsan.kernel.host import open_above_streams

    path = Path(name.replace("%%", "\0").replace("%p", str(os.getpid())).replace("\0", "%"))
    try:
        return open(path, "w", encoding="utf-8", opener=lambda file, flags: open_above_streams(file, flags, 0o666))
    except OSError as error:
        raise UsageError(f"{option}: {path}: {(error.strerror or str(error)).lower()}") from None
