"""Several methods, each from several seeds: mean and standard error through training, and where they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samviz.figures.arguments import given
from samviz.figures.style import BLUE, GREEN, ORANGE, PLUM, VERMILION, WORDS, Trace, apart, axis, layout, title

if TYPE_CHECKING:
    from samviz.dynamics import History

COLORS, SYMBOLS = (BLUE, VERMILION, GREEN, PLUM, ORANGE), ("circle", "diamond", "square", "triangle-up", "cross")
COLUMNS, TALL, GAP = ((0.0, 0.465), (0.535, 1.0)), 190, 78  # pixels of a panel, and from one down to the next
ROOM, TICKS = 1.75, 5  # the step axis as a multiple of the last step, for whiskers and words; and its ticks, about
HEADS = {
    "eigenvalues": ("λ₁", "of the Hessian"),
    "trace": ("trace", "of the Hessian"),
    "cos_v1": ("|cos(∇L, v₁)|", "alignment"),
    "rayleigh": ("∇LᵀH∇L / (λ₁‖∇L‖²)", "alignment, as a Rayleigh ratio"),
}


def seeds_figure(records: Mapping[str, Sequence[History]], columns: Sequence[str]) -> dict[str, Any]:
    """Records of several seeds for each method as plain plotly JSON: a panel for each column.

    Bands and whiskers are ± 1 standard error of the mean over the seeds. A step at which some seed lacks the number is
    left out, so that every point is a mean over all of them. Whiskers stand beside the last step, to be told apart.

    Args:
        records: by method, one to five of them: two records or more of the same steps.
        columns: of the records, one or more; of one with several numbers the first is drawn.

    Returns:
        {"data": traces, "layout": layout}.

    Raises:
        ValueError: when there are too few or too many, or the steps of a method's records differ.

    >>> from samviz.dynamics import History
    >>> run = History()
    >>> run.append({"step": 10, "loss": 0.5})
    >>> [trace["name"] for trace in seeds_figure({"SGD": [run, run]}, ["loss"])["data"]]
    ['SGD band', 'SGD', 'SGD end', 'SGD label']
    """
    if not isinstance(records, Mapping) or isinstance(columns, str) or not isinstance(columns, Sequence):
        raise TypeError(
            f"records is {records!r:.99} and columns {columns!r:.99}; expected a mapping, and a list of names"
        )
    if not 1 <= len(records) <= len(COLORS) or not columns:
        raise ValueError(
            f"records: {len(records)} methods and {len(columns)} columns; expected 1 to {len(COLORS)}, 1 or more"
        )
    for name, runs in records.items():
        for run in runs:
            given(f"records[{name!r}]", run, "History", "dynamics")
            if len(run) and (lost := {"step", *columns} - set(run.columns)):
                raise ValueError(f"columns holds {min(lost)!r}; expected some of {', '.join(run.columns)}")
        if len(runs) < 2 or any(not len(run) or list(run["step"]) != list(runs[0]["step"]) for run in runs):
            raise ValueError(f"{name!r} has {len(runs)} records; expected 2 or more, with the same steps, 1 or more")
    area = (len(columns) + 1) // 2 * (TALL + GAP) - GAP
    whole = layout(area + 74, margin={"l": 50, "r": 10, "t": 30, "b": 44}, annotations=[])
    steps = max((runs[0]["step"] for runs in records.values()), key=lambda step: float(step[-1]))
    across = {"range": [0, ROOM * steps[-1]], "tickvals": steps[:: -(-len(steps) // TICKS)]}
    traces: list[Trace] = []
    for i, column in enumerate(columns):
        left, up = COLUMNS[i % 2], 1 - (i // 2) * (TALL + GAP) / area
        x, y = (f"{letter}{i + 1 if i else ''}" for letter in "xy")
        drawn, span = _panel(records, column, float(steps[-1]))
        traces += [{"type": "scatter", "hoverinfo": "skip", "xaxis": x, "yaxis": y} | trace for trace in drawn]
        whole[x.replace("x", "xaxis")] = axis(left, y, title={"text": "step", "standoff": 2}, **across)
        whole[y.replace("y", "yaxis")] = axis((max(up - TALL / area, 0), up), x, range=span, nticks=6)
        whole["annotations"].append(title(*HEADS.get(column, (column.replace("_", " "), "")), left[0], up))
    return {"data": traces, "layout": whole}


def _panel(records: Mapping[str, Sequence[History]], column: str, last: float) -> tuple[list[Trace], list[float]]:
    """One column's traces, and the range of its values."""
    curves = []  # steps, means and standard errors of each method
    for runs in records.values():
        values = np.stack([np.asarray(run[column], float).reshape(len(run), -1)[:, 0] for run in runs])
        kept = np.isfinite(values).all(0)
        error = values[:, kept].std(0, ddof=1) / len(runs) ** 0.5
        curves.append((np.asarray(runs[0]["step"], float)[kept], values[:, kept].mean(0), error))
    reached = np.concatenate([mean + side * error for _, mean, error in curves for side in (-1, 1)])
    low, high = (float(reached.min()), float(reached.max())) if len(reached) else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.1
    heights = apart([min([*mean[-1:], high]) for _, mean, _ in curves], 0.118 * (high - low + room), low)
    traces: list[Trace] = []
    for i, (name, (step, mean, error), color) in enumerate(zip(records, curves, COLORS)):
        ring = {"x": np.concatenate((step, step[::-1])), "y": np.concatenate((mean + error, (mean - error)[::-1]))}
        fill = {"fill": "toself", "fillcolor": color, "opacity": 0.15, "line": {"width": 0}, "mode": "lines"}
        whisker = {"type": "data", "array": error[-1:], "color": color, "thickness": 1.5, "width": 3}
        end = {"x": np.full(len(step[-1:]), (1.04 + 0.04 * i) * last), "y": mean[-1:], "error_y": whisker}
        words = [f"{name} {_told(*mean[-1:], *error[-1:])}" if len(step) else f"{name}: not measured in all"]
        label = {"x": [(1.07 + 0.04 * len(records)) * last], "y": [heights[i]], "text": words, "mode": "text"}
        mark, font = {"color": color, "symbol": SYMBOLS[i], "size": 8}, {"color": WORDS.get(color, color), "size": 12}
        traces += [
            ring | fill | {"name": f"{name} band"},
            {"x": step, "y": mean, "mode": "lines", "line": {"color": color, "width": 2}, "name": name},
            end | {"mode": "markers", "marker": mark, "name": f"{name} end"},
            label | {"textposition": "middle right", "textfont": font, "name": f"{name} label"},
        ]
    return traces, [low - room, high + room]


def _told(mean: float, error: float) -> str:
    digits = max(0, -int(np.floor(np.log10(error)))) if error > 0 else 3  # to the first of the error's own
    return f"{mean:.{digits}f} ± {error:.{digits}f}"
