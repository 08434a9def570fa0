"""Loss landscapes: two minima of a network in four planes, and how such a figure can mislead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samviz import geometry
from samviz.claims.subjects import rescaled
from samviz.dynamics import Run
from samviz.figures.landscape import slice_figure
from samviz.geometry import Eigenpairs, Landscape, Plane
from samviz.lab.controls import Button, Choice, Slider, Switch, decades
from samviz.lab.panel import Drawing, Panel
from samviz.lab.predictions import PredictChoice
from samviz.problems import MLP, mlp

LR, RADII, STEPS, GD_STEPS = 0.05, (0.0, 0.1), 8000, 2000  # the last steps of both runs are gradient descent
SPACING = 200  # steps between two checkpoints
RESOLUTION = 41  # odd, so that one row and one column go through the minimum
NAMES = ("gradient descent", "SAM")
PLANES = {
    "random": "two random directions",
    "hessian": "v₁ and v₂",
    "pca": "the trajectory’s PCA",
    "through": "both minima and the start",
}
SAME_FUNCTION = "The function is the same, but the second layer's block of the Hessian is multiplied by 8²."
ASK = PredictChoice(
    "SAM's minimum looks flatter here. Now multiply the first layer of SAM's network by α = 8, and divide the weights "
    "of its second layer by 8: the network computes the same function as before. Which minimum looks flatter then?",
    options={"sam": "SAM's, as before", "gd": "gradient descent's", "equal": "neither"},
    replies={
        "sam": f"You assumed that the function determines the curvature. {SAME_FUNCTION}",
        "gd": f"It does. {SAME_FUNCTION}",
        "equal": f"Rescaling changes only one of the two pictures. {SAME_FUNCTION}",
    },
)


@cache
def trained() -> tuple[MLP, Tensor]:
    """Return the network, and the checkpoints of gradient descent and SAM from one start, (2, checkpoints, dim).

    Both runs end with gradient descent, so that SAM also converges to a minimum.
    """
    problem = mlp([1, 24, 24, 1], activation="relu", data="sine")
    run = Run(problem, "sam", LR, RADII, x0=problem.initial().expand(2, -1), device="cpu")
    checkpoints = [run.x]
    for rho in (*[RADII] * (STEPS // SPACING), *[(0.0, 0.0)] * (GD_STEPS // SPACING)):
        run.set(rho=rho)
        run.step(SPACING)
        checkpoints.append(run.x)
    return problem, torch.stack(checkpoints, 1)


@lru_cache(64)
def minima(alpha: float) -> tuple[Tensor, tuple[Eigenpairs, ...]]:
    """Return the checkpoints, with SAM's rescaled by α, and the two top eigenpairs at the last ones."""
    problem, checkpoints = trained()
    scaled = torch.stack((checkpoints[0], rescaled(problem, checkpoints[1], alpha)))
    return scaled, tuple(geometry.top_eigenpairs(problem, x, 2) for x in scaled[:, -1])


def plane(kind: str, which: int, alpha: float, normalized: bool, seed: int) -> Plane:
    """Return one of `PLANES` through the minimum of gradient descent (which = 0) or of SAM (which = 1)."""
    problem, (checkpoints, pairs) = trained()[0], minima(alpha)
    own, other = checkpoints[which], checkpoints[1 - which]
    if kind == "random":
        normalization = "filter" if normalized else "none"
        return geometry.random_plane(problem, own[-1], seed=seed, normalization=normalization)
    if kind == "hessian":
        return geometry.hessian_plane(problem, own[-1], vectors=pairs[which].vectors[0])
    if kind == "pca":
        return geometry.pca_plane(own)
    labels = f"to {NAMES[1 - which]}", "to the start"
    return replace(geometry.plane_through(own[-1], other[-1], own[0]), labels=labels)


@lru_cache(64)
def slices(kind: str, alpha: float, normalized: bool, seed: int, radius: float) -> dict[str, Landscape]:
    """Return the losses around both minima in one kind of plane, with the trajectories that led to them."""
    problem, (checkpoints, _) = trained()[0], minima(alpha)
    found = {}
    for which, name in enumerate(NAMES):
        where = plane(kind, which, alpha, normalized, seed)
        loss = geometry.landscape(problem, where, radius=radius, resolution=RESOLUTION)
        found[name] = replace(loss, trajectory=geometry.projected(problem, where, checkpoints[which]))
    return found


