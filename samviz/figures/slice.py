"""Slices of the loss: planes side by side with the same contours, and the loss along their first direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from samviz.figures.arguments import given
from samviz.figures.scene import HERE, LEVELS, TRAIL, heights
from samviz.figures.style import (
    BLUE,
    GREEN,
    HALO,
    INK,
    VERMILION,
    Layout,
    Trace,
    apart,
    axis,
    contours,
    edges,
    layout,
    note,
    title,
)

if TYPE_CHECKING:
    from samviz.geometry import Landscape

HEIGHT = 390  # pixels
GAP, ROOM = 0.07, 0.12  # between two columns, and on the right for the curves' names
LINES = ((BLUE, "dash"), (VERMILION, "solid"), (GREEN, "dot"))


def slice_figure(named: Mapping[str, Landscape]) -> dict[str, Any]:
    """Slices as plain plotly JSON: what is seen in them, and where the trajectory is projected.

    Every plane is drawn by contours of √(L − min L), evenly spaced on a quadratic bowl, the same in all planes: where
    there are more of them it is steeper. Beside them is the loss along d₁, of planes and lines alike.

    Args:
        named: one to three slices of `samviz.geometry.landscape` or `landscape_of`, by what they are called.

    Returns:
        {"data": traces, "layout": layout}.

    Raises:
        ValueError: when there are none, or too many.

    >>> import torch
    >>> from samviz.geometry import landscape
    >>> from samviz.problems import quadratic
    >>> seen = landscape(quadratic([2.0, 1.0]), torch.zeros(2), resolution=3)
    >>> [trace["name"] for trace in slice_figure({"bowl": seen})["data"]]
    ['bowl slice', 'bowl path', 'bowl here', 'bowl along d₁']
    """
    if not isinstance(named, Mapping):
        raise TypeError(f"named is {named!r:.200}; expected slices by what they are called")
    for name, seen in named.items():
        given(f"named[{name!r}]", seen, "Landscape", "geometry")
    if not 1 <= len(named) <= len(LINES):
        raise ValueError(f"named holds {len(named)} slices; expected 1 to {len(LINES)}")
    planes = {name: seen for name, seen in named.items() if len(seen.axis2) > 1}
    width = (1 - ROOM - GAP * len(planes)) / (len(planes) + 1)
    columns = [((width + GAP) * i, (width + GAP) * i + width) for i in range(len(planes) + 1)]
    whole = layout(HEIGHT, margin={"l": 58, "r": 10, "t": 30, "b": 44})
    whole["annotations"] = []
    traces: list[Trace] = []
    raised = {name: heights(seen) for name, seen in planes.items()}
    top = max((float(np.nanmax(height)) for height in raised.values()), default=0.0)
    for number, (name, seen) in enumerate(planes.items(), start=2):
        on = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        traces += [trace | on for trace in _plane(name, seen, raised[name], top)]
        labels = [{"title": {"text": f"{label} →", "standoff": 2}} for label in seen.plane.labels]
        ends = [{"range": [a[0], a[-1]], "nticks": 6} for a in (seen.axis1, seen.axis2)]
        whole[f"xaxis{number}"] = axis(columns[number - 2], f"y{number}", **labels[0], **ends[0])
        whole[f"yaxis{number}"] = axis((0, 1), f"x{number}", **labels[1], **ends[1])
        whole["annotations"].append(title(name, "", columns[number - 2][0], 1.0))
    return {"data": traces + _along(named, columns[-1], whole), "layout": whole}


def _plane(name: str, seen: Landscape, height: Any, top: float) -> list[Trace]:
    """The contours, the path projected on them, and where the model is."""
    path = seen.trajectory.coordinates if seen.trajectory else np.zeros((1, 2))
    return [
        contours(seen.axis1, seen.axis2, height, f"{name} slice", **edges(top or 1.0, LEVELS)),
        TRAIL | {"x": path[:, 0], "y": path[:, 1], "hoverinfo": "skip", "name": f"{name} path"},
        HERE | {"x": [0.0], "y": [0.0], "hoverinfo": "skip", "name": f"{name} here"},
    ]


def _along(named: Mapping[str, Landscape], column: tuple[float, float], whole: Layout) -> list[Trace]:
    """The loss along the first direction, one line for each slice, and its name at the end of it."""
    traces: list[Trace] = []
    ends: list[tuple[float, float]] = []
    for (name, seen), (color, dash) in zip(named.items(), LINES):
        loss = seen.loss[np.argmin(np.abs(seen.axis2))]
        line = {"color": color, "dash": dash, "width": 2.5}
        name = f"{name} along {seen.plane.labels[0] if len(seen.axis2) == 1 else 'd₁'}"
        traces.append({"type": "scatter", "mode": "lines", "x": seen.axis1, "y": loss, "line": line, "name": name})
        ends.append((float(seen.axis1[-1]), float(loss[-1])))
    low, high = (float(edge([edge(trace["y"]) for trace in traces])) for edge in (np.nanmin, np.nanmax))
    spread = (high - low) or 1.0
    left, right = min(float(trace["x"][0]) for trace in traces), max(end for end, _ in ends)
    first = next(iter(named.values())).plane.labels[0]
    same = all(seen.plane.labels[0] == first for seen in named.values())
    whole["xaxis"] = axis(column, "y", range=[left, right], title={"text": first if same else "d₁", "standoff": 2})
    whole["yaxis"] = axis((0, 1), "x", range=[low - 0.04 * spread, high + 0.04 * spread], nticks=6)
    whole["yaxis"] |= {"exponentformat": "power"}
    whole["annotations"].append(title("the loss", "along the first direction", column[0], 1.0))
    places = apart([height for _, height in ends], 0.07 * spread, low)
    for name, (end, _), place, (color, _) in zip(named, ends, places, LINES):
        font = {"font": {"size": 12, "color": color, "shadow": HALO}}
        whole["annotations"].append(note(f"<b>{name}</b>", end, place, "x", "y", INK, xshift=5) | font)
    return traces
