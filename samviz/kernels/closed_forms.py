"""The problems with a closed form: the paper's 4-D valley and the quadratic."""

from __future__ import annotations

import math

from numba.extending import register_jitable

from samviz.kernels import Floats, Ints
from samviz.kernels.primitives import GRADIENT, PRODUCT, dot, kernel

# The valley: `floats` is (s,). The formulas are those of `samviz.problems.closed_forms`.


@register_jitable
def _weights(scale: float, batch: Ints) -> tuple[float, float]:
    """Return the factors of the two samples' losses."""
    if len(batch) == 0:
        return scale, scale
    second = 0.0
    for sample in batch:
        second += sample
    second /= len(batch)
    return 2 * scale * (1 - second), 2 * scale * second


@kernel(GRADIENT)
def valley_gradient(
    floats: Floats, ints: Ints, x: Floats, batch: Ints, noise: Floats, out: Floats, workspace: Floats
) -> float:
    """Return the loss, and fill out (4,) with its gradient for noise (b,) on the targets, if any."""
    x1, x2, x3, x4, scale = x[0], x[1], x[2], x[3], floats[0]
    f1, f2 = x1 * x1 + 6 * x2 * x2 + 8, 4 * (1 - x1) * (1 - x1) + (1 - x2) * (1 - x2) + 1
    w1, w2 = _weights(scale, batch)
    a, b = w1 * x3, w2 * x4
    a3, b4 = a * x3, b * x4
    out[0], out[1] = 2 * x1 * a3 - 8 * (1 - x1) * b4, 12 * x2 * a3 - 2 * (1 - x2) * b4
    out[2], out[3] = 2 * f1 * a, 2 * f2 * b
    if len(noise):
        n1, n2 = 0.0, 0.0
        for k in range(len(noise)):
            second = batch[k] if len(batch) else k
            n1 += noise[k] * (1 - second) / len(noise)
            n2 += noise[k] * second / len(noise)
        root1, root2 = 2 * math.sqrt(scale * f1), 2 * math.sqrt(scale * f2)
        c, d = 4 * scale * n1 * x3 / root1, 4 * scale * n2 * x4 / root2
        out[0] -= x1 * c - 4 * (1 - x1) * d
        out[1] -= 6 * x2 * c - (1 - x2) * d
        out[2] -= n1 * root1
        out[3] -= n2 * root2
    value: float = f1 * a3 + f2 * b4
    return value


@kernel(PRODUCT)
def valley_product(floats: Floats, ints: Ints, x: Floats, batch: Ints, v: Floats, out: Floats) -> None:
    """Fill out (4,) with the Hessian times v."""
    x1, x2, x3, x4 = x[0], x[1], x[2], x[3]
    f1, f2 = x1 * x1 + 6 * x2 * x2 + 8, 4 * (1 - x1) * (1 - x1) + (1 - x2) * (1 - x2) + 1
    w1, w2 = _weights(floats[0], batch)
    a, b = w1 * x3, w2 * x4
    out[0] = (2 * a * x3 + 8 * b * x4) * v[0] + 4 * x1 * a * v[2] - 16 * (1 - x1) * b * v[3]
    out[1] = (12 * a * x3 + 2 * b * x4) * v[1] + 24 * x2 * a * v[2] - 4 * (1 - x2) * b * v[3]
    out[2] = 4 * x1 * a * v[0] + 24 * x2 * a * v[1] + 2 * w1 * f1 * v[2]
    out[3] = -16 * (1 - x1) * b * v[0] - 4 * (1 - x2) * b * v[1] + 2 * w2 * f2 * v[3]


# The quadratic ½ xᵀAx: `floats` is the mean matrix and then the matrices of the samples.


@register_jitable(error_model="numpy")
def _times(floats: Floats, batch: Ints, v: Floats, out: Floats) -> None:
    """Fill out (dim,) with Av for the mean A of the batch's matrices; of all if it is empty."""
    dim, count = len(v), len(batch) if len(batch) else 1
    for i in range(dim):
        out[i] = 0
        for k in range(count):
            row = (batch[k] + 1 if len(batch) else 0) * dim + i
            out[i] += dot(floats[row * dim : row * dim + dim], v) / count


@kernel(GRADIENT)
def quadratic_gradient(
    floats: Floats, ints: Ints, x: Floats, batch: Ints, noise: Floats, out: Floats, workspace: Floats
) -> float:
    """Return ½ xᵀAx, and fill out (dim,) with Ax."""
    _times(floats, batch, x, out)
    value = 0.0
    for i in range(len(x)):
        value += x[i] * out[i] / 2
    return value


@kernel(PRODUCT)
def quadratic_product(floats: Floats, ints: Ints, x: Floats, batch: Ints, v: Floats, out: Floats) -> None:
    """Fill out (dim,) with Av."""
    _times(floats, batch, v, out)
