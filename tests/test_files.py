"""Reading a file never runs code from it, and an interrupted write leaves the old file or the complete new one."""

import os
import pickle
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

import samviz
from samviz import files
from samviz.dynamics import gradient_descent_minimum
from samviz.geometry import landscape_of
from samviz.problems import data, load, mlp

PACKAGE = Path(samviz.__file__).parent


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
    elif kind == "npz":
        names = ("features", "targets", "1-24-24-1 tanh MLP on sine, mse")
        with file.open("wb") as stream:
            np.savez(stream, **dict.fromkeys(names, np.array([Malicious()], dtype=object)))
    else:
        torch.save({"weight": Malicious()}, file)
    return file


def read_checkpoint(file):
    model, loss = torch.nn.Linear(1, 1), torch.nn.functional.mse_loss
    landscape_of(model, loss, (torch.ones(4, 1), torch.ones(4, 1)), checkpoints=file)


NETWORK = mlp([1, 24, 24, 1], data="sine")
READERS = {"sine.npz": lambda _: load("sine"), "c.pt": read_checkpoint}
READERS |= {"minima.npz": lambda _: gradient_descent_minimum(NETWORK)}


@pytest.mark.parametrize("kind", ["pickle", "npz", "torch"])
@pytest.mark.parametrize("name", READERS)
def test_malicious_data_minima_and_checkpoints_are_refused(folder, name, kind, monkeypatch):
    if kind == "torch" and name.endswith(".npz"):
        pytest.skip("an archive without these arrays, which are computed instead")
    file = malicious(folder / name, kind)
    monkeypatch.setattr(data, "__file__", str(folder / "data.py"))
    monkeypatch.setattr(import_module("samviz.dynamics.minimum"), "files", lambda _: folder)
    with pytest.raises((ValueError, TypeError, RuntimeError, KeyError, pickle.UnpicklingError)):
        READERS[name](file)


def test_the_package_reads_arrays_and_weights_without_unpickling():
    """Ruff finds the other functions that run what they read."""
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in source, path
        assert re.search(r"torch\.load\((?!.*weights_only=True)", source) is None, path


# complete or absent


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


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be replaced there")
def test_a_reader_reads_the_old_file_to_its_end_while_it_is_replaced(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with file.open("rb") as reader:
        files.write(file, b"new and longer")
        assert reader.read() == b"old"
    assert file.read_bytes() == b"new and longer"


def test_only_old_temporary_files_are_removed(tmp_path):
    """A different process may still be writing a young one."""
    for name in ("old.part", "old"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "young.part").touch()
    files.remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"old", "young.part"}
