"""The lab fits the window: what is always visible, and what is behind More."""

from __future__ import annotations

from collections.abc import Callable

from .conftest import Notebook
from .panels import SINE, lab_in


def test_more_shows_the_other_controls_and_is_remembered(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook("more.ipynb", SINE)
    notebook.run_all()
    lab = lab_in(notebook)
    more, hidden = (lab.get_by_role("button", name=name, exact=True) for name in ("More", "Re-centre"))
    for label in ("ρ radius", "η learning rate", "batch size", "preset"):
        assert lab.get_by_label(label, exact=True).is_visible()
    assert more.get_attribute("aria-expanded") == "false"
    assert not hidden.is_visible()
    more.press("Enter")
    assert more.get_attribute("aria-expanded") == "true"
    assert hidden.is_visible()
    notebook.reload()
    lab_in(notebook)
    hidden.wait_for()
    more.press("Space")
    assert not hidden.is_visible()
    assert notebook.errors == []
