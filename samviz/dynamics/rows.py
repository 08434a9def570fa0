"""The rows of a sweep: runs that are taken together, here or in another process, and what is measured of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from samviz.dynamics.checkpoint import Arrays
from samviz.dynamics.measurement import TRACE_PRODUCTS, measurement
from samviz.dynamics.run import Diverged, Run
from samviz.dynamics.settings import Settings
from samviz.problems import Network, Problem
from samviz.problems.device import one_thread

SPECTRAL = ("eigenvalues", "residuals")  # columns of k numbers
COLUMNS = ("loss", "grad_norm", "trace", "trace_error", "cos_v1", "cos_eigenspace", "rayleigh", "gap")


class Row(NamedTuple):
    """Runs that are taken together, with all they need: it may travel to another process."""

    problem: Problem
    settings: Settings  # lr and rho one per run
    seeds: tuple[int, ...]
    x0: Tensor | None  # (dim,)
    steps: int
    test: tuple[Tensor, Tensor] | None
    k: int
    device: torch.device
    dtype: torch.dtype


def finished(row: Row) -> Arrays:
    """Take a row's steps, and measure where its runs are then.

    Args:
        row: what to compute.

    Returns:
        Arrays (runs, ...) by the names of `Sweep`, NaN where a run has diverged.
    """
    problem = row.problem.to(row.device, row.dtype)
    start = torch.stack([problem.points(problem.initial(seed) if row.x0 is None else row.x0)[0] for seed in row.seeds])
    knobs = row.settings.rule, row.settings.lr, row.settings.rho, row.settings.batch_size
    run = Run(problem, *knobs, x0=start, seed=row.seeds, device=row.device, dtype=row.dtype)
    with suppress(Diverged):  # all of them: the arrays say so
        run.step(row.steps)
    arrays = unknown(len(start), min(row.k, problem.dim), row.test is not None)
    for some in alive(run, max(1, problem.at_once // TRACE_PRODUCTS)):
        look(arrays, run, some, row.test)
    return arrays | {"diverged_at": run.diverged_at.numpy().astype(np.int64)}


def unknown(runs: int, k: int, tested: bool) -> Arrays:
    """What a sweep tells of runs before anything is known, and of those that diverged: NaN.

    Args:
        runs: how many.
        k: eigenvalues of each, 1 to dim.
        tested: whether there is an accuracy.

    Returns:
        Arrays (runs, ...) by the names of `Sweep`.
    """
    arrays: Arrays = {name: np.full(runs, np.nan) for name in COLUMNS + ("accuracy",) * tested}
    arrays |= {name: np.full((runs, k), np.nan) for name in SPECTRAL}
    return arrays | {"converged": np.zeros(runs, dtype=bool), "diverged_at": np.full(runs, -1)}


def alive(run: Run, together: int) -> Sequence[Tensor]:
    """Indices (at most `together`,) of the runs that have not diverged."""
    going = (run.diverged_at < 0).nonzero()[:, 0].to(run.x.device)
    return going.split(together) if len(going) else ()


def look(arrays: Arrays, run: Run, some: Tensor, test: tuple[Tensor, Tensor] | None) -> None:
    """Measure the present iterates of some runs.

    Args:
        arrays: from `unknown`; filled in.
        run: with all the runs.
        some: int64 (m,), which.
        test: inputs (m, ...) and labels (m,); None for no accuracy.
    """
    k, x = arrays["eigenvalues"].shape[1], run.x[some]
    columns, _, _ = measurement(run.problem, x, k, trace=True, start=None, width=0)
    if test is not None:
        columns["accuracy"] = _accuracy(run.problem, x, *test)
    for name in arrays.keys() & columns.keys():
        arrays[name][some.cpu().numpy()] = columns[name].cpu().numpy()


def _accuracy(problem: Problem, x: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Share of the samples that each run classifies rightly, (runs,)."""
    assert isinstance(problem, Network), "others have no test set"
    right = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    with torch.no_grad(), one_thread(problem):
        for some, truth in zip(inputs.to(x).split(problem.samples), labels.to(x.device).split(problem.samples)):
            outputs = problem.outputs(x, some)  # (runs, m, outputs)
            guess = outputs.argmax(2) if outputs.shape[2] > 1 else (outputs[..., 0] > 0).long()
            right += (guess == truth).sum(1)
    return right / len(labels)
