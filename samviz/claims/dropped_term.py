"""The term that SAM drops from ∇L_Asc: it is zero on SAM's 2-cycle and decides whether that cycle is stable."""

from __future__ import annotations

import numpy as np
import torch

from samviz.claims.claim import Array, Curve, Evidence, Plot, at_most, claim, decreasing, exponent, near
from samviz.claims.subjects import cycle_size, new_run
from samviz.dynamics import Run
from samviz.dynamics.rules import RULES
from samviz.geometry.ball_maximum import trust_region
from samviz.problems import quadratic, valley

SPECTRUM = 3.0, 1.0  # λ₁ and λ_M of the quadratic
RHO = 0.1
START_ON_VALLEY = (0.3, 0.6, 0.01, 0.1)


def cycle_multiplier(rule: str, lr: float, top: float, other: float) -> float:
    """Return the factor per step of a small component along another eigenvector next to the 2-cycle along v₁.

    The curvatures are λ₁ = `top` and λⱼ = `other`. The rule is "sam", "ascent" (exact L_Asc) or "worst" (exact L_Max).
    """
    if rule == "worst":
        return 1 - lr * other * (1 + other / (2 * top / (2 - lr * top) - other))
    kept = 1 - lr * other - (other / top) ** 2 * (2 - lr * top)
    dropped = (other / top) ** 2 * (2 - lr * top) ** 2 * (top - other) / (lr * top**2)
    return kept + dropped if rule == "ascent" else kept


def ascent_cycle_near_low(lr: float, rho: float, top: float, low: float) -> Array:
    """Return the point (x₁, x₂) of the cycle near v_M in which descent on exact L_Asc ends; NaN if there is none.

    On it x₁ changes sign in each step and x₂ is constant.
    """
    gap = top - low
    size = rho * top * np.sqrt(lr * gap * low / (2 * low + lr * top * gap))  # ‖∇L‖
    sine2 = size * (size + rho * low) / (rho**2 * low * gap)
    with np.errstate(invalid="ignore"):
        return np.asarray(size * np.sqrt([sine2, 1 - sine2]) / [top, low])


def angle_to_top(x: Array, spectrum: tuple[float, float]) -> Array:
    """Return the angle in degrees between ∇L and v₁ at points (..., 2) of ½xᵀAx, from 0 to 90."""
    g = np.abs(x * spectrum)
    return np.asarray(np.degrees(np.arctan2(g[..., 1], g[..., 0])))


def multipliers(rule: str, lr: float, rho: float, spectrum: tuple[float, float], x: Array) -> Array:
    """Return the eigenvalues, largest modulus last, of the numerical Jacobian of a step followed by x₁ → −x₁.

    A point on one of the two cycles is a fixed point of this map, so the cycle is stable if all moduli are below 1.
    """
    h = 1e-5 * np.linalg.norm(x)
    points = torch.from_numpy(x + h * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]))
    if rule == "worst":  # with the exact maximizer, because the rule's search has a tolerance
        values = torch.tensor(spectrum, dtype=torch.float64).expand(4, 2)
        v = trust_region(values * points, rho * values, torch.eye(2, dtype=torch.float64).expand(4, 2, 2))
        after = (points - lr * values * (points + rho * v)).numpy()
    else:
        run = new_run(quadratic(spectrum), rule, lr, rho, x0=points)
        run.step()
        after = run.x.numpy()
    after = after * [-1, 1]
    jacobian = np.stack(((after[0] - after[1]) / (2 * h), (after[2] - after[3]) / (2 * h)), 1)
    return np.asarray(sorted(np.linalg.eigvals(jacobian), key=abs))


def dropped_over_kept(run: Run) -> float:
    """Return ‖dropped‖/‖kept‖ at the iterate of a single run: ∇L_Asc minus SAM's gradient, over SAM's gradient."""
    rho = float(np.asarray(run.settings.rho).flat[0])
    kept, exact = (RULES[rule](run.problem, run.x, None, 1.0, rho).direction for rule in ("sam", "ascent"))
    return float((exact - kept).norm() / kept.norm())


