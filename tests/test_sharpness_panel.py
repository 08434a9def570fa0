"""The panel of the three sharpnesses against the library's own measures, finite differences and closed forms."""

import math

import numpy as np
import pytest
import torch
from pictures import finite, names, trace

from samviz.geometry import (
    ascent_direction_sharpness,
    average_direction_sharpness,
    limiting_regularizer,
    worst_direction_sharpness,
)
from samviz.panels import sharpness_panel
from samviz.panels.three_sharpnesses import BOWLS, Bowl, draw, surroundings
from samviz.problems import Problem

START = {"rho": 0.4, "ratio": 4.0, "left": 1.0, "bowl": "round", "x": (0.35, 0.75)}
of_each = pytest.mark.parametrize("kind", BOWLS)


class Torch(Problem):
    """A bowl once more, written for torch, so that the library can measure it."""

    dim = 2

    def __init__(self, kind, ratio):
        self.name, self.kind, self.ratio = kind, kind, ratio
        self.filters = torch.zeros(2, dtype=torch.int64)

    def loss(self, x, batch=None):
        a, b = x.unbind(1)
        if self.kind == "valley":
            return self.ratio ** ((b - 1) / 2) * a**2
        return (a - (b**2 / 2 if self.kind == "bent" else 0)) ** 2 + b**2 / self.ratio

    def initial(self, seed=0):
        return torch.ones(2, dtype=torch.float64)


@of_each
@pytest.mark.parametrize("x", [(0.35, 0.75), (-0.9, -0.4)])
@pytest.mark.parametrize(("left", "rho"), [(1.0, 0.4), (0.05, 1.0), (0.01, 0.1)])
def test_what_is_drawn_is_what_the_library_measures(kind, x, left, rho):
    seen = surroundings(Bowl(kind, 4.0), x, left, rho)
    problem, point = Torch(kind, 4.0), torch.from_numpy(seen.point)
    worst = worst_direction_sharpness(problem, point, rho)
    wanted = [
        worst.value.item(),
        ascent_direction_sharpness(problem, point, rho).value.item(),
        average_direction_sharpness(problem, point, rho, frames=400).value.item(),
    ]
    assert seen.values[:2] == pytest.approx(wanted[:2], rel=1e-4)
    assert seen.values[2] == pytest.approx(wanted[2], rel=0.02)
    assert math.cos(seen.worst[0]) == pytest.approx(worst.direction[0, 0].item(), abs=0.01) or len(seen.worst) == 2


@of_each
def test_the_closed_forms_are_those_of_the_loss(kind):
    bowl, problem = Bowl(kind, 3.0), Torch(kind, 3.0)
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (20, 2))
    loss, gradient = problem.gradient(torch.from_numpy(points))
    np.testing.assert_allclose(bowl.loss(points), loss, atol=1e-12)
    np.testing.assert_allclose(bowl.gradient(points), gradient, atol=1e-12)
    x = points[0]
    for _ in range(20_000):
        x = x - 0.01 * bowl.gradient(x)
    np.testing.assert_allclose(bowl.foot(points[0]), x, atol=3e-3)  # gradient flow's end, by small steps
    foot = torch.from_numpy(bowl.foot(points[0]))
    wanted = [limiting_regularizer(problem, foot, name).value.item() for name in ("worst", "ascent", "average")]
    assert bowl.limits(foot.numpy()) == pytest.approx(wanted, rel=1e-9)


def test_the_figure_shows_these_numbers():
    figure, sentence = draw(START | {"left": 0.001})
    assert trace(figure, "worst limit")["y"] == [1.0, 1.0]
    assert trace(figure, "ascent limit")["y"] == [0.25, 0.25]
    assert trace(figure, "average limit")["y"] == [0.625, 0.625]
    now = [trace(figure, f"{name} now")["y"][0] for name in ("worst", "ascent", "average")]
    u = np.array([2 * 0.35, 0.5 * 0.75])
    u /= np.hypot(*u)
    assert now == pytest.approx([1.0, (2 * u[0] ** 2 + 0.5 * u[1] ** 2) / 2, 0.625], rel=0.01)
    assert "worst 1.002 (1.000), ascent 0.835 (0.250), average 0.625 (0.625)" in sentence
    assert trace(figure, "x")["x"] == [0.35]
    assert trace(figure, "ascent")["x"][1] == pytest.approx(0.4 * u[0], abs=1e-3)
    circle = trace(figure, "circle")
    np.testing.assert_allclose(np.hypot(circle["x"], circle["y"]), 0.4, rtol=0.01)


def test_the_ascent_notion_depends_on_the_side():
    for x, expected in (((0.0, 1.0), 0.25), ((1.0, 0.0), 1.0)):
        seen = surroundings(Bowl("round", 4.0), x, 0.001, 0.5)
        assert seen.values[1] / 0.25 == pytest.approx(expected, rel=0.01)
        assert sorted(np.cos(seen.worst).round(2)) == [-1, 1]


@of_each
@pytest.mark.parametrize("ratio", [1.0, 10.0])
@pytest.mark.parametrize("rho", [0.01, 1.0])
@pytest.mark.parametrize("left", [0.001, 1.0])
@pytest.mark.parametrize("x", [(1.4, 1.4), (-1.4, 0.0), (0.0, -1.4), (0.0, 0.0)])
def test_every_extreme_is_a_picture(kind, ratio, rho, left, x):
    figure, sentence = draw({"bowl": kind, "ratio": ratio, "rho": rho, "left": left, "x": x})
    finite(figure, gaps=names(figure))
    assert "nan" not in sentence
    words = trace(figure, "names")
    assert np.abs(words["x"]).max() <= 1.4
    assert np.abs(words["y"]).max() <= 1.4


def test_where_the_gradient_is_zero_it_says_so():
    figure, sentence = draw(START | {"x": (0.0, 0.0)})
    assert "not defined" in sentence
    assert np.isnan(trace(figure, "ascent")["x"][1])


def test_its_controls():
    panel = sharpness_panel()
    before = panel.sentence
    for change in ({"rho": 0.1}, {"ratio": 2.0}, {"left": 0.01}, {"bowl": "valley"}, {"x": (-0.5, -0.2)}):
        panel.set(**change)
        assert panel.sentence != before
        before = panel.sentence
    with pytest.raises(ValueError, match="rho is 0"):
        panel.set(rho=0)


def test_the_layout_stands_still_while_a_point_moves_a_little():
    first, second = (draw(START | {"x": (0.35, y)})[0] for y in (0.75, 0.76))
    assert str(first["layout"]) == str(second["layout"])
    assert trace(first, "√L")["z"] is trace(second, "√L")["z"]
