"""The panel of sweeps: SAM at every η and ρ from one minimum, on digits of which some carry the wrong label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics import Diverged, Run, Sweep, descent
from samviz.dynamics.checkpoint import Arrays
from samviz.dynamics.sweep import active_runs, empty_arrays, measure_runs
from samviz.figures.heatmap import heatmap_figure
from samviz.lab.controls import Button, Choice, Slider, Switch
from samviz.lab.panel import Drawing, Panel
from samviz.problems import MLP, load, mlp

Array = NDArray[np.float64]
TRAINED, TESTED, WRONG = 40, 800, 4  # samples
COMPONENTS, HIDDEN, START = 6, 12, 3  # inputs and neurons of the network, seed of where its descent begins
LEARNING_RATES = tuple(0.0025 * 2.0**k for k in range(7))
RADII = (0.0, *(0.025 * 2.0**k for k in range(6)))
STOPS = (10, 30, 100, 300, 1000, 3000)  # steps at which all runs are measured
SEEDS = 2  # runs of a cell, where samples are drawn
SIZES = {"1": "one sample", "8": "8 samples", "all": f"all {TRAINED}"}
PIECE, FEW = 3, 3  # steps, and runs that are measured, between two chances to hear a control
NOWHERE = "Nowhere is it higher now."
KEPT = 12  # grids that are not forgotten


class Case(NamedTuple):
    """What a grid of runs is made for."""

    size: str  # as in `SIZES`
    wrong: bool  # whether some labels are
    again: int  # which samples are drawn


@cache
def digits(wrong: bool) -> tuple[MLP, tuple[Tensor, Tensor]]:
    """Even or odd? A network on a few digits, and others that it is tested on."""
    inputs, labels = load("digits")
    centred = inputs - inputs.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:COMPONENTS]
    parts = centred @ (axes * np.sign(axes.sum(1, keepdims=True))).T  # principal components, of a definite sign
    parts /= parts.std()
    odd = labels % 2
    given = odd[:TRAINED].copy()
    given[:WRONG] ^= wrong
    problem = mlp([COMPONENTS, HIDDEN, 1], activation="tanh", data=(parts[:TRAINED], given), loss="mse")
    return problem, (torch.from_numpy(parts[-TESTED:]), torch.from_numpy(odd[-TESTED:]))


def axes(batch_size: int, seeds: Sequence[int]) -> dict[str, tuple[Any, ...]]:
    """The axes of a grid, as a sweep has them."""
    return {
        "rule": ("sam",),
        "batch_size": (batch_size,),
        "lr": LEARNING_RATES,
        "rho": RADII,
        "seed": tuple(seeds),
    }


class Grid:
    """Runs at every η and ρ in one batch, and what was measured of them so far."""

    def __init__(self, case: Case, start: Tensor) -> None:
        """Put all runs at the start, (dim,)."""
        problem, self.test = digits(case.wrong)
        size = None if case.size == "all" else int(case.size)
        count = SEEDS if size else 1
        self.axes = axes(size or TRAINED, range(count * case.again, count * (case.again + 1)))
        lr, rho, seeds = zip(*product(*(self.axes[name] for name in ("lr", "rho", "seed"))))
        self.run = Run(problem, "sam", lr, rho, size, start.expand(len(lr), -1), seed=seeds, device="cpu")
        self.seen: dict[int, Arrays] = {}  # by the stop
        self.began = empty_arrays(1, 1, accuracy=True)
        measure_runs(self.began, self.run, torch.tensor([0]), self.test)

    def work(self, until: int) -> Iterator[None]:
        """Take all runs from stop to stop, and measure them there; a look at the controls in between."""
        for stop in STOPS[: STOPS.index(until) + 1]:
            with suppress(Diverged):  # all of them: the sentence says so
                while self.run.steps < stop and bool((self.run.diverged_at < 0).any()):
                    self.run.step(min(PIECE, stop - self.run.steps))
                    yield
            if stop not in self.seen:
                arrays = empty_arrays(len(self.run.x), 1, accuracy=True)
                for some in active_runs(self.run, FEW):
                    measure_runs(arrays, self.run, some, self.test)
                    yield
                self.seen[stop] = arrays | {"diverged_at": self.run.diverged_at.numpy().copy()}

    def at(self, until: int) -> Sweep | None:
        """The last stop, not after this one, at which the runs were measured; None before there is one."""
        stops = [stop for stop in self.seen if stop <= until]
        return Sweep.of("even or odd", max(stops), self.axes, [self.seen[max(stops)]]) if stops else None


STARTS: dict[bool, Tensor] = {}  # minima, by whether labels are wrong
GRIDS: dict[Case, Grid] = {}  # the panels share them, and a grid that was left is gone on with


def grid(case: Case) -> Grid:
    """The grid of a case, as far as it has come; the last few are kept."""
    if case not in GRIDS:
        while len(GRIDS) >= KEPT:
            del GRIDS[next(iter(GRIDS))]
        GRIDS[case] = Grid(case, STARTS[case.wrong])
    return GRIDS[case]


def draw_sweep(values: dict[str, Any]) -> Iterator[Drawing]:
    """The heat maps as the runs go on, for the panel's values."""
    case = Case(values["size"], values["wrong"], values["again"])
    until = max(stop for stop in STOPS if stop <= values["steps"])
    blank = axes(TRAINED, (0,))
    nothing = Sweep.of("even or odd", 0, blank, [empty_arrays(len(LEARNING_RATES) * len(RADII), 1, accuracy=True)])
    drawing = heatmap_figure(nothing), "All runs start from one minimum, which is being looked for."
    if case.wrong not in STARTS:
        for _, start in descent(digits(case.wrong)[0], seed=START):  # noqa: B007, the last is the minimum
            yield drawing
        STARTS[case.wrong] = start
    runs, shown = grid(case), 0
    yield drawing
    for _ in runs.work(until):
        found = runs.at(until)
        if found is not None and found.steps != shown:
            drawing, shown = (heatmap_figure(found), _told(found, runs.began)), found.steps
        yield drawing
    found = runs.at(until)
    assert found is not None, "the first stop is behind it"
    yield heatmap_figure(found), _told(found, runs.began)


