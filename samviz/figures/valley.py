"""Figure 1 redrawn: which way each method goes on the valley's floor, and which side of the valley it makes flat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samviz.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    WORDS,
    Layout,
    Trace,
    axis,
    contours,
    layout,
    note,
    title,
)

Array = NDArray[np.float64]


class Look(NamedTuple):
    """How a method is drawn and told."""

    name: str
    means: str  # which of SAM's two approximations it makes
    lowers: str  # what the paper says it makes small: a name in `LEVELS`, or ""
    color: str
    symbol: str


LEVELS = {"top": "λ₁", "low": "λ_M", "trace": "trace"}
CORNERS = {"top": (0.0, 0.0), "low": (1.0, 1.0), "trace": (0.8, 1 / 7)}  # where each is least on [0, 1]²
LOOKS = {
    "worst": Look("exact L_Max", "neither approximation", "top", SKY, "square"),
    "ascent": Look("exact L_Asc", "approximation 1: ascent for worst", "low", GREEN, "diamond"),
    "sam": Look("SAM", "1 and 2: drop the derivative, too", "top", VERMILION, "circle"),
    "one": Look("1-SAM", "SAM, one sample a step", "trace", PURPLE, "triangle-up"),
    "average": Look("exact L_Avg", "the third notion", "trace", ORANGE, "cross"),
    "gd": Look("gradient descent", "no perturbation", "", GREY, "x"),
}
BESIDE = {  # the corners' words
    "top": {"xanchor": "left", "xshift": -14, "yanchor": "bottom", "yshift": 12},
    "low": {"xanchor": "right", "xshift": -10, "yanchor": "middle"},
    "trace": {"xanchor": "center", "yanchor": "top", "yshift": -12},
}
HEIGHT = 470  # pixels, of the floor
FLOOR = (0.0, 0.43)  # of the width
TABLE = (0.47, 1.0)
COLUMNS = (0.0, 0.47, 0.65, 0.79, 0.89, 0.99)  # of the table, each column's end but the first's
ROOM = 16.0  # height of the surfaces' box
LIFT = 0.3  # of the curves over the surface, so that it does not hide them


@dataclass(frozen=True)
class Path:
    """Where a method has been on the floor."""

    x: Array  # (points, 2), x₁ and x₂
    levels: tuple[float, float, float]  # λ₁, λ_M and the trace at its end
    stopped: str = ""  # why it diverged, in a word or two


def floor_figure(
    grid: Array, level: Array, shown: str, paths: Mapping[str, Path], start: Path, least: tuple[float, ...]
) -> dict[str, Any]:
    """The floor with everyone's path, and a table of what each has made small so far.

    Args:
        grid: (points,), coordinates of the contours.
        level: (points, points), the shown quantity over x₁ (columns) and x₂ (rows).
        shown: its name in `LEVELS`.
        paths: by the method's name in `LOOKS`.
        start: where all of them began.
        least: of λ₁, λ_M and the trace on the floor.

    Returns:
        {"data": traces, "layout": layout}.
    """
    traces = [contours(grid, grid, level, "level", pale=True, ncontours=16)]
    for key, path in paths.items():
        look = LOOKS[key]
        wide = 9 if key == "worst" else 2.5  # under SAM's, which it should be
        traces.append(_line(path.x, look.name, {"color": look.color, "width": wide}))
    for key, path in paths.items():
        marker = {"color": LOOKS[key].color, "symbol": LOOKS[key].symbol, "size": 12}
        end = {"type": "scatter", "mode": "markers", "x": path.x[-1:, 0], "y": path.x[-1:, 1]}
        traces.append(end | {"marker": marker | {"line": {"color": "white", "width": 1.5}}, "name": LOOKS[key].name})
    ring = {"color": "white", "size": 13, "line": {"color": INK, "width": 2}}
    at = {"type": "scatter", "mode": "markers", "x": start.x[:1, 0], "y": start.x[:1, 1]}
    traces.append(at | {"marker": ring, "name": "start"})
    whole = layout(HEIGHT, margin={"l": 44, "r": 14, "t": 34, "b": 44})
    # `scaleanchor` would make a square of any width, and would move when the window does
    whole["xaxis"] = axis(FLOOR, "y", range=[-0.06, 1.06], title={"text": "x₁", "standoff": 4}, tickvals=[0, 0.5, 1])
    whole["yaxis"] = axis((0, 1), "x", range=[-0.06, 1.06], title={"text": "x₂", "standoff": 2}, tickvals=[0, 0.5, 1])
    hidden = {"visible": False, "fixedrange": True}
    whole["xaxis2"] = axis(TABLE, "y2", range=[0, 1], **hidden)
    whole["yaxis2"] = axis((0, 1), "x2", range=[8.6, -0.4], **hidden)
    whole["annotations"] = [
        title("the floor", f"over the contours of {LEVELS[shown]}; ○ the start, drag it", 0, 1.005),
        title("what each has made of it", "least of each column in bold", TABLE[0], 1.005),
        *_corners(shown),
    ]
    return {"data": [*traces, *_table(paths, start, least)], "layout": whole}


def _line(x: Array, name: str, line: dict[str, Any]) -> Trace:
    return {"type": "scatter", "mode": "lines", "x": x[:, 0], "y": x[:, 1], "line": line, "name": name}


def _corners(shown: str) -> list[Layout]:
    """The three minima of the floor: a cross, with its words beside it."""
    marks = []
    for key, (x, y) in CORNERS.items():
        weight = ("<b>", "</b>") if key == shown else ("", "")
        marks.append(note("✕", x, y, "x", "y", INK, xanchor="center", yanchor="middle"))
        words = f"{weight[0]}least {LEVELS[key]}{weight[1]}"
        marks.append(note(words, x, y, "x", "y", INK, **BESIDE[key]))
    return marks


def _table(paths: Mapping[str, Path], start: Path, least: tuple[float, ...]) -> list[Trace]:
    """Columns of words beside the floor."""
    rows: list[tuple[str, list[str], str]] = [
        ("", ["now at", "aims at", *LEVELS.values()], GREY),
        ("○ the start", [_point(start.x[0]), "", *(f"{v:.1f}" for v in start.levels)], INK),
    ]
    best = [min((p.levels[i] for p in paths.values() if not p.stopped), default=np.nan) for i in range(3)]
    signs = {"square": "■", "diamond": "◆", "circle": "●", "triangle-up": "▲", "cross": "✚", "x": "✖"}
    small = []
    for key, look in LOOKS.items():
        if key not in paths:
            continue
        path = paths[key]
        small.append((len(rows), look.means))
        goal = _point(CORNERS[look.lowers]) if look.lowers else "nothing"
        numbers = [f"{v:.1f}" for v in path.levels]
        numbers = [f"<b>{t}</b>" if t == f"{best[i]:.1f}" else t for i, t in enumerate(numbers)]
        cells = [path.stopped, goal, "", "", ""] if path.stopped else [_point(path.x[-1]), goal, *numbers]
        rows.append((f"{signs[look.symbol]} <b>{look.name}</b>", cells, WORDS.get(look.color, look.color)))
    rows.append(("least on this floor", ["", "", *(f"{v:.1f}" for v in least)], GREY))
    heights = [float(i) for i in range(len(rows))]
    heights[-1] = 8.2
    base = {"type": "scatter", "mode": "text", "xaxis": "x2", "yaxis": "y2", "hoverinfo": "skip", "cliponaxis": False}
    traces = []
    for column in range(6):
        texts = [row[0] if column == 0 else row[1][column - 1] for row in rows]
        colors = [row[2] if column == 0 else (INK if 0 < i < len(rows) - 1 else row[2]) for i, row in enumerate(rows)]
        traces.append(
            base
            | {"x": [COLUMNS[column]] * len(rows), "y": heights, "text": texts, "name": f"column {column}"}
            | {"textposition": "middle right" if column == 0 else "middle left"}
            | {"textfont": {"color": colors, "size": 13}}
        )
    under = {"x": [COLUMNS[0]] * len(small), "y": [at + 0.4 for at, _ in small], "text": [f"    {t}" for _, t in small]}
    font = {"textfont": {"color": GREY, "size": 11}, "textposition": "middle right", "name": "meanings"}
    return [*traces, base | under | font]


def _point(x: Any) -> str:
    return "({:.2f}, {:.2f})".format(*(round(float(v), 2) + 0.0 for v in x[:2]))  # + 0.0: no −0.00


def surfaces_figure(ends: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """The loss across the floor, L(x₃, x₄) = ½λ₁x₃² + ½λ_Mx₄², at the start and where each method is: same scale.

    Args:
        ends: F₁ and F₂ by a name in `LOOKS`, and of "start", which comes first; at most six.

    Returns:
        {"data": traces, "layout": layout}.
    """
    side = np.linspace(-1, 1, 25)
    along = {"x3": (side, 0 * side), "x4": (0 * side, side)}
    whole = layout(560, margin={"l": 4, "r": 4, "t": 8, "b": 4})
    whole["annotations"] = []
    traces: list[Trace] = []
    for number, (key, (first, second)) in enumerate(ends.items()):
        scene = "scene" if number == 0 else f"scene{number + 1}"
        row, column = divmod(number, 3)
        x, y = (column / 3, (column + 1) / 3 - 0.01), (0.5 * (1 - row), 0.5 * (2 - row) - 0.07)
        bowl = np.clip(first * side**2 + second * side[:, None] ** 2, 0, ROOM)
        surface: Trace = {"type": "surface", "x": side, "y": side, "z": bowl, "scene": scene, "hoverinfo": "skip"}
        surface |= {"cmin": 0, "cmax": ROOM, "colorscale": PALE, "showscale": False, "name": key}
        surface |= {"lighting": {"ambient": 1, "diffuse": 0, "specular": 0}}
        traces.append(surface)
        for begun in (False,) if key == "start" else (True, False):
            curves = ends["start"] if begun else (first, second)
            for (name, (a, b)), f, color in zip(along.items(), curves, (VERMILION, BLUE), strict=True):
                line = {"color": INK if begun else color, "width": 2 if begun else 8}
                cut = {"type": "scatter3d", "mode": "lines", "x": a, "y": b, "z": f * side**2 + LIFT, "line": line}
                traces.append(
                    cut | {"scene": scene, "hoverinfo": "skip", "name": f"{key} {name}{', at first' if begun else ''}"}
                )
        bare = {"showbackground": False, "gridcolor": "#dfe5ec", "zeroline": False, "tickfont": {"size": 9}}
        cube = {**bare, "tickvals": [-1, 0, 1], "range": [-1, 1], "showticklabels": False}
        whole[scene] = {
            "domain": {"x": list(x), "y": list(y)},
            "xaxis": {**cube, "title": {"text": "x₃", "font": {"size": 12, "color": VERMILION}}},
            "yaxis": {**cube, "title": {"text": "x₄", "font": {"size": 12, "color": BLUE}}},
            "zaxis": {**bare, "title": {"text": "L", "font": {"size": 12}}, "range": [0, ROOM], "tickvals": [0, 8, 16]},
            "camera": {"eye": {"x": 0.95, "y": 1.15, "z": 1.25}, "center": {"x": 0, "y": 0, "z": -0.12}},
            "aspectmode": "manual",
            "aspectratio": {"x": 1, "y": 1, "z": 0.85},
        }
        name = "at the start" if key == "start" else LOOKS[key].name
        text = f"λ₁ = {2 * max(first, second):.1f} along x₃, λ_M = {2 * min(first, second):.1f} along x₄"
        whole["annotations"].append(title(name, f"<br>{text}", x[0] + 0.02, y[1]) | {"align": "left"})
    return {"data": traces, "layout": whole}
