"""The engines, which take the same steps up to rounding: compiled code on the CPU, CUDA graphs, and torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from samviz.dynamics.engines import cuda_graph
from samviz.dynamics.engines.loops import StepBlock, StepResult, compiled_steps, torch_steps
from samviz.dynamics.rules import RULES
from samviz.dynamics.settings import Settings
from samviz.problems import Problem

__all__ = ["Engine", "StepBlock", "engine", "longest_block"]

WORK = 2e8  # multiplications in a block, a few tenths of a second: an interrupt is handled between two blocks
DRAWN = 2**20  # sample indices and normal numbers in a block
STEPS = 2**16  # in a block


class Engine(NamedTuple):
    """A name for users, and the function that takes a block of steps."""

    name: str
    advance: Callable[[StepBlock], StepResult]


def engine(problem: Problem, settings: Settings) -> Engine:
    """Return the fastest engine for the settings.

    "compiled" takes built-in problems on the CPU, if numba can compile the rule; "CUDA graph" takes problems in closed
    form on a GPU, if a graph can capture the rule; "torch" takes all others.
    """
    if RULES[settings.rule].compiled and (kernels := problem.compiled()) is not None:
        return Engine("compiled", partial(compiled_steps, kernels=kernels))
    if cuda_graph.captures(problem, settings):
        return Engine("CUDA graph", cuda_graph.graph_steps)
    return Engine("torch", torch_steps)


def longest_block(problem: Problem, settings: Settings, runs: int) -> int:
    """Return how many steps a block may have, 1 or more."""
    samples = settings.batch_size or max(problem.samples, 1)
    drawn = (settings.batch_size or 0) + RULES[settings.rule].noise_count(problem, settings.batch_size)
    return int(max(1, min(STEPS, WORK / (runs * samples * problem.dim), DRAWN / max(runs * drawn, 1))))
