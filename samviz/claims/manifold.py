"""The limit of gradient flow and the manifold of minimizers: Lemmas 3.2 and 3.5, and the third-order term of a step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from samviz.claims.claim import Array, Check, Curve, Evidence, Plot, at_most, claim, decreasing, exponent, near
from samviz.claims.subjects import (
    cycle_points,
    floor_points,
    gradient_flow_limit,
    interpolating,
    limiting_flow,
    new_run,
    overshoot,
    unit_vectors,
)
from samviz.dynamics.theory import Kind
from samviz.geometry import normal_space, third_derivative
from samviz.problems import Problem, valley

HALVINGS = np.array([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])
FLOW_TOLERANCE = 1e-12  # of gradient flow: its error over a step h is far below the measured h²


@claim("Lemma 3.2", order=3.2, symbols="Φ(x)", fails_with=[{"tol": 0.3}])
def flow_is_blind_to_the_gradient(quick: bool, tol: float = FLOW_TOLERANCE) -> Evidence:
    """The limit of gradient flow does not change along the gradient: ∂Φ(x)∇L(x) = 0."""
    steps = 0.04 * HALVINGS[: 3 if quick else 5]
    for name, problem, minima in _points_of_manifold(1 if quick else 4):
        x = minima + 0.2 * unit_vectors(*minima.shape, seed=1)
        directions = torch.stack((normalize(problem.gradient(x)[1]), unit_vectors(*minima.shape, seed=2)), 1)
        change = _change_of_limit(problem, x, directions, steps, tol).norm(dim=3)  # (steps, points, 2)
        along_gradient, along_random = change.square().mean(1).sqrt().T.numpy()
        ratio = _extrapolated(along_gradient / along_random)
        yield exponent(f"{name}: exponent of ‖∂Φ∇L‖ by differences in their step", steps, along_gradient, 2)
        yield decreasing(f"{name}: ‖∂Φ∇L‖", along_gradient)
        yield near(f"{name}: ‖∂Φ∇L‖/‖∂Φ r‖, r random, extrapolated to step 0", 0, ratio, absolute=1e-3)
        yield Curve(f"{name}, along ∇L", steps, along_gradient)
        yield Curve(f"{name}, a random direction", steps, along_random)
        yield Curve(f"{name}, predicted h²", steps, along_gradient[0] * (steps / steps[0]) ** 2, predicted=True)
    yield Plot("step h of the differences", "change of Φ per length")
    yield "Central differences have an error of order h². Along ∇L nothing else remains; it is small next to ‖∂Φ r‖."


@claim("Lemma 3.5", order=3.5, symbols="∂Φ, P⊥; Γ; M, D − M", fails_with=[{"tol": 0.3}, {"rank_tol": 0.1}])
def flow_projects(quick: bool, tol: float = FLOW_TOLERANCE, rank_tol: float = 1e-6) -> Evidence:
    """On Γ the derivative of gradient flow's limit, ∂Φ, is the orthogonal projection on the tangent space of Γ."""
    steps = 0.02 * HALVINGS[: 3 if quick else 5]
    for name, problem, x in _points_of_manifold(1 if quick else 4):
        identity = torch.eye(problem.dim, dtype=x.dtype).expand(len(x), -1, -1)
        jacobian = _change_of_limit(problem, x, identity, steps, tol)  # row i is ∂Φ eᵢ
        errors = {
            "‖∂Φ − P‖": jacobian - normal_space(problem, x, rank_tol=rank_tol).tangent(identity),
            "‖∂Φ∂Φ − ∂Φ‖": jacobian @ jacobian - jacobian,
            "‖∂Φ − ∂Φᵀ‖": jacobian - jacobian.mT,
        }
        norms = {what: m.flatten(2).norm(dim=2).square().mean(1).sqrt().numpy() for what, m in errors.items()}
        if name == "valley":  # its floor is flat and its sides are symmetric: only the solver's error is left
            yield from (near(f"{name}: {what}", 0, norm, absolute=1e-6) for what, norm in norms.items())
            continue
        for what, norm in norms.items():
            yield decreasing(f"{name}: {what}", norm)
            yield Curve(f"{name}, {what}", steps, norm)
        error = norms["‖∂Φ − P‖"]
        yield exponent(f"{name}: exponent of ‖∂Φ − P‖ in the differences' step", steps, error, 2)
        yield near(f"{name}: ‖∂Φ − P‖ at the smallest step", 0, error[-1], absolute=1e-3)
        yield Curve(f"{name}, predicted h²", steps, error[0] * (steps / steps[0]) ** 2, predicted=True)
    yield Plot("step h of the differences", "Frobenius norm")


