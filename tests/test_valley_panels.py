"""The panels of the valley: Figure 1, where each method ends on the floor, and the limiting flow of Eq. 7."""

import numpy as np
import pytest
from pictures import finite, last, names, trace
from valley_by_hand import curvatures, slope

from samviz.claims.ablation import ascent_cycle
from samviz.figures.style import GREY, VERMILION
from samviz.panels import valley
from samviz.panels.valley import (
    ASCENT_ENDS,
    LABELS,
    METHODS,
    MINIMIZERS,
    RHO,
    START,
    draw_ablation,
    paths,
)

QUICK = {"lr": 0.01, "start": START, "method": "sam", "guess": "skipped"}
RATES = {"10⁻³": 1e-3, "10⁻⁴": 1e-4, "10⁻⁵": 1e-5}


def drawn(**values):
    return last(draw_ablation, QUICK | values)


def end(plain, name):
    marker = trace(plain, name, "markers")
    return np.array([marker["x"][-1], marker["y"][-1]])


@pytest.mark.parametrize(
    ("method", "limit", "within"),
    [("sam", (0, 0), 0.01), ("worst", (0, 0), 0.01), ("average", (0.8, 1 / 7), 0.08), ("gd", START, 0.02)],
)
def test_each_method_ends_where_the_paper_says(method, limit, within):
    assert np.abs(end(drawn()[0], METHODS[method].label) - limit).max() < within


def test_exact_ascent_ends_on_its_cycle_and_with_a_large_step_like_sam():
    plain, sentence = drawn(lr=0.001, method="ascent")
    assert np.abs(end(plain, "exact L_Asc") - ascent_cycle(0.001, RHO)[:2]).max() < 0.005
    assert "stops before (1, 1)" in sentence
    x3 = paths(0.001, START).points["ascent"][-1][2]
    assert abs(x3) > 1e-6  # it did not underflow, which would be a false picture
    plain, sentence = drawn(lr=0.03, method="ascent")
    assert np.abs(end(plain, "exact L_Asc")).max() < 0.01
    assert "behaves like SAM" in sentence


