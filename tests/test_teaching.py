"""The page for teachers refers to exercises, options, sections and times that exist."""

import re
from pathlib import Path
from string import ascii_lowercase

import pytest

from samviz.course import EXERCISES, QUIZZES, SENTENCES

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PAGE = (NOTEBOOKS / "pages" / "teaching.md").read_text(encoding="utf-8")


def rows(heading):
    """Return the cells of the first table below a heading, without its head."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_goals_name_the_exercises_and_the_quiz_of_each_notebook():
    goals = rows("What a learner can do afterwards")
    for (notebook, _, exercises, quiz), path in zip(goals, sorted(NOTEBOOKS.glob("[0-9]*.py")), strict=True):
        source = path.read_text(encoding="utf-8")
        assert path.stem.startswith(re.search(r"\d\d", notebook)[0])
        assert re.findall(r"`(\w+)`", exercises) == re.findall(r'^check\("(\w+)"', source, re.M)
        assert re.findall(r"`(\w+)`", quiz) == re.findall(r'^quiz\("(\w+)"', source, re.M)


@pytest.mark.parametrize(("heading", "minutes"), [("A plan for 90 minutes", 90), ("A plan for three hours", 180)])
def test_a_plan_fills_its_time_with_sections_and_exercises_that_exist(heading, minutes):
    assert sum(int(cells[0]) for cells in rows(heading)) == minutes
    for _, where, do, *_ in rows(heading):
        assert {*re.findall(r"`(\w+)`", do)} <= {*EXERCISES, *SENTENCES}
        if linked := re.search(r"\.\./(\w+)\.ipynb", where):
            source = (NOTEBOOKS / f"{linked[1]}.py").read_text(encoding="utf-8")
            named = re.search(r"sections? ([\d, ]*(?:(?:and|to) \d)?)", f"{where} {do}")
            for section in re.findall(r"\d", named[1]) if named else ():
                assert f"# ## {section}. " in source, (linked[1], section)


def test_each_misconception_is_a_wrong_option():
    table = rows("Misconceptions, and what corrects them")
    assert len({cells[2] for cells in table}) == len(table) >= len(QUIZZES)
    assert {cells[2].strip("`").split()[0] for cells in table} == {*QUIZZES}
    for _, where, option in table:
        name, number, letter = re.fullmatch(r"`(\w+) (\d)([a-d])`", option).groups()
        options = QUIZZES[name].questions[int(number) - 1].options
        assert not options[ascii_lowercase.index(letter)].right, option
        assert where.startswith(QUIZZES[name].notebook[:2]) or option == "`start 1b`"
