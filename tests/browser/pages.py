"""What tests of any page share: open it where there is no network, take a picture of it, ask axe about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def offline(browser: Any, **settings: Any) -> Iterator[Any]:
    """A page that can reach files only; whatever else it asks for is a failure, and so is an error in it."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 960}} | settings))
    page, faults = context.new_page(), []
    page.set_default_timeout(60_000)
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or faults.append(asked.url))
    page.on("requestfailed", lambda asked: faults.append(f"{asked.url}: {asked.failure}"))
    page.on("websocket", lambda socket: faults.append(socket.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    context.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
    try:
        yield page
    finally:
        context.close()
    assert faults == []


def photographed(page: Any, name: str, whole: bool = True) -> None:
    """Take a picture of a page, where SAMVIZ_SCREENSHOTS asks for pictures."""
    if folder := os.environ.get("SAMVIZ_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(300)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole)


def violations(page: Any, selector: str) -> list[str]:
    """What axe-core finds wrong within the elements that match, of moderate impact or more.

    Axe passes over what it takes for invisible. JupyterLab's body has no height and hides what overflows it, which is
    everything, and what is scrolled away does not count either: so nothing is clipped while axe looks.
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
