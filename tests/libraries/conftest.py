# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines with Debian's libraries, one for each architecture and test file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import fetchsan
from fetchsan.libraries import Library, LibraryError
from fetchsan.sysroot import default_root

CPUS = {"arm64": "cortex-a72", "amd64": "x86-64"}

Load = Callable[[str], Library]


def machine_of(architecture: str, **settings) -> fetchsan.Machine:
    if not (default_root(architecture) / "usr/lib").is_dir():
        pytest.skip(f"no sysroot: `fetchsan sysroot add --arch {architecture} libc6 ...`")
    return fetchsan.Machine(cpu=CPUS[architecture], clean_environment=True, **settings)


def load_or_skip(machine: fetchsan.Machine, name: str, package: str, **keywords) -> Library:
    try:
        return machine.load(name, **keywords)
    except LibraryError:
        pytest.skip(f"{name} is not in the sysroot: `fetchsan sysroot add {package}`")


@pytest.fixture(scope="module", params=CPUS)
def machine(request) -> Iterator[fetchsan.Machine]:
    """With libc in it, and its output captured."""
    with machine_of(request.param) as machine:
        machine.load("libc.so.6", capture_stdout=True)
        yield machine


@pytest.fixture
def libc(machine) -> Library:
    return machine.load("libc.so.6")


@pytest.fixture
def arm64() -> Iterator[fetchsan.Machine]:
    """For what ends or disturbs it."""
    with machine_of("arm64") as machine:
        yield machine
