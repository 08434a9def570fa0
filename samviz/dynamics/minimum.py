"""A gradient-descent minimum to start from: stored for the tutorial's networks, computed for others."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from samviz.checks import check_type, seeded_generator
from samviz.geometry import top_eigenpairs
from samviz.problems import Network, Problem
from samviz.problems.problem import one_thread

MOMENTUM = 0.9
WORK = 3e9  # multiplications, about a second on one core
MEASURE_EVERY = 100  # steps between two measurements of λ₁
YIELD_EVERY = 20  # steps


def gradient_descent_minimum(problem: Problem, *, seed: int = 0) -> Tensor:
    """Return a point near the minimizers of L, reached by gradient descent.

    For the sine network of the tutorial and seed 0 the point is stored: 20,000 steps of η = 0.13 and 3,000 of η = 0.05
    from `initial(7)`. Other networks take a second: gradient descent with momentum 0.9 and step size 1/λ₁, measured
    every hundred steps; the last tenth is without momentum, which leaves the gradient orthogonal to v₁. Quadratics
    and the valley return their initial point, away from the minimizers.

    Args:
        problem: whose loss is minimized.
        seed: of the starting point.

    Returns:
        (dim,), on the problem's device.

    Raises:
        ValueError: when the seed is negative.

    >>> from samviz.problems import mlp
    >>> problem = mlp([1, 24, 24, 1], data="sine")
    >>> bool(problem.loss(gradient_descent_minimum(problem)[None]) < 1e-5)
    True
    """
    *_, (_, x) = descent(problem, seed=seed)
    return x


def descent(problem: Problem, *, seed: int = 0) -> Iterator[tuple[float, Tensor]]:
    """Compute a `gradient_descent_minimum`, with the same arguments, in short parts, so that a caller stays responsive.

    Yields:
        The fraction done, in (0, 1], and the point so far, (dim,).
    """
    check_type("problem", problem, Problem, "one from samviz.problems")
    seeded_generator(seed)  # refuses an invalid seed also where nothing is random
    start = problem.initial(seed)
    if not isinstance(problem, Network):
        yield 1.0, start
        return
    with np.load(str(files("samviz.problems") / "minima.npz"), allow_pickle=False) as minima:
        key = f"{problem.name}, {problem.loss_name}"
        if seed == 0 and key in minima:
            yield 1.0, problem.points(minima[key])[0]
            return
    steps = int(np.clip(WORK / (6 * problem.samples * problem.dim), 100, 5000))
    last = steps - steps // 10  # the first step without momentum
    x = problem.points(start)
    velocity, lr, warm = torch.zeros_like(x), 0.0, None
    best, lowest = x, float("inf")
    for begin in range(0, steps, YIELD_EVERY):
        with one_thread(problem):
            for step in range(begin, min(begin + YIELD_EVERY, steps)):
                if step % MEASURE_EVERY == 0 or step == last:
                    pairs = top_eigenpairs(problem, x, start=warm, tol=1e-2)
                    warm, lr = pairs.start, 1 / float(pairs.values.clamp_min(1e-2))
                loss, gradient = problem.gradient(x)
                if step % MEASURE_EVERY == 0 and float(loss) < lowest:
                    best, lowest = x, float(loss)
                velocity = gradient + (MOMENTUM if step < last else 0.0) * velocity
                x = x - lr * velocity
            result = x if float(problem.loss(x)) <= lowest else best  # also if x is NaN
        yield min(1.0, (begin + YIELD_EVERY) / steps), result[0]
