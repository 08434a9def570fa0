"""Several methods, each with several seeds: mean and standard error during training, and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samviz.figures.drawing import Layout, Trace, add_axes, band, end_labels, line, marks, new_layout, split
from samviz.figures.style import BLUE, GREEN, ORANGE, PLUM, VERMILION

if TYPE_CHECKING:
    from samviz.dynamics import History

COLORS, SYMBOLS = (BLUE, VERMILION, GREEN, PLUM, ORANGE), ("circle", "diamond", "square", "triangle-up", "cross")
PANEL_HEIGHT, GAP = 190, 78  # pixels of a panel, and between two of them
AXIS_FACTOR = 1.75  # length of the step axis over the last step, which leaves a place for whiskers and labels
TICKS = 5  # about so many on the step axis
HEADINGS = {
    "eigenvalues": ("λ₁", "of the Hessian"),
    "trace": ("trace", "of the Hessian"),
    "cos_v1": ("|cos(∇L, v₁)|", "alignment"),
    "rayleigh": ("∇LᵀH∇L / (λ₁‖∇L‖²)", "alignment, as a Rayleigh ratio"),
}


def seeds_figure(records: Mapping[str, Sequence[History]], columns: Sequence[str]) -> dict[str, Any]:
    """Draw the records of several seeds for each method as plain plotly JSON: a panel for each column.

    Bands and whiskers are ± 1 standard error of the mean over the seeds. A step at which a seed lacks the value is
    omitted, so that every point is a mean over all seeds. Whiskers stand to the right of the last step, side by side.

    Args:
        records: for each of one to five methods, two or more records of the same steps.
        columns: of the records, one or more; the first number of a column with several is drawn.

    Returns:
        {"data": traces, "layout": layout}.

    Raises:
        ValueError: when there are too few or too many, or the steps of a method's records differ.

    >>> from samviz.dynamics import History
    >>> run = History()
    >>> run.append({"step": 10, "loss": 0.5})
    >>> [trace["name"] for trace in seeds_figure({"SGD": [run, run]}, ["loss"])["data"]]
    ['SGD band', 'SGD', 'SGD end', 'labels']
    """
    from samviz.checks import check_type
    from samviz.dynamics import History

    check_type("records", records, Mapping, "a mapping from methods to records")
    check_type("columns", columns, (list, tuple), "a list of names")
    if not 1 <= len(records) <= len(COLORS) or not columns:
        raise ValueError(
            f"records: {len(records)} methods and {len(columns)} columns; expected 1 to {len(COLORS)}, 1 or more"
        )
    for name, runs in records.items():
        for run in runs:
            check_type(f"records[{name!r}]", run, History, "a History of samviz.dynamics")
            if len(run) and (missing := {"step", *columns} - set(run.columns)):
                raise ValueError(f"columns holds {min(missing)!r}; expected some of {', '.join(run.columns)}")
        if len(runs) < 2 or any(not len(run) or list(run["step"]) != list(runs[0]["step"]) for run in runs):
            raise ValueError(f"{name!r} has {len(runs)} records; expected 2 or more, with the same steps, 1 or more")
    count = (len(columns) + 1) // 2
    area = count * (PANEL_HEIGHT + GAP) - GAP
    layout = new_layout(area + 74, left=50, right=10)
    rows = split([1] * count, gap=GAP / area)[::-1]
    steps = max((runs[0]["step"] for runs in records.values()), key=lambda step: float(step[-1]))
    x = {"label": "step", "range": [0, AXIS_FACTOR * steps[-1]], "tickvals": steps[:: -(-len(steps) // TICKS)]}
    traces: list[Trace] = []
    for i, column in enumerate(columns):
        drawn, y = _panel(records, column, float(steps[-1]))
        heading = HEADINGS.get(column, (column.replace("_", " "), ""))
        axes = add_axes(layout, i + 1, split([1, 1], gap=0.07)[i % 2], rows[i // 2], heading, x=x, y=y)
        traces += [trace | axes | {"hoverinfo": "skip"} for trace in drawn]
    return {"data": traces, "layout": layout}


def _panel(records: Mapping[str, Sequence[History]], column: str, last: float) -> tuple[list[Trace], Layout]:
    """Return the traces of one column, and its vertical axis."""
    curves = []  # steps, means and standard errors of each method
    for runs in records.values():
        values = np.stack([np.asarray(run[column], float).reshape(len(run), -1)[:, 0] for run in runs])
        known = np.isfinite(values).all(0)
        error = values[:, known].std(0, ddof=1) / len(runs) ** 0.5
        curves.append((np.asarray(runs[0]["step"], float)[known], values[:, known].mean(0), error))
    bounds = np.concatenate([mean + side * error for _, mean, error in curves for side in (-1, 1)])
    low, high = (float(bounds.min()), float(bounds.max())) if len(bounds) else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.1
    yaxis = {"range": [low - margin, high + margin], "nticks": 6}
    traces, labels = [], []
    for i, (name, (step, mean, error), color) in enumerate(zip(records, curves, COLORS)):
        whisker = {"type": "data", "array": error[-1:], "color": color, "thickness": 1.5, "width": 3}
        at = np.full(len(step[-1:]), (1.04 + 0.04 * i) * last)
        label = f"{name} {_with_error(*mean[-1:], *error[-1:])}" if len(step) else f"{name}: not measured in all"
        traces += [
            band(step, mean - error, mean + error, f"{name} band", color),
            line(step, mean, name, color),
            marks(at, mean[-1:], f"{name} end", color, 8, SYMBOLS[i], error_y=whisker),
        ]
        labels.append(((1.07 + 0.04 * len(records)) * last, float(mean[-1]) if len(step) else high, label, color))
    return [*traces, end_labels(labels, yaxis, "labels", 0.112)], yaxis


def _with_error(mean: float, error: float) -> str:
    """Write a mean with its standard error, both to the first digit of the error."""
    digits = max(0, -int(np.floor(np.log10(error)))) if error > 0 else 3
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
