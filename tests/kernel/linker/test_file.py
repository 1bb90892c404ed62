# SPDX-License-Identifier: GPL-2.0-or-later
"""OSv's loader: an object made by a real linker arrives where it should; a damaged one is refused and leaves nothing."""

from __future__ import annotations

import struct
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetchsan.arch.aarch64.cpus import get_cpu
from fetchsan.errors import NotExecutableError
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.linker.file import File
from fetchsan.kernel.linker.program import Program, without_calls
from fetchsan.kernel.osv import OsvKernel, RofsFile
from fetchsan.machine.machine import Machine
from fetchsan.machine.memory import PhysicalMemory

GUESTS = files("fetchsan.scenarios").joinpath("guests")
IMAGE, TEXTREL, BSS_TAIL = (GUESTS.joinpath(f"tst-{name}.so").read_bytes() for name in ("hello", "textrel", "bss-tail"))
PROGRAM_BASE = 0x1000_0000_0000
VERDICTS, MAIN, DYNAMIC = 0x7EB0, 0x1000, 0x6EC0  # addresses of two symbols, and where in the file the dynamic table lies
RELOCATION, RELOCATED, RELOCATED_CODE_SYMBOL = 0x2D0, 0x1080, 0x278  # in tst-textrel.so
TAIL = 0x3004  # in tst-bss-tail.so
PT_DYNAMIC_ROW, PT_RELRO_ROW = 64 + 4 * 56, 64 + 7 * 56


class Loader:
    """A kernel on a machine that runs nothing."""

    def __init__(self) -> None:
        self.machine = Machine(get_cpu("cortex-a72"), memory=PhysicalMemory(16 << 20), user=False)
        self.kernel = OsvKernel(self.machine, sync="osv")
        self.program: Program | None = None

    def load(self, data: bytes = IMAGE, at: int = PROGRAM_BASE) -> File:
        files = {"/tst-hello.so": RofsFile("/tst-hello.so", data)}
        self.program = Program(self.kernel.space, self.kernel.memory, files.get, at=at)
        return without_calls(self.program.load("/tst-hello.so")).root

    def lookup(self, name: str) -> int | None:
        assert self.program is not None
        found = self.program.lookup(name.encode())
        return found.address if found is not None else None

    def rights(self) -> list[tuple[int, int, int]]:
        return [(vma.start - PROGRAM_BASE, vma.end - PROGRAM_BASE, vma.perm) for vma in self.kernel.space.vmas.mapped()]

    def reason(self, data: bytes) -> str:
        with pytest.raises(NotExecutableError) as caught:
            self.load(data)
        return caught.value.reason


@pytest.fixture
def loader() -> Loader:
    return Loader()


def patched(at: int, data: bytes) -> bytes:
    return IMAGE[:at] + data + IMAGE[at + len(data) :]


def with_tag(tag: int) -> bytes:
    """The first entry of the dynamic table replaced."""
    return patched(DYNAMIC, struct.pack("<QQ", tag, 0))


def test_segments_lie_at_program_base_with_their_rights_and_relro_is_read_only(loader: Loader) -> None:
    loader.load()
    assert loader.rights() == [(0, 0x1000, 1), (0x1000, 0x6000, 5), (0x6000, 0x7000, 1), (0x7000, 0x8000, 1)]


def test_relative_relocations_are_stored(loader: Loader) -> None:
    loader.load()
    assert loader.kernel.memory.read_u64(PROGRAM_BASE + VERDICTS) == PROGRAM_BASE + 0x6028


def test_text_is_not_touched_by_loading(loader: Loader) -> None:
    loader.load()
    assert not loader.kernel.space.tables.lookup(PROGRAM_BASE + MAIN)


def test_the_base_is_rounded_up_to_the_objects_alignment(loader: Loader) -> None:
    assert loader.load(at=PROGRAM_BASE + 1).base == PROGRAM_BASE + 0x1000


def test_an_exported_symbol_is_found(loader: Loader) -> None:
    loader.load()
    assert loader.lookup("main") == PROGRAM_BASE + MAIN


@pytest.mark.parametrize("name", ["", "mai", "main2", "work_0"])
def test_other_names_are_not_exported(loader: Loader, name: str) -> None:
    loader.load()
    assert loader.lookup(name) is None


def test_unloading_gives_every_frame_back(loader: Loader) -> None:
    before = loader.machine.memory.frames_in_use
    loader.load().unload()
    assert (loader.rights(), loader.machine.memory.frames_in_use) == ([], before)


def test_relocations_without_addends_are_refused_by_name(loader: Loader) -> None:
    assert "(DT_REL)" in loader.reason(with_tag(17))


