# SPDX-License-Identifier: GPL-2.0-or-later
"""The stanza format."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fetchsan.sysroot._deb822 import format_stanzas, parse_stanzas

_NAMES = st.text("abcxyz-", min_size=1, max_size=8).filter(lambda name: not name.startswith("-"))
_LINES = st.text("aB1 .:#-", min_size=1, max_size=12).map(lambda line: f"v{line}.")
_VALUES = st.builds(lambda first, rest: "\n ".join([first, *rest]), _LINES, st.lists(_LINES, max_size=3))


def test_field_names_ignore_case() -> None:
    assert parse_stanzas("SIGNED-BY: a\n") == [{"signed-by": "a"}]


def test_comments_and_lines_that_are_no_field_are_ignored() -> None:
    assert parse_stanzas("# x\nTypes: deb\n# y\n z\nnonsense\n more\n\n\nA: b") == [{"types": "deb\n z"}, {"a": "b"}]


def test_a_value_may_start_on_the_next_line() -> None:
    text = "Signed-By:\n -----BEGIN-----\n .\n key\n\n"
    assert format_stanzas(parse_stanzas(text)) == text


@given(st.lists(st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=4), max_size=4))
def test_what_is_written_is_read_back(stanzas: list[dict[str, str]]) -> None:
    assert parse_stanzas(format_stanzas(stanzas)) == stanzas
