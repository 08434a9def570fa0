"""The multilayer perceptron: loss, gradient, Hessian-vector products, and the loss on a plane of its parameters.

`ints` is what `description` returns, `floats` the inputs (n, widths[0]) and, for a square loss, the targets
(n, widths[-1]). The samples are processed in tiles, so small that the matrix products stay in the cache and on one
thread. Activations lie layer after layer, each in a block of `capacity` rows.

Whatever is called in several places is compiled again for each of them, and the first lab on a machine waits for it.
So there are few entry points, and `min` and `max` of two numbers, each of which is a function, are written out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numba.np.linalg import ensure_blas

from samviz.kernels import ACTIVATION_KINDS, LOSS_KINDS, Floats, Ints
from samviz.kernels.primitives import FLAGS, GRADIENT, PRODUCT, fast, kernel

# The activations, elementwise and in place, in a form that the compiler vectorizes: eˣ = 2ᵐ·eʳ with integer m and
# |r| ≤ ½ ln 2, and eʳ − 1 by its Taylor series, accurate to two units in the last place.

Int = int | np.int64

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


def exponential(x: Any) -> tuple[float, float]:
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
        x = lowest if x < lowest else x
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
    power, rest = exponential(TWO * (abs(x) if abs(x) < LIMIT else LIMIT))
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
            z[i] = 0.0 if z[i] < 0.0 else z[i]
    elif kind == SOFTPLUS:
        for i in range(count):
            z[i] = (z[i] if z[i] > 0.0 else 0.0) + math.log1p(math.exp(-abs(z[i])))
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


# The network

CROSS_ENTROPY = LOSS_KINDS.index("cross_entropy")
MULTIPLICATIONS = 2**18  # in a matrix product; OpenBLAS starts a second thread above that
POINTS = 8  # of a plane, whose parameters stay in the cache while the samples pass
# Where `ints` contains the numbers of samples and layers, the kinds, the sum of the widths, the largest, the number of
# samples in a tile, the length of the workspace of a gradient or product, and the widths, before the labels
SAMPLES, LAYERS, ACTIVATION, LOSS, TOTAL, WIDEST, TILE, WORKSPACE, WIDTHS = range(9)


def description(samples: int, widths: Sequence[int], activation: str, loss: str, labels: list[int]) -> Ints:
    """Return `ints`."""
    kinds = ACTIVATION_KINDS.index(activation), LOSS_KINDS.index(loss)
    tile = min(samples, max(MULTIPLICATIONS // max(i * o for i, o in pairwise(widths)), 16), 256)
    total, widest = sum(widths), max(widths)
    facts = total, widest, tile, tile * (total + 2 * widest)
    return np.array([samples, len(widths) - 1, *kinds, *facts, *widths, *labels])


ensure_blas()  # SciPy's, which numba itself calls

_SIZES = types.intp, types.intp, types.intp
_MATRIX = types.voidptr, types.intp
_gemm: Any = types.ExternalFunction(
    "numba_xxgemm",
    types.intc(types.char, types.char, types.char, *_SIZES, types.voidptr, *_MATRIX, *_MATRIX, types.voidptr, *_MATRIX),
)
# No ints of Python, for each of which a function that is called with it would be compiled again
I0, I1, S, D, N, T = map(np.int64, (0, 1, *map(ord, "sdnt")))
FACTORS = np.array([0.0, 1.0, np.array([1, 0], np.float32).view(np.float64)[0]])  # 0, and 1 in double and in single


@fast
def multiply(m: int, n: int, k: int, a: Floats, form_a: Int, b: Floats, form_b: Int, c: Floats, add: Int) -> None:
    """Compute c ← ab, or if add is not 0, c ← c + ab, for c (m, n) and inner dimension k; the arrays are flat."""
    # The form of a factor is T if it is stored transposed, else N. Arrays may be longer than the matrices in them.
    precision, one = (D, 1) if a.itemsize == 8 else (S, 2)
    row_a, row_b = m if form_a == T else k, k if form_b == T else n  # the length of a row as it is stored
    # BLAS stores matrices by columns, so compute bᵀaᵀ = cᵀ
    alpha, beta = FACTORS[one:].ctypes, FACTORS[one if add else 0 :].ctypes
    _gemm(precision, form_b, form_a, n, m, k, alpha, b.ctypes, row_b, a.ctypes, row_a, beta, c.ctypes, n)


@fast
def add_rows(matrix: Floats, rows: int, columns: int, total: Floats, add: Int) -> None:
    """Set `total` to the sum of the rows, or if add is not 0, add the sum to it."""
    if not add:
        for column in range(columns):
            total[column] = 0
    for row in range(rows):
        for column in range(columns):
            total[column] += matrix[row * columns + column]


@fast
def broadcast_bias(bias: Floats, rows: int, columns: int, z: Floats) -> None:
    """Copy the bias into every row of z."""
    for row in range(rows):
        for column in range(columns):
            z[row * columns + column] = bias[column]


@fast
def forward(ints: Ints, x: Floats, acts: Floats, capacity: int, start: Int, rows: int, first: Int) -> None:
    """Compute the activations from those of layer `first`, which for layer 0 are the inputs."""
    offset, column = 0, 0  # of the layer's parameters, and of its activations
    for layer in range(ints[LAYERS]):
        i, o = ints[WIDTHS + layer], ints[WIDTHS + layer + 1]
        z = acts[capacity * (column + i) + start * o :]
        if layer >= first:
            broadcast_bias(x[offset + o * i :], rows, o, z)
            multiply(rows, o, i, acts[capacity * column + start * i :], N, x[offset:], T, z, I1)
        if layer < ints[LAYERS] - 1:
            activate(ints[ACTIVATION], z, rows * o)
        offset, column = offset + (i + 1) * o, column + i


@fast
def head(
    floats: Floats, ints: Ints, batch: Ints, noise: Floats, start: int, rows: int, outputs: Floats, derivative: Floats
) -> float:
    """Return a tile's share of the loss, and fill its derivative; cross-entropy makes the outputs probabilities."""
    c, count, value = ints[WIDTHS + ints[LAYERS]], len(batch) if len(batch) else ints[SAMPLES], 0.0
    labels, targets = WIDTHS + ints[LAYERS] + 1, ints[SAMPLES] * ints[WIDTHS]  # where they start in ints and floats
    if ints[LOSS] == CROSS_ENTROPY:
        for first in range(0, rows * c, c):
            top = outputs[first]
            for k in range(first, first + c):
                top = outputs[k] if outputs[k] > top else top
            for k in range(first, first + c):
                outputs[k] -= top
                derivative[k] = outputs[k]
        for k in range(rows * c):
            outputs[k] = exp(outputs[k])
    for row in range(rows):
        first, sample = row * c, batch[start + row] if len(batch) else start + row
        if ints[LOSS] == CROSS_ENTROPY:
            chosen, total = first + ints[labels + sample], 0.0
            for k in range(first, first + c):
                total += outputs[k]
            value -= derivative[chosen] / count
            value += math.log(total) / count
            for k in range(first, first + c):
                outputs[k] /= total
                derivative[k] = outputs[k] / count
            derivative[chosen] -= 1.0 / count
        else:
            for k in range(c):
                error = outputs[first + k] - floats[targets + sample * c + k]
                value += error * error / (2 * count * c)
                added = noise[(start + row) * c + k] if len(noise) else 0.0
                derivative[first + k] = (error - added) / (count * c)
    return value


