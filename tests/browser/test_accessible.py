"""Lab, panels and exported pages by keyboard, for a screen reader, on a dark page (WCAG 2.2 AA)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samviz.figures.export import page as page_of
from samviz.figures.style import DARK_PAPER

from .pages import expect, offline, violations
from .panels import GRAPH, open_more, settled, wait

CELLS = {
    "lab": "from samviz.lab import Lab\nfrom samviz.problems import mlp\n"
    "lab = Lab(mlp([1, 12, 12, 1], data='sine'), rho=0.005, device='cpu').run(200)\nlab",
    "cycle": "from samviz.panels import cycle_panel\npanel = cycle_panel()\npanel.set(guess='skipped')\npanel",
    "sharpness": "from samviz.panels import sharpness_panel\nbowl = sharpness_panel()\nbowl",
}
CARD = ".samviz-card"


def themed(notebook: Any, name: str) -> None:
    """Set JupyterLab's theme, and wait for the page to follow."""
    notebook.page.evaluate("(theme) => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
    light = name.endswith("Light")
    notebook.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{str(light).lower()}'")
    papers = "[...document.querySelectorAll('.samviz-graph')].map(graph => graph.layout.paper_bgcolor)"
    notebook.page.wait_for_function(f"() => {papers}.every(paper => paper === '{'white' if light else DARK_PAPER}')")


@pytest.fixture(scope="module")
def shared_notebook(keep_notebook: Any) -> Any:
    """A lab and two panels on one page, drawn."""
    notebook = keep_notebook("accessible.ipynb", list(CELLS.values()))
    notebook.run_one_by_one()
    open_more(notebook.page.locator(".samviz-lab"))
    return notebook


@pytest.fixture
def notebook(shared_notebook: Any) -> Iterator[Any]:
    yield shared_notebook
    themed(shared_notebook, "JupyterLab Light")
    shared_notebook.page.set_viewport_size({"width": 1440, "height": 1100})
    assert shared_notebook.errors == []


@pytest.fixture(params=["JupyterLab Light", "JupyterLab Dark"])
def theme(request: pytest.FixtureRequest, notebook: Any) -> str:
    themed(notebook, request.param)
    return request.param


def test_axe_finds_nothing_in_the_notebook(notebook: Any, theme: str) -> None:
    for number in range(len(CELLS)):
        notebook.page.locator(CARD).nth(number).scroll_into_view_if_needed()
    notebook.screenshot(f"cards_{theme.split()[-1].lower()}")
    assert violations(notebook.page, CARD) == []


CONTRASTS = """(nodes) => nodes.filter(node => node.getClientRects().length).map(node => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d');
    const rgb = (colour) => { // whatever CSS writes, as three numbers
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255);
    };
    const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = (colour) => rgb(colour).map(linear).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = getComputedStyle(node.closest('.samviz-card')).backgroundColor;
    const [low, high] = [getComputedStyle(node).fill, ground].map(light).sort((a, b) => a - b);
    return [node.textContent, (high + 0.05) / (low + 0.05)];
})"""


def test_texts_in_the_figures_have_enough_contrast(notebook: Any, theme: str) -> None:
    words = notebook.page.locator(".samviz-graph :is(.xtick, .ytick, .xtitle, .ytitle) text")
    for text, contrast in words.evaluate_all(CONTRASTS):
        assert contrast >= 4.5, (theme, text)


def card_ground(notebook: Any) -> str:
    """The background colour of the first card."""
    return notebook.page.locator(CARD).first.evaluate("node => getComputedStyle(node).backgroundColor")


def test_cards_follow_the_page_and_not_the_system(notebook: Any) -> None:
    """The pages of VS Code and Colab cannot be opened here, but the marks that they put on a page can be set."""
    page = notebook.page
    themed(notebook, "JupyterLab Dark")  # which waits for the figures
    assert card_ground(notebook) == "rgb(20, 25, 31)"
    themed(notebook, "JupyterLab Light")
    page.emulate_media(color_scheme="dark")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert card_ground(notebook) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="light")
    paper = f"{GRAPH.format(0)}.layout.paper_bgcolor"
    for mark, unmark in (
        ("body.classList.add('vscode-dark')", "body.classList.remove('vscode-dark')"),
        ("documentElement.setAttribute('theme', 'dark')", "documentElement.removeAttribute('theme')"),
    ):
        page.evaluate(f"document.{mark}")
        wait(notebook, f"{paper} === '{DARK_PAPER}'")
        page.evaluate(f"document.{unmark}")
        wait(notebook, f"{paper} === 'white'")


FOCUSABLE = """card => [...card.querySelectorAll('button, input, select, a[href], [tabindex="0"]')]
    .filter(node => !node.disabled && node.getClientRects().length && getComputedStyle(node).visibility !== 'hidden')"""
HERE = "() => [...document.querySelectorAll('.samviz-card *')].indexOf(document.activeElement)"
FADED_IN = """() => { // plotly's buttons appear slowly
    const bar = document.activeElement.closest('.modebar');
    return !bar || getComputedStyle(bar).opacity > 0.9;
}"""
LOOK = """() => {
    const node = document.activeElement, look = getComputedStyle(node), bar = node.closest('.modebar');
    const visible = look.outlineStyle !== 'none' && (!bar || getComputedStyle(bar).opacity > 0.9);
    const target = (node.type === 'checkbox' ? node.labels[0] : node).getBoundingClientRect();
    const [ring, size] = [visible ? parseFloat(look.outlineWidth) : 0, Math.min(target.width, target.height)];
    return { ring, size, html: node.outerHTML.slice(0, 120) };
}"""


