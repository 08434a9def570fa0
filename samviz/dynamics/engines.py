"""The engines, which take the same steps up to rounding: compiled code on the CPU, CUDA graphs, and torch."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics.rules import RULES, Rule, Settings, Step, directional_curvature, per_run
from samviz.kernels import Kernels
from samviz.problems import Problem

WORK = 2e8  # multiplications in a block, a few tenths of a second: an interrupt is handled between two blocks
DRAWN = 2**20  # sample indices and normal numbers in a block
STEPS = 2**16  # in a block
GRAPH_STEPS = 32  # in a CUDA graph
GRAPHS = 8  # kept for a problem


@dataclass(frozen=True)
class StepBlock:
    """Steps to take with every run under fixed settings."""

    problem: Problem
    settings: Settings
    x: Tensor  # (runs, dim), the iterates
    before: Tensor  # (runs, dim), the previous iterates
    running: NDArray[np.bool_]  # (runs,), False for a run that has diverged, which takes no steps
    bound: Tensor  # (runs,), the loss above which a run counts as diverged
    seeds: tuple[int, ...]  # of each run
    first: int  # index of the first step
    n: int  # number of steps
    path_length: int  # how many of the last iterates the result contains

    @property
    def rule(self) -> Rule:
        """The rule of the settings."""
        return RULES[self.settings.rule]

    @property
    def more(self) -> dict[str, Any]:
        """The settings that change a step but not the rule's direction on a batch."""
        return {name: getattr(self.settings, name) for name in ("momentum", "weight_decay", "micro_batch")}

    def divisors(self) -> NDArray[np.float64]:
        """Return the numbers (n,) by which η is divided in each step: 1, or more if the learning rate decays."""
        return 1 + self.settings.lr_decay * np.arange(self.first, self.first + self.n, dtype=float)

    def batches(self) -> NDArray[np.int64]:
        """Return the sample indices (n, runs, b) of the steps; b = 0 is the full batch, unless it is divided."""
        size = self.settings.batch_size
        if size is None:
            every = np.arange(self.problem.samples if self.settings.micro_batch else 0)
            return np.tile(every, (self.n, len(self.x), 1))
        return batches(self.seeds, self.first, self.n, size, self.problem.samples)

    def noise(self) -> NDArray[np.float64]:
        """Return the standard normal numbers (n, runs, count) of the steps."""
        count = self.rule.noise_count(self.problem, self.settings.batch_size)
        return noise(self.seeds, self.first, self.n, count) if count else np.zeros((self.n, len(self.x), 0))


class StepResult(NamedTuple):
    """Where a block of steps ends. A run diverges at the step whose loss or next iterate is out of bounds."""

    x: Tensor  # (runs, dim), the iterates; of a run that diverged, its last good one
    before: Tensor  # (runs, dim), the previous iterates
    completed: NDArray[np.int64]  # (runs,), number of steps before a run diverged; all n if it did not
    rolled_back: NDArray[np.bool_]  # (runs,), whether it returned to the previous iterate: its loss was out of bounds
    path: list[Tensor]  # (runs, dim) each, the latest iterates; if all runs diverged, those before the last one did
    curvature: Callable[[], Tensor]  # returns `directional_curvature` of the last step, (runs,)


class StepParts(NamedTuple):
    """What a step of one run computes, in this order; with micro-batches, the points are those of the last one."""

    x: Tensor  # (dim,), the iterate
    gradient: Tensor  # (dim,), of the batch at x
    points: Tensor  # (points, dim), other points where the direction evaluates the gradient; none for some rules
    gradients: Tensor  # (points, dim), of the batch, or of the last micro-batch, at these points
    direction: Tensor  # (dim,), d in x ← x − ηd
    after: Tensor  # (dim,), the next iterate, x − ηd unless there is momentum or weight decay


def engine(problem: Problem, settings: Settings) -> tuple[str, Callable[[StepBlock], StepResult]]:
    """Return the name of the fastest engine for the settings, and its function, which takes a block of steps."""
    rule, closed_on_gpu = RULES[settings.rule], problem.device.type == "cuda" and problem.closed
    if rule.compiled and (kernels := problem.compiled()) is not None:
        return "compiled", partial(compiled_steps, kernels=kernels)
    if closed_on_gpu and rule.capturable and rule not in _failed.get(problem, ()):
        return "CUDA graph", graph_steps
    return "torch", torch_steps


