# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent lines: fresh only because the kernel synchronised the frame when it became executable (`--kernel-sync linux`)."""

from __future__ import annotations

from dataclasses import dataclass

from coherency.bench import CODE, MOV1, MOV2, Bench
from fetchsan.coherency import Kind


@dataclass(frozen=True)
class _Writer:
    agent: str


def _written_then_made_executable() -> Bench:
    bench = Bench(watch=False)
    bench.unseen(CODE, MOV1)
    return bench


def _map(bench: Bench) -> int:
    latent = bench.views.kernel_synchronise(0, CODE)
    bench.views.watch(CODE)
    bench.views.made_executable(0, CODE)
    return latent


def test_a_line_that_only_the_kernel_made_fresh_is_counted() -> None:
    bench = _written_then_made_executable()
    assert _map(bench) == 1
    assert bench.views.is_latent(CODE)
    assert bench.kind(CODE) is None


def test_it_is_told_when_first_executed_and_once() -> None:
    bench = _written_then_made_executable()
    _map(bench)
    assert bench.views.stale_slots(0, CODE) == 1
    judgement = bench.views.fetch(0, CODE)
    assert judgement is not None
    assert (judgement.latent, judgement.kind) == (True, Kind.MISSING_DC_CLEAN)
    assert bench.views.fetch(0, CODE) is None
    assert not bench.views.is_latent(CODE)


def test_a_program_that_maintained_before_is_not() -> None:
    bench = _written_then_made_executable()
    bench.maintain(CODE)
    assert _map(bench) == 0
    assert not bench.views.is_latent(CODE)


def test_a_program_that_maintains_after_is_not() -> None:
    bench = _written_then_made_executable()
    assert _map(bench) == 1
    bench.maintain(CODE)
    assert not bench.views.is_latent(CODE)
    assert bench.views.fetch(0, CODE) is None


def test_half_the_maintenance_is_not_enough() -> None:
    bench = _written_then_made_executable()
    _map(bench)
    bench.clean(CODE)
    judgement = bench.views.fetch(0, CODE)
    assert judgement is not None
    assert (judgement.latent, judgement.kind) == (True, Kind.MISSING_IC_INVALIDATE)


def test_what_the_kernel_itself_filled_is_its_own_affair() -> None:
    bench = _written_then_made_executable()
    bench.views.filled(CODE, bench.data(CODE, 4096), _Writer("page-cache fill"))
    assert _map(bench) == 0


def test_a_store_after_the_synchronisation_is_an_ordinary_finding() -> None:
    bench = _written_then_made_executable()
    _map(bench)
    bench.store(CODE, MOV2)
    judgement = bench.views.fetch(0, CODE)
    assert judgement is not None
    assert (judgement.latent, judgement.kind) == (False, Kind.MISSING_DC_CLEAN)


def test_a_freed_frame_forgets() -> None:
    bench = _written_then_made_executable()
    _map(bench)
    bench.views.freed(CODE)
    assert not bench.views.is_latent(CODE)


def test_the_kernels_synchronisation_reaches_every_pe() -> None:
    bench = Bench(pes=2, watch=False)
    bench.unseen(CODE, MOV1)
    _map(bench)
    assert bench.kind(CODE, pe=1) is Kind.MISSING_ISB
    bench.views.context_synchronise(1)
    assert bench.kind(CODE, pe=1) is None
