"""The multilayer perceptron: backpropagation and the R-operator, tile by tile.

A tile is a number of samples that keeps the matrix products in the cache, and so small that BLAS stays on one thread.
Its `whole` is (n, layers, activation, loss, the widths, the labels); its `numbers` are the inputs (n, widths[0]) and,
for a square loss, the targets (n, widths[-1]). Layers lie one after the other, each a block of `capacity` rows.
"""

from __future__ import annotations

import math

from numba import cfunc, njit

from samviz.compiled.activations import activate, add_bend, times_slope
from samviz.compiled.arrays import Floats, Whole
from samviz.compiled.exponential import exp
from samviz.compiled.matmul import multiply
from samviz.compiled.signatures import GRADIENT

CROSS_ENTROPY = 1  # as in `samviz.compiled.arrays.LOSSES`
MULTIPLICATIONS = 2**18  # of a matrix product: OpenBLAS takes a second thread above
HEADER = 4  # numbers before the widths


@njit(cache=True)
def sizes(whole: Whole, count: int) -> tuple[Whole, int, int, int]:
    """Widths, their sum, the largest, and the samples in a tile."""
    widths = whole[HEADER : HEADER + whole[1] + 1]
    total, widest, largest = widths[0], widths[0], 1
    for layer in range(whole[1]):
        total, widest = total + widths[layer + 1], max(widest, widths[layer + 1])
        largest = max(largest, widths[layer] * widths[layer + 1])
    return widths, total, widest, min(count, min(max(MULTIPLICATIONS // largest, 16), 256))


@njit(cache=True)
def room(whole: Whole, count: int) -> int:
    """Numbers of scratch that a gradient, or a product, over so many samples needs."""
    _, total, widest, tile = sizes(whole, count)
    return tile * (total + 2 * widest)


@njit(cache=True)
def gather(numbers: Floats, width: int, batch: Whole, start: int, rows: int, inputs: Floats) -> None:
    """Put the inputs of a tile in the first layer."""
    for row in range(rows):
        sample = batch[start + row] if len(batch) else start + row
        for column in range(width):
            inputs[row * width + column] = numbers[sample * width + column]


@njit(cache=True)
def fill_rows(bias: Floats, rows: int, columns: int, z: Floats) -> None:
    """Put a bias in every row."""
    for row in range(rows):
        for column in range(columns):
            z[row * columns + column] = bias[column]


@njit(cache=True)
def _add_rows(matrix: Floats, rows: int, columns: int, total: Floats, add: bool) -> None:
    """The sum of the rows, or what is there and that sum."""
    if not add:
        for column in range(columns):
            total[column] = 0
    for row in range(rows):
        for column in range(columns):
            total[column] += matrix[row * columns + column]


@njit(cache=True)
def forward(whole: Whole, x: Floats, acts: Floats, capacity: int, start: int, rows: int, first: int) -> None:
    """Fill the activations of all layers above the first given."""
    place, at = 0, 0  # of the layer's parameters, of its activations
    for layer in range(whole[1]):
        i, o = whole[HEADER + layer], whole[HEADER + layer + 1]
        if layer >= first:
            z = acts[capacity * (at + i) + start * o :]
            fill_rows(x[place + o * i :], rows, o, z)
            multiply(rows, o, i, acts[capacity * at + start * i :], False, x[place:], True, z, True)
            if layer < whole[1] - 1:
                activate(whole[2], z, rows * o)
        place, at = place + (i + 1) * o, at + i


@njit(cache=True)
def head(
    numbers: Floats,
    whole: Whole,
    batch: Whole,
    noise: Floats,
    count: int,
    start: int,
    rows: int,
    outputs: Floats,
    slope: Floats,
) -> float:
    """A tile's share of the loss, and its slope; cross-entropy leaves its probabilities in the outputs' place."""
    c, value = whole[HEADER + whole[1]], 0.0
    labels, targets = whole[HEADER + whole[1] + 1 :], numbers[whole[0] * whole[HEADER] :]
    if whole[3] == CROSS_ENTROPY:
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
                slope[row * c + k] = o[k] / count
            slope[row * c + labels[batch[start + row] if len(batch) else start + row]] -= 1.0 / count
        return value
    for row in range(rows):
        sample = batch[start + row] if len(batch) else start + row
        for k in range(c):
            error = outputs[row * c + k] - targets[sample * c + k]
            value += error * error / (2 * count * c)
            slope[row * c + k] = (error - (noise[(start + row) * c + k] if len(noise) else 0.0)) / (count * c)
    return value


@cfunc(GRADIENT, cache=True)
def gradient(numbers: Floats, whole: Whole, x: Floats, batch: Whole, noise: Floats, out: Floats, work: Floats) -> float:
    """Loss of the clean targets; and in out (dim,) its gradient, with noise (b·outputs,) on the targets if there is."""
    count, value = len(batch) if len(batch) else whole[0], 0.0
    widths, total, widest, tile = sizes(whole, count)
    d, e = work[tile * total :], work[tile * (total + widest) :]
    for start in range(0, count, tile):
        rows, c = min(tile, count - start), widths[-1]
        gather(numbers, widths[0], batch, start, rows, work)
        forward(whole, x, work, tile, 0, rows, 0)
        value += head(numbers, whole, batch, noise, count, start, rows, work[tile * (total - c) :], d)
        place, at = len(x), total - c
        for layer in range(whole[1] - 1, -1, -1):
            i, o = widths[layer], widths[layer + 1]
            place, at = place - (i + 1) * o, at - i
            a = work[tile * at :]
            multiply(o, i, rows, d, True, a, False, out[place:], start > 0)
            _add_rows(d, rows, o, out[place + o * i :], start > 0)
            if layer:
                multiply(rows, i, o, d, False, x[place:], False, e, False)
                times_slope(whole[2], a, e, rows * i)
                d, e = e, d
    return value


@njit(cache=True)
def linearize(
    numbers: Floats, whole: Whole, x: Floats, batch: Whole, acts: Floats, ups: Floats, deltas: Floats
) -> None:
    """What products with the Hessian at x need: activations, and the loss's slopes by them and by what enters them."""
    n = len(batch) if len(batch) else whole[0]
    widths, total, _, tile = sizes(whole, n)
    for start in range(0, n, tile):
        rows, c = min(tile, n - start), widths[-1]
        gather(numbers, widths[0], batch, start, rows, acts[start * widths[0] :])
        forward(whole, x, acts, n, start, rows, 0)
        place, at = len(x), total - c
        outputs, d = acts[n * at + start * c :], deltas[n * at + start * c :]
        head(numbers, whole, batch, x[:0], n, start, rows, outputs, d)
        for layer in range(whole[1] - 1, 0, -1):
            i, o = widths[layer], widths[layer + 1]
            d = deltas[n * at + start * o :]
            place, at = place - (i + 1) * o, at - i
            up, down = ups[n * at + start * i :], deltas[n * at + start * i :]
            multiply(rows, i, o, d, False, x[place:], False, up, False)
            for k in range(rows * i):
                down[k] = up[k]
            times_slope(whole[2], acts[n * at + start * i :], down, rows * i)


@njit(cache=True)
def multiplied(
    whole: Whole, x: Floats, v: Floats, acts: Floats, ups: Floats, deltas: Floats, n: int, out: Floats, work: Floats
) -> None:
    """The Hessian times v (dim,) by the R-operator, in out (dim,), from what `linearize` left; work as in `room`.

    Source: Pearlmutter, Fast Exact Multiplication by the Hessian (1994).
    """
    widths, total, widest, tile = sizes(whole, n)
    moved, d, e = work, work[tile * total :], work[tile * (total + widest) :]  # how the activations move along v
    for start in range(0, n, tile):
        rows, place, at = min(tile, n - start), 0, 0
        for layer in range(whole[1]):
            i, o = widths[layer], widths[layer + 1]
            dz = moved[tile * (at + i) :]
            fill_rows(v[place + o * i :], rows, o, dz)
            multiply(rows, o, i, acts[n * at + start * i :], False, v[place:], True, dz, True)
            if layer:
                multiply(rows, o, i, moved[tile * at :], False, x[place:], True, dz, True)
            place, at = place + (i + 1) * o, at + i
            if layer < whole[1] - 1:
                times_slope(whole[2], acts[n * at + start * o :], dz, rows * o)
        _bend_head(whole, n, rows, acts[n * at + start * widths[-1] :], moved[tile * at :], d)
        for layer in range(whole[1] - 1, -1, -1):
            i, o = widths[layer], widths[layer + 1]
            delta = deltas[n * at + start * o :]
            place, at = place - (i + 1) * o, at - i
            a = acts[n * at + start * i :]
            multiply(o, i, rows, d, True, a, False, out[place:], start > 0)
            _add_rows(d, rows, o, out[place + o * i :], start > 0)
            if layer:
                multiply(o, i, rows, delta, True, moved[tile * at :], False, out[place:], True)
                multiply(rows, i, o, d, False, x[place:], False, e, False)
                multiply(rows, i, o, delta, False, v[place:], False, e, True)
                times_slope(whole[2], a, e, rows * i)
                add_bend(whole[2], a, ups[n * at + start * i :], moved[tile * at :], e, rows * i)
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
