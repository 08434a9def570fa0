"""The panel of the three notions of sharpness: what each sees from a point that is dragged over a bowl."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.figures.sharpness import NOTIONS, REACH, Surroundings, sharpness_figure
from samviz.lab.controls import Choice, Slider, decades
from samviz.lab.panel import Drawing, Panel

Array = NDArray[np.float64]
TOP = 2.0  # λ₁ at the minimum of each bowl
BEND = 0.5  # of the bent bowl's floor, x₁ = BEND·x₂²
BOWLS = {"round": "quadratic", "bent": "bent: not quadratic", "valley": "valley: minima along a line"}
ANGLES = np.linspace(0, 2 * np.pi, 720, endpoint=False)
CIRCLE = np.stack((np.cos(ANGLES), np.sin(ANGLES)), 1)  # (angles, 2)
RADII = np.logspace(-2, 0, 41)


@dataclass(frozen=True)
class Bowl:
    """A loss of two parameters, in closed form; its Hessian's eigenvalues at the minimum are λ₁ = 2 and 2/ratio.

    The valley's minimizers Γ are the x₂ axis, and its λ₁ falls along them from 2 at x₂ = 1 to 2/ratio at x₂ = −1.
    """

    kind: str  # a name in `BOWLS`
    ratio: float

    def loss(self, x: Array) -> Array:
        """L of points (..., 2), (...)."""
        x1, x2 = x[..., 0], x[..., 1]
        if self.kind == "valley":
            return np.asarray(self.curvature(x2) * x1**2 / 2)
        return np.asarray(TOP / 2 * ((x1 - self._bend * x2**2) ** 2 + x2**2 / self.ratio))

    def gradient(self, x: Array) -> Array:
        """∇L of points (..., 2), (..., 2)."""
        x1, x2 = x[..., 0], x[..., 1]
        if self.kind == "valley":
            across = self.curvature(x2) * x1
            return np.stack((across, across * x1 * np.log(self.ratio) / 4), -1)
        off = TOP * (x1 - self._bend * x2**2)
        return np.stack((off, TOP * x2 / self.ratio - 2 * self._bend * x2 * off), -1)

    def foot(self, x: Array) -> Array:
        """Φ(x), (2,): the minimizer that gradient flow from x (2,) ends in."""
        if self.kind == "valley":  # along the flow dx₂/dx₁ = x₁·log(ratio)/4
            return np.array([0.0, x[1] - np.log(self.ratio) / 8 * x[0] ** 2])
        return np.zeros(2)

    def limits(self, foot: Array) -> tuple[float, float, float]:
        """λ₁/2, λ_M/2 and Tr/(2D) at a minimizer (2,): the limits of R_ρ/ρ² by Theorem 4.2."""
        if self.kind == "valley":  # λ₂ = 0 is no candidate for λ_M, but counts in D
            top = float(self.curvature(foot[1]))
            return top / 2, top / 2, top / 4
        return TOP / 2, TOP / self.ratio / 2, (TOP + TOP / self.ratio) / 4

    def curvature(self, x2: Any) -> Any:
        """The valley's only non-zero eigenvalue at (0, x₂)."""
        return TOP * self.ratio ** ((x2 - 1) / 2)

    @property
    def _bend(self) -> float:
        return BEND if self.kind == "bent" else 0.0


@lru_cache(4)
def contours(bowl: Bowl) -> tuple[Array, Array]:
    """The axis (n,) and √L on its square (n, n): the same arrays for the same bowl, so that they travel once."""
    axis = np.linspace(-REACH, REACH, 81)
    x1, x2 = np.meshgrid(axis, axis)
    return axis, np.sqrt(bowl.loss(np.stack((x1, x2), -1)))


