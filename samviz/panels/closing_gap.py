"""What happens when λ₁, which SAM lowers, meets λ₂: Assumption 4.4 no longer holds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.dynamics import Run
from samviz.figures.drawing import add_axes, end_labels, line, new_layout
from samviz.figures.style import BLUE, GREY, INK, VERMILION
from samviz.lab.controls import Slider
from samviz.lab.panel import Drawing, Panel
from samviz.lab.predictions import PredictCurve
from samviz.panels.first_change import minimum

Array = NDArray[np.float64]
BEFORE, END, SPACING = 1000, 4000, 40  # steps before the prediction, in all, and between two measurements
MEASURES = {
    "cos_v1": ("|cos(∇L, v₁)|", GREY),
    "cos_eigenspace": ("cos with eigenspace", BLUE),
    "rayleigh": ("Rayleigh ratio", VERMILION),
}
PREDICTION = PredictCurve(
    "In the first 1,000 steps λ₁ has decreased, and λ₂ more slowly. How does λ₁ continue?",
    x=(2000, 3000, END),
    start=(8, 8, 8),
    replies=[
        (
            -100,
            5.6,
            "λ₁ is the largest eigenvalue, so it can only become smaller than 7 together with λ₂. From then on SAM "
            "has to lower two eigenvalues, which is slower.",
        ),
        (5.6, 6.75, "From the meeting on, SAM lowers whichever of the two is larger, so both decrease together."),
        (6.75, 7.3, "λ₁ does not stop at λ₂: SAM then lowers both, since each becomes the largest in turn."),
        (7.3, 100, "The drift −½ηρ²∂Φ∇λ₁ continues: nothing stops λ₁ before it meets λ₂."),
    ],
)


def closing_gap_panel() -> Panel:
    """Show the largest eigenvalues while SAM lowers λ₁ until it meets λ₂, and three measures of alignment.

    Returns:
        The panel; leave it as the last line of a cell.

    Source: Assumption 4.4, Theorem 4.5.

    >>> panel = closing_gap_panel()
    >>> panel.sentence
    'Step 1,000: λ₁ = 8.00 and λ₂ = 7.07.'
    """
    return Panel(
        draw_closing_gap,
        {
            "rho": Slider("ρ radius", 0.02, [0.005, 0.01, 0.015, 0.02, 0.03, 0.04], book=[0.005, 0.01, 0.02, 0.04]),
            "lr": Slider("η", 0.1, [0.05, 0.1], book=[0.05, 0.1]),
        },
        predict=PREDICTION,
        description="The three largest eigenvalues of the Hessian, and three measures of alignment, against the step",
    )


@lru_cache(12)  # a panel continues a run that was left
def gap_run(lr: float, rho: float) -> Run:
    """Return a run of SAM at a minimum of the sine network, measured."""
    problem, x0 = minimum()
    run = Run(problem, "sam", lr, rho, x0=x0, device="cpu")
    run.measure(trace=False)
    return run


def advance(run: Run) -> None:
    """Go on to the next measurement."""
    run.step(SPACING)
    run.measure(trace=False)


def draw_closing_gap(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure before the prediction, and then while the run goes on."""
    run = gap_run(values["lr"], values["rho"])
    while run.steps < BEFORE:
        advance(run)
    yield closing_gap_figure(run, BEFORE), describe(run, BEFORE)
    while run.steps < END:
        advance(run)
        yield closing_gap_figure(run, run.steps), describe(run, run.steps)
    yield closing_gap_figure(run, END), describe(run, END)


def closing_gap_figure(run: Run, until: int) -> dict[str, Any]:
    """Draw the eigenvalues, and after the prediction the alignment, up to a step."""
    history, layout = run.history, new_layout(420, right=140)
    count = until // SPACING + 1
    steps, eigenvalues = history["step"][:count], history["eigenvalues"][:count]  # (rows, 3)
    x_axis, y_axis = {"label": "step", "range": [0, END]}, {"range": [0, 16.5]}
    heading = "the largest eigenvalues", "of the Hessian"
    axes = add_axes(layout, 1, (0.0, 0.4), (0, 1), heading, x=x_axis, y=y_axis)
    traces, ends = [], []
    for i, (name, color) in enumerate((("λ₁", VERMILION), ("λ₂", BLUE), ("λ₃", GREY))):
        traces.append(line(steps, eigenvalues[:, i], name, color, 3 if i < 2 else 2) | axes)
        ends.append((float(steps[-1]), float(eigenvalues[-1, i]), f"<b>{name}</b>", color))
    traces.append(end_labels(ends, y_axis, "names", 0.06) | axes)
    y_axis = {"range": [0, 1.08]}
    axes = add_axes(layout, 2, (0.52, 1.0), (0, 1), ("alignment", "of ∇L: three measures"), x=x_axis, y=y_axis)
    ends = []
    for key, (name, color) in MEASURES.items():
        y = history[key][:count] if until > BEFORE else np.full(count, np.nan)
        traces.append(line(steps[1:], y[1:], name, color, 1.5 if key == "cos_v1" else 3) | axes)
        ends.append((float(END), float(y[-1]), name, color if color != GREY else INK))
    if until > BEFORE:
        traces.append(end_labels(ends, y_axis, "measures", 0.07) | axes)
    return {"data": [trace | {"hoverinfo": "skip"} for trace in traces], "layout": layout}


def describe(run: Run, until: int) -> str:
    """Say where the eigenvalues are, and what the three measures say after λ₁ has met λ₂."""
    rows = slice(0, until // SPACING + 1)
    first, second = run.history["eigenvalues"][rows][-1, :2]
    result = f"Step {until:,}: λ₁ = {first:.2f} and λ₂ = {second:.2f}."
    met = (run.history["gap"][rows] < 0.01).nonzero()[0]
    if until == BEFORE or not len(met):
        return result
    after = slice(int(met[0]), rows.stop)
    cosine, rayleigh = run.history["cos_v1"][after], run.history["rayleigh"][after]
    return (
        f"{result} They met at step {run.history['step'][met[0]]:,.0f}. Since then |cos(∇L, v₁)| has been between "
        f"{cosine.min():.2f} and {cosine.max():.2f}, and the Rayleigh ratio {rayleigh.min():.2f} or more."
    )
