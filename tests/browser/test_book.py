"""The book, opened from the disk in a browser without the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .pages import expect, offline, take_screenshot
from .panels import enter

FIGURE = ".samviz-player"
DRAWN = f"{FIGURE}[data-drawn] .js-plotly-plot"
WIDE, NARROW = {"width": 1440, "height": 1000}, {"width": 390, "height": 844}
pytestmark = pytest.mark.timeout(1200)  # the book is built first


@pytest.fixture
def opened(browser: Any, book: Path) -> Iterator[Callable[..., Any]]:
    """Return `opened(page, **settings)`; an error in a page and a request to the network are failures."""
    with ExitStack() as stack:

        def open_page(name: str, **settings: Any) -> Any:
            page = stack.enter_context(offline(browser, **({"viewport": WIDE} | settings)))
            page.goto(f"{book.as_uri()}/{name}")
            return page

        yield open_page


def drawn(page: Any, index: int = 0) -> Any:
    """Return the player with an index, after its figure is drawn."""
    figure = page.locator(FIGURE).nth(index)
    figure.scroll_into_view_if_needed()
    figure.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.wait_for_function("(figure) => 'drawn' in figure.dataset", arg=figure.element_handle())
    return figure


def test_a_slider_changes_figure_and_sentence(opened: Callable[..., Any]) -> None:
    page = opened("03_three_sharpnesses.html", viewport={"width": 1440, "height": 60})  # the figure is far below
    figure = page.locator(FIGURE)
    assert figure.locator("img").count() == 1  # the still, before a script is loaded
    assert page.evaluate("typeof Plotly") == "undefined"
    page.set_viewport_size(WIDE)
    drawn(page)
    expect(figure.locator("img")).to_have_count(0)
    slider = figure.get_by_role("slider", name="ρ radius", exact=True)
    sentence, svg = figure.locator(".samviz-sentence"), f"document.querySelector('{DRAWN} .main-svg').innerHTML"
    expect(slider).to_be_disabled()  # until the question is answered or skipped
    take_screenshot(page, "book_question", full_page=False)
    figure.get_by_role("button", name="Skip (Esc)").click()
    start = slider.get_attribute("aria-valuetext")
    sentence.filter(has_text=f"at ρ = {start}").wait_for()
    before = page.evaluate(svg)
    slider.focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2
    page.keyboard.press("End")
    page.wait_for_function(f"(before) => {svg} !== before", arg=before)
    expect(slider).to_have_attribute("aria-valuetext", "1")
    expect(figure.locator("output").first).to_have_text("1")
    expect(sentence).to_contain_text("at ρ = 1 ")
    assert figure.locator("p.samviz-spoken").get_attribute("aria-live") == "polite"
    page.wait_for_function("() => document.querySelector('.samviz-spoken').textContent.includes('at ρ = 1 ')")
    figure.get_by_role("combobox", name="bowl").select_option(index=1)
    assert slider.bounding_box()["height"] >= 24
    take_screenshot(page, "book_slider", full_page=False)


def test_the_lab_has_radius_and_batch_size_and_counts_steps(opened: Callable[..., Any]) -> None:
    page = opened("00_start_here.html")
    figure = drawn(page, 1)  # the first one is a panel
    sentence = figure.locator(".samviz-sentence")
    curves = f"[...document.querySelectorAll('{DRAWN}')].flatMap((graph) => graph._fullData)"
    last = f"{curves}.find((t) => t.name === 'loss').x.at(-1)"
    assert page.evaluate(last) == 1000
    steps = figure.get_by_role("slider", name="steps")
    steps.press("Home" if steps.input_value() != "0" else "End")
    page.wait_for_function(f"() => {last} !== 1000")
    expect(sentence).to_contain_text(f"Step {page.evaluate(last):,}.")
    batch_size, before = figure.get_by_role("slider", name="batch size"), sentence.inner_text()
    batch_size.press("Home" if batch_size.input_value() != "0" else "End")
    expect(sentence).not_to_have_text(before)
    take_screenshot(page, "book_lab", full_page=False)


def test_dark_mode_recolours_the_figures(opened: Callable[..., Any]) -> None:
    page = opened("01_alignment.html", color_scheme="light")
    drawn(page)
    ground = f"document.querySelector('{DRAWN}')._fullLayout.paper_bgcolor"
    assert page.evaluate(ground) in ("white", "rgb(255, 255, 255)", "#ffffff")
    for _ in range(3):  # the button goes through auto, light and dark
        page.locator(".theme-toggle:visible").first.click()
        if page.evaluate("document.body.dataset.theme") == "dark":
            break
    page.wait_for_function(f"() => {ground} === '#14191f'")
    take_screenshot(page, "book_dark", full_page=False)
    page.evaluate("document.body.dataset.theme = 'auto'")
    page.wait_for_function(f"() => {ground} !== '#14191f'")
    page.emulate_media(color_scheme="dark")  # the system's own turn
    page.wait_for_function(f"() => {ground} === '#14191f'")


def test_the_search_finds_words_without_a_server(opened: Callable[..., Any]) -> None:
    page = opened("index.html")
    enter(page.get_by_placeholder("Search"), "eigenvector")
    page.locator("#search-results li a").nth(2).wait_for()  # three pages or more; they are listed one by one
    take_screenshot(page, "book_search", full_page=False)
    page.locator("#search-results li a").first.click()
    page.wait_for_function("() => document.body.innerText.includes('eigenvector')")


def test_mathematics_is_set(opened: Callable[..., Any]) -> None:
    page = opened("00_start_here.html")
    page.locator("mjx-container svg path").first.wait_for(state="attached")
    page.wait_for_function("() => !document.querySelector('.math:not(:has(mjx-container))')")
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    box = page.locator(".math mjx-container[display=true] svg").first.bounding_box()
    assert box["width"] > 100


@pytest.mark.parametrize(
    "name", ["index", "00_start_here", "06_where_the_theory_ends", "pages/symbols", "pages/your_training_loop"]
)
def test_a_phone_shows_the_page_without_scrolling_sideways(opened: Callable[..., Any], name: str) -> None:
    page = opened(f"{name}.html", viewport=NARROW, has_touch=True)
    if page.locator(FIGURE).count():
        drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    wide = (
        "[...document.querySelectorAll('article > section > *')].filter((e) => e.getBoundingClientRect().right > 391)"
    )
    assert page.evaluate(f"{wide}.map((e) => e.outerHTML.slice(0, 100))") == []
    take_screenshot(page, f"book_phone_{Path(name).stem}", full_page=False)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "05_one_sample_at_a_time", "pages/symbols"])
def test_axe_finds_nothing_serious(opened: Callable[..., Any], name: str, scheme: str) -> None:
    playwright = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(f"{name}.html", color_scheme=scheme)
    if page.locator(FIGURE).count():
        drawn(page)
    page.wait_for_timeout(500)
    found = playwright.Axe().run(page, options={"preload": False}).response["violations"]  # it would fetch styles
    bad = [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found if v["impact"] in ("serious", "critical")]
    assert bad == []
