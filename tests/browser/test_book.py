"""The book, opened from the disk in a real browser that may not use the network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FIGURE = ".samviz-frames"
DRAWN = f"{FIGURE}[data-drawn] .js-plotly-plot"
NARROW = {"width": 390, "height": 844}
pytestmark = pytest.mark.timeout(1200)  # the book is built first


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book with few pictures; SAMVIZ_BOOK names one that was built before."""
    if built := os.environ.get("SAMVIZ_BOOK"):
        return Path(built)
    out = tmp_path_factory.mktemp("book") / "out"
    command = [sys.executable, str(ROOT / "notebooks/book/build.py"), str(out), "--coarse"]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    ran = subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return out


@pytest.fixture
def opened(browser: Any, book: Path) -> Iterator[Callable[..., Any]]:
    """Give `opened(page, **context)`; an error in a page is a failure, and so is whatever is asked of the network."""
    faults: list[str] = []
    contexts: list[Any] = []

    def open_page(name: str, **options: Any) -> Any:
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 1000}} | options))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or faults.append(asked.url))
        page.on("websocket", lambda socket: faults.append(socket.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("requestfailed", lambda asked: faults.append(f"{asked.url}: {asked.failure}"))
        context.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
        page.goto(f"{book.as_uri()}/{name}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def drawn(page: Any, index: int = 0) -> Any:
    """The figure with sliders of that index, once it is drawn."""
    figure = page.locator(FIGURE).nth(index)
    figure.scroll_into_view_if_needed()
    figure.locator(".js-plotly-plot .main-svg").first.wait_for()
    page.wait_for_function("(figure) => 'drawn' in figure.dataset", arg=figure.element_handle())
    return figure


def photographed(page: Any, name: str, folder: Path) -> None:
    where = Path(os.environ.get("SAMVIZ_SCREENSHOTS") or folder)
    where.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(300)
    page.screenshot(path=where / f"book_{name}.png")


def test_a_slider_changes_figure_and_sentence(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened("01_three_sharpnesses.html")
    figure = page.locator(FIGURE)
    assert figure.locator("img").count() == 1  # the still, before anything is loaded
    assert page.evaluate("typeof Plotly") == "undefined"
    drawn(page)
    assert figure.locator("img").count() == 0
    slider = figure.get_by_role("slider", name="ρ radius")
    sentence, svg = figure.locator(".samviz-sentence"), f"document.querySelector('{DRAWN} .main-svg').innerHTML"
    assert slider.get_attribute("aria-valuetext") == "0.4"
    assert "at ρ = 0.4" in sentence.inner_text()
    before = page.evaluate(svg)
    slider.focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2
    page.keyboard.press("End")
    page.wait_for_function(f"(before) => {svg} !== before", arg=before)
    assert slider.get_attribute("aria-valuetext") == "1"
    assert "at ρ = 1 " in sentence.inner_text()
    assert figure.locator("output").first.inner_text() == "1"
    spoken = figure.locator(".samviz-spoken")
    assert spoken.get_attribute("aria-live") == "polite"
    page.wait_for_function("() => document.querySelector('.samviz-spoken').textContent.includes('at ρ = 1 ')")
    radius = page.evaluate(f"document.querySelector('{DRAWN}')._fullData.length")
    assert radius > 0
    figure.get_by_role("combobox", name="bowl").select_option(index=1)
    assert slider.bounding_box()["height"] >= 24
    photographed(page, "slider", tmp_path)


def test_the_lab_has_radius_and_batch_size_and_counts_steps(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened("00_start_here.html")
    figure = drawn(page)
    last = f"document.querySelector('{DRAWN}')._fullData.find((t) => t.name === 'loss').x.at(-1)"
    assert page.evaluate(last) == 600
    steps = figure.get_by_role("slider", name="steps")
    steps.press("Home" if steps.input_value() != "0" else "End")
    page.wait_for_function(f"() => {last} !== 600")
    assert f"Step {page.evaluate(last):,}:" in figure.locator(".samviz-sentence").inner_text()
    texts = []
    for key in ("Home", "End"):
        figure.get_by_role("slider", name="batch size").press(key)
        texts.append(figure.locator(".samviz-sentence").inner_text())
    assert texts[0] != texts[1]
    photographed(page, "lab", tmp_path)


def test_dark_mode_recolours_the_figures(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened("02_alignment.html", color_scheme="light")
    drawn(page)
    ground = f"document.querySelector('{DRAWN}')._fullLayout.paper_bgcolor"
    assert page.evaluate(ground) in ("white", "rgb(255, 255, 255)", "#ffffff")
    for _ in range(3):  # the button goes through auto, light and dark
        page.locator(".theme-toggle:visible").first.click()
        if page.evaluate("document.body.dataset.theme") == "dark":
            break
    page.wait_for_function(f"() => {ground} === '#14191f'")
    photographed(page, "dark", tmp_path)
    page.evaluate("document.body.dataset.theme = 'auto'")
    page.wait_for_function(f"() => {ground} !== '#14191f'")
    page.emulate_media(color_scheme="dark")  # the system's own turn
    page.wait_for_function(f"() => {ground} === '#14191f'")


def test_the_search_finds_words_without_a_server(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened("index.html")
    field = page.get_by_placeholder("Search")
    field.fill("eigenvector")
    field.press("Enter")
    page.locator("#search-results li a").first.wait_for()
    photographed(page, "search", tmp_path)
    assert page.locator("#search-results li").count() >= 3
    page.locator("#search-results li a").first.click()
    page.wait_for_function("() => document.body.innerText.includes('eigenvector')")


def test_mathematics_is_set(opened: Callable[..., Any]) -> None:
    page = opened("00_start_here.html")
    page.locator("mjx-container svg path").first.wait_for(state="attached")
    page.wait_for_function("() => !document.querySelector('.math:not(:has(mjx-container))')")
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    box = page.locator(".math mjx-container[display=true] svg").first.bounding_box()
    assert box["width"] > 100


@pytest.mark.parametrize("name", ["index", "00_start_here", "06_networks", "pages/symbols", "pages/your_training_loop"])
def test_a_phone_shows_the_page_without_scrolling_sideways(
    opened: Callable[..., Any], name: str, tmp_path: Path
) -> None:
    page = opened(f"{name}.html", viewport=NARROW, has_touch=True)
    if page.locator(FIGURE).count():
        drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    wide = (
        "[...document.querySelectorAll('article > section > *')].filter((e) => e.getBoundingClientRect().right > 391)"
    )
    assert page.evaluate(f"{wide}.map((e) => e.outerHTML.slice(0, 100))") == []
    photographed(page, f"phone_{Path(name).stem}", tmp_path)


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
