"""The panel of loss landscapes: two minima in four planes, and the ways in which such a picture can lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samviz.dynamics import Run
from samviz.figures.landscape import slice_figure
from samviz.geometry import (
    Eigenpairs,
    Landscape,
    Plane,
    hessian_plane,
    landscape,
    pca_plane,
    plane_through,
    projected,
    random_plane,
    top_eigenpairs,
)
from samviz.lab.controls import Button, Choice, Slider, Switch, decades
from samviz.lab.panel import Drawing, Panel
from samviz.problems import MLP, mlp

LR, RADII, STEPS, REST = 0.05, (0.0, 0.1), 8000, 2000  # η, both ρ, and the steps with and after ρ
SPACING = 200  # steps between two checkpoints
RESOLUTION = 41  # odd: one of the rows goes through the minimum
NAMES = ("gradient descent", "SAM")
PLANES = {
    "random": "two random directions",
    "hessian": "v₁ and v₂",
    "pca": "the trajectory’s PCA",
    "through": "both minima and the start",
}


@lru_cache(1)
def trained() -> tuple[MLP, Tensor]:
    """The network, and the checkpoints (2, checkpoints, dim) of gradient descent and SAM from one start, in order.

    Both end with steps of gradient descent, so that SAM, too, comes to rest in a minimum.
    """
    problem = mlp([1, 24, 24, 1], activation="relu", data="sine")
    run = Run(problem, "sam", LR, RADII, x0=problem.initial().expand(2, -1), device="cpu")
    seen = [run.x]
    for rho in (*[RADII] * (STEPS // SPACING), *[(0.0, 0.0)] * (REST // SPACING)):
        run.set(rho=rho)
        run.step(SPACING)
        seen.append(run.x)
    return problem, torch.stack(seen, 1)


def rescaled(problem: MLP, x: Tensor, alpha: float) -> Tensor:
    """The same ReLU network with other parameters: the first layer times α, the weights of the second divided by α.

    Args:
        problem: with activation "relu" and at least two layers.
        x: (..., dim).
        alpha: α > 0.

    Returns:
        (..., dim); the function, and so the loss, is the same: relu(αz) = α·relu(z).

    Source: Dinh, Pascanu, Bengio & Bengio, Sharp Minima Can Generalize for Deep Nets (2017).

    >>> problem = mlp([1, 2, 1], activation="relu")
    >>> rescaled(problem, torch.ones(problem.dim), 2.0)
    tensor([2.0000, 2.0000, 2.0000, 2.0000, 0.5000, 0.5000, 1.0000])
    """
    (inputs, hidden), (_, second) = problem.layers[:2]
    first, weights = (inputs + 1) * hidden, hidden * second
    return torch.cat((x[..., :first] * alpha, x[..., first : first + weights] / alpha, x[..., first + weights :]), -1)


@lru_cache(64)
def minima(alpha: float) -> tuple[Tensor, tuple[Eigenpairs, Eigenpairs]]:
    """The checkpoints, SAM's rescaled by α, and the two top eigenpairs where they end."""
    problem, checkpoints = trained()
    moved = torch.stack((checkpoints[0], rescaled(problem, checkpoints[1], alpha)))
    pairs = [top_eigenpairs(problem, x, 2) for x in moved[:, -1]]
    return moved, (pairs[0], pairs[1])


def plane(kind: str, which: int, alpha: float, normalized: bool, seed: int) -> Plane:
    """One of the four planes through one of the two minima.

    Args:
        kind: a name in `PLANES`.
        which: 0 for gradient descent's minimum, 1 for SAM's.
        alpha: by which SAM's is rescaled.
        normalized: whether random directions are filter-normalized.
        seed: of the random directions.

    Returns:
        The plane, its origin in the minimum.
    """
    problem, (moved, pairs) = trained()[0], minima(alpha)
    own, other = moved[which], moved[1 - which]
    if kind == "random":
        return random_plane(problem, own[-1], seed=seed, normalization="filter" if normalized else "none")
    if kind == "hessian":
        return hessian_plane(problem, own[-1], vectors=pairs[which].vectors[0])
    if kind == "pca":
        return pca_plane(own)
    labels = f"to {'SAM' if which == 0 else 'gradient descent'}", "to the start"
    return replace(plane_through(own[-1], other[-1], own[0]), labels=labels)


@lru_cache(64)
def slices(kind: str, alpha: float, normalized: bool, seed: int, radius: float) -> dict[str, Landscape]:
    """Both minima in one kind of plane, with what led to them."""
    problem, (moved, _) = trained()[0], minima(alpha)
    found = {}
    for which, name in enumerate(NAMES):
        where = plane(kind, which, alpha, normalized, seed)
        seen = landscape(problem, where, radius=radius, resolution=RESOLUTION)
        found[name] = replace(seen, trajectory=projected(problem, where, moved[which]))
    return found


