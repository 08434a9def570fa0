"""The panel of the limiting flow: what is dashed is Eq. 7 and Eq. 18, and the distances are those of Theorem 4.5."""

import numpy as np
import pytest
from pictures import finite, last, trace

from samviz.panels import flow_panel
from samviz.panels import flow_tracking as flow


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A grid and a run that take a second."""
    monkeypatch.setattr(flow, "SCALES", {})
    monkeypatch.setattr(flow, "LEARNING_RATES", (0.03, 0.015, 0.0075))
    monkeypatch.setattr(flow, "RADII", (0.4, 0.2))
    monkeypatch.setattr(flow, "LONGEST", 1500)


def drawn(**values):
    return last(flow.draw_flow, {"lr": 0.02, "rho": 0.2, "kind": "worst", "start": (0.6, 0.6)} | values)


@pytest.mark.parametrize(("kind", "goal", "rates"), [("worst", (0, 0), (2, 12)), ("average", (0.8, 1 / 7), (5, 7))])
def test_the_dashed_curves_are_the_closed_forms(kind, goal, rates):
    plain, _ = drawn(kind=kind)
    x1, x2 = trace(plain, "flow of x₁"), trace(plain, "flow of x₂")
    tau = np.where(np.arange(len(x1["x"])) == 0, 0, x1["x"]) * 0.02 * 0.2**2
    for curve, aim, rate in zip((x1, x2), goal, rates):
        expected = aim + (curve["y"][0] - aim) * np.exp(-rate * tau)
        np.testing.assert_allclose(curve["y"], expected, atol=1e-9)
    assert tau[-1] == pytest.approx(1)


def test_the_iterate_runs_ahead_of_the_flow_by_the_finite_step():
    plain, sentence = drawn()
    x1 = trace(plain, "x₁")
    late = np.array(x1["x"]) > 700
    t, x = np.array(x1["x"])[late], np.array(x1["y"])[late]
    rate = -np.polyfit(t * 0.02 * 0.2**2, np.log(x), 1)[0]
    assert rate == pytest.approx(2 * (2 / (2 - 0.02 * 16.1)) ** 2, rel=0.03)
    assert sentence.startswith("t = 1,250, τ = ηρ²t = 1.00.")
    assert "Eq. 7 says" in sentence


def test_the_error_is_linear_in_the_learning_rate_and_hardly_depends_on_rho():
    plain, sentence = drawn()
    small, large = trace(plain, "ρ = 0.2"), trace(plain, "ρ = 0.4")
    assert len(small["x"]) == len(large["x"]) == 3
    slope = np.polyfit(np.log(small["x"]), np.log(small["y"]), 1)[0]
    assert slope == pytest.approx(1, abs=0.15)
    assert f"η^{slope:.2f}" in sentence
    assert small["y"][0] == pytest.approx(large["y"][0], rel=0.1)


def test_the_learners_own_runs_stay_and_the_present_one_is_last():
    drawn(lr=0.02)
    plain, sentence = drawn(lr=0.03)
    own = trace(plain, "yours")
    assert list(own["x"]) == [0.02, 0.03]
    error = trace(plain, "this run")["y"][0]
    assert f"{error:.3f} apart" in sentence
    grid = trace(plain, "ρ = 0.2")
    same = grid["y"][list(grid["x"]).index(0.03)]  # the same run in company
    assert error == pytest.approx(same, rel=1e-6)


def test_the_phases_are_marked_where_the_gradient_settles():
    plain, sentence = drawn(lr=0.01, rho=0.2)
    begun = trace(plain, "boundary")["x"][0]
    assert 1 < begun < 100
    assert f"Phase II began at step {begun:.0f}." in sentence
    assert any(note["text"] == "phase II" for note in plain["layout"]["annotations"])


@pytest.mark.parametrize("kind", ["worst", "average"])
@pytest.mark.parametrize("start", [(0, 0), (1, 1), (-5, 0.5)])
def test_any_start_gives_a_finite_figure(kind, start, monkeypatch):
    monkeypatch.setattr(flow, "LONGEST", 100)
    monkeypatch.setattr(flow.Scale, "work", lambda self: iter(()))
    for lr, rho in ((0.03, 0.5), (0.004, 0.05)):
        plain, _ = drawn(kind=kind, start=start, lr=lr, rho=rho)
        finite(plain, gaps=["boundary"])


def test_it_is_drawn_while_it_runs(monkeypatch):
    monkeypatch.setattr(flow.Scale, "work", lambda self: iter(()))
    values = {"lr": 0.02, "rho": 0.2, "kind": "worst", "start": (0.6, 0.6)}
    sizes = [len(trace(plain, "x₁")["x"]) for plain, _ in flow.draw_flow(values)]
    assert len(sizes) > 20
    assert sizes == sorted(sizes)


def test_the_grid_goes_on_where_it_was_left():
    scale = flow.Scale(flow.Case("worst", (0.6, 0.6)))
    while scale.run.steps < scale.due.max():
        work = scale.work()
        next(work)
        work.close()
    assert np.isfinite(scale.error).all()


def test_scales_are_kept_for_a_few_starts_alone():
    for k in range(12):
        flow.scale(flow.Case("worst", (k / 20, 0.5)))
    assert len(flow.SCALES) == 8


def test_the_panel_has_its_controls():
    panel = flow_panel()
    assert set(panel.controls) == {"lr", "rho", "kind", "start"}
    panel.set(lr=0.03, rho=0.4)
    assert panel.values["lr"] == 0.03
    assert panel.sentence.startswith("t = 208")
