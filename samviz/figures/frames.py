"""Pictures made beforehand, one for each combination of a few controls, for a page that has no kernel."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import prod
from pathlib import Path
from typing import Any

from samviz.figures.dark import recolour_js
from samviz.figures.page import coded

Drawing = tuple[dict[str, Any], str]
LONG = 40  # characters of JSON above which a part is kept only once


@dataclass(frozen=True)
class Dial:
    """One control: the stops at which pictures were made, as they are said."""

    label: str
    stops: Sequence[str]
    start: int  # of the stops, where it stands at first
    named: bool = False  # stops are names to choose from; otherwise numbers along a slider


def frames_data(name: str, dials: Sequence[Dial], drawings: Iterable[Drawing]) -> str:
    """The pictures as a script, which a page may load from the disk too; parts that are equal are kept once.

    Args:
        name: of this set of pictures; `frames_figure` asks for it.
        dials: the controls.
        drawings: for every combination of stops, those of the last dial changing fastest, a figure as plain plotly
            JSON and a sentence about it. Arrays are kept in single precision.

    Returns:
        JavaScript that puts {parts, pictures, sentences} into `samvizFrames[name]`. An object {"$": i} in a picture or
        a part stands for part i.

    Raises:
        ValueError: when there are not as many pictures as combinations.

    >>> dial = Dial("slope", ["0", "1"], 0)
    >>> drawings = [({"data": [{"y": [0, slope]}], "layout": {}}, f"It ends at {slope}.") for slope in (0, 1)]
    >>> print(frames_data("line", [dial], drawings))
    (globalThis.samvizFrames ??= {})["line"] = {"parts":[],"pictures":[{"data":[{"y":[0,0]}],"layout":{}},...
    """
    parts: dict[str, int] = {}
    pictures, sentences = [], []
    for figure, sentence in drawings:
        pictures.append(_interned(coded(figure, "f4"), parts))
        sentences.append(sentence)
    wanted = prod(len(dial.stops) for dial in dials)
    if len(pictures) != wanted:
        stops = " × ".join(str(len(dial.stops)) for dial in dials)
        raise ValueError(f"there are {len(pictures)} pictures; expected {stops} = {wanted}, one for each combination")
    whole = {"parts": [json.loads(part) for part in parts], "pictures": pictures, "sentences": sentences}
    return f"(globalThis.samvizFrames ??= {{}})[{json.dumps(name)}] = {_json(whole)};\n"


def frames_figure(name: str, dials: Sequence[Dial], description: str, still: str, height: int) -> str:
    """The place for the pictures in a page: the controls, a sentence, and a still that stands there before and without.

    Args:
        name: as given to `frames_data`.
        dials: the controls, as given there but for where they start.
        description: what the pictures show, for those who cannot see them.
        still: HTML of a picture.
        height: of the pictures, in pixels.

    Returns:
        HTML, alive in a page that has a script of `frames_js()`.

    >>> 'type="range" max="1" value="0"' in frames_figure("line", [Dial("slope", ["0", "1"], 0)], "a line", "", 300)
    True
    """
    words = escape(description)
    fields = "".join(map(_field, dials))
    return (
        f'<figure class="samviz-frames" data-frames="{escape(name)}"><div class="samviz-dials" hidden>{fields}</div>'
        '<p class="samviz-sentence" aria-hidden="true"></p><p class="samviz-spoken" aria-live="polite"></p>'
        f'<div class="samviz-scroll" role="group" aria-label="{words}" tabindex="0">'
        f'<div class="samviz-graph" style="min-height:{height}px">{still}</div></div></figure>'
    )


def frames_js() -> str:
    """The script that brings such figures to life, for a file from which `plotly.min.js` and `frames/NAME.js` are seen.

    Returns:
        JavaScript, the same for all pages.

    >>> "recolour" in frames_js()
    True
    """
    return f"(() => {{\n{recolour_js()}\n{VIEWER}}})();\n"


def _field(dial: Dial) -> str:
    """A labelled control, whose value is the number of a stop; the script reads the stops from its data."""
    label, stops, start = escape(dial.label), escape(json.dumps(list(dial.stops))), dial.start
    if dial.named:
        options = "".join(
            f'<option value="{i}"{" selected" if i == start else ""}>{escape(stop)}</option>'
            for i, stop in enumerate(dial.stops)
        )
        return f'<label><span>{label}</span><select data-stops="{stops}">{options}</select></label>'
    return (
        f'<label><span>{label}</span><input type="range" max="{len(dial.stops) - 1}" value="{start}" '
        f'data-stops="{stops}"><output>{escape(dial.stops[start])}</output></label>'
    )


def _interned(node: Any, parts: dict[str, int]) -> Any:
    """A tree in which long objects and lists are references to parts, which hold references themselves."""
    if isinstance(node, dict):
        made: Any = {key: _interned(value, parts) for key, value in node.items()}
    elif isinstance(node, list):
        made = [_interned(value, parts) for value in node]
    else:
        return node
    text = _json(made)
    return {"$": parts.setdefault(text, len(parts))} if len(text) > LONG else made


def _json(tree: Any) -> str:
    return json.dumps(tree, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


VIEWER = (Path(__file__).parent / "frames.js").read_text(encoding="utf-8")
