"""How cost grows: a step of SAM against D, n, runs and batch size, eigenpairs against k and D, next to the limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.limits import Work, gradients, limits
from benchmarks.report import readable
from benchmarks.timing import alternate, fresh
from samviz.dynamics import Run
from samviz.figures.drawing import add_axes, line, new_layout
from samviz.figures.style import BLUE, GREY, VERMILION
from samviz.geometry import top_eigenpairs
from samviz.problems import MLP, mlp

Point = tuple[int, float, float, float]  # x, seconds, and the least seconds for the operations and for the bytes
Costs = dict[str, Any]  # panel -> {"axis", "unit", "series": {engine: [Point, …]}}

WIDTHS = (4, 8, 16, 32, 64, 128, 256)
SAMPLES = (1, 10, 100, 1000, 10000)
RUNS = (1, 4, 16, 64, 256)
PAIRS = (1, 2, 3, 5, 8, 13, 21)
BATCHES = (1, 4, 16, 64, 256, 1000)
SECONDS = 0.15  # for each point
PANELS = {  # title, its detail, horizontal axis
    "D": ("Step", "2-w-w-1, n = 100", "parameters D"),
    "n": ("Step", "2-32-32-1, full batch", "samples n"),
    "runs": ("Step of all runs", "2-32-32-1, n = 100", "runs at once"),
    "batch": ("Step", "2-32-32-1, n = 1000", "batch size"),
    "k": ("Top k eigenpairs", "2-32-32-1, n = 100", "k"),
    "pairs": ("Top 2 eigenpairs", "2-w-w-1, n = 100", "parameters D"),
}
COLUMNS, LINES = ((0, 0.26), (0.37, 0.63), (0.74, 1)), ((0.58, 1), (0, 0.42))  # as fractions of the picture
PLACES = dict(zip(PANELS, [(column, row) for row in LINES for column in COLUMNS]))
COLORS = {"compiled": BLUE, "torch": VERMILION}
BOUNDS = {"limit of operations": "dash", "limit of memory": "dot"}
TIMES = [m * 10.0**e for e in range(-9, 2) for m in (1, 2, 5)]  # ticks
FITTED = {"k": len(PAIRS)}  # points at the right end of a series, 4 of the other series
HEAD = """\
| | engine | p | time at the right end | share of the limit of operations | share of the limit of memory |
|---|---|---:|---:|---:|---:|
"""


def measured() -> Costs:
    """Every panel, each engine in a process of its own."""
    series = {"compiled": fresh("benchmarks.scaling.costs"), "torch": fresh("benchmarks.scaling.costs", numba=False)}
    return {
        panel: {"axis": name, "unit": "s", "series": {engine: own[panel] for engine, own in series.items()}}
        for panel, (_, _, name) in PANELS.items()
    }


def costs() -> dict[str, list[Point]]:
    """Points of every panel, with the engine that runs here."""
    torch.set_num_threads(1)
    rates = limits()

    def point(x: int, cost: tuple[float, Work]) -> Point:
        return x, cost[0], *rates.seconds(cost[1])

    by_width = [network(width, 100) for width in WIDTHS]
    t2, large = network(32, 100), network(32, 1000)
    return {
        "D": [point(problem.dim, step(problem)) for problem in by_width],
        "n": [point(samples, step(network(32, samples))) for samples in SAMPLES],
        "runs": [point(runs, step(t2, runs)) for runs in RUNS],
        "batch": [point(size, step(large, batch=size)) for size in BATCHES],
        "k": [point(k, eigenpairs(t2, k)) for k in PAIRS],
        "pairs": [point(problem.dim, eigenpairs(problem, 2)) for problem in by_width],
    }


def network(width: int, samples: int) -> MLP:
    """2-width-width-1, tanh, on as many random points as asked for."""
    generator = np.random.default_rng(0)
    inputs = generator.uniform(-1, 1, (samples, 2))
    return mlp([2, width, width, 1], "tanh", (inputs, np.sign(inputs[:, 0] * inputs[:, 1])))


def step(problem: MLP, runs: int = 1, batch: int | None = None) -> tuple[float, Work]:
    """Seconds of a step of so many runs, and its work."""
    starts = torch.stack([problem.initial(seed) for seed in range(runs)])
    run = Run(problem, "sam", lr=0.01, rho=0.05, batch_size=batch, x0=starts, device="cpu")
    return alternate(run.step, seconds=SECONDS)[0].seconds, gradients(problem, batch, count=2 * runs)


def eigenpairs(problem: MLP, k: int) -> tuple[float, Work]:
    """Seconds of the top k eigenpairs at the start, to a relative tolerance of 1e-4, and the work of the products."""

    def solve(n: int) -> int:
        return [top_eigenpairs(problem, problem.initial(), k, tol=1e-4).products for _ in range(n)][-1]

    (timed,) = alternate(solve, seconds=SECONDS)
    return timed.seconds, gradients(problem, count=2 * timed.results[-1])


def summary(costs: Costs) -> str:
    """The fitted exponents and the shares of the limits, as Markdown."""
    rows = []
    for panel, (title, detail, axis) in PANELS.items():
        for engine, points in costs[panel]["series"].items():
            x, seconds, *least = zip(*points)
            fitted = slice(-FITTED.get(panel, 4), None)
            exponent = np.polyfit(np.log(x[fitted]), np.log(seconds[fitted]), 1)[0]
            shares = " | ".join(f"{bound[-1] / seconds[-1]:.0%}" for bound in least)
            name = f"{title} against {axis} ({detail})"
            rows.append(f"| {name} | {engine} | {exponent:.2f} | {readable(seconds[-1])} | {shares} |")
    return HEAD + "\n".join(rows)


def draw(costs: Costs, path: Path) -> None:
    """The panels on logarithmic axes, as a picture."""
    import plotly.graph_objects as go

    go.Figure(**figure(costs)).write_image(path, width=1200, height=620)


def figure(costs: Costs) -> dict[str, Any]:
    """Draw one panel for each quantity, with a line for each engine and for each limit."""
    traces, layout = [], new_layout(620) | {"showlegend": True, "legend": {"orientation": "h", "y": 1.14}}
    for number, (panel, (text, detail, name)) in enumerate(PANELS.items(), 1):
        series = costs[panel]["series"]
        columns = {engine: list(zip(*points)) for engine, points in series.items()}
        drawn = [(engine, columns[engine][1], COLORS[engine], {"mode": "lines+markers"}) for engine in series]
        drawn += [(bound, columns["torch"][at], GREY, {"dash": BOUNDS[bound]}) for at, bound in enumerate(BOUNDS, 2)]
        x = {"type": "log", "label": name, "standoff": 6, **({"tickvals": PAIRS} if panel == "k" else {"dtick": 1})}
        y = {"type": "log", "tickvals": TIMES[::3], "ticktext": [*map(readable, TIMES[::3])]}
        axes = add_axes(layout, number, *PLACES[panel], (text, detail), x=x, y=y)
        for label, seconds, color, more in drawn:
            traces.append(line(columns["torch"][0], seconds, label, color, showlegend=number == 1, **more) | axes)
    return {"data": traces, "layout": layout}
