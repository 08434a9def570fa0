"""The panel of the three sharpnesses against the library's measures, finite differences and closed forms."""

import math

import numpy as np
import pytest
import torch
from formula import Formula
from pictures import trace

from samviz.geometry import (
    ascent_direction_sharpness,
    average_direction_sharpness,
    limiting_regularizer,
    worst_direction_sharpness,
)
from samviz.panels import three_sharpnesses
from samviz.panels.three_sharpnesses import BOWLS, Bowl, SharpnessAt

START = {"rho": 0.4, "ratio": 4.0, "left": 1.0, "bowl": "round", "x": (0.35, 0.75), "guess": "skipped"}
of_each = pytest.mark.parametrize("kind", BOWLS)


def draw_sharpness(values):
    (drawing,) = three_sharpnesses.draw_sharpness(values)
    return drawing


def torch_bowl(kind, ratio):
    """Write the same bowl independently for torch, so that the library can measure it."""
    if kind == "valley":
        return Formula(2, lambda a, b: ratio ** ((b - 1) / 2) * a**2)
    return Formula(2, lambda a, b: (a - (b**2 / 2 if kind == "bent" else 0)) ** 2 + b**2 / ratio)


@of_each
@pytest.mark.parametrize("x", [(0.35, 0.75), (-0.9, -0.4)])
@pytest.mark.parametrize(("left", "rho"), [(1.0, 0.4), (0.05, 1.0), (0.01, 0.1)])
def test_the_values_are_those_that_the_library_measures(kind, x, left, rho):
    at = SharpnessAt(Bowl(kind, 4.0), x, left, rho)
    problem, point = torch_bowl(kind, 4.0), torch.from_numpy(at.point)
    worst = worst_direction_sharpness(problem, point, rho)
    ascent = ascent_direction_sharpness(problem, point, rho).value.item()
    average = average_direction_sharpness(problem, point, rho, frames=400).value.item()
    assert at.values[:2] == pytest.approx((worst.value.item(), ascent), rel=1e-4)
    assert at.values[2] == pytest.approx(average, rel=0.02)
    assert math.cos(at.worst[0]) == pytest.approx(worst.direction[0, 0].item(), abs=0.01) or len(at.worst) == 2


@of_each
def test_the_closed_forms_are_those_of_the_loss(kind):
    bowl, problem = Bowl(kind, 3.0), torch_bowl(kind, 3.0)
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (20, 2))
    loss, gradient = problem.gradient(torch.from_numpy(points))
    np.testing.assert_allclose(bowl.loss(points), loss, atol=1e-12)
    np.testing.assert_allclose(bowl.gradient(points), gradient, atol=1e-12)
    x = points[0]
    for _ in range(20_000):  # gradient flow in small steps
        x = x - 0.01 * bowl.gradient(x)
    limit = bowl.limit_point(points[0])
    np.testing.assert_allclose(limit, x, atol=3e-3)
    notions = ("worst", "ascent", "average")
    expected = [limiting_regularizer(problem, torch.from_numpy(limit), name).value.item() for name in notions]
    assert bowl.limits(limit) == pytest.approx(expected, rel=1e-9)


def test_the_figure_shows_the_values_and_their_limits():
    figure, sentence = draw_sharpness(START | {"left": 0.001})
    limits = [trace(figure, f"{name} limit")["y"] for name in ("worst", "ascent", "average")]
    assert limits == [[1.0, 1.0], [0.25, 0.25], [0.625, 0.625]]
    now = [trace(figure, f"{name} now")["y"][0] for name in ("worst", "ascent", "average")]
    u = np.array([2 * 0.35, 0.5 * 0.75])
    u /= np.hypot(*u)
    assert now == pytest.approx([1.0, (2 * u[0] ** 2 + 0.5 * u[1] ** 2) / 2, 0.625], rel=0.01)
    assert "worst 1.002 (1.000), ascent 0.835 (0.250), average 0.625 (0.625)" in sentence
    assert trace(figure, "x")["x"] == [0.35]
    assert trace(figure, "ascent")["x"][1] == pytest.approx(0.4 * u[0], abs=1e-3)
    circle = trace(figure, "circle")
    np.testing.assert_allclose(np.hypot(circle["x"], circle["y"]), 0.4, rtol=0.01)


def test_the_ascent_direction_depends_on_the_approach_and_needs_a_gradient():
    for x, expected in (((0.0, 1.0), 0.25), ((1.0, 0.0), 1.0)):
        at = SharpnessAt(Bowl("round", 4.0), x, 0.001, 0.5)
        assert at.values[1] / 0.25 == pytest.approx(expected, rel=0.01)
        assert sorted(np.cos(at.worst).round(2)) == [-1, 1]
    figure, sentence = draw_sharpness(START | {"x": (0.0, 0.0)})
    assert "not defined" in sentence
    assert np.isnan(trace(figure, "ascent")["x"][1])


def test_the_prediction_is_about_the_direction_shown_and_no_limit_is_shown_before():
    figure, sentence = draw_sharpness(START | {"left": 0.001, "guess": None})
    assert trace(figure, "point")["x"] == pytest.approx([0.35])
    assert not [t for t in figure["data"] if ("limit" in t["name"] or "over ρ²" in t["name"]) and len(t["x"])]
    assert "limit" not in sentence
    at = SharpnessAt(Bowl("round", 4.0), three_sharpnesses.FIRST_POINT, 0.001, three_sharpnesses.FIRST_RHO)
    (low, high, _) = next(r for r in three_sharpnesses.PREDICTION.replies if "stays as it was" in r[2])
    assert low < np.degrees(at.ascent) < high
