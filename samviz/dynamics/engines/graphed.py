"""The GPU's engine: stretches of steps captured as CUDA graphs, all runs in one batch, no word to the host inside.

At toy sizes a GPU spends its time on being told what to do next. A graph tells it once. Where a graph cannot be
captured or replayed, the reference engine takes the same steps on the GPU, after one warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics.engines import eager
from samviz.dynamics.engines.stretch import Moved, Stretch, noise_count
from samviz.dynamics.rules import CAPTURABLE, RULES, Rule, bend
from samviz.dynamics.settings import Settings
from samviz.problems import Problem

TOGETHER = 32  # steps in a graph
KEPT = 8  # graphs kept for a problem


class State:
    """What steps read and change, in tensors that stay where they are."""

    def __init__(self, stretch: Stretch) -> None:
        """Room for a stretch's runs, and for the draws and iterates of a graph's steps."""
        x, runs = stretch.x, len(stretch.x)
        size, count = stretch.settings.batch_size, noise_count(stretch.problem, stretch.settings)
        self.x, self.before, self.bound = x.clone(), x.clone(), stretch.bound.clone()
        self.lr, self.rho = x.new_zeros(runs, 1), x.new_zeros(runs, 1)
        self.alive = torch.ones(runs, dtype=torch.bool, device=x.device)
        self.back = torch.zeros(runs, dtype=torch.bool, device=x.device)
        self.fell = torch.full((runs,), -1, device=x.device)
        self.clock = torch.zeros((), dtype=torch.int64, device=x.device)  # steps of the stretch so far
        self.batches = None if size is None else torch.zeros(TOGETHER, runs, size, dtype=torch.int64, device=x.device)
        self.noise = x.new_zeros(TOGETHER, runs, count)
        self.path = x.new_zeros(TOGETHER, *x.shape)
        self.curvature = torch.full_like(stretch.bound, torch.nan)

    def load(self, stretch: Stretch) -> None:
        """Begin a stretch."""
        self.x.copy_(stretch.x)
        self.before.copy_(stretch.before)
        self.bound.copy_(stretch.bound)
        for held, value in ((self.lr, stretch.settings.lr), (self.rho, stretch.settings.rho)):
            held.copy_(torch.as_tensor(value, dtype=held.dtype).expand(len(held))[:, None])
        self.alive.copy_(torch.from_numpy(stretch.alive))
        self.back.zero_()
        self.fell.fill_(-1)
        self.clock.zero_()

    def draw(self, stretch: Stretch, batches: NDArray[np.int64] | None, first: int, steps: int) -> None:
        """Take in the samples and the noise of some steps of a stretch, of whose batches (runs, n, b) all are given."""
        if self.batches is not None and batches is not None:
            chosen = batches[:, first : first + steps].swapaxes(0, 1).copy()
            self.batches[:steps].copy_(torch.from_numpy(chosen))
        if count := self.noise.shape[2]:
            drawn = np.stack([stretch.noise(t, count) for t in range(first, first + steps)])
            self.noise[:steps].copy_(torch.from_numpy(drawn))

    def move(self, problem: Problem, rule: str, steps: int) -> None:
        """Take some steps, in place and without asking what came of them."""
        for t in range(steps):
            batch = None if self.batches is None else self.batches[t]
            step = RULES[rule](problem, self.x, batch, self.lr, self.rho, lambda count, t=t: self.noise[t])  # type: ignore[misc]
            bounded = step.loss <= self.bound
            good = bounded & step.x.isfinite().all(1)
            returning = self.alive & ~bounded
            stopped = torch.where(returning[:, None], self.before, self.x)
            self.fell.copy_(torch.where(self.alive & ~good, self.clock, self.fell))
            self.back.logical_or_(returning)
            self.alive.logical_and_(good)
            self.before.copy_(self.x)
            torch.where(self.alive[:, None], step.x, stopped, out=self.x)
            self.path[t].copy_(self.x)
            self.clock.add_(1)
        self.curvature.copy_(bend(step, self.rho))


Play = Callable[[int], None]  # takes 1 or TOGETHER steps
_graphs: WeakKeyDictionary[Problem, dict[tuple[object, ...], tuple[State, Play]]] = WeakKeyDictionary()
_failed: WeakKeyDictionary[Problem, set[Rule]] = WeakKeyDictionary()  # whose graphs raised an error


def captures(problem: Problem, settings: Settings) -> bool:
    """Whether steps can be captured: of a problem in closed form on a CUDA device, by a rule that is marked for it.

    After an error in a graph the problem's steps by that rule are not captured again.

    Args:
        problem: what is minimized.
        settings: of the steps.
    """
    if problem.device.type != "cuda" or not problem.closed:
        return False
    return RULES[settings.rule] in CAPTURABLE - _failed.get(problem, set())


def advance(stretch: Stretch) -> Moved:
    """Take the steps of a stretch.

    Args:
        stretch: what to do, on a CUDA device.

    Returns:
        Where it has led: up to rounding, what `samviz.dynamics.engines.eager.advance` says; exactly that, where a
        graph raises an error.
    """
    rule, failed = RULES[stretch.settings.rule], _failed.setdefault(stretch.problem, set())
    if rule not in failed:
        try:
            return played(stretch, *_graph(stretch))
        except RuntimeError as error:  # the class of all errors of CUDA
            failed.add(rule)
            del _graphs[stretch.problem]
            warnings.warn(
                f"the CUDA graph of the rule {stretch.settings.rule!r} failed with {type(error).__name__}: {error}. "
                "The run continues on the GPU with one step at a time: the same numbers up to rounding, more slowly",
                RuntimeWarning,
                stacklevel=4,  # where Run.step was called
            )
    return eager.advance(stretch)  # of the stretch, which a graph does not change, from its start


def _graph(stretch: Stretch) -> tuple[State, Play]:
    """A stretch's steps as graphs: those of an earlier stretch, or new ones."""
    kept = _graphs.setdefault(stretch.problem, {})
    key = RULES[stretch.settings.rule], stretch.settings.batch_size, len(stretch.x)
    if key not in kept:
        while len(kept) >= KEPT:
            del kept[next(iter(kept))]
        kept[key] = _captured(stretch)
    return kept[key]


