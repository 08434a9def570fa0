"""Limit measuring to a share of the training time: credit, and a prediction of what each measurement will cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

SAFETY = 0.5  # share of the credit that is planned with, so that work of twice the predicted time is still paid for


class Work(NamedTuple):
    """The work of a measurement, in its own units."""

    least: float  # units below which the result is meaningless
    most: float  # units above which it does not improve
    seconds: float  # predicted time of a unit


class Account:
    """Credit in seconds, which training earns and measuring spends, and the order in which measurements take turns."""

    def __init__(self, budget: float | None, work: Mapping[str, Work]) -> None:
        """Start at zero; `budget` is a share of the training time, or None; "gradient" is a part of every row."""
        self.budget, self.work = budget, dict(work)
        self.trained = self.spent = 0.0
        self._time_of = {name: 0.0 for name in work if name != "gradient"}
        # They rise at once and fall by halves: a single cheap measurement is not followed by one too expensive.
        self._unit_times = {name: each.seconds for name, each in work.items()}
        self._trained_before = 0.0  # `trained` when `affordable` was last called
        self._last: float | None = None  # time of the last lap

    def lap(self) -> float:
        """Return the seconds since the last lap, 0 for the first."""
        now = perf_counter()
        seconds = 0.0 if self._last is None else now - self._last
        self._last = now
        return seconds

    def train(self) -> None:
        """Count the time since the last lap as training."""
        self.trained += self.lap()

    def spend(self, name: str | None = None, units: float = 0, payers: Sequence[str] = (), least: float = 0) -> None:
        """Count the time since the last lap for `payers`, and predict the next time and least work of a measurement."""
        seconds = self.lap()
        self.spent += seconds
        for each in payers:
            self._time_of[each] += seconds / len(payers)
        if name and units:
            unit_time = seconds / units
            self._unit_times[name] = max(unit_time, (unit_time + self._unit_times[name]) / 2)
            if least:
                self.work[name] = self.work[name]._replace(least=min(least, self.work[name].most))

    @property
    def credit(self) -> float:
        """Seconds that may be spent now; negative after a measurement that took longer than predicted."""
        return math.inf if self.budget is None else self.budget * self.trained - self.spent

    @property
    def share(self) -> float:
        """Time spent, as a share of the training time."""
        return self.spent / self.trained if self.trained > 0 else 0.0

    def affordable(self) -> list[str]:
        """Return the measurements that the credit pays for now, those that had the least time first."""
        gradient = self._price("gradient")
        left, names = SAFETY * self.credit - gradient, []
        for name in sorted(self._time_of, key=self._time_of.__getitem__):
            if left <= self._price(name):
                break  # a cheaper one must not pass the first one that has to wait, which would never be measured
            left -= self._price(name)
            names.append(name)
        # A gradient alone is measured if it costs at most its part of the credit earned since the last call.
        new, self._trained_before = self.trained - self._trained_before, self.trained
        alone = self.budget is None or gradient <= self.budget * new / len(self.work)
        return ["gradient", *names] if names or (alone and left > 0) else []

    @property
    def wait(self) -> float:
        """Predicted seconds of training until the next measurement; 0 for now."""
        if self.budget is None or not self._time_of:
            return 0.0
        price = self._price("gradient") + self._price(min(self._time_of, key=self._time_of.__getitem__))
        return max((price / SAFETY - self.credit) / self.budget, 0.0)

    def units(self, name: str, planned: Sequence[str]) -> float:
        """Return the units of work for a measurement: the least, and an equal part of what `planned` leaves over."""
        least, most, _ = self.work[name]
        left = SAFETY * self.credit - sum(map(self._price, planned))
        return min(most, least + max(left, 0) / len(planned) / max(self._unit_times[name], 1e-9))

    def _price(self, name: str) -> float:
        return self.work[name].least * self._unit_times[name]


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = perf_counter()
    action()
    return perf_counter() - start