def backpropagate(
    floats: Floats, ints: Ints, x: Floats, batch: Ints, noise: Floats, out: Floats, workspace: Floats
) -> float:
    """Return the loss, and fill out (dim,) with its gradient for noise (b·outputs,) on the targets, if any."""
    # If `out` is empty, the workspace keeps what `products` needs: the activations, and the loss's derivatives by them
    # and by the preactivations. Each has as many numbers as samples times the sum of the widths.
    count, value, keep = len(batch) if len(batch) else ints[SAMPLES], 0.0, len(out) == 0
    tile = ints[TILE] if ints[TILE] < count else count
    capacity = count if keep else tile
    block, c = capacity * ints[TOTAL], ints[WIDTHS + ints[LAYERS]]
    for start in range(0, count, tile):
        rows, skipped = tile if tile < count - start else count - start, start if keep else 0
        for row in range(rows):
            sample = batch[start + row] if len(batch) else start + row
            for k in range(ints[WIDTHS]):
                workspace[(skipped + row) * ints[WIDTHS] + k] = floats[sample * ints[WIDTHS] + k]
        forward(ints, x, workspace, capacity, skipped, rows, I0)
        offset, column = len(x), ints[TOTAL] - c
        at = capacity * column + skipped * c
        d, e = workspace[2 * block + at if keep else block :], workspace[block + tile * ints[WIDEST] :]
        value += head(floats, ints, batch, noise, start, rows, workspace[at:], d)
        for layer in range(ints[LAYERS] - 1, -1, -1):
            i, o = ints[WIDTHS + layer], ints[WIDTHS + layer + 1]
            offset, column = offset - (i + 1) * o, column - i
            at = capacity * column + skipped * i
            a = workspace[at:]
            if not keep:
                multiply(o, i, rows, d, T, a, N, out[offset:], start)
                add_rows(d, rows, o, out[offset + o * i :], start)
            if layer:
                if keep:
                    e = workspace[2 * block + at :]
                multiply(rows, i, o, d, N, x[offset:], N, e, I0)
                if keep:
                    for k in range(rows * i):
                        workspace[block + at + k] = e[k]
                multiply_derivative(ints[ACTIVATION], a, e, rows * i)
                d, e = e, d
    return value


