# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .caller import Caller


@pytest.fixture
def osv() -> Iterator[Caller]:
    caller = Caller()
    yield caller
    caller.machine.close()
