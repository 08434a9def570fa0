"""Two wrongs make a right, live: six methods on the floor of the valley, and the valley's two sides."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics import Diverged, Run
from samviz.figures.valley import LEVELS, LOOKS, Path, floor_figure, surfaces_figure
from samviz.lab.controls import Choice, Control, Slider, Switch, decades
from samviz.lab.panel import Drawing, Panel
from samviz.problems import valley

Array = NDArray[np.float64]

START = (0.3, 0.6)  # x₁, x₂
BESIDE = 0.1  # x₃ and x₄ there
LR, RHO = 0.002, 1.0
SPAN = 2.0  # τ = ηρ²t that is run
LONGEST = 8000  # steps
PIECE = 25  # steps between two points of a path
FEW = 5  # steps between two chances to hear a control
KEPT = 40  # traced runs that are not forgotten
RULES = {"worst": "worst", "ascent": "ascent", "sam": "sam", "one": "sam", "average": "average", "gd": "gd"}


class Setting(NamedTuple):
    """What makes a run of a method."""

    method: str
    lr: float
    rho: float
    start: tuple[float, float]


class Traced:
    """A run of one method on the valley, with where it has been."""

    def __init__(self, setting: Setting) -> None:
        """Prepare at the start."""
        begin = torch.tensor([*setting.start, BESIDE, BESIDE], dtype=torch.float64)
        batch = 1 if setting.method == "one" else None
        self.run = Run(
            valley(), RULES[setting.method], setting.lr, setting.rho, batch_size=batch, x0=begin, device="cpu"
        )
        self.points = [begin[:2].numpy()]
        self.steps = 0
        self.stopped = ""
        self.rests = False

    def advance(self, n: int) -> Iterator[None]:
        """Take n steps a few at a time, or stay where gradient descent has come to rest or the run has diverged."""
        before, goal = self.run.x, self.steps + n
        while not (self.rests or self.stopped) and self.run.steps < goal:
            try:
                self.run.step(min(FEW, goal - self.run.steps))
            except Diverged:
                self.stopped = f"diverged at step {self.run.steps}"
            if self.run.steps < goal:
                yield
        if self.steps >= goal:  # another panel was faster
            return
        if not (self.rests or self.stopped):
            self.points.append(self.run.x[0, :2].numpy())
            self.rests = self.run.settings.rule == "gd" and bool((self.run.x - before).abs().max() < 1e-12)
        self.steps = goal

    def path(self, last: int | None = None) -> Path:
        """The path so far, or its first points."""
        points = np.stack(self.points[: max(1, last)] if last is not None else self.points)
        return Path(points, levels(points[-1]), self.stopped)


TRACED: dict[Setting, Traced] = {}  # the panels share them, and a method that is switched on again need not run again


def traced(setting: Setting) -> Traced:
    """The run of this setting, as far as it has come."""
    if setting not in TRACED:
        while len(TRACED) >= KEPT:
            del TRACED[next(iter(TRACED))]
        TRACED[setting] = Traced(setting)
    return TRACED[setting]


def levels(x: Any) -> tuple[float, float, float]:
    """λ₁, λ_M and the trace of the Hessian at the point (x₁, x₂) of the floor."""
    low, top = np.sort(valley().eigenvalues(torch.as_tensor(np.asarray(x, float))).numpy())
    return float(top), float(low), float(top + low)


def length(lr: float, rho: float) -> tuple[int, int]:
    """Steps of a run, and steps between two of its points."""
    steps = min(LONGEST, max(20, round(SPAN / (lr * rho**2))))
    piece = max(1, min(PIECE, steps // 100))
    return piece * round(steps / piece), piece


def running(settings: list[Setting]) -> Iterator[dict[str, Traced]]:
    """Advance the runs together until all are at their end; gives them after every piece of one of them."""
    runs = {setting.method: traced(setting) for setting in settings}
    steps, piece = length(settings[0].lr, settings[0].rho) if settings else (0, 1)
    yield runs
    while behind := [run for run in runs.values() if run.steps < steps]:
        slowest = min(behind, key=lambda run: run.steps)
        for _ in slowest.advance(piece):
            yield runs
        if not (slowest.rests or slowest.stopped):
            yield runs
    yield runs


@cache
def contours() -> tuple[Array, dict[str, Array], tuple[float, ...]]:
    """A grid on [0, 1], each of `LEVELS` over its square, and the least of each."""
    side = torch.linspace(-0.06, 1.06, 45, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)
    both = valley().eigenvalues(points)
    over: dict[str, Tensor] = {"top": both.amax(-1), "low": both.amin(-1), "trace": both.sum(-1)}
    goals = ((0.0, 0.0), (1.0, 1.0), (0.8, 1 / 7))
    least = tuple(levels(goal)[i] for i, goal in enumerate(goals))
    return side.numpy(), {name: values.numpy() for name, values in over.items()}, least


def ablation_panel() -> Panel:
    """A panel on Figure 1: choose methods, η and ρ, drag the start, and see who minimizes which sharpness.

    Returns:
        The panel.

    >>> from samviz.panels import ablation_panel
    >>> panel = ablation_panel()
    >>> panel.set(lr=0.01, worst=False, ascent=False, one=False)
    >>> panel.sentence
    't = 200 steps, τ = ηρ²t = 2.00. SAM: λ₁ 20.5 → 16.0, least 16.0.'
    """
    controls: dict[str, Control] = {
        "lr": Slider("η learning rate", LR, [n for n in decades(-4, -1) if 5e-4 <= n <= 0.05], book=[0.002, 0.01]),
        "rho": Slider("ρ radius", RHO, [n for n in decades(-2, 0) if n >= 0.1], book=[0.5, 0.7, 1.0]),
        "shown": Choice("contours of", "top", LEVELS, book=list(LEVELS)),
    }
    controls |= {name: Switch(look.name, name != "average") for name, look in LOOKS.items()}
    return Panel(
        draw_ablation,
        controls,
        drag={"start": START},
        description="Paths of six methods on the valley's floor, and the curvatures where they are",
    )


def draw_ablation(values: dict[str, Any]) -> Iterator[Drawing]:
    """The floor as the runs go on, for the panel's values."""
    grid, over, least = contours()
    start = tuple(float(np.clip(v, 0, 1)) for v in values["start"])
    begin = Path(np.array([start]), levels(start))
    chosen = [Setting(name, values["lr"], values["rho"], (start[0], start[1])) for name in LOOKS if values[name]]
    steps, _ = length(values["lr"], values["rho"])
    for runs in running(chosen):
        paths = {name: run.path() for name, run in runs.items()}
        figure = floor_figure(grid, over[values["shown"]], values["shown"], paths, begin, least)
        now = min((run.steps for run in runs.values()), default=0)
        yield figure, told(paths, begin, least, now, steps, values["lr"] * values["rho"] ** 2)


