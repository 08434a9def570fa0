"""Slices of the loss along planes and lines, and the trajectory seen in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.checks import check_array, check_float, check_int, check_tensor, check_type, seeded_generator
from samviz.geometry.arguments import located, point
from samviz.geometry.eigenpairs import Eigenpairs, top_eigenpairs
from samviz.problems import Problem
from samviz.problems.device import one_thread

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """The points origin + a·d₁ + b·d₂; a line where there is one direction alone."""

    kind: str  # "hessian", "random", "pca" or "through"
    origin: Tensor  # (dim,)
    directions: Tensor  # (2, dim), or (1, dim) for a line; unit, but for "random" (the filters' length) and "through"
    labels: tuple[str, ...]  # one for each direction
    pairs: Eigenpairs | None = None  # what a "hessian" plane was made of, with its residuals, unless that was given

    def project(self, positions: Tensor) -> tuple[Array, Array]:
        """Parameters as coordinates on the plane, by least squares.

        Args:
            positions: (steps, dim).

        Returns:
            Coordinates (steps, 2), or (steps, 1) on a line, and the lost fraction (steps,): the share of the distance
            from the origin that is off the plane, in [0, 1]; 0 at the origin itself.

        Raises:
            ValueError: when the shape does not fit.
        """
        check_tensor("positions", positions, (-1, len(self.origin)))
        offset = positions.to(self.origin) - self.origin
        gram = self.directions @ self.directions.mT
        coordinates = torch.linalg.solve(gram, self.directions @ offset.mT).mT
        off = (offset - coordinates @ self.directions).norm(dim=1)
        lost = off / offset.norm(dim=1).clamp_min(torch.finfo(offset.dtype).tiny)
        return coordinates.cpu().double().numpy(), lost.clamp(max=1).cpu().double().numpy()


@dataclass(frozen=True)
class Trajectory:
    """Points projected on a plane, and what the picture does not tell of them: the projection loss."""

    coordinates: Array  # (steps, 2), or (steps, 1) on a line
    lost: Array  # (steps,), share of the distance from the plane's origin that is off the plane
    loss: Array  # (steps,), where the points are
    shown: Array  # (steps,), the loss on the plane, at their projections


@dataclass(frozen=True)
class Landscape:
    """The loss on a grid of a plane, or along a line."""

    plane: Plane
    axis1: Array  # (resolution,), coordinate along d₁
    axis2: Array  # (resolution,), coordinate along d₂; (1,) on a line
    loss: Array  # (resolution, resolution), or (1, resolution) on a line; rows follow axis2
    trajectory: Trajectory | None = None  # what was projected on the plane, the plane's origin last


def hessian_plane(problem: Problem, x: Tensor, *, vectors: Tensor | None = None) -> Plane:
    """The plane through x spanned by the two top Hessian eigenvectors.

    Args:
        problem: whose Hessian.
        x: (dim,), the plane's origin.
        vectors: (2, dim), the eigenvectors when they are known already.

    Returns:
        The plane.

    Raises:
        ValueError: when x is no point of the problem, or the vectors do not fit.
    """
    problem, origin = point(problem, x)
    pairs = None
    if vectors is None:
        pairs = top_eigenpairs(problem, origin, 2)
        vectors = pairs.vectors[0]
    check_tensor("vectors", vectors, (2, problem.dim))
    return Plane("hessian", origin, vectors.to(origin), ("v₁", "v₂"), pairs)


def random_plane(problem: Problem, x: Tensor, *, seed: int = 0, normalization: str = "filter") -> Plane:
    """The plane through x along two random directions, Gaussian before they are normalized.

    Args:
        problem: says which parameters form a filter.
        x: (dim,), the plane's origin.
        seed: int, of the directions.
        normalization: "filter" scales each direction filter by filter to the length of x's filter, and lets biases be;
            "none" scales it to length 1, as in the average-direction sharpness (Eq. 4).

    Returns:
        The plane.

    Raises:
        ValueError: when there is no such normalization.

    Source: Li, Xu, Taylor, Studer, Goldstein, Visualizing the Loss Landscape of Neural Nets (2018).
    """
    if normalization not in ("filter", "none"):
        raise ValueError(f"normalization is {normalization!r}; expected 'filter' or 'none'")
    problem, origin = point(problem, x)
    filters = problem.filters.to(origin.device)
    directions = torch.randn(2, problem.dim, generator=seeded_generator(seed), dtype=torch.float64).to(origin)
    labels = "random 1", "random 2"
    if normalization == "none":
        return Plane("random", origin, torch.nn.functional.normalize(directions), labels)
    directions = directions * (filters >= 0)
    index, count = filters.clamp_min(0), int(filters.max()) + 1

    def lengths(v: Tensor) -> Tensor:  # (dim,) -> (filters,)
        return v.new_zeros(count).index_add(0, index, v**2 * (filters >= 0)).sqrt()

    tiny = torch.finfo(origin.dtype).tiny
    scaled = [d * (lengths(origin) / lengths(d).clamp_min(tiny))[index] for d in directions]
    return Plane("random", origin, torch.stack(scaled), labels)


def pca_plane(positions: Tensor) -> Plane:
    """The plane that a trajectory fills most: its first two principal components, through its last point.

    Args:
        positions: (steps, dim), at least 3 points that do not lie on one line.

    Returns:
        The plane; its labels give each component's share of the variance.

    Raises:
        ValueError: when the trajectory has too few points to span a plane.
    """
    check_tensor("positions", positions, (-1, -1))
    centred = positions - positions.mean(0)
    _, strengths, components = torch.linalg.svd(centred, full_matrices=False)
    if len(positions) < 3 or len(strengths) < 2 or strengths[1] <= 1e-12 * strengths[0]:
        raise ValueError(f"positions holds {len(positions)} points that span no plane; take more steps first")
    share = strengths**2 / (strengths**2).sum()
    labels = f"PC 1 ({share[0]:.0%})", f"PC 2 ({share[1]:.0%})"
    return Plane("pca", positions[-1], components[:2], labels)


def plane_through(origin: Tensor, first: Tensor, second: Tensor | None = None) -> Plane:
    """The plane through three points, or the line through two.

    Args:
        origin: (dim,), at (0, 0).
        first: (dim,), at (1, 0): between them lies the linear interpolation.
        second: (dim,), somewhere off that line. The second direction is orthogonal to the first and as long, so that
            angles are what they look like. None is the line.

    Returns:
        The plane.

    Raises:
        ValueError: when the points span no plane, or no line.

    >>> plane_through(torch.zeros(2), torch.tensor([2.0, 0.0]), torch.tensor([2.0, 1.0])).directions
    tensor([[2., 0.],
            [0., 2.]])
    """
    check_tensor("origin", origin, (-1,))
    check_tensor("first", first, tuple(origin.shape))
    if second is not None:
        check_tensor("second", second, tuple(origin.shape))
    origin = origin.to(first)
    along = first - origin
    if not along.norm() > 0:
        raise ValueError("first is the origin itself; expected another point")
    if second is None:
        return Plane("through", origin, along[None], ("to the first point",))
    offset = second.to(first) - origin
    across = offset - (offset @ along) / (along @ along) * along
    if not across.norm() > torch.finfo(across.dtype).eps ** 0.5 * offset.norm():
        raise ValueError("origin, first and second lie on one line; expected a second point off that of the others")
    across = across * (along.norm() / across.norm())
    return Plane("through", origin, torch.stack((along, across)), ("to the first point", "to the second"))


def projected(problem: Problem, plane: Plane, positions: Tensor, *, loss: Tensor | None = None) -> Trajectory:
    """A trajectory as a picture of the plane shows it, beside what is true of it.

    Args:
        problem: whose loss.
        plane: on which to project.
        positions: (steps, dim).
        loss: (steps,), of the positions where it is known already.

    Returns:
        Coordinates, the share that is off the plane, and the loss where the points are and where they are shown.

    >>> from samviz.problems import quadratic
    >>> problem, points = quadratic([2.0, 1.0, 8.0]), torch.eye(3, dtype=torch.float64)
    >>> projected(problem, plane_through(torch.zeros(3), *points[:2]), points[2:] + points[0])
    Trajectory(coordinates=array([[1., 0.]]), lost=array([0.70710678]), loss=array([5.]), shown=array([1.]))
    """
    problem, points = located(problem, positions, "positions")
    check_type("plane", plane, Plane, "a Plane")
    if loss is not None:
        check_tensor("loss", loss, (len(points),))
    coordinates, lost = plane.project(points)
    on_plane = plane.origin.to(points) + torch.from_numpy(coordinates).to(points) @ plane.directions.to(points)

    def losses(where: Tensor) -> Tensor:
        return torch.cat([problem.loss(part) for part in where.split(problem.at_once)])

    with one_thread(problem), torch.no_grad():
        both = losses(points) if loss is None else loss, losses(on_plane)
    true, shown = (each.cpu().double().numpy() for each in both)
    return Trajectory(coordinates, lost, true, shown)


def landscape(
    problem: Problem,
    plane: Plane | Tensor,
    *,
    radius: float = 1.0,
    resolution: int = 51,
    center: Sequence[float] = (0.0, 0.0),
) -> Landscape:
    """The full-batch loss on a square of a plane, or along a line.

    Args:
        problem: whose loss.
        plane: from `hessian_plane`, `random_plane`, `pca_plane` or `plane_through`; or a point x (dim,), which means
            the plane of the Hessian's two top eigenvectors through x.
        radius: half the side of the square, in units of the plane's directions.
        resolution: points along each side, at least 2.
        center: (2,), or (1,) for a line: of the square, in coordinates of the plane.

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
    pieces = slices(problem, plane, radius=radius, resolution=resolution, center=center)
    return next(result for _, result in pieces if result is not None)


