"""Where phase I of a run, the fall into the valley, gives way to phase II, the slide along its floor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samviz.checks import check_type
from samviz.dynamics.history import History

REACH = 2.0  # phase II begins this many lengths of the 2-cycle's gradient from Γ


def phase_boundary(history: History) -> NDArray[np.float64]:
    """The step at which phase II begins: from there on ‖∇L‖ stays within twice its length on SAM's 2-cycle.

    Args:
        history: of a run of SAM, measured as often as the answer shall be exact.

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
    if lost := {"step", "grad_norm", "lr", "rho", "eigenvalues"} - set(history.columns):
        raise ValueError(f"history has no {', '.join(sorted(lost))}; measure the run first")
    rows = len(history)
    slope, lr, rho = (history[name].reshape(rows, -1) for name in ("grad_norm", "lr", "rho"))  # (rows, runs or 1)
    top = history["eigenvalues"].reshape(*slope.shape, -1)[..., 0]
    cycle = np.where(lr * top < 2, lr * rho * top**2 / np.maximum(2 - lr * top, 1e-12), 0)
    outside = ~(slope <= REACH * cycle)
    after = np.where(outside.any(0), rows - outside[::-1].argmax(0), 0)  # the row after the last one outside
    boundary = np.append(history["step"].astype(float), np.nan)[after]
    return np.asarray(boundary if history["grad_norm"].ndim > 1 else boundary[0])
