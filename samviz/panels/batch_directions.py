"""Example 5.8: between one sample and all samples, the gradient of a batch need not be aligned with the batch's v₁."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics import Run, engines
from samviz.figures.drawing import Layout, Trace, add_axes, line, marks, new_layout, text
from samviz.figures.style import BLUE, GREY, INK, VERMILION
from samviz.lab.controls import Slider, decades
from samviz.lab.panel import Drawing, Panel
from samviz.lab.predictions import PredictChoice
from samviz.problems import Quadratic, quadratic

Array = NDArray[np.float64]
# Example 5.8: samples λ_k a_k a_kᵀ in the plane, each with a top eigenspace of its own
ANGLES, SPECTRUM = (0, 30, 55, 80, 105, 130), (4.0, 3.0, 2.0, 2.0, 2.0, 2.0)  # degrees, eigenvalues
SIZES = tuple(range(1, len(ANGLES) + 1))
SETTLING, END, STEPS_AT_ONCE = 200, 600, 50  # the first step that is shown, the last one, and steps taken at once
FIRST_ANGLE = -25  # degrees at which the axis of the directions begins

PREDICTION = PredictChoice(
    "A step uses 3 of the 6 samples. Near the minimum, does the gradient ∇L_B of the batch point along the top "
    "eigenvector v₁ of the batch's Hessian?",
    options={
        "yes": "Yes: with one sample it does and with all samples it does, so between them, too.",
        "small": "Not at this ρ, but for a sufficiently small one.",
        "no": "Not at any ρ.",
        "less": "Less and less, from one sample to all samples.",
    },
    replies={
        "yes": "One sample is aligned because its Hessian has rank one, all samples because every step has the same "
        "Hessian. A batch of 3 has neither property.",
        "small": "The step for z = x/ρ does not contain ρ, so a smaller ρ only makes the picture smaller. Try it.",
        "no": "The step for z = x/ρ does not contain ρ, so ρ has no influence on directions at all.",
        "less": "All samples are aligned again: then every step has the same Hessian, and Theorem 4.8 applies.",
    },
)


def quadratic_samples(ratio: float = 0.0) -> Quadratic:
    """Return the mean of six samples λ_k(a aᵀ + ratio·b bᵀ) with b orthogonal to a; ratio = 0 gives rank one.

    >>> quadratic_samples().hessian(torch.zeros(1, 2), torch.tensor([[0]]))[0]
    tensor([[4., 0.],
            [0., 0.]], dtype=torch.float64)
    """
    turn = np.deg2rad(ANGLES)
    a, b = np.stack((np.cos(turn), np.sin(turn)), 1), np.stack((-np.sin(turn), np.cos(turn)), 1)
    parts = a[:, :, None] * a[:, None, :] + ratio * b[:, :, None] * b[:, None, :]
    return quadratic(np.array(SPECTRUM)[:, None, None] * parts)


@cache
def batches(size: int) -> Tensor:
    """Return the sample indices that a run with seed 0 draws, (steps, size)."""
    return torch.from_numpy(engines.batches((0,), 0, END, size, len(SIZES))[:, 0])


@lru_cache(8)
def batch_runs(lr: float, rho: float, ratio: float) -> list[Run]:
    """Return a run of SAM for every batch size, which starts at a distance of about ρ from the minimum."""
    x0 = rho * torch.tensor([1.0, 0.7], dtype=torch.float64)
    return [Run(quadratic_samples(ratio), "sam", lr, rho, size, x0, device="cpu", trail=END + 1) for size in SIZES]


def directions(runs: list[Run]) -> Array:
    """Return the degrees of v₁ and ∇L_B and |cos| between them at each step that is shown, (3, sizes, steps)."""
    rows = []
    for size, run in zip(SIZES, runs):
        x, batch = torch.cat(list(run.trail))[SETTLING:-1], batches(size)[SETTLING : run.steps]
        gradient = run.problem.gradient(x, batch)[1]
        top = torch.linalg.eigh(run.problem.hessian(x, batch)).eigenvectors[:, :, 1]
        cosine = (gradient * top).sum(1).abs() / gradient.norm(dim=1)
        degrees = [torch.rad2deg(torch.atan2(v[:, 1], v[:, 0])) for v in (top, gradient)]
        rows.append(torch.stack((*degrees, cosine)).numpy())
    return np.stack(rows, 1)


def alignment_panel() -> Panel:
    """Show the angle between a batch's gradient and the batch's v₁ over a run, for every batch size.

    Source: Example 5.8, Lemma 5.5, Theorem 4.8.

    >>> panel = alignment_panel()
    >>> panel.set(guess="skipped", size=1)
    >>> panel.sentence
    'Batch size 1 of 6: the mean of |cos(∇L_B, v₁)| is 1.000, and its minimum is 1.000. Each sample has rank one: ...
    """
    return Panel(
        draw_alignment,
        {
            "size": Slider("batch size", 3, SIZES, integer=True, book=SIZES),
            "rho": Slider("ρ radius", 0.1, decades(-6, 0), book=[1e-6, 1e-3, 0.1, 1.0]),
            "lr": Slider("η", 0.1, [0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3]),
            "share": Slider("λ₂/λ₁ of a sample", 0.0, [k / 20 for k in range(19)], book=[0.0, 0.5]),
        },
        predict=PREDICTION,
        description="The angle from the top eigenvector of a batch's Hessian to the batch's gradient over a run of "
        "SAM, and their cosine for every batch size",
    )


def draw_alignment(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure and its caption while the runs go on."""
    size, ratio, none = values["size"], values["share"], np.zeros((3, len(SIZES), 0))
    if values["guess"] is None:
        yield alignment_figure(none, size), "The grey ticks mark the directions of the six samples."
    runs = batch_runs(values["lr"], values["rho"], ratio)
    for step in (*range(runs[-1].steps + STEPS_AT_ONCE, END, STEPS_AT_ONCE), END):
        for run in runs:
            run.step(step - run.steps)
        shown = directions(runs) if step > SETTLING else none
        yield alignment_figure(shown, size), describe(shown[2, size - 1], size, ratio)


