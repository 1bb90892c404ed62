# SPDX-License-Identifier: GPL-2.0-or-later
"""RunSettings refuse what cannot be had, in one clear line, and hand the kernel its part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fetchsan.errors import UsageError
from fetchsan.kernel.options import DirectoryGrant
from fetchsan.settings import RunSettings, directory_grant, environment_entry, memory_size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cpu": "cortex-a73"}, "unknown CPU 'cortex-a73'"),
        ({"mode": "fast"}, "mode 'fast' is not one of check, stale, coherent"),
        ({"kernel_sync": "both"}, "kernel-sync 'both' is not one of auto, osv, linux, none"),
        ({"ignore_maintenance": "isb"}, "ignore-maintenance 'isb' is not one of dc, ic, all"),
        ({"smp": 0}, "smp 0 is not between 1 and 64"),
        ({"smp": 2}, "smp 2: more than one processor is not built yet"),
        ({"linker": "osv", "strace": True}, "strace: not built yet for linker osv"),
        ({"seed": -1}, "seed -1 is not between 0 and 18446744073709551615"),
        ({"error_exitcode": 256}, "error-exitcode 256 is not between 0 and 255"),
        ({"memory": 1 << 20}, "memory 1048576 is not between"),
        ({"memory": (1 << 30) + 1}, "memory 1073741825 is not a multiple of 4096"),
        ({"sysroot": Path("/no/such")}, "sysroot /no/such: no such directory"),
        ({"directories": (DirectoryGrant(Path("/no/such"), "/x"),)}, "dir /no/such: no such directory"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}") as error:
        RunSettings(**changes)
    assert error.value.exit_status == 2


def test_keywords_make_the_same_settings_again() -> None:
    settings = RunSettings(cpu="neoverse-n1", strict=True)
    assert RunSettings(**settings.keywords()) == settings


def test_the_guest_inherits_the_environment_with_changes() -> None:
    options = RunSettings(environment=(("A", "2"),)).kernel_options(("x",), {"A": "1", "B": "3"})
    assert options.env == (("A", "2"), ("B", "3"))


def test_a_clean_environment_has_only_what_was_set() -> None:
    options = RunSettings(environment=(("A", "2"),), clean_environment=True).kernel_options(("x",), {"B": "3"})
    assert options.env == (("A", "2"),)


def test_auto_kernel_sync_is_linux_for_the_linux_abi() -> None:
    assert RunSettings().sync_policy == "linux"


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("/data", DirectoryGrant(Path("/data"), "/data")),
        ("/data:ro", DirectoryGrant(Path("/data"), "/data", True)),
        ("/data:/mnt", DirectoryGrant(Path("/data"), "/mnt")),
        ("/data:/mnt:ro", DirectoryGrant(Path("/data"), "/mnt", True)),
    ],
)
def test_directory_grants(text: str, grant: DirectoryGrant) -> None:
    assert directory_grant(text) == grant


def test_a_relative_host_directory_is_made_absolute() -> None:
    assert directory_grant("sub").guest == str(Path.cwd() / "sub")


@pytest.mark.parametrize("text", ["", ":/x", "/a:b", "/a:/b:/c", "/a:/b:rw"])
def test_bad_directory_grants(text: str) -> None:
    with pytest.raises(UsageError):
        directory_grant(text)


def test_environment_entries_split_at_the_first_equals() -> None:
    assert environment_entry("A=b=c") == ("A", "b=c")


@pytest.mark.parametrize("text", ["A", "=b", ""])
def test_bad_environment_entries(text: str) -> None:
    with pytest.raises(UsageError, match="is not VAR=VALUE"):
        environment_entry(text)


@pytest.mark.parametrize(("text", "size"), [("4096", 4096), ("64k", 65536), ("512M", 512 << 20), ("2G", 2 << 30)])
def test_memory_sizes(text: str, size: int) -> None:
    assert memory_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "4T", "4MG", "-1M", "1.5G", "\u0662M"])
def test_bad_memory_sizes(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        memory_size(text)
