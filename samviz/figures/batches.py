"""Batch sizes side by side: λ₁ and trace along runs of SAM, beside the two limiting flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.arguments import given
from samviz.figures.style import (
    BLUE,
    GREEN,
    HALO,
    INK,
    ORANGE,
    PLUM,
    VERMILION,
    Layout,
    Trace,
    apart,
    axis,
    layout,
    title,
    words_beside,
)

Array = NDArray[np.float64]
HEIGHT = 560  # pixels
LEFT, RIGHT = (0.0, 0.385), (0.575, 1.0)  # columns of the first picture; labels stand between
UPPER, LOWER = (0.57, 1.0), (0.0, 0.43)
QUANTITIES = ("λ₁", "trace")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")
EQUATIONS = ("Eq. 7", "Eq. 18")
DASHES = ("dash", "longdashdot")
LOOK = 1.8  # times as far as the theory gets, the axes reach: finite η and ρ are faster


@dataclass(frozen=True)
class Paths:
    """λ₁ and trace on Γ below runs of every batch size, as plain results."""

    step: Array  # (reads,), from 0 on
    seen: Array  # (sizes, 2, reads), λ₁ and trace for batch sizes 1 to n; NaN where there is none (yet)
    pace: float  # ηρ²: τ per step
    times: Array  # (times,), τ
    flow: Array  # (2, 2, times), λ₁ and trace along the flows of Eq. 7 and of Eq. 18


def paths_figure(paths: Paths) -> dict[str, Any]:
    """Runs of every batch size as plain plotly JSON.

    Args:
        paths: the runs so far.

    Returns:
        {"data": traces, "layout": layout}.
    """
    given("paths", paths, "Paths", "figures")
    end = paths.step[-1]
    ahead = paths.flow[:, :, paths.times <= max(LOOK * paths.pace * end, paths.times[1])]  # (2, 2, times)
    shown = np.stack((ahead[:, 0], ahead[:, 1], ahead[:, 1] - ahead[:, 0]))  # λ₁, trace and the rest
    low, high = shown.min((1, 2)), shown.max((1, 2))
    low, high = low - 0.1 * (high - low), high + 0.08 * (high - low)
    whole = layout(HEIGHT, margin={"l": 60, "r": 14, "t": 30, "b": 44})
    steps: Layout = {"range": [0, end], "nticks": 6}
    whole["xaxis"] = axis(LEFT, "y", showticklabels=False, **steps)
    whole["xaxis2"] = axis(LEFT, "y2", title={"text": "step", "standoff": 2}, **steps)
    whole["yaxis"] = axis(UPPER, "x", range=[low[0], high[0]], nticks=6)
    whole["yaxis2"] = axis(LOWER, "x2", range=[low[1], high[1]], nticks=6)
    room = 0.12 * (high[0] - low[0])  # for words at both ends
    whole["xaxis3"] = axis(
        RIGHT, "y3", range=[low[0] - room, high[0] + room], title={"text": "λ₁", "standoff": 2}, nticks=6
    )
    whole["yaxis3"] = axis((0, 1), "x3", range=[low[2], high[2]], nticks=7)
    whole["annotations"] = [
        title("λ₁", "on Γ, by batch size", LEFT[0], UPPER[1]),
        title("trace", "of the same runs", LEFT[0], LOWER[1]),
        title("trace − λ₁", "against λ₁; dashed: the two limiting flows", RIGHT[0], 1.0),
    ]
    plane = _plane(paths, float(high[2] - low[2]), float(low[2]))
    return {"data": [*_curves(paths, 0, low[0], high[0]), *_curves(paths, 1, low[1], high[1]), *plane], "layout": whole}


def _style(size: int, sizes: int) -> tuple[str, float, str]:
    """Colour, width and dash of a batch size's line: one sample and all samples stand out."""
    if size == 1:
        return VERMILION, 3, "solid"
    if size == sizes:
        return BLUE, 3, "solid"
    return (GREEN, ORANGE, PLUM)[(size - 2) % 3], 1.6, ("solid", "solid", "dot")[(size - 2) % 3]


def _word(size: int, sizes: int) -> str:
    return "1 sample" if size == 1 else f"all {sizes}" if size == sizes else str(size)


