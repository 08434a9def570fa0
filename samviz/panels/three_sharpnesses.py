"""The three notions of sharpness: what each measures at a point that is dragged over a bowl."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from samviz.figures import drawing as draw
from samviz.figures.drawing import LOG, Array, Layout, Trace, line, marks, text
from samviz.figures.style import BLUE, GREEN, GREY, HALO, INK, VERMILION
from samviz.lab.controls import Choice, Slider, decades
from samviz.lab.panel import Drawing, Panel
from samviz.lab.predictions import PredictDirection

TOP = 2.0  # λ₁ at the minimum of each bowl
FLOOR_CURVATURE = 0.5  # of the bent bowl, whose floor is x₁ = FLOOR_CURVATURE·x₂²
EXTENT = 1.4  # the bowl is drawn on [−1.4, 1.4]²
BOWLS = {"round": "quadratic", "bent": "bent: not quadratic", "valley": "valley: minima along a line"}
ANGLES = np.linspace(0, 2 * np.pi, 720, endpoint=False)
CIRCLE = np.stack((np.cos(ANGLES), np.sin(ANGLES)), 1)  # (angles, 2)
RADII = np.logspace(-2, 0, 41)
NOTIONS = ("worst", "ascent", "average")
COLORS = dict(zip(NOTIONS, (VERMILION, BLUE, GREEN)))
MARKS = dict(zip(NOTIONS, (("triangle-up", 20), ("diamond", 9), ("circle", 11))))  # sizes differ: marks may coincide
LIMITS = ("λ₁/2", "λ<sub>M</sub>/2", "Tr/(2D)")
FIRST_ANGLE = -90.0  # degrees at which the axis of the angles begins, away from v₁
FIRST_RHO, FIRST_POINT = 0.3, (0.17, 0.95)  # on the slope, where the worst and the ascent rise nearly agree
STEEPEST = (
    "This is v₁, to which the worst direction turns. The ascent direction is that of ∇L, and ∇L = ∇²L·x has the same "
    "direction at every point of the dotted line."
)
PREDICTION = PredictDirection(
    "The point moves along the dotted line to the minimum. In which direction does the ascent direction (blue) point "
    "when it is almost there?",
    start=120.0,
    center=(0.0, 0.0),
    radius=FIRST_RHO,
    period=360,
    replies=[
        (-22.0, 22.0, STEEPEST),
        (158.0, 202.0, STEEPEST),
        (42.0, 67.0, "The direction stays as it was, since ∇L = ∇²L·x only becomes shorter along the dotted line."),
        (
            67.0,
            113.0,
            "This is the flattest direction, λ_M. The ascent direction points there only if the point approaches along "
            "that axis: the limit λ_M/2 is an infimum over all approaches.",
        ),
        (210.0, 270.0, "This is downhill. The perturbation of SAM goes uphill, along +∇L."),
    ],
    otherwise="On a quadratic ∇L = ∇²L·x has the same direction at every point of the dotted line.",
)


@dataclass(frozen=True)
class Bowl:
    """A loss of two parameters in closed form, whose Hessian's eigenvalues at the minimum are λ₁ = 2 and 2/ratio."""

    kind: str  # a key of `BOWLS`
    ratio: float

    def loss(self, x: Array) -> Array:
        """Return L of points (..., 2), (...)."""
        x1, x2 = x[..., 0], x[..., 1]
        if self.kind == "valley":
            return np.asarray(self.curvature(x2) * x1**2 / 2)
        curvature = FLOOR_CURVATURE if self.kind == "bent" else 0.0
        return np.asarray(TOP / 2 * ((x1 - curvature * x2**2) ** 2 + x2**2 / self.ratio))

    def gradient(self, x: Array) -> Array:
        """Return ∇L of points (..., 2), (..., 2)."""
        x1, x2 = x[..., 0], x[..., 1]
        if self.kind == "valley":
            first = self.curvature(x2) * x1
            return np.stack((first, first * x1 * np.log(self.ratio) / 4), -1)
        curvature = FLOOR_CURVATURE if self.kind == "bent" else 0.0
        first = TOP * (x1 - curvature * x2**2)
        return np.stack((first, TOP * x2 / self.ratio - 2 * curvature * x2 * first), -1)

    def limit_point(self, x: Array) -> Array:
        """Return Φ(x), (2,), the limit of gradient flow from x (2,)."""
        if self.kind == "valley":  # along the flow dx₂/dx₁ = x₁·log(ratio)/4
            return np.array([0.0, x[1] - np.log(self.ratio) / 8 * x[0] ** 2])
        return np.zeros(2)

    def limits(self, minimizer: Array) -> tuple[float, float, float]:
        """Return λ₁/2, λ_M/2 and Tr/(2D) at a minimizer (2,), the limits of R_ρ/ρ² by Theorem 4.2."""
        if self.kind == "valley":  # λ₂ = 0 does not count for λ_M, but it does for D
            top = float(self.curvature(minimizer[1]))
            return top / 2, top / 2, top / 4
        return TOP / 2, TOP / self.ratio / 2, (TOP + TOP / self.ratio) / 4

    def curvature(self, x2: Any) -> Any:
        """Return the valley's non-zero eigenvalue at (0, x₂) on Γ, from 2 at x₂ = 1 to 2/ratio at x₂ = −1."""
        return TOP * self.ratio ** ((x2 - 1) / 2)


