"""The primitives in which update rules are written, on all runs in torch; `samviz.kernels.primitives` compiles them.

A number of each run is a column (runs, 1), so that the same expressions are right for one run in compiled code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from samviz.problems.problem import Problem

Number = float | Tensor  # one for all runs, or (runs, 1)


class StepInput(NamedTuple):
    """What a rule receives for a step of every run."""

    problem: Problem
    batch: Tensor | None  # int64 (runs, b), sample indices; None for the full batch
    noise: Any = None  # (runs, count), the standard normal numbers that the rule has declared; None without


def loss_and_gradient(p: StepInput, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss (runs, 1) and the gradient (runs, dim) at x (runs, dim) of the step's batch."""
    loss, gradient = p.problem.gradient(x, p.batch)
    return loss[:, None], gradient


def gradient(p: StepInput, x: Tensor) -> Tensor:
    """Return the gradient at x of the step's batch."""
    return p.problem.gradient(x, p.batch)[1]


def noisy_gradient(p: StepInput, x: Tensor, noise: Tensor) -> Tensor:
    """Return the gradient at x of the step's batch, with noise (runs, count) added to the targets of a square loss."""
    targets = p.problem.square_targets
    return p.problem.noisy_gradient(x, p.batch, noise.view(len(x), -1, targets))[1]


def mean_gradient(p: StepInput, x: Tensor, rho: Number) -> Tensor:
    """Return the mean of ∇L(x ± ρu) over the random directions u that the step's noise holds, in one evaluation."""
    runs, dim = x.shape
    u = unit(p.noise.reshape(-1, dim)).view(runs, -1, dim)
    directions = torch.cat((u, -u), 1)
    radius = rho[:, None] if isinstance(rho, Tensor) else rho
    batch = None if p.batch is None else p.batch.repeat_interleave(directions.shape[1], 0)
    points = (x[:, None] + radius * directions).view(-1, dim)
    return p.problem.gradient(points, batch)[1].view_as(directions).mean(1)


def hvp(p: StepInput, x: Tensor, v: Tensor) -> Tensor:
    """Return the Hessian at x of the step's batch times v (runs, dim)."""
    return p.problem.hvp(x, p.batch)(v[:, None])[:, 0]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return aᵀb as a column (runs, 1)."""
    return (a * b).sum(1, keepdim=True)


def norm(v: Tensor) -> Tensor:
    """Return ‖v‖ as a column (runs, 1)."""
    length: Tensor = torch.linalg.vector_norm(v, dim=1, keepdim=True)
    return length


def unit(v: Tensor) -> Tensor:
    """Return v/‖v‖, or a fixed arbitrary unit vector where v is zero (appendix B)."""
    length = norm(v)
    return torch.where(length == 0, v.shape[1] ** -0.5, v / length)


def divide(a: Number, b: Tensor) -> Tensor:
    """Return a/b, or 0 where b is 0."""
    return torch.where(b > 0, a / b, 0.0)


def fixed_direction(x: Tensor) -> Tensor:
    """Return a fixed arbitrary unit vector (1, dim) that no symmetry of a network leaves unchanged."""
    return unit(torch.arange(1.0, x.shape[1] + 1, dtype=x.dtype, device=x.device).sin()[None])


def where(condition: Tensor, a: Number, b: Number) -> Tensor:
    """Return a for the runs whose condition (runs, 1) holds, and b for the others."""
    return torch.where(condition, a, b)


def any_run(condition: Tensor) -> bool:
    """Return whether the condition (runs, 1) holds for any run; this synchronizes with the GPU."""
    return bool(condition.any())
