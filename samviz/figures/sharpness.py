"""The three notions of sharpness: where each looks from a point of a bowl, and what it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.arguments import given
from samviz.figures.style import (
    BLUE,
    GREEN,
    GREY,
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
    round_up,
    title,
    words_beside,
)

Array = NDArray[np.float64]
HEIGHT = 590  # pixels
REACH = 1.4  # the bowl is drawn on [−REACH, REACH]²
LEVELS = 13  # contours
NOTIONS = ("worst", "ascent", "average")
COLORS = dict(zip(NOTIONS, (VERMILION, BLUE, GREEN)))
SYMBOLS = dict(zip(NOTIONS, ("triangle-up", "diamond", "circle")))
SIZES = dict(zip(NOTIONS, (20, 9, 11)))  # of markers that may lie upon each other
LIMITS = ("λ₁/2", "λ<sub>M</sub>/2", "Tr/(2D)")
LEFT, RIGHT = (0.0, 0.435), (0.52, 0.81)  # columns; the rest is for the labels
UPPER, LOWER = (0.585, 1.0), (0.0, 0.405)  # rows on the right
RATIOS = (0.05, 20.0)  # of R_ρ/ρ², drawn
START = -90.0  # degrees at which the circle is cut open, away from v₁


@dataclass(frozen=True)
class Surroundings:
    """What the three notions see from one point, as plain results."""

    axis: Array  # (n,), of the contours
    height: Array  # (n, n), √L
    handle: tuple[float, float]  # the point that is dragged
    foot: Array  # (2,), its minimizer Φ
    point: Array  # (2,), the one looked from, between the two
    rho: float
    angle: Array  # (angles,), directions φ in [0, 2π)
    rise: Array  # (angles,), L(x + ρ(cos φ, sin φ)) − L(x)
    worst: Array  # (1 or 2,), the highest direction first, and one that is as good within 2 %
    ascent: float  # direction of ∇L; NaN where it is zero
    values: tuple[float, float, float]  # R_ρ by notion
    radii: Array  # (radii,)
    over: Array  # (3, radii), R_ρ/ρ² by notion
    limits: tuple[float, float, float]  # at the minimizer
    at: str  # what the minimizer is, in words


def sharpness_figure(seen: Surroundings) -> dict[str, Any]:
    """The panel's picture as plain plotly JSON.

    Args:
        seen: from one point.

    Returns:
        {"data": traces, "layout": layout}; the trace "x" is the point to drag.
    """
    given("seen", seen, "Surroundings", "figures")
    high = round_up(max(float(seen.rise.max()), 1e-12))
    low = -round_up(max(-float(seen.rise.min()), high / 10))
    whole = layout(HEIGHT, margin={"l": 52, "r": 10, "t": 30, "b": 44})
    whole["xaxis"] = axis(LEFT, "y", range=[-REACH, REACH], title={"text": "x₁", "standoff": 2}, constrain="domain")
    whole["xaxis"] |= {"constraintoward": "left"}
    whole["yaxis"] = axis((0, 1), "x", range=[-REACH, REACH], title={"text": "x₂", "standoff": 0})
    whole["yaxis"] |= {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"}
    turns = np.arange(START, START + 361, 90)
    degrees = {"range": [START, START + 360], "tickvals": turns, "ticktext": [f"{turn:g}°" for turn in turns]}
    whole["xaxis2"] = axis(RIGHT, "y2", title={"text": "direction φ, from the x₁ axis", "standoff": 2}, **degrees)
    rise: Layout = {"range": [low, high * 1.22], "nticks": 6, "exponentformat": "power"}
    whole["yaxis2"] = axis(UPPER, "x2", zeroline=True, zerolinecolor=GREY, **rise)
    log: Layout = {"type": "log", "exponentformat": "power"}
    whole["xaxis3"] = axis(RIGHT, "y3", range=[-2, 0], title={"text": "ρ", "standoff": 0}, dtick=1, **log)
    ticks = {"tickvals": [0.1, 1, 10], "range": list(np.log10(RATIOS))}
    whole["yaxis3"] = axis(LOWER, "x3", **log, **ticks)
    whole["annotations"] = [
        title("where each looks", "from the point, on the circle of radius ρ", LEFT[0], 1.0),
        title("the rise", "L(x + ρ(cos φ, sin φ)) − L(x)", RIGHT[0], UPPER[1]),
        title("R<sub>ρ</sub>/ρ² against ρ", "from this point; dashed: the limits", RIGHT[0], LOWER[1]),
    ]
    return {"data": _bowl(seen) + _rise(seen) + _ratios(seen), "layout": whole}


def _bowl(seen: Surroundings) -> list[Trace]:
    top = float(seen.height.max())
    traces = [contours(seen.axis, seen.axis, seen.height, "√L", pale=True, **edges(top, LEVELS))]
    center, rho = seen.point, seen.rho

    def on_circle(angle: Any, scale: float = 1.0) -> Array:
        return np.stack((center[0] + scale * rho * np.cos(angle), center[1] + scale * rho * np.sin(angle)), -1)

    def line(name: str, points: Array, color: str, width: float, **more: Any) -> None:
        stroke = {"color": color, "width": width} | more.pop("line", {})
        trace = {"type": "scatter", "mode": "lines", "x": points[:, 0], "y": points[:, 1], "line": stroke}
        traces.append(trace | {"name": name, "hoverinfo": "skip"} | more)

    def arrow(name: str, angle: float, color: str, width: float, dash: str = "solid") -> None:
        head: Trace = {"symbol": "arrow", "angleref": "previous", "size": [0, 8 + 2 * width], "color": color}
        head |= {"line": {"width": 0}, "opacity": 1}
        ends = np.stack((center, on_circle(angle)))
        line(name, ends, color, width, line={"dash": dash}, mode="lines+markers", marker=head)

    line("approach", np.stack((seen.foot, seen.handle)), INK, 1, line={"dash": "dot"})
    line("circle", on_circle(np.linspace(0, 2 * np.pi, 181)), INK, 1.5)
    spokes = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    gap = np.full((len(spokes), 2), np.nan)
    inner, outer = on_circle(spokes, 1.0), on_circle(spokes, 1.0 + 0.045 / rho)
    line("average", np.stack((inner, outer, gap), 1).reshape(-1, 2), GREEN, 2.2)
    arrow("as good", seen.worst[1] if len(seen.worst) > 1 else np.nan, VERMILION, 1.5, "dot")
    arrow("worst", seen.worst[0], VERMILION, 3)
    arrow("ascent", seen.ascent, BLUE, 3)
    places = _beside(center, rho, float(seen.worst[0]), seen.ascent)
    font = {"color": [*COLORS.values()], "size": 13, "shadow": HALO}
    words = {"mode": "text", "text": [f"<b>{name}</b>" for name in NOTIONS], "textfont": font, "hoverinfo": "skip"}
    traces.append({"type": "scatter", "x": places[:, 0], "y": places[:, 1], "name": "names"} | words)
    marker = {"color": INK, "size": 9, "line": {"color": "white", "width": 2}}
    dot = {"type": "scatter", "mode": "markers", "hoverinfo": "skip"}
    traces.append(dot | {"x": center[:1], "y": center[1:], "marker": marker, "name": "looked from"})
    ring = {"symbol": "circle-open", "color": INK, "size": 20, "line": {"width": 2}}
    traces.append(dot | {"x": [seen.handle[0]], "y": [seen.handle[1]], "marker": ring, "name": "x"})
    return traces


def _beside(center: Array, rho: float, worst: float, ascent: float) -> Array:
    """Where the three names stand, (3, 2): beyond the arrows' ends, apart from each other and inside the picture."""
    if not np.isfinite(ascent):
        ascent = worst + np.pi / 2
    turn = (ascent - worst + np.pi) % (2 * np.pi) - np.pi
    near = min(0.22 / (rho + 0.12), 1.2)  # radians that make about a line of text
    if abs(turn) < near:
        push = (near - abs(turn)) / 2 * (1 if turn >= 0 else -1)
        worst, ascent = worst - push, ascent + push
    angles = np.array([worst, ascent, worst + np.pi / 2])
    options = worst + np.radians(np.arange(60, 301, 10))
    clear = np.abs((options - ascent + np.pi) % (2 * np.pi) - np.pi)
    inside = np.abs(center[:, None] + (rho + 0.16) * np.stack((np.cos(options), np.sin(options)))).max(0) < REACH - 0.1
    angles[2] = options[np.argmax(np.minimum(clear, np.radians(75)) + inside)]
    far = rho + np.where(np.arange(3) == 2, 0.14, 0.1)
    places = center + far[:, None] * np.stack((np.cos(angles) * 1.25, np.sin(angles)), 1)
    edge = np.array([REACH - 0.22, REACH - 0.08])
    return np.asarray(np.clip(places, -edge, edge))


