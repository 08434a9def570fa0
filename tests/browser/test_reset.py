"""Reset in a real page: pressed while the lab plays, with a slider that moves before the new run is drawn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Notebook
from .panels import lab_in, press, typed

CELLS = [
    "from samviz.lab import Lab\nfrom samviz.problems import mlp",
    "lab = Lab(mlp([64, 16, 10], data='digits'), rho=0.05)\nlab",  # whose landscape takes long to slice
]


@pytest.mark.timeout(400)
def test_resets_while_it_plays_and_a_slider_moves(open_notebook: Callable[..., Notebook]) -> None:
    """Takes long because the fault that it looks for appeared in a quarter of the Resets: it presses twenty times."""
    notebook = open_notebook("resets.ipynb", CELLS)
    notebook.run_all()
    lab = lab_in(notebook)
    for number in range(20):
        press(lab, "Play")
        notebook.until("lab.session.run.steps > 0", seconds=60)
        old = notebook.kernel("id(lab.session.run)")
        press(lab, "Reset")
        notebook.page.wait_for_timeout(50 * number)  # from at once to nearly a second later
        radius = 0.05 + 0.001 * (number + 1)
        typed(notebook, "ρ radius", f"{radius:g}")
        reset = f"id(lab.session.run) != {old} and lab.session.run.steps == 0 and lab.scheduler.idle"
        notebook.until(f"{reset} and lab.session.run.settings.rho == {radius:g}", seconds=60)
        assert notebook.kernel("(lab.view.playing, lab.view.alert)") == (False, "")
    assert lab.get_by_role("alert").inner_text() == ""
    assert notebook.errors == []
