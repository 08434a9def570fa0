"""The history in the figure of the lab: curves, labels, marks and ranges of the axes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations, product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from samviz.dynamics import Run, edge_of_stability, gradient_descent_minimum
from samviz.figures.drawing import add_axes, change_marks, end_labels, new_layout, split, stack
from samviz.figures.history import lab_history
from samviz.figures.style import INK, TEXT_COLORS
from samviz.problems import mlp

SINE = mlp([1, 24, 24, 1], data="sine")


@pytest.fixture(scope="module")
def story() -> Run:
    """A run of gradient descent, then of SAM with a ρ that is dragged upwards."""
    run = Run(SINE, lr=0.05, rho=0.0, x0=gradient_descent_minimum(SINE), device="cpu")
    drag = [(0.006, 1), (0.008, 1), (0.01, 1), (0.02, 1), (0.02, 60)]  # a few steps between the values
    for rho, steps in [(0.0, 40), (0.0, 40), (0.005, 40), (0.005, 40), *drag]:
        run.set(rho=rho)
        run.step(steps)
        run.measure()
    return run


def at_the_start() -> Run:
    run = Run(SINE, lr=0.05, rho=0.0, device="cpu")
    run.measure()
    return run


def draw(run: Run, **fields: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The traces by name, and the layout."""
    h = run.history
    edge = edge_of_stability(h["lr"], h["rho"], h["grad_norm"])
    frame: Any = SimpleNamespace(
        **{"history": h, "edge": edge, "changes": run.changes, "ghost": None, "estimates": np.zeros((0, 2))} | fields,
        samples=20,
        looks_back_at=None,
        rival=None,
    )
    layout = new_layout(600)
    traces = {trace["name"]: trace for trace in lab_history(layout, frame, (0, 0.5))}
    return traces, layout


def texts(trace: dict[str, Any]) -> list[str]:
    return [text.strip() for text in trace["text"]]


def test_a_drag_is_one_mark_with_its_first_and_last_value(story: Run) -> None:
    traces, _ = draw(story)
    assert traces["changes"]["x"].tolist() == [80, 160]
    assert texts(traces["changes"]) == ["ρ 0 → 0.005", "ρ 0.005 → 0.02"]
    assert traces["changes y3"]["x"].tolist() == [80] * 3 + [160] * 3


def test_changes_of_the_batch_size_are_written_as_numbers(story: Run) -> None:
    run, old = at_the_start(), story.changes[0][1]
    run.changes = [(0, old), (50, replace(old, batch_size=1)), (90, replace(old, batch_size=None, rule="gd"))]
    run.step(100)
    run.measure()
    assert texts(draw(run)[0]["changes"]) == ["batch 20 → 1", "rule sam → gd", "batch 1 → 20"]


def test_a_first_label_has_the_value_the_height_and_the_colour_of_its_curve() -> None:
    run = at_the_start()
    run.history.rows[-1] |= {"cos_v1": 0.2, "rayleigh": 0.5, "cos_eigenspace": 0.9}  # far enough from each other
    traces, _ = draw(run)
    labels = traces["labels y3"]
    ends = zip(texts(labels), labels["y"], labels["textfont"]["color"], strict=True)
    found = {text: (round(float(height), 6), color) for text, height, color in ends}
    curves = {
        "v₁ alone = 0.2": "cos with v₁",
        "Rayleigh = 0.5": "Rayleigh ratio",
        "top eigenspace = 0.9": "cos with the top eigenspace",
    }
    wanted = {text: (traces[name]["y"][-1], traces[name]["line"]["color"]) for text, name in curves.items()}
    assert found == {text: (height, TEXT_COLORS.get(color, color)) for text, (height, color) in wanted.items()}


def test_the_curves_show_the_columns_of_the_history(story: Run) -> None:
    traces, _ = draw(story)
    h = story.history
    for name, y in {
        "loss": h["loss"],
        "λ₁": h["eigenvalues"][:, 0],
        "cos with v₁": h["cos_v1"],
        "Rayleigh ratio": h["rayleigh"],
        "cos with the top eigenspace": h["cos_eigenspace"],
        "2/η": np.full(len(h), 40.0),
    }.items():
        np.testing.assert_allclose(traces[name]["y"], y)
        assert traces[name]["x"] is traces["loss"]["x"]  # an array in common is sent once


def test_the_gap_is_marked_where_it_closes_for_good() -> None:
    run = Run(SINE, lr=0.05, rho=0.0, device="cpu")
    for closing in (False, True, False, True, True):
        run.step(10)
        run.measure(trace=False)["closing"] = closing

    def steps() -> list[float]:
        return [a["x"] for a in draw(run)[1]["annotations"] if a["text"].startswith("λ₁ meets λ₂")]

    assert steps() == [40]
    run.history.rows[-1]["closing"] = False
    assert steps() == []


