"""What came after the paper, run as claims: normalization, other methods, momentum, micro-batches and practice.

A claim here is not a statement of the paper. Its verdict is "holds", "does not hold here", or "open" if it reports
numbers without a prediction.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samviz.claims.claim import Array, Check, Curve, Evidence, Plot, at_most, claim, decreasing, exponent, near
from samviz.claims.full_batch import trained
from samviz.claims.subjects import (
    VALLEY_START,
    curvatures,
    cycle_size,
    digits,
    new_run,
    overshoot,
    rescaled,
    slopes,
    taken,
)
from samviz.dynamics import RULES, Run, edge_of_stability
from samviz.dynamics.sweep import accuracy
from samviz.geometry import alignment, batch_sharpness, top_eigenpairs
from samviz.problems import Module, Problem, from_module, load, mlp, valley

SEEDS = 8
FLOOR = np.array([0.5, 0.3])  # a point of the valley's floor


def mean_and_error(values: Array) -> tuple[float, float]:
    """Return the mean over the seeds and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def _starts(problem: Problem, seeds: int) -> Array:
    """Return random starts (seeds, dim)."""
    return torch.stack([problem.initial(seed) for seed in range(seeds)]).numpy()


def _by_case(name: str, other: str, rows: list[tuple[float, float, float]]) -> tuple[Curve, Curve]:
    """Return two curves against the number of the case, of rows with a mean, its error and another mean."""
    number, values = np.arange(1.0, len(rows) + 1), np.array(rows).T
    return Curve(name, number, values[0], error=values[1]), Curve(other, number, values[2])


def normalized_network() -> Module:
    """Return the loss of a network with a normalization layer, so that only the direction of its weights matters."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, last = nn.Linear(2, 8, bias=False), nn.Linear(8, 1).requires_grad_(False)
    norm = nn.LayerNorm(8, eps=0.0, elementwise_affine=False)
    return from_module(nn.Sequential(first, norm, nn.Tanh(), last).double(), data="spirals")


@claim("Dai, Ahn & Sra 2023", order=9.1, symbols="x + ρ∇L", fails_with=[{"rule": "sam"}], beyond=True)
def normalization(quick: bool, rule: str = "usam", rho: float = 0.1, lr: float = 0.02) -> Evidence:
    """Without the division by ‖∇L‖ SAM's perturbation vanishes with the gradient, and the drift along Γ stops."""
    yield Plot("ρ", "distance moved along the floor")
    radii, steps = np.array([0.1, 0.5, 1.0]) * rho, 3000 if quick else 10_000
    run, sam = (new_run(valley(), name, lr, radii, x0=VALLEY_START) for name in (rule, "sam"))
    distances = []
    for each in (run, sam):
        yield from taken(each, steps, some_diverge=each is run)
        before = each.x[:, :2].clone()
        yield from taken(each, steps, some_diverge=each is run)
        distances.append((each.x[:, :2] - before).norm(dim=1).numpy())
    kept = run.diverged_at.numpy() < 0
    quantity = f"distance moved along the floor by steps {steps:,} to {2 * steps:,}"
    yield near(quantity, 0, distances[0][kept], absolute=1e-12)
    yield Check("SAM's distance at the smallest ρ", math.nan, float(distances[1][0]), 1e-3)
    yield Curve("unnormalized", radii[kept], np.maximum(distances[0][kept], 1e-16))
    yield Curve("SAM", radii, distances[1])
    ends, of_sam = ([f"({x:.2f}, {y:.2f})" for x, y in each.x[:, :2].tolist()] for each in (run, sam))
    ends = [end if stays else "infinity" for end, stays in zip(ends, kept)]
    yield f"For these ρ unnormalized SAM ends at {', '.join(ends)}, and SAM at {', '.join(of_sam)}."


