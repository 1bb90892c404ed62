# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns dlopen and its relatives (libc/dlfcn.cc), with the flags that OSv ignores honoured."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.linker.file import File
from fetchsan.kernel.linker.object import Definition, GuestCall, InGuest, Object
from fetchsan.kernel.linker.versions import NEWEST, Version
from fetchsan.kernel.mmu.vma import PERM_READ, PERM_WRITE
from fetchsan.kernel.osv.functions import function
from fetchsan.kernel.osv.guest_calls import return_address

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__ = ["DlStrings"]

# dlfcn.h
_RTLD_NOW, _RTLD_NOLOAD, _RTLD_GLOBAL, _RTLD_NODELETE = 2, 4, 0x100, 0x1000
_RTLD_LAZY, _RTLD_DEEPBIND = 1, 8
_KNOWN = _RTLD_LAZY | _RTLD_NOW | _RTLD_NOLOAD | _RTLD_GLOBAL | _RTLD_NODELETE
_RTLD_DEFAULT, _RTLD_NEXT = 0, (1 << 64) - 1
_PROGRAM: Final = 1  # the handle of dlopen(NULL)
_DL_INFO = struct.Struct("<QQQQ")
_DL_PHDR_INFO = struct.Struct("<QQQHxxxxxxQQQQ")
_SIZE, _MESSAGE = 1 << 16, 512


@dataclass(slots=True)
class DlStrings:
    """Names and messages that an application is given pointers to: each stands there once."""

    _mapping: int = 0
    _next: int = _MESSAGE
    _known: dict[bytes, int] = field(default_factory=dict)
    message: bytes | None = None

    def intern(self, thread: Thread, text: bytes) -> int:
        """The address of `text`; 0 if there is no room left."""
        if text not in self._known:
            if self._next + len(text) + 1 > _SIZE:
                return 0
            address = self._place(thread) + self._next
            thread.memory.write(address, text + b"\0")
            self._next += len(text) + 1
            self._known[text] = address
        return self._known[text]

    def give_message(self, thread: Thread) -> int:
        """dlerror(): the message, once."""
        message, self.message = self.message, None
        if message is None:
            return 0
        thread.memory.write(self._place(thread), message[: _MESSAGE - 1] + b"\0")
        return self._mapping

    def close(self, thread: Thread) -> None:
        """The application is over."""
        if self._mapping:
            thread.space.evacuate(self._mapping, self._mapping + _SIZE)

    def _place(self, thread: Thread) -> int:
        if not self._mapping:
            self._mapping = thread.space.map_anon(0, _SIZE, 0, PERM_READ | PERM_WRITE)
        return self._mapping


@function("dlopen")
def dlopen(thread: Thread, path: int, flags: int) -> InGuest[int]:
    """NULL and "" are the program itself; so are libraries that the kernel stands for, whose names it has last."""
    flags &= 0xFFFF_FFFF
    name = thread.memory.read_cstring(path).decode("utf-8", "surrogateescape") if path else ""
    if not name or name in thread.program.provided:
        return _PROGRAM
    if flags & ~_KNOWN:
        thread.kernel.unsupported(f"dlopen: flags {flags & ~_KNOWN:#x}" + (" (RTLD_DEEPBIND)" * bool(flags & _RTLD_DEEPBIND)))
    program = thread.program
    loaded = program.find_loaded(name)
    try:
        if loaded is None and flags & _RTLD_NOLOAD:
            return _fail(thread, f"dlopen: {name} is not loaded")
        seeker = _caller(thread)
        found = yield from program.load(
            name, seeker=seeker, everywhere=bool(flags & _RTLD_GLOBAL), now=bool(flags & _RTLD_NOW)
        )
        found.root.no_delete = found.root.no_delete or bool(flags & _RTLD_NODELETE)
        yield from program.initialise(found, thread.application.arguments)
        return found.root.base
    except NotExecutableError as error:
        return _fail(thread, f"dlopen: failed to open {name}: {error.reason}")


@function("dlsym")
def dlsym(thread: Thread, handle: int, name: int) -> InGuest[int]:
    """RTLD_DEFAULT and dlopen(NULL) mean the program, RTLD_NEXT what comes behind the caller's object."""
    return (yield from _find(thread, handle, thread.memory.read_cstring(name), NEWEST))


