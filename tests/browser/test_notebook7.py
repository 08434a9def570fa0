"""Lab and quiz in Notebook 7, which takes keys for itself and loads its pages in another way than JupyterLab."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .conftest import Notebook
from .panels import SINE, arrows
from .test_quiz import CELL, answer_by_keyboard, keep_the_answers
from .test_view import VIEW

pytest.importorskip("notebook")


@pytest.fixture(scope="module")
def kept(keep_notebook: Callable[..., Notebook]) -> tuple[Notebook, set[str]]:
    """A quiz, a lab and the lab's window by itself; and Notebook's own errors, before any code of ours is there."""
    notebook = keep_notebook("seven.ipynb", [CELL, *SINE, VIEW, "view"], app="notebook")
    theirs = set(notebook.errors)
    notebook.run_all()
    for number in range(2):
        notebook.page.locator(".samviz-lab").nth(number).locator(".samviz-graph .main-svg").first.wait_for()
    return notebook, theirs


@pytest.fixture
def notebook(kept: tuple[Notebook, set[str]]) -> Iterator[Notebook]:
    yield kept[0]
    assert set(kept[0].errors) <= kept[1]


def test_keys_move_a_slider_notch_by_notch(notebook: Notebook) -> None:
    view = notebook.page.locator(".samviz-lab").nth(1)
    for name, trait, start, key, after in (
        ("ρ radius", "rho", 0.02, "ArrowRight", 0.022),
        ("ρ radius", "rho", 0.022, "Home", 0.0),
        ("ρ radius", "rho", 0.0, "ArrowUp", 0.001),
        ("η learning rate", "lr", 0.1, "ArrowLeft", 0.09),
        ("batch size", "batch_size", 20, "ArrowDown", 19),
        ("batch size", "batch_size", 19, "End", 20),
    ):
        assert notebook.kernel(f"view.{trait}") == start
        slider = view.get_by_role("slider", name=name, exact=True)
        slider.focus()
        notebook.page.keyboard.press(key)
        assert notebook.until(f"view.{trait}", lambda value, start=start: value != start) == after
        assert slider.get_attribute("aria-valuetext") == ("20 (full)" if after == 20 else f"{after:g}")


def test_the_lab_is_steered_and_outlives_a_reload(notebook: Notebook) -> None:
    lab = notebook.page.locator(".samviz-lab").first
    lab.get_by_role("button", name="Play", exact=True).press(" ")
    notebook.until("lab.session.run.steps", lambda steps: steps > 100, seconds=60)
    rho = lab.get_by_role("slider", name="ρ radius")
    rho.focus()
    arrows(notebook, 12)
    wanted = float(rho.get_attribute("aria-valuetext"))
    assert wanted > 0
    notebook.until("lab.session.run.settings.rho", lambda value: value == wanted, seconds=60)
    notebook.until("float(lab.history['cos_v1'][-1])", lambda value: value > 0.99, seconds=60)
    notebook.screenshot("notebook7")

    notebook.reload()
    lab.locator(".samviz-graph .main-svg").first.wait_for()
    assert float(lab.get_by_role("textbox", name="ρ radius, typed").input_value()) == wanted
    steps = notebook.kernel("lab.session.run.steps")
    notebook.until("lab.session.run.steps", lambda value: value > steps, seconds=60)  # it played on meanwhile
    lab.get_by_role("button", name="Pause", exact=True).press("Enter")
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    lab.locator(".samviz-status").filter(has_text="paused").wait_for()


def test_an_answer_by_keyboard_is_judged_at_once_and_kept_in_the_cell(notebook: Notebook) -> None:
    answer_by_keyboard(notebook)
    keep_the_answers(notebook)
