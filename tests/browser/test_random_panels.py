"""Random actions on every panel in JupyterLab: nothing fails, and page and kernel agree at rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import samviz.panels

from .conftest import Notebook
from .learner import Learner

SETUP = """import torch
from samviz import panels
from samviz.geometry import landscape
from samviz.problems import quadratic
"""
ARGUMENTS = {"slice_panel": "landscape(quadratic([2.0, 1.0]), torch.ones(2), resolution=9)"}
ACTIONS = 21  # at least so many on each panel
RUN = """async (index) => {
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""


@pytest.mark.timeout(1800)  # on a busy machine
def test_every_control_of_each_panel(open_notebook: Callable[..., Notebook]) -> None:
    """Takes long because a learner waits between two actions."""
    names = samviz.panels.__all__
    cells = [f"{name} = panels.{name}({ARGUMENTS.get(name, '')})\n{name}" for name in names]
    notebook = open_notebook("random_panels.ipynb", [SETUP, *cells])
    learner = Learner(notebook, "python -m pytest tests/browser/test_random_panels.py")
    notebook.page.evaluate(RUN, 0)
    for number, name in enumerate(names):
        notebook.page.evaluate(RUN, number + 1)
        also = {"page interrupt": notebook.interrupt} | ({} if number else {"page reload": notebook.reload})
        learner.use(number, name, ACTIONS, also)
    assert learner.actions >= ACTIONS * len(names)
