# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns the relocation of one object (`object::relocate`): what its tables say, stored through the data side.

Three passes over all objects that are loaded together, so that circular references work: plain stores, then copies (whose
source must have been relocated), then what needs a call of the program's code.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Protocol

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.dynamic import Tag
from fetchsan.kernel.linker.file import LINKER, File
from fetchsan.kernel.linker.object import Definition, GuestCall, InGuest, Object
from fetchsan.kernel.linker.relocations import RELOCATIONS, Act, Relocation
from fetchsan.kernel.linker.symbols import STB_WEAK, Symbol
from fetchsan.kernel.linker.tls import TlsBlock

__all__ = ["Namespace", "Relocator"]

_ENTRY = struct.Struct("<QQq")
_WORD = (1 << 64) - 1
_MAX_ENTRIES = 1 << 20
_MAX_RUN = 4096

Row = tuple[int, int, int, int]  # where to store, the symbol's index, the type, the addend


class Namespace(Protocol):
    """What relocation asks of the program."""

    resolver_arguments: tuple[int, ...]

    @property
    def plt_resolver(self) -> int:
        """What GOTPLT[2] gets: called for each function of the PLT the first time."""

    def resolve(self, seeker: File, symbol: Symbol, index: int, *, other: bool = False) -> Definition | None:
        """What a reference of `seeker` is bound to; None: nothing. `other`: not to its own."""

    def missing_symbol(self, seeker: File, symbol: Symbol) -> int:
        """The value of a symbol that nothing provides, if the port can do without. Raises NotExecutableError if not."""

    def describe_tls(self, block: TlsBlock, module: Object, offset: int) -> tuple[int, int]:
        """A TLS descriptor of a variable at `offset` of a block: a function, and its argument."""


class _Terms:
    """Those of one entry (relocations.Terms)."""

    def __init__(self, relocator: Relocator, index: int, addend: int) -> None:
        self.relocator, self.index, self.addend = relocator, index, addend

    def symbol(self) -> int:
        return self.relocator.value(self.index)

    def tls_offset(self) -> int:
        module, value = self._variable()
        block = self._block(module)
        if block.offset is None:
            raise NotExecutableError(
                self.relocator.file.path, "uses initial-exec TLS, for which there is no room left in the static block"
            )
        return block.offset + value

    def tls_module(self) -> int:
        module, _ = self._variable()
        return self._block(module).identity(module.number)

    def tls_module_offset(self) -> int:
        _, value = self._variable()
        return value

    def descriptor(self) -> tuple[int, int]:
        module, value = self._variable()
        return self.relocator.namespace.describe_tls(self._block(module), module, value + self.addend)

    def _variable(self) -> tuple[Object, int]:
        if not self.index:
            return self.relocator.file, 0
        found = self.relocator.definition(self.index)
        if found is None:
            self.relocator.namespace.missing_symbol(self.relocator.file, self.relocator.file.symbols[self.index])
            raise NotExecutableError(self.relocator.file.path, "needs a thread-local variable that nothing provides")
        return found.object, found.symbol.value

    def _block(self, module: Object) -> TlsBlock:
        if module.tls is None:
            raise NotExecutableError(module.path, "corrupt ELF: a thread-local symbol, but no PT_TLS segment")
        return module.tls