@lru_cache(4)
def bowl_contours(bowl: Bowl) -> tuple[Array, Array]:
    """Return the axis, (n,), and √L on its square, (n, n): cached, since equal arrays are sent only once."""
    axis = np.linspace(-EXTENT, EXTENT, 81)
    x1, x2 = np.meshgrid(axis, axis)
    return axis, np.sqrt(bowl.loss(np.stack((x1, x2), -1)))


class SharpnessAt:
    """The three notions of sharpness at the point Φ(x) + left·(x − Φ(x)), where x is the dragged point."""

    def __init__(self, bowl: Bowl, x: tuple[float, float], left: float, rho: float) -> None:
        """Measure R_ρ of each notion for ρ and for all `RADII`, and their directions for ρ."""
        self.bowl, self.x, self.rho = bowl, np.array(x), rho
        self.minimizer = bowl.limit_point(self.x)
        self.point = self.minimizer + left * (self.x - self.minimizer)
        gradient = bowl.gradient(self.point)
        norm = float(np.hypot(*gradient))
        direction = gradient / norm if norm > 0 else np.full(2, np.nan)
        self.ascent = float(np.arctan2(direction[1], direction[0])) % (2 * np.pi)  # NaN where ∇L = 0
        here, radii = bowl.loss(self.point), np.append(RADII, rho)[:, None]
        rises = bowl.loss(self.point + radii[..., None] * CIRCLE) - here  # (radii + 1, angles)
        along = bowl.loss(self.point + radii * direction) - here
        # A maximum over the circle is one over the disk: the bowls have no maximum inside where they are drawn.
        values = np.stack((rises.max(1), along, rises.mean(1)))  # R_ρ, (3, radii + 1)
        self.ratios = values[:, :-1] / RADII**2
        self.rise = rise = rises[-1]
        peaks = (rise >= np.roll(rise, 1)) & (rise > np.roll(rise, -1)) & (rise >= 0.98 * rise.max())
        highest = ANGLES[peaks][np.argsort(-rise[peaks])]
        self.worst = highest[:2]  # the highest peak, and a second one if it is within 2 %
        worst, ascent, average = map(float, values[:, -1])
        self.values = worst, ascent if norm > 0 else np.inf, average
        self.limits = bowl.limits(self.minimizer)


