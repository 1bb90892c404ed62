# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's apt with a state of its own: it resolves and downloads packages for a sysroot and nothing more.

Lists, archives and the status file are the sysroot's (at the places where Debian has them), so no root is needed and
the host's package database and architecture list are neither read nor written. Proxies, keys, pins and credentials are
the host's: apt reads its usual configuration first and ours over it (apt-get(8), `-c`).
"""

from __future__ import annotations

import difflib
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fetchsan.sysroot._deb822 import format_stanzas
from fetchsan.sysroot._sources import host_sources, is_ubuntu, release_sources, sources_for
from fetchsan.sysroot.architectures import Architecture
from fetchsan.sysroot.errors import SysrootError, UnknownPackageError

__all__ = ["Apt", "AptError", "Archive", "Planned"]

_OS_RELEASE = Path("/etc/os-release")

_NO_APT = """\
{tool} is not on this machine; `{add}` needs apt (Debian, Ubuntu and their derivatives have it).
Without it, make a directory that holds an {name} Linux system and name it with -L DIR or {variable}:
  from a container image:    docker export "$(docker create --platform linux/{name} debian:stable)" | tar -x -C DIR
  with debootstrap:          debootstrap --arch={name} --foreign stable DIR
  from an {name} machine:     copy its /usr, /lib and /etc to DIR"""

# Read after the host's configuration, so these win. The hooks are cleared because they act on the host (they tidy its
# archives, tell its desktop), and the architecture list because apt otherwise asks the host's dpkg for it.
_CONFIGURATION = """\
#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
// Files are written into the user's own directory, which apt's sandbox user need not be able to enter.
APT::Sandbox::User "";
Acquire::Retries "3";
Dir::State "{root}/var/lib/apt";
Dir::State::lists "{root}/var/lib/apt/lists";
Dir::State::status "{status}";
Dir::State::extended_states "{root}/var/lib/apt/extended_states";
Dir::Cache "{root}/var/cache/apt";
Dir::Cache::archives "{root}/var/cache/apt/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "{root}/var/cache/apt/srcpkgcache.bin";
Dir::Etc::sourcelist "{state}/apt.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Log "{state}";
"""

# `Inst NAME [OLD VERSION] (VERSION ORIGIN... [ARCHITECTURE])`, apt-get(8) --simulate.
_INSTALL_LINE = re.compile(r"^Inst (?P<name>[^\s:]+)\S*(?: \[[^\]]*\])? \((?P<version>\S+) ")
_NOT_INSTALLABLE = re.compile(r"^E: (?:Unable to locate package (\S+)|Package '(\S+)' has no installation candidate)", re.M)
# `'URI' FILE SIZE HASH`, apt-get(8) --print-uris.
_URI_LINE = re.compile(r"^'[^']*' (?P<file>\S+) (?P<size>\d+)")
# `Get:1 URI SUITE/COMPONENT ARCH PACKAGE ARCH VERSION [SIZE]`
_GET_LINE = re.compile(r"^Get:(?P<number>\d+) \S+ .*?(?P<name>\S+) \S+ (?P<version>\S+) \[(?P<size>[^\]]+)\]$")

# Lists that tell why apt refuses.
_EXPLAINED = ("The following packages have unmet dependencies:", "The following packages will be REMOVED:")


class AptError(SysrootError):
    """apt-get said no; the message carries apt's own reasons."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One package that apt would install."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Archive:
    """One package file as apt names it, and its size in bytes."""

    file: str
    size: int


