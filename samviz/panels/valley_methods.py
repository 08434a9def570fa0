"""Figure 1 of the paper: the paths of six methods on the floor of the valley, and the valley's cross-sections there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from samviz.dynamics import Diverged, Run
from samviz.figures.drawing import Layout, Trace, add_axes, contours, line, marks, new_layout, note, text, title
from samviz.figures.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, SKY, VERMILION
from samviz.lab.controls import Choice, Control, Slider, Switch, decades
from samviz.lab.panel import Drawing, Panel
from samviz.problems import valley

Array = NDArray[np.float64]
Point = tuple[float, float]


class Method(NamedTuple):
    """An update rule of the figure and its marker."""

    label: str
    rule: str
    batch_size: int | None
    meaning: str  # which of SAM's two approximations it makes
    minimizes: str  # what it minimizes according to the paper: a key of `QUANTITIES`, or ""
    color: str
    symbol: str
    character: str  # the symbol in the table


METHODS = {
    "worst": Method("exact L_Max", "worst", None, "neither approximation", "top", SKY, "square", "■"),
    "ascent": Method("exact L_Asc", "ascent", None, "approximation 1: ascent for worst", "low", GREEN, "diamond", "◆"),
    "sam": Method("SAM", "sam", None, "1 and 2: drop the derivative, too", "top", VERMILION, "circle", "●"),
    "one": Method("1-SAM", "sam", 1, "SAM, one sample a step", "trace", PURPLE, "triangle-up", "▲"),
    "average": Method("exact L_Avg", "average", None, "the third notion", "trace", ORANGE, "cross", "✚"),
    "gd": Method("gradient descent", "gd", None, "no perturbation", "", GREY, "x", "✖"),
}
QUANTITIES = {"top": "λ₁", "low": "λ_M", "trace": "trace"}  # in the order of `curvature`
MINIMIZERS = {"top": (0.0, 0.0), "low": (1.0, 1.0), "trace": (0.8, 1 / 7)}  # of each on [0, 1]²
MINIMIZER_LABELS: dict[str, Layout] = {
    "top": {"xanchor": "left", "xshift": -14, "yanchor": "bottom", "yshift": 12},
    "low": {"xanchor": "right", "xshift": -10, "yanchor": "middle"},
    "trace": {"xanchor": "center", "yanchor": "top", "yshift": -12},
}
START = (0.3, 0.6)  # x₁ and x₂
X3_X4 = 0.1  # of the start
LR, RHO = 0.002, 1.0
TAU = 2.0  # τ = ηρ²t at the end of a run
MAX_STEPS = 8000
MAX_SPACING = 25  # steps between two points of a path
STEPS_AT_ONCE = 5  # between two opportunities to handle control events
SURFACE_TOP = 16.0  # upper end of the surfaces' vertical axis
LIFT = 0.3  # of the curves above the surface, which would hide them


class MethodRun:
    """A run of one method on the valley and the points of its path."""

    def __init__(self, name: str, lr: float, rho: float, start: Point) -> None:
        """Prepare the run of a method of `METHODS`."""
        method = METHODS[name]
        x0 = torch.tensor([*start, X3_X4, X3_X4], dtype=torch.float64)
        self.run = Run(valley(), method.rule, lr, rho, method.batch_size, x0, device="cpu")
        self.points = [x0.numpy()]
        self.steps = 0  # at the last point
        self.diverged = ""
        self.at_rest = False

    def advance(self, spacing: int) -> None:
        """Take a few steps, and add a point to the path after every `spacing` steps."""
        goal = self.steps + spacing
        if not (self.at_rest or self.diverged):
            try:
                self.run.step(min(STEPS_AT_ONCE, goal - self.run.steps))
            except Diverged:
                self.diverged = f"diverged at step {self.run.steps}"
            else:
                if self.run.steps < goal:
                    return
                self.points.append(self.run.x[0].numpy())
                change = np.abs(self.points[-1] - self.points[-2]).max()
                self.at_rest = self.run.settings.rule == "gd" and bool(change < 1e-12)
        self.steps = goal

    @property
    def path(self) -> Array:
        """x₁ and x₂ of the points, (points, 2)."""
        return np.stack(self.points)[:, :2]


# Panels share the runs, and a method that is switched on again continues its run.
method_run = lru_cache(40)(MethodRun)


def curvature(x: Any) -> tuple[float, float, float]:
    """Return λ₁, λ_M and the trace of the Hessian at the point (x₁, x₂) of the floor."""
    low, top = np.sort(valley().eigenvalues(torch.as_tensor(np.asarray(x, float))).numpy())
    return float(top), float(low), float(top + low)


MINIMA = tuple(curvature(MINIMIZERS[name])[i] for i, name in enumerate(QUANTITIES))


def run_length(lr: float, rho: float) -> tuple[int, int]:
    """Return the steps of a run, and the steps between two points of its path."""
    steps = min(MAX_STEPS, max(20, round(TAU / (lr * rho**2))))
    spacing = max(1, min(MAX_SPACING, steps // 100))
    return spacing * round(steps / spacing), spacing


def advance_together(names: Iterable[str], lr: float, rho: float, start: Point) -> Iterator[dict[str, MethodRun]]:
    """Advance the slowest of the runs again and again; yield the runs after every few steps."""
    runs = {name: method_run(name, lr, rho, start) for name in names}
    steps, spacing = run_length(lr, rho)
    yield runs
    while unfinished := [run for run in runs.values() if run.steps < steps]:
        slowest = min(unfinished, key=lambda run: run.steps)
        slowest.advance(spacing)
        if not (slowest.at_rest or slowest.diverged):
            yield runs
    yield runs


@cache
def floor_curvature() -> tuple[Array, dict[str, Array]]:
    """Return a grid on [0, 1], (points,), and each of `QUANTITIES` on its square, (points, points)."""
    grid = torch.linspace(-0.06, 1.06, 45, dtype=torch.float64)
    both = valley().eigenvalues(torch.stack(torch.meshgrid(grid, grid, indexing="xy"), -1))
    return grid.numpy(), {"top": both.amax(-1).numpy(), "low": both.amin(-1).numpy(), "trace": both.sum(-1).numpy()}


def floor_axes(layout: Layout, column: Point, heading: tuple[str, str]) -> Trace:
    """Add the axes x₁ and x₂ of the floor; the start is dragged on them."""
    # No `scaleanchor`: its ranges would change with the window's width.
    square: Layout = {"range": [-0.06, 1.06], "tickvals": [0, 0.5, 1]}
    x, y = square | {"label": "x₁", "standoff": 4}, square | {"label": "x₂"}
    return add_axes(layout, 1, column, (0, 1), heading, x=x, y=y)


def start_mark(start: Point) -> Trace:
    """Return the ring that is dragged."""
    return marks([start[0]], [start[1]], "start", "white", 13, edge=(INK, 2))


def ablation_panel() -> Panel:
    """Show Figure 1: choose methods, η and ρ, drag the start, and see which method minimizes which sharpness.

    Returns:
        The panel; leave it as the last line of a cell.

    Source: Figure 1.

    >>> from samviz.panels import ablation_panel
    >>> panel = ablation_panel()
    >>> panel.set(lr=0.01, worst=False, ascent=False, one=False)
    >>> panel.sentence
    't = 200 steps, τ = ηρ²t = 2.00. SAM: λ₁ 20.5 → 16.0, minimum 16.0.'
    """
    controls: dict[str, Control] = {
        "lr": Slider("η learning rate", LR, [n for n in decades(-4, -1) if 5e-4 <= n <= 0.05], book=[0.002, 0.01]),
        "rho": Slider("ρ radius", RHO, [n for n in decades(-2, 0) if n >= 0.1], book=[0.5, 0.7, 1.0]),
        "shown": Choice("contours of", "top", QUANTITIES, book=list(QUANTITIES)),
    }
    controls |= {name: Switch(method.label, name != "average") for name, method in METHODS.items()}
    return Panel(
        draw_ablation,
        controls,
        drag={"start": START},
        description="Paths of six methods on the valley's floor, and the curvatures where they are",
    )


def draw_ablation(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the floor and its caption while the runs go on."""
    lr, rho = values["lr"], values["rho"]
    start: Point = tuple(float(np.clip(v, 0, 1)) for v in values["start"])  # type: ignore[assignment]
    for runs in advance_together([name for name in METHODS if values[name]], lr, rho, start):
        yield floor_figure(runs, start, values["shown"]), describe_ablation(runs, start, lr, rho)


