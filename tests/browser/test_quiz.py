"""Quiz and lab in JupyterLab and in Notebook 7, which handles keys itself and loads its pages in another way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import samviz

from .conftest import Notebook
from .pages import expect
from .panels import SINE, lab_in

QUIZ = Path(samviz.__file__).parent / "course/quizzes/alignment.json"
OPTIONS = [question["options"] for question in json.loads(QUIZ.read_text(encoding="utf-8"))["questions"]]
CELL = 'from samviz.lab import quiz\n\nquiz("alignment")'
SOURCE = "() => window.jupyterapp.shell.currentWidget.content.model.cells.get(0).sharedModel.getSource()"
SCORE = "__import__('samviz.course.exercises', fromlist=['it'])._scores['quiz alignment']"


def judgement(option: dict[str, Any]) -> str:
    """Return the beginning of the reply to an option of the quiz."""
    return f"{'✓ Right.' if option.get('right') else '✗ Not yet.'} {option['feedback'][:24]}"


def score(*options: dict[str, Any]) -> str:
    """Return the text that counts the right ones of the chosen options."""
    return f"{sum(option.get('right', False) for option in options)} of {len(OPTIONS)} right."


def question(notebook: Notebook, number: int) -> Any:
    return notebook.page.get_by_role("group", name=re.compile(rf"^{number}\. "))


def chosen(page: Any) -> list[str]:
    """Return the letters of the options that are chosen."""
    return [radio.get_attribute("value") for radio in page.get_by_role("radio", checked=True).all()]


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_answers_are_judged_at_once_counted_in_the_kernel_and_kept_in_the_cell(
    keep_notebook: Callable[..., Notebook], app: str
) -> None:
    notebook = keep_notebook(f"quiz_{app}.ipynb", [CELL], app=app)
    page, errors = notebook.page, set(notebook.errors)  # Notebook's own, before any code of ours runs
    notebook.run_all()
    right = next(n for n, option in enumerate(OPTIONS[1]) if option.get("right"))
    question(notebook, 2).get_by_role("radio").nth(right).check()
    notebook.until(SCORE, lambda value: value == (1, len(OPTIONS)))
    notebook.run_all()  # the text of the cell contains no answer, so the quiz starts again
    page.get_by_text(score()).wait_for()
    first = question(notebook, 1)
    first.get_by_role("radio").first.focus()
    for key, option in zip(("Space", "ArrowDown"), OPTIONS[0]):
        page.keyboard.press(key)
        first.get_by_role("status").filter(has_text=judgement(option)).wait_for()
    for key in ("Tab", "Tab", "Space"):  # one stop for each question: past the second, to the third
        page.keyboard.press(key)
    assert chosen(page) == ["b", "a"]
    page.get_by_text(score(OPTIONS[0][1], OPTIONS[2][0])).wait_for()
    expect(page.get_by_label("To keep your answers")).to_have_value('quiz("alignment", "b?a")')
    notebook.screenshot(f"quiz_{app}", ".samviz-quiz")

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_text("Copied. Paste it over").wait_for()
    page.locator(".jp-CodeCell .cm-content").first.click()
    for key in ("ControlOrMeta+End", "Shift+Home", "ControlOrMeta+v"):
        page.keyboard.press(key)
    page.wait_for_function(f"() => ({SOURCE})().endsWith('b?a\")')")
    notebook.restart()
    notebook.run_all()
    page.get_by_text(score(OPTIONS[0][1], OPTIONS[2][0])).wait_for()
    assert chosen(page) == ["b", "a"]
    assert page.evaluate(SOURCE) == CELL.replace(")", ', "b?a")')
    assert set(notebook.errors) <= errors


def test_in_notebook_7_keys_move_a_slider_and_press_buttons(keep_notebook: Callable[..., Notebook]) -> None:
    notebook = keep_notebook("seven.ipynb", SINE, app="notebook")
    errors = set(notebook.errors)
    notebook.run_all()
    lab = lab_in(notebook)
    slider = lab.get_by_role("slider", name="ρ radius", exact=True)
    for key, after in (("ArrowUp", 0.001), ("ArrowRight", 0.0011), ("Home", 0.0)):
        slider.press(key)
        notebook.until("lab.values['rho']", lambda value, after=after: value == after)
        expect(slider).to_have_attribute("aria-valuetext", f"{after:g}")
    lab.get_by_role("button", name="Play", exact=True).press(" ")
    notebook.until("lab.session.run.steps > 100")
    lab.get_by_role("button", name="Pause", exact=True).press("Enter")
    lab.locator(".samviz-status").filter(has_text="paused").wait_for()
    notebook.screenshot("notebook7")
    assert set(notebook.errors) <= errors
