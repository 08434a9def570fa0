"""The network's Hessian-vector product as a kernel; apart, because only the rule `ascent` waits for its compilation."""

from __future__ import annotations

import numpy as np
from numba import cfunc

from samviz.compiled.arrays import Floats, Whole
from samviz.compiled.mlp import linearize, multiplied, room, sizes
from samviz.compiled.signatures import PRODUCT


@cfunc(PRODUCT, cache=True)
def product(numbers: Floats, whole: Whole, x: Floats, batch: Whole, v: Floats, out: Floats) -> None:
    """The Hessian times v (dim,), in out (dim,)."""
    n = len(batch) if len(batch) else whole[0]
    size = n * sizes(whole, n)[1]
    acts, ups, deltas, work = np.empty(size), np.empty(size), np.empty(size), np.empty(room(whole, n))
    linearize(numbers, whole, x, batch, acts, ups, deltas)
    multiplied(whole, x, v, acts, ups, deltas, n, out, work)
