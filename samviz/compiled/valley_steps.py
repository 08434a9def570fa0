"""SAM in the valley, written out in numbers: twenty nanoseconds a step compiled, a microsecond or two in plain Python.

This is the one kernel that also runs without numba: in four dimensions an array costs more than what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from samviz.compiled import available

State = tuple[float, float, float, float]


def _steps(
    n: int, lr: float, rho: float, scale: float, bound: float, x: State, before: State
) -> tuple[int, State, State, float]:
    """N steps x ← x − η∇L(x + ρ∇L(x)/‖∇L(x)‖) of full-batch SAM; of gradient descent when ρ = 0.

    Args:
        n: number of steps.
        lr: learning rate η.
        rho: perturbation radius ρ.
        scale: s in L = s·(F₁x₃² + F₂x₄²).
        bound: the largest loss that counts as finite.
        x: the iterate.
        before: the one before it.

    Returns:
        The steps taken, the iterate, the one before it, and the last step's u·(∇L(x + ρu) − ∇L(x))/ρ (NaN for ρ = 0).
        Fewer than n steps were taken where the loss is out of bounds.
    """
    x1, x2, x3, x4 = x
    w1, w2, w3, w4 = before
    curvature = math.nan
    for t in range(n):
        c1, c2 = 1.0 - x1, 1.0 - x2
        a, b = scale * x3, scale * x4
        f1, f2 = x1 * x1 + 6.0 * x2 * x2 + 8.0, 4.0 * c1 * c1 + c2 * c2 + 1.0
        a3, b4 = a * x3, b * x4
        if not f1 * a3 + f2 * b4 <= bound:
            return t, (x1, x2, x3, x4), (w1, w2, w3, w4), curvature
        g1, g2 = 2.0 * x1 * a3 - 8.0 * c1 * b4, 12.0 * x2 * a3 - 2.0 * c2 * b4
        g3, g4 = 2.0 * f1 * a, 2.0 * f2 * b
        w1, w2, w3, w4 = x1, x2, x3, x4
        length = math.sqrt(g1 * g1 + g2 * g2 + g3 * g3 + g4 * g4)
        if length > 0.0:
            r = rho / length
            x1 += r * g1
            x2 += r * g2
            x3 += r * g3
            x4 += r * g4
        else:  # an arbitrary direction, as in `samviz.dynamics.rules.unit`
            x1 += rho / 2.0
            x2 += rho / 2.0
            x3 += rho / 2.0
            x4 += rho / 2.0
        c1, c2 = 1.0 - x1, 1.0 - x2
        a, b = scale * x3, scale * x4
        a3, b4 = a * x3, b * x4
        h1, h2 = 2.0 * x1 * a3 - 8.0 * c1 * b4, 12.0 * x2 * a3 - 2.0 * c2 * b4
        h3, h4 = 2.0 * (x1 * x1 + 6.0 * x2 * x2 + 8.0) * a, 2.0 * (4.0 * c1 * c1 + c2 * c2 + 1.0) * b
        if t == n - 1 and rho > 0.0:
            along = (x1 - w1) * (h1 - g1) + (x2 - w2) * (h2 - g2) + (x3 - w3) * (h3 - g3) + (x4 - w4) * (h4 - g4)
            curvature = along / (rho * rho)
        x1 = w1 - lr * h1
        x2 = w2 - lr * h2
        x3 = w3 - lr * h3
        x4 = w4 - lr * h4
    return n, (x1, x2, x3, x4), (w1, w2, w3, w4), curvature


Steps = Callable[[int, float, float, float, float, State, State], tuple[int, State, State, float]]


@cache
def steps() -> Steps:
    """The function above, compiled where numba is there."""
    if not available():
        return _steps
    from numba import njit

    compiled: Steps = njit(cache=True)(_steps)
    return compiled
