"""Update rules: pure functions of (problem, x, batch, lr, rho, noise) that return the next x and what they saw.

Those that perturb are gradient descent to the bit where ρ = 0. All gradients of a step are of the same batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from samviz.geometry.ascent import climb
from samviz.problems import Problem

Batch = Tensor | None  # int64 (runs, b), sample indices; None for all
Number = float | Tensor  # one for all runs, or (runs, 1)
Noise = Callable[[int], Tensor]  # count -> (runs, count), standard normal numbers of this step

LARGEST = torch.finfo(torch.float32).max
SHAKE = 0.1  # of a unit vector, along an arbitrary direction
PAIRS = 8  # of opposite directions, in a step of `average`


class Step(NamedTuple):
    """One step of every run, with the loss and gradient it started from."""

    x: Tensor  # (runs, dim), the next iterate
    loss: Tensor  # (runs,), loss of the batch at the old iterate
    gradient: Tensor  # (runs, dim), its gradient; with label noise, that of the noisy targets
    ahead: Tensor | None = None  # (runs, dim), SAM's second gradient


Rule = Callable[[Problem, Tensor, Batch, Number, Number, Noise], Step]
R = TypeVar("R", bound=Rule)
CAPTURABLE: set[Rule] = set()


def capturable(rule: R) -> R:
    """Mark a rule whose steps a CUDA graph may capture: they stay on the GPU and never synchronize with the CPU.

    A rule without this mark takes its steps one by one. A rule of your own may carry the mark if it draws no noise.

    Args:
        rule: the rule.

    Returns:
        The rule.
    """
    CAPTURABLE.add(rule)
    return rule


@capturable
def gd(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise | None = None) -> Step:
    """Gradient descent, x ← x − η∇L(x); rho is not used."""
    loss, gradient = problem.gradient(x, batch)
    return Step(_plus(x, -lr, gradient), loss, gradient)


@capturable
def sam(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise | None = None) -> Step:
    """Sharpness-aware minimization, x ← x − η∇L(x + ρ∇L(x)/‖∇L(x)‖) (Eq. 3); batch size 1 is 1-SAM (Eq. 17)."""
    loss, gradient = problem.gradient(x, batch)
    ahead = gradient if _is_zero(rho) else problem.gradient(_perturbed(x, rho, gradient), batch)[1]
    return Step(_plus(x, -lr, ahead), loss, gradient, ahead)


@capturable
def usam(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise | None = None) -> Step:
    """Unnormalized SAM, x ← x − η∇L(x + ρ∇L(x)) (Andriushchenko & Flammarion 2022)."""
    loss, gradient = problem.gradient(x, batch)
    return Step(_plus(x, -lr, _ahead(problem, x, batch, rho, gradient, gradient)), loss, gradient)


@capturable
def asam(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise | None = None) -> Step:
    """Adaptive SAM, x ← x − η∇L(x + ρT²∇L(x)/‖T∇L(x)‖) with T = diag|x| (Kwon et al. 2021)."""
    loss, gradient = problem.gradient(x, batch)
    way = x.abs() * unit(x.abs() * gradient)
    return Step(_plus(x, -lr, _ahead(problem, x, batch, rho, way, gradient)), loss, gradient)


@capturable
def ascent(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise | None = None) -> Step:
    """Gradient descent on the exact L_Asc(x) = L(x + ρu), u = g/‖g‖, g = ∇L(x).

    ∇L_Asc(x) = ∇L(x + ρu) + ρ/‖g‖ · ∇²L(x)(I − uuᵀ)∇L(x + ρu): SAM's gradient, and how u turns with x. Where g is
    zero, u is arbitrary and no function of x, and the second term is left out.
    """
    if _is_zero(rho):
        return gd(problem, x, batch, lr, rho)
    loss, gradient = problem.gradient(x, batch)
    length, u = gradient.norm(dim=1, keepdim=True), unit(gradient)
    ahead = problem.gradient(x + rho * u, batch)[1]
    across = ahead - (ahead * u).sum(1, keepdim=True) * u
    turn = torch.where(length > 0, rho / length, 0.0) * problem.hvp(x, batch)(across[:, None])[:, 0]
    return Step(_plus(x, -lr, ahead + turn), loss, gradient)


def worst(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise | None = None) -> Step:
    """Gradient descent on L_Max(x) = max over ‖v‖ ≤ 1 of L(x + ρv), whose gradient is ∇L(x + ρv*).

    The maximizer v* counts as fixed (Danskin's envelope theorem). It is the one that is climbed to from ∇L/‖∇L‖,
    shaken a little: at a minimum found by gradient descent ∇L is orthogonal to v₁. The search for v* synchronizes with
    the CPU to see whether it has converged, so that no CUDA graph can capture it.
    """
    if _is_zero(rho):
        return gd(problem, x, batch, lr, rho)
    loss, gradient = problem.gradient(x, batch)
    shaken = unit(unit(gradient) + SHAKE * unit(torch.arange(1.0, x.shape[1] + 1).sin().to(x)[None]))
    way = climb(problem, x, rho, shaken, batch).direction
    return Step(_plus(x, -lr, _ahead(problem, x, batch, rho, way, gradient)), loss, gradient)


@capturable
def average(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise) -> Step:
    """Gradient descent on L_Avg(x) = E L(x + ρu), u uniform on the sphere, with an unbiased estimate of ∇L_Avg.

    The estimate is the mean of ∇L(x ± ρu) over 8 fresh directions u a step: in pairs, what is linear in u cancels.
    """
    if _is_zero(rho):
        return gd(problem, x, batch, lr, rho)
    loss, gradient = problem.gradient(x, batch)
    runs, dim = x.shape
    u = unit(noise(PAIRS * dim).reshape(-1, dim)).view(runs, PAIRS, dim)
    way = torch.cat((u, -u), 1)  # (runs, 2·PAIRS, dim)
    radius = rho[:, None] if isinstance(rho, Tensor) else rho
    chosen = None if batch is None else batch.repeat_interleave(2 * PAIRS, 0)
    around = problem.gradient((x[:, None] + radius * way).view(-1, dim), chosen)[1].view_as(way).mean(1)
    if isinstance(rho, Tensor):  # a mean of equal numbers may differ from them in the last bit
        around = torch.where(rho > 0, around, gradient)
    return Step(_plus(x, -lr, around), loss, gradient)


@capturable
def random(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise) -> Step:
    """One random direction a step, x ← x − η∇L(x + ρu), u uniform on the sphere: on average a step on L_Avg."""
    loss, gradient = problem.gradient(x, batch)
    way = unit(noise(x.shape[1]))
    return Step(_plus(x, -lr, _ahead(problem, x, batch, rho, way, gradient)), loss, gradient)


@capturable
def label_noise(problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise) -> Step:
    """Gradient descent on a square loss with targets y + ρξ, ξ standard normal, fresh for every sample and step.

    ρ is the noise's standard deviation. The step's loss is that of the clean targets.

    Source: Blanc et al. (2020); Damian, Ma & Lee (2021); Li, Wang & Arora (2022).
    """
    if _is_zero(rho):
        return gd(problem, x, batch, lr, rho)
    rows = problem.samples if batch is None else batch.shape[1]
    added = (rho * noise(rows * problem.square_targets)).view(len(x), rows, problem.square_targets)
    loss, gradient = problem.noisy_gradient(x, batch, added)
    return Step(_plus(x, -lr, gradient), loss, gradient)


@capturable
def normalized_gd(
    problem: Problem, x: Tensor, batch: Batch, lr: Number, rho: Number, noise: Noise | None = None
) -> Step:
    """Normalized gradient descent, x ← x − η∇L/‖∇L‖ (Arora, Li & Panigrahi 2022); rho is not used.

    Where the gradient is zero it stays.
    """
    loss, gradient = problem.gradient(x, batch)
    length = gradient.norm(dim=1, keepdim=True)
    return Step(x - lr * torch.where(length > 0, gradient / length, 0.0), loss, gradient)


def bend(step: Step, rho: Number) -> Tensor:
    """The curvature that SAM's two gradients give for free, u·(∇L(x + ρu) − ∇L(x))/ρ ≈ uᵀ∇²L u with u = ∇L/‖∇L‖.

    Args:
        step: SAM's.
        rho: perturbation radius ρ of the step.

    Returns:
        (runs,), off by O(ρ); NaN where ρ = 0, and for the other rules.
    """
    if step.ahead is None or _is_zero(rho):
        return torch.full_like(step.loss, torch.nan)
    radius = rho[:, 0] if isinstance(rho, Tensor) else torch.full_like(step.loss, rho)
    rise = ((step.ahead - step.gradient) * unit(step.gradient)).sum(1)
    return torch.where(radius > 0, rise / radius, torch.nan)


def unit(vectors: Tensor) -> Tensor:
    """Directions (rows, dim); where a vector is zero, a fixed arbitrary unit vector (appendix B)."""
    length = vectors.norm(dim=1, keepdim=True)
    arbitrary = torch.full_like(vectors, vectors.shape[1] ** -0.5)
    return torch.where(length > 0, vectors / length, arbitrary)


def _is_zero(rho: Number) -> bool:
    """Whether ρ is 0 for all runs alike, where the perturbed gradient is known."""
    return isinstance(rho, float) and rho == 0


def _ahead(problem: Problem, x: Tensor, batch: Batch, rho: Number, way: Tensor, gradient: Tensor) -> Tensor:
    """Gradient at x + ρ·way; the one at x, which is known, when ρ is 0."""
    return gradient if _is_zero(rho) else problem.gradient(_plus(x, rho, way), batch)[1]


def _perturbed(x: Tensor, rho: Number, gradient: Tensor) -> Tensor:
    """The place x + ρ∇L/‖∇L‖; for one run on the CPU in two operations, few beside a small network's gradients."""
    if len(x) == 1 and x.device.type == "cpu" and isinstance(rho, float):
        length = math.sqrt(float(torch.dot(gradient[0], gradient[0])))
        if length > 0:
            return _plus(x, rho / length, gradient)
    return _plus(x, rho, unit(gradient))


def _plus(x: Tensor, factor: Number, way: Tensor) -> Tensor:
    """A step of factor·way from x, as one operation where it can be."""
    if isinstance(factor, Tensor) or abs(factor) > LARGEST:  # which torch.add refuses; the product is infinite
        return x + factor * way
    return torch.add(x, way, alpha=factor)


RULES: dict[str, Rule] = {
    "gd": gd,
    "sam": sam,
    "usam": usam,
    "asam": asam,
    "ascent": ascent,
    "worst": worst,
    "average": average,
    "random": random,
    "label_noise": label_noise,
    "normalized_gd": normalized_gd,
}
