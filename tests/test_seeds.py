"""The figure of several seeds shows means and standard errors over the seeds."""

import formula
import numpy as np
import pytest

from samviz.figures import figure, seeds_figure

STEPS = (100, 200, 300)


def history_of(values, column="loss", steps=STEPS):
    """Return a history of one column."""
    return formula.history_of(*({"step": step, column: value} for step, value in zip(steps, values)))


def draw(records, *columns):
    plain = seeds_figure(records, columns)
    figure(plain)  # plotly accepts it
    return {(trace["name"], trace["yaxis"]): trace for trace in plain["data"]}, plain["layout"]


@pytest.fixture
def three():
    return [history_of(values) for values in ((3.0, 2.0, 1.0), (4.0, 2.0, 3.0), (8.0, 2.0, 2.0))]


def test_a_curve_is_the_mean_and_its_band_one_standard_error(three):
    traces, _ = draw({"SGD": three}, "loss")
    assert traces["SGD", "y"]["y"].tolist() == [5.0, 2.0, 2.0]
    error = np.sqrt((4 + 1 + 9) / 2) / np.sqrt(3)  # at the first step
    band = traces["SGD band", "y"]
    assert band["y"][0] == pytest.approx(5 + error)
    assert band["y"][-1] == pytest.approx(5 - error)
    assert band["x"].tolist() == [100, 200, 300, 300, 200, 100]
    end = traces["SGD end", "y"]
    assert (end["y"].tolist(), end["error_y"]["array"][0]) == ([2.0], pytest.approx(1 / np.sqrt(3)))
    assert traces["labels", "y"]["text"] == [" SGD 2.0 ± 0.6"]


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((83.1, 83.7), "83.4 ± 0.3"),
        ((1000.0, 1400.0), "1200 ± 200"),
        ((0.0011, 0.0015), "0.0013 ± 0.0002"),
        ((2.0, 2.0), "2.000 ± 0.000"),
    ],
)
def test_digits_follow_the_error(ends, words):
    traces, _ = draw({"SGD": [history_of([end], steps=[9]) for end in ends]}, "loss")
    assert traces["labels", "y"]["text"] == [f" SGD {words}"]


def test_of_eigenvalues_the_largest_is_drawn_at_the_steps_that_all_seeds_have():
    runs = [history_of([[5.0, 1.0], [4.0, 1.0]], "eigenvalues", steps=(1, 2)) for _ in range(2)]
    traces, layout = draw({"SAM": runs}, "eigenvalues")
    assert traces["SAM", "y"]["y"].tolist() == [5.0, 4.0]
    assert "λ₁" in layout["annotations"][0]["text"]
    traces, _ = draw({"SAM": [history_of([1.0, 2.0, 3.0]), history_of([1.0, np.nan, 5.0])]}, "loss")
    assert traces["SAM", "y"]["x"].tolist() == [100, 300]
    assert traces["SAM", "y"]["y"].tolist() == [1.0, 4.0]
    runs = [history_of(values, steps=(1, 2)) for values in ([1.0, np.nan], [np.nan, 1.0])]
    traces, _ = draw({"SGD": runs}, "loss")
    assert traces["labels", "y"]["text"] == [" SGD: not measured in all"]
    assert len(traces["SGD end", "y"]["y"]) == 0
    with pytest.raises(ValueError, match="the same steps"):
        seeds_figure({"SGD": [history_of([1.0]), history_of([1.0], steps=[7])]}, ["loss"])


def test_every_column_has_a_panel_and_panels_do_not_overlap(three):
    for record in three:
        record.rows = [row | {"a": 1.0, "b": 2.0} for row in record.rows]
    traces, layout = draw({"SGD": three, "SAM": three}, "loss", "a", "b")
    assert {axis for _, axis in traces} == {"y", "y2", "y3"}
    upper, right, lower = (layout[f"yaxis{key}"]["domain"] for key in ("", "2", "3"))
    assert upper == right
    assert upper[1] == 1
    assert lower[0] == pytest.approx(0)
    assert lower[1] < upper[0]
    assert layout["xaxis"]["domain"][1] < layout["xaxis2"]["domain"][0]
