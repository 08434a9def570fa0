"""Figure 1's panels in their notebook, in JupyterLab: the paths grow, the controls are heard, the sides turn flat."""

from __future__ import annotations

import pytest

from .panels import curve, dragged, panels_of, says, sentence, settled, typed

kept, panel = panels_of("03_two_wrongs_make_a_right.ipynb")


def test_its_first_picture(panel):
    settled(panel)
    assert "SAM: λ₁ 20.5 → 16.0" in sentence(panel)
    panel.screenshot("ablation_first", ".samviz-panel")


def test_a_slider_starts_the_runs_anew_and_the_paths_grow(panel):
    panel.page.get_by_role("checkbox", name="exact L_Max").uncheck()
    settled(panel)
    ends = curve(panel, "SAM", "x")[-1]
    typed(panel, "ρ radius", "0.7")
    lengths = set()
    for _ in range(30):
        lengths.add(len(curve(panel, "SAM", "x")))
        panel.page.wait_for_timeout(40)
    assert len(lengths) > 3  # seen on the way
    says(panel, " of 2,040 steps")
    settled(panel)
    assert sentence(panel).startswith("t = 2,0")
    assert curve(panel, "SAM", "x")[-1] == pytest.approx(ends, abs=0.01)  # ρ sets the clock alone


def test_contours_and_methods(panel):
    panel.page.get_by_label("contours of").select_option("trace")
    panel.page.locator(".samviz-graph").first.get_by_text("over the contours of trace").wait_for()
    panel.page.get_by_role("checkbox", name="exact L_Asc").uncheck()
    panel.page.get_by_role("checkbox", name="exact L_Avg").check()
    settled(panel)
    assert "exact L_Avg: trace 26.7 → 21.3" in sentence(panel)
    assert "L_Asc" not in sentence(panel)
    panel.screenshot("ablation_trace", ".samviz-panel")


def test_the_start_is_dragged(panel):
    at = dragged(panel, "start", 200, -100)
    assert at[0] > 0.6
    assert curve(panel, "SAM", "x")[0] == pytest.approx(at[0], abs=1e-6)
    assert curve(panel, "SAM", "x")[-1] < 0.05
    panel.screenshot("ablation_dragged", ".samviz-panel")


def test_the_sides_follow_the_slider(panel):
    settled(panel, "sides")
    panel.page.locator(".samviz-panel").nth(1).scroll_into_view_if_needed()
    panel.screenshot("sides_end", ".samviz-panel >> nth=1")
    assert curve(panel, "sam x3", "z", 1)[0] == pytest.approx(8.3, abs=0.05)
    panel.page.get_by_role("slider", name="share of the run", exact=True).focus()
    panel.page.keyboard.press("Home")
    panel.page.locator(".samviz-sentence").nth(1).filter(has_text="t = 0 steps").wait_for()
    settled(panel, "sides")
    assert curve(panel, "sam x3", "z", 1)[0] == pytest.approx(10.55, abs=0.01)
