"""The notebook of Section 5 in JupyterLab: its lab and its two panels answer their controls."""

from __future__ import annotations

from .panels import panels_of, says, settled, wait

GRAPH = "document.querySelectorAll('.samviz-panel')[{}].querySelector('.samviz-graph')"
kept, panel = panels_of("05_one_sample_at_a_time.ipynb")


def numbered(notebook, number):
    found = notebook.page.locator(".samviz-panel").nth(number)
    found.scroll_into_view_if_needed()
    return found


def test_the_batch_panel_ends_on_its_flows(panel):
    says(panel, "Step 400, τ = ηρ²t = 0.18. One sample: trace 6.6", 0)
    settled(panel, "panel")
    panel.screenshot("batches_network", ".samviz-panel")
    wait(panel, f"{GRAPH.format(0)}.data.find(t => t.name === 'λ₁ 3').y.length === 21")


def test_its_valley_and_its_sliders(panel):
    first = numbered(panel, 0)
    first.get_by_label("problem").select_option("valley, 2 samples")
    says(panel, "Step 1600, τ = ηρ²t = 0.72. One sample: trace 10.68, predicted 10.66", 0)
    settled(panel, "panel")
    panel.screenshot("batches_valley", ".samviz-panel")
    first.get_by_role("slider", name="ρ radius", exact=True).focus()
    panel.page.keyboard.press("End")
    says(panel, "Step 1600, τ = ηρ²t = 1.28.", 0)
    first.get_by_role("slider", name="η", exact=True).focus()
    panel.page.keyboard.press("Home")
    says(panel, "Step 1600, τ = ηρ²t = 0.32.", 0)
    first.get_by_role("button", name="Other samples").click()
    assert panel.until("panel.values['again']") == 1
    settled(panel, "panel")


def test_the_alignment_panel_follows_the_batch_size(panel):
    second = numbered(panel, 1)
    says(panel, "Batch size 3 of 6", 1)
    settled(panel, "panel2")
    slider = second.get_by_role("slider", name="batch size", exact=True)
    slider.focus()
    panel.page.keyboard.press("Home")
    says(panel, "Batch size 1 of 6: the mean of |cos(∇L_B, v₁)| is 1.000, and its minimum is 1.000.", 1)
    wait(panel, f"Math.max(...{GRAPH.format(1)}.data.find(t => t.name === 'steps').y.map(Math.abs)) < 1e-3")
    panel.page.keyboard.press("ArrowRight")
    says(panel, "Batch size 2 of 6: the mean of |cos(∇L_B, v₁)| is 0.889", 1)
    wait(panel, f"Math.max(...{GRAPH.format(1)}.data.find(t => t.name === 'steps').y.map(Math.abs)) > 45")


def test_its_radius_changes_nothing_and_a_second_eigenvalue_does(panel):
    second = numbered(panel, 1)
    second.get_by_role("slider", name="ρ radius", exact=True).focus()
    panel.page.keyboard.press("Home")
    assert panel.until("panel2.values['rho']", lambda rho: rho != 0.1) == 1e-6
    settled(panel, "panel2")
    says(panel, "the mean of |cos(∇L_B, v₁)| is 0.889", 1)
    panel.page.get_by_role("slider", name="batch size", exact=True).last.focus()
    panel.page.keyboard.press("Home")
    second.get_by_role("slider", name="λ₂/λ₁ of a sample", exact=True).focus()
    for _ in range(6):
        panel.page.keyboard.press("ArrowRight")
    says(panel, "does not apply", 1)
    settled(panel, "panel2")
    panel.screenshot("batches_alignment", ".samviz-panel >> nth=1")


def test_the_lab_is_there_with_one_sample(panel):
    lab = panel.page.locator(".samviz-lab").first
    lab.scroll_into_view_if_needed()
    assert panel.kernel("lab.values['batch_size']") == 1
    lab.get_by_role("button", name="Play").click()
    panel.until("lab.session.run.steps > 50", seconds=30)
    panel.kernel("lab.pause()")
    assert panel.kernel("bool(lab.history['eigenvalues'][-1, 0] < lab.history['eigenvalues'][0, 0])")
    panel.screenshot("batches_lab", ".samviz-lab")
