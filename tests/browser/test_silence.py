"""A kernel that stops answering while the lab plays: the page does not claim that it still plays."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from .conftest import Notebook
from .panels import lab_in

CELLS = [
    "from samviz.lab import Lab\nfrom samviz.problems import mlp",
    "lab = Lab(mlp([1, 8, 8, 1], data='sine'), rho=0.01)\nlab",
]


def test_a_playing_lab_shows_that_its_kernel_is_interrupted_silent_or_lost(
    open_notebook: Callable[..., Notebook],
) -> None:
    """Takes long because the page waits for eight seconds before it calls a kernel silent, here twice."""
    notebook = open_notebook("silence.ipynb", CELLS)
    notebook.run_all()
    lab = lab_in(notebook)
    alert, status = lab.locator(".samviz-alert"), lab.locator(".samviz-status")
    play, pause = (lab.get_by_role("button", name=name, exact=True) for name in ("Play", "Pause"))

    play.click()
    notebook.until("lab.session.run.steps > 50", seconds=60)
    notebook.page.wait_for_timeout(500)  # the click's own message is over: no cell and no message is being handled
    notebook.interrupt()
    alert.filter(has_text="Interrupted; press Play to continue.").wait_for()
    play.click()
    pause.wait_for()
    status.filter(has_text="steps/s").wait_for()

    process = notebook.kernel("__import__('os').getpid()")
    os.kill(process, signal.SIGSTOP)
    try:
        alert.filter(has_text="The kernel does not answer.").wait_for()
        play.wait_for()
        assert status.inner_text() == ""
    finally:
        os.kill(process, signal.SIGCONT)
    pause.wait_for()
    status.filter(has_text="steps/s").wait_for()
    assert "does not answer" not in alert.inner_text()

    os.kill(process, signal.SIGKILL)
    play.wait_for(timeout=60_000)
    assert status.inner_text() == ""
    assert "cell" in alert.inner_text()
    assert notebook.errors == []
