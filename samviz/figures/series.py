"""Loss, sharpness and alignment against the step, on one axis, with a mark where a setting changed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.style import (
    BLUE,
    GHOST,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PLUM,
    PURPLE,
    SKY,
    VERMILION,
    Layout,
    Trace,
    apart,
    axis,
    round_up,
    title,
    words_beside,
)

if TYPE_CHECKING:
    from samviz.dynamics import History, Settings

POINTS = 500  # per curve: more than the screen has columns
ROWS = {"y": (0.74, 0.97), "y2": (0.38, 0.645), "y3": (0.0, 0.285)}
TITLES = (
    ("loss", "full batch"),
    ("sharpness", "Hessian eigenvalues and trace"),
    ("alignment", "of ∇L with the top of the Hessian"),
)
TOP = ((VERMILION, 2.5), (ORANGE, 1.8), (GREY, 1.8))  # colour and width of λ₁, λ₂ and λ₃
MARKS = 12  # changes of settings that are marked, the latest
ESTIMATE = "uᵀHu, estimate"  # from SAM's two gradients, u along the first
SUBSCRIPTS = "₁₂₃₄₅₆₇₈₉"
Array = NDArray[Any]
Changes = Sequence[tuple[int, "Settings"]]


def series(
    history: History,
    edge: Array,
    changes: Changes,
    ghost: History | None,
    *,
    estimates: Array,
    width: float,
    samples: int,
) -> tuple[list[Trace], Layout]:
    """Traces and layout of the three time series, for one run.

    Args:
        history: the record, at least one row; thinned already.
        edge: (rows,), the predicted edge of stability.
        changes: (step, settings) from the first settings on.
        ghost: the record of an earlier run to compare with, or None.
        estimates: (points, 2), step and SAM's own estimate of uᵀHu along its gradient.
        width: share of the picture's width that the series take, 0 to 1.
        samples: n, to write a full batch as a number.

    Returns:
        Traces on the axes x…x3 / y…y3, and the layout's axes and annotations.
    """
    h = history.to_dict()
    step = h["step"].astype(float)
    last = max(step[-1], 1.0, *estimates[-1:, 0])
    longest = max(last, float(ghost["step"][-1])) if ghost else last
    end = round_up(max(longest * 1.17, 100.0))  # room for the labels at the curves' ends
    eigenvalues = h["eigenvalues"]  # (rows, k)
    traces: list[Trace] = []

    def curve(y: Array, panel: str, color: str, name: str, size: float = 2, **more: Any) -> None:
        line = {"color": color, "width": size} | more.pop("line", {})
        at = {"yaxis": panel, "xaxis": panel.replace("y", "x")}
        traces.append({"type": "scatter", "mode": "lines", "x": step, "y": y, "name": name, "line": line} | at | more)

    for name, panel in (("loss", "y"), ("eigenvalues", "y2"), ("cos_eigenspace", "y3")):
        old = ghost.to_dict() if ghost else {"step": step[:0], name: h[name][:0]}
        y = old[name] if old[name].ndim == 1 else old[name][:, 0]
        curve(y, panel, GHOST, f"last run: {name}", 3, x=old["step"].astype(float))
    curve(h["loss"], "y", INK, "loss")
    known = np.isfinite(h["trace"])
    trace, error = h["trace"][known], h["trace_error"][known]
    band = np.concatenate((trace + 2 * error, (trace - 2 * error)[::-1]))
    ring = np.concatenate((step[known], step[known][::-1]))
    fill = {"fill": "toself", "fillcolor": "rgba(0,129,94,0.15)", "hoverinfo": "skip"}
    curve(band, "y2", GREEN, "trace ± 2 s.e.", 0, x=ring, **fill)
    curve(trace, "y2", GREEN, "trace", 1.5, x=step[known], line={"dash": "dot"})
    for i, (color, size) in reversed([*enumerate(TOP[: eigenvalues.shape[1]])]):
        curve(eigenvalues[:, i], "y2", color, f"λ{SUBSCRIPTS[i]}", size)
    dots = {"color": VERMILION, "size": 4, "symbol": "circle-open"}
    curve(estimates[:, 1], "y2", VERMILION, ESTIMATE, x=estimates[:, 0], mode="markers", marker=dots)
    curve(2 / np.asarray(h["lr"], float), "y2", PURPLE, "2/η", 1.5, line={"dash": "dash"})
    curve(edge, "y2", BLUE, "SAM's edge", 1.5, line={"dash": "longdashdot"})
    curve(h["rayleigh"], "y3", GREEN, "Rayleigh ratio", 1.5, line={"dash": "dot"})
    curve(h["cos_v1"], "y3", SKY, "cos with v₁", 1.5)
    curve(h["cos_eigenspace"], "y3", BLUE, "cos with the top eigenspace", 2.5)

    top, log = _sharpness_range(eigenvalues, trace)
    axes: Layout = {"annotations": []}
    for (name, domain), words in zip(ROWS.items(), TITLES):
        look: Layout = {"showticklabels": False, "matches": "x3"}
        if name == "y3":
            look = {"title": {"text": "step", "standoff": 4}}
        axes["annotations"].append(title(*words, 0, domain[1]))
        axes[f"xaxis{name[1:]}"] = axis((0, width), name, range=[0, end], **look)
        axes[f"yaxis{name[1:]}"] = axis(domain, name.replace("y", "x"))
    low, high = _decades(h["loss"] if not ghost else np.concatenate((h["loss"], ghost["loss"])))
    decades: Layout = {"type": "log", "exponentformat": "power", "dtick": max(1, round((high - low) / 4))}
    axes["yaxis"] |= decades | {"range": [low, high]}
    if log:
        ticks = [m * 10.0**e for e in range(-9, 10) for m in (1, 2, 5)]
        axes["yaxis2"] |= {"type": "log", "tickvals": ticks, "range": [np.log10(top[0]), np.log10(top[1])]}
    else:
        axes["yaxis2"] |= {"rangemode": "tozero", "range": [0, top[1]]}
    axes["yaxis3"] |= {"range": [-0.06, 1.08], "tickvals": [0, 0.5, 1]}
    traces += _end_labels(h, edge, trace, estimates, last, top, log)
    traces += _change_marks(axes, changes, end, samples)
    _mark_gap(axes, h, end)
    return traces, axes


def _sharpness_range(eigenvalues: Array, trace: Array) -> tuple[tuple[float, float], bool]:
    """(lowest, highest) value of the sharpness axis, and whether it is logarithmic: when the trace dwarfs λ₁."""
    first = eigenvalues[:, 0]
    high = float(max(np.nanmax(first), np.nanmax(trace) if len(trace) else 0.0, 1e-12))
    if not (len(trace) and trace[0] > 4 * first[0] > 0):
        return (0.0, round_up(high * 1.05)), False
    low = float(eigenvalues[eigenvalues > 0].min())
    return (10 ** np.floor(np.log10(max(low, high * 1e-4) / 1.2)), round_up(high * 1.2)), True


def _decades(loss: Array) -> list[float]:
    """Range of the loss axis in powers of ten, wide enough to show one."""
    positive = loss[np.isfinite(loss) & (loss > 0)]
    if positive.size == 0:
        return [-16.0, 0.0]
    low, high = np.log10(positive.min()), np.log10(positive.max())
    low, high = np.floor(4 * low) / 4 - 0.25, np.ceil(4 * high) / 4 + 0.25  # quarters of a decade
    high = max(high, low + 1.25)
    return [float(low), float(high + 0.2 * (high - low))]  # room for the words of the marks


def _end_labels(
    h: dict[str, Any], edge: Array, trace: Array, estimates: Array, last: float, top: tuple[float, float], log: bool
) -> list[Trace]:
    """Names at the right end of the curves, kept apart from each other; a line above the panel is told with ↑."""
    first = h["eigenvalues"][-1]
    wanted = [(float(value), f"λ{i}", color) for value, i, (color, _) in zip(first, SUBSCRIPTS, TOP)]
    if h["rho"][-1] and h["rule"][-1] == "sam" and np.isfinite(edge[-1]):
        if abs(edge[-1] - first[0]) < 0.03 * first[0]:  # prediction and measurement: one label for both
            wanted[0] = (float(first[0]), "λ₁ at SAM’s edge", VERMILION)
        else:
            wanted.append((float(edge[-1]), "SAM’s edge", BLUE))
    if len(trace):
        wanted.append((float(trace[-1]), "trace", GREEN))
    wanted.append((2 / float(h["lr"][-1]), "2/η", PURPLE))
    latest = estimates[estimates[:, 0] > 0.9 * last, 1][-25:]
    if len(latest):
        wanted.append((float(np.median(latest)), ESTIMATE, VERMILION))
    low, high = (np.log10(top[0]), np.log10(top[1])) if log else top
    labels = []
    for value, text, color in wanted:
        if value > top[1]:
            text, value = f"{text} = {value:.3g} ↑", top[1]
        at = (np.log10(value) if value > 0 else low) if log else value
        labels.append((min(max(at, low), high - 0.05 * (high - low)), text, color))  # below the panel's title
    heights = np.array(apart([at for at, _, _ in labels], 0.1 * (high - low), low))
    sharpness = _texts(labels, 10**heights if log else heights, last, "y2")
    ends = [float(np.nan_to_num(h[name][-1])) for name in ("cos_eigenspace", "cos_v1", "rayleigh")]
    names = [(0.0, "top eigenspace", BLUE), (0.0, "v₁ alone", SKY), (0.0, "Rayleigh", GREEN)]
    return [sharpness, _texts(names, np.array(apart(ends, 0.13, 0.0)), last, "y3")]


def _texts(labels: list[tuple[float, str, str]], heights: Array, last: float, panel: str) -> Trace:
    """Words beside the last point of a panel's curves."""
    texts, colors = [f" {text}" for _, text, _ in labels], [color for _, _, color in labels]
    words = words_beside(np.full(len(labels), last), heights, texts, colors, f"labels {panel}")
    return words | {"xaxis": panel.replace("y", "x"), "yaxis": panel}


