# SPDX-License-Identifier: GPL-2.0-or-later
"""/proc outside the processes, and /sys: the machine as Linux describes it, from declared tables."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from fetchsan.kernel.vfs.inode import Inode
from fetchsan.kernel.vfs.synthetic import SyntheticDirectory, SyntheticFileSystem, TextFile

__all__ = ["SystemFacts", "system_files", "system_tree"]


@dataclass(frozen=True, slots=True)
class SystemFacts:
    """What the files tell. `memory` gives (total, free) bytes; `uptime_ns` the time since boot.

    `cpuinfo` gives the text of one processor, `identification` the files of its identification registers.
    """

    memory: Callable[[], tuple[int, int]]
    uptime_ns: Callable[[], int]
    random: random.Random
    cpuinfo: Callable[[int], str] = lambda number: f"processor\t: {number}\n\n"
    identification: Mapping[str, str] = field(default_factory=dict)
    processors: int = 1
    hostname: str = "fetchsan"
    release: str = "6.1.0-fetchsan"
    version: str = "#1 SMP PREEMPT"


Tree = Mapping[str, "Callable[[], str] | Tree"]


def system_files(
    file_system: SyntheticFileSystem, facts: SystemFacts, mounts: Callable[[], bytes]
) -> dict[bytes, Inode]:
    """Everything of /proc but the processes."""
    boot_id = _uuid(facts.random)
    tree: Tree = {
        "cmdline": lambda: "console=ttyAMA0\n",
        "cpuinfo": lambda: "".join(map(facts.cpuinfo, range(facts.processors))),
        "filesystems": lambda: "".join(f"nodev\t{name}\n" for name in ("proc", "sysfs", "tmpfs", "devtmpfs")) + "\text4\n",
        "loadavg": lambda: "0.00 0.00 0.00 1/1 1\n",
        "meminfo": lambda: _meminfo(facts),
        "mounts": lambda: mounts().decode("utf-8", "surrogateescape"),
        "stat": lambda: _stat(facts),
        "swaps": lambda: "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        "uptime": lambda: f"{_seconds(facts)} {_seconds(facts)}\n",
        "version": lambda: f"Linux version {facts.release} (fetchsan) {facts.version}\n",
        "sys": {
            "fs": {
                "file-max": lambda: "1048576\n",
                "nr_open": lambda: "1048576\n",
                "pipe-max-size": lambda: "1048576\n",
            },
            "kernel": {
                "cap_last_cap": lambda: "40\n",
                "hostname": lambda: f"{facts.hostname}\n",
                "ngroups_max": lambda: "65536\n",
                "osrelease": lambda: f"{facts.release}\n",
                "ostype": lambda: "Linux\n",
                "overflowuid": lambda: "65534\n",
                "perf_event_paranoid": lambda: "4\n",
                "pid_max": lambda: "32768\n",
                "random": {"boot_id": lambda: f"{boot_id}\n", "uuid": lambda: f"{_uuid(facts.random)}\n"},
                "randomize_va_space": lambda: "0\n",
                "threads-max": lambda: "32768\n",
                "version": lambda: f"{facts.version}\n",
            },
            "vm": {
                "max_map_count": lambda: "65530\n",
                "mmap_min_addr": lambda: "65536\n",
                "nr_hugepages": lambda: "0\n",
                "overcommit_memory": lambda: "1\n",  # reservations of any size are granted: frames come on demand
            },
        },
    }
    return _inodes(file_system, "/proc", tree)


def system_tree(file_system: SyntheticFileSystem, facts: SystemFacts) -> SyntheticDirectory:
    """/sys: the processors, and the switch that says huge pages are off."""

    def cpus() -> str:
        return "0\n" if facts.processors == 1 else f"0-{facts.processors - 1}\n"

    registers: Tree = {name: partial(str, text) for name, text in facts.identification.items()}
    identified: Tree = {"regs": {"identification": registers}} if registers else {}
    per_cpu: dict[str, Tree] = {f"cpu{number}": identified for number in range(facts.processors)}
    tree: Tree = {
        "devices": {"system": {"cpu": {"online": cpus, "possible": cpus, "present": cpus, **per_cpu}}},
        "kernel": {"mm": {"transparent_hugepage": {"enabled": lambda: "always madvise [never]\n"}}},
    }
    return SyntheticDirectory(file_system, "/sys", _inodes(file_system, "/sys", tree))


def _inodes(file_system: SyntheticFileSystem, prefix: str, tree: Tree) -> dict[bytes, Inode]:
    names: dict[bytes, Inode] = {}
    for name, value in tree.items():
        path = f"{prefix}/{name}"
        if callable(value):
            names[name.encode()] = TextFile(file_system, path, _encoded(value))
        else:
            names[name.encode()] = SyntheticDirectory(file_system, path, _inodes(file_system, path, value))
    return names


def _encoded(text: Callable[[], str]) -> Callable[[], bytes]:
    return lambda: text().encode("utf-8", "surrogateescape")


def _uuid(source: random.Random) -> uuid.UUID:
    return uuid.UUID(int=source.getrandbits(128), version=4)


def _seconds(facts: SystemFacts) -> str:
    return f"{facts.uptime_ns() / 1e9:.2f}"


def _meminfo(facts: SystemFacts) -> str:
    total, free = facts.memory()
    rows = {
        "MemTotal": total, "MemFree": free, "MemAvailable": free, "Buffers": 0, "Cached": 0, "SwapCached": 0,
        "SwapTotal": 0, "SwapFree": 0, "Shmem": 0, "CommitLimit": total, "Committed_AS": total - free,
    }  # fmt: skip
    text = "".join(f"{name + ':':<16}{size // 1024:8d} kB\n" for name, size in rows.items())
    return text + f"{'Hugepagesize:':<16}{2048:8d} kB\n"


def _stat(facts: SystemFacts) -> str:
    ticks = facts.uptime_ns() // 10_000_000
    one = f"{ticks} 0 0 0 0 0 0 0 0 0\n"
    cpus = f"cpu  {one}" + "".join(f"cpu{number} {one}" for number in range(facts.processors))
    return cpus + "intr 0\nctxt 0\nbtime 1704067200\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n"
