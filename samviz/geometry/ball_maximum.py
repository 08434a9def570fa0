"""The maximum of the loss in a ball: exactly for a quadratic model, by the method of Frank and Wolfe for any loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from samviz.problems import Problem
from samviz.problems.primitives import Number, StepInput, any_run, divide, dot, loss_and_gradient, norm, where

HALVINGS = 200  # of the interval of the trust region's multiplier, more than float64 can resolve


class SphereMaximum(NamedTuple):
    """A local maximum of L(x + ρv) over ‖v‖ ≤ 1, with its evidence."""

    direction: Tensor  # (runs, dim), v
    rise: Tensor  # (runs,), L(x + ρv) − L(x)
    residual: Tensor  # (runs,), 1 − vᵀ∇L(x + ρv)/‖∇L(x + ρv)‖: 0 at a stationary point
    gain: Tensor  # (runs,), what the last step added, as a share of the rise
    evaluations: int  # gradients computed for each run


def frank_wolfe(
    p: StepInput, x: Tensor, rho: Number, v: Tensor, gain: float, most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Maximize L(x + ρv) over ‖v‖ ≤ 1 from v; return the fields of `SphereMaximum`, numbers as columns (runs, 1).

    Written in primitives, because the rule `worst` compiles it.
    """
    base = loss_and_gradient(p, x)[0]
    height, slope = loss_and_gradient(p, x + rho * v)
    share = 0 * height + 1.0
    gained = share
    going = gained > gain
    evaluations = 1
    while evaluations < most and any_run(going):
        length = norm(slope)
        step = v + share * (where(length > 0, slope / length, v) - v)
        new_height, new_slope = loss_and_gradient(p, x + rho * step)
        higher = going & (new_height >= height)  # a run that has converged stays, whatever the others do
        stuck = going & (share <= 1e-9)
        rise = divide(new_height - height, abs(new_height - base))
        gained = where(higher, rise, where(stuck, 0 * share, gained))
        v, slope = where(higher, step, v), where(higher, new_slope, slope)
        height = where(higher, new_height, height)
        share = where(higher, where(share < 0.5, 2 * share, 0 * share + 1.0), share / 2)
        going = gained > gain
        evaluations += 1
    length = norm(slope)
    residual = 1 - dot(v, where(length > 0, slope / length, v))
    return v, height - base, residual, gained, evaluations


def maximize_on_sphere(
    problem: Problem,
    x: Tensor,
    rho: float,
    start: Tensor,
    batch: Tensor | None = None,
    gain: float = 1e-6,
    most: int = 100,
) -> SphereMaximum:
    """Find the highest maximum of L(x + ρv) over ‖v‖ ≤ 1 from unit vectors (runs, dim) or (runs, starts, dim).

    Frank–Wolfe: v moves to ∇L(x + ρv)/‖∇L(x + ρv)‖ (the power method) if the loss rises, else half as far. The last
    step adds less than `gain`, as a share of the rise, or is limited by `most`, the largest number of gradients.

    Source: Frank & Wolfe (1956); Journée, Nesterov, Richtárik & Sepulchre (2010) for the power method.
    """
    runs, dim = x.shape
    v = start.reshape(runs, -1, dim)
    starts = v.shape[1]
    p = StepInput(problem, None if batch is None else batch.repeat_interleave(starts, 0))
    centre = x.repeat_interleave(starts, 0)
    v, rise, residual, gained, evaluations = frank_wolfe(p, centre, rho, v.reshape(-1, dim), gain, most)
    best = rise.view(runs, starts).argmax(1) + starts * torch.arange(runs, device=x.device)
    return SphereMaximum(v[best], rise[best, 0], residual[best, 0], gained[best, 0], evaluations * starts)


def trust_region(slope: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    """Return a v with ‖v‖ ≤ 1 that maximizes bᵀv + ½vᵀAv, from the slope b and the eigenpairs of A, largest first.

    Source: Moré & Sorensen (1983): (μ − A)v = b with μ ≥ max(λ₁(A), 0).
    """
    part = (vectors @ slope[..., None])[..., 0]  # b in the eigenbasis
    size = torch.maximum(part.abs().amax(1, keepdim=True), values.abs().amax(1, keepdim=True))
    size = size.clamp_min(torch.finfo(values.dtype).tiny)
    part, values = part / size, values / size  # v stays the same, and nothing underflows
    eps = torch.finfo(values.dtype).eps
    # In the hard case b has no component along v₁: with one of the size of a rounding error it is like all others.
    nudged = part[:, :1].abs().clamp_min(eps).copysign(part[:, :1])
    part = torch.cat((torch.where(values[:, :1] > 0, nudged, part[:, :1]), part[:, 1:]), 1)
    gap = values[:, :1].clamp_min(0) - values  # max(λ₁, 0) − λᵢ ≥ 0
    low = torch.full_like(size, eps**2).log()  # of μ − max(λ₁, 0)
    interior = part / (low.exp() + gap)
    high = torch.maximum(low, (2 * part.norm(dim=1, keepdim=True)).log())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        outside = (part / (middle.exp() + gap)).norm(dim=1, keepdim=True) > 1
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    v = torch.where(interior.norm(dim=1, keepdim=True) > 1, part / (high.exp() + gap), interior)
    return (v[:, None] @ vectors)[:, 0]
