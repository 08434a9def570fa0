"""The panel of the three sharpnesses in its notebook, in JupyterLab: sliders, choice and the point to drag."""

from __future__ import annotations

import pytest

from .panels import curve, dragged, panels_of, says, settled, typed

kept, panel = panels_of("01_three_sharpnesses.ipynb")


def test_its_first_picture(panel):
    says(panel, "R_ρ/ρ² at ρ = 0.4")
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
        says(panel, text)
    typed(panel, "ρ radius", "0.6")
    says(panel, "ρ = 0.6 ")
    settled(panel)
    assert curve(panel, "worst now")[0] == pytest.approx(1, abs=0.01)
    panel.screenshot("sharpness_minimum", ".samviz-panel")


def test_a_drag_turns_the_ascent_arrow(panel):
    before = curve(panel, "ascent", "x")
    at = dragged(panel, "x", -150, 60)
    assert at[0] < 0
    assert at[1] < 0.75
    after = curve(panel, "ascent", "x")
    assert after[1] < 0 < before[1]
    assert (curve(panel, "x", "x")[0], curve(panel, "x")[0]) == pytest.approx(at, abs=1e-6)
    panel.screenshot("sharpness_dragged", ".samviz-panel")


@pytest.mark.parametrize(
    ("kind", "text"), [("bent: not quadratic", "minimum"), ("valley: minima along a line", "minimizer Φ")]
)
def test_the_bowls(panel, kind, text):
    panel.page.get_by_label("bowl", exact=True).select_option(kind)
    says(panel, text)
    settled(panel)
    panel.screenshot(f"sharpness_{kind[:4]}", ".samviz-panel")
