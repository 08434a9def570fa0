"""A sweep: runs over rules, batch sizes, learning rates, radii and seeds, many at once, as arrays with named axes."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import product
from os import PathLike
from pathlib import Path
from shutil import rmtree
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from samviz import __version__
from samviz.checks import check_bool, check_int, check_seed, check_type
from samviz.dynamics.history import TRACE_PRODUCTS, measurement, table
from samviz.dynamics.rules import Settings
from samviz.dynamics.run import Diverged, Run
from samviz.files import remove_abandoned, write
from samviz.problems import Network, Problem
from samviz.problems.network import labelled_samples
from samviz.problems.problem import Array, one_thread, placed

if TYPE_CHECKING:
    import pandas
    import xarray

Arrays = dict[str, NDArray[Any]]
AXES = ("rule", "batch_size", "lr", "rho", "seed")
ROW, GPU_ROW = 32, 256  # most runs in a row: more make a step of each no cheaper, and an interruption loses more
SCALARS = ("loss", "grad_norm", "trace", "trace_error", "cos_v1", "cos_eigenspace", "rayleigh", "gap")


@dataclass(frozen=True)
class Sweep:
    """The final measurements of every run of a grid; all numbers of one run belong to one iterate.

    Every array has the five axes of `AXES`, in that order; an axis has length 1 where one value was given. A run that
    diverged has NaN in all arrays, and `diverged_at` is its step.
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
    cos_eigenspace: Array  # norm of the gradient direction's projection on the top eigenspace
    rayleigh: Array  # gᵀHg / (|λ₁|‖g‖²)
    gap: Array  # (λ₁ − λ₂)/|λ₁|
    diverged_at: NDArray[np.int64]  # step, -1 for none
    accuracy: Array | None  # share of the test samples that are classified correctly; None without a test set

    @classmethod
    def of(cls, problem: str, steps: int, axes: Mapping[str, tuple[Any, ...]], rows: Sequence[Arrays]) -> Sweep:
        """Arrange rows of arrays (runs, ...), in the order of the axes with the seed fastest, on the axes."""
        shape = tuple(len(axes[axis]) for axis in AXES)
        columns = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        arrays: dict[str, Any] = {name: column.reshape(*shape, *column.shape[1:]) for name, column in columns.items()}
        return cls(problem, steps, **{"accuracy": None, **axes, **arrays})

    @property
    def sharpness(self) -> Array:
        """λ₁ of every run."""
        return self.eigenvalues[..., 0]

    def arrays(self) -> Arrays:
        """Return all measured arrays by name."""
        return {name: array for name, array in vars(self).items() if isinstance(array, np.ndarray)}

    def to_xarray(self) -> xarray.Dataset:
        """Return a Dataset over the five axes; eigenvalues and residuals also have the dimension eigenvalue, 1 to k.

        For example `sweep.to_xarray().trace.mean("seed").sel(rho=0.1)`. It needs xarray.
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
        """Return a table with one row per run, and columns eigenvalues_0, eigenvalues_1 and so on; it needs pandas."""
        axes = np.meshgrid(*(np.array(getattr(self, axis)) for axis in AXES), indexing="ij")
        measured = {name: array.reshape(-1, *array.shape[len(AXES) :]) for name, array in self.arrays().items()}
        return table({axis: values.ravel() for axis, values in zip(AXES, axes)} | measured)

    def __repr__(self) -> str:
        """Return the problem and the length of each axis."""
        shape = ", ".join(f"{axis}: {len(getattr(self, axis))}" for axis in AXES)
        return f"<Sweep of {self.problem} ({shape}) after {self.steps:,} steps>"


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
    """Run every combination of the given settings, and measure where each run ends.

    Runs of one rule and one batch size are computed together in rows of up to 32 (on a GPU 256); the numbers of a run
    are those of a separate `Run`, up to rounding. Each row is saved as soon as it is finished, and the same call with
    the same path resumes.

    Args:
        problem: whose loss is minimized.
        rule: a name in `RULES`, or several.
        lr: learning rate η > 0, or several (lrs,).
        rho: perturbation radius ρ ≥ 0, or several (rhos,); units as in `Run`.
        batch_size: samples per step, or several; None is the full batch.
        seeds: how many, starting from 0; or the seeds themselves. A seed determines start, samples and noise of a run.
        steps: of every run, 0 or more.
        x0: (dim,), where every run starts; None is the problem's initial point, which may depend on the seed.
        test: inputs (m, ...) and integer labels (m,) of unseen samples, for the accuracy of a classifier.
        k: number of top eigenvalues to measure, at most dim.
        path: a folder for the finished rows; None is a temporary one, removed when all are finished.
        executor: computes the rows, any of `concurrent.futures` or Dask's `Client.get_executor()`; None: this process.
        progress: whether to show a progress bar.
        device: as in `Run`.
        dtype: as in `Run`.

    Raises:
        ValueError: when an argument is out of range, `path` holds another sweep, or the problem cannot be pickled.
        TypeError: when an argument has the wrong type.

    >>> from samviz.problems import quadratic
    >>> found = sweep(quadratic([3.0, 1.0]), lr=[0.05, 0.1], rho=[0.1, 0.2], steps=1000, x0=[1.0, 1.0], progress=False)
    >>> found
    <Sweep of quadratic (rule: 1, batch_size: 1, lr: 2, rho: 2, seed: 1) after 1,000 steps>
    >>> found.grad_norm[0, 0, :, :, 0].round(4)  # Theorem 4.8: ηρλ₁²/(2 − ηλ₁)
    array([[0.0243, 0.0486],
           [0.0529, 0.1059]])
    """
    from tqdm.auto import tqdm

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
    test_set = None if test is None else labelled_samples(problem, test)
    axes = {"rule": _values(rule), "batch_size": _values(batch_size), "lr": _values(lr), "rho": _values(rho)}
    counted = seeds if isinstance(seeds, Iterable) else range(check_int("seeds", seeds, "1 or more, or the seeds", 1))
    axes["seed"] = tuple(check_seed(seed, "seeds") for seed in counted)
    for each, size in product(axes["rule"], axes["batch_size"]):
        checked = Settings(each, axes["lr"], axes["rho"], size)
        Settings(each, batch_size=size).fit(1, problem)
        axes |= {"lr": _values(checked.lr), "rho": _values(checked.rho)}
    axes["batch_size"] = tuple(size or problem.samples for size in axes["batch_size"])
    for name, values in axes.items():
        if len(set(values)) < len(values) or not values:
            argument = "seeds" if name == "seed" else name
            raise ValueError(f"{argument} is {list(values)}; expected one value or more, each once")
    if isinstance(executor, ProcessPoolExecutor):
        try:
            pickle.dumps(problem)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            remedy = "define its loss or module at the top of a file that can be imported, or use threads"
            raise ValueError(f"{problem.name} cannot be sent to another process ({error}); {remedy}") from error

    most = max(1, min(problem.at_once, ROW if where.type == "cpu" else GPU_ROW))
    cells, rows = list(product(axes["lr"], axes["rho"], axes["seed"])), []
    for each, size in product(axes["rule"], axes["batch_size"]):
        for part in np.array_split(np.arange(len(cells)), -(-len(cells) // most)):
            lrs, radii, row_seeds = zip(*(cells[i] for i in part))
            rows.append((Settings(each, lrs, radii, None if size == problem.samples else size), row_seeds))
    compute = partial(compute_row, problem.to(where, precision), start, steps, test_set, min(k, problem.dim))
    description = {"problem": problem.name, "dim": problem.dim, "numbers": problem_digest(problem)} | axes
    description |= {"steps": steps, "k": k, "runs in a row": most, "device": where.type, "dtype": str(precision)}
    description |= {"x0": None if start is None else digest(start), "test": test_set and digest(*test_set)}
    folder = Path(tempfile.mkdtemp(prefix="samviz-sweep-") if path is None else path)
    done: dict[int, Arrays] = {}

    def save(i: int, arrays: Arrays) -> None:
        save_row(folder, description, i, arrays)
        done[i] = arrays
        bar.update(len(rows[i][1]))

    try:
        done |= load_rows(folder, description, empty_arrays(0, 0, test is not None))
        finished, runs = sum(len(rows[i][1]) for i in done), sum(len(seeds) for _, seeds in rows)
        with tqdm(total=runs, initial=finished, unit="run", desc=problem.name, disable=not progress) as bar:
            _compute([(i, row) for i, row in enumerate(rows) if i not in done], compute, save, executor)
    except BaseException as error:  # also an interrupt, or the death of a worker
        if done:
            kept = f"{len(done)} of {len(rows)} rows of the sweep are finished and kept"
            error.add_note(f"{kept}: run it again with path={str(folder)!r} to resume.")
        raise
    finally:
        if path is None and len(done) in (0, len(rows)):  # otherwise a later call can resume
            rmtree(folder)
    return Sweep.of(problem.name, steps, axes, [done[i] for i in range(len(rows))])


def _compute(
    rows: list[tuple[int, Any]], compute: Callable[..., Arrays], save: Callable[..., None], executor: Executor | None
) -> None:
    """Compute numbered rows and save each as soon as it is finished, also those that finish after another fails."""
    if executor is None:
        for i, row in rows:
            save(i, compute(*row))
        return
    pending = {executor.submit(_compute_copy, compute, *row): i for i, row in rows}
    try:
        for future in as_completed(list(pending)):
            save(pending.pop(future), future.result())
    finally:
        for future, i in pending.items():
            if not future.cancel() and future.done() and future.exception() is None:
                save(i, future.result())


def _compute_copy(compute: Callable[..., Arrays], *row: Any) -> Arrays:
    """Compute a row with a copy of the problem: torch runs a module with other parameters in one thread at a time."""
    return deepcopy(compute)(*row)


def compute_row(
    problem: Problem,
    x0: Tensor | None,
    steps: int,
    test: tuple[Tensor, Tensor] | None,
    k: int,
    settings: Settings,
    seeds: tuple[int, ...],
) -> Arrays:
    """Take the steps of a row and measure its final iterates: arrays (runs, ...) by the names of `Sweep`."""
    start = torch.cat([problem.points(problem.initial(seed) if x0 is None else x0) for seed in seeds])
    run = Run(problem, **settings.row(), x0=start, seed=seeds, device=problem.device, dtype=problem.dtype)
    with suppress(Diverged):  # all runs: then `diverged_at` says so
        run.step(steps)
    arrays = empty_arrays(len(start), k, test is not None)
    for runs in active_runs(run, max(1, problem.at_once // TRACE_PRODUCTS)):
        measure_runs(arrays, run, runs, test)
    return arrays | {"diverged_at": run.diverged_at.numpy().astype(np.int64)}


def empty_arrays(runs: int, k: int, accuracy: bool) -> Arrays:
    """Return arrays (runs, ...) by the names of `Sweep` before any measurement: NaN."""
    arrays: Arrays = {name: np.full(runs, np.nan) for name in SCALARS + ("accuracy",) * accuracy}
    arrays |= {name: np.full((runs, k), np.nan) for name in ("eigenvalues", "residuals")}
    return arrays | {"converged": np.zeros(runs, dtype=bool), "diverged_at": np.full(runs, -1)}


def active_runs(run: Run, at_once: int) -> Sequence[Tensor]:
    """Return the indices of the runs that have not diverged, in parts of at most `at_once`."""
    active = (run.diverged_at < 0).nonzero()[:, 0].to(run.x.device)
    return active.split(at_once) if len(active) else ()


def measure_runs(arrays: Arrays, run: Run, runs: Tensor, test: tuple[Tensor, Tensor] | None) -> None:
    """Measure the present iterates of some runs, int64 (m,), and write the numbers into the arrays."""
    x, k = run.x[runs], arrays["eigenvalues"].shape[1]
    columns, _, _ = measurement(run.problem, x, k, trace=True, start=None, width=0)
    if test is not None:
        columns["accuracy"] = accuracy(run.problem, x, *test)
    for name in arrays.keys() & columns.keys():
        arrays[name][runs.cpu().numpy()] = columns[name].cpu().numpy()


def accuracy(problem: Problem, x: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the share of the samples that each run classifies correctly, (runs,)."""
    assert isinstance(problem, Network), "only networks have a test set"
    correct = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    with torch.no_grad(), one_thread(problem):
        for batch, truth in zip(inputs.to(x).split(problem.samples), labels.to(x.device).split(problem.samples)):
            outputs = problem.outputs(x, batch)  # (runs, m, outputs)
            predicted = outputs.argmax(2) if outputs.shape[2] > 1 else (outputs[..., 0] > 0).long()
            correct += (predicted == truth).sum(1)
    return correct.cpu().double() / len(labels)


