"""The lab's landscape: which plane, how large, and when it has to be sliced anew."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.dynamics import Run
from samviz.figures import heights
from samviz.geometry import Landscape, Plane, hessian_plane, pca_plane, random_plane, slices
from samviz.problems import Problem
from samviz.problems.device import one_thread

RESOLUTION = 41
KEPT = 256  # iterates of the whole run that are kept for a path
PLANES = {"hessian": "v₁ and v₂ of the Hessian", "random": "two random directions", "pca": "trajectory's PCA"}


def planes_of(problem: Problem) -> list[list[str]]:
    """The planes to choose from, each as [kind, label]: one parameter spans a line, and two span a single plane."""
    if problem.dim == 1:
        return [["hessian", "the one parameter"]]
    return [[kind, label] for kind, label in PLANES.items() if problem.dim > 2 or kind == "hessian"]


class Scene:
    """The slice on show and the iterates that are drawn on it."""

    def __init__(self, run: Run) -> None:
        """Start with a run that has been measured once."""
        self.run = run
        self.kind = "hessian"
        self.landscape: Landscape
        self.height: NDArray[np.float64]  # the array that the figure shows, the same while the slice is
        self.wanted = True  # sliced anew at the next occasion
        self._path: list[Tensor] = []  # iterates (dim,) over the whole run
        self._stride, self._seen = 1, 0
        self._sliced, self._cost = -np.inf, 0.0  # when, and how long it took

    def remember(self) -> None:
        """Keep the present iterate for the path; when there are too many, keep every other one."""
        if self._seen % self._stride == 0:
            self._path.append(self.run.x[0])
        self._seen += 1
        if len(self._path) > KEPT:
            self._path, self._stride = self._path[::2], 2 * self._stride

    @property
    def path(self) -> Tensor:
        """The iterates over the whole run, (steps, dim), the present one last."""
        return torch.stack([*self._path, self.run.x[0]])

    def positions(self) -> Tensor:
        """The iterates to draw, (steps, dim): the latest in the Hessian's plane, the whole run in the others."""
        return torch.cat(tuple(self.run.trail)) if self.kind == "hessian" else self.path

    def trail(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where the iterates are drawn, and what the slice does not show of them.

        Returns:
            Coordinates (steps, 2), for a single parameter itself and its loss; and the lost fraction (steps,).
        """
        positions = self.positions()
        coordinates, lost = self.landscape.plane.project(positions)
        if self.run.problem.dim == 1:
            with torch.no_grad():
                loss = self.run.problem.loss(positions)
            coordinates = np.column_stack((coordinates, loss.double().cpu().numpy()))
        return coordinates, lost

    def stale(self, now: float) -> bool:
        """Whether the picture no longer shows what it should.

        That is another plane, a bounce out of view or too small in it, a valley floor that has moved off the
        plane, eigenvectors that have turned. Slicing takes at most a fifth of the time, or half of it while
        the bounce is out of view.

        Args:
            now: seconds of `time.perf_counter`; infinity when there is no hurry.

        Returns:
            True when the loss should be sliced anew.
        """
        if self.wanted:
            return True
        rested = now - self._sliced
        if self.kind != "hessian" or rested < max(0.4, self._cost):
            return False
        with one_thread(self.run.problem):
            coordinates, lost = self.landscape.plane.project(self.positions())
        low, high = self.landscape.axis1[[0, -1]]
        radius = (high - low) / 2
        reach = np.linalg.norm(coordinates - (low + high) / 2, axis=1).max()
        spread = np.ptp(coordinates, axis=0).max()
        off = lost[-1] * float((self.run.x[0] - self.landscape.plane.origin).norm())
        if reach > radius:
            return True
        if rested < max(1.0, 4 * self._cost):
            return False
        if off > radius or (spread < 0.25 * radius and radius > 1.2 * self._least_radius()):
            return True
        vectors = self.run.eigenvectors
        return vectors is not None and float((vectors[0, :2] @ self.landscape.plane.directions[0]).norm()) < 0.8

    def slice(self) -> Iterator[float]:
        """Slice the loss anew, in pieces.

        Yields:
            The fraction done, in (0, 1].
        """
        began = perf_counter()
        self.wanted = False
        with one_thread(self.run.problem):
            plane, radius, center = self._plane()
        for fraction, result in slices(self.run.problem, plane, radius=radius, resolution=RESOLUTION, center=center):
            if result is not None:
                self.landscape, self.height = result, heights(result)
            yield fraction
        self._sliced = perf_counter()
        self._cost = self._sliced - began

    def _least_radius(self) -> float:
        return max(1e-4 * float(self.run.x.norm()), 1e-6)

    def _plane(self) -> tuple[Plane, float, tuple[float, ...]]:
        """The plane to slice, or the line of a single parameter; half the side of the square on it, and its middle."""
        run = self.run
        if self.kind == "random":
            return random_plane(run.problem, run.x[0], seed=run.seed), 1.0, (0.0, 0.0)
        if self.kind == "pca":
            plane = pca_plane(self.path)
            return plane, 1.1 * float(np.abs(plane.project(self.path)[0]).max()), (0.0, 0.0)
        latest = torch.cat(tuple(run.trail))
        middle = (latest[-1] + latest[-2]) / 2 if len(latest) > 1 else latest[-1]  # the bottom of a 2-cycle
        if run.problem.dim == 1:  # the coordinate on the line is the parameter itself
            line = Plane("hessian", torch.zeros_like(middle), torch.ones_like(middle)[None], ("x",))
            return line, max(1.4 * float((latest - middle).abs().max()), self._least_radius()), (float(middle),)
        vectors = run.eigenvectors
        assert vectors is not None, "the run has been measured"
        vectors = vectors[0, :2]
        if hasattr(self, "landscape") and self.landscape.plane.kind == "hessian":  # no needless flips
            agree = (vectors * self.landscape.plane.directions).sum(1, keepdim=True)
            vectors = torch.where(agree < 0, -vectors, vectors)
        plane = hessian_plane(run.problem, middle, vectors=vectors)
        return plane, max(1.4 * float(np.abs(plane.project(latest)[0]).max()), self._least_radius()), (0.0, 0.0)
