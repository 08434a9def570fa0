"""Problems, recorded calls and closed forms that several claims share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from torch import Tensor
from torch.nn.functional import normalize

from samviz import dynamics, geometry
from samviz.claims.claim import Array, recorded
from samviz.dynamics import Run
from samviz.problems import MLP, Problem, load, mlp

PIECE_S = 0.03  # seconds of steps between two pauses of a claim
TRAIN, TEST, WRONG = 40, 800, 4  # digits
COMPONENTS, HIDDEN = 6, 12  # inputs and neurons of the network that classifies them
VALLEY_START = (0.6, 0.9, 0.1, 0.1)  # where runs start next to the valley's floor

gradient_flow_limit = recorded(dynamics.gradient_flow_limit)
limiting_flow = recorded(dynamics.limiting_flow)
worst_direction_sharpness = recorded(geometry.worst_direction_sharpness)
ascent_direction_sharpness = recorded(geometry.ascent_direction_sharpness)
average_direction_sharpness = recorded(geometry.average_direction_sharpness)


@cache
def interpolating() -> tuple[MLP, Tensor]:
    """Return a 1-6-1 tanh network on five points of sin 3x, and a point (19,) of its Γ: the limit of gradient flow."""
    inputs = np.linspace(-1, 1, 5)[:, None]
    problem = mlp([1, 6, 1], activation="tanh", data=(inputs, np.sin(3 * inputs)), loss="mse")
    return problem, dynamics.gradient_flow_limit(problem, problem.initial(0)).x[0]


@cache
def digits(wrong: bool) -> tuple[MLP, tuple[Tensor, Tensor]]:
    """Return a network that tells even from odd on a few digits, and the digits on which it is tested."""
    inputs, labels = load("digits")
    centred = inputs - inputs.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:COMPONENTS]
    components = centred @ (axes * np.sign(axes.sum(1, keepdims=True))).T  # principal components of a definite sign
    components /= components.std()
    odd = labels % 2
    targets = odd[:TRAIN].copy()
    targets[:WRONG] ^= wrong
    problem = mlp([COMPONENTS, HIDDEN, 1], activation="tanh", data=(components[:TRAIN], targets), loss="mse")
    return problem, (torch.from_numpy(components[-TEST:]), torch.from_numpy(odd[-TEST:]))


def rescaled(problem: MLP, x: Tensor, alpha: float) -> Tensor:
    """Return the same ReLU network with other parameters: layer 1 times α, the weights of layer 2 divided by α.

    The function of the parameters (..., dim), and so the loss, is the same, since relu(αz) = α·relu(z) for α > 0
    (Dinh, Pascanu, Bengio & Bengio, Sharp Minima Can Generalize for Deep Nets, 2017).

    >>> problem = mlp([1, 2, 1], activation="relu")
    >>> rescaled(problem, torch.ones(problem.dim), 2.0)
    tensor([2.0000, 2.0000, 2.0000, 2.0000, 0.5000, 0.5000, 1.0000])
    """
    (inputs, hidden), (_, second) = problem.layers[:2]
    first, weights = (inputs + 1) * hidden, hidden * second
    return torch.cat((x[..., :first] * alpha, x[..., first : first + weights] / alpha, x[..., first + weights :]), -1)


def floor_points(count: int) -> Tensor:
    """Return points (count, 4) of the valley's floor, with x₁ and x₂ uniform in [0.1, 0.9]."""
    generator = torch.Generator().manual_seed(0)
    floor = 0.1 + 0.8 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    return torch.cat((floor, torch.zeros_like(floor)), 1)


@recorded
def unit_vectors(*shape: int, seed: int = 0) -> Tensor:
    """Return random vectors of length 1, uniformly distributed along the last axis."""
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def sine(vectors: Tensor, directions: Tensor) -> Tensor:
    """Return the sine of the angle between vectors and unit directions (n, dim), exact for small angles."""
    perpendicular = vectors - (vectors * directions).sum(1, keepdim=True) * directions
    ratio: Tensor = perpendicular.norm(dim=1) / vectors.norm(dim=1)
    return ratio


