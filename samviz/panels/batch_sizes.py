"""Theorem 5.4: SAM at every batch size from one minimum, next to the two limiting flows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics import Diverged, Run, limiting_flow
from samviz.figures.drawing import Label, Layout, Trace, add_axes, end_labels, line, marks, new_layout, spread, text
from samviz.figures.style import BLUE, GREEN, HALO, INK, ORANGE, PLUM, VERMILION
from samviz.lab.controls import Button, Choice, Slider
from samviz.lab.panel import Drawing, Panel
from samviz.problems import Problem, valley
from samviz.problems.device import one_thread

Array = NDArray[np.float64]
PROBLEMS = {"network": "network, 5 samples", "valley": "valley, 2 samples"}
RADII = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)
SEEDS = 4  # runs per batch size, of which the mean is shown
QUANTITIES = ("λ₁", "trace")
EQUATIONS = (("Eq. 7", "dash"), ("Eq. 18", "longdashdot"))
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")
FASTER = 1.8  # the axes reach 1.8 times as far as the flows, since runs with finite η and ρ are faster


class Experiment(NamedTuple):
    """A problem that interpolates its samples, and the length of the runs on it."""

    problem: Problem
    x0: Tensor  # (dim,), on Γ
    steps: int
    measurements: int  # of λ₁ and trace along a run, besides its start
    end: float  # τ up to which the limiting flows are known


@cache
def experiment(name: str) -> Experiment:
    """Return the network of 19 parameters on 5 points, or the valley with its 2 samples."""
    if name == "network":
        from samviz.claims.subjects import interpolating  # imported here, since the claims load scipy

        return Experiment(*interpolating(), steps=400, measurements=20, end=1.0)
    return Experiment(valley(mean=True), torch.tensor([0.6, 0.9, 0.0, 0.0]).double(), 1600, 40, 4.0)


@cache
def flows(name: str) -> tuple[Array, Array]:
    """Return times τ, (times,), and λ₁ and trace along the flows of Eq. 7 and Eq. 18, (2, 2, times)."""
    problem, x0, _, _, end = experiment(name)
    times = end * np.linspace(0, 1, 61) ** 2  # the flows are fastest at first
    kinds: tuple[Literal["worst", "average"], ...] = ("worst", "average")
    return times, np.stack([curvature(problem, limiting_flow(problem, x0, k, times=times).x[:, 0]) for k in kinds])


def project(problem: Problem, x: Tensor) -> Tensor:
    """Return Φ(x) of points (runs, dim) near Γ of a square loss ½f², up to the square of the distance (Gauss–Newton).

    At the iterates themselves, oscillations of size ρ would hide the slow change of the curvature.
    """
    batch = torch.arange(problem.samples).repeat(len(x))[:, None]
    for _ in range(3):
        loss, gradient = problem.gradient(x.repeat_interleave(problem.samples, 0), batch)
        outputs = (2 * loss).sqrt().view(len(x), -1)  # |f_k|
        jacobian = gradient.view(len(x), problem.samples, -1) / outputs.clamp_min(1e-150)[..., None]  # ±∇f_k
        x = x - (torch.linalg.pinv(jacobian) @ outputs[..., None])[..., 0]
    return x


def curvature(problem: Problem, x: Tensor) -> Array:
    """Return λ₁ and trace at points (points, dim), (2, points)."""
    values = torch.linalg.eigvalsh(problem.hessian(x))
    return torch.stack((values[:, -1], values.sum(1))).numpy()


class BatchRuns:
    """Runs of every batch size, with λ₁ and trace at the projections of their iterates."""

    def __init__(self, name: str, lr: float, rho: float, again: int) -> None:
        """Prepare the runs at the same minimum."""
        problem, x0, steps, measurements, _ = experiment(name)
        self.problem, self.every = problem, steps // measurements
        self.step, self.measured = np.linspace(0, steps, measurements + 1), 0
        self.tau = lr * rho**2  # per step
        self.times, self.flow = flows(name)
        self.runs = [
            Run(problem, "sam", lr, rho, size, x0.expand(SEEDS, -1), seed=SEEDS * again, device="cpu")
            for size in range(1, problem.samples + 1)
        ]
        self.curvature = np.full((problem.samples, 2, measurements + 1), np.nan)
        self.curvature[:, :, 0] = curvature(problem, x0[None])[:, 0]

    def advance(self) -> Iterator[None]:
        """Advance all batch sizes to the next measurement, one after another; NaN marks a diverged run."""
        self.measured += 1
        for run, values in zip(self.runs, self.curvature):
            with suppress(Diverged):  # the caption reports it
                run.step(self.every)
            if not bool((run.diverged_at >= 0).any()):
                with one_thread(run.problem):
                    values[:, self.measured] = curvature(run.problem, project(run.problem, run.x)).mean(1)
            yield

    def last(self, size: int) -> int:
        """Return the index of the last known measurement of a batch size."""
        return int(np.isfinite(self.curvature[size - 1, 0]).nonzero()[0][-1])

    @property
    def order(self) -> list[int]:
        """The batch sizes in the order in which they are drawn: one sample and all samples lie on top."""
        sizes = len(self.runs)
        return sorted(range(1, sizes + 1), key=lambda size: size in (1, sizes))

    def style(self, size: int) -> tuple[str, dict[str, Any]]:
        """Return the name of a batch size and the look of its lines: one sample and all samples stand out."""
        if size in (1, len(self.runs)):
            name, color = ("1 sample", VERMILION) if size == 1 else (f"all {size}", BLUE)
            return name, {"color": color, "width": 3}
        color, dash = ((GREEN, "solid"), (ORANGE, "solid"), (PLUM, "dot"))[(size - 2) % 3]
        return str(size), {"color": color, "width": 1.6, "dash": dash}


def batch_panel() -> Panel:
    """Show SAM at every batch size from one minimum: λ₁ and trace against the step, and one against the other.

    Returns:
        The panel; leave it as the last line of a cell.

    Source: Theorems 4.5 and 5.4, Eqs. 7 and 18.

    >>> panel = batch_panel()
    >>> panel.set(problem="valley", lr=0.01, rho=0.1)
    >>> panel.sentence
    'Step 1600, τ = ηρ²t = 0.16. One sample: trace 10.94, predicted 11.12 (Eq. 18).
    All 2: λ₁ 8.83, predicted 8.97 (Eq. 7).'
    """
    return Panel(
        draw_batches,
        {
            "lr": Slider("η", 0.02, [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06], book=[0.02, 0.04]),
            "rho": Slider("ρ radius", 0.15, RADII, book=[0.05, 0.08, 0.1, 0.15, 0.2]),
            "problem": Choice("problem", "network", PROBLEMS, book=list(PROBLEMS)),
            "again": Button("Other samples"),
        },
        description="Largest eigenvalue and trace of the Hessian along runs of SAM with every batch size",
    )


def draw_batches(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure and its caption while the runs go on."""
    runs = BatchRuns(values["problem"], values["lr"], values["rho"], values["again"])
    while runs.measured < len(runs.step) - 1:
        for _ in runs.advance():
            yield batches_figure(runs), describe(runs)