@claim(
    "Blanc et al. 2020; Damian, Ma & Lee 2021", order=9.2, symbols="y + ρξ", fails_with=[{"rule": "sam"}], beyond=True
)
def label_noise_drift(quick: bool, rule: str = "label_noise") -> Evidence:
    """Gradient descent with label noise of size σ drifts by −η²σ²∇Tr/(4b) a step along Γ, with b samples a step.

    The noise of the gradient has the covariance σ²H/b, which gives each normal direction the variance ησ²/(2b).
    """
    yield Plot("η", "drift along −∇Tr, divided by η²σ²‖∇Tr‖/(4b)", log_y=False)
    rates, size, runs = np.array([0.01, 0.005, 0.0025]), 0.2, 512 if quick else 2048
    first, second = slopes(FLOOR)
    direction = (first + second) / np.linalg.norm(first + second)
    for batch in (None, 1):
        ratios, errors = [], []
        for lr in rates:
            run = new_run(valley(), rule, np.full(runs, lr), size, batch_size=batch, x0=(*FLOOR, 0.0, 0.0))
            run.step(round(1 / lr))
            before, steps = run.x[:, :2].numpy().copy(), round(3 / lr)
            run.step(steps)
            after = run.x[:, :2].numpy()
            middle = ((before + after) / 2).mean(0)
            gradient = 2 * sum(slopes(middle))
            drift = (after - before) @ direction / steps
            predicted = -(lr**2) * size**2 / (4 * (batch or 2)) * float(gradient @ direction)
            ratios.append(drift.mean() / predicted)
            errors.append(drift.std() / runs**0.5 / abs(predicted))
        name = f"b = {batch or 2}"
        quantity = f"drift divided by the prediction, {name}, η = {rates[-1]:g}"
        yield near(quantity, 1, ratios[-1], absolute=0.15, error=errors[-1])
        yield Curve(name, rates, np.array(ratios), error=np.array(errors))
    yield Curve("predicted", rates, np.ones(3), predicted=True)
    yield "The drift is of second order in η, and SAM's is of first order: ½ηρ²∇λ₁, or ½ηρ²∇Tr with one sample."


@claim(
    "this paper; Damian, Ma & Lee 2021; Arora, Li & Panigrahi 2022",
    order=9.25,
    symbols="y + ρξ",
    fails_with=[{"other": "sam"}],
    beyond=True,
)
def drift_rates(quick: bool, other: str = "normalized_gd", rho: float = 0.05, noise: float = 0.2) -> Evidence:
    """SAM drifts along Γ at order η a step, and label noise and normalized gradient descent drift at order η².

    SAM: ½ηρ²∇λ₁; with one sample: ½ηρ²∇Tr; label noise of size σ: ¼η²σ²∇Tr/b with b = 2 samples; normalized gradient
    descent: ¼η²∇log λ₁.
    """
    yield Plot("η", "drift per step")
    rates, floor = np.geomspace(0.008, 0.001, 4), np.array([0.2, 0.2])
    top, first, both = 2 * curvatures(floor)[0], slopes(floor)[0], sum(slopes(floor))
    for name, rule, batch, order, gradient, scale in (
        ("SAM", "sam", None, 1, first, rates * rho**2),
        ("SAM, b = 1", "sam", 1, 1, both, rates * rho**2),
        ("label noise", "label_noise", None, 2, both, rates**2 * noise**2 / 4),
        ("normalized", other, None, 2, first, rates**2 / (2 * top)),
    ):
        random, size = batch or rule == "label_noise", noise if rule == "label_noise" else rho
        runs = (128 if quick else 1024) if random else 1
        drifts, errors = [], []
        for lr in rates:
            cycle = float(cycle_size(lr, rho, top)) if rule == "sam" else lr / 2
            run = new_run(valley(), rule, np.full(runs, lr), size, batch_size=batch, x0=(*floor, cycle, 0.0))
            steps = 2 * round(0.25 / lr)  # even, to end on the side of the 2-cycle where the run began
            yield from taken(run, steps)
            before = run.x[:, :2].numpy().copy()
            yield from taken(run, steps)
            drift = (before - run.x[:, :2].numpy()) @ (gradient / np.linalg.norm(gradient)) / steps
            drifts.append(float(drift.mean()))
            errors.append(float(drift.std() / runs**0.5))
        yield exponent(f"exponent of η, {name}", rates, drifts, order)
        yield Curve(name, rates, np.array(drifts), error=np.array(errors) if random else None)
        yield Curve(f"predicted, {name}", rates, scale * np.linalg.norm(gradient), predicted=True)
    yield "SAM's ρ is a setting, and the perturbation of the others shrinks with η. Therefore they have one order more."


