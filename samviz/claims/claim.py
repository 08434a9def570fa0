"""Define a claim: a statement of the paper that predicts numbers, measures them, and holds or fails."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from samviz.checks import check_bool, check_float, check_type
from samviz.dynamics import Run
from samviz.problems import Problem

Array = NDArray[np.float64]
P = ParamSpec("P")
R = TypeVar("R")
LISTED = 24  # the settings show an array with more numbers by its shape
VALUES = 6  # and more distinct values of an argument by their number


@dataclass(frozen=True)
class Check:
    """One number: its prediction, its measurement, and the interval in which the claim holds."""

    quantity: str
    predicted: float  # NaN if there is no prediction
    measured: float
    low: float = -math.inf
    high: float = math.inf
    error: float = 0.0  # standard error or residual of the measured number; 0 if there is only rounding

    @property
    def holds(self) -> bool:
        """Whether the measured number lies in the interval; never for NaN."""
        return self.low <= self.measured <= self.high

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Quantity, prediction, measurement and the interval in which it holds, as texts."""
        low, high, tolerance = self.low, self.high, (self.high - self.low) / 2
        if math.isfinite(tolerance) and abs(low + tolerance - self.predicted) <= 1e-6 * tolerance:
            interval = f"within {tolerance:.2g}"
        elif math.isfinite(tolerance):
            interval = f"from {low:.4g} to {high:.4g}"
        elif math.isfinite(low) or math.isfinite(high):
            interval = f"at least {low:.4g}" if math.isfinite(low) else f"at most {high:.4g}"
        else:
            interval = "nothing"
        error = f" ± {self.error:.1g}" if self.error else ""
        predicted = "nothing" if math.isnan(self.predicted) else f"{self.predicted:.4g}"
        return self.quantity, predicted, f"{self.measured:.4g}{error}", interval


@dataclass(frozen=True)
class Curve:
    """A measured or predicted curve of a claim's figure."""

    name: str
    x: Array  # (points,)
    y: Array  # (points,)
    predicted: bool = False  # drawn as a dashed line instead of points
    error: Array | None = None  # (points,), standard errors


@dataclass(frozen=True)
class Plot:
    """A claim's figure as plain data; a claim yields it without curves."""

    x_label: str
    y_label: str
    curves: Sequence[Curve] = ()
    log_x: bool = True
    log_y: bool = True
    x_names: Sequence[str] = ()  # of x = 1, 2, …, if x counts cases


@dataclass(frozen=True)
class Finding:
    """The result of one claim."""

    checks: Sequence[Check]
    plot: Plot
    remark: str  # where the statement does not hold, or what the reader should know
    settings: Mapping[str, Any]  # arguments of the recorded calls


Part = Check | Curve | Plot | str | None
Evidence = Iterator[Part]  # checks, curves, the axes of the figure, and remarks; None is a pause during long work


@dataclass(frozen=True)
class Claim:
    """A statement that can be run."""

    name: str
    statement: str
    source: str
    find: Callable[..., Evidence]  # takes `quick`, and keyword arguments that `fails_with` changes
    order: float = math.inf
    symbols: str = ""
    fails_with: Sequence[Mapping[str, Any]] = ()
    beyond: bool = False  # whether it goes beyond the paper

    def measure(self, quick: bool, **changes: Any) -> Finding:
        """Run the claim and record its settings.

        Args:
            quick: whether to use fewer and coarser scales.
            **changes: keyword arguments of the claim's function, as in `fails_with`.

        Returns:
            The finding, with the arguments of the recorded calls and the scales of the figure as its settings.
        """
        _calls.append([])
        try:
            found = collect(self.find(quick, **changes))
        finally:
            calls = _calls.pop()
        scales = np.unique(np.concatenate([curve.x for curve in found.plot.curves]))
        return replace(found, settings=_settings(calls) | {found.plot.x_label: _plain(scales)})


def collect(evidence: Iterable[Part]) -> Finding:
    """Sort what a claim has yielded so far; a curve replaces an earlier one with its name."""
    parts = list(evidence)
    curves = {part.name: part for part in parts if isinstance(part, Curve)}
    (plot,) = (replace(part, curves=[*curves.values()]) for part in parts if isinstance(part, Plot))
    remark = " ".join(part for part in parts if isinstance(part, str))
    return Finding([part for part in parts if isinstance(part, Check)], plot, remark, {})


