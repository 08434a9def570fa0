"""The lab from end to end: the shipped notebooks in a real JupyterLab, steered as a learner steers them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Notebook
from .panels import GRAPH, SINE, arrows, curve, lab_in, typed, wait

CELLS = [
    *SINE,
    "other = Lab(mlp([2, 24, 24, 1], data='spirals'), rho=0.01)\nother",
    "digits = Lab(mlp([64, 32, 10], data='digits'), rho=0.05)\ndigits",
    "done = 1 + 1\ndone",
]


@pytest.fixture(scope="module")
def start(keep_notebook: Callable[..., Notebook]) -> Notebook:
    """The first of the shipped notebooks, which each test runs anew."""
    notebook = keep_notebook("00_start_here.ipynb")
    notebook.page.set_viewport_size({"width": 1440, "height": 1300})
    return notebook


@pytest.fixture(scope="module")
def labs(keep_notebook: Callable[..., Notebook]) -> Notebook:
    """Three labs on one page."""
    notebook = keep_notebook("labs.ipynb", CELLS)
    notebook.run_all()
    return notebook


def press(lab: Any, name: str) -> None:
    lab.get_by_role("button", name=name, exact=True).click()


def reset(notebook: Notebook) -> None:
    """Press Reset in the page's first lab."""
    press(lab_in(notebook), "Reset")
    notebook.until("lab.session.run.steps == 0 and lab.scheduler.idle")


def marks(notebook: Any, number: int = 0) -> list[str]:
    """The texts of the marks on the step axis."""
    script = f"() => {GRAPH.format(number)}.data.find(trace => trace.name === 'changes').text"
    return [text.strip() for text in notebook.page.evaluate(script)]


def test_a_newcomer_steers_a_running_sam(start: Notebook) -> None:
    notebook = start
    notebook.run_all()
    lab = lab_in(notebook)
    assert curve(notebook, "cos with v₁")[-1] < 1e-3
    assert lab.locator(".samviz-status").inner_text().startswith("step 0 · paused · CPU float64")
    notebook.screenshot("start")

    lab.get_by_role("button", name="Play", exact=True).click()
    wait(notebook, f"{GRAPH.format(0)}.data.find(t => t.name === 'loss').y.length > 3")
    run = notebook.kernel("id(lab.session.run)")

    rho = lab.get_by_role("slider", name="ρ radius")
    rho.focus()
    arrows(notebook, 12)
    assert notebook.until("lab.session.run.settings.rho", lambda value: value > 0) > 0
    wait(notebook, f"{GRAPH.format(0)}.data.find(t => t.name === 'changes').text.length === 1")
    assert marks(notebook)[0].startswith("ρ 0 → 0.00")
    typed(notebook, "ρ radius", "0.0123")
    assert notebook.until("lab.session.run.settings.rho", lambda value: value == 0.0123) == 0.0123
    wait(notebook, f"{GRAPH.format(0)}.data.find(t => t.name === 'cos with v₁').y.at(-1) > 0.99")
    assert notebook.kernel("id(lab.session.run)") == run  # steered, not restarted
    notebook.screenshot("aligned")

    lab.get_by_role("button", name="Pause", exact=True).click()
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    notebook.until("lab.scheduler.idle and lab.view._seq == lab.view._ack")
    steps = notebook.kernel("lab.session.run.steps")
    notebook.page.wait_for_timeout(300)
    assert notebook.kernel("lab.session.run.steps") == steps
    lab.locator(".samviz-status").filter(has_text=f"step {steps:,} · paused").wait_for()

    lab.get_by_role("button", name="Step", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value == steps + 1)

    lab.get_by_label("rule").select_option("gd")
    notebook.until("lab.session.run.settings.rule", lambda value: value == "gd")
    lab.locator(".samviz-status").filter(has_text="choose the rule SAM").wait_for()

    lab.get_by_label("ghost of the last run").check()
    lab.get_by_role("button", name="Reset", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value == 0)
    wait(notebook, f"{GRAPH.format(0)}.data.find(t => t.name === 'last run: loss').y.length > 3")
    notebook.screenshot("ghost")
    assert not notebook.errors


def test_the_lab_as_the_readme_shows_it(start: Notebook) -> None:
    """With SAMVIZ_SCREENSHOTS=notebooks this writes the README's picture, lab.png."""
    notebook = start
    notebook.run_all(240)
    lab = lab_in(notebook)
    press(lab, "Play")
    notebook.until("lab.session.run.steps", lambda steps: steps >= 150, 60)  # gradient descent at its minimum
    lab.get_by_label("preset").select_option("SAM, small ρ (the theorem)")
    notebook.until("lab.session.run.settings.rho", lambda rho: rho > 0, 60)
    notebook.until("lab.session.run.steps", lambda steps: steps >= 900, 120)
    press(lab, "Pause")
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    notebook.until("lab.scheduler.idle and lab.view._seq == lab.view._ack")
    notebook.screenshot("lab", ".samviz-lab")
    assert notebook.kernel("float(lab.session.run.history['cos_v1'][-1])") > 0.9
    assert notebook.errors == []


