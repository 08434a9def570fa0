"""The panel from end to end, in JupyterLab: a control moves, and figure and sentence follow."""

from __future__ import annotations

from typing import Any

import pytest

from .panels import GRAPH, curve, says, wait

PANEL = """
import time

import numpy as np

from samviz.lab import Button, Choice, Panel, Slider, Switch, decades

grid = np.linspace(-1.0, 1.0, 41)


def draw(values):
    if values["rule"] == "none":
        raise ValueError("rule is 'none'; expected one that can be drawn")
    (x, y), rho = values["x"], values["rho"]
    data = [{"type": "scatter", "mode": "lines", "name": "curve", "x": grid, "y": rho * grid**2 + values["again"]}]
    data += [{"type": "scatter", "mode": "lines", "name": "flow", "x": [0, x], "y": [0, y], "visible": values["show"]}]
    data += [{"type": "scatter", "mode": "markers", "name": "x", "x": [x], "y": [y], "marker": {"size": 14}}]
    axes = {"xaxis": {"range": [-1, 1]}, "yaxis": {"range": [-1, 1], "title": {"text": values["rule"]}}}
    sentence = f"At ρ = {rho:g} the point ({x:g}, {y:g}) is {np.hypot(x, y):.3f} from the minimum."
    return {"data": data, "layout": {"height": 420, "showlegend": False} | axes}, sentence


controls = {
    "rho": Slider("ρ radius", 0.1, stops=[0, *decades(-2, 0)], high=5),
    "batch": Slider("batch size", 20, stops=range(1, 21), integer=True),
    "rule": Choice("rule", "sam", {"sam": "SAM", "gd": "gradient descent", "none": "nothing"}),
    "show": Switch("show flow", True),
    "again": Button("Draw again"),
}
panel = Panel(draw, controls, drag={"x": (0.6, 0.4)}, description="A point above a parabola")
"""
DRAWN = f"{GRAPH.format(0)}?.data?.length === 3"


def point(notebook: Any) -> tuple[float, float]:
    """Where the marker's handle is on the page."""
    box = notebook.page.get_by_role("button", name="point x").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture(scope="module")
def kept(keep_notebook):
    return keep_notebook("kept_panel.ipynb", [PANEL, "panel"])


@pytest.fixture
def panel(kept):
    """The panel in a notebook that is run anew for each test."""
    kept.run_all()
    kept.until("panel.view.acknowledged")
    wait(kept, DRAWN)
    kept.page.locator(".samviz-panel").scroll_into_view_if_needed()
    yield kept
    assert kept.errors == []


def test_a_slider_moves_the_figure_and_the_sentence(panel):
    slider = panel.page.get_by_role("slider", name="ρ radius", exact=True)
    slider.focus()
    panel.page.keyboard.press("ArrowRight")
    says(panel, "At ρ = 0.11 ")
    assert slider.get_attribute("aria-valuetext") == "0.11"
    assert panel.until("panel.values['rho']", lambda rho: rho != 0.1) == 0.11
    wait(panel, f"Math.abs({GRAPH.format(0)}.data[0].y[0] - 0.11) < 1e-6")
    panel.page.keyboard.press("Home")
    says(panel, "At ρ = 0 ")
    box = slider.bounding_box()
    panel.page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    says(panel, "At ρ = 1 ")
    panel.page.mouse.move(box["x"] + box["width"] - 9, box["y"] + box["height"] / 2)
    panel.page.mouse.down()
    panel.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=20)
    panel.page.mouse.up()
    rho = float(slider.get_attribute("aria-valuetext"))
    assert 0.01 < rho < 0.5
    assert panel.until("panel.values['rho']", lambda value: value == rho) == rho
    wait(panel, f"Math.abs({GRAPH.format(0)}.data[0].y[0] - {rho}) < 1e-6")
    says(panel, f"At ρ = {rho:g} ")
    panel.page.get_by_role("status").filter(has_text=f"At ρ = {rho:g} ").wait_for(state="attached")  # is spoken at rest


