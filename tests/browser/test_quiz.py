"""The quiz in JupyterLab: answered by keyboard, kept in the text of the cell, and restored after a restart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .conftest import Notebook

CELL = 'from samviz.lab import quiz\n\nquiz("alignment")'
SOURCE = "() => window.jupyterapp.shell.currentWidget.content.model.cells.get(0).sharedModel.getSource()"
RESTART = "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart() }"
SCORE = "__import__('samviz.course.exercises', fromlist=['it'])._scores['quiz alignment']"


def question(notebook: Notebook, number: int) -> Any:
    return notebook.page.get_by_role("group", name=re.compile(rf"^{number}\. "))


def chosen(page: Any) -> list[str]:
    """Return the letters of the options that are chosen."""
    return [radio.get_attribute("value") for radio in page.get_by_role("radio", checked=True).all()]


def answer_by_keyboard(notebook: Notebook) -> None:
    """Answer two questions with keys alone; each answer is judged at once."""
    page, first = notebook.page, question(notebook, 1)
    first.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    first.get_by_role("status").filter(has_text="✗ Not yet. Gradient descent shrinks the part along v₁").wait_for()
    page.keyboard.press("ArrowDown")
    first.get_by_role("status").filter(has_text="✓ Right. The component that decays first").wait_for()
    page.keyboard.press("Tab")  # one stop for each question: past the second, to the third
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert chosen(page) == ["b", "a"]
    page.get_by_text("2 of 4 right.").wait_for()
    assert page.get_by_label("To keep your answers").input_value() == 'quiz("alignment", "b?a")'
    notebook.screenshot(f"quiz_{notebook.name.removesuffix('.ipynb')}", ".samviz-quiz")


def keep_the_answers(notebook: Notebook) -> None:
    """Paste the call over the last line of the cell, restart the kernel, and find the answers again."""
    page = notebook.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_text("Copied. Paste it over").wait_for()
    page.locator(".jp-CodeCell .cm-content").first.click()
    for keys in ("ControlOrMeta+End", "Shift+Home", "ControlOrMeta+v"):
        page.keyboard.press(keys)
    page.wait_for_function(f"() => ({SOURCE})().endsWith('b?a\")')")
    page.evaluate(RESTART)
    notebook.run_all()
    page.get_by_text("2 of 4 right.").wait_for()
    assert chosen(page) == ["b", "a"]
    assert page.evaluate(SOURCE) == CELL.replace(")", ', "b?a")')


def test_answers_are_counted_in_the_kernel_judged_at_once_and_kept_in_the_cell(
    keep_notebook: Callable[..., Notebook],
) -> None:
    notebook = keep_notebook("quiz.ipynb", [CELL, "from samviz.course import progress\n\nprogress()"])
    notebook.run_all()
    question(notebook, 1).get_by_text("b) Along v₁ for SAM").click()
    notebook.run_all()  # the text of the cell contains no answer, so the quiz starts again
    notebook.page.get_by_text("0 of 4 right.").wait_for()
    question(notebook, 2).get_by_text("c) Threefold").click()
    notebook.page.get_by_text("1 of 4 right.").wait_for()
    notebook.until(SCORE, lambda score: score == (1, 4))
    notebook.run_all()
    notebook.page.get_by_text("0 of 4 right.").wait_for()
    answer_by_keyboard(notebook)
    keep_the_answers(notebook)
    assert notebook.errors == []
