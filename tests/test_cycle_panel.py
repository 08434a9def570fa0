"""The panel of Theorem 4.8 against a loop of numpy and closed forms."""

import numpy as np
import pictures
import pytest
from pictures import finite, names, trace

from samviz.panels import cycle_panel
from samviz.panels.two_cycle import amplitude, draw, field, rate

START = {"lr": 0.25, "rho": 0.5, "share": 0.9, "rule": "sam", "x": (0.5, 1.0)}


def last(**changes):
    return pictures.last(draw, START | changes)


def orbit(lr, rho, share, x, steps=100):
    a, x = np.array([2.0, 2.0 * share]), np.array(x, float)
    path = [x]
    for _ in range(steps):
        g = a * x
        x = x - lr * a * (x + rho * g / np.linalg.norm(g)) if rho else x - lr * g
        path.append(x)
    return np.array(path)


@pytest.mark.parametrize(("lr", "rho", "share"), [(0.25, 0.5, 0.9), (0.05, 0.1, 0.5), (0.7, 1.0, 0.3)])
def test_the_orbits_are_those_of_a_plain_loop(lr, rho, share):
    for rule, radius in (("sam", rho), ("gd", 0.0)):
        figure, _ = last(lr=lr, rho=rho, share=share, rule=rule)
        path = orbit(lr, radius, share, START["x"])
        drawn = trace(figure, "orbit")
        np.testing.assert_allclose(drawn["x"], path[:, 0], atol=1e-12)
        np.testing.assert_allclose(drawn["y"], path[:, 1], atol=1e-12)
        length = np.linalg.norm(path, axis=1)
        np.testing.assert_allclose(trace(figure, f"length {rule}")["y"], length, atol=1e-12)
        np.testing.assert_allclose(trace(figure, f"cos {rule}")["y"], np.abs(path[:, 0]) / length, atol=1e-9)


@pytest.mark.parametrize("lr", [0.05, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_the_cycle_is_where_it_is_predicted(lr, share):
    figure, sentence = last(lr=lr, share=share)
    size = lr * 0.5 * 2 / (2 - 2 * lr)
    assert amplitude(lr, 0.5) == pytest.approx(size)
    ends = np.abs(trace(figure, "last steps")["x"][-2:])
    np.testing.assert_allclose(ends, size, rtol=0.01)
    assert f"predicted {size:.4g}." in sentence
    assert trace(figure, "predicted length")["y"] == [pytest.approx(size)] * 2
    if size < 1.4:
        assert trace(figure, "predicted cycle")["x"][1] == pytest.approx(size)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.98])
def test_the_rate_is_the_one_measured(share):
    path = orbit(0.25, 0.5, share, (0.5, 1.0), 200)
    assert path[-1, 1] / path[-2, 1] == pytest.approx(rate(0.25, share), rel=1e-3)


def test_the_field_is_one_step():
    points, moves = field("sam", 0.25, 0.5, 0.9)
    for point, move in zip(points[::37], moves[::37]):
        np.testing.assert_allclose(orbit(0.25, 0.5, 0.9, point, 1)[1] - point, move, atol=1e-12)
    arrows = trace(last()[0], "steps")
    shafts = np.hypot(arrows["x"][1::6] - arrows["x"][::6], arrows["y"][1::6] - arrows["y"][::6])
    assert shafts.max() <= 0.111


def test_what_is_said():
    assert "predicted 0.1667. Per step the part along v₂ is multiplied by -0.665; predicted -0.665." in last()[1]
    assert "what is left lies along v₂" in last(rule="gd")[1]
    assert "what is left lies along v₁" in last(rule="gd", lr=0.8)[1]
    assert "asks for ηλ₁ < 1" in last(lr=0.7)[1]
    assert "There is no cycle" in last(lr=1.1)[1]
    assert "There is no cycle" in last(lr=1.1, rule="gd")[1]
    assert "x keeps its own" in last(share=1.0)[1]
    assert "almost every start" in last(x=(0.0, 0.7))[1]
    assert "stays there" in last(x=(0.0, 0.0), rule="gd")[1]


@pytest.mark.parametrize("lr", [0.001, 0.5, 1.0, 1.1])
@pytest.mark.parametrize("rho", [0.01, 1.0])
@pytest.mark.parametrize("share", [0.02, 1.0])
@pytest.mark.parametrize("rule", ["sam", "gd"])
@pytest.mark.parametrize("x", [(1.4, 1.4), (0.0, -1.4), (0.0, 0.0)])
def test_every_extreme_is_a_picture(lr, rho, share, rule, x):
    figure, sentence = last(lr=lr, rho=rho, share=share, rule=rule, x=x)
    finite(figure, gaps=names(figure))
    assert "nan" not in sentence
    assert trace(figure, "x")["x"][0] == x[0]


def test_a_run_that_diverges_ends_there():
    figure, sentence = last(lr=1.1)
    for name in ("cos sam", "length sam"):
        assert np.isnan(trace(figure, name)["y"][-1])
    known = trace(figure, "length sam")["y"]
    known = known[np.isfinite(known)]
    assert (known[1:] > known[:-1]).all()
    assert f"after {len(known) - 1} steps" in sentence


def test_its_controls():
    panel = cycle_panel()
    before = panel.sentence
    for change in ({"rho": 0.1}, {"lr": 0.1}, {"share": 0.96}, {"x": (-0.5, -0.2)}, {"rule": "gd"}):
        panel.set(**change)
        assert panel.sentence != before
        before = panel.sentence
    with pytest.raises(ValueError, match="lr is 0"):
        panel.set(lr=0)


def test_the_layout_stands_still():
    layouts = {str(last(**change)[0]["layout"]) for change in ({}, {"x": (-1, 0.2)}, {"lr": 1.1}, {"rho": 0.02})}
    assert len(layouts) == 1
