"""Faults of a kernel, a page and their connection: a playing lab and a panel continue, or show what to do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samviz.lab.widget import MAX_IN_FLIGHT

from . import panels
from .conftest import Notebook, Server, opener
from .pages import expect
from .panels import GRAPH, says, typed, wait

CELLS = [
    """from samviz.lab import Lab, Panel, Slider
from samviz.problems import mlp


def draw(values):
    return {"data": [{"y": [0, values["a"]]}], "layout": {"height": 200}}, f"It ends at {values['a']:g}."
""",
    "lab = Lab(mlp([1, 8, 8, 1], data='sine'), rho=0.01)\nlab",
    "panel = Panel(draw, {'a': Slider('slope', 1, stops=range(10))}, description='a line')\npanel",
]
SILENT = "The kernel does not answer"
LOCAL = ".samviz-graph *, .samviz-tour *, [data-local], [data-local] *"  # these controls need no kernel
ENABLED = f".samviz-card :is(button, input, select):enabled:not({LOCAL})"
RADIUS = "ρ radius"
STEPS = "lab.session.run.steps"
DRAWN = f"{GRAPH.format(0)}?.data?.length > 3 && {GRAPH.format(1)}?.data?.length === 1"
LAST_STEP = f"{GRAPH.format(0)}.data.find(trace => trace.name === 'loss').x.at(-1)"


def press(notebook: Notebook, name: str) -> None:
    """Press a button of the lab."""
    panels.press(notebook.page.locator(".samviz-lab"), name)


def playing(notebook: Notebook) -> Notebook:
    """Run the notebook and start its lab."""
    notebook.run_all()
    wait(notebook, DRAWN)
    press(notebook, "Play")
    notebook.until(f"{STEPS} > 20")
    notebook.page.locator(".samviz-lab").get_by_role("button", name="Pause", exact=True).wait_for()
    return notebook


def shows(notebook: Notebook, radius: float) -> None:
    """Wait until the lab's figure marks a change to this radius."""
    mark = f"{GRAPH.format(0)}.data.find(trace => trace.name === 'changes').text.some(t => t.includes('→ {radius}'))"
    wait(notebook, mark)


def has_value(notebook: Notebook, radius: float) -> None:
    """Wait until the lab's field has this radius."""
    wait(notebook, f"document.querySelector('[aria-label=\"{RADIUS}, typed\"]').value === '{radius}'")


def continues(notebook: Notebook) -> None:
    """Wait until the playing lab has drawn later steps than it shows now."""
    wait(notebook, f"{LAST_STEP} > {notebook.page.evaluate(f'() => {LAST_STEP}') + 20}")


def answers(notebook: Notebook, radius: float = 0.0234) -> None:
    """Lab and panel respond to their controls, without an alert or an error."""
    continues(notebook)
    typed(notebook, RADIUS, str(radius))
    shows(notebook, radius)
    press(notebook, "Pause")
    notebook.page.locator(".samviz-lab .samviz-status").filter(has_text="paused").wait_for()
    press(notebook, "Play")
    continues(notebook)
    slider = notebook.page.get_by_role("slider", name="slope", exact=True)
    for key, value in (("End", 9), ("ArrowLeft", 8)):
        slider.press(key)
        says(notebook, f"It ends at {value}.")
    assert "".join(notebook.page.locator(".samviz-alert").all_inner_texts()) == ""
    assert notebook.errors == []


@pytest.fixture(scope="module")
def shared_notebook(keep_notebook: Callable[..., Notebook]) -> Notebook:
    return keep_notebook("survives.ipynb", CELLS)


@pytest.fixture
def lab(shared_notebook: Notebook) -> Notebook:
    """A lab that plays and a panel, in a notebook that is run again for each test."""
    return playing(shared_notebook)


def reports_silence(notebook: Notebook) -> None:
    """Wait until lab and panel say that the kernel does not answer, and have disabled their controls."""
    said = f"[...document.querySelectorAll('.samviz-kernel')].every(note => note.textContent.startsWith('{SILENT}'))"
    wait(notebook, f"{said} && !document.querySelector('{ENABLED}')")
    expect(notebook.page.locator(".samviz-play")).to_have_text("▶ Play")
    expect(notebook.page.locator(".samviz-lab .samviz-status")).to_have_text("")


