"""Precomputed figures behind controls, for a page without a kernel: an exported run, or a panel in the book.

A script defines `samvizFigures[name]` with `figures` and `sentences`, one for each combination of the controls' stops,
and `parts`: an object {"$": i} in a figure or a part stands for part i. `player.js` draws the chosen figure. With
`predict`, a question, the last figure is the initial state, which is shown until the question is answered.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np

from samviz.figures.drawing import typeset
from samviz.figures.style import recolour_js

Plain = dict[str, Any]
Drawing = tuple[Plain, str]  # a figure as plain plotly JSON, and a sentence about it
SHARED = 40  # characters of JSON above which a part is stored only once
SCRIPTS = "elements.js", "predict.js", "player.js"


@dataclass(frozen=True)
class PlayerControl:
    """A control of a player: a slider, or with `named` a list of names to choose from."""

    label: str
    stops: Sequence[str]  # the text of each value for which figures were computed
    start: int  # the number of the stop at which the control starts
    named: bool = False
    help: str = ""  # one sentence, which is shown on hover and on focus


def player_data(
    name: str,
    controls: Sequence[PlayerControl],
    drawings: Iterable[Drawing],
    precision: str,  # "f4" or "f8", of arrays with one dimension
    predict: Plain | None = None,  # a question (from `samviz.lab.controls.spec`): the last drawing precedes the answer
) -> str:
    """Return the script that defines a set of figures; the last control changes fastest."""
    parts: dict[str, int] = {}
    figures, sentences = [], []
    for figure, sentence in drawings:
        figures.append(_share(encoded(figure, precision), parts))
        sentences.append(typeset(sentence))
    expected = prod(len(control.stops) for control in controls) + (predict is not None)
    if len(figures) != expected:
        stops = " × ".join(str(len(control.stops)) for control in controls)
        raise ValueError(f"there are {len(figures)} figures; expected {stops} = {expected}, one for each combination")
    data: Plain = {"parts": [json.loads(part) for part in parts], "figures": figures, "sentences": sentences}
    data |= {"predict": predict} if predict else {}
    script = f"(globalThis.samvizFigures ??= {{}})[{json.dumps(name)}] = {_json(data)};\n"
    return script.replace("</", "\\u003c/").replace("<!--", "\\u003c!--")  # must not end a page's script element


def player_html(
    name: str, controls: Sequence[PlayerControl], description: str, still: str, height: int, *, zoom: bool = False
) -> str:
    """Return the controls and the place of a set of figures; `still` is HTML that is shown until one is drawn."""
    play = '<button type="button">▶ Play</button>' if zoom and len(controls) == 1 else ""
    return (
        f'<figure class="samviz-player" data-player="{escape(name)}"{" data-zoom" if zoom else ""}>'
        f'<div class="samviz-controls" hidden>{play}{"".join(map(_field, controls))}</div>'
        '<p class="samviz-sentence" aria-hidden="true"></p><p class="samviz-spoken" aria-live="polite"></p>'
        f'<div class="samviz-scroll" role="group" aria-label="{escape(description)}" tabindex="0">'
        f'<div class="samviz-graph" style="min-height:{height}px">{still}</div></div></figure>'
    )


def player_js() -> str:
    """Return the script of all players; it loads `plotly.min.js` and `figures/NAME.js` from its folder if needed."""
    sources = [(Path(__file__).parent / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(["(() => {", recolour_js(), *sources, "})();\n"])


def encoded(node: Any, precision: str = "f8") -> Any:
    """Return plotly JSON without numpy values: arrays in base64, two-dimensional ones in "f4"; null for NaN."""
    if isinstance(node, dict):
        return {key: encoded(value, precision) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [encoded(value, precision) for value in node]
    if isinstance(node, np.generic):
        return encoded(node.item(), precision)
    if not isinstance(node, np.ndarray):
        return None if isinstance(node, float) and not isfinite(node) else node
    if node.ndim not in (1, 2) or node.size < 4 or node.dtype.kind not in "iuf":
        return encoded(node.tolist(), precision)  # also because the range of an axis has to be a list
    dtype, shape = (precision, {}) if node.ndim == 1 else ("f4", {"shape": "{}, {}".format(*node.shape)})
    return {"dtype": dtype, "bdata": base64.b64encode(node.astype(f"<{dtype}").tobytes()).decode(), **shape}


def _field(control: PlayerControl) -> str:
    """Return the HTML of a control, whose value is the number of a stop; the script reads the stops."""
    label, start = escape(control.label), control.start
    data = f'data-stops="{escape(json.dumps(list(control.stops)))}" data-help="{escape(control.help)}"'
    if control.named:
        options = "".join(
            f'<option value="{i}"{" selected" if i == start else ""}>{escape(stop)}</option>'
            for i, stop in enumerate(control.stops)
        )
        return f"<label><span>{label}</span><select {data}>{options}</select></label>"
    return (
        f'<label><span>{label}</span><input type="range" max="{len(control.stops) - 1}" value="{start}" '
        f'aria-label="{label}" {data}><output>{escape(control.stops[start])}</output></label>'
    )


def _share(node: Any, parts: dict[str, int]) -> Any:
    """Return a tree in which long objects and lists are references to parts, which may contain references too."""
    if isinstance(node, dict):
        tree: Any = {key: _share(value, parts) for key, value in node.items()}
    elif isinstance(node, list):
        tree = [_share(value, parts) for value in node]
    else:
        return node
    text = _json(tree)
    return {"$": parts.setdefault(text, len(parts))} if len(text) > SHARED else tree


def _json(tree: Any) -> str:
    """Return compact JSON."""
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
