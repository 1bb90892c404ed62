# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages become files in the sysroot, and nothing leaves it."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchsan.sysroot._unpack import extract, extract_without_dpkg, make_merged_usr, merge, resolve_inside
from fetchsan.sysroot.errors import SysrootError

from .conftest import build_package

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
# tarfile's filters came with Python 3.11.4.
needs_filters = pytest.mark.skipif(not hasattr(tarfile, "data_filter"), reason="needs tarfile's filters")
both_ways = pytest.mark.parametrize("unpack", [extract, pytest.param(extract_without_dpkg, marks=needs_filters)])
Unpack = Callable[[Path, Path, Path], None]


def snapshot(tree: Path) -> dict[str, str]:
    """Every file (its text) and link (its target) below `tree`."""
    return {
        str(path.relative_to(tree)): f"-> {os.readlink(path)}" if path.is_symlink() else path.read_text()
        for path in sorted(tree.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def hostile_package(path: Path, members: list[tarfile.TarInfo]) -> Path:
    """A .deb whose data archive has just `members`."""

    def tar(infos: list[tarfile.TarInfo]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for info in infos:
                archive.addfile(info)
        return stream.getvalue()

    with path.open("wb") as stream:
        stream.write(b"!<arch>\n")
        parts = (b"debian-binary", b"2.0\n"), (b"control.tar.gz", tar([])), (b"data.tar.gz", tar(members))
        for name, data in parts:
            stream.write(b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"100644", len(data)))
            stream.write(data + b"\n" * (len(data) & 1))
    return path


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def test_an_absolute_link_is_followed_inside_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "var").symlink_to("/etc")
    assert resolve_inside(tmp_path, PurePosixPath("var/x")) == tmp_path / "etc/x"


def test_dots_stop_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "up").symlink_to("../../../../etc")
    assert resolve_inside(tmp_path, PurePosixPath("up/passwd")) == tmp_path / "etc/passwd"


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("/a")
    with pytest.raises(OSError, match="symbolic links"):
        resolve_inside(tmp_path, PurePosixPath("a"))


_PARTS = st.sampled_from(["a", "b", "c", "..", "/"])


@given(
    links=st.dictionaries(st.sampled_from(["a", "b", "d/c"]), st.lists(_PARTS, min_size=1, max_size=5)),
    path=st.lists(st.sampled_from(["a", "b", "d", "c", ".."]), max_size=6),
)
def test_no_path_leads_out_of_the_root(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, list[str]], path: list[str]
) -> None:
    root = tmp_path_factory.mktemp("root").resolve()
    (root / "d").mkdir()
    for name, target in links.items():
        (root / name).symlink_to(PurePosixPath(*target))
    try:
        found = resolve_inside(root, PurePosixPath(*path))
    except OSError:
        return
    assert found.resolve().is_relative_to(root)


def test_merged_usr_is_made_of_relative_links(tmp_path: Path) -> None:
    make_merged_usr(tmp_path, ("bin", "lib", "sbin"))
    assert {name: os.readlink(tmp_path / name) for name in ("bin", "lib", "sbin")} == {
        "bin": "usr/bin",
        "lib": "usr/lib",
        "sbin": "usr/sbin",
    }


