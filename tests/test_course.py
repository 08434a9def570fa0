"""Quizzes, exercises and the page for teachers agree with notebooks and paper; answers are judged and counted."""

import json
import re
from functools import cache
from string import ascii_lowercase

import numpy as np
import pytest
from fresh import ROOT
from test_pages import CITED, citation_faults

from samviz import course
from samviz.course import EXERCISES, QUIZZES, SENTENCES, Option, Question, Quiz, answer_key, check, progress
from samviz.course.tasks import TEXTS
from samviz.dynamics import Run
from samviz.lab import quiz
from samviz.problems import quadratic

# quizzes


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
    section = re.fullmatch(r"section (\d+)", question["section"])
    start = f"{section[1]}. " if section else question["section"].strip("“”")
    assert sum(heading.startswith(start) for heading in headings) == 1
    (right,) = [option["feedback"] for option in question["options"] if "right" in option]
    assert CITED.search(right) or AUTHORS.search(right)
    assert [*citation_faults(" ".join(option["feedback"] for option in question["options"]))] == []


def test_the_right_option_is_never_the_longest_its_letter_cannot_be_guessed_and_no_text_occurs_twice():
    shortest = 0
    for _, question in QUESTIONS:
        (right,) = [len(option["text"]) for option in question["options"] if "right" in option]
        wrong = [len(option["text"]) for option in question["options"] if "right" not in option]
        assert right <= max(wrong), question["text"]
        shortest += right < min(wrong)
    assert shortest <= len(QUESTIONS) / 3
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


def test_right_answers_are_counted_and_get_a_verdict_that_reveals_nothing_else():
    counts = {"": 0, "a": 0, "b": 1, "?a": 1, "ba": 2, "bb": 1, "??": 0}
    assert {answers: TWO.count_right(answers) for answers in counts} == counts
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


def test_the_answer_key_has_every_right_answer_no_wrong_one_and_solutions_that_are_right(capsys):
    key = course.answer_key()
    for option in (option for _, question in QUESTIONS for option in question["options"]):
        assert (option["feedback"] in key) == ("right" in option)
    parts = re.findall(r"^### (\w+)\n.*?^```python\n(.*?)^```", key, re.M | re.S)
    assert [name for name, _ in parts] == [*EXERCISES]
    for name, code in parts:
        space = {"Any": object, "np": np}
        exec(code, space)
        course.check(name, space[name])
        assert capsys.readouterr().out.startswith("Right."), name


# exercises: right answers pass, each common mistake is recognized, and every other answer gets a useful reply


SCRIPTS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
of_each = pytest.mark.parametrize("name", EXERCISES)


@pytest.fixture
def reply(capsys):
    """Return what `check` prints for an answer."""

    def checked(name, answer):
        check(name, answer)
        return capsys.readouterr().out.strip()

    return checked


@of_each
def test_the_solution_is_right_each_mistake_gets_its_remark_and_there_is_no_hint_before_a_try(reply, name):
    exercise = EXERCISES[name]
    assert reply(name, exercise.solution) == f"Right. {exercise.takeaway}"
    assert len(exercise.mistakes) == len(TEXTS[name]["mistakes"]) > 0
    for remark, mistake in exercise.mistakes.items():
        assert reply(name, mistake) == f"Not yet. {remark}"
    text = reply(name, lambda *_: ...)
    assert text == f"Nothing to check yet: replace the dots by your answer. Expected: {exercise.call}."
    assert exercise.hint not in text


@of_each
@pytest.mark.parametrize("answer", [lambda *_: 1 / 0, lambda: 0.0, lambda *_: "text", lambda *_: np.zeros(7), 3.5, ...])
def test_every_wrong_answer_gets_a_reply_that_helps(reply, name, answer):
    text = reply(name, answer)
    assert not text.startswith("Right")
    assert len(text) > 40


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


