"""Files are data: what is crafted runs nothing; and they are whole: a kill at whatever byte loses the row in flight."""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import signal
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import samviz
from samviz import cli, files
from samviz.dynamics import Run, gradient_descent_minimum, sweep
from samviz.dynamics.checkpoint import Checkpoint
from samviz.geometry import landscape_of
from samviz.problems import data, load, mlp, valley

PACKAGE = Path(samviz.__file__).parent
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="a child is forked, so that torch need not load 50 times")

# ---------------------------------------------------------------- nothing is run


class Plants:
    """What a pickle can do to whoever loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import pathlib; pathlib.Path('planted').touch()",)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, in which nothing must have been planted in the end."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "planted").exists()


def crafted(file: Path, kind: str) -> Path:
    """A file that plants another, if it is unpickled."""
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Plants()))
    elif kind == "npy":
        with file.open("wb") as stream:
            np.save(stream, np.array([Plants()], dtype=object), allow_pickle=True)
    elif kind == "npz":
        with file.open("wb") as stream:
            names = ("loss", "features", "targets", "1-24-24-1 tanh MLP on sine, mse")
            np.savez(stream, **dict.fromkeys(names, np.array([Plants()], dtype=object)))
    elif kind == "torch":
        torch.save({"weight": Plants()}, file)
    elif kind == "old torch":
        torch.save({"weight": Plants()}, file, _use_new_zipfile_serialization=False)
    return file


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz", "torch"])
def test_the_crafted_files_would_plant_something(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = crafted(tmp_path / "file", kind)
    if kind == "torch":
        torch.load(file, weights_only=False)
    else:
        loaded = np.load(file, allow_pickle=True)
        _ = loaded["loss"] if kind == "npz" else None
    assert (tmp_path / "planted").exists()


SMALL: dict[str, Any] = {"rho": [0.0, 0.1], "steps": 3, "lr": 0.01, "progress": False, "device": "cpu"}


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz"])
def test_a_crafted_row_is_computed_again(here, kind):
    first = sweep(valley(), **SMALL, path="kept")
    [row] = Path("kept").glob("row_*.npz")
    crafted(row, kind)
    again = sweep(valley(), **SMALL, path="kept")
    np.testing.assert_array_equal(again.loss, first.loss)
    np.testing.assert_array_equal(np.load(row, allow_pickle=False)["loss"], first.loss.ravel())


@pytest.mark.parametrize("content", [pickle.dumps(Plants()), b"[" * 100_000, b"7", b"[1]", b"\xff", b""])
def test_a_crafted_manifest_is_refused(here, content):
    Path("kept").mkdir()
    Path("kept/manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match="no manifest of a sweep"):
        sweep(valley(), **SMALL, path="kept")
    assert Path("kept/manifest.json").read_bytes() == content


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz", "torch", "old torch"])
def test_a_crafted_checkpoint_of_a_model_is_refused(here, kind):
    model, loss = torch.nn.Linear(1, 1), torch.nn.functional.mse_loss
    with pytest.raises((ValueError, TypeError, RuntimeError, pickle.UnpicklingError)):
        landscape_of(model, loss, (torch.ones(4, 1), torch.ones(4, 1)), checkpoints=crafted(here / "c.pt", kind))


@pytest.mark.parametrize("kind", ["pickle", "npy", "npz"])
def test_crafted_data_and_minima_run_nothing(here, kind, monkeypatch):
    for name in ("sine", "minima"):
        crafted(here / f"{name}.npz", kind)
    monkeypatch.setattr(data, "__file__", str(here / "data.py"))
    with pytest.raises((ValueError, TypeError, pickle.UnpicklingError)):
        load("sine")
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setattr(import_module("samviz.dynamics.minimum"), "files", lambda _: here)
    with pytest.raises((ValueError, TypeError, pickle.UnpicklingError)):
        gradient_descent_minimum(mlp([1, 24, 24, 1], data="sine"))


def test_a_crafted_record_of_the_notebooks_runs_nothing(here, capsys):
    (here / "source").mkdir()
    (here / "source" / "a.ipynb").write_text("{}")
    (here / "mine").mkdir()
    crafted(here / "mine" / cli.RECORD, "pickle")
    cli.copy_notebooks(here / "source", here / "mine")
    assert list(json.loads((here / "mine" / cli.RECORD).read_text())) == ["a.ipynb"]


@pytest.mark.parametrize("name", ["x", "settings", "history", "changes", "bound"])
def test_a_crafted_state_runs_nothing(here, name):
    run = Run(valley(), device="cpu")
    state = run.state_dict() | {name: pickle.dumps(Plants())}
    before = run.x.clone()
    with pytest.raises((ValueError, TypeError)):
        run.load_state_dict(state)
    assert bool((run.x == before).all()) or name != "x"


RUNS = {"eval", "exec", "compile", "__import__"}
UNPICKLES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "runpy",
    "code",
}
ALLOWED = {  # and why
    ("dynamics/sweep.py", "pickle.dumps"): "tells why a problem cannot travel to a worker; nothing is loaded",
    ("dynamics/sweep.py", "pickle.PicklingError"): "the same",
    ("geometry/own_landscape.py", "pickle.UnpicklingError"): "the error of a file that is refused",
}


def dangers(source: str) -> set[str]:
    """Names in a source that may run what they read."""
    found = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLES:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in UNPICKLES:
            found.add(f"{node.value.id}.{node.attr}")
        if isinstance(node, ast.Import):  # under another name it could not be followed
            found |= {f"import {a.name} as {a.asname}" for a in node.names if a.asname and a.name in UNPICKLES}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNS:
            found.add(node.func.id)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("load", "read_pickle")
        ):
            told = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            name = ast.unparse(node.func)
            if name in ("np.load", "numpy.load") and told.get("allow_pickle", False) is False:
                continue
            if name == "torch.load" and told.get("weights_only") is True:
                continue
            if name in ("torch.load", "np.load", "numpy.load") or node.func.attr == "read_pickle":
                found.add(name)
    return found


@pytest.mark.parametrize("module", sorted(PACKAGE.rglob("*.py")), ids=lambda module: str(module.relative_to(PACKAGE)))
def test_nothing_in_the_package_runs_what_it_reads(module):
    name = module.relative_to(PACKAGE).as_posix()
    found = dangers(module.read_text(encoding="utf-8"))
    assert {danger for danger in found if (name, danger) not in ALLOWED} == set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')",
        "from pickle import loads",
        "import pickle as p",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=flag)",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "eval('1')",
        "exec(text)",
        "yaml.load(text)",
        "pd.read_pickle(file)",
        "marshal.loads(text)",
    ],
)
def test_a_danger_is_found(source):
    assert dangers(source)


def test_what_is_safe_is_no_danger():
    safe = "np.load(f, allow_pickle=False)\nnp.load(f)\ntorch.load(f, weights_only=True)"
    assert dangers(f"{safe}\nmodel.eval()\nre.compile('a')\njson.load(f)") == set()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_row_with_a_wrong_byte_is_whole_or_none(stored, draw):
    folder, content = stored
    at = draw.draw(st.integers(0, len(content) - 1))
    wrong = bytearray(content)
    wrong[at] ^= draw.draw(st.integers(1, 255))
    if draw.draw(st.booleans()):
        wrong = wrong[:at]
    checkpoint = Checkpoint(folder, {})
    (folder / "row_00000.npz").write_bytes(bytes(wrong))
    found = checkpoint.load(0, 3)
    if found is not None:
        assert found.keys() == ROW.keys()
        for name, array in ROW.items():
            np.testing.assert_array_equal(found[name], array)


ROW = {"loss": np.arange(3.0), "eigenvalues": np.arange(6.0).reshape(3, 2), "converged": np.array([True, False, True])}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stored")
    Checkpoint(folder, {}).save(0, ROW)
    return folder, (folder / "row_00000.npz").read_bytes()


# ---------------------------------------------------------------- whole or not at all


def test_what_fails_halfway_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"old")

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        files.write(file, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_bytes() == b"old"


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path, monkeypatch):
    file, flush, seen = tmp_path / "file", os.fsync, []

    def while_another_writes(stream):
        flush(stream)
        if not seen:
            seen.append([path.name for path in tmp_path.iterdir()])
            files.write(file, b"second")
            assert file.read_bytes() == b"second"

    monkeypatch.setattr(os, "fsync", while_another_writes)
    files.write(file, b"the first writer, which ends last")
    assert file.read_bytes() == b"the first writer, which ends last"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@forks
def test_who_reads_meanwhile_reads_the_old_file_to_its_end(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with file.open("rb") as reader:
        files.write(file, b"new and longer")
        assert reader.read() == b"old"
    assert file.read_bytes() == b"new and longer"


def child(work: Callable[[], object]) -> int:
    """Run something in a fork of this process; how that ended: its exit status, or minus the signal."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_after(size: int) -> None:
    """From now on, the first write beyond so many bytes of a file kills the process."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it


def age(folder: Path) -> None:
    """Date the temporary files that kills have left in a folder back to long ago."""
    for part in folder.glob("*.part"):
        os.utime(part, (1, 1))


def test_only_old_temporary_files_are_removed(tmp_path):
    """Another writer may be at work on a young one."""
    for name in ("old.part", "old"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    (tmp_path / "young.part").touch()
    files.remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"old", "young.part"}


@forks
@pytest.mark.parametrize("size", [10, 5000])
def test_a_write_that_is_cut_at_any_byte_leaves_the_old_file(size, tmp_path):
    file, new = tmp_path / "file", bytes(range(256)) * (size // 256 + 1)
    new = new[:size]
    for k in sorted({*(size * i // KILLS for i in range(KILLS)), size}):
        file.write_bytes(b"old")

        ended = child(lambda k=k: (killed_after(k), files.write(file, new)))
        assert ended == (0 if k >= size else -signal.SIGXFSZ)
        assert file.read_bytes() == (new if k >= size else b"old")
    age(tmp_path)
    files.remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


ROWS, KILLS = 60, 50
SWEEP: dict[str, Any] = {"lr": 0.01, "batch_size": 1, "rho": np.linspace(0.01, 0.2, ROWS), "steps": 5000}
SWEEP |= {"progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def undisturbed():
    """A sweep of sixty rows in one go, by whose way all that children need is loaded and compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("samviz.dynamics.sweep"), "ROW", 1)
        yield sweep(valley(), **SWEEP)


