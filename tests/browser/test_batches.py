"""The notebook of Section 5 in JupyterLab: its lab and its two panels answer their controls."""

from __future__ import annotations

import pytest

from .panels import open_panels, says, settled, wait, without_errors

GRAPH = "document.querySelectorAll('.samviz-panel')[{}].querySelector('.samviz-graph')"


def panel(notebook, number):
    found = notebook.page.locator(".samviz-panel").nth(number)
    found.scroll_into_view_if_needed()
    return found


@pytest.fixture(scope="module")
def section5(keep_notebook):
    return open_panels(keep_notebook, "05_one_sample_at_a_time.ipynb")


@pytest.fixture(autouse=True)
def no_page_errors(section5):
    with without_errors(section5):
        yield


def test_the_batch_panel_ends_on_its_flows(section5):
    says(section5, "Step 400, τ = ηρ²t = 0.18. One sample: trace 6.6", 0)
    settled(section5, "panel")
    section5.screenshot("batches_network", ".samviz-panel")
    wait(section5, f"{GRAPH.format(0)}.data.find(t => t.name === 'λ₁ 3').y.length === 21")


def test_its_valley_and_its_sliders(section5):
    first = panel(section5, 0)
    first.get_by_label("problem").select_option("valley, 2 samples")
    says(section5, "Step 1600, τ = ηρ²t = 0.72. One sample: trace 10.68, predicted 10.66", 0)
    settled(section5, "panel")
    section5.screenshot("batches_valley", ".samviz-panel")
    first.get_by_role("slider", name="ρ radius", exact=True).focus()
    section5.page.keyboard.press("End")
    says(section5, "Step 1600, τ = ηρ²t = 1.28.", 0)
    first.get_by_role("slider", name="η", exact=True).focus()
    section5.page.keyboard.press("Home")
    says(section5, "Step 1600, τ = ηρ²t = 0.32.", 0)
    first.get_by_role("button", name="Other samples").click()
    assert section5.until("panel.values['again']") == 1
    settled(section5, "panel")


def test_the_alignment_panel_follows_the_batch_size(section5):
    second = panel(section5, 1)
    says(section5, "Batch size 3 of 6", 1)
    settled(section5, "panel2")
    section5.page.wait_for_timeout(300)
    slider = second.get_by_role("slider", name="batch size", exact=True)
    slider.focus()
    section5.page.keyboard.press("Home")
    says(section5, "Batch size 1 of 6: |cos(∇L_B, v₁)| is 1.000 in the mean, 1.000 at least.", 1)
    wait(section5, f"Math.max(...{GRAPH.format(1)}.data.find(t => t.name === 'steps').y.map(Math.abs)) < 1e-3")
    section5.page.keyboard.press("ArrowRight")
    says(section5, "Batch size 2 of 6: |cos(∇L_B, v₁)| is 0.889 in the mean", 1)
    wait(section5, f"Math.max(...{GRAPH.format(1)}.data.find(t => t.name === 'steps').y.map(Math.abs)) > 45")


def test_its_radius_changes_nothing_and_a_second_eigenvalue_does(section5):
    second = panel(section5, 1)
    second.get_by_role("slider", name="ρ radius", exact=True).focus()
    section5.page.keyboard.press("Home")
    assert section5.until("panel2.values['rho']", lambda rho: rho != 0.1) == 1e-6
    settled(section5, "panel2")
    says(section5, "is 0.889 in the mean", 1)
    section5.page.get_by_role("slider", name="batch size", exact=True).last.focus()
    section5.page.keyboard.press("Home")
    second.get_by_role("slider", name="λ₂/λ₁ of a sample", exact=True).focus()
    for _ in range(6):
        section5.page.keyboard.press("ArrowRight")
    says(section5, "without rank one no lemma", 1)
    settled(section5, "panel2")
    section5.page.wait_for_timeout(300)
    section5.screenshot("batches_alignment", ".samviz-panel >> nth=1")


def test_the_lab_is_there_with_one_sample(section5):
    lab = section5.page.locator(".samviz-lab").first
    lab.scroll_into_view_if_needed()
    assert section5.kernel("lab.view.batch_size") == 1
    lab.get_by_role("button", name="Play").click()
    section5.until("lab.session.run.steps > 50", seconds=30)
    section5.kernel("lab.pause()")
    assert section5.kernel("bool(lab.history['eigenvalues'][-1, 0] < lab.history['eigenvalues'][0, 0])")
    section5.screenshot("batches_lab", ".samviz-lab")
