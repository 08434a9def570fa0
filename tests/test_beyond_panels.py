"""Panels that run a claim: nothing of the answer beforehand, the learner's settings, and steps taken by hand."""

import numpy as np
import pytest
import valley_by_hand as by_hand
from pictures import trace

from samviz import panels
from samviz.claims.subjects import new_run
from samviz.lab import Slider
from samviz.panels.beyond import QUESTIONS, _experiment
from samviz.problems import mlp

NAMES = [name for name in panels.__all__ if getattr(panels, name).__module__ == "samviz.panels.beyond"]


def drawn(name, curve, **values):
    """Return the points of a curve for these values."""
    panel = getattr(panels, name)()
    panel.set(guess="skipped", **values)
    found = trace(panel.figure, curve)
    return found["x"], found["y"]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_answer_is_visible_before_the_guess(name):
    """Not even after another panel has found it."""
    for _ in range(2):
        panel = getattr(panels, name)()
        assert [each["name"] for each in panel.figure["data"]] == ["names"]
        assert panel.figure["data"][0]["text"] == []
        assert panel.figure["layout"]["yaxis"]["showticklabels"] is False
        assert panel.sentence.startswith("The figure will show")
        panel.set(guess="skipped")
        assert len(panel.figure["data"]) > 1


def test_each_answer_has_a_reply():
    assert len(NAMES) == len(QUESTIONS) == 10
    for ask in QUESTIONS.values():
        assert ask["options"].keys() == ask["replies"].keys()


def sam_step(x, slope, lr, rho):
    """Take a step of SAM with the gradient `slope`, by hand."""
    gradient = slope(x)
    return x - lr * slope(x + rho * gradient / np.linalg.norm(gradient, axis=0))


def test_the_distance_along_the_floor_is_that_of_steps_by_hand():
    radii, distances = drawn("normalization_panel", "SAM", rho=0.05, lr=0.01)
    np.testing.assert_allclose(radii, [0.005, 0.025, 0.05])
    path = [np.tile([[0.6], [0.9], [0.1], [0.1]], 3)]
    for _ in range(6000):
        path.append(sam_step(path[-1], lambda x: sum(by_hand.slopes(x)), 0.01, radii))
    np.testing.assert_allclose(distances, np.linalg.norm((path[6000] - path[3000])[:2], axis=0), rtol=1e-4)


def test_where_unnormalized_sam_diverges_the_panel_shows_the_other_runs():
    """At the first minimum λ₁ = 26, so that ηλ₁(1 + ρλ₁) is 3.9 for the largest ρ, 0.25: it must be below 2."""
    assert len(drawn("normalization_panel", "unnormalized", rho=0.25)[0]) == 2
    assert len(drawn("normalization_panel", "SAM", rho=0.25)[0]) == 3


def test_the_drift_with_one_sample_is_that_of_steps_by_hand():
    rates, drifts = drawn("rates_panel", "SAM, b = 1", rho=0.08)
    lr, count, rng = rates[-1], 400, np.random.default_rng(0)
    steps, path = 2 * round(0.25 / lr), [np.tile([[0.2], [0.2], [lr * 0.08], [1e-3]], count)]
    for _ in range(2 * steps):
        sample = rng.integers(2, size=count)
        path.append(sam_step(path[-1], lambda x, k=sample: 2 * np.where(k, *by_hand.slopes(x)), lr, 0.08))
    gradient = np.array([2 * 0.2 - 8 * 0.8, 12 * 0.2 - 2 * 0.8])  # of F₁ + F₂ at the start
    drift = (path[steps] - path[2 * steps])[:2].T @ gradient / np.linalg.norm(gradient) / steps
    assert drifts[-1] == pytest.approx(drift.mean(), rel=0.02)


def test_the_edge_is_that_of_the_formula_and_the_largest_eigenvalue_is_dense():
    steps, tops = drawn("edge_panel", "λ₁", lr=0.2, rho=0.02)
    edges = drawn("edge_panel", "SAM's edge", lr=0.2, rho=0.02)[1]
    run = new_run(mlp([2, 24, 24, 1], data="spirals"), "sam", 0.2, 0.02)
    run.step(int(steps[0]))
    length = float(run.problem.gradient(run.x)[1].norm())
    assert edges[0] == pytest.approx(length / 0.04 * (np.sqrt(1 + 8 * 0.02 / (0.2 * length)) - 1))
    assert tops[0] == pytest.approx(np.linalg.eigvalsh(run.problem.hessian(run.x)[0])[-1], rel=1e-3)


@pytest.mark.parametrize(("claim", "name", "symbol"), [("edge_in_training", "lr", "η"), ("drift_rates", "rho", "ρ")])
def test_a_run_that_diverges_has_a_remedy_that_the_panel_offers(claim, name, symbol):
    panel = _experiment(claim, **{name: Slider(symbol, 0.1, [0.1, 1e9])})
    panel.set(guess="skipped", **{name: 1e9})
    assert panel.view.alert == f"The runs diverged. Lower {symbol}. The figure shows earlier values."
