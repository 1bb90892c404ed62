# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's stanza format (deb822(5)), which control files, the dpkg status file and `.sources` files share."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Stanza", "format_stanzas", "parse_stanzas"]

# Field names in lower case (the format ignores case); a value keeps its continuation lines as they stand.
Stanza = dict[str, str]


def parse_stanzas(text: str) -> list[Stanza]:
    """The stanzas of `text`; comments are dropped, and lines that are no field (apt would refuse them) are ignored."""
    stanzas: list[Stanza] = []
    stanza: Stanza = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                stanzas.append(stanza)
            stanza, field = {}, ""
        elif line[0] in " \t":
            if field:
                stanza[field] += "\n" + line
        else:
            name, colon, value = line.partition(":")
            field = name.strip().lower() if colon else ""
            if field:
                stanza[field] = value.strip()
    return stanzas


def format_stanzas(stanzas: Iterable[Stanza]) -> str:
    """The text of `stanzas`, one blank line after each."""
    return "".join(
        "".join(f"{name.title()}: {value}".replace(": \n", ":\n", 1) + "\n" for name, value in stanza.items()) + "\n"
        for stanza in stanzas
    )
