"""The lab in Notebook 7, which takes keys for itself and loads its pages in another way than JupyterLab."""

from __future__ import annotations

from typing import Any

import pytest

from .panels import arrows
from .test_lab import SINE

pytest.importorskip("notebook")


def test_the_lab_is_steered_and_outlives_a_reload(open_notebook: Any) -> None:
    notebook = open_notebook("seven.ipynb", SINE, app="notebook")
    theirs = set(notebook.errors)  # Notebook's own, before any code of ours is on the page
    notebook.run_all()
    lab = notebook.page.locator(".samviz-lab")
    lab.locator(".samviz-graph .main-svg").first.wait_for()
    lab.get_by_role("button", name="Play", exact=True).press(" ")
    notebook.until("lab.session.run.steps", lambda steps: steps > 100, seconds=60)
    rho = lab.get_by_role("slider", name="ρ radius")
    rho.focus()
    arrows(notebook, 12)
    wanted = float(rho.get_attribute("aria-valuetext"))
    assert wanted > 0
    notebook.until("lab.session.run.settings.rho", lambda value: value == wanted, seconds=60)
    notebook.until("float(lab.history['cos_v1'][-1])", lambda value: value > 0.99, seconds=60)
    notebook.screenshot("notebook7")

    notebook.reload()
    lab.locator(".samviz-graph .main-svg").first.wait_for()
    assert float(lab.get_by_role("textbox", name="ρ radius, typed").input_value()) == wanted
    steps = notebook.kernel("lab.session.run.steps")
    notebook.until("lab.session.run.steps", lambda value: value > steps, seconds=60)  # it played on meanwhile
    lab.get_by_role("button", name="Pause", exact=True).press("Enter")
    lab.get_by_role("button", name="Play", exact=True).wait_for()
    lab.locator(".samviz-status").filter(has_text="paused").wait_for()
    assert set(notebook.errors) <= theirs
