# SPDX-License-Identifier: GPL-2.0-or-later
"""Linkers of a machine's libraries: the guest's own ld.so (glibc cannot be loaded by another, whose state it shares), or OSv's.

A small program (host/host.c) is started as any other and tells where its functions are, dlopen() and the like; from then on
it only lends its stack.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fetchsan.libraries.entry_kernel import Entries, EntryKernel
from fetchsan.libraries.errors import LibraryError

if TYPE_CHECKING:
    from fetchsan.libraries.osv_entry_kernel import OsvEntryKernel
    from fetchsan.libraries.session import Session

__all__ = ["GuestLinker", "KernelLinker"]

_SERVICES = struct.Struct("<12Q")  # host.c, `services`
_RTLD_NOW = 2
_ERROR_LIMIT = 4096


class GuestLinker:
    """dlopen(3) and its relatives in the guest."""

    name = "guest"

    @property
    def kernel_class(self) -> type[EntryKernel] | type[OsvEntryKernel]:
        """The kernel below it."""
        return EntryKernel

    def start(self, session: Session, result: int) -> Entries:
        """Read the table of services at `result`."""
        table = session.read(result, _SERVICES.size)
        returning, callbacks, count, *functions = _SERVICES.unpack(table)
        self._session = session
        (
            self._dlopen,
            self._dlclose,
            self._dlsym,
            self._dlerror,
            self._calloc,
            self._free,
            self._errno_location,
            self._fflush,
            self._exit,
        ) = functions
        return Entries(returning, callbacks, count)

    def open(self, library: str) -> int:
        """dlopen with RTLD_NOW, so that what is missing is told now."""
        handle = self._call_with_name(self._dlopen, (), library, (_RTLD_NOW,))
        if not handle:
            raise LibraryError(library, self._error())
        return handle

    def symbol(self, handle: int, name: str) -> int | None:
        """dlsym; an address of 0 is what an undefined weak symbol has, and no use either."""
        return self._call_with_name(self._dlsym, (handle,), name, ()) or None

    def close(self, handle: int) -> None:
        """dlclose."""
        self._session.call(self._dlclose, (handle,))

    def allocate(self, size: int) -> int:
        """calloc."""
        address = self._session.call(self._calloc, (max(size, 1), 1))
        if not address:
            raise MemoryError(f"the guest has no {size} bytes left")
        return address

    def free(self, address: int) -> None:
        """free."""
        self._session.call(self._free, (address,))

    def errno(self) -> int:
        """__errno_location."""
        return self._session.call(self._errno_location, ())

    def flush(self) -> None:
        """fflush(NULL)."""
        self._session.call(self._fflush, (0,))

    def exit(self) -> None:
        """exit(0)."""
        self._session.call(self._exit, (0,))

    def _call_with_name(self, function: int, before: tuple[int, ...], name: str, after: tuple[int, ...]) -> int:
        session = self._session
        data = name.encode("utf-8", "surrogateescape")
        if b"\0" in data:
            raise ValueError(f"a name with a NUL: {name!r}")
        mark = session.lending.mark
        address = session.lending.borrow(len(data) + 1)
        try:
            session.write(address, data + b"\0")
            return session.call(function, (*before, address, *after))
        finally:
            session.lending.give_back(mark, [address])

    def _error(self) -> str:
        address = self._session.call(self._dlerror, ())
        return self._session.read_string(address, _ERROR_LIMIT).decode("utf-8", "replace") if address else "no reason given"


class KernelLinker(GuestLinker):
    """OSv's linker in the kernel: the same functions, which are the kernel's own there."""

    name = "osv"

    @property
    def kernel_class(self) -> type[EntryKernel] | type[OsvEntryKernel]:
        """OSv's."""
        from fetchsan.libraries.osv_entry_kernel import OsvEntryKernel  # most machines do without

        return OsvEntryKernel