class Relocator:
    """Relocates one object; call `store`, then `copy`, then `resolve`."""

    def __init__(self, file: File, namespace: Namespace) -> None:
        self.file, self.namespace = file, namespace
        self._port = RELOCATIONS[file.space.port.name]
        self._copies: list[tuple[int, int]] = []
        self._calls: list[tuple[int, int, int]] = []  # where, resolver, addend
        self._definitions: dict[int, Definition | None] = {}
        self._place = self._address = 0

    def store(self) -> None:
        """The plain ones, in the newest OSv's order."""
        file, dynamic = self.file, self.file.dynamic
        if dynamic.text_relocations:
            file.make_text_writable()
        lazy = self._prepare_plt()
        self._apply(self._rows(Tag.JMPREL, Tag.PLTRELSZ), lazy=lazy)
        self._apply(self._rows(Tag.RELA, Tag.RELASZ), lazy=False)
        self._apply_relr()

    def copy(self) -> None:
        """COPY: the variable lives in the program now, and starts as it is where it was."""
        for place, index in self._copies:
            symbol = self.file.symbols[index]
            source = self.namespace.resolve(self.file, symbol, index, other=True)
            if source is None:
                self.namespace.missing_symbol(self.file, symbol)
                continue
            size = min(symbol.size, source.symbol.size or symbol.size)
            if size:
                self.file.memory.write(place, self.file.memory.read(source.address, size), LINKER)

    def resolve(self) -> InGuest[None]:
        """Store what resolvers say."""
        for place, resolver, addend in self._calls:
            value = yield GuestCall(resolver, self.namespace.resolver_arguments)
            self._write(place, value + addend)

    def definition(self, index: int) -> Definition | None:
        """What symbol `index` is bound to, looked up once."""
        if index not in self._definitions:
            found = self.namespace.resolve(self.file, self.file.symbols[index], index)
            self._definitions[index] = found
            if found is not None and found.object is not self.file:
                self.file.bound_to.add(found.object)
        return self._definitions[index]

    def value(self, index: int) -> int:
        """S. Of a symbol that wants a call it is what comes later: the entry is noted."""
        if not index:
            return 0
        found = self.definition(index)
        if found is None:
            symbol = self.file.symbols[index]
            return 0 if symbol.binding == STB_WEAK else self.namespace.missing_symbol(self.file, symbol)
        return found.address

    def _apply(self, rows: Iterable[Row], *, lazy: bool) -> None:
        types, base = self._port.types, self.file.base
        run_at, run = 0, bytearray()  # neighbouring RELATIVE entries are one store
        for offset, index, number, addend in rows:
            row = types.get(number)
            if row is None:
                raise NotExecutableError(self.file.path, f"has a relocation of type {number}, which OSv does not know either")
            if row.act is Act.RELATIVE:
                value = (base + addend) & _WORD
                if offset != run_at + len(run) or len(run) >= _MAX_RUN:
                    self._flush(run_at, run)
                    run_at, run = offset, bytearray()
                run += value.to_bytes(8, "little")
            else:
                self._one(row, base + offset, index, addend, lazy=lazy)
        self._flush(run_at, run)

    def _one(self, row: Relocation, place: int, index: int, addend: int, *, lazy: bool) -> None:
        match row.act:
            case Act.SLOT:
                self._bind_slot(row, place, index, addend, lazy=lazy)
            case Act.STORE:
                self._store_value(row, place, index, addend)
            case Act.COPY:
                self._copies.append((place, index))
            case Act.CALL:
                self._calls.append((place, self.file.base + addend, 0))
            case Act.DESCRIPTOR:
                function, argument = _Terms(self, index, addend).descriptor()
                self.file.memory.write(place, _pack(function, argument), LINKER)

    def _store_value(self, row: Relocation, place: int, index: int, addend: int) -> None:
        assert row.compute is not None
        value = row.compute(_Terms(self, index, addend))
        found = self._definitions.get(index)
        if found is not None and found.needs_call:
            self._calls.append((place, found.address, value - found.address))
        else:
            self._write(place, value)

    def _bind_slot(self, row: Relocation, place: int, index: int, addend: int, *, lazy: bool) -> None:
        """Unless it is bound now it leads into the PLT, as linked; so does one that nothing provides: a call is fatal."""
        if not lazy and (not index or self.definition(index) is not None or self.file.symbols[index].binding == STB_WEAK):
            self._store_value(row, place, index, addend)
        elif self._plt:
            linked = int.from_bytes(self.file.memory.read(place, 8), "little")
            self._write(place, self.file.base + linked)
        else:
            self._write(place, self.namespace.missing_symbol(self.file, self.file.symbols[index]))

    @property
    def _plt(self) -> bool:
        return bool(self.file.dynamic.get(Tag.PLTGOT))

    def _prepare_plt(self) -> bool:
        """GOTPLT[1] says who, GOTPLT[2] who to ask. Whether functions are bound when they are first called."""
        file, dynamic = self.file, self.file.dynamic
        if not self._plt or not dynamic.get(Tag.PLTRELSZ):
            return False
        got = file.base + dynamic.get(Tag.PLTGOT)
        file.memory.write(got + 8, _pack(file.number, self.namespace.plt_resolver), LINKER)
        return not (dynamic.bind_now or file.bind_now)

    def _apply_relr(self) -> None:
        """DT_RELR: an even entry is an address, an odd one a bitmap of the 63 words that follow."""
        file, where, total = self.file, 0, 0
        size = self._checked(file.dynamic.get(Tag.RELRSZ) // 8) * 8
        if not size:
            return
        for (entry,) in struct.iter_unpack("<Q", file.memory.read(file.base + file.dynamic.get(Tag.RELR), size)):
            if not entry & 1:
                self._add_base(file.base + entry)
                where = file.base + entry + 8
                continue
            bits = entry >> 1
            total = self._checked(total + bits.bit_count())
            for bit in range(bits.bit_length()):
                if bits >> bit & 1:
                    self._add_base(where + 8 * bit)
            where += 63 * 8

    def _add_base(self, place: int) -> None:
        self._write(place, int.from_bytes(self.file.memory.read(place, 8), "little") + self.file.base)

    def _rows(self, table: Tag, size: Tag) -> Iterator[Row]:
        count = self._checked(self.file.dynamic.get(size) // _ENTRY.size)
        if count:
            data = self.file.memory.read(self.file.base + self.file.dynamic.get(table), count * _ENTRY.size)
            for offset, information, addend in _ENTRY.iter_unpack(data):
                yield offset, information >> 32, information & 0xFFFF_FFFF, addend

    def _checked(self, count: int) -> int:
        if count > _MAX_ENTRIES:
            raise NotExecutableError(self.file.path, f"corrupt ELF: {count} relocations")
        return count

    def _flush(self, offset: int, run: bytearray) -> None:
        if run:
            self.file.memory.write(self.file.base + offset, bytes(run), LINKER)

    def _write(self, place: int, value: int) -> None:
        self.file.memory.write(place, (value & _WORD).to_bytes(8, "little"), LINKER)


def _pack(first: int, second: int) -> bytes:
    return (first & _WORD).to_bytes(8, "little") + (second & _WORD).to_bytes(8, "little")
