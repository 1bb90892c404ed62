# SPDX-License-Identifier: GPL-2.0-or-later
"""Every attack of guests/hostile, in every mode: how it ends, what it costs, what it finds, what it leaves on the host."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guests.variants_table import ATTACKS, HOSTILE, Attack
from hostile import runner

MODES = ("check", "stale", "coherent")
RESIDENT_LIMIT = 700 << 10  # KiB: FetchSan itself, all of the guest's RAM, and as much again
# In `coherent` mode the machine is plain TCG, to which DC and IC are no accesses, and so cannot fault.
MAINTENANCE = ("dc-", "ic-", "own-clean-of-null")
SECRET = b"not granted\n"


@dataclass(frozen=True)
class Host:
    """A home directory: `work` is where fetchsan is started, `secret` lies beside it."""

    home: Path
    mode: str
    outcomes: dict[str, dict[str, Any]]

    @property
    def secret(self) -> Path:
        return self.home / "secret"


@pytest.fixture(scope="module", params=MODES)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """All attacks, made from one home directory in one mode."""
    home = tmp_path_factory.mktemp("home")
    (home / "work").mkdir()
    (home / "secret").write_bytes(SECRET)
    commands = [
        ["run", "--mode", request.param, "--memory", "256M", str(HOSTILE), *_arguments(attack, home / "secret")]
        for attack in ATTACKS
    ]
    done = subprocess.run(
        [sys.executable, runner.__file__],
        input=json.dumps(commands),
        cwd=home / "work",
        capture_output=True,
        text=True,
        timeout=len(commands) * runner.SECONDS,
        check=True,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return Host(home, request.param, {attack.id: result for attack, result in zip(ATTACKS, results, strict=True)})


def _arguments(attack: Attack, secret: Path) -> tuple[str, ...]:
    name, *rest = attack.arguments
    return (name, str(secret)) if name == "escape" else (name, *rest)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_ends_as_allowed(host: Host, attack: Attack) -> None:
    outcome = host.outcomes[attack.id]
    allowed = attack.statuses
    if host.mode == "coherent" and attack.id.startswith(MAINTENANCE):
        allowed = (*allowed, 0)
    assert outcome["status"] in allowed, outcome["stderr"][-2000:]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_is_no_failure_of_ours(host: Host, attack: Attack) -> None:
    said = host.outcomes[attack.id]["stderr"]
    assert "Traceback" not in said
    assert "internal error" not in said


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.id)
def test_memory_is_bounded(host: Host, attack: Attack) -> None:
    assert host.outcomes[attack.id]["resident"] < RESIDENT_LIMIT


def test_leaves_the_host_as_it_was(host: Host) -> None:
    assert sorted(path.relative_to(host.home).as_posix() for path in host.home.rglob("*")) == ["secret", "work"]
    assert host.secret.read_bytes() == SECRET
