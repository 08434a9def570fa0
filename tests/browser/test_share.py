"""A run travels as text from one lab to another, through the button, the field and the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Notebook
from .panels import lab_in

CELLS = [
    "from samviz.lab import Lab\nfrom samviz.problems import mlp, valley",
    "lab = Lab(mlp([1, 24, 24, 1], data='sine'), device='cpu')\nlab",
    "other = Lab(mlp([1, 24, 24, 1], data='sine'), device='cpu')\nother",
    "text = Lab(valley(), lr=0.01, device='cpu').share()",
]
SAME = "bool((lab.session.run.x == other.session.run.x).all())"


@pytest.fixture(scope="module")
def notebook(keep_notebook: Callable[..., Notebook]) -> Notebook:
    notebook = keep_notebook("share.ipynb", CELLS)
    notebook.page.set_viewport_size({"width": 1000, "height": 1000})
    notebook.run_all()
    return notebook


def test_a_run_is_handed_on(notebook: Notebook) -> None:
    one, two = lab_in(notebook, 0), lab_in(notebook, 1)
    one.get_by_role("button", name="Play", exact=True).click()
    notebook.until("lab.session.run.steps", lambda steps: steps > 50)
    one.get_by_label("preset").select_option("1-SAM")
    notebook.until("len(lab.session.run.changes)", lambda changes: changes > 1)
    one.get_by_role("button", name="Pause", exact=True).click()
    one.get_by_role("button", name="Play", exact=True).wait_for()
    notebook.screenshot("share_closed")

    share = one.get_by_role("button", name="Share", exact=True)
    assert share.bounding_box()["height"] >= 24
    assert share.get_attribute("aria-expanded") == "false"
    share.focus()
    notebook.page.keyboard.press("Enter")
    field = one.get_by_role("textbox", name="this run as text")
    field.wait_for()
    notebook.until("lab.view.shared")
    notebook.page.wait_for_function("() => document.activeElement.value?.startsWith('samviz1:')")  # it has the focus
    assert field.input_value() == notebook.kernel("lab.view.shared")
    assert share.get_attribute("aria-expanded") == "true"
    assert field.bounding_box()["height"] >= 24
    notebook.screenshot("share_open")
    text = field.input_value()

    two.scroll_into_view_if_needed()
    two.get_by_role("button", name="Share", exact=True).click()
    field = two.get_by_role("textbox", name="this run as text")
    notebook.until("other.view.shared")
    field.fill(text[:-9])  # damaged
    field.press("Enter")
    two.get_by_role("alert").filter(has_text="text holds no run").wait_for()
    assert notebook.kernel("other.session.run.steps") == 0
    assert field.input_value() == text[:-9]  # what was pasted is not lost
    field.fill(text)
    field.press("Enter")
    notebook.until("other.session.run.steps == lab.session.run.steps")
    assert notebook.kernel(SAME)
    notebook.page.wait_for_function("() => document.querySelectorAll('.samviz-alert')[1].textContent === ''")
    assert two.get_by_label("batch size, typed").input_value() == "1"  # the controls follow
    notebook.screenshot("share_loaded")

    two.get_by_role("button", name="Step", exact=True).click()
    notebook.until("other.session.run.steps > lab.session.run.steps")
    notebook.kernel("lab.step()")
    notebook.until("other.session.run.steps == lab.session.run.steps")
    assert notebook.kernel(SAME)
    assert not notebook.errors


def test_another_problem_is_refused_with_the_call_to_make(notebook: Notebook) -> None:
    lab = lab_in(notebook, 0)
    field = lab.get_by_role("textbox", name="this run as text")
    if not field.is_visible():
        lab.get_by_role("button", name="Share", exact=True).click()
    notebook.until("lab.view.shared")
    text = notebook.kernel("text")
    field.fill(text)
    field.press("Enter")
    lab.get_by_role("alert").filter(has_text=f'Lab.from_share("{text}")').wait_for()
    assert not notebook.errors
