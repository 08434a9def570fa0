"""Figure 1's panels: who goes where on the valley's floor, and what the figures say of it."""

import json

import numpy as np
import pytest
from pictures import finite, last, trace
from scipy.optimize import brentq
from valley_by_hand import curvatures

from samviz.figures import figure
from samviz.figures.valley import CORNERS, LEVELS, LOOKS
from samviz.panels import ablation_panel, figure_one_panel
from samviz.panels import valley_methods as ablation

QUICK = {"lr": 0.01, "rho": 1.0, "start": (0.3, 0.6)} | dict.fromkeys(LOOKS, False)


def drawn(shown="top", **values):
    return last(ablation.draw_ablation, QUICK | {"shown": shown} | values)


def end(plain, name):
    marker = trace(plain, name, "markers")
    return np.array([marker["x"][-1], marker["y"][-1]])


@pytest.mark.parametrize(
    ("method", "goal", "within"),
    [
        ("sam", (0, 0), 0.01),
        ("worst", (0, 0), 0.01),
        ("average", (0.8, 1 / 7), 0.08),
        ("gd", (0.3, 0.6), 0.02),
    ],
)
def test_each_method_goes_where_the_paper_says(method, goal, within):
    plain, _ = drawn(**{method: True})
    assert np.abs(end(plain, LOOKS[method].name) - goal).max() < within


def test_exact_ascent_lowers_the_other_curvature_and_stops_short():
    plain, _ = drawn(lr=0.004, ascent=True)
    x = end(plain, "exact L_Asc")
    assert curvatures(x)[1] < curvatures((0.3, 0.6))[1]
    assert 0.5 < np.linalg.norm(x - 1) < 1
    assert x[0] > 0.8


def test_one_sample_a_step_rests_where_the_finite_steps_put_it():
    lr = 0.01
    plain, _ = drawn(lr=lr, rho=0.5, one=True)
    goal = np.array([0.75, 0.11])  # least Σ 1/(2 − 4ηF), by its two slopes in turn
    for _ in range(50):
        for i in (0, 1):

            def slope(t, i=i):
                x = [t if i == j else goal[j] for j in (0, 1)]
                rise = (2 * x[0], -8 * (1 - x[0])) if i == 0 else (12 * x[1], -2 * (1 - x[1]))
                return sum(r / (2 - 4 * lr * f) ** 2 for r, f in zip(rise, curvatures(x)))

            goal[i] = brentq(slope, 0, 1)
    path = trace(plain, "1-SAM", "lines")
    rest = np.array([path["x"][-20:].mean(), path["y"][-20:].mean()])
    assert np.abs(rest - goal).max() < 0.06
    assert np.linalg.norm(rest - goal) < np.linalg.norm(rest)


def test_the_table_tells_the_curvatures_where_each_method_is():
    plain, sentence = drawn(sam=True, gd=True)
    names = trace(plain, "column 0")["text"]
    row = next(i for i, text in enumerate(names) if "SAM" in text)
    x = end(plain, "SAM")
    both = 2 * np.array(curvatures(x))
    told = [trace(plain, f"column {i}")["text"][row].strip("<b>/") for i in (3, 4, 5)]
    assert told == [f"{both[0]:.1f}", f"{both[1]:.1f}", f"{sum(both):.1f}"]
    assert trace(plain, "column 3")["text"][row].startswith("<b>")  # the least λ₁ of the two
    assert sentence == "t = 200 steps, τ = ηρ²t = 2.00. SAM: λ₁ 20.5 → 16.0, least 16.0."


@pytest.mark.parametrize("shown", LEVELS)
def test_the_contours_are_of_the_chosen_quantity_and_least_at_its_cross(shown):
    plain, _ = drawn(shown=shown)
    level = trace(plain, "level")
    x1, x2 = np.meshgrid(level["x"], level["y"])
    f = np.sort(2 * np.array(curvatures((x1, x2))), 0)
    expected = {"top": f[1], "low": f[0], "trace": f.sum(0)}[shown]
    np.testing.assert_allclose(level["z"], expected)
    row, column = np.unravel_index(level["z"].argmin(), level["z"].shape)
    assert abs(level["x"][column] - CORNERS[shown][0]) < 0.03
    assert abs(level["y"][row] - CORNERS[shown][1]) < 0.03


