"""Draw the mini-batch indices and the noise of each step from (seed, step), so that a run resumes without a generator.

The generators are counter-based (Philox): a draw depends on its arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK = 64  # steps drawn at once
CACHE_BYTES = 2**25  # limit of the cached blocks of one batch size, unless one block is larger
NORMALS = 4096  # limit of the normal numbers drawn at once for later steps
NOISE = 2**62  # added to the keys of noise; the keys of batches are batch sizes, and numpy rounds keys above 2⁶³


def batch_indices(seed: int, block: int, batch_size: int, samples: int) -> NDArray[np.int64]:
    """Draw the sample indices (64, b) of the steps 64·block, …, 64·block + 63 of a run; do not write to them.

    Each batch is uniform, without replacement, and independent of all other batches. Source: Eq. 17 for b = 1.

    >>> batch_indices(0, block=0, batch_size=2, samples=5).shape
    (64, 2)
    """
    return _block_cache(batch_size)(seed, block, batch_size, samples)


@lru_cache(maxsize=2)  # two runs with different batch sizes may alternate
def _block_cache(batch_size: int) -> Callable[[int, int, int, int], NDArray[np.int64]]:
    """Return the function that draws a block, with a cache whose size in bytes is limited."""
    blocks = CACHE_BYTES // (BLOCK * batch_size * np.dtype(np.int64).itemsize)
    return lru_cache(maxsize=max(1, min(256, blocks)))(_drawn_block)


def _drawn_block(seed: int, block: int, batch_size: int, samples: int) -> NDArray[np.int64]:
    """Draw the sample indices of a block of steps."""
    generator = np.random.Generator(np.random.Philox(key=[seed, batch_size], counter=[0, 0, 0, block]))
    if batch_size == 1:
        return generator.integers(0, samples, (BLOCK, 1))
    keys = generator.random((BLOCK, samples))
    return np.argpartition(keys, batch_size - 1, 1)[:, :batch_size].copy()  # a view would keep all n indices alive


def normals(seed: int, step: int, count: int) -> NDArray[np.float64]:
    """Draw the standard normal numbers (count,) of one step of a run; do not write to them.

    >>> normals(0, step=100, count=3).shape
    (3,)
    """
    steps = max(1, min(BLOCK, NORMALS // count))
    block, row = divmod(step, steps)
    drawn: NDArray[np.float64] = (_cached_normals if steps > 1 else _drawn_normals)(seed, block, steps, count)[row]
    return drawn


def _drawn_normals(seed: int, block: int, steps: int, count: int) -> NDArray[np.float64]:
    """Draw (steps, count) numbers at once: building a generator takes as long as drawing a thousand numbers."""
    generator = np.random.Generator(np.random.Philox(key=[seed, NOISE + count], counter=[0, 0, 0, block]))
    return generator.standard_normal((steps, count))


_cached_normals = lru_cache(maxsize=1024)(_drawn_normals)  # 32 MB at most
