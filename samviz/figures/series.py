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
    WORDS,
    Layout,
    Trace,
    apart,
    axis,
    title,
)

if TYPE_CHECKING:
    from samviz.dynamics import History, Settings

POINTS = 500  # per curve: more than the screen has columns
ROWS = {"y": (0.74, 0.97), "y2": (0.38, 0.645), "y3": (0.0, 0.285)}  # loss, sharpness, alignment
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
    samples: int = 0,
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
        Traces on the axes x…x3 / y…y3, and the layout's axes, shapes and annotations.
    """
    h = history.to_dict()
    step = h["step"].astype(float)
    last = max(step[-1], 1.0, *estimates[-1:, 0])
    longest = last if ghost is None or not len(ghost) else max(last, float(ghost["step"][-1]))
    end = _round_up(max(longest * 1.17, 100.0))  # room for the labels at the curves' ends
    eigenvalues = h["eigenvalues"]  # (rows, k)
    shown = [VERMILION, ORANGE, GREY]
    traces: list[Trace] = []

    def curve(y: Array, panel: str, color: str, name: str, size: float = 2, **more: Any) -> None:
        line = {"color": color, "width": size} | more.pop("line", {})
        at = {"yaxis": panel, "xaxis": panel.replace("y", "x")}
        traces.append({"type": "scatter", "mode": "lines", "x": step, "y": y, "name": name, "line": line} | at | more)

    for name, panel in (("loss", "y"), ("eigenvalues", "y2"), ("cos_eigenspace", "y3")):
        old = ghost.to_dict() if ghost is not None and len(ghost) else {"step": step[:0], name: h[name][:0]}
        y = old[name] if old[name].ndim == 1 else old[name][:, 0]
        curve(y, panel, GHOST, f"last run: {name}", 3, x=old["step"].astype(float))
    curve(h["loss"], "y", INK, "loss")
    known = np.isfinite(h["trace"])
    trace, error = h["trace"][known], h["trace_error"][known]
    band = np.concatenate((trace + 2 * error, (trace - 2 * error)[::-1]))
    ring = np.concatenate((step[known], step[known][::-1]))
    curve(
        band,
        "y2",
        GREEN,
        "trace ± 2 s.e.",
        0,
        x=ring,
        fill="toself",
        fillcolor="rgba(0,129,94,0.15)",
        hoverinfo="skip",
    )
    curve(trace, "y2", GREEN, "trace", 1.5, x=step[known], line={"dash": "dot"})
    for i in reversed(range(min(3, eigenvalues.shape[1]))):
        curve(eigenvalues[:, i], "y2", shown[i], f"λ{SUBSCRIPTS[i]}", 2.5 if i == 0 else 1.8)
    dots = {"color": VERMILION, "size": 4, "symbol": "circle-open"}
    curve(estimates[:, 1], "y2", VERMILION, ESTIMATE, x=estimates[:, 0], mode="markers", marker=dots)
    curve(2 / np.asarray(h["lr"], float), "y2", PURPLE, "2/η", 1.5, line={"dash": "dash"})
    curve(edge, "y2", BLUE, "SAM's edge", 1.5, line={"dash": "longdashdot"})
    curve(h["rayleigh"], "y3", GREEN, "Rayleigh ratio", 1.5, line={"dash": "dot"})
    curve(h["cos_v1"], "y3", SKY, "cos with v₁", 1.5)
    curve(h["cos_eigenspace"], "y3", BLUE, "cos with the top eigenspace", 2.5)

    top, log = _sharpness_range(eigenvalues, trace)
    axes: Layout = {"shapes": [], "annotations": []}
    for name, text, detail in (
        ("y", "loss", "full batch"),
        ("y2", "sharpness", "Hessian eigenvalues and trace"),
        ("y3", "alignment", "of ∇L with the top of the Hessian"),
    ):
        axes["annotations"].append(title(text, detail, 0, ROWS[name][1]))
    for name, domain in ROWS.items():
        x = name.replace("y", "x")
        axes[f"xaxis{x[1:]}"] = axis((0, width), name, range=[0, end], showticklabels=name == "y3", matches="x3")
        axes[f"yaxis{name[1:]}"] = axis(domain, x)
    axes["xaxis3"] |= {"title": {"text": "step", "standoff": 4}}
    del axes["xaxis3"]["matches"]
    low, high = _decades(h["loss"], ghost)
    axes["yaxis"] |= {"type": "log", "exponentformat": "power", "dtick": max(1, round((high - low) / 4))}
    axes["yaxis"]["range"] = [low, high]
    axes["yaxis2"] |= (
        {"type": "log", "tickvals": [m * 10.0**e for e in range(-9, 10) for m in (1, 2, 5)]}
        if log
        else {"rangemode": "tozero"}
    )
    axes["yaxis2"]["range"] = [np.log10(top[0]), np.log10(top[1])] if log else [0, top[1]]
    axes["yaxis3"] |= {"range": [-0.06, 1.08], "tickvals": [0, 0.5, 1]}
    traces += _end_labels(h, edge, trace, estimates, last, top, log)
    traces += _change_marks(axes, changes, end, samples)
    _mark_gap(axes, h, end)
    return traces, axes


def _sharpness_range(eigenvalues: Array, trace: Array) -> tuple[tuple[float, float], bool]:
    """(lowest, highest) value of the sharpness axis, and whether it is logarithmic: when the trace dwarfs λ₁."""
    first = eigenvalues[:, 0]
    high = float(max(np.nanmax(first), np.nanmax(trace) if len(trace) else 0.0, 1e-12))
    log = bool(len(trace) and trace[0] > 4 * first[0] > 0)
    positive = eigenvalues[eigenvalues > 0]
    low = float(positive.min()) if positive.size else high / 10
    if log:
        return (10 ** np.floor(np.log10(max(low, high * 1e-4) / 1.2)), _round_up(high * 1.2)), log
    return (0.0, _round_up(high * 1.05)), log


def _round_up(value: float) -> float:
    """The next of a few round numbers: axes that stand still for many frames are drawn at half the price."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * next(m for m in (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if m * power >= value * (1 - 1e-9)))


