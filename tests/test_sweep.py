"""Sweeps agree with single runs and closed forms, resume from disk, and do not depend on where rows are computed."""

import pickle
import re
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import product
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from torch import nn

import samviz
from samviz.dynamics import Run, sweep
from samviz.dynamics.sweep import AXES, compute_row
from samviz.problems import from_module, load, mlp, quadratic, valley

MODULE = import_module("samviz.dynamics.sweep")
SMALL = {"lr": [0.02, 0.05], "rho": [0.0, 0.05, 0.1], "seeds": 3, "steps": 40, "progress": False, "device": "cpu"}


@pytest.fixture(autouse=True)
def small_rows(monkeypatch):
    """Compute rows of four runs, so that these small sweeps have several rows."""
    monkeypatch.setattr(MODULE, "ROW", 4)


@pytest.fixture
def computed(monkeypatch):
    """The settings of each row that is computed in this process."""
    rows = []
    monkeypatch.setattr(MODULE, "compute_row", lambda *row: rows.append(row[-2]) or compute_row(*row))
    return rows


def network():
    return mlp([1, 6, 1], activation="tanh", data="sine", loss="mse")


def half(outputs, targets):
    return ((outputs - targets) ** 2).mean(1) / 2


def full(outputs, targets):
    return 2 * half(outputs, targets)


def assert_identical(one, other):
    """Assert that two sweeps are bit-for-bit identical."""
    assert all(getattr(one, axis) == getattr(other, axis) for axis in AXES)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name], err_msg=name)


@pytest.mark.parametrize(
    ("problem", "rule", "batch_size"),
    [
        (quadratic([4.0, 2.0, 1.0]), "sam", None),
        (valley(), "sam", 1),
        (network(), "sam", None),
        (network(), "sam", 1),
        (network(), "label_noise", 5),
        (network(), "random", 20),
    ],
)
def test_every_cell_agrees_with_a_single_run(problem, rule, batch_size):
    """Products of many matrices at once may add in a different order: the numbers are equal up to rounding."""
    result = sweep(problem, rule=rule, batch_size=batch_size, k=2, **SMALL | {"seeds": [5, 2]})
    assert result.accuracy is None
    assert (result.diverged_at == -1).all()
    for (a, lr), (b, rho), (c, seed) in product(*map(enumerate, (result.lr, result.rho, result.seed))):
        run = Run(problem, rule, lr, rho, batch_size, seed=seed, device="cpu")
        run.step(40)
        row, cell = run.measure(k=2), (0, 0, a, b, c)
        for name in ("loss", "grad_norm", "trace", "trace_error", "eigenvalues", "converged"):
            np.testing.assert_allclose(getattr(result, name)[cell], row[name], rtol=1e-8, atol=1e-12)
        for name in ("cos_v1", "cos_eigenspace", "rayleigh", "residuals"):
            np.testing.assert_allclose(getattr(result, name)[cell], row[name], atol=1e-6)
        assert result.sharpness[cell] == result.eigenvalues[cell][0]


@pytest.mark.parametrize("lr", [[0.1, 0.6], [0.6]], ids=["some", "all"])
def test_diverged_runs_are_nan_and_the_others_continue(lr):
    result = sweep(quadratic([4.0, 1.0]), lr=lr, rho=[0.0, 0.1], steps=200, progress=False, device="cpu")
    diverges = np.array(lr) > 0.5
    assert (result.diverged_at[:, :, diverges] > 0).all()
    assert (result.diverged_at[:, :, ~diverges] == -1).all()
    for name, array in result.arrays().items():
        if name not in ("diverged_at", "converged"):
            assert np.isnan(array[:, :, diverges]).all(), name
            assert np.isfinite(array[:, :, ~diverges]).all(), name
    assert not result.converged[:, :, diverges].any()


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_accuracy_is_that_of_the_test_samples(outputs):
    inputs, labels = load("spirals")
    for answers in (labels, 2 * labels - 1):  # −1 and 1 are two classes as well
        train, test = (inputs[::2], answers[::2]), (inputs[1:75:2], answers[1:75:2])  # 50, and 37 others
        problem = mlp([2, 8, outputs], data=train, loss="mse" if outputs == 1 else "cross_entropy")
        result = sweep(problem, lr=[0.2, 0.5], rho=0.05, seeds=2, steps=100, test=test, progress=False, device="cpu")
        for a, seed in product(range(2), range(2)):
            run = Run(problem, "sam", result.lr[a], 0.05, seed=seed, device="cpu")
            run.step(100)
            weights = run.x[0].split([16, 8, 8 * outputs, outputs])
            hidden = np.tanh(test[0] @ weights[0].view(8, 2).numpy().T + weights[1].numpy())
            score = hidden @ weights[2].view(outputs, 8).numpy().T + weights[3].numpy()
            guess = score[:, 0] > 0 if outputs == 1 else score.argmax(1) == 1
            assert result.accuracy[0, 0, a, 0, seed] == pytest.approx((guess == (labels[1:75:2] == 1)).mean())


