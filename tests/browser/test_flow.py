"""The panel of the limiting flow in its notebook, in JupyterLab."""

from __future__ import annotations

import pytest

from .panels import curve, dragged, panels_of, says, sentence, settled, typed

kept, panel = panels_of("04_limiting_flow.ipynb")


def test_its_first_picture(panel):
    settled(panel)
    told = sentence(panel)
    assert told.startswith("t = 4,444, τ = ηρ²t = 1.00. Phase II began at step ")
    assert "At ρ = 0.1 this distance scales like η^1.0" in told
    panel.screenshot("flow_first", ".samviz-panel")


def test_a_slider_starts_anew_and_leaves_a_diamond(panel):
    typed(panel, "η learning rate", "0.02")
    typed(panel, "ρ radius", "0.3")
    says(panel, "t = 556,")
    settled(panel)
    assert len(curve(panel, "yours")) >= 2
    assert curve(panel, "x₁")[-1] < curve(panel, "flow of x₁")[-1]  # ahead of it
    panel.screenshot("flow_second", ".samviz-panel")


def test_one_sample_a_step(panel):
    panel.page.get_by_label("method").select_option("1-SAM: Eq. 18, trace")
    says(panel, "Eq. 18 predicts (0.7")
    settled(panel)
    assert curve(panel, "flow of x₁")[-1] == pytest.approx(0.8, abs=0.01)
    panel.screenshot("flow_one", ".samviz-panel")


def test_the_start_is_dragged(panel):
    at = dragged(panel, "start", -120, -90)
    assert at[0] < 0.4
    assert curve(panel, "iterate", "x")[0] == pytest.approx(at[0], abs=1e-6)
    panel.screenshot("flow_dragged", ".samviz-panel")
