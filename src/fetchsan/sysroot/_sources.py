# SPDX-License-Identifier: GPL-2.0-or-later
"""Which package sources serve the sysroot: the host's own, less those that have nothing for its architecture.

sources.list(5) has two formats; both become deb822 stanzas here, because that is the one which can carry every option.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from fetchsan.sysroot._deb822 import Stanza, parse_stanzas
from fetchsan.sysroot.architectures import Architecture

__all__ = ["host_sources", "is_ubuntu", "parse_one_line", "release_sources", "sources_for"]

# Ubuntu's two archives have the same suites and the same keys.
_UBUNTU_MAIN = "http://archive.ubuntu.com/ubuntu"
_UBUNTU_PORTS = "http://ports.ubuntu.com/ubuntu-ports"
_UBUNTU_HOSTS = re.compile(r"(^|\.)(archive|security)\.ubuntu\.com$")
_UBUNTU_PORTS_HOSTS = re.compile(r"(^|\.)ports\.ubuntu\.com$")
_UBUNTU_PATH = re.compile(r"/ubuntu/?$")
_UBUNTU_PORTS_PATH = re.compile(r"/ubuntu-ports/?$")
# For packages on ports or not: how the other archive is known, by host or by a mirror's path, and which one it is to be.
_UBUNTU_OTHER = {
    True: (_UBUNTU_HOSTS, _UBUNTU_PATH, _UBUNTU_PORTS),
    False: (_UBUNTU_PORTS_HOSTS, _UBUNTU_PORTS_PATH, _UBUNTU_MAIN),
}

# Where a distribution's own packages are, by os-release(5) ID: URI, suites for the codename, components, keyring.
_DISTRIBUTIONS: dict[str, list[tuple[str, str, str, str]]] = {
    "debian": [
        (
            "http://deb.debian.org/debian",
            "{0} {0}-updates",
            "main",
            "/usr/share/keyrings/debian-archive-keyring.gpg",
        ),
        (
            "http://deb.debian.org/debian-security",
            "{0}-security",
            "main",
            "/usr/share/keyrings/debian-archive-keyring.gpg",
        ),
    ],
    "ubuntu": [
        (
            _UBUNTU_MAIN,
            "{0} {0}-updates {0}-security",
            "main universe",
            "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
        ),
    ],
}

# Options of the one-line format that are not the lower-cased name of their deb822 field.
_OPTION_FIELDS = {"arch": "architectures", "lang": "languages", "target": "targets"}
_ONE_LINE = re.compile(r"^\s*(?P<type>deb)\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>\S.*)$")


def parse_one_line(text: str) -> list[Stanza]:
    """The `deb` lines of a sources.list as stanzas. Source packages, comments and malformed lines are left out."""
    stanzas: list[Stanza] = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0])
        words = match["rest"].split() if match else []
        if not match or len(words) < 2:
            continue
        stanza = {"types": "deb", "uris": words[0], "suites": words[1]}
        if words[2:]:
            stanza["components"] = " ".join(words[2:])
        for option in (match["options"] or "").split():
            name, _, value = option.partition("=")
            field = name.rstrip("+-").lower()
            suffix = {"+": "-add", "-": "-remove"}.get(name[-1:], "")
            stanza[_OPTION_FIELDS.get(field, field) + suffix] = value.replace(",", " ")
        stanzas.append(stanza)
    return stanzas


def host_sources(source_list: Path, source_parts: Path) -> list[Stanza]:
    """Every source that the host's apt is configured with; files that cannot be read count as absent."""
    stanzas: list[Stanza] = []
    parts = sorted(source_parts.iterdir()) if source_parts.is_dir() else []
    for path in [source_list, *parts]:
        parse = {".list": parse_one_line, ".sources": parse_stanzas}.get(path.suffix)
        if parse is None or not path.is_file():
            continue
        try:
            stanzas += parse(path.read_text(encoding="utf-8", errors="replace"))
        except PermissionError:
            continue
    return stanzas


def sources_for(architecture: Architecture, stanzas: list[Stanza], *, ubuntu: bool) -> list[Stanza]:
    """Those of `stanzas` that may have packages of `architecture`, restricted to them.

    `ubuntu`: the host's own mirrors are Ubuntu's, and for another architecture than this one.
    """
    kept: list[Stanza] = []
    for stanza in stanzas:
        uris = [uri for uri in stanza.get("uris", "").split() if not uri.startswith("cdrom:")]
        uris = [_ubuntu_archive(uri, on_ports=architecture.on_ports, ubuntu=ubuntu) for uri in uris]
        if not uris or not _serves(architecture.name, stanza):
            continue
        # Only package lists are asked for: what else the host configured (icons, command lists) is of no use here.
        wanted = {"types": "deb", "uris": " ".join(dict.fromkeys(uris)), "targets": "Packages"}
        names = ("architectures-add", "architectures-remove")
        kept.append({k: v for k, v in stanza.items() if k not in names} | wanted | {"architectures": architecture.name})
    return kept


def is_ubuntu(os_release: str) -> bool:
    """Whether `os_release` describes Ubuntu or a distribution that takes its packages from there."""
    fields = _os_release(os_release)
    return fields.get("ID") == "ubuntu" or ("UBUNTU_CODENAME" in fields and "ubuntu" in fields.get("ID_LIKE", ""))


def release_sources(architecture: Architecture, os_release: str) -> list[Stanza]:
    """The distribution's own archive for the release that `os_release` (the text of os-release(5)) names; Debian otherwise."""
    fields = _os_release(os_release)
    ubuntu = is_ubuntu(os_release)
    own = fields.get("ID") in _DISTRIBUTIONS
    codename = fields.get("VERSION_CODENAME", "") if own else ""
    codename = codename or fields.get("UBUNTU_CODENAME" if ubuntu else "DEBIAN_CODENAME", "")
    stanzas: list[Stanza] = []
    for uri, suites, components, keyring in _DISTRIBUTIONS["ubuntu" if ubuntu and codename else "debian"]:
        stanza = {"types": "deb", "uris": uri, "suites": suites.format(codename or "stable"), "components": components}
        if Path(keyring).is_file():
            stanza["signed-by"] = keyring
        stanzas.append(stanza)
    return sources_for(architecture, stanzas, ubuntu=False)


def _os_release(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {name: value.strip().strip("\"'") for name, equals, value in pairs if equals}


def _serves(architecture: str, stanza: Stanza) -> bool:
    architectures = stanza.get("architectures", "").split()
    return (
        "deb" in stanza.get("types", "").split()
        and stanza.get("enabled", "yes").lower() not in {"no", "false", "without", "off", "disable", "0"}
        and (not architectures or bool({architecture, "any"} & set(architectures)))
        and architecture not in stanza.get("architectures-remove", "").split()
    )


def _ubuntu_archive(uri: str, *, on_ports: bool, ubuntu: bool) -> str:
    """The address of the Ubuntu archive that has the packages, in place of one of the other's; any other as it is."""
    hosts, path, instead = _UBUNTU_OTHER[on_ports]
    parts = urlsplit(uri)
    other = hosts.search(parts.hostname or "") or (ubuntu and path.search(parts.path))
    return instead if other and parts.scheme in {"http", "https"} else uri
