"""The square and the needle: where ∇L points with each of SAM's two approximations, with both, and with neither."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import copysign, hypot
from typing import Any, NamedTuple

import numpy as np

from samviz.claims.ablation import angle_to_top, ascent_cycle_near_low, cycle_multiplier
from samviz.figures.drawing import LOG, Array, Layout, Trace, add_axes, end_labels, line, marks, new_layout, note, text
from samviz.figures.style import BLUE, GHOST, GREEN, GREY, HALO, INK, PALE, VERMILION
from samviz.lab import Choice, Panel, PredictDirection, Slider
from samviz.lab.panel import Drawing

TOP, RHO, START = 3.0, 0.1, (0.06, 0.1)
STEPS = 12_000
STOPS = sorted({*np.geomspace(10, STEPS, 700).round().astype(int).tolist()})
TINY = 1e-150  # a component that underflowed to 0 would stay there, even where 0 is unstable
HALF, RING, NEEDLE, TRAIL = 1.5, 0.5, 0.75, 9  # half a frame; the iterate's contour; a needle's length; iterates
COLORS = {"worst": BLUE, "ascent": GREEN, "sam": VERMILION}
LABELS = {"worst": "L_Max", "ascent": "L_Asc", "sam": "SAM"}  # of the curves
CORNERS = {  # direction and its derivative: the centre in the picture, the update rule, and a title
    ("ascent", "kept"): ((0.0, 0.0), "ascent", "exact L_Asc"),
    ("ascent", "dropped"): ((3.7, 0.0), "sam", "SAM"),
    ("worst", "kept"): ((0.0, 3.7), "worst", "exact L_Max"),
    ("worst", "dropped"): ((3.7, 3.7), "worst", "the same update"),
}
ASK = PredictDirection(
    "You descend exactly on L_Asc (bottom left). In which direction does ∇L point in the end?",
    start=45,
    center=(0, 0),
    radius=1.2,
    replies=[
        (65, 115, "So it does: L_Asc has a term that depends on the direction only and is smallest at v_M."),
        (-25, 25, "That is the answer for SAM, which drops a term of this gradient."),
    ],
    otherwise="No direction between v₁ and v_M is stable for a small step.",
)


@lru_cache(64)
def path(rule: str, lr: float, ratio: float) -> Array:
    """Return the iterates (steps + 1, 2) of descent on ½xᵀAx, A = diag(3, 3·ratio), by "sam", "ascent" or "worst"."""
    low, (x, y), points = TOP * ratio, START, np.empty((STEPS + 1, 2))
    for t in range(STEPS + 1):
        points[t] = x, y
        p, q = TOP * x, low * y
        size = hypot(p, q)
        u, v = worst_direction(p, q, low) if rule == "worst" else (p / size, q / size)
        g, h = p + RHO * TOP * u, q + RHO * low * v
        if rule == "ascent":  # the term that SAM drops
            along = g * u + h * v
            g, h = g + RHO / size * TOP * (g - along * u), h + RHO / size * low * (h - along * v)
        x, y = x - lr * g, y - lr * h
        x, y = copysign(max(abs(x), TINY), x), copysign(max(abs(y), TINY), y)
    return points


def worst_direction(p: float, q: float, low: float) -> tuple[float, float]:
    """Return the unit vector v that maximizes L(x + ρv), where ∇L(x) = (p, q)."""
    # There ∇L(x + ρv) = μv, so v = (p/s, q/(s + ρ(λ₁ − λ_M))) with s = μ − ρλ₁. Newton's method finds s from ‖v‖ = 1.
    gap, s = RHO * (TOP - low), hypot(p, q)
    for _ in range(400):
        u, v = p / s, q / (s + gap)
        size = hypot(u, v)
        new = s + (1 - 1 / size) * size**3 / (u * u / s + v * v / (s + gap))
        if abs(new - s) <= 1e-14 * s:
            break
        s = new if new > 0 else s / 10
    return u, v


class Needle(NamedTuple):
    """The direction of ∇L along a run."""

    angle: Array  # (steps + 1,), degrees from v₁
    settled: int  # the first step from which on it stays within 5° of its end; STEPS if it settles nowhere
    stable: str  # the direction that is stable for the rule: "v₁", "v_M", or "" for neither


@lru_cache(64)
def needle(rule: str, lr: float, ratio: float) -> Needle:
    """Return the needle of a run."""
    low = TOP * ratio
    angle = angle_to_top(path(rule, lr, ratio), (TOP, low))
    away = np.flatnonzero(np.abs(angle - angle[-1]) > 5)
    settled = int(away[-1]) + 1 if len(away) and away[-1] < 0.98 * STEPS else STEPS * bool(len(away))
    if rule != "ascent" or abs(cycle_multiplier(rule, lr, TOP, low)) < 1:
        return Needle(angle, settled, "v₁")
    return Needle(angle, settled, "v_M" if settled < STEPS and angle[-1] > 45 else "")


def turning_points(lr: float, ratio: float) -> tuple[int, int]:
    """Return the steps at which SAM's needle swings to v₁ and that of L_Asc is thrown back; 0, 0 if they do not."""
    sam, ascent = needle("sam", lr, ratio), needle("ascent", lr, ratio)
    swing, thrown = np.flatnonzero(sam.angle > 45)[-1:] + 1, np.flatnonzero(ascent.angle < 45)[-1:] + 1
    both = ascent.stable == "v_M" and len(swing) and len(thrown) and thrown[0] > swing[0] > 50
    return (int(swing[0]), int(thrown[0])) if both else (0, 0)