def process_id(notebook: Notebook) -> int:
    """The id of the kernel's process."""
    return notebook.kernel("__import__('os').getpid()")


def test_interrupts_pause_the_lab(lab: Notebook) -> None:
    play = lab.page.get_by_role("button", name="Play", exact=True)
    for n in range(60):  # while the learner moves a control: that is when a kernel handles an interrupt
        typed(lab, RADIUS, str(0.01 + 0.001 * n))
        lab.command("kernelmenu:interrupt")
        lab.page.wait_for_timeout(50)
        if n > 8 and play.count():  # an interrupt that hits a message does not pause the lab
            break
    play.wait_for()
    alert = lab.page.locator(".samviz-lab .samviz-alert").inner_text()  # a value that is typed later clears it
    assert alert in ("", "Interrupted; press Play to continue.")
    press(lab, "Play")
    answers(lab)
    alert = lab.page.locator(".samviz-lab .samviz-alert").filter(has_text="Interrupted; press Play to continue.")
    for _ in range(60):  # the kernel may be handling a message, which is interrupted instead
        lab.interrupt()
        lab.page.wait_for_timeout(1000)
        if alert.count():
            break
    alert.wait_for()
    press(lab, "Play")
    answers(lab)


def test_a_stopped_kernel_is_reported_and_leaves_no_queue(lab: Notebook) -> None:
    kernel = process_id(lab)
    os.kill(kernel, signal.SIGSTOP)
    try:
        reports_silence(lab)
    finally:
        os.kill(kernel, signal.SIGCONT)
    lab.page.get_by_role("button", name="Pause", exact=True).wait_for()
    first, began = lab.kernel(clock := "(lab.view._seq, __import__('time').monotonic())")
    lab.page.wait_for_timeout(1000)
    last, ended = lab.kernel(clock)
    assert last - first <= 30 * (ended - began) + 2  # not more than ever: nothing was queued
    answers(lab)


def test_a_busy_kernel_is_not_reported_as_silent(lab: Notebook) -> None:
    """A lab that is used meanwhile says that the kernel is busy, until the cell has finished."""
    done = lab.server.root / "done"
    code = f"import os, time\nwhile not os.path.exists({str(done)!r}): time.sleep(0.1)"
    late = """(code) => { // the kernel's signs of three seconds arrive after the click
        const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session, end = performance.now() + 3000;
        while (performance.now() < end);
        kernel.requestExecute({ code });
        document.querySelector('.samviz-play').click();
    }"""
    lab.page.evaluate(late, code)
    try:
        busy = lab.page.locator(".samviz-lab .samviz-kernel").filter(has_text="The kernel is busy")
        busy.wait_for()
        lab.page.wait_for_timeout(4000)  # a page reports a silent kernel within three seconds
        assert busy.count()
        assert lab.page.locator(ENABLED).count() > 10
    finally:
        done.touch()
    lab.page.get_by_role("button", name="Play", exact=True).wait_for()
    wait(lab, "[...document.querySelectorAll('.samviz-kernel')].every(note => note.textContent === '')")
    press(lab, "Play")
    answers(lab)


@pytest.mark.parametrize("killed", [False, True], ids=["restarted", "killed"])
def test_a_lost_kernel_is_reported_and_running_the_cells_restores_it(lab: Notebook, killed: bool) -> None:
    if killed:
        os.kill(process_id(lab), signal.SIGKILL)
        lab.disconnect()
        dialog = lab.page.get_by_role("dialog").filter(has_text="Kernel Restarting")
        dialog.wait_for()
        dialog.get_by_role("button", name="Ok").click()
    else:
        lab.restart()
    lab.wait_idle()
    reports_silence(lab)
    playing(lab)
    assert lab.page.locator(".samviz-card").count() == 2
    answers(lab)


