"""Full-batch SAM: Theorem 4.5's two phases, and the gradient's angle to v₁."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Finding, Plot, claim, exponent, falls, line, near, worst
from samviz.claims.runs import iterates, on_cycle, phase_two_run
from samviz.claims.subjects import interpolating
from samviz.claims.toy import stronger_flow
from samviz.dynamics import Run, gradient_flow_limit, limiting_flow, phase_boundary, tracking_error
from samviz.geometry import normal_space, top_eigenpairs
from samviz.problems import Problem, Valley, valley

BESIDE = (0.6, 0.9, 0.1, 0.1)  # where phase I starts on the valley
FLOOR = torch.tensor([0.6, 0.9, 0.0, 0.0], dtype=torch.float64)  # where phase II starts on it
FLOW_TIMES = (0.05, 0.1, 0.2, 0.4)  # at which SAM is compared with gradient flow in phase I
WITHIN = 0.2  # an exponent may be off by this much


@claim("Theorem 4.5, phase I")
def phase_one(quick: bool) -> Finding:
    """SAM first follows gradient flow, and is O(ηρ) from Γ after a number of steps proportional to ln(1/ρ)/η.

    What is slowest is the fall along λ_M: a factor 1 − ηλ_M each step, so −1/ln(1 − ηλ_M) steps for each e-fold of ρ.
    """
    rates, radii = np.array([0.03, 0.015, 0.0075]), np.logspace(-3, -6, 4) if quick else np.logspace(-3, -8, 6)
    subjects: list[tuple[str, Problem, Array, int, int]] = [("valley", valley(), rates, 500 if quick else 700, 1)]
    if not quick:
        subjects.append(("network", interpolating()[0], np.array([0.2]), 4000, 20))
    checks, curves = [], []
    for name, problem, lr, most, every in subjects:
        x0 = torch.tensor(BESIDE, dtype=torch.float64) if isinstance(problem, Valley) else problem.initial(0)
        steps = arrival(problem, x0, lr, radii, most, every)
        least = float(normal_space(problem, gradient_flow_limit(problem, x0).x).smallest)
        for rate, count in zip(lr, steps):
            (slope, error), predicted = line(np.log(1 / radii), count), -1 / np.log(1 - rate * least)
            quantity = f"η times steps for each e-fold of ρ, η = {rate:g}, {name}"
            checks.append(near(quantity, rate * predicted, rate * slope, relative=0.1, error=rate * error))
            theory = rate * (count[0] + predicted * np.log(radii[0] / radii))
            curves += [
                Curve(f"{name}, η = {rate:g}", 1 / radii, rate * count),
                Curve(f"predicted slope, {name}, η = {rate:g}", 1 / radii, theory, predicted=True),
            ]
    by_rate, by_radius = (0.01, 0.005, 0.0025), (1e-2, 1e-3, 1e-4)
    along_rate = from_gradient_flow(np.array(by_rate), np.full(3, 1e-6))
    along_radius = from_gradient_flow(np.full(3, 0.001), np.array(by_radius))
    checks += [
        exponent("exponent of η in the distance from gradient flow, ρ = 1e-6", by_rate, along_rate, 1, WITHIN),
        falls("distance from gradient flow as η falls", along_rate),
        falls("distance from gradient flow as ρ falls, η = 0.001", along_radius),
    ]
    settings = {name: {"lr": lr.tolist(), "steps": most} for name, _, lr, most, _ in subjects} | {
        "x0": {"valley": BESIDE, "network": "initial(0)"},
        "rho": radii.tolist(),
        "flow": {"time": FLOW_TIMES, "lr": by_rate, "rho": by_radius},
    }
    plot = Plot("1/ρ", "η · steps until ‖∇L‖ is on the 2-cycle's scale", curves, log_y=False)
    return Finding(checks, settings, plot, "Only the slope is predicted: the lines start at the largest ρ.")


def arrival(problem: Problem, x0: Tensor, lr: Array, rho: Array, most: int, every: int) -> Array:
    """The step at which phase II begins, seen every few steps, for each η and ρ, (rates, radii)."""
    rates, radii = (grid.ravel() for grid in np.meshgrid(lr, rho, indexing="ij"))
    run = Run(problem, "sam", rates, radii, x0=x0.expand(len(rates), -1), device="cpu")
    for _ in range(most // every):
        run.measure(k=1, trace=False)
        run.step(every)
    return phase_boundary(run.history).reshape(len(lr), -1)


def from_gradient_flow(lr: Array, rho: Array) -> Array:
    """The largest distance of SAM at step t from gradient flow at time ηt, over four times, on the valley, (runs,)."""
    problem = valley()

    def velocity(_: float, y: Array) -> Array:
        return np.asarray(-problem.gradient(torch.from_numpy(y)[None])[1][0])

    span = {"t_span": (0, FLOW_TIMES[-1]), "t_eval": FLOW_TIMES}
    flow = solve_ivp(velocity, y0=BESIDE, method="LSODA", rtol=1e-9, atol=1e-12, **span).y.T
    run = Run(problem, "sam", lr, rho, x0=np.tile(BESIDE, (len(lr), 1)), device="cpu")
    x = iterates(run, np.outer(FLOW_TIMES, 1 / lr)).numpy()
    return np.asarray(np.linalg.norm(x - flow[:, None], axis=2).max(0))


@claim("Theorem 4.5, phase II, Eq. 7")
def phase_two(quick: bool) -> Finding:
    """SAM then tracks the flow dX/dτ = −½∂Φ∇λ₁ on Γ, τ = ηρ²t, with an error that falls in proportion to η.

    The theorem bounds the error by O(η ln(1/ρ)) while ρ/η is small: an exponent of 1 or more.
    """
    rates = np.array([0.01, 0.005, 0.0025] if quick else [0.01, 0.005, 0.0025, 0.00125])
    rho, tau = 0.2, np.array([0.05, 0.15])
    off, left, steps = tracking(valley(), FLOOR, rates, rho, tau)
    checks = [
        exponent("exponent of η in the tracking error, valley", rates, off, 1, WITHIN),
        falls("tracking error as η falls, valley", off),
    ]
    curves = [
        Curve("valley", rates, off),
        Curve("∝ η", rates, off[-1] * rates / rates[-1], predicted=True),
        Curve("valley, from the flow with (2/(2 − ηλ₁))²", rates, left),
    ]
    settings: dict[str, Any] = {
        "valley": {"x0": FLOOR.tolist(), "lr": rates.tolist(), "rho": rho, "tau": tau.tolist(), "steps": steps}
    }
    remark = (
        "Nearly all of the valley's error is a law beyond the theorem: on the 2-cycle the drift is (2/(2 − ηλ₁))² "
        f"times that of Eq. 7. With it {left.max():.1g} is left at most, instead of {off.max():.1g}. "
        "ρ is large here (the fall to the floor has no scale of its own), which saves steps."
    )
    if not quick:
        problem, foot = interpolating()
        lr, rho, tau = np.array([0.16, 0.08, 0.04]), 0.02, np.array([0.02])
        off, _, steps = tracking(problem, foot, lr, rho, tau)
        slope, error = line(np.log(lr), np.log(off))
        checks += [
            Check("exponent of η in the tracking error, network", 1, slope, low=1 - WITHIN, error=error),
            falls("tracking error as η falls, network", off),
        ]
        excluded, radius = np.array([0.01, 0.005, 0.0025]), 0.1
        rises, _, more = tracking(problem, foot, excluded, radius, tau)
        curves += [Curve("network", lr, off), Curve("network, ρ/η large", excluded, rises)]
        common = {"x0": "interpolating()", "tau": tau.tolist()}
        settings["network"] = common | {"lr": lr.tolist(), "rho": rho, "steps": steps}
        settings["network, ρ/η large"] = common | {"lr": excluded.tolist(), "rho": radius, "steps": more}
        remark += (
            f" The theorem wants ρ/η small, and so it must be on the network: at ρ = {radius} and η = "
            f"{', '.join(f'{rate:g}' for rate in excluded)} the error is {', '.join(f'{e:.2g}' for e in rises)}."
        )
    return Finding(checks, settings, Plot("η", "‖Φ(x(t)) − X(τ)‖", curves), remark)


def tracking(problem: Problem, foot: Tensor, lr: Array, rho: float, tau: Array) -> tuple[Array, Array, int]:
    """The largest tracking error over the times, (runs,), from Eq. 7 and from the valley's stronger one; the steps."""
    x, steps = phase_two_run(problem, foot, lr, rho, tau)
    off = tracking_error(problem, x, limiting_flow(problem, foot, times=tau)).amax(0).numpy()
    if not isinstance(problem, Valley):
        return off, off, steps
    shadow = gradient_flow_limit(problem, x.flatten(0, 1)).x.view(x.shape).numpy()
    left = np.linalg.norm(shadow[..., :2] - stronger_flow(foot[:2].numpy(), lr, tau, "worst"), axis=2).max(0)
    return off, left, steps


