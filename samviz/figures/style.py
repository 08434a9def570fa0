"""The palette of all figures, light and dark, for Python and for the browser.

The hues are Okabe and Ito's, darkened until lines have a contrast of 3 on white and text one of 4.5 (WCAG 2.2).
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np

INK, GREY, GRID, GHOST = "#1b2733", "#5b6876", "#e8edf2", "#8994a0"
BLUE, SKY, GREEN = "#0072B2", "#3a9bd9", "#00815e"
VERMILION, ORANGE, PURPLE = "#c24e00", "#cc8600", "#CC79A7"
PLUM = "#a8457f"  # PURPLE for text
TEXT_COLORS = {PURPLE: PLUM, ORANGE: "#8f5f00", SKY: "#1b75b0"}  # of lines that are too pale for text on white
HALO = "0 0 3px white, 0 0 3px white, 0 0 3px white, 0 0 3px white"  # behind text that stands on lines
BLUES = list(zip((0, 0.2, 0.4, 0.6, 0.8, 1), ("#08306b", "#1c64ab", "#4f9bcb", "#9ac8e1", "#cfe1f2", "#f4f9fd")))
PALE = list(zip((0, 0.25, 0.5, 1), ("#a9c8e3", "#c9dded", "#dfebf5", "#fbfdff")))  # dark lines are visible on it
FONT = "system-ui, Segoe UI, Roboto, Helvetica Neue, DejaVu Sans, sans-serif"  # as in widget.css

DARK_PAPER = "#14191f"
DEEP = ("#2a669f", "#265b8e", "#214b74", "#1c3a58", "#18293b", "#151d26")  # as BLUES: fades into the background
FAINT = ("#274560", "#20374c", "#1b2b3b", "#161d25")  # as PALE: light lines are visible on it

# The counterpart of each colour on a dark background; a text has that of its line.
DARK: dict[str, str] = {
    "white": DARK_PAPER,
    "#ffffff": DARK_PAPER,
    INK: "#dfe6ee",
    "#000000": "#dfe6ee",  # text on pale cells
    GREY: "#8f9ba8",
    GRID: "#29323c",
    GHOST: "#64717e",
    BLUE: "#3f97e8",
    SKY: "#8ed6ff",
    GREEN: "#17b890",
    VERMILION: "#f4722b",
    ORANGE: "#f5cf62",
    PURPLE: "#f2a6d0",
    PLUM: "#f2a6d0",
    **{light: dark for (_, light), dark in zip(BLUES, DEEP)},
    **{light: dark for (_, light), dark in zip(PALE, FAINT)},
    "#9aa5b1": "#5d6874",  # an axis
    "#dfe5ec": "#29323c",  # a grid in space
    "#dbe6ef": "#2b3947",  # level sets
    "#8fb0cc": "#3e5f7d",  # contours on PALE
    "#f3b48a": "#5f3417",  # regions of two classes
    "#8fc1de": "#1f4c70",
}
DARK |= {text: DARK[line] for line, text in TEXT_COLORS.items()}
WHITE_TEXT = "#f7f9fb"  # white text stands on dark cells in both themes, and stays white

RECOLOUR = """
function recolour(node) {
  const dark = {table};
  const colour = /#[0-9a-f]{6}\\b|rgba?\\([^)]*\\)|(?<=^|px |:\\s*)white(?=$|[,;"'])/gi;
  function swap(found, inText) {
    const key = found.toLowerCase().replaceAll(" ", "");
    const rgb = key.match(/^rgba?\\((\\d+),(\\d+),(\\d+)(?:,([\\d.]+))?\\)$/);
    if (!rgb) return inText && key === "white" ? "{white}" : dark[key] ?? found;
    const other = dark["#" + rgb.slice(1, 4).map((v) => (+v).toString(16).padStart(2, "0")).join("")];
    return other ? `rgba(${[1, 3, 5].map((at) => parseInt(other.slice(at, at + 2), 16))},${rgb[4] ?? 1})` : found;
  }
  function map(node, inText) {
    if (typeof node === "string") return node.replace(colour, (found) => swap(found, inText));
    if (!node || typeof node !== "object" || ArrayBuffer.isView(node) || node instanceof ArrayBuffer) return node;
    if (Array.isArray(node)) {
      const mapped = node.map((value) => map(value, inText));
      return mapped.every((value, i) => Object.is(value, node[i])) ? node : mapped;
    }
    const inside = (key) => key !== "shadow" && (inText || key.endsWith("font"));
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, map(value, inside(key))]));
  }
  return map(node, false);
}
"""


def recolour_js() -> str:
    """Return JavaScript that defines `recolour(node)`: a copy of a plotly JSON tree in the colours of the dark theme.

    It maps colours, also inside longer strings, keeps the opacity of `rgba(…)`, and leaves typed arrays as they are.
    """
    table = json.dumps({light.lower(): dark for light, dark in DARK.items()})
    return RECOLOUR.replace("{table}", table).replace("{white}", WHITE_TEXT)


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
