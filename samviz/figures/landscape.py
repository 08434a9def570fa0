"""Slices of the loss: the landscape of the lab, and planes side by side with the loss along their first direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from samviz.figures import drawing as draw
from samviz.figures.drawing import Array, Interval, Layout, Trace
from samviz.figures.style import BLUE, BLUES, GREEN, HALO, INK, ORANGE, PURPLE, VERMILION

if TYPE_CHECKING:
    from samviz.figures.lab import Frame
    from samviz.geometry import Landscape

LEVELS = 15  # contours from the lowest to the highest point
ARROWS = {  # colour, and how far above its middle the label stands, as a fraction of the axis
    "gradient": (INK, -0.07),
    "ascent": (PURPLE, 0.07),
    "perturbed gradient": (GREEN, -0.16),
    "step": (VERMILION, 0.16),
    "momentum": (BLUE, -0.25),
}
LABEL_LINE = 0.085  # height of such a label, as a fraction of the axis
LINES = ((BLUE, "dash"), (VERMILION, "solid"), (GREEN, "dot"))


class Arrow(NamedTuple):
    """A part of a step on the landscape."""

    name: str  # of `ARROWS`
    label: str
    tail: Array  # (2,)
    tip: Array  # (2,)


def heights(landscape: Landscape) -> Array:
    """Return √(L − min L), whose contours are evenly spaced on a quadratic bowl, in the shape of the loss."""
    return np.sqrt(np.maximum(landscape.loss - np.nanmin(landscape.loss), 0))


def path_traces(path: Any, position: Any, path_name: str, position_name: str, **more: Any) -> list[Trace]:
    """Draw a path of iterates (steps, 2) and a mark at a position (1, 2)."""
    dots = {"mode": "lines+markers", "marker": {"color": ORANGE, "size": 6}}
    return [
        draw.line(path[:, 0], path[:, 1], path_name, ORANGE, **more) | dots,
        draw.marks(position[:, 0], position[:, 1], position_name, VERMILION, 14, edge=("white", 2), **more),
    ]


def lab_landscape(layout: Layout, frame: Frame, column: Interval, row: Interval) -> list[Trace]:
    """Add axes 4 with the loss on a plane, or over a line, and the latest iterates; return the traces."""
    a, b, labels = frame.landscape.axis1, frame.landscape.axis2, frame.landscape.plane.labels
    loss, iterates = frame.landscape.loss, path_traces(frame.trail, frame.trail[-1:], "latest steps", "iterate")
    number_format: Layout = {"exponentformat": "e", "nticks": 6, "ticks": ""}
    x = number_format | {"range": [a[0], a[-1]]}
    if len(b) == 1:
        margin = 0.06 * (float(np.ptp(loss)) or 1.0)
        y = number_format | {"range": [loss.min() - margin, loss.max() + margin]}
        traces = [draw.line(a, loss[0], f"loss along {labels[0]}", BLUE, 2.5), *iterates]
        above = "L"
    else:
        y = number_format | {"range": [b[0], b[-1]]}
        levels = draw.contour_levels(float(np.nanmax(frame.height)), LEVELS)
        traces = [draw.contours(a, b, frame.height, "√(L − min L)", pale=bool(frame.arrows), **levels), *iterates]
        above = labels[1]
    detail = "of the loss" + (f" · {frame.trail_text}" if len(frame.trail) > 1 else "")
    if frame.arrows:
        detail = "around one step · gradients times η"
    axes = draw.add_axes(layout, 4, column, row, ("landscape", detail), x=x, y=y)
    if frame.surface and len(b) > 1 and not frame.arrows:
        place = {"x": list(column), "y": list(row)}
        flat = draw.line([None], [None], "plane", BLUE, hoverinfo="skip") | axes  # or the axes and the heading would go
        return [flat, *_surface(layout, frame.landscape, frame.height, frame.trail, place)]
    corner: Layout = {"xref": "x4 domain", "yref": "y4 domain", "bgcolor": "rgba(255,255,255,0.6)"}
    right = draw.note(f"{labels[0]} →", 1, 0, xanchor="right", yanchor="bottom", **corner)
    layout["annotations"] += [right, draw.note(f"{above} ↑", 0, 1, yanchor="top", **corner)]
    if frame.rival_at is not None and len(b) > 1:
        x_of_b, y_of_b = frame.rival_at.T
        traces.append(draw.marks(x_of_b, y_of_b, "iterate of B", "white", 13, edge=(INK, 2)))
        traces.append(draw.text(x_of_b, y_of_b, ["  <b>B</b>"], "B", shadow=HALO))
    traces.append(_draw_arrows(layout, frame.arrows))
    return [trace | axes for trace in traces]


def _draw_arrows(layout: Layout, arrows: Sequence[Arrow]) -> Trace:
    """Add the arrows of a step to axes 4, and return marks at the perturbed points."""
    axes = {"xref": "x4", "yref": "y4"}
    low, high = np.array([layout[f"{name}axis4"]["range"] for name in "xy"], float).T
    labels: list[tuple[str, str]] = []
    places: list[Array] = []  # of the labels, as fractions of the axes
    for name, label, tail, tip in arrows:
        color, shift = ARROWS[name]
        (x, y), (ax, ay) = tip.tolist(), tail.tolist()
        style = {"showarrow": True, "arrowcolor": color, "arrowwidth": 2.5 if label else 1, "arrowhead": 2}
        ends = {"x": x, "y": y, "ax": ax, "ay": ay, "axref": "x4", "ayref": "y4"}
        layout["annotations"].append({"text": ""} | style | ends | axes)
        if label:
            labels.append((label, color))
            places.append(np.clip(((tail + tip) / 2 - low) / (high - low) + [0, shift], 0.2, 0.87))
    lines = draw.spread([y for _, y in places], LABEL_LINE, 0.13)  # no label covers another
    for (label, color), (x, _), y in zip(labels, places, lines):
        left, up = (low + (high - low) * [x, y]).tolist()
        place: Layout = {"xanchor": "center", "yanchor": "middle", "bgcolor": "rgba(255,255,255,0.75)"}
        layout["annotations"].append(draw.note(label, left, up, "x4", "y4", color, **place))
    points = np.array([arrow.tip for arrow in arrows if arrow.name == "ascent"]).reshape(-1, 2)
    return draw.marks(points[:, 0], points[:, 1], "perturbed point", "white", 9, edge=(PURPLE, 2))


def _surface(layout: Layout, landscape: Landscape, height: Array, trail: Array, domain: Layout) -> list[Trace]:
    """Add a scene in place of axes 4 with the loss as a surface and the latest iterates on it; return the traces."""
    from scipy.ndimage import map_coordinates

    a, b, loss = landscape.axis1, landscape.axis2, landscape.loss
    rows, columns = ((at - axis[0]) / (axis[1] - axis[0]) for at, axis in zip(trail.T[::-1], (b, a)))
    low, rise = float(np.nanmin(loss)), float(np.ptp(loss)) or 1.0
    z = map_coordinates(loss, [rows, columns], order=1, mode="nearest") + 0.02 * rise  # slightly above the surface
    camera = {"eye": {"x": -1.0, "y": -1.2, "z": 2.0}, "center": {"x": 0, "y": 0, "z": -0.15}}
    scene: Layout = {"domain": domain, "camera": camera, "aspectmode": "cube"}
    style: Layout = {"showbackground": False, "gridcolor": "#dfe5ec", "zeroline": False, "showspikes": False}
    limits = [a[0], a[-1]], [b[0], b[-1]], [low, low + 1.05 * rise]
    for name, label, ends in zip("xyz", (*landscape.plane.labels, "L"), limits):
        scene[f"{name}axis"] = style | {"title": {"text": label}, "range": ends, "nticks": 4, "exponentformat": "e"}
    layout["scene"] = scene
    layout["xaxis4"]["visible"] = layout["yaxis4"]["visible"] = False
    place = {"scene": "scene", "hoverinfo": "skip"}
    colors = {"surfacecolor": height, "colorscale": BLUES, "showscale": False}
    colors |= {"lighting": {"ambient": 0.9, "diffuse": 0.3, "specular": 0.02}}
    surface = {"type": "surface", "x": a, "y": b, "z": loss, "name": "L"} | colors | place
    points = {"type": "scatter3d", "x": trail[:, 0], "y": trail[:, 1], "z": z} | place
    line = {"mode": "lines+markers", "line": {"color": ORANGE, "width": 5}, "marker": {"color": ORANGE, "size": 3}}
    here = {key: points[key][-1:] for key in "xyz"} | {"mode": "markers", "marker": {"color": VERMILION, "size": 7}}
    return [surface, points | line | {"name": "latest steps"}, points | here | {"name": "iterate"}]


def slice_figure(named: Mapping[str, Landscape]) -> dict[str, Any]:
    """Draw slices of the loss as plain plotly JSON, with the projected trajectory on each.

    All planes have the same contours of √(L − min L), which are evenly spaced on a quadratic bowl: the denser they are,
    the steeper is the loss. Next to them is the loss along d₁, of planes and lines.

    Args:
        named: one to three slices of `samviz.geometry.landscape` or `landscape_of`, by name.

    Returns:
        {"data": traces, "layout": layout}.

    Raises:
        ValueError: when there are none, or too many.

    >>> import torch
    >>> from samviz.geometry import landscape
    >>> from samviz.problems import quadratic
    >>> bowl = landscape(quadratic([2.0, 1.0]), torch.zeros(2), resolution=3)
    >>> [trace["name"] for trace in slice_figure({"bowl": bowl})["data"]]
    ['bowl slice', 'bowl path', 'bowl here', 'bowl along d₁', 'names']
    """
    from samviz.checks import check_type
    from samviz.geometry import Landscape

    check_type("named", named, Mapping, "a mapping from names to slices")
    for name, landscape in named.items():
        check_type(f"named[{name!r}]", landscape, Landscape, "a Landscape of samviz.geometry")
    if not 1 <= len(named) <= len(LINES):
        raise ValueError(f"named holds {len(named)} slices; expected 1 to {len(LINES)}")
    planes = {name: (landscape, heights(landscape)) for name, landscape in named.items() if len(landscape.axis2) > 1}
    columns = draw.split([1] * (len(planes) + 1), gap=0.07, end=0.88)  # the rest is for the names of the curves
    top = max((float(np.nanmax(height)) for _, height in planes.values()), default=0.0) or 1.0
    layout = draw.new_layout(390, right=10)
    traces: list[Trace] = []
    for number, (name, (landscape, height)) in enumerate(planes.items(), start=2):
        a, b = landscape.axis1, landscape.axis2
        x, y = ({"range": [ends[0], ends[-1]], "nticks": 6} for ends in (a, b))
        x["label"], y["label"] = (f"{label} →" for label in landscape.plane.labels)
        axes = draw.add_axes(layout, number, columns[number - 2], (0, 1), (name, "dark: low L"), x=x, y=y)
        path = landscape.trajectory.coordinates if landscape.trajectory else np.zeros((1, 2))
        levels = draw.contours(a, b, height, f"{name} slice", **draw.contour_levels(top, LEVELS))
        model = path_traces(path, np.zeros((1, 2)), f"{name} path", f"{name} here", hoverinfo="skip")
        traces += [trace | axes for trace in (levels, *model)]
    return {"data": traces + _first_direction(layout, named, columns[-1]), "layout": layout}


def _first_direction(layout: Layout, named: Mapping[str, Landscape], column: Interval) -> list[Trace]:
    """Add axes with the loss along the first direction of each slice; return the traces."""
    traces: list[Trace] = []
    for (name, landscape), (color, dash) in zip(named.items(), LINES):
        label = landscape.plane.labels[0] if len(landscape.axis2) == 1 else "d₁"
        loss = landscape.loss[np.argmin(np.abs(landscape.axis2))]
        traces.append(draw.line(landscape.axis1, loss, f"{name} along {label}", color, 2.5, dash))
    low, high = (float(extreme([extreme(trace["y"]) for trace in traces])) for extreme in (np.nanmin, np.nanmax))
    height = (high - low) or 1.0
    labels = {landscape.plane.labels[0] for landscape in named.values()}
    span = [min(float(trace["x"][0]) for trace in traces), max(float(trace["x"][-1]) for trace in traces)]
    between = all(landscape.plane.kind == "through" and len(landscape.axis2) == 1 for landscape in named.values())
    label = "position (0: origin, 1: the other point)" if between else "d₁"
    x = {"range": span, "label": labels.pop() if len(labels) == 1 and not between else label}
    y = {"range": [low - 0.04 * height, high + 0.04 * height], "nticks": 6, "exponentformat": "power"}
    axes = draw.add_axes(layout, 1, column, (0, 1), ("the loss", "along the first direction"), x=x, y=y)
    ends = [
        (trace["x"][-1], trace["y"][-1], f"<b>{n}</b>".replace(" ", "<br> "), trace["line"]["color"])
        for n, trace in zip(named, traces)
    ]
    return [trace | axes for trace in (*traces, draw.end_labels(ends, y, "names", 0.11, shadow=HALO))]
