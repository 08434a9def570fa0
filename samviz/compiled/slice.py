"""A network's loss on a plane of its parameters.

What enters the first activation is linear in the coordinates: the first layer is multiplied three times in all, and not
once for every point.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from samviz.compiled.activations import activate
from samviz.compiled.arrays import Floats, Whole
from samviz.compiled.matmul import multiply
from samviz.compiled.mlp import fill_rows, forward, head, sizes

TOGETHER = 8  # points whose parameters are kept in the cache while the samples pass


@njit(cache=True, nogil=True)
def entering(numbers: Floats, whole: Whole, origin: Floats, directions: Floats) -> Floats:
    """What enters the first activation, at the origin and along the two directions.

    Args:
        numbers: the network's.
        whole: the network's.
        origin: (dim,), parameters.
        directions: (2, dim), d₁ and d₂.

    Returns:
        (3, n·widths[1]).
    """
    n = whole[0]
    widths, _, _, tile = sizes(whole, n)
    i, o = widths[0], widths[1]
    z = np.empty((3, n * o), origin.dtype)
    for which in range(3):
        vector = origin if which == 0 else directions[which - 1]
        fill_rows(vector[o * i :], n, o, z[which])
        for start in range(0, n, tile):
            rows = min(tile, n - start)
            multiply(rows, o, i, numbers[start * i :], False, vector, True, z[which, start * o :], True)
    return z


@njit(cache=True, nogil=True, fastmath={"contract"})
def losses(
    numbers: Floats, whole: Whole, origin: Floats, directions: Floats, entering: Floats, points: Floats, out: Floats
) -> None:
    """Losses at origin + a·d₁ + b·d₂.

    Args:
        numbers: the network's.
        whole: the network's.
        origin: (dim,), parameters.
        directions: (2, dim), d₁ and d₂.
        entering: from the function of that name.
        points: (points, 2), the coordinates (a, b).
        out: (points,), zeros to be filled.
    """
    n = whole[0]
    widths, total, _, tile = sizes(whole, n)
    i, first, c = widths[0], widths[1], widths[-1]
    acts, slope = np.empty(tile * total, origin.dtype), np.empty(tile * c, origin.dtype)
    x, none, everything = np.empty((TOGETHER, len(origin)), origin.dtype), origin[:0], np.empty(0, np.int64)
    for begin in range(0, len(points), TOGETHER):
        some = points[begin : begin + TOGETHER]
        for point in range(len(some)):
            a, b = some[point]
            there, first_direction, second = x[point], directions[0], directions[1]
            for k in range(len(origin)):
                there[k] = origin[k] + a * first_direction[k] + b * second[k]
        for start in range(0, n, tile):
            rows = min(tile, n - start)
            base, along, across = (
                entering[0, start * first :],
                entering[1, start * first :],
                entering[2, start * first :],
            )
            for point in range(len(some)):
                a, b = some[point]
                z = acts[tile * i :]
                for k in range(rows * first):
                    z[k] = base[k] + a * along[k] + b * across[k]
                if len(widths) > 2:
                    activate(whole[2], z, rows * first)
                    forward(whole, x[point], acts, tile, 0, rows, 1)
                outputs = acts[tile * (total - c) :]
                out[begin + point] += head(numbers, whole, everything, none, n, start, rows, outputs, slope)
