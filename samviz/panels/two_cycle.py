"""Theorem 4.8: SAM on a quadratic converges to a 2-cycle along v₁, and gradient descent does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from samviz.claims.ablation import cycle_multiplier
from samviz.claims.subjects import cycle_size
from samviz.dynamics import Diverged, Run
from samviz.figures.drawing import LOG, Array, Layout, Trace, add_axes, end_labels, line, marks, new_layout, text
from samviz.figures.style import BLUE, GREY, HALO, INK, ORANGE, PLUM, VERMILION
from samviz.lab import PredictDirection
from samviz.lab.controls import Choice, Slider, decades
from samviz.lab.panel import Drawing, Panel
from samviz.problems import quadratic

TOP = 2.0  # λ₁
STEPS, STEPS_AT_ONCE = 100, 25
EXTENT = 1.4  # the plane is drawn on [−1.4, 1.4]²
ARROWS = 17  # per side
LONGEST_ARROW = 0.11
LAST = 8  # iterates that are highlighted
LENGTHS = (-4.0, 1.0)  # range of the lengths' axis, powers of ten
RULE_NAMES = {"sam": "SAM", "gd": "gradient descent"}
COLORS, DASHES = {"sam": VERMILION, "gd": BLUE}, {"sam": "solid", "gd": "dot"}
PAIR = ("sam", "gd")  # the runs, in their order in the batch
ASK = PredictDirection(
    "SAM takes 100 steps from the start. Along which line through the minimum does x lie then?",
    start=30,
    center=(0.0, 0.0),
    radius=1.2,
    replies=[
        (-15, 15, "That is v₁, the direction of the largest curvature, and SAM ends there from almost every start."),
        (78, 102, "That is v₂, where gradient descent ends, because it shrinks the component along v₁ first."),
        (53, 74, "That is the direction of the start. But SAM turns: only the cycle along v₁ is stable."),
    ],
    otherwise="SAM ends along v₁, the horizontal axis: only the cycle along v₁ is stable.",
)


@lru_cache(8)
def step_field(rule: str, lr: float, rho: float, ratio: float) -> Array:
    """Return points of the plane and the step of the rule from each, (2, arrows, 2)."""
    centers = np.linspace(-EXTENT, EXTENT, ARROWS + 1)[:-1] + EXTENT / ARROWS + 1e-3  # shifted, so that none is 0
    points = np.stack(np.meshgrid(centers, centers), -1).reshape(-1, 2)
    run = Run(quadratic([TOP, ratio * TOP]), rule, lr, rho, x0=torch.from_numpy(points), device="cpu")
    run.step(1)
    return np.stack((points, run.x.numpy() - points))


def cycle_panel() -> Panel:
    """Show SAM's 2-cycle on a quadratic: the steps from a grid of points, and an orbit whose start is dragged.

    Source: Theorem 4.8; Bartlett, Long & Bousquet (2022).

    >>> panel = cycle_panel()
    >>> panel.set(guess="skipped", lr=0.25, rho=0.3)
    >>> panel.sentence.split(". ")[1]
    '100 steps from (0.5, 1): |cos(x, v₁)| = 1.0000, ‖x‖ = 0.1, predicted 0.1'
    """
    rates = [k / 50 for k in range(1, 56)]
    ratios = [0.02, 0.05, *(k / 20 for k in range(2, 19)), 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0]
    return Panel(
        draw_cycle,
        {
            "lr": Slider("η (λ₁ = 2)", 0.4, rates, 0.001, book=[0.1, 0.2, 0.4, 0.6, 0.8, 0.98]),
            "rho": Slider("ρ radius", 0.8, decades(-2, 0), book=[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]),
            "share": Slider("λ₂/λ₁", 0.95, ratios, book=[0.5, 0.95, 1.0]),
            "rule": Choice("rule", "sam", RULE_NAMES, book=["sam", "gd"]),
        },
        predict=ASK,
        drag={"x": (0.5, 1.0)},
        description="The steps of SAM or of gradient descent on a quadratic as arrows, with an orbit; its direction "
        "and its length against the step",
    )


def draw_cycle(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the start, and then the figure and its caption while SAM and gradient descent go on."""
    rule, lr, rho, ratio = (values[name] for name in ("rule", "lr", "rho", "share"))
    # SAM with ρ = 0 is gradient descent, bit for bit, so one batch holds both runs.
    problem = quadratic([TOP, ratio * TOP])
    run = Run(problem, "sam", lr, [rho, 0.0], x0=[values["x"]] * 2, device="cpu", trail=STEPS + 1)
    shown, size, field = PAIR.index(rule), np.nan, np.zeros((2, 0, 2))
    for step in range(0, STEPS + 1, STEPS_AT_ONCE):
        if step:
            size = float(cycle_size(lr, rho, TOP)) if lr * TOP < 2 else np.inf
            field = step_field(rule, lr, rho if rule == "sam" else 0.0, ratio)
            with suppress(Diverged):  # the caption reports it
                run.step(STEPS_AT_ONCE)
        paths = torch.stack(list(run.trail)).numpy()  # (steps + 1, 2 runs, 2)
        for i, last in enumerate(run.diverged_at.tolist()):
            if last >= 0:  # a diverged run keeps its last iterate
                paths[last + 1 :, i] = np.nan
        path = paths[np.isfinite(paths[:, shown, 0]), shown]
        layout = new_layout(470, left=52, right=10, top=46)
        traces = plane_traces(layout, rule, paths[:, shown], field, ratio, size)
        traces += step_traces(layout, rule, paths if step else paths * np.nan, size)
        start = f"The start is ({path[0, 0]:g}, {path[0, 1]:g}), and λ₂ = {ratio:g} λ₁."
        said = describe(path, rule, lr, ratio, size, bool(run.diverged_at[shown] >= 0)) if step else start
        yield {"data": traces, "layout": layout}, said


