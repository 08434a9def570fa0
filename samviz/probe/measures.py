"""What is measured at an iterate: each number as well as some units of work allow, from where the last one ended."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from samviz.dynamics.measurement import TRACKING
from samviz.geometry import alignment, hessian_trace, top_eigenpairs
from samviz.geometry.ascent import climb
from samviz.geometry.density import SpectralDensity, spectral_density
from samviz.geometry.eigenpairs import DENSE, Eigenpairs
from samviz.probe.budget import Work, timed
from samviz.problems import Problem

PAIRS, STEEPEST = (4, 16), (2, 40)  # antithetic directions of the average and gradients of the climb: least, most
GAIN, STATIONARY = 1e-3, 1e-2  # of a climb that counts as converged: what single precision and a budget allow
PROBES, STEPS = (2, 8), (8, 40)  # of the spectral density: least, most
AT_ONCE = 8  # random vectors that are in memory together
VECTORS = "eigenvalues", "residuals"  # columns of k numbers; those of one:
NEAR = "gap", "cos_v1", "cos_eigenspace", "rayleigh", "multiplicity", "closing"
CLIMBED = "worst", "worst_residual", "worst_converged", "ascent", "average", "average_error"
NUMBERS = "loss", "grad_norm", "converged", *NEAR, "trace", "trace_error", *CLIMBED


class Found(NamedTuple):
    """What a measurement found."""

    columns: dict[str, Any]
    units: float  # of work that it took
    products: int = 0  # Hessian-vector products among them
    density: SpectralDensity | None = None
    least: float = 0  # units to mean something, as is known now; 0 for as before


class Gauge:
    """Measures a problem at one iterate after the other, and starts from what it found at the last.

    A unit of work is a Hessian-vector product, and for gradient and sharpness a gradient, three losses being one. What
    it keeps between two iterates are about 2k + 2 parameter vectors.
    """

    def __init__(self, problem: Problem, k: int, rho: float, seed: int) -> None:
        """Nothing measured yet.

        Args:
            problem: whose loss.
            k: top eigenvalues, at most dim of them.
            rho: perturbation radius ρ > 0.
            seed: int, of all random vectors; the same ones each time, so that their errors vary smoothly.
        """
        self.problem, self.k, self.rho, self.seed = problem, min(k, problem.dim), rho, seed
        self.x = problem.initial()[None]  # (1, dim), where the model is
        self.slope = torch.zeros_like(self.x)  # (1, dim), the gradient there
        self.base = math.nan  # the loss there
        self.top: Eigenpairs | None = None  # the last ones, from which the next ones start
        self.known: Tensor | None = None  # (1, k), vᵀHv of them at this iterate
        self.steepest: Tensor | None = None  # (1, dim), the last worst direction

    def work(self) -> dict[str, Work]:
        """How much work each measurement takes, by its name, and how long that takes where the model is now."""

        def multiply() -> None:
            float(self.problem.hvp(self.x)(self.slope[:, None]).sum())  # waits for a GPU

        self._gradient(1)
        multiply()  # the first time is no measure
        gradient, product = timed(lambda: self._gradient(1)), timed(multiply)
        k, dim = self.k, self.problem.dim
        found = {
            "gradient": Work(1, 1, gradient),
            "eigenvalues": Work(2 * k + 5, 200, product),
            "trace": Work(AT_ONCE + k, 8 * AT_ONCE + k, product),
            "sharpness": Work(8, 60, gradient),
            "density": Work(STEPS[0] * (PROBES[0] + 1), STEPS[1] * (PROBES[1] + 1), product),
        }
        if dim <= DENSE:  # whose whole Hessian is taken
            found |= {name: Work(dim + 1, dim + 1, product) for name in ("eigenvalues", "trace", "density")}
        return found

    def measure(self, name: str, units: float) -> Found:
        """Make a measurement where the model was when its gradient was taken.

        Args:
            name: one of `work`; "gradient" goes to where the model is now.
            units: of work that it may take, about.
        """
        found: Found = getattr(self, f"_{name}")(units)
        return found

    def _gradient(self, units: float) -> Found:
        self.x, self.known = self.problem.initial()[None], None
        loss, self.slope = self.problem.gradient(self.x)
        self.base = float(loss)
        return Found({"loss": self.base, "grad_norm": float(self.slope.norm())}, 1)

    def _eigenvalues(self, units: float) -> Found:
        pairs = top_eigenpairs(
            self.problem, self.x, self.k, start=self.top, tol=TRACKING, max_products=int(units) - 1, seed=self.seed
        )
        if not bool(pairs.start.isfinite().all()):
            raise ValueError("the Hessian is not finite here")
        self.top, self.known = pairs, pairs.values
        near = alignment(self.problem, self.x, gradient=self.slope, eigenpairs=pairs)
        columns: dict[str, Any] = {
            "eigenvalues": pairs.values[0].cpu().double().numpy(),
            "residuals": pairs.residuals[0].cpu().double().numpy(),
            "converged": float(pairs.converged.all()),
        }
        columns |= {name: float(getattr(near, name)) for name in NEAR}
        spent = pairs.products + 1
        least = spent if columns["converged"] else 2 * spent  # rather seldom than never as close as it should be
        return Found(columns, spent, spent, least=0 if pairs.exact else max(least, 2 * self.k + 5))

    def _trace(self, units: float) -> Found:
        if self.problem.dim <= DENSE:
            exact = hessian_trace(self.problem, self.x)
            return Found({"trace": float(exact.value), "trace_error": 0.0}, exact.products, exact.products)
        top = self.x[:, :0, None].expand(1, 0, self.problem.dim) if self.top is None else self.top.vectors
        known, spent = self.known, 0
        if known is None:
            known, spent = (top * self.problem.hvp(self.x)(top)).sum(2), top.shape[1]
        parts = []
        for part in range(max(1, int(units - spent) // AT_ONCE)):
            seed = self.seed + part
            parts.append(hessian_trace(self.problem, self.x, products=AT_ONCE, subspace=top, known=known, seed=seed))
        spent += len(parts) * AT_ONCE
        value = math.fsum(float(part.value) for part in parts) / len(parts)
        error = math.hypot(*(float(part.standard_error) for part in parts)) / len(parts)
        return Found({"trace": value, "trace_error": error}, spent, spent)

    def _sharpness(self, units: float) -> Found:
        rounding = torch.finfo(self.x.dtype).eps * abs(self.base)  # of any difference of two losses
        starts = [normalize(self.slope, eps=1e-30)]
        starts += [] if self.top is None else [self.top.vectors[:, 0], -self.top.vectors[:, 0]]
        starts += [] if self.steepest is None else [self.steepest]
        rises = self._rises(torch.cat(starts))
        pairs = min(max(int(units / 4), PAIRS[0]), PAIRS[1])
        losses = len(starts) + 2 * pairs + 1
        most = min(max(int(units - losses / 3), STEEPEST[0]), STEEPEST[1])
        end = climb(self.problem, self.x, self.rho, starts[int(rises.argmax())], gain=GAIN, most=most)
        rise = max(float(end.rise), 0.0)  # at 0 the iterate itself is the highest point that was found
        if rise > 0:
            self.steepest = end.direction
        settled = float(end.gain) <= GAIN and float(end.residual) <= STATIONARY
        average, error = self._average(pairs)
        columns = {
            "worst": rise,
            "worst_residual": max(float(end.residual), 0.0) if rise > 0 else 0.0,
            "worst_converged": float(rise > rounding and settled),
            "ascent": float(rises[0]) if bool(self.slope.any()) else math.inf,
            "average": average,
            "average_error": math.hypot(error, rounding),
        }
        return Found(columns, end.evaluations + losses / 3)

    def _average(self, pairs: int) -> tuple[float, float]:
        """Mean rise over random directions, both ways each, and its standard error."""
        generator = torch.Generator().manual_seed(self.seed)
        means = []
        for some in torch.arange(pairs).split(AT_ONCE // 2):
            draw = torch.randn(len(some), self.problem.dim, generator=generator, dtype=self.x.dtype)
            unit = normalize(draw.to(self.x))
            means.append(self._rises(torch.cat((unit, -unit))).view(2, -1).mean(0))
        each = torch.cat(means)
        return float(each.mean()), float(each.std()) / pairs**0.5

    def _rises(self, directions: Tensor) -> Tensor:
        """L(x + ρv) − L(x) in float64 on the host, of directions (n, dim)."""
        there = self.problem.loss(self.x + self.rho * directions)
        return there.detach().cpu().double() - self.base

    def _density(self, units: float) -> Found:
        probes = min(max(int((units * (PROBES[1] + 1) / STEPS[1]) ** 0.5) - 1, PROBES[0]), PROBES[1])
        steps = min(max(int(units) // (probes + 1), STEPS[0]), STEPS[1])
        density = spectral_density(self.problem, self.x, probes=probes, steps=steps, seed=self.seed)
        return Found({}, density.products, density.products, density)
