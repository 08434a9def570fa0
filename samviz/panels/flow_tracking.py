"""The two phases of SAM on the valley: the iterate, the limiting flow of Theorem 4.5 or 5.4, and their distance."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics import Diverged, History, Run, gradient_flow_limit, phase_boundary
from samviz.figures.drawing import LOG, Layout, Trace, add_axes, contours, end_labels, line, marks, new_layout, note
from samviz.figures.style import BLUE, GREEN, GREY, INK, PLUM, VERMILION
from samviz.lab.controls import Choice, Slider, decades
from samviz.lab.panel import Drawing, Panel
from samviz.panels.valley_methods import floor_axes, floor_curvature, start_mark
from samviz.problems import Valley, valley

Array = NDArray[np.float64]

START, X3_X4 = (0.6, 0.6), (0.3, 0.05)
TAU, MAX_STEPS = 1.0, 20_000  # τ = ηρ²t at the end of a run, and its steps at most
TAU_COMPARED = 0.5  # τ at which the tracking error is measured
STEPS_AT_ONCE = 20  # between two opportunities to handle control events
LEARNING_RATES, RADII = (0.03, 0.015, 0.0075), (0.2, 0.1)  # of the runs that show how the error depends on η and ρ
RADIUS_MARKS = (("circle-open", GREEN, 13), ("square", PLUM, 7))  # one may lie on the other
KINDS = {"worst": "full batch: Eq. 7, λ₁", "average": "1-SAM: Eq. 18, trace"}
EQUATIONS = {"worst": "Eq. 7", "average": "Eq. 18"}
LR_RANGE, ERROR_RANGE = (-2.5, -1.4), (-2.6, 0.0)  # of the third axes, powers of ten


class Case(NamedTuple):
    """A limiting flow and the start (x₁, x₂) of the runs."""

    kind: Literal["worst", "average"]  # full-batch SAM and Eq. 7, or 1-SAM and Eq. 18
    start: tuple[float, float]

    @property
    def problem(self) -> Valley:
        """The valley; for 1-SAM its two terms are the samples, and the loss is their mean (Setting 5.1)."""
        return valley(mean=self.kind == "average")

    @property
    def x0(self) -> Tensor:
        """The start, (4,)."""
        return torch.tensor([*self.start, *X3_X4], dtype=torch.float64)

    def run(self, lr: Any, rho: Any, x0: Tensor) -> Run:
        """Prepare SAM."""
        return Run(self.problem, "sam", lr, rho, 1 if self.kind == "average" else None, x0, device="cpu")


@lru_cache(8)
def limit_point(case: Case) -> Tensor:
    """Return Φ(x(0)), (4,), the limit of gradient flow from the start."""
    return gradient_flow_limit(case.problem, case.x0, tol=1e-8).x[0]


def limiting_flow(case: Case, tau: Any) -> Array:
    """Return X(τ), (times, 2): Eq. 7 or Eq. 18 in closed form from Φ(x(0))."""
    times = torch.as_tensor(np.atleast_1d(np.asarray(tau, float)))
    return np.asarray(case.problem.limiting_flow(limit_point(case), times, case.kind).numpy())


def tracking_error(case: Case, x: Tensor, tau: float) -> float:
    """Return ‖Φ(x) − X(τ)‖ of an iterate x (4,)."""
    limit = gradient_flow_limit(case.problem, x, tol=1e-8).x[0, :2].numpy()
    return float(np.linalg.norm(limit - limiting_flow(case, tau)[0]))


class ErrorGrid:
    """Runs of a case at every η and ρ of a grid, in one batch, and the tracking errors that are known so far."""

    def __init__(self, case: Case) -> None:
        """Prepare the runs."""
        self.case = case
        self.lr, self.rho = np.array([(lr, rho) for rho in RADII for lr in LEARNING_RATES]).T
        self.compared_at = np.round(TAU_COMPARED / (self.lr * self.rho**2)).astype(int)
        self.error = np.full(len(self.lr), np.nan)
        self.chosen: dict[tuple[float, float], float] = {}  # errors of the learner's own runs, by (η, ρ)
        self.run = case.run(self.lr, self.rho, case.x0.expand(len(self.lr), -1))

    def advance(self) -> Iterator[None]:
        """Take the remaining steps, a few at a time."""
        while self.run.steps < self.compared_at.max():
            next_stop = self.compared_at[self.compared_at > self.run.steps].min()
            self.run.step(int(min(STEPS_AT_ONCE, next_stop - self.run.steps)))
            for i in np.flatnonzero(self.compared_at == self.run.steps):
                tau = self.run.steps * self.lr[i] * self.rho[i] ** 2
                self.error[i] = tracking_error(self.case, self.run.x[i], tau)
            yield

    def known(self, rho: float) -> tuple[Array, Array]:
        """Return η and the errors at one ρ that are known."""
        on = np.isfinite(self.error) & (self.rho == rho)
        return self.lr[on], self.error[on]

    def exponent(self) -> float:
        """Return the slope of log error against log η at the smallest ρ; NaN while an error is unknown."""
        lr, error = self.known(RADII[-1])
        return float(np.polyfit(np.log(lr), np.log(error), 1)[0]) if len(lr) == len(LEARNING_RATES) else np.nan


error_grid = lru_cache(8)(ErrorGrid)


class TrackedRun:
    """A run from its start to τ = 1, with the iterates so far."""

    def __init__(self, case: Case, lr: float, rho: float) -> None:
        """Prepare the run."""
        self.case, self.lr, self.rho, self.tau = case, lr, rho, lr * rho**2  # τ per step
        self.run = case.run(lr, rho, case.x0)
        self.end, self.compared_at = min(MAX_STEPS, round(TAU / self.tau)), round(TAU_COMPARED / self.tau)
        self.steps, self.points, self.history = [0.0], [self.run.x[0].numpy()], History()
        self.history.append(self.phase_measurement())
        self.error: float | None = None  # once τ = ½ is reached

    def advance(self) -> None:
        """Take about 20 steps; raise a ValueError if the run diverges."""
        spacing = max(1, self.end // 250)
        for _ in range(max(1, STEPS_AT_ONCE // spacing)):
            if self.run.steps >= self.end:
                return
            goal = self.run.steps + (1 if self.run.steps < 150 else spacing)
            goal = min(stop for stop in (goal, self.compared_at, self.end) if stop > self.run.steps)
            try:
                self.run.step(goal - self.run.steps)
            except Diverged as error:
                raise ValueError(f"{self.run.why_diverged()} Lower η") from error
            self.steps.append(float(self.run.steps))
            self.points.append(self.run.x[0].numpy())
            self.history.append(self.phase_measurement())
            if self.run.steps == self.compared_at:
                self.error = tracking_error(self.case, self.run.x[0], self.run.steps * self.tau)

    def phase_measurement(self) -> dict[str, Any]:
        """Measure what `phase_boundary` needs: of L, or for 1-SAM of the loss of each sample."""
        samples = [None] if self.case.kind == "worst" else [torch.tensor([[0]]), torch.tensor([[1]])]
        norms = [float(self.run.problem.gradient(self.run.x, sample)[1].norm()) for sample in samples]
        values = self.case.problem.eigenvalues(self.run.x)[0]
        tops = values.max(0, keepdim=True).values if self.case.kind == "worst" else 2 * values
        row = {"step": self.run.steps, "grad_norm": np.array(norms), "lr": self.lr, "rho": self.rho}
        return row | {"eigenvalues": tops[:, None].numpy()}

    @property
    def boundary(self) -> float:
        """The step at which phase II began; NaN while it has not."""
        return float(np.max(phase_boundary(self.history)))


def flow_panel() -> Panel:
    """Show Theorems 4.5 and 5.4: choose η, ρ and the batch, drag the start, and compare SAM with its limiting flow.

    Returns:
        The panel; leave it as the last line of a cell.

    Source: Theorems 4.5 and 5.4, Eqs. 7 and 18.
    """
    return Panel(
        draw_flow,
        {
            "lr": Slider(
                "η learning rate", 0.01, [n for n in decades(-3, -1) if 0.004 <= n <= 0.03], book=[0.01, 0.02]
            ),
            "rho": Slider(
                "ρ radius", 0.15, [n for n in decades(-2, 0) if 0.05 <= n <= 0.5], book=[0.1, 0.15, 0.2, 0.3]
            ),
            "kind": Choice("method", "worst", KINDS, book=list(KINDS)),
        },
        drag={"start": START},
        description="SAM’s iterate on the valley next to the limiting flow, and their distance against η",
    )


def draw_flow(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure and its caption while the run goes on, and then while the grid of errors does."""
    x1, x2 = (float(np.clip(v, 0, 1)) for v in values["start"])
    case = Case(values["kind"], (x1, x2))
    track, errors = TrackedRun(case, values["lr"], values["rho"]), error_grid(case)
    yield flow_figure(track, errors), describe(track, errors)
    while track.run.steps < track.end:
        track.advance()
        if track.error is not None:
            errors.chosen[track.lr, track.rho] = track.error
        yield flow_figure(track, errors), describe(track, errors)
    for _ in chain(errors.advance(), [None]):
        yield flow_figure(track, errors), describe(track, errors)


