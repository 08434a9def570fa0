"""What tests of panels and labs in a notebook share: open, type, drag, look at a curve, read the sentence, wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

GRAPH = "document.querySelectorAll('.samviz-graph')[{}]"


def panels_of(name: str) -> tuple[Any, Any]:
    """Fixtures for the panels of a notebook: it has been run, and nothing may go wrong in it during a test."""

    @pytest.fixture(scope="module")
    def kept(keep_notebook: Callable[..., Any]) -> Any:
        notebook = keep_notebook(name)
        notebook.run_all(240)
        wait(notebook, f"{GRAPH.format(0)}?.data?.length > 3")
        notebook.page.locator(".samviz-panel").first.scroll_into_view_if_needed()
        return notebook

    @pytest.fixture
    def panel(kept: Any) -> Iterator[Any]:
        with without_errors(kept):
            yield kept

    return kept, panel


@contextmanager
def without_errors(notebook: Any) -> Iterator[None]:
    """Nothing may go wrong meanwhile: no error in the page, no alert."""
    yield
    assert notebook.errors == [], notebook.errors
    assert all(text == "" for text in notebook.page.get_by_role("alert").all_inner_texts())


def lab_in(notebook: Any, number: int = 0) -> Any:
    """The element of the page's lab with that number, drawn and in view."""
    lab = notebook.page.locator(".samviz-lab").nth(number)
    lab.locator(".samviz-graph .main-svg").first.wait_for()
    lab.scroll_into_view_if_needed()
    return lab


def typed(notebook: Any, label: str, value: str) -> None:
    """Type a value into a control's field."""
    field = notebook.page.get_by_label(f"{label}, typed")
    field.fill(value)
    field.press("Enter")


def arrows(notebook: Any, times: int) -> None:
    """Press the right arrow, as fast as a person does."""
    for _ in range(times):
        notebook.page.keyboard.press("ArrowRight")
        notebook.page.wait_for_timeout(40)


def curve(notebook: Any, name: str, axis: str = "y", number: int = 0) -> list[float]:
    """Coordinates of a trace of the page's graph with that number, as the browser holds them."""
    find = f"(name) => Array.from({GRAPH.format(number)}.data.find(trace => trace.name === name).{axis})"
    return notebook.page.evaluate(find, name)


def wait(notebook: Any, condition: str, seconds: float = 60) -> None:
    """Wait until something is true in the page."""
    notebook.page.wait_for_function(f"() => {condition}", timeout=seconds * 1e3)


def says(notebook: Any, text: str, number: int = 0, seconds: float = 60) -> None:
    """Wait until a panel's sentence holds the text."""
    sentences = notebook.page.locator(".samviz-panel").nth(number).locator(".samviz-sentence")
    sentences.filter(has_text=text).wait_for(timeout=seconds * 1e3)


def sentence(notebook: Any, number: int = 0) -> str:
    """A panel's present sentence."""
    return notebook.page.locator(".samviz-sentence").nth(number).inner_text()


def settled(notebook: Any, name: str = "panel", seconds: float = 120) -> None:
    """Wait until a panel, by its name in the kernel, has drawn its last picture."""
    notebook.until(f"{name}.player.work is None and {name}.view._seq == {name}.view._ack", seconds=seconds)
    notebook.page.wait_for_timeout(400)


def dragged(notebook: Any, point: str, right: float, down: float, name: str = "panel") -> tuple[float, float]:
    """Drag a panel's point by so many pixels; where it is then, once the panel has drawn that."""
    box = notebook.page.get_by_role("button", name=f"point {point}").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before = notebook.kernel(f"{name}.values[{point!r}]")
    notebook.page.mouse.move(x, y)
    notebook.page.mouse.down()
    notebook.page.mouse.move(x + right, y + down, steps=15)
    notebook.page.mouse.up()
    now = notebook.until(f"{name}.values[{point!r}]", lambda at: at != before)
    while now != before:  # the last of the moves may still be on its way
        notebook.page.wait_for_timeout(400)
        before, now = now, notebook.kernel(f"{name}.values[{point!r}]")
    settled(notebook, name)
    return now
