"""The paper's three notions of sharpness, R_ρ = sharpness-aware loss − L, and their limits S = lim R_ρ/ρ²."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from samviz.checks import check_bool, check_float, check_int, check_tensor, seeded_generator
from samviz.geometry.hessian import DENSE, RANK_TOL, at_point, diagonalize, hessian_trace, normal_space, top_eigenpairs
from samviz.problems import Problem, Quadratic
from samviz.problems.primitives import Number, StepInput, any_run, divide, dot, loss_and_gradient, norm, where
from samviz.problems.problem import CHUNK, one_thread

GAIN = 1e-9  # the maximization ends when a step adds less than this share of the rise
MAX_GRADIENTS = 1000  # for each starting direction
STATIONARY = 1e-4  # 1 − cos of the direction with the gradient there, below which a maximum is called converged
FRAME = 256  # directions of one orthonormal frame, at most
Kind = Literal["worst", "ascent", "average"]


@dataclass(frozen=True)
class Sharpness:
    """A sharpness R_ρ of each run, with its evidence."""

    value: Tensor  # (runs,), R_ρ
    standard_error: Tensor  # (runs,), of sampled directions; otherwise 0
    direction: Tensor | None  # (runs, dim), v of x + ρv; None for an average over directions or samples
    bound: Tensor  # (runs,), ρ‖∇L‖ + ρ²λ₁/2: up to O(ρ³) no direction rises more (mean over samples if stochastic)
    residual: Tensor  # (runs,), 1 − cos(v, ∇L(x + ρv)), the largest over the samples; 0 at an exact maximum
    converged: Tensor  # bool (runs,)
    exact: bool  # by a closed form


Measure = Callable[[Problem, Tensor, float, Tensor | None], Sharpness]


def worst_direction_sharpness(problem: Problem, x: Tensor, rho: float, stochastic: bool = False) -> Sharpness:
    """Return the worst-direction sharpness, max over ‖v‖ ≤ 1 of L(x + ρv) − L(x).

    Exact for quadratics up to 500 parameters. Otherwise the largest of several local maxima, found from the maximizers
    of the quadratic model (up to 500 parameters) or ±v₁, from the ascent direction, and from random directions.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), where.
        rho: perturbation radius ρ > 0, the Euclidean norm of the perturbation.
        stochastic: the mean over the samples k of R_ρ of L_k, instead of R_ρ of their mean loss.

    Raises:
        ValueError: when rho is not positive or above 3e38, x does not fit, or a loss without samples is stochastic.

    Source: Eq. 1 and Table 1; Section 5 for the stochastic form.

    >>> from samviz.problems import quadratic
    >>> worst_direction_sharpness(quadratic([3.0, 1.0]), torch.zeros(2), 0.1).value
    tensor([0.0150], dtype=torch.float64)
    """
    return _sharpness(_worst, problem, x, rho, stochastic)


def ascent_direction_sharpness(problem: Problem, x: Tensor, rho: float, stochastic: bool = False) -> Sharpness:
    """Return the ascent-direction sharpness, L(x + ρ∇L/‖∇L‖) − L(x): the rise along SAM's perturbation.

    It is +∞ where the gradient is zero, as in the paper, and its limit on Γ is an infimum over points nearby. Arguments
    and exceptions as in `worst_direction_sharpness`.

    Source: Eq. 2 and Table 1.

    >>> from samviz.problems import quadratic
    >>> ascent_direction_sharpness(quadratic([3.0, 1.0]), torch.tensor([0.0, 1e-6]), 0.1).value
    tensor([0.0050], dtype=torch.float64)
    """
    return _sharpness(_ascent, problem, x, rho, stochastic)


def average_direction_sharpness(
    problem: Problem, x: Tensor, rho: float, stochastic: bool = False, *, frames: int = 16, seed: int = 0
) -> Sharpness:
    """Return the average-direction sharpness, the mean of L(x + ρg/‖g‖) − L(x) over Gaussian g.

    The directions are those of random orthonormal frames and their opposites. Each is uniform on the sphere, and up to
    256 parameters the quadratic part of the loss, which dominates, is averaged without error.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), where.
        rho: perturbation radius ρ > 0, the Euclidean norm of the perturbation.
        stochastic: the mean over the samples of the sharpness of each, which is the same number: means commute.
        frames: random frames to average over, 2 or more; the standard error falls with their square root.
        seed: of the frames.

    Returns:
        The sharpness with its standard error; its direction is None.

    Raises:
        ValueError: as for `worst_direction_sharpness`, or when frames is below 2.

    Source: Eq. 4 and Table 1; Theorem 5.3 for the stochastic form.

    >>> from samviz.problems import quadratic
    >>> average_direction_sharpness(quadratic([3.0, 1.0]), torch.zeros(2), 0.1).value  # ρ²Tr/(2D)
    tensor([0.0100], dtype=torch.float64)
    """
    problem, x = at_point(problem, x)
    rho = check_radius(rho)
    _check_stochastic(problem, stochastic)
    frames = check_int("frames", frames, "2 or more, for a standard error", 2)
    generator = seeded_generator(seed)
    with one_thread(problem):
        base = problem.loss(x).detach()
        means = []
        for _ in range(frames):
            gaussian = torch.randn(problem.dim, min(problem.dim, FRAME), generator=generator, dtype=torch.float64)
            frame = torch.linalg.qr(gaussian).Q.mT.to(x)  # (width, dim)
            directions = torch.cat((frame, -frame)).split(problem.at_once)
            around = [torch.cat([problem.loss(point + rho * some).detach() for some in directions]) for point in x]
            means.append(torch.stack(around).mean(1) - base)
        sampled = torch.stack(means, 1)  # (runs, frames)
        bound = _bound(rho, problem.gradient(x)[1], top_eigenpairs(problem, x, tol=1e-3).values[:, 0])
    zero, error = torch.zeros_like(base), sampled.std(1) / frames**0.5
    return Sharpness(sampled.mean(1), error, None, bound, zero, zero == 0, False)


def check_radius(rho: float) -> float:
    """Return ρ > 0 as a float; the square of a number above the range of single precision could overflow."""
    most = torch.finfo(torch.float32).max
    return check_float("rho", rho, f"a perturbation radius above 0, {most:.0e} at most", lambda r: 0 < r <= most)


def _check_stochastic(problem: Problem, stochastic: bool) -> None:
    if check_bool("stochastic", stochastic) and problem.samples == 0:
        raise ValueError(f"stochastic is True but the loss of {problem.name} is no mean over samples; use False")


def _sharpness(measure: Measure, problem: Problem, x: Tensor, rho: float, stochastic: bool) -> Sharpness:
    """Measure a sharpness of the mean loss, or of each sample's loss and take the mean."""
    problem, x = at_point(problem, x)
    rho = check_radius(rho)
    _check_stochastic(problem, stochastic)
    with one_thread(problem):
        if not stochastic:
            return measure(problem, x, rho, None)
        kept_per_sample = len(x) * problem.dim * (problem.dim if problem.dim <= DENSE else 8)  # numbers in memory
        samples = torch.arange(problem.samples, device=x.device).split(max(1, CHUNK // kept_per_sample))
        parts = [
            measure(problem, x.repeat_interleave(len(some), 0), rho, some.repeat(len(x))[:, None]) for some in samples
        ]

    def each(name: str) -> Tensor:  # (runs, samples)
        return torch.cat([getattr(part, name).view(len(x), -1) for part in parts], 1)

    value, bound, residual = each("value").mean(1), each("bound").mean(1), each("residual").amax(1)
    zero = torch.zeros_like(value)
    return Sharpness(value, zero, None, bound, residual, each("converged").all(1), exact=parts[0].exact)


def _worst(problem: Problem, x: Tensor, rho: float, batch: Tensor | None) -> Sharpness:
    gradient = problem.gradient(x, batch)[1]
    random = torch.randn(2, problem.dim, generator=seeded_generator(0), dtype=torch.float64).to(x)
    starts = torch.cat((gradient[:, None], random.expand(len(x), -1, -1)), 1)
    starts = torch.nn.functional.normalize(starts, dim=2, eps=1e-30)
    if problem.dim <= DENSE:
        _, values, vectors = diagonalize(problem, x, batch)
        first, bound = trust_region(rho * gradient, rho**2 * values, vectors), _bound(rho, gradient, values[:, 0])
        if isinstance(problem, Quadratic):
            curvature = (first * problem.hvp(x, batch)(first[:, None])[:, 0]).sum(1)
            rise = rho * (gradient * first).sum(1) + rho**2 / 2 * curvature
            zero = torch.zeros_like(rise)
            return Sharpness(rise, zero, first, bound, zero, zero == 0, True)
        top = vectors[:, 0]
        second = first - 2 * (first * top).sum(1, keepdim=True) * top  # the mirror image, on the other side along v₁
        starts = torch.cat((first[:, None], second[:, None], starts), 1)
    else:
        pairs = top_eigenpairs(problem, x, batch=batch, tol=1e-3)
        starts, bound = torch.cat((pairs.vectors, -pairs.vectors, starts), 1), _bound(rho, gradient, pairs.values[:, 0])
    end = maximize_on_sphere(problem, x, rho, starts, batch, gain=GAIN, most=MAX_GRADIENTS)
    inside = end.rise <= 0  # no direction rises: x itself is the maximum
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
    loss, perturbed_gradient = problem.gradient(torch.where(length > 0, x + rho * direction, x), batch)
    value = torch.where(length[:, 0] > 0, loss - base, torch.inf)
    residual = 1 - torch.nn.functional.cosine_similarity(direction, perturbed_gradient, eps=1e-30)
    bound = _bound(rho, gradient, top_eigenpairs(problem, x, batch=batch, tol=1e-3).values[:, 0])
    zero, exact = torch.zeros_like(value), isinstance(problem, Quadratic)
    return Sharpness(value, zero, direction, bound, residual, length[:, 0] > 0, exact)


def _bound(rho: float, gradient: Tensor, top: Tensor) -> Tensor:
    """Return ρ‖∇L‖ + ρ²λ₁/2, (runs,)."""
    bound: Tensor = rho * gradient.norm(dim=1) + rho**2 / 2 * top.clamp_min(0)
    return bound


@dataclass(frozen=True)
class Regularizer:
    """A limiting regularizer S of each run, with its evidence."""

    value: Tensor  # (runs,), S
    error: Tensor  # (runs,), of an iteration (residual) or an estimate (standard error); rounding alone is 0
    rank: Tensor | None  # int64 (runs,), M, where S needs it
    separation: Tensor | None  # (runs,), λ_M over the largest |λ| of the rest: large where the rank is certain


def limiting_regularizer(
    problem: Problem, x: Tensor, kind: Kind, stochastic: bool = False, *, rank_tol: float = RANK_TOL
) -> Regularizer:
    """Return the limit S of R_ρ/ρ² as ρ → 0 at a minimizer x, with its evidence.

    | kind | S, full batch | S, one sample at a time |
    |---|---|---|
    | "worst" | λ₁/2 | Tr/2 |
    | "ascent" | λ_M/2 | Tr/2 |
    | "average" | Tr/(2D) | Tr/(2D) |

    λ_M is the smallest non-zero eigenvalue: the smallest above rank_tol·λ₁.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), points on Γ; an interpolating minimizer if stochastic.
        kind: "worst", "ascent" or "average".
        stochastic: the limit of the mean over the samples of each sample's R_ρ.
        rank_tol: share of λ₁ above which an eigenvalue counts as non-zero.

    Raises:
        ValueError: when kind is none of the three, x does not fit, or a loss without samples is stochastic.

    Source: Theorem 4.2 and Table 1; Theorem 5.3 for the stochastic forms.

    >>> from samviz.problems import valley
    >>> [limiting_regularizer(valley(), torch.zeros(4), kind).value.item() for kind in ("worst", "ascent", "average")]
    [8.0, 6.0, 3.5]
    """
    if kind not in ("worst", "ascent", "average"):
        raise ValueError(f"kind is {kind!r}; expected one of worst, ascent, average")
    problem, x = at_point(problem, x)
    _check_stochastic(problem, stochastic)
    if kind == "average" or stochastic:
        trace = hessian_trace(problem, x)
        scale = 2 * problem.dim if kind == "average" else 2
        return Regularizer(trace.value / scale, trace.standard_error / scale, None, None)
    if kind == "worst":
        pairs = top_eigenpairs(problem, x)
        return Regularizer(pairs.values[:, 0] / 2, pairs.residuals[:, 0] / 2, None, None)
    space = normal_space(problem, x, rank_tol=rank_tol)
    return Regularizer(space.smallest / 2, torch.zeros_like(space.smallest), space.rank, space.separation)


@dataclass(frozen=True)
class BatchSharpness:
    """The curvature of random batches along their gradients, and the noise of these, each with its standard error."""

    value: Tensor  # (runs,), mean over batches B of g_Bᵀ∇²L_B g_B/‖g_B‖²
    standard_error: Tensor  # (runs,)
    noise: Tensor  # (runs,), standard deviation of g_B along the given direction; NaN without one
    noise_error: Tensor  # (runs,)


def batch_sharpness(
    problem: Problem,
    x: Tensor,
    batch_size: int,
    *,
    batches: int = 32,
    direction: Tensor | None = None,
    seed: int = 0,
) -> BatchSharpness:
    """Return the batch sharpness, the mean curvature of the loss of a batch along the gradient of the batch.

    It takes a gradient and a Hessian-vector product of each batch.

    Args:
        problem: whose loss, a mean over samples.
        x: (dim,) or (runs, dim), where.
        batch_size: samples in a batch, 1 to n.
        batches: number of random batches, 2 or more, the same for every run.
        direction: (runs, dim), unit vectors along which the noise of the gradients is measured, such as v₁.
        seed: of the batches.

    Raises:
        ValueError: when an argument is out of range or does not fit, or the loss is no mean over samples.

    Source: Andreyev & Beneventano, Edge of Stochastic Stability (2024): with mini-batches this number, and not λ₁,
    saturates at 2/η.

    >>> from samviz.problems import valley
    >>> found = batch_sharpness(valley(), torch.tensor([0.0, 0.0, 0.1, 0.0]), 2)
    >>> found.value, found.standard_error
    (tensor([16.], dtype=torch.float64), tensor([0.], dtype=torch.float64))
    """
    problem, x = at_point(problem, x)
    _check_stochastic(problem, problem.samples == 0)
    expected = f"1 to {problem.samples}, the number of samples"
    batch_size = check_int("batch_size", batch_size, expected, 1, problem.samples)
    batches = check_int("batches", batches, "2 or more, for a standard error", 2)
    if direction is not None:
        check_tensor("direction", direction, tuple(x.shape))
    generator = seeded_generator(seed)
    drawn = [torch.randperm(problem.samples, generator=generator)[:batch_size] for _ in range(batches)]
    curvatures, components = [], []
    with one_thread(problem):
        for batch in torch.stack(drawn).to(x.device):
            rows = batch.expand(len(x), -1)
            gradient = problem.gradient(x, rows)[1]
            unit = gradient / gradient.norm(dim=1, keepdim=True)
            curvatures.append((unit * problem.hvp(x, rows)(unit[:, None])[:, 0]).sum(1))
            components.append((gradient * (torch.nan if direction is None else direction.to(x))).sum(1))
    values, along = torch.stack(curvatures), torch.stack(components)
    noise, error = along.std(0), values.std(0) / batches**0.5
    return BatchSharpness(values.mean(0), error, noise, noise / (2 * batches - 2) ** 0.5)


# ---- the maximum of the loss in a ball: exactly for a quadratic model, by the method of Frank and Wolfe for any loss

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
    """Maximize L(x + ρv) over ‖v‖ ≤ 1 from v; return the fields of `SphereMaximum`, numbers as columns (runs, 1)."""
    # Written in primitives, because the rule `worst` compiles it. A step moves v by a share of its distance to
    # ∇L(x + ρv)/‖∇L(x + ρv)‖. A share of 1 is the power method; where the loss would fall, the share is halved.
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
    gain: float = 1e-6,  # the last step adds less than this share of the rise
    most: int = 100,  # gradients from each start
) -> SphereMaximum:
    """Find the highest maximum of L(x + ρv) over ‖v‖ ≤ 1 from unit vectors (runs, dim) or (runs, starts, dim).

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
    """Return a v with ‖v‖ ≤ 1 that maximizes bᵀv + ½vᵀAv, from the slope b and the eigenpairs of A, largest first."""
    # Source: Moré & Sorensen (1983): (μ − A)v = b with μ ≥ max(λ₁(A), 0).
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
