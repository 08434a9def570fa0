"""Activations on arrays, elementwise and in place, in a form that the compiler vectorizes.

eˣ = 2ᵐ·eʳ with integer m and |r| ≤ ½ ln 2, and eʳ − 1 by its Taylor series: accurate to two units in the last place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

from samviz.kernels import ACTIVATION_KINDS, Floats
from samviz.kernels.primitives import FLAGS, fast

IDENTITY, TANH, RELU, SOFTPLUS, SIGMOID = range(len(ACTIVATION_KINDS))

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # ln 2 in two parts, the first ends in zero bits
ROUNDER = 6755399441055744.0  # 1.5·2⁵²: adding it rounds to an integer, which the lowest bits then hold
LARGEST = 700.0  # eˣ overflows for a larger |x|
ONE, TWO, TEN, HALF, SIXTH = (np.float32(c) for c in (1.0, 2.0, 10.0, 0.5, 1 / 6))
C4, C5, C6, C7 = (np.float32(c) for c in (1 / 24, 1 / 120, 1 / 720, 1 / 5040))
SINGLE_LOG2_E, SINGLE_HIGH, SINGLE_LOW = np.float32(LOG2_E), np.float32(0.693359375), np.float32(-2.12194440e-4)
SINGLE_ROUNDER, SINGLE_LARGEST = np.float32(12582912.0), np.float32(85.0)


def _power(_: Any, shifted: Any) -> Any:
    """Build 2ᵐ through the bits of its exponent, from m + ROUNDER."""
    size, bias, digits = (64, 1023, 52) if shifted == types.float64 else (32, 127, 23)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(size)
        bits = builder.add(builder.bitcast(arguments[0], kind), ir.Constant(kind, bias))
        return builder.bitcast(builder.shl(bits, ir.Constant(kind, digits)), context.get_value_type(shifted))

    return shifted(shifted), build


_power_of_two: Any = intrinsic(_power)


@fast
def _double(x: Any) -> Any:
    """Return 2ᵐ and eʳ − 1."""
    shifted = x * LOG2_E + ROUNDER
    m = shifted - ROUNDER
    r = (x - m * LN2_HIGH) - m * LN2_LOW
    s = ((1 / 6227020800.0 * r + 1 / 479001600.0) * r + 1 / 39916800.0) * r + 1 / 3628800.0
    s = (((s * r + 1 / 362880.0) * r + 1 / 40320.0) * r + 1 / 5040.0) * r + 1 / 720.0
    s = (((s * r + 1 / 120.0) * r + 1 / 24.0) * r + 1 / 6.0) * r + 0.5
    return _power_of_two(shifted), s * r * r + r


@fast
def _single(x: Any) -> Any:
    """Return 2ᵐ and eʳ − 1 in single precision: one double-precision constant would promote everything."""
    shifted = x * SINGLE_LOG2_E + SINGLE_ROUNDER
    m = shifted - SINGLE_ROUNDER
    r = (x - m * SINGLE_HIGH) - m * SINGLE_LOW
    s = (((C7 * r + C6) * r + C5) * r + C4) * r + SIXTH
    return _power_of_two(shifted), (s * r + HALF) * r * r + r


def exp(x: float) -> float:
    """Return eˣ for x ≤ 0."""
    raise NotImplementedError("compiled code only")


def tanh(x: float) -> float:
    """Return the hyperbolic tangent; NaN and −0 are unchanged."""
    raise NotImplementedError("compiled code only")


@overload(exp, jit_options=FLAGS)
def _exp(x: Any) -> Any:
    def double(x: Any) -> Any:
        power, rest = _double(max(x, -LARGEST))
        return power * rest + power

    def single(x: Any) -> Any:
        power, rest = _single(max(x, -SINGLE_LARGEST))
        return power * rest + power

    return double if x == types.float64 else single


@overload(tanh, jit_options=FLAGS)
def _tanh(x: Any) -> Any:
    def double(x: Any) -> Any:
        power, rest = _double(2.0 * min(abs(x), 20.0))
        e = power * rest + (power - 1.0)
        a = e / (e + 2.0)
        return a if x > 0 else (-a if x < 0 else x)

    def single(x: Any) -> Any:
        power, rest = _single(TWO * min(abs(x), TEN))
        e = power * rest + (power - ONE)
        a = e / (e + TWO)
        return a if x > 0 else (-a if x < 0 else x)

    return double if x == types.float64 else single


@fast
def _all_tanh(z: Floats, count: int) -> None:
    for i in range(count):
        z[i] = tanh(z[i])


@njit(cache=True, error_model="numpy")
def activate(kind: int, z: Floats, count: int) -> None:
    """Replace the first `count` z by σ(z)."""
    if kind == TANH:
        _all_tanh(z, count)
    elif kind == RELU:
        for i in range(count):
            z[i] = max(z[i], 0.0) if z[i] == z[i] else z[i]
    elif kind == SOFTPLUS:
        for i in range(count):
            z[i] = max(z[i], 0.0) + math.log1p(math.exp(-abs(z[i])))
    elif kind == SIGMOID:
        for i in range(count):
            z[i] = 1.0 / (1.0 + math.exp(-z[i]))


@fast
def multiply_derivative(kind: int, a: Floats, d: Floats, count: int) -> None:
    """Multiply the first `count` d by σ′(z), computed from a = σ(z)."""
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


@fast
def add_second_derivative(kind: int, a: Floats, e: Floats, tangent: Floats, d: Floats, count: int) -> None:
    """Add e·σ″(z)·ż to the first `count` d, computed from a = σ(z) and the tangent σ′(z)·ż.

    σ″/σ′ is −2a for tanh, e⁻ᵃ for softplus, 1 − 2a for the sigmoid and 0 for the others.
    """
    if kind == TANH:
        for i in range(count):
            d[i] -= 2.0 * a[i] * e[i] * tangent[i]
    elif kind == SOFTPLUS:
        for i in range(count):
            d[i] += math.exp(-a[i]) * e[i] * tangent[i]
    elif kind == SIGMOID:
        for i in range(count):
            d[i] += (1.0 - 2.0 * a[i]) * e[i] * tangent[i]
