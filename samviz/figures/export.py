"""Figures as files: a page that needs neither network nor kernel, a PNG or an SVG."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from samviz.figures.player import Drawing, Plain, PlayerControl, encoded, player_data, player_html, player_js
from samviz.figures.style import FONT
from samviz.files import file_in_existing_folder, write

SIZE = 1100, 450  # width and height in pixels of a figure whose layout has none
PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
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
    frames = [frame for frame in plain.get("frames", []) if frame.get("name")]
    if not frames or plain["layout"].get("sliders") or plain["layout"].get("updatemenus"):
        return write(file, page(file.stem, [(plain, "")]).encode())
    from plotly.graph_objects import Figure

    shown, drawings = Figure({"data": plain["data"], "layout": plain["layout"]}), []
    for frame in frames:
        for number, change in zip(frame.get("traces", range(len(shown.data))), frame.get("data", [])):
            shown.data[number].update(change)
        drawings.append((shown.update_layout(frame.get("layout", {})).to_plotly_json(), ""))
    return write(file, page(file.stem, drawings, [frame["name"] for frame in frames]).encode())


def page(
    title: str, drawings: Sequence[Drawing], stops: Sequence[str] = (), *, before: str = "", after: str = ""
) -> str:
    """Return a page: HTML before and after a figure and its sentence, or with stops a slider that chooses a figure."""
    from plotly.offline import get_plotlyjs

    controls = [PlayerControl("picture", stops, len(stops) - 1)] if stops else []  # the last one is shown first
    layout = drawings[-1][0]["layout"]
    width, height = (layout.get(name) or size for name, size in zip(("width", "height"), SIZE))
    sized = [(figure | {"layout": {"height": height} | figure["layout"]}, sentence) for figure, sentence in drawings]
    parts = {"before": before, "after": after, "plotly": get_plotlyjs(), "script": player_js()}
    parts |= {"data": player_data("page", controls, sized, "f8"), "width": width, "font": FONT}
    player = player_html("page", controls, title, "", height, zoom=True)
    return Template(PAGE).substitute(parts, title=escape(title), player=player)


def image(plain: Plain, format: str, scale: float = 1) -> bytes:
    """Return the content of a PNG, with so many dots per pixel, or an SVG; raise RuntimeError with the remedy."""
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
    return file_in_existing_folder(file)
