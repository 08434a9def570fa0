"""Two-dimensional slices of the loss, and the trajectory seen in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.geometry.eigenpairs import located, top_eigenpairs
from samviz.problems import Problem
from samviz.problems.arguments import whole
from samviz.problems.device import one_thread

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """The points origin + a·d₁ + b·d₂."""

    kind: str  # "hessian", "random" or "pca"
    origin: Tensor  # (dim,)
    directions: Tensor  # (2, dim); unit and orthogonal, but for "random", whose length is the filters'
    labels: tuple[str, str]

    def project(self, positions: Tensor) -> tuple[Array, Array]:
        """Parameters as coordinates on the plane, by least squares.

        Args:
            positions: (steps, dim).

        Returns:
            Coordinates (steps, 2) and the lost fraction (steps,): the share of the distance from the origin
            that is off the plane, in [0, 1]; 0 at the origin itself.
        """
        offset = positions.to(self.origin) - self.origin
        gram = self.directions @ self.directions.mT
        coordinates = torch.linalg.solve(gram, self.directions @ offset.mT).mT
        off = (offset - coordinates @ self.directions).norm(dim=1)
        lost = off / offset.norm(dim=1).clamp_min(torch.finfo(offset.dtype).tiny)
        return coordinates.double().cpu().numpy(), lost.clamp(max=1).double().cpu().numpy()


@dataclass(frozen=True)
class Landscape:
    """The loss on a grid of a plane."""

    plane: Plane
    axis1: Array  # (resolution,), coordinate along d₁
    axis2: Array  # (resolution,), coordinate along d₂
    loss: Array  # (resolution, resolution); rows follow axis2


def hessian_plane(problem: Problem, x: Tensor, *, vectors: Tensor | None = None) -> Plane:
    """The plane through x spanned by the two top Hessian eigenvectors.

    Args:
        problem: whose Hessian.
        x: (dim,), the plane's origin.
        vectors: (2, dim), the eigenvectors when they are known already.

    Returns:
        The plane.
    """
    problem, points = located(problem, x)
    if vectors is None:
        vectors = top_eigenpairs(problem, points, 2).vectors[0]
    return Plane("hessian", points[0], vectors[:2].to(points), ("v₁", "v₂"))


def random_plane(problem: Problem, x: Tensor, *, seed: int = 0) -> Plane:
    """The plane through x along two random directions, filter-normalized.

    Each direction is Gaussian, scaled filter by filter to the length of x's filter; biases stay as they are.

    Args:
        problem: says which parameters form a filter.
        x: (dim,), the plane's origin.
        seed: int, of the directions.

    Returns:
        The plane.

    Source: Li, Xu, Taylor, Studer, Goldstein, Visualizing the Loss Landscape of Neural Nets (2018).
    """
    problem, points = located(problem, x)
    origin, filters = points[0], problem.filters.to(points.device)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(2, problem.dim, generator=generator, dtype=torch.float64).to(points)
    directions = directions * (filters >= 0)
    index, count = filters.clamp_min(0), int(filters.max()) + 1

    def lengths(v: Tensor) -> Tensor:  # (dim,) -> (filters,)
        return v.new_zeros(count).index_add(0, index, v**2 * (filters >= 0)).sqrt()

    tiny = torch.finfo(points.dtype).tiny
    scaled = [d * (lengths(origin) / lengths(d).clamp_min(tiny))[index] for d in directions]
    return Plane("random", origin, torch.stack(scaled), ("random 1", "random 2"))


def pca_plane(positions: Tensor) -> Plane:
    """The plane that a trajectory fills most: its first two principal components, through its last point.

    Args:
        positions: (steps, dim), at least 3 points that do not lie on one line.

    Returns:
        The plane; its labels give each component's share of the variance.

    Raises:
        ValueError: when the trajectory has too few points to span a plane.
    """
    centred = positions - positions.mean(0)
    _, strengths, components = torch.linalg.svd(centred, full_matrices=False)
    if len(positions) < 3 or len(strengths) < 2 or strengths[1] <= 1e-12 * strengths[0]:
        raise ValueError(f"positions holds {len(positions)} points that span no plane; take more steps first")
    share = strengths**2 / (strengths**2).sum()
    labels = f"PC 1 ({share[0]:.0%})", f"PC 2 ({share[1]:.0%})"
    return Plane("pca", positions[-1], components[:2], labels)


def landscape(problem: Problem, plane: Plane | Tensor, *, radius: float = 1.0, resolution: int = 51) -> Landscape:
    """The full-batch loss on a square of a plane.

    Args:
        problem: whose loss.
        plane: from `hessian_plane`, `random_plane` or `pca_plane`; or a point x (dim,), which means the plane
            of the Hessian's two top eigenvectors through x.
        radius: half the side of the square, in units of the plane's directions.
        resolution: points along each side, at least 2.

    Returns:
        The loss on the grid.

    Raises:
        ValueError: when radius is not positive or resolution is below 2.

    >>> from samviz.problems import quadratic
    >>> landscape(quadratic([2.0, 1.0]), torch.zeros(2), radius=1.0, resolution=3).loss[1]
    array([1., 0., 1.])
    """
    if isinstance(plane, Tensor):
        plane = hessian_plane(problem, plane)
    for _, result in slices(problem, plane, radius=radius, resolution=resolution):
        if result is not None:
            return result
    raise AssertionError("unreachable: slices always ends with a result")


def slices(
    problem: Problem, plane: Plane, *, radius: float, resolution: int
) -> Iterator[tuple[float, Landscape | None]]:
    """`landscape` in short pieces, for a caller that has to stay responsive.

    Args:
        problem: as in `landscape`.
        plane: as in `landscape`.
        radius: as in `landscape`.
        resolution: as in `landscape`.

    Yields:
        The fraction done, in (0, 1], and with the last one the landscape.
    """
    if not isinstance(plane, Plane):
        raise TypeError(f"plane is {plane!r}; expected a Plane, or a point (dim,)")
    if not isinstance(radius, Real) or not 0 < radius < float("inf"):
        raise ValueError(f"radius is {radius!r}; expected a positive number")
    whole("resolution", resolution, "2 or more points", 2)
    problem, origin = located(problem, plane.origin)
    directions = plane.directions.to(origin)
    axis = torch.linspace(-radius, radius, resolution, dtype=origin.dtype, device=origin.device)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)  # (resolution², 2)
    rows = problem.at_once
    on_plane = problem.slice(origin[0], directions)
    losses: list[Tensor] = []
    for done, part in enumerate(pieces := grid.split(rows), start=1):
        with one_thread(problem):
            losses.append(on_plane(part))
        result = None
        if done == len(pieces):
            loss = torch.cat(losses).view(resolution, resolution).double().cpu().numpy()
            result = Landscape(plane, *(axis.double().cpu().numpy(),) * 2, loss)
        yield done / len(pieces), result
