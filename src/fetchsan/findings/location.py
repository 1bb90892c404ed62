# SPDX-License-Identifier: GPL-2.0-or-later
"""A place in the guest's code, named as far as it can be, and how reports write it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Location"]


@dataclass(frozen=True, slots=True)
class Location:
    """An address with its names. `offset` is from `symbol`, or, without one, from the start of `object`."""

    address: int
    object: str | None = None  # the file's path, "[stack]", "anonymous rwx mapping at 0x..."; None: not mapped
    object_offset: int = 0  # the ELF address in a file; from the start of the mapping elsewhere
    symbol: str | None = None
    offset: int = 0
    file: str | None = None
    line: int | None = None

    @property
    def anonymous(self) -> bool:
        """Memory without a file: generated code, most often."""
        return self.object is not None and self.object.startswith("anonymous")

    @property
    def function(self) -> tuple[str | None, str | int]:
        """What findings are merged by: the function, or where there is none the mapping."""
        return self.object, self.symbol if self.symbol is not None else self.object_offset - self.offset

    @property
    def frame(self) -> str:
        """One line of a sanitizer's stack: `0x... in symbol+0x10 (object)`."""
        name = f" in {self.symbol}+{self.offset:#x}" if self.symbol is not None else ""
        source = f" {self._source}" if self.file is not None else ""
        where = self.object if self.object is not None else "not mapped"
        inside = f"+{self.object_offset:#x}" if self.symbol is None and self.object is not None else ""
        return f"{self.address:#x}{name}{source} ({where}{inside})"

    @property
    def label(self) -> str:
        """OSv's way to name an address it prints: `symbol+0x10 (object)`, `object+0x10`, or "" where nothing is mapped."""
        if self.symbol is not None:
            return f"{self.symbol}+{self.offset:#x} ({self.object})"
        return f"{self.object}+{self.object_offset:#x}" if self.object is not None else ""

    @property
    def brief(self) -> str:
        """For where the object is plain: `0x... in symbol+0x10`."""
        return f"{self.address:#x} in {self.symbol}+{self.offset:#x}" if self.symbol is not None else f"{self.address:#x}"

    @property
    def summary(self) -> str:
        """`file:line` or `object+offset`, then `in symbol`."""
        place = self._source if self.file is not None else f"{self._short}+{self.object_offset:#x}"
        return f"{place} in {self.symbol if self.symbol is not None else '??'}"

    @property
    def _source(self) -> str:
        return self.file + (f":{self.line}" if self.line is not None else "") if self.file is not None else ""

    @property
    def _short(self) -> str:
        if self.object is None:
            return "unmapped"
        return "anonymous" if self.anonymous else self.object.rpartition("/")[2]
