"""What befalls a kernel, a page and the line between them: a playing lab and a panel go on, or say what to do.

A reload, an interrupt and a restart of a lab alone are in test_lab.py; views of a lost kernel in test_view.py.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from .conftest import Notebook, Server, opener
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
GONE = "The kernel of this lab is gone: run its cell again."
RADIUS = "ρ radius"
STEPS = "lab.session.run.steps"


def playing(notebook: Notebook) -> Notebook:
    """Run the notebook and start its lab."""
    notebook.run_all()
    wait(notebook, f"{GRAPH.format(0)}?.data?.length > 3 && {GRAPH.format(1)}?.data?.length === 1")
    press(notebook, "Play")
    notebook.until(STEPS, lambda steps: steps > 20, seconds=60)
    return notebook


def press(notebook: Notebook, name: str) -> None:
    """Press a button of the lab."""
    notebook.page.locator(".samviz-lab").get_by_role("button", name=name, exact=True).click()


def drawn_step(notebook: Notebook) -> float:
    """The last step in the lab's picture."""
    return notebook.page.evaluate(f"() => {GRAPH.format(0)}.data.find(trace => trace.name === 'loss').x.at(-1)")


def shows(notebook: Notebook, radius: float) -> None:
    """Wait until the lab's picture marks that the radius was changed to this one."""
    mark = f"{GRAPH.format(0)}.data.find(trace => trace.name === 'changes').text.some(t => t.includes('→ {radius}'))"
    wait(notebook, mark)


def stands(notebook: Notebook, radius: float) -> None:
    """Wait until the lab's field holds this radius."""
    wait(notebook, f"document.querySelector('[aria-label=\"{RADIUS}, typed\"]').value === '{radius}'")


def goes_on(notebook: Notebook) -> None:
    """Wait until the playing lab has drawn later steps than it shows now."""
    before = drawn_step(notebook)
    wait(notebook, f"{GRAPH.format(0)}.data.find(trace => trace.name === 'loss').x.at(-1) > {before + 20}")


def answers(notebook: Notebook, radius: float = 0.0234) -> None:
    """Lab and panel do what a learner asks, and nothing complains."""
    goes_on(notebook)
    typed(notebook, RADIUS, str(radius))
    shows(notebook, radius)
    press(notebook, "Pause")
    notebook.page.locator(".samviz-lab .samviz-status").filter(has_text="paused").wait_for()
    press(notebook, "Play")
    goes_on(notebook)
    slider = notebook.page.get_by_role("slider", name="slope", exact=True)
    slider.focus()
    notebook.page.keyboard.press("End")
    says(notebook, "It ends at 9.")
    notebook.page.keyboard.press("ArrowLeft")
    says(notebook, "It ends at 8.")
    assert "".join(notebook.page.locator(".samviz-alert").all_inner_texts()) == ""
    assert notebook.errors == []


@pytest.fixture(scope="module")
def kept(keep_notebook: Callable[..., Notebook]) -> Notebook:
    return keep_notebook("survives.ipynb", CELLS)


@pytest.fixture
def lab(kept: Notebook) -> Notebook:
    """A lab that plays and a panel, in a notebook that is run anew for each test."""
    return playing(kept)


def kernel_of(notebook: Notebook) -> int:
    """The number of the kernel's process."""
    return notebook.kernel("__import__('os').getpid()")


def test_interrupts_do_not_end_it(lab: Notebook) -> None:
    for n in range(8):  # while the learner moves a control: that is when a kernel heeds an interrupt
        typed(lab, RADIUS, str(0.01 + 0.001 * n))
        lab.command("kernelmenu:interrupt")
        lab.page.wait_for_timeout(50)
    lab.page.get_by_role("button", name="Play", exact=True).wait_for()
    alert = lab.page.locator(".samviz-lab .samviz-alert").inner_text()  # a value that is typed later clears it
    assert alert in ("", "Interrupted; press Play to continue.")
    press(lab, "Play")
    answers(lab)


def test_a_restarted_kernel_is_said_and_its_cell_brings_it_back(lab: Notebook) -> None:
    lab.page.evaluate("async () => { await window.jupyterapp.shell.currentWidget.sessionContext.restartKernel() }")
    lab.wait_idle()
    lab.page.locator(".samviz-play").click()  # it says Play once the page has noticed the silence
    lab.page.locator(".samviz-lab .samviz-alert").filter(has_text=GONE).wait_for()
    lab.page.get_by_role("slider", name="slope", exact=True).press("End")
    gone = lab.page.locator(".samviz-panel .samviz-alert").filter(has_text="run its cell again")
    gone.wait_for()
    playing(lab)
    assert lab.page.locator(".samviz-card").count() == 2
    answers(lab)