def test_with_no_method_it_asks_for_one():
    plain, sentence = drawn()
    assert sentence == "Choose a method."
    finite(plain)


@pytest.mark.parametrize("start", [(-3, 0.2), (1.06, 9), (0.0, 0.0), (1.0, 1.0)])
def test_a_start_anywhere_gives_a_finite_figure_on_the_floor(start):
    plain, _ = drawn(sam=True, one=True, gd=True, start=start)
    finite(plain)
    assert end(plain, "start") == pytest.approx(np.clip(start, 0, 1))


@pytest.mark.parametrize(("lr", "rho"), [(0.05, 1.0), (0.05, 0.1)])
def test_too_large_a_learning_rate_is_told_and_the_figure_stays_finite(monkeypatch, lr, rho):
    monkeypatch.setattr(ablation, "LONGEST", 400)
    plain, sentence = drawn(lr=lr, rho=rho, start=(1.0, 1.0), sam=True, one=True, gd=True)
    finite(plain)
    assert "diverged" in sentence or "1-SAM" in sentence


def test_small_rho_is_cut_and_said(monkeypatch):
    monkeypatch.setattr(ablation, "LONGEST", 60)
    _, sentence = drawn(lr=5e-4, rho=0.1, sam=True)
    assert "Cut at 60 steps" in sentence


def test_it_goes_on_where_it_was_left_when_a_method_is_switched_on_again():
    ablation.TRACED.clear()
    drawn(sam=True)
    run = next(iter(ablation.TRACED.values())).run
    drawn(sam=True, gd=True)
    assert next(iter(ablation.TRACED.values())).run is run
    assert run.steps == 200
    for k in range(ablation.KEPT + 3):
        ablation.traced(ablation.Setting("gd", 0.01, 1.0, (k / 100, 0.0)))
    assert len(ablation.TRACED) == ablation.KEPT


def test_two_panels_may_drive_one_run_and_a_piece_may_be_left_undone():
    ablation.TRACED.clear()
    setting = ablation.Setting("sam", 0.002, 1.0, (0.3, 0.6))
    one, other = ablation.running([setting]), ablation.running([setting])
    for _ in range(7):
        next(one)
    for _ in range(4):
        next(other)
    one.close()
    for _ in other:
        pass
    traced = ablation.traced(setting)
    assert traced.run.steps == traced.steps == 1000
    assert len(traced.points) == 101
    alone = ablation.Traced(setting)
    while alone.steps < 1000:
        list(alone.advance(10))
    np.testing.assert_array_equal(traced.path().x, alone.path().x)


def test_pieces_are_short_and_paths_grow():
    ablation.TRACED.clear()
    lengths = [
        len(trace(plain, "SAM", "lines")["x"])
        for plain, _ in ablation.draw_ablation(QUICK | {"shown": "top", "sam": True})
    ]
    assert len(lengths) > 30
    assert lengths == sorted(lengths)


def test_the_panels_have_their_controls():
    panel = ablation_panel()
    assert set(panel.controls) == {"lr", "rho", "shown", "start", *LOOKS}
    sides = figure_one_panel()
    figure(sides.figure)
    assert set(sides.controls) == {"share"}
    json.dumps(sides.figure["layout"])


def test_the_sides_are_those_of_the_loss_and_share_one_scale():
    panel = figure_one_panel()
    panel.set(share=0)
    assert panel.sentence.startswith("t = 0 steps")
    data = {t["name"]: t for t in panel.figure["data"]}
    x = np.array([-1, 0.5])
    for name in ("start", *("worst", "ascent", "gd", "sam", "one")):
        cut = data[f"{name} x3"]
        np.testing.assert_allclose(np.interp(x, cut["x"], cut["z"]) - 0.3, curvatures((0.3, 0.6))[0] * x**2, atol=1e-6)
    panel.set(share=1)
    data = {t["name"]: t for t in panel.figure["data"]}
    assert data["sam x3"]["z"][0] - 0.3 == pytest.approx(8, abs=0.02)
    assert data["sam x4"]["z"][0] - 0.3 == pytest.approx(6, abs=0.1)
    scenes = [v for k, v in panel.figure["layout"].items() if k.startswith("scene")]
    assert len(scenes) == 6
    assert all(scene["zaxis"]["range"] == [0, 16] for scene in scenes)