def test_a_wrong_number_is_shown_next_to_the_right_one(reply):
    text = reply("amplitude", lambda lr, rho, top: 1.0)
    assert text.startswith("Not yet: 1. for η = 0.1, ρ = 0.05, λ₁ = 3.0, expected 0.00882. Hint:")
    assert reply("copies", lambda a, b: [4.00001 * b / (a + 4 * b), b / (6 * a + b)]).startswith("Right")


@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_exact_ascent_leaves_v1_below_the_largest_rate_only(ratio):
    rate = EXERCISES["largest_rate"].solution(3.0, 3.0 * ratio)
    for lr, grows in ((0.99 * rate, True), (1.01 * rate, False)):
        cycle = lr * 0.1 * 3 / (2 - lr * 3)  # Theorem 4.8
        run = Run(quadratic([3.0, 3.0 * ratio]), "ascent", lr, 0.1, x0=[cycle, 1e-6 * cycle], device="cpu")
        run.step()
        assert (run.x[0, 1].item() > 1e-6 * cycle) == grows


def test_an_answer_cannot_change_the_arguments_of_the_trials_and_names_an_exercise(reply):
    def zero(slopes):
        slopes[:] = 0
        return 0.0

    assert reply("trace", zero).startswith("Not yet")  # with slopes of zero it would be right
    assert reply("trace", EXERCISES["trace"].solution).startswith("Right")
    with pytest.raises(ValueError, match="exercise is 'nothing'; expected one of curved_average"):
        check("nothing", 0)


def solutions(path):
    """Return (exercise, variable, code) of each hidden solution, which follows the cell that checks it."""
    found, pending = [], []
    for cell in pytest.importorskip("jupytext").read(path).cells:
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
    for path in SCRIPTS:
        source = path.read_text(encoding="utf-8")
        asked += re.findall(r'^check\("(\w+)", *"\.\.\."\)', source, re.MULTILINE)
        assert all(SENTENCES[name]["question"] in source for name in asked if f'"{name}"' in source)
    assert {*asked} == {*SENTENCES}
    assert all(text.keys() == {"question", "mentions", "model"} for text in SENTENCES.values())


def test_the_notebooks_ask_every_exercise_and_their_hidden_solutions_are_right(reply):
    found = [solution for path in SCRIPTS for solution in solutions(path)]
    assert {name for name, _, _ in found} == set(EXERCISES)
    for name, variable, code in found:
        space = {"np": np}
        exec(code, space)
        assert reply(name, space[variable]).startswith("Right"), (name, code)


# the page for teachers refers to exercises, options, sections and times that exist


NOTEBOOKS = ROOT / "notebooks"
PAGE = (NOTEBOOKS / "pages" / "teaching.md").read_text(encoding="utf-8")


def rows(heading):
    """Return the cells of the first table below a heading, without its head."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_goals_name_the_exercises_and_the_quiz_of_each_notebook():
    goals = rows("What a learner can do afterwards")
    for (notebook, _, exercises, quizzes), path in zip(goals, sorted(NOTEBOOKS.glob("[0-9]*.py")), strict=True):
        source = path.read_text(encoding="utf-8")
        assert path.stem.startswith(re.search(r"\d\d", notebook)[0])
        assert re.findall(r"`(\w+)`", exercises) == re.findall(r'^check\("(\w+)"', source, re.M)
        assert re.findall(r"`(\w+)`", quizzes) == re.findall(r'^quiz\("(\w+)"', source, re.M)


def test_each_misconception_is_a_wrong_option():
    table = rows("Misconceptions, and what corrects them")
    assert len({cells[2] for cells in table}) == len(table) >= len(QUIZZES)
    assert {cells[2].strip("`").split()[0] for cells in table} == {*QUIZZES}
    for _, where, option in table:
        name, number, letter = re.fullmatch(r"`(\w+) (\d)([a-d])`", option).groups()
        options = QUIZZES[name].questions[int(number) - 1].options
        assert not options[ascii_lowercase.index(letter)].right, option
        assert where.startswith(QUIZZES[name].notebook[:2]) or option == "`start 1b`"
