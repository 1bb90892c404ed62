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


GUEST_COMPILERS = {"aarch64": "aarch64-linux-gnu-gcc", "x64": "x86_64-linux-gnu-gcc"}


@pytest.fixture(scope="session")
def guest_drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """driver.c for our machines, where there is a compiler."""
    folder = tmp_path_factory.mktemp("driver")
    return {port: build(folder, name) for port, name in GUEST_COMPILERS.items() if shutil.which(name) is not None}


@pytest.fixture(params=list(GUEST_COMPILERS))
def guest_driver(request: pytest.FixtureRequest, guest_drivers: dict[str, Path]) -> Path:
    """driver.c for one of them."""
    return _guest(guest_drivers, request.param)


@pytest.fixture(params=["kernel", *(pytest.param(port, marks=pytest.mark.slow) for port in GUEST_COMPILERS)])
def both(request: pytest.FixtureRequest, driver: Path, guest_drivers: dict[str, Path], tmp_path: Path) -> Iterator[Both]:
    """Linux beside our kernel: alone in this process, or all of FetchSan running the same program."""
    for name in ("native", "ours"):
        make_files(tmp_path / name)
    native = Native([str(driver)], tmp_path / "native")
    if request.param == "kernel":
        both = Both(native, Emulated(tmp_path / "ours"))
    else:
        both = Both(native, Machine(_guest(guest_drivers, request.param), tmp_path / "ours"))
    yield both
    both.close()


def _guest(drivers: dict[str, Path], port: str) -> Path:
    if port not in drivers:
        pytest.skip(f"{GUEST_COMPILERS[port]} is not installed")
    return drivers[port]
