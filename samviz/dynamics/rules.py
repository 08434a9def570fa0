"""Update rules: pure functions of (problem, x, batch, lr, rho) that return the next x and what they saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from samviz.problems import Problem

Number = float | Tensor  # one for all runs, or (runs, 1)


class Step(NamedTuple):
    """One step of every run, with the loss and gradient it started from."""

    x: Tensor  # (runs, dim), the next iterate
    loss: Tensor  # (runs,), loss of the batch at the old iterate
    gradient: Tensor  # (runs, dim), its gradient


Rule = Callable[[Problem, Tensor, Tensor | None, Number, Number], Step]


def gd(problem: Problem, x: Tensor, batch: Tensor | None, lr: Number, rho: Number) -> Step:
    """Gradient descent, x ← x − η∇L(x); rho is not used."""
    loss, gradient = problem.gradient(x, batch)
    return Step(x - lr * gradient, loss, gradient)


def sam(problem: Problem, x: Tensor, batch: Tensor | None, lr: Number, rho: Number) -> Step:
    """Sharpness-aware minimization, x ← x − η∇L(x + ρ∇L(x)/‖∇L(x)‖), both gradients on the same batch (Eq. 3).

    Batch size 1 is 1-SAM (Eq. 17). At ρ = 0 it is gradient descent to the bit.
    """
    loss, gradient = problem.gradient(x, batch)
    return Step(x - lr * _ahead(problem, x, batch, rho, unit(gradient), gradient), loss, gradient)


def usam(problem: Problem, x: Tensor, batch: Tensor | None, lr: Number, rho: Number) -> Step:
    """Unnormalized SAM, x ← x − η∇L(x + ρ∇L(x)) (Andriushchenko & Flammarion 2022)."""
    loss, gradient = problem.gradient(x, batch)
    return Step(x - lr * _ahead(problem, x, batch, rho, gradient, gradient), loss, gradient)


def unit(gradient: Tensor) -> Tensor:
    """Gradient directions (runs, dim); where the gradient is zero, a fixed arbitrary unit vector (appendix B)."""
    length = gradient.norm(dim=1, keepdim=True)
    arbitrary = torch.full_like(gradient, gradient.shape[1] ** -0.5)
    return torch.where(length > 0, gradient / length, arbitrary)


def _ahead(problem: Problem, x: Tensor, batch: Tensor | None, rho: Number, way: Tensor, gradient: Tensor) -> Tensor:
    """Gradient at x + ρ·way; the one at x, which is known, when ρ is 0."""
    if isinstance(rho, float) and rho == 0:
        return gradient
    return problem.gradient(x + rho * way, batch)[1]


RULES: dict[str, Rule] = {"gd": gd, "sam": sam, "usam": usam}
