"""The limit of gradient flow and the manifold of minimizers: Lemmas 3.2 and 3.5, and the third-order term of a step."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Finding, Plot, at_most, claim, decreasing, exponent, near
from samviz.claims.subjects import (
    floor_points,
    gradient_flow_limit,
    interpolating,
    limiting_flow,
    new_run,
    overshoot,
    unit,
    unit_vectors,
)
from samviz.dynamics.flows import Kind
from samviz.geometry import normal_space, third_derivative
from samviz.problems import Problem, valley

FLOW_TOLERANCE = 1e-12  # of gradient flow: its error over a step h is far below the measured h²


@claim("Lemma 3.2", order=3.2, symbols="Φ(x)", fails=[{"tol": 0.3}])
def flow_is_blind_to_the_gradient(quick: bool, tol: float = FLOW_TOLERANCE) -> Finding:
    """The limit of gradient flow does not change along the gradient: ∂Φ(x)∇L(x) = 0."""
    steps = _halved(0.04, 3 if quick else 5)
    checks, curves = [], []
    for name, problem, minima in _subjects(1 if quick else 4):
        x = minima + 0.2 * unit_vectors(*minima.shape, seed=1)
        directions = torch.stack((unit(problem.gradient(x)[1]), unit_vectors(*minima.shape, seed=2)), 1)
        change = _change_of_limit(problem, x, directions, steps, tol).norm(dim=3)  # (steps, points, 2)
        along, across = change.square().mean(1).sqrt().T.numpy()
        share = _at_zero(along / across)
        checks += [
            exponent(f"{name}: exponent of ‖∂Φ∇L‖ by differences in their step", steps, along, 2, 0.2),
            decreasing(f"{name}: ‖∂Φ∇L‖", along),
            near(f"{name}: ‖∂Φ g‖ over ‖∂Φ r‖, r random, extrapolated to step 0", 0, share, absolute=1e-3),
        ]
        curves += [
            Curve(f"{name}, along ∇L", steps, along),
            Curve(f"{name}, a random direction", steps, across),
            Curve(f"{name}, predicted h²", steps, along[0] * (steps / steps[0]) ** 2, predicted=True),
        ]
    remark = "Central differences have an error of order h². Along ∇L nothing else remains; it is small next to ‖∂Φ r‖."
    return Finding(checks, Plot("step h of the differences", "change of Φ per length", curves), remark)


@claim("Lemma 3.5", order=3.5, symbols="∂Φ, P⊥; Γ; M, D − M", fails=[{"tol": 0.3}, {"rank_tol": 0.1}])
def flow_projects(quick: bool, tol: float = FLOW_TOLERANCE, rank_tol: float = 1e-6) -> Finding:
    """On Γ the derivative of gradient flow's limit, ∂Φ, is the orthogonal projection on the tangent space of Γ."""
    steps = _halved(0.02, 3 if quick else 5)
    checks, curves = [], []
    for name, problem, x in _subjects(1 if quick else 4):
        identity = torch.eye(problem.dim, dtype=x.dtype).expand(len(x), -1, -1)
        jacobian = _change_of_limit(problem, x, identity, steps, tol)  # row i is ∂Φ eᵢ
        errors = {
            "‖∂Φ − P‖": jacobian - normal_space(problem, x, rank_tol=rank_tol).tangent(identity),
            "‖∂Φ∂Φ − ∂Φ‖": jacobian @ jacobian - jacobian,
            "‖∂Φ − ∂Φᵀ‖": jacobian - jacobian.mT,
        }
        size = {what: m.flatten(2).norm(dim=2).square().mean(1).sqrt().numpy() for what, m in errors.items()}
        if name == "valley":  # its floor is flat and its sides are symmetric: only the solver's error is left
            checks += [near(f"{name}: {what}, the largest", 0, y.max(), absolute=1e-6) for what, y in size.items()]
            continue
        off = size["‖∂Φ − P‖"]
        checks += [decreasing(f"{name}: {what}", y) for what, y in size.items()]
        checks += [
            exponent(f"{name}: exponent of ‖∂Φ − P‖ in the differences' step", steps, off, 2, 0.2),
            near(f"{name}: ‖∂Φ − P‖ at the smallest step", 0, off[-1], absolute=1e-3),
        ]
        curves += [Curve(f"{name}, {what}", steps, y) for what, y in size.items()]
        curves.append(Curve(f"{name}, predicted h²", steps, off[0] * (steps / steps[0]) ** 2, predicted=True))
    return Finding(checks, Plot("step h of the differences", "Frobenius norm", curves))