def floor_figure(runs: Mapping[str, MethodRun], start: Point, shown: str) -> dict[str, Any]:
    """Draw the paths on the floor over the contours of one quantity, next to a table of all quantities."""
    layout = new_layout(470, left=44, right=14, top=34)
    detail = f"over the contours of {QUANTITIES[shown]}; ○ the start, drag it"
    floor_axes(layout, (0.0, 0.43), ("the floor", detail))
    grid, level = floor_curvature()
    traces = [contours(grid, grid, level[shown], "level", pale=True, ncontours=16)]
    for name, run in runs.items():
        (x, y), width = run.path.T, 9 if name == "worst" else 2.5  # SAM's path lies on that of exact L_Max
        traces.append(line(x, y, METHODS[name].label, METHODS[name].color, width))
    for name, run in runs.items():
        method, (x, y) = METHODS[name], run.path[-1:].T
        traces.append(marks(x, y, method.label, method.color, 12, method.symbol, ("white", 1.5)))
    traces.append(start_mark(start))
    for name, (x, y) in MINIMIZERS.items():
        label = f"minimum of {QUANTITIES[name]}"
        layout["annotations"] += [
            note("✕", x, y, "x", "y", xanchor="center", yanchor="middle"),
            note(f"<b>{label}</b>" if name == shown else label, x, y, "x", "y", **MINIMIZER_LABELS[name]),
        ]
    hidden: Layout = {"visible": False, "fixedrange": True}
    heading = "curvature at the end of each path", "lowest of each column in bold"
    x_axis, y_axis = {"range": [0, 1], **hidden}, {"range": [8.6, -0.4], **hidden}
    axes = add_axes(layout, 2, (0.47, 1.0), (0, 1), heading, x=x_axis, y=y_axis)
    return {"data": [*traces, *(column | axes for column in table(runs, start))], "layout": layout}


