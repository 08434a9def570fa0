"""A run as text: it replays bit for bit, nothing in it is evaluated, and a damaged or excessive text is refused."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import time
import tracemalloc
import zlib
from functools import partial
from typing import Any

import kernel_loop
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kernel_loop import press
from test_engines import MOMENTUM
from test_files import Malicious

from samviz import __version__
from samviz.lab import Lab
from samviz.lab.share import read
from samviz.problems import Problem, from_module, load, mlp, quadratic, valley

SINE = mlp([1, 24, 24, 1], data="sine")
SMALL = mlp([1, 3, 1], data="sine")  # 10 parameters, few enough for a start in the text
START = np.linspace(-1, 1, 10)


def values_in(text):
    """Return the values in a text, unpacked by code of this test."""
    body = text.split(":")[2]
    return json.loads(zlib.decompress(base64.b64decode(body + "=" * (-len(body) % 4))))


def packed(content):
    """Return a text with any content."""
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return f"samviz1:{__version__}:{base64.b64encode(zlib.compress(content, 9)).decode().rstrip('=')}"


def state(lab):
    """Return all that has to be identical in two labs: the bits of the iterate, the settings and their changes."""
    run = lab.session.run
    bits = run.x.numpy().tobytes().hex()
    return [bits, str(run.x.dtype), run.steps, run.seed, str(run.settings), str(run.changes), bool(lab.session.stopped)]


def use(lab, *uses):
    """Use a lab: ("run", steps), ("preset", name), ("reset", None), or a control and its value."""
    for name, value in uses:
        if name == "reset":
            lab.reset()
        elif name in ("run", "preset"):
            getattr(lab, name)(value)
        else:
            lab.set(**{name: value})
    return lab


STEERED = ("run", 60), ("rho", 0.005), ("run", 70), ("batch_size", 3), ("run", 45)
MATRICES = [[[2.0, 0.3], [0.3, 1.0]], [[1.0, 0.1], [0.1, 0.7]], [[0.4, 0.0], [0.0, 1.0]]]
FLOAT32 = {"dtype": torch.float32, "rho": 0.1}
# By name: the problem, options of the lab, and what is done with it.
RUNS: dict[str, tuple[Problem, dict[str, Any], list[tuple[str, Any]]]] = {
    "reset": (SINE, {}, [*STEERED, ("preset", "1-SAM"), ("reset", None), ("run", 33)]),
    "diverged": (SINE, {}, [("run", 30), ("lr", 5.0), ("run", 1000), ("lr", 0.01)]),
    "mean": (valley(mean=True), {"lr": 0.01, "rho": 0.1, "batch_size": 1}, [("run", 5000)]),
    "float32": (SMALL, FLOAT32 | {"x0": START}, [("run", 75)]),
    "momentum": (SINE, {}, [("run", 30), *MOMENTUM.items(), ("run", 100)]),
    "matrices": (quadratic(MATRICES), FLOAT32 | {"batch_size": 1}, [("run", 99)]),
}


def lab_on(problem, **options):
    return Lab(problem, **{"lr": 0.05, "device": "cpu"} | options)


def steered():
    return use(lab_on(SINE), *STEERED)


@pytest.mark.parametrize("name", RUNS)
def test_a_text_gives_the_same_bits(name):
    problem, options, uses = RUNS[name]
    lab = use(lab_on(problem, **options), *uses)
    again = Lab.from_share(lab.share())
    assert state(again) == state(lab)
    assert ("diverged" in again.view.alert) == (name == "diverged")


CONTROLS = st.one_of(
    st.tuples(st.just("run"), st.integers(0, 70)),
    st.tuples(st.just("rule"), st.sampled_from(["sam", "gd", "usam", "label_noise", "average", "random"])),
    st.tuples(st.just("rho"), st.sampled_from([0.0, 0.005, 0.1]) | st.floats(0, 1)),
    st.tuples(st.just("lr"), st.sampled_from([0.01, 0.05, 30.0]) | st.floats(1e-6, 1)),
    st.tuples(st.just("batch_size"), st.integers(1, 20)),
    st.tuples(st.just("seed"), st.integers(0, 2**31 - 1)),
    st.tuples(st.just("preset"), st.sampled_from(["gradient descent", "1-SAM", "SAM, large ρ (its edge)"])),
    st.just(("reset", None)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CONTROLS, max_size=12))
@example([("run", 3), ("lr", 100.0), ("run", 70), ("lr", 0.01), ("rho", 0.5), ("run", 5)])
# The run is rolled back to a step before the last change of a setting.
@example([("run", 3), ("lr", 100.0), ("run", 1), ("run", 1), ("lr", 90.0), ("run", 5)])
def test_after_any_use_of_the_controls_the_text_gives_the_same_bits(uses):
    lab = use(Lab(SMALL, x0=START, device="cpu"), *uses)
    again = Lab.from_share(lab.share())
    assert state(lab) == state(again)
    assert again.values["seed"] == again.session.run.seed
    if not lab.session.stopped:
        assert again.view.alert == ""
        assert state(lab.run(9)) == state(again.run(9))  # they stay identical


def test_a_text_is_short_and_survives_a_chat():
    text = steered().share()
    assert len(text) <= 200
    assert text.startswith(f"samviz1:{__version__}:")
    assert not set(text) & set("*_~`<>&|\\ \n\t'\"")
    wrapped = "\n".join(f"  {text[i : i + 20]} " for i in range(0, len(text), 20))
    assert read(wrapped).steps == 175
    assert values_in(text)[4] == [
        [0, "sam", 0.05, 0.0, None],
        [60, "sam", 0.05, 0.005, None],
        [130, "sam", 0.05, 0.005, 3],
    ]


def test_a_text_of_another_format_names_the_version_that_it_needs():
    with pytest.raises(ValueError, match=rf"samviz2, written by samviz 9\.1\.0; this is samviz {__version__}.*pip"):
        read("samviz2:9.1.0:eJw")
    for wrong in ("", "hello", "samviz1:", "samviz1:0.1.0", "samvizx:0.1.0:eJw", "https://example.org/samviz1:0.1:a"):
        with pytest.raises(ValueError, match="which begins with 'samviz1:'"):
            read(wrong)
    with pytest.raises(TypeError, match="expected the text that"):
        read(7)  # type: ignore[arg-type]


GOOD = [["mlp", [1, 3, 1], "tanh", "sine", "mse"], "float64", 0, None, [[0, "sam", 0.1, 0.0, None]], 10, "0", "x"]
CALL, DTYPE, SEED, X0, SETTINGS, STEPS = range(6)  # the places of its values
CRAFTED: list[tuple[Any, Any, str]] = [  # a place and its value there, or None and the entire content; the error
    (STEPS, 10**15, "expected 0 to 10,000,000 steps"),
    (CALL, ["mlp", [1, 10**9, 1], "tanh", "sine", "mse"], "widths is 1000000000"),
    (CALL, ["mlp", [1, *[300] * 900, 1], "tanh", "sine", "mse"], "at most 100,000 parameters"),
    (CALL, ["mlp", [1, 3, 1], "tanh", "../../../etc/passwd", "mse"], "contains no run"),
    (CALL, ["mlp", [1, 3, 1], "tanh", "sine", "eval"], "loss is 'eval'"),
    (CALL, ["eval", "__import__('os').system('true')"], "expected mlp, valley or quadratic"),
    (CALL, ["quadratic", [1.0] * 65], "with up to 64 numbers"),
    (SEED, 2**62, "below 2"),
    (X0, [0.0] * 11, "x0 has shape"),
    (SETTINGS, [[0, "sam", 0.1, 0.0, 10**12]], "batch_size is 1000000000000"),
    (SETTINGS, [[0, "sam", 10**400, 0.0, None]], "contains no run"),
    (SETTINGS, [[0, "sam", [0.1], 0.0, None]], "expected a number each"),
    (SETTINGS, [], "contains no run"),
    (SETTINGS, [[0, "sam", 0.1, 0, None], [11, "gd", 0.1, 0, None]], "later ones up to 10"),
    (SETTINGS, [[0, "gd", 1, 0, None], [5, "gd", 2, 0, None], [3, "gd", 1, 0, None]], "change at"),
    (DTYPE, "object", "dtype is 'object'"),
    *((None, content, "contains no run") for content in (b'{"problem": 1}', b"7", b"[]", b"\xff\xfe", [*GOOD, 1])),
    *((None, symbol * 100_000, "contains no run") for symbol in (b"[", b"9")),
    (None, b" " * 40_000_000, "cut short, or too long"),
    (None, pickle.dumps(Malicious(), 0), "contains no run"),
]


@pytest.mark.parametrize("row", range(len(CRAFTED)))
def test_a_crafted_text_is_refused_quickly_and_with_little_memory(row, tmp_path, monkeypatch):
    place, value, message = CRAFTED[row]
    monkeypatch.chdir(tmp_path)
    text = packed(value if place is None else [value if i == place else old for i, old in enumerate(GOOD)])
    assert read(packed(GOOD)).steps == 10
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(ValueError, match=message):
            read(text)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []  # a file would have been created if the pickle were loaded


def half(outputs, targets):
    return ((outputs - targets) ** 2).mean(1) / 2


MODULE = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
UNSHAREABLE = [
    (from_module(MODULE, load("sine")), np.zeros(7), "cannot be shared as text; "),
    (mlp([1, 2, 1], data=load("sine")), np.zeros(7), "cannot be shared as text; "),
    (mlp([1, 2, 1], data="sine", loss=half), np.zeros(7), "cannot be shared as text; "),
    (quadratic(np.ones(65)), None, "cannot be shared as text; "),
    (SINE, SINE.initial(3), "x0 has 673 numbers; a text can hold at most 64"),
]


@pytest.mark.parametrize(("problem", "x0", "reason"), UNSHAREABLE)
def test_a_problem_or_start_that_cannot_be_shared_gets_an_error_with_the_remedy(problem, x0, reason):
    lab = lab_on(problem, x0=x0)
    with pytest.raises(ValueError, match=rf"{reason}.*lab\.export"):
        lab.share()
    press(lab, "share")
    assert "lab.export" in lab.view.alert
    assert lab.view.shared == ""
    assert lab.run(2).session.run.steps == 2
    with pytest.raises(ValueError, match=r"text is for valley\(False\) in float64, this lab is .*Lab\.from_share"):
        lab.load(lab_on(valley(), lr=0.01).share())


def test_a_different_rounding_is_reported():
    values = values_in(steered().share())
    values[6], values[7] = "00000000", "Python cuda"
    lab = Lab.from_share(packed(values))
    assert f"from samviz {__version__} Python cuda, this is samviz {__version__} compiled cpu" in lab.view.alert
    assert lab.session.run.steps == 175


def test_a_pasted_text_replaces_the_run_and_sets_the_controls():
    shared = steered()
    lab = Lab(SINE, rho=0.02, seed=0, device="cpu")
    lab.set(side="B")
    before = lab.run(100).history
    press(lab, "load", f" {shared.share()}\n")
    assert state(lab) == state(shared)
    assert (lab.session.rival, lab.values["side"]) == (None, "")
    assert lab.session.ghost is before
    assert (lab.values["rho"], lab.values["batch_size"], lab.view.alert) == (0.005, 3, "")
    assert lab.history["step"][[0, -1]].tolist() == [0, 175]
    assert len(lab.history) > 50
    assert lab.history["loss"][-1] == shared.history["loss"][-1]
    press(lab, "share")
    assert lab.view.shared == lab.share()


def test_a_text_that_cannot_be_loaded_changes_nothing():
    lab = Lab(SMALL, lr=0.05, rho=0.1, x0=START, device="cpu").run(30)
    other = Lab(SMALL, lr=0.05, x0=START, dtype=torch.float32, device="cpu").share()
    before = lab.session, lab.session.run.x, len(lab.history)
    for text in ("", "samviz2:1.0:eJw", lab.share()[:-7], other):
        press(lab, "load", text)
        assert lab.view.alert
        assert (lab.session, lab.session.run.x, len(lab.history)) == before
    assert f'Lab.from_share("{other}")' in lab.view.alert


in_kernel = partial(kernel_loop.in_kernel, seconds=120)
until = partial(kernel_loop.until, seconds=60)


def test_a_long_replay_leaves_the_kernel_responsive_and_can_be_cancelled():
    values = values_in(Lab(SINE, device="cpu").share())
    values[4], values[5] = [[0, "sam", 0.05, 0.005, 1]], 1_000_000

    async def story():
        lab = Lab(SINE, device="cpu").run(20)
        session, waits, progress = lab.session, [], []
        press(lab, "load", packed(values))
        began = time.monotonic()
        while time.monotonic() < began + 3 or (max(progress) <= 0 and time.monotonic() < began + 60):
            turn = time.monotonic()
            await asyncio.sleep(0)
            waits.append(time.monotonic() - turn)
            progress.append(lab.view.progress)
        assert np.median([wait for wait in waits if wait > 1e-4]) < 0.1
        assert 0 < max(progress) < 1
        assert lab.view.progress_label == "replaying the shared run"
        assert lab.session is session  # the old run stays until the new one is complete
        lab.step()
        await until(lambda: lab.session.run.steps == 21 and lab.scheduler.idle)
        assert lab.session is session
        assert lab.view.progress < 0

    in_kernel(story)


def test_in_a_kernel_a_shared_lab_is_returned_at_once_and_later_work_waits_for_the_replay():
    text = steered().share()

    async def story():
        played, stepped = Lab.from_share(text), Lab.from_share(text)
        assert stepped.run(5).session.run.steps == 180
        played.play()
        await until(lambda: played.session.run.steps > 175)
        played.pause()
        assert played.session.run.changes == stepped.session.run.changes

    in_kernel(story)
