"""The panel of sweeps against single runs, for every control and at its extremes."""

import itertools

import numpy as np
import pictures
import pytest
import torch
from pictures import trace

from samviz.dynamics import Run
from samviz.panels.sweep_maps import LEARNING_RATES, MINIMA, RADII, TRAIN, digits, draw_sweep

VALUES = {"steps": 30, "size": "all", "wrong": True, "again": 0, "guess": "skipped"}


def last(**changes):
    return pictures.last(draw_sweep, VALUES | changes)


@pytest.fixture(scope="module")
def full():
    return last()


def test_a_cell_shows_a_single_run(full):
    drawn, _ = full
    problem, (inputs, labels) = digits(True)
    for i, j in ((2, 3), (6, 6), (0, 0)):
        run = Run(problem, "sam", LEARNING_RATES[i], RADII[j], x0=MINIMA[True], device="cpu")
        run.step(30)
        spectrum = torch.linalg.eigvalsh(problem.hessian(run.x))[0]
        assert trace(drawn, "λ₁")["z"][i, j] == pytest.approx(float(spectrum[-1]), rel=1e-6)
        assert trace(drawn, "trace")["z"][i, j] == pytest.approx(float(spectrum.sum()), rel=1e-6)
        predicted = problem.outputs(run.x, inputs)[0, :, 0] > 0
        accuracy = float((predicted == (labels == 1)).double().mean())
        assert trace(drawn, "test accuracy")["z"][i, j] == pytest.approx(100 * accuracy)


def test_the_curvature_decreases_with_tau_and_stays_without_a_radius(full):
    drawn, sentence = full
    top = trace(drawn, "λ₁")["z"]
    np.testing.assert_allclose(top[:, 0], top[0, 0], rtol=1e-3)
    assert f"At the start λ₁ was {top[0, 0]:.2f}" in sentence
    small = top[2:5, 1:4]  # (η, ρ); 4η and ρ/2 give the same τ
    np.testing.assert_allclose(small[2, :2], small[0, 1:], rtol=0.05)
    assert (np.diff(top[:, 1:5], axis=0) < 1e-3).all()
    assert (np.diff(top[:, 1:5], axis=1) < 1e-3).all()


def test_two_panels_may_advance_the_same_grid(full):
    slow = draw_sweep(VALUES | {"size": "8", "again": 3})
    *_, middle = itertools.islice(slow, 6)
    _, fast = last(size="8", again=3)
    *_, (_, sentence) = slow
    assert sentence == fast
    assert middle[1] != fast


def test_the_runs_start_at_a_minimum_with_some_wrong_labels_and_the_maps_are_empty_before(full):
    ((drawn, sentence),) = draw_sweep(VALUES | {"guess": None})
    assert np.isnan(trace(drawn, "alignment")["z"]).all()
    assert sentence.startswith("Each cell will show")
    problem, (inputs, labels) = digits(True)
    assert int((problem.labels != digits(False)[0].labels).sum()) == 4
    assert (problem.samples, len(inputs), len(labels)) == (TRAIN, 800, 800)
    assert float(problem.loss(MINIMA[True][None])) < 1e-6
