"""The highest point of the loss in a ball: an exact solution for quadratics, a certified climb for the rest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from samviz.problems import Problem

HALVINGS = 200  # of the trust region's multiplier: float64 runs out of them earlier


class Climb(NamedTuple):
    """Where a climb of L(x + ρv) over ‖v‖ ≤ 1 ended, with its evidence."""

    direction: Tensor  # (runs, dim), v
    rise: Tensor  # (runs,), L(x + ρv) − L(x)
    residual: Tensor  # (runs,), 1 − vᵀ∇L(x + ρv)/‖∇L(x + ρv)‖: 0 where no direction leads further up
    gain: Tensor  # (runs,), what the last step added, as a share of the rise
    evaluations: int  # gradients spent on each run


def climb(
    problem: Problem,
    x: Tensor,
    rho: float | Tensor,
    start: Tensor,
    batch: Tensor | None = None,
    gain: float = 1e-6,
    most: int = 100,
) -> Climb:
    """Climb to a maximum of L(x + ρv) over the ball ‖v‖ ≤ 1, from one start or from the best of several.

    Frank–Wolfe: v moves towards d = ∇L(x + ρv)/‖∇L(x + ρv)‖, all the way (the power method) while that climbs, else
    half as far. It stops when a step gains little, not after a number of steps: at a minimum one step may give
    0.5 % of the rise.

    Args:
        problem: whose loss.
        x: (runs, dim), centres.
        rho: perturbation radius ρ > 0, a number or (runs, 1).
        start: (runs, dim) or (runs, starts, dim), unit vectors to start from.
        batch: int64 (runs, b), the samples whose mean loss is meant; None for all.
        gain: a step that adds less than this share of the rise is the last.
        most: gradients after which it stops anyway (`Climb.gain` tells).

    Returns:
        The highest of the ends.

    Source: Frank & Wolfe (1956); Journée, Nesterov, Richtárik & Sepulchre (2010) for the power method.

    >>> from samviz.problems import quadratic
    >>> x = torch.zeros(1, 2, dtype=torch.float64)
    >>> climb(quadratic([3.0, 1.0]), x, 0.1, torch.tensor([[0.6, 0.8]]).double()).rise  # ρ²λ₁/2
    tensor([0.0150], dtype=torch.float64)
    """
    runs, dim = x.shape
    v = start.reshape(runs, -1, dim)
    starts = v.shape[1]
    v = v.reshape(-1, dim)
    centre = x.repeat_interleave(starts, 0)
    radius = rho.repeat_interleave(starts, 0) if isinstance(rho, Tensor) and rho.ndim == 2 else rho
    chosen = None if batch is None else batch.repeat_interleave(starts, 0)
    base = problem.loss(centre, chosen).detach()
    height, slope = problem.gradient(centre + radius * v, chosen)
    share = torch.ones_like(height)
    gained = torch.full_like(height, torch.inf)
    evaluations = 1
    while evaluations < most and bool((going := gained > gain).any()):
        step = v + share[:, None] * (_unit(slope, v) - v)
        new_height, new_slope = problem.gradient(centre + radius * step, chosen)
        higher = going & (new_height >= height)  # one that has arrived stays, whatever the others do
        rise = (torch.maximum(new_height, height) - base).abs().clamp_min(torch.finfo(x.dtype).tiny)
        stuck = going & ~higher & (share <= 1e-9)
        gained = torch.where(higher, (new_height - height) / rise, torch.where(stuck, 0.0, gained))
        v, slope = torch.where(higher[:, None], step, v), torch.where(higher[:, None], new_slope, slope)
        height = torch.where(higher, new_height, height)
        share = torch.where(higher, (2 * share).clamp_max(1), share / 2)
        evaluations += 1
    residual = 1 - (v * _unit(slope, v)).sum(1)
    best = (height - base).view(runs, starts).argmax(1) + starts * torch.arange(runs, device=x.device)
    return Climb(v[best], (height - base)[best], residual[best], gained[best], evaluations * starts)


def trust_region(slope: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    """The v with ‖v‖ ≤ 1 that maximizes bᵀv + ½vᵀAv, exactly.

    Args:
        slope: (runs, dim), b.
        values: (runs, dim), eigenvalues of A, largest first.
        vectors: (runs, dim, dim), its eigenvectors as rows.

    Returns:
        (runs, dim); where several are equally good, one of them.

    Source: Moré & Sorensen (1983): (μ − A)v = b with μ ≥ max(λ₁(A), 0).

    >>> eye = torch.eye(2)[None]
    >>> trust_region(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 1.0]]), eye)
    tensor([[1., 0.]])
    """
    part = (vectors @ slope[..., None])[..., 0]  # b in the eigenbasis
    size = torch.maximum(part.abs().amax(1, keepdim=True), values.abs().amax(1, keepdim=True))
    size = size.clamp_min(torch.finfo(values.dtype).tiny)
    part, values = part / size, values / size  # v stays the same, and nothing underflows
    short = values[:, :1].clamp_min(0) - values  # max(λ₁, 0) − λᵢ ≥ 0
    least = torch.finfo(values.dtype).eps  # of μ − max(λ₁, 0): what rounding leaves of 0
    low = torch.full_like(size, least).log()
    high = (2 * part.norm(dim=1, keepdim=True)).clamp_min(least).log()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        long = (part / (middle.exp() + short)).norm(dim=1, keepdim=True) > 1
        low, high = torch.where(long, middle, low), torch.where(long, high, middle)
    answer = part / (high.exp() + short)
    held = part / (least + short)  # μ = max(λ₁, 0): where this lies in the ball, the hard case and the interior one
    room = (1 - held[:, 1:].square().sum(1, keepdim=True)).clamp_min(0).sqrt()
    hard = torch.cat((room.copysign(held[:, :1]), held[:, 1:]), 1)  # up to the sphere along v₁
    within = torch.where(values[:, :1] > 0, hard, held)
    return (torch.where(held.norm(dim=1, keepdim=True) > 1, answer, within)[:, None] @ vectors)[:, 0]


def _unit(slope: Tensor, otherwise: Tensor) -> Tensor:
    """Directions of the slopes; where there is none, the other vector."""
    length = slope.norm(dim=1, keepdim=True)
    return torch.where(length > 0, slope / length, otherwise)
