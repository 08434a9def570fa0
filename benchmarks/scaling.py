"""How cost grows: a step of SAM against D, n and runs with and without numba, eigenpairs against k."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import readable
from benchmarks.timing import alternate, fresh
from samviz.dynamics import Run
from samviz.figures.drawing import add_axes, line, new_layout, note
from samviz.figures.style import BLUE, VERMILION
from samviz.geometry import top_eigenpairs
from samviz.problems import MLP, mlp

Costs = dict[str, Any]  # panel -> {"axis", "unit", "series": {engine: [[x, seconds], …]}}

WIDTHS = (4, 8, 16, 32, 64, 128, 256)
SAMPLES = (1, 10, 100, 1000, 10000)
RUNS = (1, 4, 16, 64, 256)
PAIRS = (1, 2, 3, 5, 8, 13, 21)
PANELS = {  # title, its detail, horizontal axis
    "D": ("Step", "2-w-w-1, full batch of 100, w from 4 to 256", "parameters D"),
    "n": ("Step", "2-32-32-1, full batch", "samples n"),
    "runs": ("Step of all runs", "2-32-32-1, full batch of 100", "runs at once"),
    "k": ("Top k eigenpairs", "2-32-32-1, n = 100", "k"),
}
PLACES = {"D": ((0, 0.44), (0.58, 1)), "n": ((0.56, 1), (0.58, 1))}
PLACES |= {"runs": ((0, 0.44), (0, 0.42)), "k": ((0.56, 1), (0, 0.42))}  # as fractions of the picture
COLORS = {"compiled": BLUE, "torch": VERMILION}
TIMES = [m * 10.0**e for e in range(-6, 1) for m in (1, 2, 5)]  # ticks


def measured() -> Costs:
    """Every panel, each engine in a process of its own."""
    series = {"compiled": fresh("benchmarks.scaling.costs"), "torch": fresh("benchmarks.scaling.costs", numba=False)}
    return {
        panel: {"axis": name, "unit": "s", "series": {engine: own[panel] for engine, own in series.items()}}
        for panel, (_, _, name) in PANELS.items()
    }


def costs() -> dict[str, list[tuple[int, float]]]:
    """Points (x, seconds) of every panel, with the engine that runs here."""
    by_width = [network(width, 100) for width in WIDTHS]
    t2 = network(32, 100)
    return {
        "D": [(problem.dim, step(problem)) for problem in by_width],
        "n": [(samples, step(network(32, samples))) for samples in SAMPLES],
        "runs": [(runs, step(t2, runs)) for runs in RUNS],
        "k": [(k, eigenpairs(t2, k)) for k in PAIRS],
    }


def network(width: int, samples: int) -> MLP:
    """2-width-width-1, tanh, on as many random points as asked for."""
    generator = np.random.default_rng(0)
    inputs = generator.uniform(-1, 1, (samples, 2))
    return mlp([2, width, width, 1], "tanh", (inputs, np.sign(inputs[:, 0] * inputs[:, 1])))


def step(problem: MLP, runs: int = 1) -> float:
    """Seconds of a step of so many runs."""
    starts = torch.stack([problem.initial(seed) for seed in range(runs)])
    run = Run(problem, "sam", lr=0.01, rho=0.05, x0=starts, device="cpu")
    return alternate(run.step, seconds=0.3)[0].seconds


def eigenpairs(problem: MLP, k: int) -> float:
    """Seconds of the top k eigenpairs at the start, to a relative tolerance of 1e-4."""

    def solve(n: int) -> None:
        for _ in range(n):
            top_eigenpairs(problem, problem.initial(), k, tol=1e-4)

    return alternate(solve, seconds=0.3)[0].seconds


def draw(costs: Costs, path: Path) -> None:
    """The four panels on logarithmic axes, as a picture."""
    import plotly.graph_objects as go

    go.Figure(**figure(costs)).write_image(path, width=1000, height=620)


def figure(costs: Costs) -> dict[str, Any]:
    """Draw one panel for each quantity, with a line for each engine."""
    traces, layout = [], new_layout(620)
    for number, (panel, (text, detail, name)) in enumerate(PANELS.items(), 1):
        first, *_, last = (math.log10(at) for at, _ in costs[panel]["series"]["torch"])
        few = panel == "k"
        times = TIMES if few else TIMES[::3]
        x = {"type": "log", "label": name, "standoff": 6, **({"tickvals": PAIRS} if few else {"dtick": 1})}
        x["range"] = [first - 0.05 * (last - first), last + 0.25 * (last - first)]  # leaves space for the names
        y = {"type": "log", "tickvals": times, "ticktext": [*map(readable, times)]}
        axes = add_axes(layout, number, *PLACES[panel], (text, detail), x=x, y=y)
        for engine, points in costs[panel]["series"].items():
            (xs, ys), color = zip(*points), COLORS[engine]
            traces.append(line(xs, ys, engine, color, mode="lines+markers") | axes)
            end = math.log10(xs[-1]), math.log10(ys[-1])
            layout["annotations"].append(note(engine, *end, axes["xaxis"], axes["yaxis"], color, xshift=6))
    return {"data": traces, "layout": layout}
