"""Stochastic SAM, one sample or a mini-batch a step: Lemma 5.5, Theorem 5.4, Corollaries 5.6 and 5.7, Example 5.8."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from samviz.claims.claim import Array, Curve, Evidence, Plot, at_most, claim, decreasing, exponent, near
from samviz.claims.manifold import flow_starts, slope_on_manifold
from samviz.claims.subjects import (
    cycle_size,
    gradient_flow_limit,
    interpolating,
    iterates,
    limiting_flow,
    new_run,
    sine,
    stronger_flow,
    unit_vectors,
    worst_direction_sharpness,
)
from samviz.dynamics.theory import Kind
from samviz.geometry import alignment
from samviz.problems import quadratic, valley

START = torch.tensor([0.3, 0.8, 0.0, 0.0], dtype=torch.float64)
TIMES = np.array([0.05, 0.1, 0.2, 0.35, 0.5])  # τ = ηρ²t: at the last, e⁻⁵ of the way is left


@claim("Lemma 5.5", order=5.5, symbols="∇L_k ∥ v₁(∇²L_k)", fails_with=[{"offset": 0.1}])
def rank_one(quick: bool, offset: float = 0.0) -> Evidence:
    """At an interpolating minimum each sample's Hessian has rank 1, so its gradient nearby points along its v₁.

    The claim fails at a distance `offset` of all parameters from the minimum, where samples are not interpolated.
    """
    network, minimum = interpolating()
    distances = np.array([1e-1, 1e-2, 1e-3] if quick else [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4])
    directions = unit_vectors(8 if quick else 64, network.dim)
    samples = torch.arange(network.samples).repeat(len(directions))[:, None]
    ratio, misalignment = np.empty((2, len(distances)))
    for i, distance in enumerate(distances):
        x = (minimum + offset + distance * directions).repeat_interleave(network.samples, 0)
        spectrum, basis = torch.linalg.eigh(network.hessian(x, samples))
        sizes = spectrum.abs().sort(dim=1, descending=True).values
        ratio[i] = (sizes[:, 1] / sizes[:, 0]).mean()
        misalignment[i] = (1 - (1 - sine(network.gradient(x, samples)[1], basis[:, :, -1]) ** 2).sqrt()).mean()
    at = list(distances).index(1e-3)
    yield decreasing("|second eigenvalue|/λ₁ of a sample's Hessian", ratio)
    yield exponent("its exponent in the distance from Γ", distances, ratio, 1, 0.1)
    yield near("|second eigenvalue|/λ₁ at distance 0.001", 0, ratio[at], absolute=0.01)
    yield decreasing("1 − |cos(∇L_k, v₁(∇²L_k))|", misalignment)
    yield exponent("its exponent in the distance from Γ, an angle's square", distances, misalignment, 2)
    yield near("1 − |cos| at distance 0.001", 0, misalignment[at], absolute=1e-4)
    yield Plot("distance from Γ", "mean over samples and directions")
    yield Curve("|second eigenvalue|/λ₁", distances, ratio)
    yield Curve("predicted, order 1", distances, ratio[0] * distances / distances[0], predicted=True)
    yield Curve("1 − |cos(∇L_k, v₁)|", distances, misalignment)
    yield Curve("predicted, order 2", distances, misalignment[0] * (distances / distances[0]) ** 2, predicted=True)


@claim(
    "Theorem 5.4, Eq. 18",
    order=5.4,
    symbols="the same on L_k; dX/dτ = −½∂Φ∇Tr; (2/(2 − ηλ₁))²",
    fails_with=[{"rule": "gd"}, {"batch_size": None}, {"kind": "worst"}],
)
def one_sample_flow(quick: bool, rule: str = "sam", batch_size: int | None = 1, kind: Kind = "average") -> Evidence:
    """The limit Φ(x) of SAM with one sample a step follows dX/dτ = −½∂Φ∇Tr(∇²L), with an error that falls with η."""
    x, rates, _ = _runs(quick, rule, batch_size)
    flow = limiting_flow(valley(), START, kind, times=TIMES).x  # (times, 1, 4)
    limit = gradient_flow_limit(valley(), x.view(-1, 4)).x.view(x.shape)
    errors = (limit - flow[:, None]).norm(dim=3).amax(0)  # (rates, seeds), the largest of all times
    error, spread = errors.mean(1).numpy(), (errors.std(1) / x.shape[2] ** 0.5).numpy()
    mean = limit.mean(2, keepdim=True)
    scatter = (limit - mean).square().sum(3).mean((0, 2)).sqrt().numpy()
    bias = (mean - flow[:, None]).norm(dim=3).amax(0)[:, 0].numpy()
    stronger = stronger_flow(START[:2], rates, TIMES, "average")  # (times, rates, 2)
    error_of_stronger = np.linalg.norm(mean[:, :, 0, :2].numpy() - stronger, axis=2).max(0)
    network, minimum = interpolating()
    slope = slope_on_manifold(network, minimum[None], np.array([0.002]), "average")[0]
    yield decreasing("max over τ of ‖Φ(x(t)) − X(τ)‖, mean over the seeds", error)
    yield exponent("its exponent in η, ½ or more by the theorem", rates, error, 0.5, 0, or_more=True)
    yield near("error at the smallest η", 0, error[-1], absolute=(2 * rates[-1]) ** 0.5, error=spread[-1])
    yield exponent("exponent in η of the scatter over the seeds", rates, scatter, 0.5)
    yield at_most("share of the mean's error left by the factor (2/(2 − ηλ))²", error_of_stronger / bias, 0.5)
    yield from flow_starts(network, minimum[None], "average", -slope / 2, "network")
    predicted = np.linalg.norm(stronger - flow[:, :, :2].numpy(), axis=2).max(0)
    yield Plot("η", "max over τ of ‖Φ(x(t)) − X(τ)‖")
    yield Curve("error, mean over the seeds", rates, error, error=spread)
    yield Curve("order √η of the theorem", rates, error[0] * (rates / rates[0]) ** 0.5, predicted=True)
    yield Curve("error of the seeds' mean", rates, bias)
    yield Curve("predicted by (2/(2 − ηλ))²", rates, predicted, predicted=True)
    yield Curve("scatter over the seeds", rates, scatter)
    yield (
        "At a finite η each sample's drift is stronger than the paper's by its own factor (2/(2 − ηλ))², as for the "
        "full batch. This is most of the error, of order η. The random samples add the scatter over the seeds, of "
        "order √η."
    )


@claim(
    "Corollaries 5.6 and 5.7",
    order=5.6,
    symbols="E_k R_k,Max(x(t))",
    fails_with=[{"rule": "gd"}, {"batch_size": None}, {"kind": "worst"}],
)
def one_sample_sharpness(
    quick: bool, rule: str = "sam", batch_size: int | None = 1, kind: Kind = "average"
) -> Evidence:
    """SAM with one sample a step lowers the samples' mean worst-direction sharpness as ρ²Tr(X(τ))/2, to its minimum."""
    x, rates, rho = _runs(quick, rule, batch_size)
    problem = valley()
    flow = limiting_flow(problem, START, kind, times=TIMES).x[:, 0]  # (times, 4)
    first, second = (f.numpy()[:, None] for f in problem.curvatures(flow))  # Tr = 2(F₁ + F₂); λ of a sample = 4F_k
    rise = worst_direction_sharpness(problem, x.view(-1, 4), rho, stochastic=True).value.view(x.shape[:3])
    scale = rho**2 * (first + second)
    ratio, spread = rise.mean(2).numpy() / scale, (rise.std(2) / x.shape[2] ** 0.5).numpy() / scale  # (times, rates)
    error = np.abs(ratio - 1).max(0)
    larger = (f * (1 + 2 * rates * f) / (1 - 2 * rates * f) for f in (first, second))  # (2 + ηλ)/(2 − ηλ) times
    predicted = sum(larger) / (first + second)
    final = ratio[-1] * float(first[-1, 0] + second[-1, 0]) / (373 / 35)  # the smallest F₁ + F₂, at (0.8, 1/7)
    final_error = np.hypot(2 * spread[-1, -1], spread[-1, -2])
    yield decreasing("max over τ of |E R/(ρ²Tr(X(τ))/2) − 1|", error)
    yield exponent("its exponent in η, ½ or more by the corollary", rates, error, 0.5, 0, or_more=True)
    quantity = "E R at the last τ divided by ρ²·(smallest Tr)/2, extrapolated to η = 0"
    yield near(quantity, 1, 2 * final[-1] - final[-2], absolute=0.02, error=final_error)
    quantity = "|E R/(ρ²Tr/2) divided by (2 + ηλ)/(2 − ηλ) − 1| at the last τ"
    yield near(quantity, 0, np.abs(ratio[-1] / predicted[-1] - 1), absolute=rho**2)
    yield Plot("η", "relative error")
    yield Curve("|E R/(ρ²Tr(X(τ))/2) − 1|, the largest of all τ", rates, error, error=spread.max(0))
    yield Curve("order √η of the corollary", rates, error[0] * (rates / rates[0]) ** 0.5, predicted=True)
    yield Curve("predicted by (2 + ηλ)/(2 − ηλ)", rates, predicted.max(0) - 1, predicted=True)
    yield (
        "The error is of order η: the iterate is at distance ηρλ/(2 − ηλ) from Γ, where a sample's R_Max is larger "
        "than ρ²λ/2 by (2 + ηλ)/(2 − ηλ)."
    )