def surroundings(bowl: Bowl, handle: tuple[float, float], left: float, rho: float) -> Surroundings:
    """What the three notions of sharpness see from a point.

    Args:
        bowl: the loss.
        handle: x (2,), from which side its minimizer Φ(x) is approached.
        left: the share of the way from Φ(x) to x that is left; 1 is x itself.
        rho: perturbation radius ρ > 0.

    Returns:
        Rises around the circle, directions, and R_ρ/ρ² over ρ, from the point Φ(x) + left·(x − Φ(x)). A maximum over
        the circle is one over the disk: these bowls have no maximum inside where they are drawn.
    """
    x = np.array(handle)
    foot = bowl.foot(x)
    point = foot + left * (x - foot)
    here, slope = bowl.loss(point), bowl.gradient(point)
    length = float(np.hypot(*slope))
    up = slope / length if length > 0 else np.full(2, np.nan)

    def look(radius: float) -> tuple[Array, float]:
        return bowl.loss(point + radius * CIRCLE) - here, float(bowl.loss(point + radius * up) - here)

    around = [look(radius) for radius in RADII]
    over = np.array([[rises.max(), ahead, rises.mean()] for rises, ahead in around]) / RADII[:, None] ** 2
    rise, ahead = look(rho)
    peaks = (rise >= np.roll(rise, 1)) & (rise > np.roll(rise, -1)) & (rise >= 0.98 * rise.max())
    order = np.argsort(-rise[peaks])
    return Surroundings(
        *contours(bowl),
        handle=handle,
        foot=foot,
        point=point,
        rho=rho,
        angle=ANGLES,
        rise=rise,
        worst=ANGLES[peaks][order][:2],
        ascent=float(np.arctan2(up[1], up[0])) % (2 * np.pi),
        values=(float(rise.max()), ahead if length > 0 else float("inf"), float(rise.mean())),
        radii=RADII,
        over=over.T,
        limits=bowl.limits(foot),
        at="the foot of the valley below" if bowl.kind == "valley" else "the minimum",
    )


def draw(values: dict[str, Any]) -> Drawing:
    """The panel's picture and sentence for its controls' values."""
    bowl = Bowl(values["bowl"], values["ratio"])
    seen = surroundings(bowl, values["x"], values["left"], values["rho"])
    if not np.isfinite(seen.ascent):
        return sharpness_figure(seen), (
            "∇L = 0 here, so the ascent direction is not defined: R_Asc is +∞ on Γ itself, and its limit is an infimum "
            "over points that approach Γ (Definition 4.1). Move the point a little."
        )
    told = [f"{name} {r / seen.rho**2:.3f} ({limit:.3f})" for name, r, limit in zip(NOTIONS, seen.values, seen.limits)]
    off = float(np.hypot(*(seen.point - seen.foot)))
    if off > 0.3 * seen.rho:
        why = f"The point is {off / seen.rho:.2g} ρ from it: the slope still counts beside the curvature."
    else:
        valley = bowl.kind == "valley"
        sides = "from the other side of Γ it is as much" if valley else "it depends on the side from which one comes"
        why = (
            f"The ascent arrow makes {_between(seen):.0f}° with the worst one and gets "
            f"{seen.values[1] / seen.values[0]:.0%} of its rise; {sides}."
        )
    numbers = ", ".join(told)
    return sharpness_figure(seen), f"R_ρ/ρ² at ρ = {seen.rho:g} (and its limit at {seen.at}): {numbers}. {why}"


def _between(seen: Surroundings) -> float:
    """Degrees between the ascent direction and the nearest worst one."""
    turns = np.abs((seen.worst - seen.ascent + np.pi) % (2 * np.pi) - np.pi)
    return float(np.degrees(turns.min()))


def sharpness_panel() -> Panel:
    """The three notions of sharpness, live: a point to drag over a bowl, and what each notion sees from there.

    Returns:
        A panel; leave it as the last line of a cell.

    Source: Eqs. 1, 2 and 4, Theorem 4.2 and Table 1.

    >>> panel = sharpness_panel()
    >>> panel.set(left=0.001, rho=0.5)
    >>> panel.sentence.split(": ")[1].split(". ")[0]
    'worst 1.001 (1.000), ascent 0.834 (0.250), average 0.625 (0.625)'
    """
    shares = [m * 10.0**e for e in (-3, -2, -1) for m in (1, 2, 5)] + [1]
    return Panel(
        draw,
        {
            "rho": Slider("ρ radius", 0.4, decades(-2, 0), book=[0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]),
            "ratio": Slider("λ₁/λ₂", 4.0, stops=[1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10]),
            "left": Slider("distance to Γ, ×", 1.0, shares, book=[0.001, 0.01, 0.1, 0.5, 1.0]),
            "bowl": Choice("bowl", "round", BOWLS, book=list(BOWLS)),
        },
        drag={"x": (0.35, 0.75)},
        description="A bowl with a circle of radius ρ around a point; the rise of the loss around the circle; "
        "and the three sharpnesses over ρ squared against ρ",
    )