def test_the_axes_rarely_change_while_the_curves_grow() -> None:
    run = Run(SINE, lr=0.05, rho=0.005, x0=gradient_descent_minimum(SINE), device="cpu")
    ranges = []
    for _ in range(60):
        run.step(20)
        run.measure(trace=False)
        layout = draw(run)[1]
        ranges.append([layout[f"{a}axis{n}"]["range"] for a in "xy" for n in ("", "2", "3")])
        assert ranges[-1][0][1] > run.steps
    assert sum(a != b for a, b in pairwise(ranges[30:])) <= 5


def test_estimates_are_points_that_do_not_move_the_axis(story: Run) -> None:
    late = story.steps + 10
    points = np.array([[100.0, 3.0], [late - 5, 4.0], [late, 4.2]])
    (traces, layout), (without, same) = draw(story, estimates=points), draw(story)
    shown, labels = traces["uᵀHu, estimate"], traces["labels y2"]
    assert shown["mode"] == "markers"
    np.testing.assert_array_equal(np.stack((shown["x"], shown["y"]), 1), points)
    assert labels["textfont"]["color"][texts(labels).index("uᵀHu, estimate")] == shown["marker"]["color"]
    assert set(labels["x"]) == {late}
    assert layout["yaxis2"]["range"] == same["yaxis2"]["range"]
    assert len(without["uᵀHu, estimate"]["x"]) == 0
    for early in (without, draw(story, estimates=np.array([[10.0, 3.0]]))[0]):  # a rule that no longer has estimates
        assert "uᵀHu, estimate" not in texts(early["labels y2"])


@pytest.mark.parametrize("seed", range(5))
def test_no_text_of_a_change_covers_another_or_the_line_of_another(seed: int) -> None:
    steps = np.sort(np.random.default_rng(seed).integers(0, 900, 8))
    texts = [f"ρ {step} → {step + 1}" for step in steps]
    layout = new_layout(600)
    axes = add_axes(layout, 1, (0, 1), (0, 1), ("", ""), x={"range": [0, 1000]}, y={"range": [0, 1]})
    lines, marks = change_marks(list(zip(steps.tolist(), texts)), layout, [axes])
    (left, bottom), tops = (marks["x"], marks["y"]), dict(zip(lines["x"][::3], lines["y"][1::3]))
    right = left + 1000 * 0.011 * np.array([len(text) for text in marks["text"]])  # at 600 pixels
    assert len(marks["text"]) >= 2
    assert marks["text"][-1].strip() == texts[-1]
    assert layout["yaxis"]["range"][1] >= max(bottom)
    for i, j in permutations(range(len(left)), 2):
        assert bottom[i] != bottom[j] or right[i] < left[j] or right[j] < left[i]
    for i, (step, top) in product(range(len(left)), tops.items()):
        assert top < bottom[i] or not left[i] < step < right[i]


def test_stacked_axes_are_as_high_as_side_by_side_and_have_space_for_headings_and_labels() -> None:
    layout, rows = new_layout(None, top=24, bottom=36), split([2, 3], gap=0.1)
    for number, place in enumerate([((0, 0.4), rows[1]), ((0, 0.4), rows[0]), ((0.6, 1), (0, 1))], start=1):
        add_axes(layout, number, *place, ("", ""), x={}, y={})
    meta = stack(layout, 400)
    height, stacked = meta["stacked height"], meta["stacked"]
    pixels = height - 60
    domains = [pixels * np.array(stacked[f"yaxis{number}"]["domain"]) for number in ("", 2, 3)]
    assert [np.ptp(domain) for domain in domains] == pytest.approx([0.54 * 340, 0.36 * 340, 340], abs=1)
    assert [above[0] - below[1] for above, below in pairwise(domains)] == pytest.approx([70, 70], abs=1)
    assert (domains[0][1], domains[-1][0]) == (pytest.approx(pixels), pytest.approx(0))
    layout["xaxis2"] |= {"type": "log", "range": [0, 4]}
    labels = end_labels([(1e4, 0.5, "<b>four</b><br>letters", INK)], {"range": [0, 1]}, "names")
    stacked = stack(layout, 460, [labels | {"xaxis": "x2"}])["stacked"]
    spaces = [stacked[f"xaxis{number}"]["space"] for number in ("", 2, 3)]
    assert spaces == [0, pytest.approx(8 * 7, abs=25), 0]