def test_what_is_typed_arrives_to_the_digit(panel):
    field = panel.page.get_by_label("ρ radius, typed")
    field.fill("1.23456789")  # beyond the last stop, within `high`
    field.press("Enter")
    assert panel.until("panel.values['rho']", lambda rho: rho != 0.1) == 1.23456789
    field.fill("6")
    assert "from 0 to 5" in field.get_attribute("title")
    panel.page.get_by_label("batch size, typed").fill("2.5")
    panel.page.keyboard.press("Enter")
    assert panel.kernel("panel.values['batch']") == 20
    panel.page.get_by_label("batch size, typed").fill("3")
    panel.page.keyboard.press("Enter")
    assert panel.until("panel.values['batch']", lambda batch: batch != 20) == 3


def test_a_choice_a_switch_and_a_button(panel):
    panel.page.get_by_label("rule").select_option("gradient descent")
    panel.page.locator(".samviz-graph .ytitle").filter(has_text="gd").wait_for()
    panel.page.get_by_label("show flow").uncheck()
    wait(panel, f"{GRAPH.format(0)}.data[1].visible === false")
    for _ in range(2):
        panel.page.get_by_role("button", name="Draw again").click()
    assert panel.until("panel.values", lambda values: values["again"] == 2)["show"] is False
    assert panel.kernel("panel.set(rule='sam', show=True, x=(0.1, 0.2))") is None
    wait(panel, "document.querySelector('.samviz-panel select').value === 'sam'")
    says(panel, "the point (0.1, 0.2)")
    assert panel.page.get_by_label("x₂").input_value() == "0.2"


def test_a_point_is_dragged(panel):
    x, y = point(panel)
    panel.page.mouse.move(x + 12, y - 8)  # near it is enough, and it does not jump
    panel.page.mouse.down()
    panel.page.mouse.move(x + 12, y - 8)
    assert panel.kernel("panel.values['x']") == (0.6, 0.4)
    panel.page.mouse.move(x - 188, y + 92, steps=25)
    moved = panel.until("panel.values['x']", lambda at: at != (0.6, 0.4))
    panel.page.mouse.up()
    wait(panel, f"Math.abs({GRAPH.format(0)}.data[2].x[0] - {GRAPH.format(0)}._fullLayout.xaxis.p2d(0)) > 0.1")
    panel.until("panel.view._seq == panel.view._ack and panel.scheduler.idle")
    at = panel.kernel("panel.values['x']")
    assert at[0] < moved[0] + 1e-9
    assert at[0] < 0.4
    assert at[1] < 0.2
    panel.page.wait_for_timeout(200)
    assert point(panel) == pytest.approx((x - 200, y + 100), abs=1.5)
    assert curve(panel, "x", "x") == pytest.approx([at[0]], abs=1e-6)
    panel.page.mouse.move(x - 200, y + 100)
    panel.page.mouse.down()
    panel.page.mouse.move(x + 3000, y + 100, steps=5)  # out of the graph: it stops at the edge
    panel.page.mouse.up()
    edge = panel.until("panel.values['x']", lambda at: at[0] == 1.0)
    panel.page.mouse.move(x, y + 50)
    panel.page.wait_for_timeout(200)
    assert panel.kernel("panel.values['x']") == edge


def test_a_point_is_moved_with_keys_and_by_typing(panel):
    handle = panel.page.get_by_role("button", name="point x")
    handle.focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "Shift+ArrowDown"):
        panel.page.keyboard.press(key)
    at = panel.until("panel.values['x']", lambda at: at[1] < 0.3)
    assert at == pytest.approx((0.56, 0.22), abs=0.006)
    assert panel.page.evaluate("() => document.activeElement.className") == "samviz-handle"
    panel.page.get_by_label("x₁").fill("-0.123456")
    panel.page.keyboard.press("Enter")
    assert panel.until("panel.values['x'][0]", lambda x: x < 0) == -0.123456
    says(panel, "the point (-0.123456, ")
    panel.until("panel.view._seq == panel.view._ack")
    panel.screenshot("panel", ".samviz-panel")
    box = panel.page.locator(".samviz-graph .nsewdrag").first.bounding_box()
    assert point(panel)[0] == pytest.approx(box["x"] + box["width"] * (1 - 0.123456) / 2, abs=1)