def test_an_object_that_was_refused_is_unmapped(loader: Loader) -> None:
    loader.reason(with_tag(17))
    assert loader.rights() == []


def test_an_executable_at_a_fixed_address_is_refused(loader: Loader) -> None:
    image = bytearray(patched(0x10, b"\2\0"))
    for row in range(64, 64 + 4 * 56, 56):
        (address,) = struct.unpack_from("<Q", image, row + 16)
        struct.pack_into("<Q", image, row + 16, address + 0x400000)
    assert "fixed address" in loader.reason(bytes(image))


def test_no_dynamic_section(loader: Loader) -> None:
    assert "PT_DYNAMIC" in loader.reason(patched(PT_DYNAMIC_ROW, bytes(4)))


def test_another_relocation_type_is_named(loader: Loader) -> None:
    assert "type 1023" in loader.reason(patched(0x2A8, struct.pack("<Q", 1023)))


def test_a_relocation_against_a_symbol_that_nothing_provides_names_it(loader: Loader) -> None:
    image = bytearray(TEXTREL)
    struct.pack_into("<H", image, RELOCATED_CODE_SYMBOL + 6, 0)  # st_shndx: undefined
    assert loader.reason(bytes(image)) == "needs the symbol relocated_code, which nothing provides"


def test_a_weak_symbol_that_nothing_provides_is_zero(loader: Loader) -> None:
    image = bytearray(TEXTREL)
    struct.pack_into("<BBHQ", image, RELOCATED_CODE_SYMBOL + 4, 2 << 4, 0, 0, 0)
    loader.load(bytes(image))
    assert loader.kernel.memory.read_u64(PROGRAM_BASE + RELOCATED) == 0


def test_an_absolute_symbol_does_not_move_with_its_object(loader: Loader) -> None:
    loader.load(TEXTREL)
    assert loader.kernel.memory.read_u64(PROGRAM_BASE + RELOCATED) == 0xD65F03C0_52800540


def test_a_symbol_of_the_object_moves_with_it(loader: Loader) -> None:
    image = bytearray(TEXTREL)
    struct.pack_into("<Q", image, RELOCATION + 8, 3 << 32 | 257)  # against main()
    loader.load(bytes(image))
    assert loader.kernel.memory.read_u64(PROGRAM_BASE + RELOCATED) == PROGRAM_BASE + MAIN


def test_text_with_relocations_is_read_only_again_afterwards(loader: Loader) -> None:
    loader.load(TEXTREL)
    assert loader.rights() == [(0, 0x1000, 1), (0x1000, 0x2000, 5), (0x2000, 0x3000, 1), (0x3000, 0x4000, 1)]


def test_what_follows_a_segment_in_its_file_is_zeroed(loader: Loader) -> None:
    loader.load(BSS_TAIL)
    assert (BSS_TAIL[TAIL : TAIL + 4], loader.kernel.memory.read_u32(PROGRAM_BASE + TAIL)) == (b"\x20\0\x80\x52", 0)


def test_a_relocation_outside_the_object_names_the_address(loader: Loader) -> None:
    assert loader.reason(patched(0x2A0, struct.pack("<Q", 0x12345678))) == (
        "cannot be loaded: it names address 0x100012345678, which it may not write"
    )


def test_relro_outside_the_object(loader: Loader) -> None:
    assert "PT_GNU_RELRO" in loader.reason(patched(PT_RELRO_ROW + 16, struct.pack("<Q", 0x9000)))


def test_without_a_gnu_hash_table_the_older_one_serves(loader: Loader) -> None:
    loader.load(patched(DYNAMIC + 2 * 16, struct.pack("<Q", 0x6FFF_0000)))
    assert loader.lookup("main") == PROGRAM_BASE + MAIN


def test_without_any_hash_table_there_are_no_names(loader: Loader) -> None:
    loader.load(patched(DYNAMIC + 16, struct.pack("<QQQ", 0x6FFF_0000, 0, 0x6FFF_0000)))
    assert loader.lookup("main") is None


PLACES = st.one_of(st.integers(0, 0x2D0), st.integers(DYNAMIC, 0x7000))


@settings(max_examples=150, deadline=None)
@given(edits=st.lists(st.tuples(PLACES, st.binary(max_size=8)), max_size=4))
def test_a_damaged_object_loads_or_is_refused(edits: list[tuple[int, bytes]]) -> None:
    loader = _SHARED
    data = bytearray(IMAGE)
    for at, replacement in edits:
        data[at : at + len(replacement)] = replacement
    try:
        loader.load(bytes(data))
        loader.lookup("main")
    except (NotExecutableError, GuestFault, LinuxError):
        pass
    loader.kernel.space.evacuate(0, loader.kernel.space.layout.limit)
    assert loader.rights() == []


_SHARED = Loader()
