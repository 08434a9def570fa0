"""The panels in their notebooks, in JupyterLab: their first figures, and one change of a control.

The page of every panel (test_page.py) moves each control and each point that is dragged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .panels import GRAPH, says, settled, wait, without_errors

# By notebook and the panel's name in its kernel: the first sentence, a slider, a key, and the sentence after that.
PANELS = {
    "03_three_sharpnesses": {"panel": ("R_ρ/ρ² at ρ = 0.4", "ρ radius", "Home", "ρ = 0.01 ")},
    "01_alignment": {"panel": ("‖x‖ = 0.5333, predicted 0.5333.", "η (λ₁ = 2)", "End", "There is no cycle")},
    "04_two_wrongs_make_a_right": {
        "panel": ("SAM: λ₁ 20.5 → 16.0", "η learning rate", "End", "t = 40 steps"),
        "sides": ("t = 1,000 steps", "share of the run", "Home", "t = 0 steps"),
    },
    "02_why_sharpness_decreases": {
        "panel": ("At ρ = 0.1 this distance scales like η^1.0", "ρ radius", "End", "t = 400, τ = ηρ²t = 1.00.")
    },
    "05_one_sample_at_a_time": {
        "panel": ("Step 400, τ = ηρ²t = 0.18. One sample: trace 6.6", "ρ radius", "End", "τ = ηρ²t = 0.32. One sample"),
        "panel2": ("Batch size 3 of 6", "batch size", "Home", "the mean of |cos(∇L_B, v₁)| is 1.000"),
    },
    "06_where_the_theory_ends": {
        "panel": ("Step 1,000 with all 40 a step. At the start λ₁ was 5.97", "steps", "Home", "Step 10 with all 40")
    },
    "07_loss_landscapes": {"panel": ("SAM’s minimum looks flatter", "α of SAM’s layers", "End", "here α = 10.")},
}


@pytest.mark.parametrize("name", PANELS)
def test_the_panels_of_a_notebook_follow_a_control(keep_notebook: Callable[..., Any], name: str) -> None:
    notebook = keep_notebook(f"{name}.ipynb")
    notebook.run_all(240)
    wait(notebook, f"{GRAPH.format(0)}?.data?.length > 3")
    with without_errors(notebook):
        for number, (variable, (first, slider, key, after)) in enumerate(PANELS[name].items()):
            panel = notebook.page.locator(".samviz-panel").nth(number)
            panel.scroll_into_view_if_needed()
            says(notebook, first, number, 120)
            settled(notebook, variable)
            notebook.screenshot(f"{name}_{variable}", f".samviz-panel >> nth={number}")
            panel.get_by_role("slider", name=slider, exact=True).press(key)
            says(notebook, after, number, 120)
            settled(notebook, variable)
            notebook.screenshot(f"{name}_{variable}_after", f".samviz-panel >> nth={number}")
