# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns how an application begins (OSv's core/app.cc): its objects, its thread-local storage, its stack, its first function.

With a C library of the kernel's, that starts as it does on Linux: it finds its auxiliary vector on the stack, and there
program headers that we made up. They describe the static TLS block of all modules together as one PT_TLS, so that the
library sets up this thread, and later ones, by its own unchanged code.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.auxv import AuxiliaryType, build_stack
from fetchsan.kernel.linker.file import File
from fetchsan.kernel.linker.object import GuestCall, InGuest
from fetchsan.kernel.linker.program import Loaded
from fetchsan.kernel.mmu.operate import PAGE_SIZE, page_up
from fetchsan.kernel.mmu.vma import PERM_READ, PERM_WRITE
from fetchsan.kernel.osv.image import RofsFile

if TYPE_CHECKING:
    from fetchsan.kernel.osv.thread import Thread

__all__ = ["enter_main", "load_application", "make_thread_storage"]

_HEADER = struct.Struct("<IIQQQQQQ")
_PT_PHDR, _PT_TLS = 6, 7
_HEADERS_SIZE: Final = 256  # above the stack's strings
_RANDOM: Final = bytes(range(16))  # AT_RANDOM; every run is the same


def load_application(thread: Thread, path: str, libc: RofsFile | None) -> InGuest[Loaded]:
    """All objects, relocated, and the image of their thread-local storage."""
    program = thread.program
    if libc is not None:
        yield from program.load_kernel(libc)
    loaded = yield from program.load(path)
    storage = program.storage
    storage.seal(wanted=libc is not None)
    if storage.image:
        storage.initialise([*program.modules, *(file for file in program.kernel if isinstance(file, File))])
    return loaded


def make_thread_storage(thread: Thread) -> None:
    """The static block of a thread that no C library makes."""
    storage = thread.program.storage
    if not storage.image:
        thread.pe.set(thread.port.thread_pointer, 0)
        return
    size = page_up(storage.size + abs(storage.first) + storage.alignment + PAGE_SIZE)
    start = thread.space.map_anon(0, size, 0, PERM_READ | PERM_WRITE)
    thread.application.mappings.append((start, start + size))
    pointer = -(-(start + max(-storage.first, 0)) // storage.alignment) * storage.alignment
    storage.initialise_thread(pointer)
    if storage.first < 0:
        thread.memory.write_u64(pointer, pointer)  # variant II: %fs:0 is its own address
    thread.pe.set(thread.port.thread_pointer, pointer)


def enter_main(thread: Thread, loaded: Loaded, top: int, argv: Sequence[str], envp: Sequence[str]) -> None:
    """Make the PE ready: main(), or what leads to it. Raises NotExecutableError, LinuxError(E2BIG)."""
    kernel, program, root = thread.kernel, thread.program, loaded.root
    storage = program.storage
    headers = top - _HEADERS_SIZE
    if storage.image:
        rows = (
            _HEADER.pack(_PT_PHDR, PERM_READ, 0, headers, headers, 2 * _HEADER.size, 2 * _HEADER.size, 8),
            _HEADER.pack(_PT_TLS, PERM_READ, 0, storage.image, storage.image, storage.size, storage.size, storage.alignment),
        )
        thread.memory.write(headers, b"".join(rows))
    auxiliary = [
        (AuxiliaryType.HWCAP, kernel.hwcap),
        (AuxiliaryType.PAGESZ, PAGE_SIZE),
        (AuxiliaryType.CLKTCK, 100),
        (AuxiliaryType.PHDR, headers if storage.image else 0),
        (AuxiliaryType.PHENT, _HEADER.size),
        (AuxiliaryType.PHNUM, 2 if storage.image else 0),
        (AuxiliaryType.SECURE, 0),
    ]
    image = build_stack(
        headers, [argument.encode("utf-8", "surrogateescape") for argument in argv],
        [entry.encode("utf-8", "surrogateescape") for entry in envp], auxiliary,
        platform=thread.space.port.name.encode(), execfn=root.path.encode("utf-8", "surrogateescape"), random=_RANDOM,
    )  # fmt: skip
    thread.memory.write(image.pointer, image.data)
    arguments = (len(argv), image.pointer + 8, image.pointer + 8 * (len(argv) + 2))
    thread.application.arguments = arguments
    main = program.lookup_deep(root, b"main")
    library = next((file for file in program.kernel if isinstance(file, File)), None)
    if main is None and (library is None or root.elf.interpreter is None):
        raise NotExecutableError(root.path, "exports no main()")
    if library is None:
        assert main is not None
        make_thread_storage(thread)
        kernel.begin_main(thread, GuestCall(main.address, arguments, below=image.pointer))
    elif main is None:
        kernel.enter(thread, GuestCall(root.base + root.elf.entry, below=image.pointer))
    else:
        start = library.lookup_symbol(b"__libc_start_main")
        if start is None:
            raise NotExecutableError(library.path, "exports no __libc_start_main()")
        kernel.enter(thread, GuestCall(start.address, (main.address, *arguments[:2], 0, 0, 0), below=image.pointer))
