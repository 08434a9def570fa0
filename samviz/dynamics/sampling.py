"""Which samples a step sees: a pure function of (seed, step), so that a run resumes without a generator's state."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK = 64  # steps drawn at once


@lru_cache(maxsize=256)
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
        int64 (64, b).

    Source: Eq. 17 for b = 1.

    >>> batch_indices(0, block=0, batch_size=2, samples=5).shape
    (64, 2)
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, batch_size], counter=[0, 0, 0, block]))
    if batch_size == 1:
        return generator.integers(0, samples, (BLOCK, 1))
    keys = generator.random((BLOCK, samples))
    return np.argpartition(keys, batch_size - 1, 1)[:, :batch_size]
