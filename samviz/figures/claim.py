"""A claim's picture: what was measured as points, what the paper predicts as dashed lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from samviz.figures.arguments import given
from samviz.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Trace,
    apart,
    axis,
    layout,
    note,
    title,
)

if TYPE_CHECKING:
    from samviz.claims import Plot

COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x")
HEIGHT = 360  # pixels
PLACE = (0.0, 0.74)  # of the axes; the rest is for the labels
POINTS = 20  # measured points up to which each is drawn
FRACTION = 0.07  # of the height between two labels


def claim_figure(plot: Plot) -> dict[str, Any]:
    """A claim's picture as plain plotly JSON.

    A predicted curve takes the colour of the measured one before it, and needs no label of its own where its name
    only says that it is predicted. Colour is never alone: points differ in shape.

    Args:
        plot: from a claim's finding.

    Returns:
        {"data": traces, "layout": layout}.
    """
    given("plot", plot, "Plot", "claims")
    traces: list[Trace] = []
    labels: list[tuple[float, str, str]] = []  # height of the last point in axis units, text, colour
    number = -1
    for curve in plot.curves:
        number += not curve.predicted
        color = COLORS[number % len(COLORS)] if number >= 0 else GREY
        order = np.argsort(curve.x)  # the label stands at the right end
        trace: Trace = {"type": "scatter", "x": curve.x[order], "y": curve.y[order], "name": curve.name}
        if curve.predicted:
            trace |= {"mode": "lines", "line": {"color": color, "dash": "dash", "width": 1.5}}
        else:
            shape = {"color": color, "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8}
            trace |= {"mode": "markers" if len(curve.x) <= POINTS else "lines", "marker": shape}
            trace |= {"line": {"color": color, "width": 1.5}}
        if curve.error is not None:
            trace["error_y"] = {"type": "data", "array": curve.error[order], "color": color, "thickness": 1.2}
        traces.append(trace)
        last = _on_axis(curve.y[order], plot.log_y)
        if len(last) and not (curve.predicted and number >= 0 and curve.name.startswith("predicted")):
            labels.append((float(last[-1]), curve.name, color))
    low, high = _range([curve.y for curve in plot.curves], plot.log_y)
    heights = apart([at for at, _, _ in labels], FRACTION * (high - low), low)
    whole = layout(HEIGHT, margin={"l": 60, "r": 14, "t": 34, "b": 48})
    dashed = " (dashed: predicted)" if any(curve.predicted for curve in plot.curves) else ""
    whole["xaxis"] = axis(PLACE, "y", title={"text": plot.x_label + dashed}, **_scale(plot.log_x))
    whole["yaxis"] = axis((0, 1), "x", range=[low, high], **_scale(plot.log_y))
    # A log axis wants an annotation's place as an exponent; that is how the heights come.
    whole["annotations"] = [
        title("", plot.y_label, 0, 1.02),
        *(
            note(text, PLACE[1] + 0.01, height, "paper", "y", color, yanchor="middle")
            for height, (_, text, color) in zip(heights, labels)
        ),
    ]
    return {"data": traces, "layout": whole}


def _on_axis(values: Any, log: bool) -> Any:
    """The finite values, as the axis measures them."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    return np.log10(values) if log else values


def _range(curves: list[Any], log: bool) -> tuple[float, float]:
    """Lowest and highest of all curves as the axis measures them, with a margin."""
    values = np.concatenate([_on_axis(curve, log) for curve in curves] or [np.zeros(1)])
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _scale(log: bool) -> dict[str, Any]:
    return {"type": "log" if log else "linear", "exponentformat": "power", "nticks": 7}
