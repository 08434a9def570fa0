"""A gradient-descent minimum to start from: shipped for the tutorial's networks, found for others."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from samviz.checks import check_type, seeded_generator
from samviz.geometry import top_eigenpairs
from samviz.problems import Network, Problem
from samviz.problems.device import one_thread

MOMENTUM = 0.9
WORK = 3e9  # multiplications, about a second on one core
RENEWAL = 100  # steps between two looks at λ₁
PIECE = 20  # steps between two looks at the learner


def gradient_descent_minimum(problem: Problem, *, seed: int = 0) -> Tensor:
    """A point near the minimizers of L, reached by gradient descent: where SAM's story starts.

    The sine network of the tutorial ships its own for seed 0: 20,000 steps of η = 0.13 and 3,000 of η = 0.05 from
    `initial(7)`. Other networks take a second of work: gradient descent with momentum 0.9 and step size 1/λ₁,
    renewed every hundred steps, the last tenth without momentum, which leaves the gradient orthogonal to v₁.
    Quadratics and the valley start beside their minimizers instead, where there is something to see.

    Args:
        problem: what is minimized.
        seed: int, of the starting point.

    Returns:
        (dim,), on the problem's device.

    Raises:
        ValueError: when the seed is negative.
        TypeError: when the problem is none, or the seed no integer.

    >>> from samviz.problems import mlp
    >>> problem = mlp([1, 24, 24, 1], data="sine")
    >>> bool(problem.loss(gradient_descent_minimum(problem)[None]) < 1e-5)
    True
    """
    *_, (_, x) = descent(problem, seed=seed)
    return x


def descent(problem: Problem, *, seed: int = 0) -> Iterator[tuple[float, Tensor]]:
    """`gradient_descent_minimum` in short pieces, for a caller that has to stay responsive.

    Args:
        problem: as there.
        seed: as there.

    Yields:
        The fraction done, in (0, 1], and the point so far, (dim,).
    """
    check_type("problem", problem, Problem, "one from samviz.problems")
    seeded_generator(seed)  # refuses a bad one also where nothing is drawn
    start = problem.initial(seed)
    shipped = _shipped(problem) if seed == 0 and isinstance(problem, Network) else None
    if shipped is not None or not isinstance(problem, Network):
        yield 1.0, start if shipped is None else shipped
        return
    steps = int(np.clip(WORK / (6 * problem.samples * problem.dim), 100, 5000))
    last = steps - steps // 10  # from here on without momentum
    x = problem.points(start)
    velocity, lr, warm = torch.zeros_like(x), 0.0, None
    best, lowest = x, float("inf")
    for begin in range(0, steps, PIECE):
        with one_thread(problem):
            for step in range(begin, min(begin + PIECE, steps)):
                if step % RENEWAL == 0 or step == last:
                    pairs = top_eigenpairs(problem, x, start=warm, tol=1e-2)
                    warm, lr = pairs.start, 1 / float(pairs.values.clamp_min(1e-2))
                loss, gradient = problem.gradient(x)
                if step % RENEWAL == 0 and float(loss) < lowest:
                    best, lowest = x, float(loss)
                velocity = gradient + (MOMENTUM if step < last else 0.0) * velocity
                x = x - lr * velocity
            kept = x if float(problem.loss(x)) <= lowest else best  # also where x is not a number
        yield min(1.0, (begin + PIECE) / steps), kept[0]


def _shipped(problem: Network) -> Tensor | None:
    """The minimum that comes with the package for this very network, if there is one."""
    with np.load(str(files("samviz.problems") / "minima.npz"), allow_pickle=False) as minima:
        key = f"{problem.name}, {problem.loss_name}"
        return problem.points(minima[key])[0] if key in minima else None
