"""The panel of sweeps against single runs, for every control and at its extremes."""

import itertools
from functools import partial

import numpy as np
import pictures
import pytest
import torch
from pictures import trace

from samviz.dynamics import Run
from samviz.panels import sweep_maps as panel_module
from samviz.panels import sweep_panel
from samviz.panels.sweep_maps import LEARNING_RATES, RADII, STARTS, STOPS, TRAINED, Case, digits, draw_sweep, grid

last = partial(pictures.last, draw_sweep)
VALUES = {"steps": 30, "size": "all", "wrong": True, "again": 0}


@pytest.fixture(scope="module")
def full():
    return last(VALUES)


def test_a_cell_is_a_run_of_its_own(full):
    drawn, _ = full
    problem, (inputs, labels) = digits(True)
    for i, j in ((2, 3), (6, 6), (0, 0)):
        run = Run(problem, "sam", LEARNING_RATES[i], RADII[j], x0=STARTS[True], device="cpu")
        run.step(30)
        spectrum = torch.linalg.eigvalsh(problem.hessian(run.x))[0]
        assert trace(drawn, "λ₁")["z"][i, j] == pytest.approx(float(spectrum[-1]), rel=1e-6)
        assert trace(drawn, "trace")["z"][i, j] == pytest.approx(float(spectrum.sum()), rel=1e-6)
        guess = problem.outputs(run.x, inputs)[0, :, 0] > 0
        right = float((guess == (labels == 1)).double().mean())
        assert trace(drawn, "test accuracy")["z"][i, j] == pytest.approx(100 * right)


def test_the_mean_is_over_the_seeds_of_single_samples():
    drawn, _ = last(VALUES | {"size": "1", "again": 2})
    problem, _ = digits(True)
    tops = []
    for seed in (4, 5):
        run = Run(problem, "sam", LEARNING_RATES[2], RADII[3], 1, STARTS[True], seed=seed, device="cpu")
        run.step(30)
        tops.append(float(torch.linalg.eigvalsh(problem.hessian(run.x))[0, -1]))
    assert tops[0] != tops[1]
    assert trace(drawn, "λ₁")["z"][2, 3] == pytest.approx(np.mean(tops), rel=1e-6)


def test_it_starts_at_a_minimum_where_some_labels_are_wrong():
    problem, (inputs, labels) = digits(True)
    right, _ = digits(False)
    assert int((problem.labels != right.labels).sum()) == 4
    assert (problem.samples, len(inputs), len(labels)) == (TRAINED, 800, 800)
    last(VALUES)
    assert float(problem.loss(STARTS[True][None])) < 1e-6


def test_without_a_radius_nothing_moves_and_with_one_the_curvature_falls_with_tau(full):
    drawn, sentence = full
    top = trace(drawn, "λ₁")["z"]
    np.testing.assert_allclose(top[:, 0], top[0, 0], rtol=1e-3)
    assert f"At the start λ₁ was {top[0, 0]:.2f}" in sentence
    small = top[2:5, 1:4]  # (η, ρ); η·4 and ρ/2 give the same τ
    np.testing.assert_allclose(small[2, :2], small[0, 1:], rtol=0.05)
    assert (np.diff(top[:, 1:5], axis=0) < 1e-3).all()
    assert (np.diff(top[:, 1:5], axis=1) < 1e-3).all()


def test_it_is_drawn_stop_by_stop():
    figures = [drawn for drawn, _ in draw_sweep(VALUES | {"size": "8"})]
    titles = {drawn["layout"]["annotations"][0]["text"] for drawn in figures}
    assert {"<b>λ₁</b>  after 10 steps", "<b>λ₁</b>  after 30 steps"} <= titles
    again = list(draw_sweep(VALUES | {"size": "8", "steps": 10}))  # known already
    assert len(again) <= 3
    assert again[-1][1].startswith("Step 10 with 8 samples a step.")


def test_a_panel_that_is_faster_takes_the_other_along():
    values = VALUES | {"size": "8", "again": 3}
    slow = draw_sweep(values)
    *_, middle = itertools.islice(slow, 6)
    _, fast = last(values)
    *_, (_, sentence) = slow
    assert sentence == fast
    assert middle[1] != fast


def test_between_two_stops_the_one_before_is_shown():
    assert last(VALUES | {"steps": 99})[1].startswith("Step 30 ")


def test_the_right_labels_have_another_minimum():
    _, sentence = last(VALUES | {"wrong": False, "steps": 10})
    assert sentence.startswith("Step 10 with all 40 a step. At the start λ₁ was ")
    assert sentence.endswith("Nowhere is it higher now.")
    assert not torch.equal(STARTS[False], STARTS[True])


def test_runs_that_diverge_are_told_and_hatched(monkeypatch):
    last(VALUES)
    monkeypatch.setattr(panel_module, "LEARNING_RATES", (0.01, 50.0))
    monkeypatch.setattr(panel_module, "GRIDS", {})
    drawn, sentence = last(VALUES)
    assert sentence.endswith("7 of 14 cells have lost a run.")
    assert len(trace(drawn, "λ₁ diverged")["x"]) > 0
    monkeypatch.setattr(panel_module, "LEARNING_RATES", (50.0, 60.0))
    monkeypatch.setattr(panel_module, "GRIDS", {})
    _, sentence = last(VALUES)
    assert sentence == "Step 30 with all 40 a step. 14 of 14 cells have lost a run."


def test_old_grids_are_forgotten(monkeypatch):
    last(VALUES)
    monkeypatch.setattr(panel_module, "GRIDS", {})
    for again in range(panel_module.KEPT + 2):
        grid(Case("1", True, again))
    assert len(panel_module.GRIDS) == panel_module.KEPT
    assert Case("1", True, 0) not in panel_module.GRIDS


def test_its_controls():
    panel = sweep_panel()
    assert list(panel.values) == ["steps", "size", "wrong", "again"]
    assert panel.controls["steps"].stops == STOPS
    panel.set(steps=10, size="1")
    assert panel.sentence.startswith("Step 10 with one sample a step.")
    with pytest.raises(ValueError, match="from 10 to 3000"):
        panel.set(steps=5)
    with pytest.raises(ValueError, match="'1', '8', 'all'"):
        panel.set(size="2")
