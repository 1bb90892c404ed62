# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the host's sources serve a sysroot's architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from fetchsan.sysroot._deb822 import parse_stanzas
from fetchsan.sysroot._sources import host_sources, is_ubuntu, parse_one_line, release_sources, sources_for
from fetchsan.sysroot.architectures import ARCHITECTURES

ARM64, AMD64 = ARCHITECTURES["arm64"], ARCHITECTURES["amd64"]


def test_a_one_line_entry_keeps_its_options() -> None:
    line = "deb [arch=amd64,arm64 signed-by=/k.gpg trusted=yes] http://mirror.example/debian sid main contrib # why\n"
    assert parse_one_line(line) == [
        {
            "types": "deb",
            "uris": "http://mirror.example/debian",
            "suites": "sid",
            "components": "main contrib",
            "architectures": "amd64 arm64",
            "signed-by": "/k.gpg",
            "trusted": "yes",
        }
    ]


def test_a_flat_repository_has_no_components() -> None:
    assert parse_one_line("deb file:/repository ./") == [{"types": "deb", "uris": "file:/repository", "suites": "./"}]


@pytest.mark.parametrize("line", ["", "# deb http://a b c", "deb-src http://a b c", "deb", "deb http://a", "nonsense"])
def test_lines_without_binary_packages_are_left_out(line: str) -> None:
    assert parse_one_line(line) == []


@pytest.mark.parametrize(
    "line",
    [
        "deb [arch=amd64] http://vendor.example stable main",
        "deb [arch=amd64,i386] http://vendor.example stable main",
        "deb [arch-=arm64] http://vendor.example stable main",
        "deb cdrom:[Debian]/ bookworm main",
    ],
)
def test_a_one_line_entry_without_arm64_is_dropped(line: str) -> None:
    assert sources_for(ARM64, parse_one_line(line), ubuntu=False) == []


@pytest.mark.parametrize("field", ["Architectures: amd64", "Enabled: no", "Types: deb-src", "Architectures-Remove: arm64"])
def test_a_deb822_entry_without_arm64_is_dropped(field: str) -> None:
    text = f"Types: deb\nURIs: http://vendor.example\nSuites: stable\nComponents: main\n{field}\n"
    assert sources_for(ARM64, parse_stanzas(text), ubuntu=False) == []


def test_a_kept_entry_asks_for_arm64_package_lists_only() -> None:
    text = "Types: deb deb-src\nURIs: http://mirror.example/debian\nSuites: sid\nArchitectures: amd64 arm64\nTrusted: yes\n"
    assert sources_for(ARM64, parse_stanzas(text), ubuntu=False) == [
        {
            "types": "deb",
            "uris": "http://mirror.example/debian",
            "suites": "sid",
            "architectures": "arm64",
            "trusted": "yes",
            "targets": "Packages",
        }
    ]


@pytest.mark.parametrize(
    ("uri", "ubuntu", "expected"),
    [
        ("http://archive.ubuntu.com/ubuntu/", True, "http://ports.ubuntu.com/ubuntu-ports"),
        ("http://de.archive.ubuntu.com/ubuntu", True, "http://ports.ubuntu.com/ubuntu-ports"),
        ("http://security.ubuntu.com/ubuntu", False, "http://ports.ubuntu.com/ubuntu-ports"),
        ("https://mirror.example/ubuntu/", True, "http://ports.ubuntu.com/ubuntu-ports"),
        ("https://mirror.example/ubuntu/", False, "https://mirror.example/ubuntu/"),
        ("http://ports.ubuntu.com/ubuntu-ports", True, "http://ports.ubuntu.com/ubuntu-ports"),
        ("http://vendor.example/apt", True, "http://vendor.example/apt"),
    ],
)
def test_ubuntu_serves_arm64_from_ports(uri: str, ubuntu: bool, expected: str) -> None:
    stanza = {"types": "deb", "uris": uri, "suites": "noble", "components": "main"}
    assert [kept["uris"] for kept in sources_for(ARM64, [stanza], ubuntu=ubuntu)] == [expected]


