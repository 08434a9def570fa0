"""The 4-D valley: where five methods end on its floor (Figure 1), and the two phases and the clock of Theorem 4.5."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from samviz.dynamics import Diverged, Run, gradient_flow_limit
from samviz.dynamics.theory import PHASE_II
from samviz.figures import drawing as draw
from samviz.figures.drawing import LOG, Array, Interval, Layout, Trace, line, marks, note
from samviz.figures.style import BLUE, GHOST, GREEN, GREY, HALO, INK, ORANGE, PLUM, VERMILION
from samviz.lab import Choice, Panel, PredictNumber, PredictPlace, Slider, decades
from samviz.lab.panel import Drawing
from samviz.problems import valley

# ---- Figure 1: where five methods end on the floor, and which side of the valley each one makes flat

Point = tuple[float, float]


class Method(NamedTuple):
    """An update rule of the figure and its marker."""

    label: str
    rule: str
    minimizes: str  # what it minimizes according to the paper: a key of `LABELS`, or ""
    color: str
    symbol: str


METHODS = {
    "ascent": Method("exact L_Asc", "ascent", "low", GREEN, "diamond"),
    "worst": Method("exact L_Max", "worst", "top", BLUE, "square"),
    "sam": Method("SAM", "sam", "top", VERMILION, "circle"),
    "average": Method("exact L_Avg", "average", "trace", ORANGE, "cross"),
    "gd": Method("gradient descent", "gd", "", GREY, "x"),
}
LABELS = {"top": "λ₁", "low": "λ_M", "trace": "trace"}  # in the order of `curvature_at`
MINIMIZERS = {"top": (0.0, 0.0), "low": (1.0, 1.0), "trace": (0.8, 1 / 7)}  # of each on [0, 1]²
ENDS_THERE = {"top": "SAM, exact L_Max", "low": "flow of λ_M", "trace": "exact L_Avg"}
START = (0.3, 0.6)  # x₁ and x₂
X3_X4 = 0.1  # of the start: L_Asc ends at x₄ = 0.13 if η = 0.001, and x₃ must not underflow before x₄ gets there
RHO = 0.3
TAU = 8.0  # τ = ηρ²t at the end of a run
BLOCKS = 150  # of steps; a path has a point for each
ASCENT_ENDS = {"10⁻³": (0.893, 0.224), "10⁻⁴": (0.972, 0.553), "10⁻⁵": (0.991, 0.812)}  # by η, with ρ = 0.3
ASK = PredictPlace(
    "SAM ends at (0, 0), where λ₁ is smallest. Where on the floor does descent on exact L_Asc end, if η is small?",
    start=(0.5, 0.3),
    replies=[
        (*MINIMIZERS["low"], 0.3, "The smallest λ_M is there, and L_Asc comes closer to it for a smaller η."),
        (*MINIMIZERS["top"], 0.3, "SAM ends there. It is not descent on L_Asc, since it drops a term of the gradient."),
        (*MINIMIZERS["trace"], 0.2, "The trace is smallest there: that is where descent on exact L_Avg ends."),
        (*START, 0.2, "That is what gradient descent on L does."),
    ],
    otherwise="Neither λ₁ nor λ_M nor the trace is smallest there.",
)


class Paths:
    """One run of each method from one start, and the points of their paths."""

    def __init__(self, lr: float, start: Point) -> None:
        """Prepare the runs."""
        x0 = np.array([*start, X3_X4, X3_X4])
        self.runs = {name: Run(valley(), method.rule, lr, RHO, x0=x0, device="cpu") for name, method in METHODS.items()}
        self.points = {name: [x0] for name in METHODS}
        ends = np.linspace(0, 1, BLOCKS + 1) ** 2 * TAU / (lr * RHO**2)  # short blocks first, where the paths turn
        self.blocks = np.diff(ends.round().astype(int)).tolist()

    @property
    def finished(self) -> int:
        """The number of blocks that all methods have finished."""
        return min(map(len, self.points.values())) - 1

    def advance(self) -> Iterator[None]:
        """Take the next block of steps of each method, and yield after each: the first use of a rule compiles it."""
        done = self.finished
        for name, run in self.runs.items():
            if len(self.points[name]) > done + 1:  # the generator was closed in the middle of a block
                continue
            with suppress(Diverged):  # the caption reports it
                run.step(self.blocks[done])
            self.points[name].append(run.x[0].numpy().copy())
            yield

    def path(self, name: str) -> Array:
        """Return x₁ and x₂ of the points, (points, 2)."""
        return np.stack(self.points[name])[:, :2]


paths = lru_cache(20)(Paths)  # panels share the runs


def curvature_at(x: Any) -> tuple[float, float, float]:
    """Return λ₁, λ_M and the trace of the Hessian at the point (x₁, x₂) of the floor."""
    low, top = np.sort(valley().eigenvalues(torch.as_tensor(np.asarray(x, float))).numpy())
    return float(top), float(low), float(top + low)


@cache
def floor_curvature() -> tuple[Array, dict[str, Array]]:
    """Return a grid on [0, 1], (points,), and each of `LABELS` on its square, (points, points)."""
    grid = torch.linspace(-0.06, 1.06, 45, dtype=torch.float64)
    both = valley().eigenvalues(torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1))
    return grid.numpy(), {"top": both.amax(-1).numpy(), "low": both.amin(-1).numpy(), "trace": both.sum(-1).numpy()}


def floor_axes(layout: Layout, column: Interval, heading: tuple[str, str]) -> Trace:
    """Add the axes x₁ and x₂ of the floor; the start is dragged on them."""
    # No `scaleanchor`: its ranges would change with the window's width.
    square: Layout = {"range": [-0.06, 1.06], "tickvals": [0, 0.5, 1]}
    x, y = square | {"label": "x₁", "standoff": 4}, square | {"label": "x₂"}
    return draw.add_axes(layout, 1, column, (0, 1), heading, x=x, y=y)


def start_mark(start: Point) -> Trace:
    """Return the ring that is dragged."""
    return marks([start[0]], [start[1]], "start", "white", 13, edge=(INK, 2))


def ablation_panel() -> Panel:
    """Show Figure 1: where each method ends on the floor of the valley, and which side of the valley becomes flat.

    Source: Figure 1.

    >>> from samviz.panels import ablation_panel
    >>> panel = ablation_panel()
    >>> panel.set(guess="skipped", lr=0.01, method="sam")
    >>> panel.sentence.split(". ")[0]
    'SAM ends at (0.00, 0.00): λ₁ 20.5 → 16.0 (smallest value 16.0), λ_M 6.2 → 12.0.'
    """
    rates = [0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03]
    labels = {name: method.label for name, method in METHODS.items()}
    return Panel(
        draw_ablation,
        {
            "method": Choice("method", "ascent", labels, book=list(METHODS)),
            "lr": Slider("η learning rate", 0.003, rates, book=[0.001, 0.003, 0.01]),
        },
        predict=ASK,
        drag={"start": START},
        description="Paths of five methods on the valley's floor over the contours of what the chosen method "
        "minimizes, and the two sections across the valley before and after",
    )


def draw_ablation(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the floor without paths, and then the paths while the runs go on."""
    start: Point = tuple(float(np.clip(v, 0, 1)) for v in values["start"])  # type: ignore[assignment]
    yield floor_figure(None, values["method"], start), "All methods start at the ring, a little above the floor."
    found = paths(values["lr"], start)
    waiting = floor_figure(None, values["method"], start), "The first time, compiling takes some seconds."
    while found.finished < BLOCKS:
        for _ in found.advance():
            if not found.finished:
                yield waiting
        yield floor_figure(found, values["method"], start), f"{found.runs['sam'].steps:,} steps."
    yield floor_figure(found, values["method"], start), describe_ablation(found, values["method"], start, values["lr"])


