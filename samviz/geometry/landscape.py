"""Slices of the loss along planes and lines, of a problem or of a torch model, and the trajectory projected on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samviz.checks import check_array, check_bool, check_float, check_int, check_tensor, check_type, seeded_generator
from samviz.geometry.hessian import Eigenpairs, at_point, top_eigenpairs
from samviz.problems.problem import Array, Problem, on_host, one_thread
from samviz.problems.torch_model import Attached, Batches, LossFunction, attach

State = Mapping[str, Tensor]  # a model's `state_dict`
Checkpoint = State | str | PathLike[str]
EXTENT = 0.7  # half the side of a square around points, as a share of their extent: a fifth beyond each end


@dataclass(frozen=True)
class Plane:
    """The points origin + a·d₁ + b·d₂; a line if there is only one direction."""

    kind: str  # "hessian", "random", "pca" or "through"
    origin: Tensor  # (dim,)
    directions: Tensor  # (2, dim), or (1, dim) for a line; unit, but for "random" (the filters' length) and "through"
    labels: tuple[str, ...]  # one for each direction
    pairs: Eigenpairs | None = None  # the eigenpairs of a "hessian" plane, with residuals, unless they were given

    def project(self, positions: Tensor) -> tuple[Array, Array]:
        """Return the coordinates of parameters on the plane, by least squares.

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
        return on_host(coordinates), on_host(lost.clamp(max=1))


@dataclass(frozen=True)
class Trajectory:
    """Points projected on a plane, with the error of the projection."""

    coordinates: Array  # (steps, 2), or (steps, 1) on a line
    lost: Array  # (steps,), share of the distance from the plane's origin that is off the plane
    loss: Array  # (steps,), at the points
    shown: Array  # (steps,), at their projections on the plane


@dataclass(frozen=True)
class Landscape:
    """The loss on a grid of a plane, or along a line."""

    plane: Plane
    axis1: Array  # (resolution,), coordinate along d₁
    axis2: Array  # (resolution,), coordinate along d₂; (1,) on a line
    loss: Array  # (resolution, resolution), or (1, resolution) on a line; rows follow axis2
    trajectory: Trajectory | None = None  # points projected on the plane, the plane's origin last


def hessian_plane(problem: Problem, x: Tensor, *, vectors: Tensor | None = None) -> Plane:
    """Return the plane through x spanned by the two top Hessian eigenvectors.

    Args:
        problem: whose Hessian.
        x: (dim,), the plane's origin.
        vectors: (2, dim), the eigenvectors if they are known.

    Raises:
        ValueError: when x is no point of the problem, or the vectors do not fit.
    """
    problem, origin = _at_one_point(problem, x)
    pairs = None
    if vectors is None:
        pairs = top_eigenpairs(problem, origin, 2)
        vectors = pairs.vectors[0]
    check_tensor("vectors", vectors, (2, problem.dim))
    return Plane("hessian", origin, vectors.to(origin), ("v₁", "v₂"), pairs)


def random_plane(problem: Problem, x: Tensor, *, seed: int = 0, normalization: str = "filter") -> Plane:
    """Return the plane through x along two random directions, Gaussian before they are normalized.

    Args:
        problem: determines which parameters form a filter.
        x: (dim,), the plane's origin.
        seed: of the directions.
        normalization: "filter" scales each filter of a direction to the length of that filter of x, and sets biases to
            0; "none" scales each direction to length 1, as in the average-direction sharpness (Eq. 4).

    Raises:
        ValueError: when there is no such normalization.

    Source: Li, Xu, Taylor, Studer, Goldstein, Visualizing the Loss Landscape of Neural Nets (2018).
    """
    if normalization not in ("filter", "none"):
        raise ValueError(f"normalization is {normalization!r}; expected 'filter' or 'none'")
    problem, origin = _at_one_point(problem, x)
    directions = torch.randn(2, problem.dim, generator=seeded_generator(seed), dtype=torch.float64).to(origin)
    if normalization == "none":
        directions = torch.nn.functional.normalize(directions)
    else:
        index = problem.filters.to(origin.device) + 1  # 0 for a bias, which does not move
        lengths = origin.new_zeros(3, int(index.max()) + 1)
        lengths.index_add_(1, index, torch.stack((origin, *directions)) ** 2).sqrt_()
        lengths[0, 0] = 0
        directions = directions * (lengths[0] / lengths[1:].clamp_min(torch.finfo(origin.dtype).tiny))[:, index]
    return Plane("random", origin, directions, ("random 1", "random 2"))


