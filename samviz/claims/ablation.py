"""The two approximations of SAM, which are right only together: what each method minimizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from samviz.claims.claim import Array, Curve, Evidence, Plot, at_most, claim, decreasing, near
from samviz.claims.figure_one import ascent_cycle, ascent_loss_gradient, step_gradient
from samviz.claims.subjects import curvatures, new_run, slopes
from samviz.geometry import worst_direction_sharpness
from samviz.problems import valley

POINT = np.array([0.5, 0.25])  # on the floor, where −∇λ₁, −∇λ_M and −∇Tr have three different directions
RHO = 0.02  # of the table
CURVATURES = 2 * np.array(curvatures(POINT))  # the loss next to POINT is ½xᵀHx, H = diag(CURVATURES)


@dataclass(frozen=True)
class Ablation:
    """A method of the table: its approximations, and its drift along the valley's floor."""

    method: str
    approximations: str
    drift: Array  # (2,), of (x₁, x₂) per τ
    cosines: dict[str, float]  # of the drift with −∇S, for S = λ₁, λ_M and Tr
    minimizes: str  # the S with the largest cosine; "nothing" without a drift


TABLE = {  # rule: method, approximations, what it minimizes
    "worst": ("descent on L_Max", "none", "λ₁"),
    "ascent": ("descent on L_Asc", "1: ascent for worst direction", "λ_M"),
    "sam": ("SAM", "1, and 2: the direction's derivative dropped", "λ₁"),
    "average": ("descent on L_Avg", "another notion", "Tr"),
    "gd": ("gradient descent", "no perturbation", "nothing"),
}


def ablation(quick: bool = False, lr_ascent: float = 1e-4) -> list[Ablation]:
    """Measure the table of the two approximations at (0.5, 0.25) on the floor.

    Args:
        quick: whether to take fewer steps.
        lr_ascent: η of the descent on L_Asc, whose drift is that of λ_M only in the limit η → 0.

    Returns:
        A row for each method.

    >>> [row.minimizes for row in ablation(quick=True, lr_ascent=2.5e-4)]
    ['λ₁', 'λ_M', 'λ₁', 'Tr', 'nothing']
    """
    return [_row(rule, _drifts(rule, quick, np.array([lr_ascent]))) for rule in TABLE]


def _drifts(rule: str, quick: bool, lr_ascent: Array) -> Array:
    """Return the drift of (x₁, x₂) per τ = ηρ²t next to POINT, (runs, 2), over an even number of steps of phase II."""
    lr = {"ascent": lr_ascent, "average": np.full(16, 0.02)}.get(rule, np.array([0.02]))  # 16 seeds
    times = 1 if quick else 2
    run = new_run(valley(), rule, lr, RHO, x0=(*POINT, 0.02 * RHO, 0.3 * RHO))
    run.step(times * (600 if rule == "ascent" else 200))
    before = run.x.numpy().copy()
    run.step(times * 200)
    return np.asarray((run.x.numpy() - before)[:, :2] / (lr[:, None] * RHO**2 * times * 200))


def _row(rule: str, drifts: Array) -> Ablation:
    drift = drifts.mean(0)
    cosines = _cosines(drift)
    best = max(cosines, key=lambda name: cosines[name]) if np.linalg.norm(drift) > 1e-6 else "nothing"
    return Ablation(*TABLE[rule][:2], drift, cosines, best)


def _gradients() -> dict[str, Array]:
    """Return the directions of ∇λ₁, ∇λ_M and ∇Tr at POINT."""
    first, second = slopes(POINT)
    return {"λ₁": first, "λ_M": second, "Tr": first + second}


def _cosines(drift: Array) -> dict[str, float]:
    """Return the cosines of a drift with −∇λ₁, −∇λ_M and −∇Tr at POINT."""
    size = max(float(np.linalg.norm(drift)), 1e-300)
    return {name: -float(drift @ g) / size / float(np.linalg.norm(g)) for name, g in _gradients().items()}


