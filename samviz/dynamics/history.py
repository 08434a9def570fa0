"""The record of a run: one row per measurement, read by column."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samviz.checks import check_int

if TYPE_CHECKING:
    import pandas


class History:
    """Rows of measurements, each with the settings it was made under.

    Columns are arrays (rows, …); a run of one parameter vector has no runs axis, several have (rows, runs, …).

    >>> history = History()
    >>> history.append({"step": 0, "loss": 1.0})
    >>> history["loss"]
    array([1.])
    """

    def __init__(self) -> None:
        """An empty record."""
        self.rows: list[dict[str, Any]] = []

    def append(self, row: dict[str, Any]) -> None:
        """Add a row; it replaces the last one when that belongs to the same step.

        Args:
            row: values by column; one of them is the step.

        Raises:
            TypeError: when it is no dictionary with a step.
        """
        if not isinstance(row, dict) or "step" not in row:
            raise TypeError(f"row is {row!r:.200}; expected a dictionary with a step")
        same = bool(self.rows) and self.rows[-1]["step"] == row["step"]
        self.rows[len(self.rows) - same :] = [row]  # at once: another thread may be reading

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in the order in which the rows first measured them."""
        return tuple(dict.fromkeys(chain.from_iterable(self.rows)))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def __getitem__(self, column: str) -> NDArray[Any]:
        """A column as an array, NaN where a row did not measure it."""
        if not any(column in row for row in self.rows):
            raise KeyError(f"history has no column {column!r}; it has {', '.join(self.columns) or 'no rows yet'}")
        values = [row.get(column, np.nan) for row in self.rows]
        words = len({isinstance(value, str) for value in values}) > 1  # NumPy would write NaN as the word "nan"
        try:
            return np.array(values, dtype=object if words else None)
        except ValueError:  # rows of different shape: one η and later one per run, or different k
            return _ragged(values)

    def thinned(self, limit: int) -> History:
        """At most about `limit` rows, evenly spaced, and the last one: enough for a plot.

        The spacing is a power of two, so that a growing record keeps showing the same rows.

        Args:
            limit: number of rows, at least 2.

        Returns:
            A record that shares its rows with this one.

        Raises:
            TypeError: when the limit is no integer.
            ValueError: when it is below 2.
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
        """All columns by name."""
        return {column: self[column] for column in self.columns}

    def to_pandas(self) -> pandas.DataFrame:
        """The record as a table; a column of several numbers is split into name_0, name_1 and so on.

        Returns:
            A DataFrame with one row per measurement.

        Raises:
            ImportError: when pandas is not installed, with the remedy.
        """
        return table(self.to_dict())

    def __repr__(self) -> str:
        """Size and columns."""
        return f"<History: {len(self)} rows of {', '.join(self.columns) or 'nothing yet'}>"


def table(columns: dict[str, NDArray[Any]]) -> pandas.DataFrame:
    """Columns (rows, …) as a table; one of several numbers is split into name_0, name_1 and so on.

    Args:
        columns: arrays of one length by name.

    Returns:
        A DataFrame.

    Raises:
        ImportError: when pandas is not installed, with the remedy.
    """
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
    """One array of values of different shape: scalars are repeated, short last axes padded with NaN."""
    shape = max((np.shape(v) for v in values), key=lambda s: (len(s), s))
    full = np.full((len(values), *shape), np.nan)
    for row, value in zip(full, values):
        row[..., : np.shape(value)[-1] if np.ndim(value) else None] = value
    return full
