# SPDX-License-Identifier: GPL-2.0-or-later
"""ioctl(2): the few that every descriptor has, and those of the host's terminal, if it is one."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.syscalls.table import s32, syscall, u32
from fetchsan.kernel.vfs.flags import O_ASYNC, O_NONBLOCK, O_PATH

if TYPE_CHECKING:
    from fetchsan.kernel.task import Task

__all__: list[str] = []

_FIONREAD, _FIONBIO, _FIOASYNC, _FIONCLEX, _FIOCLEX = 0x541B, 0x5421, 0x5452, 0x5450, 0x5451
_TIOCGPGRP, _TIOCSPGRP, _TIOCGSID = 0x540F, 0x5410, 0x5429

# (size of the structure, whether the guest gives it, whether it gets it); termios is 36 bytes, termios2 44, winsize 8.
_STRUCTURES: dict[int, tuple[int, bool, bool]] = {
    0x5401: (36, False, True),  # TCGETS
    **dict.fromkeys((21506, 21507, 21508), (36, True, False)),  # TCSETS, TCSETSW, TCSETSF
    0x5413: (8, False, True),  # TIOCGWINSZ
    0x5414: (8, True, False),  # TIOCSWINSZ
    0x802C_542A: (44, False, True),  # TCGETS2
    **dict.fromkeys((1076646955, 1076646956, 1076646957), (44, True, False)),  # TCSETS2, W, F
}


@syscall
def sys_ioctl(task: Task, fd: int, request: int, argument: int) -> int:
    file = task.files.get(s32(fd))
    if file.flags & O_PATH:
        raise LinuxError(errno.EBADF)
    request = u32(request)
    if request in (_FIOCLEX, _FIONCLEX):
        task.files.set_close_on_exec(s32(fd), request == _FIOCLEX)
    elif request in (_FIONBIO, _FIOASYNC):
        flag = O_NONBLOCK if request == _FIONBIO else O_ASYNC
        file.flags = file.flags | flag if task.memory.read_u32(argument) else file.flags & ~flag
    elif request == _FIONREAD:
        task.memory.write_u32(argument, min(file.available(), 0x7FFF_FFFF))
    elif request in (_TIOCGPGRP, _TIOCGSID, _TIOCSPGRP):
        # Job control is the guest's own: the host's process groups have nothing to do with it.
        file.terminal(0x5401, bytes(36))  # ENOTTY if it is no terminal
        if request != _TIOCSPGRP:
            process = task.process
            task.memory.write_u32(argument, process.process_group if request == _TIOCGPGRP else process.session)
    elif request in _STRUCTURES:
        size, given, wanted = _STRUCTURES[request]
        answer = file.terminal(request, task.memory.read(argument, size) if given else bytes(size))
        if wanted:
            task.memory.write(argument, answer)
    else:
        raise LinuxError(errno.ENOTTY)
    return 0
