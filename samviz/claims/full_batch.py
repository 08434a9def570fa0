"""Full-batch SAM: both phases of Theorem 4.5, the gradient's angle to v₁, decreasing sharpness, edge of stability."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Evidence, Plot, at_most, claim, decreasing, exponent, line, near
from samviz.claims.subjects import (
    VALLEY_START,
    cycle_points,
    cycle_size,
    gradient_flow_limit,
    interpolating,
    iterates,
    limiting_flow,
    new_run,
    overshoot,
    pairs,
    sine,
    stronger_flow,
    worst_direction_sharpness,
)
from samviz.dynamics import Run, edge_of_stability, gradient_descent_minimum, phase_boundary, tracking_error
from samviz.dynamics.theory import Kind
from samviz.geometry import normal_space, third_derivative, top_eigenpairs
from samviz.problems import MLP, Problem, Valley, mlp, quadratic, valley
from samviz.problems.problem import one_thread

FLOOR = torch.tensor([0.6, 0.9, 0.0, 0.0], dtype=torch.float64)  # a point of the floor, where phase II starts
FLOW_TIMES = (0.05, 0.1, 0.2, 0.4)  # at which SAM is compared with gradient flow in phase I


@claim("Theorem 4.5, phase I", order=4.51, symbols="phase I, phase II", fails_with=[{"rule": "normalized_gd"}])
def phase_one(quick: bool, rule: str = "sam") -> Evidence:
    """SAM first follows gradient flow, and is O(ηρ) from Γ after a number of steps proportional to ln(1/ρ)/η.

    The slowest part is the decay along λ_M by 1 − ηλ_M each step: −1/ln(1 − ηλ_M) steps for each e-fold of ρ.
    """
    rates, radii = np.array([0.03, 0.015, 0.0075]), np.logspace(-3, -6, 4) if quick else np.logspace(-3, -8, 6)
    network, start = interpolating()[0], torch.tensor(VALLEY_START, dtype=torch.float64)
    cases = [
        ("valley", valley(), start, rates, 500 if quick else 700, 1),
        ("network", network, network.initial(0), np.array([0.2]), 4000, 20),
    ]
    for name, problem, x0, lr, steps, every in cases[: 1 if quick else 2]:
        run = new_run(problem, rule, *pairs(lr, radii), x0=x0)
        for _ in range(steps // every):
            run.measure(k=1, trace=False)
            run.step(every)
        boundaries = phase_boundary(run.history).reshape(len(lr), -1)  # to within `every` steps, (rates, radii)
        smallest = float(normal_space(problem, gradient_flow_limit(problem, x0).x).smallest)
        for rate, count in zip(lr, boundaries):
            (slope, error), predicted = line(np.log(1 / radii), count), -1 / np.log(1 - rate * smallest)
            quantity = f"η times steps for each e-fold of ρ, η = {rate:g}, {name}"
            yield near(quantity, rate * predicted, rate * slope, relative=0.1, error=rate * error)
            theory = rate * (count[0] + predicted * np.log(radii[0] / radii))
            yield Curve(f"{name}, η = {rate:g}", 1 / radii, rate * count)
            yield Curve(f"predicted slope, {name}, η = {rate:g}", 1 / radii, theory, predicted=True)
    rates, radii = np.array([0.01, 0.005, 0.0025]), np.array([1e-2, 1e-3, 1e-4])
    by_rate = _distance_from_gradient_flow(rule, rates, np.full(3, 1e-6))
    by_radius = _distance_from_gradient_flow(rule, np.full(3, 0.001), radii)
    yield exponent("exponent of η in the distance from gradient flow, ρ = 1e-6", rates, by_rate, 1)
    yield decreasing("distance from gradient flow as η falls", by_rate)
    yield decreasing("distance from gradient flow as ρ falls, η = 0.001", by_radius)
    yield Plot("1/ρ", "η · steps until ‖∇L‖ is on the 2-cycle's scale", log_y=False)
    yield "Only the slope is predicted: the lines start at the largest ρ."


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
    run = new_run(problem, rule, lr, rho, x0=cycle_points(problem, minimum, lr, rho))
    return iterates(run, np.outer(tau, 1 / (lr * rho**2)))


@claim(
    "Theorem 4.5, phase II, Eq. 7",
    order=4.52,
    symbols="τ = ηρ²t; dX/dτ = −½∂Φ∇λ₁; ‖Φ(x(t)) − X(τ)‖; (2/(2 − ηλ₁))²",
    fails_with=[{"rule": "gd"}, {"kind": "average"}],
)
def phase_two(quick: bool, rule: str = "sam", kind: Kind = "worst") -> Evidence:
    """SAM then tracks the flow dX/dτ = −½∂Φ∇λ₁ on Γ, τ = ηρ²t, with an error that falls in proportion to η.

    The theorem bounds the error by O(η ln(1/ρ)) while ρ/η is small: an exponent of 1 or more.
    """
    rates = np.array([0.01, 0.005, 0.0025] if quick else [0.01, 0.005, 0.0025, 0.00125])
    tau = np.array([0.05, 0.15])
    x = phase_two_iterates(valley(), rule, FLOOR, rates, 0.2, tau)
    flow = limiting_flow(valley(), FLOOR, kind, times=tau).x.numpy()
    limit = gradient_flow_limit(valley(), x.flatten(0, 1)).x.view(x.shape).numpy()
    error = np.linalg.norm(limit - flow, axis=2).max(0)
    stronger = stronger_flow(FLOOR[:2].numpy(), rates, tau, "worst")
    error_of_stronger = np.linalg.norm(limit[..., :2] - stronger, axis=2).max(0)
    yield exponent("exponent of η in the tracking error, valley", rates, error, 1)
    yield decreasing("tracking error as η falls, valley", error)
    yield Plot("η", "‖Φ(x(t)) − X(τ)‖")
    yield Curve("valley", rates, error)
    yield Curve("∝ η", rates, error[-1] * rates / rates[-1], predicted=True)
    yield Curve("valley, from the flow with (2/(2 − ηλ₁))²", rates, error_of_stronger)
    yield (
        "Our own formula explains nearly all of the valley's error: on the 2-cycle the drift is "
        f"(2/(2 − ηλ₁))² times that of Eq. 7. With this factor the error is at most {error_of_stronger.max():.1g} "
        f"instead of {error.max():.1g}. ρ is large here, which saves steps: the valley has no length scale next to "
        "its floor."
    )
    if not quick:
        problem, minimum = interpolating()
        tau = np.array([0.02])
        flow_of_network = limiting_flow(problem, minimum, kind, times=tau)
        results = []
        for lr, rho in ((np.array([0.16, 0.08, 0.04]), 0.02), (np.array([0.01, 0.005, 0.0025]), 0.1)):
            x = phase_two_iterates(problem, rule, minimum, lr, rho, tau)
            results.append((lr, tracking_error(problem, x, flow_of_network).amax(0).numpy()))
        small, large = results
        yield exponent("exponent of η in the tracking error, network", *small, 1, or_more=True)
        yield decreasing("tracking error as η falls, network", small[1])
        yield Curve("network", *small)
        yield Curve("network, ρ/η large", *large)
        yield (
            "The theorem assumes that ρ/η is small, and the network needs it: at ρ = 0.1 and η = "
            f"{', '.join(f'{rate:g}' for rate in large[0])} the error is {', '.join(f'{e:.2g}' for e in large[1])}."
        )


@claim("Theorem 4.5, phase II", order=4.53, symbols="∠(∇L, v₁)", fails_with=[{"rule": "gd"}])
def gradient_angle(quick: bool, rule: str = "sam") -> Evidence:
    """In phase II the angle between the gradient and the top eigenvector is O(ρ).

    On the valley it is ‖∇λ₁‖ηρ/(2(2 − ηλ₁)) to first order: the gradient turns by half as much as v₁ does.
    """
    radii, steps = np.array([0.03, 0.01, 0.003, 0.001]), 300 if quick else 1000
    for name, problem, minimum, rate in (("valley", valley(), FLOOR, 0.005), ("network", *interpolating(), 0.1)):
        lr = np.full_like(radii, rate)
        offset = torch.randn(problem.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        x0 = cycle_points(problem, minimum, lr, radii) + 0.01 * rate * torch.from_numpy(radii)[:, None] * offset
        run = new_run(problem, rule, lr, radii, x0=x0)
        run.step(steps)
        angle = sine(problem.gradient(run.x)[1], top_eigenpairs(problem, run.x).vectors[:, 0]).numpy()
        yield exponent(f"exponent of ρ in the angle, {name}", radii, angle, 1)
        yield Curve(f"{name}, η = {rate:g}", radii, angle)
        if isinstance(problem, Valley):
            x1, x2 = run.x[:, 0].numpy(), run.x[:, 1].numpy()
            top = problem.eigenvalues(run.x)[:, 0].numpy()
            theory = np.hypot(4 * x1, 24 * x2) * rate * radii / (2 * (2 - rate * top))
            yield near("angle divided by ‖∇λ₁‖ηρ/(2(2 − ηλ₁)), valley", 1, angle / theory, absolute=0.01)
            yield Curve(f"predicted, {name}", radii, theory, predicted=True)
        else:
            yield Curve(f"∝ ρ, {name}", radii, angle[-1] * radii / radii[-1], predicted=True)
    yield Plot("ρ", "sin ∠(∇L, v₁)")
    yield (
        "The angle is measured by its sine: a cosine cannot resolve angles below 1e-8. On the network the angle over ρ "
        "grows during the first 1/(ηλ_M) steps, the time scale of its slowest normal direction."
    )


@claim("Corollary 4.6", order=4.6, symbols="R_Max(x(t))", fails_with=[{"rule": "gd"}])
def sharpness_on_the_way(quick: bool, rule: str = "sam") -> Evidence:
    """Throughout phase II worst-direction sharpness is R_Max(x(t)) = ρ²λ₁(X(τ))/2 up to a relative error of order η.

    The 2-cycle alone gives 2ηλ₁/(2 − ηλ₁), because its points are at distance ηρλ₁/(2 − ηλ₁) from Γ.
    """
    rates, tau = [0.01, 0.005, 0.0025] if quick else [0.01, 0.005, 0.0025, 0.00125], np.array([0.02, 0.05])
    cases = [
        ("valley", valley(), FLOOR, rates, 0.2 if quick else 0.1),
        ("network", *interpolating(), [0.08, 0.04, 0.02], 0.05),
    ]
    for name, problem, minimum, rates, rho in cases[: 1 if quick else 2]:
        lr = np.array(rates)
        x = phase_two_iterates(problem, rule, minimum, lr, rho, tau)
        top = top_eigenpairs(problem, limiting_flow(problem, minimum, times=tau).x[:, 0]).values[:, 0]
        predicted = (rho**2 * top / 2)[:, None]
        measured = worst_direction_sharpness(problem, x.flatten(0, 1), rho).value.view(x.shape[:2])
        error = (measured / predicted - 1).abs().amax(0).numpy()
        yield exponent(f"exponent of η in the relative error of R_Max, {name}", lr, error, 1)
        yield decreasing(f"relative error of R_Max as η falls, {name}", error)
        yield Curve(name, lr, error)
        cycle = 2 * lr * float(top[0]) / (2 - lr * float(top[0]))
        yield Curve(f"2ηλ₁/(2 − ηλ₁), {name}", lr, cycle, predicted=True)
    yield Plot("η", "|R_Max(x(t)) / (ρ²λ₁(X(τ))/2) − 1|")
    yield "The dashed lines show the effect of the 2-cycle alone; the faster drift along Γ compensates part of it."


@claim("Corollary 4.7", order=4.7, symbols="R_Max(x(t))", fails_with=[{"rule": "gd"}, {"rule": "usam"}])
def sharpness_at_the_end(quick: bool, rule: str = "sam") -> Evidence:
    """SAM finally minimizes worst-direction sharpness: L_Max(x(T))/ρ² tends to the minimum of λ₁/2 on Γ as η falls.

    On the valley that is F₁ = 8, at (0, 0). At a finite η the 2-cycle there raises L_Max/ρ² to 8(2/(2 − 16η))².
    """
    rates = np.array([0.04, 0.02, 0.01] if quick else [0.02, 0.01, 0.005])
    radii = np.array([0.6, 0.5, 0.4] if quick else [0.4, 0.3, 0.2])
    lr, rho = pairs(rates, radii)
    run = new_run(valley(), rule, lr, rho, x0=VALLEY_START)
    x = iterates(run, 2.5 / (lr * rho**2)[None])[0]  # at τ = 2.5 x₁ is e⁻⁵ of its start, or less
    descent = new_run(valley(), "gd", rates[-1], x0=VALLEY_START)
    descent.step(1000)
    predicted = 8 * overshoot(rates, 16)
    measured = _worst_loss(x, rho).reshape(len(rates), -1)
    excess, excess_of_descent = measured - 8, _worst_loss(descent.x.expand(len(radii), -1), radii).min() - 8
    tolerance = 1e-4  # x₁², by which F₁ is above 8, is down to e⁻¹⁰
    yield near("L_Max(x(T))/ρ² divided by 8(2/(2 − 16η))²", 1, measured / predicted[:, None], absolute=tolerance)
    yield decreasing("excess over the minimum of λ₁/2 as η falls, the largest of three ρ", excess.max(1))
    quantity = "SAM's excess divided by that of gradient descent, smallest η"
    yield at_most(quantity, excess[-1] / excess_of_descent, 0.5, low=0)
    yield Plot("η", "L_Max(x(T))/ρ² − 8")
    for radius, column in zip(radii, excess.T):
        yield Curve(f"ρ = {radius:g}", rates, column)
    yield Curve("8(2/(2 − 16η))² − 8", rates, predicted - 8, predicted=True)
    yield Curve("gradient descent", rates, np.full(len(rates), excess_of_descent))
    yield (
        "The excess does not depend on ρ: the valley has no length scale next to its floor. "
        f"Gradient descent stays where phase I ended, at least {excess_of_descent:.2f} above the minimum."
    )


def _worst_loss(x: Tensor, rho: Array) -> Array:
    """Return L_Max(x)/ρ² on the valley, each run with its own ρ, (runs,)."""
    rises = [worst_direction_sharpness(valley(), x[i : i + 1], float(r)).value for i, r in enumerate(rho)]
    return np.asarray(torch.cat(rises) + valley().loss(x)) / rho**2


@claim(
    "Section 4; Arora, Li & Panigrahi 2022",
    order=4.71,
    symbols="x ← x − η∇L/‖∇L‖",
    fails_with=[{"rule": "normalized_gd"}, {"other": "sam"}],
)
def sharpness_per_step(quick: bool, rule: str = "sam", other: str = "normalized_gd") -> Evidence:
    """SAM lowers λ₁ by ½ηρ²‖∂Φ∇λ₁‖² a step, linear in η; normalized gradient descent by ¼η²‖∂Φ∇λ₁‖²/λ₁, quadratic.

    Normalized gradient descent has a 2-cycle, too, of size η/2 on average for any λ₁: there a step along Γ is
    −η · ½s²∂Φ∇λ₁/(λ₁s) with s = η/2, that is −¼η²∂Φ∇λ₁/λ₁.
    """
    factors = []
    radii, rates = np.array([0.1, 0.03, 0.01, 0.003]), np.geomspace(0.008, 0.001, 4)
    cases = [("valley", valley(), FLOOR, rates), ("network", *interpolating(), 2.5 * rates)]  # their λ₁: 26 and 3.9
    for name, problem, minimum, lr in cases[: 1 if quick else 2]:
        space = normal_space(problem, minimum)
        top = float(space.values[0, 0])
        slope = float(space.tangent(third_derivative(problem, minimum, space.vectors[:, :1])).norm())
        rho, smallest = np.full_like(lr, 0.01), np.full_like(radii, lr[-1])
        x0 = minimum + torch.from_numpy(lr / 2)[:, None] * space.vectors[0, 0]
        by_rate = _decrease(new_run(problem, rule, lr, rho, x0=cycle_points(problem, minimum, lr, rho)))
        start = cycle_points(problem, minimum, smallest, radii)
        by_radius = _decrease(new_run(problem, rule, smallest, radii, x0=start))
        normalized = _decrease(new_run(problem, other, lr, x0=x0))
        yield exponent(f"exponent of η, SAM, {name}", lr, by_rate, 1)
        yield exponent(f"exponent of ρ, SAM, {name}", radii, by_radius, 2)
        yield exponent(f"exponent of η, normalized gradient descent, {name}", lr, normalized, 2)
        predicted = lr * rho**2 * slope**2 / 2
        for method, measured, expected in (
            (f"SAM, {name}", by_rate, predicted),
            (f"normalized gradient descent, {name}", normalized, lr**2 * slope**2 / (4 * top)),
        ):
            ratio = measured / expected
            quantity = f"measured decrease divided by the predicted one at the smallest η, {method}"
            yield near(quantity, 1, ratio[-1], absolute=2 * lr[-1] * top)
            yield decreasing(f"distance of that ratio from 1 as η falls, {method}", np.abs(ratio - 1))
            yield Curve(method, lr, measured)
            yield Curve(f"predicted, {method}", lr, expected, predicted=True)
        factors.append(f"{by_rate[0] / predicted[0]:.3f} ({overshoot(lr[0], top):.3f}) on the {name}")
    yield Plot("η", "decrease of λ₁(Φ(x)) per step")
    yield (
        "At the largest η SAM's decrease divided by the predicted one, and in brackets the 2-cycle's (2/(2 − ηλ₁))²: "
        f"{', '.join(factors)}. Normalized gradient descent has no such factor."
    )


def _decrease(run: Run) -> Array:
    """Return the decrease of λ₁ at Φ(x) per step, averaged over an even number of steps, (runs,)."""
    tops = []
    for steps in (20, 100):  # both even, to end on the side of the 2-cycle where they began
        run.step(steps)
        limit = gradient_flow_limit(run.problem, run.x).x
        tops.append(np.asarray(top_eigenpairs(run.problem, limit).values[:, 0]))
    return np.asarray((tops[0] - tops[1]) / 100)


@claim("Theorem 4.8", order=4.8, symbols="A, a = ηρλ₁/(2 − ηλ₁)", fails_with=[{"rule": "gd"}, {"rule": "usam"}])
def two_cycle(quick: bool, rule: str = "sam") -> Evidence:
    """On a quadratic SAM ends in a 2-cycle across the minimum, along v₁, of size ηρλ₁/(2 − ηλ₁)."""
    spectrum, radii, rates = (3.0, 1.5, 1.0), np.logspace(-3, 0, 4), np.array([0.03, 0.1, 0.3])
    rho, lr = pairs(radii, rates)
    start = np.random.default_rng(0).normal(size=(len(rho), 3))
    run = new_run(quadratic(spectrum), rule, lr, rho, x0=start)
    run.step(800 if quick else 2000)
    before = run.x.numpy()
    size = np.linalg.norm(before, axis=1)
    predicted = cycle_size(lr, rho, spectrum[0])
    run.step(1)
    asymmetry = np.linalg.norm(run.x.numpy() + before, axis=1) / size
    yield near("‖x‖ divided by ηρλ₁/(2 − ηλ₁)", 1, size / predicted, absolute=1e-6)
    yield near("1 − |cos(x, v₁)|", 0, 1 - np.abs(before[:, 0]) / size, absolute=1e-6)
    yield near("‖x(t+1) + x(t)‖/‖x(t)‖", 0, asymmetry, absolute=1e-4)
    for rate in rates:
        same = lr == rate
        yield exponent(f"exponent of ρ in ‖x‖, η = {rate:g}", radii, size[same], 1, 1e-6)
        yield Curve(f"η = {rate:g}", radii, size[same])
        yield Curve(f"predicted, η = {rate:g}", radii, predicted[same], predicted=True)
    distance = [np.abs(size / (lr * rho) - spectrum[0] / 2)[lr == rate].max() for rate in rates[::-1]]
    yield decreasing("distance of ‖x‖/(ηρ) from λ₁/2 as η falls", distance)
    yield Plot("ρ", "‖x‖ on the cycle")


@cache
def trained() -> tuple[MLP, Tensor]:
    """Return the tutorial's 1-24-24-1 network on the sine and a gradient-descent minimum of it, (673,)."""
    problem = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
    return problem, gradient_descent_minimum(problem)


