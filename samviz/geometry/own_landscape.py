"""The loss landscape of a torch model around where it is, with the checkpoints of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from os import PathLike, fspath
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samviz.checks import check_bool, check_float, seeded_generator
from samviz.geometry.landscape import (
    Landscape,
    Plane,
    hessian_plane,
    landscape,
    pca_plane,
    plane_through,
    projected,
    random_plane,
)
from samviz.problems.attached import Attached, Batches, LossFunction, attach

State = Mapping[str, Tensor]  # a model's `state_dict`
Checkpoint = State | str | PathLike[str]
KINDS = ("random", "hessian", "pca")
ROOM = 0.7  # of the points' extent, that is seen on either side of their middle: a fifth beyond each end


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
    """The loss of a torch model on a plane or a line through where it is, and its training projected on that.

    The model is in evaluation mode, and is left bit for bit as it was. In single precision differences below about
    1e-7 of the loss itself are rounding.

    Args:
        model: as in `samviz.problems.attach`.
        loss_fn: as in `attach`.
        data: as in `attach`.
        directions: "random", two Gaussian directions; "hessian", the two top eigenvectors; "pca", the plane that
            model and checkpoints fill most. Or other checkpoints of the model: one gives the line through it, linear
            interpolation, with the model at 0 and the checkpoint at 1; two give a plane.
        checkpoints: of the training, in order: `state_dict`s, or paths of files with one, saved by `torch.save`. They
            are projected on the plane.
        line: whether only the first of the directions is taken.
        radius: half the side of the square, in units of the directions, with the model in its middle. None shows the
            model and all checkpoints. It is 1 at least for random directions, and where there are no checkpoints
            √(2/λ₁) for those of the Hessian: there the quadratic has risen by 1.
        resolution: points along each side, at least 2.
        normalization: of random directions, "filter" or "none"; see `random_plane`.
        recompute: whether BatchNorm's statistics are taken from the data anew at every point; otherwise they are the
            model's, which do not fit parameters far from it. Directions of the Hessian are those without.
        names: as in `attach`; all else is the model's on the whole plane.
        samples: as in `attach`.
        batch_size: as in `attach`.
        seed: int, of the random directions.

    Returns:
        The loss on the grid. Its `trajectory` holds the checkpoints and, as the last, the model: where they are on the
        plane, how far off it, and their own losses beside those that the picture shows in their places. Its
        `plane.pairs` tells how well the eigenvectors of "hessian" are known.

    Raises:
        ValueError: when a checkpoint does not fit the model, the points span no plane, or an argument is out of range.
        TypeError: when a checkpoint is none.

    Source: Li, Xu, Taylor, Studer, Goldstein, Visualizing the Loss Landscape of Neural Nets (2018).

    >>> model = nn.Linear(2, 1, bias=False)
    >>> other = {"weight": model.weight.detach() + 1}
    >>> data = torch.eye(2), model(torch.eye(2)).detach()
    >>> seen = landscape_of(model, nn.MSELoss(), data, directions=other, radius=2, resolution=5)
    >>> seen.axis1, seen.loss.round(5)
    (array([-2., -1.,  0.,  1.,  2.]), array([[4., 1., 0., 1., 4.]]))
    """

    def attached(anew: bool) -> Attached:
        return attach(model, loss_fn, data, names=names, samples=samples, batch_size=batch_size, recompute=anew)

    check_bool("line", line)
    seeded_generator(seed)
    if radius is not None:
        radius = check_float("radius", radius, "a positive number, or None", lambda r: r > 0)
    problem = attached(recompute)
    x = problem.initial()
    ends: list[Tensor] = []
    if isinstance(directions, str) and directions in KINDS:
        kind = directions
    else:
        kind = "through"
        ends = [_read(end, f"directions[{i}]", problem)[1] for i, end in enumerate(_listed(directions))]
        if not 1 <= len(ends) <= 2:
            raise ValueError(f"directions holds {len(ends)} checkpoints; expected one for a line, or two for a plane")
    read = [_read(checkpoint, f"checkpoints[{i}]", problem) for i, checkpoint in enumerate(_listed(checkpoints))]
    positions = torch.stack([*(position for _, position in read), x])
    if kind == "pca" and len(read) < 2:
        raise ValueError(
            f"checkpoints holds {len(read)}; expected 2 or more beside the model for directions='pca', or choose "
            f"another of {', '.join(map(repr, KINDS))}"
        )
    if kind == "through":
        plane = plane_through(x, *ends)
    elif kind == "pca":
        plane = pca_plane(positions)
    elif kind == "hessian":
        plane = hessian_plane(attached(False), x)
    else:
        plane = random_plane(problem, x, seed=seed, normalization=normalization)
    if line:
        plane = replace(plane, directions=plane.directions[:1], labels=plane.labels[:1])
    trajectory = None
    if read:
        losses = torch.stack([*_own_losses(problem, [state for state, _ in read]), problem.loss(x[None])[0]])
        trajectory = projected(problem, plane, positions, loss=losses)
    center = np.zeros(len(plane.directions))
    if radius is None:
        points = plane.project(torch.stack([*positions, *ends]))[0]
        extent = float(np.ptp(points, axis=0).max())
        radius = _reach(plane)
        if extent > (radius if kind == "random" else 0):
            center = (points.min(0) + points.max(0)) / 2
            radius = ROOM * extent
    seen = landscape(problem, plane, radius=radius, resolution=resolution, center=center.tolist())
    return replace(seen, trajectory=trajectory)


def _listed(given: Any) -> list[Any]:
    """One checkpoint, or several, as a list."""
    if isinstance(given, Mapping | str | PathLike):
        return [given]
    if not isinstance(given, Sequence):
        raise TypeError(
            f"directions or checkpoints is a {type(given).__name__}; expected state_dicts, paths of files with one, or "
            f"one of {', '.join(map(repr, KINDS))}"
        )
    return list(given)


def _read(checkpoint: Any, name: str, problem: Attached) -> tuple[State, Tensor]:
    """A checkpoint's state, with the names of the bare model, and its position (dim,)."""
    if isinstance(checkpoint, str | PathLike):
        name = f"{name}, the file {fspath(checkpoint)},"
        try:
            checkpoint = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            known = ", ".join(map(repr, KINDS))
            raise ValueError(f"{name} is not there; expected the path of a checkpoint, or one of {known}") from error
        except (UnpicklingError, RuntimeError, EOFError) as error:
            raise ValueError(f"{name} holds no plain tensors; expected a state_dict saved by torch.save") from error
    if not isinstance(checkpoint, Mapping):
        raise TypeError(f"{name} is a {type(checkpoint).__name__}; expected a state_dict, or the path of one")
    state = dict(checkpoint)
    for wrapper in ("module.", "_orig_mod."):  # of DistributedDataParallel and torch.compile
        if state and all(str(key).startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    try:
        position = problem.points(problem.vector(state), name)[0]
    except ValueError as error:
        raise ValueError(f"{name} does not fit: {error}") from error
    return state, position


def _own_losses(problem: Attached, states: Sequence[State]) -> list[Tensor]:
    """The loss of each checkpoint where it is: with its own buffers, and with the parameters that do not vary."""
    twin = copy(problem)
    twin.model = deepcopy(problem.model)
    losses = []
    for i, state in enumerate(states):
        try:
            twin.model.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise ValueError(f"checkpoints[{i}] does not fit: {' '.join(str(error).split())}") from error
        losses.append(twin.loss(twin.initial()[None])[0])
    return losses


def _reach(plane: Plane) -> float:
    """How far to look where there is nothing to be shown but the model."""
    top = float(plane.pairs.values[0, 0]) if plane.pairs is not None else 0.0
    return float(np.sqrt(2 / top)) if top > 0 else 1.0
