"""The lab's picture as data: what is marked, labelled and in view."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from samviz.dynamics import Run, edge_of_stability, gradient_descent_minimum
from samviz.figures.series import series
from samviz.figures.style import WORDS
from samviz.problems import mlp

SINE = mlp([1, 24, 24, 1], data="sine")


@pytest.fixture(scope="module")
def story() -> Run:
    """Gradient descent, then SAM with a ρ that is dragged upwards."""
    run = Run(SINE, lr=0.05, rho=0.0, x0=gradient_descent_minimum(SINE), device="cpu")
    for rho in (0.0, 0.0, 0.005, 0.005):
        run.set(rho=rho)
        run.step(40)
        run.measure()
    for rho in (0.006, 0.008, 0.01, 0.02):  # one gesture: a few steps between the values
        run.set(rho=rho)
        run.step(1)
        run.measure()
    run.step(60)
    run.measure()
    return run


def drawn(run: Run, **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    history = run.history
    edge = edge_of_stability(history["lr"], history["rho"], history["grad_norm"])
    return series(
        history, edge, run.changes, None, **{"estimates": np.zeros((0, 2)), "width": 0.5, "samples": 20} | more
    )


def test_a_drag_is_one_mark_and_says_from_where_to_where(story: Run) -> None:
    traces = {t["name"]: t for t in drawn(story)[0]}
    assert traces["changes"]["x"].tolist() == [80, 160]
    assert [text.strip() for text in traces["changes"]["text"]] == ["ρ 0 → 0.005", "ρ 0.005 → 0.02"]
    assert traces["changes y3"]["x"].tolist() == [80] * 3 + [160] * 3


def test_a_change_of_batch_size_is_told_in_numbers(story: Run) -> None:
    old = story.changes[0][1]
    run = Run(SINE, lr=0.05, rho=0.0, device="cpu")
    run.measure()
    run.changes = [(0, old), (50, replace(old, batch_size=1)), (90, replace(old, batch_size=None, rule="gd"))]
    run.step(100)
    run.measure()
    texts = next(t for t in drawn(run)[0] if t["name"] == "changes")["text"]
    assert [text.strip() for text in texts] == ["batch 20 → 1", "rule sam → gd <br> batch 1 → 20"]


def test_the_labels_at_the_curves_ends_do_not_overlap(story: Run) -> None:
    traces, layout = drawn(story)
    for panel, distance in (("y2", 0.09), ("y3", 0.12)):
        labels = next(t for t in traces if t["name"] == f"labels {panel}")
        low, high = layout[f"yaxis{panel[1:]}"]["range"]
        heights = np.sort(labels["y"])
        assert len(labels["text"]) == len(heights) >= 3
        assert np.diff(heights).min() > distance * (high - low) * 0.9
        assert heights[0] >= low - 0.1 * (high - low)


def test_a_label_stands_at_the_end_of_its_own_curve_in_its_colour() -> None:
    run = Run(SINE, lr=0.05, rho=0.0, device="cpu")
    row = run.measure()
    row |= {"cos_v1": 0.2, "rayleigh": 0.5, "cos_eigenspace": 0.9}  # far enough apart to stay where they are
    traces = {t["name"]: t for t in drawn(run)[0]}
    labels = traces["labels y3"]
    curves = {
        "v₁ alone": "cos with v₁",
        "Rayleigh": "Rayleigh ratio",
        "top eigenspace": "cos with the top eigenspace",
    }
    for text, height, color in zip(labels["text"], labels["y"], labels["textfont"]["color"], strict=True):
        curve = traces[curves.pop(text.strip())]
        assert height == pytest.approx(curve["y"][-1])
        assert color == WORDS.get(curve["line"]["color"], curve["line"]["color"])
    assert curves == {}


def test_the_curves_are_the_history(story: Run) -> None:
    traces = {t["name"]: t for t in drawn(story)[0]}
    history = story.history
    assert np.array_equal(traces["loss"]["y"], history["loss"])
    assert np.array_equal(traces["λ₁"]["y"], history["eigenvalues"][:, 0])
    assert np.array_equal(traces["cos with the top eigenspace"]["y"], history["cos_eigenspace"])
    assert np.allclose(traces["2/η"]["y"], 2 / 0.05)
    assert all(
        t["x"] is traces["loss"]["x"] for n, t in traces.items() if n in ("λ₁", "λ₂", "cos with v₁")
    )  # sent once


def test_the_prediction_lies_on_the_measurement_in_phase_two(story: Run) -> None:
    traces = {t["name"]: t for t in drawn(story)[0]}
    assert traces["SAM's edge"]["y"][-1] == pytest.approx(traces["λ₁"]["y"][-1], rel=0.02)
    assert " λ₁ at SAM’s edge" in traces["labels y2"]["text"]


def test_a_line_above_the_panel_is_told_with_its_value(story: Run) -> None:
    labels = next(t for t in drawn(story)[0] if t["name"] == "labels y2")
    assert " 2/η = 40 ↑" in labels["text"]


def test_the_gap_is_marked_where_it_closed_for_good(story: Run) -> None:
    run = Run(SINE, lr=0.05, rho=0.0, device="cpu")
    for closing in (False, True, False, True, True):
        run.step(10)
        row = run.measure(trace=False)
        row["closing"] = closing
    notes = [a for a in drawn(run)[1]["annotations"] if a["text"].startswith("λ₁ meets λ₂")]
    assert [a["x"] for a in notes] == [40]
    run.history.rows[-1]["closing"] = False
    assert not [a for a in drawn(run)[1]["annotations"] if a["text"].startswith("λ₁ meets λ₂")]


def test_axes_stand_still_while_the_curves_grow(story: Run) -> None:
    run = Run(SINE, lr=0.05, rho=0.005, x0=gradient_descent_minimum(SINE), device="cpu")
    layouts = []
    for _ in range(60):
        run.step(20)
        run.measure(trace=False)
        layouts.append(drawn(run)[1])
    ranges = [[axes[f"{a}axis{n}"]["range"] for a in "xy" for n in ("", "2", "3")] for axes in layouts[30:]]
    assert sum(a != b for a, b in pairwise(ranges)) <= 5
    assert all(r[0][1] > run.history["step"][31 + i] for i, r in enumerate(ranges[:-1]))


def test_the_free_estimate_is_drawn_apart_from_what_was_measured(story: Run) -> None:
    points = np.array([[100.0, 3.0], [story.steps + 5.0, 4.0], [story.steps + 10.0, 4.2]])
    with_, without = drawn(story, estimates=points), drawn(story)
    traces, bare = ({t["name"]: t for t in traces} for traces, _ in (with_, without))
    shown = traces["uᵀHu, estimate"]
    assert shown["mode"] == "markers"
    assert shown["x"].tolist() == [100, story.steps + 5, story.steps + 10]
    assert shown["y"].tolist() == [3, 4, 4.2]
    labels = traces["labels y2"]
    at = labels["text"].index(" uᵀHu, estimate")
    assert labels["textfont"]["color"][at] == shown["marker"]["color"]
    assert set(labels["x"]) == {story.steps + 10}  # beside what is known last
    assert with_[1]["yaxis2"]["range"] == without[1]["yaxis2"]["range"]  # a guess does not move the axis
    assert len(bare["uᵀHu, estimate"]["x"]) == 0  # nothing there, nothing shown
    assert " uᵀHu, estimate" not in bare["labels y2"]["text"]


def test_an_estimate_of_long_ago_has_no_label(story: Run) -> None:
    """The rule has none any more: its marks stay where they were, and no label claims the end."""
    traces = drawn(story, estimates=np.array([[10.0, 3.0]]))[0]
    assert " uᵀHu, estimate" not in next(t for t in traces if t["name"] == "labels y2")["text"]