@claim("ours; heavy ball", order=9.3, symbols="β, κ, m", fails_with=[{"rule": "normalized_gd"}], beyond=True)
def momentum_drift(quick: bool, rule: str = "sam", lr: float = 0.01, rho: float = 0.05) -> Evidence:
    """On its 2-cycle SAM with momentum β drifts (2(1+β)/(2(1+β) − ηλ₁))²/(1 − β) times as fast as by Eq. 7.

    The 2-cycle has the amplitude ηρλ₁/(2(1+β) − ηλ₁), and a slow drift sums the last 1/(1 − β) steps. For β > ηλ₁/2
    there is also a cycle a₁, a₂, −a₁, −a₂ of period 4 (`momentum_cycle`), and runs from other starts may reach it.
    """
    yield Plot("β", "drift divided by that of Eq. 7", log_x=False)
    betas, settle, product = np.array([0.0, 0.3, 0.5, 0.7, 0.9]), 200 if quick else 400, lr * 2 * curvatures(FLOOR)[0]
    drifts, predicted, of_four = [], [], []
    for beta in betas:
        for period in (2, 4) if 2 * beta > product else (2,):
            a, b = (rho * each for each in momentum_cycle(period, beta, product))
            run = new_run(valley(), rule, lr, rho, x0=(*FLOOR, a, 0.0), momentum=float(beta))
            run.before = torch.tensor([[*FLOOR, -b, 0.0]], dtype=torch.float64)
            (drift,), (here,) = _momentum_drift(run, settle)
            expected = np.mean((1 + np.array(momentum_cycle(period, beta, here))) ** 2) / (1 - beta)
            if period == 4:
                of_four.append(drift / expected)
            else:
                drifts.append(drift)
                predicted.append(expected)
    yield near("drift divided by the prediction, all β", 1, np.divide(drifts, predicted), absolute=0.03)
    yield near("the same on cycles of period 4", 1, of_four, absolute=0.03)
    starts = np.array([(*FLOOR, x3, 0.01) for x3 in (0.0005, 0.002, 0.005, 0.02, 0.1, 0.3)])
    for beta in (0.3, 0.9):
        run = new_run(valley(), rule, np.full(6, lr), rho, x0=starts, momentum=beta)
        drift, here = _momentum_drift(run, round(6 / lr))
        ratios = drift / ((1 + momentum_cycle(2, beta, here)[0]) ** 2 / (1 - beta))
        quantity = f"drift divided by that of the 2-cycle, β = {beta}, six other starts"
        yield Check(f"{quantity}: smallest", math.nan, float(ratios.min()))
        yield Check(f"{quantity}: largest", math.nan, float(ratios.max()))
    yield Curve("measured", betas, np.array(drifts))
    yield Curve("predicted", betas, np.array(predicted), predicted=True)
    yield (
        "With a large β a run may reach a cycle of period 4 or more, on which the drift is faster. "
        f"The drift from the other starts is measured at ηλ₁ = {here.mean():.2f}."
    )


def momentum_cycle(period: int, beta: float, product: Any) -> tuple[Any, Any]:
    """Return a₁/ρ and a₂/ρ of the cycle a₁, a₂, −a₁, −a₂, or twice a/ρ of a, −a, with ηλ₁ = product."""
    if period == 2:
        return (product / (2 + 2 * beta - product),) * 2
    size = product / ((1 - beta) ** 2 + (1 + beta - product) ** 2)
    return size * (2 - product), size * (2 * beta - product)


