"""The panel of Theorem 4.8 in its notebook, in JupyterLab: sliders, rule and the start to drag."""

from __future__ import annotations

import numpy as np
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
    notebook = keep_notebook("02_alignment.ipynb")
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
    sentence(panel, "100 steps from (0.5, 1): |cos(x, v₁)| = 1.0000, ‖x‖ = 0.5333, predicted 0.5333.")
    settled(panel)
    panel.screenshot("cycle_first", ".samviz-panel")
    ends = np.array(curve(panel, "last steps", "x")[-2:])
    np.testing.assert_allclose(np.abs(ends), 0.4 * 0.8 * 2 / 1.2, rtol=1e-3)


def test_the_gap_and_the_learning_rate(panel):
    panel.page.get_by_label("λ₂/λ₁, typed").fill("0.98")
    panel.page.keyboard.press("Enter")
    panel.page.get_by_label("η (λ₁ = 2), typed").fill("0.45")
    panel.page.keyboard.press("Enter")
    sentence(panel, "ηλ₁ = 0.9. 100 steps")
    settled(panel)
    assert curve(panel, "predicted length")[0] == pytest.approx(0.45 * 0.8 * 2 / 1.1, rel=1e-6)
    panel.screenshot("cycle_slow", ".samviz-panel")
    panel.page.get_by_role("slider", name="η (λ₁ = 2)", exact=True).focus()
    panel.page.keyboard.press("End")
    sentence(panel, "There is no cycle")
    settled(panel)
    panel.screenshot("cycle_diverged", ".samviz-panel")
    panel.page.get_by_label("η (λ₁ = 2), typed").fill("0.25")
    panel.page.keyboard.press("Enter")
    sentence(panel, "ηλ₁ = 0.5. 100 steps")


def test_a_drag_moves_the_start(panel):
    panel.page.get_by_role("slider", name="ρ radius", exact=True).focus()
    panel.page.keyboard.press("End")
    box = panel.page.get_by_role("button", name="point x").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    panel.page.mouse.move(x, y)
    panel.page.mouse.down()
    panel.page.mouse.move(x - 220, y + 30, steps=15)
    panel.page.mouse.up()
    panel.until("panel.values['x']", lambda at: at[0] < 0)
    panel.page.wait_for_timeout(500)  # the last of the moves arrives
    at = panel.kernel("panel.values['x']")
    sentence(panel, f"100 steps from ({at[0]:.3g}, {at[1]:.3g})")
    settled(panel)
    assert (curve(panel, "orbit", "x")[0], curve(panel, "orbit")[0]) == pytest.approx(at, abs=1e-6)
    panel.screenshot("cycle_dragged", ".samviz-panel")


def test_gradient_descent(panel):
    panel.page.get_by_label("λ₂/λ₁, typed").fill("0.9")
    panel.page.keyboard.press("Enter")
    panel.page.get_by_label("rule", exact=True).select_option("gradient descent")
    sentence(panel, "on its way to 0")
    settled(panel)
    assert curve(panel, "cos gd")[-1] < 0.01
    panel.screenshot("cycle_gd", ".samviz-panel")
