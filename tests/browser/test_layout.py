"""Labs and panels fit every width, no text covers another, and what a learner seldom needs is behind More."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pictures import settled_panel
from test_training_panel import Training

import samviz.panels
from samviz.lab import Panel
from samviz.lab.panel import PanelWidget
from samviz.lab.widget import plotly_js

from .conftest import Notebook
from .pages import OVERLAPS, take_screenshot
from .panels import SINE, lab_in, open_more, press

OUTSIDE = """(card, narrow) => { // what reaches beyond the card, or beyond the graph, which hides it
    const found = (selector, box) => [...card.querySelectorAll(selector)].filter((node) => {
        const [{ left, right, width }, limit] = [node, box].map((each) => each.getBoundingClientRect());
        return width > 1 && (right > limit.right + 1 || left < limit.left - 1);
    });
    const parts = found('button:not(.samviz-handle), input, select, label, p, .samviz-graph', card);
    const texts = narrow ? [] : found('svg text', card.querySelector('.samviz-graph'));
    const stage = card.querySelector('.samviz-stage');
    const scrolled = stage.scrollWidth > stage.clientWidth ? [stage] : [];
    return [...parts, ...texts, ...scrolled].map((node) => node.outerHTML.slice(0, 300));
}"""
COVERED = """card => { // the controls that the tour covers
    const box = (node) => node.getBoundingClientRect(), tour = box(card.querySelector('.samviz-tour'));
    const covers = ({ left, right, top, bottom }) =>
        right > tour.left && left < tour.right && bottom > tour.top && top < tour.bottom;
    const controls = card.querySelectorAll(':is(button, input, select, p):not(.samviz-tour *, .samviz-graph *)');
    return [...controls].filter((node) => covers(box(node))).map((node) => node.outerHTML);
}"""
BELOW = """card => { // what cannot be seen without scrolling, once the lab is at the top of the notebook
    card.scrollIntoView();
    const bottom = (node) => node.getBoundingClientRect().bottom;
    const edge = bottom(card.closest('.jp-WindowedPanel-outer'));
    const parts = card.querySelectorAll('.samviz-sliders input, .samviz-status, .samviz-graph svg');
    return [...parts].filter((node) => bottom(node) > edge).map((node) => node.outerHTML.slice(0, 80));
}"""

SHOW = """async ([script, state, message, buffers]) => { // show a widget without Jupyter: its model sends one frame
    const plotly = (window.samvizPlotly ??= {});
    plotly[state._plotly] = Promise.resolve(Object.assign(window.Plotly, { toImage: () => '' }));
    const bytes = (text) => new DataView(Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer);
    const receivers = [], receive = (sent) => receivers.forEach((receiver) => receiver(sent, buffers.map(bytes)));
    const model = {
        get: (name) => state[name] ?? '', set() {}, off() {},
        on(event, receiver) { if (event === 'msg:custom') receivers.push(receiver); },
        send({ hello }) { if (hello) setTimeout(() => [message, { beat: 'idle' }].forEach(receive)); },
    };
    const widget = (await import(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })))).default();
    const el = document.body.appendChild(document.createElement('div'));
    widget.initialize({ model });
    widget.render({ model, el });
}"""


def probe_panel() -> Panel:
    """Return the panel of a training whose learning rate was changed twice."""
    training = Training()
    training.probe.step = partial(training.probe.step, accuracy=0.1)
    panel: Panel = training.panel()
    for training.length, lr in ((20, 0.1), (35, 0.05), (60, 0.05)):
        training()
        panel.set(lr=lr)
    panel._redraw()
    panel._settle()
    return panel


def frame_of(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str]]:
    """Return the message that shows the present figure of a panel, and its buffers."""
    sent: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(PanelWidget, "send", lambda self, *message, buffers=(): sent.append((*message, buffers)))
        panel.view._receive(panel.view, {"hello": "again"}, [])
    message, buffers = sent[-1]
    return message, [b64encode(bytes(each)).decode() for each in buffers]


@pytest.mark.timeout(900)  # on a busy machine, since it computes all panels
def test_no_text_of_a_panel_covers_another_or_is_cut_off_at_any_width(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(90_000)
    page.set_content(f"<!doctype html><style>{PanelWidget._css}</style><body></body>")
    page.add_script_tag(content=gzip.decompress(plotly_js()[1]).decode())
    panels = {name: settled_panel(name) for name in samviz.panels.__all__} | {"probe": probe_panel()}
    for panel in panels.values():
        names = ("values", "controls", "sentence", "description", "_plotly", "notebook")
        state = {name: getattr(panel.view, name) for name in names}
        page.evaluate(SHOW, [panel.view._esm, state, *frame_of(panel, monkeypatch)])
    found = {}
    for width in (320, 400, 560, 780, 900, 1000, 1280, 1920):
        page.evaluate("width => { document.body.style.width = `${width}px` }", width)
        cards = page.locator(".samviz-card").all()
        for name, card in zip(panels, cards, strict=True):
            fitted(card)
            wrong = lost(card, width)
            found |= {f"{name} {width}": wrong} if wrong else {}
        take_screenshot(page, f"panels_{width}")
    page.close()
    assert found == {}


def lost(card: Any, width: int) -> list[str]:
    """Return what cannot be read or reached; at 320 px (400 % of 1280, WCAG 1.4.10) without the texts of the figure."""
    narrow = width <= 320
    return card.evaluate(OUTSIDE, narrow) + ([] if narrow else card.evaluate(OVERLAPS))


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
    open_more(lab)
    notebook.page.set_viewport_size({"width": 2200, "height": 800})
    found = {}
    for width in (320, 400, 900, 1000, 1280, 1920):
        lab.evaluate("(card, width) => { card.style.width = `${width}px` }", width)
        fitted(lab)
        notebook.screenshot(f"lab_{width}", ".samviz-lab")
        found[width] = lost(lab, width)
    lab.evaluate("card => { card.style.width = '' }")
    press(lab, "More")
    assert [texts for texts in found.values() if texts] == [], found


@pytest.mark.parametrize("width", [400, 848, 1280])
def test_the_tour_covers_no_control(notebook: Notebook, width: int) -> None:
    lab = lab_in(notebook)
    lab.evaluate("(card, width) => { card.style.width = `${width}px` }", width)
    open_more(lab)
    tour = notebook.page.get_by_role("dialog", name="tour of the lab")
    lab.get_by_role("button", name="tour", exact=True).click()
    for step in (1, 2, 3):
        tour.filter(has_text=f"{step} of 3").wait_for()
        assert lab.evaluate(COVERED) == []
        tour.locator(".samviz-play").click()
    press(lab, "More")
    lab.evaluate("card => { card.style.width = '' }")


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
