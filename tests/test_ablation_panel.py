"""Figure 1's panel: where each method ends on the valley's floor, and what the figure shows of it."""

import numpy as np
import pytest
from pictures import finite, last, names, trace
from valley_by_hand import curvatures

from samviz.claims.ablation import ascent_cycle
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
    assert len([*draw_ablation(QUICK | {"method": "one"})]) == 2
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
