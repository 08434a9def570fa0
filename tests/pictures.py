"""Pictures as tests look at them: the last one that is drawn, its traces by name, and that all its numbers are some."""

import numpy as np

from samviz.figures import figure


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