def _momentum_drift(run: Run, settle: int) -> tuple[Array, Array]:
    """Return the drifts over 120 steps divided by that of Eq. 7, and ηλ₁, each (runs,), after `settle` steps."""
    run.step(settle)
    before = run.x[:, :2].numpy().copy()
    run.step(120)  # a multiple of 2, 4 and 6
    after, lr = run.x[:, :2].numpy(), np.asarray(run.settings.lr)
    middle = (before + after) / 2
    unit = lr * float(np.asarray(run.settings.rho).flat[0]) ** 2 * np.linalg.norm(slopes(middle.T)[0], axis=0)
    return np.linalg.norm(before - after, axis=1) / 120 / unit, lr * 2 * curvatures(middle)[0]


class Cubic(Problem):
    """The cubic ½λ₁x² + ½λⱼy² + cx²y: a quadratic whose curvature along x depends on y."""

    name = "cubic"
    dim = 2

    def __init__(self, top: float, other: float, coefficient: float) -> None:
        """Create the function; it is unbounded below, far from its minimum at 0."""
        self.coefficients = top / 2, other / 2, coefficient
        self.filters = torch.zeros(2, dtype=torch.int64)

    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return the losses (runs,) at x (runs, 2)."""
        top, other, coefficient = self.coefficients
        first, second = x.unbind(1)
        return top * first**2 + other * second**2 + coefficient * first**2 * second

    def initial(self, seed: int = 0) -> Tensor:
        """Return a point next to the minimum."""
        return torch.tensor([1e-3, 0.0], dtype=self.dtype, device=self.device)


@claim("ours; 2-cycle", order=9.35, symbols="A, a = ηρλ₁/(2 − ηλ₁)", fails_with=[{"rule": "gd"}], beyond=True)
def constant_gradient(quick: bool, rule: str = "sam", top: float = 1.0, coefficient: float = 0.7) -> Evidence:
    """On SAM's 2-cycle ∇L has the constant part (1 + ½ηλ₁)ρ|cⱼ|/(λⱼ + ½ηλ₁(λ₁ − λⱼ)) along vⱼ, relative to ‖∇L‖.

    cⱼ = ½∇³L[v₁, v₁, vⱼ]. The oscillation along v₁ pushes the iterate off the minimum along vⱼ.
    """
    yield Plot("ηλ₁", "|gⱼ|/(ρ‖∇L‖)")
    rates, rho = np.array([0.01, 0.1, 0.75, 1.5]), 1e-3
    others, ratios = (0.9, 0.3) if quick else (0.9, 0.3, 0.03), []
    for other in others:
        problem = Cubic(top, other * top, coefficient * top)
        x0 = np.stack((cycle_size(rates / top, rho, top), np.zeros(4)), 1)
        run = new_run(problem, rule, rates / top, rho, x0=x0)
        yield from taken(run, 2000 if quick else 8000)
        gradient = problem.gradient(run.x)[1].numpy()
        measured = np.abs(gradient[:, 1]) / np.linalg.norm(gradient, axis=1) / rho
        predicted = (1 + rates / 2) * coefficient / (other + rates * (1 - other) / 2)
        ratios.append(measured / predicted)
        yield Curve(f"λⱼ = {other:g}λ₁", rates, measured)
        yield Curve(f"predicted, {other:g}", rates, predicted, predicted=True)
    yield near("|gⱼ|/‖∇L‖ divided by its formula", 1, ratios, absolute=0.01)
    yield "The formula holds to first order in ρ."


@claim("ours; weight decay", order=9.4, symbols="β, κ, m", fails_with=[{"rule": "gd"}], beyond=True)
def weight_decay_drift(quick: bool, rule: str = "sam", lr: float = 0.01, rho: float = 0.1) -> Evidence:
    """With weight decay κ the drift on Γ is that of λ₁/2 + κ‖x‖²/(2ρ²): on the valley x₁ decays at η(2ρ²f + κ) a step.

    f = (2/(2 − ηλ₁))² is the factor of the 2-cycle.
    """
    yield Plot("κ", "decay of x₁ per step", log_x=False, log_y=False)
    decays, rates, predicted = np.array([0.0, 0.01, 0.03, 0.1]), [], []
    for decay in decays:
        top = 2 * curvatures(FLOOR)[0]
        x0 = (*FLOOR, float(cycle_size(lr, rho, top)), 0.0)
        run = new_run(valley(), rule, lr, rho, x0=x0, weight_decay=float(decay))
        run.step(100)
        before = run.x[0].numpy().copy()
        run.step(200 if quick else 1000)
        after = run.x[0].numpy()
        rates.append(np.log(before[0] / after[0]) / (run.steps - 100))
        factor = overshoot(lr, 2 * curvatures((before + after) / 2)[0])
        predicted.append(lr * (2 * rho**2 * factor + decay))
    yield near("decay rate of x₁ divided by the prediction, all κ", 1, np.divide(rates, predicted), absolute=0.02)
    yield Curve("measured", decays, np.array(rates))
    yield Curve("predicted", decays, np.array(predicted), predicted=True)
    yield "Weight decay acts at once and SAM through ρ²: κ = 2ρ² moves x₁ as much as SAM does."


@claim("Long & Bartlett 2024", order=9.45, symbols="2/η", fails_with=[{"rule": "usam"}], beyond=True)
def edge_in_training(quick: bool, rule: str = "sam", lr: float = 0.1, rho: float = 0.05) -> Evidence:
    """From random weights SAM raises λ₁ to its own edge of stability, which depends on ‖∇L‖ and lies below 2/η."""
    yield Plot("step", "λ₁ and edges of stability", log_x=False)
    problem, seeds = mlp([2, 24, 24, 1], data="spirals"), 2 if quick else SEEDS
    run = new_run(problem, rule, np.full(seeds, lr), rho, x0=_starts(problem, seeds))
    for _ in range(20):
        yield from taken(run, 300 if quick else 750)
        run.measure(k=1, trace=False)
        steps, top = run.history["step"].astype(float), run.history["eigenvalues"][..., 0]
        edge = edge_of_stability(lr, rho, run.history["grad_norm"])
        yield Curve("2/η", steps, np.full_like(steps, 2 / lr), predicted=True)
        yield Curve("λ₁", steps, top[:, 0])  # of the first seed
        yield Curve("SAM's edge", steps, edge[:, 0], predicted=True)
    yield near("λ₁ divided by SAM's edge in the second half, all seeds", 1, top[10:] / edge[10:], absolute=0.15)
    yield at_most("λ₁η/2", top * lr / 2, 0.9)
    yield "Gradient descent raises λ₁ to 2/η. On SAM's 2-cycle the edge is equal to λ₁, and so predicts nothing there."


@claim("Andreyev & Beneventano 2024", order=9.5, symbols="2/η", fails_with=[{"batch_size": None}], beyond=True)
def stochastic_edge(quick: bool, batch_size: int | None = 16, lr: float = 0.2, steps: int | None = None) -> Evidence:
    """With mini-batches batch sharpness rises to 2/η, and λ₁ stays below it; the full batch raises λ₁ to 2/η.

    Batch sharpness is the mean curvature of a batch along its own gradient.
    """
    yield Plot("batch size", "λ₁ and batch sharpness, times η/2")
    problem, steps = mlp([2, 24, 24, 1], data="spirals"), steps or (10_000 if quick else 40_000)
    sizes, tops, batches, errors = [4, batch_size, None], [], [], []
    for size in sizes:
        run = new_run(problem, "gd", lr, batch_size=size)
        for part in (steps // 4, steps // 2, steps) if size == batch_size else (steps,):
            yield from taken(run, part - run.steps)
            found = batch_sharpness(problem, run.x, size or problem.samples, batches=64 if size else 2)
            value, error = (float(each) * lr / 2 for each in (found.value, found.standard_error))
            if part < steps:
                quantity = f"batch sharpness·η/2 with batch size {size} after {part:,} steps"
                yield Check(quantity, math.nan, value, error=error)
        tops.append(float(top_eigenpairs(problem, run.x).values) * lr / 2)
        batches.append(value)
        errors.append(error)
    yield at_most(f"λ₁η/2 with batch sizes 4 and {batch_size}", tops[:2], 0.9)
    yield near("λ₁η/2 with the full batch", 1, tops[2], absolute=0.02)
    yield decreasing(f"λ₁η/2 from the full batch to {batch_size} and 4", tops[::-1])
    quantity = f"batch sharpness·η/2 with batch size {batch_size} after {steps:,} steps"
    yield near(quantity, 1, batches[1], absolute=0.1, error=errors[1])
    batch_sizes = np.array([size or problem.samples for size in sizes], float)
    yield Curve("2/η", batch_sizes, np.ones(3), predicted=True)
    yield Curve("λ₁", batch_sizes, np.array(tops))
    yield Curve("of batches", batch_sizes, np.array(batches), error=np.array(errors))
    yield "The authors find that λ₁ is smaller than batch sharpness. Compare the two curves."


@claim("Foret et al. 2021; Andriushchenko & Flammarion 2022", order=9.6, symbols="β, κ, m", fails_with=[], beyond=True)
def micro_batches(quick: bool, rho: float = 0.02) -> Evidence:
    """At equal τ = ηρ²t the trace of the sine network depends on m and on the batch size b.

    No theorem covers 1 < m < n. With batches the means are over eight seeds.
    """
    cases: list[tuple[int | None, int | None]] = [(None, None), (None, 5), (None, 1), (10, None), (4, None), (1, None)]
    names = [f"m = {micro}" if micro else f"b = {size or 'n'}" for size, micro in cases]
    yield Plot("micro-batches or batches", "λ₁ and trace", log_x=False, log_y=False, x_names=names)
    (problem, x0), rows = trained(), []
    for name, (size, micro) in zip(names, cases):
        runs = SEEDS if size else 1
        run = new_run(problem, "sam", np.full(runs, 0.05), rho, batch_size=size, micro_batch=micro, x0=x0.numpy())
        yield from taken(run, 2500 if quick else 10_000)
        trace = problem.hessian(run.x).diagonal(dim1=1, dim2=2).sum(1).numpy()
        mean, error = mean_and_error(trace) if size else (float(trace[0]), 0.0)
        yield Check(f"trace, {name}", math.nan, mean, error=error)
        rows.append((mean, error, float(top_eigenpairs(problem, run.x).values.mean())))
        yield from _by_case("trace", "λ₁", rows)
    yield "b is the batch size, n all samples, and m the size of the micro-batches of the full batch."


@claim("Andriushchenko & Flammarion 2022; Foret et al. 2021", order=9.65, symbols="β, κ, m", fails_with=[], beyond=True)
def accuracy_against_m(quick: bool, rho: float = 0.05) -> Evidence:
    """With a tenth of the labels wrong the test accuracy depends on the size m of the micro-batches.

    A network learns even from odd on 40 digits from random weights. The means are over eight seeds.
    """
    cases = {"m = 1": (1, rho), "m = 4": (4, rho), "m = 16": (16, rho), "m = n": (None, rho), "ρ = 0": (None, 0.0)}
    yield Plot("micro-batch", "accuracy", log_x=False, log_y=False, x_names=[*cases])
    (problem, test), rows = digits(True), []
    x0 = _starts(problem, SEEDS)
    for name, (micro, radius) in cases.items():
        run = new_run(problem, "sam", np.full(SEEDS, 0.1), radius, micro_batch=micro, x0=x0)
        yield from taken(run, 2000)
        mean, error = mean_and_error(accuracy(problem, run.x, *test).numpy())
        yield Check(f"test accuracy, {name}", math.nan, mean, error=error)
        training = accuracy(problem, run.x, problem.inputs, problem.targets[:, 0] > 0).mean()
        rows.append((mean, error, float(training)))
        yield from _by_case("test", "training", rows)
    yield "A training accuracy above 0.9 means that the network reproduces wrong labels."


@claim("Cohen et al. 2021; Lyu & Li 2020", order=9.68, symbols="λ₁", fails_with=[{"loss": "mse"}], beyond=True)
def cross_entropy(quick: bool, activation: str = "tanh", lr: float = 0.5, loss: str = "cross_entropy") -> Evidence:
    """On separable data λ₁ falls under gradient descent, without SAM, because the loss has no minimizer.

    The weights grow without bound, and the loss and its curvature vanish together.
    """
    yield Plot("step", "λ₁ and ‖x‖")
    features, labels = load("digits")
    problem = mlp([64, 16, 10], activation=activation, data=(features[:200], labels[:200]), loss=loss)
    seeds = 2 if quick else SEEDS
    x0 = _starts(problem, seeds)
    for prefix, rule in (("", "gd"), ("SAM's ", "sam")):
        run, norms = new_run(problem, rule, np.full(seeds, lr), x0=x0), []
        for step in np.rint(np.geomspace(30, 3000 if quick else 10_000, 10)).astype(int):
            yield from taken(run, step - run.steps)
            run.measure(k=1, trace=False)
            norms.append(run.x.norm(dim=1).numpy().copy())
            steps, tops = run.history["step"].astype(float), run.history["eigenvalues"][..., 0]
            yield Curve(f"{prefix}λ₁", steps, tops.mean(1))
            yield Curve(f"{prefix}‖x‖", steps, np.mean(norms, 1))
        span = f"after {steps[-1]:,.0f} steps divided by that after {steps[0]:.0f}"
        ratio, error = mean_and_error(tops[-1] / tops[0])
        yield Check(f"{prefix}λ₁ {span}", math.nan, ratio, high=0.5, error=error)
        ratio, error = mean_and_error(norms[-1] / norms[0])
        yield Check(f"{prefix}‖x‖ {span}", math.nan, ratio, 1.1, error=error)
    yield "A smaller λ₁ is no sign of SAM here."


@claim("Arora, Li & Lyu 2019; Kwon et al. 2021", order=9.7, symbols="ρ", fails_with=[{"power": 0}], beyond=True)
def scale_invariance(quick: bool, power: int = 1, rho: float = 0.05, lr: float = 0.1) -> Evidence:
    """If the loss does not depend on ‖w‖, λ₁ is proportional to 1/‖w‖², and SAM's steps depend on ρ/‖w‖ and η/‖w‖²."""
    yield Plot("scale of w", "λ₁")
    problem, scales = normalized_network(), np.array([1.0, 2.0, 4.0, 8.0])
    w = problem.initial()
    tops = np.array([float(top_eigenpairs(problem, scale * w).values) for scale in scales])
    yield near("λ₁‖w‖² divided by its value at the smallest ‖w‖", 1, tops * scales**2 / tops[0], relative=1e-6)
    ends = []
    for scale in (1.0, 4.0):
        run = new_run(problem, "sam", lr * scale**2, rho * scale**power, x0=(scale * w).numpy())
        yield from taken(run, 20)
        ends.append(run.x[0] / scale)
    distance = (ends[0] - ends[1]).norm() / w.norm()
    yield near("relative distance of two runs with one ρ/‖w‖ and η/‖w‖²", 0, distance, absolute=1e-6)
    yield Curve("measured", scales, tops)
    yield Curve("∝ 1/‖w‖²", scales, tops[0] / scales**2, predicted=True)
    yield "So λ₁ alone says nothing about such a network, and a fixed ρ acts less and less while ‖w‖ grows."


