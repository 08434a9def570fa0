"""What a probe has seen of a training: losses, sharpness and alignment on one step axis, and the newest spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samviz.figures import style
from samviz.figures.arguments import given
from samviz.figures.density import spectrum
from samviz.figures.series import POINTS, SUBSCRIPTS
from samviz.figures.style import BLUE, GREEN, GREY, INK, ORANGE, PLUM, PURPLE, SKY, VERMILION, Layout, Trace

if TYPE_CHECKING:
    from samviz.dynamics import History
    from samviz.geometry.density import SpectralDensity

Array = NDArray[Any]
Span = tuple[float, float]
HEIGHT = 690  # pixels
COLUMNS, ROWS = ((0.0, 0.455), (0.545, 1.0)), ((0.735, 0.965), (0.375, 0.64), (0.0, 0.28))
DOTS = 60  # points up to which a line shows each of them
MARKS = 6  # changes of settings that are marked, the latest
SHARES: Span = (-0.06, 1.1)  # of an axis for what is between 0 and 1
LOG: Layout = {"type": "log", "exponentformat": "power", "dtick": 1}
MEASURED = (  # by a probe, or shown as something else than a curve of its own
    "step loss grad_norm eigenvalues residuals converged gap cos_v1 cos_eigenspace rayleigh multiplicity closing trace "
    "trace_error worst worst_residual worst_converged ascent average average_error seconds share products lr rho"
)


class Line(NamedTuple):
    """One curve of a panel, and how sure it is; it joins the rows that have it, since only some do."""

    label: str
    y: Array  # (rows,), NaN where it was not measured
    color: str
    width: float = 2
    dash: str = "solid"
    band: Array | None = None  # (rows,), half its height
    doubt: Array | None = None  # (rows,), half a whisker on an open mark; NaN where it has converged
    aside: bool = False  # the axis need not reach it


def probe_figure(
    history: History,
    densities: Sequence[tuple[int, SpectralDensity]] = (),
    *,
    rho: float | None = None,
    budget: float | None = None,
    changes: Sequence[tuple[int, str]] = (),
) -> dict[str, Any]:
    """The record of a probe as plain plotly JSON, in which arrays stay numpy arrays.

    Open marks are eigenvalues that have not converged, their whiskers the residual; bands are ± 2 standard errors. Of
    what was logged, names with "loss" share the loss's axis, what stays between 0 and 1 has one at the right, and `lr`
    gives 2/η. The thin dotted line among the sharpnesses is what the theory says of the worst one at a minimizer.

    Args:
        history: the record; there may be no rows yet.
        densities: (step, density) of the Hessian's eigenvalues; the last one is drawn.
        rho: radius ρ at which the three sharpnesses were measured; None leaves it and the dotted line out.
        budget: share of the training time that measuring may take, to be told beside what it took.
        changes: (step, words) where somebody changed a setting.

    Returns:
        {"data": traces, "layout": layout}.

    Source: Table 1 for ρ²λ₁/2.

    >>> from samviz.dynamics import History
    >>> history = History()
    >>> history.append({"step": 0, "loss": 2.3, "eigenvalues": np.array([4.0, 1.0])})
    >>> [trace["name"] for trace in probe_figure(history)["data"] if trace["mode"] != "text"]
    ['loss', 'λ₂', 'λ₁']
    """
    given("history", history, "History", "dynamics")
    table = {"step": np.empty(0)} | history.to_dict()
    h = {name: column.astype(float) for name, column in table.items() if column.dtype.kind in "biuf"}
    step = h["step"]
    last = float(step[-1]) if len(step) else 0.0
    shares, *panels = _panels(h, rho, budget)
    traces: list[Trace] = []
    whole = style.layout(HEIGHT, margin={"l": 58, "r": 26, "t": 26, "b": 42}, annotations=[], shapes=[])
    for i, (head, detail, every, log) in enumerate(panels):
        lines, on = [line for line in every if np.isfinite(line.y).any()], _on(i)
        span = SHARES if head == "alignment" else _span(lines, log)
        across: Layout = {"range": [0, style.round_up(max(1.2 * last, 20.0))]}  # room for the names at the curves' ends
        across |= {"title": {"text": "step", "standoff": 4}} if i in (2, 4) else {"showticklabels": False}
        across |= {"matches": "x3"} if i != 2 else {}
        _place(whole, i, head, detail, across, {"range": span} | (LOG if log else {}), bool(lines))
        traces += [trace | on for line in lines for trace in _drawn(line, step, log)]
        ends = [(line, span, log) for line in lines]
        if i == 0 and shares[2]:
            more: Layout = {"range": SHARES, "overlaying": "y", "side": "right", "tickvals": [0, 0.5, 1]}
            whole["yaxis7"] = style.axis(ROWS[0], "x", showgrid=False, **more)
            traces += [trace | on | {"yaxis": "y7"} for line in shares[2] for trace in _drawn(line, step, False)]
            ends += [(line, SHARES, False) for line in shares[2]]
        traces += [_names(ends, step, span, log) | on] if ends else []
    for where, words in changes[-MARKS:]:
        _mark(whole, where, words, last)
    newest, sides, up = spectrum(densities[-1][1]) if densities else ([], {}, {})
    detail = f"of the Hessian at step {densities[-1][0]:,}" if densities else "of the Hessian"
    _place(whole, 5, "eigenvalue density", detail, sides, up, bool(newest))
    return {"data": [*traces, *(trace | _on(5) for trace in newest)], "layout": whole}


def _panels(h: dict[str, Array], rho: float | None, budget: float | None) -> list[tuple[str, str, list[Line], bool]]:
    """Head, detail, curves and whether it is logarithmic, for each panel with a step axis.

    First what was logged that stays between 0 and 1, then the panels down the left column and down the right one.
    """
    none = np.full(len(h["step"]), np.nan)

    def line(label: str, name: str, *look: Any, **more: Any) -> Line:
        return Line(label, h.get(name, none), *look, **more)

    logged = {name: y for name, y in h.items() if name not in MEASURED.split() and y.ndim == 1 and np.isfinite(y).any()}
    looks = cycle([(BLUE, 2, "dash"), (GREEN, 2, "dot"), (PLUM, 2, "dashdot"), (ORANGE, 2, "longdash")])
    losses, shares = [line("loss", "loss", INK, 2.5)], list[Line]()
    for name, y in logged.items():
        if "loss" in name or (np.nanmin(y) >= 0 and np.nanmax(y) <= 1):
            (losses if "loss" in name else shares).append(line(name.replace("_", " "), name, *next(looks)))
    values = h.get("eigenvalues", none[:, None])  # (rows, k)
    unsure, worst_unsure = (np.where(h.get(name, none) == 0, 0.0, np.nan) for name in ("converged", "worst_converged"))
    top = [
        Line(f"λ{SUBSCRIPTS[i]}", values[:, i], *look, doubt=unsure + h.get("residuals", 0 * values)[:, i])
        for i, look in enumerate([(VERMILION, 2.5), (ORANGE, 1.8), *[(GREY, 1.2)] * 7][: values.shape[1]])
    ]
    with np.errstate(divide="ignore"):
        edge = Line("2/η", 2 / h.get("lr", none), PURPLE, 1.5, "dash", aside=True)
    aligned = [
        line("Rayleigh", "rayleigh", GREEN, 1.5, "dot"),
        line("v₁ alone", "cos_v1", SKY, 1.5),
        line("top eigenspace", "cos_eigenspace", BLUE, 2.5),
    ]
    sharp = [
        line("average", "average", GREEN, 2, "dash", band=2 * h.get("average_error", none)),
        line("ascent", "ascent", BLUE, 2, "longdash"),
        line("worst", "worst", VERMILION, doubt=worst_unsure),
    ]
    if rho and np.isfinite([curve.y for curve in sharp]).any():  # what Table 1 says of the worst at a minimizer
        sharp.insert(0, Line("ρ²λ₁/2", rho**2 / 2 * values[:, 0], VERMILION, 1.2, "dot", aside=True))
    spent = h.get("share", none)[np.isfinite(h.get("share", none))]
    cost = f"measuring took {100 * spent[-1]:.1f} % of the time" if len(spent) else ""
    cost += f", budget {100 * budget:g} %" if cost and budget is not None else ""
    trace = [line("trace", "trace", GREEN, band=2 * h.get("trace_error", none))]
    return [
        ("", "", shares, False),
        ("loss", cost, losses, bool(all((curve.y[np.isfinite(curve.y)] > 0).all() for curve in losses))),
        ("eigenvalues", "the Hessian’s largest", [edge, *top[::-1]], False),
        ("alignment", "of ∇L with the top of the Hessian", aligned, False),
        ("trace", "of the Hessian, ± 2 s.e.", trace, False),
        ("sharpness", "in three senses" + (f", at ρ = {rho:g}" if rho else ""), sharp, True),
    ]


def _drawn(line: Line, step: Array, log: bool) -> list[Trace]:
    """A line, its band below it and its open marks above."""
    at = np.flatnonzero(np.isfinite(line.y))
    at = np.unique(np.append(at[:: 1 + len(at) // POINTS], at[-1:]))  # the last one always
    x, y = step[at], line.y[at]
    base: Trace = {"type": "scatter", "mode": "lines", "name": line.label, "x": x, "y": y}
    traces = []
    if line.band is not None:
        ring = np.concatenate((y + line.band[at], (y - line.band[at])[::-1]))
        shape = {"x": np.concatenate((x, x[::-1])), "y": np.maximum(ring, 1e-30) if log else ring, "line": {"width": 0}}
        pale = "rgba({},{},{},0.15)".format(*bytes.fromhex(line.color[1:]))
        fill = {"name": f"{line.label} ± 2 s.e.", "fill": "toself", "fillcolor": pale, "hoverinfo": "skip"}
        traces.append(base | shape | fill)
    few = len(at) <= DOTS and not line.aside
    dots = {"mode": "lines+markers", "marker": {"color": line.color, "size": 4}} if few else {}
    traces.append(base | {"line": {"color": line.color, "width": line.width, "dash": line.dash}} | dots)
    if line.doubt is not None and len(unsure := at[np.isfinite(line.doubt[at])]):
        x, y, half = step[unsure], line.y[unsure], line.doubt[unsure]
        ends = np.stack((y - half, y + half, np.full(len(y), np.nan)), 1).ravel()
        rods = {"x": np.repeat(x, 3), "y": ends, "line": {"color": line.color, "width": 1}, "hoverinfo": "skip"}
        hollow = {"symbol": "circle", "size": 7, "color": "white", "line": {"color": line.color, "width": 1.5}}
        traces.append(base | rods | {"name": f"{line.label} residual"})
        traces.append(base | {"mode": "markers", "x": x, "y": y, "marker": hollow, "name": f"{line.label} open"})
    return traces


def _span(lines: list[Line], log: bool) -> Span:
    """Between round numbers, what an axis reaches; as exponents of ten when it is logarithmic.

    A linear axis includes zero, and does not follow what was ten times as high before the newer half of the record.
    """
    reached = [line.y for line in lines if not line.aside]
    values = np.concatenate(reached or [np.empty(0)])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not values.any():  # nothing, or zeros alone
        return (-3.0, 0.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log:
        low, high = np.floor(4 * np.log10(low)) / 4 - 0.25, np.ceil(4 * np.log10(high)) / 4 + 0.25
        return float(low), float(max(high, low + 1.5))
    newer = max(float(np.nan_to_num(y[len(y) // 2 :]).max(initial=0.0)) for y in reached)
    high = min(high, 10 * newer) or high
    return -style.round_up(1.1 * max(-low, 0.0)), style.round_up(1.15 * max(high, 0.0))


def _on(i: int) -> Trace:
    return {"xaxis": f"x{i + 1 if i else ''}", "yaxis": f"y{i + 1 if i else ''}"}


def _place(whole: Layout, i: int, head: str, detail: str, across: Layout, up: Layout, filled: bool) -> None:
    """Put a panel's axes and its title where they belong, and say so where there is nothing to see yet."""
    column, row, on = COLUMNS[i // 3], ROWS[i % 3], _on(i)
    whole[on["xaxis"].replace("x", "xaxis")] = style.axis(column, on["yaxis"], **across)
    whole[on["yaxis"].replace("y", "yaxis")] = style.axis(row, on["xaxis"], **up)
    whole["annotations"].append(style.title(head, detail, column[0], row[1]))
    if not filled:
        middle = sum(column) / 2, sum(row) / 2
        whole["annotations"].append(style.note("not measured", *middle, "paper", "paper", GREY, xanchor="center"))


def _names(ends: list[tuple[Line, Span, bool]], step: Array, span: Span, log: bool) -> Trace:
    """Names beside the last points, kept apart; what lies beyond the panel is told with its value and an arrow."""
    words, heights, last = [], [], [np.flatnonzero(np.isfinite(line.y))[-1] for line, _, _ in ends]
    for at, (line, (low, high), logarithmic) in zip(last, ends):
        value = float(line.y[at])
        place = np.log10(value) if logarithmic and value > 0 else -np.inf if logarithmic else value
        beyond = "↑" if place > high else "↓" if place < low else ""
        words.append(f" {line.label} = {value:.3g} {beyond}" if beyond else f" {line.label}")
        heights.append(float(np.clip((place - low) / (high - low), 0.05, 0.95)))
    places = span[0] + (span[1] - span[0]) * np.array(style.apart(heights, 0.085, 0.05))
    colors = [line.color for line, _, _ in ends]
    return style.words_beside(step[last], 10**places if log else places, words, colors, "names")


def _mark(whole: Layout, step: int, words: str, last: float) -> None:
    """A dashed line at a step through every panel, and words at its top."""
    look = {"type": "line", "yref": "paper", "y1": ROWS[0][1], "line": {"color": PURPLE, "width": 1.3, "dash": "dash"}}
    whole["shapes"] += [
        look | {"xref": x, "x0": step, "x1": step, "y0": low} for x, low in (("x", 0.0), ("x4", ROWS[1][0]))
    ]
    more = {"xanchor": "right" if step > last / 2 else "left", "yanchor": "top"}
    whole["annotations"].append(style.note(f" {words} ", step, ROWS[0][1], "x", "paper", PLUM, **more))
