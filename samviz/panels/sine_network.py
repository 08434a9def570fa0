"""What SAM does to the top eigenvalues of a network at a minimum of its loss: λ₁ falls, until it meets λ₂."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from samviz.claims.full_batch import trained
from samviz.dynamics import Run
from samviz.figures.drawing import add_axes, end_labels, line, marks, new_layout, note
from samviz.figures.style import BLUE, GREY, INK, QUANTITIES, VERMILION
from samviz.geometry import top_eigenpairs
from samviz.lab.controls import Slider
from samviz.lab.panel import Drawing, Panel
from samviz.lab.predictions import PredictCurve

# ---- ρ is switched on: gradient descent first, and then SAM

SWITCHED_AT, FIRST_END, FIRST_SPACING = 200, 1200, 20  # steps; the last one between two measurements
LR, HIGHEST = 0.05, 20.0  # η, and the upper end of the axis of λ₁
FIRST_CHANGE = PredictCurve(
    "The training loss is almost zero and gradient descent no longer moves. At step 200, ρ is set to 0.05. "
    "How does λ₁ continue?",
    x=(500, 850, FIRST_END),
    start=(15.4, 15.4, 15.4),
    replies=[
        (-100, 4, "λ₁ falls, but more slowly: one step changes it only a little."),
        (4, 12.5, "λ₁ does fall, although the loss is already as small as it can be."),
        (12.5, 18, "λ₁ stays under gradient descent, which stops at a minimum. But SAM's gradient is not zero there."),
        (18, 100, "But SAM moves to a flatter place, where λ₁ is smaller."),
    ],
)
RADII = [0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05]


def first_change_panel() -> Panel:
    """Show λ₁ while gradient descent runs at a minimum of the loss, and after ρ is switched on.

    Source: Theorem 4.5.
    """
    radius = Slider("ρ from step 200 on", 0.05, RADII, book=[0.0, 0.01, 0.02, 0.05])
    description = "The largest eigenvalue λ₁ of the Hessian against the step: gradient descent, and then SAM"
    return Panel(draw_first_change, {"rho": radius}, predict=FIRST_CHANGE, description=description)


def draw_first_change(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure after gradient descent, and then while SAM goes on."""
    (problem, x0), rho = trained(), values["rho"]
    run = Run(problem, "sam", LR, 0.0, x0=x0, device="cpu")
    rows, pairs = [], None
    while run.steps <= FIRST_END:
        run.set(rho=rho if run.steps >= SWITCHED_AT else 0.0)
        pairs = top_eigenpairs(problem, run.x, 1, start=pairs)
        rows.append((run.steps, float(pairs.values[0, 0]), float(problem.loss(run.x)[0])))
        if run.steps >= SWITCHED_AT:
            steps, sharpness, losses = np.array(rows).T
            yield first_change_figure(steps, sharpness, rho), describe_change(rho, sharpness, losses.max())
        run.step(FIRST_SPACING)


def first_change_figure(steps: Any, sharpness: Any, rho: float) -> dict[str, Any]:
    """Draw λ₁ against the step, in one colour for gradient descent and in another for SAM."""
    layout = new_layout(380)
    x_axis, y_axis = {"label": "step", "range": [0, FIRST_END]}, {"label": "λ₁", "range": [0, HIGHEST]}
    heading = "the sharpness λ₁", "of a network that fits its training data"
    axes = add_axes(layout, 1, (0, 1), (0, 1), heading, x=x_axis, y=y_axis)
    before, after = steps <= SWITCHED_AT, steps >= SWITCHED_AT
    traces = [
        line([SWITCHED_AT] * 2, [0, 16.5], "switch", GREY, 1.5, "dash"),
        line(steps[before], sharpness[before], "gradient descent", BLUE, 3.5),
        line(steps[after], sharpness[after], "SAM", VERMILION if rho else BLUE, 3.5),
        marks(steps[-1:], sharpness[-1:], "now", VERMILION if after.sum() > 1 else BLUE, 10, edge=("white", 1.5)),
    ]
    labels = [("gradient descent", 0.08 * SWITCHED_AT, 18.5, BLUE), ("ρ is switched on", SWITCHED_AT + 12, 1.2, INK)]
    if rho and after.sum() > 1:
        labels.append((f"SAM with ρ = {rho:g}", SWITCHED_AT + 150, 17, VERMILION))
    layout["annotations"] += [note(label, x, y, "x", "y", color) for label, x, y, color in labels]
    return {"data": [trace | axes for trace in traces], "layout": layout}


