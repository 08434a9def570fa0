"""The paper's three notions of sharpness, R_ρ = sharpness-aware loss − L, for the whole loss or sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from samviz.checks import check_int, seeded_generator
from samviz.geometry.arguments import check_radius, check_samples, finite, located
from samviz.geometry.ascent import climb, trust_region
from samviz.geometry.eigenpairs import DENSE, diagonalized, top_eigenpairs
from samviz.problems import Problem, Quadratic
from samviz.problems.device import one_thread
from samviz.problems.problem import CHUNK

GAIN = 1e-9  # a climb ends when a step adds less than this share of the rise
MOST = 1000  # gradients that each start may spend
STATIONARY = 1e-4  # 1 − cos of the direction with the gradient there, below which a maximum is called converged
FRAME = 256  # directions of one orthonormal frame, at most


@dataclass(frozen=True)
class Sharpness:
    """A sharpness R_ρ of each run, with its evidence."""

    value: Tensor  # (runs,), R_ρ
    standard_error: Tensor  # (runs,), of sampled directions; 0 where none are
    direction: Tensor | None  # (runs, dim), v of x + ρv: where it looks; None where it looks everywhere, or per sample
    bound: Tensor  # (runs,), ρ‖∇L‖ + ρ²λ₁/2: up to O(ρ³) no direction rises more (mean over samples if stochastic)
    residual: Tensor  # (runs,), 1 − cos(v, ∇L(x + ρv)), the largest over the samples; 0 at an exact maximum
    converged: Tensor  # bool (runs,)
    exact: bool  # by a closed form


def worst_direction_sharpness(problem: Problem, x: Tensor, rho: float, stochastic: bool = False) -> Sharpness:
    """Worst-direction sharpness, max over ‖v‖ ≤ 1 of L(x + ρv) − L(x).

    Exact for quadratics up to 500 parameters (a trust-region problem). Otherwise the highest of several climbs: from
    the maximizers of the quadratic model at x (up to 500 parameters) or from ±v₁, from the ascent direction, and from
    random ones.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), where.
        rho: perturbation radius ρ > 0, in units of ‖x‖.
        stochastic: the mean over the samples k of R_ρ of L_k alone, instead of R_ρ of their mean loss.

    Returns:
        The sharpness, its direction and its evidence.

    Raises:
        ValueError: when rho is not positive or above 3e38, x does not fit, or stochastic is asked of a loss without
            samples.

    Source: Eq. 1 and Table 1; Section 5 for the stochastic form.

    >>> from samviz.problems import quadratic
    >>> worst_direction_sharpness(quadratic([3.0, 1.0]), torch.zeros(2), 0.1).value
    tensor([0.0150], dtype=torch.float64)
    """
    problem, x, rho, chunks = _prepared(problem, x, rho, stochastic)
    with one_thread(problem):
        parts = [_worst(problem, points, rho, batch) for points, batch in chunks]
    return _gathered(parts, len(x), stochastic)


def ascent_direction_sharpness(problem: Problem, x: Tensor, rho: float, stochastic: bool = False) -> Sharpness:
    """Ascent-direction sharpness, L(x + ρ∇L/‖∇L‖) − L(x): how far SAM's own perturbation rises.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), where.
        rho: perturbation radius ρ > 0, in units of ‖x‖.
        stochastic: the mean over the samples k of R_ρ of L_k alone, instead of R_ρ of their mean loss.

    Returns:
        The sharpness; +∞ where the gradient is zero, as in the paper. Its limit on Γ is an infimum over points nearby.

    Raises:
        ValueError: as for `worst_direction_sharpness`.

    Source: Eq. 2 and Table 1.

    >>> from samviz.problems import quadratic
    >>> ascent_direction_sharpness(quadratic([3.0, 1.0]), torch.tensor([0.0, 1e-6]), 0.1).value
    tensor([0.0050], dtype=torch.float64)
    """
    problem, x, rho, chunks = _prepared(problem, x, rho, stochastic)
    with one_thread(problem):
        parts = [_ascent(problem, points, rho, batch) for points, batch in chunks]
    return _gathered(parts, len(x), stochastic)


def average_direction_sharpness(
    problem: Problem, x: Tensor, rho: float, stochastic: bool = False, *, frames: int = 16, seed: int = 0
) -> Sharpness:
    """Average-direction sharpness, the mean of L(x + ρg/‖g‖) − L(x) over Gaussian g.

    The directions are those of random orthonormal frames, both ways each: every one is uniform on the sphere, and up
    to 256 parameters the quadratic part of the loss, which is nearly all of it, is averaged without error.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), where.
        rho: perturbation radius ρ > 0, in units of ‖x‖.
        stochastic: the mean over samples of each one's sharpness: the same number, since means commute.
        frames: random frames to average over, 2 or more; the standard error falls with their square root.
        seed: int, of the frames.

    Returns:
        The sharpness with its standard error; it looks everywhere, so its direction is None.

    Raises:
        ValueError: as for `worst_direction_sharpness`, or when frames is below 2.

    Source: Eq. 4 and Table 1; Theorem 5.3 for the stochastic form.

    >>> from samviz.problems import quadratic
    >>> average_direction_sharpness(quadratic([3.0, 1.0]), torch.zeros(2), 0.1).value  # ρ²Tr/(2D)
    tensor([0.0100], dtype=torch.float64)
    """
    problem, x, rho, _ = _prepared(problem, x, rho, stochastic)
    frames = check_int("frames", frames, "2 or more, for a standard error", 2)
    generator = seeded_generator(seed)
    width = min(problem.dim, FRAME)
    with one_thread(problem):
        base = problem.loss(x).detach()
        means = []
        for _ in range(frames):
            gaussian = torch.randn(problem.dim, width, generator=generator, dtype=torch.float64)
            frame = torch.linalg.qr(gaussian).Q.mT.to(x)  # (width, dim)
            directions = torch.cat((frame, -frame)).split(problem.at_once)
            around = [torch.cat([problem.loss(point + rho * some).detach() for some in directions]) for point in x]
            means.append(torch.stack(around).mean(1) - base)
        sampled = torch.stack(means, 1)  # (runs, frames)
        bound = _bound(rho, problem.gradient(x)[1], top_eigenpairs(problem, x, tol=1e-3).values[:, 0])
    zero = torch.zeros_like(base)
    error = sampled.std(1) / frames**0.5
    return Sharpness(sampled.mean(1), error, None, bound, zero, torch.ones_like(zero, dtype=torch.bool), False)


def _prepared(
    problem: Problem, x: Tensor, rho: float, stochastic: bool
) -> tuple[Problem, Tensor, float, Iterator[tuple[Tensor, Tensor | None]]]:
    """Checked arguments, and the points with their batches in pieces that fit into memory."""
    problem, x = located(problem, x)
    rho = check_radius(rho)
    check_samples(problem, stochastic)

    def pieces() -> Iterator[tuple[Tensor, Tensor | None]]:
        if not stochastic:
            yield x, None
            return
        samples = torch.arange(problem.samples, device=x.device)
        costs = problem.dim * (problem.dim if problem.dim <= DENSE else 8)
        for some in samples.split(max(1, CHUNK // (len(x) * costs))):
            yield x.repeat_interleave(len(some), 0), some.repeat(len(x))[:, None]

    return problem, x, rho, pieces()


def _gathered(parts: list[Sharpness], runs: int, stochastic: bool) -> Sharpness:
    """One result of the pieces: as it is, or the mean over the samples."""
    if not stochastic:
        return parts[0]

    def rows(name: str) -> Tensor:
        return torch.cat([getattr(part, name).view(runs, -1) for part in parts], 1)  # (runs, n)

    return Sharpness(
        rows("value").mean(1),
        torch.zeros_like(rows("value")[:, 0]),
        None,
        rows("bound").mean(1),
        rows("residual").amax(1),
        rows("converged").all(1),
        parts[0].exact,
    )


def _worst(problem: Problem, x: Tensor, rho: float, batch: Tensor | None) -> Sharpness:
    gradient = problem.gradient(x, batch)[1]
    random = torch.randn(2, problem.dim, generator=seeded_generator(0), dtype=torch.float64).to(x)
    others = torch.cat((gradient[:, None], random.expand(len(x), -1, -1)), 1)
    others = torch.nn.functional.normalize(others, dim=2, eps=1e-30)
    if problem.dim <= DENSE:
        values, vectors = diagonalized(finite(problem, problem.hessian(x, batch)))
        first = trust_region(rho * gradient, rho**2 * values, vectors)
        if isinstance(problem, Quadratic):
            curved = (first * problem.hvp(x, batch)(first[:, None])[:, 0]).sum(1)
            rise = rho * (gradient * first).sum(1) + rho**2 / 2 * curved
            zero = torch.zeros_like(rise)
            bound = _bound(rho, gradient, values[:, 0])
            return Sharpness(rise, zero, first, bound, zero, torch.ones_like(zero, dtype=torch.bool), True)
        top = vectors[:, 0]
        second = first - 2 * (first * top).sum(1, keepdim=True) * top  # the other side of the valley
        starts = torch.cat((first[:, None], second[:, None], others), 1)
        sharpest = values[:, 0]
    else:
        pairs = top_eigenpairs(problem, x, batch=batch, tol=1e-3)
        starts, sharpest = torch.cat((pairs.vectors, -pairs.vectors, others), 1), pairs.values[:, 0]
    end = climb(problem, x, rho, starts, batch, gain=GAIN, most=MOST)
    bound = _bound(rho, gradient, sharpest)
    inside = end.rise <= 0  # x itself is the highest point that was found
    return Sharpness(
        end.rise.clamp_min(0),
        torch.zeros_like(end.rise),
        torch.where(inside[:, None], 0.0, end.direction),
        bound,
        torch.where(inside, 0.0, end.residual),
        inside | ((end.gain <= GAIN) & (end.residual <= STATIONARY)),
        False,
    )


def _ascent(problem: Problem, x: Tensor, rho: float, batch: Tensor | None) -> Sharpness:
    base, gradient = problem.gradient(x, batch)
    length = gradient.norm(dim=1, keepdim=True)
    direction = gradient / length
    there, slope = problem.gradient(torch.where(length > 0, x + rho * direction, x), batch)
    value = torch.where(length[:, 0] > 0, there - base, torch.inf)
    residual = 1 - torch.nn.functional.cosine_similarity(direction, slope, eps=1e-30)
    zero = torch.zeros_like(value)
    return Sharpness(
        value,
        zero,
        direction,
        _bound(rho, gradient, top_eigenpairs(problem, x, batch=batch, tol=1e-3).values[:, 0]),
        residual,
        length[:, 0] > 0,
        isinstance(problem, Quadratic),
    )


def _bound(rho: float, gradient: Tensor, top: Tensor) -> Tensor:
    """ρ‖∇L‖ + ρ²λ₁/2, (runs,)."""
    bound: Tensor = rho * gradient.norm(dim=1) + rho**2 / 2 * top.clamp_min(0)
    return bound
