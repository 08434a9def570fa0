"""A run is moved as text from one lab to another, with the button, the field and the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .conftest import Notebook
from .panels import lab_in

CELLS = [
    "from samviz.lab import Lab\nfrom samviz.problems import mlp, valley",
    "lab = Lab(mlp([1, 24, 24, 1], data='sine'), device='cpu')\nlab",
    "other = Lab(mlp([1, 24, 24, 1], data='sine'), device='cpu')\nother",
    "text = Lab(valley(), lr=0.01, device='cpu').share()",
]
SAME = "other.session.run.steps == lab.session.run.steps and bool((lab.session.run.x == other.session.run.x).all())"


def button(lab: Any, name: str) -> Any:
    return lab.get_by_role("button", name=name, exact=True)


def field_of(lab: Any) -> Any:
    return lab.get_by_role("textbox", name="this run as text")


def paste(lab: Any, text: str) -> None:
    """Put a text into the field and load it."""
    field_of(lab).fill(text)
    field_of(lab).press("Enter")


def test_a_run_is_moved_to_another_lab_and_a_wrong_text_is_refused(keep_notebook: Callable[..., Notebook]) -> None:
    notebook = keep_notebook("share.ipynb", CELLS)
    notebook.page.set_viewport_size({"width": 1000, "height": 1000})
    notebook.run_all()
    one, two = lab_in(notebook, 0), lab_in(notebook, 1)
    button(one, "Play").click()
    notebook.until("lab.session.run.steps", lambda steps: steps > 50)
    one.get_by_label("preset").select_option("1-SAM")
    notebook.until("len(lab.session.run.changes)", lambda changes: changes > 1)
    button(one, "Pause").click()
    button(one, "Play").wait_for()
    notebook.screenshot("share_closed")

    assert button(one, "Share").bounding_box()["height"] >= 24
    assert button(one, "Share").get_attribute("aria-expanded") == "false"
    button(one, "Share").focus()
    notebook.page.keyboard.press("Enter")
    notebook.until("lab.view.shared")
    notebook.page.wait_for_function("() => document.activeElement.value?.startsWith('samviz1:')")  # it has the focus
    text = notebook.kernel("lab.view.shared")
    assert field_of(one).input_value() == text
    assert button(one, "Share").get_attribute("aria-expanded") == "true"
    assert field_of(one).bounding_box()["height"] >= 24
    notebook.screenshot("share_open")

    two.scroll_into_view_if_needed()
    button(two, "Share").click()
    notebook.until("other.view.shared")
    paste(two, text[:-9])
    two.get_by_role("alert").filter(has_text="text contains no run").wait_for()
    assert notebook.kernel("other.session.run.steps") == 0
    assert field_of(two).input_value() == text[:-9]  # the pasted text is not lost
    paste(two, text)
    notebook.until(SAME)
    notebook.page.wait_for_function("() => document.querySelectorAll('.samviz-alert')[1].textContent === ''")
    assert two.get_by_label("batch size, typed").input_value() == "1"  # the controls follow
    notebook.screenshot("share_loaded")

    button(two, "Step").click()
    notebook.until("other.session.run.steps > lab.session.run.steps")
    notebook.kernel("lab.step()")
    notebook.until(SAME)

    other_problem = notebook.kernel("text")
    paste(one, other_problem)
    one.get_by_role("alert").filter(has_text=f'Lab.from_share("{other_problem}")').wait_for()
    assert not notebook.errors
