"""The lab in the shipped notebook and three labs on one page, used as a learner uses them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Notebook
from .panels import GRAPH, SINE, curve, lab_in, press, wait

CELLS = [
    *SINE,
    "other = Lab(mlp([2, 24, 24, 1], data='spirals'), rho=0.01)\nother",
    "digits = Lab(mlp([64, 32, 10], data='digits'), rho=0.05)\ndigits",
    "done = 1 + 1\ndone",
]
AT_REST = "lab.scheduler.idle and lab.view._seq == lab.view._ack"


@pytest.fixture(scope="module")
def labs(keep_notebook: Callable[..., Notebook]) -> Notebook:
    """Three labs on one page."""
    notebook = keep_notebook("labs.ipynb", CELLS)
    notebook.run_all()
    return notebook


def test_the_first_notebook_shows_the_alignment(open_notebook: Callable[..., Notebook]) -> None:
    """With SAMVIZ_SCREENSHOTS=DIR this writes a picture of the lab, DIR/lab.png."""
    notebook = open_notebook("00_start_here.ipynb")
    notebook.page.set_viewport_size({"width": 1440, "height": 1300})
    notebook.run_all(240)
    lab = lab_in(notebook)
    assert curve(notebook, "cos with v₁")[-1] < 1e-3
    press(lab, "Play")
    notebook.until("lab.session.run.steps >= 150", seconds=60)  # gradient descent at its minimum
    lab.get_by_label("preset").select_option("SAM, small ρ (the theorem)")
    notebook.until("lab.session.run.settings.rho > 0 and lab.session.run.steps >= 900", seconds=120)
    press(lab, "Pause")
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    notebook.until(AT_REST)
    notebook.screenshot("lab", ".samviz-lab")
    assert notebook.kernel("float(lab.session.run.history['cos_v1'][-1])") > 0.9
    assert notebook.errors == []


def test_two_labs_run_at_once_after_run_all_has_ended(labs: Notebook) -> None:
    notebook = labs
    assert notebook.kernel("done") == 2
    for number in (0, 1):
        press(lab_in(notebook, number), "Play")
    notebook.until("lab.view.playing and other.view.playing")
    steps = "(lab.session.run.steps, other.session.run.steps)"
    before = notebook.kernel(steps)
    notebook.until(steps, lambda after: all(b - a > 50 for a, b in zip(before, after, strict=True)))
    lab_in(notebook, 1).get_by_label("plane").select_option("pca")
    notebook.until("other.session.landscape.plane.kind == 'pca'")
    notebook.screenshot("two_labs")
    for number in (0, 1):
        press(lab_in(notebook, number), "Pause")
    notebook.until("not lab.view.playing and not other.view.playing")
    assert not notebook.errors


@pytest.mark.parametrize("preset", ["SAM, large ρ (its edge)", "1-SAM"])
def test_a_preset_shows_what_it_is_for(labs: Notebook, preset: str) -> None:
    """At the edge the gap between λ₁ and λ₂ closes and is marked; with one sample a step the trace falls."""
    notebook, lab = labs, lab_in(labs)
    press(lab, "Reset")
    notebook.until("lab.session.run.steps == 0 and lab.scheduler.idle")
    lab.get_by_label("preset").select_option(preset)
    lab.get_by_label("steps per frame").select_option("50" if "edge" in preset else "200")
    press(lab, "Play")
    if "edge" in preset:
        notebook.until("bool(lab.history['closing'][-1])", seconds=90)
        wait(notebook, f"{GRAPH.format(0)}.layout.annotations.some(a => a.text.startsWith('λ₁ meets λ₂'))", 60)
    else:
        notebook.until("lab.session.run.steps > 4000", seconds=90)
    press(lab, "Pause")
    notebook.until(AT_REST)
    notebook.screenshot(f"preset_{preset[-4:]}", ".samviz-lab")
    if "edge" in preset:
        assert curve(notebook, "cos with the top eigenspace")[-1] > 0.99
    else:
        trace = [value for value in curve(notebook, "trace") if value is not None]
        assert trace[-1] < trace[0] / 2
    assert notebook.kernel("lab.view.alert") == ""
    assert not notebook.errors


def test_the_progress_of_a_slow_landscape_is_shown(labs: Notebook) -> None:
    notebook, lab = labs, lab_in(labs, 2)
    press(lab, "Re-centre")
    lab.get_by_role("progressbar", name="slicing the landscape").wait_for()
    lab.get_by_role("progressbar").wait_for(state="hidden")
    press(lab, "Play")
    notebook.until("digits.session.run.steps >= 40", seconds=60)
    press(lab, "Pause")
    notebook.screenshot("digits")
    assert not notebook.errors
