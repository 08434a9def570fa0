"""The exponential and the hyperbolic tangent in a form that the compiler turns into vector instructions.

eˣ = 2ᵐ·eʳ with m whole and |r| ≤ ½ ln 2, and eʳ − 1 by its series: exact to two units in the last place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # ln 2 in two parts, the first with zeros at its end
ROUNDER = 6755399441055744.0  # 1.5·2⁵²: adding it leaves the nearest whole number in the lowest bits
FAR = 700.0  # beyond this eˣ is no number
ONE, TWO, TEN, HALF, SIXTH = (np.float32(c) for c in (1.0, 2.0, 10.0, 0.5, 1 / 6))
C4, C5, C6, C7 = (np.float32(c) for c in (1 / 24, 1 / 120, 1 / 720, 1 / 5040))
SINGLE_LOG2_E, SINGLE_HIGH, SINGLE_LOW = np.float32(LOG2_E), np.float32(0.693359375), np.float32(-2.12194440e-4)
SINGLE_ROUNDER, SINGLE_FAR = np.float32(12582912.0), np.float32(85.0)


def _power(_: Any, shifted: Any) -> Any:
    """2ᵐ by its exponent, from m + ROUNDER."""
    whole, bias, digits = (64, 1023, 52) if shifted == types.float64 else (32, 127, 23)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.IntType(whole)
        bits = builder.add(builder.bitcast(arguments[0], kind), ir.Constant(kind, bias))
        return builder.bitcast(builder.shl(bits, ir.Constant(kind, digits)), context.get_value_type(shifted))

    return shifted(shifted), build


_power_of_two: Any = intrinsic(_power)


_QUICK: Any = {"fastmath": {"contract"}, "error_model": "numpy"}


@njit(fastmath={"contract"}, error_model="numpy")
def _double(x: Any) -> Any:
    """2ᵐ and eʳ − 1."""
    shifted = x * LOG2_E + ROUNDER
    m = shifted - ROUNDER
    r = (x - m * LN2_HIGH) - m * LN2_LOW
    s = 1 / 6227020800.0
    s = s * r + 1 / 479001600.0
    s = s * r + 1 / 39916800.0
    s = s * r + 1 / 3628800.0
    s = s * r + 1 / 362880.0
    s = s * r + 1 / 40320.0
    s = s * r + 1 / 5040.0
    s = s * r + 1 / 720.0
    s = s * r + 1 / 120.0
    s = s * r + 1 / 24.0
    s = s * r + 1 / 6.0
    s = s * r + 0.5
    return _power_of_two(shifted), s * r * r + r


@njit(fastmath={"contract"}, error_model="numpy")
def _single(x: Any) -> Any:
    """2ᵐ and eʳ − 1, in single precision throughout: a constant of double precision would lift all to it."""
    shifted = x * SINGLE_LOG2_E + SINGLE_ROUNDER
    m = shifted - SINGLE_ROUNDER
    r = (x - m * SINGLE_HIGH) - m * SINGLE_LOW
    s = (((C7 * r + C6) * r + C5) * r + C4) * r + SIXTH
    return _power_of_two(shifted), (s * r + HALF) * r * r + r


def exp(x: float) -> float:
    """eˣ for x ≤ 0."""
    raise NotImplementedError("compiled code only")


def tanh(x: float) -> float:
    """The hyperbolic tangent; NaN and −0 stay what they are."""
    raise NotImplementedError("compiled code only")


@overload(exp, jit_options=_QUICK)
def _exp(x: Any) -> Any:
    def double(x: Any) -> Any:
        power, rest = _double(max(x, -FAR))
        return power * rest + power

    def single(x: Any) -> Any:
        power, rest = _single(max(x, -SINGLE_FAR))
        return power * rest + power

    return double if x == types.float64 else single


@overload(tanh, jit_options=_QUICK)
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
