"""A notebook that a learner has saved shows the last picture of its panels when it is opened without a kernel."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Notebook
from .panels import says

CELLS = [
    """from samviz.lab import Panel, Slider


def draw(values):
    return {"data": [{"y": [0, values["a"]]}], "layout": {"height": 200}}, f"It ends at {values['a']:g}."
""",
    "panel = Panel(draw, {'a': Slider('slope', 1, stops=range(10))}, description='a line')\npanel",
]


def test_a_saved_notebook_shows_the_last_picture_without_a_kernel(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook("saved.ipynb", CELLS)
    notebook.run_all()
    page, picture = notebook.page, notebook.page.locator("img.samviz-picture")
    picture.wait_for(state="attached")
    assert not picture.is_visible()  # next to the live panel
    first = picture.get_attribute("src")
    page.get_by_role("slider", name="slope", exact=True).press("End")
    says(notebook, "It ends at 9.")
    page.wait_for_function("(first) => document.querySelector('img.samviz-picture').src !== first", arg=first)
    last = picture.get_attribute("src")
    notebook.command("docmanager:save")
    for session in notebook.server.rest("sessions"):
        notebook.server.rest(f"sessions/{session['id']}", "DELETE")
    page.reload()
    picture.wait_for()
    assert page.locator(".samviz-card").count() == 0
    assert picture.get_attribute("src") == last
    assert picture.bounding_box()["width"] > 300
    assert notebook.errors == []
