"""Figure 1's panels in their notebook, in JupyterLab: the paths grow, the controls are heard, the sides turn flat."""

from __future__ import annotations

import pytest

GRAPH = "document.querySelectorAll('.samviz-graph')[{}]"


def curve(notebook, name, axis="x", number=0):
    find = f"(name) => Array.from({GRAPH.format(number)}.data.find(trace => trace.name === name).{axis})"
    return notebook.page.evaluate(find, name)


def settled(notebook, panel="panel", seconds=120):
    notebook.until(f"{panel}.view._seq == {panel}.view._ack and {panel}.player.work is None", seconds=seconds)
    notebook.page.wait_for_timeout(400)


def words(notebook, number=0):
    return notebook.page.locator(".samviz-sentence").nth(number).inner_text()


@pytest.fixture(scope="module")
def kept(keep_notebook):
    notebook = keep_notebook("03_two_wrongs_make_a_right.ipynb")
    notebook.run_all(240)
    notebook.page.wait_for_function(f"() => {GRAPH.format(0)}?.data?.length > 10")
    notebook.page.locator(".samviz-panel").first.scroll_into_view_if_needed()
    settled(notebook)
    return notebook


@pytest.fixture
def panel(kept):
    yield kept
    assert kept.errors == []
    assert all(text == "" for text in kept.page.get_by_role("alert").all_inner_texts())


def test_its_first_picture(panel):
    assert "SAM: λ₁ 20.5 → 16.0" in words(panel)
    panel.screenshot("ablation_first", ".samviz-panel")


def test_a_slider_starts_the_runs_anew_and_the_paths_grow(panel):
    panel.page.get_by_role("checkbox", name="exact L_Max").uncheck()
    settled(panel)
    ends = curve(panel, "SAM")[-1]
    panel.page.get_by_label("ρ radius, typed").fill("0.7")
    panel.page.keyboard.press("Enter")
    lengths = set()
    for _ in range(30):
        lengths.add(len(curve(panel, "SAM")))
        panel.page.wait_for_timeout(40)
    assert len(lengths) > 3  # seen on the way
    panel.page.locator(".samviz-sentence").first.filter(has_text=" of 2,040 steps").wait_for()
    settled(panel)
    assert words(panel).startswith("t = 2,0")
    assert curve(panel, "SAM")[-1] == pytest.approx(ends, abs=0.01)  # ρ sets the clock alone


def test_contours_and_methods(panel):
    panel.page.get_by_label("contours of").select_option("trace")
    panel.page.locator(".samviz-graph").first.get_by_text("over the contours of trace").wait_for()
    panel.page.get_by_role("checkbox", name="exact L_Asc").uncheck()
    panel.page.get_by_role("checkbox", name="exact L_Avg").check()
    settled(panel)
    assert "exact L_Avg: trace 26.7 → 21.3" in words(panel)
    assert "L_Asc" not in words(panel)
    panel.screenshot("ablation_trace", ".samviz-panel")


def test_the_start_is_dragged(panel):
    box = panel.page.get_by_role("button", name="point start").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    panel.page.mouse.move(x, y)
    panel.page.mouse.down()
    panel.page.mouse.move(x + 200, y - 100, steps=12)
    panel.page.mouse.up()
    start = panel.until("panel.values['start']", lambda at: at[0] > 0.6)
    settled(panel)
    assert curve(panel, "SAM")[0] == pytest.approx(start[0], abs=1e-6)
    assert curve(panel, "SAM")[-1] < 0.05
    panel.screenshot("ablation_dragged", ".samviz-panel")


def test_the_sides_follow_the_slider(panel):
    settled(panel, "sides")
    panel.page.locator(".samviz-panel").nth(1).scroll_into_view_if_needed()
    panel.page.wait_for_timeout(1500)
    panel.screenshot("sides_end", ".samviz-panel >> nth=1")
    assert curve(panel, "sam x3", "z", 1)[0] == pytest.approx(8.3, abs=0.05)
    panel.page.get_by_role("slider", name="share of the way", exact=True).focus()
    panel.page.keyboard.press("Home")
    panel.page.locator(".samviz-sentence").nth(1).filter(has_text="t = 0 steps").wait_for()
    settled(panel, "sides")
    assert curve(panel, "sam x3", "z", 1)[0] == pytest.approx(10.55, abs=0.01)