@claim("Theorem 4.5, phase II")
def gradient_angle(quick: bool) -> Finding:
    """In phase II the angle between the gradient and the top eigenvector is O(ρ).

    On the valley it is ‖∇λ₁‖ηρ/(2(2 − ηλ₁)) to first order: the gradient leans by half as much as v₁ does.
    """
    problem, foot = interpolating()
    radii, steps = np.array([0.03, 0.01, 0.003, 0.001]), 300 if quick else 1000
    checks, curves = [], []
    for name, subject, start, rate in (
        ("valley", valley(), FLOOR, 0.005),
        ("network", problem, foot, 0.1),
    ):
        lr = np.full_like(radii, rate)
        shaken = torch.randn(subject.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x0 = on_cycle(subject, start, lr, radii) + 0.01 * rate * torch.from_numpy(radii)[:, None] * shaken
        run = Run(subject, "sam", lr, radii, x0=x0, device="cpu")
        run.step(steps)
        angle = sine(subject, run.x)
        checks.append(exponent(f"exponent of ρ in the angle, {name}", radii, angle, 1, WITHIN))
        law = Curve(f"∝ ρ, {name}", radii, angle[-1] * radii / radii[-1], predicted=True)
        if isinstance(subject, Valley):
            x1, x2 = run.x[:, 0].numpy(), run.x[:, 1].numpy()
            top = subject.eigenvalues(run.x)[:, 0].numpy()
            theory = np.hypot(4 * x1, 24 * x2) * rate * radii / (2 * (2 - rate * top))
            ratio = worst(angle / theory)
            checks.append(near("angle over ‖∇λ₁‖ηρ/(2(2 − ηλ₁)), the worst, valley", 1, ratio, absolute=0.01))
            law = Curve(f"predicted, {name}", radii, theory, predicted=True)
        curves += [Curve(f"{name}, η = {rate:g}", radii, angle), law]
    settings = {
        "valley": {"x0": FLOOR.tolist(), "lr": 0.005},
        "network": {"x0": "interpolating()", "lr": 0.1},
        "rho": radii.tolist(),
        "steps": steps,
        "from": "the 2-cycle, shaken by 0.01·ηρ times a normal vector of seed 0",
    }
    remark = (
        "The angle is measured by its sine: a cosine is blind below 1e-8. On the network the angle over ρ grows "
        "during the first 1/(ηλ_M) steps, the time its slowest normal direction takes."
    )
    return Finding(checks, settings, Plot("ρ", "sin ∠(∇L, v₁)", curves), remark)


def sine(problem: Problem, x: Tensor) -> Array:
    """The sine of the angle between ∇L and v₁, (runs,), exact where it is small."""
    gradient, top = problem.gradient(x)[1], top_eigenpairs(problem, x).vectors[:, 0]
    across = gradient - (gradient * top).sum(1, keepdim=True) * top
    return np.asarray(across.norm(dim=1) / gradient.norm(dim=1))