@claim(
    "Section 4, Eq. 7",
    order=4.0,
    symbols="∂²(∇L)[u, u], ∇³L[u, u]; dX/dτ = −½∂Φ∇λ₁",
    fails_with=[{"rule": "usam"}, {"kind": "average"}],
)
def third_order_term(quick: bool, rule: str = "sam", kind: Kind = "worst") -> Evidence:
    """The third-order term of a step along ±v₁ lowers λ₁: ∂Φ∇³L[v₁,v₁] = ∂Φ∇λ₁, and SAM moves Φ by −½ηρ²∂Φ∇λ₁."""
    halvings = HALVINGS[: 3 if quick else 5]
    steps, product = 0.02 * halvings, 0.2 * halvings  # product: ηλ₁
    for name, problem, minimum in _points_of_manifold(1):
        space, slope = normal_space(problem, minimum), slope_on_manifold(problem, minimum, steps, kind)
        third = space.tangent(third_derivative(problem, minimum, space.vectors[:, :1]))[0, 0]
        difference = ((slope - third).norm(dim=1) / third.norm()).numpy()
        quantity = f"{name}: ‖∂Φ∇³L[v₁,v₁] − ∂Φ∇λ₁‖/‖∂Φ∇λ₁‖, smallest step"
        yield near(quantity, 0, difference[-1], absolute=1e-4)
        if name != "valley":  # its λ₁ is quadratic in x: differences make no error
            yield exponent(f"{name}: its exponent in the differences' step", steps, difference, 2)
        drift = -slope[-1] / 2
        lr, rho = product / float(space.values[0, 0]), 0.01
        start = cycle_points(problem, minimum[0], lr, rho)
        run = new_run(problem, rule, lr, rho, x0=start)
        run.step(2)  # one period of the 2-cycle
        before, after = gradient_flow_limit(problem, torch.cat((start, run.x)), tol=FLOW_TOLERANCE).x.chunk(2)
        displacement = (after - before) / torch.from_numpy(2 * lr * rho**2)[:, None]  # ΔΦ/(ηρ²) per step, (rates, dim)
        stronger = torch.from_numpy(overshoot(product, 1))[:, None] * drift
        error = ((displacement - drift).norm(dim=1) / drift.norm()).numpy()
        error_of_stronger = ((displacement - stronger).norm(dim=1) / drift.norm()).numpy()
        ratio = _extrapolated((displacement @ drift / drift.square().sum()).numpy())
        yield decreasing(f"{name}: error of ΔΦ/(ηρ²)", error)
        yield exponent(f"{name}: its exponent in η", product, error, 1)
        yield near(f"{name}: ΔΦ/(ηρ²) divided by −½∂Φ∇λ₁, extrapolated to η = 0", 1, ratio, absolute=0.01)
        quantity = f"{name}: share of the error left by the factor (2/(2 − ηλ₁))²"
        yield at_most(quantity, error_of_stronger / error, 0.1)
        yield from flow_starts(problem, minimum, "worst", drift, name)
        yield Curve(name, product, error)
    yield Plot("ηλ₁", "relative error of Φ's drift")
    yield Curve("order of the theorem, η", product, product, predicted=True)
    yield Curve("(2/(2 − ηλ₁))² − 1", product, overshoot(product, 1) - 1, predicted=True)
    yield (
        "At a finite η the drift is stronger than the paper's by (2/(2 − ηλ₁))² (our result): on the 2-cycle SAM "
        "takes its gradient 2ρ/(2 − ηλ₁) from Γ, not ρ. This factor explains almost all of the error."
    )


def _points_of_manifold(count: int) -> list[tuple[str, Problem, Tensor]]:
    """Return points of Γ (count, dim) of the valley, and one of the small network."""
    network, x = interpolating()
    return [("valley", valley(), floor_points(count)), ("network", network, x[None])]


def _change_of_limit(problem: Problem, x: Tensor, directions: Tensor, steps: Array, tol: float) -> Tensor:
    """Return ∂Φ(x)v for all directions v (points, k, dim) by central differences: (steps, points, k, dim)."""
    h = torch.from_numpy(steps)[:, None, None, None]
    ends = torch.stack((x[:, None] + h * directions, x[:, None] - h * directions))
    limits = gradient_flow_limit(problem, ends.view(-1, problem.dim), tol=tol).x.view(ends.shape)
    change: Tensor = (limits[0] - limits[1]) / (2 * h)
    return change


def slope_on_manifold(problem: Problem, minimum: Tensor, steps: Array, kind: Kind) -> Tensor:
    """Estimate ∂Φ∇λ₁ ("worst") or ∂Φ∇Tr by central differences along Γ from a point (1, dim), (steps, dim)."""
    values, vectors = torch.linalg.eigh(problem.hessian(minimum)[0])
    tangent = vectors[:, values < 1e-6 * values[-1]].T  # (dim − M, dim)
    h = torch.from_numpy(steps)[:, None, None]
    ends = torch.stack((minimum + h * tangent, minimum - h * tangent))
    spectra = torch.linalg.eigvalsh(problem.hessian(ends.view(-1, problem.dim)))
    height = (spectra[:, -1] if kind == "worst" else spectra.sum(1)).view(ends.shape[:3])
    slope: Tensor = ((height[0] - height[1]) / (2 * h[..., 0])) @ tangent
    return slope


def flow_starts(problem: Problem, minimum: Tensor, kind: Kind, drift: Tensor, name: str) -> Iterator[Check]:
    """Check that the limiting flow from a point (1, dim) of Γ starts with the velocity `drift` (dim,)."""
    tau = torch.tensor((0.004, 0.002, 0.001), dtype=minimum.dtype)
    displacement = limiting_flow(problem, minimum, kind, times=[0, *tau.flip(0)]).x[1:, 0].flip(0) - minimum
    error = ((displacement / tau[:, None] - drift).norm(dim=1) / drift.norm()).numpy()
    decreases = {"worst": "λ₁", "average": "Tr"}[kind]
    quantity = f"{name}: limiting flow's (X(τ) − X(0))/τ, relative distance from −½∂Φ∇{decreases}"
    yield decreasing(f"{quantity} as τ falls", error)
    yield near(f"{quantity} at τ = 0.001", 0, error[-1], absolute=0.01)


def _extrapolated(values: Array) -> float:
    """Extrapolate values at halving steps to step 0 by Richardson's method, from the last three."""
    once = 2 * values[-2:] - values[-3:-1]
    return float((4 * once[1] - once[0]) / 3)
