"""What happens to λ₁ at a minimum of the loss when ρ is switched on: gradient descent first, and then SAM."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from samviz.dynamics import Run, gradient_descent_minimum
from samviz.figures.drawing import add_axes, line, marks, new_layout, note
from samviz.figures.style import BLUE, GREY, INK, VERMILION
from samviz.geometry import top_eigenpairs
from samviz.lab import PredictCurve
from samviz.lab.controls import Slider
from samviz.lab.panel import Drawing, Panel
from samviz.problems import mlp

SWITCHED_AT, END, SPACING = 200, 1200, 20  # steps; the last one between two measurements
LR, HIGHEST = 0.05, 20.0  # η, and the upper end of the axis of λ₁
ASK = PredictCurve(
    "The training loss is almost zero and gradient descent no longer moves. At step 200, ρ is set to 0.05. "
    "How does λ₁ continue?",
    x=(500, 850, END),
    start=(15.4, 15.4, 15.4),
    replies=[
        (-100, 4, "λ₁ falls, but slowly: one step changes it by an amount proportional to ηρ²."),
        (4, 12.5, "λ₁ does fall, although the loss is already as small as it can be."),
        (12.5, 18, "λ₁ stays under gradient descent, which stops at a minimum. But SAM's gradient is not zero there."),
        (18, 100, "But SAM moves to a flatter place, where λ₁ is smaller."),
    ],
)
RADII = [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05]


@cache
def minimum() -> tuple[Any, Tensor]:
    """Return the network that fits a sine, and a minimum of its loss that gradient descent has found, (1, 673)."""
    problem = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
    return problem, gradient_descent_minimum(problem)


def first_change_panel() -> Panel:
    """Show λ₁ while gradient descent runs at a minimum of the loss, and after ρ is switched on.

    Returns:
        The panel; leave it as the last line of a cell.

    Source: Theorem 4.5.
    """
    radius = Slider("ρ from step 200 on", 0.05, RADII, book=[0.0, 0.01, 0.02, 0.05])
    description = "The largest eigenvalue λ₁ of the Hessian against the step: gradient descent, and then SAM"
    return Panel(draw_first_change, {"rho": radius}, predict=ASK, description=description)


def draw_first_change(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure after gradient descent, and then while SAM goes on."""
    (problem, x0), rho = minimum(), values["rho"]
    run = Run(problem, "sam", LR, 0.0, x0=x0, device="cpu")
    rows, pairs = [], None
    while run.steps <= END:
        run.set(rho=rho if run.steps >= SWITCHED_AT else 0.0)
        pairs = top_eigenpairs(problem, run.x, 1, start=pairs)
        rows.append((run.steps, float(pairs.values[0, 0]), float(problem.loss(run.x)[0])))
        if run.steps >= SWITCHED_AT:
            steps, sharpness, losses = np.array(rows).T
            yield first_change_figure(steps, sharpness, rho), describe(rho, sharpness, losses.max())
        run.step(SPACING)


def first_change_figure(steps: Any, sharpness: Any, rho: float) -> dict[str, Any]:
    """Draw λ₁ against the step, in one colour for gradient descent and in another for SAM."""
    layout = new_layout(380)
    x_axis, y_axis = {"label": "step", "range": [0, END]}, {"label": "λ₁", "range": [0, HIGHEST]}
    heading = "the sharpness λ₁", "of a network that fits its training data, loss below 0.01 at every step"
    axes = add_axes(layout, 1, (0, 1), (0, 1), heading, x=x_axis, y=y_axis)
    before, after = steps <= SWITCHED_AT, steps >= SWITCHED_AT
    traces = [
        line([SWITCHED_AT] * 2, [0, HIGHEST], "switch", GREY, 1.5, "dash"),
        line(steps[before], sharpness[before], "gradient descent", BLUE, 3.5),
        line(steps[after], sharpness[after], "SAM", VERMILION if rho else BLUE, 3.5),
        marks(steps[-1:], sharpness[-1:], "now", VERMILION if after.sum() > 1 else BLUE, 10, edge=("white", 1.5)),
    ]
    labels = [("gradient descent", 0.08 * SWITCHED_AT, 17.3, BLUE), ("ρ is switched on", SWITCHED_AT + 12, 1.2, INK)]
    if rho and after.sum() > 1:
        labels.append((f"SAM with ρ = {rho:g}", SWITCHED_AT + 150, 17.3, VERMILION))
    layout["annotations"] += [note(label, x, y, "x", "y", color) for label, x, y, color in labels]
    return {"data": [trace | axes for trace in traces], "layout": layout}


def describe(rho: float, sharpness: Any, highest_loss: float) -> str:
    """Say how λ₁ changed since ρ was switched on."""
    steps, first = SPACING * (len(sharpness) - 1) - SWITCHED_AT, sharpness[SWITCHED_AT // SPACING]
    if not steps:
        return f"Gradient descent is at a minimum: λ₁ = {first:.1f}, and the iterate no longer moves."
    change = f"went from {first:.1f} to {sharpness[-1]:.1f}" if rho else f"stayed at {sharpness[-1]:.1f}"
    method = f"SAM with ρ = {rho:g}" if rho else "gradient descent, which is SAM with ρ = 0"
    return f"In {steps:,} steps of {method}, λ₁ {change}. The training loss never exceeded {highest_loss:.1g}."
