"""A run exported as a page, opened from the disk as its receiver opens it: no kernel, no server, no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samviz.figures import save
from samviz.lab import Lab
from samviz.lab.presets import THEOREM
from samviz.problems import valley

from .pages import offline, photographed

GRAPH = "document.querySelector('.js-plotly-plot')"


@pytest.fixture(scope="module")
def lab() -> Lab:
    """A run over the valley: gradient descent, then SAM."""
    lab = Lab(valley(), device="cpu", steps_per_frame=10).run(100)
    lab.session.run.set(rho=lab.presets[THEOREM]["rho"])
    return lab.run(400)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with offline(browser) as page:
        yield page


def opened(page: Any, path: Path) -> None:
    """Open a file and wait until it is drawn."""
    page.goto(path.as_uri())
    page.wait_for_function(f"() => {GRAPH}?.querySelector('.scatterlayer .trace')")


def curve(page: Any, name: str) -> tuple[list[float], list[float]]:
    """The x and y of a curve, as plotly.js has decoded them."""
    found = f"{GRAPH}._fullData.find(t => t.type === 'scatter' && t.name === name)"
    return page.evaluate(f"(name) => {{ const t = {found}; return [Array.from(t.x), Array.from(t.y)] }}", name)


def at(page: Any, label: str) -> None:
    """Wait until the picture of that label is drawn and said."""
    page.locator("output", has_text=label).wait_for()
    step = label.split()[-1].replace(",", "")
    page.wait_for_function(f"() => {GRAPH}._fullData.find(t => t.name === 'loss').x.at(-1) === {step}")


def test_a_page_plays_the_run_without_a_kernel_or_the_network(lab: Lab, page: Any, tmp_path: Path) -> None:
    opened(page, lab.export(tmp_path / "run.html", frames=51))
    assert page.title() == "SAM on valley"
    assert "500 steps from seed 0" in page.inner_text("body")
    at(page, "step 500")
    drawn = f"() => {GRAPH}.querySelector('.contourlayer').innerHTML.length"
    last = page.evaluate(drawn)
    photographed(page, "export_end")

    button, slider = page.get_by_role("button", name="Play"), page.get_by_role("slider", name="picture")
    button.click()
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_function("() => +document.querySelector('.play input').value > 5")  # on its own
    page.get_by_role("button", name="Pause").click()
    label = page.locator("output").inner_text()
    at(page, label)
    photographed(page, "export_playing")
    assert page.evaluate(drawn) != last
    page.wait_for_timeout(400)
    assert page.locator("output").inner_text() == label  # paused is paused

    box = slider.bounding_box()
    page.mouse.move(box["x"] + 3, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    at(page, "step 250")

    own = lab.history
    for keys, rows in ((["Home"], 1), (["End"], 51), (["ArrowLeft"] * 6, 45)):
        for key in keys:
            slider.press(key)
        at(page, f"step {10 * (rows - 1)}")
        assert slider.get_attribute("aria-valuetext") == f"step {10 * (rows - 1)}"
        for name, values in (("loss", own["loss"]), ("λ₁", own["eigenvalues"][:, 0]), ("cos with v₁", own["cos_v1"])):
            x, y = curve(page, name)
            np.testing.assert_array_equal(x, own["step"][:rows])
            np.testing.assert_allclose(y, values[:rows], rtol=1e-12, atol=1e-12)

    slider.press(" ")  # the space bar plays and pauses
    page.get_by_role("button", name="Pause").wait_for()
    at(page, "step 500")  # it plays to the end and stops there
    page.get_by_role("button", name="Play").wait_for()
    page.emulate_media(color_scheme="dark")
    photographed(page, "export_dark")


def test_a_single_figure_is_a_page_of_its_own(lab: Lab, page: Any, tmp_path: Path) -> None:
    opened(page, save(lab, tmp_path / "picture.html"))
    assert page.get_by_role("button", name="Play").count() == 0
    np.testing.assert_array_equal(curve(page, "loss")[1], lab.history["loss"])
