# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory as Python objects: `Pointer`, an address that knows its machine, and `Buffer`, memory of one's own."""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any

from fetchsan.libraries.types import check_copyable

if TYPE_CHECKING:
    from fetchsan.libraries.session import Session

__all__ = ["Buffer", "Pointer"]

_STRING_LIMIT = 1 << 20


class Pointer(int):
    """An address in the guest: an int (0 is NULL) that can be looked behind. `target` is the ctypes type there, if known."""

    _session: Session
    target: Any

    @classmethod
    def make(cls, session: Session, address: int, target: Any = None) -> Pointer:
        """`target` None: a void pointer."""
        pointer = cls(address)
        pointer._session = session
        pointer.target = target
        return pointer

    def __repr__(self) -> str:
        return f"<guest pointer {int(self):#x}{f' to {self.target.__name__}' if self.target is not None else ''}>"

    @property
    def address(self) -> int:
        """As a plain int."""
        return int(self)

    def read(self, size: int) -> bytes:
        """`size` bytes from here."""
        return self._session.read(self, size)

    def write(self, data: bytes) -> None:
        """Store `data` here."""
        self._session.write(self, bytes(data))

    def string(self, limit: int = _STRING_LIMIT) -> bytes:
        """The bytes before the first NUL."""
        return self._session.read_string(self, limit)

    def cast(self, target: Any) -> Pointer:
        """The same address, to `target`."""
        check_copyable(target)
        return Pointer.make(self._session, self, target)

    def get(self, index: int = 0) -> Any:
        """Element `index` as it is now: a number for a simple type, else a copy."""
        value = self._target.from_buffer_copy(self._session.read(self._at(index), ctypes.sizeof(self._target)))
        return value.value if isinstance(value, ctypes._SimpleCData) else value

    def put(self, value: Any, index: int = 0) -> None:
        """Store `value` as element `index`."""
        stored = value if isinstance(value, self._target) else self._target(value)
        self._session.write(self._at(index), bytes(stored))

    @property
    def _target(self) -> Any:
        if self.target is None:
            raise TypeError("a void pointer has no elements; cast() it to a type first")
        return self.target

    def _at(self, index: int) -> int:
        return int(self) + index * ctypes.sizeof(self._target)


class Buffer:
    """Memory in the guest that is Python's: freed with this object. Reads and writes stay within it."""

    def __init__(self, session: Session, content: Any) -> None:
        """`content`: so many zeros, or bytes or a ctypes object to copy. Raises TypeError, ValueError, MemoryError."""
        data = b"" if isinstance(content, int) else _bytes_of(content)
        self._session = session
        self._size = content if isinstance(content, int) else len(data)
        if self._size < 0:
            raise ValueError(f"a buffer of {self._size} bytes")
        session.check_room(len(data))
        self.address = session.linker.allocate(self._size)
        self._finalizer = weakref.finalize(self, session.lending.free, self.address)
        self._finalizer.atexit = False
        session.write(self.address, data)

    def __repr__(self) -> str:
        return f"<guest buffer of {self._size} bytes at {self.address:#x}>"

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return self.read()

    def pointer(self, target: Any = None) -> Pointer:
        """Its address, to `target`. Does not keep the buffer alive."""
        pointer = Pointer.make(self._session, self.address)
        return pointer.cast(target) if target is not None else pointer

    def read(self, size: int | None = None, offset: int = 0) -> bytes:
        """`size` bytes from `offset`; all that follow, without a size."""
        self._check(offset, size if size is not None else 0)
        return self._session.read(self.address + offset, self._size - offset if size is None else size)

    def write(self, data: bytes, offset: int = 0) -> None:
        """Store `data` at `offset`."""
        self._check(offset, len(data))
        self._session.write(self.address + offset, bytes(data))

    def string(self) -> bytes:
        """The bytes before the first NUL, or all."""
        return self.read().partition(b"\0")[0]

    def __getitem__(self, where: int | slice) -> int | bytes:
        if not isinstance(where, slice):
            return self.read(1, self._index(where))[0]
        start, stop, step = where.indices(self._size)
        return self.read(max(stop - start, 0), start) if step == 1 else self.read()[where]

    def __setitem__(self, where: int | slice, value: int | bytes) -> None:
        if not isinstance(where, slice):
            if not isinstance(value, int) or not 0 <= value <= 255:
                raise ValueError(f"a byte is a number from 0 to 255, not {value!r}")
            self.write(bytes((value,)), self._index(where))
            return
        start, stop, step = where.indices(self._size)
        if isinstance(value, int) or step != 1 or len(value) != max(stop - start, 0):
            raise ValueError("a slice of a buffer takes as many bytes as it has, without a step")
        self.write(value, start)

    def free(self) -> None:
        """Give the memory back now."""
        self._finalizer()
        self._size = 0

    def _index(self, index: int) -> int:
        if not -self._size <= index < self._size:
            raise IndexError(f"byte {index} of a buffer of {self._size}")
        return index % self._size

    def _check(self, offset: int, size: int) -> None:
        if not (0 <= offset <= self._size and 0 <= size <= self._size - offset):
            raise ValueError(f"{size} bytes at {offset} are not within a buffer of {self._size}")


def _bytes_of(content: Any) -> bytes:
    if not isinstance(content, bytes | bytearray | memoryview):
        kind: Any = type(content)
        check_copyable(kind)
    return bytes(content)