@claim(
    "Section 4, Eq. 7",
    order=4.0,
    symbols="∂²(∇L)[u, u], ∇³L[u, u]; dX/dτ = −½∂Φ∇λ₁",
    fails=[{"rule": "usam"}, {"kind": "average"}],
)
def third_order_term(quick: bool, rule: str = "sam", kind: Kind = "worst") -> Finding:
    """The third-order term of a step along ±v₁ lowers λ₁: ∂Φ∇³L[v₁,v₁] = ∂Φ∇λ₁, and SAM moves Φ by −½ηρ²∂Φ∇λ₁."""
    scales = 3 if quick else 5
    steps, product = _halved(0.02, scales), _halved(0.2, scales)
    checks, curves = [], []
    for name, problem, minimum in _subjects(1):
        space, slope = normal_space(problem, minimum), slope_on_manifold(problem, minimum, steps, kind)
        third = space.tangent(third_derivative(problem, minimum, space.vectors[:, :1]))[0, 0]
        apart = ((slope - third).norm(dim=1) / third.norm()).numpy()
        checks.append(near(f"{name}: ‖∂Φ∇³L[v₁,v₁] − ∂Φ∇λ₁‖ over ‖∂Φ∇λ₁‖, smallest step", 0, apart[-1], absolute=1e-4))
        if name != "valley":  # its λ₁ is quadratic in x: differences make no error
            checks.append(exponent(f"{name}: its exponent in the differences' step", steps, apart, 2, 0.2))
        drift = -slope[-1] / 2
        displacement = _drift_on_cycle(problem, rule, minimum, product, rho=0.01)
        stronger = torch.from_numpy(overshoot(product, 1))[:, None] * drift
        off = ((displacement - drift).norm(dim=1) / drift.norm()).numpy()
        left = ((displacement - stronger).norm(dim=1) / drift.norm()).numpy()
        along = _at_zero((displacement @ drift / drift.square().sum()).numpy())
        checks += [
            decreasing(f"{name}: error of ΔΦ/(ηρ²)", off),
            exponent(f"{name}: its exponent in η", product, off, 1, 0.2),
            near(f"{name}: ΔΦ/(ηρ²) over −½∂Φ∇λ₁, extrapolated to η = 0", 1, along, absolute=0.01),
            at_most(f"{name}: share of the error left by the factor (2/(2 − ηλ₁))²", (left / off).max(), 0.1),
            *flow_starts(problem, minimum, "worst", drift, name),
        ]
        curves.append(Curve(name, product, off))
    curves += [
        Curve("order of the theorem, η", product, product, predicted=True),
        Curve("(2/(2 − ηλ₁))² − 1", product, overshoot(product, 1) - 1, predicted=True),
    ]
    remark = (
        "At a finite η the drift is stronger than the paper's by (2/(2 − ηλ₁))²: on the 2-cycle SAM takes its gradient "
        "2ρ/(2 − ηλ₁) from Γ, not ρ. This factor explains almost all of the error."
    )
    return Finding(checks, Plot("ηλ₁", "relative error of Φ's drift", curves), remark)


def _halved(first: float, count: int) -> Array:
    return np.array([first / 2**i for i in range(count)])