def slices(
    problem: Problem, plane: Plane, *, radius: float, resolution: int, center: Sequence[float] = (0.0, 0.0)
) -> Iterator[tuple[float, Landscape | None]]:
    """`landscape` in short pieces, for a caller that has to stay responsive.

    Args:
        problem: as in `landscape`.
        plane: as in `landscape`.
        radius: as in `landscape`.
        resolution: as in `landscape`.
        center: as in `landscape`.

    Yields:
        The fraction done, in (0, 1], and with the last one the landscape.
    """
    check_type("plane", plane, Plane, "a Plane, or a point (dim,)")
    radius = check_float("radius", radius, "a positive number", lambda r: r > 0)
    resolution = check_int("resolution", resolution, "2 or more points", 2)
    problem, origin = located(problem, plane.origin, "plane.origin")
    lengths = {(2,), (len(plane.directions),)}
    if (middle := check_array("center", center, "two finite numbers, or one for a line")).shape not in lengths:
        raise ValueError(f"center is {center!r:.200}; expected two finite numbers, or one for a line")
    directions = plane.directions.to(origin)
    axis = torch.linspace(-radius, radius, resolution, dtype=origin.dtype, device=origin.device)
    axes = [axis + float(at) for at, _ in zip(middle, directions)]
    if len(directions) == 1:  # a line is a plane that does not leave it
        axes, directions = [*axes, axis.new_zeros(1)], torch.cat((directions, torch.zeros_like(directions)))
    grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), -1).reshape(-1, 2)  # (resolution², 2), or a line's points
    on_plane = problem.slice(origin[0], directions)
    losses: list[Tensor] = []
    for done, part in enumerate(pieces := grid.split(problem.at_once), start=1):
        with one_thread(problem):
            losses.append(on_plane(part))
        result = None
        if done == len(pieces):
            loss = torch.cat(losses).view(-1, resolution).cpu().double().numpy()
            first, second = (axis.cpu().double().numpy() for axis in axes)
            result = Landscape(plane, first, second, loss)
        yield done / len(pieces), result
