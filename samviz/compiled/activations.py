"""Activations, elementwise and in place, in a form that the compiler turns into vector instructions."""

from __future__ import annotations

import math

from numba import njit

from samviz.compiled.arrays import Floats
from samviz.compiled.exponential import tanh

IDENTITY, TANH, RELU, SOFTPLUS, SIGMOID = range(5)  # as in `samviz.compiled.arrays.ACTIVATIONS`


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _tanh(z: Floats, count: int) -> None:
    for i in range(count):
        z[i] = tanh(z[i])


@njit(cache=True, error_model="numpy")
def activate(kind: int, z: Floats, count: int) -> None:
    """Put σ(z) in the place of the first `count` z."""
    if kind == TANH:
        _tanh(z, count)
    elif kind == RELU:
        for i in range(count):
            z[i] = max(z[i], 0.0) if z[i] == z[i] else z[i]
    elif kind == SOFTPLUS:
        for i in range(count):
            z[i] = max(z[i], 0.0) + math.log1p(math.exp(-abs(z[i])))
    elif kind == SIGMOID:
        for i in range(count):
            z[i] = 1.0 / (1.0 + math.exp(-z[i]))


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def times_slope(kind: int, a: Floats, d: Floats, count: int) -> None:
    """Multiply the first `count` d by σ′(z), told by a = σ(z)."""
    if kind == TANH:
        for i in range(count):
            d[i] *= 1.0 - a[i] * a[i]
    elif kind == RELU:
        for i in range(count):
            d[i] *= 1.0 if a[i] > 0 else 0.0
    elif kind == SOFTPLUS:
        for i in range(count):
            d[i] *= -math.expm1(-a[i])
    elif kind == SIGMOID:
        for i in range(count):
            d[i] *= a[i] * (1.0 - a[i])


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def add_bend(kind: int, a: Floats, e: Floats, moved: Floats, d: Floats, count: int) -> None:
    """Add e·σ″(z)·ż to the first `count` d, told by a = σ(z) and moved = σ′(z)·ż.

    σ″/σ′ is −2a for tanh, e⁻ᵃ for softplus, 1 − 2a for the sigmoid and 0 for the others.
    """
    if kind == TANH:
        for i in range(count):
            d[i] -= 2.0 * a[i] * e[i] * moved[i]
    elif kind == SOFTPLUS:
        for i in range(count):
            d[i] += math.exp(-a[i]) * e[i] * moved[i]
    elif kind == SIGMOID:
        for i in range(count):
            d[i] += (1.0 - 2.0 * a[i]) * e[i] * moved[i]
