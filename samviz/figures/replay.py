"""Pictures one after another as a single figure: plotly frames that hold only what changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Plain = dict[str, Any]
LISTS = "annotations", "shapes"  # of a layout; plotly merges them item by item


def replay(pictures: Sequence[Plain], labels: Sequence[str]) -> Plain:
    """Pictures of one layout as a figure that plays: the last one, and plotly frames for all.

    A frame holds all that is not the same in every picture, so that a jump shows what playing through shows. A page
    made by `save` has a button and a slider for it.

    Args:
        pictures: one or more, plain plotly JSON in the order in which they play; the same traces in each, by type and
            name.
        labels: what the slider says at each, all different: "step 40", "ρ = 0.1".

    Returns:
        {"data": traces, "layout": layout, "frames": frames}; the pictures' arrays, not copied.

    Raises:
        ValueError: when the pictures differ in their traces, or the labels do not fit.

    >>> flat, steep = ({"data": [{"type": "scatter", "x": [0, 1], "y": [0, a]}], "layout": {}} for a in (1, 2))
    >>> [frame["data"] for frame in replay([flat, steep], ["slope 1", "slope 2"])["frames"]]
    [[{'type': 'scatter', 'y': [0, 1]}], [{'type': 'scatter', 'y': [0, 2]}]]
    """
    if not 0 < len(pictures) == len(labels) == len(set(labels)):
        raise ValueError(
            f"there are {len(pictures)} pictures and {len(set(labels))} different labels; "
            "expected a picture or more, and a label of its own for each"
        )
    kinds = [[(trace.get("type", "scatter"), trace.get("name")) for trace in p["data"]] for p in pictures]
    for label, kind in zip(labels, kinds):
        if kind != kinds[0]:
            wanted = f"expected those at {labels[0]!r}, {kinds[0]}: leave a trace empty rather than out"
            raise ValueError(f"the traces at {label!r} are {kind}; {wanted}")
    most = {name: max(len(p["layout"].get(name, [])) for p in pictures) for name in LISTS}
    trees = [_tree(picture, most) for picture in pictures]
    moving = _moving(trees)
    frames = []
    for tree, label in zip(trees, labels):
        part: Plain = {"data": {}, "layout": {}} | _part(tree, moving)
        data = [{"type": kinds[0][i][0], **trace} for i, trace in part["data"].items()]
        layout = _listed(part["layout"], most)
        frames.append({"name": label, "data": data, "traces": list(part["data"]), "layout": layout})
    return {"data": pictures[-1]["data"], "layout": _listed(trees[-1]["layout"], most), "frames": frames}


def _tree(picture: Plain, most: dict[str, int]) -> Plain:
    """A picture with dicts by number for lists, the layout's all as long: an item that is not there is there unseen."""
    layout = dict(picture["layout"])
    for name, count in most.items():
        items = [{"visible": True, **item} for item in layout.get(name, [])]
        layout[name] = dict(enumerate(items + [{"visible": False}] * (count - len(items))))
    return {"data": dict(enumerate(picture["data"])), "layout": layout}


def _listed(layout: Plain, most: dict[str, int]) -> Plain:
    """A layout's items by number as lists again; plotly leaves an item as it is for {}."""
    return layout | {name: [layout[name].get(i, {}) for i in range(most[name])] for name in LISTS if name in layout}


def _moving(trees: Sequence[Plain]) -> Plain:
    """The keys whose values are not the same in all, with the keys inside them, or None where it is a single value."""
    found: Plain = {}
    for key in dict.fromkeys(key for tree in trees for key in tree):
        values = [tree.get(key) for tree in trees]
        if any(isinstance(v, dict) for v in values) and all(v is None or isinstance(v, dict) for v in values):
            if inner := _moving([v or {} for v in values]):
                found[key] = inner
        elif not all(_same(values[0], v) for v in values):
            found[key] = None
    return found


def _part(tree: Plain, keys: Plain) -> Plain:
    """What a tree has for these keys; None where it has nothing, which unsets it."""
    return {k: _part(tree.get(k) or {}, inner) if inner else tree.get(k) for k, inner in keys.items()}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a is b or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())
    return type(a) is type(b) and bool(a == b)
