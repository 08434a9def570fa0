"""The instructions of the contributors' guide work when they are followed literally."""

import re
import shlex
import shutil

import pytest
from fresh import ROOT, python

GUIDE = (ROOT / ".github/CONTRIBUTING.md").read_text(encoding="utf-8")
STEP = re.compile(r"^(Create|Add to|Run)(?: `([^`]+)`)?[^\n]*:\n\n```\w+\n(.*?)^```$", re.M | re.S)
RECIPES = dict(re.findall(r"^## (Add an? .+?)\n(.*?)(?=^## |\Z)", GUIDE, re.M | re.S))
COPIED = ("samviz", "tests", "notebooks", "benchmarks", ".github", "pyproject.toml", "README.md")


def edit(folder, title):
    """Create the files of a recipe in a copy of the repository, and add its lines."""
    for action, path, code in STEP.findall(RECIPES[title]):
        if action == "Create":
            (folder / path).write_text(code, encoding="utf-8")
        elif action == "Add to":
            insert(folder / path, code)


def insert(path, code):
    """Add code at the place that the guide names: above __all__ or below the last row of a table, else at the end."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        rows = [match.end() for match in re.finditer(r"^\| \[?0\d.*\n", text.partition("\n## A plan")[0], re.M)]
        at = rows[-1]
    else:
        at = text.index("\n__all__ = [name") + 1 if "\n__all__ = [name" in text else len(text)
    path.write_text(text[:at] + code + text[at:], encoding="utf-8")


def test_every_kind_of_addition_has_a_recipe():
    kinds = {title.split(maxsplit=2)[2] for title in RECIPES}
    assert kinds == {"claim", "panel", "update rule", "problem", "notebook", "quiz"}


@pytest.mark.parametrize("title", RECIPES)
def test_an_addition_is_one_new_file_and_at_most_one_line_of_registration(title):
    steps = STEP.findall(RECIPES[title])
    created = [path for action, path, _ in steps if action == "Create"]
    lines = [code.strip().count("\n") + 1 for action, _, code in steps if action == "Add to"]
    if title == "Add an update rule":
        assert not created  # the rule itself is added to the module of the rules
    else:
        assert len(created) == 1
        assert lines in ([], [1])


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_works(title, tmp_path):
    """Slow: each command starts an interpreter, because it must import the copy."""
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    edit(tmp_path, title)
    (commands,) = (code.splitlines() for action, _, code in STEP.findall(RECIPES[title]) if action == "Run")
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "python"
        ran = python(*arguments, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"  # pytest returns 5 if -k finds no test