def plane_traces(layout: Layout, rule: str, path: Array, field: Array, ratio: float, size: float) -> list[Trace]:
    """Draw the steps from a grid of points, the orbit and the predicted cycle; the trace "x" is the start."""
    square: Layout = {"range": [-EXTENT, EXTENT], "constrain": "domain"}
    x_axis = square | {"label": "along v₁", "constraintoward": "left"}
    y_axis = square | {"label": "along v₂", "standoff": 0, "scaleanchor": "x", "constraintoward": "top"}
    heading = "the bowl", f"<br>arrows: one step of {RULE_NAMES[rule]}, long ones shortened"
    axes = add_axes(layout, 1, (0.0, 0.435), (0, 1), heading, x=x_axis, y=y_axis) | {"hoverinfo": "skip"}
    (x, y), (late_x, late_y), color = path.T, path[-LAST:].T, COLORS[rule]
    cycle = size if rule == "sam" and size <= EXTENT else np.nan
    label_x, label_y = [min(cycle, EXTENT - 0.5), x[0]], [-0.1, y[0] + 0.12]
    positions = ["bottom center", "top center"]
    traces = [
        line(*level_sets(ratio), "level sets", "#dbe6ef", 1.2),
        line(*arrows(*field), "steps", GREY, 1.3),
        marks(x, y, "orbit", ORANGE, 5, mode="lines+markers", line={"color": ORANGE, "width": 1.3}),
        marks(late_x, late_y, "last steps", color, 9, mode="lines+markers", line={"color": color, "width": 2.5}),
        marks([-cycle, cycle], [0.0, 0.0], "predicted cycle", PLUM, 19, "circle-open", (PLUM, 2.5), cliponaxis=False),
        text(label_x, label_y, ["predicted", "start"], "names", [PLUM, INK], positions, shadow=HALO),
        marks(x[:1], y[:1], "x", INK, 18, "circle-open", (INK, 2), cliponaxis=False),
    ]
    return [trace | axes for trace in traces]