def told(paths: dict[str, Path], begin: Path, least: tuple[float, ...], now: int, steps: int, pace: float) -> str:
    """What each method has made of the quantity that it is said to minimize."""
    if not paths:
        return "Choose a method."
    of = "" if now >= steps else f" of {steps:,}"
    parts = [f"t = {now:,}{of} steps, τ = ηρ²t = {pace * now:.2f}."]
    tales = []
    for name, path in paths.items():
        look = LOOKS[name]
        if path.stopped:
            tales.append(f"{look.name} {path.stopped}")
        elif look.lowers:
            i = list(LEVELS).index(look.lowers)
            tales.append(
                f"{look.name}: {LEVELS[look.lowers]} {begin.levels[i]:.1f} → {path.levels[i]:.1f}, least {least[i]:.1f}"
            )
    parts.append("; ".join(tales) + "." if tales else "Gradient descent stays where it came down.")
    if now >= steps and pace * now < 0.9 * SPAN:
        parts.append(f"Cut at {LONGEST:,} steps: raise η or ρ to see more of phase II.")
    return " ".join(parts)


def figure_one_panel() -> Panel:
    """A panel with the loss across the floor where each method is: one sees which side it has made flat.

    Returns:
        The panel.
    """
    share = Slider(
        "share of the way", 1.0, [round(0.02 * k, 2) for k in range(51)], book=[round(0.1 * k, 1) for k in range(11)]
    )
    return Panel(
        draw_sides,
        {"share": share},
        description="The loss over x₃ and x₄ at the start and where five methods are",
    )


def draw_sides(values: dict[str, Any]) -> Iterator[Drawing]:
    """The two sides of the valley while the runs go on, then at the wanted share of their way."""
    names = ("worst", "ascent", "gd", "sam", "one")
    steps, piece = length(LR, RHO)
    wanted = round(values["share"] * steps / piece)
    for runs in running([Setting(name, LR, RHO, START) for name in names]):
        now = min(min(run.steps // piece for run in runs.values()), wanted)
        at = {name: runs[name].path(now + 1) for name in names}
        ends = {"start": sides(np.array(START))} | {name: sides(path.x[-1]) for name, path in at.items()}
        reached = {name: path.levels for name, path in at.items()}
        began = levels(START)
        yield (
            surfaces_figure(ends),
            f"t = {now * piece:,} steps at η = {LR:g}, ρ = {RHO:g}. SAM: the steep side from λ₁ = {began[0]:.1f} to "
            f"{reached['sam'][0]:.1f}; exact L_Asc: the flat side from λ_M = {began[1]:.1f} to "
            f"{reached['ascent'][1]:.1f}; 1-SAM: their sum from {began[2]:.1f} to {reached['one'][2]:.1f}. "
            "Thin: the two sides at the start.",
        )


def sides(x: Array) -> tuple[float, float]:
    """F₁ and F₂: L rises by F₁ and F₂ at distance 1 along x₃ and x₄."""
    first, second = valley().curvatures(torch.as_tensor(x))
    return float(first), float(second)