def test_a_killed_kernel_is_said_and_its_cell_brings_it_back(lab: Notebook) -> None:
    os.kill(kernel_of(lab), signal.SIGKILL)
    dialog = lab.page.get_by_role("dialog").filter(has_text="Kernel Restarting")
    dialog.wait_for(timeout=60_000)
    dialog.get_by_role("button", name="Ok").click()
    lab.wait_idle()
    lab.page.locator(".samviz-play").click()  # it says Play once the page has noticed the silence
    lab.page.locator(".samviz-lab .samviz-alert").filter(has_text=GONE).wait_for()
    playing(lab)
    answers(lab)


def test_two_tabs_show_one_lab_and_when_all_were_closed_another_finds_it(
    open_notebook: Callable[..., Notebook],
) -> None:
    """Takes long because the page is opened three times, and nobody looks for 4 s."""
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
        stands(other, radius)
        goes_on(other)
    first.page.close()
    answers(second)

    second.page.close()
    frames, steps = second.kernel(clock := f"(lab.view._seq, {STEPS})")
    threading.Event().wait(4)  # nobody looks
    later, more = second.kernel(clock)
    assert more > steps + 20  # the run goes on
    assert later - frames <= 2  # and waits for somebody with its frames
    third = open_notebook("tabs.ipynb")
    wait(third, f"{GRAPH.format(0)}?.data?.length > 3 && {GRAPH.format(1)}?.data?.length === 1")
    assert third.page.locator(".samviz-graph .contourlayer, .samviz-graph .heatmaplayer").count()
    third.page.get_by_role("button", name="Pause", exact=True).wait_for()
    assert drawn_step(third) >= more
    answers(third, 0.0567)


class Line:
    """A relay between browser and server that can be cut."""

    def __init__(self, port: int) -> None:
        self.to, self.whole, self.lossy = port, True, False
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return  # closed
            if not self.whole:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self.to))
            self.pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.relay, args=(one, other), daemon=True).start()

    def relay(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):  # cut
            while data := one.recv(1 << 16):
                if not self.lossy:
                    other.sendall(data)
        for end in (one, other):
            close(end)

    def cut(self) -> None:
        """End every connection and take no new one."""
        self.whole = False
        while self.pairs:
            for end in self.pairs.pop():
                close(end)

    def mend(self) -> None:
        self.whole, self.lossy = True, False


def close(end: socket.socket) -> None:
    """Close a socket that may be closed already."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def line(server: Server) -> Iterator[tuple[Line, Server]]:
    """A line to the server, and the server as it looks from its near end."""
    line = Line(int(server.url.rpartition(":")[2]))
    try:
        yield line, replace(server, url=f"http://127.0.0.1:{line.port}")
    finally:
        line.listener.close()


def dismiss(notebook: Notebook) -> None:
    """Close JupyterLab's own words about the connection, which keep the keyboard to themselves."""
    while (dialog := notebook.page.locator(".jp-Dialog")).count():
        dialog.last.locator("button").last.click()
        notebook.page.wait_for_timeout(200)


@pytest.mark.parametrize("lossy", [False, True], ids=["cut", "silent and then cut"])
def test_a_cut_line_is_mended(browser: Any, server: Server, tmp_path: Path, lossy: bool) -> None:
    """Takes long because JupyterLab waits longer before each attempt to connect again."""
    with line(server) as (wire, near), opener(browser, near, tmp_path) as open_notebook:
        lab = playing(open_notebook(f"line{lossy:d}.ipynb", CELLS))
        lab.server = server  # questions to the kernel go another way
        if lossy:  # as when a laptop's network has gone: what either side sends is lost without a word
            wire.lossy = True
            typed(lab, RADIUS, "0.0111")
            assert lab.kernel("lab.view.set_trait('plane', 'random')") is None
            lab.until("lab.session.landscape.plane.kind", lambda kind: kind == "random")
            lab.page.wait_for_timeout(1500)
        wire.cut()
        connected = (
            "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.connectionStatus === 'connected'"
        )
        wait(lab, f"!({connected})")
        dismiss(lab)
        typed(lab, RADIUS, "0.0222")
        lab.page.wait_for_timeout(2000)
        wire.mend()
        wait(lab, connected, seconds=90)
        lab.until("lab.session.run.settings.rho", lambda rho: rho == 0.0222, seconds=60)
        stands(lab, 0.0222)
        dismiss(lab)
        answers(lab)
