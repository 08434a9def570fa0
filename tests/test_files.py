"""Reading a file never runs code from it, and an interrupted write leaves the old file or the complete new one."""

import json
import os
import pickle
import random
import re
import signal
import time
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sweep import assert_identical

import samviz
from samviz import cli, files
from samviz.dynamics import gradient_descent_minimum, sweep
from samviz.dynamics.sweep import load_rows, save_row
from samviz.geometry import landscape_of
from samviz.problems import data, load, mlp, valley

PACKAGE = Path(samviz.__file__).parent
MODULE = import_module("samviz.dynamics.sweep")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forks, so that none has to import torch")


class Malicious:
    """An object whose pickle creates the file "planted" when it is loaded."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('planted').touch()",)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, in which no malicious file may have planted anything in the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "planted").exists()


def malicious(file, kind):
    """Write a file that creates another file if it is unpickled."""
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Malicious()))
    elif kind == "npy":
        with file.open("wb") as stream:
            np.save(stream, np.array([Malicious()], dtype=object), allow_pickle=True)
    elif kind == "npz":
        with file.open("wb") as stream:
            names = ("loss", "features", "targets", "1-24-24-1 tanh MLP on sine, mse")
            np.savez(stream, **dict.fromkeys(names, np.array([Malicious()], dtype=object)))
    else:
        torch.save({"weight": Malicious()}, file, _use_new_zipfile_serialization=kind == "torch")
    return file


def read_checkpoint(file):
    model, loss = torch.nn.Linear(1, 1), torch.nn.functional.mse_loss
    landscape_of(model, loss, (torch.ones(4, 1), torch.ones(4, 1)), checkpoints=file)


NETWORK = mlp([1, 24, 24, 1], data="sine")
READERS = {"sine.npz": lambda _: load("sine"), "c.pt": read_checkpoint}
READERS |= {"minima.npz": lambda _: gradient_descent_minimum(NETWORK)}


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz", "torch", "old torch"])
@pytest.mark.parametrize("name", READERS)
def test_malicious_data_minima_and_checkpoints_are_refused(folder, name, kind, monkeypatch):
    if "torch" in kind and name.endswith(".npz"):
        pytest.skip("an archive without these arrays, which are computed instead")
    file = malicious(folder / name, kind)
    monkeypatch.setattr(data, "__file__", str(folder / "data.py"))
    monkeypatch.setattr(import_module("samviz.dynamics.minimum"), "files", lambda _: folder)
    with pytest.raises((ValueError, TypeError, RuntimeError, KeyError, pickle.UnpicklingError)):
        READERS[name](file)


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz"])
def test_a_malicious_row_of_a_sweep_is_not_read(folder, kind):
    malicious(folder / "row_00000.npz", kind)
    assert load_rows(folder, {"lr": 0.1}, ROW) == {}


def test_a_malicious_record_of_the_copied_notebooks_runs_nothing(folder):
    (folder / "source").mkdir()
    (folder / "source" / "a.ipynb").write_text("{}")
    (folder / "mine").mkdir()
    malicious(folder / "mine" / cli.RECORD, "pickle")
    cli.copy_notebooks(folder / "source", folder / "mine")
    assert list(json.loads((folder / "mine" / cli.RECORD).read_text())) == ["a.ipynb"]


def test_the_package_reads_arrays_and_weights_without_unpickling():
    """Ruff finds the other functions that run what they read."""
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in source, path
        assert re.search(r"torch\.load\((?!.*weights_only=True)", source) is None, path


# complete or absent

ROW = {"loss": np.arange(3.0), "eigenvalues": np.arange(6.0).reshape(3, 2), "converged": np.array([True, False, True])}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    save_row(folder, {"lr": 0.1}, 0, ROW)
    return folder, (folder / "row_00000.npz").read_bytes()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_row_with_a_wrong_byte_is_read_correctly_or_not_at_all(stored, draw):
    folder, content = stored
    at = draw.draw(st.integers(0, len(content) - 1))
    wrong = bytearray(content)
    wrong[at] ^= draw.draw(st.integers(1, 255))
    if draw.draw(st.booleans()):
        wrong = wrong[:at]
    (folder / "row_00000.npz").write_bytes(bytes(wrong))
    for number, arrays in load_rows(folder, {"lr": 0.1}, ROW).items():
        assert number == 0
        for name, array in ROW.items():
            np.testing.assert_array_equal(arrays[name], array)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        files.write(file, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"


def test_of_two_concurrent_writes_the_last_to_finish_wins(tmp_path, monkeypatch):
    file, second = tmp_path / "file", [b"second"]

    def write_in_between(_):
        if second:
            files.write(file, second.pop())
            assert file.read_bytes() == b"second"

    monkeypatch.setattr(os, "fsync", write_in_between)
    files.write(file, b"the first writer, which ends last")
    assert file.read_bytes() == b"the first writer, which ends last"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@needs_fork
def test_a_reader_reads_the_old_file_to_its_end_while_it_is_replaced(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with file.open("rb") as reader:
        files.write(file, b"new and longer")
        assert reader.read() == b"old"
    assert file.read_bytes() == b"new and longer"


def forked(work):
    """Start a function in a forked process, whose `exitcode` is minus the signal that killed it."""
    process = get_context("fork").Process(target=work)
    process.start()
    return process


def die_after(size):
    """Let the process be killed by its first write beyond so many bytes of a file."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it


