"""Theorem 4.5 on the valley: two phases, the same path at every ρ, and a clock that is proportional to ρ²."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samviz.dynamics import Diverged, Run, gradient_flow_limit
from samviz.dynamics.theory import PHASE_II
from samviz.figures.drawing import LOG, Layout, Trace, add_axes, contours, end_labels, line, marks, new_layout, note
from samviz.figures.style import GREY, INK, PLUM, VERMILION
from samviz.lab import PredictNumber
from samviz.lab.controls import Slider, decades
from samviz.lab.panel import Drawing, Panel
from samviz.panels.valley_methods import floor_axes, floor_curvature, start_mark
from samviz.problems import valley

Array = NDArray[np.float64]

START, X3_X4 = (0.6, 0.6), (0.3, 0.05)
FIRST_RHO = 0.2  # of the run with which the learner's is compared
LEVEL = 18.0  # the λ₁ whose step is asked for
END, STEPS_AT_ONCE, STRIDE = 1600, 100, 5  # steps of a run; between two figures; between two points of a curve
SHARPNESS_RANGE, DISTANCE_RANGE = (15.6, 23.4), (-4.0, 0.0)  # the second in powers of ten
ASK = PredictNumber(
    f"With ρ = {FIRST_RHO:g}, λ₁ falls below {LEVEL:g} at step 201. At which step does it fall below {LEVEL:g} "
    "with half of that ρ?",
    label="step",
    low=0,
    high=10_000,
    replies=[
        (0, 150, "That would be faster. But ρ causes the drift, so a smaller ρ is slower."),
        (150, 300, "That would mean that ρ has no effect. But ρ causes the drift: gradient descent, ρ = 0, has none."),
        (300, 500, "That is twice as many steps, as if the drift were of first order in ρ. It is of second order."),
        (700, 950, "Four times as many steps is right: the drift is of second order in ρ."),
    ],
    otherwise="The drift along Γ is of second order in ρ, so half of ρ takes four times as many steps.",
)


@lru_cache(8)
def limit_point(start: tuple[float, float]) -> torch.Tensor:
    """Return Φ(x(0)), (4,), the limit of gradient flow from the start."""
    x0 = torch.tensor([*start, *X3_X4], dtype=torch.float64)
    return gradient_flow_limit(valley(), x0, tol=1e-8).x[0]


def limiting_flow(start: tuple[float, float], tau: Array) -> Array:
    """Return X(τ), (times, 2): Eq. 7 in closed form from Φ(x(0))."""
    return np.asarray(valley().limiting_flow(limit_point(start), torch.from_numpy(tau)).numpy())


def sharpness(points: Array) -> Array:
    """Return λ₁ = 2F₁ on the floor below each point (points, 2 or more)."""
    return np.asarray(valley().eigenvalues(torch.from_numpy(points))[:, 0].numpy())


def iterates(lr: float, rho: float, start: tuple[float, float]) -> Iterator[Array]:
    """Yield the iterates of SAM so far, (steps + 1, 4), while it goes on."""
    x0 = torch.tensor([*start, *X3_X4], dtype=torch.float64)
    run = Run(valley(), "sam", lr, rho, x0=x0, device="cpu", trail=END + 1)
    while run.steps < END:
        try:
            run.step(STEPS_AT_ONCE)
        except Diverged as error:
            raise ValueError(f"{run.why_diverged()} Lower η") from error
        yield torch.cat(list(run.trail)).numpy()


@lru_cache(8)
def first_run(lr: float, start: tuple[float, float]) -> Array:
    """Return the complete run with which the learner's is compared."""
    *_, points = iterates(lr, FIRST_RHO, start)
    return points


def first_below(values: Array) -> int:
    """Return the first index where λ₁ is below the level, the number of values if there is none."""
    return int(np.append(values < LEVEL, True).argmax())


def crossing(top: Array) -> str:
    """Say where λ₁ falls below the level."""
    step = first_below(top)
    if step in (0, len(top)):
        return f"λ₁ is {top[-1]:.2f} after {len(top) - 1:,} steps"
    return f"λ₁ falls below {LEVEL:g} at step {step:,}"


def phase_two(points: Array, lr: float, rho: float) -> int:
    """Return the step from which on ‖∇L‖ is at most twice as large as on the 2-cycle of Theorem 4.8."""
    top = sharpness(points)
    length = valley().gradient(torch.from_numpy(points))[1].norm(dim=1).numpy()
    outside = np.flatnonzero(length > PHASE_II * lr * rho * top**2 / (2 - lr * top))
    return int(outside[-1]) + 1 if len(outside) else 0


def flow_panel() -> Panel:
    """Show SAM on the valley's floor next to its limiting flow, and λ₁ against the step, for two radii.

    Source: Theorem 4.5, Eq. 7.
    """
    rates = [n for n in decades(-3, -1) if 0.002 <= n <= 0.03]
    radii = [n for n in decades(-2, 0) if 0.02 <= n <= 0.4]
    return Panel(
        draw_flow,
        {
            "rho": Slider("ρ radius", 0.1, radii, book=[0.05, 0.1, 0.2, 0.3]),
            "lr": Slider("η learning rate", 0.005, rates, book=[0.0025, 0.005, 0.01, 0.02]),
        },
        predict=ASK,
        drag={"start": START},
        description="SAM’s path on the valley floor and the limiting flow; λ₁ and the distance to Γ against the step",
    )


