"""The panel of the limiting flow in its notebook, in JupyterLab."""

from __future__ import annotations

import pytest

GRAPH = "document.querySelector('.samviz-graph')"


def curve(notebook, name, axis="y"):
    find = f"(name) => Array.from({GRAPH}.data.find(trace => trace.name === name).{axis})"
    return notebook.page.evaluate(find, name)


def settled(notebook, seconds=120):
    notebook.until("panel.view._seq == panel.view._ack and panel.player.work is None", seconds=seconds)
    notebook.page.wait_for_timeout(400)


@pytest.fixture(scope="module")
def kept(keep_notebook):
    notebook = keep_notebook("04_limiting_flow.ipynb")
    notebook.run_all(240)
    notebook.page.wait_for_function(f"() => {GRAPH}?.data?.length > 10")
    notebook.page.locator(".samviz-panel").scroll_into_view_if_needed()
    return notebook


@pytest.fixture
def panel(kept):
    yield kept
    assert kept.errors == []
    assert kept.page.get_by_role("alert").first.inner_text() == ""


def test_its_first_picture(panel):
    settled(panel)
    sentence = panel.page.locator(".samviz-sentence").inner_text()
    assert sentence.startswith("t = 4,444, τ = ηρ²t = 1.00. Phase II began at step ")
    assert "At ρ = 0.1 that falls like η^1.0" in sentence
    panel.screenshot("flow_first", ".samviz-panel")


def test_a_slider_starts_anew_and_leaves_a_diamond(panel):
    panel.page.get_by_label("η learning rate, typed").fill("0.02")
    panel.page.keyboard.press("Enter")
    panel.page.get_by_label("ρ radius, typed").fill("0.3")
    panel.page.keyboard.press("Enter")
    panel.page.locator(".samviz-sentence").filter(has_text="t = 556,").wait_for()
    settled(panel)
    assert len(curve(panel, "yours")) >= 2
    assert curve(panel, "x₁")[-1] < curve(panel, "flow of x₁")[-1]  # ahead of it
    panel.screenshot("flow_second", ".samviz-panel")


def test_one_sample_a_step(panel):
    panel.page.get_by_label("method").select_option("1-SAM: Eq. 18, trace")
    panel.page.locator(".samviz-sentence").filter(has_text="Eq. 18 says (0.7").wait_for()
    settled(panel)
    assert curve(panel, "flow of x₁")[-1] == pytest.approx(0.8, abs=0.01)
    panel.screenshot("flow_one", ".samviz-panel")


def test_the_start_is_dragged(panel):
    box = panel.page.get_by_role("button", name="point start").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    panel.page.mouse.move(x, y)
    panel.page.mouse.down()
    panel.page.mouse.move(x - 120, y - 90, steps=12)
    panel.page.mouse.up()
    start = panel.until("panel.values['start']", lambda at: at[0] < 0.4)
    settled(panel)
    assert curve(panel, "iterate", "x")[0] == pytest.approx(start[0], abs=1e-6)
    panel.screenshot("flow_dragged", ".samviz-panel")
