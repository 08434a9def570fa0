"""The panel of Theorem 4.8 in its notebook, in JupyterLab: sliders, rule and the start to drag."""

from __future__ import annotations

import numpy as np
import pytest

from .panels import curve, dragged, panels_of, says, settled, typed

kept, panel = panels_of("02_alignment.ipynb")


def test_its_first_picture(panel):
    says(panel, "100 steps from (0.5, 1): |cos(x, v₁)| = 1.0000, ‖x‖ = 0.5333, predicted 0.5333.")
    settled(panel)
    panel.screenshot("cycle_first", ".samviz-panel")
    ends = np.array(curve(panel, "last steps", "x")[-2:])
    np.testing.assert_allclose(np.abs(ends), 0.4 * 0.8 * 2 / 1.2, rtol=1e-3)


def test_the_gap_and_the_learning_rate(panel):
    typed(panel, "λ₂/λ₁", "0.98")
    typed(panel, "η (λ₁ = 2)", "0.45")
    says(panel, "ηλ₁ = 0.9. 100 steps")
    settled(panel)
    assert curve(panel, "predicted length")[0] == pytest.approx(0.45 * 0.8 * 2 / 1.1, rel=1e-6)
    panel.screenshot("cycle_slow", ".samviz-panel")
    panel.page.get_by_role("slider", name="η (λ₁ = 2)", exact=True).focus()
    panel.page.keyboard.press("End")
    says(panel, "There is no cycle")
    settled(panel)
    panel.screenshot("cycle_diverged", ".samviz-panel")
    typed(panel, "η (λ₁ = 2)", "0.25")
    says(panel, "ηλ₁ = 0.5. 100 steps")


def test_a_drag_moves_the_start(panel):
    panel.page.get_by_role("slider", name="ρ radius", exact=True).focus()
    panel.page.keyboard.press("End")
    at = dragged(panel, "x", -220, 30)
    assert at[0] < 0
    says(panel, f"100 steps from ({at[0]:.3g}, {at[1]:.3g})")
    settled(panel)
    assert (curve(panel, "orbit", "x")[0], curve(panel, "orbit")[0]) == pytest.approx(at, abs=1e-6)
    panel.screenshot("cycle_dragged", ".samviz-panel")


def test_gradient_descent(panel):
    typed(panel, "λ₂/λ₁", "0.9")
    panel.page.get_by_label("rule", exact=True).select_option("gradient descent")
    says(panel, "gradient descent converges to 0")
    settled(panel)
    assert curve(panel, "cos gd")[-1] < 0.01
    panel.screenshot("cycle_gd", ".samviz-panel")
