"""The quiz in JupyterLab: answered by keyboard, kept in the cell's text, and there again after a restart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Notebook

CELL = 'from samviz.lab import quiz\n\nquiz("alignment")'
SOURCE = "() => window.jupyterapp.shell.currentWidget.content.model.cells.get(0).sharedModel.getSource()"


@pytest.fixture(scope="module")
def notebook(keep_notebook: Callable[..., Notebook]) -> Notebook:
    notebook = keep_notebook("quiz.ipynb", [CELL, "from samviz.course import progress\n\nprogress()"])
    notebook.run_all()
    return notebook


def question(notebook: Notebook, number: int) -> Any:
    return notebook.page.get_by_role("group", name=re.compile(rf"^{number}\. "))


def answered(notebook: Notebook) -> list[str]:
    """Letters of the options that are checked."""
    return [radio.get_attribute("value") for radio in notebook.page.get_by_role("radio", checked=True).all()]


def answer_by_keyboard(notebook: Notebook) -> None:
    """Answer two questions with keys alone; each answer is judged at once."""
    page = notebook.page
    first = question(notebook, 1)
    first.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    first.get_by_role("status").filter(has_text="✗ Not yet. Gradient descent shrinks the part along v₁").wait_for()
    page.keyboard.press("ArrowDown")
    first.get_by_role("status").filter(has_text="✓ Right. The component that decays first").wait_for()
    page.keyboard.press("Tab")  # one stop a question: past the second, to the third
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert answered(notebook) == ["b", "a"]
    page.get_by_text("2 of 4 right.").wait_for()
    assert page.get_by_label("To keep your answers").input_value() == 'quiz("alignment", "b?a")'
    notebook.screenshot(f"quiz_{notebook.name.removesuffix('.ipynb')}", ".samviz-quiz")


def keep_the_answers(notebook: Notebook) -> None:
    """Paste the call over the cell's last line, restart the kernel and run everything: the answers are there again."""
    page = notebook.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_text("Copied. Paste it over").wait_for()
    page.locator(".jp-CodeCell .cm-content").first.click()
    for keys in ("ControlOrMeta+End", "Shift+Home", "ControlOrMeta+v"):
        page.keyboard.press(keys)
    page.wait_for_function(f"() => ({SOURCE})().endsWith('b?a\")')")
    page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart() }")
    notebook.run_all()
    page.get_by_text("2 of 4 right.").wait_for()
    assert answered(notebook) == ["b", "a"]
    assert page.evaluate(SOURCE) == CELL.replace(")", ', "b?a")')


def test_the_kernel_counts_what_the_browser_judges(notebook: Notebook) -> None:
    question(notebook, 1).get_by_text("b) Along v₁ for SAM").click()
    question(notebook, 2).get_by_text("c) Threefold").click()
    notebook.run_all()  # the first cell's text holds no answer, so it starts anew
    notebook.page.get_by_text("0 of 4 right.").wait_for()
    question(notebook, 2).get_by_text("c) Threefold").click()
    notebook.page.get_by_text("1 of 4 right.").wait_for()
    count = "__import__('samviz.course.exercises', fromlist=['it'])._scores['quiz alignment']"
    notebook.until(count, lambda seen: seen == (1, 4))


def test_an_answer_by_keyboard_is_judged_at_once_and_kept_in_the_cell(notebook: Notebook) -> None:
    notebook.run_all()
    notebook.page.get_by_text("0 of 4 right.").wait_for()
    answer_by_keyboard(notebook)
    keep_the_answers(notebook)
    assert notebook.errors == []
