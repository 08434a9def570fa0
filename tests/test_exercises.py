"""The exercises: right answers pass, each common mistake is recognized, and every other answer gets a useful reply."""

import re
from pathlib import Path

import jupytext
import numpy as np
import pytest

from samviz.course import EXERCISES, SENTENCES, answer_key, check
from samviz.course.tasks import TEXTS

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.py"))
of_each = pytest.mark.parametrize("name", EXERCISES)


@pytest.fixture
def reply(capsys):
    """Return what `check` prints for an answer."""

    def checked(name, answer):
        check(name, answer)
        return capsys.readouterr().out.strip()

    return checked


@of_each
def test_the_solution_is_right_and_each_mistake_gets_its_remark(reply, name):
    exercise = EXERCISES[name]
    assert reply(name, exercise.solution) == f"Right. {exercise.takeaway}"
    assert len(exercise.mistakes) == len(TEXTS[name]["mistakes"]) > 0
    for remark, mistake in exercise.mistakes.items():
        assert reply(name, mistake) == f"Not yet. {remark}"


@of_each
@pytest.mark.parametrize("answer", [lambda *_: 1 / 0, lambda: 0.0, lambda *_: "text", lambda *_: np.zeros(7), 3.5, ...])
def test_every_wrong_answer_gets_a_reply_that_helps(reply, name, answer):
    text = reply(name, answer)
    assert not text.startswith("Right")
    assert len(text) > 40


@of_each
def test_there_is_no_hint_before_the_learner_has_tried(reply, name):
    exercise = EXERCISES[name]
    text = reply(name, (lambda *_: ...) if callable(exercise.solution) else ...)
    assert text == f"Nothing to check yet: replace the dots by your answer. Expected: {exercise.call}."
    assert exercise.hint not in text


@pytest.fixture
def sentence(monkeypatch):
    """Add an exercise that asks for a sentence."""
    text = {"question": "Why is the sky blue?", "mentions": "scattering", "model": "Air scatters blue light most."}
    monkeypatch.setitem(SENTENCES, "sky_sentence", text)


@pytest.mark.usefixtures("sentence")
def test_a_sentence_is_compared_with_a_model_answer_that_is_not_shown_before(reply):
    for nothing in ("...", " " * 30, "because", None, ..., 3.5):
        assert "scatters" not in reply("sky_sentence", nothing)
    text = reply("sky_sentence", "It reflects the sea, I think.")
    assert text.splitlines() == [
        "Your answer: It reflects the sea, I think.",
        "A model answer: Air scatters blue light most.",
        "Compare them: does your answer mention scattering?",
    ]
    assert "### sky_sentence\n\nWhy is the sky blue?\n\nAir scatters blue light most." in answer_key()


def test_a_wrong_number_is_shown_next_to_the_right_one_but_a_value_is_not_revealed(reply):
    text = reply("amplitude", lambda lr, rho, top: 1.0)
    assert text.startswith("Not yet: 1. for η = 0.1, ρ = 0.05, λ₁ = 3.0, expected 0.00882. Hint:")
    assert "0.142" not in reply("least_trace", (0.1, 0.2))
    assert reply("least_trace", [0.80001, 0.142857]).startswith("Right")  # neither exact nor an array


def test_an_answer_cannot_change_the_arguments_of_the_trials(reply):
    def zero(slopes):
        slopes[:] = 0
        return 0.0

    assert reply("trace", zero).startswith("Not yet")  # with slopes of zero it would be right
    assert reply("trace", EXERCISES["trace"].solution).startswith("Right")


def test_an_unknown_exercise_is_refused():
    with pytest.raises(ValueError, match="exercise is 'nothing'; expected one of ascent_sharpness"):
        check("nothing", 0)


def solutions(path):
    """Return (exercise, variable, code) of each hidden solution, which follows the cell that checks it."""
    found, pending = [], []
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            pending += re.findall(r'^check\("(\w+)", *(\w+)\)', cell.source, re.MULTILINE)
        elif "Solution</summary>" in cell.source:
            blocks = re.findall(r"Solution</summary>.*?```python\n(.*?)```", cell.source, re.DOTALL)
            found += [(*exercise, block) for exercise, block in zip(pending, blocks)]
            pending = pending[len(blocks) :]
    assert not pending, f"{path.name}: no solution for {pending}"
    return found


def test_the_notebooks_ask_for_every_sentence_with_its_question():
    asked = []
    for path in NOTEBOOKS:
        source = path.read_text(encoding="utf-8")
        asked += re.findall(r'^check\("(\w+)", *"\.\.\."\)', source, re.MULTILINE)
        assert all(SENTENCES[name]["question"] in source for name in asked if f'"{name}"' in source)
    assert {*asked} == {*SENTENCES}
    assert all(text.keys() == {"question", "mentions", "model"} for text in SENTENCES.values())


def test_the_notebooks_ask_every_exercise_and_their_hidden_solutions_are_right(reply):
    found = [solution for path in NOTEBOOKS for solution in solutions(path)]
    assert {name for name, _, _ in found} == set(EXERCISES)
    for name, variable, code in found:
        space = {"np": np}
        exec(code, space)
        assert reply(name, space[variable]).startswith("Right"), (name, code)
