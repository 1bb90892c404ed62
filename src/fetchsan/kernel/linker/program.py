# SPDX-License-Identifier: GPL-2.0-or-later
"""Owns a program as OSv's kernel has it (`elf::program`): its modules, the order they are searched in, loading, unloading.

program = Program(space, memory, open_file, at=program_base)
loaded = yield from program.load("/app.so")            # mapped and relocated
yield from program.initialise(loaded, arguments)       # constructors

`InGuest` operations yield the calls of the program's code that they need; `without_calls` is for those that need none.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from fetchsan.errors import NotExecutableError
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.linker.file import File
from fetchsan.kernel.linker.object import Definition, GuestCall, InGuest, Object
from fetchsan.kernel.linker.relocate import Relocator
from fetchsan.kernel.linker.relocations import RELOCATIONS
from fetchsan.kernel.linker.search import SEARCH_PATH, candidates
from fetchsan.kernel.linker.symbols import Symbol, printable
from fetchsan.kernel.linker.thread_storage import ThreadStorage
from fetchsan.kernel.linker.tls import TlsBlock
from fetchsan.kernel.linker.versions import NEWEST, Version
from fetchsan.kernel.mmu.mappable import MappableInode
from fetchsan.kernel.mmu.operate import PAGE_SIZE
from fetchsan.kernel.mmu.osv_space import OsvSpace
from fetchsan.kernel.mmu.user_memory import UserMemory

__all__ = ["NO_ENTRIES", "Entries", "Loaded", "Program", "without_calls"]

_MAX_OBJECTS = 1024
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Entries:
    """Addresses at which the kernel does what only it can; see kernel/osv/linker_entries.py for what each is called with."""

    plt_resolver: int
    tls_descriptor: int
    tls_descriptor_on_demand: int


NO_ENTRIES = Entries(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one request brought in: the object that was asked for, and the new ones, in the order of their constructors."""

    root: File
    new: tuple[File, ...]


