"""One line of the table: what is compared, what is aimed at, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from benchmarks.limits import Work

UNITS = {"ns": 1e-9, "µs": 1e-6, "HVPs": 1.0, "%": 0.01}  # of targets for our side alone; seconds, a count, a share


class Measured(NamedTuple):
    """What a comparison gives: seconds of one unit of work, or a count or share; whether each side was right."""

    ours: float
    peer: float | None  # None where there is none; with a unit the target speaks of our side alone
    ours_correct: bool
    peer_correct: bool | None
    work: Work | None = None  # an estimate of what one unit of ours does


@dataclass(frozen=True)
class Target:
    """A bound on `ratio`: peer/ours for "at least … ×", ours/peer for "at most … ×", else ours in the unit given."""

    sign: str  # "≥" or "≤"
    bound: float
    unit: str = "×"

    def ratio(self, measured: Measured) -> float:
        """The number that the target bounds."""
        if self.unit != "×":
            return measured.ours / UNITS[self.unit]
        if measured.peer is None:
            raise ValueError(f"the target {self} compares with a peer, but none was measured")
        return measured.peer / measured.ours if self.sign == "≥" else measured.ours / measured.peer

    def met(self, ratio: float) -> bool:
        """Whether the bound holds."""
        return ratio >= self.bound if self.sign == "≥" else ratio <= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}{'' if self.unit == '×' else ' '}{self.unit}"


@dataclass(frozen=True)
class Row:
    """A comparison: its name, its target, and how it is measured, in about so many seconds."""

    name: str
    target: Target
    measure: Callable[[float], Measured]


@dataclass(frozen=True)
class Result:
    """A row of results.json: medians over the processes that measured it."""

    name: str
    ours: float | None
    peer: float | None
    ratio: float | None
    lowest: float | None  # ratio of any process
    highest: float | None
    target: str
    met: bool
    ours_correct: bool
    peer_correct: bool | None

    @classmethod
    def of(cls, row: Row, measured: Sequence[Measured | None]) -> Result:
        """Combine what each process measured; the row misses its target if one of them failed (None)."""
        if None in measured:
            return cls(row.name, None, None, None, None, None, str(row.target), False, False, None)
        ratios = [row.target.ratio(each) for each in measured]
        ours, peers, ours_correct, peers_correct, _ = zip(*measured)
        met = all(map(row.target.met, ratios)) and all(ours_correct)
        peer = None if None in peers else median(peers)
        peer_correct = None if None in peers_correct else all(peers_correct)
        spread = median(ratios), min(ratios), max(ratios)
        return cls(row.name, median(ours), peer, *spread, str(row.target), met, all(ours_correct), peer_correct)