def longest_block(problem: Problem, settings: Settings, runs: int) -> int:
    """Return how many steps a block may have, 1 or more."""
    samples = settings.batch_size or max(problem.samples, 1)
    indices = samples if settings.batch_size or settings.micro_batch else 0
    drawn = indices + RULES[settings.rule].noise_count(problem, settings.batch_size)
    return int(max(1, min(STEPS, WORK / (runs * samples * problem.dim), DRAWN / max(runs * drawn, 1))))


# The engine of torch


def torch_steps(block: StepBlock) -> StepResult:
    """Take the steps one by one in torch, for any problem on any device: the reference for the other loops."""
    x, before, rule = block.x, block.before, block.rule
    lr, rho = per_run(block.settings.lr, x), per_run(block.settings.rho, x)
    indices, normals = torch.from_numpy(block.batches()).to(x.device), torch.from_numpy(block.noise()).to(x)
    running = torch.from_numpy(block.running).to(x.device)
    all_running, more, divisors = bool(block.running.all()), block.more, block.divisors().tolist()
    completed, rolled_back = np.where(block.running, block.n, 0), np.zeros(len(x), dtype=bool)
    path: deque[Tensor] = deque(maxlen=block.path_length)
    for t in range(block.n):
        batch = None if block.settings.batch_size is None else indices[t]
        step = rule(block.problem, x, batch, lr / divisors[t], rho, normals[t], before=before, **more)
        if all_running and _within_bounds(step, block.bound):
            before, x = x, step.x
        else:
            (before, x), was_running = (x, before), running
            x, running, returning = next_iterates(step, before, x, running, block.bound)
            all_running = False
            completed[(was_running & ~running).cpu().numpy()], rolled_back[returning.cpu().numpy()] = t, True
            if not bool(running.any()):
                break
        path.append(x)
    return StepResult(x, before, completed, rolled_back, list(path), partial(directional_curvature, step, rho))


