"""One sample at a time: Lemma 5.5, Theorem 5.4, Corollaries 5.6 and 5.7."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Finding, Plot, claim, exponent, falls, line, near
from samviz.claims.manifold import FLOW_TIMES, flow_starts, slope_on_manifold
from samviz.claims.runs import iterates
from samviz.claims.subjects import interpolating
from samviz.claims.toy import stronger_flow
from samviz.dynamics import Run, gradient_flow_limit, limiting_flow
from samviz.geometry import worst_direction_sharpness
from samviz.problems import valley

BESIDE = (0.3, 0.8)  # x₁ and x₂ of the start
START = torch.tensor([*BESIDE, 0.0, 0.0], dtype=torch.float64)
TIMES = np.array([0.1, 0.2, 0.4, 0.7, 1.0])  # τ = ηρ²t: at the last, e⁻⁵ of the way is left
LEAST = 373 / 35  # of the trace F₁ + F₂, at (0.8, 1/7)
STRONGER = (
    "At finite η each sample's drift is stronger than the paper's by its own (2/(2 − ηλ))², as on the full batch: most "
    "of the error is this, of order η. What chance adds is of order √η: the scatter over the seeds."
)


@claim("Lemma 5.5")
def rank_one(quick: bool) -> Finding:
    """At an interpolating minimum each sample's Hessian has rank 1, so its gradient nearby points along its v₁."""
    network, minimum = interpolating()
    distances = np.array([1e-1, 1e-2, 1e-3] if quick else [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4])
    ways = 8 if quick else 64
    off = torch.randn(ways, network.dim, generator=torch.Generator().manual_seed(0), dtype=minimum.dtype)
    off = off / off.norm(dim=1, keepdim=True)
    each = torch.arange(network.samples).repeat(ways)[:, None]
    second, turned = [], []
    for distance in distances:
        x = (minimum + distance * off).repeat_interleave(network.samples, 0)
        spectrum, basis = torch.linalg.eigh(network.hessian(x, each))
        sizes = spectrum.abs().sort(dim=1, descending=True).values
        gradient = network.gradient(x, each)[1]
        direction, top = gradient / gradient.norm(dim=1, keepdim=True), basis[:, :, -1]
        sine = (direction - (direction * top).sum(1, keepdim=True) * top).norm(dim=1)
        second.append(float((sizes[:, 1] / sizes[:, 0]).mean()))
        turned.append(float((1 - (1 - sine**2).sqrt()).mean()))
    checks = [
        falls("|second eigenvalue|/λ₁ of a sample's Hessian", second),
        exponent("its exponent in the distance from Γ", distances, second, 1, 0.1),
        near("|second eigenvalue|/λ₁ at distance 0.001", 0, second[list(distances).index(1e-3)], absolute=0.01),
        falls("1 − |cos(∇L_k, v₁(∇²L_k))|", turned),
        exponent("its exponent in the distance from Γ, an angle's square", distances, turned, 2, 0.2),
        near("1 − |cos| at distance 0.001", 0, turned[list(distances).index(1e-3)], absolute=1e-4),
    ]
    curves = [
        Curve("|second eigenvalue|/λ₁", distances, np.array(second)),
        Curve("predicted, order 1", distances, second[0] * distances / distances[0], predicted=True),
        Curve("1 − |cos(∇L_k, v₁)|", distances, np.array(turned)),
        Curve("predicted, order 2", distances, turned[0] * (distances / distances[0]) ** 2, predicted=True),
    ]
    settings = {"problem": network.name, "distance": distances.tolist(), "directions": ways, "seed": 0}
    return Finding(checks, settings, Plot("distance from Γ", "mean over samples and directions", curves))


@claim("Theorem 5.4, Eq. 18")
def one_sample_flow(quick: bool) -> Finding:
    """The shadow on Γ of SAM with one sample a step follows dX/dτ = −½∂Φ∇Tr(∇²L), with an error that falls with η."""
    seen = _seen(quick)
    shape = seen.x.shape
    flow = limiting_flow(valley(mean=True), START, "average", times=TIMES).x  # (times, 1, 4)
    shadow = gradient_flow_limit(valley(mean=True), seen.x.view(-1, 4)).x.view(shape)
    off = (shadow - flow[:, None]).norm(dim=3).amax(0)  # (rates, seeds), the worst on the way
    error, spread = off.mean(1).numpy(), (off.std(1) / shape[2] ** 0.5).numpy()
    middle = shadow.mean(2, keepdim=True)
    scatter = (shadow - middle).square().sum(3).mean((0, 2)).sqrt().numpy()
    bias = (middle - flow[:, None]).norm(dim=3).amax(0)[:, 0].numpy()
    predicted = stronger_flow(BESIDE, seen.rates, TIMES, "average")  # (times, rates, 2)
    left = np.linalg.norm(middle[:, :, 0, :2].numpy() - predicted, axis=2).max(0)
    slope, slope_error = line(np.log(seen.rates), np.log(error))
    network, minimum = interpolating()
    uphill = slope_on_manifold(network, minimum[None], np.array([0.002]), "average")[0]
    checks = [
        falls("max over τ of ‖Φ(x(t)) − X(τ)‖, mean over the seeds", error),
        Check("its exponent in η, ½ or more by the theorem", 0.5, slope, low=0.5, error=slope_error),
        near("error at the smallest η", 0, error[-1], absolute=float(seen.rates[-1]) ** 0.5, error=spread[-1]),
        exponent("exponent in η of the scatter over the seeds", seen.rates, scatter, 0.5, 0.2),
        Check("share of the mean's error left by the factor (2/(2 − ηλ))²", 0, (left / bias).max(), high=0.5),
        *flow_starts(network, minimum[None], "average", -uphill / 2, "network"),
    ]
    curves = [
        Curve("error, mean over the seeds", seen.rates, error, error=spread),
        Curve("order √η of the theorem", seen.rates, error[0] * (seen.rates / seen.rates[0]) ** 0.5, predicted=True),
        Curve("error of the seeds' mean", seen.rates, bias),
        Curve(
            "predicted by (2/(2 − ηλ))²",
            seen.rates,
            np.linalg.norm(predicted - flow[:, :, :2].numpy(), axis=2).max(0),
            predicted=True,
        ),
        Curve("scatter over the seeds", seen.rates, scatter),
    ]
    settings = seen.settings | {"network": "subjects.interpolating()", "τ of its limiting flow": FLOW_TIMES}
    return Finding(checks, settings, Plot("η", "max over τ of ‖Φ(x(t)) − X(τ)‖", curves), STRONGER)


