"""Activations, elementwise and in place, in a form that the compiler turns into vector instructions."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from samviz.compiled.arrays import Floats

IDENTITY, TANH, RELU, SOFTPLUS, SIGMOID = range(5)  # as in `samviz.compiled.arrays.ACTIVATIONS`

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # ln 2 in two parts, the first with 20 zero bits
ROUNDER = 6755399441055744.0  # 1.5·2⁵²: adding it leaves the nearest integer in the lowest bits


def _bits(_: Any, number: Any) -> Any:
    return types.int64(types.float64), lambda c, builder, s, a: builder.bitcast(a[0], ir.IntType(64))


def _float(_: Any, bits: Any) -> Any:
    return types.float64(types.int64), lambda c, builder, s, a: builder.bitcast(a[0], ir.DoubleType())


_as_bits: Any = intrinsic(_bits)
_as_float: Any = intrinsic(_float)


@njit(fastmath={"contract"}, error_model="numpy", inline="always")
def _expm1(x: float) -> float:
    """eˣ − 1 to two units in the last place for |x| < 700: eˣ = 2ᵐ·eʳ with |r| ≤ ½ ln 2, and eʳ − 1 by its series."""
    shifted = x * LOG2_E + ROUNDER
    m = shifted - ROUNDER
    r = (x - m * LN2_HIGH) - m * LN2_LOW
    series = 1 / 6227020800.0
    series = series * r + 1 / 479001600.0
    series = series * r + 1 / 39916800.0
    series = series * r + 1 / 3628800.0
    series = series * r + 1 / 362880.0
    series = series * r + 1 / 40320.0
    series = series * r + 1 / 5040.0
    series = series * r + 1 / 720.0
    series = series * r + 1 / 120.0
    series = series * r + 1 / 24.0
    series = series * r + 1 / 6.0
    series = series * r + 0.5
    series = series * r * r + r
    power: float = _as_float((_as_bits(shifted) + 1023) << 52)  # 2ᵐ, by its exponent
    value: float = power * series + (power - 1.0)
    return value


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _tanh(z: Floats, count: int) -> None:
    for i in range(count):
        e = _expm1(2.0 * min(abs(z[i]), 20.0))
        a = e / (e + 2.0)
        z[i] = a if z[i] > 0 else (-a if z[i] < 0 else z[i])  # NaN and −0 stay what they are


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
