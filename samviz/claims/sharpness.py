"""The three notions of sharpness: Theorem 4.2, Definition 4.3, Theorem 5.3."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from samviz.claims import subjects
from samviz.claims.claim import Array, Curve, Evidence, Plot, claim, decreasing, near
from samviz.claims.subjects import floor_points, interpolating, pairs, unit_vectors
from samviz.geometry import limiting_regularizer, normal_space
from samviz.geometry.sharpness import Kind
from samviz.problems import Problem, valley

KINDS: tuple[Kind, ...] = ("worst", "ascent", "average")
WITHOUT_ASCENT: tuple[Kind, ...] = ("worst", "worst", "average")
WITHOUT_AVERAGE: tuple[Kind, ...] = ("worst", "ascent", "worst")
INFIMUM = "R_Asc is infinite on Γ itself: its limit is the infimum over points near Γ, here Γ + ρ²v for many normal v."


@claim(
    "Theorem 4.2",
    order=4.2,
    symbols="S_Max, S_Asc, S_Avg; λ_M",
    fails_with=[{"measured": WITHOUT_ASCENT}, {"measured": WITHOUT_AVERAGE}],
)
def three_limits(quick: bool, measured: Sequence[Kind] = KINDS) -> Evidence:
    """On Γ, R_ρ/ρ² → λ₁/2 (worst), λ_M/2 (ascent; λ_M the smallest non-zero eigenvalue), Tr/(2D) (average)."""
    return _limits(quick, measured, stochastic=False, one_sample=False)


@claim(
    "Theorem 5.3",
    order=5.3,
    symbols="their limits S; E_k R_k,Max and so on; Tr",
    fails_with=[{"stochastic": False}, {"measured": WITHOUT_AVERAGE}],
)
def one_sample_limits(quick: bool, measured: Sequence[Kind] = KINDS, stochastic: bool = True) -> Evidence:
    """Sample by sample there is one bias: the mean R_ρ/ρ² tends to Tr/2 (worst, ascent) and Tr/(2D) (average)."""
    return _limits(quick, measured, stochastic, one_sample=True)


@claim(
    "Definitions 4.1 and 4.3, Table 1",
    order=4.1,
    symbols="L_Max, R_Max; L_Asc, R_Asc; L_Avg, R_Avg",
    fails_with=[{"measured": WITHOUT_ASCENT}, {"measured": WITHOUT_AVERAGE}],
)
def explicit_bias(quick: bool, measured: Sequence[Kind] = KINDS) -> Evidence:
    """Among minimizers the three sharpnesses are smallest where λ₁, λ_M and the trace are: three different points."""
    radii = np.array([0.3, 0.1, 0.03] if quick else [0.3, 0.1, 0.03, 0.01, 0.003])
    # of λ₁/2 = F₁, λ_M/2 = F₂ and Tr/(2D) = (F₁ + F₂)/4, where ∇F₁ = (2x₁, 12x₂) and ∇F₂ = −(8(1 − x₁), 2(1 − x₂))
    minima = {"worst": ((0.0, 0.0), 8.0), "ascent": ((1.0, 1.0), 1.0), "average": ((0.8, 1 / 7), 373 / 140)}
    yield Plot("ρ", "x₁ where the sharpness is smallest", log_y=False)
    yield INFIMUM
    for (kind, (goal, minimum)), measured_kind in zip(minima.items(), measured):
        points, values = zip(*[_minimizer_on_floor(measured_kind, rho) for rho in radii])
        distance = np.linalg.norm(np.array(points) - goal, axis=1)
        error = np.abs(np.array(values) / minimum - 1)
        where = "({:.3g}, {:.3g})".format(*goal)
        yield near(f"{kind}: distance of the minimizer from {where}", 0, distance, absolute=1e-3)
        if kind == "worst":  # at (0, 0) no step sideways raises F₁ enough: R_Max/ρ² is F₁ without remainder
            yield near("worst: |R/(ρ²S) − 1| there", 0, error, absolute=1e-6)
        else:
            yield decreasing(f"{kind}: |R/(ρ²S) − 1| there", error)
            yield near(f"{kind}: the same at the smallest ρ", 0, error[-1], absolute=3 * radii[-1])
        yield Curve(f"{kind}: x₁ of the minimizer", radii, np.array(points)[:, 0])
        yield Curve(f"predicted, {kind}", radii, np.full(len(radii), goal[0]), predicted=True)


def _limits(quick: bool, measured: Sequence[Kind], stochastic: bool, *, one_sample: bool) -> Evidence:
    """Compare R_ρ/ρ² of each kind, as ρ decreases, with its predicted limit, at points of Γ."""
    radii = np.array([1e-1, 1e-2, 1e-3] if quick else [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4])
    network, minimum = interpolating()
    floor = floor_points(3 if quick else 20)
    first, second = valley().curvatures(floor)
    spectrum = torch.linalg.eigvalsh(network.hessian(minimum[None]))
    cases = [  # name, problem, points of Γ, λ₁, λ_M and the trace there; M = n samples on the network
        ("valley", valley(), floor, 2 * first, 2 * second, 2 * (first + second)),
        ("network", network, minimum[None], spectrum[:, -1], spectrum[:, -network.samples], spectrum.sum(1)),
    ]
    for name, problem, x, top, last, trace in cases:
        worst, ascent = (trace, trace) if one_sample else (top, last)
        limits = worst / 2, ascent / 2, trace / (2 * problem.dim)
        for kind, measured_kind, limit in zip(KINDS, measured, limits):
            rises = torch.stack([_sharpness(problem, x, measured_kind, rho, stochastic) / rho**2 for rho in radii])
            error = (rises / limit - 1).abs().amax(1).numpy()
            ratio = limiting_regularizer(problem, x, kind, stochastic).value / limit
            yield decreasing(f"{name}, {kind}: |R/(ρ²S) − 1|", error)
            yield near(f"{name}, {kind}: |R/(ρ²S) − 1| at ρ = 0.001", 0, error[radii == 1e-3][0], absolute=0.01)
            yield near(f"{name}, {kind}: S from the Hessian divided by the limit", 1, ratio, absolute=1e-6)
            yield Curve(f"{name}, {kind}", radii, error)
    yield Plot("ρ", "|R_ρ/(ρ²S) − 1|")
    yield Curve("order ρ", radii, radii, predicted=True)
    remark = "R_Asc is infinite on Γ itself; of points Γ + ρ²v with normal v the one with the largest R_Asc is taken."
    yield remark if stochastic else INFIMUM


def _sharpness(problem: Problem, x: Tensor, kind: Kind, rho: float, stochastic: bool = False) -> Tensor:
    """Return R_ρ at points of Γ (points, dim); for the ascent direction at many points at distance ρ² ≪ ρ."""
    if kind == "worst":
        return subjects.worst_direction_sharpness(problem, x, rho, stochastic).value
    if kind == "average":
        return subjects.average_direction_sharpness(problem, x, rho, stochastic).value
    space = normal_space(problem, x)
    rank = int(space.rank[0])
    mixed = unit_vectors(8, rank)
    directions = mixed if stochastic else torch.cat((torch.eye(rank, dtype=x.dtype), mixed))
    offsets = rho**2 * torch.cat((directions, -directions)) @ space.vectors[:, :rank]
    around = (x[:, None] + offsets).view(-1, problem.dim)
    rises = subjects.ascent_direction_sharpness(problem, around, rho, stochastic).value.view(len(x), -1)
    return rises.amax(1) if stochastic else rises.amin(1)  # sample by sample all of them have one limit


def _minimizer_on_floor(kind: Kind, rho: float) -> tuple[Array, float]:
    """Find the point of the valley's floor where R_ρ is smallest, by a shrinking grid, and return it and R_ρ/ρ²."""
    middle, half = np.array([0.5, 0.5]), 0.6
    for _ in range(12):
        offsets = np.stack(pairs(np.linspace(-half, half, 5), np.linspace(-half, half, 5))[::-1], -1)
        floor = torch.from_numpy(np.pad(middle + offsets, ((0, 0), (0, 2))))
        rises = _sharpness(valley(), floor, kind, rho).numpy()
        middle, half = middle + offsets[rises.argmin()], half / 2
    return middle, float(rises.min()) / rho**2