def landscapes_panel() -> Panel:
    """Show two minima of a ReLU network in four planes: normalization, radius, projection and scale symmetry.

    Source: Li, Xu, Taylor, Studer & Goldstein (2018); Dinh, Pascanu, Bengio & Bengio (2017).

    >>> panel = landscapes_panel()
    >>> panel.set(guess="skipped")
    >>> "SAM’s minimum looks sharper" in panel.sentence
    True
    """
    scales = [0.1, 0.125, 0.2, 0.25, 0.5, 0.7, 1, 1.4, 2, 3, 4, 5, 6, 8, 10]
    return Panel(
        draw_rescaling,
        {
            "radius": Slider("radius", 2.0, decades(-2, 1), book=[0.1, 0.5, 2.0]),
            "alpha": Slider("α of SAM’s layers", 8.0, scales, book=[1, 8]),
            "plane": Choice("plane", "random", PLANES, book=list(PLANES)),
            "normalized": Switch("filter normalization", False, book=[True, False]),
            "seed": Button("other random directions", help="Draw two other directions."),
        },
        predict=ASK,
        description="Gradient descent’s minimum and SAM’s in a plane, with the same contours, and the loss along its "
        "first direction",
    )


def draw_rescaling(values: dict[str, Any]) -> Iterator[Drawing]:
    """Yield the figure before SAM's network is rescaled, if the learner is asked, and then the figure of the values."""
    if values["guess"] is None:
        yield draw_landscapes(values | {"alpha": 1.0})
    yield draw_landscapes(values)


def draw_landscapes(values: dict[str, Any]) -> Drawing:
    """Return the figure and its caption."""
    kind, alpha, normalized = values["plane"], values["alpha"], values["normalized"]
    found = slices(kind, alpha, normalized and kind == "random", values["seed"], values["radius"])
    tops = [f"{'' if pairs.converged[0, 0] else '≈ '}{pairs.values[0, 0]:.3g}" for pairs in minima(alpha)[1]]
    middle = RESOLUTION // 2
    rises = [float(np.mean(each.loss) - each.loss[middle, middle]) for each in found.values()]
    ratio = rises[1] / rises[0]
    verdict = "both minima look equally sharp"
    if abs(ratio - 1) > 0.1:
        verdict = f"SAM’s minimum looks {'flatter' if ratio < 1 else 'sharper'}"
    parts = [
        f"λ₁ is {tops[0]} at gradient descent’s minimum and {tops[1]} at SAM’s.",
        f"In the mean over the square, the loss rises by {rises[0]:.2g} and {rises[1]:.2g}: {verdict}.",
    ]
    if alpha != 1:
        parts.append(f"SAM’s network computes the same function for every α; here α = {alpha:g}.")
    return slice_figure(found), " ".join([*parts, describe_projection(found["SAM"], "SAM’s start")])


def describe_projection(landscape: Landscape, point: str) -> str:
    """Describe the distance from a trajectory's first point to the plane, and the loss there and at its projection."""
    path = landscape.trajectory
    assert path is not None, "a trajectory is projected"
    return (
        f"{path.lost[0]:.1%} of the distance to {point} is off the plane: the loss there is {path.loss[0]:.2g}, and at "
        f"its projection {path.shown[0]:.2g}."
    )


def slice_panel(named: Mapping[str, Landscape] | Landscape) -> Panel:
    """Show landscapes of your own, with a sentence that says what the figure leaves out.

    Args:
        named: from `samviz.geometry.landscape_of`; or up to three of them by their names, side by side.

    Raises:
        TypeError: when `named` holds no landscape.
        ValueError: when there is none, or more than three.

    >>> from samviz.problems import quadratic
    >>> slice_panel(geometry.landscape(quadratic([2.0, 1.0]), torch.ones(2), resolution=3)).sentence
    'The loss in the figure is between 0 and 6. λ₁ = 2, with a residual of 0.'
    """
    landscapes = named if isinstance(named, Mapping) else {"": named}
    return Panel(
        lambda _: (slice_figure(landscapes), " ".join(describe_slice(*item) for item in landscapes.items())),
        {},
        description="slices of the loss",
    )


def describe_slice(name: str, landscape: Landscape) -> str:
    """Describe the range of the loss, the projected trajectory and the accuracy of the eigenvalue."""
    subject = f"{name}: the" if name else "The"
    parts = [f"{subject} loss in the figure is between {landscape.loss.min():.2g} and {landscape.loss.max():.2g}."]
    if landscape.trajectory is not None:
        parts.append(describe_projection(landscape, "the first checkpoint"))
    if (pairs := landscape.plane.pairs) is not None:
        parts.append(f"λ₁ = {pairs.values[0, 0]:.3g}, with a residual of {pairs.residuals[0, 0]:.1g}.")
    return " ".join(parts)