def test_a_zoom_takes_the_handle_along(panel):
    x, _ = point(panel)
    box = panel.page.locator(".samviz-graph .nsewdrag").first.bounding_box()
    panel.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    panel.page.mouse.down()
    panel.page.mouse.move(box["x"] + box["width"] - 60, box["y"] + box["height"] - 60, steps=5)
    panel.page.mouse.up()
    wait(panel, f"{GRAPH.format(0)}.layout.xaxis.range[0] > -0.5")
    middle = "document.querySelector('.samviz-handle').getBoundingClientRect().x + 20"
    wait(panel, f"Math.abs({middle} - {x}) > 5")
    expected = panel.page.evaluate(f"() => {GRAPH.format(0)}._fullLayout.xaxis.d2p(0.6)") + box["x"]
    assert point(panel)[0] == pytest.approx(expected, abs=1)


def test_an_error_is_said_and_the_picture_stays(panel):
    alert = panel.page.get_by_role("alert")
    before = curve(panel, "curve")
    panel.page.get_by_label("rule").select_option("nothing")
    alert.filter(has_text="rule is 'none'; expected one that can be drawn").wait_for()
    panel.screenshot("panel_alert", ".samviz-panel")
    assert curve(panel, "curve") == before
    panel.page.get_by_label("rule").select_option("SAM")
    alert.filter(has_text="rule is").wait_for(state="detached")
    panel.page.get_by_role("slider", name="ρ radius", exact=True).focus()
    panel.page.keyboard.press("End")
    says(panel, "At ρ = 1 ")


def test_a_reload_shows_it_again(panel):
    panel.page.get_by_label("ρ radius, typed").fill("0.321")
    panel.page.keyboard.press("Enter")
    says(panel, "At ρ = 0.321 ")
    panel.reload()
    wait(panel, DRAWN)
    says(panel, "At ρ = 0.321 ")
    assert curve(panel, "curve")[0] == pytest.approx(0.321)
    assert panel.page.get_by_label("ρ radius, typed").input_value() == "0.321"
    panel.page.get_by_role("slider", name="ρ radius", exact=True).focus()
    panel.page.keyboard.press("Home")
    says(panel, "At ρ = 0 ")


def test_every_control_has_a_name(panel):
    nameless = """() => [...document.querySelectorAll('.samviz-panel :is(button, input, select)')]
        .filter(node => !(node.labels?.length || node.ariaLabel || node.textContent.trim())
            || node.dataset.lmSuppressShortcuts !== 'true').map(node => node.outerHTML)"""
    assert panel.page.evaluate(nameless) == []
    ids = panel.page.evaluate("() => [...document.querySelectorAll('[id^=samviz-]')].map(node => node.id)")
    assert len(set(ids)) == len(ids)


def test_a_point_follows_a_finger(panel):
    x, y = point(panel)
    cdp = panel.page.context.new_cdp_session(panel.page)
    for kind, shift in (("touchStart", 0), *(("touchMove", -10 * k) for k in range(1, 11)), ("touchEnd", None)):
        places = [] if shift is None else [{"x": x + shift, "y": y}]
        cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
    assert panel.until("panel.values['x']", lambda at: at[0] < 0.6 and at[1] == 0.4)
    panel.until("panel.view._seq == panel.view._ack and panel.scheduler.idle")
    panel.page.wait_for_timeout(200)
    assert point(panel) == pytest.approx((x - 100, y), abs=1.5)


SLOW = """
log = []


def slowly(values):
    for n in range(1, 301):
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass
        log.append((values["a"], n))
        data = [{"type": "scatter", "y": np.arange(n) * values["a"]}]
        yield {"data": data, "layout": {}}, f"{n} of 300 at {values['a']:g}"


slow = Panel(slowly, {"a": Slider("a", 1, stops=[-2, -1, 0, 1, 2])}, description="a line that grows")
slow
"""


@pytest.fixture(scope="module")
def several(keep_notebook):
    """Three panels and a lab on one page; the work of the third panel takes 6 s."""
    lab = "from samviz.lab import Lab\nfrom samviz.problems import quadratic\nlab = Lab(quadratic([3.0, 1.0]))\nlab"
    second = "other = Panel(draw, controls, drag={'x': (-0.5, 0.5)}, description='another')\nother"
    notebook = keep_notebook("panels.ipynb", [PANEL, "panel", second, SLOW, lab, "done = 1"])
    notebook.run_all()
    return notebook