@pytest.mark.parametrize(
    ("uri", "ubuntu", "expected"),
    [
        ("http://ports.ubuntu.com/ubuntu-ports", False, "http://archive.ubuntu.com/ubuntu"),
        ("https://mirror.example/ubuntu-ports/", True, "http://archive.ubuntu.com/ubuntu"),
        ("https://mirror.example/ubuntu-ports/", False, "https://mirror.example/ubuntu-ports/"),
        ("http://de.archive.ubuntu.com/ubuntu", True, "http://de.archive.ubuntu.com/ubuntu"),
    ],
)
def test_ubuntu_serves_amd64_from_its_main_archive(uri: str, ubuntu: bool, expected: str) -> None:
    stanza = {"types": "deb", "uris": uri, "suites": "noble", "components": "main"}
    assert [kept["uris"] for kept in sources_for(AMD64, [stanza], ubuntu=ubuntu)] == [expected]


def test_each_architecture_has_its_own_sources() -> None:
    stanzas = parse_one_line("deb [arch=amd64] http://one b c\ndeb [arch=arm64] http://two b c\ndeb http://both b c\n")
    for architecture, uris in ((ARM64, ["http://two", "http://both"]), (AMD64, ["http://one", "http://both"])):
        kept = sources_for(architecture, stanzas, ubuntu=False)
        assert [(stanza["uris"], stanza["architectures"]) for stanza in kept] == [(uri, architecture.name) for uri in uris]


def test_ubuntus_own_archive_for_amd64_is_the_main_one() -> None:
    assert release_sources(AMD64, "ID=ubuntu\nVERSION_CODENAME=noble\n")[0]["uris"] == "http://archive.ubuntu.com/ubuntu"


def test_mirrors_that_become_the_same_are_asked_once() -> None:
    stanza = {"types": "deb", "uris": "http://archive.ubuntu.com/ubuntu http://security.ubuntu.com/ubuntu", "suites": "x"}
    assert [kept["uris"] for kept in sources_for(ARM64, [stanza], ubuntu=True)] == ["http://ports.ubuntu.com/ubuntu-ports"]


def test_both_formats_are_read_from_the_host(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one b c\n")
    (tmp_path / "parts/two.sources").write_text("Types: deb\nURIs: http://two\nSuites: b\n")
    (tmp_path / "parts/three.list.disabled").write_text("deb http://three b c\n")
    found = host_sources(tmp_path / "sources.list", tmp_path / "parts")
    assert [stanza["uris"] for stanza in found] == ["http://one", "http://two"]


def test_a_host_without_sources_has_none(tmp_path: Path) -> None:
    assert host_sources(tmp_path / "sources.list", tmp_path / "parts") == []


@pytest.mark.parametrize(
    ("os_release", "suites"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm bookworm-updates"),
        ("ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=own\nDEBIAN_CODENAME=trixie\n", "trixie trixie-updates"),
        ('ID=ubuntu\nVERSION_CODENAME="noble"\nUBUNTU_CODENAME=noble\n', "noble noble-updates noble-security"),
        ('ID=mint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=x\nUBUNTU_CODENAME=jammy\n', "jammy jammy-updates jammy-security"),
        ("ID=fedora\nVERSION_CODENAME=forty\n", "stable stable-updates"),
        ("", "stable stable-updates"),
    ],
)
def test_the_fallback_is_the_release_of_the_host(os_release: str, suites: str) -> None:
    assert release_sources(ARM64, os_release)[0]["suites"] == suites


def test_a_derivative_of_ubuntu_counts_as_ubuntu() -> None:
    assert is_ubuntu('ID=pop\nID_LIKE="ubuntu debian"\nUBUNTU_CODENAME=jammy\n')


def test_debian_is_not_ubuntu() -> None:
    assert not is_ubuntu("ID=debian\n")
