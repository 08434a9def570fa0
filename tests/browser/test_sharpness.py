"""The panel of the three sharpnesses in its notebook, in JupyterLab: sliders, choice and the point to drag."""

from __future__ import annotations

import pytest

GRAPH = "document.querySelector('.samviz-graph')"


def curve(notebook, name, axis="y"):
    find = f"(name) => Array.from({GRAPH}.data.find(trace => trace.name === name).{axis})"
    return notebook.page.evaluate(find, name)


def sentence(notebook, text):
    notebook.page.locator(".samviz-sentence").filter(has_text=text).first.wait_for()


def settled(notebook):
    notebook.until("panel.view._seq == panel.view._ack and panel.player.work is None")
    notebook.page.wait_for_timeout(300)


@pytest.fixture(scope="module")
def kept(keep_notebook):
    notebook = keep_notebook("01_three_sharpnesses.ipynb")
    notebook.run_all()
    notebook.page.wait_for_function(f"() => {GRAPH}?.data?.length > 10")
    notebook.page.locator(".samviz-panel").scroll_into_view_if_needed()
    return notebook


@pytest.fixture
def panel(kept):
    yield kept
    assert kept.errors == []
    assert kept.page.get_by_role("alert").first.inner_text() == ""


def test_its_first_picture(panel):
    sentence(panel, "R_ρ/ρ² at ρ = 0.4")
    settled(panel)
    panel.screenshot("sharpness_first", ".samviz-panel")


def test_the_sliders(panel):
    for name, key, text in (
        ("ρ radius", "Home", "ρ = 0.01 "),
        ("distance to Γ, ×", "Home", "worst 1.07"),
        ("λ₁/λ₂", "End", "(0.100)"),
    ):
        panel.page.get_by_role("slider", name=name, exact=True).focus()
        panel.page.keyboard.press(key)
        sentence(panel, text)
    panel.page.get_by_label("ρ radius, typed").fill("0.6")
    panel.page.keyboard.press("Enter")
    sentence(panel, "ρ = 0.6 ")
    settled(panel)
    assert curve(panel, "worst now")[0] == pytest.approx(1, abs=0.01)
    panel.screenshot("sharpness_minimum", ".samviz-panel")


def test_a_drag_turns_the_ascent_arrow(panel):
    before = curve(panel, "ascent", "x")
    box = panel.page.get_by_role("button", name="point x").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    panel.page.mouse.move(x, y)
    panel.page.mouse.down()
    panel.page.mouse.move(x - 150, y + 60, steps=15)
    panel.page.mouse.up()
    assert panel.until("panel.values['x']", lambda at: at[0] < 0 and at[1] < 0.75)
    settled(panel)
    after = curve(panel, "ascent", "x")
    assert after[1] < 0 < before[1]
    at = panel.kernel("panel.values['x']")
    assert (curve(panel, "x", "x")[0], curve(panel, "x")[0]) == pytest.approx(at, abs=1e-6)
    panel.screenshot("sharpness_dragged", ".samviz-panel")


@pytest.mark.parametrize(
    ("kind", "text"), [("bent: not quadratic", "minimum"), ("valley: minima along a line", "foot")]
)
def test_the_bowls(panel, kind, text):
    panel.page.get_by_label("bowl", exact=True).select_option(kind)
    sentence(panel, text)
    settled(panel)
    panel.screenshot(f"sharpness_{kind[:4]}", ".samviz-panel")
