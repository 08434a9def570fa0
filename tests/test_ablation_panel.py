"""Figure 1's panels: where each method goes on the valley's floor, and what the figures show of it."""

import numpy as np
import pytest
from pictures import finite, last, trace
from scipy.optimize import brentq
from valley_by_hand import curvatures

from samviz.figures import figure
from samviz.panels import figure_one_panel, valley_methods
from samviz.panels.valley_methods import METHODS, MINIMIZERS, QUANTITIES, MethodRun, method_run

QUICK = {"lr": 0.01, "rho": 1.0, "start": (0.3, 0.6), "shown": "top"} | dict.fromkeys(METHODS, False)


def drawn(**values):
    return last(valley_methods.draw_ablation, QUICK | values)


def end(plain, name):
    marker = trace(plain, name, "markers")
    return np.array([marker["x"][-1], marker["y"][-1]])


@pytest.mark.parametrize(
    ("method", "limit", "within"),
    [("sam", (0, 0), 0.01), ("worst", (0, 0), 0.01), ("average", (0.8, 1 / 7), 0.08), ("gd", (0.3, 0.6), 0.02)],
)
def test_each_method_goes_where_the_paper_says(method, limit, within):
    plain, _ = drawn(**{method: True})
    assert np.abs(end(plain, METHODS[method].label) - limit).max() < within


def test_exact_ascent_lowers_the_smaller_curvature_and_stops_before_its_minimizer():
    x = end(drawn(lr=0.004, ascent=True)[0], "exact L_Asc")
    assert curvatures(x)[1] < curvatures((0.3, 0.6))[1]
    assert 0.5 < np.linalg.norm(x - 1) < 1
    assert x[0] > 0.8


def test_one_sample_per_step_stays_near_the_fixed_point_of_finite_steps():
    lr = 0.01
    plain, _ = drawn(lr=lr, rho=0.5, one=True)
    limit = np.array([0.75, 0.11])  # minimizer of Σ 1/(2 − 4ηF), one coordinate at a time
    for _ in range(50):
        for i in (0, 1):

            def slope(t, i=i):
                x = [t if i == j else limit[j] for j in (0, 1)]
                rise = (2 * x[0], -8 * (1 - x[0])) if i == 0 else (12 * x[1], -2 * (1 - x[1]))
                return sum(r / (2 - 4 * lr * f) ** 2 for r, f in zip(rise, curvatures(x)))

            limit[i] = brentq(slope, 0, 1)
    path = trace(plain, "1-SAM", "lines")
    mean = np.array([path["x"][-20:].mean(), path["y"][-20:].mean()])
    assert np.abs(mean - limit).max() < 0.06
    assert np.linalg.norm(mean - limit) < np.linalg.norm(mean)


def test_the_table_gives_the_curvatures_at_the_end_of_each_path():
    plain, sentence = drawn(sam=True, gd=True)
    row = next(i for i, text in enumerate(trace(plain, "column 0")["text"]) if "SAM" in text)
    both = 2 * np.array(curvatures(end(plain, "SAM")))
    numbers = [trace(plain, f"column {i}")["text"][row].strip("<b>/") for i in (3, 4, 5)]
    assert numbers == [f"{both[0]:.1f}", f"{both[1]:.1f}", f"{sum(both):.1f}"]
    assert trace(plain, "column 3")["text"][row].startswith("<b>")  # the lower λ₁ of the two
    assert sentence == "t = 200 steps, τ = ηρ²t = 2.00. SAM: λ₁ 20.5 → 16.0, minimum 16.0."


@pytest.mark.parametrize("shown", QUANTITIES)
def test_the_contours_show_the_chosen_quantity_and_its_minimizer_is_marked(shown):
    plain, sentence = drawn(shown=shown)
    assert sentence == "Choose a method."
    finite(plain)
    level = trace(plain, "level")
    f = np.sort(2 * np.array(curvatures(np.meshgrid(level["x"], level["y"]))), 0)
    np.testing.assert_allclose(level["z"], {"top": f[1], "low": f[0], "trace": f.sum(0)}[shown])
    row, column = np.unravel_index(level["z"].argmin(), level["z"].shape)
    assert np.abs([level["x"][column], level["y"][row]] - np.array(MINIMIZERS[shown])).max() < 0.03


@pytest.mark.parametrize("start", [(-3, 0.2), (1.06, 9), (0.0, 0.0), (1.0, 1.0)])
def test_any_start_gives_a_finite_figure_that_starts_on_the_floor(start):
    plain, _ = drawn(sam=True, one=True, gd=True, start=start)
    finite(plain)
    assert end(plain, "start") == pytest.approx(np.clip(start, 0, 1))


def test_divergence_is_reported_and_the_figure_stays_finite():
    plain, sentence = drawn(lr=0.05, start=(1.0, 1.0), sam=True, one=True, gd=True)
    finite(plain)
    assert "SAM diverged at step" in sentence


def test_a_run_that_ends_before_tau_is_reached_says_so(monkeypatch):
    monkeypatch.setattr(valley_methods, "MAX_STEPS", 60)
    plain, sentence = drawn(lr=5e-4, rho=0.1, sam=True)
    finite(plain)
    assert "The runs end after 60 steps" in sentence


def test_a_method_that_is_switched_on_again_continues_its_run():
    method_run.cache_clear()
    drawn(sam=True)
    drawn(sam=True, gd=True)
    drawn(sam=True)
    assert method_run("sam", 0.01, 1.0, (0.3, 0.6)).run.steps == 200
    assert method_run.cache_info().misses == 2


def test_two_panels_may_advance_the_same_run():
    method_run.cache_clear()
    setting = (0.002, 1.0, (0.3, 0.6))
    first, second = (valley_methods.advance_together(["sam"], *setting) for _ in range(2))
    for _ in range(7):
        next(first)
    for _ in range(4):
        next(second)
    first.close()
    *_, runs = second
    assert runs["sam"].run.steps == runs["sam"].steps == 1000
    assert len(runs["sam"].points) == 101
    alone = MethodRun("sam", *setting)
    while alone.steps < 1000:
        alone.advance(10)
    np.testing.assert_array_equal(runs["sam"].path, alone.path)


def test_the_path_is_drawn_while_it_grows():
    method_run.cache_clear()
    figures = [plain for plain, _ in valley_methods.draw_ablation(QUICK | {"sam": True})]
    lengths = [len(trace(plain, "SAM", "lines")["x"]) for plain in figures]
    assert len(lengths) > 30
    assert lengths == sorted(lengths)


def test_the_sections_are_those_of_the_loss_on_one_scale():
    panel = figure_one_panel()
    panel.set(share=0)
    assert panel.sentence.startswith("t = 0 steps")
    x = np.array([-1, 0.5])
    for name in ("start", "worst", "ascent", "gd", "sam", "one"):
        curve = trace(panel.figure, f"{name} x3")
        height = np.interp(x, curve["x"], curve["z"]) - valley_methods.LIFT
        np.testing.assert_allclose(height, curvatures((0.3, 0.6))[0] * x**2, atol=1e-6)
    panel.set(share=1)
    figure(panel.figure)
    assert trace(panel.figure, "sam x3")["z"][0] - valley_methods.LIFT == pytest.approx(8, abs=0.02)
    assert trace(panel.figure, "sam x4")["z"][0] - valley_methods.LIFT == pytest.approx(6, abs=0.1)
    scenes = [value for key, value in panel.figure["layout"].items() if key.startswith("scene")]
    assert [scene["zaxis"]["range"] for scene in scenes] == [[0, 16]] * 6
