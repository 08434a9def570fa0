"""A sweep as heat maps over radius and learning rate: λ₁, trace, alignment, and test accuracy or loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.drawing import Array, Layout, Trace, add_axes, line, new_layout, note, split, text
from samviz.figures.style import BLUES, GHOST, INK, ORANGE

if TYPE_CHECKING:
    from samviz.dynamics import Sweep

COLUMNS, ROWS = split([1, 1], gap=0.08), split([1, 1], gap=0.12)[::-1]
HATCH = 6.5  # pixels between two lines of a hatched cell
HIGH_IS_BETTER = ("alignment", "test accuracy")  # dark where the value is high; the others are dark where it is low
DARK_SHARE = 0.28  # of the colours; numbers on them are white
ON_DARK, ON_PALE = "white", "#000000"  # colours of numbers; between white and INK neither is legible on some cells
CELLS_WITH_NUMBERS = 90  # the most cells of a map for which the numbers fit
NUMBER = 0.4, 0.3  # of a cell: half the width and height of a number, around which lines are interrupted
ROUGH_TRACE = 0.05  # relative standard error above which the number of a trace is marked
TIMES = tuple(10.0**e for e in range(-4, 5))  # τ of the dashed lines


def heatmap_figure(found: Sweep, rule: int = 0, batch_size: int = 0) -> dict[str, Any]:
    """Draw one rule and one batch size of a sweep as plain plotly JSON: means over the seeds, for every η and ρ.

    Dark cells are better: flatter, better aligned, more accurate.

    A cell whose runs have all diverged is hatched. The number of a cell that has lost some of its runs is marked with
    ×, and a rough one with ≈ (eigenvalues not converged, or a trace with a standard error above 5 %). For SAM the
    dashed lines join equal times τ = ηρ²t of the theory.

    Args:
        found: the sweep; NaN where a run is missing.
        rule: index on its axis.
        batch_size: index on its axis.

    Returns:
        {"data": traces, "layout": layout}.

    Source: Theorems 4.5 and 5.4 for τ.
    """
    from samviz.checks import check_int, check_type
    from samviz.dynamics import Sweep

    check_type("found", found, Sweep, "a Sweep of samviz.dynamics")
    rules, sizes = len(found.rule) - 1, len(found.batch_size) - 1
    rule = check_int("rule", rule, f"0 to {rules}", 0, rules)
    batch_size = check_int("batch_size", batch_size, f"0 to {sizes}", 0, sizes)

    def ordered(name: str) -> NDArray[Any]:
        """Return a result of the sweep (lrs, rhos, seeds), with increasing η and ρ."""
        result: NDArray[Any] = getattr(found, name)[rule, batch_size]
        return result[np.ix_(np.argsort(found.lr), np.argsort(found.rho))]

    diverged = ordered("diverged_at") >= 0
    rough = (ordered("converged") == 0) & ~diverged
    rough_trace = ordered("trace_error") > ROUGH_TRACE * np.abs(ordered("trace"))
    exact, after = np.zeros_like(diverged), f"after {found.steps:,} steps"
    panels = [
        ("λ₁", after, ordered("sharpness"), rough, "{:#.3g}"),
        ("trace", after, ordered("trace"), rough_trace, "{:#.3g}"),
        ("alignment", "|cos| with eigenspace", ordered("cos_eigenspace"), rough, "{:.2f}"),
        ("loss", "on the full batch", ordered("loss"), exact, "{:.1e}")
        if found.accuracy is None
        else ("test accuracy", "in percent", 100 * ordered("accuracy"), exact, "{:.1f}"),
    ]
    lr, rho = np.sort(found.lr), np.sort(found.rho)
    x, y = _edges(rho), _edges(lr)
    layout = new_layout(630, left=66, right=46, top=40, bottom=46)
    traces: list[Trace] = []
    for i, (name, detail, values, unsure, form) in enumerate(panels):
        column, row = COLUMNS[i % 2], ROWS[i // 2]
        xaxis = _axis(x, rho, "" if i < 2 else "radius ρ")
        yaxis = _axis(y, lr, "" if i % 2 else "learning rate η")
        axes = add_axes(layout, i + 1, column, row, (name, detail), x=xaxis, y=yaxis)
        (low, high), cells, *texts = _cells(name, values, unsure, diverged, form, lr, rho)
        colors = BLUES[::-1] if cells["reversescale"] else BLUES
        bar = "".join(f'<span style="color:{color}">██</span>' for _, color in colors)
        place: Layout = {"xref": axes["xaxis"] + " domain", "yref": axes["yaxis"] + " domain", "xanchor": "right"}
        place |= {"yanchor": "bottom", "yshift": 18, "font": {"size": 10, "color": INK}}
        layout["annotations"].append(note(f"dark is better   {low} {bar} {high}", 1, 1, **place))
        drawn = [cells | {"x": x, "y": y}, _hatching(diverged.all(2), x, y, name)]
        if found.rule[rule] == "sam" and i < 2:
            drawn.append(_times(layout, found, x, y, axes))
        places = np.meshgrid(xaxis["tickvals"], yaxis["tickvals"])
        written = [trace | {"x": places[0].ravel(), "y": places[1].ravel()} for trace in texts]
        traces += [trace | axes for trace in (*drawn, *written)]
    return {"data": traces, "layout": layout}


def _edges(values: Array) -> Array:
    """Return the edges (n + 1,) of cells around increasing values, in powers of ten; 0 is one step below the next."""
    powers = np.log10(values[values > 0])
    step = float(np.diff(powers).min()) if len(powers) > 1 else 1.0
    if len(powers) < len(values):
        powers = np.append(powers[:1] - step if len(powers) else -step, powers)
    return np.concatenate(([powers[0] - step / 2], (powers[1:] + powers[:-1]) / 2, [powers[-1] + step / 2]))


def _axis(edges: Array, values: Array, label: str) -> Layout:
    """Return the properties of an axis in powers of ten with the values as ticks; without a label it has none."""
    ticks = {"tickvals": (edges[1:] + edges[:-1]) / 2, "ticktext": [f"{v:g}" for v in values], "ticks": ""}
    style = {"standoff": 4, "showgrid": False, "showticklabels": bool(label)}
    return {"range": [edges[0], edges[-1]], "label": label, **ticks, **style}


def _cells(name: str, values: Array, rough: Any, diverged: Any, form: str, lr: Array, rho: Array) -> list[Any]:
    """Return the ends of the scale as texts, means of values (lrs, rhos, seeds) as cells, and numbers if these fit."""
    known = np.isfinite(values).sum(2)
    mean = np.where(known, np.nansum(values, 2) / np.maximum(known, 1), np.nan)
    squares = np.nansum((values - mean[..., None]) ** 2, 2)
    error = np.sqrt(squares / np.maximum(known * (known - 1), 1))
    hover = np.full(mean.shape, "", dtype=object)
    texts = []
    for i, j in np.ndindex(mean.shape):
        lost = int(diverged[i, j].sum())
        number, lines = "×" if lost else "", [f"η = {lr[i]:g}, ρ = {rho[j]:g}"]
        if known[i, j]:
            about = "≈" if rough[i, j].any() else ""
            number = about + form.format(mean[i, j]).rstrip(".") + number
            spread = f" ± {error[i, j]:.2g} (mean of {known[i, j]})" if known[i, j] > 1 else ""
            lines.append(f"{name} {about}{mean[i, j]:.4g}{spread}")
            lines += [f"ηλ₁ = {lr[i] * mean[i, j]:.3g}"] if name == "λ₁" else []
        lines += [f"{lost} of {diverged.shape[2]} runs diverged"] if lost else []
        hover[i, j] = "<br>".join(lines)
        texts.append(number)
    shade = np.log10(np.maximum(mean, 1e-300)) if name == "loss" else mean
    low, high = (0.0, 1.0) if name == "alignment" else _color_range(shade)
    reverse = name in HIGH_IS_BETTER
    ends, known_shades = ["", ""], shade[np.isfinite(shade)]
    if known_shades.size:
        limits = [10**end if name == "loss" else end for end in (low, high, known_shades.min(), known_shades.max())]
        low_end, high_end, lowest, highest = (form.format(number).rstrip(".") for number in limits)
        ends = ["≤ " * (lowest != low_end) + low_end, "≥ " * (highest != high_end) + high_end]
    colors = {"colorscale": BLUES, "reversescale": reverse, "zmin": low, "zmax": high, "showscale": False}
    cells = {"type": "heatmap", "z": shade, "name": name, "hovertext": hover.tolist(), "hoverinfo": "text"}
    cells |= colors | {"xgap": 1, "ygap": 1}
    share = (shade - low) / (high - low)
    dark = (1 - share if reverse else share) < DARK_SHARE  # False where nothing is known
    font = np.where(dark, ON_DARK, ON_PALE).ravel().tolist()
    written = text([], [], texts, f"{name} numbers", font, "middle center", size=11)
    return [ends, cells, written] if mean.size <= CELLS_WITH_NUMBERS else [ends, cells]


def _color_range(shade: Array) -> tuple[float, float]:
    """Return the values between which the colours change: the 5 and 95 % quantiles; all is pale if they are equal."""
    known = shade[np.isfinite(shade)]
    if not len(known):
        return 0.0, 1.0
    low, high = map(float, np.quantile(known, [0.05, 0.95]))  # a run that is about to diverge has an extreme value
    return (low, high) if high - low > 1e-3 * abs(high) else (low - abs(low) - 1, high)


def _hatching(cells: Any, x: Array, y: Array, name: str) -> Trace:
    """Hatch the cells (lrs, rhos) that are True."""
    i, j = np.nonzero(cells)
    left, right, low, high, gap = x[j], x[j + 1], y[i], y[i + 1], np.full(len(i), np.nan)
    outlines = np.array([[left, right, right, left, gap], [low, low, high, high, gap]])  # (2, 5, cells)
    x_outline, y_outline = outlines.swapaxes(1, 2).reshape(2, -1)
    pattern = {"shape": "/", "fgcolor": GHOST, "size": HATCH, "solidity": 0.15}
    style: Trace = {"fill": "toself", "fillpattern": pattern, "hoverinfo": "skip"}
    return line(x_outline, y_outline, f"{name} diverged", GHOST, 0, **style)


def _times(layout: Layout, found: Sweep, x: Array, y: Array, axes: Trace) -> Trace:
    """Draw lines of equal τ = ηρ²t on a map, and their names to its right or below it."""
    positive = sum(rho > 0 for rho in found.rho)
    left, right, low, high = x[len(x) - 1 - positive], x[-1], y[0], y[-1]  # without the column of ρ = 0
    path, below = [np.empty((0, 2))], {"xanchor": "center", "yanchor": "top"}
    for tau in TIMES if found.steps else ():
        level = np.log10(tau / found.steps)  # log η + 2 log ρ
        begin, end = max(left, (level - high) / 2), min(right, (level - low) / 2)
        if end - begin <= 0.15 * (right - left):
            continue
        across = np.linspace(begin, end, 300)
        points = np.column_stack((across, level - 2 * across))
        points[_on_numbers(points, x, y)] = np.nan
        path += [points, np.full((1, 2), np.nan)]
        if end == right:
            name = note(f" τ={tau:g}", 1, level - 2 * end, axes["xaxis"] + " domain", axes["yaxis"], font={"size": 11})
        else:
            name = note(f"τ={tau:g}", end, 0, axes["xaxis"], axes["yaxis"] + " domain", **below)
        layout["annotations"].append(name)
    points, number = np.concatenate(path), axes["xaxis"][1:]
    return line(points[:, 0], points[:, 1], f"times {number}".strip(), ORANGE, 1.8, hoverinfo="skip")


def _on_numbers(points: Array, x: Array, y: Array) -> NDArray[np.bool_]:
    """Return which points (n, 2) lie on the number in the middle of a cell between the edges x and y."""
    if (len(x) - 1) * (len(y) - 1) > CELLS_WITH_NUMBERS:
        return np.zeros(len(points), bool)
    inside = np.ones(len(points), bool)
    for values, edges, half in zip(points.T, (x, y), NUMBER):
        cell = np.clip(np.searchsorted(edges, values) - 1, 0, len(edges) - 2)
        inside &= np.abs((values - edges[cell]) / np.diff(edges)[cell] - 0.5) < half
    return inside
