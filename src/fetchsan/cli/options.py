# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of `fetchsan run`, declared once: one table makes the flags, the FETCHSAN_OPTIONS keys and both helps."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from fetchsan.errors import UsageError
from fetchsan.kernel.options import KernelSync, Linker
from fetchsan.settings import IgnoredMaintenance, Mode, directory_grant, environment_entry, memory_size

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "OPTIONS",
    "Option",
    "as_click_options",
    "gather",
    "help_text",
    "parse_environment",
    "wants_help",
]

ENVIRONMENT_VARIABLE = "FETCHSAN_OPTIONS"
F = TypeVar("F", bound=Callable[..., Any])

_TRUE = {"1", "yes", "true", "on"}
_FALSE = {"0", "no", "false", "off"}


def _text(value: str) -> str:
    return value


def _integer(value: str) -> int:
    try:
        return int(value, 0)
    except ValueError:
        raise UsageError(f"'{value}' is not a whole number") from None


def _output(value: str) -> str:
    if value == "-":
        raise UsageError("'-': the standard output is the guest's own; name a file")
    if not value:
        raise UsageError("the file's name is empty")
    return value


def _not_built(value: str) -> Any:
    raise UsageError("not built yet")


@dataclass(frozen=True, slots=True)
class Option:
    """One row. `key` is the name in FETCHSAN_OPTIONS, `target` the field that the value goes to."""

    key: str
    target: str
    help: str
    convert: Callable[[str], Any] | None = None  # None: a flag
    metavar: str = ""
    short: str = ""
    many: bool = False
    flag_value: bool = True  # what the flag sets its target to
    off: str = ""  # the flag that undoes it, for a command line over FETCHSAN_OPTIONS

    @property
    def flag(self) -> str:
        return f"--{self.key}"

    @property
    def usage(self) -> str:
        """How FETCHSAN_OPTIONS writes it."""
        return f"{self.key}={self.metavar or '0|1'}"

    def parse(self, text: str) -> Any:
        """The value of one text. Raises UsageError that does not name the option: the caller says where it stood."""
        if self.convert is not None:
            return self.convert(text)
        if text.lower() in _TRUE:
            return self.flag_value
        if text.lower() in _FALSE:
            return not self.flag_value
        raise UsageError(f"'{text}' is not 0 or 1")


def _choice(literal: Any) -> str:
    return "|".join(get_args(literal))


OPTIONS: tuple[Option, ...] = (
    Option("sysroot", "sysroot", "The guest's root directory (default: what `fetchsan sysroot add` fills).", Path, "DIR", "-L"),
    Option("dir", "directories", "Let the guest see a directory of the host.", directory_grant, "HOST[:GUEST][:ro]", many=True),
    Option("cpu", "cpu", "CPU profile; `fetchsan cpus` lists them (default: cortex-a72).", _text, "NAME"),
    Option("mode", "mode", "Report stale fetches (default), execute them, or have no caches.", _text, _choice(Mode)),
    Option("linker", "linker", "Whose dynamic linker: the guest's ld.so (default), or the kernel's.", _text, _choice(Linker)),
    Option(
        "kernel-sync", "kernel_sync", "When the kernel synchronises caches as it maps code.", _text, _choice(KernelSync)
    ),
    Option(
        "ignore-maintenance", "ignore_maintenance", "Make the guest's own cache maintenance do nothing.", _text,
        _choice(IgnoredMaintenance),
    ),
    Option("smp", "smp", "Processors (only 1 is built yet).", _integer, "N"),
    Option("seed", "seed", "Seed of everything that varies: random bytes, addresses (default: 0).", _integer, "N"),
    Option("memory", "memory", "Guest RAM (default: 4G); untouched memory costs nothing.", memory_size, "SIZE"),
    Option("env", "environment", "Set a variable of the guest's environment.", environment_entry, "VAR=VALUE", "-E", many=True),
    Option("clean-env", "clean_environment", "Pass nothing of the host's environment.", off="inherit-env"),
    Option("strace", "strace", "Print the guest's system calls on stderr.", off="no-strace"),
    Option("dump-maps", "dump_maps", "Print the guest's mappings on stderr when it ends.", off="no-dump-maps"),
    Option("halt-on-error", "halt_on_error", "Stop the guest at the first finding.", off="no-halt-on-error"),
    Option("error-exitcode", "error_exitcode", "Exit status with findings (default: 66; 0: the guest's own).", _integer, "N"),
    Option("strict", "strict", "Prefetch-only and latent findings count too.", off="no-strict"),
    Option("no-replay", "replay", "Do not run the guest again to name writers.", flag_value=False, off="replay"),
    Option("json", "json", "Write the report as JSON (%p: the process id).", _output, "FILE"),
    Option("log-file", "log_file", "Write the report there rather than to stderr (%p: the process id).", _output, "FILE"),
    Option("sarif", "sarif", "Not built yet.", _not_built, "FILE"),
    Option("html", "html", "Not built yet.", _not_built, "FILE"),
    Option("suppressions", "suppressions", "Not built yet.", _not_built, "FILE"),
    Option("gen-suppressions", "gen_suppressions", "Not built yet.", _not_built),
    Option("gdb", "gdb", "Not built yet.", _not_built, "PORT", "-g"),
)
_BY_KEY = {option.key: option for option in OPTIONS}


