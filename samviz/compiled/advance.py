"""Many steps of many runs in one call."""

from __future__ import annotations

import numpy as np
from numba import cfunc, njit

from samviz.compiled.arrays import Floats, Kernel, Whole
from samviz.compiled.rules import step
from samviz.compiled.signatures import PRODUCT

ALIVE = -1


@cfunc(PRODUCT, cache=True)
def idle(numbers: Floats, whole: Whole, x: Floats, batch: Whole, v: Floats, out: Floats) -> None:
    """In the place of `product` for the rules that do without."""


@njit(cache=True, fastmath={"reassoc"})
def _finite(x: Floats) -> bool:
    """Whether all of x is finite: zero times it is zero then, and NaN else."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] * 0.0
    return total == 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def advance(
    gradient: Kernel,
    product: Kernel,
    numbers: Floats,
    whole: Whole,
    room: int,
    rule: int,
    n: int,
    x: Floats,
    before: Floats,
    lr: Floats,
    rho: Floats,
    bound: Floats,
    batches: Whole,
    noise: Floats,
    path: Floats,
    died: Whole,
    back: Whole,
    curvature: Floats,
) -> None:
    """Take n steps of every run that is alive; a run that diverges stays at its last good iterate.

    Args:
        gradient: the problem's kernel.
        product: the problem's kernel, or `idle`.
        numbers: the problem's.
        whole: the problem's.
        room: numbers of scratch that the gradient needs.
        rule: its number, see `samviz.compiled.rules`.
        n: steps.
        x: (runs, dim), the iterates; moved in place.
        before: (runs, dim), the iterates before them; moved in place.
        lr: (runs,), learning rates η.
        rho: (runs,), perturbation radii ρ.
        bound: (runs,), the largest loss that counts as finite.
        batches: (runs, n, b), samples of each step; b = 0 is the full batch.
        noise: (runs, n, count), standard normal numbers of each step; used up.
        path: (kept, runs, dim), to be filled with the iterates after the last `kept` steps.
        died: (runs,), ALIVE for the runs that move; of those that fall, to be set to the step they fell at.
        back: (runs,), to be set to 1 where a run that fell went back by one iterate.
        curvature: (runs,), to be filled with the last step's estimate of uᵀ∇²L u.
    """
    runs, dim = x.shape
    work, vectors, fresh = np.empty(room), np.empty((5, dim)), np.empty(dim)
    for run in range(runs):
        for t in range(n):
            if died[run] == ALIVE:
                loss, bend = step(
                    rule,
                    gradient,
                    product,
                    numbers,
                    whole,
                    x[run],
                    batches[run, t],
                    noise[run, t],
                    lr[run],
                    rho[run],
                    fresh,
                    vectors,
                    work,
                )
                if not loss <= bound[run]:
                    died[run], back[run] = t, 1
                    for i in range(dim):
                        x[run, i] = before[run, i]
                elif not _finite(fresh):
                    died[run] = t
                else:
                    curvature[run] = bend
                    for i in range(dim):
                        before[run, i], x[run, i] = x[run, i], fresh[i]
            kept = t - (n - len(path))
            if kept >= 0:
                for i in range(dim):
                    path[kept, run, i] = x[run, i]
