"""The lab's window by itself, in JupyterLab: what a learner does reaches the kernel, what the kernel shows is drawn."""

from __future__ import annotations

from typing import Any

import pytest

VIEW = """
import numpy as np
from samviz.lab.lab import LabWidget

grid = np.linspace(-1.0, 1.0, 21)
hills = np.add.outer(grid**2, 2 * grid**2)


def figure(n, title="loss"):
    step = np.arange(float(n))
    lines = [{"type": "scatter", "mode": "lines", "x": step, "y": np.where(step == 3, np.nan, step**2)}]
    lines += [{"type": "contour", "x": grid, "y": grid, "z": hills, "xaxis": "x2", "yaxis": "y2", "showscale": False}]
    lines += [{"type": "scatter", "x": grid[:n], "y": grid[:n] / 2, "xaxis": "x2", "yaxis": "y2"}]
    lines += [{"type": "scatter", "mode": "text", "x": [n], "y": [50], "text": [f"at step {n}"]}]
    axes = {"xaxis": {"domain": [0, 0.45], "range": [0, 20]}, "yaxis": {"range": [0, 100], "title": {"text": title}}}
    axes |= {"xaxis2": {"domain": [0.55, 1], "anchor": "y2", "range": [-1, 1]}}
    axes |= {"yaxis2": {"anchor": "x2", "range": [-1, 1]}}
    return {"data": lines, "layout": {"height": 320, "showlegend": False} | axes}


def make(**settings):
    view = LabWidget(
        rules=[["gd", "gradient descent"], ["sam", "SAM"]], presets=["first", "second"], samples=20,
        planes=[["hessian", "v1 and v2"], ["random", "random"]], rule="sam", plane="hessian", rho=0.02, **settings,
    )
    view.show(figure(5))
    return view


view, acts = make(), []
view.on_action(lambda name, value: acts.append((name, value)))
"""
DRAWN = "() => document.querySelectorAll('.samviz-graph .scatterlayer .trace').length >= 2"


def curve(page: Any) -> list[str]:
    """The paths of the first line, one for each piece between gaps."""
    lines = "() => [...document.querySelector('.samviz-graph .scatterlayer .trace').querySelectorAll('.js-line')]"
    return page.evaluate(f"{lines}.map(line => line.getAttribute('d'))")


@pytest.fixture(scope="module")
def kept(keep_notebook):
    return keep_notebook("kept.ipynb", [VIEW, "view"])


@pytest.fixture
def lab(kept):
    """The view in a notebook that is run anew for each test."""
    kept.run_all()
    kept.until("view.acknowledged")
    yield kept
    assert kept.errors == []


def test_what_is_typed_arrives_to_the_digit(lab):
    field = lab.page.get_by_label("ρ radius, typed")
    field.select_text()
    field.press_sequentially("0.0123")
    assert lab.kernel("view.rho") == 0.02  # not before it is meant
    field.press("Enter")
    assert lab.until("view.rho", lambda rho: rho != 0.02) == 0.0123
    assert lab.page.get_by_label("ρ radius", exact=True).get_attribute("aria-valuetext") == "0.0123"
    lab.page.get_by_label("η learning rate, typed").fill("2e-3")
    lab.page.get_by_label("seed").fill("42")
    lab.page.get_by_label("batch size, typed").fill("7")
    lab.page.keyboard.press("Tab")
    assert lab.until("(view.lr, view.seed, view.batch_size)", lambda it: it[2] == 7) == (0.002, 42, 7)
    assert lab.kernel("view.rho") == 0.0123  # the thumb stands on its nearest stop, the value does not


def test_buttons_lists_and_the_switch(lab):
    page = lab.page
    for name in ("Play", "Step", "Reset", "Re-centre"):
        page.get_by_role("button", name=name, exact=True).click()
    page.get_by_label("preset").select_option("second")
    wanted = [("play", None), ("step", None), ("reset", None), ("recenter", None), ("preset", "second")]
    assert lab.until("acts", lambda acts: len(acts) == 5) == wanted
    assert lab.kernel("view.set_trait('playing', True)") is None
    page.get_by_role("button", name="Pause").click()
    assert lab.until("acts", lambda acts: len(acts) == 6)[-1] == ("pause", None)
    page.get_by_label("rule").select_option("gradient descent")
    page.get_by_label("plane").select_option("random")
    page.get_by_label("steps per frame").select_option("100")
    page.get_by_label("ghost of the last run").check()
    got = lab.until("(view.rule, view.plane, view.steps_per_frame, view.compare)", lambda got: got[3])
    assert got == ("gd", "random", 100, True)
    assert page.get_by_label("preset").input_value() == ""  # the settings are no longer those of the preset


