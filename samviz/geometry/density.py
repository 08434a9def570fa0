"""The density of the Hessian's eigenvalues: exact when small, stochastic Lanczos quadrature otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.checks import check_array, check_float, check_int, seeded_generator
from samviz.geometry.hessian import DENSE, at_point, check_finite
from samviz.problems.problem import CHUNK, Array, Operator, Problem, on_host, one_thread

Spectrum = tuple[Array, Array, Array, Array, int]  # nodes, weights, residuals, values to resolve, products
CONVERGED = 1e-3  # residual, as a share of its Ritz value, below which that value counts as one known eigenvalue
RESOLUTION = 0.75  # width · steps / range: with Gaussians so wide the quadrature errs by at most 2 % of the height
WIDTHS = 500  # Gaussians side by side in the range, at most: more are not visible in a picture
POINTS, MARGIN = 1025, 4  # of the grid: at least two points a width, and widths beyond the range
EXHAUSTED = 100  # rounding errors of the largest eigenvalue below which the rest of a vector counts as zero


@dataclass(frozen=True)
class SpectralDensity:
    """The distribution of the eigenvalues of each run's Hessian, with its evidence; float64 on the host.

    Each probe gives a quadrature rule, an unbiased estimate of the spectrum. It consists of eigenvalues known
    individually, which all probes share, and of the Ritz values of a random vector orthogonal to their eigenvectors.
    The density is the share of the eigenvalues per unit of λ, each broadened to a Gaussian.
    """

    nodes: Array  # (runs, probes, m), λ
    weights: Array  # (runs, probes, m), share of the eigenvalues that each represents; a probe's sum to 1
    residuals: Array  # (runs, probes, m), ‖Hv − λv‖ of each node's vector; 0 when exact, or where a node has no vector
    width: Array  # (runs,), standard deviation of the Gaussians, in units of λ
    dim: int  # number of eigenvalues
    products: int  # Hessian-vector products spent on each run
    exact: bool

    @cached_property
    def grid(self) -> Array:
        """Points λ across the spectrum and 0, (runs, points)."""
        low, high = self.nodes.min((1, 2), initial=0), self.nodes.max((1, 2), initial=0)
        return np.linspace(low - MARGIN * self.width, high + MARGIN * self.width, POINTS, axis=1)

    @property
    def density(self) -> Array:
        """The density on the grid, (runs, points)."""
        return self._on_grid[0]

    @property
    def standard_error(self) -> Array:
        """The standard error of the density over the probes, (runs, points): 0 when exact, NaN for a single probe."""
        return self._on_grid[1]

    @cached_property
    def _on_grid(self) -> tuple[Array, Array]:
        return self.at(self.grid)

    def at(self, points: ArrayLike, width: float | None = None) -> tuple[Array, Array]:
        """Return the density at points, and its standard error.

        Args:
            points: (m,) or (runs, m), in units of λ.
            width: standard deviation of the Gaussians, in units of λ; None is `self.width`.

        Returns:
            The density (runs, m) and its standard error over the probes (runs, m).

        Raises:
            ValueError: when the width is not positive, or the points have a wrong shape.
        """
        width = _check_width(width)
        sigma = np.broadcast_to(self.width if width is None else width, len(self.nodes))
        where = check_array("points", points, expected := f"real numbers, (m,) or ({len(sigma)}, m)")
        if where.ndim not in (1, 2) or where.size == 0 or where.shape[:-1] not in ((), (len(sigma),)):
            raise ValueError(f"points has shape {where.shape}; expected {expected}")
        points = np.broadcast_to(where.astype(np.float64), (len(sigma), where.shape[-1]))
        densities = np.empty((*self.nodes.shape[:2], points.shape[1]))
        for r, p in np.ndindex(densities.shape[:2]):  # separately: nodes times points are many numbers
            distance = (points[r] - self.nodes[r, p, :, None]) / sigma[r]
            densities[r, p] = self.weights[r, p] @ np.exp(-(distance**2) / 2) / (sigma[r] * np.sqrt(2 * np.pi))
        return self._mean(densities)

    def trace(self, f: Callable[[Array], Array] = np.positive) -> tuple[Array, Array]:
        """Return the trace of a function of the Hessian, tr f(H) = Σ f(λ); `np.square` gives that of H².

        Args:
            f: elementwise; for polynomials of degree below 2·steps only the choice of the probes causes an error.

        Returns:
            The trace (runs,) and its standard error over the probes (runs,).

        Raises:
            ValueError: when f does not return a number for each eigenvalue.
        """
        if not callable(f):
            raise TypeError(f"f is {f!r:.200}; expected a function of an array of eigenvalues")
        values = f(self.nodes)
        if np.shape(values) != self.nodes.shape:
            raise ValueError(f"f returned {values!r:.200}; expected f(λ) of each λ, shape {self.nodes.shape}")
        return self._mean(self.dim * (self.weights * values).sum(2))

    @property
    def edges(self) -> tuple[Array, Array]:
        """The lowest and the highest Ritz value (runs, 2) and their residuals (runs, 2).

        They lie within the spectrum, and an eigenvalue lies within the residual of each. No random vector can
        guarantee that it is the last eigenvalue.
        """
        nodes, residuals = (part.reshape(len(part), -1) for part in (self.nodes, self.residuals))
        ends = np.stack((nodes.argmin(1), nodes.argmax(1)), 1)
        return np.take_along_axis(nodes, ends, 1), np.take_along_axis(residuals, ends, 1)

    def _mean(self, samples: Array) -> tuple[Array, Array]:
        """Return the mean over the probes of (runs, probes, ...), and its standard error."""
        value, probes = samples.mean(1), samples.shape[1]
        if probes == 1:
            return value, np.full_like(value, 0 if self.exact else np.nan)
        return value, samples.std(1, ddof=1) / np.sqrt(probes)


def spectral_density(
    problem: Problem, x: Tensor, *, probes: int = 8, steps: int = 40, width: float | None = None, seed: int = 0
) -> SpectralDensity:
    """Return the density of the eigenvalues of the full-batch Hessian.

    Up to 500 parameters the Hessian is diagonalized. Above, stochastic Lanczos quadrature with full reorthogonalization
    takes (probes + 1)·steps Hessian-vector products on each run, and memory for little more than 2·steps vectors. A
    first random vector finds the outlying eigenvalues, which have no sampling error. The space orthogonal to their
    eigenvectors is sampled with more random vectors, the probes.

    Args:
        problem: whose Hessian.
        x: (dim,) or (runs, dim), where the Hessian is taken.
        probes: random vectors; a single one gives no standard error. Two standard errors cover the truth in 91 % of all
            cases with 8 probes, in 70 % with 2 (Student's law), less with few eigenvalues.
        steps: of Lanczos from each, at least 2; with as many steps as parameters the Hessian is diagonalized.
        width: standard deviation of the Gaussians, in units of λ. None is 0.75/steps of the range of the sampled values
            (when exact, of the middle 90 %), which the steps resolve, or 1/500 of the range if that is more. Ranges
            include 0.
        seed: of the random vectors, which are the same for every run.

    Raises:
        ValueError: when an argument is out of range, x does not fit the problem, or the Hessian is not finite.

    Source: Ubaru, Chen & Saad, Fast estimation of tr(f(A)) via stochastic Lanczos quadrature (2017).

    >>> from samviz.problems import quadratic
    >>> found = spectral_density(quadratic([1.0, 3.0, 4.0]), torch.zeros(3))
    >>> found.trace()
    (array([8.]), array([0.]))
    >>> found.edges[0]
    array([[1., 4.]])
    """
    problem, x = at_point(problem, x)
    probes = check_int("probes", probes, "at least 1", 1)
    steps = check_int("steps", steps, "at least 2", 2)
    width = _check_width(width)
    generator = seeded_generator(seed)
    exact = problem.dim <= max(DENSE, steps)
    with one_thread(problem):
        found = _dense(problem, x) if exact else _sampled(problem, x, probes, steps, generator)
    nodes, weights, residuals, bulk, products = found
    if width is None:
        resolved, extent = (np.ptp(np.pad(part, ((0, 0), (0, 1))), 1) for part in (bulk, nodes.reshape(len(x), -1)))
        sigma = np.maximum(RESOLUTION / steps * resolved, np.where(extent > 0, extent, 1) / WIDTHS)
    else:
        sigma = np.full(len(x), width)
    return SpectralDensity(nodes, weights, residuals, sigma, problem.dim, products, exact)


def _dense(problem: Problem, x: Tensor) -> Spectrum:
    hessian = torch.from_numpy(on_host(check_finite(problem, problem.hessian(x))))
    nodes = torch.linalg.eigvalsh(hessian).numpy()[:, None]
    bulk: Array = np.quantile(nodes[:, 0], [0.05, 0.95], 1).T
    return nodes, np.full(nodes.shape, 1 / problem.dim), np.zeros(nodes.shape), bulk, problem.dim


def _sampled(problem: Problem, x: Tensor, probes: int, steps: int, generator: torch.Generator) -> Spectrum:
    runs, dim = x.shape
    hvp = problem.hvp(x)

    def draw(count: int) -> Tensor:  # separately, so that the vectors do not depend on how many are drawn at once
        rows = [torch.randn(dim, generator=generator, dtype=torch.float64) for _ in range(count)]
        return torch.stack(rows).to(x).expand(runs, -1, -1)

    basis, recurrence, spent = lanczos(hvp, draw(1), x[:, None][:, :0], steps)
    first = on_host(check_finite(problem, recurrence))[:, :, 0]  # (2, runs, steps)
    values, mixing, errors = quadrature(first)
    errors += torch.finfo(x.dtype).eps * np.abs(values).max(1, keepdims=True)
    nonzero = np.pad(first[1, :, :-1] > 0, ((0, 0), (1, 0)), constant_values=True)  # rows of the basis
    has_vector = (mixing**2 * nonzero[..., None]).sum(1) > 0.5
    known = has_vector & (errors <= CONVERGED * np.abs(values))
    some = known.any(0)  # a run with fewer known vectors has zeros in their place
    excluded = torch.bmm(torch.from_numpy((mixing * known[:, None])[..., some]).to(x).mT, basis)
    del basis
    size = torch.from_numpy(np.abs(values).max(1)).to(x)
    left = min(steps, dim - excluded.shape[1])
    at_once = max(1, min(problem.at_once // runs, CHUNK // (runs * dim * (left + excluded.shape[1]))))
    parts = []
    for done in range(0, probes, at_once):
        _, recurrence, products = lanczos(hvp, draw(min(at_once, probes - done)), excluded, left, size)
        parts.append(on_host(check_finite(problem, recurrence)))
        spent += products
    nodes, mixing, residuals = quadrature(np.concatenate(parts, 2))  # (runs, probes, left, ...)
    weights = mixing[..., 0, :] ** 2 * (1 - known.sum(1) / dim)[:, None, None]
    leak: Array = np.linalg.norm(errors * known, axis=1)  # the largest component of Hv along the known vectors

    def join(shared: Array, sampled: Array) -> Array:
        return np.concatenate((np.repeat(shared[:, None], probes, 1), sampled), 2)

    all_residuals = join(errors, np.hypot(residuals, leak[:, None, None]))
    return join(values, nodes), join(known / dim, weights), all_residuals, nodes.reshape(runs, -1), spent


def lanczos(
    product: Operator, start: Tensor, excluded: Tensor, steps: int, scale: Tensor | None = None
) -> tuple[Tensor, Tensor, int]:
    """Run Lanczos from each vector separately; return the bases, the recurrences, and the products spent on a run."""
    runs, k, dim = start.shape
    m = excluded.shape[1]  # rows (runs, m, dim), orthonormal or zero, to which the vectors are orthogonal
    basis = start.new_zeros(runs * k, m + steps, dim)
    basis[:, :m] = excluded.repeat_interleave(k, 0)
    alpha, beta = start.new_zeros(2, runs * k, steps + 1)
    # Rounding errors are proportional to the largest |eigenvalue|, of which this is a lower bound; `scale` (runs,) is
    # the largest along the excluded rows.
    size = alpha[:, 0].clone()
    rest = start.reshape(runs * k, 1, dim)
    for step in range(steps + 1):
        old = basis[:, : m + step]
        for _ in range(2):  # against all vectors before it: otherwise copies of eigenvalues appear
            rest = rest - torch.bmm(torch.bmm(rest, old.mT), old)
        length = torch.linalg.vector_norm(rest, dim=(1, 2))
        continues = ~(length <= EXHAUSTED * torch.finfo(rest.dtype).eps * size)  # also with NaN, which the caller finds
        # Where the space is exhausted, β is 0 and α stays in the spectrum, at its first value: the rest has no weight.
        beta[:, step] = torch.where(continues, length, 0)
        if step == steps or not continues.any():
            alpha[:, step:] = alpha[:, :1]
            break
        new = basis[:, m + step] = torch.where(continues, 1 / length, 0)[:, None] * rest[:, 0]
        rest = product(new.view(runs, k, dim)).reshape(runs * k, 1, dim)
        alpha[:, step] = torch.where(continues, (new * rest[:, 0]).sum(1), alpha[:, 0])
        size = torch.stack((size, alpha[:, step].abs(), beta[:, step] * (step > 0))).amax(0)
        size = size if scale is None else torch.maximum(size, scale.repeat_interleave(k))
    recurrence = torch.stack((alpha[:, :-1], beta[:, 1:])).view(2, runs, k, steps)  # each α, and the β after it
    return basis[:, m:], recurrence, step * k  # the basis (runs·k, steps, dim)


def quadrature(recurrence: Array) -> tuple[Array, Array, Array]:
    """Return the Ritz values (..., steps), ascending, of a recurrence (2, ..., steps), with mixing and residuals."""
    alpha, beta = recurrence
    steps = alpha.shape[-1]
    matrix = alpha[..., None] * np.eye(steps)
    matrix[..., range(1, steps), range(steps - 1)] = beta[..., :-1]  # `eigh` reads the lower triangle
    # The columns of the mixing are the Ritz vectors in the basis. The squares w of its first row and the Ritz values θ
    # are Gauss's rule: Σ wθʲ = vᵀHʲv for j < 2·steps and a unit starting vector v (Golub & Meurant, Matrices, Moments
    # and Quadrature with Applications, 2010, ch. 3).
    values, mixing = np.linalg.eigh(matrix)
    return values, mixing, np.abs(beta[..., -1:] * mixing[..., -1, :])


def _check_width(width: float | None) -> float | None:
    expected = "a positive number in units of the eigenvalues, or None"
    return None if width is None else check_float("width", width, expected, lambda w: w > 0)
