"""Theorems 4.5 and 5.4, Example 5.8: SAM with one sample a step, with all, and with the batch sizes between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samviz.claims.subjects import interpolating
from samviz.dynamics import Diverged, Run, engines, limiting_flow
from samviz.figures import drawing as draw
from samviz.figures.drawing import Array, Layout, Trace, line, marks, note
from samviz.figures.style import BLUE, GREY, INK, VERMILION
from samviz.lab import Button, Panel, PredictChoice, PredictPlace, Slider, decades
from samviz.lab.panel import Drawing
from samviz.panels.valley import MINIMIZERS, floor_axes, floor_curvature, point_text, start_mark
from samviz.problems import Problem, Quadratic, quadratic, valley
from samviz.problems.problem import one_thread

EQUATIONS = (("Eq. 7", "dash"), ("Eq. 18", "dot"))

# ---- the valley: all samples, and one sample a step

FIRST_START, X3_X4 = (0.3, 0.9), 0.05
TAU, FRAMES = 2.0, 80  # τ = ηρ²t at the end, up to the rounding of steps, and measurements until then
WHERE_ONE_SAMPLE_ENDS = PredictPlace(
    "SAM with all samples ends at (0, 0), where λ₁ is smallest (blue). Where does SAM end if each step uses only one "
    "of the two samples?",
    start=(0.5, 0.5),
    replies=[
        (0.0, 0.0, 0.16, "This is where λ₁ of the whole loss is smallest. But each step only sees λ₁ of one sample."),
        (1.0, 1.0, 0.2, "There λ_M is smallest, which exact descent on L_Asc minimizes. One sample has no other λ_M."),
        (*MINIMIZERS["trace"], 0.16, "The samples take turns, and each lowers its own λ₁. Their mean is the trace."),
        (*FIRST_START, 0.15, "The noise of the samples does not average out: each sample lowers its own λ₁."),
    ],
    otherwise="Each step lowers λ₁ of the sample that it uses, and the mean of the samples' λ₁ is the trace.",
)


def one_sample_panel() -> Panel:
    """Ask where SAM with one sample a step ends on the valley's floor, and show its path next to full-batch SAM's.

    Source: Theorems 4.5 and 5.4, Figure 1.

    >>> panel = one_sample_panel()
    >>> panel.set(guess="skipped")
    >>> panel.sentence.split(". ")[1]
    'One sample a step: (0.79, 0.13), and the trace is smallest at (0.80, 0.14)'
    """
    rates = [0.001, 0.002, 0.004, 0.008, 0.012, 0.016]
    return Panel(
        draw_one_sample,
        {
            "lr": Slider("η", 0.002, rates, book=[0.002, 0.012]),
            "rho": Slider("ρ radius", 0.3, [0.1, 0.15, 0.2, 0.3, 0.4], book=[0.15, 0.3]),
            "again": Button("Other samples"),
        },
        predict=WHERE_ONE_SAMPLE_ENDS,
        drag={"start": FIRST_START},
        description="Paths of SAM with all samples and with one sample a step on the valley's floor, and the trace and "
        "λ₁ along them",
    )


def draw_one_sample(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield full-batch SAM's run, and then the figure with both runs while that with one sample goes on."""
    lr, rho, asked = values["lr"], values["rho"], values["guess"] is None
    start = np.clip(values["start"], 0.0, 1.0)
    spacing = max(1, round(TAU / FRAMES / (lr * rho**2)))  # steps between two measurements
    tau = spacing * lr * rho**2 * np.arange(FRAMES + 1)
    paths = []
    for size in (None, 1):
        x0, path = [*start, X3_X4, X3_X4], [start]
        run = Run(valley(), "sam", lr, rho, size, x0, seed=values["again"], device="cpu")
        paths.append(path)
        for _ in range(FRAMES):
            try:
                run.step(spacing)
            except Diverged:
                yield floor_figure(paths, tau, asked), f"The run diverges at η = {lr:g}: lower η."
                return
            path.append(run.x[0, :2].numpy().copy())
            if size:
                where = f"{point_text(path[-1])}, and the trace is smallest at {point_text(MINIMIZERS['trace'])}"
                said = f"τ = ηρ²t = {run.steps * lr * rho**2:.2f}. One sample a step: {where}."
                yield floor_figure(paths, tau, asked), f"{said} With a smaller η the run ends closer to that point."
        if asked:
            yield floor_figure(paths, tau, asked), "The blue path is that of SAM with all samples."


