"""Quantities of a run that are measured only on request: each is a function of the run, registered in `QUANTITIES`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samviz.dynamics.run import Run
from samviz.dynamics.sweep import accuracy
from samviz.dynamics.theory import Kind, gradient_flow_limit
from samviz.geometry import batch_sharpness, normal_space, third_derivative
from samviz.problems import Network, Problem, Valley, valley

Columns = dict[str, float]  # what a measurement adds to a row of the history
BATCHES = 32
RANK_TOL = 0.01
LARGEST = 1000  # parameters up to which the dense Hessian of a prediction is diagonalized
SLOPE_ROWS = 4  # rows of the history over which the decrease of λ₁ is measured


@dataclass(frozen=True)
class Quantity:
    """A quantity that is measured on request, with what a figure needs to know about it."""

    measure: Callable[[Run], Columns]  # the decorated function
    label: str  # its name in menus
    curves: dict[str, str]  # columns that the function returns: names of their curves
    source: str = ""  # where the quantity was introduced
    fits: Callable[[Problem], bool] = lambda problem: True  # whether a problem has the quantity
    edge: bool = False  # whether it is drawn with λ₁ and 2/η, with which it is compared


QUANTITIES: dict[str, Quantity] = {}


def quantity(
    label: str,
    curves: dict[str, str],
    **properties: Any,
) -> Callable[[Callable[[Run], Columns]], Callable[[Run], Columns]]:
    """Register a function of a run as a quantity under its name; a column `name_error` is the standard error of `name`.

    Args:
        label: its name in menus.
        curves: columns that the function returns, with the names of their curves.
        **properties: the other attributes of `Quantity`.

    Returns:
        The decorator.
    """

    def register(function: Callable[[Run], Columns]) -> Callable[[Run], Columns]:
        QUANTITIES[function.__name__] = Quantity(function, label, curves, **properties)
        return function

    return register


@quantity(
    "batch sharpness",
    {"batch_sharpness": "of batches"},
    source="Andreyev & Beneventano (2024)",
    fits=lambda problem: problem.samples > 1,
    edge=True,
)
def stochastic_edge(run: Run) -> Columns:
    """Measure the mean curvature of 32 batches along their gradients; with mini-batches it saturates at 2/η."""
    size = run.settings.batch_size or run.problem.samples
    batches = BATCHES if size < run.problem.samples else 2  # the full batch is always the same
    found = batch_sharpness(run.problem, run.x, size, batches=batches, seed=run.steps)
    return {"batch_sharpness": float(found.value), "batch_sharpness_error": float(found.standard_error)}


@quantity(
    "gradient noise along v₁",
    {"gradient_noise": "std of v₁ᵀg"},
    fits=lambda problem: problem.samples > 1,
)
def noise_along_top(run: Run) -> Columns:
    """Measure the standard deviation of the gradients of 32 batches along the top eigenvector."""
    size, vectors = run.settings.batch_size or run.problem.samples, run.eigenvectors
    top = None if vectors is None else vectors[:, 0]
    found = batch_sharpness(run.problem, run.x, size, direction=top, seed=run.steps)
    return {"gradient_noise": float(found.noise), "gradient_noise_error": float(found.noise_error)}


@quantity(
    "decrease of λ₁ per step",
    {"decrease": "measured", "predicted_decrease": "Eq. 7", "faster_decrease": "2-cycle"},
    source="Theorem 4.5, Eq. 7",
    fits=lambda problem: 1 < problem.dim <= LARGEST,
)
def drift(run: Run) -> Columns:
    """Measure the decrease of λ₁ over the last rows, and for full-batch SAM the rate ½ηρ²‖∂Φ∇λ₁‖² of Eq. 7.

    Eigenvalues below 1 % of λ₁ count as zero: along their eigenvectors a run hardly returns to Γ before λ₁ has changed.
    On the 2-cycle the drift is (2(1+β)/(2(1+β) − ηλ₁))²/(1 − β) times as fast with momentum β (our result).
    """
    problem, rows, settings = run.problem, run.history.rows[-SLOPE_ROWS:], run.settings
    columns = {"decrease": np.nan, "decrease_error": 0.0, "predicted_decrease": np.nan, "faster_decrease": np.nan}
    if settings.rule == "sam" and settings.batch_size is None and settings.micro_batch is None:
        lr, rho, beta = float(settings.rate(run.steps)), float(settings.rho), settings.momentum  # type: ignore[arg-type]
        space = normal_space(problem, run.x, rank_tol=RANK_TOL)
        gradient = space.tangent(third_derivative(problem, run.x, space.vectors[:, :1]))  # ∂Φ∇λ₁
        columns["predicted_decrease"] = predicted = lr * rho**2 / 2 * float(gradient.norm()) ** 2
        limit, rest = 2 + 2 * beta, 2 + 2 * beta - lr * float(space.values[0, 0])
        columns["faster_decrease"] = predicted * (limit / rest) ** 2 / (1 - beta) if rest > 0 else np.nan
    if len(rows) == SLOPE_ROWS:
        steps, tops = np.array([(row["step"], row["eigenvalues"][0]) for row in rows]).T
        (slope, _), covariance = np.polyfit(steps, tops, 1, cov=True)
        columns |= {"decrease": -slope, "decrease_error": float(np.sqrt(covariance[0, 0]))}
    return columns


@quantity("norm of the weights", {"norm": "‖x‖"})
def norm(run: Run) -> Columns:
    """Measure the Euclidean norm of the parameters."""
    return {"norm": float(run.x.norm())}


@quantity(
    "accuracy",
    {"accuracy": "training", "test_accuracy": "test"},
    fits=lambda problem: isinstance(problem, Network) and problem.labels is not None,
)
def training_accuracy(run: Run) -> Columns:
    """Measure the share of the training samples, and of those in `with_test`, that are classified correctly.

    The standard error √(p(1 − p)/m) is that of m independent test samples.
    """
    problem = run.problem
    assert isinstance(problem, Network)
    assert problem.labels is not None
    training = float(accuracy(problem, run.x, problem.inputs, problem.labels))
    if problem.test is None:
        return {"accuracy": training, "test_accuracy": np.nan}
    share = float(accuracy(problem, run.x, *problem.test))
    error = float(np.sqrt(share * (1 - share) / len(problem.test[1])))
    return {"accuracy": training, "test_accuracy": share, "test_accuracy_error": error}


@quantity(
    "distance from the limiting flow",
    {"tracking": "‖Φ(x) − X(τ)‖"},
    source="Theorems 4.5 and 5.4, phase II",
    fits=lambda problem: isinstance(problem, Valley),
)
def tracking(run: Run) -> Columns:
    """Measure how far Φ(x(t)) is from the flow of Eq. 7, or 18 with one sample, at τ = Σηρ², from Φ(x(0)) on."""
    assert isinstance(run.problem, Valley)
    ends = [*run.changes, (run.steps, run.settings)]
    flow = _limit_point(tuple(run.start[0].tolist()))
    for (begin, s), (end, _) in pairwise(ends):
        tau = float((s.lr / (1 + s.lr_decay * np.arange(begin, end))).sum()) * float(s.rho) ** 2  # type: ignore[arg-type]
        kind: Kind = "average" if s.batch_size == 1 else "worst"
        flow = run.problem.limiting_flow(flow, torch.tensor([tau]), kind)[0]
    limit = gradient_flow_limit(run.problem, run.x).x[0, :2]
    return {"tracking": float((flow.to(limit) - limit).norm())}


@lru_cache(8)
def _limit_point(start: tuple[float, ...]) -> Tensor:
    """Return Φ of a point of the valley, (4,)."""
    return gradient_flow_limit(valley(), torch.tensor(start)).x[0]
