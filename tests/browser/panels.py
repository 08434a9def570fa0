"""Functions that tests of panels and labs in a notebook share: type, drag, read a curve, read the sentence, wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .pages import drag, middle

AT_REST = "lab.scheduler.idle and lab.view._seq == lab.view._ack"
GRAPH = "document.querySelectorAll('.samviz-graph')[{}]"
NO_WEBGL = """HTMLCanvasElement.prototype.getContext = ((get) => function (kind, ...rest) {
    return /webgl/.test(kind) ? null : get.call(this, kind, ...rest);
})(HTMLCanvasElement.prototype.getContext);"""
SINE = [
    "from samviz.lab import Lab\nfrom samviz.problems import mlp",
    "lab = Lab(mlp([1, 24, 24, 1], activation='tanh', data='sine', loss='mse'))\nlab",
]


@contextmanager
def without_errors(notebook: Any) -> Iterator[None]:
    """Nothing may go wrong meanwhile: no error in the page, no alert."""
    yield
    assert notebook.errors == [], notebook.errors
    assert all(text == "" for text in notebook.page.get_by_role("alert").all_text_contents())


def lab_in(notebook: Any, number: int = 0) -> Any:
    """The element of the page's lab with that number, drawn and in view."""
    lab = notebook.page.locator(".samviz-lab").nth(number)
    lab.locator(".samviz-graph .main-svg").first.wait_for()
    lab.scroll_into_view_if_needed()
    return lab


def press(card: Any, name: str) -> None:
    """Click a button within an element."""
    card.get_by_role("button", name=name, exact=True).click()


def open_more(lab: Any) -> None:
    """Show the controls behind More."""
    more = lab.get_by_role("button", name="More", exact=True)
    if more.get_attribute("aria-expanded") == "false":
        more.click()


def enter(field: Any, text: str) -> None:
    """Put a text into a field, and press Enter."""
    field.fill(text)
    field.press("Enter")


def typed(notebook: Any, label: str, value: str) -> None:
    """Type a value into a control's field."""
    enter(notebook.page.get_by_label(f"{label}, typed"), value)


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


def settled(notebook: Any, name: str = "panel", seconds: float = 120) -> None:
    """Wait until a panel, by its name in the kernel, has drawn its picture of the present values."""
    done = "{0}._drawn_values == {0}.values and {0}.scheduler.idle and {0}.view._seq == {0}.view._ack"
    notebook.until(done.format(name), seconds=seconds)


def dragged(
    notebook: Any, point: str, right: float, down: float, name: str = "panel", within: Any = None
) -> tuple[float, float]:
    """Drag a panel's point by so many pixels; where it is then, once the panel has drawn that."""
    within = within or notebook.page
    x, y = middle(within.get_by_role("button", name=f"point {point}"))
    before = notebook.kernel(f"{name}.values[{point!r}]")
    drag(notebook.page, (x, y), (x + right, y + down))
    now = tuple(float(within.get_by_label(f"{point}{index}", exact=True).input_value()) for index in "₁₂")
    assert now != before
    notebook.until(f"{name}.values[{point!r}]", lambda at: at == now)
    settled(notebook, name)
    return now
