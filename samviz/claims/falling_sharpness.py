"""How full-batch SAM lowers sharpness: Corollaries 4.6 and 4.7, and by how much each step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Finding, Plot, claim, exponent, falls, near, worst
from samviz.claims.full_batch import BESIDE, FLOOR, WITHIN
from samviz.claims.runs import iterates, on_cycle, phase_two_run
from samviz.claims.subjects import interpolating
from samviz.dynamics import Run, gradient_flow_limit, limiting_flow
from samviz.geometry import normal_space, third_derivative, top_eigenpairs, worst_direction_sharpness
from samviz.problems import Problem, valley

LEAST = 8.0  # the least λ₁/2 on the valley's floor: F₁ at (0, 0)
END = 2.5  # τ at which x₁ has e⁻⁵ of its way left, or less
SETTLING, STEPS = 20, 100  # both even, to end on the side of the 2-cycle where they began
NETWORK = 2.5  # its η over the valley's: its λ₁ is a sixth


@claim("Corollary 4.6")
def sharpness_on_the_way(quick: bool) -> Finding:
    """All along phase II worst-direction sharpness is R_Max(x(t)) = ρ²λ₁(X(τ))/2 up to a share of order η.

    The share is about (2/(2 − ηλ₁))² − 1: on the 2-cycle SAM stands beside Γ, on one side of it.
    """
    coarse, fine = [0.01, 0.005, 0.0025], [0.01, 0.005, 0.0025, 0.00125]
    subjects: list[tuple[str, Problem, Tensor, list[float], float]] = [
        ("valley", valley(), FLOOR, coarse if quick else fine, 0.2 if quick else 0.1)
    ]
    if not quick:
        subjects.append(("network", *interpolating(), [0.08, 0.04, 0.02], 0.05))
    tau = np.array([0.02, 0.05])
    checks, curves, settings = [], [], {}
    for name, subject, start, rates, rho in subjects:
        lr = np.array(rates)
        x, steps = phase_two_run(subject, start, lr, rho, tau)
        top = top_eigenpairs(subject, limiting_flow(subject, start, times=tau).x[:, 0]).values[:, 0]
        predicted = (rho**2 * top / 2)[:, None]
        measured = worst_direction_sharpness(subject, x.flatten(0, 1), rho).value.view(x.shape[:2])
        off = (measured / predicted - 1).abs().amax(0).numpy()
        checks += [
            exponent(f"exponent of η in the relative error of R_Max, {name}", lr, off, 1, WITHIN),
            falls(f"relative error of R_Max as η falls, {name}", off),
        ]
        cycle = (2 / (2 - lr * float(top[0]))) ** 2 - 1
        curves += [Curve(name, lr, off), Curve(f"(2/(2 − ηλ₁))² − 1, {name}", lr, cycle, predicted=True)]
        settings[name] = {"from": "the 2-cycle", "lr": rates, "rho": rho, "tau": tau.tolist(), "steps": steps}
    remark = "The 2-cycle alone would leave the dashed lines; its faster drift along Γ takes some of that back."
    return Finding(checks, settings, Plot("η", "|R_Max(x(t)) / (ρ²λ₁(X(τ))/2) − 1|", curves), remark)


@claim("Corollary 4.7")
def sharpness_at_the_end(quick: bool) -> Finding:
    """In the end SAM has minimized worst-direction sharpness: L_Max(x(T))/ρ² tends to the least λ₁/2 on Γ as η falls.

    On the valley that is 8, at (0, 0), and the 2-cycle there leaves 8(2/(2 − 16η))².
    """
    rates = np.array([0.04, 0.02, 0.01] if quick else [0.02, 0.01, 0.005])
    radii = np.array([0.6, 0.5, 0.4] if quick else [0.4, 0.3, 0.2])
    lr, rho = (grid.ravel() for grid in np.meshgrid(rates, radii, indexing="ij"))
    run = Run(valley(), "sam", lr, rho, x0=np.tile(BESIDE, (len(lr), 1)), device="cpu")
    x = iterates(run, END / (lr * rho**2)[None])[0]
    descent = Run(valley(), "gd", rates[-1], x0=BESIDE, device="cpu")
    descent.step(1000)
    height = worst_loss(x, rho).reshape(len(rates), -1)
    still = worst_loss(descent.x.expand(len(radii), -1), radii)
    predicted = LEAST * (2 / (2 - 2 * LEAST * rates)) ** 2
    share = float((height[-1] - LEAST).max() / (still - LEAST).min())
    checks = [
        near(
            "L_Max(x(T))/ρ² over 8(2/(2 − 16η))², the worst of 9 runs",
            1,
            worst(height / predicted[:, None]),
            absolute=1e-4,  # x₁², by which F₁ is above 8, is down to e⁻¹⁰
        ),
        falls("excess over the least λ₁/2 as η falls, the worst ρ", (height - LEAST).max(1)),
        Check("excess of SAM at the least η over that of gradient descent", 0, share, low=0, high=0.5),
    ]
    curves = [
        *(Curve(f"ρ = {radius:g}", rates, column - LEAST) for radius, column in zip(radii, height.T)),
        Curve("8(2/(2 − 16η))² − 8", rates, predicted - LEAST, predicted=True),
        Curve("gradient descent", rates, np.full(len(rates), still.min() - LEAST)),
    ]
    settings = {
        "problem": "valley()",
        "x0": BESIDE,
        "lr": rates.tolist(),
        "rho": radii.tolist(),
        "tau": END,
        "steps": run.steps,
    }
    remark = (
        "The excess does not depend on ρ: on the valley the fall to the floor has no scale of its own. "
        f"Gradient descent stays where phase I left it, {still.min() - LEAST:.2f} above the least or more."
    )
    return Finding(checks, settings, Plot("η", "L_Max(x(T))/ρ² − 8", curves), remark)


def worst_loss(x: Tensor, rho: Array) -> Array:
    """L_Max(x)/ρ² on the valley, each run with its own ρ, (runs,)."""
    problem = valley()
    rises = [worst_direction_sharpness(problem, x[i : i + 1], float(r)).value for i, r in enumerate(rho)]
    return np.asarray(torch.cat(rises) + problem.loss(x)) / rho**2


@claim("Section 4; Arora, Li & Panigrahi 2022")
def sharpness_per_step(quick: bool) -> Finding:
    """SAM lowers λ₁ by ½ηρ²‖∂Φ∇λ₁‖² a step, linear in η; normalized gradient descent by ¼η²‖∂Φ∇λ₁‖²/λ₁, quadratic.

    Normalized gradient descent has a 2-cycle, too, of size η/2 on average, whatever λ₁: there a step along Γ is
    −η · ½s²∂Φ∇λ₁/(λ₁s) with s = η/2, that is −¼η²∂Φ∇λ₁/λ₁.
    """
    checks, curves, ratios = [], [], []
    radii, rates = np.array([0.1, 0.03, 0.01, 0.003]), np.geomspace(0.008, 0.001, 4)
    subjects: list[tuple[str, Problem, Tensor, Array]] = [("valley", valley(), FLOOR, rates)]
    if not quick:
        subjects.append(("network", *interpolating(), NETWORK * rates))
    for name, problem, foot, lr in subjects:
        space = normal_space(problem, foot)
        top = float(space.values[0, 0])
        slope = float(space.tangent(third_derivative(problem, foot, space.vectors[:, :1])).norm())
        small, least = np.full_like(lr, 0.01), np.full_like(radii, lr[-1])
        half = foot + torch.from_numpy(lr / 2)[:, None] * space.vectors[0, 0]
        by_rate = fall(Run(problem, "sam", lr, small, x0=on_cycle(problem, foot, lr, small), device="cpu"))
        by_radius = fall(Run(problem, "sam", least, radii, x0=on_cycle(problem, foot, least, radii), device="cpu"))
        normalized = fall(Run(problem, "normalized_gd", lr, x0=half, device="cpu"))
        checks += [
            exponent(f"exponent of η, SAM, {name}", lr, by_rate, 1, WITHIN),
            exponent(f"exponent of ρ, SAM, {name}", radii, by_radius, 2, WITHIN),
            exponent(f"exponent of η, normalized gradient descent, {name}", lr, normalized, 2, WITHIN),
        ]
        for rule, found, expected in (
            ("SAM", by_rate, lr * small**2 * slope**2 / 2),
            ("normalized gradient descent", normalized, lr**2 * slope**2 / (4 * top)),
        ):
            off, whose = found / expected, f"{rule}, {name}"
            checks += [
                near(f"fall over the predicted one at the least η, {whose}", 1, off[-1], absolute=2 * lr[-1] * top),
                falls(f"distance of that ratio from 1 as η falls, {whose}", np.abs(off - 1)),
            ]
            curves += [Curve(whose, lr, found), Curve(f"predicted, {whose}", lr, expected, predicted=True)]
        cycle = (2 / (2 - lr[0] * top)) ** 2
        ratios.append(f"{by_rate[0] / (lr[0] * 1e-4 * slope**2 / 2):.3f} ({cycle:.3f}) on the {name}")
    settings = {
        "valley": {"foot": FLOOR.tolist(), "lr": rates.tolist()},
        "network": {"foot": "interpolating()", "lr": (NETWORK * rates).tolist()},
        "rho": [0.01, *radii.tolist()],
        "steps": [SETTLING, STEPS],
    }
    remark = (
        "At the largest η SAM's fall over the predicted one, and in brackets the 2-cycle's (2/(2 − ηλ₁))²: "
        f"{', '.join(ratios)}. Normalized gradient descent has no such factor."
    )
    return Finding(checks, settings, Plot("η", "fall of λ₁(Φ(x)) each step", curves), remark)


def fall(run: Run) -> Array:
    """How much λ₁ at Φ(x) falls each step, on average over an even number of steps, (runs,)."""
    before = shadow_top(run, SETTLING)
    return (before - shadow_top(run, STEPS)) / STEPS


def shadow_top(run: Run, steps: int) -> Array:
    """λ₁ at Φ(x) after some more steps, (runs,)."""
    run.step(steps)
    shadow = gradient_flow_limit(run.problem, run.x).x
    return np.asarray(top_eigenpairs(run.problem, shadow).values[:, 0])