def floor_figure(found: Paths | None, chosen: str, start: Point) -> dict[str, Any]:
    """Draw the paths on the floor next to the sections before and after; None draws only the start."""
    layout, method = draw.new_layout(500, left=44, right=10, top=34), METHODS[chosen]
    shown = method.minimizes or "top"
    heading = "the floor", f"contours of {LABELS[shown]}" if found else ""
    axes, (grid, level) = floor_axes(layout, (0.0, 0.56), heading), floor_curvature()
    traces: list[Trace] = []
    if found:
        traces.append(draw.contours(grid, grid, level[shown], "level", pale=True, ncontours=16))
        time = np.linspace(0, 3, 60)
        flow = 1 - (1 - np.array(start)) * np.exp(-np.outer(time, [8, 2]))  # dX/dτ = −½∇λ_M
        traces.append(line(flow[:, 0], flow[:, 1], "flow", GREEN, 2, "dot"))
        x, y = zip(*ASCENT_ENDS.values())
        traces.append(marks(x, y, "ends", "white", 11, "diamond", (GREEN, 2)))
        names = [f"L_Asc, η = {lr}" for lr in ASCENT_ENDS]
        traces.append(draw.text(np.array(x) - 0.025, y, names, "names of ends", GREEN, "middle left", shadow=HALO))
        for name in sorted(METHODS, key=lambda name: name == chosen):  # the chosen one is drawn last
            path, wide = found.path(name), 9 if name == "worst" else 2.5  # SAM's path lies on that of exact L_Max
            here = METHODS[name]
            fade = 1 if name == chosen else 0.55
            traces.append(line(path[:, 0], path[:, 1], here.label, here.color, wide, opacity=fade))
            traces.append(marks(path[-1:, 0], path[-1:, 1], here.label, here.color, 13, here.symbol, ("white", 1.5)))
    traces.append(start_mark(start))
    for name, (x0, y0) in MINIMIZERS.items():
        side, shift = ("right", -14) if x0 > 0.5 else ("left", 14)
        label = f"smallest {LABELS[name]}" + (f": {ENDS_THERE[name]}" if found else "")
        layout["annotations"] += [
            note("✕", x0, y0, "x", "y", xanchor="center", yanchor="middle"),
            note(label, x0, y0, "x", "y", xanchor=side, xshift=shift, yshift=-14 if name != "trace" else -22),
        ]
    if found:
        layout["annotations"].append(note("gradient descent", *start, "x", "y", GREY, xanchor="right", xshift=-12))
    after = curvature_at(found.path(chosen)[-1]) if found else None
    sections = section_traces(layout, curvature_at(start), after, method)
    return {"data": [*(trace | axes for trace in traces), *sections], "layout": layout}


