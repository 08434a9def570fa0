"""A network to which the theory's assumptions do not apply exactly: alignment, decreasing λ₁, edge of stability."""

from __future__ import annotations

import numpy as np
import torch
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
    near,
)
from samviz.claims.subjects import iterates, new_run, overshoot
from samviz.dynamics import edge_of_stability, gradient_descent_minimum
from samviz.geometry import third_derivative, top_eigenpairs
from samviz.problems import MLP, Problem, mlp, valley
from samviz.problems.device import one_thread


def trained() -> tuple[MLP, Tensor]:
    """Return the tutorial's 1-24-24-1 network on the sine and a gradient-descent minimum of it, (673,)."""
    problem = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
    return problem, gradient_descent_minimum(problem)


def predicted_decrease(problem: MLP, x: Tensor, lr: float, rho: Array, marks: list[int]) -> Array:
    """Return the decrease of λ₁ by Eq. 7 within few steps, with Hessian and ∇λ₁ fixed, (marks, rhos).

    Each step adds the drift −½ηρ²∇λ₁, stronger by (2/(2 − ηλ₁))² on the 2-cycle. Gradient descent, I − η∇²L, lets it
    accumulate along Γ and damps it across: Σⱼ (I − η∇²L)ʲ∇λ₁ after t steps. An ill-conditioned network does not
    separate the two clearly.
    """
    top = top_eigenpairs(problem, x)
    gradient = third_derivative(problem, x, top.vectors)  # ∇λ₁, (1, 1, dim)
    product, shift, shifts = problem.hvp(x[None]), torch.zeros_like(gradient), []
    with one_thread(problem):
        for _ in range(marks[-1]):
            shift = shift - lr * product(shift) + gradient
            shifts.append(float((shift * gradient).sum()))
    stronger = overshoot(lr, float(top.values))
    return np.asarray(0.5 * lr * rho**2 * stronger * np.array([shifts[mark - 1] for mark in marks])[:, None])


@claim("Theorem 4.5", order=4.54, symbols="λ₁ ≥ λ₂ ≥ …, v₁; x ← x − η∇L(x + ρu); gᵀHg/(λ₁‖g‖²)", fails=[{"rule": "gd"}])
def network_aligns(quick: bool, rule: str = "sam") -> Finding:
    """On a network, too, SAM turns the gradient to v₁ and lowers λ₁ in proportion to ρ²; gradient descent does not.

    The decrease of λ₁ is the one that Eq. 7 and the 2-cycle's overshoot predict from ∇λ₁ at the start alone.
    """
    problem, x = trained()
    lr, rho = 0.05, np.array([0.0025, 0.005, 0.01] if quick else [0.00125, 0.0025, 0.005, 0.01])
    marks = [100, 200, 300] if quick else [300, 1000, 2000, 4000]
    sam, descent = new_run(problem, rule, lr, rho, x0=x), new_run(problem, "gd", lr, x0=x)
    descent.measure(k=2, trace=False)
    lowered = np.empty((len(marks), len(rho)))
    for row, mark in enumerate(marks):
        for run in (sam, descent):
            run.step(mark - run.steps - 1)
            before = run.x
            run.step()
            run.measure(k=2, trace=False)
            middle = top_eigenpairs(problem, (before + run.x) / 2).values[:, 0].numpy()  # λ₁ itself jumps by O(ηρ)
            lowered[row] = middle if run is sam else middle - lowered[row]
    control, top = (run.history["eigenvalues"][..., 0] for run in (descent, sam))
    law = predicted_decrease(problem, x, lr, rho, marks)
    ratio = lowered / law
    names = {
        "cos_v1": "|cos(∇L, v₁)|",
        "cos_eigenspace": "∇L's share in the top eigenspace",
        "rayleigh": "Rayleigh ratio gᵀHg/(λ₁‖g‖²)",
    }
    ends = {name: float(sam.history[key][-1].min()) for key, name in names.items()}
    last_ratio = f"that over Eq. 7's at ρ = {rho[0]:g}, the worst of all marks"
    checks = [
        at_most("gradient descent: |cos(∇L, v₁)|, the largest", descent.history["cos_v1"].max(), 1e-3),
        Check("gradient descent: λ₁ at the end over λ₁ before", 1, float(control[-1] / control[0]), 1 - 1e-6),
        *(Check(f"SAM: {name} at the end, the smallest over ρ", 1, value, 0.99) for name, value in ends.items()),
        at_most("SAM: λ₁ at the end over gradient descent's, the largest", (top[-1] / control[-1]).max(), 1),
        decreasing("SAM: λ₁ at the end as ρ grows", top[-1]),
        exponent(f"λ₁(gradient descent) − λ₁(SAM) ∝ ρ^p at step {marks[0]}: p", rho, lowered[0], 2, 0.1),
        near(last_ratio, 1, farthest_from_1(ratio[:, 0]), relative=0.05),
        decreasing("distance of that ratio from 1 at the last mark as ρ falls", np.abs(ratio[-1] - 1)[::-1]),
    ]
    curves, steps = [], np.array(marks, float)
    for r, radius in enumerate(rho):
        curves.append(Curve(f"ρ = {radius:g}", steps, lowered[:, r]))
        curves.append(Curve(f"Eq. 7 with overshoot, ρ = {radius:g}", steps, law[:, r], predicted=True))
    remark = (
        f"λ₁ starts at {control[0]:.2f}. Gradient descent itself raises it by {control[-1] - control[0]:.3f} in "
        f"{marks[-1]:,} steps, so SAM's effect is measured relative to it. At ρ = {rho[-1]:g} the decrease is "
        f"{ratio[-1, -1]:.0%} of the prediction by step {marks[-1]:,}: by then ∇λ₁ has changed. "
    ) + ("" if quick else _crossing(problem, x))
    return Finding(checks, Plot("steps", "λ₁(gradient descent) − λ₁(SAM)", curves), remark.strip())


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


