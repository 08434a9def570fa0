"""SAM's 2-cycle on a quadratic: the field of its steps, an orbit, its alignment and its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.arguments import given
from samviz.figures.style import (
    BLUE,
    GREY,
    HALO,
    INK,
    ORANGE,
    PLUM,
    VERMILION,
    Trace,
    apart,
    axis,
    layout,
    title,
    words_beside,
)

Array = NDArray[np.float64]
HEIGHT = 590  # pixels
REACH = 1.4  # the plane is drawn on [−REACH, REACH]²
STEPS = 100
LAST = 8  # iterates that are highlighted
LONGEST = 0.11  # of an arrow
LEFT, RIGHT = (0.0, 0.435), (0.525, 0.87)  # columns; the rest is for the labels
UPPER, LOWER = (0.585, 1.0), (0.0, 0.43)  # rows on the right
LENGTHS = (-4.0, 1.0)  # exponents of ‖x‖, drawn
NAMES = {"sam": "SAM", "gd": "gradient descent"}
COLORS = {"sam": VERMILION, "gd": BLUE}
DASHES = {"sam": "solid", "gd": "dot"}


@dataclass(frozen=True)
class Cycle:
    """Orbits of SAM and of gradient descent from one start, as plain results."""

    rule: str  # the one whose field and orbit are drawn: "sam" or "gd"
    points: Array  # (arrows, 2)
    moves: Array  # (arrows, 2), the step taken from each
    trail: Array  # (steps + 1, 2, 2), iterates of SAM and of gradient descent, along v₁ and v₂; NaN once diverged
    share: float  # λ₂/λ₁
    amplitude: float  # predicted ‖x‖ on the cycle; inf where there is none
    top: float  # λ₁


def cycle_figure(seen: Cycle) -> dict[str, Any]:
    """The panel's picture as plain plotly JSON.

    Args:
        seen: the orbits.

    Returns:
        {"data": traces, "layout": layout}; the trace "x" is the start, to drag.
    """
    given("seen", seen, "Cycle", "figures")
    whole = layout(HEIGHT, margin={"l": 52, "r": 10, "t": 30, "b": 44})
    whole["xaxis"] = axis(LEFT, "y", range=[-REACH, REACH], title={"text": "along v₁", "standoff": 2})
    whole["xaxis"] |= {"constrain": "domain", "constraintoward": "left"}
    whole["yaxis"] = axis((0, 1), "x", range=[-REACH, REACH], title={"text": "along v₂", "standoff": 0})
    whole["yaxis"] |= {"scaleanchor": "x", "constrain": "domain", "constraintoward": "top"}
    whole["xaxis2"] = axis(RIGHT, "y2", range=[0, STEPS], showticklabels=False)
    whole["yaxis2"] = axis(UPPER, "x2", range=[-0.04, 1.06], tickvals=[0, 0.5, 1])
    whole["xaxis3"] = axis(RIGHT, "y3", range=[0, STEPS], title={"text": "step", "standoff": 2})
    whole["yaxis3"] = axis(LOWER, "x3", range=list(LENGTHS), type="log", exponentformat="power", dtick=1)
    whole["annotations"] = [
        title("one step from everywhere", f"arrows of {NAMES[seen.rule]}, long ones cut", LEFT[0], 1.0),
        title("alignment", "|cos(x, v₁)|", RIGHT[0], UPPER[1]),
        title("length", "‖x‖; dashed: ηρλ₁/(2 − ηλ₁)", RIGHT[0], LOWER[1]),
    ]
    return {"data": _plane(seen) + _series(seen), "layout": whole}


def _plane(seen: Cycle) -> list[Trace]:
    traces: list[Trace] = []
    dots = {"type": "scatter", "hoverinfo": "skip"}

    def add(name: str, points: Array, mode: str, **more: Any) -> None:
        traces.append(dots | {"x": points[:, 0], "y": points[:, 1], "mode": mode, "name": name} | more)

    add("level sets", _ellipses(seen.share), "lines", line={"color": "#dbe6ef", "width": 1.2})
    add("steps", _arrows(seen.points, seen.moves), "lines", line={"color": GREY, "width": 1.3})
    path = seen.trail[:, 0 if seen.rule == "sam" else 1]
    late = path[-LAST:]
    line, color = {"color": ORANGE, "width": 1.3}, COLORS[seen.rule]
    add("orbit", path, "lines+markers", line=line, marker={"color": ORANGE, "size": 5})
    add("last steps", late, "lines+markers", line={"color": color, "width": 2.5}, marker={"color": color, "size": 9})
    shown = seen.amplitude if seen.rule == "sam" and seen.amplitude <= REACH else np.nan
    ends = np.array([[-shown, 0.0], [shown, 0.0]])
    ring = {"symbol": "circle-open", "color": PLUM, "size": 19, "line": {"width": 2.5}}
    add("predicted cycle", ends, "markers", marker=ring, cliponaxis=False)
    font = {"color": [PLUM, INK], "size": 12, "shadow": HALO}
    places = np.stack(([min(shown, REACH - 0.5), -0.1], path[0] + [0, 0.12]))
    add(
        "words",
        places,
        "text",
        text=["predicted", "start"],
        textposition=["bottom center", "top center"],
        textfont=font,
    )
    start = {"symbol": "circle-open", "color": INK, "size": 18, "line": {"width": 2}}
    add("x", path[:1], "markers", marker=start, cliponaxis=False)
    return traces


def _series(seen: Cycle) -> list[Trace]:
    lengths = np.linalg.norm(seen.trail, axis=2)  # (steps + 1, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.abs(seen.trail[:, :, 0]) / lengths
    step = np.arange(len(lengths), dtype=float)
    traces: list[Trace] = []
    labels: dict[str, list[tuple[float, str, str]]] = {"2": [], "3": []}
    for panel, values in (("2", cosines), ("3", lengths)):
        on = {"type": "scatter", "xaxis": f"x{panel}", "yaxis": f"y{panel}", "hoverinfo": "skip"}
        for i in (1, 0):
            rule = ("sam", "gd")[i]
            line = {"color": COLORS[rule], "width": 2.8 if rule == seen.rule else 1.6, "dash": DASHES[rule]}
            name = f"{('cos', 'length')[panel == '3']} {rule}"
            traces.append(on | {"mode": "lines", "x": step, "y": values[:, i], "line": line, "name": name})
            known = values[np.isfinite(values[:, i]), i]  # it may have diverged
            end = float(known[-1]) if len(known) else 0.0
            end = np.clip(np.log10(max(end, 1e-300)), *LENGTHS) if panel == "3" else end
            labels[panel].append((float(end), NAMES[rule].replace(" ", "<br> "), COLORS[rule]))
    on = {"type": "scatter", "xaxis": "x3", "yaxis": "y3", "hoverinfo": "skip"}
    size = seen.amplitude if np.isfinite(seen.amplitude) else np.nan
    line = {"color": PLUM, "width": 2, "dash": "dash"}
    traces.append(on | {"mode": "lines", "x": [0, STEPS], "y": [size] * 2, "line": line, "name": "predicted length"})
    labels["3"].append((float(np.clip(np.log10(seen.amplitude), *LENGTHS)), "predicted", PLUM))
    for panel, (low, distance) in {"2": (0.05, 0.15), "3": (LENGTHS[0] + 0.5, 0.55)}.items():
        heights = np.array(apart([at for at, _, _ in labels[panel]], distance, low))
        if panel == "3" and not np.isfinite(size):
            heights[-1] = np.nan
        x, y = [float(STEPS)] * len(heights), 10**heights if panel == "3" else heights
        texts, colors = [f" {text}" for _, text, _ in labels[panel]], [color for _, _, color in labels[panel]]
        words = words_beside(x, y, texts, colors, f"names {panel}")
        traces.append(words | {"xaxis": f"x{panel}", "yaxis": f"y{panel}"})
    return traces


def _arrows(points: Array, moves: Array) -> Array:
    """Arrows as one line with gaps, (6·arrows, 2): shaft, and a head of two barbs."""
    length = np.linalg.norm(moves, axis=1, keepdims=True)
    moves = moves * np.minimum(1, LONGEST / np.maximum(length, 1e-300))
    tip = points + moves
    back, side = -0.35 * moves, 0.22 * np.stack((-moves[:, 1], moves[:, 0]), 1)
    gap = np.full_like(tip, np.nan)
    return np.stack((points, tip, tip + back + side, tip, tip + back - side, gap), 1).reshape(-1, 2)


def _ellipses(share: float) -> Array:
    """Level sets of the quadratic as one line with gaps."""
    angle = np.linspace(0, 2 * np.pi, 91)
    ring = np.stack((np.cos(angle), np.sin(angle) / np.sqrt(share)), 1)
    gap = np.full((1, 2), np.nan)
    return np.concatenate([np.concatenate((size * ring, gap)) for size in np.arange(0.2, 1.41, 0.2)])
