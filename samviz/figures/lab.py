"""The lab's picture: three time series beside the landscape and what the parameters mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.arguments import given
from samviz.figures.scene import landscape_panel, picture_panel
from samviz.figures.series import series
from samviz.figures.style import layout

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from samviz.dynamics import History, Settings
    from samviz.geometry import Landscape
    from samviz.problems.picture import Picture

Array = NDArray[np.float64]
HEIGHT = 660  # pixels
SPLIT = 0.535, 0.605  # where the left column ends and the right one begins


@dataclass(frozen=True)
class Frame:
    """All that one picture of the lab shows, as plain results."""

    history: History  # at least one row, thinned
    edge: Array  # (rows,), the predicted edge of stability
    estimates: Array  # (points, 2), step and curvature uᵀHu along SAM's gradient, from its two gradients; thinned
    changes: Sequence[tuple[int, Settings]]
    ghost: History | None  # an earlier run
    samples: int
    landscape: Landscape
    height: Array  # (resolution, resolution), or (1, resolution) for a line
    trail: Array  # (steps, 2), on a line the coordinate and the loss
    lost: float
    shown: str  # what the trail is, in words
    picture: Picture | None
    start: Picture | None
    path: Array  # (steps, dim), iterates over the whole run


def lab_figure(frame: Frame) -> dict[str, Any]:
    """The lab's picture as plain plotly JSON, in which arrays stay numpy arrays.

    Args:
        frame: what to show.

    Returns:
        {"data": traces, "layout": layout}; `figure` turns it into a `plotly.graph_objects.Figure`.
    """
    given("frame", frame, "Frame", "figures")
    left, right = SPLIT
    lines, axes = series(
        frame.history,
        frame.edge,
        frame.changes,
        frame.ghost,
        estimates=frame.estimates,
        width=left,
        samples=frame.samples,
    )
    slice_, plane = landscape_panel(
        frame.landscape, frame.height, frame.trail, frame.lost, shown=frame.shown, x=(right, 1), y=(0.385, 0.97)
    )
    meaning, place = picture_panel(frame.picture, frame.start, frame.path, x=(right, 1), y=(0, 0.285))
    notes = [note for part in (axes, plane, place) for note in part["annotations"]]
    whole = layout(HEIGHT) | axes | plane | place | {"annotations": notes}
    return {"data": [*slice_, *meaning, *lines], "layout": whole}


def figure(plain: dict[str, Any]) -> go.Figure:
    """Plain plotly JSON as a plotly figure.

    Args:
        plain: from any `..._figure`.

    Returns:
        A `plotly.graph_objects.Figure`, checked by plotly.
    """
    import plotly.graph_objects as go

    return go.Figure(plain)
