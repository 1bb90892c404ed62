# SPDX-License-Identifier: GPL-2.0-or-later
"""`sysroot add` against a repository made by the test: apt itself resolves, fetches and verifies."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from fetchsan.errors import UsageError
from fetchsan.sysroot import SysrootError, UnknownPackageError, add, default_root

from .conftest import Repository


def quiet(_line: str) -> None:
    pass


def names(packages: tuple[object, ...]) -> list[str]:
    return sorted(str(package).split()[0] for package in packages)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "sysroot"


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without apt and dpkg."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


def test_dependencies_come_along(repository: Repository, root: Path) -> None:
    repository.package("libx", {"lib/aarch64-linux-gnu/libx.so.1": "code"})
    repository.package("tool", {"usr/bin/tool": "program"}, Depends="libx (>= 1.0)")
    report = add(["tool"], root=root, progress=quiet)
    assert names(report.installed) == ["libx", "tool"]
    assert (root / "usr/lib/aarch64-linux-gnu/libx.so.1").read_text() == "code"
    assert (root / "bin/tool").read_text() == "program"


def test_recommends_do_not(repository: Repository, root: Path) -> None:
    repository.package("extra", {"e": "e"}, architecture="all")
    repository.package("tool", {"t": "t"}, Recommends="extra")
    assert names(add(["tool"], root=root, progress=quiet).installed) == ["tool"]


def test_the_report_counts_bytes_and_names_the_root(repository: Repository, root: Path) -> None:
    repository.package("tool", {"usr/bin/tool": "12345"})
    report = add(["tool"], root=root, progress=quiet)
    assert (report.bytes, report.root, str(report.installed[0])) == (5, root, "tool 1.0")


def test_a_second_run_skips_and_needs_no_apt(
    repository: Repository, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.package("tool", {"usr/bin/tool": "12345"})
    add(["tool"], root=root, progress=quiet)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = add(["tool"], root=root, progress=quiet)
    assert (report.installed, names(report.skipped), report.bytes) == ((), ["tool"], 0)


def test_only_what_is_missing_is_added(repository: Repository, root: Path) -> None:
    repository.package("libx", {"x": "x"})
    repository.package("one", {"1": "1"}, Depends="libx")
    repository.package("two", {"2": "2"}, Depends="libx")
    add(["one"], root=root, progress=quiet)
    report = add(["one", "two"], root=root, progress=quiet)
    assert (names(report.installed), names(report.skipped)) == (["two"], ["one"])


def test_a_newer_version_in_the_lists_does_not_upgrade(repository: Repository, root: Path) -> None:
    repository.package("libx", {"x": "old"})
    add(["libx"], root=root, progress=quiet)
    repository.package("libx", {"x": "new"}, version="2.0")
    repository.package("tool", {"t": "t"}, Depends="libx")
    add(["libx", "tool"], root=root, progress=quiet)
    assert (root / "x").read_text() == "old"


def test_a_dependency_upgrades_when_it_must(repository: Repository, root: Path) -> None:
    repository.package("libx", {"x": "old"})
    add(["libx"], root=root, progress=quiet)
    repository.package("libx", {"x": "new"}, version="2.0")
    repository.package("tool", {"t": "t"}, Depends="libx (>= 2.0)")
    add(["tool"], root=root, progress=quiet)
    assert (root / "x").read_text() == "new"
    assert (root / "var/lib/dpkg/status").read_text().count("Package: libx\n") == 1


def test_maintainer_scripts_are_not_run(repository: Repository, root: Path, tmp_path: Path) -> None:
    repository.package("tool", {"t": "t"}, postinst=f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    add(["tool"], root=root, progress=quiet)
    assert not (tmp_path / "ran").exists()


def test_alternatives_are_linked_across_runs(repository: Repository, root: Path) -> None:
    for name, priority in (("mawk", 5), ("gawk", 10), ("nawk", 1)):
        call = f"#!/bin/sh\nupdate-alternatives --install /usr/bin/awk awk /usr/bin/{name} {priority}\n"
        repository.package(name, {f"usr/bin/{name}": name}, postinst=call)
        add([name], root=root, progress=quiet)
    assert (root / "usr/bin/awk").read_text() == "gawk"


def test_the_status_file_is_one_that_dpkg_reads(repository: Repository, root: Path) -> None:
    repository.package("tool", {"t": "t"})
    add(["tool"], root=root, progress=quiet)
    query = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Package} ${Version} ${Status}"]
    assert subprocess.run(query, capture_output=True, text=True, check=True).stdout == "tool 1.0 install ok installed"


def test_the_hosts_package_database_is_not_touched(repository: Repository, root: Path) -> None:
    status = Path("/var/lib/dpkg/status")
    before = status.stat().st_mtime_ns
    foreign = subprocess.run(["dpkg", "--print-foreign-architectures"], capture_output=True, check=True).stdout
    repository.package("tool", {"t": "t"})
    add(["tool"], root=root, progress=quiet)
    assert status.stat().st_mtime_ns == before
    assert subprocess.run(["dpkg", "--print-foreign-architectures"], capture_output=True, check=True).stdout == foreign


def test_downloads_are_not_kept(repository: Repository, root: Path) -> None:
    repository.package("tool", {"t": "t"})
    add(["tool"], root=root, progress=quiet)
    assert list(root.rglob("*.deb")) == []


def test_a_name_close_to_another_is_a_usage_error_that_says_so(repository: Repository, root: Path) -> None:
    repository.package("luajit", {"t": "t"})
    with pytest.raises(UnknownPackageError, match="luajit") as caught:
        add(["luaijt"], root=root, progress=quiet)
    assert (caught.value.exit_status, caught.value.package, caught.value.suggestions) == (2, "luaijt", ("luajit",))


def test_a_virtual_package_names_its_providers(repository: Repository, root: Path) -> None:
    repository.package("mawk", {"t": "t"}, Provides="awk")
    repository.package("user", {"u": "u"}, Depends="awk")
    with pytest.raises(UnknownPackageError) as caught:
        add(["awk"], root=root, progress=quiet)
    assert "mawk" in caught.value.suggestions


@pytest.mark.parametrize("name", ["", "-y", "../x", "a b", "Upper", "x/../y", "tool=1", "x;y"])
def test_what_cannot_be_a_package_name_is_a_usage_error(name: str, root: Path) -> None:
    with pytest.raises(UsageError):
        add([name], root=root, progress=quiet)
    assert not root.exists()


def test_no_package_at_all_is_a_usage_error(root: Path) -> None:
    with pytest.raises(UsageError):
        add([], root=root, progress=quiet)


def test_packages_of_other_architectures_do_not_exist(repository: Repository, root: Path) -> None:
    repository.package("native", {"t": "t"}, architecture="amd64")
    repository.package("other", {"t": "t"})
    with pytest.raises(UnknownPackageError):
        add(["native"], root=root, progress=quiet)


def test_a_sysroot_may_be_for_amd64(repository: Repository, root: Path) -> None:
    repository.package("libx", {"lib64/libx.so.1": "code"}, architecture="amd64")
    repository.package("tool", {"usr/bin/tool": "program"}, architecture="amd64", Depends="libx")
    repository.package("other", {"t": "t"})
    report = add(["tool"], architecture="amd64", root=root, progress=quiet)
    assert names(report.installed) == ["libx", "tool"]
    assert (root / "usr/lib64/libx.so.1").read_text() == "code"
    with pytest.raises(UnknownPackageError, match="no amd64 package is called 'other'"):
        add(["other"], architecture="amd64", root=root, progress=quiet)


def test_the_packages_of_two_architectures_do_not_mix(repository: Repository, root: Path) -> None:
    repository.package("tool", {"t": "arm64"})
    repository.package("native", {"t": "amd64"}, architecture="amd64")
    add(["tool"], root=root, progress=quiet)
    with pytest.raises(UsageError, match="holds arm64 packages"):
        add(["native"], architecture="amd64", root=root, progress=quiet)
    assert (root / "t").read_text() == "arm64"


def test_an_architecture_without_sysroots_is_a_usage_error(root: Path) -> None:
    with pytest.raises(UsageError, match="'riscv64'; there is arm64, amd64"):
        add(["tool"], architecture="riscv64", root=root, progress=quiet)


def test_an_unmet_dependency_is_named(repository: Repository, root: Path) -> None:
    repository.package("tool", {"t": "t"}, Depends="nowhere")
    with pytest.raises(SysrootError, match="Depends: nowhere"):
        add(["tool"], root=root, progress=quiet)


def test_a_conflict_is_named_and_nothing_is_removed(repository: Repository, root: Path) -> None:
    repository.package("one", {"1": "1"})
    repository.package("two", {"2": "2"}, Conflicts="one")
    add(["one"], root=root, progress=quiet)
    with pytest.raises(SysrootError, match="REMOVED: one"):
        add(["two"], root=root, progress=quiet)
    assert (root / "1").exists()


def test_a_source_that_fails_does_not_break_the_others(repository: Repository, root: Path) -> None:
    repository.package("tool", {"t": "t"})
    (repository.source_parts / "bad.list").write_text("deb [trusted=yes] file:/nonexistent ./\n")
    lines: list[str] = []
    add(["tool"], root=root, progress=lines.append)
    assert (root / "t").exists()
    assert any("not every package list" in line and "/nonexistent" in line for line in lines)


def test_a_source_for_amd64_alone_is_not_asked(repository: Repository, root: Path) -> None:
    repository.package("tool", {"t": "t"})
    text = "Types: deb\nURIs: file:/nonexistent\nSuites: ./\nArchitectures: amd64\n"
    (repository.source_parts / "bad.sources").write_text(text)
    lines: list[str] = []
    add(["tool"], root=root, progress=lines.append)
    assert not any("nonexistent" in line for line in lines)


def test_no_readable_source_is_said(repository: Repository, root: Path) -> None:
    repository.source_list.write_text("deb [trusted=yes] file:/nonexistent ./\n")
    with pytest.raises(SysrootError, match="sources"):
        add(["tool"], root=root, progress=quiet)


def test_a_file_that_is_not_what_the_lists_promise_is_refused(repository: Repository, root: Path) -> None:
    archive = repository.package("tool", {"t": "t"})
    data = bytearray(archive.read_bytes())
    data[-1] ^= 1
    archive.write_bytes(data)
    with pytest.raises(SysrootError):
        add(["tool"], root=root, progress=quiet)
    assert not (root / "t").exists()


def test_a_run_that_failed_half_way_records_nothing_and_can_be_repeated(repository: Repository, root: Path) -> None:
    repository.package("aaa", {"a": "a"})
    damaged = repository.package("zzz", {"z": "z"}, Depends="aaa")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:300])
    repository.index()
    with pytest.raises(SysrootError, match="zzz"):
        add(["zzz"], root=root, progress=quiet)
    assert (root / "var/lib/dpkg/status").read_text() == ""
    damaged.write_bytes(whole)
    repository.index()
    assert names(add(["zzz"], root=root, progress=quiet).installed) == ["aaa", "zzz"]


def test_progress_tells_each_package(repository: Repository, root: Path) -> None:
    repository.package("tool", {"t": "t"})
    lines: list[str] = []
    add(["tool"], root=root, progress=lines.append)
    assert lines[0] == "updating the package lists"
    assert "unpacking tool 1.0" in lines


def test_two_runs_take_turns(repository: Repository, root: Path) -> None:
    repository.package("tool", {"t": "t"})
    state = root / "var/cache/fetchsan"
    state.mkdir(parents=True)
    waiting = threading.Event()
    other = threading.Thread(
        target=add, args=(["tool"],), kwargs={"root": root, "progress": lambda line: "waiting" in line and waiting.set()}
    )
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other.start()
        assert waiting.wait(30)
        assert not (root / "t").exists()
    other.join(60)
    assert (root / "t").exists()


@pytest.mark.usefixtures("no_tools")
@pytest.mark.parametrize(("architecture", "variable"), [("arm64", "FETCHSAN_SYSROOT"), ("amd64", "FETCHSAN_SYSROOT_AMD64")])
def test_without_apt_the_error_says_what_to_do(root: Path, architecture: str, variable: str) -> None:
    with pytest.raises(SysrootError, match=f"linux/{architecture} ") as caught:
        add(["tool"], architecture=architecture, root=root, progress=quiet)
    assert caught.value.exit_status == 125
    assert f"-L DIR or {variable}:" in str(caught.value)


def test_a_root_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SysrootError, match="file"):
        add(["tool"], root=tmp_path / "file", progress=quiet)


@pytest.mark.parametrize(
    ("architecture", "variables", "expected"),
    [
        ("arm64", {}, "/home/someone/.cache/fetchsan/sysroot"),
        ("amd64", {}, "/home/someone/.cache/fetchsan/sysroot-amd64"),
        ("arm64", {"XDG_CACHE_HOME": "/cache"}, "/cache/fetchsan/sysroot"),
        ("arm64", {"XDG_CACHE_HOME": "relative"}, "/home/someone/.cache/fetchsan/sysroot"),
        ("arm64", {"XDG_CACHE_HOME": "/cache", "FETCHSAN_SYSROOT": "/own"}, "/own"),
        ("amd64", {"XDG_CACHE_HOME": "/cache", "FETCHSAN_SYSROOT": "/own"}, "/cache/fetchsan/sysroot-amd64"),
        ("amd64", {"FETCHSAN_SYSROOT_AMD64": "/own"}, "/own"),
    ],
)
def test_the_default_root(
    monkeypatch: pytest.MonkeyPatch, architecture: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("XDG_CACHE_HOME", "FETCHSAN_SYSROOT", "FETCHSAN_SYSROOT_AMD64"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_root(architecture) == Path(expected)


@pytest.mark.network
@pytest.mark.parametrize(
    ("architecture", "loader"),
    [("arm64", "lib/ld-linux-aarch64.so.1"), ("amd64", "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")],
)
def test_luajit_is_fetched_from_debian(root: Path, architecture: str, loader: str) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt-get")
    report = add(["luajit"], architecture=architecture, root=root, progress=quiet)
    assert {"luajit", "libc6"} <= set(names(report.installed))
    assert (root / "usr/bin/luajit").read_bytes()[:4] == b"\x7fELF"
    assert (root / loader).resolve().is_file()