def section_traces(
    layout: Layout, before: tuple[float, ...], after: tuple[float, ...] | None, method: Method
) -> list[Trace]:
    """Draw the loss across the valley, ½λx², along x₃ and along x₄: where the chosen method started and where it is."""
    x, traces = np.linspace(-1, 1, 41), []
    for i, (name, side) in enumerate((("λ₁", "along x₃"), ("λ_M", "along x₄"))):
        row = (0.57, 1.0) if i == 0 else (0.0, 0.43)
        change = f"{before[i]:.1f}" + (f" → {after[i]:.1f}" if after else "")
        low: Layout = {"range": [-1, 1], "tickvals": [-1, 0, 1], "showticklabels": i == 1}
        axes = draw.add_axes(layout, i + 2, (0.66, 1.0), row, (side, f"{name} = {change}"), x=low, y={"range": [0, 13]})
        traces.append(line(x, before[i] / 2 * x**2, f"before {name}", GHOST, 2, "dash") | axes)
        if after:
            traces.append(line(x, after[i] / 2 * x**2, f"after {name}", method.color, 4) | axes)
    return [trace | {"hoverinfo": "skip"} for trace in traces]


def point_text(x: Any) -> str:
    """Format a point of the floor; adding 0.0 turns −0.0 into 0.0."""
    return "({:.2f}, {:.2f})".format(*(round(float(v), 2) + 0.0 for v in x[:2]))


