# SPDX-License-Identifier: GPL-2.0-or-later
"""The `fetchsan` command: its verbs, and how every error becomes one line and an exit status.

Nothing heavy is imported here or by the modules of the verbs at their top: `--help` is to be instant.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Sequence

import click

from fetchsan.cli.cpus import cpus
from fetchsan.cli.ldd import ldd
from fetchsan.cli.repro import repro
from fetchsan.cli.run import run
from fetchsan.cli.sysroot import sysroot
from fetchsan.errors import FetchSanError, InternalError, UsageError

__all__ = ["fetchsan", "main"]

INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 1  # what click exits with when it meets one first


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("fetchsan")
        except PackageNotFoundError:
            number = "(run from its sources, not installed)"
        click.echo(f"fetchsan {number}")
        context.exit(0)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def fetchsan(context: click.Context) -> int:
    """Find stale instruction fetches: run AArch64 programs on instruction caches that are as incoherent as allowed."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return UsageError.exit_status
    return 0


for _verb in (run, repro, ldd, sysroot, cpus):
    fetchsan.add_command(_verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the exit status (docs/cli.md, "Exit status")."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    gc.set_threshold(100_000, 50, 100)  # a run makes many small objects and few cycles: a tenth of start-up was collection
    _replace_closed_streams()
    try:
        status = fetchsan.main(arguments, prog_name="fetchsan", standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except click.ClickException as error:
        return _bad_usage(error, arguments)
    except FetchSanError as error:
        return _failed(f"fetchsan: {error}", error)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has gone. Python would complain again when it flushes at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return _failed(f"fetchsan: internal error: {message}", InternalError(message))


def _replace_closed_streams() -> None:
    """Python has None for a standard stream that was closed before it started; what we say there goes nowhere.

    No file stands in for it: it would take the descriptor, and the guest, which is to find it closed, would write there.
    """
    if sys.stdout is None:
        sys.stdout = io.StringIO()
    if sys.stderr is None:
        sys.stderr = io.StringIO()


def _failed(line: str, error: FetchSanError) -> int:
    if os.environ.get("FETCHSAN_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    print(line, file=sys.stderr)
    return error.exit_status


def _bad_usage(error: click.ClickException, arguments: Sequence[str]) -> int:
    context = getattr(error, "ctx", None)
    # click's parser does not always say whose option it was.
    verb = f" {arguments[0]}" if arguments and arguments[0] in fetchsan.commands else ""
    path = context.command_path if context is not None else f"fetchsan{verb}"
    message = " ".join(error.format_message().split()).rstrip(".")
    print(f"{path}: {message}; try '{path} --help'", file=sys.stderr)
    return UsageError.exit_status
