"""The loss on a plane, against loss-landscapes: the same plane, the same grid, the same precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from loss_landscapes import planar_interpolation
from loss_landscapes.metrics import Loss
from numpy.typing import NDArray

from benchmarks.limits import losses
from benchmarks.row import Measured
from benchmarks.subjects import Subject
from benchmarks.timing import Side, alternate
from samviz.geometry import Plane, landscape, random_plane

RADIUS, RESOLUTION = 1.0, 51
WARM = 3  # resolution of the call that warms up: a whole one takes seconds
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # relative to each loss
CHECKED = 7  # every so many points along each side


def compared(seconds: float, subject: Callable[[], Subject], dtype: torch.dtype) -> Measured:
    """A landscape against planar_interpolation's, in a filter-normalized random plane."""
    at = subject()
    problem = at.problem.to("cpu", dtype)
    plane = random_plane(problem, at.trained.to(dtype))

    def ours(_: int, resolution: int = RESOLUTION) -> NDArray[np.float64]:
        return landscape(problem, plane, radius=RADIUS, resolution=resolution).loss

    ours(1, WARM)
    peer(at, plane, WARM)(1)
    timed = alternate(ours, peer(at, plane, RESOLUTION), seconds=seconds, least=1, units=1)
    correct = [is_correct(at, plane, side.results[-1]) for side in timed]
    work = losses(at.problem, count=RESOLUTION**2, dtype=str(dtype).removeprefix("torch."))
    return Measured(timed[0].seconds, timed[1].seconds, *correct, work)


def peer(subject: Subject, plane: Plane, resolution: int) -> Side:
    """loss-landscapes between a corner of the grid and the ends of its two sides, which it stops one step short of."""
    x, (first, second) = plane.origin, plane.directions
    corner, side = x - RADIUS * (first + second), 2 * RADIUS * resolution / (resolution - 1)
    models = [subject.module(at, x.dtype) for at in (corner, corner + side * second, corner + side * first)]
    targets = subject.targets.to(x.dtype) if subject.targets.is_floating_point() else subject.targets
    metric = Loss(subject.criterion, subject.inputs.to(x.dtype), targets)

    return lambda _: planar_interpolation(*models, metric, resolution, deepcopy_model=True)


def is_correct(subject: Subject, plane: Plane, losses: NDArray[np.float64]) -> bool:
    """Whether a grid's losses, rows following the second direction, are those of the plane's points in float64."""
    axis = np.linspace(-RADIUS, RADIUS, len(losses))
    (first, second), x = plane.directions.double(), plane.origin.double()
    for row in range(0, len(losses), CHECKED):
        for column in range(0, len(losses), CHECKED):
            with torch.no_grad():
                right = float(subject.loss(x + axis[column] * first + axis[row] * second))
            if not abs(losses[row, column] - right) <= TOLERANCE[plane.origin.dtype] * right:
                return False
    return True
