"""A probe in a training loop: what it measures within a share of the training time, at what price, in which order."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from os import PathLike
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from samviz.checks import check_float, check_int, check_seed, check_type
from samviz.dynamics.history import TRACKING, History
from samviz.geometry import alignment, hessian_trace, top_eigenpairs
from samviz.geometry.density import SpectralDensity, spectral_density
from samviz.geometry.hessian import DENSE, Eigenpairs
from samviz.geometry.sharpness import check_radius, maximize_on_sphere
from samviz.problems import Problem, attach
from samviz.problems.problem import on_host
from samviz.problems.torch_model import Batches, LossFunction, evaluation_without_side_effects

if TYPE_CHECKING:
    import pandas

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
        start = perf_counter()
        self._gradient(1)
        middle = perf_counter()
        multiply()
        gradient, product = middle - start, perf_counter() - middle
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
            "eigenvalues": on_host(pairs.values[0]),
            "residuals": on_host(pairs.residuals[0]),
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


MEASURES = ("eigenvalues", "trace", "sharpness", "density")
MEASURED = frozenset(SCALARS + VECTORS)
OWN = MEASURED | {"step", "seconds", "share", "products"}  # columns that cannot be logged


class Probe:
    """Measure a model while it is trained, within a share of the training time, and leave it bit for bit unchanged.

    Call `step` after each step of the optimizer. Every `every` steps a row is added to the record: loss and gradient
    norm; λ₁ … λ_k with their residuals, and the alignment of the gradient with them; the trace; the three
    sharpnesses; and separately the spectral density. All refer to the data of the probe, not to the training batch.

    Training earns credit. A measurement starts when the credit pays for its least work, at the predicted price, and
    does as much work as the credit allows. Measurements take turns, so that each gets the same time in the long run;
    what is not measured is NaN in the row. The share can be exceeded only by a measurement that takes more than twice
    the predicted time, and then nothing is measured until that is paid.

    Creating a probe takes two gradients and two Hessian-vector products, which are not counted, and raises an error if
    the model cannot be probed. Between measurements it keeps about 2k + 2 parameter vectors. If the loss is not finite
    or a measurement fails, the row contains NaN, a warning is issued, and training continues. An interrupt during a
    measurement leaves model and record unchanged. Another thread may read `history`, whose rows are appended complete
    and never change, `densities`, `steps` and `share` during training.

    Attributes:
        problem: the model with its loss and data, as `samviz.geometry` accepts it.
        history: the record, with the logged columns and: step, loss, grad_norm; eigenvalues and residuals (k),
            converged, gap, cos_v1, cos_eigenspace, rayleigh, multiplicity, closing, all about the k computed ones;
            trace and trace_error; worst, with worst_residual and worst_converged, ascent, and average with
            average_error, the sharpnesses, with an error of about eps·loss in the model's precision; and the row's
            seconds and products, and the share so far.
        densities: pairs (step, density).
        steps: how often `step` was called.
        on_step: called without arguments at the end of each `step`, in its thread, if it is not None. Its time
            counts neither as training nor as measuring; `step` raises what it raises.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        data: Batches,
        *,
        every: int = 100,
        k: int = 2,
        rho: float = 0.05,
        measures: Sequence[str] = MEASURES,
        budget: float | None = 0.05,
        names: Sequence[str] | None = None,
        samples: int | None = None,
        batch_size: int = 256,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        """Probe a model as it is called in training.

        Args:
            model: on its device; DistributedDataParallel and torch.compile are unwrapped.
            loss_fn: maps outputs and target to the mean over the batch's samples.
            data: a pair of tensors (inputs, targets), a DataLoader, or a list of batches, as in
                `samviz.problems.attach`.
            every: number of steps from one row to the next.
            k: number of eigenvalues.
            rho: perturbation radius ρ > 0 of the sharpnesses, the Euclidean norm of the perturbation.
            measures: some of "eigenvalues", "trace", "sharpness" and "density".
            budget: share of the training time for measuring: 0.05 is 5 %; None or infinity for no limit.
            names: patterns of the parameters that vary, such as ["layer4.*"]; None for all trainable ones.
            samples: use at most this many samples, the first ones. With fewer there are more measurements.
            batch_size: number of samples in each evaluation of a pair of tensors.
            training: whether the model is evaluated in training mode.
            seed: of random vectors.

        Raises:
            ValueError: when an argument is out of range, or the model has no Hessian-vector products.
            TypeError: when an argument has another type.

        >>> model = nn.Linear(3, 1)
        >>> data = torch.eye(3), torch.ones(3, 1)
        >>> probe = Probe(model, nn.MSELoss(), data, every=10, k=1, budget=None)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> for _ in range(20):
        ...     optimizer.zero_grad()
        ...     nn.functional.mse_loss(model(data[0]), data[1]).backward()
        ...     optimizer.step()
        ...     probe.step(lr=0.1)
        >>> probe.history["eigenvalues"].round(2)
        array([[2.67],
               [2.67]])
        """
        self.every = check_int("every", every, "1 or more steps", 1)
        self.k = check_int("k", k, "1 or more eigenvalues", 1)
        self.rho = check_radius(rho)
        if budget == math.inf:
            budget = None
        if budget is not None:
            expected = "a share above 0 and up to 1 (5 % is 0.05), or None"
            budget = check_float("budget", budget, expected, lambda share: 0 < share <= 1)
        wanted = [measures] if isinstance(measures, str) else measures
        check_type("measures", wanted, Collection, f"some of {', '.join(MEASURES)}")
        if unknown := [name for name in wanted if name not in MEASURES]:
            raise ValueError(f"measures holds {unknown[0]!r}; expected some of {', '.join(MEASURES)}")
        self.problem = attach(
            model, loss_fn, data, names=names, samples=samples, batch_size=batch_size, training=training
        )
        self._gauge = Gauge(self.problem, self.k, self.rho, check_seed(seed))
        work = {name: w for name, w in self._gauge.work().items() if name == "gradient" or name in wanted}
        self._account = Account(budget, work)
        self.history = History()
        self.densities: list[tuple[int, SpectralDensity]] = []
        self.steps = 0
        self.on_step: Callable[[], object] | None = None

    @property
    def budget(self) -> float | None:
        """Share of the training time that measuring may take; None for no limit."""
        return self._account.budget

    @property
    def share(self) -> float:
        """Share of the training time that measuring took so far."""
        return self._account.share

    def step(self, **logged: Any) -> None:
        """Count a training step, and if a row is due, measure what the credit pays for.

        Args:
            logged: additional columns of the row: numbers, tensors, or functions without arguments that return one,
                such as the accuracy on other data. They are read or called only if a row is due, with the model in
                evaluation mode; that time counts neither as training nor as measuring.

        Raises:
            ValueError: when a column has the name of one of the probe's own.
        """
        if taken := logged.keys() & OWN:
            name = min(taken)
            raise ValueError(f"{name} is a column of the probe's own; log yours by another name, such as train_{name}")
        due = (self.steps + 1) % self.every == 0
        if due and self.problem.device.type != "cpu":  # kernels that training has queued count as training
            torch.get_device_module(self.problem.device).synchronize()
        self._account.train()
        self.steps += 1
        if due:
            with evaluation_without_side_effects(self.problem.model, False, self.problem.device), torch.no_grad():
                logged = {name: _plain(value) for name, value in logged.items()}
            self._account.lap()
            try:
                self._measure_row(self._account.affordable(), logged)
            finally:
                self._account.spend()
        if self.on_step is not None:
            self.on_step()
            self._account.lap()

    def measure(self) -> dict[str, Any]:
        """Measure everything now, as accurately as possible and whatever the credit.

        The time is counted: the next steps measure nothing until it is paid. In the history the row replaces one of the
        same step.

        Returns:
            The row.
        """
        self._account.train()
        try:
            return self._measure_row(list(self._account.work), {}, limited=False)
        finally:
            self._account.spend()

    def to_pandas(self) -> pandas.DataFrame:
        """Return the record as a table; eigenvalues become eigenvalues_0, eigenvalues_1 and so on."""
        return self.history.to_pandas()

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write the record as comma-separated values, with the columns of `to_pandas`.

        Args:
            path: of the file.

        Raises:
            FileNotFoundError: when its folder does not exist.
        """
        self.history.to_csv(path)

    def lab(self, train: Callable[[], Any] | None = None, optimizer: Any = None) -> Any:
        """Return a live panel of the record for a notebook, to be left as the last line of a cell.

        Args:
            train: the training, a function without arguments that calls `step`. Start and Stop run it in the
                background, and without a front end it runs when the panel is shown. None if it runs elsewhere.
            optimizer: has `param_groups`, whose learning rate and, if it is SAM, ρ get a slider each; groups keep
                their ratios. A scheduler that sets them later overrides the sliders. None for no sliders.

        Raises:
            TypeError: when train cannot be called, or optimizer has no groups of parameters.
        """
        from samviz.probe.training_panel import Watch

        existing = getattr(self.on_step, "__self__", None)
        if isinstance(existing, Watch):
            if existing.training:
                return existing
            self.on_step = existing._on_step
        return Watch(self, train, optimizer)

    def _measure_row(self, names: list[str], logged: dict[str, Any], limited: bool = True) -> dict[str, Any]:
        """Make the measurements and append the row."""
        account, before = self._account, self._account.spent
        row: dict[str, Any] = {"step": self.steps} | dict.fromkeys(SCALARS, math.nan)
        row |= {name: np.full(min(self.k, self.problem.dim), math.nan) for name in VECTORS}
        row |= {"seconds": 0.0, "share": 0.0, "products": 0}
        if self.history.rows and self.history.rows[-1]["step"] == self.steps:
            row |= {name: old for name, old in self.history.rows[-1].items() if name not in MEASURED}
        row |= logged
        density = None
        planned = [name for name in account.work if name in names]
        for index, name in enumerate(planned):
            units = account.units(name, planned[index:]) if limited else account.work[name].most
            payers = planned[1:] if name == "gradient" else [name]
            try:  # in full precision, including the arithmetic between two passes
                with evaluation_without_side_effects(self.problem.model, self.problem.training, self.problem.device):
                    found = self._gauge.measure(name, units)
            except (RuntimeError, ValueError) as error:
                self._warn(f"{name} could not be measured: {error}")
                account.spend(name, 0, payers)
            else:
                account.spend(name, found.units, payers, found.least)
                row |= found.columns
                row["products"] += found.products
                density = found.density or density
            loss, length = row["loss"], row["grad_norm"]
            if not (math.isfinite(loss) and math.isfinite(length)):
                self._warn(f"the loss is {loss} and its gradient's norm {length}; the rest of the row is not measured")
                break
        account.spend()
        row["seconds"] += account.spent - before
        row["share"] = account.share
        if density is not None:
            self.densities.append((self.steps, density))
        if self.history.rows and row.keys() - set(self.history.columns):
            self.history.rows = [dict.fromkeys(row, math.nan) | old for old in self.history.rows]
        self.history.append(dict.fromkeys(self.history.columns, math.nan) | row)
        return self.history.rows[-1]

    def _warn(self, what: str) -> None:
        warnings.warn(f"probe: {what}; training continues", RuntimeWarning, stacklevel=4)

    def __repr__(self) -> str:
        text = f"{len(self.history)} rows in {self.steps} steps, share {self.share:.1%}"
        if self._account.wait:
            text += f", the next measurement after {self._account.wait:.2g} s of training"
        return f"<Probe of {self.problem!r}: {text}>"


def _plain(value: Any) -> Any:
    """Return a logged value without references to tensors."""
    value = value() if callable(value) else value
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return value.item() if value.numel() == 1 else value.numpy().copy()
    return value