def square_panel() -> Panel:
    """Show where ∇L points when the worst or the ascent direction is used, and its derivative is kept or dropped.

    Source: Section 4, Table 1, Theorem 4.8; the runs are those of a quadratic with λ₁ = 3.

    >>> panel = square_panel()
    >>> panel.set(guess="skipped", derivative="dropped")
    >>> panel.sentence.split(". ")[0]
    'SAM: without the last term of L_Asc, v₁ is stable'
    """
    rates = [0.001, 0.002, 0.003, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2]
    lows = [0.6, 0.75, 0.9, 1.0, 1.2, 1.5, 1.8, 2.1, 2.4]
    moments = [min(STOPS, key=lambda stop: abs(stop - t)) for t in (10, 300, 739, 815, 827, STEPS)]
    directions, derivatives = {"worst": "worst", "ascent": "ascent"}, {"kept": "kept", "dropped": "dropped"}
    return Panel(
        draw_square,
        {
            "direction": Choice("direction", "ascent", directions, book=list(directions)),
            "derivative": Choice("its derivative", "kept", derivatives, book=list(derivatives)),
            "step": Slider("step", STEPS, STOPS, integer=True, book=moments),
            "lr": Slider("η (λ₁ = 3)", 0.001, rates, book=[0.001, 0.2]),
            "low": Slider("λ_M", 1.0, lows),
        },
        predict=ASK,
        description="Four bowls, for the worst or the ascent direction with its derivative kept or dropped, each with "
        "the iterate and a needle along the gradient; next to them the angle of each needle against the step",
    )


