"""The settings of a run: rule, learning rate, perturbation radius and batch size."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samviz.checks import check_array, check_int, check_type
from samviz.dynamics.rules import RULES
from samviz.problems import Problem


@dataclass(frozen=True)
class Settings:
    """What may be changed between two steps of a run.

    Raises:
        ValueError: if a value is out of its range; the message states the range.
        TypeError: if a value is not a number.

    >>> Settings("sam", lr=0.1, rho=0.05)
    Settings(rule='sam', lr=0.1, rho=0.05, batch_size=None)
    """

    rule: str = "sam"  # a name in `RULES`
    lr: float | tuple[float, ...] = 0.1  # η > 0, one or one per run
    rho: float | tuple[float, ...] = 0.05  # perturbation radius ρ ≥ 0, or the label noise's size; one or one per run
    batch_size: int | None = None  # samples per step; None is the full batch

    def __post_init__(self) -> None:
        """Check and normalize every value."""
        if not isinstance(self.rule, str) or self.rule not in RULES:
            raise ValueError(f"rule is {self.rule!r}; expected one of {', '.join(RULES)}")
        object.__setattr__(self, "lr", _float_or_tuple("lr", self.lr))
        object.__setattr__(self, "rho", _float_or_tuple("rho", self.rho))
        if min(_tuple(self.lr)) <= 0:
            raise ValueError(f"lr is {self.lr}; expected a learning rate above 0")
        if min(_tuple(self.rho)) < 0:
            raise ValueError(f"rho is {self.rho}; expected a perturbation radius of 0 or more (0 is gradient descent)")
        if self.batch_size is not None:
            expected = "1 to the number of samples, or None for the full batch"
            object.__setattr__(self, "batch_size", check_int("batch_size", self.batch_size, expected, 1))

    def fit(self, runs: int, problem: Problem) -> Settings:
        """Check the settings against a run, and return them with a batch size of n replaced by None.

        Args:
            runs: number of runs.
            problem: the loss that is minimized.

        Raises:
            ValueError: if they do not fit.
        """
        check_type("problem", problem, Problem, "one from samviz.problems")
        for name in ("lr", "rho"):
            count = len(_tuple(getattr(self, name)))
            if count not in (1, runs):
                raise ValueError(f"{name} has {count} values for {runs} runs; expected one, or one per run")
        if RULES[self.rule].square_loss and not problem.square_targets:
            raise ValueError(
                f"rule is {self.rule!r}, which needs a square loss; {problem.name} has none: "
                "use mlp(..., loss='mse') or valley()"
            )
        if self.batch_size is None:
            return self
        samples = problem.samples
        if samples == 0:
            raise ValueError(f"batch_size is {self.batch_size} but this loss is not a mean over samples; expected None")
        if self.batch_size > samples:
            raise ValueError(f"batch_size is {self.batch_size}; expected 1 to {samples}, the number of samples")
        return replace(self, batch_size=None) if self.batch_size == samples else self

    def row(self) -> dict[str, Any]:
        """Return the settings as a row of the history contains them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def per_run(value: float | tuple[float, ...], like: Tensor) -> float | Tensor:
    """Return one number, or one per run as a column (runs, 1) that multiplies (runs, dim)."""
    return torch.tensor(value, dtype=like.dtype, device=like.device)[:, None] if isinstance(value, tuple) else value


def _tuple(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _float_or_tuple(name: str, value: object) -> float | tuple[float, ...]:
    """Return a finite float, or a tuple of them."""
    array = check_array(name, value, expected := "a number, or one per run", finite=False)
    if array.dtype.kind == "b" or array.ndim > 1:
        raise TypeError(f"{name} is {value!r:.200}; expected {expected}")
    values = array.astype(float)
    if array.size == 0:
        raise ValueError(f"{name} is empty; expected {expected}")
    if not (finite := np.isfinite(values)).all():
        raise ValueError(f"{name} is {values[~finite][0]}; expected a finite number")
    return tuple(values.tolist()) if array.ndim else float(values)
