"""Predictions of the theory for a run: the edge of stability, and the step at which phase II begins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samviz.checks import check_array, check_type
from samviz.dynamics.history import History

Array = NDArray[np.float64]
Fits = Callable[[Array], NDArray[np.bool_]]
PHASE_II = 2.0  # phase II begins where the gradient is at most so many times as long as on the 2-cycle


def edge_of_stability(lr: ArrayLike, rho: ArrayLike, grad_norm: ArrayLike) -> Array:
    """Return the largest λ₁ at which SAM is stable; 2/η for gradient descent.

    On SAM's 2-cycle (Theorem 4.8) the length of the gradient makes this edge equal to λ₁.

    Args:
        lr: learning rate η > 0; any shape, broadcast with the others.
        rho: perturbation radius ρ ≥ 0.
        grad_norm: ‖∇L‖ ≥ 0, or NaN where it is unknown.

    Returns:
        ‖∇L‖/(2ρ)·(√(1 + 8ρ/(η‖∇L‖)) − 1), in a form that is also valid for ρ = 0.

    Raises:
        ValueError: when a number is out of range.
        TypeError: when an argument does not consist of real numbers.

    Source: Agarwala & Dauphin, SAM operates far from home (2023); Cohen et al. (2021) for ρ = 0.

    >>> edge_of_stability(0.1, 0.0, 1.0)
    array(20.)
    """
    eta = _in_range("lr", lr, "learning rates above 0", lambda values: values > 0)
    radius = _in_range("rho", rho, "radii of 0 or more", lambda values: values >= 0)
    length = _in_range("grad_norm", grad_norm, "lengths of 0 or more", lambda values: ~(values < 0), finite=False)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(radius == 0, 0.0, radius / length)
        return np.asarray(4 / eta / (np.sqrt(1 + 8 * ratio / eta) + 1))


def _in_range(name: str, value: ArrayLike, expected: str, fits: Fits, finite: bool = True) -> Array:
    """Return the numbers as floats if all of them fit."""
    values = check_array(name, value, expected, finite=finite).astype(float)
    if not fits(values).all():
        raise ValueError(f"{name} is {value!r:.200}; expected {expected}")
    return values


def phase_boundary(history: History) -> Array:
    """Return the step at which phase II begins: from there on ‖∇L‖ stays within twice its length on SAM's 2-cycle.

    Args:
        history: of a run of SAM; the answer is as precise as the interval between measurements.

    Returns:
        The first such measured step, shape () or (runs,); NaN where the last row is still in phase I.

    Raises:
        ValueError: when the history lacks a column, or has no rows.

    Source: Theorem 4.5, phase I ends O(ηρ) from Γ; Theorem 4.8, on the 2-cycle ‖∇L‖ = ηρλ₁²/(2 − ηλ₁).

    >>> from samviz.dynamics import Run
    >>> from samviz.problems import quadratic
    >>> run = Run(quadratic([3.0, 1.0]), lr=0.1, rho=0.05, x0=[1.0, 1.0], device="cpu")
    >>> for _ in range(100):
    ...     _ = run.measure()
    ...     run.step()
    >>> phase_boundary(run.history)
    array(23.)
    """
    check_type("history", history, History, "the history of a run")
    if missing := {"step", "grad_norm", "lr", "rho", "eigenvalues"} - set(history.columns):
        raise ValueError(f"history has no {', '.join(sorted(missing))}; measure the run first")
    rows = len(history)
    length, lr, rho = (history[name].reshape(rows, -1) for name in ("grad_norm", "lr", "rho"))  # (rows, runs or 1)
    top = history["eigenvalues"].reshape(*length.shape, -1)[..., 0]
    cycle = np.where(lr * top < 2, lr * rho * top**2 / np.maximum(2 - lr * top, 1e-12), 0)
    outside = ~(length <= PHASE_II * cycle)
    first = np.where(outside.any(0), rows - outside[::-1].argmax(0), 0)  # the row after the last one outside
    boundary = np.append(history["step"].astype(float), np.nan)[first]
    return np.asarray(boundary if history["grad_norm"].ndim > 1 else boundary[0])