def test_frames_are_drawn_and_acknowledged(lab):
    lab.until("view.ready and view.acknowledged")
    before = curve(lab.page)
    graph = "document.querySelector('.samviz-graph')"
    lab.page.evaluate(f"() => {{ window.moves = 0; {graph}.on('plotly_animated', () => window.moves++) }}")
    assert lab.kernel("[view.show(figure(n)) for n in range(5, 21)][0]") is None  # a burst: the newest is what counts
    lab.until("view._seq == view._ack")
    assert curve(lab.page) != before
    assert len(curve(lab.page)) == 2  # the NaN is a gap
    assert lab.page.locator(".samviz-graph .textpoint").text_content() == "at step 20"
    assert lab.page.locator(".samviz-graph .contourlayer path").count() > 5  # what did not move is still there
    assert 1 <= lab.page.evaluate("window.moves") < 16  # neither axes nor landscape were drawn anew, nor every frame
    lab.kernel("view.show(figure(20, 'another title'))")
    lab.page.get_by_text("another title").wait_for()
    lab.screenshot("view", ".samviz-lab")


def test_a_zoom_outlives_frames(lab):
    box = lab.page.locator(".samviz-graph .nsewdrag").first.bounding_box()
    lab.page.mouse.move(box["x"] + 40, box["y"] + 40)
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + 140, box["y"] + 140, steps=5)
    lab.page.mouse.up()
    zoomed = "() => document.querySelector('.samviz-graph').layout.xaxis.range.map(Math.round).join()"
    lab.page.wait_for_function(f"() => ({zoomed})() !== '0,20'")
    before = lab.page.evaluate(zoomed)
    for frame in ("figure(9)", "figure(9, 'another title')"):
        lab.kernel(f"view.show({frame})")
        lab.until("view._seq == view._ack")
        assert lab.page.evaluate(zoomed) == before
    lab.page.locator(".samviz-graph .nsewdrag").first.dblclick()
    lab.page.wait_for_function(f"() => ({zoomed})() === '0,20'")


def test_a_reload_keeps_the_picture_and_the_settings(lab):
    lab.page.get_by_label("ρ radius, typed").fill("0.3")
    lab.page.keyboard.press("Tab")
    lab.kernel("view.show(figure(12)) or view.set_trait('status', 'step 12')")
    lab.until("view._seq == view._ack")
    before = curve(lab.page)
    lab.reload()
    lab.page.wait_for_function(DRAWN)
    assert curve(lab.page) == before
    assert lab.page.locator(".samviz-graph .contourlayer path").count() > 5
    assert lab.page.get_by_label("ρ radius, typed").input_value() == "0.3"
    assert lab.page.locator(".samviz-status").inner_text() == "step 12"
    lab.kernel("view.show(figure(15))")
    lab.until("view._seq == view._ack")
    assert curve(lab.page) != before


def test_two_views_and_two_labs_on_a_page(open_notebook):
    notebook = open_notebook("views.ipynb", [VIEW, "view", "view", "other = make(seed=1); other"])
    notebook.run_all()
    page = notebook.page
    page.wait_for_function("() => document.querySelectorAll('.samviz-graph .contourlayer').length === 3")
    page.get_by_label("ρ radius, typed").first.fill("0.5")
    page.keyboard.press("Enter")
    notebook.until("view.rho == 0.5")
    fields = page.get_by_label("ρ radius, typed")
    assert [fields.nth(i).input_value() for i in range(3)] == ["0.5", "0.5", "0.02"]
    assert notebook.kernel("other.rho") == 0.02
    assert page.evaluate("() => Object.keys(window.samvizPlotly).length") == 1  # plotly.js is parsed once
    notebook.until("view._seq == view._ack and other._seq == other._ack")
    ids = page.evaluate("() => [...document.querySelectorAll('.samviz-lab [id^=samviz-]')].map(node => node.id)")
    assert len(set(ids)) == len(ids)
    assert notebook.errors == []


def test_words_an_error_and_progress(lab):
    lab.kernel("view.set_trait('alert', '<b>η λ₁ = 2.3 > 2</b> at step 7') or view.set_trait('progress', 0.5)")
    lab.kernel("view.set_trait('progress_label', 'slicing') or view.set_trait('status', 'step 7')")
    assert lab.page.get_by_role("alert").get_by_text("<b>η λ₁").inner_text() == "<b>η λ₁ = 2.3 > 2</b> at step 7"
    assert float(lab.page.get_by_role("progressbar", name="slicing").get_attribute("value")) == 0.5
    lab.page.locator(".samviz-status", has_text="step 7").wait_for()
    lab.kernel("view.set_trait('progress', -1.0)")
    lab.page.get_by_role("progressbar", name="slicing").wait_for(state="hidden")


def test_every_control_has_a_name_and_nothing_uploads(lab):
    nameless = """() => [...document.querySelectorAll('.samviz-lab :is(button, input, select)')]
        .filter(node => !(node.labels?.length || node.ariaLabel || node.textContent.trim())
            || node.dataset.lmSuppressShortcuts !== 'true').map(node => node.outerHTML)"""
    assert lab.page.evaluate(nameless) == []
    lab.page.locator(".samviz-graph").hover()
    buttons = "() => [...document.querySelectorAll('.samviz-graph .modebar-btn')].map(node => node.dataset.title)"
    titles = [title.lower() for title in lab.page.evaluate(buttons)]
    assert titles == ["download plot as a png", "zoom", "pan", "reset axes"]


def test_a_lost_kernel_is_said(lab):
    lab.page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.restartKernel() }")
    lab.wait_idle()
    lab.page.get_by_role("button", name="Step").click()
    lab.page.get_by_text("The kernel of this lab is gone: run its cell again.").wait_for()