def step_traces(layout: Layout, rule: str, paths: Array, size: float) -> list[Trace]:
    """Draw the alignment with v₁ and the length of both runs against the step, with the predicted length."""
    lengths = np.linalg.norm(paths, axis=2)  # (steps + 1, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.abs(paths[:, :, 0]) / lengths
    column, step, steps = (0.525, 0.87), np.arange(len(paths), dtype=float), {"range": [0, STEPS]}
    unit: Layout = {"range": [-0.04, 1.06], "tickvals": [0, 0.5, 1]}
    log: Layout = {"range": list(LENGTHS), "dtick": 1, **LOG}
    asked = np.isnan(paths).all()  # before the answer the heading must not name v₁
    upper = ("direction", "of x") if asked else ("alignment", "|cos(x, v₁)|")
    lower = "length", "‖x‖, dashed: Theorem 4.8"
    cos_axes = add_axes(layout, 2, column, (0.585, 1.0), upper, x=steps | {"showticklabels": False}, y=unit)
    length_axes = add_axes(layout, 3, column, (0.0, 0.43), lower, x=steps | {"label": "step"}, y=log)
    traces, limits = [], 10.0 ** np.array(LENGTHS)
    for name, values, axes in (("cos", cosines, cos_axes), ("length", lengths, length_axes)):
        labels = []
        for i, key in reversed([*enumerate(PAIR)]):  # SAM is drawn last
            width = 2.8 if key == rule else 1.6
            traces.append(line(step, values[:, i], f"{name} {key}", COLORS[key], width, DASHES[key]) | axes)
            if len(known := values[np.isfinite(values[:, i]), i]):
                label = RULE_NAMES[key].replace(" ", "<br> ")
                labels.append((STEPS, np.clip(known[-1], *limits), label, COLORS[key]))
        if name == "length":
            predicted = size if np.isfinite(size) else np.nan
            traces.append(line([0, STEPS], [predicted] * 2, "predicted length", PLUM, 2, "dash") | axes)
            if np.isfinite(size):
                labels.append((STEPS, np.clip(size, *limits), "predicted", PLUM))
        yaxis = layout[f"yaxis{axes['yaxis'][1:]}"]
        traces.append(end_labels(labels, yaxis, f"names {name}", 0.13) | axes)
    return [trace | {"hoverinfo": "skip"} for trace in traces]


def arrows(points: Array, moves: Array) -> tuple[Array, Array]:
    """Return the coordinates of arrows as one line with gaps, (6·arrows,) each: the shaft, and a head of two barbs."""
    length = np.linalg.norm(moves, axis=1, keepdims=True)
    moves = moves * np.minimum(1, LONGEST_ARROW / np.maximum(length, 1e-300))
    tip = points + moves
    reverse, side = -0.35 * moves, 0.22 * np.stack((-moves[:, 1], moves[:, 0]), 1)
    gap = np.full_like(tip, np.nan)
    x, y = np.stack((points, tip, tip + reverse + side, tip, tip + reverse - side, gap), 1).reshape(-1, 2).T
    return x, y


def level_sets(ratio: float) -> tuple[Array, Array]:
    """Return the coordinates of level sets of the quadratic as one line with gaps."""
    angle = np.append(np.linspace(0, 2 * np.pi, 91), np.nan)
    sizes = np.arange(0.2, 1.41, 0.2)[:, None]
    return (sizes * np.cos(angle)).ravel(), (sizes * np.sin(angle) / np.sqrt(ratio)).ravel()


def describe(path: Array, rule: str, lr: float, ratio: float, size: float, diverged: bool) -> str:
    """Compare the end of the path with the theorem."""
    steps, length = len(path) - 1, float(np.linalg.norm(path[-1]))
    if diverged or lr * TOP >= 2:
        return (
            f"ηλ₁ = {lr * TOP:.3g}: from 2 on, a step along v₁ overshoots the minimum by at least the distance to it. "
            f"There is no cycle; ‖x‖ = {length:.2g} after {steps} steps."
        )
    cosine = abs(path[-1, 0]) / length if length else 0.0
    start = f"({path[0, 0]:.3g}, {path[0, 1]:.3g})"
    result = f"ηλ₁ = {lr * TOP:.3g}. {steps} steps from {start}: |cos(x, v₁)| = {cosine:.4f}, ‖x‖ = {length:.4g}"
    if not length:
        return f"{result}. The start is the minimum, and x stays there."
    if rule == "gd":
        first, second = 1 - lr * TOP, 1 - lr * ratio * TOP
        aligned = "x becomes aligned with " + ("v₁" if abs(first) > abs(second) else "v₂")
        end = aligned if abs(first) != abs(second) else "|cos(x, v₁)| does not change"
        return (
            f"{result}; gradient descent converges to 0. A step multiplies the component along v₁ by {first:.3g} and "
            f"that along v₂ by {second:.3g}, so {end}."
        )
    result += f", predicted {size:.4g}."
    if ratio == 1:
        return f"{result} With λ₁ = λ₂ there is no single top direction, and x keeps its direction."
    if path[0, 0] == 0 and path[0, 1] != 0:
        return f"{result} A start exactly on the v₂ axis stays on it: the theorem holds for “almost every start”."
    before = path[-2, 1]
    measured = f"{path[-1, 1] / before:.4g}" if abs(before) > 1e-300 else "(too small to measure)"
    edge = " The theorem assumes ηλ₁ < 1; the cycle exists beyond it." if lr * TOP >= 1 else ""
    factor = cycle_multiplier("sam", lr, TOP, ratio * TOP)
    return f"{result} A step multiplies the component along v₂ by {measured}; predicted {factor:.4g}.{edge}"
