"""A sweep against single runs and closed forms, on disk after a kill, and with its rows computed elsewhere."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from itertools import product
from multiprocessing import get_all_start_methods, get_context

import numpy as np
import pytest
import torch
from torch import nn

import samviz
from samviz.dynamics import Run, Sweep, sweep
from samviz.dynamics import rows as rows_module
from samviz.problems import from_module, load, mlp, quadratic, valley

AXES = ("rule", "batch_size", "lr", "rho", "seed")
SMALL = {"lr": [0.02, 0.05], "rho": [0.0, 0.05, 0.1], "seeds": 3, "steps": 40, "progress": False, "device": "cpu"}


@pytest.fixture(autouse=True)
def small_rows(monkeypatch):
    """Rows of four, so that these small sweeps have several."""
    monkeypatch.setattr(sys.modules["samviz.dynamics.sweep"], "ROW", 4)


def network():
    return mlp([1, 6, 1], activation="tanh", data="sine", loss="mse")


def same(one, other):
    """Whether two sweeps are equal to the last bit."""
    assert all(getattr(one, axis) == getattr(other, axis) for axis in AXES)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name], err_msg=name)


def computed(monkeypatch):
    """The rows that are computed here from now on."""
    seen = []
    inner = rows_module.finished

    def counting(row):
        seen.append(row)
        return inner(row)

    monkeypatch.setattr(sys.modules["samviz.dynamics.sweep"], "finished", counting)
    return seen


# what it measures


def test_on_a_quadratic_every_cell_is_the_2_cycle_of_theorem_4_8():
    spectrum = np.array([4.0, 2.0, 1.0])
    found = sweep(quadratic(spectrum), **SMALL | {"steps": 3000, "k": 2, "rho": [0.05, 0.1]}, x0=[1.0, 1.0, 1.0])
    assert found.loss.shape == (1, 1, 2, 2, 3)
    assert found.eigenvalues.shape == (1, 1, 2, 2, 3, 2)
    lr, rho = np.array(found.lr)[:, None, None], np.array(found.rho)[:, None]
    size = lr * rho * spectrum[0] / (2 - lr * spectrum[0])
    np.testing.assert_allclose(found.grad_norm[0, 0], np.broadcast_to(size * spectrum[0], (2, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found.loss[0, 0], np.broadcast_to(size**2 * spectrum[0] / 2, (2, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found.eigenvalues[..., 0], 4.0)
    np.testing.assert_allclose(found.eigenvalues[..., 1], 2.0)
    np.testing.assert_allclose(found.trace, 7.0)
    for cosine in (found.cos_v1, found.cos_eigenspace, found.rayleigh):
        np.testing.assert_allclose(cosine, 1, atol=1e-6)
    assert found.converged.all()
    assert (found.residuals < 1e-12).all()
    assert (found.trace_error == 0).all()
    assert (found.diverged_at == -1).all()
    assert found.accuracy is None


def test_on_the_valley_every_cell_is_a_run_of_its_own_to_the_last_bit():
    found = sweep(valley(), **SMALL, batch_size=1)
    for (a, lr), (b, rho), seed in product(enumerate(found.lr), enumerate(found.rho), found.seed):
        run = Run(valley(), "sam", lr, rho, 1, seed=seed, device="cpu")
        run.step(40)
        row, cell = run.measure(), (0, 0, a, b, seed)
        assert (found.loss[cell], found.grad_norm[cell]) == (row["loss"], row["grad_norm"])


@pytest.mark.parametrize(("rule", "batch_size"), [("sam", None), ("sam", 1), ("label_noise", 5), ("random", 20)])
def test_on_a_network_every_cell_is_a_run_of_its_own(rule, batch_size):
    """Products of many matrices at once may add in another order: equal up to rounding."""
    problem = network()
    found = sweep(problem, rule=rule, batch_size=batch_size, **SMALL | {"seeds": [5, 2]})
    for (a, lr), (b, rho), (c, seed) in product(*map(enumerate, (found.lr, found.rho, found.seed))):
        run = Run(problem, rule, lr, rho, batch_size, seed=seed, device="cpu")
        run.step(40)
        row, cell = run.measure(k=1), (0, 0, a, b, c)
        for name in ("loss", "grad_norm"):
            assert getattr(found, name)[cell] == pytest.approx(row[name], rel=1e-10)
        assert found.sharpness[cell] == pytest.approx(row["eigenvalues"][0], rel=1e-8)
        assert found.trace[cell] == pytest.approx(row["trace"], rel=1e-8)
        assert found.cos_v1[cell] == pytest.approx(row["cos_v1"], abs=1e-6)


def test_a_cell_does_not_depend_on_its_company(monkeypatch):
    whole = sweep(valley(), **SMALL, batch_size=1, x0=[0.6, 0.6, 0.1, 0.1])
    monkeypatch.setattr(sys.modules["samviz.dynamics.sweep"], "ROW", 7)
    same(whole, sweep(valley(), **SMALL, batch_size=1, x0=[0.6, 0.6, 0.1, 0.1]))
    alone = sweep(valley(), **SMALL | {"lr": 0.05, "rho": 0.1, "seeds": [2]}, batch_size=1, x0=[0.6, 0.6, 0.1, 0.1])
    for name, array in alone.arrays().items():
        np.testing.assert_array_equal(array.ravel(), whole.arrays()[name][0, 0, 1, 2, 2].ravel(), err_msg=name)


def test_above_500_parameters_too_within_the_tolerance_of_the_eigenvalues():
    problem = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
    found = sweep(problem, lr=[0.05, 0.1], rho=[0.01], seeds=2, steps=20, k=2, progress=False, device="cpu")
    assert found.converged.all()
    assert (found.trace_error > 0).all()
    for (a, lr), seed in product(enumerate(found.lr), found.seed):
        run = Run(problem, "sam", lr, 0.01, seed=seed, device="cpu")
        run.step(20)
        spectrum = torch.linalg.eigvalsh(problem.hessian(run.x))[0].flip(0)
        np.testing.assert_allclose(found.eigenvalues[0, 0, a, 0, seed], spectrum[:2], rtol=1e-6)
        apart = abs(found.trace[0, 0, a, 0, seed] - float(spectrum.sum()))
        assert apart < 5 * found.trace_error[0, 0, a, 0, seed]


def test_what_diverges_is_nan_and_the_others_go_on():
    found = sweep(quadratic([4.0, 1.0]), lr=[0.1, 0.6], rho=[0.0, 0.1], steps=200, progress=False, device="cpu")
    assert (found.diverged_at[:, :, 0] == -1).all()
    assert (found.diverged_at[:, :, 1] > 0).all()
    for name, array in found.arrays().items():
        if name not in ("diverged_at", "converged"):
            assert np.isfinite(array[:, :, 0]).all(), name
            assert np.isnan(array[:, :, 1]).all(), name
    assert not found.converged[:, :, 1].any()


def test_every_run_may_diverge():
    found = sweep(quadratic([4.0, 1.0]), lr=1.0, rho=[0.0, 0.1], steps=200, progress=False, device="cpu")
    assert (found.diverged_at > 0).all()
    assert np.isnan(found.loss).all()


@pytest.mark.parametrize("outputs", [1, 2])
def test_the_accuracy_is_that_of_the_samples_it_has_not_seen(outputs):
    inputs, labels = load("spirals")
    signs = 2 * labels - 1  # −1 and 1 are two classes as well
    for answers in (labels, signs):
        train, test = (inputs[::2], answers[::2]), (inputs[1:75:2], answers[1:75:2])  # 50, and 37 others
        problem = mlp([2, 8, outputs], data=train, loss="mse" if outputs == 1 else "cross_entropy")
        found = sweep(problem, lr=[0.2, 0.5], rho=0.05, seeds=2, steps=100, test=test, progress=False, device="cpu")
        for a, seed in product(range(2), range(2)):
            run = Run(problem, "sam", found.lr[a], 0.05, seed=seed, device="cpu")
            run.step(100)
            weights = run.x[0].split([16, 8, 8 * outputs, outputs])
            hidden = np.tanh(test[0] @ weights[0].view(8, 2).numpy().T + weights[1].numpy())
            score = hidden @ weights[2].view(outputs, 8).numpy().T + weights[3].numpy()
            guess = score[:, 0] > 0 if outputs == 1 else score.argmax(1) == 1
            assert found.accuracy[0, 0, a, 0, seed] == pytest.approx((guess == (labels[1:75:2] == 1)).mean())


def test_several_rules_and_batch_sizes_are_axes():
    found = sweep(network(), rule=["gd", "sam"], batch_size=[1, None], lr=0.05, rho=0.1, steps=5, progress=False)
    assert (found.rule, found.batch_size) == (("gd", "sam"), (1, 20))
    assert found.loss.shape == (2, 2, 1, 1, 1)
    assert len(set(found.loss.ravel())) == 4
    assert repr(found).endswith("(rule: 2, batch_size: 2, lr: 1, rho: 1, seed: 1) after 5 steps>")


def test_in_single_precision():
    found, exact = (sweep(network(), **SMALL, dtype=dtype) for dtype in (torch.float32, torch.float64))
    np.testing.assert_allclose(found.sharpness, exact.sharpness, rtol=1e-3)
    assert not np.array_equal(found.loss, exact.loss)


def test_no_step_measures_the_start():
    found = sweep(quadratic([3.0, 1.0]), steps=0, x0=[1.0, 0.0], progress=False, device="cpu")
    assert found.loss.item() == 1.5


# as a table


def test_as_xarray():
    pytest.importorskip("xarray")
    found = sweep(network(), **SMALL, k=2)
    data = found.to_xarray()
    assert data.loss.dims == AXES
    assert data.eigenvalues.dims == (*AXES, "eigenvalue")
    assert {"residuals", "trace_error", "converged", "diverged_at"} <= set(data)
    cell = data.sel(rule="sam", batch_size=20, lr=0.05, rho=0.1, seed=1)
    assert float(cell.trace) == found.trace[0, 0, 1, 2, 1]
    assert float(cell.eigenvalues.sel(eigenvalue=2)) == found.eigenvalues[0, 0, 1, 2, 1, 1]
    assert data.attrs == {"problem": found.problem, "steps": 40}


def test_as_pandas():
    found = sweep(network(), **SMALL, k=2)
    table = found.to_pandas()
    assert len(table) == 18
    (row,) = table.query("lr == 0.05 and rho == 0.1 and seed == 1").to_dict("records")
    assert row["trace"] == found.trace[0, 0, 1, 2, 1]
    assert row["eigenvalues_1"] == found.eigenvalues[0, 0, 1, 2, 1, 1]
    assert {"residuals_0", "trace_error", "converged", "diverged_at"} <= set(table)


@pytest.mark.parametrize("name", ["xarray", "pandas"])
def test_without_them_it_says_what_to_do(name, monkeypatch):
    found = sweep(quadratic([1.0]), steps=1, progress=False)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=f"pip install {name}"):
        getattr(found, f"to_{name}")()


def test_a_sweep_is_frozen_and_pickles():
    found = sweep(network(), **SMALL)
    same(found, pickle.loads(pickle.dumps(found)))
    with pytest.raises(AttributeError):
        found.loss = 0
    assert {field.name for field in fields(Sweep)} >= {"loss", *AXES}
    assert samviz.sweep is sweep


# on disk


def test_the_same_call_computes_nothing_twice(tmp_path, monkeypatch):
    first = sweep(network(), **SMALL, path=tmp_path / "new" / "folder")
    seen = computed(monkeypatch)
    same(first, sweep(network(), **SMALL, path=tmp_path / "new" / "folder"))
    assert seen == []
    assert {file.suffix for file in (tmp_path / "new" / "folder").iterdir()} == {".npz", ".json"}


def test_a_damaged_row_is_computed_again(tmp_path, monkeypatch):
    first = sweep(network(), **SMALL, path=tmp_path)
    files = sorted(tmp_path.glob("row_*.npz"))
    assert len(files) == 5
    files[0].write_bytes(files[0].read_bytes()[:-100])  # truncated
    middle = bytearray(files[1].read_bytes())
    middle[300] ^= 255  # one byte is wrong
    files[1].write_bytes(bytes(middle))
    files[2].write_bytes(b"")
    np.savez(files[3], loss=np.array([object()], dtype=object))  # would have to be unpickled
    seen = computed(monkeypatch)
    same(first, sweep(network(), **SMALL, path=tmp_path))
    assert len(seen) == 4


CHANGES = {
    "lr": {"lr": [0.02, 0.06]},
    "rho": {"rho": [0.0, 0.05, 0.2]},
    "seed": {"seeds": [0, 1, 3]},
    "steps": {"steps": 41},
    "rule": {"rule": "usam"},
    "batch_size": {"batch_size": 1},
    "k": {"k": 2},
    "dtype": {"dtype": torch.float32},
    "x0": {"x0": np.zeros(19)},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_sweep_in_the_same_folder_is_refused(name, tmp_path):
    first = sweep(network(), **SMALL, path=tmp_path)
    with pytest.raises(ValueError, match=rf"holds another sweep: {name} was .*, now .*another path"):
        sweep(network(), **SMALL | CHANGES[name], path=tmp_path)
    same(first, sweep(network(), **SMALL, path=tmp_path))


def test_another_test_set_in_the_same_folder_is_refused(tmp_path):
    inputs, labels = load("spirals")
    problem, args = mlp([2, 3, 1], data="spirals"), {"lr": 0.1, "steps": 1, "progress": False, "path": tmp_path}
    first = sweep(problem, **args, test=(inputs[:10], labels[:10]))
    for other in ((inputs[10:20], labels[10:20]), (inputs[:10], 1 - labels[:10]), None):
        with pytest.raises(ValueError, match="test was"):
            sweep(problem, **args, test=other)
    same(first, sweep(problem, **args, test=(inputs[:10], labels[:10])))


def half(outputs, targets):
    return ((outputs - targets) ** 2).mean(1) / 2


def whole(outputs, targets):
    return ((outputs - targets) ** 2).mean(1)


def test_another_problem_of_the_same_name_is_refused(tmp_path):
    inputs, targets = load("sine")
    args = {"lr": 0.05, "steps": 2, "progress": False, "path": tmp_path}
    sweep(mlp([1, 6, 1], data=(inputs, targets), loss=half), **args)
    with pytest.raises(ValueError, match="numbers was"):
        sweep(mlp([1, 6, 1], data=(inputs, 1.01 * targets), loss=half), **args)
    with pytest.raises(ValueError, match="numbers was"):
        sweep(mlp([1, 6, 1], data=(inputs, targets), loss=whole), **args)
    sweep(mlp([1, 6, 1], data=(inputs.copy(), targets.copy()), loss=half), **args)


def test_a_folder_with_a_manifest_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "manifest.json").write_text("[1, 2")
    with pytest.raises(ValueError, match="no manifest of a sweep"):
        sweep(network(), **SMALL, path=tmp_path)
    assert (tmp_path / "manifest.json").read_text() == "[1, 2"


def stored(path):
    """The row files of a sweep, each with its content."""
    return {file: file.read_bytes() for file in sorted(path.glob("row_*.npz"))}


def test_a_row_in_the_place_of_another_is_refused(tmp_path):
    sweep(network(), **SMALL, path=tmp_path)
    first, second = tmp_path / "row_00000.npz", tmp_path / "row_00001.npz"
    second.unlink()
    first.rename(second)
    told = r"row_00001\.npz is row 0 of sweep (\w{16}); expected row 1 of sweep \1: delete that file .*computed again"
    with pytest.raises(ValueError, match=told):
        sweep(network(), **SMALL, path=tmp_path)
    second.unlink()
    same(sweep(network(), **SMALL, path=tmp_path), sweep(network(), **SMALL))


@pytest.mark.parametrize("name", ["steps", "rho", "seed"])
def test_rows_of_another_sweep_are_refused_without_a_manifest_too(name, tmp_path, monkeypatch):
    first = sweep(network(), **SMALL, path=tmp_path)
    rows = stored(tmp_path)
    (tmp_path / "manifest.json").unlink()
    told = r"row_00000\.npz is row 0 of sweep (\w{16}); expected row 0 of sweep (?!\1)\w{16}: .*another path"
    with pytest.raises(ValueError, match=told):
        sweep(network(), **SMALL | CHANGES[name], path=tmp_path)
    assert stored(tmp_path) == rows
    assert not (tmp_path / "manifest.json").exists()  # the folder still belongs to the first sweep
    seen = computed(monkeypatch)
    same(first, sweep(network(), **SMALL, path=tmp_path))
    assert seen == []


def test_a_row_without_a_record_of_its_sweep_is_computed_again(tmp_path, monkeypatch):
    """As all rows of earlier versions."""
    first = sweep(network(), **SMALL, path=tmp_path)
    rows = stored(tmp_path)
    for file in rows:
        with np.load(file) as row:
            np.savez(file, **{name: row[name] for name in row.files if " of the sweep" not in name})
    seen = computed(monkeypatch)
    same(first, sweep(network(), **SMALL, path=tmp_path))
    assert len(seen) == len(rows) == 5
    assert stored(tmp_path) == rows


KILLED = """
import os, sys
import samviz.dynamics.sweep
module = sys.modules["samviz.dynamics.sweep"]
module.ROW = 4
inner, count = module.finished, []
def counting(row):
    count.append(row)
    if len(count) == 3:
        os.kill(os.getpid(), 9)  # in the middle of a row
    return inner(row)
