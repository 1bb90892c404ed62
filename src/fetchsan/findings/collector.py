# SPDX-License-Identifier: GPL-2.0-or-later
"""From hits to findings: names places at the moment of the hit, merges by place, keeps the first hit in full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fetchsan.findings.finding import Finding, LedgerStep, Writer
from fetchsan.findings.location import Location
from fetchsan.machine.hardware import Origin
from fetchsan.machine.hits import Hit

__all__ = ["Collector"]

Locate = Callable[[int], Location]
# A writer's function, or None while it is not known.
_WriterKey = tuple[object, ...] | None
_Key = tuple[object, ...]


@dataclass(slots=True)
class _Record:
    """Hits of one place. Where the writer is unknown, of one line: a second run may still tell the lines apart."""

    hit: Hit
    executed: Location
    writer: Writer | None
    steps: tuple[LedgerStep, ...] = ()
    count: int = 1

    @property
    def key(self) -> _Key:
        unknown = None if self.writer is not None else self.hit.physical - self.hit.pc + self.hit.line
        return (*self.place, self.hit.prefetch_only, self.hit.latent, unknown)

    @property
    def place(self) -> _Key:
        """What makes two hits one finding."""
        return self.hit.kind, _writer_key(self.writer), self.executed.function


def _writer_key(writer: Writer | None) -> _WriterKey:
    if writer is None:
        return None
    return writer.agent, writer.location.function if writer.location is not None else None


class Collector:
    """Takes hits while the guest runs (when its mappings are those of the hit) and gives findings at any time."""

    def __init__(self, locate: Locate, disassemble: Callable[[int, int], str], *, strict: bool = False) -> None:
        self._locate = locate
        self._disassemble = disassemble
        self._strict = strict
        self._records: dict[_Key, _Record] = {}
        self.latent_lines = 0

    def add(self, hit: Hit) -> bool:
        """Take a hit; False if it will not be reported (latent, without --strict)."""
        if hit.latent and not self._strict:
            self.latent_lines += 1
            return False
        writer = self._writer(hit.writer, self._locate) if hit.writer is not None else None
        record = self._keep(_Record(hit, self._locate(hit.pc), writer))
        if record.count == 1:  # the one shown; a program without any maintenance makes thousands more
            record.steps = tuple(LedgerStep(s.step, s.state, s.pe, s.pc, self._maybe(s.pc)) for s in hit.steps)
        return True

    def name_writers(self, find: Callable[[Hit], Origin | None], locate: Locate | None = None) -> None:
        """Fill in writers from a second run: `find` gives the store behind a hit, `locate` names its PC there."""
        records = list(self._records.values())
        self._records.clear()
        for record in records:
            if record.writer is None and (origin := find(record.hit)) is not None:
                record = replace(record, writer=self._writer(origin, locate or self._locate))
            self._keep(record)

    @property
    def without_writer(self) -> list[Hit]:
        """The hits a second run should watch for."""
        return [record.hit for record in self._records.values() if record.writer is None]

    @property
    def lines(self) -> int:
        """Reported lines, over all findings."""
        return sum(record.count for record in self._records.values())

    def findings(self) -> list[Finding]:
        """In the order of their first hits; those that are `prefetch_only` or latent last."""
        merged: dict[_Key, list[_Record]] = {}
        for record in self._records.values():
            merged.setdefault(record.place, []).append(record)
        findings = [self._finding(records) for records in merged.values()]
        return sorted(findings, key=lambda finding: finding.lenient)

    def _keep(self, record: _Record) -> _Record:
        known = self._records.setdefault(record.key, record)
        if known is not record:
            known.count += record.count
        return known

    def _finding(self, records: list[_Record]) -> Finding:
        # The hit that weighs most stands for all: one that counts without --strict, if there is one.
        shown = min(records, key=lambda record: record.hit.prefetch_only or record.hit.latent)
        hit = shown.hit
        return Finding(
            kind=hit.kind,
            pe=hit.pe,
            thread=hit.thread,
            pc=hit.pc,
            physical=hit.physical,
            line=hit.line,
            stale=hit.stale,
            current=hit.current,
            stale_text=self._disassemble(hit.stale, hit.pc),
            current_text=self._disassemble(hit.current, hit.pc),
            executed=shown.executed,
            writer=shown.writer,
            steps=shown.steps,
            count=sum(record.count for record in records),
            prefetch_only=hit.prefetch_only,
            latent=hit.latent,
        )

    def _maybe(self, pc: int | None) -> Location | None:
        return self._locate(pc) if pc is not None else None

    @staticmethod
    def _writer(origin: Origin, locate: Locate) -> Writer:
        return Writer(origin.agent, origin.thread, origin.pc, locate(origin.pc) if origin.pc is not None else None)
