"""The form that all kernels share, so that rules and steps are compiled once for every problem.

A problem is two flat arrays: its `numbers` and, in `whole`, its sizes and labels. A kernel is a function pointer.
"""

from __future__ import annotations

from numba import types

Floats = types.float64[::1]
Whole = types.int64[::1]

# numbers, whole, x (dim,), batch (b,) or empty for all samples, noise on the targets or empty, out (dim,), work -> loss
GRADIENT = types.float64(Floats, Whole, Floats, Whole, Floats, Floats, Floats)
# numbers, whole, x (dim,), batch, v (dim,), out (dim,)
PRODUCT = types.void(Floats, Whole, Floats, Whole, Floats, Floats)
