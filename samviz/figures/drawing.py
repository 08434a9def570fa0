"""Axes, lines, marks and labels: the parts of a figure as plain plotly JSON.

A figure starts with `new_layout`. `add_axes` adds a pair of axes to it and returns the references that place a trace on
them: `line(x, y, "loss", INK) | axes`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.style import BLUES, FONT, GREY, GRID, HALO, INK, PALE, TEXT_COLORS

Array = NDArray[np.float64]
Trace = dict[str, Any]
Layout = dict[str, Any]
Interval = tuple[float, float]
Label = tuple[float, float, str, str]  # x, y, text and colour
STACK_GAP, HIGHEST = 70, 380  # pixels between axes in one column, for ticks, titles and headings; of the highest axes
LOG: Layout = {"type": "log", "exponentformat": "power"}
HOVER = "%{fullData.name} %{y}<br>%{meta} %{x}<extra></extra>"  # as in "λ₁ 12.3", and below it "step 1,200"
LETTER = 7  # pixels, about, of a letter of a label
MARK_ROWS = 2  # lines of marks' texts at most
CHARACTER = 0.02  # of the width of a panel: a character of a mark's text, where the page is narrow


def new_layout(height: int | None, left: int = 58, right: int = 14, top: int = 30, bottom: int = 44) -> Layout:
    """Return the layout that all figures share, in pixels; without a height, a figure fills its place in a page."""
    size: Layout = {"height": height} if height else {}
    size["margin"] = {"l": left, "r": right, "t": top, "b": bottom}
    style = {"font": {"family": FONT, "size": 12, "color": INK}, "paper_bgcolor": "white", "plot_bgcolor": "white"}
    hover = {"template": {"data": {"scatter": [{"hovertemplate": HOVER, "meta": "at"}]}}, "hovermode": "closest"}
    return {**size, **style, **hover, "showlegend": False, "uirevision": "keep", "annotations": []}


def split(sizes: Sequence[float], gap: float, end: float = 1.0) -> list[Interval]:
    """Divide [0, end] into intervals proportional to the sizes, with gaps: columns from the left, rows from below."""
    lengths = np.array(sizes) * (end - gap * (len(sizes) - 1)) / sum(sizes)
    starts = np.cumsum([0.0, *(lengths[:-1] + gap)])
    return [(round(a, 6), round(a + length, 6)) for a, length in zip(starts.tolist(), lengths.tolist())]


def axis(domain: Interval, anchor: str, label: str = "", standoff: int = 2, **more: Any) -> Layout:
    """Return an axis over a part of the figure, given as fractions of it, anchored to its partner ("x2", "y2")."""
    style = {"gridcolor": GRID, "linecolor": "#9aa5b1", "tickfont": {"size": 11}, "zeroline": False}
    style |= {"hoverformat": ".4~g"}
    title = {"title": {"text": label, "standoff": standoff}} if label else {}
    return {"domain": list(domain), "anchor": anchor, "automargin": False, **style, **title, **more}


def add_axes(
    layout: Layout, number: int, column: Interval, row: Interval, heading: tuple[str, str], *, x: Layout, y: Layout
) -> Trace:
    """Add the axes x`number` and y`number`, with a heading (bold text, detail); return the references for traces.

    `x` and `y` hold arguments of `axis` and plotly's own properties: {"label": "step", "range": [0, 1]}. Hover labels
    have the name `x["hover"]` or else the label.
    """
    name = str(x.get("hover", x.get("label")) or "at").removesuffix(" →")
    x = {key: value for key, value in x.items() if key != "hover"}
    suffix = str(number) if number > 1 else ""
    layout[f"xaxis{suffix}"] = axis(column, f"y{suffix}", **x)
    layout[f"yaxis{suffix}"] = axis(row, f"x{suffix}", **y)
    text, detail = heading
    place = {"xref": f"x{suffix} domain", "yref": f"y{suffix} domain", "xanchor": "left", "yanchor": "bottom"}
    layout["annotations"].append(note(f"<b>{text}</b>  {detail}", 0, 1, **place) | {"font": {"size": 13}})
    return {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "meta": name}


def stack(layout: Layout, height: int, data: Sequence[Trace] = ()) -> Layout:
    """Return what a narrow page changes, as `meta` of a layout: its height, and its axes, in one column.

    They are as high as at this height. `space` is the width in pixels of the labels at the ends of their curves.
    """
    margin = {"t": 100, "b": 80, "r": 80} | layout.get("margin", {})
    axes = {name: axis for name, axis in layout.items() if name.startswith("yaxis")}
    rows = [name for name, axis in axes.items() if "overlaying" not in axis]
    inner = height - margin["t"] - margin["b"]
    lengths = [min(float(np.ptp(axes[name].get("domain", [0, 1]))) * inner, HIGHEST) for name in rows]
    total = top = sum(lengths) + STACK_GAP * (len(rows) - 1)
    changes: Layout = {}
    for name, length in zip(rows, lengths):
        changes[name] = {"domain": [(top - length) / total, top / total]}
        if axes[name].get("showticklabels") is False:  # those of the axis next to it
            changes[name]["showticklabels"] = True
        x = name.replace("y", "x", 1)
        space = _label_width(data, layout.get(x, {}), x.replace("axis", "")) - margin["r"]
        changes[x] = {"domain": [0, 1], "space": max(space, 0)}
        top -= length + STACK_GAP
    for name in axes.keys() - set(rows):
        changes[name] = {"domain": changes[axes[name]["overlaying"].replace("y", "yaxis")]["domain"]}
    return {"stacked": changes, "stacked height": round(total + height - inner)}


def _label_width(data: Sequence[Trace], axis: Layout, name: str) -> int:
    """Return the pixels that labels to the right of the end of an axis take, in steps, so that it rarely changes."""
    if "range" not in axis:
        return 0
    end = axis_values(axis["range"][1], axis) * (1 - 1e-9)
    lines = [
        re.sub("<.*?>", "", line)
        for trace in data
        if trace.get("xaxis", "x") == name and trace.get("textposition") == "middle right"
        for x, label in zip(trace["x"], trace["text"])
        if x >= end
        for line in label.split("<br>")
    ]
    return 25 * math.ceil(max(map(len, lines), default=0) * LETTER / 25)


def note(text: str, x: float, y: float, xref: str, yref: str, color: str = INK, **more: Any) -> Layout:
    """Return an annotation to the right of a point; on a logarithmic axis the coordinate is a power of ten."""
    font = {"size": 12, "color": TEXT_COLORS.get(color, color)}
    place = {"x": x, "y": y, "xref": xref, "yref": yref, "xanchor": "left"}
    return {"text": text, "showarrow": False, "font": font, **place, **more}


def line(x: Any, y: Any, name: str, color: str, width: float = 2, dash: str = "solid", **more: Any) -> Trace:
    """Return a line through points; NaN leaves a gap."""
    style = {"color": color, "width": width, "dash": dash}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "name": name, "line": style, **more}


def marks(
    x: Any, y: Any, name: str, color: Any, size: float = 8, symbol: Any = "circle", edge: Any = None, **more: Any
) -> Trace:
    """Return a mark at each point; `edge` is the (colour, width) of its outline."""
    outline = {"line": dict(zip(("color", "width"), edge))} if edge else {}
    style = {"color": color, "size": size, "symbol": symbol, **outline}
    return {"type": "scatter", "mode": "markers", "x": x, "y": y, "name": name, "marker": style, **more}


def text(
    x: Any, y: Any, texts: list[str], name: str, color: Any = INK, position: Any = "middle right", **font: Any
) -> Trace:
    """Return text at points, in the colour or colours of the lines that they name."""
    colors = [TEXT_COLORS.get(c, c) for c in color] if isinstance(color, list) else TEXT_COLORS.get(color, color)
    style = {"textposition": position, "textfont": {"color": colors, "size": 12, **font}, "cliponaxis": False}
    style |= {"hoverinfo": "skip"}
    return {"type": "scatter", "mode": "text", "x": x, "y": y, "text": texts, "name": name, **style}


def band(x: Any, low: Any, high: Any, name: str, color: str, opacity: float = 0.15) -> Trace:
    """Return the area between two curves over increasing x."""
    ring = np.concatenate((x, x[::-1])), np.concatenate((high, low[::-1]))
    fill = "rgba({},{},{},{})".format(*bytes.fromhex(color[1:]), opacity)
    return line(*ring, name, color, 0, fill="toself", fillcolor=fill, hoverinfo="skip")


def contours(x: Any, y: Any, z: Any, name: str, *, pale: bool = False, **more: Any) -> Trace:
    """Return filled contours of z (len(y), len(x)), dark where z is low; pale ones where much is drawn over them."""
    outline = {"color": "#8fb0cc" if pale else "rgba(255,255,255,0.7)", "width": 0.7}
    style = {"colorscale": PALE if pale else BLUES, "showscale": False, "line": outline, "hoverinfo": "skip"}
    return {"type": "contour", "x": x, "y": y, "z": z, "name": name, **style, **more}


def contour_levels(top: float, count: int) -> Trace:
    """Return contours at `count` equally spaced levels up to `top`, instead of those that plotly would choose."""
    return {"autocontour": False, "contours": {"start": top / count, "end": top, "size": top / count}}


def round_up(value: float) -> float:
    """Return the next of a few round numbers from 0 on: figures are drawn faster while an axis keeps its range."""
    power = 10.0 ** np.floor(np.log10(value or 1.0))
    steps = (0, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
    return float(power * next(step for step in steps if step * power >= value * (1 - 1e-9)))


def spread(values: Sequence[float], distance: float, low: float) -> list[float]:
    """Move values down until they are `distance` apart, and then up until none is below `low`."""
    order = np.argsort(values, kind="stable")[::-1]
    placed = list(values)
    for above, below in pairwise(order):
        placed[below] = min(placed[below], placed[above] - distance)
    for index in order[::-1]:
        placed[index] = max(placed[index], low)
        low = placed[index] + distance
    return placed


def typeset(sentence: str) -> str:
    """Return a sentence in which numbers have minus signs and powers of ten.

    >>> typeset("It moves from (-1, 2) by -2.5e-05 and 3e+02, see 2024-05.")
    'It moves from (−1, 2) by −2.5·10⁻⁵ and 3·10², see 2024-05.'
    """
    exponents = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    powers = re.sub(r"(?<=\d)e([-+]\d+)", lambda m: f"·10{str(int(m[1])).translate(exponents)}", sentence)
    return re.sub(r"(?<![\w.])-(?=\d)", "−", powers)


def axis_values(positions: Any, axis: Layout) -> Any:
    """Convert positions on an axis to values: those of a logarithmic axis are powers of ten."""
    return 10.0 ** np.asarray(positions) if axis.get("type") == "log" else np.asarray(positions)


def end_labels(
    labels: Sequence[Label], yaxis: Layout, name: str, distance: float = 0.1, *, values: bool = False, **font: Any
) -> Trace:
    """Write labels, with `values` also values, at the ends of curves, `distance` apart as a fraction of the axis."""
    low, high = yaxis["range"]
    texts, heights = [], []
    for _, value, label, _ in labels:
        position = value if yaxis.get("type") != "log" else np.log10(value) if value > 0 else -np.inf
        arrow = "↑" if position > high else "↓" if position < low else ""
        # A label whose point lies outside the axis has its value, too.
        texts.append(f" {label} = {value:.3g} {arrow}" if arrow or values else f" {label}")
        heights.append(float(np.clip((position - low) / (high - low), 0.05, 0.95)))
    y = axis_values(low + (high - low) * np.array(spread(heights, distance, 0.05)), yaxis)
    return text([x for x, *_ in labels], y, texts, name, [color for *_, color in labels], **font)


def change_marks(changes: Sequence[tuple[int, str]], layout: Layout, panels: Sequence[Trace]) -> list[Trace]:
    """Draw a dashed line through panels at each step where a setting changed, and its text above the first panel."""
    x, texts = np.array([step for step, _ in changes], float), [text for _, text in changes]
    xaxis, *yaxes = (layout[f"{axis[0]}axis{axis[1:]}"] for axis in (panels[0]["xaxis"], *(p["yaxis"] for p in panels)))
    # A text stands above the texts of later steps that it would cover, up to `MARK_ROWS` lines; others are omitted.
    rows = np.full(len(x), -1)  # −1 for a mark without its text, whose line ends below the texts
    for i in range(len(x) - 1, -1, -1):
        covered = x[i + 1 :] < x[i] + CHARACTER * (len(texts[i]) + 2) * xaxis["range"][1]
        row = 1 + max(rows[i + 1 :][covered], default=-1)
        rows[i] = row if row < MARK_ROWS else -1
    shown = np.flatnonzero(rows >= 0)
    (low, high), height = yaxes[0]["range"], 0.3 * np.ptp(yaxes[0]["range"])
    tops = high + height * (rows + 1)
    yaxes[0]["range"] = [low, float(max([high, *tops]))]
    traces = []  # and not shapes: while the layout stays the same, plotly draws the figure faster
    for panel, yaxis, top in zip(panels, yaxes, (tops, *[axis["range"][1] for axis in yaxes[1:]])):
        ends = np.stack(np.broadcast_arrays(yaxis["range"][0], top, np.full(len(x), np.nan)), 1).ravel()
        mark = line(np.repeat(x, 3), axis_values(ends, yaxis), f"changes {panel['yaxis']}", GREY, 1.3, "dash")
        traces.append(mark | {"hoverinfo": "skip"} | panel)
    y, labels = axis_values(tops[shown] - height / 2, yaxes[0]), [f" {texts[i]}" for i in shown]
    return [*traces, text(x[shown], y, labels, "changes", GREY, shadow=HALO) | panels[0]]
