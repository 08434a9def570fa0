"""The notebook on loss landscapes in JupyterLab: each lie of a picture, made with the panel's controls."""

from __future__ import annotations

import pytest

from .panels import curve, panels_of, says, settled, typed

kept, panel = panels_of("07_loss_landscapes.ipynb")


def rises(notebook):
    """How far the loss rises along d₁, at gradient descent's minimum and at SAM's."""
    curves = [curve(notebook, f"{name} along d₁") for name in ("gradient descent", "SAM")]
    return [max(loss) - min(loss) for loss in curves]


def test_its_first_picture(panel):
    says(panel, "SAM’s minimum looks flatter")
    settled(panel)
    panel.screenshot("landscapes_random", ".samviz-panel")


def test_the_radius_is_a_slider(panel):
    before = rises(panel)
    slider = panel.page.get_by_role("slider", name="radius", exact=True)
    box = slider.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    panel.page.mouse.move(*middle)
    panel.page.mouse.down()
    panel.page.mouse.move(middle[0] - 60, middle[1], steps=10)
    panel.page.mouse.up()
    panel.until("panel.values['radius']", lambda radius: radius < 0.2)
    settled(panel)
    assert all(now < then for now, then in zip(rises(panel), before))
    typed(panel, "radius", "0.5")
    settled(panel)
    assert rises(panel) == pytest.approx(before, rel=1e-5)


def test_rescaled_layers_look_sharp_and_filter_normalization_undoes_it(panel):
    before = rises(panel)
    slider = panel.page.get_by_role("slider", name="α of SAM’s layers", exact=True)
    slider.focus()
    panel.page.keyboard.press("End")
    says(panel, "here α = 10.")
    settled(panel)
    assert rises(panel) == pytest.approx(before, rel=1e-4)
    panel.page.get_by_label("filter normalization").click()
    says(panel, "SAM’s minimum looks sharper")
    settled(panel)
    panel.screenshot("landscapes_rescaled", ".samviz-panel")
    panel.page.get_by_label("filter normalization").click()
    typed(panel, "α of SAM’s layers", "1")
    says(panel, "SAM’s minimum looks flatter")


@pytest.mark.parametrize(
    ("name", "choice", "radius", "text"),
    [
        ("hessian", "v₁ and v₂", "0.5", "λ₁ is 19.3"),
        ("pca", "the trajectory’s PCA", "4", "17.9% of the distance to SAM’s start is off the plane"),
        ("through", "both minima and the start", "1.5", "0.0% of the distance to SAM’s start is off the plane"),
    ],
)
def test_the_planes(panel, name, choice, radius, text):
    panel.page.get_by_label("plane", exact=True).select_option(choice)
    typed(panel, "radius", radius)
    says(panel, text)
    settled(panel)
    panel.screenshot(f"landscapes_{name}", ".samviz-panel")
