"""Measure a model during training: each number as accurately as some units of work allow."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from samviz.dynamics.history import TRACKING
from samviz.geometry import alignment, hessian_trace, top_eigenpairs
from samviz.geometry.ball_maximum import maximize_on_sphere
from samviz.geometry.density import SpectralDensity, spectral_density
from samviz.geometry.eigenpairs import Eigenpairs
from samviz.geometry.hessian import DENSE
from samviz.probe.budget import Work, timed
from samviz.problems import Problem

# A unit of work is a Hessian-vector product; for gradient and sharpness a gradient, which costs three losses.
# Least and most work: antithetic pairs of random directions of the average, and gradients of the maximization;
# random vectors and Lanczos steps of the spectral density.
PAIRS, MAXIMIZATION = (4, 16), (2, 40)
PROBES, STEPS = (2, 8), (8, 40)
GAIN, STATIONARY = 1e-3, 1e-2  # of a converged maximization: what single precision and a budget allow
BLOCK = 8  # random vectors that are in memory together
VECTORS = "eigenvalues", "residuals"  # columns of k numbers; all others have one number
ALIGNMENT = "gap", "cos_v1", "cos_eigenspace", "rayleigh", "multiplicity", "closing"
SHARPNESS = "worst", "worst_residual", "worst_converged", "ascent", "average", "average_error"
SCALARS = "loss", "grad_norm", "converged", *ALIGNMENT, "trace", "trace_error", *SHARPNESS


class Found(NamedTuple):
    """The result of a measurement."""

    columns: dict[str, Any]
    units: float  # of work that were done
    products: int = 0  # Hessian-vector products among them
    density: SpectralDensity | None = None
    least: float = 0  # units that the next such measurement needs; 0 for as before


class Gauge:
    """Measure a problem at one iterate after another, each time starting from the last results."""

    def __init__(self, problem: Problem, k: int, rho: float, seed: int) -> None:
        """Prepare to measure k eigenvalues, at most dim, and the sharpness at radius ρ."""
        self.problem, self.k, self.rho, self.seed = problem, min(k, problem.dim), rho, seed
        self.x = problem.initial()[None]  # (1, dim), the present iterate
        self.gradient = torch.zeros_like(self.x)  # (1, dim), there
        self.loss = math.nan  # there
        self.top: Eigenpairs | None = None  # the last ones, from which the next ones start
        self.curvatures: Tensor | None = None  # (1, k), vᵀHv of their vectors at the present iterate
        self.worst: Tensor | None = None  # (1, dim), the last worst direction

    def work(self) -> dict[str, Work]:
        """Return the work of each measurement by name, with the measured time of a unit."""

        def multiply() -> None:
            float(self.problem.hvp(self.x)(self.gradient[:, None]).sum())  # waits for a GPU

        self._gradient(1)
        multiply()  # the first time includes setup
        gradient, product = timed(lambda: self._gradient(1)), timed(multiply)
        k, dim = self.k, self.problem.dim
        work = {
            "gradient": Work(1, 1, gradient),
            "eigenvalues": Work(2 * k + 5, 200, product),
            "trace": Work(BLOCK + k, 8 * BLOCK + k, product),
            "sharpness": Work(8, 60, gradient),
            "density": Work(STEPS[0] * (PROBES[0] + 1), STEPS[1] * (PROBES[1] + 1), product),
        }
        if dim <= DENSE:  # the dense Hessian is computed
            work |= {name: Work(dim + 1, dim + 1, product) for name in ("eigenvalues", "trace", "density")}
        return work

    def measure(self, name: str, units: float) -> Found:
        """Make one of the measurements in `work` with about so many units; "gradient" moves to the model's iterate."""
        found: Found = getattr(self, f"_{name}")(units)
        return found

    def _gradient(self, units: float) -> Found:
        self.x, self.curvatures = self.problem.initial()[None], None
        loss, self.gradient = self.problem.gradient(self.x)
        self.loss = float(loss)
        return Found({"loss": self.loss, "grad_norm": float(self.gradient.norm())}, 1)

    def _eigenvalues(self, units: float) -> Found:
        pairs = top_eigenpairs(
            self.problem, self.x, self.k, start=self.top, tol=TRACKING, max_products=int(units) - 1, seed=self.seed
        )
        if not bool(pairs.start.isfinite().all()):
            raise ValueError("the Hessian is not finite here")
        self.top, self.curvatures = pairs, pairs.values
        aligned = alignment(self.problem, self.x, gradient=self.gradient, eigenpairs=pairs)
        columns: dict[str, Any] = {
            "eigenvalues": pairs.values[0].cpu().double().numpy(),
            "residuals": pairs.residuals[0].cpu().double().numpy(),
            "converged": float(pairs.converged.all()),
        }
        columns |= {name: float(getattr(aligned, name)) for name in ALIGNMENT}
        units = pairs.products + 1
        least = units if columns["converged"] else 2 * units  # converged and less often rather than never
        return Found(columns, units, pairs.products + 1, least=0 if pairs.exact else max(least, 2 * self.k + 5))

    def _trace(self, units: float) -> Found:
        if self.problem.dim <= DENSE:
            exact = hessian_trace(self.problem, self.x)
            return Found({"trace": float(exact.value), "trace_error": 0.0}, exact.products, exact.products)
        top = self.x[:, :0, None].expand(1, 0, self.problem.dim) if self.top is None else self.top.vectors
        known, products = self.curvatures, 0
        if known is None:
            known, products = (top * self.problem.hvp(self.x)(top)).sum(2), top.shape[1]
        parts = []
        for part in range(max(1, int(units - products) // BLOCK)):
            seed = self.seed + part
            parts.append(hessian_trace(self.problem, self.x, products=BLOCK, subspace=top, known=known, seed=seed))
        products += len(parts) * BLOCK
        value = math.fsum(float(part.value) for part in parts) / len(parts)
        error = math.hypot(*(float(part.standard_error) for part in parts)) / len(parts)
        return Found({"trace": value, "trace_error": error}, products, products)

    def _sharpness(self, units: float) -> Found:
        rounding = torch.finfo(self.x.dtype).eps * abs(self.loss)  # of a difference of two losses
        starts = [normalize(self.gradient, eps=1e-30)]
        starts += [] if self.top is None else [self.top.vectors[:, 0], -self.top.vectors[:, 0]]
        starts += [] if self.worst is None else [self.worst]
        rises = self._rises(torch.cat(starts))
        pairs = min(max(int(units / 4), PAIRS[0]), PAIRS[1])
        losses = len(starts) + 2 * pairs + 1
        most = min(max(int(units - losses / 3), MAXIMIZATION[0]), MAXIMIZATION[1])
        end = maximize_on_sphere(self.problem, self.x, self.rho, starts[int(rises.argmax())], gain=GAIN, most=most)
        rise = max(float(end.rise), 0.0)  # 0 if no point around was found to be higher than the iterate
        if rise > 0:
            self.worst = end.direction
        converged = float(end.gain) <= GAIN and float(end.residual) <= STATIONARY
        average, error = self._average(pairs)
        columns = {
            "worst": rise,
            "worst_residual": max(float(end.residual), 0.0) if rise > 0 else 0.0,
            "worst_converged": float(rise > rounding and converged),
            "ascent": float(rises[0]) if bool(self.gradient.any()) else math.inf,
            "average": average,
            "average_error": math.hypot(error, rounding),
        }
        return Found(columns, end.evaluations + losses / 3)

    def _average(self, pairs: int) -> tuple[float, float]:
        """Return the mean rise over random directions and their opposites, and its standard error."""
        generator = torch.Generator().manual_seed(self.seed)
        means = []
        for block in torch.arange(pairs).split(BLOCK // 2):
            normal = torch.randn(len(block), self.problem.dim, generator=generator, dtype=self.x.dtype)
            unit = normalize(normal.to(self.x))
            means.append(self._rises(torch.cat((unit, -unit))).view(2, -1).mean(0))
        rises = torch.cat(means)
        return float(rises.mean()), float(rises.std()) / pairs**0.5

    def _rises(self, directions: Tensor) -> Tensor:
        """Return L(x + ρv) − L(x) for directions (n, dim), in float64 on the CPU."""
        losses = self.problem.loss(self.x + self.rho * directions)
        return losses.detach().cpu().double() - self.loss

    def _density(self, units: float) -> Found:
        probes = min(max(int((units * (PROBES[1] + 1) / STEPS[1]) ** 0.5) - 1, PROBES[0]), PROBES[1])
        steps = min(max(int(units) // (probes + 1), STEPS[0]), STEPS[1])
        density = spectral_density(self.problem, self.x, probes=probes, steps=steps, seed=self.seed)
        return Found({}, density.products, density.products, density)
