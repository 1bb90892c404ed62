# SPDX-License-Identifier: GPL-2.0-or-later
"""The same program on two kernels: Linux itself (driver.c, compiled for it) and ours, answering in one form.

`Both` makes each step on either side and compares. What the two need not agree on is taken out here: where a mapping
goes that was not told where, and which equal neighbours Linux leaves apart because their pages have different histories.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from syscalls.guest import Guest

from fetchsan.kernel.errors import GuestFault

__all__ = [
    "ARENA", "ARENA_SIZE", "FILES", "PAGE", "RET_AT", "Area", "Away", "Both", "Emulated", "Machine", "Native", "Side", "build",
    "make_files", "reason_to_skip",
]  # fmt: skip

PAGE = 4096
ARENA = 0x1000_001F_0000  # 16 pages below a 2 MiB boundary: free on every kernel, and two level-0 tables
ARENA_SIZE = 32 * PAGE
FILES = {"data": 6 * PAGE, "odd": PAGE + 100, "empty": 0}  # name -> size; each page's first byte is a letter of its own
RET_AT = 0x800  # where in a page of a file (or by `emit`) a function lies that returns at once
DRIVER = Path(__file__).with_name("driver.c")
RET = {"x86_64": bytes.fromhex("c3909090"), "aarch64": bytes.fromhex("c0035fd6")}
OLDEST = (5, 18)  # MADV_DONTNEED_LOCKED, the youngest thing that is asked
TIMEOUT = 120


@dataclass(frozen=True, slots=True)
class Area:
    """One line of /proc/self/maps."""

    start: int
    end: int
    rights: str
    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class Away:
    """An address that each kernel chose for itself, in the order of `Both.sides`."""

    addresses: tuple[int, ...]
    offset: int = 0

    def __add__(self, offset: int) -> Away:
        return Away(self.addresses, self.offset + offset)


Argument = int | Away
Answer = int | str


class Side(Protocol):
    """One kernel with one program on it."""

    def call(self, name: str, *arguments: int) -> int:
        """A system call's result, negative for an errno."""

    def load(self, address: int) -> Answer:
        """The byte, or `signal S code C at ADDRESS`."""

    def store(self, address: int, byte: int) -> Answer:
        """0 or the fault."""

    def emit(self, address: int) -> Answer:
        """Write a function that returns; 0 or the fault."""

    def execute(self, address: int) -> Answer:
        """Call it; "not code" if something else is there."""

    def residency(self, address: int, length: int) -> Answer:
        """mincore's vector, or its error."""

    def open(self, slot: int, path: str, flags: int) -> int:
        """Open as descriptor `slot`."""

    def get(self, fd: int, offset: int, length: int) -> Answer:
        """What pread reads, after an x, in hexadecimal."""

    def put(self, fd: int, offset: int, length: int, byte: int) -> int:
        """pwrite LENGTH times a byte."""

    def maps(self, low: int, high: int) -> list[Area]:
        """The lines of /proc/self/maps that touch [low, high), cut to it."""

    def close(self) -> None:
        """The program ends."""


class Native:
    """driver.c, run by `command` in `directory`."""

    def __init__(self, command: list[str], directory: Path) -> None:
        self.process = subprocess.Popen(
            command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_no_core
        )

    def _ask(self, *words: object) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the driver died of {words}"
        return answer.rstrip("\n")

    def call(self, name: str, *arguments: int) -> int:
        return int(self._ask("call", name, *arguments))

    def load(self, address: int) -> Answer:
        return _number_or_text(self._ask("load", address))

    def store(self, address: int, byte: int) -> Answer:
        return _number_or_text(self._ask("store", address, byte))

    def emit(self, address: int) -> Answer:
        return _number_or_text(self._ask("emit", address))

    def execute(self, address: int) -> Answer:
        return _number_or_text(self._ask("execute", address))

    def residency(self, address: int, length: int) -> Answer:
        return self._ask("residency", address, length)

    def open(self, slot: int, path: str, flags: int) -> int:
        return int(self._ask("open", slot, path, flags))

    def get(self, fd: int, offset: int, length: int) -> Answer:
        return self._ask("get", fd, offset, length)

    def put(self, fd: int, offset: int, length: int, byte: int) -> int:
        return int(self._ask("put", fd, offset, length, byte))

    def maps(self, low: int, high: int) -> list[Area]:
        return _areas(self._ask("maps", low, high).split("|"), low, high)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(TIMEOUT) == 0
        self.process.stdout.close()


class Machine(Native):
    """The same program under `fetchsan run`."""

    def __init__(self, program: Path, directory: Path) -> None:
        super().__init__([sys.executable, "-m", "fetchsan", "run", str(program)], directory)


