"""Activations on arrays, elementwise and in place, in a form that the compiler vectorizes.

eˣ = 2ᵐ·eʳ with integer m and |r| ≤ ½ ln 2, and eʳ − 1 by its Taylor series: accurate to two units in the last place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from samviz.kernels import ACTIVATION_KINDS, Floats
from samviz.kernels.primitives import FLAGS, fast

IDENTITY, TANH, RELU, SOFTPLUS, SIGMOID = range(len(ACTIVATION_KINDS))

ONE, TWO, LIMIT = np.float32(1), np.float32(2), np.float32(20)  # single, so that they promote nothing
LOG2_E = 1.4426950408889634
# ln 2 in two parts, by the bits of a number: the first part ends in zero bits
LN2_PARTS = {64: (0.6931471803691238, 1.9082149292705877e-10), 32: (0.693359375, -2.12194440e-4)}


def _power(_: Any, shifted: Any) -> Any:
    """Build 2ᵐ through the bits of its exponent, from m + 1.5·2ᵇ, where b is the number of bits of the mantissa."""
    info = np.finfo(str(shifted))

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(info.bits)
        bits = builder.add(builder.bitcast(arguments[0], kind), ir.Constant(kind, info.maxexp - 1))
        return builder.bitcast(builder.shl(bits, ir.Constant(kind, info.nmant)), context.get_value_type(shifted))

    return shifted(shifted), build


_power_of_two: Any = intrinsic(_power)


def exponential(x: float) -> tuple[float, float]:
    """Return 2ᵐ and eʳ − 1 for x ≤ 0, or an x for which eˣ does not overflow."""
    raise NotImplementedError("compiled code only")


@overload(exponential, jit_options=FLAGS)
def _exponential(x: Any) -> Any:
    """All constants have the type of x, because one constant in double precision would promote everything."""
    number: Any = {types.float64: np.float64, types.float32: np.float32}[x]
    info = np.finfo(number)
    double, (high, low) = info.bits == 64, map(number, LN2_PARTS[info.bits])
    log2_e, rounder = number(LOG2_E), number(1.5 * 2**info.nmant)  # adding the second rounds to an integer
    lowest = number((info.minexp + 2) * math.log(2))  # eˣ underflows for a smaller x
    c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, c12, c13 = (number(1 / math.factorial(k)) for k in range(2, 14))

    def compute(x: Any) -> Any:
        x = max(x, lowest)
        shifted = x * log2_e + rounder
        m = shifted - rounder
        r = (x - m * high) - m * low
        s = c7
        if double:
            s = (((((c13 * r + c12) * r + c11) * r + c10) * r + c9) * r + c8) * r + c7
        s = ((((s * r + c6) * r + c5) * r + c4) * r + c3) * r + c2
        return _power_of_two(shifted), s * r * r + r

    return compute


@fast
def exp(x: Any) -> Any:
    """Return eˣ for x ≤ 0."""
    power, rest = exponential(x)
    return power * rest + power


@fast
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent; NaN and −0 are unchanged."""
    power, rest = exponential(TWO * min(abs(x), LIMIT))
    e = power * rest + (power - ONE)
    a = e / (e + TWO)
    return a if x > 0 else (-a if x < 0 else x)


@fast
def _derivative(kind: int, a: float) -> float:
    """Return σ′(z) from a = σ(z)."""
    if kind == TANH:
        return 1.0 - a * a
    if kind == RELU:
        return 1.0 if a > 0 else 0.0
    if kind == SOFTPLUS:
        return -math.expm1(-a)
    return a * (1.0 - a) if kind == SIGMOID else 1.0


@fast
def _ratio(kind: int, a: float) -> float:
    """Return σ″(z)/σ′(z) from a = σ(z)."""
    if kind == TANH:
        return -2.0 * a
    if kind == SOFTPLUS:
        return math.exp(-a)
    return 1.0 - 2.0 * a if kind == SIGMOID else 0.0


@fast
def activate(kind: int, z: Floats, count: int) -> None:
    """Replace the first `count` z by σ(z)."""
    if kind == TANH:  # one loop for each kind, so that the compiler vectorizes them
        for i in range(count):
            z[i] = tanh(z[i])
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
    for i in range(count):
        d[i] *= _derivative(kind, a[i])


@fast
def add_second_derivative(kind: int, a: Floats, e: Floats, tangent: Floats, d: Floats, count: int) -> None:
    """Add e·σ″(z)·ż to the first `count` d, computed from a = σ(z) and the tangent σ′(z)·ż."""
    for i in range(count):
        d[i] += _ratio(kind, a[i]) * e[i] * tangent[i]
