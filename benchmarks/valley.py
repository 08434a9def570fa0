"""Steps of SAM in the paper's 4-D valley, where the step itself is a few dozen operations."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.row import Measured
from benchmarks.timing import alternate
from samviz.dynamics import Run
from samviz.problems import valley

LR, RHO = 0.01, 0.01
START = (0.6, 0.9, 0.1, 0.1)
CHECKED = 100  # steps that are compared with the reference
TOLERANCE = 1e-9  # of the error, relative to the way it went


def step(seconds: float) -> Measured:
    """Time a step; ours is right where the first of them went where they should."""
    run = Run(valley(), "sam", lr=LR, rho=RHO, x0=START, device="cpu")
    start, right = run.x[0].clone(), reference(run.x[0])
    run.step(CHECKED)
    correct = bool((run.x[0] - right).norm() <= TOLERANCE * (right - start).norm())
    (alone,) = alternate(run.step, seconds=seconds)
    return Measured(alone.seconds, None, correct, None)


def reference(x: Tensor) -> Tensor:
    """The iterate after the first steps, from the loss of Figure 1 and automatic differentiation."""

    def loss(x: Tensor) -> Tensor:
        first, second = x[0] ** 2 + 6 * x[1] ** 2 + 8, 4 * (1 - x[0]) ** 2 + (1 - x[1]) ** 2 + 1
        return first * x[2] ** 2 + second * x[3] ** 2

    gradient = torch.func.grad(loss)
    for _ in range(CHECKED):
        g = gradient(x)
        x = x - LR * gradient(x + RHO * g / g.norm())
    return x