mlp_gradient = kernel(GRADIENT)(backpropagate)
_backpropagate = fast(backpropagate)


@njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")
def plane_losses(
    floats: Floats, ints: Ints, origin: Floats, directions: Floats, preactivations: Floats, points: Floats, out: Floats
) -> None:
    """Add the losses at origin + a·d₁ + b·d₂ to out (points,), for directions (2, dim) and points (points, 2)."""
    # What enters the first activation is linear in a and b. So `preactivations` (3, n·widths[1]) are those at the
    # origin and along both directions, and the first layer is not multiplied for each point.
    n, tile, i, first = ints[SAMPLES], ints[TILE], ints[WIDTHS], ints[WIDTHS + 1]
    c = ints[WIDTHS + ints[LAYERS]]
    acts, derivative = np.empty(tile * ints[TOTAL], origin.dtype), np.empty(tile * c, origin.dtype)
    x, all_samples = np.empty((POINTS, len(origin)), origin.dtype), ints[:0]
    for begin in range(0, len(points), POINTS):
        end = begin + POINTS if begin + POINTS < len(points) else len(points)
        for point in range(begin, end):
            a, b, at = points[point, 0], points[point, 1], x[point - begin]
            for k in range(len(origin)):
                at[k] = origin[k] + a * directions[0, k] + b * directions[1, k]
        for start in range(0, n, tile):
            rows, j = tile if tile < n - start else n - start, start * first
            base, along, across = preactivations[0, j:], preactivations[1, j:], preactivations[2, j:]
            for point in range(begin, end):
                a, b, z = points[point, 0], points[point, 1], acts[tile * i :]
                for k in range(rows * first):
                    z[k] = base[k] + a * along[k] + b * across[k]
                forward(ints, x[point - begin], acts, tile, I0, rows, I1)
                outputs = acts[tile * (ints[TOTAL] - c) :]
                out[point] += head(floats, ints, all_samples, origin[:0], start, rows, outputs, derivative)


