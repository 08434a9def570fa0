"""The lab in the first notebook, and a lab whose landscape takes long, used as a learner uses them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Notebook
from .panels import AT_REST, SINE, curve, lab_in, open_more, press, typed, without_errors


def test_the_first_notebook_shows_the_alignment(open_notebook: Callable[..., Notebook]) -> None:
    """With SAMVIZ_SCREENSHOTS=DIR this writes a picture of the lab, DIR/lab.png."""
    notebook = open_notebook("00_start_here.ipynb")
    notebook.page.set_viewport_size({"width": 1440, "height": 1300})
    notebook.run_all(240)
    lab = lab_in(notebook)
    assert curve(notebook, "cos with v₁", number=1)[-1] < 1e-3
    press(lab, "Play")
    notebook.until("lab.session.run.steps >= 150")  # gradient descent at its minimum
    lab.get_by_label("preset").select_option("SAM, small ρ (the theorem)")
    notebook.until("lab.session.run.settings.rho > 0 and lab.session.run.steps >= 900", seconds=120)
    press(lab, "Pause")
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    notebook.until(AT_REST)
    notebook.screenshot("lab", ".samviz-lab")
    assert notebook.kernel("float(lab.session.run.history['cos_v1'][-1])") > 0.9
    assert notebook.errors == []


RECORD = """() => { // count plotly's drawings, and keep the positions of all elements before and after the last one
  const graph = document.querySelector('.samviz-graph');
  const positions = () => [...graph.querySelectorAll('.scatterlayer .trace')].map((trace) => {
    const numbers = (point) => point.getAttribute('transform').match(/-?[\\d.]+/g);
    const points = [...trace.querySelectorAll('.point')].flatMap(numbers);
    const corner = graph.getBoundingClientRect();
    const edges = ({ left, top, right }) => [left - corner.x, top - corner.y, right - left];
    const texts = [...trace.querySelectorAll('text')].flatMap((text) => edges(text.getBoundingClientRect()));
    const { x, y, width, height } = trace.querySelector('.lines').getBBox();
    return [...points, ...texts, x, y, width, height].map(Number);
  });
  const state = () => { // the last step, and the range of each axis
    const axes = Object.keys(graph.layout).filter((key) => key.includes('axis'));
    const ranges = axes.map((key) => graph.layout[key].range);
    return JSON.stringify([graph.data.find(({ name }) => name === 'loss').x.at(-1), ranges]);
  };
  let before = [], shown;
  window.plots = 0;
  const look = () => { [shown, before] = [state(), positions()]; requestAnimationFrame(look); };
  look();
  const plotted = () => {
    window.plots += 1;
    if (shown === state()) window.pair = [before, positions()]; // plotly has drawn the same data once more
  };
  ['plotly_animated', 'plotly_afterplot'].forEach((event) => graph.on(event, plotted));
}"""


def test_a_moving_figure_is_drawn_where_plotly_would_draw_it(open_notebook: Callable[..., Notebook]) -> None:
    """While a lab plays many frames are drawn without plotly, which draws the same picture after the last one."""
    notebook = open_notebook("moves.ipynb", SINE)
    notebook.run_all()
    lab, page = lab_in(notebook), notebook.page
    lab.get_by_label("preset").select_option("SAM, small ρ (the theorem)")
    press(lab, "Play")
    notebook.until("lab.session.run.steps > 300")
    page.evaluate(RECORD)
    before = notebook.kernel("lab.view._ack")
    notebook.until(f"lab.view._ack >= {before + 100}")  # without moves, plotly would draw each of them
    assert page.evaluate("window.plots") <= 75
    for number in range(20):  # until the last frame before plotly's was drawn without it
        typed(notebook, "ρ radius", str(0.006 + 0.001 * number))  # adds a label, or changes one
        page.wait_for_timeout(1000)
        press(lab, "Pause")
        notebook.until(AT_REST)
        page.wait_for_timeout(1000)
        if page.evaluate("window.pair"):
            break
        press(lab, "Play")
    for ours, plotlys in zip(*page.evaluate("window.pair"), strict=True):
        assert ours == pytest.approx(plotlys, abs=1)


def test_the_progress_of_a_slow_landscape_is_shown(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook("digits.ipynb", [SINE[0], "lab = Lab(mlp([64, 32, 10], data='digits'), rho=0.05)\nlab"])
    notebook.run_all()
    lab = lab_in(notebook)
    open_more(lab)
    press(lab, "Re-centre")
    lab.get_by_role("progressbar", name="slicing the landscape").wait_for()
    lab.get_by_role("progressbar").wait_for(state="hidden")
    press(lab, "Play")
    notebook.until("lab.session.run.steps >= 40")
    press(lab, "Pause")
    notebook.screenshot("digits")
    assert not notebook.errors


def test_a_second_run_and_a_quantity_are_chosen_behind_more(open_notebook: Callable[..., Notebook]) -> None:
    """The controls show the settings of the chosen run, and both runs continue."""
    notebook = open_notebook("two_runs.ipynb", SINE)
    notebook.run_all()
    with without_errors(notebook):
        lab = lab_in(notebook)
        open_more(lab)
        lab.get_by_label("A | B").select_option("B")
        notebook.until("lab.session.rival is not None")
        lab.get_by_label("rule", exact=True).select_option("usam")
        typed(notebook, "ρ radius", "0.02")
        lab.get_by_label("momentum β").fill("0,5")
        lab.get_by_label("momentum β").press("Enter")
        notebook.until("(lab.session.rival.settings.rho, lab.session.rival.settings.momentum) == (0.02, 0.5)")
        lab.get_by_label("A | B").select_option("A")
        notebook.page.wait_for_function("() => document.querySelector('[data-control=momentum] input').value === '0'")
        lab.get_by_label("lower right plot").select_option("drift")
        press(lab, "Play")
        notebook.until("min(run.steps for run in lab.session.runs) > 300")
        typed(notebook, "ρ radius", "0.03")
        notebook.until("bool('decrease' in lab.history.columns and lab.history['decrease'][-1] > 0)")
        press(lab, "Pause")
        notebook.until(AT_REST)
        assert notebook.kernel("[run.settings.rho for run in lab.session.runs]") == [0.03, 0.02]
        for width in (1280, 900):
            notebook.page.set_viewport_size({"width": width, "height": 900})
            notebook.screenshot(f"two_runs_{width}")
