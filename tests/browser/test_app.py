"""The lab as an app: `samviz app` serves it without code, under Voila, with a separate run for each reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from .conftest import Server
from .pages import offline, take_screenshot, violations
from .panels import enter, press


@pytest.fixture
def visit(browser: Any, voila: Server) -> Iterator[Callable[..., Any]]:
    """Give `visit(query="", **settings)`, a page with the lab drawn; nothing may fail in it or go to another host."""
    with ExitStack() as stack:

        def open_page(query: str = "", **settings: Any) -> Any:
            page = stack.enter_context(offline(browser, voila.url, **settings))
            page.set_default_timeout(180_000)
            page.goto(f"{voila.url}{query}")
            page.locator(".samviz-graph .main-svg").first.wait_for()
            return page

        yield open_page


def steps(page: Any) -> int:
    """Read the number of steps from the status."""
    return int(page.locator(".samviz-status small").inner_text().split()[1].replace(",", ""))


def test_a_reader_steers_the_lab_and_sees_no_code(visit: Callable[..., Any]) -> None:
    page = visit()
    assert page.title() == "samviz: SAM, live"
    assert page.get_by_role("heading", level=1).inner_text().startswith("SAM, live")
    status = page.locator(".samviz-status")
    status.filter(has_text="step 0 · paused").wait_for()  # live, at its start
    assert page.locator(".jp-Cell img, .jp-InputArea-editor").count() == 0  # neither a still picture nor code
    press(page, "Play")
    status.filter(has_text="steps/s").wait_for()
    slider = page.get_by_role("slider", name="ρ radius")
    for _ in range(12):
        slider.press("ArrowRight")
        page.wait_for_timeout(40)
    assert float(slider.get_attribute("aria-valuetext")) > 0
    status.filter(has_text="phase II").wait_for()
    take_screenshot(page, "app")
    assert violations(page, ".samviz-card") == []
    press(page, "Pause")
    status.filter(has_text="paused").wait_for()
    assert steps(page) > 0
    press(page, "Reset")
    status.filter(has_text="step 0 ·").wait_for()


def test_two_readers_do_not_disturb_each_other_and_each_has_a_theme(visit: Callable[..., Any]) -> None:
    """Voila sets the theme for the page; a reader's dark system leaves the page white, and so the card.

    Takes long because Voila starts a kernel for each reader.
    """
    ground = "() => getComputedStyle(document.querySelector('.samviz-card')).backgroundColor"
    one, other = visit("?theme=dark"), visit(color_scheme="dark")
    assert one.evaluate(ground) == "rgb(20, 25, 31)"
    assert one.evaluate("() => document.querySelector('.samviz-graph').layout.paper_bgcolor") == "#14191f"
    take_screenshot(one, "app_dark")
    assert other.evaluate(ground) == "rgb(255, 255, 255)"
    press(one, "Play")
    one.locator(".samviz-status").filter(has_text="steps/s").wait_for()
    enter(one.get_by_role("textbox", name="ρ radius, typed"), "0.0123")
    one.locator(".samviz-status").filter(has_text=re.compile("step [1-9]")).wait_for()
    assert steps(other) == 0
    assert other.get_by_role("textbox", name="ρ radius, typed").input_value() == "0"
    press(other, "Step")
    other.locator(".samviz-status").filter(has_text="step 1 ·").wait_for()


def test_a_page_that_is_left_ends_its_kernel(browser: Any, voila: Server) -> None:
    page = browser.new_page()  # where nothing intercepts the last request
    page.goto(voila.url, timeout=180_000)
    page.locator(".samviz-graph .main-svg").first.wait_for(timeout=180_000)
    press(page, "Play")
    kernel = max(voila.runtime.glob("kernel-*.json"), key=lambda path: path.stat().st_mtime)
    page.goto("about:blank")
    for _ in range(600):
        if not kernel.exists():
            break
        page.wait_for_timeout(100)
    else:
        pytest.fail("the kernel still runs after a minute")
    page.close()
