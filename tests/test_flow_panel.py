"""The panel of the limiting flow against the closed form of Eq. 7, a plain loop of SAM, and Theorem 4.5."""

import numpy as np
import pytest
from pictures import last, trace
from valley_by_hand import slope

from samviz.figures.style import GREY, VERMILION
from samviz.panels import valley as flow

START = {"lr": 0.005, "rho": 0.1, "start": (0.6, 0.6), "guess": "skipped"}


def drawn(**values):
    return last(flow.draw_flow, START | values)


def test_the_dashed_curves_are_the_closed_form():
    plain, _ = drawn()
    x1, x2 = flow.limit_point((0.6, 0.6))[:2].tolist()
    for rho, color in ((flow.FIRST_RHO, GREY), (0.1, VERMILION)):
        curve = trace(plain, f"flow of λ₁, {color}")
        tau = np.array(curve["x"]) * 0.005 * rho**2
        expected = 2 * ((x1 * np.exp(-2 * tau)) ** 2 + 6 * (x2 * np.exp(-12 * tau)) ** 2 + 8)
        np.testing.assert_allclose(curve["y"], expected, atol=1e-9)


@pytest.mark.parametrize(("rho", "color"), [(flow.FIRST_RHO, GREY), (0.1, VERMILION)])
def test_the_curves_are_those_of_a_plain_loop(rho, color):
    plain, _ = drawn()
    x = np.array([0.6, 0.6, *flow.FLOW_X3_X4])
    path = [x]
    for _ in range(flow.FLOW_END):
        g = slope(x)
        x = x - 0.005 * slope(x + rho * g / np.linalg.norm(g))
        path.append(x)
    path = np.array(path)[:: flow.STRIDE]
    expected = 2 * (path[:, 0] ** 2 + 6 * path[:, 1] ** 2 + 8)
    np.testing.assert_allclose(trace(plain, f"λ₁, {color}")["y"], expected, atol=1e-6)
    distance = np.hypot(path[:, 2], path[:, 3])
    np.testing.assert_allclose(trace(plain, f"distance, {color}")["y"], distance, atol=1e-6)


def test_half_the_radius_takes_four_times_as_many_steps_which_the_first_picture_does_not_show():
    _, sentence = drawn()
    assert "λ₁ falls below 18 at step 809; Eq. 7 predicts step 898." in sentence
    assert "With ρ = 0.2, λ₁ falls below 18 at step 201." in sentence
    assert "at step 201." in flow.WHICH_STEP.question
    (reply,) = [text for low, high, text in flow.WHICH_STEP.replies if low <= 4 * 201 <= high]
    assert "is right" in reply
    plain, sentence = next(flow.draw_flow(START | {"guess": None}))
    names = {t["name"] for t in plain["data"]}
    assert f"λ₁, {GREY}" in names
    assert f"λ₁, {VERMILION}" not in names
    assert "0.1" not in sentence
    assert "guess" not in names


def test_phase_two_begins_after_the_last_long_gradient():
    *_, points = flow.sam_iterates(0.005, 0.1, (0.6, 0.6))
    begin, top = flow.phase_two(points, 0.005, 0.1), flow.sharpness(points)
    outside = np.linalg.norm(slope(points.T), axis=0) > 2 * 0.005 * 0.1 * top**2 / (2 - 0.005 * top)
    assert (outside[begin - 1], outside[begin:].any()) == (True, False)


def test_the_path_and_the_guess_are_drawn_and_a_run_that_diverges_is_an_error():
    sizes = [len(trace(plain, "path")["x"]) for plain, _ in [*flow.draw_flow(START)][1:]]
    assert len(sizes) > 10
    assert sizes == sorted(sizes)
    assert trace(drawn(guess=400.0)[0], "guess")["x"] == [400.0, 400.0]
    assert "guess" not in {t["name"] for t in drawn(guess=9000.0)[0]["data"]}
    with pytest.raises(ValueError, match=r"diverged.*Lower η"):
        drawn(lr=0.5)
