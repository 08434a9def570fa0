"""A network that does not know the theory: alignment, falling λ₁, the edge of stability."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Finding, Plot, claim, exponent, falls, near, worst
from samviz.claims.runs import iterates
from samviz.dynamics import Run, edge_of_stability, gradient_descent_minimum
from samviz.geometry import third_derivative, top_eigenpairs
from samviz.problems import MLP, Problem, mlp, valley
from samviz.problems.device import one_thread


def trained() -> tuple[MLP, Tensor]:
    """The tutorial's 1-24-24-1 network on the sine and a gradient-descent minimum of it, (673,)."""
    problem = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
    return problem, gradient_descent_minimum(problem)


def fall(problem: MLP, x: Tensor, lr: float, rho: Array, marks: list[int]) -> Array:
    """How far Eq. 7 lowers λ₁ within so few steps that Hessian and ∇λ₁ stay what they are, (marks, rhos).

    Each step adds the drift −½ηρ²∇λ₁, stronger by (2/(2 − ηλ₁))² on the 2-cycle, and gradient descent, I − η∇²L, lets
    it grow along Γ and holds it back across: Σⱼ (I − η∇²L)ʲ∇λ₁ after t steps. On an ill-conditioned network there is
    no clear cut between the two.
    """
    top = top_eigenpairs(problem, x)
    change = third_derivative(problem, x, top.vectors)  # ∇λ₁, (1, 1, dim)
    product, shift, shifts = problem.hvp(x[None]), torch.zeros_like(change), []
    with one_thread(problem):
        for _ in range(marks[-1]):
            shift = shift - lr * product(shift) + change
            shifts.append(float((shift * change).sum()))
    stronger = (2 / (2 - lr * float(top.values))) ** 2
    return np.asarray(0.5 * lr * rho**2 * stronger * np.array([shifts[mark - 1] for mark in marks])[:, None])


@claim("Theorem 4.5")
def network_aligns(quick: bool) -> Finding:
    """On a network, too, SAM turns the gradient to v₁ and lowers λ₁ in proportion to ρ²; gradient descent does not.

    The fall of λ₁ is the one that Eq. 7 and the 2-cycle's overshoot predict from ∇λ₁ at the start alone.
    """
    problem, x = trained()
    lr, rho = 0.05, np.array([0.0025, 0.005, 0.01] if quick else [0.00125, 0.0025, 0.005, 0.01])
    marks = [100, 200, 300] if quick else [300, 1000, 2000, 4000]
    sam = Run(problem, "sam", lr, rho, x0=x.repeat(len(rho), 1), device="cpu")
    descent = Run(problem, "gd", lr, x0=x, device="cpu")
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
    law = fall(problem, x, lr, rho, marks)
    ratio = lowered / law
    last = {name: sam.history[name][-1] for name in ("cos_v1", "cos_eigenspace", "rayleigh")}
    checks = [
        Check("gradient descent: |cos(∇L, v₁)|, the largest", 0, float(descent.history["cos_v1"].max()), high=1e-3),
        Check("gradient descent: λ₁ at the end over λ₁ before", 1, float(control[-1] / control[0]), 1 - 1e-6),
        *(
            Check(f"SAM: {name} at the end, the smallest over ρ", 1, float(last[key].min()), 0.99)
            for name, key in (
                ("|cos(∇L, v₁)|", "cos_v1"),
                ("∇L's share in the top eigenspace", "cos_eigenspace"),
                ("Rayleigh ratio gᵀHg/(λ₁‖g‖²)", "rayleigh"),
            )
        ),
        Check("SAM: λ₁ at the end over gradient descent's, the largest", 0, (top[-1] / control[-1]).max(), high=1),
        falls("SAM: λ₁ at the end as ρ grows", top[-1]),
        exponent(f"λ₁(gradient descent) − λ₁(SAM) ∝ ρ^p at step {marks[0]}: p", rho, lowered[0], 2, within=0.1),
        near(f"that over Eq. 7's at ρ = {rho[0]:g}, the worst of all marks", 1, worst(ratio[:, 0]), relative=0.05),
        falls("distance of that ratio from 1 at the last mark as ρ falls", np.abs(ratio[-1] - 1)[::-1]),
    ]
    curves = [
        curve
        for r, radius in enumerate(rho)
        for curve in (
            Curve(f"ρ = {radius:g}", np.array(marks, float), lowered[:, r]),
            Curve(f"Eq. 7 with overshoot, ρ = {radius:g}", np.array(marks, float), law[:, r], predicted=True),
        )
    ]
    settings = {
        "problem": "mlp([1, 24, 24, 1], activation='tanh', data='sine', loss='mse')",
        "x0": "gradient_descent_minimum",
        "lr": lr,
        "rho": rho.tolist(),
        "steps": marks,
    }
    remark = (
        f"λ₁ starts at {control[0]:.2f}. Gradient descent itself raises it by {control[-1] - control[0]:.3f} in "
        f"{marks[-1]:,} steps, so SAM's part is counted against it. At ρ = {rho[-1]:g} the fall is "
        f"{ratio[-1, -1]:.0%} of the prediction by step {marks[-1]:,}: by then ∇λ₁ is no longer what it was. "
    ) + ("" if quick else _meeting(problem, x))
    return Finding(checks, settings, Plot("steps", "λ₁(gradient descent) − λ₁(SAM)", curves), remark.strip())