def _runs(quick: bool, rule: str, batch_size: int | None) -> tuple[Tensor, Array, float]:
    """Return the iterates (times, rates, seeds, 4) on the valley in phase II, η and ρ."""
    rates = np.array([0.01, 0.005, 0.0025] if quick else [0.01, 0.005, 0.0025, 0.00125])
    rho, seeds = (0.3, 24) if quick else (0.2, 48)
    problem, lr = valley(), np.repeat(rates, seeds)
    curvature = 4 * np.array([float(f) for f in problem.curvatures(START)])
    x0 = np.tile(START, (len(lr), 1))
    x0[:, 2:] = cycle_size(lr[:, None], rho, curvature)  # each sample's 2-cycle
    run = new_run(problem, rule, lr, rho, batch_size=batch_size, x0=x0)
    x = iterates(run, np.outer(TIMES, 1 / (lr * rho**2)))
    return x.view(len(TIMES), len(rates), seeds, 4), rates, rho


@claim("Example 5.8", order=5.8, symbols="the same on a batch", fails_with=[{"rule": "gd"}])
def minibatch_alignment(quick: bool, rule: str = "sam") -> Evidence:
    """With a batch between one sample and all the gradient need not align with the top eigenvector at any ρ.

    The Hessian is the batch's. One sample of rank one aligns by itself, and all samples are the full-batch case.
    As η → 0, SAM on quadratics becomes a random walk of z = x/(ηρ), z ← z − A_B A_B z/‖A_B z‖, that does not depend
    on ρ. It predicts the mean misalignment.
    """
    spectrum, radii = np.array([4.0, 2.0, 2.0, 2.0]), np.array([1e-1, 1e-2, 1e-3])
    angles = np.deg2rad([0, 30, 60, 90])
    axes = np.stack((np.cos(angles), np.sin(angles)), 1)
    matrices = spectrum[:, None, None] * axes[:, :, None] * axes[:, None, :]  # of rank one, each with its own v₁
    lr, runs, count = 0.05, 16 if quick else 32, 20 if quick else 60
    for size in range(1, 5):
        batches = np.array(list(combinations(range(4), size)))
        values = misalignment(rule, matrices, batches, lr, np.repeat(radii, runs), count)  # (runs, count)
        mean = values.mean(1).reshape(3, runs)
        error = mean.std(1, ddof=1) / runs**0.5
        yield Curve(f"{size} of 4 samples", radii, mean.mean(1).clip(1e-17), error=error)
        if size in (1, 4):
            yield near(f"1 − |cos(∇L_B, v₁)|, {size} of 4 samples", 0, values, absolute=1e-9)
            continue
        predicted = random_walk_misalignment(matrices, batches)
        error_of_mean = mean.std(ddof=1) / mean.size**0.5
        tolerance = lr * spectrum.max() * predicted + 3 * error_of_mean
        name = f"mean of 1 − |cos(∇L_B, v₁)|, {size} of 4 samples"
        yield near(name, predicted, mean.mean(), absolute=tolerance, error=error_of_mean)
        yield exponent(f"exponent of ρ in that mean, {size} of 4 samples", radii, mean.mean(1), 0)
        yield Curve(f"predicted, {size} of 4 samples", radii, np.full(3, predicted), predicted=True)
    yield Plot("ρ", "1 − |cos(∇L_B, v₁)|, mean over batches and steps")
    yield (
        "A misalignment would have to fall with ρ to be harmless; its exponent is 0. It differs from that of the "
        "random walk by O(η)."
    )


