"""The two approximations, each wrong, together right: what each method minimizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samviz.claims.ascent_loss import ascent_cycle, ascent_loss_gradient
from samviz.claims.claim import Array, Check, Curve, Finding, Plot, claim, falls, near, worst
from samviz.claims.toy import curvatures, slopes
from samviz.dynamics import RULES, Run
from samviz.geometry import worst_direction_sharpness
from samviz.problems import valley

POINT = np.array([0.5, 0.25])  # on the floor, where −∇λ₁, −∇λ_M and −∇Tr point three ways
RHO = 0.02  # of the table


@dataclass(frozen=True)
class Ablation:
    """A method of the table: what it approximates, and which way it drifts along the valley's floor."""

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
    """The table of the two approximations, measured at (0.5, 0.25) on the floor.

    Args:
        quick: fewer steps.
        lr_ascent: η of the descent on L_Asc, whose drift is that of λ_M as η → 0 alone.

    Returns:
        A row for each method.

    >>> [row.minimizes for row in ablation(quick=True, lr_ascent=2.5e-4)]
    ['λ₁', 'λ_M', 'λ₁', 'Tr', 'nothing']
    """
    return [_row(rule, drifts(rule, quick, np.array([lr_ascent]))) for rule in TABLE]


def drifts(rule: str, quick: bool, lr_ascent: Array) -> Array:
    """How (x₁, x₂) move per τ = ηρ²t beside POINT, (runs, 2): over an even number of steps, once phase I is over."""
    lr = {"ascent": lr_ascent, "average": np.full(16, 0.02)}.get(rule, np.array([0.02]))  # 16 seeds
    times = 1 if quick else 2
    lead, steps = times * (600 if rule == "ascent" else 200), times * 200
    run = Run(valley(), rule, lr, RHO, x0=np.tile([*POINT, 0.02 * RHO, 0.3 * RHO], (len(lr), 1)), device="cpu")
    run.step(lead)
    before = run.x.numpy().copy()
    run.step(steps)
    return np.asarray((run.x.numpy() - before)[:, :2] / (lr[:, None] * RHO**2 * steps))


def _row(rule: str, drifts: Array) -> Ablation:
    drift = drifts.mean(0)
    cosines = _cosines(drift)
    best = max(cosines, key=lambda name: cosines[name]) if np.linalg.norm(drift) > 1e-6 else "nothing"
    return Ablation(*TABLE[rule][:2], drift, cosines, best)


def _gradients() -> dict[str, Array]:
    """The directions of ∇λ₁, ∇λ_M and ∇Tr at POINT."""
    first, second = slopes(POINT)
    return {"λ₁": first, "λ_M": second, "Tr": first + second}


def _cosines(drift: Array) -> dict[str, float]:
    """Cosines of a drift with −∇λ₁, −∇λ_M and −∇Tr at POINT."""
    size = max(float(np.linalg.norm(drift)), 1e-300)
    return {name: -float(drift @ way) / size / float(np.linalg.norm(way)) for name, way in _gradients().items()}


@claim("Table 1, Section 4")
def two_wrongs(quick: bool) -> Finding:
    """SAM's two approximations of descent on L_Max are each wrong, and together right: λ₁ becomes λ_M, and λ₁ again.

    The first puts the ascent direction for the worst one, the second drops its derivative: no approximation of ∇L_Asc,
    since its relative error does not vanish as ρ → 0.
    """
    rates = np.array([1e-3, 5e-4, 2.5e-4]) if quick else np.array([1e-3, 3e-4, 1e-4])
    checks = []
    moves = {rule: drifts(rule, quick, rates) for rule in TABLE}
    rows = [_row(rule, drift[-1:] if rule == "ascent" else drift) for rule, drift in moves.items()]
    for row, (_, _, expected) in zip(rows, TABLE.values()):
        if expected == "nothing":
            size = float(np.linalg.norm(row.drift) / np.linalg.norm(slopes(POINT)[0]))
            checks.append(Check(f"{row.method}: drift over SAM's", 0, size, high=1e-6))
            continue
        name, ways = f"{row.method}: cos(drift, −∇", {S: _cosines(-way) for S, way in _gradients().items()}
        checks.append(near(f"{name}{expected})", 1, row.cosines[expected], absolute=0.02))
        checks += [
            near(f"{name}{other})", value, row.cosines[other], absolute=0.1)
            for other, value in ways[expected].items()
            if other != expected
        ]
    off = np.array([1 - _cosines(drift)["λ_M"] for drift in moves["ascent"]])
    cycles = [ascent_cycle(float(eta), RHO, POINT) for eta in rates]
    law = np.array([1 - _cosines(-ascent_loss_gradient(x, RHO)[:2])["λ_M"] for x in cycles])
    checks += [
        falls("descent on L_Asc: 1 − cos(drift, −∇λ_M) as η falls", off),
        near("that over its 2-cycle's, the worst of three η", 1, worst(off / law), relative=0.1),
    ]
    radii = np.array([1e-1, 1e-2, 1e-3])
    dropped = np.array([_dropped(float(rho)) for rho in radii])
    gradient_off, rise_off = _off_worst(1e-3)
    checks += [
        near("∇L_Max, relative error at ρ = 1e-3, ρ/10 from Γ along x₄", 0, gradient_off, absolute=0.01),
        near("R_Max, relative error there", 0, rise_off, absolute=1e-4),
        near("∇L_Avg, relative distance from ρ²∇Tr/(2D) on Γ at ρ = 1e-3", 0, _off_average(1e-3), absolute=0.05),
        near("‖∇L(x⁺) − ∇L_Asc‖/‖∇L_Asc‖ at ρ = 1e-3, ρ/10 from Γ", _dropped_limit(), dropped[-1], relative=1e-3),
        falls("distance of that ratio from its limit as ρ falls", np.abs(dropped - _dropped_limit())),
    ]
    curves = [Curve("descent on L_Asc", rates, off), Curve("its 2-cycle", rates, law, predicted=True)]
    settings = {
        "problem": "valley()",
        "floor": POINT.tolist(),
        "rho": RHO,
        "lr": 0.02,
        "lr of L_Asc": rates.tolist(),
        "rho of the gradients": radii.tolist(),
        "steps averaged for ∇L_Avg": 2000,
    }
    trace = _cosines(moves["ascent"][0])["Tr"]
    remark = (
        "; ".join(f"{r.method}: " + ", ".join(f"{c:+.3f} {s}" for s, c in r.cosines.items()) for r in rows[:-1])
        + f". The step size matters to L_Asc: at η = {rates[0]:g} its cosine with −∇Tr is {trace:.2f} already."
    )
    return Finding(checks, settings, Plot("η", "1 − cos(drift, −∇λ_M)", curves), remark)


