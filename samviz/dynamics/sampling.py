"""What chance gives a step: a pure function of (seed, step), so that a run resumes without a generator's state."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK = 64  # steps drawn at once
CACHE_BYTES = 2**25  # size of the cached blocks of one batch size, at most, unless one block alone is larger
NUMBERS = 4096  # normal numbers kept for later steps, at most
NOISE = 2**62  # tells the keys of noise from those of batches, which are their sizes; numpy takes larger ones as floats


def batch_indices(seed: int, block: int, batch_size: int, samples: int) -> NDArray[np.int64]:
    """Sample indices for the steps block·64 … block·64 + 63 of a run.

    Every step draws its batch afresh, uniformly, without replacement inside the batch and independently of all
    other steps. Philox is counter-based: the draw depends on the arguments alone.

    Args:
        seed: non-negative int, the run's.
        block: index of the block of 64 steps.
        batch_size: b, 1 to n.
        samples: n.

    Returns:
        int64 (64, b), not to be written to.

    Source: Eq. 17 for b = 1.

    >>> batch_indices(0, block=0, batch_size=2, samples=5).shape
    (64, 2)
    """
    return _block_cache(batch_size)(seed, block, batch_size, samples)


@lru_cache(maxsize=2)  # two runs with different batch sizes may alternate
def _block_cache(batch_size: int) -> Callable[[int, int, int, int], NDArray[np.int64]]:
    """Return the function that draws a block, with a cache whose size in bytes is limited."""
    most = CACHE_BYTES // (BLOCK * batch_size * np.dtype(np.int64).itemsize)
    return lru_cache(maxsize=max(1, min(256, most)))(_drawn_block)


def _drawn_block(seed: int, block: int, batch_size: int, samples: int) -> NDArray[np.int64]:
    """Draw the sample indices of a block of steps."""
    generator = np.random.Generator(np.random.Philox(key=[seed, batch_size], counter=[0, 0, 0, block]))
    if batch_size == 1:
        return generator.integers(0, samples, (BLOCK, 1))
    keys = generator.random((BLOCK, samples))
    return np.argpartition(keys, batch_size - 1, 1)[:, :batch_size].copy()  # a view would keep all n indices alive


def normals(seed: int, step: int, count: int) -> NDArray[np.float64]:
    """Standard normal numbers for one step of a run, independent of those of all other steps.

    Args:
        seed: non-negative int, the run's.
        step: number of the step.
        count: how many.

    Returns:
        float64 (count,), not to be written to.

    >>> normals(0, step=100, count=3).shape
    (3,)
    """
    steps = max(1, min(BLOCK, NUMBERS // count))
    block, row = divmod(step, steps)
    numbers: NDArray[np.float64] = (_kept if steps > 1 else _drawn)(seed, block, steps, count)[row]
    return numbers


def _drawn(seed: int, block: int, steps: int, count: int) -> NDArray[np.float64]:
    """The numbers of several steps, (steps, count): making a generator costs as much as a thousand of them."""
    generator = np.random.Generator(np.random.Philox(key=[seed, NOISE + count], counter=[0, 0, 0, block]))
    return generator.standard_normal((steps, count))


_kept = lru_cache(maxsize=1024)(_drawn)  # 32 MB at most
