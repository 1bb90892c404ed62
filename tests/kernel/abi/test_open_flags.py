# SPDX-License-Identifier: GPL-2.0-or-later
"""O_* of x86-64 programs, against its kernel's fcntl.h."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.kernel.abi.x64 import X64Abi
from fetchsan.kernel.vfs.flags import (
    O_CLOEXEC,
    O_CREAT,
    O_DIRECT,
    O_DIRECTORY,
    O_LARGEFILE,
    O_NOFOLLOW,
    O_PATH,
    O_RDWR,
    O_TMPFILE,
)

FLAGS = X64Abi.open_flags


@pytest.mark.parametrize(
    ("program", "vfs"),
    [
        (0o40000, O_DIRECT),
        (0o100000, O_LARGEFILE),
        (0o200000, O_DIRECTORY),
        (0o400000, O_NOFOLLOW),
        (0o20200000, O_TMPFILE),
        (0o12600102, O_PATH | O_CLOEXEC | O_DIRECTORY | O_NOFOLLOW | O_CREAT | O_RDWR),
    ],
)
def test_each_flag(program: int, vfs: int) -> None:
    assert (FLAGS.to_vfs(program), FLAGS.to_program(vfs)) == (vfs, program)


@given(st.integers(0, (1 << 64) - 1))
def test_nothing_is_lost(flags: int) -> None:
    assert FLAGS.to_program(FLAGS.to_vfs(flags)) == flags
