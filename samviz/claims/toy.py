"""The valley by hand, in numpy and from the figure's caption: what the claims predict with."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from samviz.claims.claim import Array


def curvatures(x: Array) -> tuple[Array, Array]:
    """F₁ and F₂ at points (..., 2 or more)."""
    return x[..., 0] ** 2 + 6 * x[..., 1] ** 2 + 8, 4 * (1 - x[..., 0]) ** 2 + (1 - x[..., 1]) ** 2 + 1


def slopes(x: Array) -> tuple[Array, Array]:
    """∇F₁ and ∇F₂ along the floor, each (2,)."""
    return np.array([2 * x[0], 12 * x[1]]), np.array([-8 * (1 - x[0]), -2 * (1 - x[1])])


def overshoot(lr: ArrayLike, curvature: ArrayLike) -> Array:
    """How much stronger than in Eq. 7 the drift is at a finite η, (2/(2 − ηλ))².

    On the 2-cycle SAM takes its gradient 2ρ/(2 − ηλ) from Γ instead of ρ, and the drift goes with the square.
    """
    return np.asarray((2 / (2 - np.asarray(lr) * np.asarray(curvature))) ** 2)


def stronger_flow(start: ArrayLike, lr: Array, tau: Array, kind: Literal["worst", "average"]) -> Array:
    """Eq. 7 on valley(), or Eq. 18 on valley(mean=True), with each drift stronger by its overshoot: (times, rates, 2).

    λ₁ = 2F₁ on valley(); on the mean, whose trace is F₁ + F₂, each sample's own λ is 2F₁ or 2F₂.
    """
    paths = []
    for rate in lr:

        def velocity(_: float, x: Array, rate: float = rate) -> Array:
            first, second = (overshoot(rate, 2 * f) * slope for f, slope in zip(curvatures(x), slopes(x)))
            return -first if kind == "worst" else -(first + second) / 2

        paths.append(solve_ivp(velocity, (0, tau[-1]), start, t_eval=tau, rtol=1e-9, atol=1e-12).y.T)
    return np.stack(paths, 1)
