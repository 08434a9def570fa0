"""The panel of the limiting flow against the closed forms of Eqs. 7 and 18 and the rates of Theorem 4.5."""

import numpy as np
import pytest
from pictures import finite, last, trace

from samviz.panels import flow_tracking as flow

START = {"lr": 0.02, "rho": 0.2, "kind": "worst", "start": (0.6, 0.6)}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Shorten the grid and the runs to one second."""
    flow.error_grid.cache_clear()
    for name, value in {"LEARNING_RATES": (0.03, 0.015, 0.0075), "RADII": (0.4, 0.2), "MAX_STEPS": 1500}.items():
        monkeypatch.setattr(flow, name, value)


def drawn(**values):
    return last(flow.draw_flow, START | values)


@pytest.mark.parametrize(("kind", "limit", "rates"), [("worst", (0, 0), (2, 12)), ("average", (0.8, 1 / 7), (5, 7))])
def test_the_dashed_curves_are_the_closed_forms(kind, limit, rates):
    plain, _ = drawn(kind=kind)
    for name, end, rate in zip(("x₁", "x₂"), limit, rates):
        curve = trace(plain, f"flow of {name}")
        tau = np.where(np.arange(len(curve["x"])) == 0, 0, curve["x"]) * 0.02 * 0.2**2
        np.testing.assert_allclose(curve["y"], end + (curve["y"][0] - end) * np.exp(-rate * tau), atol=1e-9)
        assert tau[-1] == pytest.approx(1)


def test_the_iterate_is_faster_than_the_flow_by_the_finite_step_size():
    plain, sentence = drawn()
    x1 = trace(plain, "x₁")
    late = np.array(x1["x"]) > 700
    rate = -np.polyfit(np.array(x1["x"])[late] * 0.02 * 0.2**2, np.log(np.array(x1["y"])[late]), 1)[0]
    assert rate == pytest.approx(2 * (2 / (2 - 0.02 * 16.1)) ** 2, rel=0.03)
    assert sentence.startswith("t = 1,250, τ = ηρ²t = 1.00.")
    assert "Eq. 7 predicts" in sentence


def test_the_error_is_linear_in_the_learning_rate_and_hardly_depends_on_rho():
    plain, sentence = drawn()
    small, large = trace(plain, "ρ = 0.2"), trace(plain, "ρ = 0.4")
    assert len(small["x"]) == len(large["x"]) == 3
    slope = np.polyfit(np.log(small["x"]), np.log(small["y"]), 1)[0]
    assert slope == pytest.approx(1, abs=0.15)
    assert f"η^{slope:.2f}" in sentence
    assert small["y"][0] == pytest.approx(large["y"][0], rel=0.1)


def test_the_learners_runs_stay_and_the_present_one_is_last():
    drawn(lr=0.03)
    drawn(lr=0.02)
    plain, sentence = drawn(lr=0.03)
    assert list(trace(plain, "yours")["x"]) == [0.02, 0.03]
    error = trace(plain, "this run")["y"][0]
    assert f"distance on Γ was {error:.3f}" in sentence
    grid = trace(plain, "ρ = 0.2")
    assert error == pytest.approx(grid["y"][list(grid["x"]).index(0.03)], rel=1e-6)  # the same run in a batch


def test_the_phases_are_marked_where_the_gradient_settles():
    plain, sentence = drawn(lr=0.01, rho=0.2)
    began = trace(plain, "boundary")["x"][0]
    assert 1 < began < 100
    assert f"Phase II began at step {began:.0f}." in sentence
    assert any(note["text"] == "phase II" for note in plain["layout"]["annotations"])


@pytest.mark.parametrize("kind", ["worst", "average"])
@pytest.mark.parametrize("start", [(0, 0), (1, 1), (-5, 0.5)])
def test_any_start_gives_a_finite_figure(kind, start, monkeypatch):
    monkeypatch.setattr(flow, "MAX_STEPS", 100)
    monkeypatch.setattr(flow.ErrorGrid, "advance", lambda self: iter(()))
    for lr, rho in ((0.03, 0.5), (0.004, 0.05)):
        finite(drawn(kind=kind, start=start, lr=lr, rho=rho)[0], gaps=["boundary"])


def test_the_path_is_drawn_while_it_grows(monkeypatch):
    monkeypatch.setattr(flow.ErrorGrid, "advance", lambda self: iter(()))
    sizes = [len(trace(plain, "x₁")["x"]) for plain, _ in flow.draw_flow(START)]
    assert len(sizes) > 20
    assert sizes == sorted(sizes)


def test_an_interrupted_grid_of_errors_is_continued():
    errors = flow.error_grid(flow.Case("worst", (0.6, 0.6)))
    while errors.run.steps < errors.compared_at.max():
        work = errors.advance()
        next(work)
        work.close()
    assert np.isfinite(errors.error).all()
    drawn()
    assert flow.error_grid.cache_info().misses == 1


def test_a_run_that_diverges_is_an_error_with_a_remedy():
    with pytest.raises(ValueError, match=r"diverged.*Lower η"):
        drawn(lr=0.5)