def pairs(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    """Return all pairs of two lists of numbers, each (pairs,); the second varies fastest."""
    one, two = np.meshgrid(first, second, indexing="ij")
    return one.ravel(), two.ravel()


@recorded
def new_run(problem: Problem, rule: str, lr: ArrayLike, rho: ArrayLike = 0.05, **options: Any) -> Run:
    """Prepare a run on the CPU; a single start x0 serves all runs."""
    runs = max(np.size(lr), np.size(rho))
    if runs > 1 and np.ndim(options.get("x0", ())) == 1:
        options["x0"] = np.tile(options["x0"], (runs, 1))
    return Run(problem, rule, lr, rho, device="cpu", **options)


def taken(run: Run, steps: int, some_diverge: bool = False) -> Iterator[None]:
    """Take steps, with a pause after each piece of about `PIECE_S`; the pieces do not change the run.

    Unlike `Run.step` it refuses a batch of which only some runs have diverged, unless `some_diverge`.
    """
    last, piece = run.steps + steps, 1
    while run.steps < last:
        start = perf_counter()
        run.step(min(piece, last - run.steps))
        piece = max(1, round(piece * min(2.0, PIECE_S / (perf_counter() - start))))
        if bool((run.diverged_at >= 0).any()) and not some_diverge:
            raise dynamics.Diverged("some of the runs diverged; take a smaller learning rate")
        yield


def iterates(run: Run, steps: Array) -> Tensor:
    """Step a batch of runs and return the iterates (times, runs, dim), each run at its own rounded steps."""
    rounded = np.broadcast_to(np.rint(steps).astype(int), (len(steps), len(run.x)))
    x = run.x.new_zeros(*rounded.shape, run.problem.dim)
    for step in np.unique(rounded):
        run.step(int(step) - run.steps)
        times, runs = np.nonzero(rounded == step)
        x[times, runs] = run.x[runs]
    return x


def cycle_points(problem: Problem, minimum: Tensor, lr: Array, rho: float | Array) -> Tensor:
    """Return for each run the point of Theorem 4.8's 2-cycle next to a point (dim,) of Γ, (runs, dim)."""
    top = geometry.top_eigenpairs(problem, minimum)
    return minimum + torch.from_numpy(cycle_size(lr, rho, float(top.values)))[:, None] * top.vectors[0]


# Closed forms of the valley, in numpy and from the paper's caption. They share no code with the library.


def curvatures(x: Array) -> tuple[Array, Array]:
    """Return F₁ and F₂ at points (..., 2 or more)."""
    return x[..., 0] ** 2 + 6 * x[..., 1] ** 2 + 8, 4 * (1 - x[..., 0]) ** 2 + (1 - x[..., 1]) ** 2 + 1


def slopes(x: Array) -> tuple[Array, Array]:
    """Return ∇F₁ and ∇F₂ along the floor, each (2,)."""
    return np.array([2 * x[0], 12 * x[1]]), np.array([-8 * (1 - x[0]), -2 * (1 - x[1])])


def cycle_size(lr: ArrayLike, rho: ArrayLike, top: ArrayLike) -> Array:
    """Return ‖x‖ on the 2-cycle along v₁, ηρλ₁/(2 − ηλ₁) (Theorem 4.8)."""
    product = np.asarray(lr) * np.asarray(top)
    return np.asarray(product * rho / (2 - product))


def overshoot(lr: ArrayLike, curvature: ArrayLike) -> Array:
    """Return the factor (2/(2 − ηλ))² by which the drift at a finite η is stronger than in Eq. 7 (our result).

    On the 2-cycle SAM takes its gradient at distance 2ρ/(2 − ηλ) from Γ instead of ρ, and the drift is quadratic in it.
    """
    return np.asarray((2 / (2 - np.asarray(lr) * np.asarray(curvature))) ** 2)


def stronger_flow(start: ArrayLike, lr: Array, tau: Array, kind: Literal["worst", "average"]) -> Array:
    """Solve Eq. 7 or Eq. 18 on the valley, with the overshoot of each drift: (times, rates, 2).

    λ₁ = 2F₁ and Tr = 2(F₁ + F₂) for the whole loss; the two samples have λ = 4F₁ and 4F₂.
    """
    paths = []
    for rate in lr:

        def velocity(_: float, x: Array, rate: float = rate) -> Array:
            scale = 2 if kind == "worst" else 4
            first, second = (overshoot(rate, scale * f) * slope for f, slope in zip(curvatures(x), slopes(x)))
            return -first if kind == "worst" else -(first + second)

        paths.append(solve_ivp(velocity, (0, tau[-1]), start, t_eval=tau, rtol=1e-9, atol=1e-12).y.T)
    return np.stack(paths, 1)