def _captured(stretch: Stretch) -> tuple[State, Play]:
    """A stretch's steps as graphs, one of a single step and one of many, over one state."""
    problem, rule = stretch.problem, stretch.settings.rule
    state = State(stretch)
    state.load(stretch)
    current, aside = torch.cuda.current_stream(problem.device), torch.cuda.Stream(problem.device)
    aside.wait_stream(current)
    try:
        with torch.cuda.stream(aside):  # libraries set themselves up here, which cannot be captured
            for _ in range(3):
                state.move(problem, rule, 1)
    finally:
        current.wait_stream(aside)  # before the state's memory can be given to others, after an error, too
    graphs = {}
    with torch.cuda.stream(current):  # after an error in a capture torch would leave the stream of the capture in use
        for steps in (1, TOGETHER):
            graphs[steps] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graphs[steps]):
                state.move(problem, rule, steps)
    return state, lambda steps: graphs[steps].replay()


def played(stretch: Stretch, state: State, play: Play) -> Moved:
    """Take the steps of a stretch, many at a time while there are many.

    Args:
        stretch: what to do.
        state: room for it.
        play: moves the state by 1 or TOGETHER steps.

    Returns:
        Where it has led.
    """
    state.load(stretch)
    batches = stretch.batches()
    path: list[Tensor] = []
    done = 0
    while done < stretch.n:
        steps = TOGETHER if stretch.n - done >= TOGETHER else 1
        state.draw(stretch, batches, done, steps)
        play(steps)
        done += steps
        wanted = min(steps, max(0, done - (stretch.n - stretch.kept)))
        path += state.path[steps - wanted : steps].clone()
    fell, back = state.fell.cpu().numpy().copy(), state.back.cpu().numpy().copy()
    if not bool(state.alive.any()):
        path = path[: max(0, int(fell.max()) - (stretch.n - stretch.kept))]
    curvature = state.curvature.clone()
    return Moved(state.x.clone(), state.before.clone(), fell, back, path, lambda: curvature)