def describe_change(rho: float, sharpness: Any, highest_loss: float) -> str:
    """Say how λ₁ changed since ρ was switched on."""
    steps, first = FIRST_SPACING * (len(sharpness) - 1) - SWITCHED_AT, sharpness[SWITCHED_AT // FIRST_SPACING]
    if not steps:
        return f"Gradient descent is at a minimum: λ₁ = {first:.1f}, and the iterate no longer moves."
    change = f"went from {first:.1f} to {sharpness[-1]:.1f}" if rho else f"stayed at {sharpness[-1]:.1f}"
    method = f"SAM with ρ = {rho:g}" if rho else "gradient descent, which is SAM with ρ = 0"
    return f"In {steps:,} steps of {method}, λ₁ {change}. The training loss never exceeded {highest_loss:.1g}."


# ---- λ₁ meets λ₂: Assumption 4.4 no longer holds

BEFORE, GAP_END, GAP_SPACING = 1000, 4000, 40  # steps before the prediction, in all, and between two measurements
MEASURES = {
    "cos_v1": ("|cos(∇L, v₁)|", QUANTITIES["v₁"]),
    "cos_eigenspace": ("cos with eigenspace", QUANTITIES["eigenspace"]),
    "rayleigh": ("Rayleigh ratio", QUANTITIES["curvature along ∇L"]),
}
CLOSING_GAP = PredictCurve(
    "In the first 1,000 steps λ₁ has decreased, and λ₂ more slowly. How does λ₁ continue?",
    x=(2000, 3000, GAP_END),
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
        predict=CLOSING_GAP,
        description="The three largest eigenvalues of the Hessian, and three measures of alignment, against the step",
    )


@lru_cache(12)  # a panel continues a run that was left
def gap_run(lr: float, rho: float) -> Run:
    """Return a run of SAM at a minimum of the sine network, measured."""
    problem, x0 = trained()
    run = Run(problem, "sam", lr, rho, x0=x0, device="cpu")
    run.measure(trace=False)
    return run


def draw_closing_gap(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure before the prediction, and then while the run goes on."""
    run = gap_run(values["lr"], values["rho"])
    for until in (BEFORE, *range(max(BEFORE, run.steps) + GAP_SPACING, GAP_END, GAP_SPACING), GAP_END):
        while run.steps < until:
            run.step(GAP_SPACING)
            run.measure(trace=False)
        yield closing_gap_figure(run, until), describe_gap(run, until)


def closing_gap_figure(run: Run, until: int) -> dict[str, Any]:
    """Draw the eigenvalues, and after the prediction the alignment, up to a step."""
    history, layout = run.history, new_layout(420, right=140)
    count = until // GAP_SPACING + 1
    steps, eigenvalues = history["step"][:count], history["eigenvalues"][:count]  # (rows, 3)
    x_axis, y_axis = {"label": "step", "range": [0, GAP_END]}, {"range": [0, 16.5]}
    heading = "the largest eigenvalues", "of the Hessian"
    axes = add_axes(layout, 1, (0.0, 0.4), (0, 1), heading, x=x_axis, y=y_axis)
    traces, ends = [], []
    for i, name in enumerate(("λ₁", "λ₂", "λ₃")):
        color = QUANTITIES[name]
        traces.append(line(steps, eigenvalues[:, i], name, color, 3 if i < 2 else 2) | axes)
        ends.append((float(steps[-1]), float(eigenvalues[-1, i]), f"<b>{name}</b>", color))
    traces.append(end_labels(ends, y_axis, "names", 0.06) | axes)
    y_axis = {"range": [0, 1.08]}
    axes = add_axes(layout, 2, (0.52, 1.0), (0, 1), ("alignment", "of ∇L: three measures"), x=x_axis, y=y_axis)
    ends = []
    for key, (name, color) in MEASURES.items():
        y = history[key][:count] if until > BEFORE else np.full(count, np.nan)
        traces.append(line(steps[1:], y[1:], name, color, 1.5 if key == "cos_v1" else 3) | axes)
        ends.append((float(GAP_END), float(y[-1]), name, color))
    if until > BEFORE:
        traces.append(end_labels(ends, y_axis, "measures", 0.07) | axes)
    return {"data": [trace | {"hoverinfo": "skip"} for trace in traces], "layout": layout}


def describe_gap(run: Run, until: int) -> str:
    """Say where the eigenvalues are, and what the three measures say after λ₁ has met λ₂."""
    rows = slice(0, until // GAP_SPACING + 1)
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
