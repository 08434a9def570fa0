"""A problem's kernels applied to many runs in one call."""

from __future__ import annotations

import numpy as np
from numba import njit

from samviz.compiled.arrays import Floats, Kernel, Whole
from samviz.compiled.mlp import linearize, multiplied, room


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


@njit(cache=True, nogil=True)
def linearized(
    numbers: Floats, whole: Whole, x: Floats, batches: Whole, acts: Floats, ups: Floats, deltas: Floats
) -> None:
    """What products with each run's Hessian need of a network; see `samviz.compiled.mlp.linearize`.

    Args:
        numbers: the network's.
        whole: the network's.
        x: (runs, dim), where the Hessians are taken.
        batches: (runs, b), samples; b = 0 is all of them.
        acts: (runs, b or n times the sum of the widths), filled.
        ups: as acts.
        deltas: as acts.
    """
    for run in range(len(x)):
        linearize(numbers, whole, x[run], batches[run], acts[run], ups[run], deltas[run])


@njit(cache=True, nogil=True)
def products(
    whole: Whole, x: Floats, v: Floats, acts: Floats, ups: Floats, deltas: Floats, samples: int, out: Floats
) -> None:
    """Each run's Hessian times its vectors, from what `linearized` left of a network.

    Args:
        whole: the network's.
        x: (runs, dim), where the Hessians are taken.
        v: (runs, k, dim), vectors.
        acts: from `linearized`.
        ups: from `linearized`.
        deltas: from `linearized`.
        samples: b, or n.
        out: (runs, k, dim), filled.
    """
    work = np.empty(room(whole, samples))
    for run in range(len(x)):
        for k in range(v.shape[1]):
            multiplied(whole, x[run], v[run, k], acts[run], ups[run], deltas[run], samples, out[run, k], work)
