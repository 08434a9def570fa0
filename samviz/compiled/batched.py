"""A problem's gradient for many runs in one call."""

from __future__ import annotations

import numpy as np
from numba import njit

from samviz.compiled.arrays import Floats, Kernel, Whole


@njit(cache=True, nogil=True)
def gradients(
    gradient: Kernel,
    numbers: Floats,
    whole: Whole,
    scratch: int,
    x: Floats,
    batches: Whole,
    noise: Floats,
    out: Floats,
    losses: Floats,
) -> None:
    """Loss and gradient of every run.

    Args:
        gradient: the problem's kernel.
        numbers: the problem's.
        whole: the problem's.
        scratch: numbers of scratch that the gradient needs.
        x: (runs, dim), parameters.
        batches: (runs, b), samples; b = 0 is all of them.
        noise: (runs, count), added to the targets; count = 0 is none.
        out: (runs, dim), filled with the gradients.
        losses: (runs,), filled with the losses.
    """
    work = np.empty(scratch)
    for run in range(len(x)):
        losses[run] = gradient(numbers, whole, x[run], batches[run], noise[run], out[run], work)
