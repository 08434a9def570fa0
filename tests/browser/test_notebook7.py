"""Lab and quiz in Notebook 7, which handles keys itself and loads its pages in another way than JupyterLab."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .conftest import Notebook
from .panels import SINE, arrows, lab_in
from .test_quiz import CELL, answer_by_keyboard, keep_the_answers

pytest.importorskip("notebook")


@pytest.fixture(scope="module")
def kept(keep_notebook: Callable[..., Notebook]) -> tuple[Notebook, set[str]]:
    """A quiz and a lab; and Notebook's own errors, before any code of ours runs."""
    notebook = keep_notebook("seven.ipynb", [CELL, *SINE], app="notebook")
    errors = set(notebook.errors)
    notebook.run_all()
    lab_in(notebook)
    return notebook, errors


@pytest.fixture
def notebook(kept: tuple[Notebook, set[str]]) -> Iterator[Notebook]:
    yield kept[0]
    assert set(kept[0].errors) <= kept[1]


def test_keys_move_a_slider_stop_by_stop(notebook: Notebook) -> None:
    for label, name, key, after in (
        ("ρ radius", "rho", "ArrowUp", 0.001),
        ("ρ radius", "rho", "ArrowRight", 0.0011),
        ("ρ radius", "rho", "Home", 0.0),
        ("batch size", "batch_size", "ArrowDown", 19),
        ("batch size", "batch_size", "End", 20),
    ):
        slider = lab_in(notebook).get_by_role("slider", name=label, exact=True)
        slider.press(key)
        notebook.until(f"lab.values[{name!r}]", lambda value, after=after: value == after)
        assert slider.get_attribute("aria-valuetext") == ("20 (full)" if after == 20 else f"{after:g}")


def test_the_lab_is_steered_and_survives_a_reload(notebook: Notebook) -> None:
    lab = lab_in(notebook)
    lab.get_by_role("button", name="Play", exact=True).press(" ")
    notebook.until("lab.session.run.steps > 100", seconds=60)
    rho = lab.get_by_role("slider", name="ρ radius")
    rho.focus()
    arrows(notebook, 12)
    radius = float(rho.get_attribute("aria-valuetext"))
    assert radius > 0
    notebook.until("lab.session.run.settings.rho", lambda value: value == radius, seconds=60)
    notebook.until("float(lab.history['cos_v1'][-1]) > 0.99", seconds=60)
    notebook.screenshot("notebook7")

    notebook.reload()
    lab = lab_in(notebook)
    assert float(lab.get_by_role("textbox", name="ρ radius, typed").input_value()) == radius
    steps = notebook.kernel("lab.session.run.steps")
    notebook.until(f"lab.session.run.steps > {steps}", seconds=60)  # it has continued meanwhile
    lab.get_by_role("button", name="Pause", exact=True).press("Enter")
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    lab.locator(".samviz-status").filter(has_text="paused").wait_for()


def test_an_answer_by_keyboard_is_judged_at_once_and_stored_in_the_cell(notebook: Notebook) -> None:
    answer_by_keyboard(notebook)
    keep_the_answers(notebook)