def pca_plane(positions: Tensor) -> Plane:
    """Return the plane of a trajectory's first two principal components, through its last point.

    Args:
        positions: (steps, dim), at least 3 points that do not lie on one line.

    Returns:
        The plane; its labels give each component's share of the variance.

    Raises:
        ValueError: when the points span no plane.
    """
    check_tensor("positions", positions, (-1, -1))
    _, strengths, components = torch.linalg.svd(positions - positions.mean(0), full_matrices=False)
    if len(positions) < 3 or len(strengths) < 2 or strengths[1] <= 1e-12 * strengths[0]:
        raise ValueError(f"positions holds {len(positions)} points that span no plane; take more steps first")
    share = strengths**2 / (strengths**2).sum()
    return Plane("pca", positions[-1], components[:2], (f"PC 1 ({share[0]:.0%})", f"PC 2 ({share[1]:.0%})"))


def plane_through(origin: Tensor, first: Tensor, second: Tensor | None = None) -> Plane:
    """Return the plane through three points, or the line through two.

    Args:
        origin: (dim,), at (0, 0).
        first: (dim,), at (1, 0): between them lies the linear interpolation.
        second: (dim,), off that line. The second direction is orthogonal to the first and has the same length, so that
            angles are true. None gives the line.

    Raises:
        ValueError: when the points span no plane, or no line.

    >>> plane_through(torch.zeros(2), torch.tensor([2.0, 0.0]), torch.tensor([2.0, 1.0])).directions
    tensor([[2., 0.],
            [0., 2.]])
    """
    check_tensor("origin", origin, (-1,))
    check_tensor("first", first, tuple(origin.shape))
    origin = origin.to(first)
    along = first - origin
    if not along.norm() > 0:
        raise ValueError("first is the origin itself; expected a different point")
    if second is None:
        return Plane("through", origin, along[None], ("the linear interpolation",))
    check_tensor("second", second, tuple(origin.shape))
    offset = second.to(first) - origin
    across = offset - (offset @ along) / (along @ along) * along
    if not across.norm() > torch.finfo(across.dtype).eps ** 0.5 * offset.norm():
        raise ValueError("origin, first and second lie on one line; expected a second point off that of the others")
    across = across * (along.norm() / across.norm())
    labels = "the linear interpolation", "the direction across it"
    return Plane("through", origin, torch.stack((along, across)), labels)


def projected(problem: Problem, plane: Plane, positions: Tensor, *, loss: Tensor | None = None) -> Trajectory:
    """Project a trajectory on a plane, and compare the loss at its points with the loss at their projections.

    Args:
        problem: whose loss.
        plane: on which to project.
        positions: (steps, dim).
        loss: (steps,), of the positions if it is known.

    Returns:
        Coordinates, the share that is off the plane, and the losses at the points and at their projections.

    >>> from samviz.problems import quadratic
    >>> problem, points = quadratic([2.0, 1.0, 8.0]), torch.eye(3, dtype=torch.float64)
    >>> projected(problem, plane_through(torch.zeros(3), *points[:2]), points[2:] + points[0])
    Trajectory(coordinates=array([[1., 0.]]), lost=array([0.70710678]), loss=array([5.]), shown=array([1.]))
    """
    problem, points = at_point(problem, positions, name="positions")
    check_type("plane", plane, Plane, "a Plane")
    if loss is not None:
        check_tensor("loss", loss, (len(points),))
    coordinates, lost = plane.project(points)
    on_plane = plane.origin.to(points) + torch.from_numpy(coordinates).to(points) @ plane.directions.to(points)

    def losses(where: Tensor) -> Tensor:
        return torch.cat([problem.loss(part) for part in where.split(problem.at_once)])

    with one_thread(problem), torch.no_grad():
        loss, shown = losses(points) if loss is None else loss, losses(on_plane)
    return Trajectory(coordinates, lost, on_host(loss), on_host(shown))


def landscape(
    problem: Problem,
    plane: Plane | Tensor,
    *,
    radius: float = 1.0,
    resolution: int = 51,
    center: Sequence[float] = (0.0, 0.0),
) -> Landscape:
    """Return the full-batch loss on a square of a plane, or along a line.

    Args:
        problem: whose loss.
        plane: from `hessian_plane`, `random_plane`, `pca_plane` or `plane_through`; or a point x (dim,), for the
            plane of the Hessian's two top eigenvectors through x.
        radius: half the side of the square, in units of the plane's directions.
        resolution: points along each side, at least 2.
        center: (2,), or (1,) for a line: of the square, in coordinates of the plane.

    Raises:
        ValueError: when radius is not positive or resolution is below 2.

    >>> from samviz.problems import quadratic
    >>> landscape(quadratic([2.0, 1.0]), torch.zeros(2), radius=1.0, resolution=3).loss[1]
    array([1., 0., 1.])
    """
    plane = hessian_plane(problem, plane) if isinstance(plane, Tensor) else plane
    *_, (_, result) = slices(problem, plane, radius=radius, resolution=resolution, center=center)
    assert result is not None, "the last part comes with the landscape"
    return result


