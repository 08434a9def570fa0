"""A panel in JupyterLab: controls, dragged points, the transport of its graph, and a page with several widgets."""

from __future__ import annotations

from typing import Any

import pytest

from .pages import drag, expect, middle
from .panels import GRAPH, curve, enter, says, wait

PANEL = """
import time

import numpy as np

from samviz.lab import Button, Choice, Panel, Slider, Switch, decades

grid = np.linspace(-1.0, 1.0, 41)
hills = np.add.outer(grid**2, 2 * grid**2)


def draw(values):
    if values["rule"] == "none":
        raise ValueError("rule is 'none'; expected one that can be drawn")
    (x, y), rho = values["x"], values["rho"]
    data = [{"type": "scatter", "mode": "lines", "name": "curve", "x": grid, "y": rho * grid**2 + values["again"]}]
    data += [{"type": "scatter", "mode": "lines", "name": "flow", "x": [0, x], "y": [0, y], "visible": values["show"]}]
    data += [{"type": "scatter", "mode": "markers", "name": "x", "x": [x], "y": [y], "marker": {"size": 14}}]
    data += [{"type": "contour", "x": grid, "y": grid, "z": hills, "xaxis": "x2", "yaxis": "y2", "showscale": False}]
    axes = {"xaxis": {"range": [-1, 1]}, "yaxis": {"range": [-1, 1], "title": {"text": values["rule"]}}}
    axes |= {"xaxis2": {"domain": [0.8, 1], "anchor": "y2"}, "yaxis2": {"domain": [0, 0.2], "anchor": "x2"}}
    sentence = f"At ρ = {rho:g} the point ({x:g}, {y:g}) is {np.hypot(x, y):.3f} from the minimum."
    return {"data": data, "layout": {"height": 420, "showlegend": False} | axes}, sentence


controls = {
    "rho": Slider("ρ radius", 0.1, stops=[0, *decades(-2, 0)], high=5),
    "rule": Choice("rule", "sam", {"sam": "SAM", "gd": "gradient descent", "none": "nothing"}),
    "show": Switch("show flow", True),
    "again": Button("Draw again"),
}
panel = Panel(draw, controls, drag={"x": (0.6, 0.4)}, description="A point above a parabola")
"""
GRAPH_0 = GRAPH.format(0)
DRAWN = f"{GRAPH_0}?.data?.length === 4"
AT_REST = "panel.scheduler.idle and panel.view._seq == panel.view._ack"


def point(notebook: Any) -> tuple[float, float]:
    """Where the marker's handle is on the page."""
    return middle(notebook.page.get_by_role("button", name="point x"))


def arrives(notebook: Any, x: float, y: float) -> None:
    """Wait until the marker's handle is at a place on the page."""
    middle = "(({ x, y, width, height }) => [x + width / 2, y + height / 2])"
    box = "document.querySelector('.samviz-handle').getBoundingClientRect()"
    wait(notebook, f"{middle}({box}).every((at, i) => Math.abs(at - [{x}, {y}][i]) < 1.5)")
    notebook.until(AT_REST)


@pytest.fixture(scope="module")
def shared_notebook(keep_notebook):
    return keep_notebook("kept_panel.ipynb", [PANEL, "panel"])


@pytest.fixture
def panel(shared_notebook):
    """The panel in a notebook that is run again for each test."""
    shared_notebook.run_all()
    shared_notebook.until("panel.view.acknowledged")
    wait(shared_notebook, DRAWN)
    shared_notebook.page.locator(".samviz-panel").scroll_into_view_if_needed()
    yield shared_notebook
    assert shared_notebook.errors == []


def test_a_point_is_dragged_to_the_edge_at_most(panel):
    x, y = point(panel)
    panel.page.mouse.move(x + 12, y - 8)  # near it is enough, and it does not jump
    panel.page.mouse.down()
    panel.page.mouse.move(x + 12, y - 8)
    assert panel.kernel("panel.values['x']") == (0.6, 0.4)
    panel.page.mouse.move(x - 188, y + 92, steps=25)
    panel.page.mouse.up()
    arrives(panel, x - 200, y + 100)
    assert curve(panel, "x", "x") == pytest.approx([panel.kernel("panel.values['x'][0]")], abs=1e-6)
    drag(panel.page, (x - 200, y + 100), (x + 3000, y + 100), steps=5)
    edge = panel.until("panel.values['x']", lambda at: at[0] == 1.0)
    panel.page.mouse.move(x, y + 50)
    panel.page.wait_for_timeout(200)
    assert panel.kernel("panel.values['x']") == edge


def test_a_point_is_moved_with_keys_by_typing_and_by_a_finger(panel):
    handle = panel.page.get_by_role("button", name="point x")
    handle.focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "Shift+ArrowDown"):
        panel.page.keyboard.press(key)
    at = panel.until("panel.values['x']", lambda at: at[1] < 0.3)
    assert at == pytest.approx((0.56, 0.22), abs=0.006)
    expect(handle).to_be_focused()
    enter(panel.page.get_by_label("x₁"), "-0.123456")
    says(panel, "the point (−0.123456, ")
    panel.until(AT_REST)
    panel.screenshot("panel", ".samviz-panel")
    box = panel.page.locator(".samviz-graph .nsewdrag").first.bounding_box()
    x, y = point(panel)
    assert x == pytest.approx(box["x"] + box["width"] * (1 - 0.123456) / 2, abs=1)
    cdp = panel.page.context.new_cdp_session(panel.page)
    for kind, shift in (("touchStart", 0), *(("touchMove", -10 * k) for k in range(1, 11)), ("touchEnd", None)):
        places = [] if shift is None else [{"x": x + shift, "y": y}]
        cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
    arrives(panel, x - 100, y)


