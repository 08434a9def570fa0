"""Full-batch SAM: the two phases of Theorem 4.5, the angle of the gradient to v₁, and the decrease of sharpness."""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from samviz.claims.claim import (
    Array,
    Check,
    Curve,
    Finding,
    Plot,
    at_most,
    claim,
    decreasing,
    exponent,
    farthest_from_1,
    line,
    near,
)
from samviz.claims.subjects import (
    VALLEY_START,
    gradient_flow_limit,
    grid,
    interpolating,
    iterates,
    limiting_flow,
    new_run,
    on_cycle,
    overshoot,
    sine,
    stronger_flow,
    worst_direction_sharpness,
)
from samviz.dynamics import Run, phase_boundary, tracking_error
from samviz.dynamics.flows import Kind
from samviz.geometry import normal_space, third_derivative, top_eigenpairs
from samviz.problems import Problem, Valley, valley

FLOOR = torch.tensor([0.6, 0.9, 0.0, 0.0], dtype=torch.float64)  # a point of the floor, where phase II starts
EXPONENT_TOLERANCE = 0.2
FLOW_TIMES = (0.05, 0.1, 0.2, 0.4)  # at which SAM is compared with gradient flow in phase I


@claim("Theorem 4.5, phase I", order=4.51, symbols="phase I, phase II", fails=[{"rule": "normalized_gd"}])
def phase_one(quick: bool, rule: str = "sam") -> Finding:
    """SAM first follows gradient flow, and is O(ηρ) from Γ after a number of steps proportional to ln(1/ρ)/η.

    The slowest part is the decay along λ_M by 1 − ηλ_M each step: −1/ln(1 − ηλ_M) steps for each e-fold of ρ.
    """
    rates, radii = np.array([0.03, 0.015, 0.0075]), np.logspace(-3, -6, 4) if quick else np.logspace(-3, -8, 6)
    start = torch.tensor(VALLEY_START, dtype=torch.float64)
    cases: list[tuple[str, Problem, Tensor, Array, int, int]] = [
        ("valley", valley(), start, rates, 500 if quick else 700, 1)
    ]
    if not quick:
        network = interpolating()[0]
        cases.append(("network", network, network.initial(0), np.array([0.2]), 4000, 20))
    checks, curves = [], []
    for name, problem, x0, lr, steps, every in cases:
        arrivals = _arrivals(problem, rule, x0, lr, radii, steps, every)
        smallest = float(normal_space(problem, gradient_flow_limit(problem, x0).x).smallest)
        for rate, count in zip(lr, arrivals):
            (slope, error), predicted = line(np.log(1 / radii), count), -1 / np.log(1 - rate * smallest)
            quantity = f"η times steps for each e-fold of ρ, η = {rate:g}, {name}"
            checks.append(near(quantity, rate * predicted, rate * slope, relative=0.1, error=rate * error))
            theory = rate * (count[0] + predicted * np.log(radii[0] / radii))
            curves += [
                Curve(f"{name}, η = {rate:g}", 1 / radii, rate * count),
                Curve(f"predicted slope, {name}, η = {rate:g}", 1 / radii, theory, predicted=True),
            ]
    rates, radii = np.array([0.01, 0.005, 0.0025]), np.array([1e-2, 1e-3, 1e-4])
    by_rate = _distance_from_gradient_flow(rule, rates, np.full(3, 1e-6))
    by_radius = _distance_from_gradient_flow(rule, np.full(3, 0.001), radii)
    name = "exponent of η in the distance from gradient flow, ρ = 1e-6"
    checks += [
        exponent(name, rates, by_rate, 1, EXPONENT_TOLERANCE),
        decreasing("distance from gradient flow as η falls", by_rate),
        decreasing("distance from gradient flow as ρ falls, η = 0.001", by_radius),
    ]
    plot = Plot("1/ρ", "η · steps until ‖∇L‖ is on the 2-cycle's scale", curves, log_y=False)
    return Finding(checks, plot, "Only the slope is predicted: the lines start at the largest ρ.")