def test_rules_and_batch_sizes_are_axes_of_a_frozen_sweep_that_pickles():
    result = sweep(network(), rule=["gd", "sam"], batch_size=[1, None], lr=0.05, rho=0.1, steps=5, progress=False)
    assert (result.rule, result.batch_size) == (("gd", "sam"), (1, 20))
    assert result.loss.shape == (2, 2, 1, 1, 1)
    assert len(set(result.loss.ravel())) == 4
    assert repr(result).endswith("(rule: 2, batch_size: 2, lr: 1, rho: 1, seed: 1) after 5 steps>")
    result = sweep(network(), **SMALL)
    assert_identical(result, pickle.loads(pickle.dumps(result)))
    with pytest.raises(AttributeError):
        result.loss = 0
    assert samviz.sweep is sweep


def test_the_tables_have_the_numbers_of_the_arrays():
    result = sweep(network(), **SMALL, k=2)
    table = result.to_pandas()
    assert len(table) == 18
    (row,) = table.query("lr == 0.05 and rho == 0.1 and seed == 1").to_dict("records")
    assert row["trace"] == result.trace[0, 0, 1, 2, 1]
    assert row["eigenvalues_1"] == result.eigenvalues[0, 0, 1, 2, 1, 1]
    assert {"residuals_0", "trace_error", "converged", "diverged_at"} <= set(table)
    pytest.importorskip("xarray")
    data = result.to_xarray()
    assert data.eigenvalues.dims == (*AXES, "eigenvalue")
    cell = data.sel(rule="sam", batch_size=20, lr=0.05, rho=0.1, seed=1)
    assert float(cell.trace) == result.trace[0, 0, 1, 2, 1]
    assert float(cell.eigenvalues.sel(eigenvalue=2)) == result.eigenvalues[0, 0, 1, 2, 1, 1]
    assert {"residuals", "trace_error", "converged", "diverged_at"} <= set(data)
    assert data.attrs == {"problem": result.problem, "steps": 40}


@pytest.mark.parametrize("name", ["xarray", "pandas"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(name, monkeypatch):
    result = sweep(quadratic([1.0]), steps=1, progress=False)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"pip install {name}"):
        getattr(result, f"to_{name}")()


def test_the_same_call_computes_only_rows_that_are_damaged_or_have_no_description(tmp_path, computed):
    folder = tmp_path / "new" / "folder"
    first = sweep(network(), **SMALL, path=folder)
    assert_identical(first, sweep(network(), **SMALL, path=folder))
    assert len(computed) == 5
    files = sorted(folder.iterdir())
    assert {file.suffix for file in files} == {".npz"}
    content = [file.read_bytes() for file in files]
    files[0].write_bytes(content[0][:-100])  # truncated
    files[1].write_bytes(content[1][:300] + bytes([content[1][300] ^ 255]) + content[1][301:])  # one byte is wrong
    files[2].write_bytes(b"")
    np.savez(files[3], loss=np.array([object()], dtype=object))  # would have to be unpickled
    with np.load(files[4]) as row:
        arrays = {name: row[name] for name in row.files if "description" not in name}
    np.savez(files[4], **arrays)
    assert_identical(first, sweep(network(), **SMALL, path=folder))
    assert len(computed) == 10
    assert [file.read_bytes() for file in files] == content


INPUTS, LABELS = load("spirals")
TARGETS = 2.0 * LABELS - 1
TEST = INPUTS[:10], LABELS[:10]
SMALLER = {"lr": 0.05, "rho": 0.1, "seeds": 1, "steps": 2}
CLASSIFIER = SMALLER | {"problem": mlp([2, 3, 1], data=(INPUTS, LABELS)), "test": TEST}
REGRESSION = SMALLER | {"problem": mlp([2, 3, 1], data=(INPUTS, TARGETS), loss=half)}
# A first sweep, the description that refuses a second one in its folder, and what is different there.
CHANGES = [
    ({}, "lr", {"lr": [0.02, 0.06]}),
    ({}, "steps", {"steps": 41}),
    ({}, "rule", {"rule": "usam"}),
    ({}, "dtype", {"dtype": torch.float32}),
    ({}, "x0", {"x0": np.zeros(19)}),
    (CLASSIFIER, "test", {"test": (INPUTS[10:20], LABELS[10:20])}),
    (CLASSIFIER, "test", {"test": (INPUTS[:10], 1 - LABELS[:10])}),
    (CLASSIFIER, "test", {"test": None}),
    (REGRESSION, "numbers", {"problem": mlp([2, 3, 1], data=(INPUTS, 1.01 * TARGETS), loss=half)}),
    (REGRESSION, "numbers", {"problem": mlp([2, 3, 1], data=(INPUTS, TARGETS), loss=full)}),
]


@pytest.mark.parametrize(("first", "name", "change"), CHANGES)
def test_a_different_sweep_in_the_same_folder_is_refused(first, name, change, tmp_path, monkeypatch):
    """Also a different problem, test set or version of samviz; any row is enough."""
    args = SMALL | {"problem": network(), "path": tmp_path} | first
    result = sweep(**args)
    for file in sorted(tmp_path.iterdir())[:-1]:
        file.unlink()
    with pytest.raises(ValueError, match=f"holds another sweep: {name} was .*, now .*another path"):
        sweep(**args | change)
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "__version__", "99")
        with pytest.raises(ValueError, match=r"another sweep: samviz was .*, now 99"):
            sweep(**args)
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(sweep(**args).loss, result.loss)


