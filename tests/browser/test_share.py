"""A run is moved as text from one lab to another, with the button, the field and the keyboard."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Notebook
from .pages import expect
from .panels import enter, lab_in, open_more, press

CELLS = [
    "from samviz.lab import Lab\nfrom samviz.problems import mlp",
    "lab = Lab(mlp([1, 24, 24, 1], data='sine'), device='cpu')\nlab",
    "other = Lab(mlp([1, 24, 24, 1], data='sine'), device='cpu')\nother",
]
SAME = "other.session.run.steps == lab.session.run.steps and bool((lab.session.run.x == other.session.run.x).all())"


def test_a_run_is_moved_to_another_lab_and_a_wrong_text_is_refused(keep_notebook: Callable[..., Notebook]) -> None:
    notebook = keep_notebook("share.ipynb", CELLS)
    notebook.page.set_viewport_size({"width": 1000, "height": 1000})
    notebook.run_all()
    one, two = lab_in(notebook, 0), lab_in(notebook, 1)
    open_more(one)
    press(one, "Play")
    notebook.until("lab.session.run.steps", lambda steps: steps > 50)
    one.get_by_label("preset").select_option("1-SAM")
    notebook.until("len(lab.session.run.changes)", lambda changes: changes > 1)
    press(one, "Pause")
    share, field = (
        one.get_by_role(role, name=name) for role, name in (("button", "Share"), ("textbox", "this run as"))
    )
    assert share.get_attribute("aria-expanded") == "false"
    share.press("Enter")
    notebook.until("lab.view.shared")
    notebook.page.wait_for_function("() => document.activeElement.value?.startsWith('samviz1:')")  # it has the focus
    text = notebook.kernel("lab.view.shared")
    expect(field).to_have_value(text)
    assert share.get_attribute("aria-expanded") == "true"
    assert min(share.bounding_box()["height"], field.bounding_box()["height"]) >= 24
    notebook.screenshot("share_open")

    two.scroll_into_view_if_needed()
    open_more(two)
    press(two, "Share")
    notebook.until("other.view.shared")
    field = two.get_by_role("textbox", name="this run as text")
    expect(field).to_have_value(notebook.kernel("other.view.shared"))  # or it would replace what is pasted
    enter(field, text[:-9])
    two.get_by_role("alert").filter(has_text="text contains no run").wait_for()
    assert notebook.kernel("other.session.run.steps") == 0
    assert field.input_value() == text[:-9]  # the pasted text is not lost
    enter(field, text)
    notebook.until(SAME)
    notebook.page.wait_for_function("() => document.querySelectorAll('.samviz-alert')[1].textContent === ''")
    expect(two.get_by_label("batch size, typed")).to_have_value("1")  # the controls follow
    press(two, "Step")
    notebook.until("other.session.run.steps > lab.session.run.steps")
    notebook.kernel("lab.step()")
    notebook.until(SAME)
    assert not notebook.errors
