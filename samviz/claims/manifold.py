"""Gradient flow's limit and the manifold of minimizers: Lemmas 3.2 and 3.5, and the term that does it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Finding, Plot, claim, exponent, falls, near
from samviz.claims.subjects import floor_points, interpolating
from samviz.dynamics import Run, gradient_flow_limit, limiting_flow
from samviz.dynamics.flows import Kind
from samviz.geometry import normal_space, third_derivative
from samviz.problems import Problem, valley

SUBJECTS = ["valley()", "subjects.interpolating()"]
SLOPES = {"worst": "λ₁", "average": "Tr"}  # what the limiting flow of each kind lowers
FLOW_TIMES = (0.004, 0.002, 0.001)  # τ over which the limiting flow's first velocity is measured
TOLERANCE = 1e-12  # of gradient flow: its error over a step h is far below the h² looked for


@claim("Lemma 3.2")
def flow_is_blind_to_the_gradient(quick: bool) -> Finding:
    """Where gradient flow ends does not change along the gradient: ∂Φ(x)∇L(x) = 0."""
    steps = _halved(0.04, 3 if quick else 5)
    distance, points = 0.2, 1 if quick else 4
    checks, curves = [], []
    for name, problem, minima in _subjects(points):
        x = minima + distance * _unit(_normal(minima, seed=1))
        ways = torch.stack((_unit(problem.gradient(x)[1]), _unit(_normal(minima, seed=2))), 1)
        change = _change_of_limit(problem, x, ways, steps).norm(dim=3)  # (steps, points, 2)
        along, across = change.square().mean(1).sqrt().T.numpy()
        share = along / across
        checks += [
            exponent(f"{name}: exponent of ‖∂Φ∇L‖ by differences in their step", steps, along, 2, 0.2),
            falls(f"{name}: ‖∂Φ∇L‖", along),
            near(f"{name}: ‖∂Φ g‖ over ‖∂Φ r‖, r random, extrapolated to step 0", 0, _at_zero(share), absolute=1e-3),
        ]
        curves += [
            Curve(f"{name}, along ∇L", steps, along),
            Curve(f"{name}, a random direction", steps, across),
            Curve(f"{name}, predicted h²", steps, along[0] * (steps / steps[0]) ** 2, predicted=True),
        ]
    settings = {
        "problem": SUBJECTS,
        "steps": steps.tolist(),
        "distance from Γ": distance,
        "points": points,
        "tol": TOLERANCE,
    }
    remark = "Central differences leave an error of h², which is all that remains along ∇L and little beside ‖∂Φ r‖."
    return Finding(checks, settings, Plot("step h of the differences", "change of Φ per length", curves), remark)


@claim("Lemma 3.5")
def flow_projects(quick: bool) -> Finding:
    """On Γ the derivative of gradient flow's limit, ∂Φ, is the orthogonal projection on the tangent space of Γ."""
    steps = _halved(0.02, 3 if quick else 5)
    points = 1 if quick else 4
    checks, curves = [], []
    for name, problem, x in _subjects(points):
        every = torch.eye(problem.dim, dtype=x.dtype).expand(len(x), -1, -1)
        jacobian = _change_of_limit(problem, x, every, steps)  # row i is ∂Φ eᵢ
        wrong = {
            "‖∂Φ − P‖": jacobian - normal_space(problem, x).tangent(every),
            "‖∂Φ∂Φ − ∂Φ‖": jacobian @ jacobian - jacobian,
            "‖∂Φ − ∂Φᵀ‖": jacobian - jacobian.mT,
        }
        size = {what: m.flatten(2).norm(dim=2).square().mean(1).sqrt().numpy() for what, m in wrong.items()}
        if name == "valley":  # whose floor is flat and whose sides are alike: no h² is left, only the solver's error
            checks += [near(f"{name}: {what}, the largest", 0, y.max(), absolute=1e-6) for what, y in size.items()]
            continue
        off = size["‖∂Φ − P‖"]
        checks += [falls(f"{name}: {what}", y) for what, y in size.items()]
        checks += [
            exponent(f"{name}: exponent of ‖∂Φ − P‖ in the differences' step", steps, off, 2, 0.2),
            near(f"{name}: ‖∂Φ − P‖ at the smallest step", 0, off[-1], absolute=1e-3),
        ]
        curves += [Curve(f"{name}, {what}", steps, y) for what, y in size.items()]
        curves.append(Curve(f"{name}, predicted h²", steps, off[0] * (steps / steps[0]) ** 2, predicted=True))
    settings = {"problem": SUBJECTS, "steps": steps.tolist(), "points of the valley": points, "tol": TOLERANCE}
    return Finding(checks, settings, Plot("step h of the differences", "Frobenius norm", curves))