def test_the_flow_ends_at_its_minimizer_and_the_ends_for_small_steps_come_closer():
    flow = trace(drawn()[0], "flow")
    x, y = np.array(flow["x"]), np.array(flow["y"])
    assert (x[0], y[0]) == pytest.approx(START)
    assert np.hypot(1 - x[-1], 1 - y[-1]) < 0.01
    low = 2 * curvatures((x, y))[1]
    assert (np.diff(low) < 0).all()
    for name, place in ASCENT_ENDS.items():
        np.testing.assert_allclose(ascent_cycle(RATES[name], RHO)[:2], place, atol=0.001)
    shown = trace(drawn()[0], "ends")
    far = np.hypot(1 - np.array(shown["x"]), 1 - np.array(shown["y"]))
    assert (np.diff(far) < 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_contours_show_what_the_method_minimizes_and_the_sections_are_those_of_the_loss(method):
    plain, _ = drawn(method=method)
    finite(plain)
    level, shown = trace(plain, "level"), METHODS[method].minimizes or "top"
    f = np.sort(2 * np.array(curvatures(np.meshgrid(level["x"], level["y"]))), 0)
    np.testing.assert_allclose(level["z"], {"top": f[1], "low": f[0], "trace": f.sum(0)}[shown])
    row, column = np.unravel_index(level["z"].argmin(), level["z"].shape)
    assert np.abs([level["x"][column], level["y"][row]] - np.array(MINIMIZERS[shown])).max() < 0.03
    for name, place in (("before", START), ("after", end(plain, METHODS[method].label))):
        for i, quantity in enumerate(("λ₁", "λ_M")):
            curve = trace(plain, f"{name} {quantity}")
            np.testing.assert_allclose(curve["y"], curvatures(place)[i] * curve["x"] ** 2, atol=1e-9)
    assert all(label in str(plain["layout"]["annotations"]) for label in LABELS.values())


def test_the_paths_are_computed_once_drawn_while_they_grow_and_not_in_the_initial_state():
    paths.cache_clear()
    figures = [plain for plain, _ in draw_ablation(QUICK)]
    lengths = [len(trace(plain, "SAM", "lines")["x"]) for plain in figures if "SAM" in names(plain)]
    assert len(lengths) > 30
    assert lengths == sorted(lengths)
    assert len([*draw_ablation(QUICK | {"method": "worst"})]) == 2
    (plain, _), *_ = draw_ablation(QUICK | {"guess": None})
    assert not {method.label for method in METHODS.values()} & names(plain)
    assert not {"flow", "ends", "level"} & names(plain)


def test_a_drawing_that_is_interrupted_within_a_block_is_continued():
    paths.cache_clear()
    first = draw_ablation(QUICK)
    for _ in range(4):
        next(first)
    first.close()
    found = paths(QUICK["lr"], START)
    assert len({len(points) for points in found.points.values()}) == 2  # some methods are ahead
    after, _ = drawn()
    paths.cache_clear()
    alone, _ = drawn()
    for method in METHODS.values():
        np.testing.assert_array_equal(end(after, method.label), end(alone, method.label))
    assert len({len(points) for points in paths(QUICK["lr"], START).points.values()}) == 1


# the limiting flow

FLOW = {"lr": 0.005, "rho": 0.1, "start": (0.6, 0.6), "guess": "skipped"}


def drawn_flow(**values):
    return last(valley.draw_flow, FLOW | values)


def test_the_dashed_curves_are_the_closed_form():
    plain, _ = drawn_flow()
    x1, x2 = valley.limit_point((0.6, 0.6))[:2].tolist()
    for rho, color in ((valley.FIRST_RHO, GREY), (0.1, VERMILION)):
        curve = trace(plain, f"flow of λ₁, {color}")
        tau = np.array(curve["x"]) * 0.005 * rho**2
        expected = 2 * ((x1 * np.exp(-2 * tau)) ** 2 + 6 * (x2 * np.exp(-12 * tau)) ** 2 + 8)
        np.testing.assert_allclose(curve["y"], expected, atol=1e-9)


@pytest.mark.parametrize(("rho", "color"), [(valley.FIRST_RHO, GREY), (0.1, VERMILION)])
def test_the_curves_are_those_of_a_plain_loop(rho, color):
    plain, _ = drawn_flow()
    x = np.array([0.6, 0.6, *valley.FLOW_X3_X4])
    path = [x]
    for _ in range(valley.FLOW_END):
        g = slope(x)
        x = x - 0.005 * slope(x + rho * g / np.linalg.norm(g))
        path.append(x)
    path = np.array(path)[:: valley.STRIDE]
    expected = 2 * (path[:, 0] ** 2 + 6 * path[:, 1] ** 2 + 8)
    np.testing.assert_allclose(trace(plain, f"λ₁, {color}")["y"], expected, atol=1e-6)
    distance = np.hypot(path[:, 2], path[:, 3])
    np.testing.assert_allclose(trace(plain, f"distance, {color}")["y"], distance, atol=1e-6)


def test_half_the_radius_takes_four_times_as_many_steps_which_the_first_picture_does_not_show():
    _, sentence = drawn_flow()
    assert "λ₁ falls below 18 at step 809; Eq. 7 predicts step 898." in sentence
    assert "With ρ = 0.2, λ₁ falls below 18 at step 201." in sentence
    assert "at step 201." in valley.WHICH_STEP.question
    (reply,) = [text for low, high, text in valley.WHICH_STEP.replies if low <= 4 * 201 <= high]
    assert "is right" in reply
    plain, sentence = next(valley.draw_flow(FLOW | {"guess": None}))
    assert f"λ₁, {GREY}" in names(plain)
    assert not {f"λ₁, {VERMILION}", "guess"} & names(plain)
    assert "0.1" not in sentence


def test_phase_two_begins_after_the_last_long_gradient():
    *_, points = valley.sam_iterates(0.005, 0.1, (0.6, 0.6))
    begin, top = valley.phase_two(points, 0.005, 0.1), valley.sharpness(points)
    outside = np.linalg.norm(slope(points.T), axis=0) > 2 * 0.005 * 0.1 * top**2 / (2 - 0.005 * top)
    assert (outside[begin - 1], outside[begin:].any()) == (True, False)


def test_the_path_and_the_guess_are_drawn_and_a_run_that_diverges_is_an_error():
    sizes = [len(trace(plain, "path")["x"]) for plain, _ in [*valley.draw_flow(FLOW)][1:]]
    assert len(sizes) > 10
    assert sizes == sorted(sizes)
    assert trace(drawn_flow(guess=400.0)[0], "guess")["x"] == [400.0, 400.0]
    assert "guess" not in {t["name"] for t in drawn_flow(guess=9000.0)[0]["data"]}
    with pytest.raises(ValueError, match=r"diverged.*Lower η"):
        drawn_flow(lr=0.5)
