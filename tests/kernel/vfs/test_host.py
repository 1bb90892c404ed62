# SPDX-License-Identifier: GPL-2.0-or-later
"""The recording of what a run asked of the host, and its replay, which touches nothing."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from syscalls.guest import Guest

from fetchsan.kernel.errors import LinuxError
from fetchsan.kernel.host import Host, HostLog, RecordingHost, ReplayDivergence, ReplayHost


def session(guest: Guest) -> list[object]:
    """Everything that touches the host."""
    results: list[object] = [guest.names("."), guest.content("data"), guest.stat("data"), guest.content("none")]
    fd = guest.open("out", 0o102)
    results += [guest.write(fd, b"w" * 1000), guest.call("fchmod", fd, 0o600)]
    results += [guest.call("mkdirat", -100, b"d", 0o755), guest.call("renameat", -100, b"out", -100, b"d/out")]
    results += [guest.call("symlinkat", b"d/out", -100, b"l"), guest.content("l"), guest.link("l")]
    results += [guest.call("unlinkat", -100, b"l", 0), guest.call("unlinkat", -100, b"d", 0x200)]
    results += [guest.read(guest.open("/dev/urandom"), 8), guest.call("utimensat", -100, b"data", 0, 0)]
    return results


def record(work: Path) -> tuple[HostLog, list[object]]:
    (work / "data").write_bytes(b"data" * 100)
    host = RecordingHost()
    return host.log, session(Guest(work, host=host))


def test_replay_gives_the_same_results(work: Path) -> None:
    log, results = record(work)
    assert session(Guest(work, host=ReplayHost(log))) == results


def test_replay_touches_nothing(work: Path) -> None:
    log, _ = record(work)
    for path in sorted(work.rglob("*"), reverse=True):
        if path.name != "prog":
            path.rmdir() if path.is_dir() else path.unlink()
    session(Guest(work, host=ReplayHost(log)))
    assert [path.name for path in work.iterdir()] == ["prog"]


def test_replay_asks_for_all_of_the_recording(work: Path) -> None:
    log, _ = record(work)
    host = ReplayHost(log)
    session(Guest(work, host=host))
    assert host.position == len(log.entries)


def test_another_operation_is_a_divergence(work: Path) -> None:
    log, _ = record(work)
    guest = Guest(work, host=ReplayHost(log))
    with pytest.raises(ReplayDivergence) as caught:
        guest.content("data")  # the recording lists the directory first
    assert caught.value.asked != caught.value.expected
    assert "diverged" in str(caught.value)


def test_more_operations_are_a_divergence(work: Path) -> None:
    log, _ = record(work)
    guest = Guest(work, host=ReplayHost(log))
    session(guest)
    with pytest.raises(ReplayDivergence, match="the end"):
        guest.content("data")


def test_other_data_is_a_divergence() -> None:
    log = HostLog()
    log.append("write_stream", (1, b"one"), 3)
    with pytest.raises(ReplayDivergence):
        ReplayHost(log).write_stream(1, b"two")


def test_errors_are_replayed() -> None:
    host = RecordingHost()
    with pytest.raises(LinuxError):
        host.open_granted(b"/nowhere at all")
    with pytest.raises(LinuxError) as caught:
        ReplayHost(host.log).open_granted(b"/nowhere at all")
    assert caught.value.errno == errno.ENOENT


def test_recording_that_grew_too_large(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(bytes(5000))
    host = RecordingHost(HostLog(limit=4096))
    handle = host.open_granted(bytes(tmp_path))
    file = host.open_file(handle, b"big", 0)
    host.pread(file, 5000, 0)
    host.close(file)
    host.close(handle)
    assert host.log.entries == []
    with pytest.raises(ReplayDivergence, match="exceeded"):
        ReplayHost(host.log)


def test_long_data_is_kept_as_a_digest() -> None:
    log = HostLog()
    RecordingHost(log)
    host = RecordingHost(log)
    with pytest.raises(LinuxError):
        host.pwrite(-1, bytes(1 << 20), 0)
    assert len(repr(log.entries)) < 1000


def test_operations_of_the_host_are_errnos(tmp_path: Path) -> None:
    host = Host()
    handle = host.open_granted(bytes(tmp_path))
    with pytest.raises(LinuxError) as caught:
        host.stat_name(handle, b"none")
    host.close(handle)
    assert caught.value.errno == errno.ENOENT


def test_listing_is_sorted(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        (tmp_path / name).touch()
    host = Host()
    handle = host.open_granted(bytes(tmp_path))
    assert [entry.name for entry in host.list(handle)] == [b"a", b"b", b"c"]
    host.close(handle)
