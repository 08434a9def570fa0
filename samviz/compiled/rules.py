"""The update rules of `samviz.dynamics.rules`, for one run, compiled: the same formulas in the same order."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from samviz.compiled.arrays import Floats, Kernel, Whole

GD, SAM, USAM, ASAM, ASCENT, WORST, AVERAGE, RANDOM, LABEL_NOISE, NORMALIZED_GD = range(10)  # in the order of RULES
SHAKE, PAIRS = 0.1, 8  # as in `samviz.dynamics.rules`
GAIN, MOST, TINY = 1e-6, 100, float(np.finfo(np.float64).tiny)  # as in `samviz.geometry.ascent`


@njit(cache=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def dot(a: Floats, b: Floats) -> float:
    """aᵀb."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _unit(vector: Floats, out: Floats) -> None:
    """The direction; where the vector is zero, a fixed arbitrary unit vector (appendix B)."""
    length = math.sqrt(dot(vector, vector))
    for i in range(len(vector)):
        out[i] = vector[i] / length if length != 0 else len(vector) ** -0.5


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _add(x: Floats, factor: float, way: Floats, out: Floats) -> None:
    """Put x + factor·way in out."""
    for i in range(len(x)):
        out[i] = x[i] + factor * way[i]


@njit(cache=True, error_model="numpy")
def step(
    rule: int,
    gradient: Kernel,
    product: Kernel,
    numbers: Floats,
    whole: Whole,
    x: Floats,
    batch: Whole,
    noise: Floats,
    lr: float,
    rho: float,
    out: Floats,
    vectors: Floats,
    work: Floats,
) -> tuple[float, float]:
    """One step from x (dim,) to out (dim,).

    Args:
        rule: its number.
        gradient: the problem's, of the form `samviz.compiled.signatures.GRADIENT`.
        product: its Hessian's, of the form PRODUCT.
        numbers: the problem's.
        whole: the problem's.
        x: (dim,), the iterate.
        batch: (b,), samples; empty for all.
        noise: standard normal numbers, as many as the rule asks for.
        lr: learning rate η.
        rho: perturbation radius ρ.
        out: (dim,), the next iterate.
        vectors: (5, dim), scratch.
        work: scratch of `gradient`.

    Returns:
        The loss at x, and u·(∇L(x + ρu) − ∇L(x))/ρ along SAM's u; NaN for the other rules.
    """
    g, u, y, ahead, more = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    none, curvature = noise[:0], math.nan
    loss = gradient(numbers, whole, x, batch, none, g, work)
    if rule == NORMALIZED_GD:
        length = math.sqrt(dot(g, g))
        _add(x, -lr / length if length > 0 else 0.0, g, out)
        return loss, curvature
    way = ahead
    if rule == GD or rho == 0:
        way = g
    elif rule == LABEL_NOISE:
        for i in range(len(noise)):
            noise[i] *= rho
        gradient(numbers, whole, x, batch, noise, ahead, work)
    elif rule == AVERAGE:
        _average(gradient, numbers, whole, x, batch, noise, rho, vectors, work)
    elif rule == ASCENT:
        _unit(g, u)
        _add(x, rho, u, y)
        gradient(numbers, whole, y, batch, none, ahead, work)
        length = math.sqrt(dot(g, g))
        if length > 0:
            _add(ahead, -dot(ahead, u), u, y)
            product(numbers, whole, x, batch, y, more)
            _add(ahead, rho / length, more, ahead)
    elif rule == WORST:
        _highest(gradient, numbers, whole, x, loss, batch, rho, vectors, work)
        _add(x, rho, u, y)
        gradient(numbers, whole, y, batch, none, ahead, work)
    else:
        if rule == SAM:
            _unit(g, u)
        elif rule == RANDOM:
            _unit(noise, u)
        elif rule == USAM:
            for i in range(len(x)):
                u[i] = g[i]
        else:
            for i in range(len(x)):
                u[i] = abs(x[i]) * g[i]
            _unit(u, u)
            for i in range(len(x)):
                u[i] *= abs(x[i])
        _add(x, rho, u, y)
        gradient(numbers, whole, y, batch, none, ahead, work)
        if rule == SAM:
            curvature = (dot(u, ahead) - dot(u, g)) / rho
    _add(x, -lr, way, out)
    return loss, curvature


@njit(cache=True, error_model="numpy")
def _average(
    gradient: Kernel,
    numbers: Floats,
    whole: Whole,
    x: Floats,
    batch: Whole,
    noise: Floats,
    rho: float,
    vectors: Floats,
    work: Floats,
) -> None:
    """The mean of ∇L(x ± ρu) over PAIRS random directions, in `ahead`."""
    u, y, ahead, more = vectors[1], vectors[2], vectors[3], vectors[4]
    dim = len(x)
    for i in range(dim):
        ahead[i] = 0
    for pair in range(PAIRS):
        _unit(noise[pair * dim : (pair + 1) * dim], u)
        for sign in (1.0, -1.0):
            _add(x, sign * rho, u, y)
            gradient(numbers, whole, y, batch, noise[:0], more, work)
            _add(ahead, 1.0 / (2 * PAIRS), more, ahead)


@njit(cache=True, error_model="numpy")
def _highest(
    gradient: Kernel,
    numbers: Floats,
    whole: Whole,
    x: Floats,
    base: float,
    batch: Whole,
    rho: float,
    vectors: Floats,
    work: Floats,
) -> None:
    """The direction u of `samviz.geometry.ascent.climb`, from ∇L/‖∇L‖ shaken a little."""
    g, u, y, slope, trial = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    none = g[:0]
    _unit(g, u)
    for i in range(len(x)):
        y[i] = math.sin(i + 1.0)
    _unit(y, trial)
    _add(u, SHAKE, trial, u)
    _unit(u, u)
    _add(x, rho, u, y)
    height = gradient(numbers, whole, y, batch, none, slope, work)
    there, share, gained = np.empty(len(x)), 1.0, math.inf
    for _ in range(MOST - 1):
        if not gained > GAIN:
            break
        length = math.sqrt(dot(slope, slope))
        for i in range(len(x)):
            ahead = slope[i] / length if length > 0 else u[i]
            trial[i] = u[i] + share * (ahead - u[i])
        _add(x, rho, trial, y)
        new = gradient(numbers, whole, y, batch, none, there, work)
        rise = max(abs(max(new, height) - base), TINY)
        if new >= height:
            gained, height, share = (new - height) / rise, new, min(2 * share, 1.0)
            for i in range(len(x)):
                u[i], slope[i] = trial[i], there[i]
        else:
            if share <= 1e-9:
                gained = 0.0
            share /= 2
