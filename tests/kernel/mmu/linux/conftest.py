# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sides import Both, Emulated, Machine, Native, build, make_files, reason_to_skip


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """driver.c for the host."""
    reason = reason_to_skip()
    if reason is not None:
        pytest.skip(reason)
    return build(tmp_path_factory.mktemp("driver"), "gcc")


@pytest.fixture(scope="session")
def guest_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """driver.c for our machine."""
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("aarch64-linux-gnu-gcc is not installed")
    return build(tmp_path_factory.mktemp("driver"), "aarch64-linux-gnu-gcc")


@pytest.fixture(params=["kernel", pytest.param("machine", marks=pytest.mark.slow)])
def both(request: pytest.FixtureRequest, driver: Path, tmp_path: Path) -> Iterator[Both]:
    """Linux beside our kernel: alone in this process, or all of FetchSan running the same program."""
    for name in ("native", "ours"):
        make_files(tmp_path / name)
    native = Native([str(driver)], tmp_path / "native")
    if request.param == "kernel":
        both = Both(native, Emulated(tmp_path / "ours"))
    else:
        both = Both(native, Machine(request.getfixturevalue("guest_driver"), tmp_path / "ours"))
    yield both
    both.close()
