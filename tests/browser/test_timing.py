"""How fast lab and panel answer, by the clock: `make responsiveness` prints the table, if possible on an idle machine.

The page is JupyterLab in headless Chromium, which draws with the processor. The lab is a sine network at the preset of
the theorem. Frames and steps are counted in the kernel over some seconds of play. A slider has been answered when the
text of the mark for the changed setting is in the page, and a click on Pause when the button says Play. Each is looked
for in every animation frame. A dragged point has been answered when the curve's marker is where the pointer was. The
bounds only detect a collapse, because tests may run on a busy machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest

from .conftest import Notebook
from .panels import GRAPH, SINE, lab_in, press, wait
from .test_panel import PANEL, point

pytestmark = pytest.mark.alone
PLAIN = PANEL.replace("ρ radius", "radius")  # only the lab has a slider of that name
CLOCK = "(lab.view._ack, lab.session.run.steps, __import__('time').monotonic())"
PLAY_S = 6  # seconds of play over which frames are counted
TARGETS: dict[str, tuple[str, float, float]] = {  # of each row, and the bounds of a test
    "frames/s, 50 steps each": ("≥ 28", 2, np.inf),
    "steps/s, 50 a frame": ("≥ 1,400", 100, np.inf),
    "steps/s, 500 a frame": ("≥ 6,400", 400, np.inf),
    "renderer process, cores": ("< 0.7", 0, np.inf),
    "slider to picture, median ms": ("≤ 80", 0, 1000),
    "slider to picture, 95th percentile ms": ("≤ 120", 0, 2000),
    "click on Pause to Play, median ms": ("≤ 60", 0, 1000),
    "panel: dragged point, 95th percentile ms": ("≤ 100", 0, 2000),
    "panel: slider, 95th percentile ms": ("≤ 100", 0, 2000),
}
MEASURE = """() => {
  const once = (changed) => new Promise((done) => { // how many ms it takes until something has changed
    const began = performance.now();
    const look = () => changed() || performance.now() - began > 5000
      ? done(performance.now() - began) : requestAnimationFrame(look);
    look();
  });
  const [lab, panel] = document.querySelectorAll('.samviz-card'), button = lab.querySelector('.samviz-play');
  const texts = () => [...lab.querySelectorAll('.textpoint')].map((text) => text.textContent);
  const marks = () => texts().filter((text) => text.includes('→')).join();
  const height = () => panel.querySelector('.samviz-graph').data[0].y[0];
  const slide = (card, stop, read) => {
    const before = read(), slider = card.querySelector('.samviz-sliders input');
    slider.value = stop;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    return once(() => read() !== before);
  };
  window.change = (stop) => slide(lab, stop, marks);
  window.changePanel = (stop) => slide(panel, stop, height);
  window.pause = () => {
    const before = button.textContent;
    button.click();
    return once(() => button.textContent !== before);
  };
  window.late = [];
  const graph = panel.querySelector('.samviz-graph');
  document.addEventListener('pointermove', ({ clientX, buttons, timeStamp }) => {
    const wanted = clientX - graph.getBoundingClientRect().x - graph._fullLayout.xaxis._offset;
    const look = () => Math.abs(graph._fullLayout.xaxis.d2p(graph.data[2].x[0]) - wanted) < 1.5
      ? window.late.push(performance.now() - timeStamp)
      : performance.now() - timeStamp < 3000 && requestAnimationFrame(look);
    if (buttons) requestAnimationFrame(look);
  }, true);
}"""


@pytest.fixture(scope="module")
def notebook(keep_notebook: Callable[..., Notebook]) -> Notebook:
    """A lab and a panel."""
    notebook = keep_notebook("timing.ipynb", [*SINE, PLAIN, "panel"])
    notebook.run_all()
    wait(notebook, f"{GRAPH.format(1)}?.data?.length === 4")
    return notebook


def renderer_seconds() -> float:
    """Return the CPU time of the page's process, which is the largest of the renderers."""
    children = psutil.Process().children(recursive=True)
    renderers = [child for child in children if "--type=renderer" in " ".join(child.cmdline())]
    return max(sum(child.cpu_times()[:2]) for child in renderers)


def test_responsiveness_is_measured(notebook: Notebook, record_property: Callable[[str, object], None]) -> None:
    """Takes a minute: two times six seconds of play, 40 moves of a slider, 10 pauses, and a panel's."""
    page, lab, measured = notebook.page, lab_in(notebook), dict[str, Any]()

    def play() -> tuple[float, float, float]:
        page.wait_for_timeout(2000)
        before, cpu, began = np.array(notebook.kernel(CLOCK)), renderer_seconds(), time.monotonic()
        page.wait_for_timeout(1000 * PLAY_S)
        cores = (renderer_seconds() - cpu) / (time.monotonic() - began)
        frames, steps, seconds = np.array(notebook.kernel(CLOCK)) - before
        return frames / seconds, steps / seconds, cores

    def each(expression: str, pause_ms: int, numbers: range) -> list[float]:
        times = []
        for number in numbers:
            times.append(page.evaluate(expression, number))
            page.wait_for_timeout(pause_ms)
        return times

    lab.get_by_label("preset").select_option("SAM, small ρ (the theorem)")
    press(lab, "Play")
    page.evaluate(MEASURE)
    frames, steps, cores = play()
    slides = each("(stop) => change(stop)", 120, range(1, 41))
    pauses = each("() => pause()", 400, range(20))[::2]  # every other click is one on Play
    notebook.kernel("lab.set(steps_per_frame=500)")
    many = play()[1]
    press(lab, "Pause")
    card = page.locator(".samviz-panel")
    card.scroll_into_view_if_needed()
    moves = each("(stop) => changePanel(stop)", 100, range(10, 40))
    x, y = point(notebook)
    page.mouse.move(x, y)
    page.mouse.down()
    for k in range(1, 31):
        page.mouse.move(x - 8 * k, y)
        page.wait_for_timeout(100)
    page.mouse.up()
    late = page.evaluate("window.late")
    values = frames, steps, many, cores, np.median(slides), np.percentile(slides, 95), np.median(pauses)
    measured = dict(zip(TARGETS, (*values, np.percentile(late, 95), np.percentile(moves, 95)), strict=True))
    print(f"\n{'':44}{'measured':>10}   target")
    for name, (target, _, _) in TARGETS.items():
        record_property(name, f"{measured[name]:.3g}")
        print(f"{name:44}{measured[name]:10,.{2 if 'cores' in name else 0}f}   {target}")
    assert len(late) > 20
    assert not notebook.errors
    assert {name: measured[name] for name, (_, low, high) in TARGETS.items() if not low <= measured[name] <= high} == {}
