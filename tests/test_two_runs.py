"""Two runs side by side in a lab, A and B: each takes the steps of a run of its own."""

import numpy as np
import pytest
import torch

from samviz.dynamics import Run
from samviz.figures import figure
from samviz.lab import Lab
from samviz.problems import mlp, valley


def two_runs(problem=None, **settings_of_b):
    """Return a lab with run A, whose ρ is 0.02, and run B."""
    lab = Lab(problem or mlp([1, 8, 8, 1], data="sine"), lr=0.05, rho=0.02, device="cpu", steps_per_frame=10)
    lab.run(15).set(side="B")
    lab.set(**settings_of_b)
    return lab


def test_each_run_has_its_own_settings_and_both_have_one_start_and_seed():
    lab = two_runs(batch_size=4, rule="usam", rho=0.1)
    assert (lab.session.run.steps, lab.session.ghost is not None) == (0, True)
    lab.set(side="A")
    assert (lab.values["rule"], lab.values["rho"], lab.values["batch_size"]) == ("sam", 0.02, 20)
    lab.set(batch_size=5)
    lab.run(100)
    for run, settings in zip(lab.session.runs, ({"batch_size": 5}, {"batch_size": 4, "rule": "usam", "rho": 0.1})):
        alone = Run(lab.problem, **({"lr": 0.05, "rho": 0.02} | settings), x0=lab.session.start, device="cpu")
        alone.step(100)
        assert torch.equal(run.x, alone.x)
        assert run.history["step"].tolist() == list(range(0, 101, 10))
        assert run.history["loss"][-1] == alone.measure()["loss"]


def test_reset_keeps_both_settings_and_one_run_is_left_on_request():
    lab = two_runs(rho=0.1).run(30)
    lab.view.act("reset", None)
    assert [run.settings.rho for run in lab.session.runs] == [0.02, 0.1]
    assert [run.steps for run in lab.session.runs] == [0, 0]
    lab.set(side="A")
    lab.view.act("reset", None)
    assert [run.settings.rho for run in lab.session.runs] == [0.02, 0.1]
    lab.run(20).set(side="B")
    lab.set(side="")
    assert (lab.session.rival, lab.values["rho"], lab.session.run.steps) == (None, 0.02, 20)
    assert lab.run(10).session.run.steps == 30
    lab.set(side="A")
    lab.set(side="", rho=0.07)  # a setting that is chosen at the same time stays
    assert (lab.values["rho"], lab.session.run.settings.rho) == (0.07, 0.07)


def test_looking_back_repeats_both_runs_bit_for_bit_with_their_changes():
    lab = two_runs(rho=0.1, momentum=0.5)
    lab.run(55).set(lr=0.03)
    lab.set(side="A")
    lab.run(45).set(rho=0.05)
    ends = [run.x.clone() for run in lab.run(20).session.runs]
    lab.look_back(62)
    assert [run.steps for run in lab.session.runs] == [62, 62]
    assert [run.settings.lr for run in lab.session.runs] == [0.05, 0.03]
    lab.run(38).set(rho=0.05)
    lab.run(20)
    assert all(torch.equal(run.x, end) for run, end in zip(lab.session.runs, ends))


def test_a_run_b_that_diverges_leaves_run_a_alone():
    lab = two_runs(lr=100.0)
    lab.run(50)
    assert lab.session.run.steps == 50
    assert "B: λ₁" in lab.sentence
    assert "(diverged)" in lab.sentence
    assert not lab.session.stopped
    lab.look_back(30)
    lab.run(20)
    assert lab.session.run.steps == 50


def test_the_status_says_that_the_phase_is_that_of_a():
    lab = two_runs(valley())
    assert lab.sentence.startswith("At the start.")
    lab.set(side="A")
    lab.set(rule="usam")
    assert lab.run(2000).sentence.startswith("A: at rest on the valley floor.")


@pytest.mark.parametrize("problem", [None, valley()])
def test_the_figure_shows_b(problem):
    lab = two_runs(problem, rho=0.01).run(30)
    drawn = {trace["name"]: trace for trace in lab.figure["data"]}
    np.testing.assert_array_equal(drawn["B: sharpness"]["y"], lab.session.rival.history["eigenvalues"][:, 0])
    plane = lab.session.landscape.plane
    offset = (lab.session.rival.x[0] - plane.origin).numpy()
    np.testing.assert_allclose(drawn["iterate of B"]["x"], [offset @ plane.directions[0].numpy()], atol=1e-12)
    figure(lab.figure)
    lab.set(side="")
    assert not [name for name in (trace["name"] for trace in lab.figure["data"]) if "B" in name.split(":")]