def _arrivals(problem: Problem, rule: str, x0: Tensor, lr: Array, rho: Array, steps: int, every: int) -> Array:
    """Return the step at which phase II begins, to within `every` steps, for each η and ρ, (rates, radii)."""
    rates, radii = grid(lr, rho)
    run = new_run(problem, rule, rates, radii, x0=x0)
    for _ in range(steps // every):
        run.measure(k=1, trace=False)
        run.step(every)
    return phase_boundary(run.history).reshape(len(lr), -1)


def _distance_from_gradient_flow(rule: str, lr: Array, rho: Array) -> Array:
    """Return the largest distance of step t from gradient flow at time ηt, over four times, on the valley, (runs,)."""
    problem = valley()

    def velocity(_: float, y: Array) -> Array:
        return np.asarray(-problem.gradient(torch.from_numpy(y)[None])[1][0])

    span = {"t_span": (0, FLOW_TIMES[-1]), "t_eval": FLOW_TIMES}
    flow = solve_ivp(velocity, y0=VALLEY_START, method="LSODA", rtol=1e-9, atol=1e-12, **span).y.T
    run = new_run(problem, rule, lr, rho, x0=VALLEY_START)
    x = iterates(run, np.outer(FLOW_TIMES, 1 / lr)).numpy()
    return np.asarray(np.linalg.norm(x - flow[:, None], axis=2).max(0))


def phase_two_iterates(problem: Problem, rule: str, minimum: Tensor, lr: Array, rho: float, tau: Array) -> Tensor:
    """Run from the 2-cycle next to a point of Γ, and return the iterates (times, runs, dim) at t = τ/(ηρ²)."""
    run = new_run(problem, rule, lr, rho, x0=on_cycle(problem, minimum, lr, rho))
    return iterates(run, np.outer(tau, 1 / (lr * rho**2)))


@claim(
    "Theorem 4.5, phase II, Eq. 7",
    order=4.52,
    symbols="τ = ηρ²t; dX/dτ = −½∂Φ∇λ₁; ‖Φ(x(t)) − X(τ)‖; (2/(2 − ηλ₁))²",
    fails=[{"rule": "gd"}, {"kind": "average"}],
)
def phase_two(quick: bool, rule: str = "sam", kind: Kind = "worst") -> Finding:
    """SAM then tracks the flow dX/dτ = −½∂Φ∇λ₁ on Γ, τ = ηρ²t, with an error that falls in proportion to η.

    The theorem bounds the error by O(η ln(1/ρ)) while ρ/η is small: an exponent of 1 or more.
    """
    rates = np.array([0.01, 0.005, 0.0025] if quick else [0.01, 0.005, 0.0025, 0.00125])
    tau = np.array([0.05, 0.15])
    x = phase_two_iterates(valley(), rule, FLOOR, rates, 0.2, tau)
    off = tracking_error(valley(), x, limiting_flow(valley(), FLOOR, kind, times=tau)).amax(0).numpy()
    limit = gradient_flow_limit(valley(), x.flatten(0, 1)).x.view(x.shape).numpy()
    left = np.linalg.norm(limit[..., :2] - stronger_flow(FLOOR[:2].numpy(), rates, tau, "worst"), axis=2).max(0)
    checks = [
        exponent("exponent of η in the tracking error, valley", rates, off, 1, EXPONENT_TOLERANCE),
        decreasing("tracking error as η falls, valley", off),
    ]
    curves = [
        Curve("valley", rates, off),
        Curve("∝ η", rates, off[-1] * rates / rates[-1], predicted=True),
        Curve("valley, from the flow with (2/(2 − ηλ₁))²", rates, left),
    ]
    remark = (
        "A law beyond the theorem explains nearly all of the valley's error: on the 2-cycle the drift is "
        f"(2/(2 − ηλ₁))² times that of Eq. 7. With this factor the error is at most {left.max():.1g} instead of "
        f"{off.max():.1g}. ρ is large here, which saves steps: the valley has no length scale next to its floor."
    )
    if not quick:
        problem, minimum = interpolating()
        tau = np.array([0.02])
        flow = limiting_flow(problem, minimum, kind, times=tau)
        results = []
        for lr, rho in ((np.array([0.16, 0.08, 0.04]), 0.02), (np.array([0.01, 0.005, 0.0025]), 0.1)):
            x = phase_two_iterates(problem, rule, minimum, lr, rho, tau)
            results.append((lr, tracking_error(problem, x, flow).amax(0).numpy()))
        small, large = results
        slope, error = line(*np.log(small))
        name = "exponent of η in the tracking error, network"
        checks += [
            Check(name, 1, slope, low=1 - EXPONENT_TOLERANCE, error=error),
            decreasing("tracking error as η falls, network", small[1]),
        ]
        curves += [Curve("network", *small), Curve("network, ρ/η large", *large)]
        remark += (
            " The theorem assumes that ρ/η is small, and the network needs it: at ρ = 0.1 and η = "
            f"{', '.join(f'{rate:g}' for rate in large[0])} the error is {', '.join(f'{e:.2g}' for e in large[1])}."
        )
    return Finding(checks, Plot("η", "‖Φ(x(t)) − X(τ)‖", curves), remark)


@claim("Theorem 4.5, phase II", order=4.53, symbols="∠(∇L, v₁)", fails=[{"rule": "gd"}])
def gradient_angle(quick: bool, rule: str = "sam") -> Finding:
    """In phase II the angle between the gradient and the top eigenvector is O(ρ).

    On the valley it is ‖∇λ₁‖ηρ/(2(2 − ηλ₁)) to first order: the gradient turns by half as much as v₁ does.
    """
    problem, minimum = interpolating()
    radii, steps = np.array([0.03, 0.01, 0.003, 0.001]), 300 if quick else 1000
    checks, curves = [], []
    cases = (("valley", valley(), FLOOR, 0.005), ("network", problem, minimum, 0.1))
    for name, subject, start, rate in cases:
        lr = np.full_like(radii, rate)
        offset = torch.randn(subject.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x0 = on_cycle(subject, start, lr, radii) + 0.01 * rate * torch.from_numpy(radii)[:, None] * offset
        run = new_run(subject, rule, lr, radii, x0=x0)
        run.step(steps)
        angle = sine(subject.gradient(run.x)[1], top_eigenpairs(subject, run.x).vectors[:, 0]).numpy()
        checks.append(exponent(f"exponent of ρ in the angle, {name}", radii, angle, 1, EXPONENT_TOLERANCE))
        law = Curve(f"∝ ρ, {name}", radii, angle[-1] * radii / radii[-1], predicted=True)
        if isinstance(subject, Valley):
            x1, x2 = run.x[:, 0].numpy(), run.x[:, 1].numpy()
            top = subject.eigenvalues(run.x)[:, 0].numpy()
            theory = np.hypot(4 * x1, 24 * x2) * rate * radii / (2 * (2 - rate * top))
            ratio = farthest_from_1(angle / theory)
            checks.append(near("angle over ‖∇λ₁‖ηρ/(2(2 − ηλ₁)), the worst, valley", 1, ratio, absolute=0.01))
            law = Curve(f"predicted, {name}", radii, theory, predicted=True)
        curves += [Curve(f"{name}, η = {rate:g}", radii, angle), law]
    remark = (
        "The angle is measured by its sine: a cosine cannot resolve angles below 1e-8. On the network the angle over ρ "
        "grows during the first 1/(ηλ_M) steps, the time scale of its slowest normal direction."
    )
    return Finding(checks, Plot("ρ", "sin ∠(∇L, v₁)", curves), remark)


@claim("Corollary 4.6", order=4.6, symbols="R_Max(x(t))", fails=[{"rule": "gd"}])
def sharpness_on_the_way(quick: bool, rule: str = "sam") -> Finding:
    """Throughout phase II worst-direction sharpness is R_Max(x(t)) = ρ²λ₁(X(τ))/2 up to a relative error of order η.

    The 2-cycle alone gives 2ηλ₁/(2 − ηλ₁), because its points are at distance ηρλ₁/(2 − ηλ₁) from Γ.
    """
    coarse, fine = [0.01, 0.005, 0.0025], [0.01, 0.005, 0.0025, 0.00125]
    cases: list[tuple[str, Problem, Tensor, list[float], float]] = [
        ("valley", valley(), FLOOR, coarse if quick else fine, 0.2 if quick else 0.1)
    ]
    if not quick:
        cases.append(("network", *interpolating(), [0.08, 0.04, 0.02], 0.05))
    tau = np.array([0.02, 0.05])
    checks, curves = [], []
    for name, problem, start, rates, rho in cases:
        lr = np.array(rates)
        x = phase_two_iterates(problem, rule, start, lr, rho, tau)
        top = top_eigenpairs(problem, limiting_flow(problem, start, times=tau).x[:, 0]).values[:, 0]
        predicted = (rho**2 * top / 2)[:, None]
        measured = worst_direction_sharpness(problem, x.flatten(0, 1), rho).value.view(x.shape[:2])
        off = (measured / predicted - 1).abs().amax(0).numpy()
        checks += [
            exponent(f"exponent of η in the relative error of R_Max, {name}", lr, off, 1, EXPONENT_TOLERANCE),
            decreasing(f"relative error of R_Max as η falls, {name}", off),
        ]
        cycle = 2 * lr * float(top[0]) / (2 - lr * float(top[0]))
        curves += [Curve(name, lr, off), Curve(f"2ηλ₁/(2 − ηλ₁), {name}", lr, cycle, predicted=True)]
    remark = "The dashed lines show the effect of the 2-cycle alone; the faster drift along Γ compensates part of it."
    return Finding(checks, Plot("η", "|R_Max(x(t)) / (ρ²λ₁(X(τ))/2) − 1|", curves), remark)


@claim("Corollary 4.7", order=4.7, symbols="R_Max(x(t))", fails=[{"rule": "gd"}, {"rule": "usam"}])
def sharpness_at_the_end(quick: bool, rule: str = "sam") -> Finding:
    """In the end SAM has minimized worst-direction sharpness: L_Max(x(T))/ρ² tends to the least λ₁/2 on Γ as η falls.

    On the valley that is F₁ = 8, at (0, 0), and the 2-cycle there leaves 8(2/(2 − 16η))².
    """
    rates = np.array([0.04, 0.02, 0.01] if quick else [0.02, 0.01, 0.005])
    radii = np.array([0.6, 0.5, 0.4] if quick else [0.4, 0.3, 0.2])
    lr, rho = grid(rates, radii)
    least = 8.0
    run = new_run(valley(), rule, lr, rho, x0=VALLEY_START)
    x = iterates(run, 2.5 / (lr * rho**2)[None])[0]  # at τ = 2.5 x₁ is e⁻⁵ of its start, or less
    descent = new_run(valley(), "gd", rates[-1], x0=VALLEY_START)
    descent.step(1000)
    height = _worst_loss(x, rho).reshape(len(rates), -1)
    stays = _worst_loss(descent.x.expand(len(radii), -1), radii)
    predicted = least * overshoot(rates, 2 * least)
    share = (height[-1] - least).max() / (stays - least).min()
    checks = [
        near(
            "L_Max(x(T))/ρ² over 8(2/(2 − 16η))², the worst of 9 runs",
            1,
            farthest_from_1(height / predicted[:, None]),
            absolute=1e-4,  # x₁², by which F₁ is above 8, is down to e⁻¹⁰
        ),
        decreasing("excess over the least λ₁/2 as η falls, the worst ρ", (height - least).max(1)),
        at_most("excess of SAM at the least η over that of gradient descent", share, 0.5, low=0),
    ]
    curves = [
        *(Curve(f"ρ = {radius:g}", rates, column - least) for radius, column in zip(radii, height.T)),
        Curve("8(2/(2 − 16η))² − 8", rates, predicted - least, predicted=True),
        Curve("gradient descent", rates, np.full(len(rates), stays.min() - least)),
    ]
    remark = (
        "The excess does not depend on ρ: the valley has no length scale next to its floor. "
        f"Gradient descent stays where phase I ended, {stays.min() - least:.2f} above the least or more."
    )
    return Finding(checks, Plot("η", "L_Max(x(T))/ρ² − 8", curves), remark)


def _worst_loss(x: Tensor, rho: Array) -> Array:
    """Return L_Max(x)/ρ² on the valley, each run with its own ρ, (runs,)."""
    rises = [worst_direction_sharpness(valley(), x[i : i + 1], float(r)).value for i, r in enumerate(rho)]
    return np.asarray(torch.cat(rises) + valley().loss(x)) / rho**2


@claim(
    "Section 4; Arora, Li & Panigrahi 2022",
    order=4.71,
    symbols="x ← x − η∇L/‖∇L‖",
    fails=[{"rule": "normalized_gd"}, {"other": "sam"}],
)
def sharpness_per_step(quick: bool, rule: str = "sam", other: str = "normalized_gd") -> Finding:
    """SAM lowers λ₁ by ½ηρ²‖∂Φ∇λ₁‖² a step, linear in η; normalized gradient descent by ¼η²‖∂Φ∇λ₁‖²/λ₁, quadratic.

    Normalized gradient descent has a 2-cycle, too, of size η/2 on average for any λ₁: there a step along Γ is
    −η · ½s²∂Φ∇λ₁/(λ₁s) with s = η/2, that is −¼η²∂Φ∇λ₁/λ₁.
    """
    checks, curves, ratios = [], [], []
    radii, rates = np.array([0.1, 0.03, 0.01, 0.003]), np.geomspace(0.008, 0.001, 4)
    cases: list[tuple[str, Problem, Tensor, Array]] = [("valley", valley(), FLOOR, rates)]
    if not quick:
        cases.append(("network", *interpolating(), 2.5 * rates))  # its λ₁ is a sixth of the valley's
    for name, problem, minimum, lr in cases:
        space = normal_space(problem, minimum)
        top = float(space.values[0, 0])
        slope = float(space.tangent(third_derivative(problem, minimum, space.vectors[:, :1])).norm())
        small, least = np.full_like(lr, 0.01), np.full_like(radii, lr[-1])
        half = minimum + torch.from_numpy(lr / 2)[:, None] * space.vectors[0, 0]
        by_rate = _decrease(new_run(problem, rule, lr, small, x0=on_cycle(problem, minimum, lr, small)))
        by_radius = _decrease(new_run(problem, rule, least, radii, x0=on_cycle(problem, minimum, least, radii)))
        normalized = _decrease(new_run(problem, other, lr, x0=half))
        checks += [
            exponent(f"exponent of η, SAM, {name}", lr, by_rate, 1, EXPONENT_TOLERANCE),
            exponent(f"exponent of ρ, SAM, {name}", radii, by_radius, 2, EXPONENT_TOLERANCE),
            exponent(f"exponent of η, normalized gradient descent, {name}", lr, normalized, 2, EXPONENT_TOLERANCE),
        ]
        law = lr * small**2 * slope**2 / 2
        for method, found, expected in (
            (f"SAM, {name}", by_rate, law),
            (f"normalized gradient descent, {name}", normalized, lr**2 * slope**2 / (4 * top)),
        ):
            ratio = found / expected
            checks += [
                near(f"fall over the predicted one at the least η, {method}", 1, ratio[-1], absolute=2 * lr[-1] * top),
                decreasing(f"distance of that ratio from 1 as η falls, {method}", np.abs(ratio - 1)),
            ]
            curves += [Curve(method, lr, found), Curve(f"predicted, {method}", lr, expected, predicted=True)]
        ratios.append(f"{by_rate[0] / law[0]:.3f} ({overshoot(lr[0], top):.3f}) on the {name}")
    remark = (
        "At the largest η SAM's decrease over the predicted one, and in brackets the 2-cycle's (2/(2 − ηλ₁))²: "
        f"{', '.join(ratios)}. Normalized gradient descent has no such factor."
    )
    return Finding(checks, Plot("η", "fall of λ₁(Φ(x)) each step", curves), remark)


def _decrease(run: Run) -> Array:
    """Return the decrease of λ₁ at Φ(x) per step, averaged over an even number of steps, (runs,)."""
    tops = []
    for steps in (20, 100):  # both even, to end on the side of the 2-cycle where they began
        run.step(steps)
        limit = gradient_flow_limit(run.problem, run.x).x
        tops.append(np.asarray(top_eigenpairs(run.problem, limit).values[:, 0]))
    return np.asarray((tops[0] - tops[1]) / 100)
