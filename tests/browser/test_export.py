"""A run exported as a page, opened from the disk without a kernel, a server or the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from samviz.figures import save
from samviz.lab import Lab
from samviz.lab.lab import THEOREM
from samviz.problems import valley

from .pages import OVERLAPS, drag, expect, middle, offline, take_screenshot

GRAPH = "document.querySelector('.js-plotly-plot')"


@pytest.fixture(scope="module")
def lab() -> Lab:
    """A run on the valley: gradient descent, then SAM."""
    lab = Lab(valley(), device="cpu", steps_per_frame=10).run(100)
    lab.session.run.set(rho=lab.presets[THEOREM]["rho"])
    return lab.run(400)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with offline(browser) as page:
        yield page


def show(page: Any, path: Path) -> None:
    """Open a file and wait until its figure is drawn."""
    page.goto(path.as_uri())
    page.wait_for_function(f"() => {GRAPH}?.querySelector('.scatterlayer .trace')")


def curve(page: Any, name: str) -> tuple[list[float], list[float]]:
    """Return the x and y of a curve, as plotly.js has decoded them."""
    found = f"{GRAPH}._fullData.find(t => t.type === 'scatter' && t.name === name)"
    return page.evaluate(f"(name) => {{ const t = {found}; return [Array.from(t.x), Array.from(t.y)] }}", name)


def wait_for_step(page: Any, step: int | str) -> None:
    """Wait until the figure of a step is drawn and named."""
    page.locator("output", has_text=f"step {step}").wait_for()
    page.wait_for_function(f"() => {GRAPH}._fullData.find(t => t.name === 'loss').x.at(-1) === {step}")
    expect(page.locator(".samviz-sentence")).to_have_text(re.compile(rf"Step {step}\. .*"))


def test_a_page_plays_the_run_without_a_kernel_or_the_network(lab: Lab, page: Any, tmp_path: Path) -> None:
    show(page, lab.export(tmp_path / "run.html", frames=51))
    assert page.title() == "SAM on valley"
    assert "500 steps from seed 0" in page.inner_text("body")
    wait_for_step(page, 500)
    drawn = f"() => {GRAPH}.querySelector('.contourlayer').innerHTML.length"
    last = page.evaluate(drawn)
    take_screenshot(page, "export_end")

    button, slider = page.get_by_role("button", name="Play"), page.get_by_role("slider", name="picture", exact=True)
    button.click()
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_function("() => +document.querySelector('input').value > 5")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play").wait_for()
    label = page.locator("output").inner_text()
    wait_for_step(page, label.split()[-1])
    take_screenshot(page, "export_playing")
    assert page.evaluate(drawn) != last
    page.wait_for_timeout(400)
    assert page.locator("output").inner_text() == label  # the page stays paused

    x, y = middle(slider)
    drag(page, (slider.bounding_box()["x"] + 3, y), (x, y))
    wait_for_step(page, 250)

    for keys, rows in ((["Home"], 1), (["End"], 51), (["ArrowLeft"] * 6, 45)):
        for key in keys:
            slider.press(key)
        wait_for_step(page, 10 * (rows - 1))
        assert slider.get_attribute("aria-valuetext") == f"step {10 * (rows - 1)}"
        for name, values in (("loss", lab.history["loss"]), ("λ₁", lab.history["eigenvalues"][:, 0])):
            x, y = curve(page, name)
            np.testing.assert_array_equal(x, lab.history["step"][:rows])
            np.testing.assert_allclose(y, values[:rows], rtol=1e-12, atol=1e-12)

    slider.press(" ")  # the space bar plays and pauses
    page.get_by_role("button", name="Pause").wait_for()
    wait_for_step(page, 500)  # it plays to the end and stops there
    page.get_by_role("button", name="Play").wait_for()
    page.wait_for_function("() => document.querySelector('.samviz-spoken').textContent.startsWith('Step 500. ')")


def test_a_figure_is_a_page_without_controls(lab: Lab, page: Any, tmp_path: Path) -> None:
    show(page, save(lab, tmp_path / "picture.html"))
    assert page.get_by_role("button", name="Play").count() == page.get_by_role("slider").count() == 0
    np.testing.assert_array_equal(curve(page, "loss")[1], lab.history["loss"])
    page.set_viewport_size({"width": 390, "height": 844})  # a phone
    page.wait_for_function(f"() => {GRAPH}._fullLayout.width < 390 && {GRAPH}._fullLayout.height > 900")
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390
    assert page.evaluate(f"() => document.querySelector('.samviz-scroll').scrollHeight === {GRAPH}.clientHeight")
    take_screenshot(page, "export_phone")


def test_a_figure_with_its_own_slider_plays_its_own_frames(page: Any, tmp_path: Path) -> None:
    step = {"label": "up", "method": "animate", "args": [["up"], {"frame": {"duration": 1}}]}
    figure = go.Figure(go.Scatter(y=[0, 1]), {"sliders": [{"steps": [step] * 3}]})
    figure.frames = [go.Frame(name="up", data=[{"y": [0, 2]}])]
    show(page, save(figure, tmp_path / "own.html"))
    assert page.get_by_role("button", name="Play").count() == 0
    page.locator(".slider-rail-touch-rect").click()  # in its middle, at the second step
    page.wait_for_function(f"() => {GRAPH}._fullData[0].y[1] === 2")
