"""The engine of the GPU: steps captured in CUDA graphs, all runs in one batch, without synchronization inside.

For small problems a GPU spends its time waiting for the launch of each kernel. A graph launches them all at once. Where
a graph cannot be captured or replayed, the torch engine takes the same steps on the GPU, after one warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from samviz.dynamics.engines.loops import StepBlock, StepResult, torch_steps
from samviz.dynamics.rules import RULES, Rule, directional_curvature
from samviz.dynamics.settings import Settings
from samviz.problems import Problem

STEPS = 32  # in a graph
GRAPHS = 8  # kept for a problem


class GraphState:
    """The tensors that captured steps read and change; they stay at their addresses."""

    def __init__(self, block: StepBlock) -> None:
        """Allocate tensors for the runs of a block, and for the samples, noise and iterates of a graph's steps."""
        x, runs, size = block.x, len(block.x), block.settings.batch_size
        self.problem, self.rule = block.problem, block.rule
        self.x, self.before, self.bound = x.clone(), x.clone(), block.bound.clone()
        self.lr, self.rho = x.new_zeros(runs, 1), x.new_zeros(runs, 1)
        self.running = torch.ones(runs, dtype=torch.bool, device=x.device)
        self.rolled_back = torch.zeros(runs, dtype=torch.bool, device=x.device)
        self.diverged_at = torch.full((runs,), -1, device=x.device)
        self.t = torch.zeros((), dtype=torch.int64, device=x.device)  # number of the step in the block
        self.batches = None if size is None else torch.zeros(STEPS, runs, size, dtype=torch.int64, device=x.device)
        self.noise = x.new_zeros(STEPS, runs, block.rule.noise_count(block.problem, size))
        self.path = x.new_zeros(STEPS, *x.shape)
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
        self.diverged_at.fill_(-1)
        self.t.zero_()

    def step(self, steps: int) -> None:
        """Take some steps in place, without synchronizing with the CPU."""
        for t in range(steps):
            batch = None if self.batches is None else self.batches[t]
            step = self.rule(self.problem, self.x, batch, self.lr, self.rho, lambda count, t=t: self.noise[t])  # type: ignore[misc]
            bounded = step.loss <= self.bound
            good = bounded & step.x.isfinite().all(1)
            returning = self.running & ~bounded
            stopped = torch.where(returning[:, None], self.before, self.x)
            self.diverged_at.copy_(torch.where(self.running & ~good, self.t, self.diverged_at))
            self.rolled_back.logical_or_(returning)
            self.running.logical_and_(good)
            self.before.copy_(self.x)
            torch.where(self.running[:, None], step.x, stopped, out=self.x)
            self.path[t].copy_(self.x)
            self.t.add_(1)
        if self.rule.measures_curvature:
            self.curvature.copy_(directional_curvature(step, self.rho))


Replay = Callable[[int], None]  # takes 1 or STEPS steps
_graphs: WeakKeyDictionary[Problem, dict[tuple[object, ...], tuple[GraphState, Replay]]] = WeakKeyDictionary()
_failed: WeakKeyDictionary[Problem, set[Rule]] = WeakKeyDictionary()  # rules whose graphs raised an error


def captures(problem: Problem, settings: Settings) -> bool:
    """Return whether a graph can capture the steps; after an error it does not try the problem and rule again."""
    rule = RULES[settings.rule]
    closed_on_gpu = problem.device.type == "cuda" and problem.closed
    return closed_on_gpu and rule.capturable and rule not in _failed.get(problem, ())


def graph_steps(block: StepBlock) -> StepResult:
    """Take the steps with graphs; if a graph raises an error, exactly as `torch_steps`, from the block's start."""
    failed = _failed.setdefault(block.problem, set())
    if block.rule not in failed:
        try:
            return replay(block, *_graph(block))
        except RuntimeError as error:  # the class of all errors of CUDA
            failed.add(block.rule)
            del _graphs[block.problem]
            warnings.warn(
                f"the CUDA graph of the rule {block.rule.name!r} failed with {type(error).__name__}: {error}. "
                "The run continues on the GPU with one step at a time: the same numbers up to rounding, more slowly",
                RuntimeWarning,
                stacklevel=4,  # where Run.step was called
            )
    return torch_steps(block)


def _graph(block: StepBlock) -> tuple[GraphState, Replay]:
    """Return the graphs of an earlier block like this one, or capture new ones."""
    graphs = _graphs.setdefault(block.problem, {})
    key = block.rule, block.settings.batch_size, len(block.x)
    if key not in graphs:
        while len(graphs) >= GRAPHS:
            del graphs[next(iter(graphs))]
        graphs[key] = capture(block)
    return graphs[key]


def capture(block: StepBlock) -> tuple[GraphState, Replay]:
    """Capture a graph of a single step and one of STEPS steps, both on one state."""
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
        for steps in (1, STEPS):
            graphs[steps] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graphs[steps]):
                state.step(steps)
    return state, lambda steps: graphs[steps].replay()


def replay(block: StepBlock, state: GraphState, play: Replay) -> StepResult:
    """Take the steps of a block: many at a time by `play`, and the rest one by one."""
    state.load(block)
    batches, count = block.batches(), state.noise.shape[2]
    path: list[Tensor] = []
    done = 0
    while done < block.n:
        steps = STEPS if block.n - done >= STEPS else 1
        if state.batches is not None and batches is not None:
            chosen = batches[:, done : done + steps].swapaxes(0, 1).copy()
            state.batches[:steps].copy_(torch.from_numpy(chosen))
        if count:
            noise = np.stack([block.noise(t, count) for t in range(done, done + steps)])
            state.noise[:steps].copy_(torch.from_numpy(noise))
        play(steps)
        done += steps
        last = min(steps, max(0, done - (block.n - block.path_length)))
        path += state.path[steps - last : steps].clone()
    diverged_at, rolled_back = state.diverged_at.cpu().numpy().copy(), state.rolled_back.cpu().numpy().copy()
    if not bool(state.running.any()):
        path = path[: max(0, int(diverged_at.max()) - (block.n - block.path_length))]
    curvature = state.curvature.clone()
    return StepResult(state.x.clone(), state.before.clone(), diverged_at, rolled_back, path, lambda: curvature)