def floor_figure(paths: list[list[Array]], tau: Array, asked: bool) -> dict[str, Any]:
    """Draw the paths on the floor, after the prediction over contours of the trace, and the curvature along them."""
    layout = draw.new_layout(430, left=48, right=92)
    floor_axes(layout, (0.0, 0.4), ("the floor Γ", "" if asked else "over the contours of the trace"))
    grid, level = floor_curvature()
    traces = [] if asked else [draw.contours(grid, grid, level["trace"], "level", pale=True, ncontours=16)]
    styles = [("all samples", BLUE, "square", (-0.04, 0.12)), ("one sample", VERMILION, "triangle-up", (0.72, 0.3))]
    for path, (name, color, symbol, (x, y)) in zip(paths, styles):
        x1, x2 = np.array(path).T
        traces += [line(x1, x2, name, color, 3), marks(x1[-1:], x2[-1:], f"{name} now", color, 12, symbol)]
        layout["annotations"].append(note(f"<b>{name}</b>", x, y, "x", "y", color))
    traces.append(start_mark((float(paths[0][0][0]), float(paths[0][0][1]))))
    eigenvalues = [valley().eigenvalues(torch.from_numpy(np.array(path))).numpy() for path in paths]  # (points, 2)
    upper, lower = ((0.57, 1.0), 40, {"showticklabels": False}), ((0.0, 0.43), 30, {"label": "τ = ηρ²t"})
    for number, quantity, of_pair, (row, high, ticks) in ((2, "trace", np.sum, upper), (3, "λ₁", np.max, lower)):
        heading, x_axis, y_axis = (quantity, "along the runs"), ticks | {"range": [0, TAU]}, {"range": [0, high]}
        axes = draw.add_axes(layout, number, (0.5, 1.0), row, heading, x=x_axis, y=y_axis)
        labels = []
        for pairs, (name, color, *_) in zip(eigenvalues, styles):
            values = of_pair(pairs, axis=1)
            traces.append(line(tau[: len(values)], values, f"{quantity} {name}", color, 3) | axes)
            labels.append((TAU, float(values[-1]), f"<b>{name}</b>", color))
        traces.append(draw.end_labels(labels, y_axis, f"names {quantity}", 0.12) | axes)
    return {"data": traces, "layout": layout}


# ---- a network that interpolates 5 points: every batch size

RADII = (0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2)
SEEDS = 12  # runs per batch size
STEPS, MEASUREMENTS = 400, 10
WHICH_LOWER_LEAST = PredictChoice(
    "All runs start at the same minimum and have the same η and ρ. Which batch sizes lower λ₁ least?",
    options={
        "one": "One sample.",
        "between": "Those between one and all five.",
        "all": "All five samples.",
        "equal": "There is no difference.",
    },
    replies={
        "one": "You assumed that 1-SAM minimizes the trace, so λ₁ decreases slowly. But λ₁ is a part of the trace, and "
        "each sample contributes its own λ₁.",
        "between": "Neither the rank of a sample's Hessian nor the same Hessian in every step aligns their gradient.",
        "all": "With all samples the gradient is aligned as well, because every step has the same Hessian.",
        "equal": "The mean of the batches' gradients is the same, but the drift depends on how well each is aligned.",
    },
)
END = 1.0  # τ up to which the limiting flows are known
FASTER = 1.8  # the axes reach as far as the flows at 1.8 times τ, since runs with finite η and ρ are faster


@cache
def flows() -> tuple[Array, Array]:
    """Return times τ, (times,), and λ₁ and trace along the flows of Eq. 7 and Eq. 18, (2, 2, times)."""
    problem, x0 = interpolating()
    times = END * np.linspace(0, 1, 61) ** 2  # the flows are fastest at first
    flows = limiting_flow(problem, x0, "worst", times=times), limiting_flow(problem, x0, "average", times=times)
    return times, np.stack([top_and_trace(problem, flow.x[:, 0]) for flow in flows])


