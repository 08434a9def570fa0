"""SAM's perturbation of the weights, in place, and the way back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from samviz.optim.arguments import LARGEST, radius

Groups = list[dict[str, Any]]  # an optimizer's, each with its own rho and adaptive
Stash = list[tuple[Tensor, Any, Tensor]]  # parameter, its rows that move (... for all), their values


@torch.no_grad()
def perturb(groups: Groups) -> Stash | None:
    """Add e = ρ T²g/‖Tg‖ to the weights, in place; the norm is over all groups together.

    T = diag|w| in a group that is adaptive, else 1. Only rows that a sparse gradient touches are moved. Where ‖Tg‖ is
    zero, or so small that ρ/‖Tg‖ overflows float32, there is no direction, and nothing is moved.

    Source: the paper's Eq. 3; adaptive: Kwon et al. (ICML 2021).

    Args:
        groups: parameters with their gradients.

    Returns:
        The values that were there, for `put_back`; None where a gradient is not finite, and nothing is moved.

    Raises:
        ValueError: when a ρ is negative or not finite; nothing is moved.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> stash = perturb([{"params": [w], "rho": 0.5, "adaptive": False}])
    >>> w.detach()
    tensor([1.3000, 2.4000])
    >>> put_back(stash)
    >>> w.detach()
    tensor([1., 2.])
    """
    radii = [radius(group) for group in groups]
    norm = length(tilted(p, group["adaptive"], 1) for group in groups for p in graded([group]))
    if not math.isfinite(norm):
        return None
    if norm * LARGEST <= max(radii):
        return []
    moved = [(group["adaptive"], rho / norm, graded([group])) for group, rho in zip(groups, radii) if rho > 0]
    stash = [_kept(p) for _, _, parameters in moved for p in parameters]  # all, before the first one moves
    try:
        for adaptive, scale, parameters in moved:
            for p in parameters:
                p.add_(tilted(p, adaptive, 2), alpha=scale)
    except BaseException:  # no memory, or an interrupt
        put_back(stash)
        raise
    return stash


@torch.no_grad()
def put_back(stash: Stash) -> None:
    """Write back what `perturb` stashed, in place and to the bit."""
    for p, rows, values in stash:
        p[rows] = values


def graded(groups: Groups) -> list[Tensor]:
    """The parameters that have a gradient."""
    return [p for group in groups for p in group["params"] if p.grad is not None]


def tilted(p: Tensor, adaptive: bool, power: int) -> Tensor:
    """T^power g of one parameter, up to signs, in the shape of p, sparse where its gradient is.

    T = diag|w| where adaptive, else 1. In float32 at least: in half precision w²g underflows, and ρ/‖Tg‖ overflows.
    """
    wide = torch.promote_types(p.dtype, torch.float32)
    g: Tensor = (p.grad.coalesce() if p.grad.is_sparse else p.grad).to(wide)  # type: ignore[union-attr]
    if adaptive:
        weights = (p.sparse_mask(g) if g.is_sparse else p).to(wide)
        for _ in range(power):
            g = g * weights
    return g


@torch.no_grad()
def length(tensors: Iterable[Tensor]) -> float:
    """The Euclidean norm of tensors together, summed in float64: half and single precision over- and underflow."""
    norms = []
    for tensor in tensors:
        values = tensor.coalesce().values() if tensor.is_sparse else tensor
        sums = torch.float32 if values.device.type == "mps" else torch.float64  # MPS has no float64
        norms.append(torch.linalg.vector_norm(values, dtype=sums))
    return float(torch.linalg.vector_norm(torch.stack([norm.to(norms[0]) for norm in norms]))) if norms else 0.0


def _kept(p: Tensor) -> tuple[Tensor, Any, Tensor]:
    rows = p.grad.coalesce().indices()[0] if p.grad.is_sparse else ...  # type: ignore[union-attr]
    return p, rows, p.detach()[rows].clone()
