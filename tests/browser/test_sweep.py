"""The notebook on networks in JupyterLab: its panel of heat maps fills stop by stop and answers its controls."""

from __future__ import annotations

from .panels import panels_of, says, sentence, settled, wait

GRAPH = "document.querySelector('.samviz-panel .samviz-graph')"
TITLE = f"{GRAPH}.layout.annotations[0].text"
kept, panel = panels_of("06_networks.ipynb")


def numbers(notebook, name):
    """What is written in the cells of a map, as the browser holds it."""
    return notebook.page.evaluate(f"(name) => {GRAPH}.data.find(trace => trace.name === name + ' numbers').text", name)


def test_the_maps_fill_and_come_to_their_end(panel):
    says(panel, "Step 1,000 with all 40 a step. At the start λ₁ was 5.97", 0)
    settled(panel, "panel")
    wait(panel, f"{TITLE}.endsWith('after 1,000 steps')")
    top = [float(number.strip("≈")) for number in numbers(panel, "λ₁")]
    assert len(top) == 49
    assert top[0] == 5.97
    assert top[-1] < 2
    panel.screenshot("sweep_all", ".samviz-panel")


def test_the_steps_go_back_without_computing_anew(panel):
    first = panel.page.locator(".samviz-panel").first
    slider = first.get_by_role("slider", name="steps", exact=True)
    slider.focus()
    panel.page.keyboard.press("Home")
    says(panel, "Step 10 with all 40 a step.", 0, seconds=5)
    wait(panel, f"{TITLE}.endsWith('after 10 steps')")
    assert float(numbers(panel, "λ₁")[-1].strip("≈")) > 4
    panel.page.keyboard.press("ArrowRight")
    says(panel, "Step 30 with all 40 a step.", 0, seconds=5)


def test_one_sample_loses_runs_and_they_are_hatched(panel):
    first = panel.page.locator(".samviz-panel").first
    first.get_by_label("a step sees").select_option("one sample")
    says(panel, "Step 30 with one sample a step.", 0)
    first.get_by_role("slider", name="steps", exact=True).focus()
    for _ in range(3):
        panel.page.keyboard.press("ArrowRight")
    says(panel, "Step 1,000 with one sample a step.", 0)
    settled(panel, "panel")
    assert sentence(panel).endswith("of 49 cells a run has diverged.")
    assert "×" in numbers(panel, "trace")
    panel.screenshot("sweep_one", ".samviz-panel")


def test_a_click_on_the_labels_begins_at_another_minimum(panel):
    first = panel.page.locator(".samviz-panel").first
    first.get_by_label("4 of 40 labels wrong").click()
    first.get_by_label("a step sees").select_option("all 40")
    first.get_by_role("slider", name="steps", exact=True).focus()
    panel.page.keyboard.press("Home")
    says(panel, "Step 10 with all 40 a step. At the start λ₁ was 3.60", 0)
    settled(panel, "panel")
