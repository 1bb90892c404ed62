# SPDX-License-Identifier: GPL-2.0-or-later
"""Which file runs when a person names a program: the search in PATH, `#!` lines, and the checks of execve(2)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fetchsan.errors import NotExecutableError, ProgramNotFoundError
from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.vfs.context import FileSystemContext
from fetchsan.kernel.vfs.dentry import Dentry
from fetchsan.kernel.vfs.flags import O_RDONLY
from fetchsan.kernel.vfs.inode import DirectoryInode, Inode

__all__ = ["ProgramFile", "find_program", "follow_scripts", "open_executable"]

_SCRIPT_LINE = 256  # BINPRM_BUF_SIZE
_SCRIPT_DEPTH = 5  # execve(2): "a maximum depth of recursion", ELOOP beyond
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class ProgramFile:
    """What is mapped, after all `#!` lines: the file, how messages call it, its arguments, and AT_EXECFN."""

    dentry: Dentry
    inode: Inode
    shown: str
    argv: Sequence[bytes]
    execfn: bytes


def find_program(fs: FileSystemContext, name: str, path_variable: str | None, sysroot: Path | None) -> Dentry:
    """The program that a person named: a path, or a name to look up in the guest's PATH, as a shell would.

    `sysroot` is for the message. Raises ProgramNotFoundError or NotExecutableError.
    """
    if not name:
        raise ProgramNotFoundError("''", "no program named")
    if "/" in name:
        return _lookup(fs, os.fsencode(name), name)
    for directory in (path_variable or _DEFAULT_PATH).split(":"):
        try:
            dentry = fs.vfs.lookup(fs.cwd, os.fsencode(f"{directory or '.'}/{name}"))
        except LinuxError:
            continue
        if stat.S_ISREG(dentry.inode.mode) and dentry.inode.allowed(1):
            return dentry
    raise ProgramNotFoundError(name, _not_in_path(fs, name, sysroot))


def follow_scripts(fs: FileSystemContext, program: Dentry, argv: Sequence[bytes]) -> ProgramFile:
    """What `#!` lines lead to. Raises NotExecutableError."""
    execfn = program.path()
    for _ in range(_SCRIPT_DEPTH):
        shown = os.fsdecode(program.path())
        inode = open_executable(fs, program, shown)
        line = inode.read_at(0, _SCRIPT_LINE)
        if not line.startswith(b"#!"):
            return ProgramFile(program, inode, shown, argv, execfn)
        interpreter, arguments = _parse_script(line, shown)
        argv = [interpreter, *arguments, execfn, *argv[1:]]
        program = _find_interpreter(fs, interpreter, shown)
        execfn = interpreter
    raise NotExecutableError(shown, f"more than {_SCRIPT_DEPTH} scripts interpret each other")


def open_executable(fs: FileSystemContext, program: Dentry, shown: str) -> Inode:
    """The inode of a file that may be executed. Raises NotExecutableError."""
    inode = program.inode
    if isinstance(inode, DirectoryInode):
        raise NotExecutableError(shown, "is a directory")
    if not inode.mappable:
        raise NotExecutableError(shown, "not a regular file")
    if not inode.allowed(1):
        raise NotExecutableError(shown, "permission denied: the file is not executable (chmod +x)")
    try:
        # Through open(2)'s door, which checks the right to read and gives the inode its path for /proc/self/maps.
        return fs.vfs.open(fs.root, program.path(), O_RDONLY).inode
    except LinuxError as error:
        raise NotExecutableError(shown, os.strerror(error.errno).lower()) from None


def _not_in_path(fs: FileSystemContext, name: str, sysroot: Path | None) -> str:
    try:
        fs.vfs.lookup(fs.cwd, os.fsencode(name))
    except LinuxError:
        if sysroot is None:
            return "not found: there is no sysroot to look it up in (-L DIR, or `fetchsan sysroot add`)"
        return "not found in the sysroot's PATH (`fetchsan sysroot add` fetches Debian packages)"
    return f"not found in the sysroot's PATH; for the file here, say ./{name}"


def _lookup(fs: FileSystemContext, path: bytes, shown: str) -> Dentry:
    try:
        return fs.vfs.lookup(fs.cwd, path)
    except LinuxError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise ProgramNotFoundError(shown) from None
        raise NotExecutableError(shown, os.strerror(error.errno).lower()) from None


def _parse_script(line: bytes, shown: str) -> tuple[bytes, list[bytes]]:
    """`#!interpreter [one argument]`: everything after the interpreter is one argument (execve(2))."""
    first, newline, _ = line[2:].partition(b"\n")
    if not newline and len(line) == _SCRIPT_LINE and not first.strip(b" \t").count(b" "):
        raise NotExecutableError(shown, f"the #! line is longer than {_SCRIPT_LINE} bytes")
    words = first.split(b"\0", 1)[0].strip(b" \t\r").split(None, 1)
    if not words:
        raise NotExecutableError(shown, "the #! line names no interpreter")
    return words[0], words[1:]


def _find_interpreter(fs: FileSystemContext, interpreter: bytes, shown: str) -> Dentry:
    name = os.fsdecode(interpreter)
    try:
        return fs.vfs.lookup(fs.cwd, interpreter)
    except LinuxError:
        reason = f"needs the interpreter {name}, which the guest does not have"
        raise NotExecutableError(shown, reason) from None
