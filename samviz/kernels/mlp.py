"""The multilayer perceptron: loss, gradient, Hessian-vector products, and the loss on a plane of its parameters.

`ints` is (n, layers, activation, loss, the widths, the labels), `floats` the inputs (n, widths[0]) and, for a square
loss, the targets (n, widths[-1]). The samples are processed in tiles, so small that the matrix products stay in the
cache and on one thread. Activations lie layer after layer, each in a block of `capacity` rows.
"""

from __future__ import annotations

import math
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


# The network

CROSS_ENTROPY = LOSS_KINDS.index("cross_entropy")
MULTIPLICATIONS = 2**18  # in a matrix product; OpenBLAS starts a second thread above that
HEADER = 4  # ints before the widths
POINTS = 8  # of a plane, whose parameters stay in the cache while the samples pass

ensure_blas()  # SciPy's, which numba itself calls

_SIZES = types.intp, types.intp, types.intp
_MATRIX = types.voidptr, types.intp
_gemm: Any = types.ExternalFunction(
    "numba_xxgemm",
    types.intc(types.char, types.char, types.char, *_SIZES, types.voidptr, *_MATRIX, *_MATRIX, types.voidptr, *_MATRIX),
)
S, D, N, T = (ord(letter) for letter in "sdnt")
_FORMS = [
    types.void(*_SIZES, kind[::1], types.bool_, kind[::1], types.bool_, kind[::1], types.bool_)
    for kind in (types.float64, types.float32)
]


@njit(_FORMS, cache=True)
def multiply(
    m: int, n: int, k: int, a: Floats, a_transposed: bool, b: Floats, b_transposed: bool, c: Floats, add: bool
) -> None:
    """Compute c ← ab, or c ← c + ab, for c (m, n) and inner dimension k; matrices start flat arrays row by row."""
    factors = np.empty(2, a.dtype)
    factors[0], factors[1] = 1.0, 1.0 if add else 0.0
    precision, one, zero_or_one = D if a.itemsize == 8 else S, factors.ctypes, factors[1:].ctypes
    form_a, row_a = (T, m) if a_transposed else (N, k)  # the length of a row as it is stored
    form_b, row_b = (T, k) if b_transposed else (N, n)
    # BLAS stores matrices by columns, so compute bᵀaᵀ = cᵀ
    _gemm(precision, form_b, form_a, n, m, k, one, b.ctypes, row_b, a.ctypes, row_a, zero_or_one, c.ctypes, n)


