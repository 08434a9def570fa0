"""The quizzes: well formed, true to the notebooks' headings and the paper's numbers; judged, counted and kept."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
from test_pages import CITED, citation_faults

from samviz import exercises
from samviz.exercises import EXERCISES, QUIZZES, Option, Question, Quiz, progress
from samviz.lab import quiz

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
QUESTIONS = [(name, number, q) for name, asked in QUIZZES.items() for number, q in enumerate(asked.questions, 1)]
of_each_question = pytest.mark.parametrize(
    ("name", "question"), [pytest.param(name, q, id=f"{name} {number}") for name, number, q in QUESTIONS]
)
AUTHORS = re.compile(r"\([A-Z][\w-]+ (et al\.|& [A-Z][\w-]+(-[A-Z]\w+)*) \d{4}\)")


@cache
def cells(name, kind):
    """The sources of a notebook's cells of one kind."""
    notebook = json.loads((NOTEBOOKS / f"{QUIZZES[name].notebook}.ipynb").read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def headings(name):
    return re.findall(r"^#+ (.+)$", "\n".join(cells(name, "markdown")), re.M)


# what is asked


def test_each_notebook_has_one_quiz_and_asks_it():
    assert [asked.notebook for asked in QUIZZES.values()] == sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.py"))
    for name in QUIZZES:
        code = cells(name, "code")
        assert code[-1].endswith(f'\n\nquiz("{name}")')
        assert sum("quiz(" in source for source in code) == 1


def test_a_quiz_has_three_to_five_questions_and_no_text_stands_twice():
    for asked in QUIZZES.values():
        assert 3 <= len(asked.questions) <= 5
    texts = [q.text for *_, q in QUESTIONS] + [option.says for *_, q in QUESTIONS for option in q.options]
    assert len({*texts}) == len(texts)


@of_each_question
def test_a_question_has_one_right_option_and_a_word_on_each(name, question):
    assert question.text.endswith("?")
    assert 2 <= len(question.options) <= 4
    assert sum(option.right for option in question.options) == 1
    assert len({option.text for option in question.options}) == len(question.options)
    assert all(len(option.says) >= 20 and option.says.endswith((".", "?")) for option in question.options)


@of_each_question
def test_the_place_to_look_again_is_there(name, question):
    section = re.fullmatch(r"section (\d)", question.see)
    start = f"{section[1]}. " if section else question.see.strip("“”")
    assert sum(heading.startswith(start) for heading in headings(name)) == 1


@of_each_question
def test_the_right_answer_cites_what_the_paper_or_others_have_shown(name, question):
    (right,) = [option.says for option in question.options if option.right]
    assert CITED.search(right) or AUTHORS.search(right)
    assert [*citation_faults(" ".join(option.says for option in question.options))] == []


def test_the_letter_of_the_right_option_tells_nothing():
    places = [[option.right for option in q.options].index(True) for *_, q in QUESTIONS]
    assert all(places.count(place) >= len(places) / 5 for place in range(3))


# how answers are read, judged and shown

TWO = Quiz(
    "none",
    [
        Question("One?", "section 1", [Option("yes", "It is."), Option("no", "So it is.", right=True)]),
        Question("Two?", "section 2", [Option("no", "As well.", right=True), Option("yes", "It is not.")]),
    ],
)


@pytest.mark.parametrize(
    ("answers", "right"), [("", 0), ("a", 0), ("b", 1), ("?a", 1), ("ba", 2), ("bb", 1), ("??", 0)]
)
def test_answers_are_counted(answers, right):
    assert TWO.right(answers) == right


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ("aba", "answers is 'aba'; expected at most 2 letters, one a question"),
        ("ac", "answer 2 of 'ac' is 'c'; expected one of a, b, or ? for no answer yet"),
        ("A", "answer 1 of 'A' is 'A'; expected"),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(answers, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        TWO.told(answers)


def test_the_text_shows_a_verdict_for_what_is_answered_and_gives_nothing_else_away():
    assert "Right" not in TWO.told("")
    assert "So it is" not in TWO.told("a")
    text = TWO.told("?b")
    assert text.endswith("Your answer: b. ✗ Not yet. It is not. Look again at section 2.")
    assert text.count("Your answer") == 1
    assert "✓ Right. So it is." in TWO.told("b")


# the cell


@pytest.fixture
def shown(monkeypatch):
    """What cells display, and an empty record of answers."""
    found = []
    monkeypatch.setattr("IPython.display.display", found.append)
    monkeypatch.setattr("samviz.exercises.seen._seen", {})
    monkeypatch.setenv("SAMVIZ_STATIC", "1")
    return found


def test_where_nobody_is_there_the_quiz_is_text_as_well(shown):
    quiz("alignment", "b?a")
    view, text = shown
    assert view.answers == "b?a"
    assert text.data == QUIZZES["alignment"].told("b?a")


def test_where_somebody_is_there_it_is_the_widget_alone(shown, monkeypatch):
    monkeypatch.setenv("SAMVIZ_STATIC", "0")
    quiz("alignment")
    (view,) = shown
    letters = [[option["letter"] for option in question["options"]] for question in view.questions]
    assert letters[0] == ["a", "b", "c"]
    verdicts = [option["verdict"] for question in view.questions for option in question["options"] if option["right"]]
    assert all(verdict.startswith("✓ Right. ") for verdict in verdicts)
    assert len(verdicts) == len(view.questions)


def test_progress_counts_the_latest_answers(shown, capsys):
    exercises.check("amplitude", ...)
    quiz("start", "ab")
    shown[0].set_state({"answers": "cba"})  # as the browser does
    exercises.check("amplitude", EXERCISES["amplitude"].solution)
    capsys.readouterr()
    progress()
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["amplitude", "1", "of", "1", "right"],
        ["quiz", "start", "3", "of", "3", "right"],
        ["all", "4", "of", "4", "right"],
    ]


@pytest.mark.parametrize(
    ("call", "error"), [(("nothing",), "quiz is 'nothing'; expected"), (("start", "z"), "answer 1")]
)
def test_a_wrong_call_is_told_so(shown, call, error):
    with pytest.raises(ValueError, match=error):
        quiz(*call)
    assert shown == []


# the answer key


def test_the_answer_key_has_every_right_answer_and_no_wrong_one():
    key = exercises.answer_key()
    for *_, question in QUESTIONS:
        for option in question.options:
            assert (option.says in key) == option.right


def test_the_solutions_in_the_answer_key_run_and_are_right(capsys):
    parts = re.findall(r"^### (\w+)\n.*?^```python\n(.*?)^```", exercises.answer_key(), re.M | re.S)
    assert [name for name, _ in parts] == [*EXERCISES]
    for name, code in parts:
        space = {"Any": object, "Array": object, "np": __import__("numpy")}
        if code.startswith("def "):
            exec(code, space)
            answer = space[re.match(r"def (\w+)", code)[1]]
        else:
            answer = eval(code, space)
        exercises.check(name, answer)
        assert capsys.readouterr().out.startswith("Right."), name
