"""One palette and one look for every picture: direct labels, no legends.

The hues are Okabe and Ito's, darkened until lines have a contrast of 3 on white and words one of 4.5 (WCAG 2.2).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

INK, GREY, GRID, GHOST = "#1b2733", "#5b6876", "#e8edf2", "#8994a0"
BLUE, SKY, GREEN = "#0072B2", "#3a9bd9", "#00815e"
VERMILION, ORANGE, PURPLE = "#c24e00", "#cc8600", "#CC79A7"
PLUM = "#a8457f"  # PURPLE for words
TEXT_COLORS = {PURPLE: PLUM, ORANGE: "#8f5f00", SKY: "#1b75b0"}  # lines that are too pale for words on white
WORDS = TEXT_COLORS  # the former name
HALO = "0 0 3px white, 0 0 3px white, 0 0 3px white, 0 0 3px white"  # behind words that stand on lines
BLUES: list[list[Any]] = [
    [0.0, "#08306b"],
    [0.2, "#1c64ab"],
    [0.4, "#4f9bcb"],
    [0.6, "#9ac8e1"],
    [0.8, "#cfe1f2"],
    [1.0, "#f4f9fd"],
]
PALE: list[list[Any]] = [  # dark lines are seen on it
    [0.0, "#a9c8e3"],
    [0.25, "#c9dded"],
    [0.5, "#dfebf5"],
    [1.0, "#fbfdff"],
]
FONT = "system-ui, Segoe UI, Roboto, Helvetica Neue, DejaVu Sans, sans-serif"  # as in view.css

Trace = dict[str, Any]
Layout = dict[str, Any]


def axis(domain: tuple[float, float], anchor: str, **more: Any) -> Layout:
    """An axis over part of the picture: domain as fractions of it, anchored to its partner ("x2", "y2")."""
    return {
        "domain": list(domain),
        "anchor": anchor,
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": "#9aa5b1",
        "tickfont": {"size": 11},
        "automargin": False,
        **more,
    }


def layout(height: int, **more: Any) -> Layout:
    """What all pictures share, and more of one's own."""
    return {
        "height": height,
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "showlegend": False,
        "margin": {"l": 58, "r": 14, "t": 26, "b": 40},
        "hovermode": "closest",
        "uirevision": "keep",
        **more,
    }


def contours(x: Any, y: Any, z: Any, name: str, *, pale: bool = False, **more: Any) -> Trace:
    """Filled contours, dark where it is low: z (len(y), len(x)), pale where much is drawn over them."""
    line = {"color": "#8fb0cc" if pale else "rgba(255,255,255,0.7)", "width": 0.7}
    look = {"colorscale": PALE if pale else BLUES, "showscale": False, "line": line, "hoverinfo": "skip"}
    return {"type": "contour", "x": x, "y": y, "z": z, "name": name, **look, **more}


def edges(top: float, count: int) -> Trace:
    """So many contours from 0 to the top, wherever plotly would put them."""
    return {"autocontour": False, "contours": {"start": top / count, "end": top, "size": top / count}}


def title(text: str, detail: str, x: float, y: float) -> Layout:
    """A panel's title: a bold word and a plain explanation, at a corner given in fractions of the picture."""
    return {
        "text": f"<b>{text}</b>  {detail}",
        "x": x,
        "y": y,
        "xref": "paper",
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 13},
    }


def note(text: str, x: float, y: float, xref: str, yref: str, color: str = INK, **more: Any) -> Layout:
    """A label at a point of the data."""
    return {
        "text": text,
        "x": x,
        "y": y,
        "xref": xref,
        "yref": yref,
        "xanchor": "left",
        "showarrow": False,
        "font": {"size": 12, "color": TEXT_COLORS.get(color, color)},
        **more,
    }


def words_beside(x: Any, y: Any, texts: list[str], colors: list[str], name: str) -> Trace:
    """Words to the right of points, such as the ends of curves, in the colours of what they name."""
    font = {"color": [TEXT_COLORS.get(color, color) for color in colors], "size": 12}
    look = {"mode": "text", "textposition": "middle right", "textfont": font, "cliponaxis": False, "hoverinfo": "skip"}
    return {"type": "scatter", "x": x, "y": y, "text": texts, "name": name} | look


def round_up(value: float) -> float:
    """The next of a few round numbers from 0 on: an axis that stands still is drawn at half the price."""
    power = 10.0 ** np.floor(np.log10(value or 1.0))
    steps = (0, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    return float(power * next(step for step in steps if step * power >= value * (1 - 1e-9)))


def apart(values: list[float], distance: float, low: float) -> list[float]:
    """The values moved down as little as needed to be `distance` apart, and back up where that leaves the panel."""
    order = np.argsort(values, kind="stable")[::-1]
    placed = list(values)
    for above, below in pairwise(order):
        placed[below] = min(placed[below], placed[above] - distance)
    floor = low
    for index in order[::-1]:
        placed[index] = max(placed[index], floor)
        floor = placed[index] + distance
    return placed