def draw(values: dict[str, Any]) -> Drawing:
    """The panel's picture and sentence for its controls' values."""
    kind, alpha, normalized = values["plane"], values["alpha"], values["normalized"]
    found = slices(kind, alpha, normalized and kind == "random", values["seed"], values["radius"])
    tops = [f"{'' if pairs.converged[0, 0] else '≈ '}{pairs.values[0, 0]:.3g}" for pairs in minima(alpha)[1]]
    rises = [float(np.mean(seen.loss) - seen.loss[RESOLUTION // 2, RESOLUTION // 2]) for seen in found.values()]
    ratio = rises[1] / rises[0]
    looks = (
        f"SAM’s minimum looks {'flatter' if ratio < 1 else 'sharper'}" if abs(ratio - 1) > 0.1 else "they look alike"
    )
    parts = [
        f"λ₁ is {tops[0]} at gradient descent’s minimum and {tops[1]} at SAM’s.",
        f"In this picture the loss rises by {rises[0]:.2g} and {rises[1]:.2g}, the mean over the square: {looks}.",
    ]
    if alpha != 1:
        parts.append(f"SAM’s network is the same function, whatever α; here α = {alpha:g}.")
    return slice_figure(found), " ".join([*parts, _lost(found["SAM"], "SAM’s start")])


def _lost(seen: Landscape, what: str) -> str:
    """How much of the way from a trajectory's first point is off the plane."""
    path = seen.trajectory
    assert path is not None, "a trajectory is projected"
    begin = f"{path.lost[0]:.1%} of the way from {what} is off the plane"
    return f"{begin}: its loss is {path.loss[0]:.2g}, and where the picture puts it {path.shown[0]:.2g}."


def landscapes_panel() -> Panel:
    """Two minima of a ReLU network in four planes, live: normalization, radius, projection and scale symmetry.

    Returns:
        A panel; leave it as the last line of a cell.

    Source: Li, Xu, Taylor, Studer & Goldstein (2018); Dinh, Pascanu, Bengio & Bengio (2017).

    >>> panel = landscapes_panel()
    >>> panel.set(alpha=8.0, normalized=False)
    >>> "SAM’s minimum looks sharper" in panel.sentence
    True
    """
    powers = [0.1, 0.125, 0.2, 0.25, 0.5, 0.7, 1, 1.4, 2, 3, 4, 5, 6, 8, 10]
    return Panel(
        draw,
        {
            "radius": Slider("radius", 0.5, decades(-2, 1), book=[0.05, 0.1, 0.2, 0.5, 1.0, 2.0]),
            "alpha": Slider("α of SAM’s layers", 1.0, stops=powers),
            "plane": Choice("plane", "random", PLANES, book=list(PLANES)),
            "normalized": Switch("filter normalization", True, book=[True, False]),
            "seed": Button("other random directions"),
        },
        description="Gradient descent’s minimum and SAM’s in a plane, with the same contours, and the loss along its "
        "first direction",
    )


def slice_panel(named: Mapping[str, Landscape] | Landscape) -> Panel:
    """Landscapes of one's own as a picture with a sentence that says what it leaves out.

    Args:
        named: from `samviz.geometry.landscape_of`; or up to three of them by what they are called, side by side.

    Returns:
        A panel without controls; leave it as the last line of a cell.

    >>> from samviz.problems import quadratic
    >>> slice_panel(landscape(quadratic([2.0, 1.0]), torch.ones(2), resolution=3)).sentence
    'The loss in the picture is 0 to 6. λ₁ = 2, with a residual of 0.'
    """
    given = named if isinstance(named, Mapping) else {"": named}
    return Panel(lambda _: (slice_figure(given), _told(given)), {}, description="slices of the loss")


def _told(given: Mapping[str, Landscape]) -> str:
    """What one has to know beside the pictures."""
    told = []
    for name, seen in given.items():
        begin = f"{name}: the" if name else "The"
        told.append(f"{begin} loss in the picture is {seen.loss.min():.2g} to {seen.loss.max():.2g}.")
        if seen.trajectory is not None:
            told.append(_lost(seen, "the first checkpoint"))
        if (pairs := seen.plane.pairs) is not None:
            told.append(f"λ₁ = {pairs.values[0, 0]:.3g}, with a residual of {pairs.residuals[0, 0]:.1g}.")
    return " ".join(told)