def step_parts(block: StepBlock) -> StepParts:
    """Return what the first step of a block of one run computes, in torch, by watching where it evaluates gradients."""
    evaluations: list[tuple[Tensor, Tensor]] = []
    watched = copy(block.problem)

    def evaluate(x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        loss, gradient = block.problem._gradient(x, batch, noise)
        evaluations.append((x, gradient))
        return loss, gradient

    watched._gradient = evaluate  # type: ignore[method-assign]
    x, settings = block.x, block.settings
    batch = None if settings.batch_size is None else torch.from_numpy(block.batches()[0]).to(x.device)
    normals = torch.from_numpy(block.noise()[0]).to(x)
    lr, rho = per_run(settings.rate(block.first), x), per_run(settings.rho, x)
    step = block.rule(watched, x, batch, lr, rho, normals, before=block.before, **block.more)
    points, gradients = evaluations[-1]  # earlier ones belong to a search for the point
    count = len(points) if bool((points != x).any()) else 0
    return StepParts(x[0], step.gradient[0], points[:count], gradients[:count], step.direction[0], step.x[0])


def _within_bounds(step: Step, bound: Tensor) -> bool:
    """Return whether every loss is within bounds and every next iterate finite; for one run on the CPU, quickly."""
    if len(bound) == 1 and bound.device.type == "cpu":
        return float(step.loss) <= float(bound) and math.isfinite(float(step.x.sum()))
    return bool(((step.loss <= bound) & step.x.isfinite().all(1)).all())


def next_iterates(
    step: Step, x: Tensor, before: Tensor, running: Tensor, bound: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the iterates after a step, which runs continue, and which return to the iterate before x."""
    bounded = step.loss <= bound  # False for NaN, too
    returning = running & ~bounded
    running = running & bounded & step.x.isfinite().all(1)
    stopped = torch.where(returning[:, None], before, x)  # the iterate before the one whose loss is too large
    return torch.where(running[:, None], step.x, stopped), running, returning


# The engine of compiled code


def compiled_steps(block: StepBlock, kernels: Kernels) -> StepResult:
    """Take the steps in one call of compiled code: up to rounding, the result is that of `torch_steps`."""
    from samviz.kernels.primitives import advance, compiled_rule, no_product, uses_product

    runs, rule = len(block.x), block.rule
    x, before = block.x.numpy().copy(), block.before.numpy().copy()
    lr, rho = (np.broadcast_to(np.asarray(v, float), runs).copy() for v in (block.settings.lr, block.settings.rho))
    path, curvature = np.empty((min(block.n, block.path_length), *x.shape)), np.full(runs, np.nan)
    completed, rolled_back = np.zeros(runs, dtype=np.int64), np.zeros(runs, dtype=bool)
    product = kernels.product() if uses_product(rule.direction) else no_product()
    data = kernels.gradient, product, kernels.floats, kernels.ints, np.empty(3 * x.shape[1] + kernels.workspace)
    settings = block.settings
    more = settings.momentum, settings.weight_decay, settings.micro_batch or 0
    rates, drawn = (lr, settings.lr_decay, block.first), (block.batches(), block.noise())
    inputs = *rates, rho, *more, block.bound.numpy(), block.running, *drawn
    outputs = path, completed, rolled_back, curvature
    arguments: Any = *data, x, before, *inputs, *outputs
    advance(compiled_rule(rule.direction), rule.gd_at_zero_rho, *arguments)
    last = completed.max()
    steps = np.arange(max(0, last - len(path)), last)[:, None, None]
    latest = np.where(steps < completed[:, None], path[steps[:, 0, 0] % len(path)], x) if len(path) else path
    ends = torch.from_numpy(x), torch.from_numpy(before)
    return StepResult(
        *ends, completed, rolled_back, list(torch.from_numpy(latest)), lambda: torch.from_numpy(curvature)
    )


# The engine of the GPU: steps captured in CUDA graphs, all runs in one batch, without synchronization inside. For small
# problems a GPU spends its time waiting for the launch of each kernel. A graph launches them all at once. Where a graph
# cannot be captured or replayed, the torch engine takes the same steps on the GPU, after one warning.


class GraphState:
    """The tensors that captured steps read and change; they stay at their addresses."""

    def __init__(self, block: StepBlock) -> None:
        """Allocate tensors for the runs of a block, and for the samples, noise and iterates of a graph's steps."""
        x, runs, size = block.x, len(block.x), block.settings.batch_size
        indices = size or (block.problem.samples if block.settings.micro_batch else 0)
        self.problem, self.rule, self.more = block.problem, block.rule, block.more
        self.x, self.before, self.bound = x.clone(), x.clone(), block.bound.clone()
        self.lr, self.rho = x.new_zeros(runs, 1), x.new_zeros(runs, 1)
        self.rates = x.new_zeros(GRAPH_STEPS, runs, 1)  # the learning rate of each step
        self.running = torch.ones(runs, dtype=torch.bool, device=x.device)
        self.rolled_back = torch.zeros(runs, dtype=torch.bool, device=x.device)
        self.completed = torch.zeros(runs, dtype=torch.int64, device=x.device)
        self.batches = torch.zeros(GRAPH_STEPS, runs, indices, dtype=torch.int64, device=x.device)
        self.noise = x.new_zeros(GRAPH_STEPS, runs, block.rule.noise_count(block.problem, size))
        self.path = x.new_zeros(GRAPH_STEPS, *x.shape)
        self.curvature = torch.full_like(block.bound, torch.nan)

    def load(self, block: StepBlock) -> None:
        """Copy the start of a block into the tensors."""
        self.x.copy_(block.x)
        self.before.copy_(block.before)
        self.bound.copy_(block.bound)
        for tensor, value in ((self.lr, block.settings.lr), (self.rho, block.settings.rho)):
            tensor.copy_(torch.as_tensor(value, dtype=tensor.dtype).expand(len(tensor))[:, None])
        self.running.copy_(torch.from_numpy(block.running))
        self.rolled_back.zero_()
        self.completed.zero_()

    def step(self, steps: int) -> None:
        """Take some steps in place, without synchronizing with the CPU."""
        for t in range(steps):
            batch = self.batches[t] if self.batches.shape[2] else None
            inputs = batch, self.rates[t], self.rho, self.noise[t]
            step = self.rule(self.problem, self.x, *inputs, before=self.before, **self.more)
            x, running, returning = next_iterates(step, self.x, self.before, self.running, self.bound)
            self.before.copy_(self.x)
            self.x.copy_(x)
            self.running.copy_(running)
            self.rolled_back.logical_or_(returning)
            self.completed.add_(running)
            self.path[t].copy_(x)
        if self.rule.measures_curvature:
            self.curvature.copy_(directional_curvature(step, self.rho))


Replay = Callable[[int], None]  # takes 1 or GRAPH_STEPS steps
_graphs: WeakKeyDictionary[Problem, dict[tuple[object, ...], tuple[GraphState, Replay]]] = WeakKeyDictionary()
_failed: WeakKeyDictionary[Problem, set[Rule]] = WeakKeyDictionary()  # rules whose graphs raised an error


def graph_steps(block: StepBlock) -> StepResult:
    """Take the steps with graphs; if a graph raises an error, exactly as `torch_steps`, from the block's start."""
    try:
        graphs = _graphs.setdefault(block.problem, {})
        key = block.rule, block.settings.batch_size, len(block.x), *block.more.values()
        if key not in graphs:
            while len(graphs) >= GRAPHS:
                del graphs[next(iter(graphs))]
            graphs[key] = capture(block)
        return replay(block, *graphs[key])
    except RuntimeError as error:  # the class of all errors of CUDA
        _failed.setdefault(block.problem, set()).add(block.rule)
        del _graphs[block.problem]
        warnings.warn(
            f"the CUDA graph of the rule {block.rule.name!r} failed with {type(error).__name__}: {error}. "
            "The run continues on the GPU with one step at a time: the same numbers up to rounding, more slowly",
            RuntimeWarning,
            stacklevel=4,  # where Run.step was called
        )
        return torch_steps(block)


def capture(block: StepBlock) -> tuple[GraphState, Replay]:
    """Capture a graph of a single step and one of GRAPH_STEPS steps, both on one state."""
    device, state = block.problem.device, GraphState(block)
    state.load(block)
    current, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    aside.wait_stream(current)
    try:
        with torch.cuda.stream(aside):  # libraries initialize here, which cannot be captured
            for _ in range(3):
                state.step(1)
    finally:
        current.wait_stream(aside)  # even after an error, before the state's memory is used for other tensors
    graphs = {}
    with torch.cuda.stream(current):  # after an error in a capture torch would stay in the stream of the capture
        for steps in (1, GRAPH_STEPS):
            graphs[steps] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graphs[steps]):
                state.step(steps)
    del state.problem  # which `_graphs`, whose values keep their keys alive, would never free
    return state, lambda steps: graphs[steps].replay()


def replay(block: StepBlock, state: GraphState, play: Replay) -> StepResult:
    """Take the steps of a block: many at a time by `play`, and the rest one by one."""
    state.load(block)
    indices, normals = torch.from_numpy(block.batches()), torch.from_numpy(block.noise())
    divisors = torch.from_numpy(block.divisors()).to(state.lr)[:, None, None]
    path: deque[Tensor] = deque(maxlen=block.path_length)
    done = 0
    while done < block.n:
        steps = GRAPH_STEPS if block.n - done >= GRAPH_STEPS else 1
        state.batches[:steps].copy_(indices[done : done + steps])
        state.noise[:steps].copy_(normals[done : done + steps])
        state.rates[:steps].copy_(state.lr / divisors[done : done + steps])
        play(steps)
        done += steps
        if block.path_length:
            path.extend(state.path[:steps].clone())
    completed, rolled_back = state.completed.cpu().numpy().copy(), state.rolled_back.cpu().numpy().copy()
    if block.path_length and (completed < block.n).all():
        return torch_steps(block)  # whose path ends where the last run diverged
    curvature = state.curvature.clone()
    return StepResult(state.x.clone(), state.before.clone(), completed, rolled_back, list(path), lambda: curvature)


# The samples and the noise of each step are drawn from (seed, step), so that a run resumes without a generator. The
# generators are counter-based (Philox): a draw depends on its arguments alone. Do not write to the arrays, which are
# cached.

Seeds = tuple[int, ...]  # of each run

BLOCK = 64  # steps drawn at once
NORMALS = 4096  # limit of the normal numbers of a run that are drawn at once for later steps
NOISE = 2**62  # added to the keys of noise; the keys of batches are batch sizes, and numpy rounds keys above 2⁶³


def batches(seeds: Seeds, first: int, n: int, batch_size: int, samples: int) -> NDArray[np.int64]:
    """Return the sample indices (n, runs, b) of n steps from step `first` on: independent, without replacement."""
    return _steps(partial(_batch_block, seeds, batch_size, samples), BLOCK, first, n)


def noise(seeds: Seeds, first: int, n: int, count: int) -> NDArray[np.float64]:
    """Return the standard normal numbers (n, runs, count) of n steps from step `first` on."""
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
