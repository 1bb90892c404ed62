# SPDX-License-Identifier: GPL-2.0-or-later
"""Every maintenance variant on our own machine: kind, count and status in `check`, output in all three modes."""

from __future__ import annotations

import pytest

import fetchsan

from .variants_table import VARIANTS, VARIANTS_PROGRAM, Variant

# One CPU for each class of caches (IDC/DIC), and VIPT ones: a53 with 64-byte lines, a64fx with 256-byte lines.
PIPT_CPUS = ("cortex-a72", "cortex-a78ae", "neoverse-v1")
VIPT_CPUS = ("cortex-a53", "a64fx")
CASES = [
    pytest.param(variant, cpu, id=f"{name}-{cpu}")
    for name, variant in VARIANTS.items()
    for cpu in ((variant.cpu,) if variant.cpu else PIPT_CPUS if variant.pipt_only else PIPT_CPUS + VIPT_CPUS)
]


def _run(variant: Variant, cpu: str, mode: str) -> fetchsan.Result:
    machine = fetchsan.Machine(cpu=cpu, mode=mode, memory=256 << 20, replay=False)
    return machine.run([str(VARIANTS_PROGRAM), variant.name], capture_stdout=True, message=lambda _text: None)


def _facts(cpu: str) -> tuple[str, bool]:
    from fetchsan.arch.aarch64.cpus import get_cpu

    profile = get_cpu(cpu)
    return f"{int(profile.idc)}{int(profile.dic)}", profile.vipt


@pytest.mark.parametrize(("variant", "cpu"), CASES)
def test_check_finds_what_is_missing_and_nothing_else(variant: Variant, cpu: str) -> None:
    result = _run(variant, cpu, "check")
    cache_class, vipt = _facts(cpu)
    kind = variant.kind(cache_class, vipt=vipt)
    assert [str(finding.kind) for finding in result.findings] == ([] if kind is None else [kind])
    if kind is not None:
        assert sum(finding.count for finding in result.findings) == variant.count
    expected = 66 if variant.exits_66(cache_class, vipt=vipt) else variant.status("check", cache_class, vipt=vipt)
    assert result.exit_status == expected
    assert (result.stdout or b"").decode().rstrip("\n") in variant.output("check", cache_class, vipt=vipt)


@pytest.mark.parametrize("mode", ["stale", "coherent"])
@pytest.mark.parametrize(("variant", "cpu"), CASES)
def test_output_shows_what_executed(variant: Variant, cpu: str, mode: str) -> None:
    result = _run(variant, cpu, mode)
    cache_class, vipt = _facts(cpu)
    assert (result.stdout or b"").decode().rstrip("\n") in variant.output(mode, cache_class, vipt=vipt)
    assert result.guest.status == variant.status(mode, cache_class, vipt=vipt)
