"""The multilayer perceptron's Hessian-vector products by the R-operator, tile by tile.

Source: Pearlmutter, Fast Exact Multiplication by the Hessian (1994).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from samviz.kernels import Floats, Ints
from samviz.kernels.activations import add_second_derivative, multiply_derivative
from samviz.kernels.mlp import (
    CROSS_ENTROPY,
    HEADER,
    add_rows,
    broadcast_bias,
    forward,
    gather,
    head,
    multiply,
    sizes,
    workspace_length,
)
from samviz.kernels.primitives import PRODUCT, kernel


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
            head(floats, ints, batches[run], x[run, :0], n, start, rows, outputs, d)
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