@dataclass(frozen=True)
class Verdict:
    """The result of running a claim."""

    claim: Claim
    finding: Finding | None  # None if the claim raised an exception
    seconds: float
    problem: str = ""  # the exception

    @property
    def holds(self) -> bool:
        """Whether every check holds; never for an open claim."""
        return self.word == "holds"

    @property
    def word(self) -> str:
        """The verdict: holds, fails, or beyond the paper also "does not hold here" and "open", without a prediction."""
        if self.finding is None:
            return "fails"
        beyond = self.claim.beyond
        if beyond and all(math.isinf(check.low) and math.isinf(check.high) for check in self.finding.checks):
            return "open"
        if all(check.holds for check in self.finding.checks):
            return "holds"
        return "does not hold here" if beyond else "fails"

    def row(self) -> dict[str, Any]:
        """Return the verdict for JSON: numbers by quantity, tolerances as [low, high], null for none."""
        checks = self.finding.checks if self.finding else ()
        return {
            "name": self.claim.name,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "prediction": {c.quantity: _finite(c.predicted) for c in checks},
            "measurement": {c.quantity: _finite(c.measured) for c in checks},
            "error": {c.quantity: _finite(c.error) for c in checks},
            "tolerance": {c.quantity: [_finite(c.low), _finite(c.high)] for c in checks},
            "verdict": self.word,
            "seconds": round(self.seconds, 3),
            "settings": self.finding.settings if self.finding else {},
            "remark": self.finding.remark if self.finding else self.problem,
        }


CLAIMS: dict[str, Claim] = {}
BEYOND: dict[str, Claim] = {}
_calls: list[list[tuple[str, dict[str, Any], Any]]] = []  # of a running claim: function, arguments, result of each call


def claim(
    source: str, *, order: float, symbols: str, fails_with: Sequence[Mapping[str, Any]], beyond: bool = False
) -> Callable[[Callable[..., Evidence]], Callable[..., Evidence]]:
    """Register a function as a claim: its name is the claim's, the first paragraph of its docstring the statement.

    Args:
        source: theorem, equation or figure.
        order: sort key: the number of the theorem or section, with further digits.
        symbols: first cells, separated by "; ", of the rows of `notebooks/pages/symbols.md` that the claim checks.
        fails_with: keyword arguments of the function with which the claim must not hold, such as a different rule.
        beyond: whether it goes beyond the paper: it is then in `BEYOND` instead of `CLAIMS`.

    Returns:
        A decorator for generators that take `quick` (fewer and coarser scales, seconds instead of minutes) and yield
        checks, curves, the plot that shows the curves, remarks, and None as a pause. A panel needs the plot first.
    """
    check_type("source", source, str, "the theorem, equation or figure")
    order = check_float("order", order, "a number, as in the paper", lambda number: number > 0)
    check_type("symbols", symbols, str, "symbols of the symbols page, separated by '; '")
    check_type("fails_with", fails_with, list, "a list of keyword arguments")
    check_bool("beyond", beyond)

    def register(find: Callable[..., Evidence]) -> Callable[..., Evidence]:
        name = find.__name__
        statement = " ".join((find.__doc__ or "").split("\n\n")[0].split())
        registry = BEYOND if beyond else CLAIMS
        registry[name] = Claim(name, statement, source, find, order, symbols, fails_with, beyond)
        for each in sorted(registry.values(), key=lambda claim: claim.order):
            registry[each.name] = registry.pop(each.name)
        return find

    return register


def verify(names: Iterable[str] = (), *, quick: bool = False, beyond: bool = False) -> Iterator[Verdict]:
    """Run claims one after the other.

    Args:
        names: the claims to run; none means all of the paper, in its order, or all beyond it.
        quick: whether to use fewer and coarser scales.
        beyond: whether no names mean the claims that go beyond the paper.

    Yields:
        The verdict of each claim as soon as it is known; a claim that raises an exception fails with its message.

    Raises:
        TypeError: when `names` is a single name or not iterable, or another argument is not a bool.
        ValueError: when a name is unknown, before anything runs.

    >>> [verdict.holds for verdict in verify(["two_cycle"], quick=True)]
    [True]
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"names is {names!r}; expected several names of claims, as in [{next(iter(CLAIMS))!r}]")
    check_bool("quick", quick)
    registry = BEYOND if check_bool("beyond", beyond) else CLAIMS
    known = CLAIMS | BEYOND
    chosen = list(names) or list(registry)
    if unknown := [str(name) for name in chosen if name not in known]:
        raise ValueError(f"names: no claim is called {', '.join(unknown)}; expected some of {', '.join(known)}")
    for name in chosen:
        start = perf_counter()
        finding, problem = None, ""
        try:
            finding = known[name].measure(quick)
        except Exception as error:  # one broken claim must not hide the others
            problem = f"{type(error).__name__}: {error}"
        yield Verdict(known[name], finding, perf_counter() - start, problem)


def symbols_table() -> str:
    """Return the table of all claims for the symbols page, in Markdown."""
    rows = [f"| `{c.name}` | {c.statement} | {c.source} | {c.symbols} |" for c in CLAIMS.values()]
    return "\n".join(["| claim | statement | paper | symbols |", "|---|---|---|---|", *rows, ""])


def recorded(function: Callable[P, R]) -> Callable[P, R]:
    """Record the arguments of each call of a function in the settings of the running claim."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> R:
        result = function(*args, **options)
        if _calls:
            arguments = dict(signature.bind(*args, **options).arguments)
            _calls[-1].append((function.__name__, arguments | arguments.pop("options", {}), result))
        return result

    return call