def slices(
    problem: Problem, plane: Plane, *, radius: float, resolution: int, center: Sequence[float] = (0.0, 0.0)
) -> Iterator[tuple[float, Landscape | None]]:
    """Compute a `landscape`, with the same arguments, in short parts, for a caller that has to stay responsive.

    Yields:
        The fraction done, in (0, 1], and with the last one the landscape.
    """
    check_type("plane", plane, Plane, "a Plane, or a point (dim,)")
    radius = check_float("radius", radius, "a positive number", lambda r: r > 0)
    resolution = check_int("resolution", resolution, "2 or more points", 2)
    problem, origin = at_point(problem, plane.origin, name="plane.origin")
    middle = check_array("center", center, expected := "two finite numbers, or one for a line")
    if middle.shape not in {(2,), (len(plane.directions),)}:
        raise ValueError(f"center is {center!r:.200}; expected {expected}")
    directions = plane.directions.to(origin)
    axis = torch.linspace(-radius, radius, resolution, dtype=origin.dtype, device=origin.device)
    axes = [axis + float(at) for at, _ in zip(middle, directions)]
    if len(directions) == 1:  # a line is a plane whose second direction is zero
        axes, directions = [*axes, axis.new_zeros(1)], torch.cat((directions, torch.zeros_like(directions)))
    grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), -1).reshape(-1, 2)  # (resolution², 2), or a line's points
    loss_at, losses = problem.slice(origin[0], directions), []
    for done, part in enumerate(parts := grid.split(problem.at_once), start=1):
        with one_thread(problem):
            losses.append(loss_at(part))
        if done < len(parts):
            yield done / len(parts), None
    loss = on_host(torch.cat(losses).view(-1, resolution))
    yield 1.0, Landscape(plane, on_host(axes[0]), on_host(axes[1]), loss)


