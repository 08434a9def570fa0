"""Quadratics, where the end of SAM is known in closed form: Theorem 4.8 and Example 5.8."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch

from samviz.claims.claim import Array, Curve, Evidence, Plot, at_most, claim, decreasing, exponent, near
from samviz.claims.subjects import new_run, pairs
from samviz.geometry import alignment
from samviz.problems import quadratic


@claim("Theorem 4.8", order=4.8, symbols="A, ηρλ₁/(2 − ηλ₁)", fails_with=[{"rule": "gd"}, {"rule": "usam"}])
def two_cycle(quick: bool, rule: str = "sam") -> Evidence:
    """On a quadratic SAM ends in a 2-cycle across the minimum, along v₁, of size ηρλ₁/(2 − ηλ₁)."""
    spectrum, radii, rates = (3.0, 1.5, 1.0), np.logspace(-3, 0, 4), np.array([0.03, 0.1, 0.3])
    rho, lr = pairs(radii, rates)
    start = np.random.default_rng(0).normal(size=(len(rho), 3))
    run = new_run(quadratic(spectrum), rule, lr, rho, x0=start)
    run.step(800 if quick else 2000)
    before = run.x.numpy()
    size = np.linalg.norm(before, axis=1)
    predicted = lr * rho * spectrum[0] / (2 - lr * spectrum[0])
    run.step(1)
    asymmetry = np.linalg.norm(run.x.numpy() + before, axis=1) / size
    yield near("‖x‖ divided by ηρλ₁/(2 − ηλ₁)", 1, size / predicted, absolute=1e-6)
    yield at_most("1 − |cos(x, v₁)|", 1 - np.abs(before[:, 0]) / size, 1e-6)
    yield at_most("‖x(t+1) + x(t)‖/‖x(t)‖", asymmetry, 1e-4)
    for rate in rates:
        same = lr == rate
        yield exponent(f"exponent of ρ in ‖x‖, η = {rate:g}", radii, size[same], 1, 1e-6)
        yield Curve(f"η = {rate:g}", radii, size[same])
        yield Curve(f"predicted, η = {rate:g}", radii, predicted[same], predicted=True)
    distance = [np.abs(size / (lr * rho) - spectrum[0] / 2)[lr == rate].max() for rate in rates[::-1]]
    yield decreasing("distance of ‖x‖/(ηρ) from λ₁/2 as η falls", distance)
    yield Plot("ρ", "‖x‖ on the cycle")


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
            yield at_most(f"1 − |cos(∇L_B, v₁)|, {size} of 4 samples", np.abs(values), 1e-9, low=0)
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
