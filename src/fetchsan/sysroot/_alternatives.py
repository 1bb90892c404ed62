# SPDX-License-Identifier: GPL-2.0-or-later
"""The links that packages' postinst scripts would make with update-alternatives(1), made without running the scripts.

The scripts are kept where dpkg keeps them, and every choice is computed from all of them: the highest priority wins.
Calls with shell variables in them are left out, being beyond a reader that does not execute.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fetchsan.sysroot._unpack import resolve_inside

__all__ = ["Alternative", "link_alternatives", "parse_postinst"]

_DIRECTORY = PurePosixPath("/etc/alternatives")
_CALL = re.compile(r"\bupdate-alternatives\b(?P<arguments>[^;&|\n]*)")


@dataclass(frozen=True, slots=True)
class Alternative:
    """One `--install LINK NAME PATH PRIORITY` with the `--slave LINK NAME PATH` that go with it."""

    link: str
    name: str
    path: str
    priority: int
    slaves: tuple[tuple[str, str, str], ...] = ()


def parse_postinst(script: str) -> list[Alternative]:
    """The alternatives that `script` installs, as far as they are written out."""
    found: list[Alternative] = []
    for match in _CALL.finditer(script.replace("\\\n", " ")):
        try:
            words = shlex.split(match["arguments"])
        except ValueError:
            continue
        groups = _options(words)
        installs = groups.get("--install", [])
        if len(installs) != 1 or len(installs[0]) != 4 or "$" in "".join(installs[0]) or not installs[0][3].isdigit():
            continue
        link, name, path, priority = installs[0]
        slaves = tuple((s[0], s[1], s[2]) for s in groups.get("--slave", []) if len(s) == 3 and "$" not in "".join(s))
        found.append(Alternative(link, name, path, int(priority), slaves))
    return found


def link_alternatives(root: Path, scripts: Iterable[Path], names: Iterable[str]) -> None:
    """Point each alternative called one of `names` to the best of those that `scripts` install."""
    alternatives = [
        alternative
        for script in sorted(scripts)
        for alternative in parse_postinst(script.read_text(encoding="utf-8", errors="replace"))
        if resolve_inside(root, PurePosixPath(alternative.path)).exists()
    ]
    for name in sorted(set(names)):
        candidates = [alternative for alternative in alternatives if alternative.name == name]
        if not candidates:
            continue
        best = max(candidates, key=lambda alternative: alternative.priority)
        for link, slot, path in ((best.link, best.name, best.path), *best.slaves):
            if resolve_inside(root, PurePosixPath(path)).exists():
                _link(root, _DIRECTORY / slot, PurePosixPath(path))
                _link(root, PurePosixPath(link), _DIRECTORY / slot)


def _options(words: list[str]) -> dict[str, list[list[str]]]:
    """The words after each `--option`, grouped: {"--slave": [[link, name, path], ...]}."""
    groups: dict[str, list[list[str]]] = {}
    current: list[str] = []
    for word in words:
        if word.startswith("--"):
            current = []
            groups.setdefault(word, []).append(current)
        else:
            current.append(word)
    return groups


def _link(root: Path, link: PurePosixPath, target: PurePosixPath) -> None:
    """Make `link` point to `target`, relatively: then the host's own tools can follow it too. A real file stays."""
    place = resolve_inside(root, link.parent) / link.name
    if os.path.lexists(place) and not place.is_symlink():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    # Relative from where the directory really is: /bin/awk -> ../etc would be wrong where /bin is usr/bin.
    place.symlink_to(os.path.relpath(root / target.relative_to("/"), place.parent))
