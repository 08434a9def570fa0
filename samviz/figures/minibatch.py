"""Where the gradients of batches point: their angle from the batch's v₁, and its cosine by batch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.arguments import given
from samviz.figures.style import BLUE, GREY, INK, VERMILION, Trace, axis, layout, title

Array = NDArray[np.float64]
HEIGHT = 440  # pixels
LEFT, RIGHT = (0.0, 0.46), (0.56, 1.0)  # columns
SCATTER = 0.28  # half the width of a strip


@dataclass(frozen=True)
class Directions:
    """Where the gradients of the batches drawn by runs of every batch size point, as plain results."""

    size: int  # the batch size that is looked at
    angles: Sequence[float]  # (n,), degrees, of the samples' own v₁
    top: Array  # (n, steps), degrees, of v₁ of the batch's Hessian
    slope: Array  # (n, steps), degrees, of ∇L_B
    cosines: Array  # (n, steps), |cos| between them


def alignment_figure(found: Directions) -> dict[str, Any]:
    """Angles for one batch size, and cosines for all, as plain plotly JSON.

    Args:
        found: the runs so far.

    Returns:
        {"data": traces, "layout": layout}.
    """
    given("found", found, "Directions", "figures")
    n = len(found.angles)
    whole = layout(HEIGHT, margin={"l": 58, "r": 14, "t": 30, "b": 44})
    where = "direction of v₁ of ∇²L<sub>B</sub> (grey ticks: of the single samples)"
    turns = {"tickvals": list(range(0, 181, 30)), "ticktext": [f"{t}°" for t in range(0, 181, 30)]}
    whole["xaxis"] = axis(LEFT, "y", range=[-25, 155], title={"text": where, "standoff": 2}, **turns)
    tilts = {"tickvals": [-90, -45, 0, 45, 90], "ticktext": ["−90°", "−45°", "0°", "45°", "90°"]}
    whole["yaxis"] = axis(
        (0, 1), "x", range=[-96, 96], title={"text": "from v₁ to ∇L<sub>B</sub>", "standoff": 0}, **tilts
    )
    sizes = {"tickvals": list(range(1, n + 1)), "range": [0.4, n + 0.6]}
    whole["xaxis2"] = axis(RIGHT, "y2", title={"text": "batch size", "standoff": 2}, showgrid=False, **sizes)
    whole["yaxis2"] = axis((0, 1), "x2", range=[-0.03, 1.14], tickvals=[0, 0.25, 0.5, 0.75, 1])
    whole["annotations"] = [
        title("angle from v₁ to ∇L<sub>B</sub>", f"at every step, batch size {found.size}", LEFT[0], 1.0),
        title("|cos(∇L<sub>B</sub>, v₁)|", "at every step, and its mean", RIGHT[0], 1.0),
    ]
    return {"data": _tilts(found) + _strips(found), "layout": whole}


def _tilts(found: Directions) -> list[Trace]:
    """The angle from v₁ to ∇L_B against the direction of v₁, and the samples' own directions."""
    on = {"type": "scatter", "xaxis": "x", "yaxis": "y", "hoverinfo": "skip"}
    row = found.size - 1
    top = (found.top[row] + 25) % 180 - 25  # directions have no sign
    tilt = (found.slope[row] - found.top[row] + 90) % 180 - 90
    ticks = np.repeat(np.array(found.angles, float), 3)
    ends = np.tile([-96.0, -84.0, np.nan], len(found.angles))
    dots = {"color": VERMILION, "size": 7, "opacity": 0.45}
    own = {"color": GREY, "width": 3}
    return [
        on | {"mode": "lines", "x": [-25, 155], "y": [0, 0], "line": {"color": BLUE, "width": 1.5}, "name": "aligned"},
        on | {"mode": "lines", "x": ticks, "y": ends, "line": own, "name": "own"},
        on | {"mode": "markers", "x": top, "y": tilt, "marker": dots, "name": "steps"},
    ]


def _strips(found: Directions) -> list[Trace]:
    """The cosines of every batch size as a strip, with their mean."""
    on = {"type": "scatter", "xaxis": "x2", "yaxis": "y2", "hoverinfo": "skip"}
    n, steps = found.cosines.shape
    spread = SCATTER * (2 * ((np.arange(steps) * 0.6180339887) % 1) - 1)
    traces: list[Trace] = []
    for size in range(1, n + 1):
        chosen = size == found.size
        dots = {"color": VERMILION if chosen else GREY, "size": 4, "opacity": 0.5 if chosen else 0.3}
        at = {"x": size + spread, "y": found.cosines[size - 1], "marker": dots, "name": f"strip {size}"}
        traces.append(on | {"mode": "markers"} | at)
    if not steps:
        return traces
    mean = found.cosines.mean(1)
    x = np.arange(1, n + 1, dtype=float)
    ticks = {"symbol": "line-ew", "size": 34, "line": {"color": INK, "width": 3}}
    traces.append(on | {"mode": "markers", "x": x, "y": mean, "marker": ticks, "name": "means"})
    colors = [VERMILION if size == found.size else INK for size in range(1, n + 1)]
    words = {"text": [f"<b>{m:.3f}</b>" for m in mean], "textfont": {"color": colors, "size": 12}}
    return [*traces, on | {"mode": "text", "x": x, "y": np.full(n, 1.075), "name": "mean names"} | words]