def equal(one: Any, two: Any) -> bool:
    """Whether two sweeps are the same to the bit."""
    names = ("loss", "grad_norm", "eigenvalues", "residuals", "trace", "trace_error", "cos_v1", "diverged_at")
    return all(getattr(one, name).tobytes() == getattr(two, name).tobytes() for name in names)


@pytest.mark.slow
@forks
def test_fifty_kills_at_random_lose_the_row_in_flight_and_no_other(undisturbed, tmp_path, monkeypatch):
    module, chance = import_module("samviz.dynamics.sweep"), random.Random(0)
    reader, writer = os.pipe()
    saving, computing = Checkpoint.save, module.finished

    def begun(row):
        os.write(writer, b"b%03d" % list(SWEEP["rho"]).index(row.settings.rho[0]))
        return computing(row)

    def saved(self, number, arrays):
        saving(self, number, arrays)
        os.write(writer, b"s%03d" % number)
        signal.pause()  # a row each, or on a fast machine all would be done before the fiftieth kill

    monkeypatch.setattr(Checkpoint, "save", saved)
    monkeypatch.setattr(module, "finished", begun)
    kept: dict[str, bytes] = {}
    finished: set[int] = set()
    lost = twice = kills = 0
    for _ in range(KILLS):
        pid = os.fork()
        if pid == 0:
            try:
                sweep(valley(), **SWEEP, path=tmp_path)
            finally:
                os._exit(1)
        words = [os.read(reader, 4)]  # a row is begun; and then some time, or until it is finished
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0, 0.02))
        else:
            words.append(os.read(reader, 4))
        os.kill(pid, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        os.write(writer, b"end.")
        words += iter(lambda: os.read(reader, 4), b"end.")
        for word in words:
            twice += word[:1] == b"b" and int(word[1:]) in finished
            finished |= {int(word[1:])} if word[:1] == b"s" else set()
        there = {file.name: file.read_bytes() for file in tmp_path.glob("row_*.npz")}
        lost += sum(there.get(name) != content for name, content in kept.items())
        lost += sum(f"row_{number:05d}.npz" not in there for number in finished)
        kept = there
        assert len(list(tmp_path.glob("*.part"))) <= kills
    print(
        f"{kills} kills; {len(kept)} rows finished meanwhile, {lost} lost, {twice} begun again after they were finished"
    )
    assert (kills, lost, twice) == (KILLS, 0, 0)
    assert 0 < len(kept) < ROWS
    os.close(reader), os.close(writer)
    monkeypatch.undo()
    age(tmp_path)
    assert equal(sweep(valley(), **SWEEP, path=tmp_path), undisturbed)
    assert {file.suffix for file in tmp_path.iterdir()} == {".npz", ".json"}


@pytest.mark.slow
@forks
def test_a_kill_at_any_byte_of_a_row_loses_that_row_alone(undisturbed, tmp_path):
    """Slow: for each of fifty bytes a process is started, and killed when it has written them."""
    sweep(valley(), **SWEEP, path=tmp_path)
    whole = (tmp_path / "row_00042.npz").read_bytes()
    others = {file.name: file.read_bytes() for file in tmp_path.iterdir() if "00042" not in file.name}
    for k in (len(whole) * i // KILLS for i in range(KILLS)):
        (tmp_path / "row_00042.npz").unlink(missing_ok=True)
        ended = child(lambda k=k: (killed_after(k), sweep(valley(), **SWEEP, path=tmp_path)))
        assert ended == -signal.SIGXFSZ
        assert not (tmp_path / "row_00042.npz").exists()
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if "00042" not in file.name} == others
    assert equal(sweep(valley(), **SWEEP, path=tmp_path), undisturbed)
    assert (tmp_path / "row_00042.npz").read_bytes() == whole


@forks
def test_a_kill_at_any_byte_of_the_manifest_leaves_a_folder_to_begin_in(undisturbed, tmp_path):
    manifest = {"steps": 3, "lr": list(range(40))}
    Checkpoint(tmp_path / "whole", manifest).begin()
    size = (tmp_path / "whole" / "manifest.json").stat().st_size
    for k in (size * i // KILLS for i in range(KILLS)):
        assert child(lambda k=k: (killed_after(k), Checkpoint(tmp_path / "cut", manifest).begin())) == -signal.SIGXFSZ
        assert not (tmp_path / "cut" / "manifest.json").exists()
    age(tmp_path / "cut")
    Checkpoint(tmp_path / "cut", manifest).begin()
    assert [file.name for file in (tmp_path / "cut").iterdir()] == ["manifest.json"]