class Emulated:
    """A program of our kernel that exists only as its system calls and accesses."""

    def __init__(self, directory: Path) -> None:
        self.guest = Guest(directory)

    def call(self, name: str, *arguments: int) -> int:
        return self.guest.call(name, *arguments)

    def load(self, address: int) -> Answer:
        return self._access(lambda: self.guest.task.memory.read(address, 1)[0])

    def store(self, address: int, byte: int) -> Answer:
        return self._access(lambda: self.guest.task.memory.write(address, bytes([byte])))

    def emit(self, address: int) -> Answer:
        return self._access(lambda: self.guest.task.memory.write(address, RET["aarch64"]))

    def execute(self, address: int) -> Answer:
        code = self._access(lambda: int.from_bytes(self.guest.task.memory.read(address, 4), "little"))
        if isinstance(code, int) and code != int.from_bytes(RET["aarch64"], "little"):
            return "not code"
        translation = self.guest.kernel.hardware.translations.get(address & -PAGE)  # type: ignore[attr-defined]
        if translation is not None and translation.executable:
            return 0
        return self._access(lambda: self.guest.task.space.fault(0, address, "execute"))

    def residency(self, address: int, length: int) -> Answer:
        pages = (length + PAGE - 1) // PAGE
        vector = self.guest.room(max(pages, 1))
        result = self.guest.call("mincore", address, length, vector)
        return str(result) if result < 0 else "".join(str(byte & 1) for byte in self.guest.peek(vector, pages))

    def open(self, slot: int, path: str, flags: int) -> int:
        fd = self.guest.open(path, flags)
        if fd < 0:
            return fd
        result = self.guest.call("dup3", fd, slot, 0)
        self.guest.call("close", fd)
        return min(result, 0)

    def get(self, fd: int, offset: int, length: int) -> Answer:
        room = self.guest.room(length)
        result = self.guest.call("pread64", fd, room, length, offset)
        return str(result) if result < 0 else "x" + self.guest.peek(room, result).hex()

    def put(self, fd: int, offset: int, length: int, byte: int) -> int:
        return self.guest.call("pwrite64", fd, self.guest.put(bytes([byte]) * length), length, offset)

    def maps(self, low: int, high: int) -> list[Area]:
        text = self.guest.content("/proc/self/maps")
        assert isinstance(text, bytes)
        return _areas(text.decode().splitlines(), low, high)

    def close(self) -> None:
        self.guest.task.space.destroy()

    def _access(self, access: Callable[[], int | None]) -> Answer:
        try:
            return access() or 0
        except GuestFault as fault:
            return f"signal {fault.signal} code {fault.code} at {fault.address:#x}"