def misalignment(rule: str, matrices: Array, batches: Array, lr: float, rho: Array, count: int) -> Array:
    """Average 1 − |cos(∇L_B, v₁)| over the batches B that the next step may draw, every tenth step, (runs, count)."""
    problem = quadratic(matrices)
    x0 = 0.1 * np.random.default_rng(0).normal(size=(len(rho), 2))
    run = new_run(problem, rule, lr, rho, batch_size=batches.shape[1], x0=x0)
    run.step(250)  # from 0.1 to the scale of ηρ
    batch, values = torch.from_numpy(batches).repeat(len(rho), 1), []
    for _ in range(count):
        run.step(10)
        cosines = alignment(problem, run.x.repeat_interleave(len(batches), 0), batch=batch).cos_v1
        values.append(1 - cosines.view(len(rho), -1).mean(1))
    return np.asarray(torch.stack(values, 1))


def random_walk_misalignment(matrices: Array, batches: Array) -> float:
    """Return the mean of 1 − |cos(∇L_B, v₁)| over all batches and the random walk that SAM becomes as η → 0."""
    means = matrices[batches].mean(1)  # (batches, 2, 2)
    tops = np.linalg.eigh(means).eigenvectors[:, :, 1]
    generator = np.random.default_rng(0)
    z, values = generator.normal(size=(400, 2)), []
    for step in range(600):
        gradients = z @ means  # (batches, walkers, 2)
        gradients /= np.linalg.norm(gradients, axis=2, keepdims=True)
        if step >= 200:
            values.append(1 - np.abs((gradients * tops[:, None]).sum(2)).mean())
        drawn = generator.integers(len(means), size=len(z))
        z = z - (means[drawn] @ gradients[drawn, np.arange(len(z))][..., None])[..., 0]
    return float(np.mean(values))
