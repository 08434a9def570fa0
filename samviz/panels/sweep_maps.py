"""SAM at every η and ρ from one minimum, on digits of which some carry the wrong label, as heat maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samviz.claims.subjects import TRAIN, WRONG, digits
from samviz.dynamics import Diverged, Run, Sweep, descent
from samviz.dynamics.sweep import AXES, Arrays, active_runs, empty_arrays, measure_runs
from samviz.figures.heatmap import heatmap_figure
from samviz.lab.controls import Button, Choice, Slider, Switch
from samviz.lab.panel import Drawing, Panel
from samviz.lab.predictions import PredictChoice

START_SEED = 3  # of the initial weights
LEARNING_RATES = tuple(0.0025 * 2.0**k for k in range(7))
RADII = (0.0, *(0.025 * 2.0**k for k in range(6)))
STOPS = (10, 30, 100, 300, 1000, 3000)  # steps at which all runs are measured
SEEDS = 2  # runs of a cell, if samples are drawn
SIZES = {"1": "one sample", "8": "8 samples", "all": f"all {TRAIN} samples"}
STEPS_AT_ONCE, RUNS_AT_ONCE = 3, 3  # steps, and measured runs, between two opportunities to handle control events
PREDICTION = PredictChoice(
    "SAM takes 1,000 steps with all samples, for every pair of a radius ρ and a learning rate η. Where is the gradient "
    "least aligned with the top eigenspace?",
    options={
        "small rho": "At small ρ, where SAM differs least from gradient descent.",
        "large both": "At large ρ and large η, where the steps are roughest.",
        "ratio": "At large ρ and small η.",
        "nowhere": "Nowhere: SAM aligns for every ρ above 0.",
    },
    replies={
        "small rho": "Only at ρ = 0, which is gradient descent. The smallest positive ρ aligns best.",
        "large both": "A large η helps: the 2-cycle is proportional to η, and must be large compared with an error "
        "proportional to ρ².",
        "ratio": "The theorem needs a small ρ/η: the gradient on the 2-cycle is of order ηρ, and the next term of "
        "Taylor's theorem, which is not along v₁, is of order ρ².",
        "nowhere": "Theorem 4.5 needs a small ρ/η, and the lower right corner of the map has ρ/η = 320.",
    },
)


def axes(batch_size: int, seeds: Sequence[int]) -> dict[str, tuple[Any, ...]]:
    """Return the axes of a `Sweep`."""
    return dict(zip(AXES, (("sam",), (batch_size,), LEARNING_RATES, RADII, tuple(seeds))))


class Grid:
    """Runs at every η and ρ in one batch, and their measurements so far."""

    def __init__(self, size: str, wrong: bool, again: int) -> None:
        """Start all runs at the minimum, which must be known; `size` is a key of `SIZES`."""
        problem, self.test = digits(wrong)
        batch_size = None if size == "all" else int(size)
        count = SEEDS if batch_size else 1
        self.axes = axes(batch_size or TRAIN, range(count * again, count * (again + 1)))
        lr, rho, seeds = zip(*product(*(self.axes[name] for name in ("lr", "rho", "seed"))))
        x0 = MINIMA[wrong].expand(len(lr), -1)
        self.run = Run(problem, "sam", lr, rho, batch_size, x0, seed=seeds, device="cpu")
        self.measured: dict[int, Arrays] = {}  # by the stop
        self.start = empty_arrays(1, 1, accuracy=True)
        measure_runs(self.start, self.run, torch.tensor([0]), self.test)

    def advance(self, until: int) -> Iterator[None]:
        """Take all runs to each stop and measure them there, a few steps or runs at a time."""
        for stop in STOPS[: STOPS.index(until) + 1]:
            with suppress(Diverged):  # all runs have diverged: the caption reports it
                while self.run.steps < stop and bool((self.run.diverged_at < 0).any()):
                    self.run.step(min(STEPS_AT_ONCE, stop - self.run.steps))
                    yield
            if stop not in self.measured:
                arrays = empty_arrays(len(self.run.x), 1, accuracy=True)
                for runs in active_runs(self.run, RUNS_AT_ONCE):
                    measure_runs(arrays, self.run, runs, self.test)
                    yield
                self.measured[stop] = arrays | {"diverged_at": self.run.diverged_at.numpy().copy()}

    def at(self, until: int) -> Sweep | None:
        """Return the measurements at the last stop that is not after `until`; None before there are any."""
        stops = [stop for stop in self.measured if stop <= until]
        return Sweep.of("even or odd", max(stops), self.axes, [self.measured[max(stops)]]) if stops else None


MINIMA: dict[bool, Tensor] = {}  # by whether some labels are wrong
grid = lru_cache(12)(Grid)  # panels share the grids, and continue those that were left


def sweep_panel() -> Panel:
    """Show SAM at every η and ρ from one minimum: λ₁, trace, alignment and test accuracy as heat maps.

    Source: Theorems 4.5 and 5.4: λ₁ and the trace decrease with τ = ηρ²t.

    >>> panel = sweep_panel()
    >>> panel.set(guess="skipped", steps=10)
    >>> panel.sentence
    'Step 10, with all 40 samples in a step. At the start λ₁ was ...
    """
    return Panel(
        draw_sweep,
        {
            "steps": Slider("steps", 1000, STOPS, integer=True, book=STOPS[:5]),
            "size": Choice("a step sees", "all", SIZES, book=list(SIZES)),
            "wrong": Switch(f"{WRONG} of {TRAIN} labels wrong", True),
            "again": Button("Other samples"),
        },
        predict=PREDICTION,
        description="Heat maps of λ₁, trace, alignment and test accuracy of a network over radius and learning rate",
    )


def draw_sweep(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the heat maps and their caption while the minimum is computed, and then while the runs go on."""
    wrong = values["wrong"]
    until = max(stop for stop in STOPS if stop <= values["steps"])
    blank = empty_arrays(len(LEARNING_RATES) * len(RADII), 1, accuracy=True)
    figure = heatmap_figure(Sweep.of("even or odd", 0, axes(TRAIN, (0,)), [blank]))
    if values["guess"] is None:
        yield figure, "Each cell will show a run from one minimum of a small network on handwritten digits."
        return
    drawing = figure, "All runs start from one minimum, which is being computed."
    if wrong not in MINIMA:
        for _, minimum in descent(digits(wrong)[0], seed=START_SEED):  # noqa: B007, the last is the minimum
            yield drawing
        MINIMA[wrong] = minimum
    runs, shown = grid(values["size"], wrong, values["again"]), 0
    yield drawing
    for _ in chain(runs.advance(until), [None]):
        found = runs.at(until)
        if found is not None and found.steps != shown:
            drawing, shown = (heatmap_figure(found), describe(found, runs.start)), found.steps
        yield drawing


