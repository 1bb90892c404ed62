# SPDX-License-Identifier: GPL-2.0-or-later
"""Files in memory against the obvious model: a bytearray."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.memory_tree import MemoryDirectory, MemoryFile, MemoryFileSystem

OFFSETS = st.integers(0, 200_000)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), OFFSETS, st.binary(max_size=300)),
        st.tuples(st.just("fill"), OFFSETS, st.integers(0, 140_000)),
        st.tuples(st.just("truncate"), OFFSETS),
        st.tuples(st.just("read"), OFFSETS, OFFSETS),
    ),
    max_size=20,
)


def file_system(limit: int = 1 << 24) -> MemoryFileSystem:
    return MemoryFileSystem(1, lambda: 0, (1000, 1000), limit)


@given(STEPS)
def test_behaves_like_bytes(steps: list[tuple[object, ...]]) -> None:
    file, model = MemoryFile(file_system(), 0o600), bytearray()
    for kind, offset, *rest in steps:
        assert isinstance(offset, int)
        if kind == "truncate":
            file.truncate(offset)
            del model[offset:]
            model.extend(bytes(offset - len(model)))
        elif kind == "read":
            assert file.read_at(offset, rest[0]) == model[offset : offset + rest[0]]  # type: ignore[arg-type,operator]
        else:
            data = rest[0] if isinstance(rest[0], bytes) else b"f" * rest[0]  # type: ignore[operator]
            assert file.write_at(offset, data) == len(data)
            if data:
                model.extend(bytes(max(0, offset - len(model))))
                model[offset : offset + len(data)] = data
        assert file.size == len(model)
    assert file.read_at(0, file.size) == model


@given(STEPS)
def test_storage_is_accounted_for(steps: list[tuple[object, ...]]) -> None:
    files = file_system()
    file = MemoryFile(files, 0o600)
    for kind, offset, *rest in steps:
        if kind == "truncate":
            file.truncate(offset)  # type: ignore[arg-type]
        elif kind == "write":
            file.write_at(offset, rest[0])  # type: ignore[arg-type]
        assert files.used == file.stored()
    del file
    assert files.used == 0


def test_full_file_system_takes_what_fits() -> None:
    file = MemoryFile(file_system(limit=3 << 16), 0o600)
    assert file.write_at(0, bytes(1 << 20)) == 3 << 16
    with pytest.raises(LinuxError) as caught:
        file.write_at(3 << 16, b"x")
    assert caught.value.errno == errno.ENOSPC


def test_names_take_storage() -> None:
    directory = MemoryDirectory(file_system(limit=1 << 16), 0o755)
    with pytest.raises(LinuxError) as caught:
        for number in range(1000):
            directory.create(b"%d" % number, 0o600)
    assert caught.value.errno == errno.ENOSPC
