"""One step in slow motion: what a rule computes for it, part by part, as arrows on a plane and sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from samviz.dynamics import RULES, Run
from samviz.figures.landscape import Arrow
from samviz.geometry import Plane
from samviz.problems.problem import on_host

PARALLEL = 1e-3  # two directions span a plane if this share of the second, or more, is off the first
OFF_PLANE = 0.05  # an arrow is called a projection if this share of it, or more, is off the plane


class Part(NamedTuple):
    """A part of a step."""

    sentence: str
    arrows: list[Arrow]


@dataclass
class SlowStep:
    """A step that is not taken yet: its parts, and the square of a plane on which they are drawn."""

    parts: list[Part]
    plane: Plane
    radius: float
    center: tuple[float, ...]
    shown: int = 1  # parts

    @property
    def arrows(self) -> list[Arrow]:
        """The arrows of the parts that are shown."""
        return [arrow for part in self.parts[: self.shown] for arrow in part.arrows]

    @property
    def text(self) -> str:
        """The sentence of the latest part that is shown, with its number."""
        return f"Slow motion: part {self.shown} of {len(self.parts)} of a step.\n{self.parts[self.shown - 1].sentence}"


def slow_step(run: Run, least_radius: float) -> SlowStep:
    """Return the next step of a run in parts; every length is true on the plane, where a gradient is drawn times η."""
    found, settings, rule = run.parts(), run.settings, RULES[run.settings.rule]
    x, points, lr = found.x, found.points, float(run.settings.rate(run.steps))  # type: ignore[arg-type]
    plane = _plane(run, [*(points[:1] - x if len(points) == 1 else ()), found.direction, found.gradient])
    parts: list[Part] = []

    def add(sentence: str, name: str, label: str, *arrows: tuple[Tensor, Tensor]) -> None:
        """Add a part with arrows from a tail to a tip each."""
        ends = torch.stack([end for arrow in arrows for end in arrow])
        coordinates, _ = plane.project(ends)
        if run.problem.dim == 1:  # drawn on the curve of the loss
            coordinates = np.column_stack((coordinates, on_host(run.problem.loss(ends))))
        length = (ends[1::2] - ends[::2]).norm(dim=1).cpu().numpy()
        seen = np.linalg.norm(coordinates[1::2] - coordinates[::2], axis=1)
        if (seen < (1 - OFF_PLANE) * length).any():
            sentence += " The plane shows a projection."
        parts.append(Part(sentence, [Arrow(name, label, *pair) for pair in coordinates.reshape(-1, 2, 2)]))

    batch = f" of this batch of {settings.batch_size}" if settings.batch_size else ""
    subject, same_batch, meaning = "It", batch, rule.meaning
    if settings.micro_batch:  # the points are those of the last one
        subject, same_batch = "For the last micro-batch it", " of this micro-batch"
        meaning = "the mean over all micro-batches"
    if not rule.noise or not settings.rho:  # otherwise the direction does not use it
        sentence = f"At the iterate x, it computes the gradient ∇L(x){batch}. Its norm is {_norm(found.gradient)}."
        add(sentence, "gradient", "η∇L(x)", (x, x + lr * found.gradient))
    if len(points):
        which = "the perturbed point" if len(points) == 1 else f"{len(points)} perturbed points"
        which = f"{which} {rule.point}".strip()
        sentence = f"{subject} goes to {which}, at distance {_norm(points[0] - x)} from x."
        add(sentence, "ascent", "perturbed point" if len(points) == 1 else "", *((x, point) for point in points))
    if len(points) == 1:
        sentence = f"There it computes the gradient{same_batch} again. Its norm is {_norm(found.gradients[0])}."
        add(sentence, "perturbed gradient", "η∇L there", (points[0], points[0] + lr * found.gradients[0]))
    same = torch.equal(found.direction, found.gradients[0] if len(points) else found.gradient)
    meaning = "that gradient" if same else meaning or "the direction of the rule"
    sentence = f"It takes the step −ηd from x, where d is {meaning}. The step has length {_norm(lr * found.direction)}."
    add(sentence, "step", "step −ηd", (x, x - lr * found.direction))

    if settings.momentum or settings.weight_decay:
        rest = found.after - (x - lr * found.direction)
        both = {"momentum": settings.momentum, "weight decay": settings.weight_decay}
        name = " and ".join(name for name, value in both.items() if value)
        sentence = f"The rest of the step is that of {name}. It has length {_norm(rest)}."
        add(sentence, "momentum", name, (x - lr * found.direction, found.after))

    ends = np.array([end for part in parts for arrow in part.arrows for end in (arrow.tail, arrow.tip)])
    low, high = (ends.min(0), ends.max(0)) if run.problem.dim > 1 else (ends.min(0)[:1], ends.max(0)[:1])
    return SlowStep(
        parts, plane, max(0.7 * float((high - low).max()), least_radius), tuple(((low + high) / 2).tolist())
    )


def _norm(vector: Tensor) -> str:
    """Return the norm of a vector as text."""
    return f"{float(vector.norm()):.3g}"


def _plane(run: Run, directions: list[Tensor]) -> Plane:
    """Return the plane through the iterate along the first two independent ones of the directions, v₁ and v₂."""
    x, vectors = run.x[0], [] if run.eigenvectors is None else [*run.eigenvectors[0, :2]]
    if run.problem.dim == 1:
        return Plane("step", torch.zeros_like(x), torch.ones_like(x)[None], ("x",))
    basis: list[Tensor] = []
    for direction in (*directions, *vectors, *torch.eye(2, len(x)).to(x)):
        rest = direction - sum((b @ direction) * b for b in basis)
        if rest.norm() > PARALLEL * direction.norm() and len(basis) < 2:
            rest = rest / rest.norm()
            toward = vectors[len(basis)] if len(vectors) > len(basis) else rest  # does not alternate, as gradients do
            basis.append(-rest if rest @ toward < 0 else rest)
    return Plane("step", x, torch.stack(basis), ("along the first arrow", "across it"))