def as_click_options(function: F) -> F:
    """Decorate a command with the whole table. Values arrive as text: `gather` converts them, one way for both sources."""
    for option in reversed(OPTIONS):
        names = [*([option.short] if option.short else []), option.flag, option.key.replace("-", "_")]
        if option.metavar:
            function = click.option(
                *names, metavar=option.metavar, multiple=option.many, type=str, default=None, help=option.help
            )(function)
        else:
            names[-2] += f"/--{option.off}" if option.off else ""
            function = click.option(*names, is_flag=True, default=None, help=option.help)(function)
    return function


def gather(context: click.Context, environ: Mapping[str, str]) -> dict[str, Any]:
    """The values by target: those of the environment, overridden by the command line's; those that repeat add up.

    Targets that nobody set are left out. Raises UsageError naming the option.
    """
    values: dict[str, Any] = {}
    for key, text in parse_environment(environ.get(ENVIRONMENT_VARIABLE, "")):
        option = _find(key)
        _put(values, option, _parsed(option, text, f"{ENVIRONMENT_VARIABLE}: {option.key}"))
    for option in OPTIONS:
        given = context.params[option.key.replace("-", "_")]
        if given is None or given == ():
            continue
        texts: Iterable[str] = given if option.many else [str(int(given)) if isinstance(given, bool) else given]
        for text in texts:
            _put(values, option, _parsed(option, text, option.flag))
    return values


def parse_environment(text: str) -> list[tuple[str, str]]:
    """`key=value:key=value` in its order; a value that holds a colon stands in '...' or "...". Raises UsageError."""
    pairs: list[tuple[str, str]] = []
    rest = text.strip(" :")
    while rest:
        key, equals, rest = rest.partition("=")
        if not equals or ":" in key:
            raise UsageError(f"{ENVIRONMENT_VARIABLE}: '{key.partition(':')[0]}' is not key=value")
        if rest[:1] in ("'", '"'):
            value, closing, rest = rest[1:].partition(rest[0])
            if not closing:
                raise UsageError(f"{ENVIRONMENT_VARIABLE}: {key.strip()}: the quote is not closed")
            if rest and rest[0] not in ": ":
                raise UsageError(f"{ENVIRONMENT_VARIABLE}: {key.strip()}: '{rest}' after the closing quote")
        else:
            value, _, rest = rest.partition(":")
        pairs.append((key.strip(), value))
        rest = rest.lstrip(" :")
    return pairs


def wants_help(environ: Mapping[str, str]) -> bool:
    """Whether FETCHSAN_OPTIONS has `help=1`."""
    return any(key == "help" and value in _TRUE for key, value in parse_environment(environ.get(ENVIRONMENT_VARIABLE, "")))


def help_text(options: Sequence[Option] = OPTIONS) -> str:
    """What `FETCHSAN_OPTIONS=help=1` prints."""
    width = max(len(option.usage) for option in options)
    lines = [f"{ENVIRONMENT_VARIABLE}=key=value:key=value (a value with a colon is quoted):"]
    lines += [f"  {option.usage.ljust(width)}  {option.help}" for option in options]
    return "\n".join(lines)


def _find(key: str) -> Option:
    option = _BY_KEY.get(key.replace("_", "-"))
    if option is None:
        close = difflib.get_close_matches(key.replace("_", "-"), _BY_KEY, n=3)
        meant = f" (did you mean {', '.join(close)}?)" if close else ""
        raise UsageError(f"{ENVIRONMENT_VARIABLE}: unknown key '{key}'{meant}; help=1 lists all")
    return option


def _parsed(option: Option, text: str, where: str) -> Any:
    try:
        return option.parse(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _put(values: dict[str, Any], option: Option, value: Any) -> None:
    if option.many:
        values[option.target] = (*values.get(option.target, ()), value)
    else:
        values[option.target] = value
