"""The quizzes: well-formed data that agrees with the notebooks and the paper; answers are judged, counted and shown."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from test_pages import CITED, citation_faults

from samviz import course
from samviz.course import EXERCISES, QUIZZES, Option, Question, Quiz, progress
from samviz.lab import quiz

ROOT = Path(__file__).parents[1]
FILES = {path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / "samviz/course/quizzes").iterdir()}
QUESTIONS = [(name, question) for name, data in FILES.items() for question in data["questions"]]
of_each_question = pytest.mark.parametrize(
    ("name", "question"), [pytest.param(*each, id=f"{each[0]} {each[1]['text'][:30]}") for each in QUESTIONS]
)
AUTHORS = re.compile(r"\([A-Z][\w-]+ (et al\.|& [A-Z][\w-]+(-[A-Z]\w+)*) \d{4}\)")


@cache
def cells(notebook, kind):
    """Return the sources of a notebook's cells of one kind."""
    cells = json.loads((ROOT / f"notebooks/{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def test_each_file_is_a_quiz_that_its_notebook_shows_once_and_each_notebook_has_a_quiz():
    assert FILES.keys() == QUIZZES.keys()
    for name, data in FILES.items():
        assert data.keys() == {"notebook", "questions"}
        assert 3 <= len(data["questions"]) <= 5
        assert sum(f'quiz("{name}")' in source for source in cells(data["notebook"], "code")) == 1
    notebooks = [quiz.notebook for quiz in QUIZZES.values()]
    assert notebooks == sorted(notebooks)
    for path in (ROOT / "notebooks").glob("[0-9]*.py"):
        (name,) = re.findall(r'\n\nquiz\("(\w+)"\)$', "\n".join(cells(path.stem, "code")), re.M)
        assert QUIZZES[name].notebook == path.stem


@of_each_question
def test_a_question_has_the_fields_of_the_schema_and_one_right_option(name, question):
    assert question.keys() == {"text", "section", "options"}
    options = question["options"]
    assert question["text"].endswith("?")
    assert 2 <= len(options) <= 4
    assert all(option.keys() in ({"text", "feedback"}, {"text", "feedback", "right"}) for option in options)
    assert [option["right"] for option in options if "right" in option] == [True]
    assert len({option["text"] for option in options}) == len(options)
    assert all(len(option["feedback"]) >= 20 and option["feedback"].endswith((".", "?")) for option in options)


@of_each_question
def test_a_question_names_a_section_of_its_notebook_and_cites_what_supports_the_right_answer(name, question):
    headings = re.findall(r"^#+ (.+)$", "\n".join(cells(FILES[name]["notebook"], "markdown")), re.M)
    section = re.fullmatch(r"section (\d)", question["section"])
    start = f"{section[1]}. " if section else question["section"].strip("“”")
    assert sum(heading.startswith(start) for heading in headings) == 1
    (right,) = [option["feedback"] for option in question["options"] if "right" in option]
    assert CITED.search(right) or AUTHORS.search(right)
    assert [*citation_faults(" ".join(option["feedback"] for option in question["options"]))] == []


def test_the_right_option_is_never_the_longest_and_rarely_the_shortest():
    shortest = 0
    for _, question in QUESTIONS:
        (right,) = [len(option["text"]) for option in question["options"] if "right" in option]
        wrong = [len(option["text"]) for option in question["options"] if "right" not in option]
        assert right <= max(wrong), question["text"]
        shortest += right < min(wrong)
    assert shortest <= len(QUESTIONS) / 3


def test_no_text_occurs_twice_and_the_letter_of_the_right_option_cannot_be_guessed():
    options = [q["options"] for _, q in QUESTIONS]
    texts = [q["text"] for _, q in QUESTIONS] + [option["feedback"] for each in options for option in each]
    assert len({*texts}) == len(texts)
    places = [["right" in option for option in each].index(True) for each in options]
    assert all(places.count(place) >= len(places) / 5 for place in range(3))


TWO = Quiz(
    "none",
    [
        Question("One?", "section 1", [Option("yes", "It is."), Option("no", "It is not.", right=True)]),
        Question("Two?", "section 2", [Option("no", "Also not.", right=True), Option("yes", "It is also.")]),
    ],
)


def test_right_answers_are_counted():
    counts = {"": 0, "a": 0, "b": 1, "?a": 1, "ba": 2, "bb": 1, "??": 0}
    assert {answers: TWO.count_right(answers) for answers in counts} == counts


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ("aba", "answers is 'aba'; expected at most 2 letters, one a question"),
        ("ac", "answer 2 of 'ac' is 'c'; expected one of a, b, or ? for an open question"),
        ("A", "answer 1 of 'A' is 'A'; expected"),
    ],
)
def test_invalid_answers_are_refused(answers, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        TWO.markdown(answers)


def test_the_text_has_a_verdict_on_each_answer_and_reveals_nothing_else():
    assert "Right" not in TWO.markdown("")
    assert "It is not" not in TWO.markdown("a")
    text = TWO.markdown("?b")
    assert text.endswith("Your answer: b. ✗ Not yet. It is also. Look again at section 2.")
    assert text.count("Your answer") == 1
    assert "✓ Right. It is not." in TWO.markdown("b")


@pytest.fixture
def displayed(monkeypatch):
    """What cells display without a front end, with an empty record of scores."""
    found = []
    monkeypatch.setattr("IPython.display.display", found.append)
    monkeypatch.setattr("samviz.course.exercises._scores", {})
    monkeypatch.setenv("SAMVIZ_STATIC", "1")
    return found


def test_without_a_front_end_the_quiz_is_also_shown_as_text(displayed, monkeypatch):
    quiz("alignment", "b?a")
    view, text = displayed
    assert view.values["answers"] == "b?a"
    assert text.data == QUIZZES["alignment"].markdown("b?a")
    monkeypatch.setenv("SAMVIZ_STATIC", "0")
    quiz("alignment")
    (view,) = displayed[2:]
    for question, sent in zip(FILES["alignment"]["questions"], view.questions, strict=True):
        assert [option["letter"] for option in sent["options"]] == ["a", "b", "c"]
        for option, shown in zip(question["options"], sent["options"]):
            verdict = f"✓ Right. {option['feedback']}" if "right" in option else f"✗ Not yet. {option['feedback']} Look"
            assert shown["verdict"].startswith(verdict)


def test_progress_counts_the_latest_answers(displayed, capsys):
    course.check("amplitude", ...)
    quiz("start", "ab")
    displayed[0].set_state({"values": {"answers": "cbba"}})  # as the browser does
    course.check("amplitude", EXERCISES["amplitude"].solution)
    capsys.readouterr()
    progress()
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["amplitude", "1", "of", "1", "right"],
        ["quiz", "start", "4", "of", "4", "right"],
        ["all", "5", "of", "5", "right"],
    ]


def test_a_wrong_call_displays_nothing(displayed):
    with pytest.raises(ValueError, match="quiz is 'nothing'; expected"):
        quiz("nothing")
    with pytest.raises(ValueError, match="answer 1"):
        quiz("start", "z")
    assert displayed == []


def test_the_answer_key_has_every_right_answer_no_wrong_one_and_solutions_that_are_right(capsys):
    key = course.answer_key()
    for option in (option for _, question in QUESTIONS for option in question["options"]):
        assert (option["feedback"] in key) == ("right" in option)
    parts = re.findall(r"^### (\w+)\n.*?^```python\n(.*?)^```", key, re.M | re.S)
    assert [name for name, _ in parts] == [*EXERCISES]
    for name, code in parts:
        space = {"Any": object, "np": np}
        if code.startswith("def "):
            exec(code, space)
        course.check(name, space[name] if name in space else eval(code, space))
        assert capsys.readouterr().out.startswith("Right."), name