def predicted_decrease(problem: MLP, x: Tensor, lr: float, rho: Array, steps: list[int]) -> Array:
    """Return the decrease of λ₁ by Eq. 7 within few steps, with Hessian and ∇λ₁ fixed, (steps, rhos).

    Each step adds the drift −½ηρ²∇λ₁, stronger by (2/(2 − ηλ₁))² on the 2-cycle. Gradient descent, I − η∇²L, lets it
    accumulate along Γ and damps it across: Σⱼ (I − η∇²L)ʲ∇λ₁ after t steps. An ill-conditioned network does not
    separate the two clearly.
    """
    top = top_eigenpairs(problem, x)
    gradient = third_derivative(problem, x, top.vectors)  # ∇λ₁, (1, 1, dim)
    product, shift, shifts = problem.hvp(x[None]), torch.zeros_like(gradient), []
    with one_thread(problem):
        for _ in range(steps[-1]):
            shift = shift - lr * product(shift) + gradient
            shifts.append(float((shift * gradient).sum()))
    stronger = overshoot(lr, float(top.values))
    return np.asarray(0.5 * lr * rho**2 * stronger * np.array([shifts[t - 1] for t in steps])[:, None])


@claim(
    "Theorem 4.5",
    order=4.54,
    symbols="λ₁ ≥ λ₂ ≥ …, v₁; x ← x − η∇L(x + ρu); gᵀHg/(λ₁‖g‖²)",
    fails_with=[{"rule": "gd"}],
)
def network_aligns(quick: bool, rule: str = "sam") -> Evidence:
    """On a network, too, SAM turns the gradient to v₁ and lowers λ₁ in proportion to ρ²; gradient descent does not.

    The decrease of λ₁ is the one that Eq. 7 and the 2-cycle's overshoot predict from ∇λ₁ at the start alone.
    """
    problem, x = trained()
    lr, rho = 0.05, np.array([0.0025, 0.005, 0.01] if quick else [0.00125, 0.0025, 0.005, 0.01])
    times = [100, 200, 300] if quick else [300, 1000, 2000, 4000]
    sam, descent = new_run(problem, rule, lr, rho, x0=x), new_run(problem, "gd", lr, x0=x)
    descent.measure(k=2, trace=False)
    decrease = np.empty((len(times), len(rho)))
    for row, step in enumerate(times):
        for run in (sam, descent):
            run.step(step - run.steps - 1)
            before = run.x
            run.step()
            run.measure(k=2, trace=False)
            middle = top_eigenpairs(problem, (before + run.x) / 2).values[:, 0].numpy()  # λ₁ itself jumps by O(ηρ)
            decrease[row] = middle if run is sam else middle - decrease[row]
    top_of_descent, top = (run.history["eigenvalues"][..., 0] for run in (descent, sam))
    predicted = predicted_decrease(problem, x, lr, rho, times)
    ratio = decrease / predicted
    yield at_most("gradient descent: |cos(∇L, v₁)|", descent.history["cos_v1"].ravel(), 1e-3)
    growth = float(top_of_descent[-1] / top_of_descent[0])
    yield Check("gradient descent: λ₁ after the last step divided by λ₁ before the first", 1, growth, 1 - 1e-6)
    names = {
        "cos_v1": "|cos(∇L, v₁)|",
        "cos_eigenspace": "∇L's share in the top eigenspace",
        "rayleigh": "Rayleigh ratio gᵀHg/(λ₁‖g‖²)",
    }
    for key, name in names.items():
        yield Check(f"SAM: {name} after the last step, smallest of all ρ", 1, float(sam.history[key][-1].min()), 0.99)
    yield at_most("SAM: λ₁ after the last step divided by gradient descent's", top[-1] / top_of_descent[-1], 1)
    yield decreasing("SAM: λ₁ after the last step as ρ grows", top[-1])
    yield exponent(f"λ₁(gradient descent) − λ₁(SAM) ∝ ρ^p at step {times[0]}: p", rho, decrease[0], 2, 0.1)
    yield near(f"that difference divided by Eq. 7's at ρ = {rho[0]:g}", 1, ratio[:, 0], relative=0.05)
    yield decreasing("distance of that ratio from 1 at the last step as ρ falls", np.abs(ratio[-1] - 1)[::-1])
    yield Plot("steps", "λ₁(gradient descent) − λ₁(SAM)")
    for r, radius in enumerate(rho):
        yield Curve(f"ρ = {radius:g}", np.array(times, float), decrease[:, r])
        yield Curve(f"Eq. 7 with overshoot, ρ = {radius:g}", np.array(times, float), predicted[:, r], predicted=True)
    yield (
        f"λ₁ starts at {top_of_descent[0]:.2f}. Gradient descent itself raises it by "
        f"{top_of_descent[-1] - top_of_descent[0]:.3f} in {times[-1]:,} steps, so SAM's effect is measured relative to "
        f"it. At ρ = {rho[-1]:g} the decrease is {ratio[-1, -1]:.0%} of the prediction by step {times[-1]:,}: by then "
        "∇λ₁ has changed."
    )
    if not quick:
        yield _crossing(problem, x)