def test_two_tabs_show_one_lab_which_continues_without_any(open_notebook: Callable[..., Notebook]) -> None:
    """Takes long because the page is opened three times, and is closed for 4 s."""
    first = playing(open_notebook("tabs.ipynb", CELLS))
    first.command("docmanager:save")
    second = open_notebook("tabs.ipynb")
    wait(second, f"{GRAPH.format(0)}?.data?.length > 3")
    for one, other, radius in ((first, second, 0.0345), (second, first, 0.0456)):
        one.page.bring_to_front()
        typed(one, RADIUS, str(radius))
        shows(one, radius)
        other.page.bring_to_front()
        shows(other, radius)
        has_value(other, radius)
        continues(other)
    first.page.close()
    answers(second)

    second.page.close()
    frames, steps = second.kernel(clock := f"(lab.view._seq, {STEPS})")
    threading.Event().wait(4)  # no page is open
    while (now := second.kernel(clock))[1] <= steps + 20:  # the run continues
        threading.Event().wait(1)
    later, more = now
    assert later - frames <= MAX_IN_FLIGHT  # and its frames wait for a page
    second.kernel("panel.view.on_msg(panel.view._receive, remove=True)")  # loses what the next page says first
    third = open_notebook("tabs.ipynb")
    wait(third, f"{GRAPH.format(0)}?.data?.length > 3 && {GRAPH.format(1)}")
    third.kernel("panel.view.on_msg(panel.view._receive)")
    wait(third, DRAWN)
    third.page.locator(".samviz-graph :is(.contourlayer, .heatmaplayer)").first.wait_for(state="attached")
    third.page.get_by_role("button", name="Pause", exact=True).wait_for()
    wait(third, f"{LAST_STEP} >= {more}")
    answers(third, 0.0567)


class Line:
    """The connection between a page and its kernel, which can be cut, or lose what is sent.

    It always loses JupyterLab's request for the state of all widgets, which a busy kernel answers too late.
    """

    def __init__(self) -> None:
        self.connected, self.lossy = True, False
        self.ends: list[Any] = []

    def connect(self, page_end: Any) -> None:
        """Connect a new socket of the page to the server."""
        if not self.connected:
            page_end.close()
            return
        server_end = page_end.connect_to_server()
        page_end.on_message(lambda message: self.lossy or "request_states" in str(message) or server_end.send(message))
        server_end.on_message(lambda message: self.lossy or page_end.send(message))
        self.ends += [page_end, server_end]

    def cut(self) -> None:
        """End every connection and accept no new one."""
        self.connected = False
        while self.ends:
            self.ends.pop().close()


@pytest.mark.parametrize("lossy", [False, True], ids=["cut", "silent and then cut"])
def test_values_arrive_after_a_broken_connection(browser: Any, server: Server, tmp_path: Path, lossy: bool) -> None:
    """Takes long because a page notices a silent kernel after three seconds, twice."""
    line = Line()
    with opener(browser, server, tmp_path, line.connect) as open_notebook:
        lab = playing(open_notebook(f"line{lossy:d}.ipynb", CELLS))
        line.lossy = lossy  # as when a laptop's network is gone: whatever either side sends is lost
        if not lossy:
            line.cut()
        typed(lab, RADIUS, "0.0222")
        if lossy:
            assert lab.kernel("lab.set(plane='random')") is None
            lab.until("lab.session.landscape.plane.kind == 'random'")
        assert lab.kernel("lab.pause()") is None
        reports_silence(lab)
        line.cut()
        session = "window.jupyterapp.shell.currentWidget.sessionContext.session"
        connected = f"{session}.kernel.connectionStatus === 'connected'"
        wait(lab, f"!({connected})")
        line.connected, line.lossy = True, False
        lab.page.evaluate(f"() => {session}.kernel.reconnect()")  # now, and not after JupyterLab's growing delay
        wait(lab, connected)
        lab.until("lab.session.run.settings.rho == 0.0222")
        has_value(lab, 0.0222)
        press(lab, "Play")  # so the page knows that the lab has been paused
        answers(lab)
