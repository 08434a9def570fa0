"""Which engine takes the steps: the fastest that can. All of them give the same trajectory, up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from samviz.compiled import available
from samviz.compiled.valley_steps import steps
from samviz.dynamics.engines import eager, fused, graphed
from samviz.dynamics.engines.stretch import Moved, Stretch, noise_count
from samviz.dynamics.rules import RULES
from samviz.dynamics.settings import Settings
from samviz.problems import Problem

WORK = 2e8  # multiplications in a stretch, a few tenths of a second: between two an interrupt is heard
NUMBERS = 2**20  # sample indices and normal numbers in a stretch
LONGEST = 2**16  # steps in a stretch


class Engine(NamedTuple):
    """One way of taking steps."""

    name: str
    advance: Callable[[Stretch], Moved]


def engine(problem: Problem, settings: Settings, runs: int) -> Engine:
    """The engine for the coming steps.

    Args:
        problem: what is minimized.
        settings: rule, lr, rho and batch size.
        runs: how many runs move together.

    Returns:
        "compiled" on the CPU, for problems that have kernels and the rules of this package; "CUDA graph" on a GPU;
        "torch" for the rest. Without numba "Python" for the valley.
    """
    if fused.walks(problem, settings, runs):
        return Engine("compiled" if available() else "Python", partial(fused.walk, steps=steps()))
    if RULES[settings.rule] in fused.COMPILED and (kernels := problem.compiled()) is not None:
        return Engine("compiled", partial(fused.advance, kernels=kernels))
    if graphed.captures(problem, settings):
        return Engine("CUDA graph", graphed.advance)
    return Engine("torch", eager.advance)


def longest(problem: Problem, settings: Settings, runs: int) -> int:
    """Steps that a stretch may have.

    Args:
        problem: what is minimized.
        settings: rule, lr, rho and batch size.
        runs: how many runs move together.

    Returns:
        1 or more.
    """
    samples = settings.batch_size or max(problem.samples, 1)
    drawn = (settings.batch_size or 0) + noise_count(problem, settings)
    return int(max(1, min(LONGEST, WORK / (runs * samples * problem.dim), NUMBERS / max(runs * drawn, 1))))