def alignment_figure(shown: Array, size: int) -> dict[str, Any]:
    """Draw the angles of one batch size and the cosines of all, from `directions`."""
    layout, (top, gradient, cosine) = new_layout(440), shown
    traces = angle_traces(layout, top[size - 1], gradient[size - 1], size) + cosine_traces(layout, cosine, size)
    return {"data": traces, "layout": layout}


def angle_traces(layout: Layout, top: Array, gradient: Array, size: int) -> list[Trace]:
    """Draw the angle from v₁ to ∇L_B against the direction of v₁, at every step of one batch size."""
    range_, ticks = [FIRST_ANGLE, FIRST_ANGLE + 180], range(0, 181, 30)
    label = "direction of v₁ of ∇²L<sub>B</sub> (grey ticks: of the single samples)"
    x_axis = {"label": label, "range": range_, "tickvals": [*ticks], "ticktext": [f"{t}°" for t in ticks]}
    y_axis: Layout = {"label": "from v₁ to ∇L<sub>B</sub>", "standoff": 0, "range": [-96, 96]}
    y_axis |= {"tickvals": [-90, -45, 0, 45, 90], "ticktext": ["−90°", "−45°", "0°", "45°", "90°"]}
    heading = "angle from v₁ to ∇L<sub>B</sub>", f"at every step, batch size {size}"
    axes = add_axes(layout, 1, (0.0, 0.46), (0, 1), heading, x=x_axis, y=y_axis) | {"hoverinfo": "skip"}
    x = (top - FIRST_ANGLE) % 180 + FIRST_ANGLE  # directions have no sign
    y = (gradient - top + 90) % 180 - 90
    samples = np.repeat(np.array(ANGLES, float), 3), np.tile([-96.0, -84.0, np.nan], len(ANGLES))
    traces = [
        line(range_, [0, 0], "aligned", BLUE, 1.5),
        line(*samples, "samples", GREY, 3),
        marks(x, y, "steps", VERMILION, 7),
    ]
    traces[-1]["marker"]["opacity"] = 0.45
    return [trace | axes for trace in traces]


def cosine_traces(layout: Layout, cosines: Array, size: int) -> list[Trace]:
    """Draw the cosines of every batch size as a strip of points, with their means."""
    x_axis = {"label": "batch size", "tickvals": [*SIZES], "range": [0.4, len(SIZES) + 0.6], "showgrid": False}
    y_axis = {"range": [-0.03, 1.14], "tickvals": [0, 0.25, 0.5, 0.75, 1]}
    heading = "|cos(∇L<sub>B</sub>, v₁)|", "at every step, and its mean"
    axes = add_axes(layout, 2, (0.56, 1.0), (0, 1), heading, x=x_axis, y=y_axis) | {"hoverinfo": "skip"}
    offset = 0.28 * (2 * ((np.arange(cosines.shape[1]) * 0.6180339887) % 1) - 1)  # evenly spread over a strip
    traces = []
    for each, cosine in zip(SIZES, cosines):
        color, opacity = (VERMILION, 0.5) if each == size else (GREY, 0.3)
        traces.append(marks(each + offset, cosine, f"strip {each}", color, 4))
        traces[-1]["marker"]["opacity"] = opacity
    if cosines.shape[1]:
        x, mean = np.array(SIZES, float), cosines.mean(1)
        colors = [VERMILION if each == size else INK for each in SIZES]
        texts = [f"<b>{value:.3f}</b>" for value in mean]
        traces.append(marks(x, mean, "means", INK, 34, "line-ew", (INK, 3)))
        traces.append(text(x, np.full(len(x), 1.075), texts, "mean names", colors, "middle center"))
    return [trace | axes for trace in traces]


def describe(cosine: Array, size: int, ratio: float) -> str:
    """Compare the alignment of one batch size with what the paper proves."""
    if not len(cosine):
        return "The runs approach the minimum."
    result = f"Batch size {size} of {len(SIZES)}: the mean of |cos(∇L_B, v₁)| is {cosine.mean():.3f}"
    result += f", and its minimum is {cosine.min():.3f}."
    if size == len(SIZES):
        return f"{result} All batches have the same Hessian: Theorem 4.8 predicts 1."
    if size == 1 and ratio == 0:
        return f"{result} Each sample has rank one: Lemma 5.5 predicts exactly 1."
    if size == 1:
        return f"{result} The samples have a second eigenvalue, so Lemma 5.5, which assumes rank one, does not apply."
    return f"{result} The batches have neither rank one nor one Hessian. x scales with ρ, so ρ changes nothing here."
