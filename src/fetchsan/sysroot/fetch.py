# SPDX-License-Identifier: GPL-2.0-or-later
"""`sysroot add`: the order of things. Lock, resolve, fetch, unpack each package aside and move it in, record last.

The record is the sysroot's own `var/lib/dpkg/status`, which apt resolves against: a package is in it only when it and
all it needs are in place, so an interrupted run is simply repeated.
"""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fetchsan.errors import UsageError
from fetchsan.sysroot._alternatives import link_alternatives, parse_postinst
from fetchsan.sysroot._apt import Apt
from fetchsan.sysroot._deb822 import Stanza, format_stanzas, parse_stanzas
from fetchsan.sysroot._unpack import extract, make_merged_usr, merge
from fetchsan.sysroot.architectures import Architecture, architecture_named
from fetchsan.sysroot.errors import SysrootError
from fetchsan.sysroot.root import default_root

__all__ = ["Package", "SysrootReport", "add", "default_root"]

_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")  # Debian Policy 5.6.1


@dataclass(frozen=True, slots=True)
class Package:
    """A package in the sysroot."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class SysrootReport:
    """What `add` did: packages unpacked now, requested ones that were there before, and the bytes of the files unpacked."""

    installed: tuple[Package, ...]
    skipped: tuple[Package, ...]
    bytes: int
    root: Path


def add(
    packages: Sequence[str], *, architecture: str = "arm64", root: Path | None = None, progress: Callable[[str], None]
) -> SysrootReport:
    """Have `packages` and everything they depend on in the sysroot `root` (default: `default_root(architecture)`).

    `progress` is called with one line at a time. Raises UsageError for a bad package name (UnknownPackageError when the
    lists do not have it) and SysrootError for everything else that can fail.
    """
    chosen = architecture_named(architecture)
    if not packages:
        raise UsageError("no package named")
    for package in packages:
        if not _PACKAGE_NAME.fullmatch(package):
            raise UsageError(f"{package!r} is not a Debian package name")
    sysroot = _Sysroot(chosen, (root or default_root(architecture)).absolute(), progress)
    try:
        with sysroot.locked():
            return sysroot.add(list(dict.fromkeys(packages)))
    except OSError as error:
        raise SysrootError(f"{error.filename or sysroot.root}: {error.strerror}") from error


class _Sysroot:
    """One sysroot and where its parts are. Debian's places are used, so that dpkg's own tools can read it."""

    def __init__(self, architecture: Architecture, root: Path, progress: Callable[[str], None]) -> None:
        self.architecture = architecture
        self.root = root
        self._progress = progress
        self._state = root / "var/cache/fetchsan"
        self._staging = self._state / "staging"
        self._status = root / "var/lib/dpkg/status"
        self._info = root / "var/lib/dpkg/info"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sysroot against other runs of `add`; the kernel lets go when the process ends, however it ends."""
        self._state.mkdir(parents=True, exist_ok=True)
        with (self._state / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._progress(f"waiting for another process that is adding to {self.root}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def add(self, packages: list[str]) -> SysrootReport:
        recorded = {stanza.get("package", ""): stanza for stanza in self._recorded()}
        self._check_architecture(recorded.values())
        skipped = tuple(Package(name, recorded[name].get("version", "")) for name in packages if name in recorded)
        wanted = [name for name in packages if name not in recorded]
        if not wanted:
            return SysrootReport((), skipped, 0, self.root)
        self._info.mkdir(parents=True, exist_ok=True)
        self._status.touch()
        apt = Apt(self.architecture, self.root, self._state, self._status, self._progress)
        apt.update()
        planned = apt.plan(wanted)
        archives = apt.archives(planned)
        self._progress(f"fetching {len(planned)} packages, {_size(sum(archive.size for archive in archives))}")
        paths = apt.download(planned, archives)
        size = self._unpack(paths)
        installed = tuple(Package(package.name, package.version) for package in planned)
        return SysrootReport(installed, skipped, size, self.root)

    def _unpack(self, archives: list[Path]) -> int:
        make_merged_usr(self.root, self.architecture.merged)
        stanzas: list[Stanza] = []
        alternatives: list[str] = []
        size = 0
        for archive in archives:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir()
            tree, control = self._staging / "tree", self._staging / "control"
            extract(archive, tree, control)
            stanza = parse_stanzas((control / "control").read_text(encoding="utf-8", errors="replace"))[0]
            self._progress(f"unpacking {stanza['package']} {stanza['version']}")
            size += merge(tree, self.root)
            script = control / "postinst"
            if script.is_file():
                alternatives += [a.name for a in parse_postinst(script.read_text(encoding="utf-8", errors="replace"))]
                script.replace(self._info / f"{stanza['package']}.postinst")
            stanzas.append(stanza)
        shutil.rmtree(self._staging, ignore_errors=True)
        link_alternatives(self.root, self._info.glob("*.postinst"), alternatives)
        self._record(stanzas)
        for archive in archives:
            archive.unlink()
        return size

    def _check_architecture(self, recorded: Iterable[Stanza]) -> None:
        """Two architectures in one root would overwrite each other's programs."""
        others = {stanza.get("architecture", "all") for stanza in recorded} - {self.architecture.name, "all"}
        if others:
            have, ours = ", ".join(sorted(others)), self.architecture.name
            raise UsageError(f"{self.root} holds {have} packages; {ours} ones need another directory (-L DIR)")

    def _recorded(self) -> list[Stanza]:
        if not self._status.is_file():
            return []
        stanzas = parse_stanzas(self._status.read_text(encoding="utf-8", errors="replace"))
        return [stanza for stanza in stanzas if stanza.get("status", "").endswith(" installed")]

    def _record(self, stanzas: list[Stanza]) -> None:
        """Add `stanzas` to the status file, in place of older versions, in one step."""
        new = {stanza["package"] for stanza in stanzas}
        kept = [stanza for stanza in self._recorded() if stanza.get("package") not in new]
        whole = [*kept, *(stanza | {"status": "install ok installed"} for stanza in stanzas)]
        fresh = self._status.with_name("status-new")
        fresh.write_text(format_stanzas(whole), encoding="utf-8")
        fresh.replace(self._status)


def _size(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