def batches_figure(runs: BatchRuns) -> dict[str, Any]:
    """Draw λ₁ and trace against the step, and the trace without λ₁ against λ₁."""
    end, times = runs.step[-1], runs.times
    reached = runs.flow[:, :, times <= max(FASTER * runs.tau * end, times[1])]
    values = np.stack((reached[:, 0], reached[:, 1], reached[:, 1] - reached[:, 0]))  # λ₁, trace and trace − λ₁
    low, high = values.min((1, 2)), values.max((1, 2))
    low, high = low - 0.1 * (high - low), high + 0.08 * (high - low)
    layout = new_layout(560, left=60)
    steps: Layout = {"range": [0, end], "nticks": 6}
    traces = []
    for i, (detail, row) in enumerate((("on Γ, by batch size", (0.57, 1.0)), ("of the same runs", (0.0, 0.43)))):
        y_axis = {"range": [low[i], high[i]], "nticks": 6}
        axes = add_axes(layout, i + 1, (0.0, 0.385), row, (QUANTITIES[i], detail), x=steps, y=y_axis)
        traces += [trace | axes for trace in step_traces(runs, i, y_axis)]
    layout["xaxis"]["showticklabels"], layout["xaxis2"]["title"] = False, {"text": "step", "standoff": 2}
    margin = 0.12 * (high[0] - low[0])  # for the labels at both ends
    x_axis = {"label": "λ₁", "range": [low[0] - margin, high[0] + margin], "nticks": 6}
    y_axis = {"range": [low[2], high[2]], "nticks": 7}
    heading = "trace − λ₁", "against λ₁; dashed: the two limiting flows"
    axes = add_axes(layout, 3, (0.575, 1.0), (0, 1), heading, x=x_axis, y=y_axis)
    traces += [trace | axes for trace in plane_traces(runs, float(low[2]), float(high[2]))]
    return {"data": [trace | {"hoverinfo": "skip"} for trace in traces], "layout": layout}