def sharpness_panel() -> Panel:
    """Show the three notions of sharpness at a point that moves to a minimum and can be dragged.

    Source: Eqs. 1, 2 and 4, Theorem 4.2 and Table 1.

    >>> panel = sharpness_panel()
    >>> panel.set(guess="skipped", rho=0.5)
    >>> panel.sentence.split(": ")[1].split(". ")[0]
    'worst 1.001 (1.000), ascent 0.505 (0.250), average 0.625 (0.625)'
    """
    shares = [m * 10.0**e for e in (-3, -2, -1) for m in (1, 2, 5)] + [1]
    radius = "The radius of the circle around the point."
    return Panel(
        draw_sharpness,
        {
            "rho": Slider("ρ radius", FIRST_RHO, decades(-2, 0), book=[0.01, 0.03, 0.1, 0.3, 0.6, 1.0], help=radius),
            "ratio": Slider("λ₁/λ₂", 4.0, [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]),
            "left": Slider("distance to Γ, ×", 0.001, shares, book=[0.001, 0.01, 0.1, 0.5, 1.0]),
            "bowl": Choice("bowl", "round", BOWLS, book=list(BOWLS)),
        },
        predict=PREDICTION,
        drag={"x": FIRST_POINT},
        description="A bowl with a circle of radius ρ around a point; the rise of the loss around the circle; "
        "and the three sharpnesses over ρ squared against ρ",
    )


