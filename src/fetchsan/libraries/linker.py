# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine asks of the linker that loads its libraries: the guest's own ld.so, or the kernel's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fetchsan.libraries.entry_kernel import Entries, EntryKernel
    from fetchsan.libraries.osv_entry_kernel import OsvEntryKernel
    from fetchsan.libraries.session import Session

__all__ = ["LibraryLinker"]


class LibraryLinker(Protocol):
    """`name` is what `library.linker` says."""

    name: str

    @property
    def kernel_class(self) -> type[EntryKernel] | type[OsvEntryKernel]:
        """The kernel that it needs."""

    def start(self, session: Session, result: int) -> Entries:
        """The program has come back for the first time, with `result`: where it is entered and left from now on."""

    def open(self, library: str) -> int:
        """Load a library and what it needs; a handle. Raises LibraryError."""

    def symbol(self, handle: int, name: str) -> int | None:
        """The address of a symbol, None if there is none."""

    def close(self, handle: int) -> None:
        """Give a handle back."""

    def allocate(self, size: int) -> int:
        """So many zeros. Raises MemoryError."""

    def free(self, address: int) -> None:
        """free."""

    def errno(self) -> int:
        """The address of errno."""

    def flush(self) -> None:
        """Write out what the guest's streams hold."""

    def exit(self) -> None:
        """End the guest as a program ends. Raises GuestEndedError."""
