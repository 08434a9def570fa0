"""No text in a panel covers another, at the widths of a wide and of a narrow output."""

from __future__ import annotations

from typing import Any

import pytest
from pictures import settled_panel

import samviz.panels
from samviz.figures import figure

from .pages import OVERLAPS


def overlaps(browser: Any, plain: dict[str, Any], width: int) -> list[str]:
    """Draw a figure at a width and return the pairs of texts whose boxes overlap by more than 3 pixels."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_content(figure(plain).to_html(include_plotlyjs=True, default_height=plain["layout"].get("height")))
    page.wait_for_selector(".main-svg")
    page.wait_for_timeout(300)
    found = page.evaluate(OVERLAPS)
    page.close()
    return found


@pytest.mark.parametrize("name", samviz.panels.__all__)
def test_no_text_covers_another(browser: Any, name: str) -> None:
    drawn = settled_panel(name).figure
    assert {width: overlaps(browser, drawn, width) for width in (800, 1240)} == {800: [], 1240: []}