@claim("Agarwala & Dauphin (2023)", order=6, symbols="‖g‖/(2ρ)·(√(1 + 8ρ/(η‖g‖)) − 1)", fails=[{"rule": "usam"}])
def edge_of_sam(quick: bool, rule: str = "sam") -> Finding:
    """In phase II λ₁ is at SAM's edge of stability, which tends to gradient descent's edge 2/η as ρ → 0.

    The edge is ‖g‖/(2ρ)·(√(1 + 8ρ/(η‖g‖)) − 1), g = ∇L.
    """
    problem, x = trained()
    lr, share = np.repeat([0.1, 0.05], 3), np.tile([1.0, 0.5, 0.25], 2)
    start = torch.tensor([0.6, 0.4, 0.1, 0.1], dtype=torch.float64)
    cases: list[tuple[str, Problem, Tensor, Array, Array, float]] = [  # ..., start, η, ρ and τ = ηρ²t
        ("network", problem, x, lr, share * (0.02 if quick else 0.01), 0.001),
        ("valley", valley(), start, lr / 2, share * (0.4 if quick else 0.2), 0.2),
    ]
    checks, curves = [], []
    for name, loss, x0, rates, radii, tau in cases:
        ends = iterates(new_run(loss, rule, rates, radii, x0=x0), tau / (rates * radii**2)[None])[0]
        lengths = loss.gradient(ends)[1].norm(dim=1).numpy()
        ratio = top_eigenpairs(loss, ends).values[:, 0].numpy() / edge_of_stability(rates, radii, lengths)
        off = np.abs(ratio - 1).reshape(2, 3)
        checks += [
            near(f"{name}: λ₁ over the edge, the worst of six (η, ρ)", 1, farthest_from_1(ratio), relative=0.03),
            decreasing(f"{name}: its distance from 1, the larger of two η, as ρ falls at equal τ", off.max(0)),
        ]
        curves += [Curve(f"{name}, η = {rates[3 * i]:g}", radii[:3], off[i]) for i in range(2)]
    small = np.array([1e-3, 1e-4, 1e-5, 1e-6])
    gap = 1 - edge_of_stability(0.1, small, 1.0) / (2 / 0.1)
    checks += [
        exponent("1 − edge/(2/η) ∝ ρ^p at η = 0.1, ‖g‖ = 1: p", small, gap, 1, 0.05),
        near("that over 2ρ/(η‖g‖) at the smallest ρ", 1, gap[-1] / (2 * small[-1] / 0.1), relative=1e-3),
    ]
    remark = (
        "λ₁ determines the edge there: on the 2-cycle ‖g‖ = ηρλ₁²/(2 − ηλ₁), and for that length the edge is λ₁ "
        "exactly. Gradient descent reaches its edge only where λ₁ has grown to 2/η; SAM is at its own edge for any "
        "smaller λ₁. What is left is O(ηρ): the distance of the iterate from Γ, since λ₁ differs between the two sides."
    )
    return Finding(checks, Plot("ρ", "|λ₁/edge − 1|", curves), remark)