def _subjects(points: int) -> list[tuple[str, Problem, Tensor]]:
    """Return points of Γ (points, dim) of the valley, and one of the small network."""
    network, x = interpolating()
    return [("valley", valley(), floor_points(points)), ("network", network, x[None])]


def _change_of_limit(problem: Problem, x: Tensor, directions: Tensor, steps: Array, tol: float) -> Tensor:
    """Return ∂Φ(x)v for all directions v (points, k, dim) by central differences: (steps, points, k, dim)."""
    h = torch.from_numpy(steps)[:, None, None, None]
    ends = torch.stack((x[:, None] + h * directions, x[:, None] - h * directions))
    limits = gradient_flow_limit(problem, ends.view(-1, problem.dim), tol=tol).x.view(ends.shape)
    change: Tensor = (limits[0] - limits[1]) / (2 * h)
    return change


def slope_on_manifold(problem: Problem, minimum: Tensor, steps: Array, kind: Kind) -> Tensor:
    """Estimate ∂Φ∇λ₁ ("worst") or ∂Φ∇Tr ("average") at a point (1, dim) of Γ, (steps, dim).

    These are central differences of the dense Hessian's eigenvalues, along its eigenvectors of eigenvalue zero.
    """
    values, vectors = torch.linalg.eigh(problem.hessian(minimum)[0])
    tangent = vectors[:, values < 1e-6 * values[-1]].T  # (dim − M, dim)
    h = torch.from_numpy(steps)[:, None, None]
    ends = torch.stack((minimum + h * tangent, minimum - h * tangent))
    spectra = torch.linalg.eigvalsh(problem.hessian(ends.view(-1, problem.dim)))
    height = (spectra[:, -1] if kind == "worst" else spectra.sum(1)).view(ends.shape[:3])
    slope: Tensor = ((height[0] - height[1]) / (2 * h[..., 0])) @ tangent
    return slope


def flow_starts(problem: Problem, minimum: Tensor, kind: Kind, drift: Tensor, name: str) -> list[Check]:
    """Check that the limiting flow from a point (1, dim) of Γ starts with the velocity `drift` (dim,)."""
    tau = torch.tensor((0.004, 0.002, 0.001), dtype=minimum.dtype)
    displacement = limiting_flow(problem, minimum, kind, times=[0, *tau.flip(0)]).x[1:, 0].flip(0) - minimum
    off = ((displacement / tau[:, None] - drift).norm(dim=1) / drift.norm()).numpy()
    lowered = {"worst": "λ₁", "average": "Tr"}[kind]
    quantity = f"{name}: limiting flow's (X(τ) − X(0))/τ, relative distance from −½∂Φ∇{lowered}"
    return [decreasing(f"{quantity} as τ falls", off), near(f"{quantity} at τ = 0.001", 0, off[-1], absolute=0.01)]


def _drift_on_cycle(problem: Problem, rule: str, minimum: Tensor, product: Array, rho: float) -> Tensor:
    """Return ΔΦ/(ηρ²) per step over one period of SAM's 2-cycle at a point of Γ, for ηλ₁ = product: (η, dim)."""
    space = normal_space(problem, minimum)
    top, v = float(space.values[0, 0]), space.vectors[:, 0]
    start = minimum + torch.from_numpy(rho * product / (2 - product))[:, None] * v
    run = new_run(problem, rule, product / top, rho, x0=start)
    run.step(2)
    before, after = gradient_flow_limit(problem, torch.cat((start, run.x)), tol=FLOW_TOLERANCE).x.chunk(2)
    displacement: Tensor = (after - before) / torch.from_numpy(2 * product / top * rho**2)[:, None]
    return displacement


def _at_zero(values: Array) -> float:
    """Extrapolate values at halving steps to step 0 by Richardson's method, from the last three."""
    once = 2 * values[-2:] - values[-3:-1]
    return float((4 * once[1] - once[0]) / 3)