@claim("Theorem 4.5 elsewhere; Luo et al. 2024", order=9.8, symbols="∠(∇L, v₁)", fails_with=[], beyond=True)
def alignment_in_practice(quick: bool, rule: str = "sam", rho: float = 0.05) -> Evidence:
    """In a training from random weights with batches SAM aligns ∇L with v₁ as in Theorem 4.5 (cosine above 0.9).

    SGD and the rule start from the same weights with the same batches, in full also Eigen-SAM.
    """
    yield Plot("step", "|cos(∇L, v₁)|", log_x=False, log_y=False)
    features, labels = load("digits")
    problem = mlp([64, 32, 10], data=(features[:600], labels[:600]), loss="cross_entropy")
    seeds, counts = 2 if quick else SEEDS, np.array([200, 400, 800])
    names, before = dict.fromkeys(["gd", rule] if quick else ["gd", rule, "eigen_sam"]), None
    for name in names:
        label = "SGD" if name == "gd" else RULES[name].label
        cosines, ends = np.empty((seeds, len(counts))), np.empty((seeds, 2))
        for seed in range(seeds):
            run = new_run(problem, name, 0.3, 0.0 if name == "gd" else rho, batch_size=32, seed=seed)
            for i, count in enumerate(counts):
                yield from taken(run, int(count) - run.steps)
                pairs = top_eigenpairs(problem, run.x, 3, tol=1e-2)
                found = alignment(problem, run.x, eigenpairs=pairs)
                cosines[seed, i] = float(found.cos_v1)
            ends[seed] = float(found.rayleigh), float(pairs.values[0, 0])
        mean, error = cosines.mean(0), cosines.std(0, ddof=1) / seeds**0.5
        yield Curve(label, counts.astype(float), mean, error=error)
        low, high = (0.9, 1.0) if name == rule else (-math.inf, math.inf)
        quantity = f"|cos(∇L, v₁)| of {label} after {counts[-1]} steps"
        yield Check(quantity, 1.0 if name == rule else math.nan, float(mean[-1]), low, high, float(error[-1]))
        value, of_value = mean_and_error(ends[:, 0])
        yield Check(f"Rayleigh ratio of {label}", math.nan, value, error=of_value)
        if before is None:
            value, of_value = mean_and_error(ends[:, 1])
            yield Check(f"λ₁ of {label}", math.nan, value, error=of_value)
        else:
            for i, what in enumerate(("Rayleigh ratio", "λ₁")):
                value, of_value = mean_and_error((ends - before[1])[:, i])
                yield Check(f"{what} of {label} minus that of {before[0]}, paired", math.nan, value, error=of_value)
        before = label, ends
    yield "The theorems are about a neighbourhood of Γ; here the loss is still far from its infimum."


