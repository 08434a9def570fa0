"""Quadratics, where SAM's end is known in closed form: Theorem 4.8 and Example 5.8."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch

from samviz.claims.claim import Array, Check, Curve, Finding, Plot, claim, exponent, falls, near, worst
from samviz.dynamics import Run
from samviz.geometry import alignment
from samviz.problems import quadratic

ANGLES, SPECTRUM = (0, 30, 60, 90), (4.0, 2.0, 2.0, 2.0)  # degrees and eigenvalues of Example 5.8's four samples
SETTLING = 250  # steps, at η = 0.05, from 0.1 to the scale of ηρ


@claim("Theorem 4.8")
def two_cycle(quick: bool) -> Finding:
    """On a quadratic SAM ends in a 2-cycle across the minimum, along v₁, of size ηρλ₁/(2 − ηλ₁)."""
    spectrum, radii, rates = (3.0, 1.5, 1.0), np.logspace(-3, 0, 4), np.array([0.03, 0.1, 0.3])
    rho, lr = (grid.ravel() for grid in np.meshgrid(radii, rates, indexing="ij"))
    start = np.random.default_rng(0).normal(size=(len(rho), 3))
    run = Run(quadratic(spectrum), "sam", lr, rho, x0=start, device="cpu")
    run.step(800 if quick else 2000)
    before = run.x.numpy()
    size = np.linalg.norm(before, axis=1)
    predicted = lr * rho * spectrum[0] / (2 - lr * spectrum[0])
    run.step(1)
    slopes = [exponent(f"exponent of ρ in ‖x‖, η = {e:g}", radii, size[lr == e], 1, 1e-6) for e in rates]
    from_limit = np.array([np.abs(size / (lr * rho) - spectrum[0] / 2)[lr == e].max() for e in rates[::-1]])
    checks = [
        near("‖x‖ over ηρλ₁/(2 − ηλ₁), the worst of 12 runs", 1, worst(size / predicted), absolute=1e-6),
        Check("1 − |cos(x, v₁)|, the worst", 0, float((1 - np.abs(before[:, 0]) / size).max()), high=1e-6),
        Check(
            "‖x(t+1) + x(t)‖/‖x(t)‖, the worst",
            0,
            float((np.linalg.norm(run.x.numpy() + before, axis=1) / size).max()),
            high=1e-4,
        ),
        *slopes,
        falls("distance of ‖x‖/(ηρ) from λ₁/2 as η falls", from_limit),
    ]
    curves = [
        curve
        for lr_ in rates
        for curve in (
            Curve(f"η = {lr_:g}", radii, size[lr == lr_]),
            Curve(f"predicted, η = {lr_:g}", radii, predicted[lr == lr_], predicted=True),
        )
    ]
    settings = {"spectrum": spectrum, "lr": rates.tolist(), "rho": radii.tolist(), "steps": run.steps}
    return Finding(checks, settings, Plot("ρ", "‖x‖ on the cycle", curves))


@claim("Example 5.8")
def minibatch_alignment(quick: bool) -> Finding:
    """With a batch between one sample and all the gradient need not align with the top eigenvector at any ρ.

    The Hessian is the batch's. One sample of rank one aligns by itself, and all samples are the full-batch case.

    As η → 0, SAM on quadratics becomes a walk of z = x/(ηρ) in which no ρ is left, z ← z − A_B A_B z/‖A_B z‖: it
    tells by how much the alignment is missed.
    """
    matrices, radii = samples(), np.array([1e-1, 1e-2, 1e-3])
    lr, each, reads = 0.05, 16 if quick else 32, 20 if quick else 60
    sharpest = max(SPECTRUM)
    checks, curves = [], []
    for size in range(1, 5):
        batches = np.array(list(combinations(range(4), size)))
        missed = misses(matrices, batches, lr, np.repeat(radii, each), reads)  # (runs, reads)
        mean = missed.mean(1).reshape(3, each)
        error = mean.std(1, ddof=1) / each**0.5
        curves.append(Curve(f"{size} of 4 samples", radii, mean.mean(1).clip(1e-17), error=error))
        if size in (1, 4):
            name = f"1 − |cos(∇L_B, v₁)|, {size} of 4 samples, the worst"
            checks.append(Check(name, 0, float(np.abs(missed).max()), low=0, high=1e-9))
            continue
        predicted, uncertain = walk(matrices, batches), float(mean.std(ddof=1) / mean.size**0.5)
        name, room = f"mean of 1 − |cos(∇L_B, v₁)|, {size} of 4 samples", lr * sharpest * predicted + 3 * uncertain
        checks += [
            near(name, predicted, float(mean.mean()), absolute=room, error=uncertain),
            exponent(f"exponent of ρ in it, {size} of 4 samples", radii, mean.mean(1), 0, 0.2),
        ]
        curves.append(Curve(f"predicted, {size} of 4 samples", radii, np.full(3, predicted), predicted=True))
    settings = {
        "problem": "λ_k a_k a_kᵀ in the plane",
        "angles": ANGLES,
        "spectrum": SPECTRUM,
        "lr": lr,
        "rho": radii.tolist(),
        "runs": each,
        "steps": [SETTLING, 10 * reads],
        "seeds": "run r draws with seed r; x0 is 0.1 times a normal vector of seed 0",
    }
    remark = (
        "A misalignment would have to fall with ρ to be harmless; its exponent is 0. From the walk it differs by O(η)."
    )
    return Finding(checks, settings, Plot("ρ", "1 − |cos(∇L_B, v₁)|, mean over batches and steps", curves), remark)


def misses(matrices: Array, batches: Array, lr: float, rho: Array, reads: int) -> Array:
    """1 − |cos(∇L_B, v₁)| averaged over the batches B that the next step may draw, every tenth step, (runs, reads)."""
    problem = quadratic(matrices)
    x0 = 0.1 * np.random.default_rng(0).normal(size=(len(rho), 2))
    run = Run(problem, "sam", lr, rho, batch_size=batches.shape[1], x0=x0, device="cpu")
    run.step(SETTLING)
    chosen, seen = torch.from_numpy(batches).repeat(len(rho), 1), []
    for _ in range(reads):
        run.step(10)
        cosines = alignment(problem, run.x.repeat_interleave(len(batches), 0), batch=chosen).cos_v1
        seen.append(1 - cosines.view(len(rho), -1).mean(1))
    return np.asarray(torch.stack(seen, 1))


def samples() -> Array:
    """Four samples of rank one in the plane, λ_k a_k a_kᵀ with a_k at four angles: every batch has its own v₁."""
    turn = np.deg2rad(ANGLES)
    way = np.stack((np.cos(turn), np.sin(turn)), 1)
    return np.asarray(np.array(SPECTRUM)[:, None, None] * way[:, :, None] * way[:, None, :])


def walk(matrices: Array, batches: Array) -> float:
    """The mean of 1 − cos(∇L_B, v₁) over the walk that SAM becomes as η → 0, over all batches."""
    means = matrices[batches].mean(1)  # (batches, 2, 2)
    tops = np.linalg.eigh(means).eigenvectors[:, :, 1]
    generator = np.random.default_rng(0)
    z, missed = generator.normal(size=(400, 2)), []
    for step in range(600):
        every = z @ means  # (batches, walkers, 2)
        every /= np.linalg.norm(every, axis=2, keepdims=True)
        if step >= 200:
            missed.append(1 - np.abs((every * tops[:, None]).sum(2)).mean())
        drawn = generator.integers(len(means), size=len(z))
        z = z - (means[drawn] @ every[drawn, np.arange(len(z))][..., None])[..., 0]
    return float(np.mean(missed))
