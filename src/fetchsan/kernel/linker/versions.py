# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns symbol versions (DT_VERSYM, DT_VERNEED, DT_VERDEF): which version a reference wants, which a definition has.

OSv never compares their names; this does what glibc's ld.so does (docs/linker.md, "Where it differs from OSv").
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.dynamic import Dynamic, Memory, Tag

__all__ = ["NEWEST", "Version", "Versions"]

_NEED, _NEED_NAME = struct.Struct("<HHIII"), struct.Struct("<IHHII")
_DEFINITION, _DEFINITION_NAME = struct.Struct("<HHHHIII"), struct.Struct("<II")
_BASE = 1  # VER_FLG_BASE: the name of the object itself
_HIDDEN = 0x8000
_MAX_VERSIONS = 0x7FFF


@dataclass(frozen=True, slots=True)
class Version:
    """A version that a reference wants. `weak`: it need not exist."""

    name: bytes
    file: bytes = b""
    weak: bool = False


NEWEST = Version(b"")
"""What dlsym wants, which names none: the default version. (A reference of an object that has no versions wants the oldest.)"""


class Versions:
    """The versions of one object; of one that has none everything is unversioned."""

    def __init__(self, memory: Memory, base: int, dynamic: Dynamic, path: str) -> None:
        self._memory, self._base, self._dynamic, self._path = memory, base, dynamic, path
        table = dynamic.get(Tag.VERSYM)
        self._table = base + table if table else 0

    @property
    def present(self) -> bool:
        """Whether its symbols have versions."""
        return bool(self._table)

    def wanted(self, index: int) -> Version | None:
        """The version that the object's reference `index` (of its symbol table) wants."""
        if not self._table:
            return None
        number = self._number(index) & ~_HIDDEN
        if number < 2:
            return None
        return self.needed.get(number) or (Version(self.defined[number]) if number in self.defined else None)

    def matches(self, index: int, version: Version | None) -> bool | None:
        """Whether its definition `index` will do for a reference to `version`.

        None: it will for a reference that names none, if no other does better (do_lookup_x in glibc).
        """
        if not self._table:
            return True
        number = self._number(index)
        hidden, number = bool(number & _HIDDEN), number & ~_HIDDEN
        if version is None or version is NEWEST:
            if number < (2 if version is NEWEST else 3):
                return True
            return False if hidden else None
        name = self.defined.get(number)
        if name is None:
            return not hidden  # the base version serves all
        return name == version.name

    @cached_property
    def needed(self) -> dict[int, Version]:
        """By number: what DT_VERNEED says."""
        found: dict[int, Version] = {}
        at, count = self._base + self._dynamic.get(Tag.VERNEED), self._dynamic.get(Tag.VERNEEDNUM)
        for _ in range(self._checked(count)):
            _, names, file, first, following = _NEED.unpack(self._memory.read(at, _NEED.size))
            file_name = self._string(file)
            name_at = at + first
            for _ in range(names):
                _, flags, number, name, next_name = _NEED_NAME.unpack(self._memory.read(name_at, _NEED_NAME.size))
                found[number & ~_HIDDEN] = Version(self._string(name), file_name, weak=bool(flags & 2))
                self._checked(len(found))
                if not next_name:
                    break
                name_at += next_name
            if not following:
                break
            at += following
        return found

    @cached_property
    def defined(self) -> dict[int, bytes]:
        """By number: what DT_VERDEF says, without the object's own name."""
        found: dict[int, bytes] = {}
        at, count = self._base + self._dynamic.get(Tag.VERDEF), self._dynamic.get(Tag.VERDEFNUM)
        for _ in range(self._checked(count)):
            _, flags, number, _, _, first, following = _DEFINITION.unpack(self._memory.read(at, _DEFINITION.size))
            if not flags & _BASE:
                name, _ = _DEFINITION_NAME.unpack(self._memory.read(at + first, _DEFINITION_NAME.size))
                found[number & ~_HIDDEN] = self._string(name)
            if not following:
                break
            at += following
        return found

    def _number(self, index: int) -> int:
        return int.from_bytes(self._memory.read(self._table + 2 * index, 2), "little")

    def _string(self, offset: int) -> bytes:
        return self._memory.read_cstring(self._base + self._dynamic.get(Tag.STRTAB) + offset)

    def _checked(self, count: int) -> int:
        if count > _MAX_VERSIONS:
            raise NotExecutableError(self._path, f"corrupt ELF: {count} symbol versions")
        return count