def _change_marks(axes: Layout, changes: Changes, end: float, samples: int) -> list[Trace]:
    """One dashed line through all three panels for each change of settings; a drag counts as one change.

    They are traces, not shapes: the layout stays as it is, and a slider's move is drawn sooner.
    """
    last = -np.inf
    groups: list[tuple[int, Settings, Settings]] = []
    for (_, old), (step, new) in pairwise(changes):
        if step - last > 0.03 * end:
            groups.append((step, old, new))
        else:
            groups[-1] = (*groups[-1][:2], new)
        last = step
    groups = groups[-MARKS:]
    steps = np.array([step for step, _, _ in groups], float)
    traces: list[Trace] = []
    for name in ROWS:
        low, high = axes[f"yaxis{name[1:]}"]["range"]
        ends = np.array([low, high, np.nan])
        if axes[f"yaxis{name[1:]}"].get("type") == "log":
            ends = 10**ends
        line = {"color": PURPLE, "width": 1.3, "dash": "dash"}
        on = {"xaxis": name.replace("y", "x"), "yaxis": name, "hoverinfo": "skip", "name": f"changes {name}"}
        at = {"x": np.repeat(steps, 3), "y": np.tile(ends, len(steps))}
        traces.append({"type": "scatter", "mode": "lines", "line": line} | at | on)
    low, high = axes["yaxis"]["range"]
    crowded = np.diff(steps, prepend=-np.inf) < 0.17 * end
    rows = high - 0.22 * (high - low) * (crowded & (np.arange(len(groups)) % 2 == 1))
    texts = [" <br> ".join(_difference(old, new, samples)) for _, old, new in groups]
    sides = ["bottom left" if step > 0.75 * end else "bottom right" for step, _, _ in groups]
    label = {"text": [f" {text} " for text in texts], "textposition": sides, "textfont": {"color": PLUM}}
    where = {"xaxis": "x", "yaxis": "y", "hoverinfo": "skip", "name": "changes"}
    return [*traces, {"type": "scatter", "mode": "text", "x": steps, "y": 10**rows} | label | where]