def test_long_work_shows_how_far_it_is_and_starts_again(several):
    notebook, graph = several, GRAPH.format(2)
    says(notebook, " of 300 at 1", 2)
    slider = notebook.page.get_by_role("slider", name="a", exact=True)
    assert slider.input_value() == "3"
    slider.press("End")
    says(notebook, " of 300 at 2", 2)
    slider.press("Home")
    says(notebook, " of 300 at -2", 2)
    says(notebook, "300 of 300 at -2", 2)
    wait(notebook, f"{graph}.data[0].y.length === 300 && {graph}._fullLayout.yaxis.range[0] < -590")
    assert notebook.kernel("log[-1], max(n for a, n in log if a == 2) < 300") == ((-2.0, 300), True)  # the old one died
    assert notebook.errors == []


def test_two_panels_and_a_lab_on_a_page(several):
    notebook = several
    wait(notebook, "document.querySelectorAll('.samviz-graph .scatterlayer').length >= 3")
    notebook.page.get_by_label("ρ radius, typed").nth(1).fill("0.7")
    notebook.page.keyboard.press("Enter")
    notebook.until("other.values['rho'] == 0.7")
    assert notebook.kernel("panel.values['rho']") == 0.1
    wait(notebook, f"Math.abs({GRAPH.format(1)}.data[0].y[0] - 0.7) < 1e-6")
    assert curve(notebook, "curve", number=0)[0] == pytest.approx(0.1)
    assert notebook.page.evaluate("() => Object.keys(window.samvizPlotly).length") == 1
    assert notebook.page.locator(".samviz-lab").count() == 1
    assert notebook.errors == []


DEEP = """
def surface(values):
    z = values["a"] * np.add.outer(grid**2, -grid**2)
    data = [{"type": "surface", "x": grid, "y": grid, "z": z, "showscale": False}]
    data += [{"type": "scatter3d", "mode": "lines", "x": grid, "y": grid, "z": 0 * grid, "name": "line"}]
    layout = {"height": 400, "scene": {"aspectmode": "cube"}}
    return {"data": data, "layout": layout}, f"A saddle of height {values['a']:g}."


deep = Panel(surface, {"a": Slider("a", 1.0, stops=[0, 0.5, 1, 1.5, 2])}, description="a saddle")
deep
"""


@pytest.fixture(scope="module")
def surface(keep_notebook):
    notebook = keep_notebook("deep.ipynb", [PANEL, DEEP, "panel"])
    notebook.run_all()
    return notebook


def test_a_surface_is_drawn(surface):
    notebook = surface
    if not notebook.page.evaluate("() => Boolean(document.createElement('canvas').getContext('webgl'))"):
        pytest.skip("this Chromium has no WebGL; the next test is about that")
    wait(notebook, f"{GRAPH.format(0)}?._fullLayout?.scene?._scene?.glplot")
    slider = notebook.page.get_by_role("slider", name="a", exact=True)
    slider.focus()
    notebook.page.keyboard.press("End")
    says(notebook, "A saddle of height 2.")
    notebook.until("deep.view._seq == deep.view._ack")
    wait(notebook, f"Math.max(...{GRAPH.format(0)}.data[0].z.flatMap(row => [...row])) === 2")
    notebook.screenshot("panel_surface", ".samviz-panel")
    graph = notebook.page.locator(".samviz-graph").first
    graph.hover()
    titles = graph.locator(".modebar-btn").evaluate_all("nodes => nodes.map(node => node.dataset.title)")
    assert titles[-1] == "Reset axes"
    assert notebook.page.get_by_role("alert").first.inner_text() == ""
    assert notebook.errors == []


def test_without_webgl_a_surface_is_missed_in_words(surface):
    notebook = surface
    hide = "HTMLCanvasElement.prototype.getContext = ((get) => function (kind, ...rest) {"
    notebook.page.add_init_script(
        hide + "return /webgl/.test(kind) ? null : get.call(this, kind, ...rest); })"
        "(HTMLCanvasElement.prototype.getContext);"
    )
    notebook.reload()
    notebook.run_all()
    notebook.page.get_by_role("alert").filter(has_text="WebGL").first.wait_for()
    notebook.screenshot("panel_without_webgl", ".samviz-panel")
    wait(notebook, f"{GRAPH.format(1)}?.data?.length === 3")  # the flat one is drawn
    assert notebook.errors == []
