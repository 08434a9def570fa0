"""The history of a training against the step: the panels of the lab, and the figure of a probe."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samviz.figures.density import SUBSCRIPTS, density_panel
from samviz.figures.drawing import (
    LOG,
    Interval,
    Label,
    Layout,
    Trace,
    add_axes,
    axis,
    axis_values,
    band,
    change_marks,
    end_labels,
    line,
    marks,
    new_layout,
    note,
    round_up,
    split,
)
from samviz.figures.style import BLUE, GHOST, GREEN, GREY, INK, ORANGE, PLUM, PURPLE, SKY, VERMILION

if TYPE_CHECKING:
    from samviz.dynamics import History, Settings
    from samviz.figures.lab import Frame
    from samviz.geometry import SpectralDensity

Array = NDArray[Any]
POINTS = 500  # points of a curve: more than a screen has columns
FEW = 60  # points up to which a curve of the probe has a dot at each
CHANGES = 12  # the latest changes of settings are marked
LAB_ROWS = split([0.285, 0.265, 0.23], gap=0.095, end=0.97)[::-1]
PROBE_COLUMNS, PROBE_ROWS = split([1, 1], gap=0.09), split([0.28, 0.265, 0.23], gap=0.095, end=0.965)[::-1]
SHARES: Interval = (-0.06, 1.1)  # range of an axis for values between 0 and 1
ESTIMATE = "uᵀHu, estimate"  # from the two gradients of a SAM step, u along the first
MEASURED = {  # columns of a probe that the user has not logged
    *("step", "loss", "grad_norm", "eigenvalues", "residuals", "converged", "gap", "multiplicity", "closing", "trace"),
    *("trace_error", "cos_v1", "cos_eigenspace", "rayleigh", "worst", "worst_residual", "worst_converged", "ascent"),
    *("average", "average_error", "seconds", "share", "products", "lr", "rho"),
}


class Curve(NamedTuple):
    """One curve of a panel, with its uncertainty."""

    name: str
    y: Array  # (rows,), NaN where it was not measured
    color: str
    width: float = 2
    dash: str = "solid"
    error: Array | None = None  # (rows,), half the height of a band
    residual: Array | None = None  # (rows,), half the length of a whisker on an open mark; NaN where it has converged
    in_range: bool = True  # whether the axis includes it
    gaps: bool = False  # whether a row where it was not measured leaves a gap, instead of being joined across
    label: str = ""  # at its end, if it differs from the name


def _draw(curve: Curve, step: Array, log: bool, dots: bool) -> list[Trace]:
    """Draw a curve with its band below it and its open marks above."""
    at = np.flatnonzero(np.isfinite(curve.y) | curve.gaps)
    at = np.unique(np.append(at[:: 1 + len(at) // (POINTS + 2)], at[-1:]))  # always with the last one
    x, y = (step, curve.y) if len(at) == len(step) else (step[at], curve.y[at])  # an array in common is sent once
    traces = []
    if curve.error is not None:
        low, high = (y + side * curve.error[at] for side in (-1, 1))
        traces.append(band(x, np.maximum(low, 1e-30) if log else low, high, f"{curve.name} ± 2 s.e.", curve.color))
    points = {"mode": "lines+markers", "marker": {"color": curve.color, "size": 4}} if dots and len(at) <= FEW else {}
    traces.append(line(x, y, curve.name, curve.color, curve.width, curve.dash, **points))
    if curve.residual is not None and len(rough := at[np.isfinite(curve.residual[at])]):
        x, y, half = step[rough], curve.y[rough], curve.residual[rough]
        ends = np.stack((y - half, y + half, np.full(len(y), np.nan)), 1).ravel()
        traces += [
            line(np.repeat(x, 3), ends, f"{curve.name} residual", curve.color, 1, hoverinfo="skip"),
            marks(x, y, f"{curve.name} open", "white", 7, edge=(curve.color, 1.5)),
        ]
    return traces


def _step_axis(number: int, end: float) -> Layout:
    """Return the properties of a step axis, which is labelled at the bottom of its column, in panels 3 and 5."""
    look: Layout = {"label": "step", "standoff": 4} if number in (3, 5) else {"showticklabels": False}
    return {"range": [0, end]} | look | ({"matches": "x3"} if number != 3 else {})


def _eigenvalue_curves(values: Array, residuals: Array | None = None) -> list[Curve]:
    """Return the curves of the eigenvalues (rows, k), the largest last."""
    looks = [(VERMILION, 2.5), (ORANGE, 1.8), *[(GREY, 1.5)] * 7]
    return [
        Curve(f"λ{SUBSCRIPTS[i]}", values[:, i], *look, residual=None if residuals is None else residuals[:, i])
        for i, look in enumerate(looks[: values.shape[1]])
    ][::-1]


def _alignment_curves(h: dict[str, Array]) -> list[Curve]:
    """Return the curves of the three measures of alignment."""
    return [
        Curve("Rayleigh ratio", h["rayleigh"], GREEN, 1.5, "dot", label="Rayleigh"),
        Curve("cos with v₁", h["cos_v1"], SKY, 1.5, label="v₁ alone"),
        Curve("cos with the top eigenspace", h["cos_eigenspace"], BLUE, 2.5, label="top eigenspace"),
    ]


def _log_range(values: Array) -> Interval:
    """Return the range of a logarithmic axis in powers of ten: quarters, at least 1.25 in all."""
    positive = np.log10(values[np.isfinite(values) & (values > 0)])
    if not len(positive):
        return -3.0, 0.0
    low, high = np.floor(4 * positive.min()) / 4 - 0.25, np.ceil(4 * positive.max()) / 4 + 0.25
    return float(low), float(max(high, low + 1.25))


def lab_history(layout: Layout, frame: Frame, column: Interval) -> list[Trace]:
    """Add the panels of loss, sharpness and alignment to the layout of the lab, and return their traces."""
    h = frame.history.to_dict()
    before = frame.ghost.to_dict() if frame.ghost else {name: values[:0] for name, values in h.items()}
    step, estimates = h["step"].astype(float), frame.estimates
    last = float(max(step[-1], 1.0, *estimates[-1:, 0]))
    end = round_up(max(1.17 * max([last, *before["step"][-1:]]), 100.0))  # leaves space for the labels
    low, high = _log_range(np.concatenate((h["loss"], before["loss"])))
    decades = {"range": [low, high + 0.2 * (high - low)], "dtick": max(1, round(1.2 * (high - low) / 4))}
    trace = Curve("trace", h["trace"], GREEN, 1.5, "dot", error=2 * h["trace_error"])
    rate = Curve("2/η", 2 / np.asarray(h["lr"], float), PURPLE, 1.5, "dash")
    edge = Curve("SAM's edge", frame.edge, BLUE, 1.5, "longdashdot", gaps=True)
    eigenvalues = _eigenvalue_curves(h["eigenvalues"][:, :3])
    sharpness, alignment = [trace, *eigenvalues, rate, edge], _alignment_curves(h)
    panels: list[tuple[tuple[str, str], str, list[Curve], Layout]] = [
        (("loss", "full batch"), "loss", [Curve("loss", h["loss"], INK)], LOG | decades),
        (("sharpness", "Hessian eigenvalues and trace"), "eigenvalues", sharpness, _sharpness_axis(h)),
        (
            ("alignment", "of ∇L with the top of the Hessian"),
            "cos_eigenspace",
            alignment,
            {"range": [-0.06, 1.08], "tickvals": [0, 0.5, 1]},
        ),
    ]
    traces, axes = [], []
    for number, (heading, name, curves, y) in enumerate(panels, start=1):
        axes.append(add_axes(layout, number, column, LAB_ROWS[number - 1], heading, x=_step_axis(number, end), y=y))
        values = before[name].reshape(len(before[name]), -1)[:, 0] if len(before[name]) else np.empty(0)
        drawn = [line(before["step"].astype(float), values, f"last run: {name}", GHOST, 3)]
        drawn += [trace for curve in curves for trace in _draw(curve, step, log=False, dots=False)]
        traces += [trace | axes[-1] for trace in drawn]
    dots = marks(estimates[:, 0], estimates[:, 1], ESTIMATE, VERMILION, 4, "circle-open")
    labels = _sharpness_labels(h, last, trace, rate, edge, estimates)
    ends = [(last, float(np.nan_to_num(curve.y[-1])), curve.label, curve.color) for curve in alignment[::-1]]
    groups = _grouped(frame.changes, 0.03 * end)
    texts = [" <br> ".join(_difference(old, new, frame.samples)) for _, old, new in groups]
    _mark_gap(layout, h, end)
    return [
        *traces,
        dots | axes[1],
        end_labels(labels, layout["yaxis2"], "labels y2") | axes[1],
        end_labels(ends, layout["yaxis3"], "labels y3", distance=0.114) | axes[2],
        *change_marks([step for step, _, _ in groups], texts, layout, axes),
    ]


def _sharpness_axis(h: dict[str, Array]) -> Layout:
    """Return the vertical axis of the eigenvalues and the trace: logarithmic if the trace is much larger than λ₁."""
    values, trace = h["eigenvalues"], h["trace"][np.isfinite(h["trace"])]
    high = float(max(np.nanmax(values[:, 0]), np.max(trace, initial=0.0), 1e-12))
    if not (len(trace) and trace[0] > 4 * values[0, 0] > 0):
        return {"range": [0, round_up(1.05 * high)]}
    low = np.floor(np.log10(max(float(values[values > 0].min()), 1e-4 * high) / 1.2))
    ticks = [m * 10.0**e for e in range(-9, 10) for m in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "range": [low, np.log10(round_up(1.2 * high))]}


def _sharpness_labels(
    h: dict[str, Array], last: float, trace: Curve, rate: Curve, edge: Curve, estimates: Array
) -> list[Label]:
    """Return the labels of the sharpness panel."""
    curves = _eigenvalue_curves(h["eigenvalues"][:, :3])[::-1]
    labels = [(last, float(curve.y[-1]), curve.name, curve.color) for curve in curves]
    if h["rho"][-1] and h["rule"][-1] == "sam" and np.isfinite(edge.y[-1]):
        if abs(edge.y[-1] - curves[0].y[-1]) < 0.03 * curves[0].y[-1]:  # one label for prediction and measurement
            labels[0] = (*labels[0][:2], "λ₁ at SAM’s edge", VERMILION)
        else:
            labels.append((last, float(edge.y[-1]), "SAM’s edge", edge.color))
    labels += [(last, float(value), trace.name, trace.color) for value in trace.y[np.isfinite(trace.y)][-1:]]
    labels.append((last, float(rate.y[-1]), rate.name, rate.color))
    latest = estimates[estimates[:, 0] > 0.9 * last, 1][-25:]
    if len(latest):
        labels.append((last, float(np.median(latest)), ESTIMATE, VERMILION))
    return labels


def _grouped(changes: Sequence[tuple[int, Settings]], close: float) -> list[tuple[int, Settings, Settings]]:
    """Merge changes that follow each other closely, as while a slider is dragged: step, old and new settings."""
    last = -np.inf
    groups: list[tuple[int, Settings, Settings]] = []
    for (_, old), (step, new) in pairwise(changes):
        if step - last > close:
            groups.append((step, old, new))
        else:
            groups[-1] = (*groups[-1][:2], new)
        last = step
    return groups[-CHANGES:]


def _difference(old: Settings, new: Settings, samples: int) -> list[str]:
    """List what changed, in symbols: ρ 0 → 0.02; a full batch is `samples`."""
    changed = []
    for name, symbol in (("rule", "rule"), ("rho", "ρ"), ("lr", "η"), ("batch_size", "batch")):
        values = [getattr(settings, name) for settings in (old, new)]
        if values[0] != values[1]:
            numbers = [samples if value is None else value for value in values]
            a, b = (value if isinstance(value, str) else f"{value:g}" for value in numbers)
            changed.append(f"{symbol} {a} → {b}")
    return changed


def _mark_gap(layout: Layout, h: dict[str, Array], end: float) -> None:
    """Point at the step after which λ₁ and λ₂ stay close to each other."""
    closed = int(np.flatnonzero(h["closing"] == 0).max(initial=-1)) + 1
    if closed < len(h["step"]):
        step = float(h["step"][closed])
        arrow = {"showarrow": True, "arrowhead": 0, "arrowcolor": GREY, "ax": 70 if step < end / 2 else -70, "ay": 58}
        look = {"font": {"size": 11}, "bgcolor": "rgba(255,255,255,0.8)"}
        place = {"x": step, "y": 0.97, "xref": "x3", "yref": "y3"}
        words = "λ₁ meets λ₂:<br>v₁ is no longer one direction"
        layout["annotations"].append({"text": words} | place | arrow | look)


def probe_figure(
    history: History,
    densities: Sequence[tuple[int, SpectralDensity]] = (),
    *,
    rho: float | None = None,
    budget: float | None = None,
    changes: Sequence[tuple[int, str]] = (),
) -> dict[str, Any]:
    """Draw the history of a probe as plain plotly JSON, in which arrays stay numpy arrays.

    Open marks are eigenvalues that have not converged, with their residual as a whisker; bands are ± 2 standard
    errors. Logged columns whose name contains "loss" share the axis of the loss, those between 0 and 1 have an axis on
    the right, and `lr` gives 2/η. The thin dotted line among the sharpnesses is ρ²λ₁/2, the worst-direction sharpness
    at a minimizer.

    Args:
        history: the record; it may have no rows.
        densities: (step, density of the Hessian's eigenvalues); the last one is drawn.
        rho: radius ρ at which the three sharpnesses were measured; None omits ρ and the dotted line.
        budget: share of the training time allowed for measuring, shown with the share that it took.
        changes: (step, text) where a setting was changed.

    Returns:
        {"data": traces, "layout": layout}.

    Source: Table 1 for ρ²λ₁/2.

    >>> from samviz.dynamics import History
    >>> history = History()
    >>> history.append({"step": 0, "loss": 2.3, "eigenvalues": np.array([4.0, 1.0])})
    >>> [trace["name"] for trace in probe_figure(history)["data"] if trace["mode"] != "text"]
    ['loss', 'λ₂', 'λ₁']
    """
    from samviz.checks import check_type
    from samviz.dynamics import History

    check_type("history", history, History, "a History of samviz.dynamics")
    table = {"step": np.empty(0)} | history.to_dict()
    none = np.full(len(table["step"]), np.nan)
    h = dict.fromkeys([*MEASURED, "eigenvalues"], none) | {"eigenvalues": none[:, None]}
    h |= {name: column.astype(float) for name, column in table.items() if column.dtype.kind in "biuf"}
    losses, shares = _logged_curves(h)
    shown = h["share"][np.isfinite(h["share"])]
    cost = f"measuring took {100 * shown[-1]:.1f} % of the time" if len(shown) else ""
    cost += f", budget {100 * budget:g} %" if cost and budget is not None else ""
    log_loss = all((curve.y[np.isfinite(curve.y)] > 0).all() for curve in losses)
    senses = "in three senses" + (f", at ρ = {rho:g}" if rho else "")
    trace = Curve("trace", h["trace"], GREEN, error=2 * h["trace_error"])
    panels = [
        (("loss", cost), losses, log_loss),
        (("eigenvalues", "the Hessian’s largest"), _spectrum_curves(h), False),
        (("alignment", "of ∇L with the top of the Hessian"), _alignment_curves(h), False),
        (("trace", "of the Hessian, ± 2 s.e."), [trace], False),
        (("sharpness", senses), _sharpness_curves(h, rho), True),
    ]
    layout = new_layout(690, right=26, top=26, bottom=42)
    step = h["step"]
    end = round_up(max(1.2 * np.max(step, initial=0.0), 20.0))  # leaves space for the labels
    traces: list[Trace] = []
    panel_axes = []
    for number, (heading, every, log) in enumerate(panels, start=1):
        curves = [curve for curve in every if np.isfinite(curve.y).any()]
        y: Layout = {"range": SHARES if number == 3 else _range(curves, log)} | (LOG | {"dtick": 1} if log else {})
        axes = _add_probe_axes(layout, number, heading, _step_axis(number, end), y, empty=not curves)
        panel_axes.append(axes)
        traces += [trace | axes for curve in curves for trace in _draw(curve, step, log, dots=curve.in_range)]
        labels = [_label(curve, step) for curve in curves]
        if number == 1 and shares:
            more: Layout = {"range": SHARES, "overlaying": "y", "side": "right", "tickvals": [0, 0.5, 1]}
            layout["yaxis7"] = axis(PROBE_ROWS[0], "x", showgrid=False, **more)
            right = axes | {"yaxis": "y7"}
            traces += [trace | right for curve in shares for trace in _draw(curve, step, log=False, dots=True)]
            low, high = y["range"]
            for at, value, name, color in (_label(curve, step) for curve in shares):
                height = low + (high - low) * (value - SHARES[0]) / (SHARES[1] - SHARES[0])
                labels.append((at, float(axis_values(height, y)), name, color))
        if labels:
            traces.append(end_labels(labels, layout[axes["yaxis"].replace("y", "yaxis")], "names", 0.085) | axes)
    if changes:
        steps, texts = zip(*changes[-CHANGES:])
        traces += change_marks(steps, texts, layout, panel_axes)
    newest, x, y = density_panel(densities[-1][1]) if densities else ([], {}, {})
    detail = f"of the Hessian at step {densities[-1][0]:,}" if densities else "of the Hessian"
    axes = _add_probe_axes(layout, 6, ("eigenvalue density", detail), x, y, empty=not densities)
    return {"data": [*traces, *(trace | axes for trace in newest)], "layout": layout}


def _add_probe_axes(layout: Layout, number: int, heading: tuple[str, str], x: Layout, y: Layout, empty: bool) -> Trace:
    """Add the axes of one of the six panels; an empty one says that nothing was measured."""
    column, row = PROBE_COLUMNS[(number - 1) // 3], PROBE_ROWS[(number - 1) % 3]
    if empty:
        middle = sum(column) / 2, sum(row) / 2
        layout["annotations"].append(note("not measured", *middle, "paper", "paper", GREY, xanchor="center"))
    return add_axes(layout, number, column, row, heading, x=x, y=y)


def _logged_curves(h: dict[str, Array]) -> tuple[list[Curve], list[Curve]]:
    """Return the curves of the losses, and of what else was logged and lies between 0 and 1."""
    looks = cycle([(BLUE, 2, "dash"), (GREEN, 2, "dot"), (PLUM, 2, "dashdot"), (ORANGE, 2, "longdash")])
    losses, shares = [Curve("loss", h["loss"], INK, 2.5)], []
    for name, y in h.items():
        if name in MEASURED or y.ndim > 1 or not np.isfinite(y).any():
            continue
        if "loss" in name:
            losses.append(Curve(name.replace("_", " "), y, *next(looks)))
        elif np.nanmin(y) >= 0 and np.nanmax(y) <= 1:
            shares.append(Curve(name.replace("_", " "), y, *next(looks)))
    return losses, shares


def _spectrum_curves(h: dict[str, Array]) -> list[Curve]:
    """Return the curves of 2/η and of the eigenvalues, with the residuals of those that have not converged."""
    values = h["eigenvalues"]
    residuals = h["residuals"] if h["residuals"].ndim == 2 else np.zeros(values.shape)
    rough = np.where(h["converged"][:, None] == 0, residuals, np.nan)
    with np.errstate(divide="ignore"):
        return [Curve("2/η", 2 / h["lr"], PURPLE, 1.5, "dash", in_range=False), *_eigenvalue_curves(values, rough)]


def _sharpness_curves(h: dict[str, Array], rho: float | None) -> list[Curve]:
    """Return the curves of the three notions of sharpness, and of ρ²λ₁/2 if one of them was measured."""
    curves = [
        Curve("average", h["average"], GREEN, 2, "dash", error=2 * h["average_error"]),
        Curve("ascent", h["ascent"], BLUE, 2, "longdash"),
        Curve("worst", h["worst"], VERMILION, residual=np.where(h["worst_converged"] == 0, 0.0, np.nan)),
    ]
    if rho and np.isfinite([curve.y for curve in curves]).any():
        half = rho**2 / 2 * h["eigenvalues"][:, 0]
        curves.insert(0, Curve("ρ²λ₁/2", half, VERMILION, 1.2, "dot", in_range=False))
    return curves


def _label(curve: Curve, step: Array) -> Label:
    """Return the label of a curve at its last point."""
    last = np.flatnonzero(np.isfinite(curve.y))[-1]
    return float(step[last]), float(curve.y[last]), curve.label or curve.name, curve.color


def _range(curves: list[Curve], log: bool) -> Interval:
    """Return the range of a vertical axis between round numbers, in powers of ten if it is logarithmic.

    A linear range includes zero. It is at most ten times the maximum of the newer half of the record, so that an early
    peak does not flatten the rest.
    """
    columns = [curve.y for curve in curves if curve.in_range]
    values = np.concatenate([*columns, np.empty(0)])
    if log:
        return _log_range(values)
    if not np.nan_to_num(values).any():
        return 0.0, 1.0
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    newer = max(float(np.nan_to_num(y[len(y) // 2 :]).max(initial=0.0)) for y in columns)
    high = min(high, 10 * newer) or high
    return -round_up(1.1 * max(-low, 0.0)), round_up(1.15 * max(high, 0.0))