module.finished = counting
samviz.sweep(
    samviz.mlp([1, 6, 1], activation="tanh", data="sine", loss="mse"), lr=[0.02, 0.05], rho=[0.0, 0.05, 0.1],
    seeds=3, steps=40, progress=False, device="cpu", path=sys.argv[1],
)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_killed_process_is_resumed_where_it_was(tmp_path, monkeypatch):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("row_*.npz"))) == 2
    seen = computed(monkeypatch)
    resumed = sweep(network(), **SMALL, path=tmp_path)
    assert len(seen) == 3
    same(resumed, sweep(network(), **SMALL))


@pytest.mark.parametrize("threads", [0, 1])
def test_an_interrupt_keeps_what_is_finished(threads, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    module, inner, count = sys.modules["samviz.dynamics.sweep"], rows_module.finished, []

    def interrupted(row):
        count.append(row)
        if len(count) == 3:
            raise KeyboardInterrupt
        return inner(row)

    monkeypatch.setattr(module, "finished", interrupted)
    executor = ThreadPoolExecutor(threads) if threads else None
    with pytest.raises(KeyboardInterrupt) as caught:
        sweep(network(), **SMALL, executor=executor)
    (note,) = caught.value.__notes__
    kept = int(re.match(r"([2-4]) of 5 rows of the sweep are finished and kept: run it again with path=", note)[1])
    assert threads or kept == 2
    monkeypatch.setattr(module, "finished", inner)
    seen = computed(monkeypatch)
    same(sweep(network(), **SMALL, path=note.split("'")[1]), sweep(network(), **SMALL))
    assert len(seen) == 5 - kept + 5


def test_without_a_path_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sweep(network(), **SMALL)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(sys.modules["samviz.dynamics.sweep"], "finished", lambda row: 1 / 0)  # before any row is kept
    with pytest.raises(ZeroDivisionError):
        sweep(network(), **SMALL)
    assert list(tmp_path.iterdir()) == []


# elsewhere


def module_problem():
    net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    return from_module(net, data="sine")


@pytest.fixture(scope="module")
def processes():
    """How processes of their own are started: where the system allows it, they are forks of one that has torch."""
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    context.set_forkserver_preload(["samviz.dynamics.sweep"])
    return context


@pytest.fixture(scope="module")
def pool(processes):
    with ProcessPoolExecutor(2, mp_context=processes) as executor:
        yield executor


@pytest.mark.slow
@pytest.mark.parametrize("problem", [network(), valley(), quadratic([3.0, 1.0]), module_problem()], ids=repr)
def test_a_process_pool_gives_the_same_bits(pool, problem):
    args = SMALL | {"lr": [0.002, 0.005], "steps": 10}
    same(sweep(problem, **args, executor=pool), sweep(problem, **args))


def test_threads_give_the_same_bits():
    with ThreadPoolExecutor(2) as executor:
        same(sweep(network(), **SMALL, batch_size=1, executor=executor), sweep(network(), **SMALL, batch_size=1))


@pytest.mark.slow
def test_a_loss_that_cannot_travel_is_told(pool):
    problem = mlp([1, 6, 1], data="sine", loss=lambda outputs, targets: half(outputs, targets))
    sweep(problem, **SMALL)
    with pytest.raises(ValueError, match=r"cannot travel to another process .*lambda.*at the top of a file"):
        sweep(problem, **SMALL, executor=pool)


class FatalPool(ThreadPoolExecutor):
    """Computes here, and its worker dies with the third row."""

    count = 0

    def submit(self, fn, /, *args, **kwargs):
        self.count += 1
        if self.count < 3:
            return super().submit(fn, *args, **kwargs)
        broken = Future()
        broken.set_exception(BrokenProcessPool("a process was terminated abruptly"))
        return broken


@pytest.mark.slow
def test_a_broken_pool_keeps_what_is_finished(tmp_path, monkeypatch):
    with FatalPool(1) as executor, pytest.raises(BrokenProcessPool) as caught:
        sweep(network(), **SMALL, path=tmp_path, executor=executor)
    files = len(list(tmp_path.glob("row_*.npz")))
    notes = getattr(caught.value, "__notes__", [])
    assert bool(notes) == bool(files)
    seen = computed(monkeypatch)
    same(sweep(network(), **SMALL, path=tmp_path), sweep(network(), **SMALL))
    assert len(seen) == 5 - files + 5


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_the_death_of_a_worker_in_a_process_pool_is_survived_by_the_rows(processes, tmp_path, monkeypatch):
    problem = mlp([1, 6, 1], data="sine", loss=half)
    with ProcessPoolExecutor(1, mp_context=processes) as executor:
        doomed = threading.Thread(target=kill_after, args=(tmp_path, 1, lambda: list(executor._processes)[:1]))
        doomed.start()
        with pytest.raises(BrokenProcessPool) as caught:
            sweep(problem, **SMALL | {"steps": 1000}, path=tmp_path, executor=executor)
        doomed.join()
    files = len(list(tmp_path.glob("row_*.npz")))
    assert 1 <= files < 5
    assert f"{files} of 5 rows of the sweep are finished and kept: run it again" in caught.value.__notes__[0]
    seen = computed(monkeypatch)
    sweep(problem, **SMALL | {"steps": 1000}, path=tmp_path)
    assert len(seen) == 5 - files


def kill_after(folder, rows, pids):
    """Kill processes as soon as so many rows lie in a folder."""
    end = time.monotonic() + 60
    while len(list(folder.glob("row_*.npz"))) < rows and time.monotonic() < end:
        time.sleep(0.005)
    for pid in pids():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_dask_survives_the_death_of_a_worker(tmp_path):
    """Slow: it starts a scheduler and workers, and waits until the loss of one is noticed."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=tmp_path / "dask"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = client.run(os.getpid)
        doomed = threading.Thread(target=kill_after, args=(tmp_path, 1, lambda: list(workers.values())[:1]))
        doomed.start()
        problem, args = mlp([1, 6, 1], data="sine", loss=half), SMALL | {"steps": 600}  # slow enough to be killed at
        found = sweep(problem, **args, path=tmp_path, executor=client.get_executor())
        doomed.join()
        assert client.run(os.getpid) != workers  # another was started in its place
        same(found, sweep(problem, **args))


# bad input


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        ({"lr": [0.1, 0.1]}, ValueError, r"lr is \[0\.1, 0\.1\]; expected one value or more, each once"),
        ({"rho": np.array([0.1, np.nan])}, ValueError, "finite"),
        ({"rule": ["sam", "spam"]}, ValueError, "rule is 'spam'; expected one of gd"),
        ({"batch_size": [20, None]}, ValueError, "batch_size is .*each once"),
        ({"seeds": 0}, ValueError, "seeds is 0; expected 1 or more"),
        ({"x0": np.zeros((2, 19))}, ValueError, r"x0 has shape \(2, 19\); expected \(19,\)"),
        ({"test": (np.zeros((3, 1)), [0, 1, 0])}, ValueError, "is no classifier"),
        ({"device": "abacus"}, ValueError, "device is"),
    ],
)
def test_bad_input_is_told_before_anything_runs(wrong, error, told, monkeypatch, tmp_path):
    seen = computed(monkeypatch)
    with pytest.raises(error, match=told):
        sweep(network(), **SMALL | wrong, path=tmp_path / "new")
    assert seen == []
    assert not (tmp_path / "new").exists()


def test_a_test_set_that_does_not_fit_is_told():
    inputs, labels = load("spirals")
    problem = mlp([2, 4, 1], data=(inputs, labels))
    args = {"steps": 1, "progress": False}
    with pytest.raises(ValueError, match=r"test holds \(100, 1\) and \(100,\); expected inputs \(m, 2\)"):
        sweep(problem, **args, test=(inputs[:, :1], labels))
    with pytest.raises(ValueError, match="labels"):
        sweep(problem, **args, test=(inputs, labels[:5]))
    with pytest.raises(TypeError, match="integers"):
        sweep(problem, **args, test=(inputs, labels.astype(float)))


# the bar


def test_a_bar_is_shown_and_can_be_left_out(capsys):
    sweep(network(), **SMALL | {"progress": True})
    shown = capsys.readouterr().err
    assert "18/18" in shown
    assert "MLP on sine" in shown
    sweep(network(), **SMALL)
    assert capsys.readouterr().err == ""


def test_the_manifest_tells_what_was_swept(tmp_path):
    sweep(network(), **SMALL, path=tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["lr"] == [0.02, 0.05]
    assert manifest["seed"] == [0, 1, 2]
    assert manifest["samviz"] == samviz.__version__
