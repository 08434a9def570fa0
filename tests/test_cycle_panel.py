"""The panel of Theorem 4.8 against a loop of numpy and closed forms."""

import numpy as np
import pictures
import pytest
from pictures import trace

from samviz.claims.ablation import cycle_multiplier
from samviz.panels.two_cycle import draw_cycle, step_field

START = {"lr": 0.25, "rho": 0.5, "share": 0.9, "rule": "sam", "x": (0.5, 1.0)}


def last(**changes):
    return pictures.last(draw_cycle, START | changes)


def orbit(lr, rho, ratio, x, steps=100):
    a, x = np.array([2.0, 2.0 * ratio]), np.array(x, float)
    path = [x]
    for _ in range(steps):
        g = a * x
        x = x - lr * a * (x + rho * g / np.linalg.norm(g)) if rho else x - lr * g
        path.append(x)
    return np.array(path)


@pytest.mark.parametrize(("lr", "rho", "ratio"), [(0.25, 0.5, 0.9), (0.05, 0.1, 0.5), (0.7, 1.0, 0.3)])
def test_the_orbits_are_those_of_a_plain_loop(lr, rho, ratio):
    for rule, radius in (("sam", rho), ("gd", 0.0)):
        figure, _ = last(lr=lr, rho=rho, share=ratio, rule=rule)
        path = orbit(lr, radius, ratio, START["x"])
        drawn = trace(figure, "orbit")
        np.testing.assert_allclose(np.stack((drawn["x"], drawn["y"]), 1), path, atol=1e-12)
        length = np.linalg.norm(path, axis=1)
        np.testing.assert_allclose(trace(figure, f"length {rule}")["y"], length, atol=1e-12)
        np.testing.assert_allclose(trace(figure, f"cos {rule}")["y"], np.abs(path[:, 0]) / length, atol=1e-9)


@pytest.mark.parametrize("lr", [0.05, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("ratio", [0.3, 0.6])
def test_the_cycle_is_where_the_theorem_predicts(lr, ratio):
    figure, sentence = last(lr=lr, share=ratio)
    size = lr * 0.5 * 2 / (2 - 2 * lr)
    np.testing.assert_allclose(np.abs(trace(figure, "last steps")["x"][-2:]), size, rtol=0.01)
    assert f"predicted {size:.4g}." in sentence
    assert trace(figure, "predicted length")["y"] == [pytest.approx(size)] * 2
    if size < 1.4:
        assert trace(figure, "predicted cycle")["x"][1] == pytest.approx(size)


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.9, 0.98])
def test_the_predicted_factor_is_the_measured_one(ratio):
    path = orbit(0.25, 0.5, ratio, (0.5, 1.0), 200)
    assert path[-1, 1] / path[-2, 1] == pytest.approx(cycle_multiplier("sam", 0.25, 2.0, 2 * ratio), rel=1e-3)


def test_an_arrow_is_one_step():
    points, moves = step_field("sam", 0.25, 0.5, 0.9)
    for point, move in zip(points[::37], moves[::37]):
        np.testing.assert_allclose(orbit(0.25, 0.5, 0.9, point, 1)[1] - point, move, atol=1e-12)
    arrows = trace(last()[0], "steps")
    shafts = np.hypot(arrows["x"][1::6] - arrows["x"][::6], arrows["y"][1::6] - arrows["y"][::6])
    assert shafts.max() <= 0.111


def test_the_curves_end_where_a_run_diverges():
    figure, sentence = last(lr=1.1)
    assert np.isnan(trace(figure, "cos sam")["y"][-1])
    length = trace(figure, "length sam")["y"]
    assert np.isnan(length[-1])
    known = length[np.isfinite(length)]
    assert (known[1:] > known[:-1]).all()
    assert f"after {len(known) - 1} steps" in sentence


def test_no_heading_answers_the_question_before_the_answer():
    before, after = (
        " ".join(note["text"] for note in figure["layout"]["annotations"])
        for figure in (next(draw_cycle(START))[0], last()[0])
    )
    assert "v₁" not in before
    assert "|cos(x, v₁)|" in after