def table(runs: Mapping[str, MethodRun], start: Point) -> list[Trace]:
    """Return the columns of the table, and the meaning of each method under its name."""
    rows = [
        (["", "now at", "aims at", *QUANTITIES.values()], GREY),
        (["○ the start", point_text(start), "", *(f"{v:.1f}" for v in curvature(start))], INK),
    ]
    now = {name: curvature(run.path[-1]) for name, run in runs.items() if not run.diverged}
    lowest = [f"{min(column):.1f}" for column in zip(*now.values())]
    for name, run in runs.items():
        method = METHODS[name]
        goal = point_text(MINIMIZERS[method.minimizes]) if method.minimizes else "nothing"
        cells = [run.diverged, goal, "", "", ""]
        if name in now:
            texts = [f"{v:.1f}" for v in now[name]]
            bold = [f"<b>{n}</b>" if n == low else n for n, low in zip(texts, lowest)]
            cells = [point_text(run.path[-1]), goal, *bold]
        rows.append(([f"{method.character} <b>{method.label}</b>", *cells], method.color))
    rows.append((["minimum on the floor", "", "", *(f"{v:.1f}" for v in MINIMA)], GREY))
    y, columns = [*map(float, range(len(rows) - 1)), 8.2], []
    # The first position is the left end of a column, the others are right ends.
    for i, (x, column) in enumerate(zip((0.0, 0.47, 0.65, 0.79, 0.89, 0.99), zip(*(cells for cells, _ in rows)))):
        colors = [GREY, *[INK] * (len(rows) - 2), GREY] if i else [color for _, color in rows]
        position = "middle left" if i else "middle right"
        columns.append(text([x] * len(rows), y, [*column], f"column {i}", colors, position, size=13))
    meanings, below = [f"    {METHODS[name].meaning}" for name in runs], [2.4 + i for i in range(len(runs))]
    return [*columns, text([0.0] * len(runs), below, meanings, "meanings", GREY, size=11)]


def point_text(x: Any) -> str:
    """Format a point of the floor; adding 0.0 turns −0.0 into 0.0."""
    return "({:.2f}, {:.2f})".format(*(round(float(v), 2) + 0.0 for v in x[:2]))


def describe_ablation(runs: Mapping[str, MethodRun], start: Point, lr: float, rho: float) -> str:
    """Describe by how much each method has lowered the quantity that it minimizes according to the paper."""
    if not runs:
        return "Choose a method."
    steps, _ = run_length(lr, rho)
    now, tau = min(run.steps for run in runs.values()), lr * rho**2
    parts = [f"t = {now:,}{'' if now >= steps else f' of {steps:,}'} steps, τ = ηρ²t = {tau * now:.2f}."]
    results = []
    for name, run in runs.items():
        method = METHODS[name]
        if run.diverged:
            results.append(f"{method.label} {run.diverged}")
        elif method.minimizes:
            i = list(QUANTITIES).index(method.minimizes)
            change = f"{curvature(start)[i]:.1f} → {curvature(run.path[-1])[i]:.1f}"
            results.append(f"{method.label}: {QUANTITIES[method.minimizes]} {change}, minimum {MINIMA[i]:.1f}")
    parts.append("; ".join(results) + "." if results else "Gradient descent does not move along the floor.")
    if now >= steps and tau * now < 0.9 * TAU:
        parts.append(f"The runs end after {MAX_STEPS:,} steps: raise η or ρ to see more of phase II.")
    return " ".join(parts)