def _meeting(problem: MLP, x: Tensor) -> str:
    """What a large ρ shows: λ₁ falls until it meets λ₂."""
    run = Run(problem, "sam", 0.1, 0.02, x0=x, device="cpu")
    run.step(3000)
    for _ in range(4):
        run.step(250)
        run.measure(k=2, trace=False)
    gap, cosine, space, ratio = (run.history[name] for name in ("gap", "cos_v1", "cos_eigenspace", "rayleigh"))
    return (
        f"At η = 0.1, ρ = 0.02 λ₁ meets λ₂: around step {run.steps:,} they are {gap[-1]:.1%} apart, |cos(∇L, v₁)| is "
        f"anything from {cosine.min():.2f} to {cosine.max():.2f} (Assumption 4.4 no longer holds), but the share in "
        f"the top eigenspace is {space.min():.3f} or more, the Rayleigh ratio {ratio.min():.3f} or more."
    )


@claim("Agarwala & Dauphin (2023)")
def edge_of_sam(quick: bool) -> Finding:
    """In phase II λ₁ sits at SAM's edge of stability, which tends to gradient descent's edge 2/η as ρ → 0.

    The edge is ‖g‖/(2ρ)·(√(1 + 8ρ/(η‖g‖)) − 1), g = ∇L.
    """
    problem, x = trained()
    lr, share = np.repeat([0.1, 0.05], 3), np.tile([1.0, 0.5, 0.25], 2)
    toy = torch.tensor([0.6, 0.4, 0.1, 0.1], dtype=torch.float64)
    cases: list[tuple[str, Problem, Tensor, Array, Array, float]] = [  # ..., start, η, ρ and τ = ηρ²t
        ("network", problem, x, lr, share * (0.02 if quick else 0.01), 0.001),
        ("valley", valley(), toy, lr / 2, share * (0.4 if quick else 0.2), 0.2),
    ]
    checks, curves = [], []
    for name, loss, start, rates, radii, tau in cases:
        run = Run(loss, "sam", rates, radii, x0=start.repeat(len(lr), 1), device="cpu")
        ends = iterates(run, tau / (rates * radii**2)[None])[0]
        ratio = top_eigenpairs(loss, ends).values[:, 0].numpy() / edge_of_stability(
            rates, radii, loss.gradient(ends)[1].norm(dim=1).numpy()
        )
        off = np.abs(ratio - 1).reshape(2, 3)
        checks += [
            near(f"{name}: λ₁ over the edge, the worst of six (η, ρ)", 1, worst(ratio), relative=0.03),
            falls(f"{name}: its distance from 1, the larger of two η, as ρ falls at equal τ", off.max(0)),
        ]
        curves += [Curve(f"{name}, η = {rates[3 * i]:g}", radii[:3], off[i]) for i in range(2)]
    small = np.array([1e-3, 1e-4, 1e-5, 1e-6])
    short = 1 - edge_of_stability(0.1, small, 1.0) / (2 / 0.1)
    checks += [
        exponent("1 − edge/(2/η) ∝ ρ^p at η = 0.1, ‖g‖ = 1: p", small, short, 1, within=0.05),
        near("that over 2ρ/(η‖g‖) at the smallest ρ", 1, short[-1] / (2 * small[-1] / 0.1), relative=1e-3),
    ]
    settings = {
        "network": "mlp([1, 24, 24, 1], activation='tanh', data='sine', loss='mse') from gradient_descent_minimum",
        "valley": "valley() from (0.6, 0.4, 0.1, 0.1)",
        **{
            f"{name} {what}": value
            for name, _, _, rates, radii, tau in cases
            for what, value in (("lr", rates.tolist()), ("rho", radii.tolist()), ("tau", tau))
        },
    }
    remark = (
        "It is λ₁ that puts the edge there: on the 2-cycle ‖g‖ = ηρλ₁²/(2 − ηλ₁), and for that length the edge is λ₁ "
        "exactly. Gradient descent meets its edge only where λ₁ has grown to 2/η; SAM is at its own at any λ₁ below. "
        "What is left is O(ηρ): the iterate is that far from Γ, and λ₁ differs between the two sides."
    )
    return Finding(checks, settings, Plot("ρ", "|λ₁/edge − 1|", curves), remark)
