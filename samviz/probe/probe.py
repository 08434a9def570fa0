"""A probe in a training loop, which measures the model within a share of the training time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from samviz.checks import check_float, check_int, check_type
from samviz.dynamics.history import History
from samviz.geometry.density import SpectralDensity
from samviz.geometry.sharpness import check_radius
from samviz.probe.measures import SCALARS, VECTORS, Account, Gauge
from samviz.problems import attach
from samviz.problems.torch_model import Batches, LossFunction, evaluation_without_side_effects

if TYPE_CHECKING:
    import pandas

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
        self._gauge = Gauge(self.problem, self.k, self.rho, check_int("seed", seed, "0 or more, below 2⁶²", 0, 2**62))
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
        check_type("path", path, (str, PathLike), "the path of a file")
        if not (folder := Path(path).parent).is_dir():
            raise FileNotFoundError(f"path is {str(path)!r}, but there is no folder {str(folder)!r}; make it first")
        self.to_pandas().to_csv(path, index=False)

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
        from samviz.probe.training_panel import watch_panel

        return watch_panel(self, train, optimizer)

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