class Program:
    """`open_file(path)` gives a file or None. `kernel`: what is searched last; `provided`: names that it stands for.

    `thread` is the thread that it works for now; objects that another one is initialising are not seen by it.
    """

    resolver_arguments: tuple[int, ...] = (0,)

    def __init__(
        self,
        space: OsvSpace,
        memory: UserMemory,
        open_file: Callable[[str], MappableInode | None],
        *,
        at: int,
        kernel: Sequence[Object] = (),
        provided: frozenset[str] = frozenset(),
        entries: Entries = NO_ENTRIES,
        current: Callable[[], str] = lambda: "/",
        threads: Callable[[], Iterable[int]] = tuple,
        search_path: Sequence[str] = SEARCH_PATH,
    ) -> None:
        self.space, self.memory, self.entries = space, memory, entries
        self.kernel = list(kernel)
        self.storage = ThreadStorage(space, memory, threads)
        self.modules: list[File] = []
        """In the order they are searched in; the kernel comes after them."""
        self.thread = 0
        self.next_address = at  # `_next_alloc`: it only grows
        self._open, self.provided, self._search_path, self._current = open_file, provided, search_path, current
        self.loads = self.unloads = 0
        """How many there ever were, as dl_iterate_phdr tells."""
        self._constructed: list[File] = []
        self._missing_page = 0
        self._collecting = False

    # Loading --------------------------------------------------------------------------------------------------------

    def load(self, name: str, *, seeker: File | None = None, everywhere: bool = True, now: bool = False) -> InGuest[Loaded]:
        """Map `name` and what it needs, and relocate them. Raises NotExecutableError; nothing new stays mapped then."""
        before = len(self.modules)
        try:
            root = self._load_tree(name, seeker)
            new = self.modules[before:]
            for file in new:
                file.visible_to, file.everywhere, file.bind_now = self.thread, everywhere, now
            for file in self._reachable([root]) if everywhere else ():
                file.everywhere = True
            group = tuple(self._breadth_first(root))
            for file in new:
                file.group = group
            yield from self._relocate(new)
        except BaseException:
            self._discard(self.modules[before:])
            raise
        root.handles += 1
        return Loaded(root, tuple(file for file in self._dependencies_first(root) if file in new))

    def load_kernel(self, inode: MappableInode) -> InGuest[File]:
        """Load a file whose names the kernel provides: they are found after all others, and it is never unloaded."""
        file = self._add(inode)
        try:
            self.modules.remove(file)
            self.kernel.append(file)
            yield from self._relocate([file])
        except BaseException:
            self._discard([file])
            raise
        return file

    def initialise(self, loaded: Loaded, arguments: tuple[int, ...]) -> InGuest[None]:
        """Call the constructors, what is needed first; then everybody sees the objects."""
        for file in loaded.new:
            with _reading(file):
                functions = list(file.init_functions())
            file.initialised = True
            self._constructed.append(file)
            for function in functions:
                yield GuestCall(function, arguments)
        for file in loaded.new:
            file.visible_to = None

    def collect(self) -> InGuest[None]:
        """Unload what no handle and no other object holds; destructors run in the reverse order of the constructors."""
        if self._collecting:
            return  # a destructor has closed something: whoever runs it looks again
        self._collecting = True
        try:
            while garbage := self._unheld():
                finished = [file for file in reversed(self._constructed) if file in garbage]
                self._constructed = [file for file in self._constructed if file not in garbage]
                for file in finished:
                    yield from self._destroy(file)
                self._discard(garbage)
        finally:
            self._collecting = False

    def finish(self) -> InGuest[None]:
        """exit(): all destructors."""
        while self._constructed:
            yield from self._destroy(self._constructed.pop())

    def close(self) -> None:
        """Unmap everything."""
        self._discard([*self.modules, *(file for file in self.kernel if isinstance(file, File))])
        self.storage.close()
        if self._missing_page:
            self.space.evacuate(self._missing_page, self._missing_page + PAGE_SIZE)

    # Lookup ---------------------------------------------------------------------------------------------------------

    def lookup(self, name: bytes, version: Version = NEWEST, after: File | None = None) -> Definition | None:
        """What the whole program has by that name (RTLD_DEFAULT); `after`: behind that object (RTLD_NEXT)."""
        modules = [module for module in self.modules if module.everywhere]
        if after is not None:
            modules = modules[modules.index(after) + 1 :] if after in modules else list(after.group)
        return self._first((*modules, *self.kernel), name, version)

    def lookup_deep(self, root: File, name: bytes, version: Version = NEWEST) -> Definition | None:
        """What `root` has by that name, or what it needs."""
        return self._first(self._breadth_first(root), name, version)

    def find_object(self, address: int) -> Object | None:
        """The module that `address` lies in."""
        return next((module for module in (*self.modules, *self.kernel) if module.contains(address)), None)

    def find_loaded(self, name: str) -> File | None:
        """The object that is known by a name or a path."""
        return next((file for file in self.modules if name in (file.path, file.soname)), None)

    def module(self, number: int) -> File | None:
        """By number."""
        files = (*self.modules, *(file for file in self.kernel if isinstance(file, File)))
        return next((file for file in files if file.number == number), None)

    def resolve(self, seeker: File, symbol: Symbol, index: int, *, other: bool = False) -> Definition | None:
        """What a reference of `seeker` is bound to."""
        if symbol.binds_locally and not other:
            return Definition(seeker, symbol)
        name, version = seeker.symbols.name(symbol), seeker.symbols.versions.wanted(index)
        scope = (module for module in self._scope(seeker) if not (other and module is seeker))
        return self._first(scope, name, version)

    def missing_symbol(self, seeker: File, symbol: Symbol) -> int:
        """On x64 a page that nobody may touch; on aarch64 it is fatal."""
        if not RELOCATIONS[self.space.port.name].missing_symbols:
            name = printable(seeker.symbols.name(symbol))
            raise NotExecutableError(seeker.path, f"needs the symbol {name}, which nothing provides")
        if not self._missing_page:
            self._missing_page = self.space.map_anon(0, PAGE_SIZE, 0, 0, name="[missing symbols]")
        return self._missing_page

    @property
    def plt_resolver(self) -> int:
        """What GOTPLT[2] gets."""
        return self.entries.plt_resolver

    def describe_tls(self, block: TlsBlock, module: Object, offset: int) -> tuple[int, int]:
        """Two words: a function that is called with their address in a register, and what it returns or goes by."""
        if block.offset is None:
            return self.entries.tls_descriptor_on_demand, module.number << 48 | offset & (1 << 48) - 1
        quick = self._first(self.kernel, b"__tlsdesc_static", None)
        return quick.address if quick is not None else self.entries.tls_descriptor, block.offset + offset

    # ----------------------------------------------------------------------------------------------------------------

    def _scope(self, seeker: File) -> Iterator[Object]:
        if seeker.dynamic.symbolic:
            yield seeker
        yield from (module for module in self.modules if module.everywhere)
        yield from (module for module in seeker.group if not module.everywhere)
        yield from self.kernel

    def _first(self, scope: Iterable[Object], name: bytes, version: Version | None) -> Definition | None:
        for module in scope:
            if module.visible_to not in (None, self.thread):
                continue
            try:
                found = module.lookup_symbol(name, version)
            except (GuestFault, LinuxError):
                raise NotExecutableError(module.path, "corrupt ELF: its symbol tables lie outside its segments") from None
            if found is not None:
                return found
        return None

    def _load_tree(self, name: str, seeker: File | None) -> File:
        """Breadth first: the order that symbols are searched in."""
        root = self._find_or_add(name, seeker)
        assert root is not None
        queue = [root]
        for file in queue:
            if file.needed or file.initialised:
                continue
            for needed in file.dynamic.needed:
                found = self._find_or_add(needed, file, wanted=True) if needed not in self.provided else None
                if found is not None and found not in file.needed:
                    file.needed.append(found)
                    if found not in queue:
                        queue.append(found)
        return root

    def _find_or_add(self, name: str, seeker: File | None, *, wanted: bool = False) -> File:
        """`wanted`: by `seeker` itself, rather than by a call that it made."""
        if "/" in name:
            name = posixpath.normpath(posixpath.join(self._current(), name))
        if (known := self.find_loaded(name)) is not None:
            return known
        run_path, origin = (seeker.dynamic.search_path, seeker.path) if seeker is not None else ((), "/")
        tried = list(candidates(name, run_path, origin, self._search_path))
        inode = next((inode for inode in map(self._open, tried) if inode is not None), None)
        if inode is None:
            who, need = (seeker.path, f"needs {name}, which is ") if seeker is not None and wanted else (name, "")
            raise NotExecutableError(printable(who), printable(f"{need}not found (looked for {', '.join(tried)})"))
        for file in self.modules:
            if file.inode.identity == inode.identity:
                return file
        return self._add(inode)

    def _add(self, inode: MappableInode) -> File:
        if len(self.modules) >= _MAX_OBJECTS:
            raise NotExecutableError(inode.path, f"is one of more than {_MAX_OBJECTS} objects")
        file = File(self.space, self.memory, inode, self.next_address)
        self.loads += 1
        file.number = self.loads
        self.modules.append(file)
        with _reading(file):
            try:
                file.load()
                self.storage.add(file)
            except BaseException:
                self._discard([file])
                raise
        self.next_address = file.end
        return file

    def _relocate(self, files: Sequence[File]) -> InGuest[None]:
        # What is needed comes first: resolvers and copies may use it.
        relocators = [Relocator(file, self) for file in reversed(files)]
        for relocator in relocators:
            with _reading(relocator.file):
                relocator.store()
        for relocator in relocators:
            with _reading(relocator.file):
                relocator.copy()
                relocator.file.synchronise_text()
        for relocator in relocators:
            with _reading(relocator.file):
                yield from relocator.resolve()
                relocator.file.fix_permissions()
        if self.storage.image:
            self.storage.initialise(files)

    def _destroy(self, file: File) -> InGuest[None]:
        with _reading(file):
            functions = list(file.fini_functions())
        for function in functions:
            yield GuestCall(function)

    def _discard(self, files: Sequence[File]) -> None:
        for file in reversed(files):
            if file in self.modules:
                self.modules.remove(file)
            if file in self.kernel:
                self.kernel.remove(file)
            self.storage.remove(file)
            file.unload()
            self.unloads += 1

    def _unheld(self) -> list[File]:
        held = self._reachable(file for file in self.modules if file.handles or file.no_delete)
        return [file for file in self.modules if file not in held]

    def _breadth_first(self, root: File) -> list[File]:
        queue = [root]
        for file in queue:
            queue += [needed for needed in file.needed if needed not in queue]
        return queue

    def _dependencies_first(self, root: File) -> list[File]:
        done: dict[File, None] = {}
        entered: set[File] = set()
        stack = [root]
        while stack:
            file = stack[-1]
            entered.add(file)
            waiting = [needed for needed in file.needed if needed not in entered]
            if waiting:
                stack.append(waiting[0])
            else:
                done[stack.pop()] = None
        return list(done)

    def _reachable(self, roots: Iterable[File]) -> set[File]:
        found: set[File] = set()
        stack = list(roots)
        while stack:
            file = stack.pop()
            if file not in found:
                found.add(file)
                stack += [*file.needed, *(other for other in file.bound_to if isinstance(other, File))]
        return found


def without_calls(operation: InGuest[_T]) -> _T:
    """Do something that calls no code of the program. Raises NotExecutableError if it wants to."""
    try:
        call = next(operation)
    except StopIteration as done:
        value: _T = done.value
        return value
    operation.close()
    raise NotExecutableError("?", f"needs its code at {call.address:#x} to be run in order to be loaded")


@contextmanager
def _reading(file: File) -> Iterator[None]:
    """Its addresses lead where nothing is: the file is corrupt, and says so under its own name."""
    try:
        yield
    except (GuestFault, LinuxError) as error:
        raise NotExecutableError(file.path, f"cannot be loaded: {_reason(error)}") from None


def _reason(error: GuestFault | LinuxError) -> str:
    if isinstance(error, GuestFault):
        return f"it names address {error.address:#x}, which it may not {error.access}"
    return os.strerror(error.errno or errno.EINVAL).lower()
