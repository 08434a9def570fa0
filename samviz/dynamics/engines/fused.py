"""The compiled engine: a whole stretch of steps in one call, for problems that have kernels."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.compiled.arrays import Compiled
from samviz.compiled.valley_steps import Steps
from samviz.dynamics import rules
from samviz.dynamics.engines.stretch import Moved, Stretch, noise_count
from samviz.dynamics.rules import RULES
from samviz.dynamics.settings import Settings
from samviz.problems import Problem, Valley

# by their numbers in `samviz.compiled.rules`
COMPILED = (
    *(rules.gd, rules.sam, rules.usam, rules.asam, rules.ascent, rules.worst, rules.average, rules.random),
    *(rules.label_noise, rules.normalized_gd),
)
ALIVE, DEAD = -1, -2  # as in `samviz.compiled.advance`, and what it passes over


def advance(stretch: Stretch, kernels: Compiled) -> Moved:
    """Take the steps of a stretch.

    Args:
        stretch: what to do.
        kernels: the problem's.

    Returns:
        Where it has led: up to rounding, what `samviz.dynamics.engines.eager.advance` says.
    """
    from samviz.compiled.advance import advance as compiled
    from samviz.compiled.advance import idle

    runs, n, settings = len(stretch.x), stretch.n, stretch.settings
    x, before = stretch.x.numpy().copy(), stretch.before.numpy().copy()
    batches, count = stretch.batches(), noise_count(stretch.problem, settings)
    noise = np.stack([stretch.noise(t, count) for t in range(n)], 1) if count else np.zeros((runs, n, 0))
    path = np.empty((stretch.kept, *x.shape))
    fell, back = np.where(stretch.alive, ALIVE, DEAD), np.zeros(runs, dtype=np.int64)
    curvature = np.full(runs, np.nan)
    rule = RULES[settings.rule]
    compiled(
        kernels.gradient,
        kernels.product() if rule is rules.ascent else idle,
        *(kernels.numbers, kernels.whole, kernels.room),
        COMPILED.index(rule),
        n,
        x,
        before,
        _each(settings.lr, runs),
        _each(settings.rho, runs),
        stretch.bound.numpy(),
        np.zeros((runs, n, 0), dtype=np.int64) if batches is None else np.ascontiguousarray(batches),
        noise,
        path,
        fell,
        back,
        curvature,
    )
    going = bool((fell == ALIVE).any())
    seen = stretch.kept if going else max(0, int(fell.max()) - (n - stretch.kept))  # until the last run fell
    return Moved(
        torch.from_numpy(x),
        torch.from_numpy(before),
        np.where(fell == DEAD, -1, fell),
        back > 0,
        list(torch.from_numpy(path[:seen])),
        lambda: torch.from_numpy(curvature),
    )


def walks(problem: Problem, settings: Settings, runs: int) -> bool:
    """Whether `walk` knows the way: one full-batch run of SAM or gradient descent in the valley, in float64."""
    plain = runs == 1 and RULES[settings.rule] in (rules.gd, rules.sam) and settings.batch_size is None
    return plain and isinstance(problem, Valley) and problem.device.type == "cpu" and problem.dtype == torch.float64


def walk(stretch: Stretch, steps: Steps) -> Moved:
    """Take the steps of a stretch in the valley, without arrays.

    Args:
        stretch: what to do; `walks` says whether it can be done.
        steps: from `samviz.compiled.valley_steps.steps`.

    Returns:
        As `advance`.
    """
    settings, problem = stretch.settings, stretch.problem
    assert isinstance(problem, Valley), "walks() was asked"
    lr = float(np.ravel(settings.lr)[0])
    rho = float(np.ravel(settings.rho)[0]) if RULES[settings.rule] is rules.sam else 0.0
    x, before, curvature = tuple(stretch.x[0].tolist()), tuple(stretch.before[0].tolist()), math.nan
    path: list[Tensor] = []
    done, fell, back = 0, -1, False
    for part in (stretch.n - stretch.kept, *[1] * stretch.kept):
        earlier = before
        taken, x, before, curvature = steps(part, lr, rho, problem.scale, float(stretch.bound), x, before)
        done += taken
        if not all(map(math.isfinite, x)):
            fell, x, before = done - 1, before, earlier
        elif taken < part:
            fell, x, back = done, before, True
        if fell >= 0:
            break
        path.append(_row(x))
    path = path[1:] if fell < 0 else path[1 : fell - (stretch.n - stretch.kept) + 1]
    bent = partial(torch.tensor, [curvature], dtype=torch.float64)
    return Moved(_row(x), _row(before), np.array([fell]), np.array([back]), path, bent)


def _row(x: tuple[float, ...]) -> Tensor:
    return torch.tensor([x], dtype=torch.float64)


def _each(value: float | tuple[float, ...], runs: int) -> NDArray[np.float64]:
    """One number for each run."""
    return np.broadcast_to(np.asarray(value, dtype=np.float64), runs).copy()
