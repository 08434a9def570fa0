"""The history of a training against the step: the panels of the lab, and the figure of a probe."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samviz.figures import drawing as draw
from samviz.figures.density import SUBSCRIPTS, density_panel
from samviz.figures.drawing import LOG, Interval, Layout, Trace
from samviz.figures.style import BLUE, GHOST, GREEN, GREY, INK, ORANGE, PLUM, QUANTITIES, VERMILION

if TYPE_CHECKING:
    from samviz.dynamics import History, Settings
    from samviz.figures.lab import Frame
    from samviz.geometry import SpectralDensity

Array = NDArray[Any]
POINTS = 500  # points of a curve: about one per pixel of a panel's width
FEW = 60  # points up to which a curve of the probe has a dot at each
CHANGES = 12  # the latest changes of settings are marked
LAB_ROWS = draw.split([0.3, 0.42, 0.28], gap=0.1)[::-1]
LAB_LABELS = 0.125, 0.175  # distances of the labels of the last two rows, for a figure that is 390 pixels high
QUANTITY_LABELS = 0.06  # of the width of the lab's figure, to the right of the quantity that is measured on request
SHARES: Interval = (-0.06, 1.1)  # range of an axis for values between 0 and 1
SYMBOLS = {"rule": "rule", "rho": "ρ", "lr": "η", "batch_size": "batch", "momentum": "β", "weight_decay": "κ"}
SYMBOLS |= {"micro_batch": "m", "lr_decay": "δ", "loss_name": "loss"}
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
    label: str = ""  # at its end, if it differs from the name
    error: Array | None = None  # (rows,), half the height of a band
    residual: Array | None = None  # (rows,), half the length of a whisker on an open mark; NaN where it has converged
    in_range: bool = True  # whether the axis includes it
    gaps: bool = False  # whether a row where it was not measured leaves a gap, instead of being joined across

    def end_label(self, step: Array) -> draw.Label:
        """Return the label at the last point."""
        last = np.flatnonzero(np.isfinite(self.y))[-1]
        return float(step[last]), float(self.y[last]), self.label or self.name, self.color

    def traces(self, step: Array, log: bool = False, dots: bool = False) -> list[Trace]:
        """Draw the curve with its band below it and its open marks above."""
        at = np.flatnonzero(np.isfinite(self.y) | self.gaps)
        at = np.unique(np.append(at[:: 1 + len(at) // (POINTS + 2)], at[-1:]))  # always with the last one
        x, y = (step, self.y) if len(at) == len(step) else (step[at], self.y[at])  # an array in common is sent once
        traces = []
        if self.error is not None:
            low, high = (y + side * self.error[at] for side in (-1, 1))
            low = np.maximum(low, 1e-30) if log else low
            traces.append(draw.band(x, low, high, f"{self.name} ± 2 s.e.", self.color))
        traces.append(draw.line(x, y, self.name, self.color, self.width, self.dash))
        if dots and len(at) <= FEW:
            traces[-1] |= {"mode": "lines+markers", "marker": {"color": self.color, "size": 4 if len(at) > 1 else 7}}
        if self.residual is not None and len(rough := at[np.isfinite(self.residual[at])]):
            x, y, half = step[rough], self.y[rough], self.residual[rough]
            ends = np.stack((y - half, y + half, np.full(len(y), np.nan)), 1).ravel()
            whiskers = draw.line(np.repeat(x, 3), ends, f"{self.name} residual", self.color, 1, hoverinfo="skip")
            traces += [whiskers, draw.marks(x, y, f"{self.name} open", "white", 7, edge=(self.color, 1.5))]
        return traces


def _eigenvalues(values: Array, residuals: Array | None = None) -> list[Curve]:
    """Return the curves of the eigenvalues (rows, k), the largest last."""
    styles = [(QUANTITIES["λ₁"], 2.5), (QUANTITIES["λ₂"], 1.8), *[(QUANTITIES["λ₃"], 1.5)] * 7]
    return [
        Curve(f"λ{SUBSCRIPTS[i]}", values[:, i], *style, residual=None if residuals is None else residuals[:, i])
        for i, style in enumerate(styles[: values.shape[1]])
    ][::-1]


def _stability_limit(h: dict[str, Array]) -> Curve:
    """Return the largest λ₁ at which gradient descent is stable: 2/η, with momentum and weight decay 2(1 + β)/η − κ."""
    beta, kappa = (h.get(name, 0 * h["lr"]) for name in ("momentum", "weight_decay"))
    label = ("2(1 + β)/η" if beta[-1] else "2/η") + " − κ" * bool(kappa[-1])
    return Curve("2/η", 2 * (1 + beta) / np.asarray(h["lr"], float) - kappa, QUANTITIES["2/η"], 1.5, "dash", label)


def _alignment(h: dict[str, Array]) -> list[Curve]:
    """Return the curves of the three measures of alignment."""
    return [
        Curve("cos with the top eigenspace", h["cos_eigenspace"], QUANTITIES["eigenspace"], 3, label="top eigenspace"),
        Curve("cos with v₁", h["cos_v1"], QUANTITIES["v₁"], 1.5, label="v₁ alone"),
        Curve("Rayleigh ratio", h["rayleigh"], QUANTITIES["curvature along ∇L"], 1.5, "dot", label="Rayleigh"),
    ]


def _step_axis(number: int, end: float, bottom: Sequence[int] = (3, 5)) -> Layout:
    """Return the properties of a step axis, which is labelled in the panels at the bottom of their columns."""
    ticks: Layout = {"label": "step", "standoff": 4} if number in bottom else {"showticklabels": False}
    ticks |= {"matches": "x3"} if number != 3 else {}
    return {"range": [-0.015 * end, end], "hover": "step", "hoverformat": ",d"} | ticks


def _log_range(values: Array) -> Interval:
    """Return the range of a logarithmic axis in powers of ten: quarters, at least 1.25 in all."""
    powers = np.log10(values[np.isfinite(values) & (values > 0)])
    if not len(powers):
        return -3.0, 0.0
    low, high = np.floor(4 * powers.min()) / 4 - 0.25, np.ceil(4 * powers.max()) / 4 + 0.25
    return float(low), float(max(high, low + 1.25))


def lab_history(layout: Layout, frame: Frame, column: Interval) -> list[Trace]:
    """Add the panels of loss, sharpness and alignment to the layout of the lab, and return their traces."""
    h = frame.history.to_dict()
    before = frame.ghost.to_dict() if frame.ghost else {name: values[:0] for name, values in h.items()}
    step, estimates, first = h["step"].astype(float), frame.estimates, len(h["step"]) == 1  # a dot with its value
    last = float(max(step[-1], 1.0, *estimates[-1:, 0]))
    end = draw.round_up(max(1.17 * max([last, *before["step"][-1:]]), 100.0))  # leaves space for the labels
    ends_of_b: list[draw.Label] = []  # of loss, sharpness and alignment
    losses = [h["loss"], before["loss"], *([frame.rival["loss"]] if frame.rival else [])]
    low, high = _log_range(np.concatenate(losses))
    powers = np.arange(np.ceil(low), high + 1e-9, max(1, round((high - low) / 2.5))).astype(int)
    ticks = {"tickvals": (10.0**powers).tolist(), "ticktext": [draw.typeset(f"10<sup>{p}</sup>") for p in powers]}
    decades = LOG | {"range": [low, high]} | ticks
    trace = Curve("trace", h["trace"], QUANTITIES["trace"], 1.5, "dot", error=2 * h["trace_error"])
    style = QUANTITIES["SAM's edge"], 1.5, "longdashdot"
    edge = Curve("SAM's edge", frame.edge, *style, label="SAM’s edge", gaps=True)
    eigenvalues, alignment, limit = _eigenvalues(h["eigenvalues"][:, :3]), _alignment(h), _stability_limit(h)
    sharpness, cosine = [trace, *eigenvalues, limit, edge], {"range": [-0.06, 1.08], "tickvals": [0, 0.5, 1]}
    panels = [
        (("loss", "full batch"), "loss", [Curve("loss", h["loss"], INK)], decades),
        (("sharpness", "Hessian eigenvalues and trace"), "eigenvalues", sharpness, _sharpness_axis(h)),
        (("alignment", "of ∇L with the top of the Hessian"), "cos_eigenspace", alignment, cosine),
    ]
    traces: list[Trace] = []
    panel_axes: list[Trace] = []
    for number, (heading, name, curves, y) in enumerate(panels, start=1):
        axes = draw.add_axes(layout, number, column, LAB_ROWS[number - 1], heading, x=_step_axis(number, end), y=y)
        values = before[name] if before[name].ndim == 1 else before[name][:, 0]
        drawn = [draw.line(before["step"].astype(float), values, f"last run: {name}", GHOST, 3)]
        for curve in curves:
            drawn += curve.traces(step, dots=first)
        if frame.rival:
            other = frame.rival[name] if frame.rival[name].ndim == 1 else frame.rival[name][:, 0]
            drawn.append(draw.line(frame.rival["step"].astype(float), other, f"B: {heading[0]}", INK, 1.8, "dash"))
            ends_of_b.append((last, float(other[-1]), "B", INK))
        traces += [trace | axes for trace in drawn]
        panel_axes.append(axes)
    labels = {
        curve.name: (last, *curve.end_label(step)[1:])
        for curve in (*eigenvalues[::-1], edge, trace, limit)
        if np.isfinite(curve.y).any()
    }
    largest = labels["λ₁"]
    if not h["rho"][-1] or not np.isfinite(edge.y[-1]):
        labels.pop(edge.name, None)
    elif abs(edge.y[-1] - largest[1]) < 0.03 * largest[1]:  # one label for prediction and measurement
        labels.pop(edge.name)
        labels["λ₁"] = (*largest[:2], "λ₁ at SAM’s edge", largest[3])
    curvature = QUANTITIES["curvature along ∇L"]
    latest = estimates[estimates[:, 0] > 0.9 * last, 1][-25:]
    if len(latest):
        labels[ESTIMATE] = (last, float(np.median(latest)), ESTIMATE, curvature)
    ends = [(last, float(np.nan_to_num(curve.y[-1])), curve.label, curve.color) for curve in alignment]
    changed = _changes(frame.changes, 0.03 * end, frame.samples)
    _mark_gap(layout, h, end)
    loss = [(last, float(h["loss"][0]), "loss", INK)] if first else ends_of_b[:1]
    ends += ends_of_b[2:]
    if ends_of_b:
        labels["B"] = ends_of_b[1]
    at = [float(frame.looks_back_at)] * 2 if frame.looks_back_at is not None else []
    for axes in panel_axes:
        yaxis = layout[axes["yaxis"].replace("y", "yaxis")]
        limits = draw.axis_values(yaxis["range"], yaxis)[: len(at)]
        traces.append(draw.line(at, limits, "this step", VERMILION, 1.2, hoverinfo="skip") | axes)
    return [
        *traces,
        draw.end_labels(loss, layout["yaxis"], "labels y", values=first) | panel_axes[0],
        draw.marks(estimates[:, 0], estimates[:, 1], ESTIMATE, curvature, 4, "circle-open") | panel_axes[1],
        draw.end_labels([*labels.values()], layout["yaxis2"], "labels y2", LAB_LABELS[0], values=first) | panel_axes[1],
        draw.end_labels(ends, layout["yaxis3"], "labels y3", LAB_LABELS[1], values=first) | panel_axes[2],
        *draw.change_marks(changed, layout, panel_axes),
    ]


def lab_quantity(layout: Layout, frame: Frame, column: Interval, row: Interval) -> list[Trace]:
    """Add axes 5 with the quantity that is measured on request, and return its traces."""
    h, quantity = frame.history.to_dict(), frame.quantity
    assert quantity is not None
    step, none = h["step"].astype(float), np.full(len(h["step"]), np.nan)
    colors = (BLUE, GREY, ORANGE)
    curves = [
        Curve(name, h.get(key, none), color, 2.5, label=f" {name}", error=2 * h.get(f"{key}_error", 0 * none))
        for (key, name), color in zip(quantity.curves.items(), colors)
    ]
    if quantity.edge:
        curves += [Curve("λ₁", h["eigenvalues"][:, 0], QUANTITIES["λ₁"], 1.5), _stability_limit(h)]
    known = [curve for curve in curves if np.isfinite(curve.y).any()]
    values = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in known] or [np.zeros(1)])
    low, high = np.quantile(values, [0.02, 0.98])
    margin = 0.15 * (high - min(low, 0.0)) or 0.1
    y = {"range": [min(low, 0.0) - margin / 3, high + margin], "nticks": 5}
    heading = quantity.label, f"± 2 s.e. · {quantity.source}" if quantity.source else ""
    narrow = column[0], column[1] - QUANTITY_LABELS
    axes = draw.add_axes(layout, 5, narrow, row, heading, x=_step_axis(5, layout["xaxis3"]["range"][1]), y=y)
    traces = [trace for curve in known for trace in curve.traces(step, dots=len(step) < FEW)]
    labels = [curve.end_label(step) for curve in known]
    return [trace | axes for trace in (*traces, draw.end_labels(labels, y, "labels y5", LAB_LABELS[1]))]


def _sharpness_axis(h: dict[str, Array]) -> Layout:
    """Return the vertical axis of the eigenvalues and the trace: logarithmic if the trace is much larger than λ₁."""
    values, trace = h["eigenvalues"], h["trace"][np.isfinite(h["trace"])]
    high = float(max(np.nanmax(values[:, 0]), np.max(trace, initial=0.0), 1e-12))
    if not (len(trace) and trace[0] > 4 * values[0, 0] > 0):
        return {"range": [0, draw.round_up(1.05 * high)]}
    low = np.floor(np.log10(max(float(values[values > 0].min()), 1e-4 * high) / 1.2))
    ticks = [m * 10.0**e for e in range(-9, 10) for m in (1, 2, 5)]
    return {"type": "log", "tickvals": ticks, "range": [low, np.log10(draw.round_up(1.2 * high))]}


def _changes(changes: Sequence[tuple[int, Settings]], close: float, samples: int) -> list[tuple[int, str]]:
    """Return the step and the text of each change of a setting ("ρ 0 → 0.02"); close ones, as in a drag, are merged."""
    merged: list[tuple[int, Settings, Settings]] = []
    previous = -np.inf
    for (_, old), (step, new) in pairwise(changes):
        if step - previous > close:
            merged.append((step, old, new))
        else:
            merged[-1] = (*merged[-1][:2], new)
        previous = step
    changed = []
    for step, old, new in merged:
        for name, symbol in SYMBOLS.items():
            pair = [getattr(settings, name) for settings in (old, new)]
            if pair[0] != pair[1]:
                a, b = (v if isinstance(v, str) else f"{samples if v is None else v:g}" for v in pair)
                changed.append((step, f"{symbol} {a} → {b}"))
    return changed[-CHANGES:]


def _mark_gap(layout: Layout, h: dict[str, Array], end: float) -> None:
    """Point at the step after which λ₁ and λ₂ stay close to each other."""
    closed = int(np.flatnonzero(h["closing"] == 0).max(initial=-1)) + 1
    if closed < len(h["step"]):
        step, message = float(h["step"][closed]), "λ₁ meets λ₂:<br>v₁ is no longer<br>one direction"
        side = {"ax": 12, "xanchor": "left"} if step < end / 2 else {"ax": -12, "xanchor": "right"}
        style: Layout = {"font": {"size": 11}, "bgcolor": "rgba(255,255,255,0.8)", "ay": 54, **side}
        style |= {"showarrow": True, "arrowhead": 0, "arrowcolor": GREY}
        layout["annotations"].append(draw.note(message, step, 0.97, "x3", "y3", **style))


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
        budget: share of the training time allowed for measuring, shown with the share that it took; None shows neither.
        changes: (step, text) where a setting was changed.

    Returns:
        {"data": traces, "layout": layout}; without sharpnesses or densities their panel is left out.

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
    h = dict.fromkeys(MEASURED, none) | {"eigenvalues": none[:, None]}
    h |= {name: column.astype(float) for name, column in table.items() if column.dtype.kind in "biuf"}
    step, values = h["step"], h["eigenvalues"]
    unsure, worst_unsure = (np.where(h[name] == 0, 0.0, np.nan) for name in ("converged", "worst_converged"))
    eigenvalues = _eigenvalues(values, unsure[:, None] + table.get("residuals", 0 * values))
    with np.errstate(divide="ignore"):
        rate = Curve("2/η", 2 / h["lr"], QUANTITIES["2/η"], 1.5, "dash", in_range=False)
    notions = [
        Curve("average", h["average"], GREEN, 2, "dash", error=2 * h["average_error"]),
        Curve("ascent", h["ascent"], BLUE, 2, "longdash"),
        Curve("worst", h["worst"], VERMILION, residual=worst_unsure),
    ]
    if rho and np.isfinite([curve.y for curve in notions]).any():
        notions.insert(0, Curve("ρ²λ₁/2", rho**2 / 2 * values[:, 0], VERMILION, 1.2, "dot", in_range=False))
    losses, shares = _logged(h)
    taken = h["share"][np.isfinite(h["share"])]
    cost = ""
    if budget is not None and len(taken):
        cost = f"measuring took {100 * taken[-1]:.1f} % of the training time, budget {100 * budget:g} %"
    senses = "average, ascent, worst" + (f", at ρ = {rho:g}" if rho else "")
    trace = Curve("trace", h["trace"], GREEN, error=2 * h["trace_error"])
    panels = [
        (("loss", cost), losses, all((curve.y[np.isfinite(curve.y)] > 0).all() for curve in losses)),
        (("eigenvalues", "the Hessian’s largest"), [rate, *eigenvalues], False),
        (("alignment", "of ∇L with the top of the Hessian"), _alignment(h), False),
        (("trace", "of the Hessian, ± 2 s.e."), [trace], False),
    ]
    if np.isfinite([curve.y for curve in notions]).any():
        panels.append((("sharpness", senses), notions, True))
    height, places = _probe_places(len(panels) + bool(densities))
    layout = draw.new_layout(height, right=26, top=26, bottom=42)
    end = draw.round_up(max(1.2 * np.max(step, initial=0.0), 20.0))  # leaves space for the labels
    traces: list[Trace] = []
    panel_axes, labelled = [], list[list[draw.Label]]()
    for number, (place, (heading, every, log)) in enumerate(zip(places, panels), start=1):
        curves = [curve for curve in every if np.isfinite(curve.y).any()]
        y: Layout = {"range": SHARES if number == 3 else _range(curves, log)}
        y |= LOG | {"dtick": max(1, round(np.ptp(y["range"]) / 4))} if log else {}
        x = _step_axis(number, end, bottom=((len(places) + 1) // 2, len(panels)))
        axes = draw.add_axes(layout, number, *place, heading, x=x, y=y)
        panel_axes.append(axes)
        if not curves:
            where = f"{axes['xaxis']} domain", f"{axes['yaxis']} domain"
            layout["annotations"].append(draw.note("not measured", 0.5, 0.5, *where, GREY, xanchor="center"))
        traces += [trace | axes for curve in curves for trace in curve.traces(step, log, dots=curve.in_range)]
        labelled.append([curve.end_label(step) for curve in curves])
        if number == 1 and shares:
            more: Layout = {"range": SHARES, "overlaying": "y", "side": "right", "tickvals": [0, 0.5, 1]}
            layout["yaxis7"] = draw.axis(place[1], "x", showgrid=False, **more)
            right = axes | {"yaxis": "y7"}
            traces += [trace | right for curve in shares for trace in curve.traces(step, dots=True)]
    if changes:
        traces += draw.change_marks(changes[-CHANGES:], layout, panel_axes)
    first = layout["yaxis"]  # which the marks have extended
    for at, value, name, color in (curve.end_label(step) for curve in shares):
        height = np.interp(value, SHARES, first["range"])
        labelled[0].append((at, float(draw.axis_values(height, first)), name, color))
    for labels, axes in zip(labelled, panel_axes):
        if labels:
            yaxis = layout[axes["yaxis"].replace("y", "yaxis")]
            traces.append(draw.end_labels(labels, yaxis, "names", 0.085) | axes)
    if densities:
        measured_at, density = densities[-1]
        newest, x, y = density_panel(density)
        heading = "eigenvalue density", f"of the Hessian at step {measured_at:,}"
        axes = draw.add_axes(layout, 6, *places[-1], heading, x=x, y=y)
        traces += [trace | axes for trace in newest]
    return {"data": traces, "layout": layout}


def _probe_places(count: int) -> tuple[int, list[tuple[Interval, Interval]]]:
    """Return the height of a figure with this number of panels, and their columns and rows: the left column first."""
    left = (count + 1) // 2
    area = 200 * left + 22  # pixels; above each panel there is a heading
    places = []
    for column, number in zip(draw.split([1, 1], gap=0.09), (left, count - left)):
        rows = draw.split([1] * number, gap=60 / area, end=1 - 22 / area)[::-1]
        places += [(column, row) for row in rows]
    return area + 68, places


def _logged(h: dict[str, Array]) -> tuple[list[Curve], list[Curve]]:
    """Return the curves of the losses, and of the other logged columns between 0 and 1."""
    styles = cycle([(BLUE, 2, "dash"), (GREEN, 2, "dot"), (PLUM, 2, "dashdot"), (ORANGE, 2, "longdash")])
    losses, shares = [Curve("loss", h["loss"], INK, 2.5)], list[Curve]()
    for name, y in h.items():
        if name in MEASURED or y.ndim > 1 or not np.isfinite(y).any():
            continue
        if "loss" in name or (np.nanmin(y) >= 0 and np.nanmax(y) <= 1):
            (losses if "loss" in name else shares).append(Curve(name.replace("_", " "), y, *next(styles)))
    return losses, shares


def _range(curves: list[Curve], log: bool) -> Interval:
    """Return the range of a vertical axis between round numbers: in powers of ten if logarithmic, or else with zero."""
    columns = [curve.y for curve in curves if curve.in_range]
    values = np.concatenate([*columns, np.empty(0)])
    if log:
        return _log_range(values)
    if not np.nan_to_num(values).any():
        return 0.0, 1.0
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    newer = max(float(np.nan_to_num(y[len(y) // 2 :]).max(initial=0.0)) for y in columns)
    high = min(high, 10 * newer) or high  # an early peak does not flatten the rest
    return -draw.round_up(1.1 * max(-low, 0.0)), draw.round_up(1.15 * max(high, 0.0))