@pytest.mark.parametrize("number", range(len(CELLS)), ids=list(CELLS))
def test_tab_reaches_every_control_in_order_and_leaves(notebook: Any, number: int) -> None:
    page, card = notebook.page, notebook.page.locator(CARD).nth(number)
    everything = "document.querySelectorAll('.samviz-card *')"
    wanted = card.evaluate(f"card => ({FOCUSABLE})(card).map(node => [...{everything}].indexOf(node))")
    assert len(wanted) > 5
    page.evaluate(f"(index) => {everything}[index].focus()", wanted[0])
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    passed, looks = [], []
    while page.evaluate(HERE) in wanted[len(passed) :]:
        page.wait_for_function(FADED_IN)
        passed.append(page.evaluate(HERE))
        looks.append(page.evaluate(LOOK))
        page.keyboard.press("Tab")
    assert passed == wanted
    assert page.evaluate(HERE) not in wanted
    assert [look for look in looks if look["ring"] < 2] == []
    assert [look for look in looks if look["size"] < 24] == []


def description(card: Any) -> str:
    """The text that describes the figure of a card."""
    text = "node => document.getElementById(node.getAttribute('aria-describedby'))?.textContent"
    return card.locator(".samviz-graph").evaluate(text) or ""


def test_each_control_has_a_name_and_each_figure_a_description_that_changes_with_it(notebook: Any) -> None:
    for number in range(len(CELLS)):
        card = notebook.page.locator(CARD).nth(number)
        tree = card.aria_snapshot()
        assert not re.search(r"^\s*- (button|textbox|slider|combobox|checkbox)(:| \[|$)", tree, re.M), tree
        assert card.locator(".samviz-graph").get_attribute("aria-label")
        assert len(description(card)) > 20, number
    card = notebook.page.locator(CARD).nth(1)
    before = description(card)
    notebook.page.get_by_role("slider", name="η (λ₁ = 2)", exact=True).press("ArrowLeft")
    settled(notebook)
    assert description(card) != before
    card.get_by_role("status").filter(has_text=description(card)).wait_for()
    titles = notebook.page.locator(".modebar-btn").evaluate_all("nodes => nodes.map(node => node.dataset.title)")
    assert {title.lower() for title in titles} == {"download plot as a png", "zoom", "pan", "reset axes"}
    assert notebook.page.locator(".modebar-btn--logo, a[href*='plotly']").count() == 0


def test_the_status_is_spoken_rarely_while_the_lab_plays(notebook: Any) -> None:
    card = notebook.page.locator(".samviz-lab")
    card.evaluate("""card => {
        window.changes = 0;
        window.spoken = 0;
        const count = (node, name) => new MutationObserver(() => window[name]++).observe(node, { childList: true });
        count(card.querySelector('.samviz-status'), 'changes');
        count(card.querySelector('.samviz-spoken'), 'spoken');
    }""")
    began = time.monotonic()
    card.get_by_role("button", name="Play", exact=True).click()
    wait(notebook, "window.changes > 20 && window.spoken > 0")
    spoken, seconds = notebook.page.evaluate("window.spoken"), time.monotonic() - began
    assert spoken <= 2 + seconds / 10  # that it plays, where it is, and every ten seconds where it is then
    card.get_by_role("button", name="Pause", exact=True).click()
    card.get_by_role("status").filter(has_text="paused").wait_for()


def test_nothing_fades_if_the_system_asks_for_less_motion(notebook: Any) -> None:
    fading = """() => [...document.querySelectorAll('.samviz-card, .samviz-card *')].filter(node => {
        const { transitionDuration, animationName } = getComputedStyle(node);
        return parseFloat(transitionDuration) > 0 || animationName !== 'none';
    }).length"""
    assert notebook.page.evaluate(fading) > 0  # plotly's buttons
    notebook.page.emulate_media(reduced_motion="reduce")
    assert notebook.page.evaluate(fading) == 0
    notebook.page.emulate_media(reduced_motion="no-preference")


def test_an_exported_page_is_dark_if_the_system_is(browser: Any, tmp_path: Path) -> None:
    pictures = [
        {
            "data": [{"type": "scatter", "mode": "lines", "name": "loss", "y": [0, n], "line": {"color": "#0072B2"}}],
            "layout": {"paper_bgcolor": "white", "plot_bgcolor": "white", "font": {"color": "#1b2733"}}
            | {"annotations": [{"text": f"n = {n}", "x": 0, "y": n / 2, "font": {"color": "#1b2733"}}]},
        }
        for n in (1, 2, 3)
    ]
    file, stops = tmp_path / "steps.html", ["step 1", "step 2", "step 3"]
    file.write_text(page_of("steps", [(each, f"At {s}.") for each, s in zip(pictures, stops)], stops), encoding="utf-8")
    graph = "document.querySelector('.js-plotly-plot')"
    look = f"() => [{graph}.layout.paper_bgcolor, {graph}.data[0].line.color, {graph}.layout.annotations[0].font.color]"
    with offline(browser, color_scheme="dark", viewport={"width": 1000, "height": 700}) as page:
        page.goto(file.as_uri())
        page.locator(".annotation").wait_for()
        assert page.evaluate(look) == ["#14191f", "#3f97e8", "#dfe6ee"]
        assert violations(page, "figure") == []
        page.get_by_role("slider", name="picture").press("Home")  # a frame, which holds the annotation as well
        page.wait_for_function(f"() => {graph}.data[0].y[1] === 1")
        assert page.evaluate(look) == ["#14191f", "#3f97e8", "#dfe6ee"]
        page.emulate_media(color_scheme="light")
        page.wait_for_function(f"() => {graph}.layout.paper_bgcolor === 'white' && {graph}.data[0].y[1] === 1")
        assert page.evaluate(look) == ["white", "#0072B2", "#1b2733"]
        expect(page.locator("output")).to_have_text("step 1")
        assert violations(page, "figure") == []
