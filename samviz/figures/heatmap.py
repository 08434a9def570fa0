"""A sweep as heat maps over radius and learning rate: λ₁, trace, alignment, and test accuracy or loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.arguments import given, index
from samviz.figures.style import BLUES, GHOST, ORANGE, Layout, Trace, axis, layout, note, title

if TYPE_CHECKING:
    from samviz.dynamics import Sweep

Array = NDArray[np.float64]
HEIGHT = 620  # pixels
COLUMNS, ROWS = ((0.0, 0.465), (0.535, 1.0)), ((0.555, 1.0), (0.0, 0.445))
SIZE, HATCH = (460, 240), 9  # pixels of a map, about, and between two lines of a hatched cell
DARK = 0.28  # share of the colours on which numbers are white
LETTERS = "white", "#000000"  # of numbers on dark cells and on pale ones; between white and INK some had neither
ROOM = 90  # cells a map may have for numbers to fit into them
VAGUE = 0.05  # relative standard error of a trace from which on its number is marked
RIGHT = {"": COLUMNS[0][1], "2": COLUMNS[1][1]}  # ends of the maps that have lines of equal τ
RADIUS, RATE = "radius ρ", "learning rate η"
TIMES = tuple(10.0**e for e in range(-4, 5))  # τ that lines are drawn for


def heatmap_figure(found: Sweep, rule: int = 0, batch_size: int = 0) -> dict[str, Any]:
    """One rule and one batch size of a sweep as plain plotly JSON: means over the seeds, for every η and ρ.

    A cell whose runs have all diverged is hatched; a number with × has lost some of its runs, one with ≈ is not
    known well (eigenvalues not converged, or a trace with a standard error above 5 %). For SAM the dashed lines join
    equal times τ = ηρ²t of the theory.

    Args:
        found: the sweep; NaN where a run is still missing.
        rule: index on its axis.
        batch_size: index on its axis.

    Returns:
        {"data": traces, "layout": layout}.

    Source: Theorems 4.5 and 5.4 for τ.
    """
    given("found", found, "Sweep", "dynamics")
    index("rule", rule, len(found.rule))
    index("batch_size", batch_size, len(found.batch_size))
    lr, rho = np.sort(found.lr), np.sort(found.rho)

    def of(array: NDArray[Any]) -> Array:
        here: Array = array[rule, batch_size][np.ix_(np.argsort(found.lr), np.argsort(found.rho))]
        return here  # (lrs, rhos, seeds)

    lost = of(found.diverged_at) >= 0
    vague = (of(found.converged) == 0) & ~lost, of(found.trace_error) > VAGUE * np.abs(of(found.trace))
    after = f"after {found.steps:,} steps"
    panels = [
        ("λ₁", after, of(found.sharpness), vague[0], "{:#.3g}"),
        ("trace", f"of the Hessian {after}", of(found.trace), vague[1], "{:#.3g}"),
        ("alignment", "of ∇L with the top eigenspace, |cos|", of(found.cos_eigenspace), vague[0], "{:.2f}"),
    ]
    sure = np.zeros_like(lost)
    if found.accuracy is None:
        panels.append(("loss", "on the full batch", of(found.loss), sure, "{:.1e}"))
    else:
        panels.append(("test accuracy", "in percent", 100 * of(found.accuracy), sure, "{:.1f}"))
    x, y = _edges(rho), _edges(lr)
    whole = layout(HEIGHT, margin={"l": 66, "r": 62, "t": 30, "b": 46})
    whole["annotations"] = []
    traces: list[Trace] = []
    for number, (name, detail, values, unsure, form) in enumerate(panels):
        key = str(number + 1) if number else ""
        left, upper = number % 2 == 0, number < 2
        across, up = COLUMNS[number % 2], ROWS[number // 2]
        whole[f"xaxis{key}"] = _axis(across, f"y{key}", x, rho, "" if upper else RADIUS)
        whole[f"yaxis{key}"] = _axis(up, f"x{key}", y, lr, RATE if left else "")
        whole["annotations"].append(title(name, detail, across[0], up[1]))
        cells, *numbers = _cells(lr, rho, name, values, lost, unsure, form, (x, y))
        drawn = [cells, _hatching(lost.all(2), x, y, name)]
        if found.rule[rule] == "sam" and upper:
            lines, names = _times(found, x, y, key, up[0])
            drawn.append(lines)
            whole["annotations"] += names
        traces += [trace | {"xaxis": f"x{key}", "yaxis": f"y{key}"} for trace in (*drawn, *numbers)]
    return {"data": traces, "layout": whole}


def _axis(domain: tuple[float, float], anchor: str, edges: Array, values: Array, name: str) -> Any:
    """A logarithmic axis whose ticks are the values themselves; without a name, it has none."""
    ticks: Layout = {"tickvals": (edges[1:] + edges[:-1]) / 2, "ticktext": [f"{v:g}" for v in values]}
    label = {"text": name, "standoff": 4}
    look: Layout = {"title": label, "showgrid": False, "ticks": "", "showticklabels": bool(name)}
    return axis(domain, anchor, range=[edges[0], edges[-1]], **ticks, **look)


def _edges(values: Array) -> Array:
    """Edges (n + 1,) of the cells around increasing values, as exponents of ten; 0 is one step before the next."""
    known = np.log10([value for value in values if value > 0])
    steps = np.diff(known)
    step = float(steps.min()) if len(steps) else 1.0
    middle = known if len(known) == len(values) else np.append((known[0] if len(known) else 0.0) - step, known)
    between = (middle[1:] + middle[:-1]) / 2
    return np.concatenate(([middle[0] - step / 2], between, [middle[-1] + step / 2]))


def _cells(
    lrs: Array,
    rhos: Array,
    name: str,
    values: Array,
    lost: Any,
    unsure: Any,
    form: str,
    edges: tuple[Array, Array],
) -> list[Trace]:
    """The cells of one quantity (lrs, rhos, seeds), and their numbers where there is room."""
    known = np.isfinite(values).sum(2)
    mean = np.where(known, np.nansum(values, 2) / np.maximum(known, 1), np.nan)
    squares = np.nansum((values - mean[..., None]) ** 2, 2)
    error = np.sqrt(squares / np.maximum(known * (known - 1), 1))
    numbers, told = np.full(mean.shape, "", dtype=object), np.full(mean.shape, "", dtype=object)
    for i, j in np.ndindex(mean.shape):
        lr, rho, gone = lrs[i], rhos[j], int(lost[i, j].sum())
        lines = [f"η = {lr:g}, ρ = {rho:g}"]
        if known[i, j]:
            roughly = "≈" if unsure[i, j].any() else ""
            numbers[i, j] = roughly + form.format(mean[i, j]).rstrip(".") + ("×" if gone else "")
            spread = f" ± {error[i, j]:.2g} (mean of {known[i, j]})" if known[i, j] > 1 else ""
            lines.append(f"{name} {roughly}{mean[i, j]:.4g}{spread}")
        elif gone:
            numbers[i, j] = "×"
        if name == "λ₁" and known[i, j]:
            lines.append(f"ηλ₁ = {lr * mean[i, j]:.3g}")
        if gone:
            lines.append(f"{gone} of {lost.shape[2]} runs diverged")
        told[i, j] = "<br>".join(lines)
    shade = np.log10(np.maximum(mean, 1e-300)) if name == "loss" else mean
    low, high = (0.0, 1.0) if name == "alignment" else _range(shade)
    colored = {"colorscale": BLUES, "showscale": False, "zmin": low, "zmax": high, "xgap": 1, "ygap": 1}
    words = {"hovertext": told.tolist(), "hoverinfo": "text", "name": name}
    cells: Trace = {"type": "heatmap", "x": edges[0], "y": edges[1], "z": shade} | colored | words
    if mean.size > ROOM:
        return [cells]
    x, y = np.meshgrid(*((e[1:] + e[:-1]) / 2 for e in edges))
    dark = (shade - low) / (high - low) < DARK  # False where nothing is known
    font = {"size": 11, "color": np.where(dark, *LETTERS).ravel().tolist()}
    text = {"x": x.ravel(), "y": y.ravel(), "text": numbers.ravel().tolist(), "textfont": font}
    return [cells, {"type": "scatter", "mode": "text", "hoverinfo": "skip", "name": f"{name} numbers"} | text]


def _range(shade: Array) -> tuple[float, float]:
    """Between which numbers the colours change: nearly all of them; all pale where they are one."""
    known = shade[np.isfinite(shade)]
    if not len(known):
        return 0.0, 1.0
    low, high = map(float, np.quantile(known, [0.05, 0.95]))  # a run about to diverge would outshine the others
    return (low, high) if high - low > 1e-3 * abs(high) else (low - abs(low) - 1, high)


def _hatching(cells: Any, x: Array, y: Array, name: str) -> Trace:
    """Oblique lines over the cells (lrs, rhos) that are True, as one line with gaps."""
    path = [np.empty((0, 2))]
    scale = np.array([SIZE[0] / (x[-1] - x[0]), SIZE[1] / (y[-1] - y[0])])  # pixels
    for i, j in np.argwhere(cells):
        (left, low), (right, high) = scale * [x[j], y[i]], scale * [x[j + 1], y[i + 1]]
        for shift in HATCH * np.arange(np.ceil((left - high) / HATCH), np.ceil((right - low) / HATCH)):
            begin, end = max(left, low + shift), min(right, high + shift)
            path.append(np.array([[begin, begin - shift], [end, end - shift], [np.nan, np.nan]]) / scale)
    line = {"x": np.concatenate(path)[:, 0], "y": np.concatenate(path)[:, 1], "line": {"color": GHOST, "width": 1}}
    return {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "name": f"{name} diverged"} | line


def _times(found: Sweep, x: Array, y: Array, key: str, up: float) -> tuple[Trace, list[Layout]]:
    """Lines of equal τ = ηρ²t across a map with its lower end at `up`, and their names where they leave it."""
    positive = sum(rho > 0 for rho in found.rho)
    left, right, low, high = x[len(x) - 1 - positive], x[-1], y[0], y[-1]  # past a column of ρ = 0
    path, names = [np.empty((0, 2))], []
    for tau in TIMES if found.steps else ():
        level = np.log10(tau / found.steps)  # log η + 2 log ρ
        begin, end = max(left, (level - high) / 2), min(right, (level - low) / 2)
        if end - begin <= 0.15 * (right - left):
            continue
        path.append(np.array([[begin, level - 2 * begin], [end, level - 2 * end], [np.nan, np.nan]]))
        text = f"τ = {tau:g}"
        if end == right:
            names.append(note(f" {text}", RIGHT[key], level - 2 * end, "paper", f"y{key}"))
        else:
            names.append(note(text, end, up, f"x{key}", "paper", xanchor="center", yanchor="top"))
    points = np.concatenate(path)
    line = {"x": points[:, 0], "y": points[:, 1], "line": {"color": ORANGE, "width": 2, "dash": "dot"}}
    return {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "name": f"times {key}".strip()} | line, names
