"""The density of the Hessian's eigenvalues: exact when small, stochastic Lanczos quadrature otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from samviz.checks import check_array, check_float, check_int, seeded_generator
from samviz.geometry.arguments import finite, located
from samviz.geometry.eigenpairs import DENSE
from samviz.geometry.lanczos import lanczos, ritz
from samviz.problems import Problem
from samviz.problems.device import one_thread
from samviz.problems.problem import CHUNK

Array = NDArray[np.float64]
Spectrum = tuple[Array, Array, Array, Array, int]  # nodes, weights, residuals, what width must resolve, products
SURE = 1e-3  # residual, as a share of its Ritz value, below which that is an eigenvalue known by itself
REACH = 0.75  # times range/steps: with Gaussians so wide Gauss's rule errs by 2 % of the density's height at most
FINE = 500  # widths in the whole range, more than a picture shows
POINTS, EDGE = 1025, 4  # of the grid: two a width at the least, and how many widths it goes beyond the range


@dataclass(frozen=True)
class SpectralDensity:
    """How the eigenvalues of each run's Hessian are spread, with its evidence; float64 on the host.

    Each probe is a quadrature rule of its own, an unbiased estimate of the spectrum: eigenvalues known one by one,
    which all of them share, and the Ritz values of a random vector beside those. The density is the share of the
    eigenvalues per unit of λ, each broadened to a Gaussian.
    """

    nodes: Array  # (runs, probes, m), λ
    weights: Array  # (runs, probes, m), share of the eigenvalues that each stands for; a probe's sum to 1
    residuals: Array  # (runs, probes, m), ‖Hv − λv‖ of each node's vector; 0 when exact, or where a node has no vector
    width: Array  # (runs,), standard deviation of the Gaussians, in units of λ
    dim: int  # number of eigenvalues
    products: int  # Hessian-vector products spent on each run
    exact: bool

    @cached_property
    def grid(self) -> Array:
        """Points λ across the whole spectrum and 0, (runs, points)."""
        low, high = self.nodes.min((1, 2), initial=0), self.nodes.max((1, 2), initial=0)
        return np.linspace(low - EDGE * self.width, high + EDGE * self.width, POINTS, axis=1)

    @property
    def density(self) -> Array:
        """The density on the grid, (runs, points)."""
        return self._drawn[0]

    @property
    def standard_error(self) -> Array:
        """That of the density over the probes, (runs, points): 0 when exact, NaN for a single probe."""
        return self._drawn[1]

    @cached_property
    def _drawn(self) -> tuple[Array, Array]:
        return self.at(self.grid)

    def at(self, points: ArrayLike, width: float | None = None) -> tuple[Array, Array]:
        """The density at points of one's own, and its standard error.

        Args:
            points: (m,) or (runs, m), in units of λ.
            width: standard deviation of the Gaussians, in units of λ; None is `self.width`.

        Returns:
            The density (runs, m) and its standard error over the probes (runs, m).

        Raises:
            ValueError: when the width is not positive, or the points have another shape.
        """
        width = _positive(width)
        sigma = np.broadcast_to(self.width if width is None else width, len(self.nodes))
        where = check_array("points", points, expected := f"real numbers, (m,) or ({len(sigma)}, m)")
        if where.ndim not in (1, 2) or where.size == 0 or where.shape[:-1] not in ((), (len(sigma),)):
            raise ValueError(f"points has shape {where.shape}; expected {expected}")
        points = np.broadcast_to(where.astype(np.float64), (len(sigma), where.shape[-1]))
        each = np.empty((*self.nodes.shape[:2], points.shape[1]))
        for r, p in np.ndindex(each.shape[:2]):  # one by one: nodes times points are many numbers
            away = (points[r] - self.nodes[r, p, :, None]) / sigma[r]
            each[r, p] = self.weights[r, p] @ np.exp(-(away**2) / 2) / (sigma[r] * np.sqrt(2 * np.pi))
        return self._mean(each)

    def trace(self, f: Callable[[Array], Array] = np.positive) -> tuple[Array, Array]:
        """The trace of a function of the Hessian, tr f(H) = Σ f(λ): of H itself, or with `np.square` of H².

        Args:
            f: elementwise; polynomials of degree below 2·steps have no error but the probes'.

        Returns:
            The trace (runs,) and its standard error over the probes (runs,).

        Raises:
            ValueError: when f does not give a number for each.
        """
        if not callable(f):
            raise TypeError(f"f is {f!r:.200}; expected a function of an array of eigenvalues")
        values = f(self.nodes)
        if np.shape(values) != self.nodes.shape:
            raise ValueError(f"f returned {values!r:.200}; expected f(λ) of each, {self.nodes.shape} as it was given")
        return self._mean(self.dim * (self.weights * values).sum(2))

    @property
    def edges(self) -> tuple[Array, Array]:
        """The lowest and the highest Ritz value (runs, 2) and their residuals (runs, 2).

        They lie within the spectrum, and an eigenvalue no further from each than its residual; whether that is the
        last one, no random vector can promise.
        """
        nodes, residuals = (part.reshape(len(part), -1) for part in (self.nodes, self.residuals))
        ends = np.stack((nodes.argmin(1), nodes.argmax(1)), 1)
        return np.take_along_axis(nodes, ends, 1), np.take_along_axis(residuals, ends, 1)

    def _mean(self, drawn: Array) -> tuple[Array, Array]:
        """Mean over the probes of (runs, probes, ...) and its standard error."""
        value, probes = drawn.mean(1), drawn.shape[1]
        if probes == 1:
            return value, np.full_like(value, 0 if self.exact else np.nan)
        return value, drawn.std(1, ddof=1) / np.sqrt(probes)


def spectral_density(
    problem: Problem, x: Tensor, *, probes: int = 8, steps: int = 40, width: float | None = None, seed: int = 0
) -> SpectralDensity:
    """The density of the eigenvalues of the full-batch Hessian.

    Up to 500 parameters the Hessian is diagonalized densely. Above, stochastic Lanczos quadrature with full
    reorthogonalization. A first random vector finds the eigenvalues that stand out; those count one by one, without
    a sampling error, and what is left beside their vectors is sampled with more random vectors, the probes. This
    takes (probes + 1)·steps Hessian-vector products on each run, and memory for little more than 2·steps vectors.

    Args:
        problem: whose Hessian.
        x: (dim,) or (runs, dim), where.
        probes: random vectors; one alone tells no standard error. With more, that is estimated from as many, so that
            twice that covers as Student's law has it: with 2 probes 70 %, with 8 91 %, and less where few eigenvalues
            are.
        steps: of Lanczos from each, at least 2; more of them tell finer structure. As many as there are parameters,
            and the Hessian is diagonalized.
        width: standard deviation of the Gaussians, in units of λ; narrower than the steps resolve it shows the nodes.
            None is 0.75/steps of the range of what is not known one by one (when exact, of the middle 90 % of the
            eigenvalues), which they resolve to 2 % of the density's height; or 1/500 of the whole range, if that is
            more. Ranges include 0.
        seed: int, of the random vectors, which are the same for every run.

    Returns:
        The quadrature, and the density that it gives on a grid or at any points, with its standard error.

    Raises:
        ValueError: when probes is below 1 or steps below 2, width is not positive, x does not fit the problem, or the
            Hessian there is not finite.

    Source: Ubaru, Chen & Saad, Fast estimation of tr(f(A)) via stochastic Lanczos quadrature (2017).

    >>> from samviz.problems import quadratic
    >>> found = spectral_density(quadratic([1.0, 3.0, 4.0]), torch.zeros(3))
    >>> found.trace()
    (array([8.]), array([0.]))
    >>> found.edges[0]
    array([[1., 4.]])
    """
    problem, x = located(problem, x)
    probes = check_int("probes", probes, "at least 1", 1)
    steps = check_int("steps", steps, "at least 2", 2)
    width = _positive(width)
    generator = seeded_generator(seed)
    exact = problem.dim <= max(DENSE, steps)
    with one_thread(problem):
        found = _dense(problem, x) if exact else _sampled(problem, x, probes, steps, generator)
    nodes, weights, residuals, bulk, products = found
    if width is None:
        reach, extent = (np.ptp(np.pad(part, ((0, 0), (0, 1))), 1) for part in (bulk, nodes.reshape(len(x), -1)))
        sigma = np.maximum(REACH / steps * reach, np.where(extent > 0, extent, 1) / FINE)
    else:
        sigma = np.full(len(x), width)
    return SpectralDensity(nodes, weights, residuals, sigma, problem.dim, products, exact)


def _dense(problem: Problem, x: Tensor) -> Spectrum:
    hessian = torch.from_numpy(_finite(problem, problem.hessian(x)))
    nodes = torch.linalg.eigvalsh(hessian).numpy()[:, None]
    bulk: Array = np.quantile(nodes[:, 0], [0.05, 0.95], 1).T
    return nodes, np.full(nodes.shape, 1 / problem.dim), np.zeros(nodes.shape), bulk, problem.dim


def _sampled(problem: Problem, x: Tensor, probes: int, steps: int, generator: torch.Generator) -> Spectrum:
    runs, dim = x.shape
    hvp = problem.hvp(x)

    def draw(count: int) -> Tensor:  # one by one, or the vectors would depend on how many are drawn at once
        rows = [torch.randn(dim, generator=generator, dtype=torch.float64) for _ in range(count)]
        return torch.stack(rows).to(x).expand(runs, -1, -1)

    basis, recurrence, spent = lanczos(hvp, draw(1), x[:, None][:, :0], steps)
    first = _finite(problem, recurrence)[:, :, 0]  # (2, runs, steps)
    values, mixing, loose = ritz(first)
    loose += torch.finfo(x.dtype).eps * np.abs(values).max(1, keepdims=True)
    filled = np.pad(first[1, :, :-1] > 0, ((0, 0), (1, 0)), constant_values=True)  # rows of the basis that are not zero
    has_vector = (mixing**2 * filled[..., None]).sum(1) > 0.5
    sure = has_vector & (loose <= SURE * np.abs(values))
    some = sure.any(0)  # a run that has fewer gets a vector of zeros there
    beside = torch.bmm(torch.from_numpy((mixing * sure[:, None])[..., some]).to(x).mT, basis)
    del basis
    size = torch.from_numpy(np.abs(values).max(1)).to(x)
    left = min(steps, dim - beside.shape[1])
    at_once = max(1, min(problem.at_once // runs, CHUNK // (runs * dim * (left + beside.shape[1]))))
    parts = []
    for done in range(0, probes, at_once):
        _, recurrence, products = lanczos(hvp, draw(min(at_once, probes - done)), beside, left, size)
        parts.append(_finite(problem, recurrence))
        spent += products
    nodes, mixing, residuals = ritz(np.concatenate(parts, 2))  # (runs, probes, left, ...)
    weights = mixing[..., 0, :] ** 2 * (1 - sure.sum(1) / dim)[:, None, None]
    aside: Array = np.linalg.norm(loose * sure, axis=1)  # of Hv: at most so much lies along what is known

    def shared(known: Array, rest: Array) -> Array:
        return np.concatenate((np.repeat(known[:, None], probes, 1), rest), 2)

    return (
        shared(values, nodes),
        shared(sure / dim, weights),
        shared(loose, np.hypot(residuals, aside[:, None, None])),
        nodes.reshape(runs, -1),
        spent,
    )


def _positive(width: float | None) -> float | None:
    expected = "a positive number in units of the eigenvalues, or None"
    return None if width is None else check_float("width", width, expected, lambda w: w > 0)


def _finite(problem: Problem, products: Tensor) -> Array:
    """What Hessian-vector products gave, on the host in float64."""
    return finite(problem, products).cpu().double().numpy()
