# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from .guest import Guest


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The program's current directory on the host."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def guest(work: Path) -> Guest:
    return Guest(work)
