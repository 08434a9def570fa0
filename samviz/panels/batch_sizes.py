"""The panel of Theorem 5.4: SAM at every batch size from one minimum, beside the two limiting flows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics import Diverged, Run, limiting_flow
from samviz.figures.batches import Paths, paths_figure
from samviz.lab.controls import Button, Choice, Slider
from samviz.lab.panel import Drawing, Panel
from samviz.problems import Problem, valley
from samviz.problems.device import one_thread

Array = NDArray[np.float64]
SEEDS = 4  # runs per batch size, of which the mean is shown
PROBLEMS = {"network": "network, 5 samples", "valley": "valley, 2 samples"}
RADII = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)
TURNS = 3  # of Gauss–Newton, from an iterate to Γ


@dataclass(frozen=True)
class Subject:
    """What SAM is run on at every batch size: a problem that interpolates its samples, and a point of its Γ."""

    problem: Problem
    start: Tensor  # (dim,)
    steps: int
    reads: int  # of λ₁ and trace along a run, besides its start
    horizon: float  # τ up to which the limiting flows are known


@cache
def subject(name: str) -> Subject:
    """The network of 19 parameters on 5 points, or the valley with its 2 samples."""
    if name == "network":
        from samviz.claims.subjects import interpolating  # here, for the claims load scipy

        return Subject(*interpolating(), steps=400, reads=20, horizon=1.0)
    return Subject(valley(mean=True), torch.tensor([0.6, 0.9, 0.0, 0.0]).double(), 1600, 40, 4.0)


@cache
def flows(name: str) -> tuple[Array, Array]:
    """Times τ (times,), and λ₁ and trace (2, 2, times) along the flows of Eq. 7 and of Eq. 18."""
    about = subject(name)
    times = about.horizon * np.linspace(0, 1, 61) ** 2  # the flows are fastest at first
    kinds: tuple[Literal["worst", "average"], ...] = ("worst", "average")
    found = [
        _curvature(about.problem, limiting_flow(about.problem, about.start, k, times=times).x[:, 0]) for k in kinds
    ]
    return times, np.stack(found)


def feet(problem: Problem, x: Tensor) -> Tensor:
    """The points of Γ below iterates of a square loss (Gauss–Newton): a bounce of size ρ would hide the drift.

    Args:
        problem: whose samples have losses ½f².
        x: (runs, dim), near Γ.

    Returns:
        (runs, dim); Φ(x) up to the square of the distance.
    """
    batch = torch.arange(problem.samples).repeat(len(x))[:, None]
    for _ in range(TURNS):
        loss, slope = problem.gradient(x.repeat_interleave(problem.samples, 0), batch)
        off = (2 * loss).sqrt().view(len(x), -1)  # |f_k|
        slopes = slope.view(len(x), problem.samples, -1) / off.clamp_min(1e-150)[..., None]  # ±∇f_k
        x = x - (torch.linalg.pinv(slopes) @ off[..., None])[..., 0]
    return x


def _curvature(problem: Problem, x: Tensor) -> Array:
    """λ₁ and trace of points (points, dim), (2, points)."""
    values = torch.linalg.eigvalsh(problem.hessian(x))
    return torch.stack((values[:, -1], values.sum(1))).numpy()


def draw_paths(values: dict[str, Any]) -> Iterator[Drawing]:
    """The panel's pictures and sentences for its controls' values, as the runs go on."""
    name, lr, rho = values["problem"], values["lr"], values["rho"]
    about = subject(name)
    problem, every = about.problem, about.steps // about.reads
    start, seed = about.start.expand(SEEDS, -1), SEEDS * values["again"]
    runs = [
        Run(problem, "sam", lr, rho, batch_size=size, x0=start, seed=seed, device="cpu")
        for size in range(1, problem.samples + 1)
    ]
    step = np.linspace(0, about.steps, about.reads + 1)
    seen = np.full((len(runs), 2, len(step)), np.nan)
    seen[:, :, 0] = _curvature(problem, start)[:, 0]
    for read in range(1, len(step)):
        for run, row in zip(runs, seen):
            row[:, read] = _advanced(run, every)
            paths = Paths(step, seen.copy(), lr * rho**2, *flows(name))
            lost = [size for size, run in enumerate(runs, 1) if bool((run.diverged_at >= 0).any())]
            yield paths_figure(paths), _told(paths, read, lost)


def _advanced(run: Run, steps: int) -> Any:
    """Mean λ₁ and trace (2,) below the iterates of a batch size some steps later; NaN once one has diverged."""
    with suppress(Diverged):  # the sentence says so
        run.step(steps)
    if bool((run.diverged_at >= 0).any()):
        return np.nan
    with one_thread(run.problem):
        return _curvature(run.problem, feet(run.problem, run.x)).mean(1)


def _told(paths: Paths, read: int, lost: list[int]) -> str:
    """What one sample and all samples have come to, beside the theory, and which batch size is slowest."""
    if lost:
        sizes = ", ".join(map(str, lost))
        return f"Diverged with batch size {sizes}: η times a sample's own λ₁ has to stay below 2. Lower η."
    now, time = paths.seen[:, :, read], paths.pace * float(paths.step[read])  # (sizes, 2)
    begin = f"Step {paths.step[read]:.0f}, τ = ηρ²t = {time:.3g}."
    if np.isnan(now).any():
        return begin
    (top, _), (_, trace) = (tuple(np.interp(time, paths.times, curve) for curve in flow) for flow in paths.flow)
    told = (
        f"{begin} One sample: trace {now[0, 1]:.2f}, predicted {trace:.2f} (Eq. 18). "
        f"All {len(now)}: λ₁ {now[-1, 0]:.2f}, predicted {top:.2f} (Eq. 7)."
    )
    slowest = int(now[:, 0].argmax()) + 1
    if 1 < slowest < len(now):
        least = f"to {now[slowest - 1, 0]:.2f}, with {slowest} samples"
        told += f" λ₁ fell least, {least}: between one and all there is no theorem."
    return told


def batch_panel() -> Panel:
    """SAM at every batch size from one minimum, live: λ₁ and trace against the step, and one against the other.

    Returns:
        A panel; leave it as the last line of a cell.

    Source: Theorems 4.5 and 5.4, Eqs. 7 and 18.

    >>> panel = batch_panel()
    >>> panel.set(problem="valley", lr=0.01, rho=0.1)
    >>> panel.sentence
    'Step 1600, τ = ηρ²t = 0.16. One sample: trace 10.94, predicted 11.12 (Eq. 18).
    All 2: λ₁ 8.83, predicted 8.97 (Eq. 7).'
    """
    return Panel(
        draw_paths,
        {
            "lr": Slider("η", 0.02, [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06], book=[0.02, 0.04]),
            "rho": Slider(
                "ρ radius",
                0.15,
                RADII,
                book=[0.05, 0.08, 0.1, 0.15, 0.2],
            ),
            "problem": Choice("problem", "network", PROBLEMS, book=list(PROBLEMS)),
            "again": Button("Other samples"),
        },
        description="Largest eigenvalue and trace of the Hessian along runs of SAM with every batch size",
    )