def test_two_labs_run_at_once_and_run_all_goes_on(labs: Notebook) -> None:
    notebook = labs
    assert notebook.kernel("done") == 2
    for number, name in enumerate(("lab", "other")):
        press(lab_in(notebook, number), "Play")
        notebook.until(f"{name}.view.playing")
    steps = "(lab.session.run.steps, other.session.run.steps)"
    before = notebook.kernel(steps)
    notebook.until(steps, lambda after: all(b - a > 50 for a, b in zip(before, after, strict=True)))
    lab_in(notebook, 1).get_by_label("plane").select_option("pca")
    notebook.until("other.session.landscape.plane.kind", lambda kind: kind == "pca")
    notebook.screenshot("two_labs")
    for number in (0, 1):
        press(lab_in(notebook, number), "Pause")
    notebook.until("not lab.view.playing and not other.view.playing")
    assert not notebook.errors


def test_the_gap_closes_and_is_explained(labs: Notebook) -> None:
    notebook = labs
    reset(notebook)
    lab = lab_in(notebook)
    lab.get_by_label("preset").select_option("SAM, large ρ (its edge)")
    press(lab, "Play")
    notebook.until("bool(lab.history['closing'][-1])", seconds=90)
    wait(notebook, f"{GRAPH.format(0)}.layout.annotations.some(a => a.text.startsWith('λ₁ meets λ₂'))", 60)
    notebook.screenshot("gap_closed", ".samviz-lab")
    press(lab, "Pause")
    assert curve(notebook, "cos with the top eigenspace")[-1] > 0.99
    assert notebook.kernel("lab.view.alert") == ""
    assert not notebook.errors


def test_one_sample_at_a_time_lowers_the_trace(labs: Notebook) -> None:
    notebook = labs
    reset(notebook)
    lab = lab_in(notebook)
    lab.get_by_label("preset").select_option("1-SAM")
    lab.get_by_label("steps per frame").select_option("200")
    press(lab, "Play")
    notebook.until("lab.session.run.steps", lambda value: value > 4000, seconds=90)
    press(lab, "Pause")
    notebook.until("lab.scheduler.idle and lab.view._seq == lab.view._ack")
    trace = [value for value in curve(notebook, "trace") if value is not None]
    assert trace[-1] < trace[0] / 2
    notebook.screenshot("one_sample")
    assert not notebook.errors


def test_images_and_the_progress_of_their_landscape(labs: Notebook) -> None:
    notebook = labs
    lab = lab_in(notebook, 2)
    press(lab, "Re-centre")
    lab.get_by_role("progressbar", name="slicing the landscape").wait_for()
    lab.get_by_role("progressbar").wait_for(state="hidden")
    press(lab, "Play")
    notebook.until("digits.session.run.steps", lambda value: value >= 40, seconds=60)
    press(lab, "Pause")
    notebook.screenshot("digits")
    assert not notebook.errors


def test_an_interrupt_a_reload_and_a_restart_leave_it_usable(labs: Notebook) -> None:
    """Takes long because JupyterLab loads the page again, and the kernel starts again."""
    notebook = labs
    notebook.run_all()
    lab_in(notebook).get_by_role("button", name="Play", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value > 100)
    notebook.reload()
    lab = lab_in(notebook)
    lab.get_by_role("button", name="Pause", exact=True).wait_for()  # it went on meanwhile
    kernel = next(s for s in notebook.server.rest("sessions") if s["path"] == notebook.name)["kernel"]["id"]
    notebook.server.rest(f"kernels/{kernel}/interrupt", "POST")
    notebook.page.wait_for_timeout(500)
    if not notebook.kernel("lab.view.playing"):
        assert notebook.kernel("lab.view.alert") == "Interrupted; press Play to continue."
        lab.get_by_role("button", name="Play", exact=True).click()
    steps = notebook.kernel("lab.session.run.steps")
    notebook.until("lab.session.run.steps", lambda value: value > steps)
    lab.get_by_role("button", name="Pause", exact=True).click()
    notebook.until("lab.view.playing", lambda value: value is False)
    threads = notebook.kernel("[t.name for t in __import__('threading').enumerate() if 'samviz' in t.name.lower()]")
    assert threads == []
    restart = "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart() }"
    notebook.page.evaluate(restart)
    notebook.run_all()
    lab_in(notebook).get_by_role("button", name="Play", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value > 100)
    assert not notebook.errors