@claim("Section 4, Eq. 7")
def third_order_term(quick: bool) -> Finding:
    """The third-order term of a step along ±v₁ lowers λ₁: ∂Φ∇³L[v₁,v₁] = ∂Φ∇λ₁, and SAM moves Φ by −½ηρ²∂Φ∇λ₁."""
    scales = 3 if quick else 5
    steps, product, rho = _halved(0.02, scales), _halved(0.2, scales), 0.01
    checks, curves = [], []
    for name, problem, minimum in _subjects(1):
        space, slope = normal_space(problem, minimum), slope_on_manifold(problem, minimum, steps, "worst")
        third = space.tangent(third_derivative(problem, minimum, space.vectors[:, :1]))[0, 0]
        apart = ((slope - third).norm(dim=1) / third.norm()).numpy()
        checks.append(near(f"{name}: ‖∂Φ∇³L[v₁,v₁] − ∂Φ∇λ₁‖ over ‖∂Φ∇λ₁‖, smallest step", 0, apart[-1], absolute=1e-4))
        if name != "valley":  # whose λ₁ is quadratic in x: differences make no error
            checks.append(exponent(f"{name}: its exponent in the differences' step", steps, apart, 2, 0.2))
        drift = -slope[-1] / 2
        moved = _moved_on_the_cycle(problem, minimum, product, rho)
        stronger = (2 / (2 - product)) ** 2
        off = ((moved - drift).norm(dim=1) / drift.norm()).numpy()
        left = ((moved - torch.from_numpy(stronger)[:, None] * drift).norm(dim=1) / drift.norm()).numpy()
        along = (moved @ drift / drift.square().sum()).numpy()
        checks += [
            falls(f"{name}: error of ΔΦ/(ηρ²)", off),
            exponent(f"{name}: its exponent in η", product, off, 1, 0.2),
            near(f"{name}: ΔΦ/(ηρ²) over −½∂Φ∇λ₁, extrapolated to η = 0", 1, _at_zero(along), absolute=0.01),
            Check(f"{name}: share of the error left by the factor (2/(2 − ηλ₁))²", 0, (left / off).max(), high=0.1),
            *flow_starts(problem, minimum, "worst", drift, name),
        ]
        curves.append(Curve(name, product, off))
    curves += [
        Curve("order of the theorem, η", product, product, predicted=True),
        Curve("(2/(2 − ηλ₁))² − 1", product, stronger - 1, predicted=True),
    ]
    settings = {
        "problem": SUBJECTS,
        "steps": steps.tolist(),
        "lr·λ₁": product.tolist(),
        "rho": rho,
        "SAM steps": 2,
        "τ of the limiting flow": FLOW_TIMES,
        "tol": TOLERANCE,
    }
    remark = (
        "At finite η the drift is stronger than the paper's by (2/(2 − ηλ₁))²: on the 2-cycle SAM takes its gradient "
        "2ρ/(2 − ηλ₁) from Γ, not ρ. With this factor put in, almost nothing is left of the error."
    )
    return Finding(checks, settings, Plot("ηλ₁", "relative error of Φ's drift", curves), remark)


def _halved(first: float, count: int) -> Array:
    return np.array([first / 2**i for i in range(count)])


def _subjects(points: int) -> list[tuple[str, Problem, Tensor]]:
    """Points of Γ (points, dim) of the valley, and one of the small network."""
    network, x = interpolating()
    return [("valley", valley(), floor_points(points)), ("network", network, x[None])]


def _normal(like: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def _unit(vectors: Tensor) -> Tensor:
    directions: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
    return directions


def _change_of_limit(problem: Problem, x: Tensor, ways: Tensor, steps: Array) -> Tensor:
    """∂Φ(x)v for v in ways (points, k, dim) by central differences: (steps, points, k, dim)."""
    h = torch.from_numpy(steps)[:, None, None, None]
    ends = torch.stack((x[:, None] + h * ways, x[:, None] - h * ways))
    limits = gradient_flow_limit(problem, ends.view(-1, problem.dim), tol=TOLERANCE).x.view(ends.shape)
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
    tau = torch.tensor(FLOW_TIMES, dtype=minimum.dtype)
    moved = limiting_flow(problem, minimum, kind, times=[0, *tau.flip(0)]).x[1:, 0].flip(0) - minimum
    off = ((moved / tau[:, None] - drift).norm(dim=1) / drift.norm()).numpy()
    quantity = f"{name}: limiting flow's (X(τ) − X(0))/τ, relative distance from −½∂Φ∇{SLOPES[kind]}"
    return [falls(f"{quantity} as τ falls", off), near(f"{quantity} at τ = 0.001", 0, off[-1], absolute=0.01)]


def _moved_on_the_cycle(problem: Problem, minimum: Tensor, product: Array, rho: float) -> Tensor:
    """ΔΦ/(ηρ²) per step over one round of SAM's 2-cycle (Theorem 4.8) at a point of Γ, for ηλ₁ = product: (η, dim)."""
    space = normal_space(problem, minimum)
    top, v = float(space.values[0, 0]), space.vectors[:, 0]
    start = minimum + torch.from_numpy(rho * product / (2 - product))[:, None] * v
    run = Run(problem, "sam", product / top, rho, x0=start, device="cpu")
    run.step(2)
    before, after = gradient_flow_limit(problem, torch.cat((start, run.x)), tol=TOLERANCE).x.chunk(2)
    moved: Tensor = (after - before) / torch.from_numpy(2 * product / top * rho**2)[:, None]
    return moved


def _at_zero(values: Array) -> float:
    """Richardson's extrapolation to step 0 of values at halving steps, by the last three."""
    once = 2 * values[-2:] - values[-3:-1]
    return float((4 * once[1] - once[0]) / 3)