def project(problem: Problem, x: Tensor) -> Tensor:
    """Return Φ(x) of points (runs, dim) near Γ of a square loss ½f² by Gauss–Newton, up to the distance squared."""
    # At the iterates themselves, oscillations of size ρ would hide the slow change of the curvature.
    batch = torch.arange(problem.samples).repeat(len(x))[:, None]
    for _ in range(3):
        loss, gradient = problem.gradient(x.repeat_interleave(problem.samples, 0), batch)
        outputs = (2 * loss).sqrt().view(len(x), -1)  # |f_k|
        jacobian = gradient.view(len(x), problem.samples, -1) / outputs.clamp_min(1e-150)[..., None]  # ±∇f_k
        x = x - (torch.linalg.pinv(jacobian) @ outputs[..., None])[..., 0]
    return x


def top_and_trace(problem: Problem, x: Tensor) -> Array:
    """Return λ₁ and trace at points (points, dim), (2, points)."""
    values = torch.linalg.eigvalsh(problem.hessian(x))
    return torch.stack((values[:, -1], values.sum(1))).numpy()


class BatchRuns:
    """Runs of every batch size, and by how much λ₁ and trace have decreased at the projections of their iterates."""

    def __init__(self, lr: float, rho: float, again: int) -> None:
        """Prepare the runs at the same minimum."""
        self.problem, x0 = interpolating()
        self.tau, self.steps = lr * rho**2, 0
        self.start = top_and_trace(self.problem, x0[None])[:, 0]
        self.runs = [
            Run(self.problem, "sam", lr, rho, size, x0.expand(SEEDS, -1), seed=SEEDS * again, device="cpu")
            for size in range(1, self.problem.samples + 1)
        ]
        self.mean, self.error = np.zeros((2, 2, len(self.runs)))  # of the decrease of λ₁ and trace, (2, sizes)

    def advance(self) -> None:
        """Advance all batch sizes to the next measurement; NaN marks a diverged run."""
        self.steps += STEPS // MEASUREMENTS
        for i, run in enumerate(self.runs):
            with suppress(Diverged):  # the caption reports it
                run.step(STEPS // MEASUREMENTS)
            decrease = np.full((2, SEEDS), np.nan)
            if not bool((run.diverged_at >= 0).any()):
                with one_thread(run.problem):
                    decrease = self.start[:, None] - top_and_trace(run.problem, project(run.problem, run.x))
            self.mean[:, i], self.error[:, i] = decrease.mean(1), decrease.std(1, ddof=1) / SEEDS**0.5

    def predicted(self, tau: float) -> Array:
        """Return the decrease of λ₁ and trace at a time by Eq. 7 and by Eq. 18, (2 quantities, 2 equations)."""
        times, flow = flows()
        return np.array([[self.start[i] - np.interp(tau, times, flow[j, i]) for j in range(2)] for i in range(2)])


def batch_panel() -> Panel:
    """Show by how much SAM with every batch size lowers λ₁ and the trace from one minimum.

    Source: Theorems 4.5 and 5.4, Eqs. 7 and 18.

    >>> panel = batch_panel()
    >>> panel.set(guess="skipped")
    >>> panel.sentence.split(". ")[0]
    'Step 400, τ = ηρ²t = 0.18'
    """
    return Panel(
        draw_batches,
        {
            "lr": Slider("η", 0.02, [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06], book=[0.02, 0.04]),
            "rho": Slider("ρ radius", 0.15, RADII, book=[0.05, 0.08, 0.1, 0.15, 0.2]),
            "again": Button("Other samples"),
        },
        predict=WHICH_LOWER_LEAST,
        description="By how much the largest eigenvalue and the trace of the Hessian decrease, for every batch size",
    )


def draw_batches(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure and its caption at the start and while the runs go on."""
    runs = BatchRuns(values["lr"], values["rho"], values["again"])
    at_start = f"All runs start at a minimum with λ₁ = {runs.start[0]:.2f} and trace {runs.start[1]:.2f}."
    yield batches_figure(runs), at_start
    while runs.steps < STEPS:
        runs.advance()
        yield batches_figure(runs), describe_batches(runs)


def batches_figure(runs: BatchRuns) -> dict[str, Any]:
    """Draw the decreases against the batch size with error bars, and the predictions as lines."""
    layout, traces, sizes = draw.new_layout(400, right=60), [], np.arange(1.0, len(runs.runs) + 1)
    high, predicted = runs.predicted(min(FASTER * runs.tau * STEPS, END)), runs.predicted(runs.tau * runs.steps)
    names = ["1"] + [f"{size:g}" for size in sizes[1:-1]] + [f"all {len(sizes)}"]
    x_axis: Layout = {"label": "batch size", "tickvals": sizes, "ticktext": names, "range": [0.5, sizes[-1] + 0.5]}
    for i, (name, column) in enumerate((("λ₁", (0.0, 0.41)), ("trace", (0.56, 0.97)))):
        y_axis = {"range": [0, high[i].max() * 1.1], "nticks": 6}
        heading = f"decrease of {'the ' * i}{name}", "± 2 standard errors"
        axes = draw.add_axes(layout, i + 1, column, (0, 1), heading, x=x_axis, y=y_axis)
        colors = [VERMILION, *[GREY] * (len(sizes) - 2), BLUE]
        symbols = ["triangle-up", *["circle"] * (len(sizes) - 2), "square"]
        points = marks(sizes, runs.mean[i].copy(), f"{name} decrease", colors, 11, symbols)
        points["error_y"] = {"array": 2 * runs.error[i], "color": INK, "thickness": 2, "width": 6}
        lines: list[Trace] = [
            line([0.5, sizes[-1] + 0.5], [value] * 2, f"{name} {equation}", INK, 1.5, dash)
            for (equation, dash), value in zip(EQUATIONS, predicted[i])
        ]
        labels = [(sizes[-1] + 0.5, float(v), equation, INK) for (equation, _), v in zip(EQUATIONS, predicted[i])]
        traces += [trace | axes for trace in (*lines, points, draw.end_labels(labels, y_axis, f"names {name}", 0.07))]
    return {"data": [trace | {"hoverinfo": "skip"} for trace in traces], "layout": layout}


def describe_batches(runs: BatchRuns) -> str:
    """Compare one sample and all samples with the theorems, and the sizes between them with both."""
    if diverged := [str(size) for size, run in enumerate(runs.runs, 1) if bool((run.diverged_at >= 0).any())]:
        return f"Diverged with batch size {', '.join(diverged)}: η times λ₁ of each sample must be below 2. Lower η."
    predicted = runs.predicted(runs.tau * runs.steps)
    result = (
        f"Step {runs.steps}, τ = ηρ²t = {runs.tau * runs.steps:.3g}. With one sample the trace decreased by "
        f"{runs.mean[1, 0]:.3f} ± {2 * runs.error[1, 0]:.3f} (Eq. 18: {predicted[1, 1]:.3f}), and with all "
        f"{len(runs.runs)} λ₁ by {runs.mean[0, -1]:.3f} (Eq. 7: {predicted[0, 0]:.3f})."
    )
    lower = min(runs.mean[0, 0] - 2 * runs.error[0, 0], runs.mean[0, -1])
    if (runs.mean[0, 1:-1] + 2 * runs.error[0, 1:-1] < lower).all():
        result += " With the batch sizes between them λ₁ decreased less: the theorems do not cover these."
    return result


# ---- Example 5.8: between one sample and all, the gradient of a batch need not be aligned with the batch's v₁

# Samples λ_k a_k a_kᵀ in the plane, each with a top eigenspace of its own
ANGLES, SPECTRUM = (0, 30, 55, 80, 105, 130), (4.0, 3.0, 2.0, 2.0, 2.0, 2.0)  # degrees, eigenvalues
SIZES = tuple(range(1, len(ANGLES) + 1))
SETTLING, LAST_STEP, STEPS_AT_ONCE = 200, 600, 50  # the first step that is shown, the last one, and steps taken at once
FIRST_ANGLE = -25  # degrees at which the axis of the directions begins

IS_ALIGNED = PredictChoice(
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


def quadratic_samples(ratio: float) -> Quadratic:
    """Return the mean of six samples λ_k(a aᵀ + ratio·b bᵀ) with b orthogonal to a; ratio = 0 gives rank one."""
    turn = np.deg2rad(ANGLES)
    a, b = np.stack((np.cos(turn), np.sin(turn)), 1), np.stack((-np.sin(turn), np.cos(turn)), 1)
    parts = a[:, :, None] * a[:, None, :] + ratio * b[:, :, None] * b[:, None, :]
    return quadratic(np.array(SPECTRUM)[:, None, None] * parts)


@cache
def batches(size: int) -> Tensor:
    """Return the sample indices that a run with seed 0 draws, (steps, size)."""
    return torch.from_numpy(engines.batches((0,), 0, LAST_STEP, size, len(SIZES))[:, 0])


@lru_cache(8)
def batch_runs(lr: float, rho: float, ratio: float) -> list[Run]:
    """Return a run of SAM for every batch size, which starts at a distance of about ρ from the minimum."""
    x0 = rho * torch.tensor([1.0, 0.7], dtype=torch.float64)
    return [
        Run(quadratic_samples(ratio), "sam", lr, rho, size, x0, device="cpu", trail=LAST_STEP + 1) for size in SIZES
    ]


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
        predict=IS_ALIGNED,
        description="The angle from the top eigenvector of a batch's Hessian to the batch's gradient over a run of "
        "SAM, and their cosine for every batch size",
    )


def draw_alignment(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure and its caption while the runs go on."""
    size, ratio, none = values["size"], values["share"], np.zeros((3, len(SIZES), 0))
    if values["guess"] is None:
        yield alignment_figure(none, size), "The grey ticks mark the directions of the six samples."
    runs = batch_runs(values["lr"], values["rho"], ratio)
    for step in (*range(runs[-1].steps + STEPS_AT_ONCE, LAST_STEP, STEPS_AT_ONCE), LAST_STEP):
        for run in runs:
            run.step(step - run.steps)
        shown = directions(runs) if step > SETTLING else none
        yield alignment_figure(shown, size), describe_alignment(shown[2, size - 1], size, ratio)


def alignment_figure(shown: Array, size: int) -> dict[str, Any]:
    """Draw the angles of one batch size and the cosines of all, from `directions`."""
    layout, (top, gradient, cosine) = draw.new_layout(440), shown
    traces = angle_traces(layout, top[size - 1], gradient[size - 1], size) + cosine_traces(layout, cosine, size)
    return {"data": traces, "layout": layout}


def angle_traces(layout: Layout, top: Array, gradient: Array, size: int) -> list[Trace]:
    """Draw the angle from v₁ to ∇L_B against the direction of v₁, at every step of one batch size."""
    range_, ticks = [FIRST_ANGLE, FIRST_ANGLE + 180], range(0, 181, 30)
    label = "direction of v₁ (grey ticks: of the samples)"
    x_axis = {"label": label, "range": range_, "tickvals": [*ticks], "ticktext": [f"{t}°" for t in ticks]}
    y_axis: Layout = {"label": "from v₁ to ∇L<sub>B</sub>", "standoff": 0, "range": [-96, 96]}
    y_axis |= {"tickvals": [-90, -45, 0, 45, 90], "ticktext": ["−90°", "−45°", "0°", "45°", "90°"]}
    heading = "angle from v₁ to ∇L<sub>B</sub>", f"at every step, batch size {size}"
    axes = draw.add_axes(layout, 1, (0.0, 0.46), (0, 1), heading, x=x_axis, y=y_axis) | {"hoverinfo": "skip"}
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
    axes = draw.add_axes(layout, 2, (0.56, 1.0), (0, 1), heading, x=x_axis, y=y_axis) | {"hoverinfo": "skip"}
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
        traces.append(draw.text(x, np.full(len(x), 1.075), texts, "mean names", colors, "middle center"))
    return [trace | axes for trace in traces]


def describe_alignment(cosine: Array, size: int, ratio: float) -> str:
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
