"""The lab fits the window, no text covers another, and what a learner seldom needs is behind More."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Notebook
from .pages import OVERLAPS
from .panels import SINE, lab_in

OUTSIDE = """card => { // what reaches beyond the card, or beyond the graph, which hides it
    const found = (selector, box) => [...card.querySelectorAll(selector)].filter((node) => {
        const [{ left, right, width }, limit] = [node, box].map((each) => each.getBoundingClientRect());
        return width > 1 && (right > limit.right + 1 || left < limit.left - 1);
    });
    const parts = found('button, input, select, label, p, .samviz-graph', card);
    return [...parts, ...found('svg text', card.querySelector('.samviz-graph'))].map((node) => node.outerHTML);
}"""
BELOW = """card => { // what cannot be seen without scrolling, once the lab is at the top of the notebook
    card.scrollIntoView();
    const bottom = (node) => node.getBoundingClientRect().bottom;
    const edge = bottom(card.closest('.jp-WindowedPanel-outer'));
    const parts = card.querySelectorAll('.samviz-sliders input, .samviz-status, .samviz-graph svg');
    return [...parts].filter((node) => bottom(node) > edge).map((node) => node.outerHTML.slice(0, 80));
}"""


def fitted(lab: Any) -> None:
    """Wait until the graph fills its box."""
    fits = "graph => graph.layout.width === graph.clientWidth && graph.layout.height === graph.clientHeight"
    lab.page.wait_for_function(fits, arg=lab.locator(".samviz-graph").element_handle())


@pytest.fixture(scope="module")
def notebook(keep_notebook: Callable[..., Notebook]) -> Notebook:
    """A lab after three settings, long enough for all its labels."""
    story = "lab.run(600)\nlab.set(rho=0.02)\nlab.run(600)\nlab.set(lr=0.1)\nlab.run(1900);"
    notebook = keep_notebook("layout.ipynb", [SINE[0], SINE[1].replace("\nlab", f"\n{story}\nlab")])
    notebook.run_all()
    lab_in(notebook)
    return notebook


def test_no_text_covers_another_or_is_cut_off_at_any_width(notebook: Notebook) -> None:
    lab = lab_in(notebook)
    notebook.page.set_viewport_size({"width": 2200, "height": 800})
    found = {}
    for width in (400, 900, 1000, 1280, 1920):
        lab.evaluate("(card, width) => { card.style.width = `${width}px` }", width)
        fitted(lab)
        notebook.screenshot(f"lab_{width}", ".samviz-lab")
        found[width] = notebook.page.evaluate(OVERLAPS) + lab.evaluate(OUTSIDE)
    lab.evaluate("card => { card.style.width = '' }")
    assert [texts for texts in found.values() if texts] == [], found


@pytest.mark.parametrize(("width", "height"), [(1280, 680), (1440, 800)])
def test_a_laptop_shows_the_sliders_the_status_and_all_plots(notebook: Notebook, width: int, height: int) -> None:
    lab = lab_in(notebook)
    notebook.page.set_viewport_size({"width": width, "height": height})
    for files in ("closed", "open"):
        fitted(lab)
        below = lab.evaluate(BELOW)
        notebook.screenshot(f"lab_{width}_files_{files}")
        notebook.command("application:toggle-left-area")  # open, and in the end closed again
        assert below == [], files


def test_the_space_for_the_graph_is_reserved(notebook: Notebook) -> None:
    """Without what plotly has drawn, the card keeps its height."""
    lab = lab_in(notebook)
    for width in ("400px", "1000px"):
        lab.evaluate("(card, width) => { card.style.width = width }", width)
        fitted(lab)
        heights = """card => {
            const graph = card.querySelector('.samviz-graph'), empty = graph.cloneNode(), before = card.offsetHeight;
            graph.replaceWith(empty);
            const after = card.offsetHeight;
            empty.replaceWith(graph);
            return [before, after];
        }"""
        before, after = lab.evaluate(heights)
        assert abs(before - after) <= 2
    lab.evaluate("card => { card.style.width = '' }")


def test_more_shows_the_other_controls_and_is_remembered(notebook: Notebook) -> None:
    lab = lab_in(notebook)
    more, hidden = (lab.get_by_role("button", name=name, exact=True) for name in ("More", "Re-centre"))
    for label in ("ρ radius", "η learning rate", "batch size", "preset"):
        assert lab.get_by_label(label, exact=True).is_visible()
    assert more.get_attribute("aria-expanded") == "false"
    assert not hidden.is_visible()
    more.press("Enter")
    assert more.get_attribute("aria-expanded") == "true"
    assert hidden.is_visible()
    notebook.reload()
    lab_in(notebook)
    hidden.wait_for()
    more.press("Space")
    assert not hidden.is_visible()
    assert notebook.errors == []
