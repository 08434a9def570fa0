"""The square: its runs against samviz's, closed forms against Jacobians by finite differences, and what it shows."""

import numpy as np
import pytest
from pictures import finite, last, names, trace
from scipy.optimize import minimize_scalar

from samviz.claims.ablation import ascent_cycle_near_low
from samviz.dynamics import Run
from samviz.panels.square import CORNERS, RHO, START, STEPS, TOP, draw_square, needle, path, worst_direction
from samviz.problems import quadratic

THIRD = 1 / 3
SHOWN = {"direction": "ascent", "derivative": "kept", "step": STEPS, "lr": 0.001, "low": 1.0, "guess": "skipped"}


def step(rule, x, lr, spectrum):
    run = Run(quadratic(spectrum), rule, lr, RHO, x0=x, device="cpu")
    run.step()
    return run.x[0].numpy()


@pytest.mark.parametrize("rule", ["sam", "ascent"])
@pytest.mark.parametrize(("lr", "ratio"), [(0.001, THIRD), (0.02, 0.5), (0.2, 0.8)])
def test_the_runs_are_those_of_samviz(rule, lr, ratio):
    run = Run(quadratic([TOP, TOP * ratio]), rule, lr, RHO, x0=START, device="cpu", trail=301)
    run.step(300)
    trail = np.array([x[0].numpy() for x in run.trail])
    np.testing.assert_allclose(path(rule, lr, ratio)[: len(trail)], trail, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("x", [(0.06, 0.1), (1e-4, 0.05), (-0.001, 0.002), (0.2, -1e-6)])
@pytest.mark.parametrize("low", [0.6, 1.0, 2.4])
def test_the_worst_direction_is_the_maximizer_and_the_step_is_that_of_the_rule(x, low):
    values = np.array([TOP, low])
    v = np.array(worst_direction(*(values * x), low))

    def loss(angle):
        at = x + RHO * np.array([np.cos(angle), np.sin(angle)])
        return -values @ at**2 / 2

    grid = np.linspace(0, 2 * np.pi, 400)
    best = grid[np.argmin([loss(a) for a in grid])]
    found = minimize_scalar(loss, bounds=(best - 0.02, best + 0.02), method="bounded", options={"xatol": 1e-12})
    assert np.linalg.norm(v) == pytest.approx(1)
    assert values @ (x + RHO * v) ** 2 / 2 == pytest.approx(-found.fun, rel=1e-9)
    after = step("worst", x, 0.01, values)  # its search has a tolerance
    np.testing.assert_allclose(after, x - 0.01 * values * (x + RHO * v), atol=0.01 * RHO * TOP * 1e-2)


@pytest.mark.parametrize(("lr", "degrees"), [(0.01, 26.0), (0.001, 13.2), (0.0001, 7.1)])
def test_exact_ascent_ends_at_the_predicted_angle(lr, degrees):
    x1, x2 = ascent_cycle_near_low(lr, RHO, TOP, 1.0)
    assert np.degrees(np.arctan2(TOP * x1, x2)) == pytest.approx(degrees, abs=0.05)
    np.testing.assert_allclose(step("ascent", (x1, x2), lr, [TOP, 1.0]), [-x1, x2], rtol=1e-9)
    if lr >= 0.001:  # else the panel's runs are too short
        assert 90 - needle("ascent", lr, THIRD).angle[-1] == pytest.approx(degrees, abs=0.05)
        assert np.abs(path("ascent", lr, THIRD)).min() > 1e-100  # no component underflows


def test_the_corners_show_the_needles_of_the_runs():
    figure, sentence = last(draw_square, SHOWN)
    finite(figure, gaps=names(figure))
    assert "13.2° (predicted 13.2°)" in sentence
    results = [t["text"][1] for t in figure["data"] if t["name"] == "result"]
    expected = {"ascent": "∇L → v_M:  λ_M falls", "sam": "∇L → v₁:  λ₁ falls", "worst": "∇L → v₁:  λ₁ falls"}
    assert results == [f"<b>{expected[rule]}</b>" for _, rule, _ in CORNERS.values()]
    assert trace(figure, "signs")["text"] == ["=", "≠"]
    early, _ = last(draw_square, SHOWN | {"step": 100})
    assert {t["text"][1] for t in early["data"] if t["name"] == "result"} == {"<b></b>"}


@pytest.mark.parametrize(
    ("lr", "said"), [(0.05, "settles neither"), (0.15, "settles 13° from v₁"), (0.2, "v₁ is stable")]
)
def test_the_sentence_says_where_the_needle_of_exact_ascent_settles(lr, said):
    assert said in last(draw_square, SHOWN | {"lr": lr})[1]


def test_the_initial_state_shows_nothing_of_the_answer():
    (figure, sentence), *_ = draw_square(SHOWN | {"guess": None})
    assert trace(figure, "signs")["text"] == ["?", "?"]
    assert not [name for name in names(figure) if name.startswith("angle")]
    assert not {"turning force", "≠"} & names(figure)
    assert "v_M" not in sentence