def _values(value: Any) -> tuple[Any, ...]:
    """Return the values along an axis as a tuple; a single value is an axis of length 1."""
    if isinstance(value, Tensor | np.ndarray):
        value = value.tolist()
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


# Each finished row of a sweep is an npz file that contains a description of the sweep.


def save_row(folder: Path, sweep: dict[str, Any], number: int, arrays: Arrays) -> None:
    """Write a finished row of the sweep that has this description; a killed process leaves no incomplete file."""
    content = io.BytesIO()
    description = np.array(json.dumps({"samviz": __version__} | sweep))
    np.savez(content, **arrays, description=description)  # type: ignore[arg-type]
    write(folder / f"row_{number:05d}.npz", content.getvalue())


def load_rows(folder: Path, sweep: dict[str, Any], names: Iterable[str]) -> dict[int, Arrays]:
    """Return the named arrays of the finished rows by number; damaged files are left out, and none is unpickled."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder)
    now, rows = json.loads(json.dumps({"samviz": __version__} | sweep)), {}  # tuples become lists, as in the file
    for file in folder.glob("row_*.npz"):
        try:
            with np.load(file, allow_pickle=False) as stored:
                before = dict(json.loads(str(stored["description"])))
                arrays = {name: stored[name] for name in names}  # reading verifies the checksums
        except Exception:  # numpy, zipfile, zlib and json raise many classes for a damaged file
            continue
        if changed := [name for name in now if before.get(name) != now[name]]:
            changes = "; ".join(f"{name} was {before.get(name)}, now {now[name]}" for name in changed)
            raise ValueError(f"path {str(folder)!r} holds another sweep: {changes}. Choose another path for this one")
        rows[int(file.stem.removeprefix("row_"))] = arrays
    return rows


def problem_digest(problem: Problem) -> str:
    """Return a digest of a problem's tensors, and of its loss at one point to four digits."""
    # The loss distinguishes two functions of the same tensors. Rounded, it is the same on every machine.
    point = problem.initial(0) + torch.linspace(-0.1, 0.1, problem.dim).to(problem.device, problem.dtype)
    parts: list[Any] = [type(problem).__qualname__, f"{float(problem.loss(point[None])):.4g}"]
    for name, value in sorted(vars(problem).items()):
        if isinstance(value, nn.Module):
            parts += [name, repr(value), *value.state_dict().values()]
        elif isinstance(value, Tensor | np.ndarray | str | int | float) and not name.startswith("_"):
            parts += [name, value]
    return digest(*parts)


def digest(*parts: Any) -> str:
    """Return sixteen hexadecimal digits of a hash of tensors, arrays, numbers and strings."""
    total = hashlib.sha256()
    for part in parts:
        array = np.ascontiguousarray(part.detach().cpu() if isinstance(part, Tensor) else part)
        total.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return total.hexdigest()[:16]
