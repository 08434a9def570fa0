"""Measure a model during training within a share of its time: what is measured, at what price, in which order."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
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
from samviz.problems import Problem

# A unit of work is a Hessian-vector product; for gradient and sharpness a gradient, which costs three losses.
# Least and most work: antithetic pairs of random directions of the average, and gradients of the maximization;
# random vectors and Lanczos steps of the spectral density.
PAIRS, MAXIMIZATION = (4, 16), (2, 40)
PROBES, STEPS = (2, 8), (8, 40)
GAIN, STATIONARY = 1e-3, 1e-2  # of a converged maximization: what single precision and a budget allow
SAFETY = 0.5  # share of the credit that is planned with, so that work of twice the predicted time is still paid for
BLOCK = 8  # random vectors that are in memory together
VECTORS = "eigenvalues", "residuals"  # columns of k numbers; all others have one number
ALIGNMENT = "gap", "cos_v1", "cos_eigenspace", "rayleigh", "multiplicity", "closing"
SHARPNESS = "worst", "worst_residual", "worst_converged", "ascent", "average", "average_error"
SCALARS = "loss", "grad_norm", "converged", *ALIGNMENT, "trace", "trace_error", *SHARPNESS


class Work(NamedTuple):
    """The work of a measurement, in its own units."""

    least: float  # units below which the result is meaningless
    most: float  # units above which it does not improve
    seconds: float  # predicted time of a unit


class Account:
    """Credit in seconds, which training earns and measuring spends, and the order in which measurements take turns."""

    def __init__(self, budget: float | None, work: Mapping[str, Work]) -> None:
        """Start at zero; `budget` is a share of the training time, or None; "gradient" is a part of every row."""
        self.budget, self.work = budget, dict(work)
        self.trained = self.spent = 0.0
        self._time_of = {name: 0.0 for name in work if name != "gradient"}
        self._trained_before = 0.0  # `trained` when `affordable` was last called
        self._last: float | None = None  # time of the last lap

    def lap(self) -> float:
        """Return the seconds since the last lap, 0 for the first."""
        now = perf_counter()
        seconds = 0.0 if self._last is None else now - self._last
        self._last = now
        return seconds

    def train(self) -> None:
        """Count the time since the last lap as training."""
        self.trained += self.lap()

    def spend(self, name: str | None = None, units: float = 0, payers: Sequence[str] = (), least: float = 0) -> None:
        """Count the time since the last lap for `payers`, and predict the next time and least work of a measurement."""
        seconds = self.lap()
        self.spent += seconds
        for each in payers:
            self._time_of[each] += seconds / len(payers)
        if name and units:
            work, unit_time = self.work[name], seconds / units
            # The prediction rises at once and falls by halves: after a cheap measurement none is too expensive.
            predicted = max(unit_time, (unit_time + work.seconds) / 2)
            self.work[name] = Work(min(least or work.least, work.most), work.most, predicted)

    @property
    def credit(self) -> float:
        """Seconds that may be spent now; negative after a measurement that took longer than predicted."""
        return math.inf if self.budget is None else self.budget * self.trained - self.spent

    @property
    def share(self) -> float:
        """Time spent, as a share of the training time."""
        return self.spent / self.trained if self.trained > 0 else 0.0

    def affordable(self) -> list[str]:
        """Return the measurements that the credit pays for now, those that had the least time first."""
        gradient = self._price("gradient")
        left, names = SAFETY * self.credit - gradient, []
        for name in sorted(self._time_of, key=self._time_of.__getitem__):
            if left <= self._price(name):
                break  # a cheaper one must not pass the first one that has to wait, which would never be measured
            left -= self._price(name)
            names.append(name)
        # A gradient alone is measured if it costs at most its part of the credit earned since the last call.
        new, self._trained_before = self.trained - self._trained_before, self.trained
        alone = self.budget is None or gradient <= self.budget * new / len(self.work)
        return ["gradient", *names] if names or (alone and left > 0) else []

    @property
    def wait(self) -> float:
        """Predicted seconds of training until the next measurement; 0 for now."""
        if self.budget is None or not self._time_of:
            return 0.0
        price = self._price("gradient") + self._price(min(self._time_of, key=self._time_of.__getitem__))
        return max((price / SAFETY - self.credit) / self.budget, 0.0)

    def units(self, name: str, planned: Sequence[str]) -> float:
        """Return the units of work for a measurement: the least, and an equal part of what `planned` leaves over."""
        least, most, seconds = self.work[name]
        left = SAFETY * self.credit - sum(map(self._price, planned))
        return min(most, least + max(left, 0) / len(planned) / max(seconds, 1e-9))

    def _price(self, name: str) -> float:
        return self.work[name].least * self.work[name].seconds


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = perf_counter()
    action()
    return perf_counter() - start


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
