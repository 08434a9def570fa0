"""The timeline of a lab: it looks back at earlier steps, and what is played from there is a new branch."""

from __future__ import annotations

from functools import partial
from typing import Any

import kernel_loop
import numpy as np
import pytest
import torch
from kernel_loop import press
from test_engines import MOMENTUM

from samviz.dynamics import RULES, Rule, Run
from samviz.figures import figure
from samviz.lab import Lab, session
from samviz.problems import Problem, mlp, quadratic, valley

SINE = mlp([1, 8, 8, 1], data="sine")
BOWL = quadratic([3.0, 1.0])
RUNS: dict[str, tuple[str, dict[str, Any], Problem, str]] = {  # rule, settings, problem and engine
    "full batch": ("sam", {}, SINE, "compiled"),
    "1-SAM": ("sam", {"batch_size": 1}, SINE, "compiled"),
    "label noise": ("label_noise", {"batch_size": 3}, SINE, "compiled"),
    "momentum": ("sam", {"batch_size": 10} | MOMENTUM, SINE, "compiled"),
    "torch": ("torch_only", {"batch_size": 2}, SINE, "torch"),
    "closed form": ("average", {}, valley(), "compiled"),
}

until = partial(kernel_loop.until, seconds=20)


def sine_lab(**arguments: Any) -> Lab:
    return Lab(SINE, **{"rho": 0.02, "lr": 0.05, "steps_per_frame": 50, "device": "cpu"} | arguments)


def drawn(lab: Lab, name: str) -> list[dict[str, Any]]:
    """The traces of the lab's figure with this name."""
    return [trace for trace in lab.figure["data"] if trace.get("name") == name]


@pytest.fixture(autouse=True)
def torch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """SAM under another name, which is not compiled."""
    monkeypatch.setitem(RULES, "torch_only", Rule("torch_only", RULES["sam"].direction, "SAM in torch"))


@pytest.mark.parametrize("kind", [*RUNS, "CUDA graph"])
def test_a_branch_with_the_same_settings_repeats_an_uninterrupted_run_bit_for_bit(kind: str) -> None:
    rule, settings, problem, engine = RUNS.get(kind, ("sam", {}, valley(), "CUDA graph"))
    device = "cuda" if engine == "CUDA graph" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA")
    lab = Lab(problem, rule=rule, rho=0.02, lr=0.01, seed=3, steps_per_frame=50, device=device, **settings)
    lab.run(130).set(lr=0.008)
    end = lab.run(300).session.run.x
    assert lab.session.run.engine == engine
    for step in (0, 111, 277):
        lab.look_back(step)
        again = Run(problem, rule, 0.01, 0.02, x0=lab.session.start, seed=3, device=device, **settings)
        again.step(min(step, 130))
        again.set(lr=0.008 if step >= 130 else 0.01)
        again.step(step - min(step, 130))
        assert torch.equal(lab.session.run.x, again.x)
    assert torch.equal(lab.look_back(277).run(430 - 277).session.run.x, end)


def test_every_plot_and_the_controls_show_the_step_that_the_learner_looks_back_at() -> None:
    lab = sine_lab().run(300)
    lab.set(rho=0.05, batch_size=4)
    lab.run(300)
    full = lab.history
    lab.look_back(123)
    there = sine_lab().run(123)
    assert (lab.values["rho"], lab.values["batch_size"]) == (0.02, SINE.samples)
    assert "step 123 · looking back from step 600" in lab.sentence
    assert drawn(lab, "loss")[0]["x"][-1] == 600
    assert [list(mark["x"]) for mark in drawn(lab, "this step")] == [[123, 123]] * 3
    for name in ("now", "latest steps", "iterate"):
        np.testing.assert_allclose(drawn(lab, name)[0]["y"], drawn(there, name)[0]["y"], rtol=1e-3, atol=1e-9)
    assert len(drawn(lab, "latest steps")[0]["x"]) == 41
    assert lab.history.rows[-1]["step"] == 123
    assert lab.history.rows[-1]["loss"] == pytest.approx(there.history.rows[-1]["loss"])
    figure(lab.figure)
    lab.set(quantity="norm")
    lab.look_back(None)
    assert lab.session.quantity == "norm"
    assert lab.history is full
    assert (lab.values["rho"], lab.values["batch_size"], lab.values["look_back"]) == (0.05, 4, None)
    assert [list(mark["x"]) for mark in drawn(lab, "this step")] == [[]] * 3


def test_steps_from_an_earlier_step_are_a_branch_and_the_recorded_run_is_the_ghost() -> None:
    lab = sine_lab().run(400)
    recorded = lab.history
    lab.look_back(150).set(rho=0.1)
    assert lab.session.at_end.run.history is recorded  # nothing is lost yet
    press(lab, "step")
    assert lab.session.ghost is recorded
    assert lab.values["look_back"] is None
    assert lab.view.last_step == lab.session.run.steps == 151
    assert [(step, settings.rho) for step, settings in lab.session.run.changes] == [(0, 0.02), (150, 0.1)]
    assert len(drawn(lab, "last run: loss")[0]["x"]) == len(recorded)
    assert lab.look_back(100).session.run.settings.rho == 0.02  # of the branch
    assert torch.equal(Lab.from_share(lab.run(100).share()).session.run.x, lab.session.run.x)


def test_a_reset_leaves_the_past_with_the_recorded_run_as_the_ghost() -> None:
    lab = sine_lab().run(200)
    recorded = lab.history
    lab.look_back(50)
    press(lab, "reset")
    assert (lab.values["look_back"], lab.session.run.steps, lab.session.recorded) == (None, 0, None)
    assert lab.session.ghost is recorded


def test_a_run_that_has_diverged_continues_from_an_earlier_step() -> None:
    lab = sine_lab().run(50)
    lab.set(lr=5.0)
    lab.run(5000)
    assert "diverged at step" in lab.view.alert
    lab.look_back(40)
    assert lab.view.alert == ""
    assert lab.run(60).session.run.steps == 100
    assert "iverged" not in lab.sentence


def test_keyframes_need_at_most_64_megabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert session.KEYFRAME_BYTES == 64 * 2**20
    monkeypatch.setattr(session, "KEYFRAME_BYTES", 8 * 32 + 1)  # eight pairs of iterates
    lab = Lab(BOWL, rho=0.05, steps_per_frame=10, device="cpu").run(1000)
    steps = [step for step, _ in lab.session.keyframes]
    assert steps == [0, 160, 320, 480, 640, 800, 960]
    x = lab.session.run.x
    assert torch.equal(lab.look_back(159).run(841).session.run.x, x)