def _descents(rule: str, x4: float, rho: float, runs: int) -> Array:
    """Measure the gradient along which a rule steps at (POINT, 0, x₄), (2, runs, 4).

    First by the rule in RULES, then by a Run, which has compiled steps of its own for the valley.
    """
    x, generator = (
        torch.tensor([[*POINT, 0, x4]], dtype=torch.float64).repeat(runs, 1),
        torch.Generator().manual_seed(0),
    )

    def noise(count: int) -> Tensor:
        return torch.randn(runs, count, generator=generator, dtype=torch.float64)

    run = Run(valley(), rule, 1.0, rho, x0=x, device="cpu")
    run.step()
    return torch.stack((x - RULES[rule](valley(), x, None, 1.0, rho, noise).x, x - run.x)).numpy()


def _off_worst(rho: float) -> tuple[float, float]:
    """Measure the relative errors of ∇L_Max and R_Max, ρ/10 from Γ along x₄, where the ascent direction is across v₁.

    The worst direction of ½xᵀHx, H = diag(2F₁, 2F₂), is (±√(1 − s²), s) there, with s = λ_M x₄/(ρ(λ₁ − λ_M)).
    """
    h, x = 2 * np.array(curvatures(POINT)), torch.tensor([*POINT, 0, 0.1 * rho], dtype=torch.float64)
    s = 0.1 * h[1] / (h[0] - h[1])
    end = np.array([(1 - s**2) ** 0.5, 0.1 + s])
    off = np.abs(_descents("worst", 0.1 * rho, rho, 1)[:, 0, 2:]) / rho - h * end
    rise, exact = float(worst_direction_sharpness(valley(), x, rho).value), (h @ end**2 - h[1] * 0.1**2) / 2
    return float(np.linalg.norm(off, axis=1).max() / np.linalg.norm(h * end)), abs(rise / rho**2 / exact - 1)


def _off_average(rho: float) -> float:
    """Measure the relative distance of the mean ∇L_Avg from ρ²∇Tr/(2D) on Γ, where Tr = 2(F₁ + F₂) and D = 4."""
    exact = _gradients()["Tr"] / 4
    off = _descents("average", 0, rho, 2000)[..., :2].mean(1) / rho**2 - exact
    return float(np.linalg.norm(off, axis=1).max() / np.linalg.norm(exact))


def _dropped(rho: float) -> float:
    """The relative error of SAM's gradient as one of L_Asc, ρ/10 from Γ at 45° between x₃ and x₄."""
    x = torch.from_numpy(np.array([[*POINT, *np.full(2, 0.1 * rho / 2**0.5)]]))
    sam, exact = (x - RULES[rule](valley(), x, None, 1.0, rho, torch.zeros).x for rule in ("sam", "ascent"))
    return float((sam - exact).norm() / exact.norm())


def _dropped_limit() -> float:
    """The same for ½xᵀHx, H = diag(2F₁, 2F₂), which L is around its floor: it does not depend on ρ."""
    h = 2 * np.array(curvatures(POINT))
    x = np.full(2, 0.1 / 2**0.5)
    g = h * x
    u = g / np.linalg.norm(g)
    ahead = h * (x + u)
    dropped = h * (ahead - u * (u @ ahead)) / np.linalg.norm(g)
    return float(np.linalg.norm(dropped) / np.linalg.norm(ahead + dropped))