def test_a_root_that_is_not_merged_stays_so(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    make_merged_usr(tmp_path, ("bin", "lib", "sbin"))
    assert not (tmp_path / "lib").is_symlink()


def test_files_below_lib_land_in_usr_lib(tmp_path: Path) -> None:
    root, tree = tmp_path / "root", tmp_path / "tree"
    make_merged_usr(root, ("bin", "lib", "sbin"))
    (tree / "lib/here").mkdir(parents=True)
    (tree / "lib/here/libx.so.1").write_text("x")
    merge(tree, root)
    assert snapshot(root / "usr") == {"lib/here/libx.so.1": "x"}


def test_files_below_an_absolute_link_stay_in_the_root(tmp_path: Path) -> None:
    root, tree, outside = tmp_path / "root", tmp_path / "tree", tmp_path / "outside"
    outside.mkdir()
    root.mkdir()
    (root / "data").symlink_to(outside)
    (tree / "data").mkdir(parents=True)
    (tree / "data/file").write_text("x")
    merge(tree, root)
    assert list(outside.iterdir()) == []


def test_a_link_does_not_replace_a_directory(tmp_path: Path) -> None:
    root, tree = tmp_path / "root", tmp_path / "tree"
    (root / "var/run").mkdir(parents=True)
    (tree / "var").mkdir(parents=True)
    (tree / "var/run").symlink_to("/run")
    merge(tree, root)
    assert not (root / "var/run").is_symlink()


def test_a_newer_file_replaces_an_older_one(tmp_path: Path) -> None:
    for name in ("root", "tree"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    merge(tmp_path / "tree", tmp_path / "root")
    assert (tmp_path / "root/file").read_text() == "tree"


def test_merge_counts_the_bytes_of_files(tmp_path: Path) -> None:
    (tmp_path / "tree/a").mkdir(parents=True)
    (tmp_path / "tree/a/one").write_text("12345")
    (tmp_path / "tree/two").write_text("678")
    (tmp_path / "tree/three").symlink_to("two")
    assert merge(tmp_path / "tree", tmp_path / "root") == 8


@needs_dpkg
@both_ways
def test_a_package_is_extracted_with_its_links_as_they_are(tmp_path: Path, unpack: Unpack) -> None:
    links = {"usr/bin/absolute": "/etc/alternatives/x", "usr/lib/relative.so": "real.so", "lib/up": "../usr/lib"}
    archive = build_package(tmp_path, "demo", {"usr/lib/real.so": "code"}, links=links)
    unpack(archive, tmp_path / "tree", tmp_path / "control")
    assert snapshot(tmp_path / "tree") == {"usr/lib/real.so": "code"} | {k: f"-> {v}" for k, v in links.items()}


@needs_dpkg
@both_ways
def test_the_control_files_are_extracted(tmp_path: Path, unpack: Unpack) -> None:
    archive = build_package(tmp_path, "demo", {"a": "b"}, postinst="#!/bin/sh\n", compression="gzip")
    unpack(archive, tmp_path / "tree", tmp_path / "control")
    assert sorted(path.name for path in (tmp_path / "control").iterdir()) == ["control", "postinst"]


@needs_dpkg
def test_zstd_packages_need_dpkg(tmp_path: Path) -> None:
    archive = build_package(tmp_path, "demo", {"a": "b"}, compression="zstd")
    extract(archive, tmp_path / "tree", tmp_path / "control")
    assert snapshot(tmp_path / "tree") == {"a": "b"}


@needs_dpkg
@both_ways
@pytest.mark.parametrize("kept", [0, 4, 30, 200])
def test_a_truncated_package_is_refused(tmp_path: Path, unpack: Unpack, kept: int) -> None:
    archive = build_package(tmp_path, "demo", {"a": "b" * 500})
    archive.write_bytes(archive.read_bytes()[:kept])
    with pytest.raises(SysrootError, match=archive.name):
        unpack(archive, tmp_path / "tree", tmp_path / "control")


@needs_dpkg
@both_ways
def test_a_package_cannot_write_through_its_own_link(tmp_path: Path, unpack: Unpack) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = hostile_package(tmp_path / "bad.deb", [link("x", str(outside)), tarfile.TarInfo("x/file")])
    with pytest.raises(SysrootError):
        unpack(archive, tmp_path / "tree", tmp_path / "control")
    assert list(outside.iterdir()) == []


@needs_filters
def test_a_package_cannot_name_files_outside(tmp_path: Path) -> None:
    archive = hostile_package(tmp_path / "bad.deb", [tarfile.TarInfo("../escaped")])
    with pytest.raises(SysrootError):
        extract_without_dpkg(archive, tmp_path / "tree", tmp_path / "control")
    assert not (tmp_path / "escaped").exists()