class Both:
    """Every step on all sides; a difference fails the test and says what had been done."""

    def __init__(self, *sides: Side) -> None:
        self.sides = sides
        self.history: list[str] = []
        self.brk_base = tuple(-(-side.call("brk", 0) // PAGE) * PAGE for side in sides)

    def call(self, name: str, *arguments: Argument) -> int | Away:
        """A system call. An address outside the arena, wherever each side has it, is an `Away`."""
        results = self._each(lambda side, own: side.call(name, *own), *arguments)
        chosen = name in ("mmap", "mremap") and not any(ARENA <= result < ARENA + ARENA_SIZE for result in results)
        if chosen and all(result >= 0 for result in results):
            return Away(results)
        return self._agreed(results, f"{name}{arguments}")

    def brk(self, offset: int) -> int:
        """brk(2) to `offset` from the heap's first whole page; the new end, from there too."""
        ends = tuple(
            side.call("brk", base + offset) - base for side, base in zip(self.sides, self.brk_base, strict=True)
        )
        return self._agreed(ends, f"brk +{offset:#x}")

    @property
    def heap(self) -> Away:
        """The heap's first whole page."""
        return Away(self.brk_base)

    def load(self, address: Argument) -> Answer:
        return self._agreed(self._each(lambda side, own: _relative(side.load(*own), *own), address), f"load {address}")

    def store(self, address: Argument, byte: int) -> Answer:
        results = self._each(lambda side, own: _relative(side.store(own[0], byte), *own), address)
        return self._agreed(results, f"store {address} {byte}")

    def emit(self, address: Argument) -> Answer:
        return self._agreed(self._each(lambda side, own: _relative(side.emit(*own), *own), address), f"emit {address}")

    def execute(self, address: Argument) -> Answer:
        results = self._each(lambda side, own: _relative(side.execute(*own), *own), address)
        return self._agreed(results, f"execute {address}")

    def residency(self, address: Argument, length: int) -> Answer:
        return self._agreed(self._each(lambda side, own: side.residency(own[0], length), address), f"mincore {address}")

    def open(self, slot: int, path: str, flags: int) -> int:
        return self._agreed(self._each(lambda side, _: side.open(slot, path, flags)), f"open {path} {flags:#o}")

    def get(self, fd: int, offset: int, length: int) -> Answer:
        def masked(side: Side) -> Answer:
            answer = side.get(fd, offset, length)
            return answer if not isinstance(answer, str) else _without_code(answer)

        return self._agreed(self._each(lambda side, _: masked(side)), f"pread {fd} {offset}+{length}")

    def put(self, fd: int, offset: int, length: int, byte: int) -> int:
        return self._agreed(self._each(lambda side, _: side.put(fd, offset, length, byte)), f"pwrite {fd} {offset}+{length}")

    def maps(self, low: Argument = ARENA, size: int = ARENA_SIZE, *, joined: bool = True) -> list[Area]:
        """What is mapped in a range, its addresses counted from `low`; equal neighbours joined unless told otherwise."""

        def counted(side: Side, start: int) -> list[Area]:
            areas = side.maps(start, start + size)
            moved = [Area(a.start - start, a.end - start, a.rights, a.offset, a.name) for a in areas]
            return _joined(moved) if joined else moved

        return self._agreed(self._each(lambda side, own: counted(side, own[0]), low), "maps")

    def one_area(self, start: int, end: int) -> bool:
        """Whether [start, end) lies in a single area on every side."""
        return all([(a.start, a.end) for a in side.maps(start, end)] == [(start, end)] for side in self.sides)

    def close(self) -> None:
        for side in self.sides:
            side.close()

    def _each(self, step: Callable[[Side, tuple[int, ...]], Any], *arguments: Argument) -> tuple[Any, ...]:
        return tuple(
            step(side, tuple(a if isinstance(a, int) else a.addresses[number] + a.offset for a in arguments))
            for number, side in enumerate(self.sides)
        )

    def _agreed(self, results: tuple[Any, ...], step: str) -> Any:
        self.history.append(f"{step} -> {results[0]}"[:200])
        if any(result != results[0] for result in results):
            said = "\n".join(f"  {type(side).__name__}: {result}" for side, result in zip(self.sides, results, strict=True))
            raise AssertionError(f"{step}:\n{said}\nafter\n  " + "\n  ".join(self.history[:-1]))
        return results[0]


def build(folder: Path, compiler: str) -> Path:
    """driver.c as a static executable in `folder`."""
    program = folder / f"driver-{Path(compiler).name}"
    command = [compiler, "-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, DRIVER]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
    return program


def reason_to_skip() -> str | None:
    """Why this host cannot say what Linux does, if so."""
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    if sys.platform != "linux" or platform.machine() not in RET or os.sysconf("SC_PAGE_SIZE") != PAGE:
        return "the host is no Linux with 4 KiB pages whose `ret` is known"
    if release is None or (int(release[1]), int(release[2])) < OLDEST:
        return f"the host's kernel is older than {OLDEST[0]}.{OLDEST[1]}"
    if 0 <= resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] < 1 << 20:
        return "RLIMIT_MEMLOCK is less than 1 MiB"
    return None if shutil.which("gcc") else "gcc is not installed"


def make_files(directory: Path) -> None:
    """FILES: page 0 of a file begins with A, page 1 with B ..."""
    directory.mkdir()
    for name, size in FILES.items():
        pages = (bytes([65 + index]) + bytes(PAGE - 1) for index in range(-(-size // PAGE)))
        (directory / name).write_bytes(b"".join(pages)[:size])


def _areas(lines: list[str], low: int, high: int) -> list[Area]:
    areas = []
    for line in lines:
        if not line.strip():
            continue
        span, rights, offset, _, _, *name = line.split(maxsplit=5)
        start, end = (int(edge, 16) for edge in span.split("-"))
        if start >= high or end <= low:
            continue
        anonymous = not name or name[0].startswith("[")
        cut = max(low - start, 0)
        at = 0 if anonymous else int(offset, 16) + cut
        areas.append(Area(start + cut, min(end, high), rights, at, name[0].rpartition("/")[2] if name else ""))
    return areas


def _joined(areas: list[Area]) -> list[Area]:
    joined: list[Area] = []
    for area in areas:
        last = joined[-1] if joined else None
        if last is not None and last.end == area.start and (last.rights, last.name) == (area.rights, area.name):
            file = bool(area.name) and not area.name.startswith("[")
            if not file or last.offset + last.end - last.start == area.offset:
                joined[-1] = Area(last.start, area.end, last.rights, last.offset, last.name)
                continue
        joined.append(area)
    return joined


def _relative(answer: Answer, address: int) -> Answer:
    """A fault's address, counted from where the access was."""
    if isinstance(answer, int) or not answer.startswith("signal"):
        return answer
    words = answer.split()
    return " ".join([*words[:-1], f"{int(words[-1], 16) - address:+#x}"])


def _without_code(answer: str) -> str:
    for code in RET.values():
        answer = answer.replace(code.hex(), "(ret)...")
    return answer


def _number_or_text(answer: str) -> Answer:
    return int(answer) if answer.lstrip("-").isdigit() else answer


def _no_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
