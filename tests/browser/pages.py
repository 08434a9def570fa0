"""Functions that tests of any page share: open it offline, wait for what it shows, picture it, check it with axe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NO_TOUR = "try { localStorage.setItem('samviz tour', 'seen') } catch {}"  # a page without an address has no storage
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

OVERLAPS = """(within) => { // pairs of texts of figures whose boxes overlap by more than 3 pixels
  const texts = [...(within ?? document).querySelectorAll('svg text')].filter((node) => node.textContent.trim())
    .map((node) => ({ text: node.textContent, box: node.getBoundingClientRect() })).filter(({ box }) => box.width);
  const common = ({ box: a }, { box: b }) => Math.min(
    Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  const covered = (a, others) => others.filter((b) => common(a, b) > 3).map((b) => `${a.text} | ${b.text}`);
  return texts.flatMap((a, i) => covered(a, texts.slice(i + 1)));
}"""


def expect(element: Any) -> Any:
    """Return Playwright's assertions about an element, which wait for up to a minute."""
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    return expect(element)


def middle(element: Any) -> tuple[float, float]:
    """Return where the middle of an element is in the window."""
    box = element.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Any, start: tuple[float, float], end: tuple[float, float], steps: int = 15) -> None:
    """Move the mouse from one place to another with its button down."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=steps)
    page.mouse.up()


@contextmanager
def offline(browser: Any, address: str = "file:", **settings: Any) -> Iterator[Any]:
    """Yield a page without the network but for one address; another request or an error in the page is a failure."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 960}} | settings))
    context.add_init_script(NO_TOUR)
    page, faults = context.new_page(), []
    page.set_default_timeout(60_000)

    def check(request: Any) -> None:
        elsewhere = not request.url.startswith((address, "data:", "blob:"))
        if request.failure != "csp" and (elsewhere or (request.failure and address == "file:")):
            faults.append(f"{request.url}: {request.failure}")

    page.on("requestfinished", check)
    page.on("requestfailed", check)
    page.on("websocket", lambda socket: "localhost" in address or faults.append(socket.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    context.route(lambda url: not url.startswith(address), lambda route: route.abort())
    try:
        yield page
    finally:
        context.close()
    assert faults == []


def take_screenshot(page: Any, name: str, full_page: bool = True) -> None:
    """Write a screenshot of a page to the folder SAMVIZ_SCREENSHOTS, if it is set."""
    if folder := os.environ.get("SAMVIZ_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(300)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=full_page)


def violations(page: Any, selector: str) -> list[str]:
    """Return what axe-core finds wrong within the elements that match, of moderate impact or more.

    Axe ignores what it takes for invisible, such as all that overflows JupyterLab's body, which has no height, and all
    that is scrolled away. Therefore nothing is clipped while axe runs.
    """
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    clipping = "body, .lm-Widget, [class*='jp-'] { overflow: visible !important; contain: none !important }"
    style = page.add_style_tag(content=clipping)
    found = axe.run(page, context=selector, options={"runOnly": LEVELS, "resultTypes": ["violations"]})
    style.evaluate("node => node.remove()")
    return [
        f"{each['impact']} {each['id']}: {node['html'][:200]}"
        for each in found.response["violations"]
        if each["impact"] != "minor"
        for node in each["nodes"]
    ]
