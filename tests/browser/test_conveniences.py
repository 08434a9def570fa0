"""The tour of the lab, the explanations of its controls, full screen, saved files, and the landscape in 3-D."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Notebook
from .pages import drag, expect, middle
from .panels import AT_REST, GRAPH, NO_WEBGL, curve, lab_in, press, wait

CELL = "from samviz.lab import Lab\nfrom samviz.problems import mlp\nlab = Lab(mlp([1, 8, 8, 1], data='sine'))\nlab"


@pytest.fixture(scope="module")
def notebook(keep_notebook: Callable[..., Notebook]) -> Notebook:
    notebook = keep_notebook("conveniences.ipynb", [CELL])
    notebook.run_all()
    press(lab_in(notebook), "More")
    return notebook


@pytest.fixture
def lab(notebook: Notebook) -> Any:
    return lab_in(notebook)


def test_the_tour_opens_once_follows_the_learner_and_returns_the_focus(notebook: Notebook) -> None:
    page, tour = notebook.page, notebook.page.get_by_role("dialog", name="tour of the lab")
    page.evaluate("localStorage.removeItem('samviz tour')")
    notebook.run_all()
    lab = lab_in(notebook)
    tour.filter(has_text="1 of 3").wait_for()
    assert not page.evaluate("document.querySelector('.samviz-tour').contains(document.activeElement)")  # nor a cell's
    press(lab, "Play")
    tour.filter(has_text="2 of 3").wait_for()
    press(lab, "Pause")
    lab.get_by_role("slider", name="ρ radius").press("ArrowRight")
    tour.filter(has_text="3 of 3").wait_for()
    tour.get_by_role("button", name="Done").press("Enter")
    tour.wait_for(state="detached")
    notebook.run_all()
    lab = lab_in(notebook)
    assert tour.count() == 0
    again = lab.get_by_role("button", name="tour", exact=True)
    again.press("Enter")
    following = tour.get_by_role("button", name="Next")
    expect(following).to_be_focused()
    page.keyboard.press("Enter")
    tour.filter(has_text="2 of 3").wait_for()
    expect(following).to_be_focused()
    page.keyboard.press("Escape")
    tour.wait_for(state="detached")
    expect(again).to_be_focused()


def test_a_control_is_explained_on_hover_and_on_focus_until_escape(notebook: Notebook, lab: Any) -> None:
    shown = lab.locator(".samviz-help:visible")
    slider = lab.get_by_role("slider", name="ρ radius")
    slider.hover()
    explanation = shown.filter(has_text="The perturbation radius")
    explanation.wait_for()
    below = explanation.bounding_box()
    assert not notebook.page.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).matches('.samviz-help')", [below["x"] + 9, below["y"] + 9]
    ), "what it covers cannot be clicked"
    notebook.page.keyboard.press("Escape")
    shown.wait_for(state="detached")
    lab.get_by_role("button", name="Reset", exact=True).focus()
    notebook.page.keyboard.press("Shift+Tab")
    shown.filter(has_text="Take one step").wait_for()
    notebook.page.keyboard.press("Tab")
    shown.filter(has_text="Start again").wait_for()
    described = """node => node.getAttribute('aria-describedby').split(' ')
        .map(id => document.getElementById(id)?.textContent ?? '')"""
    for control in lab.locator(":is(button:not(.modebar-btn), select, input):visible").all():
        assert any(text.endswith(".") for text in control.evaluate(described)), control.get_attribute("id")


def test_full_screen_shows_three_plots_in_the_height_of_the_screen(notebook: Notebook, lab: Any) -> None:
    page, axes = notebook.page, f"Object.keys({GRAPH.format(0)}._fullLayout._plots).sort().join()"
    before = page.evaluate(f"[{axes}, {GRAPH.format(0)}.clientHeight]")
    lab.get_by_role("button", name="Step", exact=True).press("f")
    card, graph = (f"document.querySelector('.samviz-{part}').getBoundingClientRect()" for part in ("lab", "graph svg"))
    fits = f"{graph}.height > {card}.height / 2 && {graph}.bottom <= {card}.bottom"
    wait(notebook, f"{axes} === 'x2y2,x3y3,x4y4' && {fits}")
    notebook.screenshot("full_screen")
    lab.get_by_role("button", name="Full screen").click()
    wait(notebook, f"{axes} === '{before[0]}' && {GRAPH.format(0)}.clientHeight === {before[1]}")


def test_the_run_is_saved_as_csv_png_and_film(notebook: Notebook, lab: Any, tmp_path: Path) -> None:
    def saved(button: str) -> Path:
        with notebook.page.expect_download() as download:
            press(lab, button)
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path

    press(lab, "Film")
    press(lab, "Play")
    notebook.until("lab.session.run.steps > 300")
    film = saved("Stop recording")
    press(lab, "Pause")
    notebook.until(AT_REST)
    with saved("CSV").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows][-1] == notebook.kernel("lab.session.run.steps")
    assert [float(row["loss"]) for row in rows] == notebook.kernel("[float(value) for value in lab.history['loss']]")
    assert {"rho", "lr", "rule", "batch_size"} <= set(rows[0])
    picture = saved("PNG")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert film.suffix == ".webm"
    assert len(film.read_bytes()) > 5_000


def test_the_landscape_turns_into_a_surface_whose_camera_stays(notebook: Notebook, lab: Any) -> None:
    page, camera = notebook.page, f"Object.values({GRAPH.format(0)}._fullLayout.scene._scene.getCamera().eye)"
    if not page.evaluate("() => Boolean(document.createElement('canvas').getContext('webgl'))"):
        pytest.skip("this browser has no WebGL")
    lab.get_by_label("landscape in 3-D").check()
    wait(notebook, f"{GRAPH.format(0)}._fullLayout.scene?._scene")
    notebook.until(AT_REST)
    x, y = middle(lab.locator("canvas").first)
    drag(page, (x, y), (x + 60, y + 20))
    turned = page.evaluate(camera)
    press(lab, "Play")
    steps = notebook.kernel("lab.session.run.steps")
    notebook.until(f"lab.session.run.steps > {steps + 200}")
    press(lab, "Pause")
    notebook.until(AT_REST)
    notebook.screenshot("surface")
    assert page.evaluate(camera) == pytest.approx(turned)
    lab.get_by_label("landscape in 3-D").uncheck()
    wait(notebook, f"!{GRAPH.format(0)}._fullLayout.scene")
    assert len(curve(notebook, "√(L − min L)", "x")) == 41


def test_without_webgl_the_landscape_stays_flat(notebook: Notebook) -> None:
    notebook.page.add_init_script(NO_WEBGL)
    notebook.reload()
    notebook.run_all()
    lab = lab_in(notebook)
    lab.get_by_label("landscape in 3-D").click()
    lab.get_by_role("alert").filter(has_text="the landscape stays flat").wait_for()
    assert not lab.get_by_label("landscape in 3-D").is_checked()
    assert notebook.kernel("lab.values['surface']") is False
    notebook.kernel("lab.set(surface=True)")
    lab.get_by_role("alert").filter(has_text="hardware acceleration").wait_for()