def landscape_of(
    model: nn.Module,
    loss_fn: LossFunction,
    data: Batches,
    *,
    directions: str | Checkpoint | Sequence[Checkpoint] = "random",
    checkpoints: Sequence[Checkpoint] = (),
    line: bool = False,
    radius: float | None = None,
    resolution: int = 31,
    normalization: str = "filter",
    recompute: bool = False,
    names: Sequence[str] | None = None,
    samples: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> Landscape:
    """Return the loss of a torch model on a plane or a line through its parameters, with its training projected on it.

    The model is evaluated in evaluation mode, and afterwards it is bit-for-bit the same as before. In single precision,
    differences below about 1e-7 of the loss are rounding errors.

    Args:
        model: as in `samviz.problems.attach`.
        loss_fn: as in `attach`.
        data: as in `attach`.
        directions: "random", two Gaussian directions; "hessian", the two top eigenvectors; "pca", two principal
            components of model and checkpoints. Or other checkpoints: one gives the line of linear interpolation, with
            the model at 0 and the checkpoint at 1; two give a plane.
        checkpoints: of the training, in order: `state_dict`s, or paths of files with one, saved by `torch.save`.
        line: whether to take only the first direction.
        radius: half the side of the square around the model, in units of the directions. None includes all checkpoints:
            at least 1 for random directions, and without checkpoints √(2/λ₁) for those of the Hessian.
        resolution: points along each side, at least 2.
        normalization: of random directions, "filter" or "none"; see `random_plane`.
        recompute: whether BatchNorm's statistics are recomputed from the data at every point, which fits parameters far
            from the model better; the Hessian is taken without recomputing.
        names: as in `attach`; all other parameters have the model's values everywhere.
        samples: as in `attach`.
        batch_size: as in `attach`.
        seed: of the random directions.

    Returns:
        The loss on the grid. Its `trajectory` contains the checkpoints and, last, the model; its `plane.pairs` are the
        eigenpairs of "hessian" with their residuals.

    Raises:
        ValueError: when a checkpoint does not fit the model, the points span no plane, or an argument is out of range.
        TypeError: when a checkpoint is neither a state nor a path.

    Source: Li, Xu, Taylor, Studer, Goldstein, Visualizing the Loss Landscape of Neural Nets (2018).

    >>> model = nn.Linear(2, 1, bias=False)
    >>> other = {"weight": model.weight.detach() + 1}
    >>> data = torch.eye(2), model(torch.eye(2)).detach()
    >>> result = landscape_of(model, nn.MSELoss(), data, directions=other, radius=2, resolution=5)
    >>> result.axis1, result.loss.round(5)
    (array([-2., -1.,  0.,  1.,  2.]), array([[4., 1., 0., 1., 4.]]))
    """
    check_bool("line", line)
    options: dict[str, Any] = {"names": names, "samples": samples, "batch_size": batch_size}
    problem = attach(model, loss_fn, data, **options, recompute=recompute)
    x = problem.initial()
    states, trained = _read("checkpoints", checkpoints, problem)
    positions = torch.stack([*trained, x])
    ends: list[Tensor] = []
    if directions == "random":
        plane = random_plane(problem, x, seed=seed, normalization=normalization)
    elif directions == "hessian":
        plane = hessian_plane(attach(model, loss_fn, data, **options), x)
    elif directions == "pca":
        if len(trained) < 2:
            expected = "2 or more in addition to the model for directions='pca', or choose 'random' or 'hessian'"
            raise ValueError(f"checkpoints holds {len(trained)}; expected {expected}")
        plane = pca_plane(positions)
    else:
        _, ends = _read("directions", directions, problem)
        if not 1 <= len(ends) <= 2:
            raise ValueError(f"directions holds {len(ends)} checkpoints; expected one for a line, or two for a plane")
        plane = plane_through(x, *ends)
    if line:
        plane = replace(plane, directions=plane.directions[:1], labels=plane.labels[:1])
    trajectory = None
    if states:
        losses = torch.cat([*_own_losses(problem, states), problem.loss(x[None])])
        trajectory = projected(problem, plane, positions, loss=losses)
    center = np.zeros(len(plane.directions))
    if radius is None:
        points = plane.project(torch.stack([*positions, *ends]))[0]
        extent = float(np.ptp(points, axis=0).max())
        top = float(plane.pairs.values[0, 0]) if plane.pairs is not None else 0.0
        radius = float(np.sqrt(2 / top)) if top > 0 else 1.0
        if extent > (radius if directions == "random" else 0):
            center = (points.min(0) + points.max(0)) / 2
            radius = EXTENT * extent
    result = landscape(problem, plane, radius=radius, resolution=resolution, center=center.tolist())
    return replace(result, trajectory=trajectory)


def _read(name: str, checkpoints: Any, problem: Attached) -> tuple[list[State], list[Tensor]]:
    """Return the states of one checkpoint or several, with the names of the bare model, and their positions (dim,)."""
    if isinstance(checkpoints, Mapping | str | PathLike):
        checkpoints = [checkpoints]
    kinds = "'random', 'hessian', 'pca'"
    if not isinstance(checkpoints, Sequence):
        raise TypeError(f"{name} is a {type(checkpoints).__name__}; expected state_dicts, paths, or one of {kinds}")
    states, positions = [], []
    for i, state in enumerate(checkpoints):
        which = f"{name}[{i}]"
        if isinstance(state, str | PathLike):
            which = f"{which}, the file {fspath(state)},"
            try:
                state = torch.load(state, map_location="cpu", weights_only=True)
            except FileNotFoundError as error:
                raise ValueError(f"{which} is not there; expected a path of a checkpoint, or one of {kinds}") from error
            except (UnpicklingError, RuntimeError, EOFError) as error:
                raise ValueError(f"{which} holds no plain tensors; expected a state_dict that torch saved") from error
        if not isinstance(state, Mapping):
            raise TypeError(f"{which} is a {type(state).__name__}; expected a state_dict, or the path of one")
        for wrapper in ("module.", "_orig_mod."):  # of DistributedDataParallel and torch.compile
            if state and all(str(key).startswith(wrapper) for key in state):
                state = {key.removeprefix(wrapper): value for key, value in state.items()}
        try:
            positions.append(problem.points(problem.vector(state), which)[0])
        except ValueError as error:
            raise ValueError(f"{which} does not fit: {error}") from error
        states.append(state)
    return states, positions


def _own_losses(problem: Attached, states: Sequence[State]) -> Iterator[Tensor]:
    """Yield the loss (1,) of each checkpoint with its own buffers and its own values of the fixed parameters."""
    twin = copy(problem)
    twin.model = deepcopy(problem.model)
    for i, state in enumerate(states):
        try:
            twin.model.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise ValueError(f"checkpoints[{i}] does not fit: {' '.join(str(error).split())}") from error
        yield twin.loss(twin.initial()[None])


def _at_one_point(problem: Problem, x: Tensor) -> tuple[Problem, Tensor]:
    """Return the problem on x's device and in its precision, and x as one point (dim,)."""
    problem, points = at_point(problem, x)
    if len(points) > 1:
        raise ValueError(f"x has shape {tuple(points.shape)}; expected one point, ({problem.dim},), such as x[0]")
    return problem, points[0]
