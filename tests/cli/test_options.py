# SPDX-License-Identifier: GPL-2.0-or-later
"""FETCHSAN_OPTIONS and the flags are one table read two ways; the command line wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.cli.options import OPTIONS, as_click_options, gather, help_text, parse_environment
from fetchsan.errors import UsageError


def values(*arguments: str, environment: str = "") -> dict[str, Any]:
    """What `gather` makes of a command line and a FETCHSAN_OPTIONS."""
    got: dict[str, Any] = {}

    @click.command(context_settings={"allow_interspersed_args": False})
    @as_click_options
    @click.pass_context
    def command(context: click.Context, /, **_: Any) -> None:
        got.update(gather(context, {"FETCHSAN_OPTIONS": environment}))

    command.main(list(arguments), standalone_mode=False)
    return got


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("cpu=max", [("cpu", "max")]),
        ("cpu=max:strict=1", [("cpu", "max"), ("strict", "1")]),
        (":cpu=max::strict=1:", [("cpu", "max"), ("strict", "1")]),
        ("dir='/a:/b:ro':strict=1", [("dir", "/a:/b:ro"), ("strict", "1")]),
        ('dir="/a:/b"', [("dir", "/a:/b")]),
        ("json=", [("json", "")]),
        ("env=A=b", [("env", "A=b")]),
    ],
)
def test_the_environment_is_split(text: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_environment(text) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strict", "'strict' is not key=value"),
        ("strict:cpu=max", "'strict' is not key=value"),
        ("dir='/a:/b", "dir: the quote is not closed"),
        ("dir='/a'b", "dir: 'b' after the closing quote"),
    ],
)
def test_what_cannot_be_split_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_environment(text)


@given(st.text(max_size=40))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse_environment(text)
    except UsageError as error:
        assert str(error).startswith("FETCHSAN_OPTIONS: ")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.convert is None], ids=lambda option: option.key)
def test_a_flag_and_its_key_mean_the_same(option: Any) -> None:
    assert values(option.flag) == values(environment=f"{option.key}=1") == {option.target: option.flag_value}


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.off], ids=lambda option: option.key)
def test_the_off_flag_undoes_the_environment(option: Any) -> None:
    assert values(f"--{option.off}", environment=f"{option.key}=1") == {option.target: not option.flag_value}


def test_the_command_line_wins() -> None:
    assert values("--cpu", "max", environment="cpu=a64fx:seed=3") == {"cpu": "max", "seed": 3}


def test_repeated_options_add_up() -> None:
    assert values("-E", "B=2", "-E", "C=3", environment="env=A=1") == {
        "environment": (("A", "1"), ("B", "2"), ("C", "3"))
    }


def test_keys_may_have_underscores() -> None:
    assert values(environment="halt_on_error=1") == {"halt_on_error": True}


def test_short_flags() -> None:
    assert values("-L", "/", "-E", "A=1") == {"sysroot": Path("/"), "environment": (("A", "1"),)}


def test_nothing_given_is_nothing_set() -> None:
    assert values() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "x"], "^--seed: 'x' is not a whole number$"),
        (["--smp", "1.5"], "^--smp: '1.5' is not a whole number$"),
        (["--memory", "lots"], "^--memory: 'lots' is not a size"),
        (["-E", "A"], "^--env: 'A' is not VAR=VALUE$"),
        (["--json", "-"], "^--json: '-': the standard output is the guest's own"),
        (["--sarif", "x"], "^--sarif: not built yet$"),
        (["--html", "x"], "^--html: not built yet$"),
        (["--suppressions", "x"], "^--suppressions: not built yet$"),
        (["--gen-suppressions"], "^--gen-suppressions: not built yet$"),
        (["-g", "1234"], "^--gdb: not built yet$"),
    ],
)
def test_bad_values_name_their_flag(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        values(*arguments)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("sede=3", r"^FETCHSAN_OPTIONS: unknown key 'sede' \(did you mean seed"),
        ("qqqq=3", "^FETCHSAN_OPTIONS: unknown key 'qqqq'; help=1 lists all$"),
        ("seed=x", "^FETCHSAN_OPTIONS: seed: 'x' is not a whole number$"),
        ("strict=maybe", "^FETCHSAN_OPTIONS: strict: 'maybe' is not 0 or 1$"),
        ("sarif=x", "^FETCHSAN_OPTIONS: sarif: not built yet$"),
    ],
)
def test_bad_keys_name_the_variable(environment: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        values(environment=environment)


def test_the_help_lists_every_key() -> None:
    lines = help_text().splitlines()
    assert [line.split("=")[0].strip() for line in lines[1:]] == [option.key for option in OPTIONS]
