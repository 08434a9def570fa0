"""The panel of Example 5.8: between one sample and all, a batch's gradient need not point along its v₁."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from math import lcm
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics.rules import sam
from samviz.dynamics.sampling import BLOCK, batch_indices
from samviz.figures.minibatch import Directions, alignment_figure
from samviz.geometry import alignment
from samviz.lab.controls import Slider, decades
from samviz.lab.panel import Drawing, Panel
from samviz.problems import Quadratic, quadratic
from samviz.problems.device import one_thread

Array = NDArray[np.float64]
# Example 5.8: samples λ_k a_k a_kᵀ in the plane, each with a top eigenspace of its own
ANGLES, SPECTRUM = (0, 30, 55, 80, 105, 130), (4.0, 3.0, 2.0, 2.0, 2.0, 2.0)  # degrees, eigenvalues
SIZES = tuple(range(1, len(ANGLES) + 1))
SETTLING, SEEN, PIECE = 200, 400, 50  # steps: before the first that is shown, shown, and taken at once


@cache
def draws() -> Tensor:
    """Sample indices (steps, sizes, 60): the batch of every step for every batch size, each sample repeated equally."""
    n, steps = len(SIZES), SETTLING + SEEN
    width = lcm(*SIZES)
    blocks = range(-(-steps // BLOCK))
    rows = [
        np.concatenate([batch_indices(0, b, size, n) for b in blocks])[:steps].repeat(width // size, 1)
        for size in SIZES
    ]
    return torch.from_numpy(np.stack(rows, 1))


class Walk:
    """Runs of SAM on the samples of Example 5.8, one for every batch size, taken together and in pieces."""

    def __init__(self, lr: float, rho: float, share: float) -> None:
        """Start a radius away from the minimum."""
        self.problem = samples(share)
        self.lr, self.rho = lr, rho
        self.x = rho * torch.tensor([1.0, 0.7], dtype=torch.float64).expand(len(SIZES), -1)
        self.trail: list[Tensor] = []

    def advance(self) -> bool:
        """Take some steps; False when all are taken."""
        done = len(self.trail)
        with one_thread(self.problem):
            for batch in draws()[done : done + PIECE]:
                self.trail.append(self.x)
                self.x = sam(self.problem, self.x, batch, self.lr, self.rho).x
        return len(self.trail) < SETTLING + SEEN

    def directions(self) -> tuple[Array, Array, Array]:
        """Degrees of v₁ and of ∇L_B, and |cos| between them, at each step shown so far, (sizes, steps)."""
        x = torch.stack(self.trail[SETTLING:], 1)  # (sizes, steps, 2)
        batch = draws()[SETTLING : len(self.trail)].transpose(0, 1)
        points, chosen = x.reshape(-1, 2), batch.reshape(-1, batch.shape[2])
        slope = self.problem.gradient(points, chosen)[1]
        top = torch.linalg.eigh(self.problem.hessian(points, chosen)).eigenvectors[:, :, 1]
        cosines = alignment(self.problem, points, batch=chosen, gradient=slope).cos_v1
        degrees = [torch.rad2deg(torch.atan2(v[:, 1], v[:, 0])).view(x.shape[:2]).numpy() for v in (top, slope)]
        return degrees[0], degrees[1], cosines.view(x.shape[:2]).numpy()


@lru_cache(8)
def walk(lr: float, rho: float, share: float) -> Walk:
    """The walk for these settings, as far as it has been taken."""
    return Walk(lr, rho, share)


def samples(share: float = 0.0) -> Quadratic:
    """Six samples in the plane, λ_k(a aᵀ + share·b bᵀ) with b orthogonal to a; share = 0 makes them of rank one.

    Args:
        share: λ₂/λ₁ of each sample, 0 to 1.

    Returns:
        The mean of the quadratics.

    >>> samples().hessian(torch.zeros(1, 2), torch.tensor([[0]]))[0]
    tensor([[4., 0.],
            [0., 0.]], dtype=torch.float64)
    """
    turn = np.deg2rad(ANGLES)
    a, b = np.stack((np.cos(turn), np.sin(turn)), 1), np.stack((-np.sin(turn), np.cos(turn)), 1)
    parts = a[:, :, None] * a[:, None, :] + share * b[:, :, None] * b[:, None, :]
    return quadratic(np.array(SPECTRUM)[:, None, None] * parts)


def draw_alignment(values: dict[str, Any]) -> Iterator[Drawing]:
    """The pictures and sentences of `alignment_panel`, as the runs go on."""
    size, lr, rho, share = (values[name] for name in ("size", "lr", "rho", "share"))
    going = walk(lr, rho, share)
    more = True
    while more:
        more = len(going.trail) < SETTLING + SEEN and going.advance()
        if len(going.trail) > SETTLING or not more:
            found = Directions(size, ANGLES, *going.directions())
            yield alignment_figure(found), _told_alignment(found, share)
        else:
            nothing = np.zeros((3, len(SIZES), 0))
            yield alignment_figure(Directions(size, ANGLES, *nothing)), "On the way to the minimum."


def _told_alignment(found: Directions, share: float) -> str:
    """What this batch size has come to, beside what the paper says of it."""
    cosines = found.cosines[found.size - 1]
    n = len(SIZES)
    least = f"{cosines.mean():.3f} in the mean, {cosines.min():.3f} at least"
    begin = f"Batch size {found.size} of {n}: |cos(∇L_B, v₁)| is {least}."
    if found.size == n:
        return f"{begin} One fixed matrix: Theorem 4.8 says 1."
    if found.size == 1:
        if share == 0:
            return f"{begin} Each sample has rank one: Lemma 5.5 says exactly 1."
        return f"{begin} The samples have a second eigenvalue: without rank one no lemma, and no alignment for free."
    return f"{begin} Neither rank one nor one fixed matrix. It is the same at every ρ: x/ρ moves by a rule without ρ."


def alignment_panel() -> Panel:
    """Where a batch's gradient points, live: its angle from the batch's v₁ over a run, for every batch size.

    Returns:
        A panel; leave it as the last line of a cell.

    Source: Example 5.8, Lemma 5.5, Theorem 4.8.

    >>> panel = alignment_panel()
    >>> panel.set(size=1)
    >>> panel.sentence
    'Batch size 1 of 6: |cos(∇L_B, v₁)| is 1.000 in the mean, 1.000 at least. Each sample has rank one: ...
    """
    return Panel(
        draw_alignment,
        {
            "size": Slider("batch size", 3, SIZES, integer=True, book=SIZES),
            "rho": Slider("ρ radius", 0.1, decades(-6, 0), book=[1e-6, 1e-3, 0.1, 1.0]),
            "lr": Slider("η", 0.1, stops=[0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3]),
            "share": Slider("λ₂/λ₁ of a sample", 0.0, [k / 20 for k in range(19)], book=[0.0, 0.5]),
        },
        description="The angle from the top eigenvector of a batch's Hessian to the batch's gradient over a run of "
        "SAM, and their cosine for every batch size",
    )