# Hessian-vector products by the R-operator, tile by tile (Pearlmutter, Fast Exact Multiplication by the Hessian, 1994)


@njit(cache=True, nogil=True, error_model="numpy")
def products(ints: Ints, x: Floats, v: Floats, kept: Floats, n: int, out: Floats) -> None:
    """Fill out (runs, k, dim) with each run's Hessian times its vectors v, from what is kept (runs, …) of n samples."""
    tile, block, c = ints[TILE] if ints[TILE] < n else n, n * ints[TOTAL], ints[WIDTHS + ints[LAYERS]]
    work, vectors = np.empty(ints[WORKSPACE]), v.shape[1]
    # the tangents are the derivatives of the activations along v
    tangents, d, e = work, work[tile * ints[TOTAL] :], work[tile * (ints[TOTAL] + ints[WIDEST]) :]
    for index in range(len(x) * vectors):
        run, k = index // vectors, index % vectors
        weights, saved, direction, result = x[run], kept[run], v[run, k], out[run, k]
        for start in range(0, n, tile):
            rows, offset, column = tile if tile < n - start else n - start, 0, 0
            for layer in range(ints[LAYERS]):
                i, o = ints[WIDTHS + layer], ints[WIDTHS + layer + 1]
                a, dz = saved[n * column + start * i :], tangents[tile * (column + i) :]
                broadcast_bias(direction[offset + o * i :], rows, o, dz)
                multiply(rows, o, i, a, N, direction[offset:], T, dz, I1)
                if layer:
                    multiply(rows, o, i, tangents[tile * column :], N, weights[offset:], T, dz, I1)
                offset, column = offset + (i + 1) * o, column + i
                if layer < ints[LAYERS] - 1:
                    multiply_derivative(ints[ACTIVATION], saved[n * column + start * o :], dz, rows * o)
            for row in range(rows):  # d becomes the derivative of the loss's gradient by the outputs
                first, shift, mean = tile * column + row * c, (n - tile) * column + start * c, 0.0
                if ints[LOSS] == CROSS_ENTROPY:  # whose outputs are probabilities
                    for k in range(first, first + c):
                        mean += saved[shift + k] * tangents[k]
                    for k in range(first, first + c):
                        d[k - tile * column] = saved[shift + k] * (tangents[k] - mean) / n
                else:
                    for k in range(first, first + c):
                        d[k - tile * column] = tangents[k] / (n * c)
            for layer in range(ints[LAYERS] - 1, -1, -1):
                i, o = ints[WIDTHS + layer], ints[WIDTHS + layer + 1]
                delta = saved[2 * block + n * column + start * o :]
                offset, column = offset - (i + 1) * o, column - i
                at = n * column + start * i
                a = saved[at:]
                multiply(o, i, rows, d, T, a, N, result[offset:], start)
                add_rows(d, rows, o, result[offset + o * i :], start)
                if layer:
                    tangent, up = tangents[tile * column :], saved[block + at :]
                    multiply(o, i, rows, delta, T, tangent, N, result[offset:], I1)
                    multiply(rows, i, o, d, N, weights[offset:], N, e, I0)
                    multiply(rows, i, o, delta, N, direction[offset:], N, e, I1)
                    multiply_derivative(ints[ACTIVATION], a, e, rows * i)
                    add_second_derivative(ints[ACTIVATION], a, up, tangent, e, rows * i)
                    d, e = e, d


@kernel(PRODUCT)
def mlp_product(floats: Floats, ints: Ints, x: Floats, batch: Ints, v: Floats, out: Floats) -> None:
    """Fill out (dim,) with the Hessian times v (dim,)."""
    n = len(batch) if len(batch) else ints[SAMPLES]
    kept = np.empty((1, 3 * n * ints[TOTAL]))
    _backpropagate(floats, ints, x, batch, x[:0], x[:0], kept[0])
    products(ints, x.reshape(1, -1), v.reshape(1, 1, -1), kept, n, out.reshape(1, 1, -1))
