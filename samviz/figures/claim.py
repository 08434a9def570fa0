"""The figure of a claim: measured points and the dashed curves that the paper predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samviz.figures.drawing import Interval, Label, Layout, Trace, add_axes, end_labels, line, new_layout, typeset
from samviz.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION

if TYPE_CHECKING:
    from samviz.claims import Plot
    from samviz.claims.claim import Array

COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x")
WIDTH = 0.74  # of the axes; the labels stand to the right of them
TICKS = 7  # values of x up to which each has a tick
FEW = 20  # points up to which a measured curve is drawn as points


def claim_figure(plot: Plot) -> dict[str, Any]:
    """Draw the plot of a claim as plain plotly JSON.

    A predicted curve has the colour of the measured one before it. Its label is omitted if it would only say that the
    curve is predicted. Measured curves differ in colour and in the shape of their points.

    Args:
        plot: from a claim's finding.

    Returns:
        {"data": traces, "layout": layout}.
    """
    from samviz.checks import check_type
    from samviz.claims import Plot

    check_type("plot", plot, Plot, "a Plot of samviz.claims")
    traces: list[Trace] = []
    labels: list[Label] = []
    left, right = _interval([curve.x for curve in plot.curves], plot.log_x, 0.04)
    if plot.x_names:
        left, right = 0.5, len(plot.x_names) + 0.5
    number = -1
    for curve in plot.curves:
        number += not curve.predicted
        color = COLORS[number % len(COLORS)] if number >= 0 else GREY
        order = np.argsort(curve.x)  # the label stands at the right end
        trace = line(curve.x[order], curve.y[order], curve.name, color, 1.5, "dash" if curve.predicted else "solid")
        if not curve.predicted:
            trace["marker"] = {"color": color, "symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8}
            trace["mode"] = "markers" if len(curve.x) <= FEW else "lines"
        if curve.error is not None:
            trace["error_y"] = {"type": "data", "array": curve.error[order], "color": color, "thickness": 1.2}
        traces.append(trace)
        heights = curve.y[order][np.isfinite(curve.y[order])]
        if len(heights) and not (curve.predicted and number >= 0 and curve.name.startswith("predicted")):
            labels.append((10**right if plot.log_x else right, float(heights[-1]), curve.name, color))
    ends = [curve.y + sign * (0 if curve.error is None else curve.error) for curve in plot.curves for sign in (-1, 1)]
    low, high = _interval(ends, plot.log_y, 0.08)
    layout = new_layout(360, left=60, top=34, bottom=48)
    dashed = " (dashed: predicted)" if any(curve.predicted for curve in plot.curves) else ""
    scales: list[Layout] = [
        {"type": "log" if log else "linear", "exponentformat": "power", "nticks": 7} for log in (plot.log_x, plot.log_y)
    ]
    x = scales[0] | {"label": plot.x_label + dashed, "range": [left, right]}
    y = scales[1] | {"range": [low, high]} | (_ticks(low, high) if plot.log_y else {})
    ticks = np.unique(np.concatenate([np.empty(0), *(curve.x for curve in plot.curves if not curve.predicted)]))
    if plot.x_names:
        x |= {"tickvals": [*range(1, len(plot.x_names) + 1)], "ticktext": [*plot.x_names]}
    elif 0 < len(ticks) <= TICKS:
        x |= {"tickvals": ticks.tolist(), "ticktext": [typeset(f"{value:g}") for value in ticks]}
    elif len(ticks) and plot.log_x:
        x |= _ticks(left, right)
    y["showticklabels"] = len(ticks) > 0  # no numbers where there are no curves yet
    x["showticklabels"] = len(ticks) > 0 or bool(plot.x_names)
    add_axes(layout, 1, (0, WIDTH), (0, 1), ("", plot.y_label), x=x, y=y)
    return {"data": [*traces, end_labels(labels, y, "names", 0.07)], "layout": layout}


def _ticks(low: float, high: float) -> Layout:
    """Return ticks at 1, 2 and 5 of each decade of a logarithmic axis, where plotly would write single digits."""
    if not 0.7 < high - low < 3:
        return {"dtick": 1} if 3 <= high - low < 7 else {}
    values = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high)) for digit in (1, 2, 5)]
    return {"tickvals": values, "ticktext": [typeset(f"{value:g}") for value in values]}


def _interval(values: Sequence[Array], log: bool, margin: float) -> Interval:
    """Return an interval of an axis, powers of ten on a logarithmic one, with the finite values and a margin."""
    finite = np.concatenate([np.empty(0), *values])
    finite = finite[np.isfinite(finite) & ((finite > 0) | (not log))]
    at = np.log10(finite) if log else finite
    low, high = (float(at.min()), float(at.max())) if len(at) else (0.0, 1.0)
    space = margin * (high - low) or 0.1 * abs(high) or 1.0
    return low - space, high + space
