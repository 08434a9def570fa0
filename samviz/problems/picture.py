"""What a parameter vector means, as plain arrays that a figure can draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A function of one input, with its data."""

    inputs: Array  # (grid,)
    outputs: Array  # (grid,)
    data_inputs: Array  # (n,)
    data_targets: Array  # (n,)


@dataclass(frozen=True)
class Regions:
    """A classifier of the plane, with its data."""

    axis1: Array  # (grid1,)
    axis2: Array  # (grid2,)
    score: Array  # (grid2, grid1), above 0 for the second class
    points: Array  # (n, 2)
    labels: NDArray[np.int64]  # (n,)


@dataclass(frozen=True)
class Classes:
    """The accuracy of a classifier on each class."""

    accuracy: Array  # (classes,), in [0, 1]


@dataclass(frozen=True)
class Residuals:
    """Predictions next to their targets."""

    predictions: Array  # (n,)
    targets: Array  # (n,)


@dataclass(frozen=True)
class Coordinates:
    """The distance from the minimum along each Hessian eigenvector, the top one first."""

    distance: Array  # (dim,)


@dataclass(frozen=True)
class Floor:
    """A point of the valley projected to Γ, with λ₁ on Γ."""

    axis: Array  # (grid,), of x₁ and of x₂
    level: Array  # (grid, grid), λ₁; rows are x₂
    point: Array  # (2,)


Picture = Curve | Regions | Classes | Residuals | Coordinates | Floor