def test_a_zoom_moves_the_handle_and_remains_until_a_double_click(panel):
    ranges = f"{GRAPH_0}.layout.xaxis.range.map((end) => end.toFixed(3)).join()"
    x, _ = point(panel)
    area = panel.page.locator(".samviz-graph .nsewdrag").first
    box = area.bounding_box()
    left, top, width = box["x"], box["y"], box["width"]
    drag(panel.page, (left + width / 2, top + 20), (left + width - 60, top + 300))
    wait(panel, f"{GRAPH_0}.layout.xaxis.range[0] > -0.5")
    middle = "document.querySelector('.samviz-handle').getBoundingClientRect().x + 20"
    wait(panel, f"Math.abs({middle} - {x}) > 5")
    expected = panel.page.evaluate(f"() => {GRAPH_0}._fullLayout.xaxis.d2p(0.6)") + box["x"]
    assert point(panel)[0] == pytest.approx(expected, abs=1)
    zoomed = panel.page.evaluate(f"() => {ranges}")
    for change in ("rho=0.2", "rule='gd'"):  # the second changes a title, so that the layout is drawn again
        panel.kernel(f"panel.set({change})")
        panel.until(AT_REST)
        assert panel.page.evaluate(f"() => {ranges}") == zoomed
    area.dblclick()
    wait(panel, f"{ranges} === '-1.000,1.000'")


def test_of_a_burst_of_frames_the_newest_is_drawn_and_only_moves_lines(panel):
    panel.until(AT_REST)
    panel.page.evaluate(f"() => {{ window.moves = 0; {GRAPH_0}.on('plotly_animated', () => window.moves++) }}")
    figures = "[draw(panel.values | {'rho': n / 20})[0] for n in range(16)]"
    assert panel.kernel(f"[panel.view.show(figure) for figure in {figures}][0]") is None
    panel.until("panel.view._seq == panel.view._ack")
    assert curve(panel, "curve")[0] == pytest.approx(0.75)
    assert panel.page.locator(".samviz-graph .contourlayer path").count() > 5  # the landscape is still drawn
    wait(panel, "window.moves > 0")  # plotly draws last what was moved without it
    assert panel.page.evaluate("window.moves") < 16


def test_an_error_is_shown_as_text_and_the_picture_stays(panel):
    alert = panel.page.get_by_role("alert")
    before = curve(panel, "curve")
    panel.page.get_by_label("rule").select_option("nothing")
    alert.filter(has_text="rule is 'none'; expected one that can be drawn").wait_for()
    panel.screenshot("panel_alert", ".samviz-panel")
    assert curve(panel, "curve") == before
    panel.page.get_by_label("rule").select_option("SAM")
    alert.filter(has_text="rule is").wait_for(state="detached")
    panel.kernel("panel.view.set_trait('alert', '<b>2.3 > 2</b>')")
    alert.filter(has_text="<b>2.3 > 2</b>").wait_for()
    panel.page.get_by_role("slider", name="ρ radius", exact=True).press("End")
    says(panel, "At ρ = 1 ")


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
    lab = "from samviz.lab import Lab\nfrom samviz.problems import quadratic\nlab = Lab(quadratic([3.0, 1.0]))\nlab"
    second = "other = Panel(draw, controls, drag={'x': (-0.5, 0.5)}, description='another')\nother"
    notebook = keep_notebook("panels.ipynb", [PANEL, "panel", second, SLOW, lab, "panel"])
    notebook.run_all()
    return notebook


def test_long_work_shows_intermediate_pictures_and_starts_again(several):
    notebook, graph = several, GRAPH.format(2)
    says(notebook, " of 300 at 1", 2)
    slider = notebook.page.get_by_role("slider", name="a", exact=True)
    assert slider.input_value() == "3"
    slider.press("End")
    says(notebook, " of 300 at 2", 2)
    slider.press("Home")
    says(notebook, "300 of 300 at −2", 2)
    wait(notebook, f"{graph}.data[0].y.length === 300 && {graph}._fullLayout.yaxis.range[0] < -590")
    assert notebook.kernel("log[-1], max(n for a, n in log if a == 2) < 300") == ((-2.0, 300), True)


def test_panels_a_lab_and_a_second_view_share_a_page(several):
    notebook = several
    wait(notebook, "document.querySelectorAll('.samviz-graph .scatterlayer').length >= 5")
    fields = notebook.page.get_by_label("ρ radius, typed")
    for number, value in ((0, "0.5"), (1, "0.7")):
        enter(fields.nth(number), value)
    notebook.until("other.values['rho'] == 0.7 and panel.values['rho'] == 0.5")
    for number, value in enumerate(("0.5", "0.7", "0", "0.5")):  # the third is the lab's
        expect(fields.nth(number)).to_have_value(value)
    for number, rho in ((0, 0.5), (1, 0.7), (4, 0.5)):
        wait(notebook, f"Math.abs({GRAPH.format(number)}.data[0].y[0] - {rho}) < 1e-6")
    assert notebook.page.evaluate("() => Object.keys(window.samvizPlotly).length") == 1  # plotly.js is parsed once
    ids = notebook.page.evaluate("() => [...document.querySelectorAll('[id^=samviz-]')].map(node => node.id)")
    assert len(set(ids)) == len(ids)
    assert notebook.errors == []