def describe_ablation(found: Paths, chosen: str, start: Point, lr: float) -> str:
    """Describe where the chosen method ends, and how the curvatures have changed."""
    method, end = METHODS[chosen], found.path(chosen)[-1]
    if int(found.runs[chosen].diverged_at) >= 0:
        return f"{method.label} diverged at step {found.runs[chosen].steps:,}: lower η."
    before, after, parts = curvature_at(start), curvature_at(end), []
    for i, (name, label) in enumerate(LABELS.items()):
        if name != "trace" or method.minimizes == "trace":
            smallest = f" (smallest value {curvature_at(MINIMIZERS[name])[i]:.1f})" if name == method.minimizes else ""
            parts.append(f"{label} {before[i]:.1f} → {after[i]:.1f}{smallest}")
    said = f"{method.label[0].upper()}{method.label[1:]} ends at {point_text(end)}: {', '.join(parts)}."
    if chosen == "ascent" and lr < 0.03:
        said += " It stops before (1, 1), where the flow of λ_M ends. The open diamonds show its end for smaller η."
    elif chosen == "ascent":
        said += " With such a large η it behaves like SAM."
    return said


# ---- Theorem 4.5: two phases, the same path at every ρ, and a clock that is proportional to ρ²


FLOW_START, FLOW_X3_X4 = (0.6, 0.6), (0.3, 0.05)
FIRST_RHO = 0.2  # of the run with which the learner's is compared
LEVEL = 18.0  # the λ₁ whose step is asked for
FLOW_END, STEPS_AT_ONCE, STRIDE = 1600, 100, 5  # steps of a run; between two figures; between two points of a curve
SHARPNESS_RANGE, DISTANCE_RANGE = (15.6, 23.4), (-4.0, 0.0)  # the second in powers of ten
WHICH_STEP = PredictNumber(
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
def limit_point(start: Point) -> torch.Tensor:
    """Return Φ(x(0)), (4,), the limit of gradient flow from the start."""
    x0 = torch.tensor([*start, *FLOW_X3_X4], dtype=torch.float64)
    return gradient_flow_limit(valley(), x0, tol=1e-8).x[0]


def flow_on_floor(start: Point, tau: Array) -> Array:
    """Return X(τ), (times, 2): Eq. 7 in closed form from Φ(x(0))."""
    return np.asarray(valley().limiting_flow(limit_point(start), torch.from_numpy(tau)).numpy())


def sharpness(points: Array) -> Array:
    """Return λ₁ = 2F₁ on the floor below each point (points, 2 or more)."""
    return np.asarray(valley().eigenvalues(torch.from_numpy(points))[:, 0].numpy())


def sam_iterates(lr: float, rho: float, start: Point) -> Iterator[Array]:
    """Yield the iterates of SAM so far, (steps + 1, 4), while it goes on."""
    run = Run(valley(), "sam", lr, rho, x0=[*start, *FLOW_X3_X4], device="cpu", trail=FLOW_END + 1)
    while run.steps < FLOW_END:
        try:
            run.step(STEPS_AT_ONCE)
        except Diverged as error:
            raise ValueError(f"{run.why_diverged()} Lower η") from error
        yield torch.cat(list(run.trail)).numpy()


@lru_cache(8)
def first_run(lr: float, start: Point) -> Array:
    """Return the complete run with which the learner's is compared."""
    *_, points = sam_iterates(lr, FIRST_RHO, start)
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
        predict=WHICH_STEP,
        drag={"start": FLOW_START},
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
    for points in sam_iterates(lr, rho, start):
        figure = flow_figure([*runs, (points, rho, VERMILION)], lr, start, values["guess"])
        yield figure, f"{describe_flow(points, lr, rho, start)} With ρ = {FIRST_RHO:g}, {known}."


def flow_figure(runs: list[tuple[Array, float, str]], lr: float, start: Point, guess: Any = None) -> dict[str, Any]:
    """Draw runs, each with its ρ and colour: the last one on the floor, and λ₁ and the distance to Γ of all."""
    layout = draw.new_layout(440, left=44, right=10, top=46, bottom=44)
    floor_axes(layout, (0.0, 0.33), ("the floor Γ", "<br>dark: small λ₁; drag the ring"))
    grid, level = floor_curvature()
    points, _, color = runs[-1]
    flow = flow_on_floor(start, np.linspace(0, 2, 200))
    traces = [
        draw.contours(grid, grid, level["top"], "level", pale=True, ncontours=14),
        line(points[::STRIDE, 0], points[::STRIDE, 1], "path", color, 3.5),
        line(flow[:, 0], flow[:, 1], "flow", INK, 1.8, "dash"),
        marks(points[-1:, 0], points[-1:, 1], "now", color, 11, edge=("white", 1.5)),
        start_mark(start),
    ]
    return {"data": [*traces, *time_traces(layout, runs, lr, start, guess)], "layout": layout}


def time_traces(
    layout: Layout, runs: list[tuple[Array, float, str]], lr: float, start: Point, guess: Any
) -> list[Trace]:
    """Draw λ₁ and the distance to Γ of the runs against the step, and the learner's guess."""
    column, time = (0.43, 0.87), {"range": [0, FLOW_END]}
    height = {"range": list(SHARPNESS_RANGE), "tickvals": [16, 18, 20, 22]}
    heading, phases = ("λ₁ against the step", "<br>— SAM, - - Eq. 7"), ("distance to Γ", "phase I, then phase II")
    axes = draw.add_axes(layout, 2, column, (0.4, 1), heading, x=time | {"showticklabels": False}, y=height)
    log: Layout = {"range": list(DISTANCE_RANGE), "dtick": 2, **LOG}
    below = draw.add_axes(layout, 3, column, (0, 0.24), phases, x=time | {"label": "step t"}, y=log)
    traces = [line([0, FLOW_END], [LEVEL] * 2, "level of λ₁", GREY, 1, "dot") | axes]
    labels, distances = [], []
    for points, rho, color in runs:
        steps = np.arange(0, len(points), STRIDE, dtype=float)
        top, distance = sharpness(points[::STRIDE]), np.linalg.norm(points[::STRIDE, 2:], axis=1)
        flow = sharpness(flow_on_floor(start, steps * lr * rho**2))
        traces += [
            line(steps, top, f"λ₁, {color}", color, 3) | axes,
            line(steps, flow, f"flow of λ₁, {color}", INK, 1.5, "dash") | axes,
            line(steps, distance, f"distance, {color}", color, 2) | below,
        ]
        labels.append((FLOW_END, top[-1], f"ρ = {rho:g}", color))
        distances.append((FLOW_END, distance[-1], f"ρ = {rho:g}", color))
    begin = phase_two(runs[-1][0], lr, runs[-1][1])
    traces.append(line([begin] * 2, 10.0 ** np.array(DISTANCE_RANGE), "phase II", PLUM, 1.5, "dot") | below)
    if isinstance(guess, float) and guess <= FLOW_END:
        traces.append(line([guess] * 2, SHARPNESS_RANGE, "guess", PLUM, 2, "dot") | axes)
        layout["annotations"].append(note("your guess", guess, SHARPNESS_RANGE[1] - 0.5, "x2", "y2", PLUM, xshift=4))
    traces.append(draw.end_labels(labels, layout["yaxis2"], "radii", 0.08) | axes)
    return [*traces, draw.end_labels(distances, layout["yaxis3"], "radii below", 0.2) | below]


def describe_flow(points: Array, lr: float, rho: float, start: Point) -> str:
    """Compare the step where λ₁ falls below the level with Eq. 7."""
    top, tau = sharpness(points), np.linspace(0, 1, 10_001)
    text = f"With ρ = {rho:g} and η = {lr:g}, phase II begins at step {phase_two(points, lr, rho)}. {crossing(top)}"
    if first_below(top) in (0, len(top)):
        return f"{text}."
    predicted = tau[first_below(sharpness(flow_on_floor(start, tau)))] / (lr * rho**2)
    return f"{text}; Eq. 7 predicts step {predicted:,.0f}."