@njit(cache=True)
def sizes(ints: Ints, count: int) -> tuple[Ints, int, int, int]:
    """Return the widths, their sum, the largest, and the number of samples in a tile."""
    widths = ints[HEADER : HEADER + ints[1] + 1]
    total, widest, largest = widths[0], widths[0], 1
    for layer in range(ints[1]):
        total, widest = total + widths[layer + 1], max(widest, widths[layer + 1])
        largest = max(largest, widths[layer] * widths[layer + 1])
    return widths, total, widest, min(count, min(max(MULTIPLICATIONS // largest, 16), 256))


@njit(cache=True)
def workspace_length(ints: Ints, count: int) -> int:
    """Return the length of the workspace of a gradient, or of a product, over `count` samples."""
    _, total, widest, tile = sizes(ints, count)
    return tile * (total + 2 * widest)


@njit(cache=True)
def gather(floats: Floats, width: int, batch: Ints, start: int, rows: int, inputs: Floats) -> None:
    """Copy the inputs of a tile."""
    for row in range(rows):
        sample = batch[start + row] if len(batch) else start + row
        for column in range(width):
            inputs[row * width + column] = floats[sample * width + column]


@njit(cache=True)
def broadcast_bias(bias: Floats, rows: int, columns: int, z: Floats) -> None:
    """Copy the bias into every row of z."""
    for row in range(rows):
        for column in range(columns):
            z[row * columns + column] = bias[column]


@njit(cache=True)
def add_rows(matrix: Floats, rows: int, columns: int, total: Floats, add: bool) -> None:
    """Set `total` to the sum of the rows, or add the sum to it."""
    if not add:
        for column in range(columns):
            total[column] = 0
    for row in range(rows):
        for column in range(columns):
            total[column] += matrix[row * columns + column]


_FORMS = [
    types.void(types.int64[::1], kind[::1], kind[::1], *[types.int64] * 4) for kind in (types.float64, types.float32)
]


@njit(_FORMS, cache=True)
def forward(ints: Ints, x: Floats, acts: Floats, capacity: int, start: int, rows: int, first: int) -> None:
    """Compute the activations of the layers after layer `first`."""
    offset, column = 0, 0  # of the layer's parameters, and of its activations
    for layer in range(ints[1]):
        i, o = ints[HEADER + layer], ints[HEADER + layer + 1]
        if layer >= first:
            z = acts[capacity * (column + i) + start * o :]
            broadcast_bias(x[offset + o * i :], rows, o, z)
            multiply(rows, o, i, acts[capacity * column + start * i :], False, x[offset:], True, z, True)
            if layer < ints[1] - 1:
                activate(ints[2], z, rows * o)
        offset, column = offset + (i + 1) * o, column + i


@njit(cache=True)
def head(
    floats: Floats, ints: Ints, batch: Ints, noise: Floats, start: int, rows: int, outputs: Floats, derivative: Floats
) -> float:
    """Return a tile's share of the loss, and fill its derivative; cross-entropy makes the outputs probabilities."""
    c, count, value = ints[HEADER + ints[1]], len(batch) if len(batch) else ints[0], 0.0
    labels, targets = ints[HEADER + ints[1] + 1 :], floats[ints[0] * ints[HEADER] :]
    if ints[3] == CROSS_ENTROPY:
        for row in range(rows):
            o = outputs[row * c : row * c + c]
            top, chosen = o[0], o[labels[batch[start + row] if len(batch) else start + row]]
            for k in range(c):
                top = max(top, o[k])
            value += (top - chosen) / count
            for k in range(c):
                o[k] -= top
        for k in range(rows * c):
            outputs[k] = exp(outputs[k])
        for row in range(rows):
            o, total = outputs[row * c : row * c + c], 0.0
            for k in range(c):
                total += o[k]
            value += math.log(total) / count
            for k in range(c):
                o[k] /= total
                derivative[row * c + k] = o[k] / count
            derivative[row * c + labels[batch[start + row] if len(batch) else start + row]] -= 1.0 / count
        return value
    for row in range(rows):
        sample = batch[start + row] if len(batch) else start + row
        for k in range(c):
            error = outputs[row * c + k] - targets[sample * c + k]
            value += error * error / (2 * count * c)
            derivative[row * c + k] = (error - (noise[(start + row) * c + k] if len(noise) else 0.0)) / (count * c)
    return value


@kernel(GRADIENT)
def mlp_gradient(
    floats: Floats, ints: Ints, x: Floats, batch: Ints, noise: Floats, out: Floats, workspace: Floats
) -> float:
    """Return the loss, and fill out (dim,) with its gradient for noise (b·outputs,) on the targets, if any."""
    count, value = len(batch) if len(batch) else ints[0], 0.0
    widths, total, widest, tile = sizes(ints, count)
    d, e = workspace[tile * total :], workspace[tile * (total + widest) :]
    for start in range(0, count, tile):
        rows, c = min(tile, count - start), widths[-1]
        gather(floats, widths[0], batch, start, rows, workspace)
        forward(ints, x, workspace, tile, 0, rows, 0)
        value += head(floats, ints, batch, noise, start, rows, workspace[tile * (total - c) :], d)
        offset, column = len(x), total - c
        for layer in range(ints[1] - 1, -1, -1):
            i, o = widths[layer], widths[layer + 1]
            offset, column = offset - (i + 1) * o, column - i
            a = workspace[tile * column :]
            multiply(o, i, rows, d, True, a, False, out[offset:], start > 0)
            add_rows(d, rows, o, out[offset + o * i :], start > 0)
            if layer:
                multiply(rows, i, o, d, False, x[offset:], False, e, False)
                multiply_derivative(ints[2], a, e, rows * i)
                d, e = e, d
    return value


@njit(cache=True, nogil=True)
def plane_preactivations(floats: Floats, ints: Ints, origin: Floats, directions: Floats) -> Floats:
    """Return what enters the first activation at the origin and along both directions, (3, n·widths[1]).

    It is linear in the coordinates of the plane, so the first layer is multiplied three times, not once for each point.
    """
    n = ints[0]
    widths, _, _, tile = sizes(ints, n)
    i, o = widths[0], widths[1]
    z = np.empty((3, n * o), origin.dtype)
    for k in range(3):
        vector = origin if k == 0 else directions[k - 1]
        broadcast_bias(vector[o * i :], n, o, z[k])
        for start in range(0, n, tile):
            rows = min(tile, n - start)
            multiply(rows, o, i, floats[start * i :], False, vector, True, z[k, start * o :], True)
    return z


@njit(cache=True, nogil=True, fastmath={"contract"})
def plane_losses(
    floats: Floats, ints: Ints, origin: Floats, directions: Floats, preactivations: Floats, points: Floats, out: Floats
) -> None:
    """Add the losses at origin + a·d₁ + b·d₂ to out (points,), for directions (2, dim) and points (points, 2)."""
    n = ints[0]
    widths, total, _, tile = sizes(ints, n)
    i, first, c = widths[0], widths[1], widths[-1]
    acts, derivative = np.empty(tile * total, origin.dtype), np.empty(tile * c, origin.dtype)
    x, no_noise, all_samples = np.empty((POINTS, len(origin)), origin.dtype), origin[:0], np.empty(0, np.int64)
    for begin in range(0, len(points), POINTS):
        group = points[begin : begin + POINTS]
        for point in range(len(group)):
            for k in range(len(origin)):
                x[point, k] = origin[k] + group[point, 0] * directions[0, k] + group[point, 1] * directions[1, k]
        for start in range(0, n, tile):
            rows, j = min(tile, n - start), start * first
            base, along, across = preactivations[0, j:], preactivations[1, j:], preactivations[2, j:]
            for point in range(len(group)):
                a, b = group[point]
                z = acts[tile * i :]
                for k in range(rows * first):
                    z[k] = base[k] + a * along[k] + b * across[k]
                if len(widths) > 2:
                    activate(ints[2], z, rows * first)
                    forward(ints, x[point], acts, tile, 0, rows, 1)
                outputs = acts[tile * (total - c) :]
                out[begin + point] += head(floats, ints, all_samples, no_noise, start, rows, outputs, derivative)


# Hessian-vector products by the R-operator, tile by tile (Pearlmutter, Fast Exact Multiplication by the Hessian, 1994)


@njit(cache=True, nogil=True)
def linearized(floats: Floats, ints: Ints, x: Floats, batches: Ints, acts: Floats, ups: Floats, deltas: Floats) -> None:
    """Fill the activations and the loss's derivatives by them (`ups`) and by the preactivations (`deltas`).

    Each is (runs, samples times the sum of the widths), for x (runs, dim) and batches (runs, b); b = 0 is all samples.
    """
    n = batches.shape[1] if batches.shape[1] else ints[0]
    widths, total, _, tile = sizes(ints, n)
    c = widths[-1]
    for run in range(len(x)):
        for start in range(0, n, tile):
            rows, offset, column = min(tile, n - start), x.shape[1], total - c
            gather(floats, widths[0], batches[run], start, rows, acts[run, start * widths[0] :])
            forward(ints, x[run], acts[run], n, start, rows, 0)
            outputs, d = acts[run, n * column + start * c :], deltas[run, n * column + start * c :]
            head(floats, ints, batches[run], x[run, :0], start, rows, outputs, d)
            for layer in range(ints[1] - 1, 0, -1):
                i, o = widths[layer], widths[layer + 1]
                d = deltas[run, n * column + start * o :]
                offset, column = offset - (i + 1) * o, column - i
                up, down = ups[run, n * column + start * i :], deltas[run, n * column + start * i :]
                multiply(rows, i, o, d, False, x[run, offset:], False, up, False)
                for k in range(rows * i):
                    down[k] = up[k]
                multiply_derivative(ints[2], acts[run, n * column + start * i :], down, rows * i)


@njit(cache=True, nogil=True)
def products(ints: Ints, x: Floats, v: Floats, acts: Floats, ups: Floats, deltas: Floats, n: int, out: Floats) -> None:
    """Fill out (runs, k, dim) with each run's Hessian times its vectors v, from what `linearized` has filled."""
    widths, total, widest, tile = sizes(ints, n)
    work = np.empty(workspace_length(ints, n))
    # the tangents are the derivatives of the activations along v
    tangents, d, e = work, work[tile * total :], work[tile * (total + widest) :]
    for run in range(len(x)):
        for k in range(v.shape[1]):
            for start in range(0, n, tile):
                rows, offset, column = min(tile, n - start), 0, 0
                for layer in range(ints[1]):
                    i, o = widths[layer], widths[layer + 1]
                    dz = tangents[tile * (column + i) :]
                    broadcast_bias(v[run, k, offset + o * i :], rows, o, dz)
                    a = acts[run, n * column + start * i :]
                    multiply(rows, o, i, a, False, v[run, k, offset:], True, dz, True)
                    if layer:
                        multiply(rows, o, i, tangents[tile * column :], False, x[run, offset:], True, dz, True)
                    offset, column = offset + (i + 1) * o, column + i
                    if layer < ints[1] - 1:
                        multiply_derivative(ints[2], acts[run, n * column + start * o :], dz, rows * o)
                outputs = acts[run, n * column + start * widths[-1] :]
                _output_tangent(ints, n, rows, outputs, tangents[tile * column :], d)
                for layer in range(ints[1] - 1, -1, -1):
                    i, o = widths[layer], widths[layer + 1]
                    delta = deltas[run, n * column + start * o :]
                    offset, column = offset - (i + 1) * o, column - i
                    a = acts[run, n * column + start * i :]
                    multiply(o, i, rows, d, True, a, False, out[run, k, offset:], start > 0)
                    add_rows(d, rows, o, out[run, k, offset + o * i :], start > 0)
                    if layer:
                        tangent, up = tangents[tile * column :], ups[run, n * column + start * i :]
                        multiply(o, i, rows, delta, True, tangent, False, out[run, k, offset:], True)
                        multiply(rows, i, o, d, False, x[run, offset:], False, e, False)
                        multiply(rows, i, o, delta, False, v[run, k, offset:], False, e, True)
                        multiply_derivative(ints[2], a, e, rows * i)
                        add_second_derivative(ints[2], a, up, tangent, e, rows * i)
                        d, e = e, d


@njit(cache=True)
def _output_tangent(ints: Ints, count: int, rows: int, outputs: Floats, tangent: Floats, out: Floats) -> None:
    """Fill the derivative of the loss's gradient by the outputs; cross-entropy's outputs are the probabilities."""
    c = ints[HEADER + ints[1]]
    for row in range(rows):
        p, dz, d = outputs[row * c : row * c + c], tangent[row * c : row * c + c], out[row * c : row * c + c]
        if ints[3] == CROSS_ENTROPY:
            mean = 0.0
            for k in range(c):
                mean += p[k] * dz[k]
            for k in range(c):
                d[k] = p[k] * (dz[k] - mean) / count
        else:
            for k in range(c):
                d[k] = dz[k] / (count * c)


@kernel(PRODUCT)
def mlp_product(floats: Floats, ints: Ints, x: Floats, batch: Ints, v: Floats, out: Floats) -> None:
    """Fill out (dim,) with the Hessian times v (dim,)."""
    n = len(batch) if len(batch) else ints[0]
    size = n * sizes(ints, n)[1]
    acts, ups, deltas = np.empty((1, size)), np.empty((1, size)), np.empty((1, size))
    where = x.reshape(1, -1)
    linearized(floats, ints, where, batch.reshape(1, -1), acts, ups, deltas)
    products(ints, where, v.reshape(1, 1, -1), acts, ups, deltas, n, out.reshape(1, 1, -1))
