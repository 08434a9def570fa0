"""The panel of Theorem 4.8: SAM on a quadratic ends in a 2-cycle along v₁, gradient descent does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from samviz.dynamics import RULES, Diverged, Run
from samviz.figures.cycle import REACH, STEPS, Cycle, cycle_figure
from samviz.lab.controls import Choice, Slider, decades
from samviz.lab.panel import Drawing, Panel
from samviz.problems import quadratic
from samviz.problems.device import one_thread

Array = NDArray[np.float64]
TOP = 2.0  # λ₁
GRID = 17  # arrows a side
PIECES = 4  # in which the steps are taken


def amplitude(lr: float, rho: float, top: float = TOP) -> float:
    """‖x‖ on SAM's 2-cycle, ηρλ₁/(2 − ηλ₁) (Theorem 4.8); infinite from ηλ₁ = 2 on.

    Args:
        lr: learning rate η.
        rho: perturbation radius ρ.
        top: λ₁.

    Returns:
        The predicted length.

    >>> round(amplitude(0.1, 0.05, 3.0), 7)
    0.0088235
    """
    return lr * rho * top / (2 - lr * top) if lr * top < 2 else float("inf")


def rate(lr: float, share: float) -> float:
    """What the part of x along v₂ is multiplied by in a step near the cycle, with share = λ₂/λ₁."""
    return 1 - lr * TOP * share - share**2 * (2 - lr * TOP)


@lru_cache(8)
def field(rule: str, lr: float, rho: float, share: float) -> tuple[Array, Array]:
    """Points (GRID², 2) of the plane, and the step that the rule takes from each, (GRID², 2)."""
    problem = quadratic([TOP, share * TOP])
    axis = np.linspace(-REACH, REACH, GRID + 1)[:-1] + REACH / GRID  # symmetric, and none at zero: GRID is odd
    axis = axis + 1e-3
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    with one_thread(problem):
        x = torch.from_numpy(points)
        moved = RULES[rule](problem, x, None, lr, rho, lambda n: torch.zeros(len(x), n)).x - x
    return points, moved.numpy()


def draw(values: dict[str, Any]) -> Iterator[Drawing]:
    """The panel's pictures and sentences for its controls' values, as SAM and gradient descent go on."""
    rule, lr, rho, share = (values[name] for name in ("rule", "lr", "rho", "share"))
    problem = quadratic([TOP, share * TOP])
    points, moves = field(rule, lr, rho if rule == "sam" else 0.0, share)
    # ρ = 0 is gradient descent to the bit, so one run of two rows is both
    run = Run(problem, "sam", lr, [rho, 0.0], x0=[values["x"]] * 2, device="cpu", trail=STEPS + 1)
    for _ in range(PIECES):
        with suppress(Diverged):  # the sentence says so
            run.step(STEPS // PIECES)
        trail = torch.stack(list(run.trail)).numpy()  # (steps + 1, 2 runs, 2)
        for row, end in enumerate(run.diverged_at.tolist()):
            if end >= 0:  # from there on it stands still
                trail[end + 1 :, row] = np.nan
        seen = Cycle(rule, points, moves, trail, share, amplitude(lr, rho), TOP)
        yield cycle_figure(seen), _told(trail, rule, lr, share, amplitude(lr, rho), run.diverged_at.tolist())


def _told(trail: Array, rule: str, lr: float, share: float, size: float, diverged: list[int]) -> str:
    """What the chosen rule has come to, beside what is predicted."""
    path = trail[:, 0 if rule == "sam" else 1]
    path = path[np.isfinite(path[:, 0])]
    steps = len(path) - 1
    if diverged[0 if rule == "sam" else 1] >= 0 or lr * TOP >= 2:
        return (
            f"ηλ₁ = {lr * TOP:.3g}: at 2 and above every step along v₁ overshoots by as much as it came or more. "
            f"There is no cycle; ‖x‖ = {np.linalg.norm(path[-1]):.2g} after {steps} steps."
        )
    length = float(np.linalg.norm(path[-1]))
    cosine = abs(path[-1, 0]) / length if length else 0.0
    start = f"({path[0, 0]:.3g}, {path[0, 1]:.3g})"
    begin = f"ηλ₁ = {lr * TOP:.3g}. {steps} steps from {start}: |cos(x, v₁)| = {cosine:.4f}, ‖x‖ = {length:.4g}"
    if not length:
        return f"{begin}. Started in the minimum, it stays there."
    if rule == "gd":
        first, second = 1 - lr * TOP, 1 - lr * share * TOP
        slow = "v₁ and v₂ alike" if abs(first) == abs(second) else "v₁" if abs(first) > abs(second) else "v₂"
        return (
            f"{begin}, on its way to 0. A step multiplies the part along v₁ by {first:.3g} and that along v₂ by "
            f"{second:.3g}: what is left lies along {slow}."
        )
    begin += f", predicted {size:.4g}."
    if share == 1:
        return f"{begin} With λ₁ = λ₂ no direction is the top one, and x keeps its own."
    if path[0, 0] == 0 and path[0, 1] != 0:
        return f"{begin} Started exactly on the v₂ axis it never leaves it: the theorem says “almost every start”."
    before = path[-2, 1]
    measured = f"{path[-1, 1] / before:.4g}" if abs(before) > 1e-300 else "nothing left to measure"
    edge = " The theorem asks for ηλ₁ < 1, and the cycle is there beyond it." if lr * TOP >= 1 else ""
    return f"{begin} Per step the part along v₂ is multiplied by {measured}; predicted {rate(lr, share):.4g}.{edge}"


def cycle_panel() -> Panel:
    """SAM's 2-cycle on a quadratic, live: its field, an orbit from a start to drag, and alignment against the step.

    Returns:
        A panel; leave it as the last line of a cell.

    Source: Theorem 4.8; Bartlett, Long & Bousquet (2022).

    >>> panel = cycle_panel()
    >>> panel.set(lr=0.25, rho=0.3)
    >>> panel.sentence.split(". ")[1]
    '100 steps from (0.5, 1): |cos(x, v₁)| = 1.0000, ‖x‖ = 0.1, predicted 0.1'
    """
    shares = [0.02, 0.05, *(k / 20 for k in range(2, 19)), 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0]
    rates = [k / 50 for k in range(1, 56)]
    return Panel(
        draw,
        {
            "lr": Slider("η (λ₁ = 2)", 0.4, rates, 0.001, book=[0.1, 0.2, 0.4, 0.6, 0.8, 0.98]),
            "rho": Slider("ρ radius", 0.8, decades(-2, 0), book=[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]),
            "share": Slider("λ₂/λ₁", 0.95, shares, book=[0.5, 0.95, 1.0]),
            "rule": Choice("rule", "sam", {"sam": "SAM", "gd": "gradient descent"}, book=["sam", "gd"]),
        },
        drag={"x": (0.5, 1.0)},
        description="The steps of SAM or of gradient descent on a quadratic as arrows, with an orbit; its alignment "
        "with v₁ and its length against the step",
    )