def _settings(calls: Sequence[tuple[str, dict[str, Any], Any]]) -> dict[str, dict[str, Any]]:
    """Return the distinct values of each argument of the recorded calls, by function and argument."""
    values: dict[str, dict[str, list[Any]]] = {}
    for name, arguments, result in calls:
        steps = {"steps": result.steps} if isinstance(result, Run) else {}
        for argument, value in (arguments | steps).items():
            known = values.setdefault(name, {}).setdefault(argument, [])
            if (plain := _plain(value)) not in known:
                known.append(plain)
    return {name: {key: _several(known) for key, known in each.items()} for name, each in values.items()}


def _several(values: list[Any]) -> Any:
    """Return the distinct values of an argument: the only one, a short list, or their number."""
    if len(values) > VALUES:
        return f"{len(values)} values"
    return values[0] if len(values) == 1 else values


def _plain(value: Any) -> Any:
    """Return an argument as JSON can hold it: a short array as a list, a long one as its shape."""
    if isinstance(value, Problem):
        return value.name
    if isinstance(value, Tensor | np.ndarray | np.generic | tuple | list):
        array = np.asarray(value)
        distinct = np.unique(array, axis=0) if array.ndim and len(array) > VALUES else array
        return distinct.tolist() if distinct.size <= LISTED else f"array of shape {array.shape}"
    return value


def near(
    quantity: str, predicted: float, measured: ArrayLike, *, relative: float = 0, absolute: float = 0, error: float = 0
) -> Check:
    """Check that a number, or the one of several farthest from it, is the predicted one within a tolerance."""
    values = np.asarray(measured, float)
    quantity += f" (farthest of {values.size} from the prediction)" if values.size > 1 else ""
    farthest = float(values.flat[np.abs(values - predicted).argmax()])
    tolerance = relative * abs(predicted) + absolute
    return Check(quantity, float(predicted), farthest, predicted - tolerance, predicted + tolerance, float(error))


def at_most(quantity: str, measured: ArrayLike, high: float, low: float = -math.inf) -> Check:
    """Check that a number without a prediction, or the largest of several, is at most `high`."""
    quantity += f" (largest of {np.size(measured)})" if np.size(measured) > 1 else ""
    return Check(quantity, math.nan, float(np.max(measured)), low, high)


def decreasing(quantity: str, values: ArrayLike) -> Check:
    """Check that each of three or more values is smaller than the one before, by their largest ratio."""
    v = np.asarray(values, dtype=float)
    if len(v) < 3:
        raise ValueError(f"{quantity} has {len(v)} values; expected three or more")
    quantity = f"{quantity}: largest ratio of successive values"
    return Check(quantity, math.nan, float((v[1:] / v[:-1]).max()), 0.0, np.nextafter(1, 0))


def exponent(
    quantity: str, x: ArrayLike, y: ArrayLike, predicted: float, tolerance: float = 0.2, or_more: bool = False
) -> Check:
    """Check the slope of log y against log x, with its standard error; a larger one holds too if `or_more`."""
    slope, error = line(np.log(x), np.log(y))
    high = math.inf if or_more else predicted + tolerance
    return Check(quantity, predicted, slope, predicted - tolerance, high, error)


def line(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Return the slope of y against x, three or more points, by least squares, and its standard error."""
    coefficients, covariance = np.polyfit(np.asarray(x, float), np.asarray(y, float), 1, cov=True)
    return float(coefficients[0]), float(np.sqrt(covariance[0, 0]))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
