"""The landscape with the moving iterate, and what the parameters mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.style import BLUE, GREY, INK, ORANGE, VERMILION, Layout, Trace, axis, contours, edges, note, title

if TYPE_CHECKING:
    from samviz.geometry import Landscape
    from samviz.problems.picture import Picture

Array = NDArray[np.float64]
Domain = tuple[float, float]
LEVELS = 15  # contours from the lowest to the highest point that is shown
TRAIL: Trace = {"type": "scatter", "mode": "lines+markers"}
TRAIL |= {"line": {"color": ORANGE, "width": 2}, "marker": {"color": ORANGE, "size": 6}}
HERE: Trace = {"type": "scatter", "mode": "markers"}
HERE |= {"marker": {"color": VERMILION, "size": 14, "line": {"color": "white", "width": 2}}}


def heights(landscape: Landscape) -> Array:
    """√(L − min L): evenly spaced contours on a quadratic bowl, where those of L would crowd."""
    return np.sqrt(np.maximum(landscape.loss - np.nanmin(landscape.loss), 0))


def landscape_panel(
    landscape: Landscape, height: Array, trail: Array, lost: float, *, shown: str, x: Domain, y: Domain
) -> tuple[list[Trace], Layout]:
    """The loss on a plane, or as a curve over a line, with the latest iterates on it.

    Args:
        landscape: the slice.
        height: (resolution, resolution), from `heights`; the same array as long as the slice is the same. On a line
            the loss itself is drawn instead.
        trail: (steps, 2), the latest iterates on the plane, the present one last; on a line, the coordinate and the
            loss.
        lost: share of the present iterate's distance from the plane's origin that is off the plane, 0 to 1.
        shown: what the trail is, in words.
        x: the panel's horizontal extent, in fractions of the picture.
        y: its vertical extent.

    Returns:
        Traces on the axes x4 / y4, and their layout.
    """
    a, b = landscape.axis1, landscape.axis2
    if len(b) == 1:
        return _line_panel(landscape, trail, shown=shown, x=x, y=y)
    words = {
        "type": "scatter",
        "mode": "text",
        "x": a[:1],
        "y": b[:1],
        "text": [f" {lost:.0%} of the way from the plane’s origin is off the plane"],
        "textposition": "top right",
        "textfont": {"size": 11, "color": INK},
        "hoverinfo": "skip",
        "name": "projection",
    }
    traces = [
        contours(a, b, height, "√(L − min L)", **edges(float(np.nanmax(height)), LEVELS)),
        *_iterates(trail),
        words,
    ]
    first, second = landscape.plane.labels
    detail = f"plane of {first} and {second}" + (f" · {shown}" if len(trail) > 1 else "")
    look: Layout = {"exponentformat": "e", "nticks": 6}
    panel = {
        "xaxis4": axis(x, "y4", range=[a[0], a[-1]], title={"text": f"{first} →", "standoff": 2}, **look),
        "yaxis4": axis(y, "x4", range=[b[0], b[-1]], title={"text": f"{second} →", "standoff": 0}, **look),
        "annotations": [title("landscape", detail, x[0], y[1])],
    }
    return [trace | {"xaxis": "x4", "yaxis": "y4"} for trace in traces], panel


def _line_panel(landscape: Landscape, trail: Array, *, shown: str, x: Domain, y: Domain) -> tuple[list[Trace], Layout]:
    """As `landscape_panel`, of a line: the loss is a height, and so needs no contours."""
    a, loss, label = landscape.axis1, landscape.loss[0], landscape.plane.labels[0]
    line = {"line": {"color": BLUE, "width": 2.5}, "name": f"loss along {label}"}
    traces = [
        {"type": "scatter", "mode": "lines", "x": a, "y": loss} | line,
        *_iterates(trail),
    ]
    margin = 0.06 * (float(np.ptp(loss)) or 1.0)
    look: Layout = {"exponentformat": "e", "nticks": 6}
    detail = f"the loss over {label}" + (f" · {shown}" if len(trail) > 1 else "")
    panel = {
        "xaxis4": axis(x, "y4", range=[a[0], a[-1]], title={"text": f"{label} →", "standoff": 2}, **look),
        "yaxis4": axis(
            y, "x4", range=[loss.min() - margin, loss.max() + margin], title={"text": "L", "standoff": 0}, **look
        ),
        "annotations": [title("landscape", detail, x[0], y[1])],
    }
    return [trace | {"xaxis": "x4", "yaxis": "y4"} for trace in traces], panel


def _iterates(trail: Array) -> list[Trace]:
    """The latest iterates (steps, 2), with a mark on the present one."""
    return [
        TRAIL | {"x": trail[:, 0], "y": trail[:, 1], "name": "latest steps"},
        HERE | {"x": trail[-1:, 0], "y": trail[-1:, 1], "name": "iterate"},
    ]


def picture_panel(
    picture: Picture | None, start: Picture | None, path: Array, *, x: Domain, y: Domain
) -> tuple[list[Trace], Layout]:
    """What the parameters mean: a curve, decision regions, accuracy per class and so on.

    Args:
        picture: from `Problem.picture`; None leaves the panel empty.
        start: the picture at the start of the run, drawn thin and grey where that makes sense.
        path: (steps, dim ≥ 2), the iterates so far, for pictures that draw them.
        x: the panel's horizontal extent, in fractions of the picture.
        y: its vertical extent.

    Returns:
        Traces on the axes x5 / y5, and their layout.
    """
    kind = type(picture).__name__
    traces, heading, xaxis, yaxis, notes = (
        DRAW[kind](picture, start, path) if kind in DRAW else ([], ("", ""), {"visible": False}, {"visible": False}, [])
    )
    on = {"xaxis": "x5", "yaxis": "y5"}
    panel = {
        "xaxis5": axis(x, "y5", **xaxis),
        "yaxis5": axis(y, "x5", nticks=6, **yaxis),
        "annotations": [title(heading[0], heading[1], x[0], y[1]), *notes],
    }
    return [trace | on for trace in traces], panel


def _curve(picture: Any, start: Any, path: Array) -> Any:
    def line(p: Any, color: str, width: float, name: str, dash: str = "solid") -> Trace:
        style = {"color": color, "width": width, "dash": dash}
        return {"type": "scatter", "mode": "lines", "x": p.inputs, "y": p.outputs, "line": style, "name": name}

    dots = {"mode": "markers", "x": picture.data_inputs, "y": picture.data_targets, "marker": {"color": INK, "size": 7}}
    traces = [
        line(start or picture, GREY, 1.5, "at the start", "dot"),
        line(picture, VERMILION, 2.5, "now"),
        {"type": "scatter", "name": "data"} | dots,
    ]
    spread = np.ptp(picture.data_targets) or 1.0
    low, high = picture.data_targets.min() - 0.2 * spread, picture.data_targets.max() + 0.2 * spread
    ranges = {"range": [picture.inputs[0], picture.inputs[-1]]}, {"range": [low, high]}
    return traces, ("what the network computes", "now, and dotted at the start"), *ranges, []


def _regions(picture: Any, start: Any, path: Array) -> Any:
    limit = float(np.abs(picture.score).max()) or 1.0
    traces: list[Trace] = [
        {
            "type": "heatmap",
            "x": picture.axis1,
            "y": picture.axis2,
            "z": np.round(picture.score, 3),
            "zmin": -limit,
            "zmax": limit,
            "colorscale": [[0, "#f3b48a"], [0.5, "#ffffff"], [1, "#8fc1de"]],
            "zsmooth": "best",
            "showscale": False,
            "hoverinfo": "skip",
        }
    ]
    for label, color, symbol in ((0, VERMILION, "circle"), (1, BLUE, "diamond")):
        chosen = picture.points[picture.labels == label]
        style = {"color": color, "symbol": symbol, "size": 6, "line": {"color": "white", "width": 0.8}}
        traces.append(
            {"type": "scatter", "mode": "markers", "x": chosen[:, 0], "y": chosen[:, 1], "marker": style}
            | {"name": f"class {label}"}
        )
    ranges = (
        {"range": [picture.axis1[0], picture.axis1[-1]]},
        {"range": [picture.axis2[0], picture.axis2[-1]]},
    )
    return traces, ("what the network computes", "○ class 0, ◇ class 1"), *ranges, []


def _classes(picture: Any, start: Any, path: Array) -> Any:
    classes = np.arange(len(picture.accuracy))
    labels = [f"{a:.0%}" for a in picture.accuracy]
    bar = {"x": classes, "y": picture.accuracy, "marker": {"color": BLUE}, "text": labels, "textposition": "outside"}
    detail = f"share of each class right · mean {picture.accuracy.mean():.1%}"
    axes = {"tickvals": classes.tolist()}, {"range": [0, 1.18], "tickvals": [0, 0.5, 1], "tickformat": ".0%"}
    return [{"type": "bar", "cliponaxis": False} | bar], ("accuracy", detail), *axes, []


def _residuals(picture: Any, start: Any, path: Array) -> Any:
    low, high = float(picture.targets.min()), float(picture.targets.max())
    ends = np.array([low, high])
    dots = {"mode": "markers", "x": picture.targets, "y": picture.predictions, "marker": {"color": INK}}
    traces = [
        {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": {"color": GREY}},
        {"type": "scatter"} | dots,
    ]
    axes = {"title": {"text": "target", "standoff": 2}}, {"title": {"text": "prediction", "standoff": 2}}
    return traces, ("predictions", "against targets; the line is perfect"), *axes, []


def _coordinates(picture: Any, start: Any, path: Array) -> Any:
    names = [f"v{i}" for i in range(1, len(picture.distance) + 1)]
    bar = {"x": names, "y": np.maximum(picture.distance, 1e-12), "marker": {"color": BLUE}}
    axes = {"type": "category"}, {"type": "log", "exponentformat": "power", "range": [-9, 1]}
    return [{"type": "bar"} | bar], ("distance from the minimum", "along each eigenvector"), *axes, []


def _floor(picture: Any, start: Any, path: Array) -> Any:
    corners = (((0, 0), "least λ₁"), ((0.8, 1 / 7), "least trace"), ((1, 1), "least λ₂"))
    traces: list[Trace] = [
        contours(picture.axis, picture.axis, picture.level, "λ₁", ncontours=14),
        {
            "type": "scatter",
            "mode": "markers",
            "x": np.array([p[0] for p, _ in corners], float),
            "y": np.array([p[1] for p, _ in corners], float),
            "marker": {"color": "white", "symbol": "x", "size": 9, "line": {"color": INK, "width": 1}},
            "text": [t for _, t in corners],
            "cliponaxis": False,
        },
        {"type": "scatter", "mode": "lines", "x": path[:, 0], "y": path[:, 1], "line": {"color": ORANGE, "width": 2.5}},
        HERE | {"x": picture.point[:1], "y": picture.point[1:]},
    ]
    notes = [
        note(text, p[0], p[1], "x5", "y5", "white" if p != (1, 1) else INK, xanchor="right" if p[0] else "left")
        | {"yanchor": "top" if p[1] == 1 else "bottom", "xshift": -6 if p[0] else 6}
        for p, text in corners
    ]
    axes = {"range": [-0.03, 1.03]}, {"range": [-0.03, 1.03]}
    return traces, ("the valley floor", "x₁, x₂ over the contours of λ₁"), *axes, notes


DRAW = {
    "Curve": _curve,
    "Regions": _regions,
    "Classes": _classes,
    "Residuals": _residuals,
    "Coordinates": _coordinates,
    "Floor": _floor,
}
