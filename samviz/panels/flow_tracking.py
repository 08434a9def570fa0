"""The two phases of SAM, live: the iterate on the valley beside the flow that Theorems 4.5 and 5.4 say it follows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from samviz.dynamics import Diverged, History, Run, gradient_flow_limit, phase_boundary
from samviz.figures.flow import Track, flow_figure
from samviz.lab.controls import Choice, Control, Slider, decades
from samviz.lab.panel import Drawing, Panel
from samviz.panels.valley_methods import floor_curvature
from samviz.problems import Valley, valley

Array = NDArray[np.float64]

START, BESIDE = (0.6, 0.6), (0.3, 0.05)  # x₁ and x₂; x₃ and x₄
SPAN, LONGEST = 1.0, 20_000  # τ that is run, and steps at most
COMPARED = 0.5  # τ at which the tracking error is taken
PIECE = 20  # steps between two chances to hear a slider
LEARNING_RATES, RADII = (0.03, 0.015, 0.0075), (0.2, 0.1)
KINDS = {"worst": "full batch: Eq. 7, λ₁", "average": "1-SAM: Eq. 18, trace"}


class Case(NamedTuple):
    """Which flow, from where."""

    kind: Literal["worst", "average"]  # as in `KINDS`
    start: tuple[float, float]


class Scale:
    """Runs at every η and ρ of a grid, in one batch, and their tracking errors as they become known."""

    def __init__(self, case: Case) -> None:
        """Prepare at the start."""
        self.case = case
        pairs = [(lr, rho) for rho in RADII for lr in LEARNING_RATES]
        self.lr, self.rho = np.array(pairs).T
        self.due = np.round(COMPARED / (self.lr * self.rho**2)).astype(int)
        self.error = np.full(len(pairs), np.nan)
        self.own: dict[tuple[float, float], float] = {}  # the learner's: (η, ρ): error
        begin = torch.tensor([*case.start, *BESIDE], dtype=torch.float64).expand(len(pairs), -1)
        self.run = Run(problem(case), "sam", self.lr, self.rho, batch(case), begin, device="cpu")

    def work(self) -> Iterator[None]:
        """Go on to the end of the grid in pieces."""
        while self.run.steps < self.due.max():
            next_due = self.due[self.due > self.run.steps].min()
            self.run.step(int(min(PIECE, next_due - self.run.steps)))
            for i in np.flatnonzero(self.due == self.run.steps):
                x = self.run.x[i].numpy()
                self.error[i] = apart_by(self.case, x, self.run.steps * self.lr[i] * self.rho[i] ** 2)
            yield

    def by_radius(self) -> dict[float, tuple[Array, Array]]:
        """Each ρ's η and errors, as far as they are known."""
        known = np.isfinite(self.error)
        return {rho: (self.lr[on], self.error[on]) for rho in RADII for on in [known & (self.rho == rho)]}

    def exponent(self) -> float:
        """The slope of log error against log η at the smallest ρ; NaN while it is not known."""
        lr, error = self.by_radius()[RADII[-1]]
        return float(np.polyfit(np.log(lr), np.log(error), 1)[0]) if len(lr) == len(LEARNING_RATES) else np.nan


def problem(case: Case) -> Valley:
    """The valley; for 1-SAM its two terms are the samples, and the loss is their mean (Setting 5.1)."""
    return valley(mean=case.kind == "average")


def batch(case: Case) -> int | None:
    """Samples per step."""
    return 1 if case.kind == "average" else None


@cache
def shadow(case: Case) -> Array:
    """Φ(x(0)), where gradient flow comes down to Γ, (4,)."""
    begin = torch.tensor([*case.start, *BESIDE], dtype=torch.float64)
    return np.asarray(gradient_flow_limit(problem(case), begin, tol=1e-8).x[0].numpy())


def predicted(case: Case, tau: Any) -> Array:
    """The limiting flow X(τ) from Φ(x(0)), (times, 2): Eq. 7 or Eq. 18 in closed form."""
    begin, times = torch.as_tensor(shadow(case)), torch.as_tensor(np.atleast_1d(np.asarray(tau, float)))
    return np.asarray(problem(case).limiting_flow(begin, times, case.kind).numpy())


def apart_by(case: Case, x: Array, tau: float) -> float:
    """The tracking error ‖Φ(x) − X(τ)‖ of an iterate."""
    limit = gradient_flow_limit(problem(case), torch.as_tensor(x), tol=1e-8).x[0, :2].numpy()
    return float(np.linalg.norm(limit - predicted(case, tau)[0]))


SCALES: dict[Case, Scale] = {}


def scale(case: Case) -> Scale:
    """The grid of a case, as far as it has come; the last few are kept."""
    if case not in SCALES:
        while len(SCALES) >= 8:
            del SCALES[next(iter(SCALES))]
        SCALES[case] = Scale(case)
    return SCALES[case]