def draw_square(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the start of the runs, again while they are computed, and then the chosen step."""
    chosen, lr, ratio = (values["direction"], values["derivative"]), values["lr"], values["low"] / TOP
    start = square_figure(chosen, None, lr, ratio), "All four runs start at the same point, the dot in each bowl."
    yield start
    for rule in COLORS:
        needle(rule, lr, ratio)
        yield start
    yield square_figure(chosen, int(values["step"]), lr, ratio), describe_square(chosen, lr, ratio)


def square_figure(chosen: tuple[str, str], step: int | None, lr: float, ratio: float) -> dict[str, Any]:
    """Draw the corners at a step next to the angles of all needles; None draws the start without any result."""
    layout = new_layout(600, left=34, right=4, top=28, bottom=40)
    x: Layout = {"range": [-2.05, 5.3], "visible": False, "constrain": "domain", "constraintoward": "right"}
    y: Layout = {"range": [-1.6, 6.05], "visible": False, "constrain": "domain", "constraintoward": "top"}
    axes = add_axes(layout, 1, (0.0, 0.55), (0, 1), ("", ""), x=x, y=y | {"scaleanchor": "x"})
    traces = []
    for size, color in zip((1.42, 0.95, RING, 0.25), (PALE[2][1], PALE[1][1], PALE[1][1], PALE[0][1])):
        angle = np.linspace(0, 2 * np.pi, 61)
        ring = size * np.stack((ratio**0.5 * np.cos(angle), np.sin(angle)))
        rings = [np.append(ring, [[np.nan]] * 2, 1) + np.array(center)[:, None] for center, *_ in CORNERS.values()]
        traces.append(through(np.hstack(rings).T, "level", "#8fb0cc", 0.7, fill="toself", fillcolor=color))
    for key in CORNERS:
        traces += corner_traces(key, key == chosen, step, lr, ratio)
    for (_, y0), direction in (((0, 3.7), "worst"), ((0, 0), "ascent")):
        label = f"<b>{direction}</b> direction"
        layout["annotations"].append(note(label, -1.8, y0, "x", "y", GREY, xanchor="center", textangle=-90))
    heads, middle = ["its derivative <b>kept</b>", "its derivative <b>dropped</b>"], "middle center"
    traces.append(text([0, 3.7], [5.85] * 2, heads, "heads", GREY, middle))
    same = step is not None and needle("ascent", lr, ratio).stable == "v₁"
    signs = ["?", "?"] if step is None else ["=", "=" if same else "≠"]
    traces.append(text([1.85] * 2, [3.7, 0], signs, "signs", [INK, INK if same else VERMILION], middle, size=30))
    curves = angle_traces(layout, chosen, step, lr, ratio)
    return {
        "data": [trace | {"hoverinfo": "skip"} for trace in (*(t | axes for t in traces), *curves)],
        "layout": layout,
    }


def corner_traces(key: tuple[str, str], chosen: bool, step: int | None, lr: float, ratio: float) -> list[Trace]:
    """Draw a corner: its frame and axes, the latest iterates, the needle, the turning force and the result."""
    place, rule, title = CORNERS[key]
    color, center, spectrum = COLORS[rule], np.array(place), np.array([TOP, TOP * ratio])
    points = np.array([START]) if step is None else path(rule, lr, ratio)[max(0, step - TRAIL + 1) : step + 1]
    at = center + points * RING / np.sqrt((points**2 @ spectrum / spectrum[1]).max())  # the view follows the iterate
    turned = np.arctan2(*(points * spectrum).T[::-1])
    run = None if step is None else needle(rule, lr, ratio)
    corners = center + HALF * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    traces = [through(corners, "frame", INK if chosen else GHOST, 3.5 if chosen else 1)]
    for name, end in (("v₁", (HALF, 0)), ("v_M", (0, HALF))):
        stable = run is not None and name == run.stable
        look = (color, 3, "solid", 0.45) if stable else (GHOST, 1, "dot", 1.0)
        traces.append(through(center + np.outer([-1, 1], end), f"axis {name}", *look[:3], opacity=look[3]))
    x, y = (center + np.array([[HALF - 0.04, 0], [0.04, HALF - 0.03]])).T
    traces.append(text(x, y, ["v₁", "v_M"], "directions", GREY, ["top left", "bottom right"]))
    thread = {"color": color, "width": 1, "dash": "dot"}
    traces.append(marks(at[:, 0], at[:, 1], "iterates", color, 5, mode="lines+markers", line=thread, opacity=0.6))
    for age, opacity in ((2, 0.35), (1, 1.0))[-len(at) :]:
        traces.append(arrow(at[-age], turned[-age], color, opacity))
    traces.append(marks(at[-1:, 0], at[-1:, 1], "iterate", color, 11, edge=("white", 1.5)))
    if run and rule != "worst" and abs(force := np.sin(2 * turned[-1])) > 0.1:
        traces.append(turning_force(at[-1], turned[-1], force, rule == "ascent"))
    result = ""
    if run and step == STEPS == run.settled:
        result = "settles nowhere"
    elif run and run.settled <= (step or 0):
        result = "∇L → v_M:  λ_M falls" if run.angle[-1] > 45 else "∇L → v₁:  λ₁ falls"
    texts = [f"<b>{title}</b>", f"<b>{result}</b>"]
    names = text(
        [center[0]] * 2, center[1] + [HALF + 0.22, 0.2 - HALF], texts, "result", color, "middle center", size=12
    )
    return [*traces, names | {"textfont": names["textfont"] | {"shadow": HALO}}]


def through(points: Array, *look: Any, **more: Any) -> Trace:
    """Return a line through points (points, 2)."""
    return line(points[:, 0], points[:, 1], *look, **more)


def arrow(tail: Array, angle: float, color: str, opacity: float) -> Trace:
    """Draw a needle from a point."""
    half = np.array([[0, 0.035], [0.5, 0.035], [0.5, 0.13], [NEEDLE, 0]])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline = tail + np.concatenate((half, half[::-1] * [1, -1])) @ turn
    return through(outline, "needle", color, 0, fill="toself", fillcolor=color, opacity=opacity)


def turning_force(tail: Array, angle: float, force: float, kept: bool) -> Trace:
    """Draw the force of the last term of L_Asc as an arc from the needle towards v_M: dotted where it is dropped."""
    turn = angle + np.sign(force) * np.linspace(0.2, 0.5 + 0.6 * abs(force), 20)
    arc = 0.62 * np.stack((np.cos(turn), np.sin(turn)), 1)
    barb, side = 0.12 * (arc[-3] - arc[-1]) / np.linalg.norm(arc[-3] - arc[-1]), 0.1 * arc[-1]
    points = np.array([*arc, [np.nan] * 2, arc[-1] + barb + side, arc[-1], arc[-1] + barb - side])
    return through(tail + points, "turning force", *((INK, 3, "solid") if kept else (GREY, 2, "dot")))


def angle_traces(layout: Layout, chosen: tuple[str, str], step: int | None, lr: float, ratio: float) -> list[Trace]:
    """Draw the angle of each needle from v₁ against the step, with notes at the moments to look at."""
    y: Layout = {"range": [-8, 104], "tickvals": [0, 45, 90], "ticktext": ["<b>v₁</b>", "45°", "<b>v_M</b>"]}
    x: Layout = {"range": [1, float(np.log10(STEPS))], "label": "step", **LOG, "dtick": 1}
    axes = add_axes(layout, 2, (0.62, 0.91), (0.08, 0.93), ("where the needle points", ""), x=x, y=y)
    if step is None:
        return [line([10, STEPS], [np.nan] * 2, "no angle yet", GREY) | axes]
    traces, labels, t = [line([step] * 2, [-8, 104], "now", GREY, 1, "dash")], [], np.array(STOPS)
    for rule, label in LABELS.items():
        angle, color = needle(rule, lr, ratio).angle, COLORS[rule]
        traces.append(line(t, angle[t], f"angle {rule}", color, 3.5 if rule == CORNERS[chosen][1] else 2))
        traces.append(marks([step], angle[[step]], f"now {rule}", color, 10, edge=("white", 1.5)))
        labels.append((STEPS, float(angle[-1]), label, color))
    swing, thrown = turning_points(lr, ratio)
    if swing:
        end: Layout = {"xref": "x2", "yref": "y2", "xanchor": "right", "align": "right"}
        layout["annotations"] += [
            note("phase I: all turn to v_M", 1.05, 98, "x2", "y2", GREY),
            note("L_Asc is<br>thrown back", np.log10(thrown) - 0.1, 17, color=GREEN, **end),
            note("SAM swings<br>to v₁", np.log10(swing) - 0.05, 3, color=VERMILION, **end),
        ]
    return [trace | axes for trace in (*traces, end_labels(labels, layout["yaxis2"], "names", 0.07, size=13))]


def describe_square(chosen: tuple[str, str], lr: float, ratio: float) -> str:
    """Say what the chosen corner shows, and when the needles turn."""
    rule, low, run = CORNERS[chosen][1], TOP * ratio, needle("ascent", lr, ratio)
    predicted = 90 - float(angle_to_top(ascent_cycle_near_low(lr, RHO, TOP, low), (TOP, low)))
    where = f"settles {run.angle[-1]:.0f}° from v₁" if run.settled < STEPS else "settles neither at v₁ nor near v_M"
    said = {
        "worst": "Exact L_Max: ∇L turns to v₁. At the worst direction, the derivative of the direction contributes "
        "nothing to the gradient, so dropping it changes nothing.",
        "sam": "SAM: without the last term of L_Asc, v₁ is stable. ∇L turns to v₁.",
        "v_M": f"Exact L_Asc: its last term turns ∇L to v_M, up to {90 - run.angle[-1]:.1f}° (predicted "
        f"{predicted:.1f}°), and closer for a smaller η.",
        "v₁": f"Exact L_Asc: at ηλ₁ = {lr * TOP:g} the step is so large that v₁ is stable. L_Asc ends like SAM.",
        "": f"Exact L_Asc: at ηλ₁ = {lr * TOP:g} its needle {where}. To settle near v_M it needs a smaller η.",
    }[run.stable if rule == "ascent" else rule]
    swing, thrown = turning_points(lr, ratio)
    if swing:
        said += f" SAM's needle swings to v₁ at step {swing:,}; that of L_Asc follows and is thrown back at {thrown:,}."
    said += " The thick line is the stable direction."
    return f"{said} The arc is the force of the last term of L_Asc, dotted where SAM drops it."