def _told(found: Sweep, began: Arrays) -> str:
    """What has become of sharpness, trace and test accuracy, and where that is highest."""
    assert found.accuracy is not None, "the panel has a test set"
    size = SIZES["all" if found.batch_size[0] == TRAINED else str(found.batch_size[0])]
    told = f"Step {found.steps:,} with {size} a step."
    top, trace, accuracy = (values[0, 0].mean(2) for values in (found.sharpness, found.trace, found.accuracy))
    lost = np.isnan(accuracy)  # (lrs, rhos)
    if not lost.all():
        i, j = np.unravel_index(np.nanargmax(accuracy), lost.shape)
        told += (
            f" At the start λ₁ was {began['eigenvalues'].item():.2f}, the trace {began['trace'].item():.1f}, the test "
            f"accuracy {began['accuracy'].item():.1%}. "
        )
        where = f"at η = {found.lr[i]:g} and ρ = {found.rho[j]:g}, where λ₁ is {top[i, j]:.2f}"
        better = accuracy[i, j] > began["accuracy"].item()
        told += f"It is highest, {accuracy[i, j]:.1%}, {where} and the trace {trace[i, j]:.1f}." if better else NOWHERE
    return f"{told} {lost.sum()} of {lost.size} cells have lost a run." if lost.any() else told


def sweep_panel() -> Panel:
    """SAM at every η and ρ from one minimum, live: λ₁, trace, alignment and test accuracy as heat maps.

    Returns:
        A panel; leave it as the last line of a cell.

    Source: Theorems 4.5 and 5.4: λ₁ and the trace fall with τ = ηρ²t.

    >>> panel = sweep_panel()
    >>> panel.set(steps=10)
    >>> panel.sentence
    'Step 10 with all 40 a step. At the start λ₁ was ...
    """
    return Panel(
        draw_sweep,
        {
            "steps": Slider("steps", 1000, STOPS, integer=True, book=STOPS[:5]),
            "size": Choice("a step sees", "all", SIZES, book=list(SIZES)),
            "wrong": Switch(f"{WRONG} of {TRAINED} labels wrong", True),
            "again": Button("Other samples"),
        },
        description="Heat maps of λ₁, trace, alignment and test accuracy of a network over radius and learning rate",
    )
