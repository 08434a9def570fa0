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
from samviz.compiled.mlp import add_to_rows, forward, head, sizes


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
    z = np.empty((3, n * o))
    for which in range(3):
        vector = origin if which == 0 else directions[which - 1]
        for start in range(0, n, tile):
            rows = min(tile, n - start)
            multiply(rows, o, i, numbers[start * i :], False, vector, True, z[which, start * o :], False)
        add_to_rows(vector[o * i :], n, o, z[which])
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
    acts, slope = np.empty(tile * total), np.empty(tile * c)
    x, none, everything = np.empty(len(origin)), np.empty(0), np.empty(0, np.int64)
    for start in range(0, n, tile):
        rows = min(tile, n - start)
        base, along, across = entering[0, start * first :], entering[1, start * first :], entering[2, start * first :]
        for point in range(len(points)):
            a, b = points[point, 0], points[point, 1]
            z = acts[tile * i :]
            for k in range(rows * first):
                z[k] = base[k] + a * along[k] + b * across[k]
            for k in range((i + 1) * first, len(x)):
                x[k] = origin[k] + a * directions[0, k] + b * directions[1, k]
            if len(widths) > 2:
                activate(whole[2], z, rows * first)
                forward(whole, x, acts, tile, 0, rows, 1)
            out[point] += head(numbers, whole, everything, none, n, start, rows, acts[tile * (total - c) :], slope)
