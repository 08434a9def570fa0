"""The reference engine: one step after another in torch, for any problem on any device."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from samviz.dynamics.engines.stretch import Moved, Stretch
from samviz.dynamics.rules import RULES, Step, bend
from samviz.dynamics.settings import per_run


def advance(stretch: Stretch) -> Moved:
    """Take the steps of a stretch.

    Args:
        stretch: what to do.

    Returns:
        Where it has led.
    """
    x, before = stretch.x, stretch.before
    rule = RULES[stretch.settings.rule]
    lr, rho = per_run(stretch.settings.lr, x), per_run(stretch.settings.rho, x)
    batches = stretch.batches()
    alive = torch.from_numpy(stretch.alive).to(x.device)
    undisturbed = bool(stretch.alive.all())
    fell, back = np.full(len(x), -1), np.zeros(len(x), dtype=bool)
    path: list[Tensor] = []
    for t in range(stretch.n):
        batch = None if batches is None else torch.from_numpy(batches[:, t]).to(x.device)
        step = rule(stretch.problem, x, batch, lr, rho, partial(_noise, stretch, t))
        if undisturbed and _good(step, stretch.bound):
            before, x = x, step.x
        else:
            bounded = step.loss <= stretch.bound  # False for NaN, too
            good = bounded & step.x.isfinite().all(1)
            falling, returning = alive & ~good, alive & ~bounded
            stopped = torch.where(returning[:, None], before, x)  # an iterate whose loss is out of bounds is left
            alive, undisturbed = alive & good, False
            before, x = x, torch.where(alive[:, None], step.x, stopped)
            fell[falling.cpu().numpy()], back[returning.cpu().numpy()] = t, True
            if not bool(alive.any()):
                return Moved(x, before, fell, back, path, partial(torch.full_like, stretch.bound, torch.nan))
        if t >= stretch.n - stretch.kept:
            path.append(x)
    return Moved(x, before, fell, back, path, partial(bend, step, rho))


def _noise(stretch: Stretch, t: int, count: int) -> Tensor:
    return torch.from_numpy(stretch.noise(t, count)).to(stretch.x)


def _good(step: Step, bound: Tensor) -> bool:
    """Whether every run's loss is within bounds and its next iterate finite; cheaply for one run on the CPU."""
    if len(bound) == 1 and bound.device.type == "cpu":
        return float(step.loss) <= float(bound) and math.isfinite(float(step.x.sum()))
    return bool(((step.loss <= bound) & step.x.isfinite().all(1)).all())
