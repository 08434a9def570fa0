"""The multilayer perceptron: backpropagation, tile by tile.

A tile is a number of samples that keeps the matrix products in the cache, and so small that BLAS stays on one thread.
Its `whole` is (n, layers, activation, loss, the widths, the labels); its `numbers` are the inputs (n, widths[0]) and,
for a square loss, the targets (n, widths[-1]). Layers lie one after the other, each a block of `capacity` rows.
"""

from __future__ import annotations

import math

from numba import cfunc, njit, types

from samviz.compiled.activations import activate, times_slope
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
def add_rows(matrix: Floats, rows: int, columns: int, total: Floats, add: bool) -> None:
    """The sum of the rows, or what is there and that sum."""
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
            add_rows(d, rows, o, out[place + o * i :], start > 0)
            if layer:
                multiply(rows, i, o, d, False, x[place:], False, e, False)
                times_slope(whole[2], a, e, rows * i)
                d, e = e, d
    return value
