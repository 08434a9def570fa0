"""What a sweep has found: arrays with named axes, with their evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samviz.dynamics.history import table

if TYPE_CHECKING:
    import pandas
    import xarray

Array = NDArray[np.float64]
AXES = ("rule", "batch_size", "lr", "rho", "seed")


@dataclass(frozen=True)
class Sweep:
    """The end of every run of a grid; all that is measured of one run belongs to one iterate.

    Every array has the five axes of `AXES`, in that order, of length 1 where one value was given. A run that
    diverged has NaN in all of them, and `diverged_at` tells the step.
    """

    problem: str  # its name
    steps: int  # of every run
    rule: tuple[str, ...]
    batch_size: tuple[int, ...]  # n for the full batch
    lr: tuple[float, ...]
    rho: tuple[float, ...]
    seed: tuple[int, ...]
    loss: Array  # full batch
    grad_norm: Array
    eigenvalues: Array  # (..., k), largest first
    residuals: Array  # (..., k), ‖Hv − λv‖
    converged: NDArray[np.bool_]  # all k of them
    trace: Array
    trace_error: Array  # standard error, 0 where the trace is exact
    cos_v1: Array  # |cos(∇L, v₁)|
    cos_eigenspace: Array  # with the whole top eigenspace
    rayleigh: Array  # gᵀHg / (|λ₁|‖g‖²)
    gap: Array  # (λ₁ − λ₂)/|λ₁|
    diverged_at: NDArray[np.int64]  # step, -1 for none
    accuracy: Array | None  # share of the test samples that are classified rightly; None without a test set

    @classmethod
    def of(
        cls, problem: str, steps: int, axes: Mapping[str, tuple[Any, ...]], rows: Sequence[Mapping[str, NDArray[Any]]]
    ) -> Sweep:
        """Put rows of runs on the axes.

        Args:
            problem: its name.
            steps: of every run.
            axes: values by the names in `AXES`, in that order.
            rows: arrays (runs, ...) by the names of the fields, all runs in the order of the axes, the seed fastest.

        Returns:
            The sweep.
        """
        shape = tuple(len(axes[axis]) for axis in AXES)
        whole: dict[str, Any] = {"accuracy": None, **axes}
        for name in rows[0]:
            together = np.concatenate([row[name] for row in rows])
            whole[name] = together.reshape(*shape, *together.shape[1:])
        return cls(problem, steps, **whole)

    @property
    def sharpness(self) -> Array:
        """λ₁ of every run."""
        return self.eigenvalues[..., 0]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that was measured, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}

    def to_xarray(self) -> xarray.Dataset:
        """The sweep as a labelled data set: `sweep.to_xarray().trace.mean("seed").sel(rho=0.1)`.

        Returns:
            A Dataset over rule, batch_size, lr, rho and seed; eigenvalues and residuals over eigenvalue (1 to k), too.

        Raises:
            ImportError: when xarray is not installed, with the remedy.
        """
        try:
            import xarray as xr
        except ImportError as error:
            raise ImportError("to_xarray needs xarray: pip install xarray") from error
        data = {name: ((*AXES, "eigenvalue")[: array.ndim], array) for name, array in self.arrays().items()}
        coordinates = {axis: list(getattr(self, axis)) for axis in AXES}
        coordinates["eigenvalue"] = list(range(1, self.eigenvalues.shape[-1] + 1))
        return xr.Dataset(data, coordinates, {"problem": self.problem, "steps": self.steps})

    def to_pandas(self) -> pandas.DataFrame:
        """The sweep as a long table; eigenvalues and residuals are split into eigenvalues_0, eigenvalues_1 and so on.

        Returns:
            A DataFrame with one row per run.

        Raises:
            ImportError: when pandas is not installed, with the remedy.
        """
        axes = np.meshgrid(*(np.array(getattr(self, axis)) for axis in AXES), indexing="ij")
        measured = {name: array.reshape(-1, *array.shape[len(AXES) :]) for name, array in self.arrays().items()}
        return table({axis: values.ravel() for axis, values in zip(AXES, axes)} | measured)

    def __repr__(self) -> str:
        """The problem and the axes."""
        shape = ", ".join(f"{axis}: {len(getattr(self, axis))}" for axis in AXES)
        return f"<Sweep of {self.problem} ({shape}) after {self.steps:,} steps>"