def flow_figure(track: TrackedRun, errors: ErrorGrid) -> dict[str, Any]:
    """Draw the run on the floor, its coordinates against the step, and the tracking errors against η."""
    layout = new_layout(440, left=44, right=10, top=46, bottom=48)
    steps, x = np.array(track.steps), np.stack(track.points)
    flow = limiting_flow(track.case, steps * track.tau)
    lines = f"<br>— iterate, - - {EQUATIONS[track.case.kind]}"
    floor_axes(layout, (0.0, 0.29), ("the floor", f"{lines}; ○ drag"))
    grid, level = floor_curvature()
    floor = [
        contours(grid, grid, level["top" if track.case.kind == "worst" else "trace"], "level", pale=True, ncontours=14),
        line(x[:, 0], x[:, 1], "iterate", VERMILION, 2.5),
        line(flow[:, 0], flow[:, 1], "flow", INK, 2, "dash"),
        marks(x[-1:, 0], x[-1:, 1], "now", VERMILION, 11, edge=("white", 1.5)),
        start_mark(track.case.start),
    ]
    time = time_traces(layout, np.maximum(steps, 1), x, flow, track, f"{lines} at τ = ηρ²t")
    return {"data": [*floor, *time, *error_traces(layout, track, errors)], "layout": layout}


