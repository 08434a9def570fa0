"""The history of a run: one row per measurement, read by column."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samviz.checks import check_int

if TYPE_CHECKING:
    import pandas


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

    def __repr__(self) -> str:
        """Return the size and the columns."""
        return f"<History: {len(self)} rows of {', '.join(self.columns) or 'nothing yet'}>"


def table(columns: dict[str, NDArray[Any]]) -> pandas.DataFrame:
    """Return a table of columns (rows, …); a column of several numbers is split into name_0, name_1 and so on."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("to_pandas needs pandas: pip install pandas") from error
    split: dict[str, Any] = {}
    for name, column in columns.items():
        for index in np.ndindex(column.shape[1:]):
            split["_".join((name, *map(str, index)))] = column[(slice(None), *index)]
    return pd.DataFrame(split)


def _ragged(values: list[Any]) -> NDArray[Any]:
    """Return one array of values of different shapes: repeat scalars, and fill short last axes with NaN."""
    shape = max((np.shape(v) for v in values), key=lambda s: (len(s), s))
    full = np.full((len(values), *shape), np.nan)
    for row, value in zip(full, values):
        row[..., : np.shape(value)[-1] if np.ndim(value) else None] = value
    return full
