"""The notebook on networks in JupyterLab: its panel of heat maps fills stop by stop and answers its controls."""

from __future__ import annotations

import pytest

from .panels import open_panels, says, sentence, settled, wait, without_errors

GRAPH = "document.querySelector('.samviz-panel .samviz-graph')"
TITLE = f"{GRAPH}.layout.annotations[0].text"


@pytest.fixture(scope="module")
def networks(keep_notebook):
    return open_panels(keep_notebook, "06_networks.ipynb")


@pytest.fixture(autouse=True)
def no_page_errors(networks):
    with without_errors(networks):
        yield


def numbers(notebook, name):
    """What is written in the cells of a map, as the browser holds it."""
    return notebook.page.evaluate(f"(name) => {GRAPH}.data.find(trace => trace.name === name + ' numbers').text", name)


def test_the_maps_fill_and_come_to_their_end(networks):
    says(networks, "Step 1,000 with all 40 a step. At the start λ₁ was 5.97", 0)
    settled(networks, "panel")
    wait(networks, f"{TITLE}.endsWith('after 1,000 steps')")
    top = [float(number.strip("≈")) for number in numbers(networks, "λ₁")]
    assert len(top) == 49
    assert top[0] == 5.97
    assert top[-1] < 2
    networks.screenshot("sweep_all", ".samviz-panel")


def test_the_steps_go_back_without_computing_anew(networks):
    panel = networks.page.locator(".samviz-panel").first
    slider = panel.get_by_role("slider", name="steps", exact=True)
    slider.focus()
    networks.page.keyboard.press("Home")
    says(networks, "Step 10 with all 40 a step.", 0, seconds=5)
    wait(networks, f"{TITLE}.endsWith('after 10 steps')")
    assert float(numbers(networks, "λ₁")[-1].strip("≈")) > 4
    networks.page.keyboard.press("ArrowRight")
    says(networks, "Step 30 with all 40 a step.", 0, seconds=5)


def test_one_sample_loses_runs_and_they_are_hatched(networks):
    panel = networks.page.locator(".samviz-panel").first
    panel.get_by_label("a step sees").select_option("one sample")
    says(networks, "Step 30 with one sample a step.", 0)
    panel.get_by_role("slider", name="steps", exact=True).focus()
    for _ in range(3):
        networks.page.keyboard.press("ArrowRight")
    says(networks, "Step 1,000 with one sample a step.", 0)
    settled(networks, "panel")
    assert sentence(networks).endswith("of 49 cells have lost a run.")
    assert "×" in numbers(networks, "trace")
    networks.screenshot("sweep_one", ".samviz-panel")


def test_a_click_on_the_labels_begins_at_another_minimum(networks):
    panel = networks.page.locator(".samviz-panel").first
    panel.get_by_label("4 of 40 labels wrong").click()
    panel.get_by_label("a step sees").select_option("all 40")
    panel.get_by_role("slider", name="steps", exact=True).focus()
    networks.page.keyboard.press("Home")
    says(networks, "Step 10 with all 40 a step. At the start λ₁ was 3.60", 0)
    settled(networks, "panel")
