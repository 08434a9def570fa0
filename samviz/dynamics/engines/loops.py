"""A block of steps under fixed settings, its result, and the loops that take the steps in torch and compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics.rules import RULES, Rule, Step, directional_curvature
from samviz.dynamics.sampling import BLOCK, batch_indices, normals
from samviz.dynamics.settings import Settings, per_run
from samviz.kernels import Kernels
from samviz.problems import Problem


@dataclass(frozen=True)
class StepBlock:
    """Steps to take with every run."""

    problem: Problem
    settings: Settings
    x: Tensor  # (runs, dim), the iterates
    before: Tensor  # (runs, dim), the previous iterates
    running: NDArray[np.bool_]  # (runs,), False for a run that has diverged, which takes no steps
    bound: Tensor  # (runs,), the loss above which a run counts as diverged
    seeds: tuple[int, ...]  # of each run
    first: int  # index of the first step
    n: int  # number of steps
    path_length: int  # how many of the last iterates the result contains, at most n

    @property
    def rule(self) -> Rule:
        """The rule of the settings."""
        return RULES[self.settings.rule]

    def batches(self) -> NDArray[np.int64] | None:
        """Return the sample indices (runs, n, b) of the steps; None for the full batch."""
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
        """Return the standard normal numbers (runs, count) of step t of the block."""
        return np.stack([normals(seed, self.first + t, count) for seed in self.seeds])


class StepResult(NamedTuple):
    """Where a block of steps ends. A run diverges at the step whose loss or next iterate is out of bounds."""

    x: Tensor  # (runs, dim), the iterates; of a run that diverged, its last good one
    before: Tensor  # (runs, dim), the previous iterates
    diverged_at: NDArray[np.int64]  # (runs,), the step of the block, from 0, at which a run diverged; −1 for none
    rolled_back: NDArray[np.bool_]  # (runs,), whether it returned to the previous iterate: its loss was out of bounds
    path: list[Tensor]  # (runs, dim) each, the iterates after the last steps; fewer if all runs diverged
    curvature: Callable[[], Tensor]  # returns `directional_curvature` of the last step, (runs,); NaN without one


def torch_steps(block: StepBlock) -> StepResult:
    """Take the steps one by one in torch, for any problem on any device: the reference for the other loops."""
    x, before, rule = block.x, block.before, block.rule
    lr, rho = per_run(block.settings.lr, x), per_run(block.settings.rho, x)
    batches = block.batches()
    running = torch.from_numpy(block.running).to(x.device)
    all_running = bool(block.running.all())
    diverged_at, rolled_back = np.full(len(x), -1), np.zeros(len(x), dtype=bool)
    path: list[Tensor] = []
    curvature = partial(torch.full_like, block.bound, torch.nan)
    for t in range(block.n):
        batch = None if batches is None else torch.from_numpy(batches[:, t]).to(x.device)
        step = rule(block.problem, x, batch, lr, rho, partial(_noise, block, t))
        if all_running and _within_bounds(step, block.bound):
            before, x = x, step.x
        else:
            bounded = step.loss <= block.bound  # False for NaN, too
            good = bounded & step.x.isfinite().all(1)
            diverging, returning = running & ~good, running & ~bounded
            stopped = torch.where(returning[:, None], before, x)  # the iterate before the one whose loss is too large
            running, all_running = running & good, False
            before, x = x, torch.where(running[:, None], step.x, stopped)
            diverged_at[diverging.cpu().numpy()], rolled_back[returning.cpu().numpy()] = t, True
            if not bool(running.any()):
                return StepResult(x, before, diverged_at, rolled_back, path, curvature)
        if t >= block.n - block.path_length:
            path.append(x)
    if rule.measures_curvature:
        curvature = partial(directional_curvature, step, rho)
    return StepResult(x, before, diverged_at, rolled_back, path, curvature)


def _noise(block: StepBlock, t: int, count: int) -> Tensor:
    return torch.from_numpy(block.noise(t, count)).to(block.x)


def _within_bounds(step: Step, bound: Tensor) -> bool:
    """Return whether every loss is within bounds and every next iterate finite; for one run on the CPU, quickly."""
    if len(bound) == 1 and bound.device.type == "cpu":
        return float(step.loss) <= float(bound) and math.isfinite(float(step.x.sum()))
    return bool(((step.loss <= bound) & step.x.isfinite().all(1)).all())


def compiled_steps(block: StepBlock, kernels: Kernels) -> StepResult:
    """Take the steps in one call of compiled code: up to rounding, the result is that of `torch_steps`."""
    from samviz.kernels.primitives import RUNNING, advance, compiled_rule, no_product, uses_product

    runs, n, rule = len(block.x), block.n, block.rule
    x, before = block.x.numpy().copy(), block.before.numpy().copy()
    lr, rho = (np.broadcast_to(np.asarray(v, float), runs).copy() for v in (block.settings.lr, block.settings.rho))
    batches, count = block.batches(), rule.noise_count(block.problem, block.settings.batch_size)
    noise = np.stack([block.noise(t, count) for t in range(n)], 1) if count else np.zeros((runs, n, 0))
    path = np.empty((block.path_length, *x.shape))
    diverged_at, rolled_back = np.where(block.running, RUNNING, 0), np.zeros(runs, dtype=np.int64)
    curvature = np.full(runs, np.nan)
    advance(
        compiled_rule(rule.direction),
        rule.gd_at_zero_rho,
        *kernels._replace(product=kernels.product() if uses_product(rule.direction) else no_product()),
        n,
        x,
        before,
        lr,
        rho,
        block.bound.numpy(),
        np.zeros((runs, n, 0), dtype=np.int64) if batches is None else np.ascontiguousarray(batches),
        noise,
        path,
        diverged_at,
        rolled_back,
        curvature,
    )
    if not (diverged_at == RUNNING).any():  # the path ends where the last run diverged
        path = path[: max(0, int(diverged_at.max()) - (n - block.path_length))]
    if not rule.measures_curvature:
        curvature[:] = np.nan
    return StepResult(
        torch.from_numpy(x),
        torch.from_numpy(before),
        np.where(block.running, diverged_at, -1),
        rolled_back > 0,
        list(torch.from_numpy(path)),
        lambda: torch.from_numpy(np.where(rho > 0, curvature, np.nan)),
    )
