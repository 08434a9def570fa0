"""The lab from end to end: the shipped notebooks in a real JupyterLab, steered as a learner steers them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .panels import GRAPH, arrows, curve, lab_in, typed, wait

SINE = [
    "from samviz.lab import Lab\nfrom samviz.problems import mlp",
    "lab = Lab(mlp([1, 24, 24, 1], activation='tanh', data='sine', loss='mse'))\nlab",
]


def marks(notebook: Any, number: int = 0) -> list[str]:
    """The texts of the marks on the step axis."""
    script = f"() => {GRAPH.format(number)}.data.find(trace => trace.name === 'changes').text"
    return [text.strip() for text in notebook.page.evaluate(script)]


def test_a_newcomer_steers_a_running_sam(open_notebook: Any) -> None:
    notebook = open_notebook("00_start_here.ipynb")
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
    notebook.page.wait_for_timeout(4000)
    notebook.screenshot("aligned")

    lab.get_by_role("button", name="Pause", exact=True).click()
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    notebook.page.wait_for_timeout(500)
    steps = notebook.kernel("lab.session.run.steps")
    notebook.page.wait_for_timeout(300)
    assert notebook.kernel("lab.session.run.steps") == steps
    assert f"step {steps:,} · paused" in lab.locator(".samviz-status").inner_text()

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


def test_the_gap_closes_and_is_explained(open_notebook: Any) -> None:
    notebook = open_notebook("gap.ipynb", SINE)
    notebook.run_all()
    lab = lab_in(notebook)
    lab.get_by_label("preset").select_option("SAM, large ρ (its edge)")
    lab.get_by_role("button", name="Play", exact=True).click()
    notebook.until("bool(lab.history['closing'][-1])", seconds=90)
    wait(notebook, f"{GRAPH.format(0)}.layout.annotations.some(a => a.text.startsWith('λ₁ meets λ₂'))", 60)
    notebook.page.wait_for_timeout(6000)
    notebook.screenshot("gap_closed", ".samviz-lab")
    lab.get_by_role("button", name="Pause", exact=True).click()
    assert curve(notebook, "cos with the top eigenspace")[-1] > 0.99
    assert notebook.kernel("lab.view.alert") == ""
    assert not notebook.errors


def test_one_sample_at_a_time_lowers_the_trace(open_notebook: Any) -> None:
    notebook = open_notebook("one.ipynb", SINE)
    notebook.run_all()
    lab = lab_in(notebook)
    lab.get_by_label("preset").select_option("1-SAM")
    lab.get_by_label("steps per frame").select_option("200")
    lab.get_by_role("button", name="Play", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value > 4000, seconds=90)
    lab.get_by_role("button", name="Pause", exact=True).click()
    trace = [value for value in curve(notebook, "trace") if value is not None]
    assert trace[-1] < trace[0] / 2
    notebook.screenshot("one_sample")
    assert not notebook.errors


def test_divergence_is_an_event_and_reset_works(open_notebook: Any) -> None:
    notebook = open_notebook("diverged.ipynb", SINE)
    notebook.run_all()
    lab = lab_in(notebook)
    lab.get_by_role("button", name="Play", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value > 50)
    typed(notebook, "η learning rate", "5")
    alert = lab.get_by_role("alert")
    alert.filter(has_text="diverged at step").wait_for()
    assert "> 2" in alert.inner_text()
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    notebook.screenshot("diverged")
    typed(notebook, "η learning rate", "0.05")
    lab.get_by_role("button", name="Reset", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value == 0)
    lab.get_by_role("button", name="Play", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value > 50)
    assert alert.inner_text() == ""
    assert not notebook.errors


def test_two_labs_run_at_once_and_run_all_goes_on(open_notebook: Any) -> None:
    second = "other = Lab(mlp([2, 24, 24, 1], data='spirals'), rho=0.01)\nother"
    notebook = open_notebook("two.ipynb", [*SINE, second, "done = 1 + 1\ndone"])
    notebook.run_all()
    assert notebook.kernel("done") == 2
    for number, name in enumerate(("lab", "other")):
        lab_in(notebook, number).get_by_role("button", name="Play", exact=True).click()
        notebook.until(f"{name}.view.playing")
    before = notebook.kernel("(lab.session.run.steps, other.session.run.steps)")
    notebook.page.wait_for_timeout(2500)
    after = notebook.kernel("(lab.session.run.steps, other.session.run.steps)")
    assert all(b - a > 50 for a, b in zip(before, after, strict=True))
    lab_in(notebook, 1).get_by_label("plane").select_option("pca")
    notebook.until("other.session.scene.landscape.plane.kind", lambda kind: kind == "pca")
    notebook.screenshot("two_labs")
    for number in (0, 1):
        lab_in(notebook, number).get_by_role("button", name="Pause", exact=True).click()
    assert not notebook.errors


def test_images_and_the_progress_of_their_landscape(open_notebook: Any) -> None:
    cell = "lab = Lab(mlp([64, 32, 10], data='digits'), rho=0.05)\nlab"
    notebook = open_notebook("digits.ipynb", [SINE[0], cell])
    notebook.run_all()
    lab = lab_in(notebook)
    lab.get_by_role("button", name="Re-centre").click()
    lab.get_by_role("progressbar", name="slicing the landscape").wait_for()
    lab.get_by_role("progressbar").wait_for(state="hidden")
    lab.get_by_role("button", name="Play", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value >= 40, seconds=60)
    lab.get_by_role("button", name="Pause", exact=True).click()
    notebook.screenshot("digits")
    assert not notebook.errors


def test_responsiveness_is_measured(open_notebook: Any, record_property: pytest.RecordProperty) -> None:
    """Prints frames per second, slider to changed picture and pause, in ms; bounds only against a collapse."""
    notebook = open_notebook("speed.ipynb", SINE)
    notebook.run_all()
    lab, page = lab_in(notebook), notebook.page
    lab.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_timeout(3000)
    clock = "(lab.view._ack, lab.session.run.steps, __import__('time').monotonic())"
    f0, s0, t0 = notebook.kernel(clock)
    page.wait_for_timeout(6000)
    f1, s1, t1 = notebook.kernel(clock)
    page.evaluate(
        """() => {
          window.slider = document.querySelector('input[type=range]');
          window.change = (notch) => new Promise((done) => {
            const graph = document.querySelector('.samviz-graph'), began = performance.now();
            const words = () => [...graph.querySelectorAll('.textpoint')].map((t) => t.textContent);
            const told = () => words().filter((t) => t.includes('→')).join();
            const before = told();
            slider.value = notch;
            slider.dispatchEvent(new Event('input', { bubbles: true }));
            const look = () => told() !== before || performance.now() - began > 5000
              ? done(performance.now() - began) : requestAnimationFrame(look);
            look();
          });
          window.pause = () => new Promise((done) => {
            const button = document.querySelector('.samviz-play'), began = performance.now();
            const before = button.textContent;
            button.click();
            const look = () => button.textContent !== before || performance.now() - began > 5000
              ? done(performance.now() - began) : requestAnimationFrame(look);
            look();
          });
        }"""
    )
    slides, pauses = [], []
    for notch in range(1, 41):
        slides.append(page.evaluate("(notch) => change(notch)", notch))
        page.wait_for_timeout(120)
    for _ in range(10):
        pauses.append(page.evaluate("() => pause()"))
        page.wait_for_timeout(300)
        page.evaluate("() => pause()")
        page.wait_for_timeout(500)
    figures = {
        "frames/s": (f1 - f0) / (t1 - t0),
        "steps/s": (s1 - s0) / (t1 - t0),
        "slider to picture, median ms": np.median(slides),
        "slider to picture, p95 ms": np.percentile(slides, 95),
        "pause, median ms": np.median(pauses),
        "pause, p95 ms": np.percentile(pauses, 95),
        "kernel RSS, MB": notebook.kernel("__import__('psutil').Process().memory_info().rss / 1e6"),
    }
    for name, value in figures.items():
        record_property(name, f"{value:.0f}")
        print(f"{name}: {value:.0f}")
    assert figures["frames/s"] > 2
    assert figures["slider to picture, p95 ms"] < 2000
    assert figures["pause, p95 ms"] < 2000
    assert not notebook.errors


def test_an_interrupt_a_reload_and_a_restart_leave_it_usable(open_notebook: Any) -> None:
    notebook = open_notebook("life.ipynb", SINE)
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
        assert notebook.kernel("lab.view.alert") == "Interrupted; press Play to go on."
        lab.get_by_role("button", name="Play", exact=True).click()
    steps = notebook.kernel("lab.session.run.steps")
    notebook.until("lab.session.run.steps", lambda value: value > steps)
    lab.get_by_role("button", name="Pause", exact=True).click()
    notebook.until("lab.view.playing", lambda value: value is False)
    threads = notebook.kernel("[t.name for t in __import__('threading').enumerate() if 'samviz' in t.name.lower()]")
    assert threads == []
    notebook.page.evaluate("() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart() }")
    notebook.page.wait_for_timeout(1500)
    notebook.run_all()
    lab_in(notebook).get_by_role("button", name="Play", exact=True).click()
    notebook.until("lab.session.run.steps", lambda value: value > 100)
    assert not notebook.errors
