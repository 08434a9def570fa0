"""A share of the training time: what training earns, what measuring spends, and what each measurement will cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

MARGIN = 0.5  # of the credit that is planned with: what takes twice as long as expected is still paid for


class Work(NamedTuple):
    """What a measurement takes, in units of work of its own."""

    least: float  # units with which it means something
    most: float  # units beyond which more are of no use
    seconds: float  # that a unit takes, at first guess


class Account:
    """Credit that training earns second by second and measuring spends, and the turns that measurements take.

    Every second is counted once, between two laps of one clock. What a unit of work takes is known from the last
    times: it rises at once and falls by halves, so that one cheap time does not invite an expensive one.

    >>> account = Account(0.05, {})
    >>> account.trained, account.spent = 100.0, 3.0
    >>> account.credit
    2.0
    """

    def __init__(self, budget: float | None, work: Mapping[str, Work]) -> None:
        """Nothing earned and nothing spent.

        Args:
            budget: share of the training time that may be spent; None for no limit.
            work: the measurements by name, in the order of their first turns; "gradient" is part of every row.
        """
        self.budget, self.work = budget, dict(work)
        self.trained = self.spent = 0.0  # seconds
        self._served = {name: 0.0 for name in work if name != "gradient"}  # seconds that each had
        self._rates = {name: each.seconds for name, each in work.items()}  # seconds a unit
        self._asked = 0.0  # seconds of training when it was last asked what can be afforded
        self._mark: float | None = None

    def lap(self) -> float:
        """Seconds since the last lap; 0 for the first."""
        now = perf_counter()
        seconds = 0.0 if self._mark is None else now - self._mark
        self._mark = now
        return seconds

    def train(self) -> None:
        """Count the time since the last lap as training."""
        self.trained += self.lap()

    def spend(self, name: str | None = None, units: float = 0, payers: Sequence[str] = (), least: float = 0) -> None:
        """Count the time since the last lap as measuring.

        Args:
            name: of the measurement that took it, None for none.
            units: of work that were done, 0 where it failed: what a unit takes is remembered for its next turn.
            payers: the measurements that it was for.
            least: units that it needs to mean something, as is known now; 0 for as before.
        """
        seconds = self.lap()
        self.spent += seconds
        for each in payers:
            self._served[each] += seconds / len(payers)
        if name and units:
            now = seconds / units
            self._rates[name] = max(now, (now + self._rates[name]) / 2)
            if least:
                self.work[name] = self.work[name]._replace(least=min(least, self.work[name].most))

    @property
    def credit(self) -> float:
        """Seconds that may be spent now; below 0 where something took longer than expected."""
        return math.inf if self.budget is None else self.budget * self.trained - self.spent

    @property
    def share(self) -> float:
        """Time spent, as a share of the training time."""
        return self.spent / self.trained if self.trained > 0 else 0.0

    def affordable(self) -> list[str]:
        """What there is credit for now: those that had the least time first, up to the first one to be saved for.

        Nothing overtakes that one, or it would never come to its turn, but for a gradient that costs no more than its
        part of what was earned since it was last asked.
        """
        gradient = self._least("gradient")
        left, names = MARGIN * self.credit - gradient, []
        for name in sorted(self._served, key=self._served.__getitem__):
            if left <= self._least(name):
                break
            left -= self._least(name)
            names.append(name)
        fresh, self._asked = self.trained - self._asked, self.trained
        alone = self.budget is None or gradient <= self.budget * fresh / len(self.work)
        return ["gradient", *names] if names or (alone and left > 0) else []

    @property
    def wait(self) -> float:
        """Seconds of training until the next measurement can be paid, by what such work took before; 0 for now."""
        if self.budget is None or not self._served:
            return 0.0
        price = self._least("gradient") + self._least(min(self._served, key=self._served.__getitem__))
        return max((price / MARGIN - self.credit) / self.budget, 0.0)

    def units(self, name: str, planned: Sequence[str]) -> float:
        """How much work a measurement may do now: the least, and an equal part of what is left over.

        Args:
            name: of the measurement.
            planned: what is still to be paid in this row, this one among them.
        """
        least, most, _ = self.work[name]
        over = MARGIN * self.credit - sum(map(self._least, planned))
        return min(most, least + max(over, 0) / len(planned) / max(self._rates[name], 1e-9))

    def _least(self, name: str) -> float:
        """What the least of a measurement costs, in seconds."""
        return self.work[name].least * self._rates[name]


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    start = perf_counter()
    action()
    return perf_counter() - start
