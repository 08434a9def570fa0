"""The network's Hessian-vector products by the R-operator, tile by tile.

Source: Pearlmutter, Fast Exact Multiplication by the Hessian (1994).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from samviz.compiled.activations import add_bend, times_slope
from samviz.compiled.arrays import Floats, Whole
from samviz.compiled.matmul import multiply
from samviz.compiled.mlp import CROSS_ENTROPY, HEADER, add_rows, fill_rows, forward, gather, head, room, sizes


@njit(cache=True, nogil=True)
def linearized(
    numbers: Floats, whole: Whole, x: Floats, batches: Whole, acts: Floats, ups: Floats, deltas: Floats
) -> None:
    """What products with each run's Hessian need: activations, and the loss's slopes by them and by what enters them.

    Args:
        numbers: the network's.
        whole: the network's.
        x: (runs, dim), where the Hessians are taken.
        batches: (runs, b), samples; b = 0 is all of them.
        acts: (runs, samples times the sum of the widths), filled.
        ups: as acts, filled.
        deltas: as acts, filled.
    """
    n = batches.shape[1] if batches.shape[1] else whole[0]
    widths, total, _, tile = sizes(whole, n)
    c = widths[-1]
    for run in range(len(x)):
        for start in range(0, n, tile):
            rows, place, at = min(tile, n - start), x.shape[1], total - c
            gather(numbers, widths[0], batches[run], start, rows, acts[run, start * widths[0] :])
            forward(whole, x[run], acts[run], n, start, rows, 0)
            outputs, d = acts[run, n * at + start * c :], deltas[run, n * at + start * c :]
            head(numbers, whole, batches[run], x[run, :0], n, start, rows, outputs, d)
            for layer in range(whole[1] - 1, 0, -1):
                i, o = widths[layer], widths[layer + 1]
                d = deltas[run, n * at + start * o :]
                place, at = place - (i + 1) * o, at - i
                up, down = ups[run, n * at + start * i :], deltas[run, n * at + start * i :]
                multiply(rows, i, o, d, False, x[run, place:], False, up, False)
                for k in range(rows * i):
                    down[k] = up[k]
                times_slope(whole[2], acts[run, n * at + start * i :], down, rows * i)


@njit(cache=True, nogil=True)
def products(
    whole: Whole, x: Floats, v: Floats, acts: Floats, ups: Floats, deltas: Floats, n: int, out: Floats
) -> None:
    """Each run's Hessian times its vectors, from what `linearized` left.

    Args:
        whole: the network's.
        x: (runs, dim), where the Hessians are taken.
        v: (runs, k, dim), vectors.
        acts: from `linearized`.
        ups: from `linearized`.
        deltas: from `linearized`.
        n: samples, b or all.
        out: (runs, k, dim), filled.
    """
    widths, total, widest, tile = sizes(whole, n)
    work = np.empty(room(whole, n))
    moved, d, e = work, work[tile * total :], work[tile * (total + widest) :]  # how the activations move along v
    for run in range(len(x)):
        for k in range(v.shape[1]):
            for start in range(0, n, tile):
                rows, place, at = min(tile, n - start), 0, 0
                for layer in range(whole[1]):
                    i, o = widths[layer], widths[layer + 1]
                    dz = moved[tile * (at + i) :]
                    fill_rows(v[run, k, place + o * i :], rows, o, dz)
                    multiply(rows, o, i, acts[run, n * at + start * i :], False, v[run, k, place:], True, dz, True)
                    if layer:
                        multiply(rows, o, i, moved[tile * at :], False, x[run, place:], True, dz, True)
                    place, at = place + (i + 1) * o, at + i
                    if layer < whole[1] - 1:
                        times_slope(whole[2], acts[run, n * at + start * o :], dz, rows * o)
                _bend_head(whole, n, rows, acts[run, n * at + start * widths[-1] :], moved[tile * at :], d)
                for layer in range(whole[1] - 1, -1, -1):
                    i, o = widths[layer], widths[layer + 1]
                    delta = deltas[run, n * at + start * o :]
                    place, at = place - (i + 1) * o, at - i
                    a = acts[run, n * at + start * i :]
                    multiply(o, i, rows, d, True, a, False, out[run, k, place:], start > 0)
                    add_rows(d, rows, o, out[run, k, place + o * i :], start > 0)
                    if layer:
                        multiply(o, i, rows, delta, True, moved[tile * at :], False, out[run, k, place:], True)
                        multiply(rows, i, o, d, False, x[run, place:], False, e, False)
                        multiply(rows, i, o, delta, False, v[run, k, place:], False, e, True)
                        times_slope(whole[2], a, e, rows * i)
                        add_bend(whole[2], a, ups[run, n * at + start * i :], moved[tile * at :], e, rows * i)
                        d, e = e, d


@njit(cache=True)
def _bend_head(whole: Whole, count: int, rows: int, outputs: Floats, moved: Floats, out: Floats) -> None:
    """How the loss's slope by the outputs moves with them; of cross-entropy the outputs are the probabilities."""
    c = whole[HEADER + whole[1]]
    for row in range(rows):
        p, dz, d = outputs[row * c : row * c + c], moved[row * c : row * c + c], out[row * c : row * c + c]
        if whole[3] == CROSS_ENTROPY:
            mean = 0.0
            for k in range(c):
                mean += p[k] * dz[k]
            for k in range(c):
                d[k] = p[k] * (dz[k] - mean) / count
        else:
            for k in range(c):
                d[k] = dz[k] / (count * c)
