# SPDX-License-Identifier: GPL-2.0-or-later
"""The `fetchsan` command as a person starts it: a process of its own, with limits, and all that it gave back."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

__all__ = [
    "GUESTS", "PROGRAMS", "TIMEOUT", "Outcome", "build", "environment", "fetchsan", "finding_kinds", "interrupt",
    "native", "needs_compiler", "qemu", "report",
]  # fmt: skip

GUESTS = Path(__file__).resolve().parents[2] / "guests"
PROGRAMS = Path(__file__).resolve().parent / "programs"
COMPILER = shutil.which("aarch64-linux-gnu-gcc")
QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
TIMEOUT = 120  # seconds: a hang, on a machine however loaded

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="aarch64-linux-gnu-gcc is not installed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished process; `status` is what a shell calls it."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[str]:
        """stderr by lines."""
        return self.stderr.splitlines()


def fetchsan(
    *arguments: str | Path,
    cwd: Path | None = None,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    prepare: Callable[[], object] | None = None,
) -> Outcome:
    """Run `fetchsan ARGUMENTS`. `prepare` is called in the child before it starts. No traceback, whatever happens."""

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if prepare is not None:
            prepare()

    done = subprocess.run(
        [sys.executable, "-m", "fetchsan", *map(str, arguments)],
        cwd=cwd,
        env=environment(env or {}),
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        preexec_fn=child,
    )
    outcome = _outcome(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in outcome.stderr
    return outcome


def interrupt(*arguments: str | Path, when: bytes, cwd: Path | None = None) -> tuple[Outcome, float]:
    """Run a guest that never ends, send Ctrl-C's signal once it has printed `when`; also how long the end took, in seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fetchsan", *map(str, arguments)],
        cwd=cwd,
        env=environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        printed = b""
        while when not in printed:
            more = os.read(process.stdout.fileno(), 4096)
            assert more, "the guest ended by itself"
            printed += more
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=TIMEOUT)
        return _outcome(process.returncode, printed + stdout, stderr), time.monotonic() - sent
    finally:
        process.kill()
        process.wait()


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what a developer may have set."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FETCHSAN_", "COLUMNS"))}
    return kept | dict(extra)


def report(path: Path) -> dict[str, Any]:
    """A JSON report."""
    loaded = json.loads(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


def finding_kinds(path: Path) -> list[str]:
    """The kinds in a JSON report."""
    return [finding["kind"] for finding in report(path)["findings"]]


def qemu(*arguments: str | Path, sysroot: Path | None = None, cwd: Path | None = None, stdin: bytes = b"") -> Outcome | None:
    """The same under qemu-user, which is coherent; None where it is not installed."""
    if QEMU is None:
        return None
    root = ["-L", str(sysroot)] if sysroot is not None else []
    return _reference([QEMU, *root, *map(str, arguments)], cwd, stdin)


def native(name: str, *arguments: str, sysroot: Path, cwd: Path | None = None, stdin: bytes = b"") -> Outcome | None:
    """A program of the amd64 `sysroot`, with its libraries, on this machine itself; None where that is not x86-64 Linux."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return None
    program = sysroot / "usr/bin" / name
    libraries = sysroot / "usr/lib/x86_64-linux-gnu"
    loader = [libraries / "ld-linux-x86-64.so.2", "--library-path", libraries, "--argv0", name]
    # The dynamic linker has nothing to do for a static program, and would not start it.
    command = [program] if b"ld-linux-x86-64" not in program.read_bytes()[:4096] else [*loader, program]
    return _reference([*map(str, command), *arguments], cwd, stdin)


def _reference(command: list[str], cwd: Path | None, stdin: bytes) -> Outcome:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment({}),
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)),
    )
    return _outcome(done.returncode, done.stdout, done.stderr)


def build(name: str, folder: Path) -> Path:
    """programs/NAME.c as a static executable in `folder`."""
    assert COMPILER is not None
    program = folder / name
    subprocess.run(
        [COMPILER, "-O1", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, PROGRAMS / f"{name}.c"],
        check=True,
        capture_output=True,
        timeout=TIMEOUT,
    )
    return program


def _outcome(returncode: int, stdout: bytes, stderr: bytes) -> Outcome:
    return Outcome(128 - returncode if returncode < 0 else returncode, stdout, stderr.decode("utf-8", "replace"))
