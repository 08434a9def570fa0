"""What an engine is given, a stretch of steps under fixed settings, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics.rules import PAIRS
from samviz.dynamics.sampling import BLOCK, batch_indices, normals
from samviz.dynamics.settings import Settings
from samviz.problems import Problem


@dataclass(frozen=True)
class Stretch:
    """n steps of every run."""

    problem: Problem
    settings: Settings
    x: Tensor  # (runs, dim), the iterates
    before: Tensor  # (runs, dim), the iterates before them
    alive: NDArray[np.bool_]  # (runs,), False for a run that has diverged: it stays where it is
    bound: Tensor  # (runs,), the largest loss that counts as finite
    seeds: tuple[int, ...]  # one for each run
    first: int  # number of the first step
    n: int  # steps
    kept: int  # how many of the last iterates are wanted, at most n

    def batches(self) -> NDArray[np.int64] | None:
        """Sample indices (runs, n, b) of the steps; None for the full batch."""
        size = self.settings.batch_size
        if size is None:
            return None
        blocks = range(self.first // BLOCK, (self.first + self.n - 1) // BLOCK + 1)
        skipped = self.first - blocks.start * BLOCK
        drawn = [
            np.concatenate([batch_indices(seed, block, size, self.problem.samples) for block in blocks])
            for seed in self.seeds
        ]
        return np.stack(drawn)[:, skipped : skipped + self.n]

    def noise(self, t: int, count: int) -> NDArray[np.float64]:
        """Standard normal numbers (runs, count) of step t of the stretch."""
        return np.stack([normals(seed, self.first + t, count) for seed in self.seeds])


def noise_count(problem: Problem, settings: Settings) -> int:
    """How many standard normal numbers the rule asks for, each step and run."""
    samples = settings.batch_size or problem.samples
    counts = {"average": PAIRS * problem.dim, "random": problem.dim, "label_noise": samples * problem.square_targets}
    return counts.get(settings.rule, 0)


class Moved(NamedTuple):
    """Where a stretch has led. A run falls at the step whose loss or next iterate is out of bounds."""

    x: Tensor  # (runs, dim), the iterates; of a run that fell, the last good one
    before: Tensor  # (runs, dim), the iterates before them
    fell: NDArray[np.int64]  # (runs,), the step of the stretch, from 0, at which a run fell; −1 for none
    back: NDArray[np.bool_]  # (runs,), whether it went back by one iterate, because its loss was out of bounds
    path: list[Tensor]  # (runs, dim) each, the iterates after the last `kept` steps; fewer when all runs fell
    # gives the last step's u·(∇L(x + ρu) − ∇L(x))/ρ ≈ uᵀ∇²L u along SAM's u, (runs,); NaN without one
    curvature: Callable[[], Tensor]