def draw_sharpness(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the point on the slope before the prediction, and the figure with its caption afterwards."""
    asked = values["guess"] is None
    left = 1.0 if asked else values["left"]
    at = SharpnessAt(Bowl(values["bowl"], values["ratio"]), values["x"], left, values["rho"])
    layout = draw.new_layout(590, left=52, right=10)
    data = bowl_traces(layout, at) + rise_traces(layout, at) + ratio_traces(layout, at)
    if asked:
        empty: Trace = {"x": [], "y": []}  # the limits would answer the question
        data = [trace | empty if trace.get("yaxis") == "y3" else trace for trace in data]
    start = "The point is on the slope, where the rises along the worst and the ascent direction are nearly equal."
    yield {"data": data, "layout": layout}, start if asked else describe(at)


def bowl_traces(layout: Layout, at: SharpnessAt) -> list[Trace]:
    """Draw the bowl, the circle and the directions of the notions; the trace "x" is dragged."""
    square: Layout = {"range": [-EXTENT, EXTENT], "constrain": "domain"}
    x_axis = square | {"label": "x₁", "constraintoward": "left"}
    y_axis = square | {"label": "x₂", "standoff": 0, "scaleanchor": "x", "constraintoward": "top"}
    heading = "directions", "on the circle of radius ρ"
    axes = draw.add_axes(layout, 1, (0.0, 0.435), (0, 1), heading, x=x_axis, y=y_axis) | {"hoverinfo": "skip"}
    axis, height = bowl_contours(at.bowl)

    def on_circle(angle: Any, scale: float = 1.0) -> Array:
        return at.point[:, None] + scale * at.rho * np.stack((np.cos(angle), np.sin(angle))).reshape(2, -1)

    def arrow(name: str, angle: float, color: str, width: float, dash: str = "solid") -> Trace:
        x, y = np.column_stack((at.point, on_circle(angle)))
        head: Trace = {"symbol": "arrow", "angleref": "previous", "size": [0, 8 + 2 * width], "color": color}
        head |= {"line": {"width": 0}, "opacity": 1}
        return line(x, y, name, color, width, dash, mode="lines+markers", marker=head)

    spokes = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    ends = np.stack((on_circle(spokes), on_circle(spokes, 1.0 + 0.045 / at.rho), np.full((2, 36), np.nan)), 2)
    x, y = ends.reshape(2, -1)
    circle_x, circle_y = on_circle(np.linspace(0, 2 * np.pi, 181))
    names_x, names_y = name_positions(at.point, at.rho, float(at.worst[0]), at.ascent).T
    names = [f"<b>{name}</b>" for name in NOTIONS]
    traces = [
        draw.contours(axis, axis, height, "√L", pale=True, **draw.contour_levels(float(height.max()), 13)),
        line([at.minimizer[0], at.x[0]], [at.minimizer[1], at.x[1]], "approach", INK, 1, "dot"),
        line(circle_x, circle_y, "circle", INK, 1.5),
        line(x, y, "average", GREEN, 2.2),
        arrow("as good", at.worst[1] if len(at.worst) > 1 else np.nan, VERMILION, 1.5, "dot"),
        arrow("worst", at.worst[0], VERMILION, 3),
        arrow("ascent", at.ascent, BLUE, 3),
        text(names_x, names_y, names, "names", [*COLORS.values()], "middle center", size=13, shadow=HALO),
        marks(at.point[:1], at.point[1:], "point", INK, 9, edge=("white", 2)),
        marks([at.x[0]], [at.x[1]], "x", INK, 20, "circle-open", (INK, 2)),
    ]
    return [trace | axes for trace in traces]


def name_positions(point: Array, rho: float, worst: float, ascent: float) -> Array:
    """Return the positions of the notions' names, (3, 2): beyond the arrows, apart from each other, in the figure."""
    if not np.isfinite(ascent):
        ascent = worst + np.pi / 2
    turn = (ascent - worst + np.pi) % (2 * np.pi) - np.pi
    line_height = min(0.22 / (rho + 0.12), 1.2)  # radians that are about one line of text
    if abs(turn) < line_height:
        push = (line_height - abs(turn)) / 2 * (1 if turn >= 0 else -1)
        worst, ascent = worst - push, ascent + push
    options = worst + np.radians(np.arange(60, 301, 10))  # for the name of the average
    distance = np.abs((options - ascent + np.pi) % (2 * np.pi) - np.pi)
    ends = np.abs(point[:, None] + (rho + 0.16) * np.stack((np.cos(options), np.sin(options)))).max(0)
    average = options[np.argmax(np.minimum(distance, np.radians(75)) + (ends < EXTENT - 0.1))]
    angles, beyond = np.array([worst, ascent, average]), rho + np.array([0.1, 0.1, 0.14])
    positions = point + beyond[:, None] * np.stack((np.cos(angles) * 1.25, np.sin(angles)), 1)
    edge = np.array([EXTENT - 0.22, EXTENT - 0.08])
    return np.asarray(np.clip(positions, -edge, edge))


def degrees(angle: Any) -> Any:
    """Return degrees in [FIRST_ANGLE, FIRST_ANGLE + 360)."""
    return (np.degrees(angle) - FIRST_ANGLE) % 360 + FIRST_ANGLE


def notion_mark(x: Any, y: Any, name: str, notion: str) -> Trace:
    """Draw the mark of a notion."""
    symbol, size = MARKS[notion]
    return marks(x, y, name, COLORS[notion], size, symbol, ("white", 1))


def rise_traces(layout: Layout, at: SharpnessAt) -> list[Trace]:
    """Draw the rise of the loss around the circle."""
    high = draw.round_up(max(float(at.rise.max()), 1e-12))
    low = -draw.round_up(max(-float(at.rise.min()), high / 10))
    ends = [FIRST_ANGLE, FIRST_ANGLE + 360]
    ticks = np.arange(FIRST_ANGLE, FIRST_ANGLE + 361, 90)
    x_axis = {"label": "direction φ, from the x₁ axis", "range": ends, "tickvals": ticks}
    x_axis["ticktext"] = [f"{tick:g}°" for tick in ticks]
    y_axis = {"range": [low, high * 1.22], "nticks": 6, "exponentformat": "power"} | {"zerolinecolor": GREY}
    heading = "the rise", "L(x + ρ(cos φ, sin φ)) − L(x)"
    axes = draw.add_axes(layout, 2, (0.52, 0.81), (0.585, 1.0), heading, x=x_axis, y=y_axis | {"zeroline": True})
    order = np.argsort(degrees(ANGLES))
    x = np.append(degrees(ANGLES)[order], ends[1])
    traces = [
        line(x, np.append(at.rise[order], at.rise[order[0]]), "rise", INK),
        line(ends, np.full(2, at.values[2]), "rise average", GREEN, 2, "dash"),
        text(ends[1:], [at.values[2]], [" average"], "average name", GREEN),
    ]
    heights = at.values[0], at.values[1] if np.isfinite(at.ascent) else np.nan
    for notion, angle, height, side in zip(NOTIONS, (at.worst[0], at.ascent), heights, ("top", "bottom")):
        at_angle, at_height = np.array([degrees(angle)]), np.array([height])
        label = text(at_angle, at_height, [notion], "", COLORS[notion], f"{side} center", shadow=HALO)
        traces.append(label | notion_mark(at_angle, at_height, f"rise {notion}", notion) | {"mode": "markers+text"})
    return [trace | axes | {"hoverinfo": "skip", "cliponaxis": False} for trace in traces]


def ratio_traces(layout: Layout, at: SharpnessAt) -> list[Trace]:
    """Draw R_ρ/ρ² of each notion against ρ, with its limit."""
    x_axis = {"label": "ρ", "standoff": 0, "range": [-2, 0], "dtick": 1, **LOG}
    y_axis = {"tickvals": [0.1, 1, 10], "range": list(np.log10((0.05, 20.0))), **LOG}
    heading = "R<sub>ρ</sub>/ρ² against ρ", "from this point; dashed: the limits"
    axes = draw.add_axes(layout, 3, (0.52, 0.81), (0.0, 0.405), heading, x=x_axis, y=y_axis)
    traces, labels = [], []
    for notion, ratios, limit, name, value in zip(NOTIONS, at.ratios, at.limits, LIMITS, at.values):
        color, width = COLORS[notion], 4.5 if notion == "worst" else 2.5  # two curves may coincide
        traces += [
            line([0.01, 1], [limit] * 2, f"{notion} limit", color, 1.5, "dash"),
            line(RADII, ratios, f"{notion} over ρ²", color, width),
            notion_mark([at.rho], [value / at.rho**2], f"{notion} now", notion),
        ]
        labels.append((1.0, limit, f"<b>{notion}</b> {name} = {limit:.3g}", color))
    traces.append(draw.end_labels(labels, layout["yaxis3"], "limits", 0.085))
    return [trace | axes | {"hoverinfo": "skip"} for trace in traces]


def describe(at: SharpnessAt) -> str:
    """Compare R_ρ/ρ² of the notions with their limits."""
    if not np.isfinite(at.ascent):
        return (
            "∇L = 0 here, so the ascent direction is not defined: R_Asc is +∞ on Γ itself, and its limit is an infimum "
            "over points that approach Γ (Definition 4.1). Move the point a little."
        )
    valley = at.bowl.kind == "valley"
    values = [f"{n} {r / at.rho**2:.3f} ({limit:.3f})" for n, r, limit in zip(NOTIONS, at.values, at.limits)]
    distance = float(np.hypot(*(at.point - at.minimizer)))
    if distance > 0.3 * at.rho:
        away = f"The point is {distance / at.rho:.2g} ρ away from it"
        reason = f"{away}, so the gradient contributes to the rise as well as the curvature."
    else:
        turns = np.abs((at.worst - at.ascent + np.pi) % (2 * np.pi) - np.pi)
        share = at.values[1] / at.values[0]
        side = "from the other side of Γ it is the same" if valley else "this depends on the direction of approach"
        angle = f"The ascent direction is {np.degrees(turns.min()):.0f}° away from the worst one"
        reason = f"{angle} and reaches {share:.0%} of its rise; {side}."
    where = "the minimizer Φ(x)" if valley else "the minimum"
    return f"R_ρ/ρ² at ρ = {at.rho:g} (and its limit at {where}): {', '.join(values)}. {reason}"