@claim("Corollaries 5.6 and 5.7")
def one_sample_sharpness(quick: bool) -> Finding:
    """SAM with one sample a step lowers the samples' mean worst-direction sharpness as ρ²Tr(X(τ))/2, to its minimum."""
    seen = _seen(quick)
    problem, shape = valley(mean=True), seen.x.shape
    flow = limiting_flow(problem, START, "average", times=TIMES).x[:, 0]  # (times, 4)
    first, second = (f.numpy()[:, None] for f in problem.curvatures(flow))  # Tr = F₁ + F₂; λ = 2F₁ or 2F₂ of a sample
    rise = worst_direction_sharpness(problem, seen.x.view(-1, 4), seen.rho, stochastic=True).value.view(shape[:3])
    ratio = (rise.mean(2) / seen.rho**2).numpy() / ((first + second) / 2)  # (times, rates)
    spread = (rise.std(2) / shape[2] ** 0.5 / seen.rho**2).numpy() / ((first + second) / 2)
    error = np.abs(ratio - 1).max(0)
    higher = (f * (1 + seen.rates * f) / (1 - seen.rates * f) for f in (first, second))  # (2 + ηλ)/(2 − ηλ) times
    factor = sum(higher) / (first + second)
    slope, slope_error = line(np.log(seen.rates), np.log(error))
    end = ratio[-1] * float(first[-1, 0] + second[-1, 0]) / LEAST
    limit = 2 * end[-1] - end[-2]
    checks = [
        falls("max over τ of |E R/(ρ²Tr(X(τ))/2) − 1|", error),
        Check("its exponent in η, ½ or more by the corollary", 0.5, slope, low=0.5, error=slope_error),
        near(
            "E R at the end over ρ²·least Tr/2, extrapolated to η = 0",
            1,
            limit,
            absolute=0.02,
            error=np.hypot(2 * spread[-1, -1], spread[-1, -2]),
        ),
        Check(
            "|E R/(ρ²Tr/2) over (2 + ηλ)/(2 − ηλ) − 1| at the end, the largest",
            0,
            float(np.abs(ratio[-1] / factor[-1] - 1).max()),
            high=seen.rho**2,
        ),
    ]
    curves = [
        Curve("|E R/(ρ²Tr(X(τ))/2) − 1|, the worst on the way", seen.rates, error, error=spread.max(0)),
        Curve("order √η of the corollary", seen.rates, error[0] * (seen.rates / seen.rates[0]) ** 0.5, predicted=True),
        Curve("predicted by (2 + ηλ)/(2 − ηλ)", seen.rates, factor.max(0) - 1, predicted=True),
    ]
    remark = (
        "The error is of order η: the iterate stands ηρλ/(2 − ηλ) beside Γ, where a sample's R_Max is larger than "
        "ρ²λ/2 by (2 + ηλ)/(2 − ηλ)."
    )
    return Finding(checks, seen.settings, Plot("η", "relative error", curves), remark)


class Seen(NamedTuple):
    """Iterates of SAM with one sample a step, from one start with several η and seeds."""

    x: Tensor  # (times, rates, seeds, 4)
    rates: Array  # (rates,)
    rho: float
    settings: dict[str, object]


@cache
def _seen(quick: bool) -> Seen:
    """The runs behind both claims, on the mean of the valley's two terms, whose phase I is over at the start."""
    rates = np.array([0.02, 0.01, 0.005] if quick else [0.02, 0.01, 0.005, 0.0025])
    rho, seeds = (0.3, 24) if quick else (0.2, 48)
    problem, lr = valley(mean=True), np.repeat(rates, seeds)
    curvature = 2 * np.array([float(f) for f in problem.curvatures(START)])
    x0 = np.empty((len(lr), 4))
    x0[:, :2] = BESIDE
    x0[:, 2:] = rho * np.outer(lr, curvature) / (2 - np.outer(lr, curvature))  # each sample's 2-cycle
    run = Run(problem, "sam", lr, rho, batch_size=1, x0=x0, device="cpu")
    x = iterates(run, np.outer(TIMES, 1 / (lr * rho**2)))
    settings = {
        "problem": "valley(mean=True)",
        "lr": rates.tolist(),
        "rho": rho,
        "seeds": seeds,
        "x0": [*BESIDE, "2-cycle", "2-cycle"],
        "τ": TIMES.tolist(),
    }
    return Seen(x.view(len(TIMES), len(rates), seeds, 4), rates, rho, settings)
