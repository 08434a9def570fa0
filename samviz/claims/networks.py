"""A network to which the theory's assumptions do not apply exactly: alignment, decreasing λ₁, edge of stability."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Evidence, Plot, at_most, claim, decreasing, exponent, near
from samviz.claims.subjects import iterates, new_run, overshoot
from samviz.dynamics import edge_of_stability, gradient_descent_minimum
from samviz.geometry import third_derivative, top_eigenpairs
from samviz.problems import MLP, mlp, valley
from samviz.problems.device import one_thread


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


@claim("Agarwala & Dauphin (2023)", order=6, symbols="‖g‖/(2ρ)·(√(1 + 8ρ/(η‖g‖)) − 1)", fails_with=[{"rule": "usam"}])
def edge_of_sam(quick: bool, rule: str = "sam") -> Evidence:
    """In phase II λ₁ is at SAM's edge of stability, which tends to gradient descent's edge 2/η as ρ → 0.

    The edge is ‖g‖/(2ρ)·(√(1 + 8ρ/(η‖g‖)) − 1), g = ∇L.
    """
    problem, x = trained()
    lr, share = np.repeat([0.1, 0.05], 3), np.tile([1.0, 0.5, 0.25], 2)
    start = torch.tensor([0.6, 0.4, 0.1, 0.1], dtype=torch.float64)
    cases = [  # ..., start, η, ρ and τ = ηρ²t
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
        "λ₁ determines the edge there: on the 2-cycle ‖g‖ = ηρλ₁²/(2 − ηλ₁), and for that length the edge is λ₁ "
        "exactly. Gradient descent reaches its edge only where λ₁ has grown to 2/η; SAM is at its own edge for any "
        "smaller λ₁. What is left is O(ηρ): the distance of the iterate from Γ, since λ₁ differs between the two sides."
    )