def time_traces(layout: Layout, t: Array, x: Array, flow: Array, track: TrackedRun, detail: str) -> list[Trace]:
    """Draw x₁, x₂ and the distance to Γ against the step."""
    ticks: Layout = {"range": [0, float(np.log10(max(track.end, 2)))], "dtick": 1, **LOG}
    height = {"range": [-0.06, 1.06], "tickvals": [0, 0.5, 1]}
    x_axis = {"label": "step t", "standoff": 4, **ticks}
    axes = add_axes(layout, 2, (0.365, 0.645), (0, 1), ("in time", detail), x=x_axis, y=height)
    distance = np.linalg.norm(x[:, 2:], axis=1)
    traces = [line(t, distance, "off Γ", GREY, 1.2)]
    labels = [(t[-1], distance[-1], "off Γ", GREY)]
    for i, (name, color) in enumerate((("x₁", VERMILION), ("x₂", BLUE))):
        traces += [line(t, x[:, i], name, color, 2.5), line(t, flow[:, i], f"flow of {name}", color, 2, "dash")]
        labels.append((t[-1], x[-1, i], name, color))
    began = track.boundary if track.boundary > 1 else np.nan
    traces.append(line([began] * 2, [-0.06, 1.06], "boundary", PLUM, 2, "dot"))
    traces.append(end_labels(labels, layout["yaxis2"], "ends", 0.055))
    if began > 1:
        for label, side, shift in (("phase I" if began >= 10 else "I", "right", -5), ("phase II", "left", 5)):
            place = note(label, float(np.log10(began)), 1.02, "x2", "y2", PLUM, xanchor=side, xshift=shift)
            layout["annotations"].append(place)
    return [trace | axes for trace in traces]


