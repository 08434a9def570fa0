"""The figure of the lab: the history next to the landscape and to what the parameters mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from samviz.figures.drawing import Interval, Layout, Trace, add_axes, contours, line, marks, new_layout, split, stack
from samviz.figures.history import LAB_ROWS, lab_history, lab_quantity
from samviz.figures.landscape import Arrow, lab_landscape
from samviz.figures.style import BLUE, GREY, INK, ORANGE, VERMILION

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from samviz.dynamics import History, Settings
    from samviz.dynamics.quantities import Quantity
    from samviz.geometry import Landscape
    from samviz.problems.problem import Array, Picture

LABEL_SPACE = 80  # pixels to the right of stacked curves, for the labels at their ends
Drawn = tuple[list[Trace], tuple[str, str], Layout, Layout]  # traces, heading, and properties of both axes


@dataclass(frozen=True)
class Frame:
    """All that one figure of the lab shows, as plain results."""

    history: History  # at least one row, thinned
    edge: Array  # (rows,), the predicted edge of stability
    estimates: Array  # (points, 2), step and curvature uᵀHu along SAM's gradient, from its two gradients; thinned
    changes: Sequence[tuple[int, Settings]]  # step and settings, from the first settings on
    ghost: History | None  # an earlier run
    samples: int  # of the problem: the batch size that stands for a full batch
    landscape: Landscape
    height: Array  # (resolution, resolution) from `heights`, or (1, resolution) for a line
    trail: Array  # (steps, 2), the latest iterates on the plane; on a line the coordinate and the loss
    surface: bool  # whether the landscape is drawn in three dimensions, if it is a plane
    trail_text: str  # which iterates the trail contains, as text
    picture: Picture | None
    start: Picture | None
    path: Array  # (steps, dim), iterates over the whole run
    looks_back_at: int | None = None  # the step that is shown, if it is not the last one
    quantity: Quantity | None = None  # what is drawn instead of the picture
    rival: History | None = None  # of the second run, B
    rival_at: Array | None = None  # (1, 2), its iterate on the plane
    arrows: Sequence[Arrow] = ()  # a step in slow motion, on the landscape


def lab_figure(frame: Frame) -> dict[str, Any]:
    """Draw the figure of the lab as plain plotly JSON, in which arrays stay numpy arrays.

    Args:
        frame: what to show.

    Returns:
        {"data": traces, "layout": layout}; `figure` turns it into a `plotly.graph_objects.Figure`.
    """
    from samviz.checks import check_type

    check_type("frame", frame, Frame, "a Frame of samviz.figures")
    layout = new_layout(None, left=52, right=10, top=24, bottom=36)
    left, right = split([0.58, 0.42], gap=0.125)
    history = lab_history(layout, frame, left)
    landscape = lab_landscape(layout, frame, right, (LAB_ROWS[1][0], LAB_ROWS[0][1]))
    draw_below = lab_quantity if frame.quantity else _picture
    picture = draw_below(layout, frame, right, LAB_ROWS[2])
    layout["meta"] = {"large": _large(left, right)} | stack(layout, 450)
    stacked = layout["meta"]["stacked"]
    for number in ("", 2, 3, *([5] if frame.quantity else [])):
        stacked[f"xaxis{number}"]["space"] = LABEL_SPACE
    if "scene" in layout:
        stacked["scene"] = {"domain": {"x": [0, 1], "y": stacked["yaxis4"]["domain"]}}
    return {"data": [*landscape, *picture, *history], "layout": layout}


def _large(left: Interval, right: Interval) -> Layout:
    """Return the axes that a page keeps in full screen, with what it changes: sharpness, alignment, landscape."""
    sharpness, alignment = split([1, 1], gap=0.13, end=0.96)[::-1]
    places = {2: (left, sharpness), 3: (left, alignment), 4: (right, (0.0, 0.96))}
    axes = {f"{name}axis{n}": {"domain": d} for n, place in places.items() for name, d in zip("xy", place)}
    return axes | {"scene": {"domain": dict(zip("xy", places[4]))}}


def figure(plain: dict[str, Any]) -> go.Figure:
    """Convert plain plotly JSON into a plotly figure.

    Args:
        plain: from any `..._figure`.

    Returns:
        A `plotly.graph_objects.Figure`, checked by plotly.
    """
    import plotly.graph_objects as go

    return go.Figure(plain)


def _picture(layout: Layout, frame: Frame, column: Interval, row: Interval) -> list[Trace]:
    """Add axes 5 with the function, the decision regions, or whatever the parameters mean; return the traces."""
    draw_picture = PICTURES.get(type(frame.picture).__name__)
    if not draw_picture:
        return []
    traces, heading, x, y = draw_picture(frame.picture, frame)
    axes = add_axes(layout, 5, column, row, heading, x=x, y={"nticks": 6} | y)
    return [trace | axes for trace in traces]


def _curve(picture: Any, frame: Any) -> Drawn:
    """Draw a function of one input, dotted at the start of the run."""
    start = frame.start or picture
    traces = [
        line(start.inputs, start.outputs, "at the start", GREY, 1.5, "dot"),
        line(picture.inputs, picture.outputs, "now", VERMILION, 2.5),
        marks(picture.data_inputs, picture.data_targets, "data", INK, 7),
    ]
    low, high = picture.data_targets.min(), picture.data_targets.max()
    margin = 0.2 * ((high - low) or 1.0)
    x, y = {"range": [picture.inputs[0], picture.inputs[-1]]}, {"range": [low - margin, high + margin]}
    return traces, ("the network", "now, and dotted at the start"), x, y


def _regions(picture: Any, frame: Any) -> Drawn:
    """Draw the decision regions of two classes, with the data."""
    limit = float(np.abs(picture.score).max()) or 1.0
    colors = [[0, "#f3b48a"], [0.5, "#ffffff"], [1, "#8fc1de"]]
    score = {"type": "heatmap", "x": picture.axis1, "y": picture.axis2, "z": np.round(picture.score, 3)}
    style = {"zmin": -limit, "zmax": limit, "colorscale": colors, "showscale": False, "zsmooth": "best"}
    traces: list[Trace] = [score | style | {"hoverinfo": "skip"}]
    for label, color, symbol in ((0, VERMILION, "circle"), (1, BLUE, "diamond")):
        points = picture.points[picture.labels == label]
        traces.append(marks(points[:, 0], points[:, 1], f"class {label}", color, 6, symbol, edge=("white", 0.8)))
    x, y = ({"range": [axis[0], axis[-1]]} for axis in (picture.axis1, picture.axis2))
    return traces, ("the network", "○ class 0, ◇ class 1"), x, y


def _bars(x: Any, y: Any, name: str) -> Trace:
    """Return bars with hover labels."""
    return {"type": "bar", "x": x, "y": y, "name": name, "marker": {"color": BLUE}, "hovertemplate": "%{x}: %{y:.3g}"}


def _classes(picture: Any, frame: Any) -> Drawn:
    """Draw the accuracy for each class."""
    classes = np.arange(len(picture.accuracy))
    labels = {"text": [f"{a:.0%}" for a in picture.accuracy], "textposition": "outside", "cliponaxis": False}
    bars = _bars(classes, picture.accuracy, "accuracy") | labels
    detail = f"of each class · mean {picture.accuracy.mean():.1%}"
    y = {"range": [0, 1.18], "tickvals": [0, 0.5, 1], "tickformat": ".0%"}
    return [bars], ("accuracy", detail), {"tickvals": classes.tolist()}, y


def _residuals(picture: Any, frame: Any) -> Drawn:
    """Draw predictions against targets."""
    ends = np.array([picture.targets.min(), picture.targets.max()], float)
    traces = [line(ends, ends, "perfect", GREY), marks(picture.targets, picture.predictions, "predictions", INK, 6)]
    return traces, ("predictions", "on the line: perfect"), {"label": "target"}, {"label": "prediction"}


def _coordinates(picture: Any, frame: Any) -> Drawn:
    """Draw the distance from the minimum along each eigenvector."""
    names = [f"v{i}".translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")) for i in range(1, len(picture.distance) + 1)]
    bars = _bars(names, np.maximum(picture.distance, 1e-12), "distance")
    y = {"type": "log", "exponentformat": "power", "range": [-9, 1]}
    return [bars], ("distance from the minimum", "along vᵢ"), {"type": "category"}, y


def _floor(picture: Any, frame: Any) -> Drawn:
    """Draw the path on the valley floor over the contours of λ₁."""
    minima = {"least λ₁": (0.0, 0.0), "least trace": (0.8, 1 / 7), "least λ₂": (1.0, 1.0)}
    positions, font = ["top right", "top left", "bottom left"], {"size": 12, "color": ["white", "white", INK]}
    labels = {"text": [f"  {name}  " for name in minima], "textposition": positions, "textfont": font}
    x, y = np.array([*minima.values()]).T
    traces = [
        contours(picture.axis, picture.axis, picture.level, "λ₁", ncontours=14),
        marks(x, y, "minima", "white", 9, "x", edge=(INK, 1), cliponaxis=False) | {"mode": "markers+text"} | labels,
        line(frame.path[:, 0], frame.path[:, 1], "path", ORANGE, 2.5),
        marks(picture.point[:1], picture.point[1:], "iterate", VERMILION, 14, edge=("white", 2)),
    ]
    span = {"range": [-0.03, 1.03]}
    return traces, ("the valley floor", "x₁ and x₂, contours of λ₁"), span, span


PICTURES = {
    "Curve": _curve,
    "Regions": _regions,
    "Classes": _classes,
    "Residuals": _residuals,
    "Coordinates": _coordinates,
    "Floor": _floor,
}