def _crossing(problem: MLP, x: Tensor) -> str:
    """Describe what happens at a large ρ, where λ₁ decreases until it meets λ₂."""
    run = new_run(problem, "sam", 0.1, 0.02, x0=x)
    run.step(3000)
    for _ in range(4):
        run.step(250)
        run.measure(k=2, trace=False)
    gap, cosine, space, ratio = (run.history[name] for name in ("gap", "cos_v1", "cos_eigenspace", "rayleigh"))
    return (
        f"At η = 0.1, ρ = 0.02 λ₁ meets λ₂: around step {run.steps:,} they are {gap[-1]:.1%} apart, |cos(∇L, v₁)| is "
        f"between {cosine.min():.2f} and {cosine.max():.2f} (Assumption 4.4 no longer holds), but the share in the "
        f"top eigenspace is {space.min():.3f} or more, the Rayleigh ratio {ratio.min():.3f} or more."
    )


@claim("Long & Bartlett (2024)", order=6, symbols="‖g‖/(2ρ)·(√(1 + 8ρ/(η‖g‖)) − 1)", fails_with=[{"rule": "usam"}])
def edge_of_sam(quick: bool, rule: str = "sam") -> Evidence:
    """In training from random weights λ₁ rises to SAM's edge of stability, far below that of gradient descent, 2/η.

    The edge is ‖g‖/(2ρ)·(√(1 + 8ρ/(η‖g‖)) − 1), g = ∇L. In phase II it is equal to λ₁: on the 2-cycle this is an
    identity, since ‖g‖ = ηρλ₁²/(2 − ηλ₁).
    """
    problem, x = trained()
    training = new_run(problem, rule, [0.1, 0.2], 0.02, x0=problem.initial(0))
    descent = new_run(problem, "gd", [0.1, 0.2], x0=problem.initial(0))
    early, late = 250, [1000, 1500, 2000, 2500]
    for mark in (early, *late):
        for run in (training, descent):
            run.step(mark - run.steps)
            run.measure(k=2, trace=False)
    top, control = (run.history["eigenvalues"][..., 0] for run in (training, descent))  # (marks, rates)
    edge = edge_of_stability([0.1, 0.2], 0.02, training.history["grad_norm"])
    yield near(
        f"from random weights: λ₁ divided by the edge from step {late[0]} on", 1, top[1:] / edge[1:], relative=0.03
    )
    yield at_most(
        f"from random weights: λ₁ at step {early} divided by the largest λ₁ later", top[0] / top[1:].max(0), 0.9
    )
    yield at_most("the largest λ₁ of SAM divided by that of gradient descent", top.max(0) / control.max(0), 0.6)
    lr, share = np.repeat([0.1, 0.05], 3), np.tile([1.0, 0.5, 0.25], 2)
    start = torch.tensor([0.6, 0.4, 0.1, 0.1], dtype=torch.float64)
    cases = [  # name, problem, start, η, ρ and τ = ηρ²t
        ("network", problem, x, lr, share * (0.02 if quick else 0.01), 0.001),
        ("valley", valley(), start, lr / 2, share * (0.4 if quick else 0.2), 0.2),
    ]
    for name, loss, x0, rates, radii, tau in cases:
        ends = iterates(new_run(loss, rule, rates, radii, x0=x0), tau / (rates * radii**2)[None])[0]
        lengths = loss.gradient(ends)[1].norm(dim=1).numpy()
        ratio = top_eigenpairs(loss, ends).values[:, 0].numpy() / edge_of_stability(rates, radii, lengths)
        distance = np.abs(ratio - 1).reshape(2, 3)
        yield near(f"{name}: λ₁ divided by the edge", 1, ratio, relative=0.03)
        quantity = f"{name}: distance of that ratio from 1, the larger of two η, as ρ falls at equal τ"
        yield decreasing(quantity, distance.max(0))
        for i in range(2):
            yield Curve(f"{name}, η = {rates[3 * i]:g}", radii[:3], distance[i])
    small = np.array([1e-3, 1e-4, 1e-5, 1e-6])
    gap = 1 - edge_of_stability(0.1, small, 1.0) / (2 / 0.1)
    yield exponent("1 − edge/(2/η) ∝ ρ^p at η = 0.1, ‖g‖ = 1: p", small, gap, 1, 0.05)
    ratio = gap[-1] / (2 * small[-1] / 0.1)
    yield near("that gap divided by 2ρ/(η‖g‖) at the smallest ρ", 1, ratio, relative=1e-3)
    yield Plot("ρ", "|λ₁/edge − 1|")
    yield (
        f"From random weights at η = 0.1, λ₁ of gradient descent rises to {control[-1, 0]:.1f} in {late[-1]:,} steps "
        f"(2/η is 20), and λ₁ of SAM to {top[-1, 0]:.1f}. In phase II the comparison is an identity on the 2-cycle. "
        "What is left is O(ηρ): the distance of the iterate from Γ, since λ₁ differs between the two sides."
    )