def step_traces(runs: BatchRuns, quantity: int, yaxis: Layout) -> list[Trace]:
    """Draw one quantity against the step for all batch sizes and both equations."""
    name, end, traces = QUANTITIES[quantity], float(runs.step[-1]), []
    labels: list[Label] = []
    fine = np.linspace(0, end, 61)
    for (equation, dash), flow in zip(EQUATIONS, runs.flow):
        y = np.interp(runs.tau * fine, runs.times, flow[quantity], right=np.nan)
        traces.append(line(fine, y, f"{name} {equation}", INK, 1.6, dash))
        if np.isfinite(y[-1]):
            labels.append((end, float(y[-1]), equation, INK))
    for size in runs.order:
        y, (label, look) = runs.curvature[size - 1, quantity].copy(), runs.style(size)
        traces.append(line(runs.step, y, f"{name} {size}", **look))
        labels.append((end, float(y[runs.last(size)]), label, look["color"]))
    return [*traces, end_labels(labels, yaxis, f"names {name}", 0.078)]


def plane_traces(runs: BatchRuns, low: float, high: float) -> list[Trace]:
    """Draw the trace without λ₁ against λ₁: the two flows, and the path of each batch size."""
    flows = zip(EQUATIONS, runs.flow)
    traces = [line(top, rest - top, f"flow {equation}", INK, 1.6, dash) for (equation, dash), (top, rest) in flows]
    ends: list[Label] = []
    for size in runs.order:
        top, rest = runs.curvature[size - 1, 0].copy(), runs.curvature[size - 1, 1] - runs.curvature[size - 1, 0]
        label, look = runs.style(size)
        end_x, end_y = float(top[runs.last(size)]), float(rest[runs.last(size)])
        traces.append(line(top, rest, f"path {size}", **look))
        traces.append(marks([end_x], [end_y], f"end {size}", look["color"], 11, SYMBOLS[(size - 1) % 5], ("white", 1)))
        ends.append((end_x, end_y, f"    <b>{label}</b>    ", look["color"]))
    left = 2 if len(ends) == 2 else 1  # labels on the left: with two runs both fit there
    for side, part in (("right", ends[:-left]), ("left", ends[-left:])):
        heights = spread([y for _, y, _, _ in part], 0.042 * (high - low), low + 0.02 * (high - low))
        x, names, colors = [x for x, *_ in part], [label for _, _, label, _ in part], [color for *_, color in part]
        traces.append(text(x, heights, names, f"names {side}", colors, f"middle {side}", shadow=HALO))
    top, trace = runs.curvature[0, :, 0]
    start = marks([float(top)], [float(trace - top)], "start", INK, 12, "circle-open", (INK, 2))
    return [*traces, start | {"mode": "markers+text", "text": [" start"], "textposition": "middle right"}]


def describe(runs: BatchRuns) -> str:
    """Compare one sample and all samples with the theorems, and name the batch size whose λ₁ decreased least."""
    if diverged := [str(size) for size, run in enumerate(runs.runs, 1) if bool((run.diverged_at >= 0).any())]:
        return f"Diverged with batch size {', '.join(diverged)}: η times λ₁ of each sample must be below 2. Lower η."
    now, step = runs.curvature[:, :, runs.measured], runs.step[runs.measured]  # (sizes, 2)
    result = f"Step {step:.0f}, τ = ηρ²t = {runs.tau * step:.3g}."
    if np.isnan(now).any():
        return result
    top, trace = (np.interp(runs.tau * step, runs.times, runs.flow[i, i]) for i in (0, 1))
    result += (
        f" One sample: trace {now[0, 1]:.2f}, predicted {trace:.2f} (Eq. 18)."
        f" All {len(now)}: λ₁ {now[-1, 0]:.2f}, predicted {top:.2f} (Eq. 7)."
    )
    slowest = int(now[:, 0].argmax()) + 1
    if 1 < slowest < len(now):
        least = f"to {now[slowest - 1, 0]:.2f}, with {slowest} samples"
        result += f" λ₁ decreased least, {least}: no theorem covers this case."
    return result