def _rise(seen: Surroundings) -> list[Trace]:
    on = {"type": "scatter", "xaxis": "x2", "yaxis": "y2", "hoverinfo": "skip", "cliponaxis": False}
    degrees = _cut(seen.angle)
    order = np.argsort(degrees)
    closed = np.append(degrees[order], START + 360), np.append(seen.rise[order], seen.rise[order[0]])
    mean = np.full(2, seen.values[2])
    ascent = seen.values[1] if np.isfinite(seen.ascent) else np.nan

    def mark(notion: str, angle: float, height: float, place: str) -> Trace:
        font = {"color": COLORS[notion], "size": 12, "shadow": HALO}
        words = {"text": [notion], "textposition": place, "textfont": font}
        at = {"x": np.array([_cut(angle)]), "y": np.array([height])}
        return on | at | words | {"mode": "markers+text", "marker": _marker(notion), "name": f"rise {notion}"}

    label = {"text": ["", " average"], "textposition": "middle right", "textfont": {"color": GREEN, "size": 12}}
    dashes = {"color": GREEN, "width": 2, "dash": "dash"}
    return [
        on | {"mode": "lines", "x": closed[0], "y": closed[1], "line": {"color": INK, "width": 2}, "name": "rise"},
        on
        | label
        | {"mode": "lines+text", "x": [START, START + 360], "y": mean, "line": dashes, "name": "rise average"},
        mark("worst", float(seen.worst[0]), seen.values[0], "top center"),
        mark("ascent", seen.ascent, ascent, "bottom center"),
    ]