@pytest.mark.parametrize("threads", [False, True])
def test_an_interrupt_keeps_the_finished_rows(threads, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    count = []

    def interrupted(*row):
        count.append(row)
        if len(count) == 3:
            raise KeyboardInterrupt
        return compute_row(*row)

    monkeypatch.setattr(MODULE, "compute_row", interrupted)
    with ThreadPoolExecutor(1) as executor, pytest.raises(KeyboardInterrupt) as caught:
        sweep(network(), **SMALL, executor=executor if threads else None)
    (note,) = caught.value.__notes__
    kept = int(re.match(r"([2-4]) of 5 rows of the sweep are finished and kept: run it again with path=", note)[1])
    assert threads or kept == 2
    count[:] = [None] * 9
    assert_identical(sweep(network(), **SMALL, path=note.split("'")[1]), sweep(network(), **SMALL))
    assert len(count) == 9 + 5 - kept + 5


def test_without_a_path_no_file_remains(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sweep(network(), **SMALL)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(MODULE, "compute_row", lambda *row: 1 / 0)  # before any row is finished
    with pytest.raises(ZeroDivisionError):
        sweep(network(), **SMALL)
    assert list(tmp_path.iterdir()) == []


def module_problem():
    net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    return from_module(net, data="sine")


@contextmanager
def dask(workers):
    """Yield the executor of a Dask cluster on this machine."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(workers, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


PROCESSES = pytest.param(partial(ProcessPoolExecutor, mp_context=get_context("spawn")), marks=pytest.mark.slow)
DASK = pytest.param(dask, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[ThreadPoolExecutor, PROCESSES, DASK])
def pool(request):
    with request.param(2) as executor:
        yield executor


@pytest.mark.parametrize("problem", [network(), valley(), quadratic([3.0, 1.0]), module_problem()], ids=repr)
def test_threads_processes_and_dask_give_bit_for_bit_identical_numbers(pool, problem):
    """Slow with processes and Dask, whose workers import torch."""
    args = SMALL | {"lr": [0.002, 0.005], "steps": 10, "batch_size": 1 if problem.samples else None}
    assert_identical(sweep(problem, **args, executor=pool), sweep(problem, **args))


def test_a_loss_that_cannot_be_pickled_is_refused_by_a_process_pool_only():
    problem = mlp([1, 6, 1], data="sine", loss=lambda outputs, targets: half(outputs, targets))
    sweep(problem, **SMALL)
    with (
        ProcessPoolExecutor(1) as executor,
        pytest.raises(ValueError, match=r"cannot be sent to another process .*lambda.*at the top of a file"),
    ):
        sweep(problem, **SMALL, executor=executor)


SPIRALS = mlp([2, 4, 1], data=(INPUTS, LABELS))


@pytest.mark.parametrize(
    ("problem", "wrong", "message"),
    [
        (network(), {"batch_size": [20, None]}, "batch_size is .*each once"),
        (network(), {"x0": np.zeros((2, 19))}, r"x0 has shape \(2, 19\); expected \(19,\)"),
        (SPIRALS, {"test": (INPUTS[:, :1], LABELS)}, r"test holds \(100, 1\) and \(100,\); expected inputs \(m, 2\)"),
        (SPIRALS, {"test": (INPUTS, LABELS.astype(float))}, "integers"),
    ],
)
def test_bad_input_is_refused_before_anything_is_computed(problem, wrong, message, computed, tmp_path):
    with pytest.raises((ValueError, TypeError), match=message):
        sweep(problem, **SMALL | wrong, path=tmp_path / "new")
    assert computed == []
    assert not (tmp_path / "new").exists()


def test_the_progress_bar_counts_runs_and_can_be_switched_off(capsys):
    sweep(network(), **SMALL | {"progress": True})
    shown = capsys.readouterr().err
    assert "18/18" in shown
    assert "MLP on sine" in shown
    sweep(network(), **SMALL)
    assert capsys.readouterr().err == ""
