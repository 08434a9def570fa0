"""Draw the mini-batch indices and the noise of each step from (seed, step), so that a run resumes without a generator.

The generators are counter-based (Philox): a draw depends on its arguments alone. Do not write to the arrays, which are
cached.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seeds = tuple[int, ...]  # of each run

BLOCK = 64  # steps drawn at once
NORMALS = 4096  # limit of the normal numbers of a run that are drawn at once for later steps
NOISE = 2**62  # added to the keys of noise; the keys of batches are batch sizes, and numpy rounds keys above 2⁶³


def batches(seeds: Seeds, first: int, n: int, batch_size: int, samples: int) -> NDArray[np.int64]:
    """Return the sample indices (n, runs, b) of n steps, from the step number `first` on.

    Each batch is uniform, without replacement, and independent of all other batches. Source: Eq. 17 for b = 1.

    >>> batches((0, 1, 2), first=100, n=10, batch_size=2, samples=5).shape
    (10, 3, 2)
    """
    return _steps(partial(_batch_block, seeds, batch_size, samples), BLOCK, first, n)


def noise(seeds: Seeds, first: int, n: int, count: int) -> NDArray[np.float64]:
    """Return the standard normal numbers (n, runs, count) of n steps, from the step number `first` on.

    >>> noise((0, 1), first=100, n=10, count=3).shape
    (10, 2, 3)
    """
    length = max(1, min(BLOCK, NORMALS // count))
    draw = _noise_block if length > 1 else _noise_block.__wrapped__  # a later call needs none of a single step
    return _steps(partial(draw, seeds, count, length), length, first, n)


def _steps(draw: Callable[[int], NDArray[Any]], length: int, first: int, n: int) -> NDArray[Any]:
    """Return the numbers of n steps from blocks of `length` steps."""
    blocks = range(first // length, (first + n - 1) // length + 1)
    drawn = draw(blocks[0]) if len(blocks) == 1 else np.concatenate([draw(block) for block in blocks])
    return drawn[first - blocks.start * length :][:n]


def _generator(seed: int, key: int, block: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, key], counter=[0, 0, 0, block]))


@lru_cache(maxsize=8)  # several runs may alternate
def _batch_block(seeds: Seeds, batch_size: int, samples: int, block: int) -> NDArray[np.int64]:
    """Draw the sample indices (64, runs, b) of a block of steps."""
    drawn = np.empty((BLOCK, len(seeds), batch_size), dtype=np.int64)
    for run, seed in enumerate(seeds):
        generator = _generator(seed, batch_size, block)
        if batch_size == 1:
            drawn[:, run] = generator.integers(0, samples, (BLOCK, 1))
        else:
            drawn[:, run] = np.argpartition(generator.random((BLOCK, samples)), batch_size - 1, 1)[:, :batch_size]
    return drawn


@lru_cache(maxsize=8)
def _noise_block(seeds: Seeds, count: int, steps: int, block: int) -> NDArray[np.float64]:
    """Draw (steps, runs, count) numbers at once: building a generator takes as long as drawing a thousand numbers."""
    return np.stack([_generator(seed, NOISE + count, block).standard_normal((steps, count)) for seed in seeds], 1)
