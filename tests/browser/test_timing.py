"""How fast lab and panel answer, by the clock: these tests run alone, after all others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from .conftest import Notebook
from .panels import GRAPH, SINE, lab_in, press, wait
from .test_panel import PANEL, point

pytestmark = pytest.mark.alone
PLAIN = PANEL.replace("ρ radius", "radius")  # only the lab has a slider of that name
CLOCK = "__import__('time').monotonic()"
MEASURE = """() => {
  const once = (changed) => new Promise((done) => { // how many ms it takes until something has changed
    const began = performance.now();
    const look = () => changed() || performance.now() - began > 5000
      ? done(performance.now() - began) : requestAnimationFrame(look);
    look();
  });
  const slider = document.querySelector('input[type=range]'), button = document.querySelector('.samviz-play');
  const marks = () => [...document.querySelector('.samviz-graph').querySelectorAll('.textpoint')]
    .map((t) => t.textContent).filter((t) => t.includes('→')).join();
  window.change = (stop) => {
    const before = marks();
    slider.value = stop;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    return once(() => marks() !== before);
  };
  window.pause = () => {
    const before = button.textContent;
    button.click();
    return once(() => button.textContent !== before);
  };
}"""
FOLLOW = """() => {
  window.late = [];
  const graph = document.querySelectorAll('.samviz-graph')[1];
  document.addEventListener('pointermove', ({ clientX, timeStamp }) => {
    const wanted = clientX - graph.getBoundingClientRect().x - graph._fullLayout.xaxis._offset;
    const look = () => Math.abs(graph._fullLayout.xaxis.d2p(graph.data[2].x[0]) - wanted) < 1.5
      ? window.late.push(performance.now() - timeStamp)
      : performance.now() - timeStamp < 3000 && requestAnimationFrame(look);
    requestAnimationFrame(look);
  }, true);
}"""


@pytest.fixture(scope="module")
def notebook(keep_notebook: Callable[..., Notebook]) -> Notebook:
    """A lab and a panel."""
    notebook = keep_notebook("timing.ipynb", [*SINE, PLAIN, "panel"])
    notebook.run_all()
    wait(notebook, f"{GRAPH.format(1)}?.data?.length === 4")
    return notebook


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[dict[str, float]], None]:
    """Print numbers, and record them with the test's result."""

    def report(numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            record_property(name, f"{value:.0f}")
            print(f"{name}: {value:.0f}")

    return report


def test_responsiveness_is_measured(notebook: Notebook, report: Callable[[dict[str, float]], None]) -> None:
    """Print frames per second, slider to changed picture and pause, in ms; the bounds only detect a collapse.

    Takes 35 s because it measures over 6 s, 40 slider moves and 10 pauses.
    """
    page = notebook.page
    press(lab_in(notebook), "Play")
    page.wait_for_timeout(3000)
    clock = f"(lab.view._ack, lab.session.run.steps, {CLOCK})"
    f0, s0, t0 = notebook.kernel(clock)
    page.wait_for_timeout(6000)
    f1, s1, t1 = notebook.kernel(clock)
    page.evaluate(MEASURE)
    slides, pauses = [], []
    for stop in range(1, 41):
        slides.append(page.evaluate("(stop) => change(stop)", stop))
        page.wait_for_timeout(120)
    for _ in range(10):
        pauses.append(page.evaluate("() => pause()"))
        page.wait_for_timeout(300)
        page.evaluate("() => pause()")
        page.wait_for_timeout(500)
    numbers = {
        "frames/s": (f1 - f0) / (t1 - t0),
        "steps/s": (s1 - s0) / (t1 - t0),
        "slider to picture, median ms": np.median(slides),
        "slider to picture, p95 ms": np.percentile(slides, 95),
        "pause, median ms": np.median(pauses),
        "pause, p95 ms": np.percentile(pauses, 95),
        "kernel RSS, MB": notebook.kernel("__import__('psutil').Process().memory_info().rss / 1e6"),
    }
    report(numbers)
    assert numbers["frames/s"] > 2
    assert numbers["slider to picture, p95 ms"] < 2000
    assert numbers["pause, p95 ms"] < 2000
    assert not notebook.errors
    press(lab_in(notebook), "Pause")


def test_the_marker_follows_a_drag_at_once(notebook: Notebook, report: Callable[[dict[str, float]], None]) -> None:
    notebook.page.locator(".samviz-panel").scroll_into_view_if_needed()
    x, y = point(notebook)
    notebook.page.mouse.move(x, y)
    notebook.page.mouse.down()
    notebook.page.evaluate(FOLLOW)
    for k in range(1, 31):
        notebook.page.mouse.move(x - 8 * k, y)
        notebook.page.wait_for_timeout(100)
    notebook.page.wait_for_timeout(500)
    late = notebook.page.evaluate("window.late")
    frames, began = notebook.kernel(f"(panel.view._ack, {CLOCK})")
    for k in range(150):  # faster than it can be drawn
        notebook.page.mouse.move(x - 240 + 2 * k, y)
        notebook.page.wait_for_timeout(10)
    drawn, ended = notebook.kernel(f"(panel.view._ack, {CLOCK})")
    notebook.page.mouse.up()
    numbers = {
        "drag to marker, median ms": np.median(late),
        "drag to marker, p95 ms": np.percentile(late, 95),
        "frames/s while dragged": (drawn - frames) / (ended - began),
    }
    report(numbers)
    assert len(late) > 20
    assert numbers["drag to marker, median ms"] < 500
    assert numbers["frames/s while dragged"] > 3