def _marker(notion: str) -> dict[str, Any]:
    line = {"color": "white", "width": 1}
    return {"color": COLORS[notion], "symbol": SYMBOLS[notion], "size": SIZES[notion], "line": line}


def _cut(angle: Any) -> Any:
    """Degrees in [START, START + 360)."""
    return (np.degrees(angle) - START) % 360 + START


def _ratios(seen: Surroundings) -> list[Trace]:
    on = {"type": "scatter", "xaxis": "x3", "yaxis": "y3", "hoverinfo": "skip"}
    traces: list[Trace] = []
    for notion, over, limit, value in zip(NOTIONS, seen.over, seen.limits, seen.values):
        color = COLORS[notion]
        dashes = {"color": color, "width": 1.5, "dash": "dash"}
        traces.append(
            on | {"mode": "lines", "x": [0.01, 1], "y": [limit] * 2, "line": dashes, "name": f"{notion} limit"}
        )
        width = {"worst": 4.5, "ascent": 2.5, "average": 2.5}[notion]  # where two curves are one, both are seen
        solid = {"color": color, "width": width}
        traces.append(on | {"mode": "lines", "x": seen.radii, "y": over, "line": solid, "name": f"{notion} over ρ²"})
        at = {"x": [seen.rho], "y": [value / seen.rho**2], "mode": "markers", "marker": _marker(notion)}
        traces.append(on | at | {"name": f"{notion} now"})
    low, high = np.log10(RATIOS)
    heights = apart([float(np.log10(limit)) for limit in seen.limits], 0.085 * (high - low), low)
    words = [f" <b>{notion}</b> {name} = {limit:.3g}" for notion, name, limit in zip(NOTIONS, LIMITS, seen.limits)]
    return [*traces, words_beside([1.0] * 3, 10 ** np.array(heights), words, [*COLORS.values()], "limits") | on]