class Apt:
    """apt for the sysroot at `root`; `state` is where its configuration is written, `status` the file of what is installed."""

    def __init__(
        self, architecture: Architecture, root: Path, state: Path, status: Path, progress: Callable[[str], None]
    ) -> None:
        for tool in ("apt-get", "apt-cache", "apt-config"):
            if shutil.which(tool) is None:
                raise SysrootError(
                    _NO_APT.format(tool=tool, name=architecture.name, add=architecture.add, variable=architecture.variable)
                )
        self._architecture = architecture
        self._progress = progress
        self._configuration = state / "apt.conf"
        self._archives = root / "var/cache/apt/archives"
        for directory in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
            (root / directory).mkdir(parents=True, exist_ok=True)
        self._configuration.write_text(
            _CONFIGURATION.format(architecture=architecture.name, root=root, status=status, state=state)
        )
        (state / "apt.sources").write_text(format_stanzas(self._sources()))

    def update(self) -> None:
        """Refresh the package lists. A source that fails is told and left out: it may not be one that is needed."""
        self._progress("updating the package lists")
        try:
            self._run("apt-get", "update")
        except AptError as error:
            self._progress(f"not every package list could be updated: {error}")

    def plan(self, packages: Sequence[str]) -> list[Planned]:
        """What must be installed to have `packages`; what is there already stays, at its version.

        Raises UnknownPackageError for a package that the lists do not have.
        """
        # apt-get takes an unknown name that contains "." or "+" for a regular expression and installs all it matches.
        known = set(self._run("apt-cache", "pkgnames").split())
        if not known:
            raise SysrootError(f"no {self._architecture.name} package lists: none of this machine's apt sources could be read")
        for package in packages:
            if package not in known:
                raise self._unknown(package, known)
        try:
            output = self._run("apt-get", "-s", "--no-upgrade", "--no-remove", "install", "--", *packages)
        except AptError as error:
            # A name may be known without a package to install: for another architecture, or pinned away.
            if missing := _NOT_INSTALLABLE.search(error.output):
                raise self._unknown(missing[1] or missing[2], known) from error
            raise
        matches = (_INSTALL_LINE.match(line) for line in output.splitlines())
        return [Planned(match["name"], match["version"]) for match in matches if match]

    def archives(self, planned: Sequence[Planned]) -> list[Archive]:
        """The files that `download` will make."""
        output = self._run("apt-get", "--print-uris", "download", "--", *_pinned(planned))
        matches = (_URI_LINE.match(line) for line in output.splitlines())
        return [Archive(match["file"], int(match["size"])) for match in matches if match]

    def download(self, planned: Sequence[Planned], archives: Sequence[Archive]) -> list[Path]:
        """Fetch and verify the package files; those that an earlier, interrupted run left are not fetched again."""
        for line in self._lines("apt-get", "download", "--", *_pinned(planned), directory=self._archives):
            match = _GET_LINE.match(line)
            if match:
                self._progress(f"[{match['number']}/{len(planned)}] {match['name']} {match['version']} ({match['size']})")
        paths = [self._archives / archive.file for archive in archives]
        missing = [path.name for path in paths if not path.is_file()]
        if missing or len(paths) != len(planned):
            raise SysrootError(f"apt-get download left out {', '.join(missing) or 'packages'}")
        return paths

    def _sources(self) -> list[dict[str, str]]:
        output = self._query("apt-config", "shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d")
        places = dict(line.partition("=")[::2] for line in shlex.split(output))
        os_release = _OS_RELEASE.read_text(encoding="utf-8") if _OS_RELEASE.is_file() else ""
        # A machine's own mirror has packages for it, whatever it is called.
        ubuntu = is_ubuntu(os_release) and platform.machine() != self._architecture.machine
        sources = host_sources(Path(places.get("LIST", "")), Path(places.get("PARTS", "")))
        return sources_for(self._architecture, sources, ubuntu=ubuntu) or release_sources(self._architecture, os_release)

    def _unknown(self, package: str, known: set[str]) -> UnknownPackageError:
        """The error for `package`, with the packages that provide it and those with a name like it."""
        _, _, reverse = self._run("apt-cache", "showpkg", "--", package).partition("Reverse Provides:")
        providers = [line.split()[0] for line in reverse.splitlines() if line.strip()][:5]
        close = difflib.get_close_matches(package, known - {package}, n=3, cutoff=0.75)
        return UnknownPackageError(package, self._architecture.name, list(dict.fromkeys([*providers, *close])))

    def _run(self, tool: str, *arguments: str) -> str:
        return "\n".join(self._lines(tool, *arguments))

    def _lines(self, tool: str, *arguments: str, directory: Path | None = None) -> Iterator[str]:
        """Run one of apt's tools with the sysroot's configuration and yield its output line by line. Raises AptError."""
        return _lines([tool, f"-c={self._configuration}", *arguments], directory)

    def _query(self, *command: str) -> str:
        """Ask the host's configuration, without ours."""
        return "\n".join(_lines(list(command), None))


def _pinned(planned: Sequence[Planned]) -> list[str]:
    return [f"{package.name}={package.version}" for package in planned]


def _lines(command: list[str], directory: Path | None) -> Iterator[str]:
    environment = os.environ | {"LC_ALL": "C", "LANGUAGE": "C"}
    output: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=directory,
        env=environment,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line.rstrip("\n"))
            yield output[-1]
    if process.returncode:
        message = f"{command[0]} failed: {' '.join(_reasons(output))}"
        raise AptError(message, command=command, output="\n".join(output))


def _reasons(output: list[str]) -> list[str]:
    """apt's errors, with the lists that they refer to ("The following packages will be REMOVED:", indented)."""
    reasons: list[str] = []
    listed = False
    for line in output:
        listed = line.startswith(_EXPLAINED) or (listed and line.startswith(" "))
        if listed or line.startswith("E: "):
            reasons.append(" ".join(line.removeprefix("E: ").split()))
    return reasons or output[-3:]