@claim(
    "Table 1, Section 4",
    order=4.96,
    symbols="∇L_Asc; ∇L_Max; ∇L_Avg",
    fails_with=[{"sam": "ascent"}, {"average": "sam"}, {"worst": "sam"}],
)
def two_wrongs(quick: bool, sam: str = "sam", average: str = "average", worst: str = "worst") -> Evidence:
    """SAM replaces L_Max by L_Asc, which turns λ₁ into λ_M, and drops a term of its gradient, which restores λ₁.

    The first replaces the worst direction by the ascent direction, which changes the loss: λ₁ becomes λ_M. The second
    drops the derivative of the direction. That is exact for L_Max and changes ∇L_Asc by a relative amount that does not
    vanish as ρ → 0 at a fixed angle between ∇L and v₁. It does vanish in SAM's phase II, where ∇L turns to v₁ (see
    `dropped_term_decides_stability`).
    """
    rates = np.array([1e-3, 5e-4, 2.5e-4]) if quick else np.array([1e-3, 3e-4, 1e-4])
    rules = {"worst": worst, "ascent": "ascent", "sam": sam, "average": average, "gd": "gd"}
    drifts = {name: _drifts(rule, quick, rates) for name, rule in rules.items()}
    rows = [_row(name, drift[-1:] if name == "ascent" else drift) for name, drift in drifts.items()]
    for row, (_, _, expected) in zip(rows, TABLE.values()):
        if expected == "nothing":
            size = np.linalg.norm(row.drift) / np.linalg.norm(slopes(POINT)[0])
            yield at_most(f"{row.method}: drift divided by SAM's", size, 1e-6)
            continue
        name = f"{row.method}: cos(drift, −∇"
        yield near(f"{name}{expected})", 1, row.cosines[expected], absolute=0.02)
        for other, value in _cosines(-_gradients()[expected]).items():
            if other != expected:
                yield near(f"{name}{other})", value, row.cosines[other], absolute=0.1)
    distance = np.array([1 - _cosines(drift)["λ_M"] for drift in drifts["ascent"]])
    cycles = [ascent_cycle(float(eta), RHO, POINT) for eta in rates]
    predicted = np.array([1 - _cosines(-ascent_loss_gradient(x, RHO)[:2])["λ_M"] for x in cycles])
    yield decreasing("descent on L_Asc: 1 − cos(drift, −∇λ_M) as η falls", distance)
    yield near("that distance divided by its 2-cycle's", 1, distance / predicted, relative=0.1)
    gradient_error, rise_error = _errors_of_worst(worst, 1e-3)
    yield near("∇L_Max, relative error at ρ = 1e-3, ρ/10 from Γ along x₄", 0, gradient_error, absolute=0.01)
    yield near("R_Max, relative error there", 0, rise_error, absolute=1e-4)
    quantity = "∇L_Avg, relative distance from ρ²∇Tr/(2D) on Γ at ρ = 1e-3"
    yield near(quantity, 0, _error_of_average(average, 1e-3), absolute=0.05)
    limit, dropped = _dropped_limit(), np.array([_dropped(sam, rho) for rho in (1e-1, 1e-2, 1e-3)])
    yield near("‖∇L(x⁺) − ∇L_Asc‖/‖∇L_Asc‖ at ρ = 1e-3, ρ/10 from Γ", limit, dropped[-1], relative=1e-3)
    yield decreasing("distance of that ratio from its limit as ρ falls", np.abs(dropped - limit))
    yield Plot("η", "1 − cos(drift, −∇λ_M)")
    yield Curve("descent on L_Asc", rates, distance)
    yield Curve("its 2-cycle", rates, predicted, predicted=True)
    trace = _cosines(drifts["ascent"][0])["Tr"]
    yield (
        "; ".join(f"{r.method}: " + ", ".join(f"{c:+.3f} {s}" for s, c in r.cosines.items()) for r in rows[:-1])
        + f". The step size matters to L_Asc: at η = {rates[0]:g} its cosine with −∇Tr is {trace:.2f} already."
    )


def _errors_of_worst(rule: str, rho: float) -> tuple[float, float]:
    """Return the relative errors of ∇L_Max and R_Max, ρ/10 from Γ along x₄, where the ascent direction is across v₁.

    The worst direction of ½xᵀHx, H = diag(h), is (±√(1 − s²), s) there, with s = λ_M x₄/(ρ(λ₁ − λ_M)).
    """
    h, x = CURVATURES, torch.tensor([[*POINT, 0, 0.1 * rho]], dtype=torch.float64)
    s = 0.1 * h[1] / (h[0] - h[1])
    end = np.array([(1 - s**2) ** 0.5, 0.1 + s])
    error = np.abs(step_gradient(rule, x, rho)[0, 2:]) / rho - h * end
    rise, exact = float(worst_direction_sharpness(valley(), x, rho).value), (h @ end**2 - h[1] * 0.1**2) / 2
    return float(np.linalg.norm(error) / np.linalg.norm(h * end)), abs(rise / rho**2 / exact - 1)


def _error_of_average(rule: str, rho: float) -> float:
    """Return the relative distance of the mean ∇L_Avg from ρ²∇Tr/(2D) on Γ, where Tr = 2(F₁ + F₂) and D = 4."""
    exact = _gradients()["Tr"] / 4
    x = torch.tensor([[*POINT, 0, 0]], dtype=torch.float64).repeat(2000, 1)
    return float(np.linalg.norm(step_gradient(rule, x, rho)[:, :2].mean(0) / rho**2 - exact) / np.linalg.norm(exact))


def _dropped(rule: str, rho: float) -> float:
    """Return the relative error of SAM's gradient as one of L_Asc, ρ/10 from Γ at 45° between x₃ and x₄."""
    x = torch.tensor([[*POINT, *np.full(2, 0.1 * rho / 2**0.5)]], dtype=torch.float64)
    sam, exact = (step_gradient(each, x, rho) for each in (rule, "ascent"))
    return float(np.linalg.norm(sam - exact) / np.linalg.norm(exact))


def _dropped_limit() -> float:
    """Return the same error for ½xᵀHx, which L is next to its floor: it does not depend on ρ."""
    h = CURVATURES
    x = np.full(2, 0.1 / 2**0.5)
    g = h * x
    u = g / np.linalg.norm(g)
    perturbed = h * (x + u)
    dropped = h * (perturbed - u * (u @ perturbed)) / np.linalg.norm(g)
    return float(np.linalg.norm(dropped) / np.linalg.norm(perturbed + dropped))