def _difference(old: Settings, new: Settings, samples: int) -> list[str]:
    """What changed, in symbols: ρ 0 → 0.02."""
    names = (("rule", "rule"), ("rho", "ρ"), ("lr", "η"), ("batch_size", "batch"))
    told = []
    for name, symbol in names:
        a, b = getattr(old, name), getattr(new, name)
        if a != b:
            a, b = (samples if v is None else v for v in (a, b))
            told.append(f"{symbol} {a if isinstance(a, str) else f'{a:g}'} → {b if isinstance(b, str) else f'{b:g}'}")
    return told


def _mark_gap(panel: Layout, h: dict[str, Any], end: float) -> None:
    """Point at the place where λ₁ met λ₂ for good, and say what that means."""
    closed = int(np.flatnonzero(h["closing"] == 0).max(initial=-1)) + 1  # first row after which it stays so
    if closed == len(h["step"]):
        return
    step = float(h["step"][closed])
    panel["annotations"].append(
        {
            "text": "λ₁ meets λ₂:<br>v₁ is no longer one direction",
            "x": step,
            "y": 0.97,
            "xref": "x3",
            "yref": "y3",
            "ax": 70 if step < end / 2 else -70,
            "ay": 58,
            "showarrow": True,
            "arrowhead": 0,
            "arrowcolor": GREY,
            "font": {"size": 11},
            "bgcolor": "rgba(255,255,255,0.8)",
        }
    )