def flow_panel() -> Panel:
    """A panel on Theorems 4.5 and 5.4: choose η, ρ and the batch, drag the start, and compare with the flow.

    Returns:
        The panel.
    """
    controls: dict[str, Control] = {
        "lr": Slider("η learning rate", 0.01, [n for n in decades(-3, -1) if 0.004 <= n <= 0.03], book=[0.01, 0.02]),
        "rho": Slider("ρ radius", 0.15, [n for n in decades(-2, 0) if 0.05 <= n <= 0.5], book=[0.1, 0.15, 0.2, 0.3]),
        "kind": Choice("method", "worst", KINDS, book=list(KINDS)),
    }
    return Panel(
        draw_flow,
        controls,
        drag={"start": START},
        description="SAM’s iterate on the valley beside the limiting flow, and their distance against η",
    )


def draw_flow(values: dict[str, Any]) -> Iterator[Drawing]:
    """The run, then the grid of errors, as they go on."""
    lr, rho = values["lr"], values["rho"]
    case = Case(values["kind"], tuple(float(np.clip(v, 0, 1)) for v in values["start"]))  # type: ignore[arg-type]
    grid, over = floor_curvature()
    errors = scale(case)

    def drawing(track: Track) -> Drawing:
        own = [(h, e) for (h, r), e in errors.own.items() if (h, r) != (lr, rho)]
        own += [(lr, errors.own[lr, rho])] if (lr, rho) in errors.own else []
        equation = KINDS[case.kind].split(": ")[1].split(",")[0]
        return (
            flow_figure(
                track,
                case.start,
                grid,
                over["top" if case.kind == "worst" else "trace"],
                equation,
                errors.by_radius(),
                np.array(own).reshape(-1, 2),
                1.0 if case.kind == "worst" else 0.5,
            ),
            told(track, equation, errors.own.get((lr, rho)), errors.exponent(), lr, rho),
        )

    for track in tracks(case, lr, rho):
        yield drawing(track)
    for _ in errors.work():
        yield drawing(track)
    yield drawing(track)


def tracks(case: Case, lr: float, rho: float) -> Iterator[Track]:
    """A run from its start to τ = 1, in pieces.

    Args:
        case: which flow, from where.
        lr: η.
        rho: ρ.

    Yields:
        The run so far; when it passes τ = ½ its tracking error is noted in the case's `Scale`.

    Raises:
        ValueError: when it diverges.
    """
    begin = torch.tensor([*case.start, *BESIDE], dtype=torch.float64)
    run = Run(problem(case), "sam", lr, rho, batch(case), begin, device="cpu")
    pace = lr * rho**2
    end, halfway = min(LONGEST, round(SPAN / pace)), round(COMPARED / pace)
    spacing = max(1, end // 250)
    steps, points, history = [0.0], [run.x[0].numpy()], History()
    history.append(looked_at(run, case))
    while True:
        x = np.stack(points)
        flow = predicted(case, np.array(steps) * pace)
        yield Track(np.array(steps), x, flow, end, float(np.max(phase_boundary(history))))
        if run.steps >= end:
            return
        for _ in range(max(1, PIECE // spacing)):
            if run.steps >= end:
                break
            goal = run.steps + 1 if run.steps < 150 else run.steps + spacing
            goal = min(stop for stop in (goal, halfway, end) if stop > run.steps)
            try:
                run.step(goal - run.steps)
            except Diverged as error:
                raise ValueError(f"{run.why_diverged()} Lower η") from error
            steps.append(float(run.steps))
            points.append(run.x[0].numpy())
            history.append(looked_at(run, case))
            if run.steps == halfway and (lr, rho) not in scale(case).own:
                scale(case).own[lr, rho] = apart_by(case, points[-1], halfway * pace)


def looked_at(run: Run, case: Case) -> dict[str, Any]:
    """What `phase_boundary` reads, without a full measurement: of L, or of each sample's L_k for 1-SAM."""
    samples = [None] if case.kind == "worst" else [torch.tensor([[0]]), torch.tensor([[1]])]
    slopes = [float(run.problem.gradient(run.x, sample)[1].norm()) for sample in samples]
    both = problem(case).eigenvalues(run.x)[0] * (1 if case.kind == "worst" else 2)
    tops = [float(both.max())] if case.kind == "worst" else both.tolist()
    return {
        "step": run.steps,
        "grad_norm": np.array(slopes),
        "lr": run.settings.lr,
        "rho": run.settings.rho,
        "eigenvalues": np.array(tops)[:, None],
    }


def told(track: Track, equation: str, error: float | None, exponent: float, lr: float, rho: float) -> str:
    """Where the run is, where the flow is, and how their distance depends on η."""
    t, x, flow = int(track.steps[-1]), track.x[-1], track.flow[-1]
    parts = [f"t = {t:,}, τ = ηρ²t = {lr * rho**2 * t:.2f}."]
    if np.isfinite(track.boundary):
        parts.append(f"Phase II began at step {track.boundary:.0f}.")
    parts.append(f"The iterate is at ({x[0]:.3f}, {x[1]:.3f}); {equation} says ({flow[0]:.3f}, {flow[1]:.3f}).")
    if error is not None:
        parts.append(f"At τ = ½ they were {error:.3f} apart.")
    if np.isfinite(exponent):
        promise = "O(η ln(1/ρ))" if equation == "Eq. 7" else "Õ(√η + ρ)"
        parts.append(f"At ρ = {RADII[-1]:g} that falls like η^{exponent:.2f}; the theorem allows {promise}.")
    return " ".join(parts)