def error_traces(layout: Layout, track: TrackedRun, errors: ErrorGrid) -> list[Trace]:
    """Draw the tracking errors of the grid and of the learner's own runs against η, with the slope of the theorem."""
    heading = "tracking error", "<br>‖Φ(x(t)) − X(τ)‖ at τ = ½"
    x_axis = {"label": "η", "standoff": 4, "range": list(LR_RANGE), "tickvals": [0.005, 0.01, 0.02, 0.03], **LOG}
    y_axis = {"range": list(ERROR_RANGE), "dtick": 1, **LOG}
    axes = add_axes(layout, 3, (0.775, 0.945), (0, 1), heading, x=x_axis, y=y_axis)
    power, name = (1.0, "∝ η") if track.case.kind == "worst" else (0.5, "∝ √η")
    lr = 10.0 ** np.array(LR_RANGE)
    guide = 0.4 * (lr / lr[1]) ** power
    traces, labels = [line(lr, guide, "guide", GREY, 2, "dash")], [(lr[1], guide[1], name, GREY)]
    for rho, (symbol, color, size) in zip(RADII, RADIUS_MARKS, strict=True):
        x, y = errors.known(rho)
        stroke = {"color": color, "width": 1.5}
        traces.append(marks(x, y, f"ρ = {rho:g}", color, size, symbol, mode="lines+markers", line=stroke))
        if len(x):
            labels.append((x.max(), y[x.argmax()], f" ρ = {rho:g}", color))
    chosen, now = dict(errors.chosen), (track.lr, track.rho)
    if now in chosen:
        chosen[now] = chosen.pop(now)  # the present run is last
    x, y = np.array([lr for lr, _ in chosen]), np.array([*chosen.values()])
    traces.append(marks(x, y, "yours", "white", 10, "diamond", (INK, 1.5)))
    traces.append(marks(x[-1:], y[-1:], "this run", VERMILION, 12, "diamond", (INK, 1.5)))
    traces.append(end_labels(labels, layout["yaxis3"], "radii", 0.065))
    if chosen:
        layout["annotations"].append(
            note("◇ your runs", LR_RANGE[0], ERROR_RANGE[0], "x3", "y3", xshift=4, yanchor="bottom")
        )
    return [trace | axes for trace in traces]


def describe(track: TrackedRun, errors: ErrorGrid) -> str:
    """Describe where the run is, where the flow is, and how their distance depends on η."""
    t, x, equation = track.run.steps, track.points[-1], EQUATIONS[track.case.kind]
    flow = limiting_flow(track.case, t * track.tau)[0]
    parts = [f"t = {t:,}, τ = ηρ²t = {track.tau * t:.2f}."]
    if np.isfinite(track.boundary):
        parts.append(f"Phase II began at step {track.boundary:.0f}.")
    parts.append(f"The iterate is at ({x[0]:.3f}, {x[1]:.3f}), and {equation} predicts ({flow[0]:.3f}, {flow[1]:.3f}).")
    if (error := errors.chosen.get((track.lr, track.rho))) is not None:
        parts.append(f"At τ = ½ their distance on Γ was {error:.3f}.")
    if np.isfinite(exponent := errors.exponent()):
        bound = "O(η ln(1/ρ))" if track.case.kind == "worst" else "Õ(√η + ρ)"
        parts.append(f"At ρ = {RADII[-1]:g} this distance scales like η^{exponent:.2f}; the theorem allows {bound}.")
    return " ".join(parts)
