"""The exercises: right answers pass, each known mistake is told apart, and nothing a learner passes breaks `check`."""

import re
from pathlib import Path

import jupytext
import numpy as np
import pytest

from samviz.exercises import EXERCISES, check

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.py"))
of_each = pytest.mark.parametrize("name", EXERCISES)


def told(capsys, name, answer):
    check(name, answer)
    return capsys.readouterr().out.strip()


@of_each
def test_the_solution_is_right(capsys, name):
    assert told(capsys, name, EXERCISES[name].solution) == f"Right. {EXERCISES[name].right}"


@of_each
def test_each_mistake_is_told_apart(capsys, name):
    for remark, mistake in (EXERCISES[name].mistakes or {}).items():
        assert told(capsys, name, mistake) == f"Not yet. {remark}"


@of_each
def test_a_stub_gets_the_hint(capsys, name):
    exercise = EXERCISES[name]
    answer = (lambda *_: None) if callable(exercise.solution) else None
    assert exercise.hint in told(capsys, name, answer)


@of_each
@pytest.mark.parametrize("answer", [lambda *_: 1 / 0, lambda: 0.0, lambda *_: "text", lambda *_: np.zeros(7), 3.5, ...])
def test_anything_gets_an_answer_that_is_more_than_wrong(capsys, name, answer):
    text = told(capsys, name, answer)
    assert not text.startswith("Right")
    assert len(text) > 40


def test_a_wrong_number_is_shown_beside_the_right_one(capsys):
    text = told(capsys, "amplitude", lambda lr, rho, top: 1.0)
    assert text.startswith("Not yet: 1. for η = 0.1, ρ = 0.05, λ₁ = 3.0, expected 0.00882. Hint:")


def test_a_value_is_not_given_away(capsys):
    assert "0.142" not in told(capsys, "least_trace", (0.1, 0.2))


def test_a_right_answer_need_not_be_exact_nor_an_array(capsys):
    assert told(capsys, "least_trace", [0.80001, 0.142857]).startswith("Right")


def test_an_answer_cannot_spoil_the_trials(capsys):
    def spoiling(slopes):
        slopes[:] = 0
        return 0.0

    assert told(capsys, "trace", spoiling).startswith("Not yet")  # at zeros it would be right
    assert told(capsys, "trace", EXERCISES["trace"].solution).startswith("Right")


def test_an_unknown_exercise_is_named():
    with pytest.raises(ValueError, match="exercise is 'nothing'; expected one of ascent_sharpness"):
        check("nothing", 0)


def solutions(path):
    """(exercise, code) of each hidden solution: the Python block in the first such details after its check cell."""
    found, pending = [], []
    for cell in jupytext.read(path).cells:
        if cell.cell_type == "code":
            pending += re.findall(r'^check\("(\w+)", *(\w+)\)', cell.source, re.MULTILINE)
        elif "Solution</summary>" in cell.source:
            blocks = re.findall(r"Solution</summary>.*?```python\n(.*?)```", cell.source, re.DOTALL)
            found += [(*asked, block) for asked, block in zip(pending, blocks)]
            pending = pending[len(blocks) :]
    assert not pending, f"{path.name}: no solution for {pending}"
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebooks_hidden_solutions_are_right(capsys, path):
    for name, variable, code in solutions(path):
        space = {"np": np}
        exec(code, space)
        assert told(capsys, name, space[variable]).startswith("Right"), (name, code)


def test_every_exercise_is_asked_somewhere():
    asked = {name for path in NOTEBOOKS for name, _, _ in solutions(path)}
    assert asked == set(EXERCISES)
