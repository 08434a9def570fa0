"""The network's Hessian-vector product as a kernel; apart, because only the rule `ascent` waits for its compilation."""

from __future__ import annotations

import numpy as np
from numba import cfunc

from samviz.compiled.arrays import Floats, Whole
from samviz.compiled.mlp import sizes
from samviz.compiled.r_operator import linearized, products
from samviz.compiled.signatures import PRODUCT


@cfunc(PRODUCT, cache=True)
def product(numbers: Floats, whole: Whole, x: Floats, batch: Whole, v: Floats, out: Floats) -> None:
    """The Hessian times v (dim,), in out (dim,)."""
    n = len(batch) if len(batch) else whole[0]
    size = n * sizes(whole, n)[1]
    acts, ups, deltas = np.empty((1, size)), np.empty((1, size)), np.empty((1, size))
    where = x.reshape(1, -1)
    linearized(numbers, whole, where, batch.reshape(1, -1), acts, ups, deltas)
    products(whole, where, v.reshape(1, 1, -1), acts, ups, deltas, n, out.reshape(1, 1, -1))