def describe(found: Sweep, start: Arrays) -> str:
    """Describe where the test accuracy is highest, and λ₁ and the trace there and at the start."""
    assert found.accuracy is not None, "the panel has a test set"
    size = SIZES["all" if found.batch_size[0] == TRAIN else str(found.batch_size[0])]
    result = f"Step {found.steps:,}, with {size} in a step."
    top, trace, accuracy = (values[0, 0].mean(2) for values in (found.sharpness, found.trace, found.accuracy))
    diverged = np.isnan(accuracy)  # (lrs, rhos)
    if not diverged.all():
        before = start["accuracy"].item()
        i, j = np.unravel_index(np.nanargmax(accuracy), diverged.shape)
        result += (
            f" At the start λ₁ was {start['eigenvalues'].item():.2f}, the trace {start['trace'].item():.1f}, and the "
            f"test accuracy {before:.1%}. "
        )
        if accuracy[i, j] > before:
            result += (
                f"The accuracy is now highest, {accuracy[i, j]:.1%}, at η = {found.lr[i]:g} and ρ = {found.rho[j]:g}, "
                f"where λ₁ is {top[i, j]:.2f} and the trace {trace[i, j]:.1f}."
            )
        else:
            result += "The accuracy is now nowhere higher."
    return f"{result} In {diverged.sum()} of {diverged.size} cells a run has diverged." if diverged.any() else result
