# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sides import Both, Emulated, Native, build, make_files, reason_to_skip


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """driver.c for the host."""
    reason = reason_to_skip()
    if reason is not None:
        pytest.skip(reason)
    compiler = shutil.which("gcc")
    assert compiler is not None
    return build(tmp_path_factory.mktemp("driver"), compiler)


@pytest.fixture
def both(driver: Path, tmp_path: Path) -> Iterator[Both]:
    """Linux, and our kernel in this process."""
    for name in ("native", "ours"):
        make_files(tmp_path / name)
    both = Both(Native([str(driver)], tmp_path / "native"), Emulated(tmp_path / "ours"))
    yield both
    both.close()