def draw_flow(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure with the first run alone, and then while the learner's run goes on."""
    x1, x2 = (float(np.clip(v, 0, 1)) for v in values["start"])
    lr, rho, start = values["lr"], values["rho"], (x1, x2)
    first = first_run(lr, start)
    known = crossing(sharpness(first))
    runs = [(first, FIRST_RHO, GREY)]
    yield flow_figure(runs, lr, start), f"With ρ = {FIRST_RHO:g} and η = {lr:g}, {known}."
    for points in iterates(lr, rho, start):
        figure = flow_figure([*runs, (points, rho, VERMILION)], lr, start, values.get("guess"))
        yield figure, f"{describe(points, lr, rho, start)} With ρ = {FIRST_RHO:g}, {known}."


def flow_figure(
    runs: list[tuple[Array, float, str]], lr: float, start: tuple[float, float], guess: Any = None
) -> dict[str, Any]:
    """Draw runs, each with its ρ and colour: the last one on the floor, and λ₁ and the distance to Γ of all."""
    layout = new_layout(440, left=44, right=10, top=46, bottom=44)
    floor_axes(layout, (0.0, 0.33), ("the floor Γ", "<br>dark: small λ₁; drag the ring"))
    grid, level = floor_curvature()
    points, _, color = runs[-1]
    flow = limiting_flow(start, np.linspace(0, 2, 200))
    traces = [
        contours(grid, grid, level["top"], "level", pale=True, ncontours=14),
        line(points[::STRIDE, 0], points[::STRIDE, 1], "path", color, 3.5),
        line(flow[:, 0], flow[:, 1], "flow", INK, 1.8, "dash"),
        marks(points[-1:, 0], points[-1:, 1], "now", color, 11, edge=("white", 1.5)),
        start_mark(start),
    ]
    return {"data": [*traces, *time_traces(layout, runs, lr, start, guess)], "layout": layout}


def time_traces(
    layout: Layout, runs: list[tuple[Array, float, str]], lr: float, start: tuple[float, float], guess: Any
) -> list[Trace]:
    """Draw λ₁ and the distance to Γ of the runs against the step, and the learner's guess."""
    column, time = (0.43, 0.87), {"range": [0, END]}
    height = {"range": list(SHARPNESS_RANGE), "tickvals": [16, 18, 20, 22]}
    heading, phases = ("λ₁ against the step", "<br>— SAM, - - Eq. 7"), ("distance to Γ", "phase I, then phase II")
    axes = add_axes(layout, 2, column, (0.4, 1), heading, x=time | {"showticklabels": False}, y=height)
    log: Layout = {"range": list(DISTANCE_RANGE), "dtick": 2, **LOG}
    below = add_axes(layout, 3, column, (0, 0.24), phases, x=time | {"label": "step t"}, y=log)
    traces = [line([0, END], [LEVEL] * 2, "level of λ₁", GREY, 1, "dot") | axes]
    labels, distances = [], []
    for points, rho, color in runs:
        steps = np.arange(0, len(points), STRIDE, dtype=float)
        top, distance = sharpness(points[::STRIDE]), np.linalg.norm(points[::STRIDE, 2:], axis=1)
        flow = sharpness(limiting_flow(start, steps * lr * rho**2))
        traces += [
            line(steps, top, f"λ₁, {color}", color, 3) | axes,
            line(steps, flow, f"flow of λ₁, {color}", INK, 1.5, "dash") | axes,
            line(steps, distance, f"distance, {color}", color, 2) | below,
        ]
        labels.append((END, top[-1], f"ρ = {rho:g}", color))
        distances.append((END, distance[-1], f"ρ = {rho:g}", color))
    begin = phase_two(runs[-1][0], lr, runs[-1][1])
    traces.append(line([begin] * 2, 10.0 ** np.array(DISTANCE_RANGE), "phase II", PLUM, 1.5, "dot") | below)
    if isinstance(guess, float) and guess <= END:
        traces.append(line([guess] * 2, SHARPNESS_RANGE, "guess", PLUM, 2, "dot") | axes)
        layout["annotations"].append(note("your guess", guess, SHARPNESS_RANGE[1] - 0.5, "x2", "y2", PLUM, xshift=4))
    traces.append(end_labels(labels, layout["yaxis2"], "radii", 0.08) | axes)
    return [*traces, end_labels(distances, layout["yaxis3"], "radii below", 0.2) | below]


def describe(points: Array, lr: float, rho: float, start: tuple[float, float]) -> str:
    """Compare the step where λ₁ falls below the level with Eq. 7."""
    top, tau = sharpness(points), np.linspace(0, 1, 10_001)
    text = f"With ρ = {rho:g} and η = {lr:g}, phase II begins at step {phase_two(points, lr, rho)}. {crossing(top)}"
    if first_below(top) in (0, len(top)):
        return f"{text}."
    predicted = tau[first_below(sharpness(limiting_flow(start, tau)))] / (lr * rho**2)
    return f"{text}; Eq. 7 predicts step {predicted:,.0f}."
