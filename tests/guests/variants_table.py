# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads guests/maintenance/variants.toml and guests/hostile/hostile.toml: what every guest must give, as typed rows."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ATTACKS", "CLASSES", "HOSTILE", "ROOT", "VARIANTS", "VARIANTS_PROGRAM", "Attack", "Variant"]

ROOT = Path(__file__).resolve().parents[2]
VARIANTS_PROGRAM = ROOT / "guests/maintenance/variants"
HOSTILE = ROOT / "guests/hostile/hostile"
CLASSES = ("00", "10", "11")
"""Cache classes: CTR_EL0.IDC, then DIC."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of variants.toml (its head comment says what the fields mean)."""

    name: str
    twin: str | None = None
    findings: dict[str, str] = field(default_factory=dict)
    vipt: dict[str, str] = field(default_factory=dict)
    pipt_only: bool = False
    count: int = 1
    check: str = "new"
    stale: str | None = None
    coherent: str | list[str] | None = None
    qemu: str | None = None
    exit: int = 0
    stale_exit: int | None = None
    coherent_exit: int | None = None
    latent: bool = False
    prefetch_only: bool = False
    cpu: str | None = None
    clears: bool = False

    def kind(self, cache_class: str, *, vipt: bool = False) -> str | None:
        """The finding's kind on a machine of `cache_class`, None where it is silent."""
        kind = self.findings.get(cache_class)
        if vipt:
            kind = self.vipt.get(cache_class, kind)
        return kind or None

    def output(self, mode: str, cache_class: str, *, vipt: bool = False) -> tuple[str, ...]:
        """What stdout may be in `mode`, without the newline that ends it (nothing at all where it is empty)."""
        if mode == "stale" and self.kind(cache_class, vipt=vipt):
            assert self.stale is not None
            return (self.stale,)
        if mode == "coherent" and self.coherent is not None:
            return (self.coherent,) if isinstance(self.coherent, str) else tuple(self.coherent)
        return (self.check,)

    def status(self, mode: str, cache_class: str, *, vipt: bool = False) -> int:
        """The guest's own exit status in `mode` (FetchSan's is 66 in `check` where `exits_66`)."""
        if mode == "stale" and self.stale_exit is not None and self.kind(cache_class, vipt=vipt):
            return self.stale_exit
        if mode == "coherent" and self.coherent_exit is not None:
            return self.coherent_exit
        return self.exit

    def exits_66(self, cache_class: str, *, vipt: bool = False) -> bool:
        """Whether `check` without --strict exits with 66."""
        return self.kind(cache_class, vipt=vipt) is not None and not self.prefetch_only


@dataclass(frozen=True, slots=True)
class Attack:
    """One run of hostile.toml: command line arguments and the guest's statuses that are allowed."""

    arguments: tuple[str, ...]
    statuses: tuple[int, ...]

    @property
    def id(self) -> str:
        """A name for the test."""
        return "-".join(self.arguments)


def _rows(path: str, table: str) -> list[dict[str, object]]:
    with (ROOT / path).open("rb") as file:
        rows = tomllib.load(file)[table]
    assert isinstance(rows, list)
    return rows


def _attacks() -> list[Attack]:
    attacks = []
    for row in _rows("guests/hostile/hostile.toml", "attack"):
        exits = row.get("exit", 0)
        statuses = tuple(exits) if isinstance(exits, list) else (exits,)
        given = row.get("arguments", [])
        assert isinstance(given, list)
        runs = [(str(row["name"]), str(argument)) for argument in given] or [(str(row["name"]),)]
        attacks += [Attack(run, statuses) for run in runs]
    return attacks


VARIANTS: dict[str, Variant] = {
    str(row["name"]): Variant(**row)  # type: ignore[arg-type]
    for row in _rows("guests/maintenance/variants.toml", "variant")
}
ATTACKS: list[Attack] = _attacks()