@claim("Dinh et al. 2017", order=9.9, symbols="λ₁", fails_with=[{"alpha": 1.0}, {"activation": "tanh"}], beyond=True)
def reparametrization(quick: bool, alpha: float = 4.0, activation: str = "relu") -> Evidence:
    """A ReLU network computes the same function with one layer times α and the next divided by α, and λ₁ changes."""
    yield Plot("α", "λ₁")
    problem = mlp([2, 16, 1], activation, "spirals")
    run = new_run(problem, "gd", np.full(SEEDS, 0.1), x0=_starts(problem, SEEDS))
    yield from taken(run, 2000)
    alphas, tops, outputs = alpha ** np.array([0.0, 0.5, 1.0]), [], []
    for factor in alphas:
        x = rescaled(problem, run.x, factor)
        tops.append(top_eigenpairs(problem, x).values[:, 0].numpy())
        outputs.append(problem.outputs(x, problem.inputs))
    difference = max(float((out - outputs[0]).abs().max()) for out in outputs)
    yield near("largest difference of the outputs", 0, difference, absolute=1e-9)
    ratio, error = mean_and_error(np.max(tops, 0) / np.min(tops, 0))
    yield Check("largest λ₁ divided by the smallest", math.nan, ratio, 1.1, error=error)
    means, errors = np.transpose([mean_and_error(top) for top in tops])
    yield Curve("measured", alphas, means, error=errors)
    yield (
        "Sharpness therefore cannot explain generalization by itself. In two-layer ReLU networks the flattest ones may "
        "generalize or not, depending on data and architecture, and if they do not, methods that minimize sharpness "
        "may still generalize (Wen, Li & Ma 2023)."
    )
