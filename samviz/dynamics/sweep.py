"""A sweep: one rule on one problem over learning rates, radii, batch sizes and seeds, many runs at once."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, as_completed
from itertools import product
from os import PathLike
from pathlib import Path
from shutil import rmtree
from types import NoneType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.checks import check_bool, check_int, check_type
from samviz.dynamics.checkpoint import Arrays, Checkpoint, digest, fingerprint
from samviz.dynamics.grid import Sweep
from samviz.dynamics.rows import Row, finished
from samviz.dynamics.settings import Settings
from samviz.problems import Network, Problem
from samviz.problems.device import placed

ROW, GPU_ROW = 32, 256  # runs of a row at most: more make a step of each no cheaper, and a kill loses more


def sweep(
    problem: Problem,
    *,
    rule: str | Sequence[str] = "sam",
    lr: float | ArrayLike | Tensor = 0.1,
    rho: float | ArrayLike | Tensor = 0.05,
    batch_size: int | Sequence[int | None] | None = None,
    seeds: int | Iterable[int] = 1,
    steps: int,
    x0: ArrayLike | Tensor | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    k: int = 1,
    path: str | PathLike[str] | None = None,
    executor: Executor | None = None,
    progress: bool = True,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
) -> Sweep:
    """Run every combination of the given settings, and measure where each ends.

    Runs of one rule and one batch size go as one batch, up to 32 (on a GPU 256) of them: a row. A run's numbers are
    those of a `Run` of its own, up to rounding, whatever else is in its row and wherever the row is computed. Each
    row is kept on disk as soon as it is finished; the same call with the same path goes on from there. A row's file
    records which row of which sweep it holds; one that is damaged or lacks this record is computed again.

    Args:
        problem: what is minimized.
        rule: a name in `RULES`, or several.
        lr: learning rate η > 0, or several (lrs,).
        rho: perturbation radius ρ ≥ 0, or several (rhos,); units as in `Run`.
        batch_size: samples per step, or several; None is the full batch.
        seeds: how many, from 0 on; or the seeds themselves. Each is that of a `Run`: of its start, samples and noise.
        steps: of every run, 0 or more.
        x0: (dim,), where every run starts; None asks the problem, which may depend on the seed.
        test: inputs (m, ...) and integer labels (m,) that a classifier has not seen, for the accuracy.
        k: top eigenvalues to measure, at most dim of them.
        path: a folder for the finished rows; None keeps them in a temporary one until all are there.
        executor: computes the rows, any of `concurrent.futures` or Dask's `Client.get_executor()`; None computes them
            here, one after another. To another process a problem travels by pickle.
        progress: whether to show a bar.
        device: as in `Run`.
        dtype: as in `Run`.

    Returns:
        The measurements, with one axis for each setting.

    Raises:
        ValueError: when an argument is out of range or does not fit, `path` holds another sweep or a row in the place
            of another, or the problem cannot travel to another process.
        TypeError: when a number is not a number.

    >>> from samviz.problems import quadratic
    >>> found = sweep(quadratic([3.0, 1.0]), lr=[0.05, 0.1], rho=[0.1, 0.2], steps=1000, x0=[1.0, 1.0], progress=False)
    >>> found
    <Sweep of quadratic (rule: 1, batch_size: 1, lr: 2, rho: 2, seed: 1) after 1,000 steps>
    >>> found.grad_norm[0, 0, :, :, 0].round(4)  # Theorem 4.8: ηρλ₁²/(2 − ηλ₁)
    array([[0.0243, 0.0486],
           [0.0529, 0.1059]])
    """
    check_type("problem", problem, Problem, "one from samviz.problems")
    check_type("path", path, (str, PathLike, NoneType), "a folder, or None")
    check_bool("progress", progress)
    if executor is not None and not hasattr(executor, "submit"):
        raise TypeError(f"executor is {executor!r:.200}; expected one of concurrent.futures, or None")
    where, precision = placed(device, dtype)
    steps = check_int("steps", steps, "0 or more steps", 0)
    k = check_int("k", k, f"1 to {problem.dim}, the number of parameters, or more", 1)
    start = None if x0 is None else problem.points(x0, "x0")
    if start is not None and len(start) > 1:
        raise ValueError(f"x0 has shape {tuple(start.shape)}; expected ({problem.dim},), the start of every run")
    unseen = None if test is None else _unseen(problem, test)
    given = {"rule": rule, "batch_size": batch_size, "lr": lr, "rho": rho}
    axes: dict[str, tuple[Any, ...]] = {name: _listed(name, value) for name, value in given.items()}
    for each, size in product(axes["rule"], axes["batch_size"]):
        checked = Settings(each, axes["lr"], axes["rho"], size)
        Settings(each, batch_size=size).fit(1, problem)
    axes |= {"lr": _listed("lr", checked.lr), "rho": _listed("rho", checked.rho)}
    axes["batch_size"] = tuple(size or problem.samples for size in axes["batch_size"])
    counted = seeds if isinstance(seeds, Iterable) else range(check_int("seeds", seeds, "1 or more, or the seeds", 1))
    axes["seed"] = tuple(check_int("seeds", seed, "integers of 0 or more, below 2⁶²", 0, 2**62) for seed in counted)
    for name, values in axes.items():
        if len(set(values)) < len(values) or not values:
            named = "seeds" if name == "seed" else name
            raise ValueError(f"{named} is {list(values)}; expected one value or more, each once")

    most = max(1, min(problem.at_once, ROW if where.type == "cpu" else GPU_ROW))
    rows = [
        Row(problem, settings, seeds, None if start is None else start[0], steps, unseen, k, where, precision)
        for settings, seeds in _parts(axes, most, problem.samples)
    ]
    manifest = {"problem": problem.name, "dim": problem.dim, "numbers": fingerprint(problem)}
    manifest |= axes | {"steps": steps, "k": k, "runs in a row": most, "device": where.type, "dtype": str(precision)}
    manifest |= {"x0": None if start is None else digest(start), "test": None if unseen is None else digest(*unseen)}
    folder = Path(tempfile.mkdtemp(prefix="samviz-sweep-") if path is None else path)
    done = None
    try:
        done = _computed(rows, Checkpoint(folder, manifest), executor, progress)
    finally:
        if path is None and (done or not any(folder.glob("row_*"))):  # else there are rows to go on from
            rmtree(folder)
    return Sweep.of(problem.name, steps, axes, done)


def _computed(rows: list[Row], checkpoint: Checkpoint, executor: Executor | None, progress: bool) -> list[Arrays]:
    """The arrays of all rows: those on disk, and the others computed; what is done is kept whatever happens."""
    from tqdm.auto import tqdm

    stored = {i: checkpoint.load(i, len(row.seeds)) for i, row in enumerate(rows)}
    checkpoint.begin()
    done = {i: arrays for i, arrays in stored.items() if arrays is not None}
    missing = {i: row for i, row in enumerate(rows) if i not in done}
    runs, ready = (sum(len(rows[i].seeds) for i in which) for which in (range(len(rows)), done))
    with tqdm(total=runs, initial=ready, unit="run", desc=rows[0].problem.name, disable=not progress) as bar:

        def keep(i: int, arrays: Arrays) -> None:
            checkpoint.save(i, arrays)
            done[i] = arrays
            bar.update(len(rows[i].seeds))

        try:
            if executor is None:
                for i, row in missing.items():
                    keep(i, finished(row))
            else:
                _elsewhere(missing, executor, keep)
        except BaseException as error:  # a worker's death and an interrupt, too
            if done:
                kept = f"{len(done)} of {len(rows)} rows of the sweep are finished and kept"
                error.add_note(f"{kept}: run it again with path={str(checkpoint.folder)!r} to resume.")
            raise
    return [done[i] for i in range(len(rows))]


def _elsewhere(rows: dict[int, Row], executor: Executor, keep: Callable[[int, Arrays], None]) -> None:
    """Compute rows with an executor; when one fails, keep those that are finished and cancel the rest."""
    pending = {executor.submit(finished, row): i for i, row in rows.items()}
    try:
        for future in as_completed(list(pending)):
            i = pending.pop(future)
            try:
                keep(i, future.result())
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                try:
                    pickle.dumps(rows[i])
                except (pickle.PicklingError, AttributeError, TypeError) as cause:
                    raise ValueError(
                        f"{rows[i].problem.name} cannot travel to another process ({cause}); define its loss or module "
                        "at the top of a file that can be imported, or use threads, or no executor"
                    ) from error
                raise
    finally:
        for future, i in pending.items():
            if not future.cancel() and future.done() and future.exception() is None:
                keep(i, future.result())


def _unseen(problem: Problem, test: tuple[ArrayLike, ArrayLike]) -> tuple[Tensor, Tensor]:
    """The test set as tensors, inputs (m, ...) as the network takes them and int64 labels (m,)."""
    if not isinstance(problem, Network) or problem.labels is None:
        raise ValueError(f"test is given but {problem.name} is no classifier; expected a network on integer labels")
    inputs, labels = (np.asarray(part) for part in test)
    shape = tuple(problem.inputs.shape[1:])
    if len(inputs) == 0 or labels.shape != inputs.shape[:1] or inputs[0].size != int(np.prod(shape)):
        raise ValueError(
            f"test holds {inputs.shape} and {labels.shape}; expected inputs (m, {', '.join(map(str, shape))}) "
            "and labels (m,)"
        )
    if labels.dtype.kind not in "iu":
        raise TypeError(f"test labels are {labels.dtype}; expected integers, classes counted from 0")
    if set(np.unique(labels)) <= {-1, 1}:
        labels = (labels + 1) // 2  # as in training
    return torch.from_numpy(inputs.astype(np.float64)).reshape(-1, *shape), torch.from_numpy(labels.astype(np.int64))


def _listed(name: str, given: Any) -> tuple[Any, ...]:
    """The values along an axis; one value is an axis of length 1."""
    if isinstance(given, Tensor | np.ndarray):
        given = given.tolist()
    values = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    if not values:
        raise ValueError(f"{name} is empty; expected one value or more")
    return values


def _parts(axes: dict[str, tuple[Any, ...]], most: int, samples: int) -> Iterable[tuple[Settings, tuple[int, ...]]]:
    """The settings and seeds of each row, in the order of the axes."""
    cells = list(product(axes["lr"], axes["rho"], axes["seed"]))
    for rule, size in product(axes["rule"], axes["batch_size"]):
        for part in np.array_split(np.arange(len(cells)), -(-len(cells) // most)):
            lr, rho, seeds = zip(*(cells[i] for i in part))
            yield Settings(rule, lr, rho, None if size == samples else size), seeds
