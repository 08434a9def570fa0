"""Random actions on a lab in JupyterLab, Notebook 7 and Voila: nothing fails, and page and kernel agree at rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Notebook, Server
from .learner import Learner
from .pages import NO_TOUR
from .panels import SINE

FIND = "globals().update(lab=next(each for each in __import__('gc').get_objects() if type(each).__name__ == 'Lab'))"
REPLAY = "python -m pytest tests/browser/test_random.py -k {}"


@pytest.mark.timeout(1800)  # on a busy machine
@pytest.mark.parametrize(("app", "actions"), [("lab", 180), ("notebook", 100)], ids=["jupyterlab", "notebook7"])
def test_every_control_of_the_lab(open_notebook: Callable[..., Notebook], app: str, actions: int) -> None:
    """Takes long because a learner waits between two actions."""
    notebook = open_notebook(f"random_{app}.ipynb", SINE, app)
    notebook.run_all()
    learner = Learner(notebook, REPLAY.format({"lab": "jupyterlab", "notebook": "notebook7"}[app]))
    learner.use(0, "lab", actions, {"page reload": notebook.reload, "page interrupt": notebook.interrupt})
    assert learner.actions >= actions


class App(Notebook):
    """The page of `samviz app`: each time it is opened it has a new kernel, whose lab has no name."""

    def kernel_id(self) -> str:
        newest = max(self.server.runtime.glob("kernel-*.json"), key=lambda path: path.stat().st_mtime)
        return newest.stem.removeprefix("kernel-")

    def reload(self) -> None:
        self.page.goto(self.server.url)
        self.page.locator(".samviz-graph .main-svg").first.wait_for()
        self.kernel(FIND)


@pytest.mark.timeout(1800)  # on a busy machine
def test_every_control_of_the_app(browser: Any, voila: Server, tmp_path: Path) -> None:
    """Takes long because a learner waits between two actions."""
    page = browser.new_page(viewport={"width": 1440, "height": 1100})
    app = App(page, voila, "app", tmp_path)
    page.add_init_script(NO_TOUR)  # whose buttons are used after a press on its button
    page.set_default_timeout(180_000)
    page.on("pageerror", lambda error: app.errors.append(str(error)))
    app.reload()
    learner = Learner(app, REPLAY.format("the_app"))
    learner.use(0, "lab", 100, {"page reload": app.reload})
    assert learner.actions >= 100
    app.disconnect()
    page.close()
