# SPDX-License-Identifier: GPL-2.0-or-later
"""From a Debian package file to files in the sysroot: extracted aside as a whole, then moved into place.

Nothing of the package is executed. Symbolic links are kept as they are, absolute ones too (the guest's file system
resolves them inside the sysroot), so everything here that follows a link must follow it inside the sysroot as well.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from fetchsan.sysroot.errors import SysrootError

__all__ = ["extract", "extract_without_dpkg", "make_merged_usr", "merge", "resolve_inside"]

_MAX_LINKS = 40  # Linux's own limit, path_resolution(7)

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_SIZE = 60


def make_merged_usr(root: Path, names: Iterable[str]) -> None:
    """Create /bin, /lib and the like as links into /usr; a root that has them already (merged or not) keeps its own.

    Debian 12's packages still carry files under both names.
    """
    for name in names:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(root / name):
            (root / name).symlink_to(f"usr/{name}")


def resolve_inside(root: Path, inside: PurePosixPath) -> Path:
    """The host path of `inside`, links followed as if `root` were `/`. The last parts need not exist."""
    pending = list(reversed(inside.parts))
    here: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part == "/":
            here.clear()
        elif part == "..":
            del here[-1:]
        elif (candidate := root.joinpath(*here, part)).is_symlink():
            links += 1
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(root / inside))
            pending += reversed(PurePosixPath(os.readlink(candidate)).parts)
        else:
            here.append(part)
    return root.joinpath(*here)


def extract(archive: Path, tree: Path, control: Path) -> None:
    """Extract the files of the package to `tree` and its control files to `control` (both must not exist)."""
    if shutil.which("dpkg-deb"):
        for action, target in (("--extract", tree), ("--control", control)):
            command = ["dpkg-deb", action, str(archive), str(target)]
            result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if result.returncode:
                message = f"{archive.name} cannot be unpacked: {result.stderr.strip()}"
                raise SysrootError(message, command=command, output=result.stderr)
    else:
        extract_without_dpkg(archive, tree, control)


def extract_without_dpkg(archive: Path, tree: Path, control: Path) -> None:
    """What `extract` does where there is no dpkg-deb: deb(5) is an ar archive of two tar archives."""
    if not hasattr(tarfile, "data_filter"):
        raise SysrootError("without dpkg-deb, packages can be unpacked safely from Python 3.11.4 on only")
    with archive.open("rb") as stream:
        members = _ar_members(archive.name, stream)
    for stem, target in (("data.tar", tree), ("control.tar", control)):
        name = next((name for name in members if name.startswith(stem)), None)
        if name is None:
            raise SysrootError(f"{archive.name} cannot be unpacked: it has no {stem}")
        target.mkdir()
        try:
            with tarfile.open(fileobj=io.BytesIO(members[name]), mode="r:*") as tar:
                tar.extractall(target, filter=_package_filter)
        except tarfile.TarError as error:
            raise SysrootError(f"{archive.name} cannot be unpacked without dpkg-deb: {name}: {error}") from error


def merge(tree: Path, root: Path) -> int:
    """Move every file of `tree` to its place in `root` and return the bytes of the regular ones.

    A directory that is a link in `root` (usrmerge, /var/run) is entered, never replaced, as dpkg does.
    """
    size = 0
    for directory, names, files in os.walk(tree):
        source = Path(directory)
        target = resolve_inside(root, PurePosixPath(source.relative_to(tree)))
        if not target.is_dir():
            target.mkdir(parents=True)
            shutil.copymode(source, target)
        for name in [*files, *(name for name in names if (source / name).is_symlink())]:
            entry, place = source / name, target / name
            status = entry.lstat()
            if not entry.is_symlink():
                size += status.st_size
            elif place.is_dir() and not place.is_symlink():
                continue
            os.replace(entry, place)
    return size


def _ar_members(name: str, stream: BinaryIO) -> dict[str, bytes]:
    """The members of an ar archive: 60-byte headers (name 16 bytes, size in decimal at 48), data padded to even."""
    if stream.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise SysrootError(f"{name} is not a Debian package")
    members: dict[str, bytes] = {}
    while header := stream.read(_AR_HEADER_SIZE):
        length = header[48:58].strip()
        data = stream.read(int(length)) if length.isdigit() else b""
        if len(header) < _AR_HEADER_SIZE or not length.isdigit() or len(data) != int(length):
            raise SysrootError(f"{name} is damaged")
        members[header[:16].decode("ascii", "replace").rstrip("/ ")] = data
        stream.seek(len(data) & 1, os.SEEK_CUR)
    return members


def _package_filter(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    """tarfile's `data` filter, which refuses every way out of `path`, but with absolute symbolic links kept."""
    if not (member.issym() and member.linkname.startswith("/")):
        return tarfile.data_filter(member, path)
    checked = tarfile.data_filter(member.replace(linkname=".", deep=False), path)
    return checked and checked.replace(linkname=member.linkname, deep=False)
