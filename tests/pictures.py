"""Helpers for tests of panels: a panel by its name, its last figure, traces by name, and a check for NaN."""

import numpy as np
import torch

from samviz import panels
from samviz.figures import figure
from samviz.geometry import landscape
from samviz.problems import quadratic

ARGUMENTS = {"slice_panel": lambda: [landscape(quadratic([2.0, 1.0]), torch.ones(2), resolution=3)]}
QUICK = {  # values that take less time than those where a panel starts
    "sweep_panel": {"steps": 10},
}


def settled_panel(name):
    """Make a panel of `samviz.panels.__all__` and finish its figure for quick values."""
    panel = getattr(panels, name)(*ARGUMENTS.get(name, list)())
    panel.set(**QUICK.get(name, {}), **({"guess": "skipped"} if panel.question else {}))
    assert panel.view.alert == "", f"{name}: {panel.view.alert}"
    return panel


def last(draw, values):
    """The last picture and sentence for these values of a panel's controls; plotly accepts the picture."""
    *_, (drawn, sentence) = draw(values)
    figure(drawn)
    return drawn, sentence


def trace(drawn, name, mode=None):
    return next(t for t in drawn["data"] if t.get("name") == name and mode in (None, t.get("mode")))


def names(drawn):
    return {t.get("name") for t in drawn["data"]}


def finite(drawn, gaps=()):
    """No number in a picture is infinite or NaN; lines of these names may have gaps."""
    for t in drawn["data"]:
        rest = {key: value for key, value in t.items() if key not in "xy" or t.get("name") not in gaps}
        assert np.isfinite(numbers(rest)).all(), t.get("name")
    assert np.isfinite(numbers(drawn["layout"])).all()


def numbers(node):
    """Every float in a tree."""
    if isinstance(node, np.ndarray) and node.dtype.kind == "f":
        return node.ravel().tolist()
    if isinstance(node, dict | list | tuple):
        return [n for each in (node.values() if isinstance(node, dict) else node) for n in numbers(each)]
    return [node] if isinstance(node, float) else []
