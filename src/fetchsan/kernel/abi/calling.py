# SPDX-License-Identifier: GPL-2.0-or-later
"""How a port passes system calls: registers, the instruction, and numbers, of which the newer are the same everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["SINCE_5_1", "Calling", "call_names"]


@dataclass(frozen=True, slots=True)
class Calling:
    """syscall(2), "Architecture calling conventions". `names`: number to name, of calls that nobody implements too."""

    number: str
    arguments: tuple[str, str, str, str, str, str]
    result: str
    size: int  # of the instruction
    names: Mapping[int, str]

    @property
    def entry(self) -> tuple[str, ...]:
        """The registers to read when a call is made: number, arguments, pc."""
        return (self.number, *self.arguments, "pc")

    def name_of(self, number: int) -> str:
        """The name of a number; `#9999` if the port has no such call."""
        return self.names.get(number, f"#{number}")


Run = tuple[int, str]  # the first number of an unbroken run, and the names from there on

SINCE_5_1: Run = (
    424,
    """
    pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen
    fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2
    process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule
    landlock_restrict_self memfd_secret process_mrelease futex_waitv set_mempolicy_home_node
    cachestat fchmodat2 map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
    lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat listxattrat
    removexattrat open_tree_attr file_getattr file_setattr
    """,
)
"""Since Linux 5.1 a new call gets the same number everywhere."""


def call_names(runs: Iterable[Run]) -> dict[int, str]:
    """Number to name."""
    return {first + index: name for first, names in runs for index, name in enumerate(names.split())}