def _decades(loss: Array, ghost: History | None) -> list[float]:
    """Range of the loss axis in powers of ten, wide enough to show one."""
    all_losses = loss if ghost is None or not len(ghost) else np.concatenate((loss, ghost["loss"]))
    positive = all_losses[np.isfinite(all_losses) & (all_losses > 0)]
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
    wanted = [(float(first[i]), f"λ{SUBSCRIPTS[i]}", (VERMILION, ORANGE, GREY)[i]) for i in range(min(3, len(first)))]
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
    return {
        "type": "scatter",
        "mode": "text",
        "x": np.full(len(labels), last),
        "y": heights,
        "text": [f" {text}" for _, text, _ in labels],
        "textposition": "middle right",
        "textfont": {"color": [WORDS.get(color, color) for _, _, color in labels], "size": 12},
        "cliponaxis": False,
        "hoverinfo": "skip",
        "xaxis": panel.replace("y", "x"),
        "yaxis": panel,
        "name": f"labels {panel}",
    }


def _change_marks(axes: Layout, changes: Changes, end: float, samples: int) -> list[Trace]:
    """One dashed line through all three panels for each change of settings; a drag counts as one change.

    They are traces, not shapes: the layout stays as it is, and a slider's move is drawn sooner.
    """
    last_step, before = -np.inf, None
    groups: list[tuple[int, Any, Any]] = []
    for (_, old), (step, new) in pairwise(changes):
        if step - last_step > 0.03 * end:
            before = old
            groups.append((step, before, new))
        else:
            groups[-1] = (groups[-1][0], before, new)
        last_step = step
    groups = groups[-MARKS:]
    steps = np.array([step for step, _, _ in groups], float)
    traces: list[Trace] = []
    for name in ROWS:
        low, high = axes[f"yaxis{name[1:]}"]["range"]
        ends = np.array([low, high, np.nan])
        if axes[f"yaxis{name[1:]}"].get("type") == "log":
            ends = 10**ends
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": np.repeat(steps, 3),
                "y": np.tile(ends, len(steps)),
                "line": {"color": PURPLE, "width": 1.3, "dash": "dash"},
                "hoverinfo": "skip",
                "xaxis": name.replace("y", "x"),
                "yaxis": name,
                "name": f"changes {name}",
            }
        )
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
    closing = np.asarray(h["closing"], bool)
    if not closing[-1]:
        return
    still = len(closing) - int(np.argmin(closing[::-1])) if not closing.all() else 0
    step = float(h["step"][still])
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