@claim(
    "Section 4, Theorem 4.8",
    order=4.97,
    symbols="∇L_Asc; A, ηρλ₁/(2 − ηλ₁)",
    fails_with=[{"sam": "ascent"}, {"ascent": "sam"}, {"worst": "ascent"}],
)
def dropped_term_decides_stability(
    quick: bool, sam: str = "sam", ascent: str = "ascent", worst: str = "worst"
) -> Evidence:
    """The term that SAM drops is zero on the 2-cycle along v₁ and decides its stability: v₁ for SAM, v_M for L_Asc.

    Without the term, a small component along another eigenvector decays (SAM); with it, the component grows by a
    factor ∝ 1/η (exact L_Asc). For L_Max the term is zero everywhere, and v₁ is stable. Therefore the size of the
    term depends on the trajectory: it vanishes next to SAM's gradient in phase II, and along exact L_Asc it dominates.
    """
    top, low = SPECTRUM
    rates = np.array([0.1, 0.03, 0.003, 0.0003]) / top
    yield Plot("η", "|factor per step| of a small component along v_M")
    for name, rule, label in (("sam", sam, "SAM"), ("ascent", ascent, "L_Asc"), ("worst", worst, "L_Max")):
        jacobian = [multipliers(rule, lr, RHO, SPECTRUM, np.array([cycle_size(lr, RHO, top), 0.0])) for lr in rates]
        measured = np.array(
            [float(values[abs(values + 1 - lr * top).argmax()].real) for values, lr in zip(jacobian, rates)]
        )
        predicted = np.array([cycle_multiplier(name, lr, top, low) for lr in rates])
        yield near(f"{label}: multiplier divided by its formula", 1, measured / predicted, absolute=1e-5)
        if name == "ascent":
            yield at_most(f"{label}: 1/|multiplier| next to v₁", 1 / np.abs(measured), 1)
            yield exponent("exponent of η in that multiplier", rates[1:], np.abs(measured)[1:], -1, 0.02)
        else:
            yield at_most(f"{label}: |multiplier| next to v₁", np.abs(measured), 1)
        yield Curve(label, rates, np.abs(measured))
        yield Curve(f"predicted, {label}", rates, np.abs(predicted), predicted=True)
    limits = []
    for lr in rates[1:]:
        x = ascent_cycle_near_low(lr, RHO, top, low)
        limits.append(90 - float(angle_to_top(x, SPECTRUM)))
        moduli = np.abs(multipliers(ascent, lr, RHO, SPECTRUM, x))
        yield at_most(f"L_Asc: |multiplier| on the cycle near v_M, ηλ₁ = {lr * top:g}", moduli, 1)
        starts = np.array([(0.06, 0.1), (0.003, 0.001), (0.02, -0.02)])
        for label, rule, angle in (("L_Asc", ascent, limits[-1]), ("SAM", sam, 90.0)):
            run = new_run(quadratic(SPECTRUM), rule, np.full(3, lr), RHO, x0=starts)
            run.step(int(10 / (lr * top)))
            angles = 90 - angle_to_top(run.x.numpy(), SPECTRUM)
            yield near(f"{label}: angle(∇L, v_M), ηλ₁ = {lr * top:g}", angle, angles, absolute=0.01)
    run = new_run(quadratic(SPECTRUM), worst, rates[0], RHO, x0=(0.06, 0.1))
    run.step(2000)
    yield near("L_Max: angle(∇L, v_M), ηλ₁ = 0.1", 90, 90 - angle_to_top(run.x.numpy(), SPECTRUM)[0], absolute=1)
    of_sam = _ratios_of_dropped_term(sam, 0.02, 400)
    of_ascent = _ratios_of_dropped_term(ascent, 0.002, 500 if quick else 4000).mean()
    yield decreasing("valley, SAM: ‖dropped‖/‖kept‖ at steps 2, 10, 20 and 400", of_sam[[2, 10, 20, 400]])
    yield at_most("valley, SAM: ‖dropped‖/‖kept‖ at step 10", of_sam[10], 0.05)
    yield at_most("valley, SAM: ‖dropped‖/‖kept‖ at step 400", of_sam[400], 1e-3)
    yield near("valley, L_Asc: mean ‖dropped‖/‖kept‖", 3.7, of_ascent, absolute=1)
    yield (
        "On the valley ‖dropped‖/‖kept‖ is "
        + ", ".join(f"{of_sam[t]:.2g} at step {t}" for t in (0, 1, 2, 10, 20, 400))
        + f" of SAM, and on average {of_ascent:.1f} along descent on L_Asc. L_Asc ends at an angle of "
        + ", ".join(f"{angle:.1f}°" for angle in limits)
        + " to v_M, which tends to 0 like η^¼."
    )


def _ratios_of_dropped_term(rule: str, lr: float, steps: int) -> Array:
    """Return ‖dropped‖/‖kept‖ at the start of a run on the valley and after each of its steps."""
    run, ratios = new_run(valley(), rule, lr, RHO, x0=START_ON_VALLEY), []
    for _ in range(steps + 1):
        ratios.append(dropped_over_kept(run))
        run.step()
    return np.array(ratios)
