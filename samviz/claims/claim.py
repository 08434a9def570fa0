"""What a claim is: a statement of the paper that predicts numbers, measures them, and says whether it holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samviz.checks import check_bool, check_type

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One number: what the paper says it is, what it was, and the interval in which the claim holds."""

    quantity: str
    predicted: float
    measured: float
    low: float = -math.inf
    high: float = math.inf
    error: float = 0.0  # standard error or residual of the measured number; 0 where only rounding is left

    @property
    def holds(self) -> bool:
        """Whether the measured number lies in the interval; never for NaN."""
        return self.low <= self.measured <= self.high


@dataclass(frozen=True)
class Curve:
    """A measured curve, or a predicted one, of a claim's picture."""

    name: str
    x: Array  # (points,)
    y: Array  # (points,)
    predicted: bool = False  # drawn as a dashed line instead of points
    error: Array | None = None  # (points,), standard errors


@dataclass(frozen=True)
class Plot:
    """A claim's picture as plain data."""

    x_label: str
    y_label: str
    curves: Sequence[Curve]
    log_x: bool = True
    log_y: bool = True


@dataclass(frozen=True)
class Finding:
    """What one claim found."""

    checks: Sequence[Check]
    settings: dict[str, Any]  # problem, η, ρ, steps, seeds: what it takes to do it again
    plot: Plot
    remark: str = ""  # where the statement does not hold, or what the reader should know


@dataclass(frozen=True)
class Claim:
    """A statement that can be run."""

    name: str
    statement: str
    source: str
    find: Callable[[bool], Finding]  # takes `quick`


@dataclass(frozen=True)
class Verdict:
    """A claim that was run."""

    claim: Claim
    finding: Finding | None  # None when it could not be run to its end
    seconds: float
    problem: str = ""  # why not

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return self.finding is not None and all(check.holds for check in self.finding.checks)

    def row(self) -> dict[str, Any]:
        """The verdict as JSON can hold it: numbers by quantity, tolerances as [low, high], null for no limit."""
        checks = self.finding.checks if self.finding else ()
        return {
            "name": self.claim.name,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "prediction": {c.quantity: _finite(c.predicted) for c in checks},
            "measurement": {c.quantity: _finite(c.measured) for c in checks},
            "error": {c.quantity: _finite(c.error) for c in checks},
            "tolerance": {c.quantity: [_finite(c.low), _finite(c.high)] for c in checks},
            "verdict": "holds" if self.holds else "fails",
            "seconds": round(self.seconds, 3),
            "settings": self.finding.settings if self.finding else {},
            "remark": self.finding.remark if self.finding else self.problem,
        }


CLAIMS: dict[str, Claim] = {}


def claim(source: str) -> Callable[[Callable[[bool], Finding]], Callable[[bool], Finding]]:
    """Register a function as a claim: its name is the claim's, the first paragraph of its docstring the statement.

    Args:
        source: theorem, equation or figure.

    Returns:
        A decorator for functions from `quick` (fewer and coarser scales, seconds instead of minutes) to a finding.
    """
    check_type("source", source, str, "the theorem, equation or figure")

    def register(find: Callable[[bool], Finding]) -> Callable[[bool], Finding]:
        name = find.__name__
        statement = " ".join((find.__doc__ or "").split("\n\n")[0].split())
        CLAIMS[name] = Claim(name, statement, source, find)
        return find

    return register


def verify(names: Iterable[str] = (), *, quick: bool = False) -> Iterator[Verdict]:
    """Run claims one after the other.

    Args:
        names: which; none means all, in the paper's order.
        quick: fewer and coarser scales.

    Yields:
        A verdict as soon as it is known; a claim that ends in an exception fails with its message.

    Raises:
        ValueError: when a name is unknown, before anything runs.

    >>> [verdict.holds for verdict in verify(["two_cycle"], quick=True)]
    [True]
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"names is {names!r}; expected several names of claims, as in [{next(iter(CLAIMS))!r}]")
    check_bool("quick", quick)
    chosen = list(names) or list(CLAIMS)
    if unknown := [str(name) for name in chosen if name not in CLAIMS]:
        raise ValueError(f"names: no claim is called {', '.join(unknown)}; expected some of {', '.join(CLAIMS)}")
    for name in chosen:
        began = perf_counter()
        finding, problem = None, ""
        try:
            finding = CLAIMS[name].find(quick)
        except Exception as error:  # one broken claim must not hide the others
            problem = f"{type(error).__name__}: {error}"
        yield Verdict(CLAIMS[name], finding, perf_counter() - began, problem)


def near(
    quantity: str,
    predicted: float,
    measured: float,
    *,
    relative: float = 0.0,
    absolute: float = 0.0,
    error: float = 0.0,
) -> Check:
    """A number that should be the predicted one, within a share of it and an absolute distance."""
    room = relative * abs(predicted) + absolute
    return Check(quantity, float(predicted), float(measured), float(predicted - room), float(predicted + room), error)


def falls(quantity: str, values: ArrayLike) -> Check:
    """A trend: each of three or more values is smaller than the one before; measured is the largest ratio."""
    v = np.asarray(values, dtype=float)
    if len(v) < 3:
        raise ValueError(f"{quantity} has {len(v)} values; a trend takes three or more")
    return Check(
        f"{quantity}: largest ratio of successive values", 0.0, float((v[1:] / v[:-1]).max()), 0.0, np.nextafter(1, 0)
    )


def worst(ratios: Array) -> float:
    """Of ratios that should be 1, the one that is farthest from it.

    >>> worst(np.array([1.1, 0.7, 1.0]))
    0.7
    """
    return float(ratios.flat[np.abs(ratios - 1).argmax()])


def exponent(quantity: str, x: ArrayLike, y: ArrayLike, predicted: float, within: float) -> Check:
    """The slope of log y against log x by least squares, with its standard error."""
    slope, error = line(np.log(x), np.log(y))
    return near(quantity, predicted, slope, absolute=within, error=error)


def line(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Slope of y against x by least squares, and its standard error.

    Args:
        x: (points,), three or more.
        y: (points,).

    Returns:
        Slope and standard error.

    Raises:
        ValueError: with fewer than three points: two always lie on a line.

    >>> slope, error = line([0, 1, 2], [0, 2, 4])
    >>> print(f"{slope:.6f} ± {error:.6f}")
    2.000000 ± 0.000000
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < 3:
        raise ValueError(f"a line was asked through {len(x)} points; expected three or more")
    across = x - x.mean()
    slope = float((across * y).sum() / (across**2).sum())
    rest = y - y.mean() - slope * across
    return slope, float(np.sqrt((rest**2).sum() / (len(x) - 2) / (across**2).sum()))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
