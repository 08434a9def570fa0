"""Predictions: what a guess may be, and that a panel shows nothing of the answer before there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from kernel_loop import move

from samviz import panels
from samviz.lab import (
    Choice,
    Panel,
    PredictChoice,
    PredictCurve,
    PredictDirection,
    PredictNumber,
    PredictPlace,
    Slider,
)
from samviz.lab.predictions import Prediction

PLACE = PredictPlace("Where?", start=(0.5, 0.5), replies=[(0, 0, 0.1, "Yes.")], otherwise="No.")
LINE = PredictDirection("Which way?", start=30, center=(0, 0), radius=1)
ARROW = PredictDirection("Which way?", start=30, center=(0, 0), radius=1, period=360)
NUMBER = PredictNumber("How many?", label="steps", low=0, high=9)
CURVE = PredictCurve("How?", x=(0, 1, 2), start=(3, 3, 3))
CHOICE = PredictChoice("Which?", options={"a": "this", "b": "that"}, replies={"a": "No."})
CONTROLS = {
    "n": Slider("n", 1, stops=[1, 2], integer=True, book=[1, 2]),
    "kind": Choice("kind", "x", {"x": "X", "y": "Y"}),
}
drawn: list[dict[str, Any]] = []


def picture(n: int) -> dict[str, Any]:
    return {"data": [{"y": [0, n]}], "layout": {"height": 100, "meta": {"stacked": {}, "stacked height": 110}}}


def draw(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    yield picture(0), "The start."
    drawn.append(values)
    yield picture(values["n"]), "On the way."
    yield picture(10 * values["n"]), f"The end at {values['n']}."


def panel(prediction: Prediction = PLACE) -> Panel:
    return Panel(draw, CONTROLS, predict=prediction, description="a line")


@pytest.mark.parametrize(
    ("prediction", "value", "stored"),
    [
        (PLACE, [1, 2], (1.0, 2.0)),
        (LINE, 190, 10.0),
        (ARROW, -10, 350.0),
        (NUMBER, 9, 9.0),
        (CURVE, [1, 2, 3], (1.0, 2.0, 3.0)),
        (CHOICE, "b", "b"),
    ],
)
def test_a_guess_is_stored_as_numbers_or_a_key(prediction: Prediction, value: Any, stored: Any) -> None:
    assert prediction.take("guess", value) == stored
    assert prediction.take("guess", stored) == stored
    assert prediction.take("guess", None) is None
    assert prediction.take("guess", "skipped") == "skipped"
    shown = panel(prediction)
    shown.set(guess=value)
    assert shown.values["guess"] == stored


@pytest.mark.parametrize(
    ("prediction", "value", "expected"),
    [
        (PLACE, 3, r"two finite numbers \(x, y\)"),
        (PLACE, [1, float("nan")], "two finite numbers"),
        (LINE, "up", "a finite number"),
        (NUMBER, 10, "a number from 0 to 9"),
        (CURVE, [1, 2], "three finite numbers"),
        (CHOICE, "c", "one of 'a', 'b'"),
    ],
)
def test_an_impossible_guess_is_refused(prediction: Prediction, value: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=f"guess is .*; expected {expected}"):
        panel(prediction).set(guess=value)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: PredictPlace(" ", start=(0, 0)), "question is empty"),
        (lambda: PredictPlace("Where?", start=(0, 0, 1)), r"start is \(0, 0, 1\); expected two finite numbers"),
        (lambda: PredictNumber("How many?", label="n", low=1, high=0), "expected low < high"),
        (lambda: PredictNumber("How many?", label="n", low=0, high=1, replies=[()]), r"expected \(low, high, text\)"),
        (lambda: PredictDirection("Which?", start=0, center=(0, 0), radius=1, period=90), "expected 180 for a line"),
        (lambda: PredictCurve("How?", x=(0, 2, 1), start=(0, 0, 0)), "expected three increasing numbers"),
        (lambda: PredictChoice("Which?", options={"a": "A"}), "expected two or more"),
        (lambda: PredictChoice("Which?", options={"a": "A", "b": "B"}, replies={"c": ""}), r"replies to \['c'\]"),
        (
            lambda: Panel(draw, {"guess": CONTROLS["n"]}, predict=PLACE, description=""),
            "a control has the name 'guess'",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declare()


def test_draw_must_yield_the_initial_state() -> None:
    with pytest.raises(TypeError, match="with predict= it must yield the initial state first"):
        Panel(lambda values: (picture(1), "The end."), {}, predict=PLACE, description="")
    with pytest.raises(TypeError, match=r"predict is .Where.*; expected one of samviz"):
        Panel(draw, {}, predict="Where?", description="")  # type: ignore[arg-type]


def test_only_the_initial_state_is_computed_before_the_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn.clear()
    asked = panel()
    asked.set(n=2)
    assert (asked.figure, asked.sentence, asked.question, drawn) == (picture(0), "The start.", "Where?", [])
    move(asked, guess=[0.2, 0.1])
    assert (asked.figure, asked.sentence, asked.question) == (picture(20), "The end at 2.", "")
    assert drawn == [{"n": 2, "kind": "x", "guess": (0.2, 0.1)}]
    move(asked, guess="skipped", n=1)
    assert asked.sentence == "The end at 1."
    asked.set(guess=None)
    assert (asked.figure, asked.question) == (picture(0), "Where?")


def test_the_book_has_every_answer_and_then_the_initial_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMVIZ_STATIC", "1")
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "notebooks/book")
    frames_of = import_module("panels").Frames
    monkeypatch.setattr(panels, "line_panel", panel, raising=False)
    frames = frames_of("line_panel", coarse=False)
    sentences = [sentence for _, sentence in frames.drawings()]
    assert sentences == ["The end at 1.", "The end at 2.", "The start."]
    assert frames.panel.question == "Where?"
    assert frames.predict()["question"] == "Where?"