def make_old(folder):
    """Set the times of the temporary files in a folder to long ago."""
    for part in folder.glob("*.part"):
        os.utime(part, (1, 1))


def test_only_old_temporary_files_are_removed(tmp_path):
    """A different process may still be writing a young one."""
    for name in ("old.part", "old"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "young.part").touch()
    files.remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"old", "young.part"}


@needs_fork
@pytest.mark.parametrize("size", [10, 5000])
def test_a_write_that_is_killed_at_any_byte_leaves_the_old_file(size, tmp_path):
    file, new = tmp_path / "file", (bytes(range(256)) * (size // 256 + 1))[:size]
    for k in sorted({*(size * i // KILLS for i in range(KILLS)), size}):
        file.write_bytes(b"old")
        process = forked(lambda k=k: (die_after(k), files.write(file, new)))
        process.join()
        assert process.exitcode == (0 if k >= size else -signal.SIGXFSZ)
        assert file.read_bytes() == (new if k >= size else b"old")
    make_old(tmp_path)
    files.remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


ROWS, KILLS = 60, 50
SWEEP: dict[str, Any] = {"lr": 0.01, "batch_size": 1, "rho": np.linspace(0.01, 0.2, ROWS), "steps": 5000}
SWEEP |= {"progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def undisturbed():
    """The same sweep without a kill, in rows of one; it also loads and compiles what the forks need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "ROW", 1)
        yield sweep(valley(), **SWEEP)


@pytest.mark.slow
@needs_fork
def test_fifty_kills_at_random_times_lose_no_finished_row(undisturbed, tmp_path, monkeypatch):
    """Slow: fifty processes are started and killed."""
    rng, save = random.Random(0), MODULE.save_row
    monkeypatch.setattr(MODULE, "save_row", lambda *row: (save(*row), signal.pause()))  # at most one row for each kill

    def rows():
        return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in tmp_path.glob("row_*.npz")}

    for _ in range(KILLS):
        before, start = rows(), time.monotonic()
        process = forked(lambda: sweep(valley(), **SWEEP, path=tmp_path))
        wait = rng.choice([60.0, rng.uniform(0, 0.05)])  # until a row is finished, or for some time
        while len(rows()) == len(before) and time.monotonic() < start + wait:
            time.sleep(0.001)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert before.items() <= rows().items()  # no finished row is lost or written again
    assert 0 < len(rows()) < ROWS
    monkeypatch.undo()
    make_old(tmp_path)
    assert_identical(sweep(valley(), **SWEEP, path=tmp_path), undisturbed)
    assert {file.suffix for file in tmp_path.iterdir()} == {".npz"}
