"""The page for teachers speaks of exercises, options and times that are there."""

import re
from pathlib import Path
from string import ascii_lowercase

import pytest

from samviz.exercises import EXERCISES, QUIZZES

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PAGE = (NOTEBOOKS / "pages" / "teaching.md").read_text(encoding="utf-8")


def rows(heading):
    """The cells of each row of the first table below a heading, without the table's head."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def asked(notebook):
    """The exercises and the quiz of a notebook, from its script."""
    source = next(NOTEBOOKS.glob(f"{notebook}_*.py")).read_text(encoding="utf-8")
    return re.findall(r'^check\("(\w+)"', source, re.M), re.findall(r'^quiz\("(\w+)"', source, re.M)


def test_the_goals_name_what_each_notebook_asks():
    table = [(re.search(r"\d\d", cells[0])[0], *cells[2:]) for cells in rows("What a learner can do afterwards")]
    assert [number for number, *_ in table] == [path.stem[:2] for path in sorted(NOTEBOOKS.glob("[0-9]*.py"))]
    for number, exercises, quiz in table:
        assert (re.findall(r"`(\w+)`", exercises), re.findall(r"`(\w+)`", quiz)) == asked(number)


@pytest.mark.parametrize(("heading", "minutes"), [("A plan for 90 minutes", 90), ("A plan for three hours", 180)])
def test_a_plan_fills_its_time(heading, minutes):
    assert sum(int(cells[0]) for cells in rows(heading)) == minutes


@pytest.mark.parametrize("heading", ["A plan for 90 minutes", "A plan for three hours"])
def test_a_plan_speaks_of_sections_and_exercises_that_are_there(heading):
    for _, where, do, *_ in rows(heading):
        assert {*re.findall(r"`(\w+)`", do)} <= {*EXERCISES}
        if linked := re.search(r"\.\./(\w+)\.ipynb", where):
            source = (NOTEBOOKS / f"{linked[1]}.py").read_text(encoding="utf-8")
            told = re.search(r"sections? ([\d, ]*(?:(?:and|to) \d)?)", f"{where} {do}")
            for section in re.findall(r"\d", told[1]) if told else ():
                assert f"# ## {section}. " in source, (linked[1], section)


def test_each_misconception_is_a_wrong_option():
    table = rows("Misconceptions, and what dispels them")
    assert len({cells[2] for cells in table}) == len(table) >= len(QUIZZES)
    assert {cells[2].strip("`").split()[0] for cells in table} == {*QUIZZES}
    for _, where, option in table:
        name, number, letter = re.fullmatch(r"`(\w+) (\d)([a-d])`", option).groups()
        options = QUIZZES[name].questions[int(number) - 1].options
        assert not options[ascii_lowercase.index(letter)].right, option
        assert where.startswith(QUIZZES[name].notebook[:2]) or option == "`start 1b`"


def test_the_page_is_short():
    assert len(PAGE.splitlines()) <= 200
