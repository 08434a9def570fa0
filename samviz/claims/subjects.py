"""What the claims are tried on, besides quadratics and the valley: a small network that interpolates its data."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from samviz.dynamics import gradient_flow_limit
from samviz.problems import MLP, mlp

POINTS = 5


@cache
def interpolating() -> tuple[MLP, Tensor]:
    """A 1-6-1 tanh network on five points of sin 3x, and a point (19,) of its Γ: Φ(initial(0)), loss 2e-21, rank 5."""
    inputs = np.linspace(-1, 1, POINTS)[:, None]
    problem = mlp([1, 6, 1], activation="tanh", data=(inputs, np.sin(3 * inputs)), loss="mse")
    return problem, gradient_flow_limit(problem, problem.initial(0)).x[0]


def floor_points(count: int) -> Tensor:
    """Points (count, 4) on the valley's floor, x₁ and x₂ uniform in [0.1, 0.9]."""
    generator = torch.Generator().manual_seed(0)
    floor = 0.1 + 0.8 * torch.rand(count, 2, generator=generator, dtype=torch.float64)
    return torch.cat((floor, torch.zeros_like(floor)), 1)