def _curves(paths: Paths, quantity: int, low: float, high: float) -> list[Trace]:
    """One quantity against the step, for all batch sizes and both equations."""
    panel = ("", "2")[quantity]
    on = {"type": "scatter", "xaxis": f"x{panel}", "yaxis": f"y{panel}", "hoverinfo": "skip"}
    traces: list[Trace] = []
    labels: list[tuple[float, str, str]] = []
    fine = np.linspace(0, paths.step[-1], 61)
    for equation, dash, flow in zip(EQUATIONS, DASHES, paths.flow):
        y = np.interp(paths.pace * fine, paths.times, flow[quantity], right=np.nan)
        name = f"{QUANTITIES[quantity]} {equation}"
        traces.append(on | {"mode": "lines", "x": fine, "y": y, "line": _dashed(dash), "name": name})
        if np.isfinite(y[-1]):
            labels.append((float(y[-1]), equation, INK))
    sizes = len(paths.seen)
    for size in sorted(range(1, sizes + 1), key=lambda s: s in (1, sizes)):  # those two on top
        y = paths.seen[size - 1, quantity]
        color, width, dash = _style(size, sizes)
        line = {"color": color, "width": width, "dash": dash}
        known = np.isfinite(y)
        name = f"{QUANTITIES[quantity]} {size}"
        traces.append(on | {"mode": "lines", "x": paths.step, "y": y, "line": line, "name": name})
        labels.append((float(y[known][-1]), _word(size, sizes), color))
    heights = apart([at for at, _, _ in labels], 0.078 * (high - low), low + 0.02 * (high - low))
    texts = [f" {text}" for _, text, _ in labels]
    colors = [color for _, _, color in labels]
    ends = [float(paths.step[-1])] * len(labels)
    return [*traces, words_beside(ends, heights, texts, colors, f"names {panel}") | on]


def _plane(paths: Paths, height: float, low: float) -> list[Trace]:
    """The rest of the trace against λ₁: the flows as far as they are known, and each run's path."""
    on = {"type": "scatter", "xaxis": "x3", "yaxis": "y3", "hoverinfo": "skip"}
    traces: list[Trace] = []
    for equation, dash, (top, trace) in zip(EQUATIONS, DASHES, paths.flow):
        line = {"x": top, "y": trace - top, "line": _dashed(dash), "name": f"flow {equation}"}
        traces.append(on | {"mode": "lines"} | line)
    sizes = len(paths.seen)
    order = sorted(range(1, sizes + 1), key=lambda s: s in (1, sizes))  # the thick lines on top
    colors = [_style(size, sizes)[0] for size in order]
    ends: list[tuple[float, float]] = []
    for size in order:
        top, rest = paths.seen[size - 1, 0], paths.seen[size - 1, 1] - paths.seen[size - 1, 0]
        color, width, dash = _style(size, sizes)
        last = int(np.isfinite(top).nonzero()[0][-1])
        line = {"color": color, "width": width, "dash": dash}
        traces.append(on | {"mode": "lines", "x": top, "y": rest, "line": line, "name": f"path {size}"})
        marker = {"color": color, "symbol": SYMBOLS[(size - 1) % 5], "size": 11, "line": {"color": "white", "width": 1}}
        end = {"x": [float(top[last])], "y": [float(rest[last])], "marker": marker, "name": f"end {size}"}
        traces.append(on | end | {"mode": "markers"})
        ends.append((float(top[last]), float(rest[last])))
    left = sizes if sizes == 2 else 1  # names on the left: with two runs there is room for both
    for side, part in (("right", slice(0, -left)), ("left", slice(-left, None))):
        x, y = [x for x, _ in ends[part]], [y for _, y in ends[part]]
        texts = [f"    <b>{_word(size, sizes)}</b>    " for size in order[part]]
        y = apart(y, 0.042 * height, low + 0.02 * height)
        words = words_beside(x, y, texts, colors[part], f"names {side}") | on | {"textposition": f"middle {side}"}
        words["textfont"]["shadow"] = HALO
        traces.append(words)
    ring = {"symbol": "circle-open", "color": INK, "size": 12, "line": {"width": 2}}
    top, trace = paths.seen[0, :, 0]
    at = {"x": [float(top)], "y": [float(trace - top)], "text": [" start"], "textposition": "middle right"}
    return [*traces, on | at | {"mode": "markers+text", "marker": ring, "name": "start"}]


def _dashed(dash: str) -> dict[str, Any]:
    return {"color": INK, "width": 1.6, "dash": dash}