@function("dlvsym")
def dlvsym(thread: Thread, handle: int, name: int, version: int) -> InGuest[int]:
    """The version must be the one named."""
    wanted = Version(thread.memory.read_cstring(version))
    return (yield from _find(thread, handle, thread.memory.read_cstring(name), wanted))


@function("dlclose")
def dlclose(thread: Thread, handle: int) -> InGuest[int]:
    """The last one unloads what nothing else needs."""
    if handle == _PROGRAM:
        return 0
    file = _by_handle(thread, handle)
    if file is None:
        _fail(thread, f"dlclose: {handle:#x} is no handle")
        return 1
    file.handles -= 1
    yield from thread.program.collect()
    return 0


@function("dlerror")
def dlerror(thread: Thread) -> int:
    """What went wrong since it was last called."""
    return thread.application.strings.give_message(thread)


@function("dladdr")
def dladdr(thread: Thread, address: int, info: int) -> int:
    """1 and a Dl_info if `address` lies in an object."""
    found = thread.program.find_object(address)
    if found is None:
        return 0
    symbol = found.symbol_at(address)
    strings = thread.application.strings
    name = strings.intern(thread, found.symbol_name(symbol)) if symbol is not None else 0
    value = Definition(found, symbol).address if symbol is not None else 0
    path = strings.intern(thread, _path(found))
    thread.memory.write(info, _DL_INFO.pack(path, found.base, name, value))
    return 1


@function("dl_iterate_phdr")
def dl_iterate_phdr(thread: Thread, callback: int, data: int) -> InGuest[int]:
    """callback(info, size, data) for each object, until it returns other than 0."""
    memory, program = thread.memory, thread.program
    info = (thread.pe.get("sp") - 1024) & -16
    result = 0
    for file in [*program.modules, *(file for file in program.kernel if isinstance(file, File))]:
        tls = file.tls
        block = 0
        if tls is not None:
            block = program.storage.on_demand(thread.thread_pointer, file)
        headers = file.base + file.elf.program_headers_address
        name = thread.application.strings.intern(thread, _path(file))
        record = _DL_PHDR_INFO.pack(
            file.base, name, headers, file.elf.program_header_count, program.loads, program.unloads,
            file.number if tls is not None else 0, block,
        )  # fmt: skip
        memory.write(info, record)
        result = yield GuestCall(callback, (info, len(record), data), below=info)
        if result & 0xFFFF_FFFF:
            break
    return result


def _find(thread: Thread, handle: int, name: bytes, version: Version) -> InGuest[int]:
    try:
        return (yield from _look_up(thread, handle, name, version))
    except NotExecutableError as error:
        return _fail(thread, f"dlsym: {error}")


def _look_up(thread: Thread, handle: int, name: bytes, version: Version) -> InGuest[int]:
    program = thread.program
    found: Definition | None = None
    if handle in (_RTLD_DEFAULT, _PROGRAM):
        found = program.lookup(name, version)
    elif handle == _RTLD_NEXT:
        caller = _caller(thread)
        found = program.lookup(name, version, caller) if caller is not None else None
    else:
        file = _by_handle(thread, handle)
        if file is None:
            return _fail(thread, f"dlsym: {handle:#x} is no handle")
        found = program.lookup_deep(file, name, version)
    if found is None:
        wanted = f", version {version.name.decode('utf-8', 'replace')}," if version is not NEWEST else ""
        return _fail(thread, f"dlsym: symbol {name.decode('utf-8', 'replace')}{wanted} not found")
    if found.symbol.kind == 6:  # STT_TLS: this thread's
        tls = found.object
        assert isinstance(tls, File)
        return program.storage.on_demand(thread.thread_pointer, tls) + found.symbol.value
    if found.needs_call:
        return (yield GuestCall(found.address, program.resolver_arguments))
    return found.address


def _caller(thread: Thread) -> File | None:
    """The object that the call came from."""
    found = thread.program.find_object(return_address(thread))
    return found if isinstance(found, File) else None


def _by_handle(thread: Thread, handle: int) -> File | None:
    return next((file for file in thread.program.modules if file.base == handle and file.handles > 0), None)


def _fail(thread: Thread, message: str) -> int:
    thread.application.strings.message = message.encode("utf-8", "surrogateescape")
    return 0


def _path(found: Object) -> bytes:
    return found.path.encode("utf-8", "surrogateescape")


