"""The iterate against the limiting flow: on the floor, in time, and how far apart they are at each η and ρ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.arguments import given
from samviz.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    PLUM,
    VERMILION,
    Layout,
    Trace,
    apart,
    axis,
    contours,
    layout,
    note,
    title,
)

Array = NDArray[np.float64]
HEIGHT = 440  # pixels
FLOOR, TIME, ERROR = (0.0, 0.29), (0.365, 0.645), (0.775, 0.945)  # of the width
UNITS = (-2.5, -1.4)  # powers of ten of η on the error's axis
ERRORS = (-2.6, 0.0)  # and of the error
SHAPES = (("circle-open", GREEN, 13), ("square", PLUM, 7))  # of the radii: one may lie on the other


@dataclass(frozen=True)
class Track:
    """A run beside the flow it should follow."""

    steps: Array  # (points,), t
    x: Array  # (points, 4), the iterate
    flow: Array  # (points, 2), X(ηρ²t) on Γ
    end: int  # last step that will be run
    boundary: float  # step at which phase II began; NaN while it has not


def flow_figure(
    track: Track,
    start: tuple[float, float],
    grid: Array,
    level: Array,
    equation: str,
    errors: Mapping[float, tuple[Array, Array]],
    own: Array,
    slope: float,
) -> dict[str, Any]:
    """The three views of one run.

    Args:
        track: the run so far.
        start: x₁ and x₂ at step 0.
        grid: (points,), coordinates of the contours.
        level: (points, points), what the flow goes down.
        equation: of the flow, as the labels name it.
        errors: by ρ, the η (points,) and the tracking errors (points,) there, known so far.
        own: (points, 2), η and error of the learner's own runs, the present one last.
        slope: of the dashed guide in the plot of the errors.

    Returns:
        {"data": traces, "layout": layout}.
    """
    given("track", track, "Track", "figures")
    whole = layout(HEIGHT, margin={"l": 44, "r": 10, "t": 46, "b": 48})
    whole["annotations"] = [
        title("the floor", f"<br>— iterate, - - {equation}; ○ drag", FLOOR[0], 1.005) | {"align": "left"},
        title("in time", f"<br>— iterate, - - {equation} at τ = ηρ²t", TIME[0], 1.005) | {"align": "left"},
        title("tracking error", "<br>‖Φ(x(t)) − X(τ)‖ at τ = ½", ERROR[0], 1.005) | {"align": "left"},
    ]
    traces = [*_floor(track, start, grid, level, whole), *_time(track, whole), *_errors(errors, own, slope, whole)]
    return {"data": traces, "layout": whole}


def _floor(track: Track, start: tuple[float, float], grid: Array, level: Array, whole: Layout) -> list[Trace]:
    ring = {"color": "white", "size": 13, "line": {"color": INK, "width": 2}}
    dot = {"color": VERMILION, "size": 11, "line": {"color": "white", "width": 1.5}}
    dashes = {"color": INK, "width": 2, "dash": "dash"}
    lines: Trace = {"type": "scatter", "mode": "lines"}
    marks: Trace = {"type": "scatter", "mode": "markers"}
    whole["xaxis"] = axis(FLOOR, "y", range=[-0.06, 1.06], tickvals=[0, 0.5, 1], title={"text": "x₁", "standoff": 4})
    whole["yaxis"] = axis((0, 1), "x", range=[-0.06, 1.06], tickvals=[0, 0.5, 1], title={"text": "x₂", "standoff": 2})
    return [
        contours(grid, grid, level, "level", pale=True, ncontours=14),
        lines | {"x": track.x[:, 0], "y": track.x[:, 1], "line": {"color": VERMILION, "width": 2.5}, "name": "iterate"},
        lines | {"x": track.flow[:, 0], "y": track.flow[:, 1], "line": dashes, "name": "flow"},
        marks | {"x": track.x[-1:, 0], "y": track.x[-1:, 1], "marker": dot, "name": "now"},
        marks | {"x": [start[0]], "y": [start[1]], "marker": ring, "name": "start"},
    ]


def _time(track: Track, whole: Layout) -> list[Trace]:
    on = {"type": "scatter", "mode": "lines", "xaxis": "x2", "yaxis": "y2"}
    t = np.maximum(track.steps, 1)
    away = np.linalg.norm(track.x[:, 2:], axis=1)
    curves = [(away, GREY, 1.2, "solid", "off Γ")]
    for i, (name, color) in enumerate((("x₁", VERMILION), ("x₂", BLUE))):
        curves.append((track.x[:, i], color, 2.5, "solid", name))
        curves.append((track.flow[:, i], color, 2, "dash", f"flow of {name}"))
    traces = [
        on | {"x": t, "y": y, "line": {"color": color, "width": width, "dash": dash}, "name": name}
        for y, color, width, dash, name in curves
    ]
    high = float(np.log10(max(track.end, 2)))
    whole["xaxis2"] = axis(
        TIME,
        "y2",
        type="log",
        range=[0, high],
        exponentformat="power",
        dtick=1,
        title={"text": "step t", "standoff": 4},
    )
    whole["yaxis2"] = axis((0, 1), "x2", range=[-0.06, 1.06], tickvals=[0, 0.5, 1])
    ends = [float(track.x[-1, 0]), float(track.x[-1, 1]), float(away[-1])]
    at = float(np.log10(t[-1]))
    texts = zip(apart(ends, 0.06, -0.03), ("x₁", "x₂", "off Γ"), (VERMILION, BLUE, GREY))
    whole["annotations"] += [note(name, at, y, "x2", "y2", color, xshift=5) for y, name, color in texts]
    begun = track.boundary
    mark = [begun if begun > 1 else np.nan] * 2
    traces.append(on | {"x": mark, "y": [-0.06, 1.06], "line": {"color": PLUM, "dash": "dot"}, "name": "boundary"})
    if begun > 1:
        where = float(np.log10(begun))
        whole["annotations"] += [
            note("phase I" if begun >= 10 else "I", where, 1.02, "x2", "y2", PLUM, xanchor="right", xshift=-5),
            note("phase II", where, 1.02, "x2", "y2", PLUM, xshift=5),
        ]
    return traces


def _errors(errors: Mapping[float, tuple[Array, Array]], own: Array, slope: float, whole: Layout) -> list[Trace]:
    on = {"type": "scatter", "xaxis": "x3", "yaxis": "y3"}
    low, high = (10.0**u for u in UNITS)
    ticks = {"exponentformat": "power", "type": "log"}
    whole["xaxis3"] = axis(
        ERROR,
        "y3",
        range=list(UNITS),
        title={"text": "η", "standoff": 4},
        tickvals=[0.005, 0.01, 0.02, 0.03],
        **ticks,
    )
    whole["yaxis3"] = axis((0, 1), "x3", range=list(ERRORS), dtick=1, **ticks)
    guide = np.array([low, high])
    anchor = 0.4 * (guide / high) ** slope
    traces: list[Trace] = [
        on | {"mode": "lines", "x": guide, "y": anchor, "line": {"color": GREY, "dash": "dash"}, "name": "guide"}
    ]
    word = "∝ η" if slope == 1 else "∝ √η"
    whole["annotations"].append(
        note(word, float(np.log10(high)), float(np.log10(anchor[1])), "x3", "y3", GREY, xshift=3)
    )
    ends = [float(np.log10(max(e[np.argmax(h)], 1e-9))) if len(e) else np.nan for h, e in errors.values()]
    places = iter(apart([e for e in ends if np.isfinite(e)], 0.17, ERRORS[0]))
    for (symbol, color, size), (rho, (lr, error)) in zip(SHAPES, errors.items(), strict=True):
        style = {"marker": {"color": color, "symbol": symbol, "size": size}, "line": {"color": color, "width": 1.5}}
        traces.append(on | {"mode": "lines+markers", "x": lr, "y": error, "name": f"ρ = {rho:g}"} | style)
        if len(error):
            last, height = float(np.log10(lr.max())), next(places)
            whole["annotations"].append(note(f"ρ = {rho:g}", last, height, "x3", "y3", color, xshift=9))
    star = {"color": "white", "symbol": "diamond", "size": 10, "line": {"color": INK, "width": 1.5}}
    traces.append(on | {"mode": "markers", "x": own[:, 0], "y": own[:, 1], "marker": star, "name": "yours"})
    now = star | {"color": VERMILION, "size": 12}
    traces.append(on | {"mode": "markers", "x": own[-1:, 0], "y": own[-1:, 1], "marker": now, "name": "this run"})
    if len(own):
        text = note("◇ your runs", UNITS[0], ERRORS[0], "x3", "y3", INK, xshift=4, yanchor="bottom")
        whole["annotations"].append(text)
    return traces
