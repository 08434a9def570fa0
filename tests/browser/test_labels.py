"""No text in a figure covers another, at the widths of a wide and of a narrow output."""

from __future__ import annotations

from typing import Any

import pytest
from pictures import settled_panel

import samviz.panels
from samviz.figures import figure
from samviz.lab import Lab
from samviz.problems import mlp

OVERLAPS = """() => {
  const texts = [...document.querySelectorAll('svg text')].filter((node) => node.textContent.trim())
    .map((node) => ({ text: node.textContent, box: node.getBoundingClientRect() })).filter(({ box }) => box.width);
  const common = ({ box: a }, { box: b }) => Math.min(
    Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  const covered = (a, others) => others.filter((b) => common(a, b) > 3).map((b) => `${a.text} | ${b.text}`);
  return texts.flatMap((a, i) => covered(a, texts.slice(i + 1)));
}"""


def overlaps(browser: Any, plain: dict[str, Any], width: int) -> list[str]:
    """Draw a figure at a width and return the pairs of texts whose boxes overlap by more than 3 pixels."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_content(figure(plain).to_html(include_plotlyjs=True, default_height=plain["layout"].get("height")))
    page.wait_for_selector(".main-svg")
    page.wait_for_timeout(300)
    found = page.evaluate(OVERLAPS)
    page.close()
    return found


@pytest.mark.parametrize("name", ["lab", *samviz.panels.__all__])
def test_no_text_covers_another(browser: Any, name: str) -> None:
    if name == "lab":
        drawn = Lab(mlp([1, 24, 24, 1], data="sine"), rho=0.005, device="cpu").run(600).figure
    else:
        drawn = settled_panel(name).figure
    assert {width: overlaps(browser, drawn, width) for width in (800, 1240)} == {800: [], 1240: []}
