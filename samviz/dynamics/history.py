"""Measurements of a run: loss, sharpness, trace and alignment at one iterate, and their history by column."""

from __future__ import annotations

import csv
from io import StringIO
from itertools import chain
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.checks import check_int, check_type
from samviz.files import file_in_existing_folder, write
from samviz.geometry import alignment, hessian_trace, top_eigenpairs
from samviz.problems.problem import Problem, one_thread

if TYPE_CHECKING:
    import pandas

# A residual of tol·max(gap, ⅔|λ|) bounds the error of an eigenvalue by residual²/gap: by tol²·gap if the gap is large,
# and always by ⅔tol·|λ|; along runs it stays below |λ|/1000 in 99 of 100 steps. Eigenvectors with a gap above ⅔λ have
# an angular error of at most 0.01, and so has each cosine with them; for small gaps the top eigenspace is used.
TRACKING = 1e-2
MAX_PAIRS = 10  # to find the end of the top eigenspace, at most so many eigenpairs are computed, or k if that is larger
TRACE_PRODUCTS = 24  # Hessian-vector products of a trace estimate, if the dense Hessian is too large


class History:
    """Rows of measurements, each with the settings at that step.

    Columns are arrays (rows, …) for a run of one parameter vector, and (rows, runs, …) for several.

    >>> history = History()
    >>> history.append({"step": 0, "loss": 1.0})
    >>> history["loss"]
    array([1.])
    """

    def __init__(self) -> None:
        """Create a history without rows."""
        self.rows: list[dict[str, Any]] = []

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; it replaces the last row if that has the same step.

        Args:
            row: values by column; one of them is the step.

        Raises:
            TypeError: if it is not a dictionary with a step.
        """
        if not isinstance(row, dict) or "step" not in row:
            raise TypeError(f"row is {row!r:.200}; expected a dictionary with a step")
        same = bool(self.rows) and self.rows[-1]["step"] == row["step"]
        self.rows[len(self.rows) - same :] = [row]  # one operation, because another thread may be reading

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order in which they first occur."""
        return tuple(dict.fromkeys(chain.from_iterable(self.rows)))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, column: str) -> NDArray[Any]:
        """Return a column as an array, with NaN where a row does not have it."""
        if not any(column in row for row in self.rows):
            raise KeyError(f"history has no column {column!r}; it has {', '.join(self.columns) or 'no rows yet'}")
        values = [row.get(column, np.nan) for row in self.rows]
        mixed = len({isinstance(value, str) for value in values}) > 1  # NumPy would convert NaN to the string "nan"
        try:
            return np.array(values, dtype=object if mixed else None)
        except ValueError:  # rows of different shapes: one η and later one per run, or different k
            return _ragged(values)

    def thinned(self, limit: int) -> History:
        """Return a history of every 2ᵏth row and the last one: enough for a plot.

        A growing history thus keeps showing the same rows.

        Args:
            limit: about the largest number of rows, at least 2.

        Returns:
            A history that shares its rows with this one.

        Raises:
            TypeError: if the limit is not an integer.
            ValueError: if it is below 2.
        """
        limit = check_int("limit", limit, "2 or more rows", 2)
        stride = 1
        while len(self.rows) > limit * stride:
            stride *= 2
        thin = History()
        thin.rows = self.rows[::stride]
        if self.rows and thin.rows[-1] is not self.rows[-1]:
            thin.rows = [*thin.rows, self.rows[-1]]
        return thin

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Return all columns by name."""
        return {column: self[column] for column in self.columns}

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table of all rows; a column of several numbers is split into name_0, name_1 and so on.

        Raises:
            ImportError: if pandas is not installed; the message names the remedy.
        """
        return table(self.to_dict())

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write all rows as comma-separated values, with the columns of `to_pandas`.

        Args:
            path: of the file.

        Raises:
            FileNotFoundError: when its folder does not exist.
        """
        check_type("path", path, (str, PathLike), "the path of a file")
        write(file_in_existing_folder(path), csv_text(self).encode())

    def __repr__(self) -> str:
        """Return the size and the columns."""
        return f"<History: {len(self)} rows of {', '.join(self.columns) or 'nothing yet'}>"


def table(columns: dict[str, NDArray[Any]]) -> pandas.DataFrame:
    """Return a table of columns (rows, …); a column of several numbers is split into name_0, name_1 and so on."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_pandas needs pandas: pip install pandas") from error
    return pd.DataFrame(_split(columns))


def csv_text(history: History) -> str:
    """Return all rows as comma-separated values, with the columns of `History.to_pandas`; NaN is an empty field."""
    columns, text = _split(history.to_dict()), StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*(column.tolist() for column in columns.values())):
        writer.writerow("" if value != value else value for value in row)
    return text.getvalue()


def _split(columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return columns (rows,): those of several numbers are split."""
    return {
        "_".join((name, *map(str, index))): column[(slice(None), *index)]
        for name, column in columns.items()
        for index in np.ndindex(column.shape[1:])
    }


def _ragged(values: list[Any]) -> NDArray[Any]:
    """Return one array of values of different shapes: repeat scalars, and fill short last axes with NaN."""
    shape = max((np.shape(v) for v in values), key=lambda s: (len(s), s))
    full = np.full((len(values), *shape), np.nan)
    for row, value in zip(full, values):
        row[..., : np.shape(value)[-1] if np.ndim(value) else None] = value
    return full


def measurement(
    problem: Problem,
    x: Tensor,
    k: int,
    *,
    trace: bool,  # without it the trace is NaN
    start: Tensor | None,  # (runs, m, dim), initial vectors; None for the first measurement
    width: int,  # number of eigenpairs that the top eigenspace needed in the last measurement; 0 for the first
) -> tuple[dict[str, Tensor], Tensor, int]:
    """Return the measured columns by name, each (runs,) or (runs, k), and `start` and `width` for the next call."""
    k = check_int("k", k, f"1 to {problem.dim}, the number of parameters, or more", 1)
    with one_thread(problem):
        dim, shown = problem.dim, min(k, problem.dim)
        loss, gradient = problem.gradient(x)
        while True:
            pairs = top_eigenpairs(problem, x, min(max(k, width), dim), start=start, tol=TRACKING)
            start = pairs.start
            aligned = alignment(problem, x, gradient=gradient, eigenpairs=pairs)
            multiplicity = int(aligned.multiplicity.max())
            computed = pairs.values.shape[1]
            complete = multiplicity < computed or not bool(aligned.closing.any())
            if complete or computed >= min(max(k, MAX_PAIRS), dim):
                break
            width = min(multiplicity + 3, max(k, MAX_PAIRS))  # the top eigenspace is larger: compute more
        width = min(width, multiplicity + 3)
        value = error = torch.full_like(loss, torch.nan)
        if trace:
            products = None if pairs.exact else TRACE_PRODUCTS
            estimate = hessian_trace(problem, x, products=products, subspace=pairs.start, known=pairs.values)
            value, error = estimate.value, estimate.standard_error
        measured = {
            "loss": loss,
            "grad_norm": gradient.norm(dim=1),
            "eigenvalues": pairs.values[:, :shown],
            "residuals": pairs.residuals[:, :shown],
            "converged": pairs.converged.all(1),
            "trace": value,
            "trace_error": error,
            **vars(aligned),  # cos_v1, cos_eigenspace, rayleigh, multiplicity, gap, closing
        }
        return measured, start, width