def figure_one_panel() -> Panel:
    """Show the loss across the floor where each method ends, and so which cross-section each method has made flat.

    Returns:
        The panel; leave it as the last line of a cell.

    Source: Figure 1.
    """
    stops = [round(0.02 * k, 2) for k in range(51)]
    return Panel(
        draw_sections,
        {"share": Slider("share of the run", 1.0, stops, book=stops[::5])},
        description="The loss over x₃ and x₄ at the start and where five methods are",
    )


def draw_sections(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the cross-sections while the runs go on, until the chosen share of the run is reached."""
    names = ("worst", "ascent", "gd", "sam", "one")
    steps, spacing = run_length(LR, RHO)
    chosen = round(values["share"] * steps / spacing)
    before = curvature(START)
    for runs in advance_together(names, LR, RHO, START):
        now = min(min(run.steps // spacing for run in runs.values()), chosen)
        points = {name: runs[name].path[: now + 1][-1] for name in names}
        after = {name: curvature(x) for name, x in points.items()}
        yield (
            sections_figure({"start": np.array(START), **points}),
            f"t = {now * spacing:,} steps at η = {LR:g}, ρ = {RHO:g}. SAM lowers the curvature of the steep section "
            f"from λ₁ = {before[0]:.1f} to {after['sam'][0]:.1f}, exact L_Asc that of the flat section from "
            f"λ_M = {before[1]:.1f} to {after['ascent'][1]:.1f}, and 1-SAM their sum from {before[2]:.1f} to "
            f"{after['one'][2]:.1f}. Thin curves: the two sections at the start.",
        )


def sections_figure(points: Mapping[str, Array]) -> dict[str, Any]:
    """Draw L(x₃, x₄) = F₁x₃² + F₂x₄² at up to six points of the floor, the first being the start, on one scale."""
    side = np.linspace(-1, 1, 25)
    layout = new_layout(560, left=4, right=4, top=8, bottom=4)
    traces: list[Trace] = []
    sections = {name: [float(f) for f in valley().curvatures(torch.as_tensor(x))] for name, x in points.items()}
    for number, (name, (first, second)) in enumerate(sections.items()):
        on = {"scene": f"scene{number + 1}" if number else "scene", "hoverinfo": "skip"}
        row, column = divmod(number, 3)
        bowl = np.clip(first * side**2 + second * side[:, None] ** 2, 0, SURFACE_TOP)
        look: Trace = {"cmin": 0, "cmax": SURFACE_TOP, "colorscale": PALE, "showscale": False}
        look |= {"lighting": {"ambient": 1, "diffuse": 0, "specular": 0}}
        traces.append({"type": "surface", "x": side, "y": side, "z": bowl, "name": name} | look | on)
        curves = [("x3", sections["start"][0], INK), ("x4", sections["start"][1], INK)] if name != "start" else []
        for axis, f, color in [*curves, ("x3", first, VERMILION), ("x4", second, BLUE)]:
            label, width = (f"{name} {axis}, at the start", 2) if color == INK else (f"{name} {axis}", 8)
            x, y = (side, 0 * side) if axis == "x3" else (0 * side, side)
            traces.append(line(x, y, label, color, width, z=f * side**2 + LIFT) | {"type": "scatter3d"} | on)
        left, upper = column / 3, 0.5 * (2 - row) - 0.07
        layout[on["scene"]] = scene((left, left + 1 / 3 - 0.01), (0.5 * (1 - row), upper))
        heading = "at the start" if name == "start" else METHODS[name].label
        top, low, _ = curvature(points[name])
        detail = f"<br>λ₁ = {top:.1f} along x₃, λ_M = {low:.1f} along x₄"
        layout["annotations"].append(title(heading, detail, left + 0.02, upper))
    return {"data": traces, "layout": layout}


def scene(x: Point, y: Point) -> Layout:
    """Return a box for a surface on a part of the figure."""
    bare = {"showbackground": False, "gridcolor": "#dfe5ec", "zeroline": False, "tickfont": {"size": 9}}
    side = {**bare, "tickvals": [-1, 0, 1], "range": [-1, 1], "showticklabels": False}
    return {
        "domain": {"x": list(x), "y": list(y)},
        "xaxis": {**side, "title": {"text": "x₃", "font": {"size": 12, "color": VERMILION}}},
        "yaxis": {**side, "title": {"text": "x₄", "font": {"size": 12, "color": BLUE}}},
        "zaxis": {
            **bare,
            "title": {"text": "L", "font": {"size": 12}},
            "range": [0, SURFACE_TOP],
            "tickvals": [0, 8, 16],
        },
        "camera": {"eye": {"x": 0.95, "y": 1.15, "z": 1.25}, "center": {"x": 0, "y": 0, "z": -0.12}},
        "aspectmode": "manual",
        "aspectratio": {"x": 1, "y": 1, "z": 0.85},
    }
