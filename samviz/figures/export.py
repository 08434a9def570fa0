"""Figures as files: a page that needs neither network nor kernel, a PNG or an SVG."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

from samviz.figures.player import Drawing, Plain, PlayerControl, encoded, player_data, player_html, player_js
from samviz.figures.style import FONT
from samviz.files import write

SIZE = 1100, 450  # width and height in pixels of a figure whose layout has none
REMEDY = "run `pip install kaleido` and install Chrome or Chromium; a .html needs neither"


def save(figure: Any, path: str | os.PathLike[str]) -> Path:
    """Write a figure to a file, atomically.

    Args:
        figure: plain plotly JSON, as every `..._figure` returns it; a `plotly.graph_objects.Figure`; or an object with
            one of these as its attribute `figure`, such as a lab or a panel. Named frames get a slider and a play
            button, unless the layout has sliders or buttons.
        path: ends in .html for a page that needs neither network nor kernel, in .png (two dots per pixel) or in .svg.

    Returns:
        The path.

    Raises:
        ValueError: if the path has another ending or is a folder.
        FileNotFoundError: if its folder does not exist.
        TypeError: if it is not a figure.
        RuntimeError: if a PNG or an SVG cannot be drawn here, with the remedy.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save({"data": [{"y": [0, 1]}], "layout": {}}, f"{folder}/line.html").name
    'line.html'
    """
    file = check_path(path, ".html", ".png", ".svg")
    found = getattr(figure, "figure", figure)
    plain = found.to_plotly_json() if hasattr(found, "to_plotly_json") else found
    if not isinstance(plain, Mapping) or "data" not in plain:
        raise TypeError(f"figure is a {type(figure).__name__}; expected plotly JSON, a plotly Figure, a lab or a panel")
    plain = {"layout": {}} | dict(plain)
    if file.suffix != ".html":
        return write(file, image(plain, file.suffix[1:], scale=2))
    drawings, stops = [(plain, "")], []
    if not (plain["layout"].get("sliders") or plain["layout"].get("updatemenus")):
        stops = [frame["name"] for frame in plain.get("frames", []) if frame.get("name")]
    if stops:
        figures = accumulate(plain["frames"], _after, initial={key: plain[key] for key in ("data", "layout")})
        drawings = [(each, "") for each, frame in zip([*figures][1:], plain["frames"]) if frame.get("name")]
    return write(file, page(file.stem, drawings, stops).encode())


def page(
    title: str, drawings: Sequence[Drawing], stops: Sequence[str] = (), *, before: str = "", after: str = ""
) -> str:
    """Return a page with one figure, or with a player whose slider chooses one of several figures.

    The page follows the color scheme of the reader's system.

    Args:
        title: plain text, also read to readers who cannot see the figure.
        drawings: figures as plotly JSON, each with a sentence.
        stops: the slider's text for each of several figures; the last figure is shown first.
        before: HTML above the figure.
        after: HTML below it.
    """
    from plotly.offline import get_plotlyjs

    controls = [PlayerControl("picture", stops, len(stops) - 1)] if stops else []
    layout = drawings[-1][0]["layout"]
    width, height = (layout.get(name) or size for name, size in zip(("width", "height"), SIZE))
    sized = [(figure | {"layout": {"height": height} | figure["layout"]}, sentence) for figure, sentence in drawings]
    return PAGE.format(
        title=escape(title),
        before=before,
        after=after,
        plotly=get_plotlyjs(),
        data=player_data("page", controls, sized, "f8"),
        player=player_html("page", controls, title, "", height, zoom=True),
        script=player_js(),
        width=width,
        font=FONT,
    )


def image(plain: Plain, format: str, scale: float = 1) -> bytes:
    """Return the content of a picture file.

    Args:
        plain: plotly JSON.
        format: "png" or "svg".
        scale: dots per pixel of a PNG.

    Raises:
        RuntimeError: if it cannot be drawn here, with the remedy.
    """
    from plotly.io import to_image

    still = {key: encoded(plain.get(key, {})) for key in ("data", "layout")}
    width, height = (still["layout"].get(name) or size for name, size in zip(("width", "height"), SIZE))
    try:
        return bytes(to_image(still, format, width, height, scale, validate=False))
    except (ImportError, ValueError, RuntimeError) as error:
        raise RuntimeError(f"no {format.upper()} could be drawn ({type(error).__name__}); {REMEDY}") from error


def check_path(path: str | os.PathLike[str], *suffixes: str) -> Path:
    """Return the path of a file that can be written and has one of the suffixes, or raise as `save` does."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path is {path!r}; expected a file that ends in {' or '.join(suffixes)}")
    file = Path(path)
    if file.suffix not in suffixes or file.is_dir():
        raise ValueError(f"path is {str(file)!r}; expected a file that ends in {' or '.join(suffixes)}")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"path is {str(file)!r}, but there is no folder {str(file.parent)!r}; make it first")
    return file


def _after(figure: Plain, frame: Plain) -> Plain:
    """Return a figure after one of its plotly frames, which changes the named traces and the layout."""
    data = list(figure["data"])
    for number, change in zip(frame.get("traces", range(len(data))), frame.get("data", [])):
        data[number] = _merged(data[number], change)
    return {"data": data, "layout": _merged(figure["layout"], frame.get("layout", {}))}


def _merged(tree: Any, change: Any) -> Any:
    """Return a tree with the changes of another one; lists are replaced."""
    if not isinstance(tree, dict) or not isinstance(change, dict):
        return change
    return tree | {key: _merged(tree.get(key), value) for key, value in change.items()}


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
:root {{ --ink: #1b2733; --ground: white; --accent: #0072b2; --wrong: #b3261e; color-scheme: light dark }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #dfe6ee; --ground: #14191f; --accent: #3f97e8; --wrong: #ff8a80 }}
}}
body {{ font: 16px/1.5 {font}; color: var(--ink); background: var(--ground) }}
body {{ max-width: {width}px; margin: 2em auto; padding: 0 1em }} .fails {{ color: var(--wrong); font-weight: bold }}
table {{ border-collapse: collapse; margin: 1em 0 }} td, th {{ text-align: left; padding: 3px 14px 3px 0 }}
figure {{ margin: 1em 0 }} .samviz-scroll {{ overflow-x: auto }} .samviz-graph {{ min-width: 560px }}
:focus-visible {{ outline: 3px solid var(--accent); outline-offset: 2px }}
.modebar:focus-within {{ opacity: 1 !important }}
.samviz-controls:not([hidden]), label {{ display: flex; align-items: center; flex-wrap: wrap; gap: 4px 16px }}
label {{ flex: 1 1 20em }} input {{ flex: 1 1 8em; min-width: 0; height: 28px; accent-color: var(--accent) }}
button {{ font: inherit; font-weight: 600; width: 7em; min-height: 36px; border: 0; border-radius: 6px }}
button {{ color: var(--ground); background: var(--accent); cursor: pointer }}
output {{ min-width: 7em; font-weight: 600 }} .samviz-sentence:empty {{ display: none }}
.samviz-spoken {{ position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%) }}
</style></head><body>
{before}{player}{after}
<script>{plotly}</script><script>{data}</script><script>{script}</script>
</body></html>
"""
