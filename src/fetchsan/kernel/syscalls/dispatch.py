# SPDX-License-Identifier: GPL-2.0-or-later
"""From the trap to the function that implements the call, and back: arguments, result, errors, signals, the trace."""

from __future__ import annotations

import errno
import importlib
import pkgutil
from typing import TYPE_CHECKING

from fetchsan.errors import FetchSanError, InternalError
from fetchsan.kernel import syscalls
from fetchsan.kernel.errors import GuestFault, LinuxError
from fetchsan.kernel.signal_delivery import deliver_pending
from fetchsan.kernel.syscalls.strace import result_text, trace_call
from fetchsan.kernel.syscalls.table import Syscall
from fetchsan.kernel.task import Task
from fetchsan.kernel.waiting import Interrupted
from fetchsan.machine.hardware import Origin
from fetchsan.machine.memory import OutOfMemoryError

if TYPE_CHECKING:
    from fetchsan.kernel.kernel import Kernel

__all__ = ["SILENTLY_ABSENT", "dispatch"]

_RESULT = (1 << 64) - 1

# Calls that programs only probe for and do without: ENOSYS without a word. Each has a fallback in its usual caller.
SILENTLY_ABSENT = frozenset(
    {
        "rseq",  # glibc start-up
        "clone3",  # glibc, before clone
        "futex_waitv",
        "mseal",  # glibc's ld.so
    }
)

# Interrupted by a handler these are not made again, whatever SA_RESTART says (signal(7)).
_NEVER_RESTARTED = frozenset(
    {
        "clock_nanosleep", "epoll_pwait", "epoll_pwait2", "epoll_wait", "nanosleep", "pause", "poll", "ppoll", "pselect6",
        "rt_sigsuspend", "rt_sigtimedwait", "select",
    }
)

# A call is declared where it is implemented; that module is all there is to add.
for _module in pkgutil.iter_modules(syscalls.__path__):
    importlib.import_module(f"{syscalls.__name__}.{_module.name}")


def dispatch(kernel: Kernel, task: Task) -> None:
    """Make the call that the registers ask for. Raises FetchSanError for what must end the run."""
    pe, abi = task.pe, kernel.abi
    entry = pe.get_many(abi.call_entry)
    number, *arguments, pc = entry
    number &= 0xFFFF_FFFF
    kernel.hardware.context_synchronise(pe.index)  # exception entry (coherency model, rule 11)
    kernel.clock.tick()
    kernel.fire_timers(task)
    task.space.pe = pe.index
    row = abi.calls.get(number)
    if row is None:
        result = _unsupported(kernel, number)
        if kernel.options.strace:
            kernel.message(f"{task.tid} {abi.calling.name_of(number)}() = {result_text('', result)}")
    else:
        task.memory.origin = Origin(pc - abi.calling.size, f"{row.name}(2)", task.tid)
        arguments = arguments[: row.arity]
        call = trace_call(task, row, arguments) if kernel.options.strace else ""
        result = _perform(task, row, arguments, entry[abi.result_position])
        if call:
            ended = "?" if kernel.ended else result_text(row.name, result)
            kernel.message(f"{task.tid} {call} = {ended}")
    if kernel.ended:
        return
    pe.set(abi.calling.result, result & _RESULT)
    if task.needs_attention:
        deliver_pending(task)
    kernel.hardware.context_synchronise(pe.index)  # exception return: what the call's own DSBs completed counts


def _perform(task: Task, row: Syscall, arguments: list[int], overwritten: int) -> int:
    """`overwritten`: what the result takes the place of."""
    try:
        return row.function(task, *arguments)
    except Interrupted as error:
        if row.name not in _NEVER_RESTARTED:
            task.restart_value = overwritten
        return -error.errno
    except LinuxError as error:
        return -error.errno
    except GuestFault:
        return -errno.EFAULT
    except (OutOfMemoryError, MemoryError):
        return -errno.ENOMEM
    except FetchSanError:
        raise
    except Exception as error:
        values = ", ".join(f"{argument:#x}" for argument in arguments)
        raise InternalError(f"{row.name}({values}): {type(error).__name__}: {error}") from error


def _unsupported(kernel: Kernel, number: int) -> int:
    """ENOSYS; a call that we may be wrong to lack is named, once."""
    name = kernel.abi.calling.name_of(number)
    if name not in SILENTLY_ABSENT and number not in kernel.unsupported:
        kernel.unsupported.add(number)
        kernel.message(
            f"fetchsan: unsupported system call {name} (number {number}): returning ENOSYS; please report it"
        )
    return -errno.ENOSYS
