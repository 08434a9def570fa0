"""A figure as a file: a page, a PNG or an SVG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samviz.figures.page import SIZE, coded, page
from samviz.files import write

REMEDY = "run `pip install kaleido` and install Chrome or Chromium; a .html needs neither"


def save(figure: Any, path: str | os.PathLike[str]) -> Path:
    """Write a figure to a file, whole or not at all.

    Args:
        figure: plain plotly JSON, as every `..._figure` and `replay` give it; a `plotly.graph_objects.Figure`; or what
            has one of these as its `figure`: a lab, a panel.
        path: ends in .html for a page that needs neither network nor kernel, in .png (two dots a pixel) or in .svg.

    Returns:
        Where it is.

    Raises:
        ValueError: when the path ends otherwise or is a folder.
        FileNotFoundError: when its folder is not there.
        TypeError: when it is no figure.
        RuntimeError: when a PNG or an SVG cannot be drawn here, with the remedy.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     save({"data": [{"y": [0, 1]}], "layout": {}}, f"{folder}/line.html").name
    'line.html'
    """
    file = place(path, ".html", ".png", ".svg")
    known = getattr(figure, "figure", figure)
    plain = known.to_plotly_json() if hasattr(known, "to_plotly_json") else known
    if not isinstance(plain, Mapping) or "data" not in plain:
        raise TypeError(f"figure is a {type(figure).__name__}; expected plotly JSON, a plotly Figure, a lab or a panel")
    if file.suffix == ".html":
        return write(file, page(file.stem, dict(plain)).encode())
    return write(file, image(dict(plain), file.suffix[1:], scale=2))


def image(plain: dict[str, Any], format: str, scale: float = 1) -> bytes:
    """A still picture.

    Args:
        plain: plotly JSON, as every `..._figure` gives it.
        format: "png" or "svg".
        scale: dots per pixel of a PNG.

    Returns:
        The file's content.

    Raises:
        RuntimeError: when it cannot be drawn here, with the remedy.
    """
    from plotly.io import to_image

    still = {"data": coded(plain["data"]), "layout": coded(plain.get("layout", {}))}
    width, height = (still["layout"].get(name) or size for name, size in zip(("width", "height"), SIZE))
    try:
        return bytes(to_image(still, format, width, height, scale, validate=False))
    except (ImportError, ValueError, RuntimeError) as error:
        raise RuntimeError(f"no {format.upper()} could be drawn ({type(error).__name__}); {REMEDY}") from error


def place(path: str | os.PathLike[str], *suffixes: str) -> Path:
    """A path that can be written to; asked before work is done for it.

    Args:
        path: of a file.
        suffixes: what it may end in.

    Returns:
        The path.

    Raises:
        TypeError: when it is no path.
        ValueError: when it ends otherwise or is a folder.
        FileNotFoundError: when its folder is not there.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path is {path!r}; expected a file that ends in {' or '.join(suffixes)}")
    file = Path(path)
    if file.suffix not in suffixes or file.is_dir():
        raise ValueError(f"path is {str(file)!r}; expected a file that ends in {' or '.join(suffixes)}")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"path is {str(file)!r}, but there is no folder {str(file.parent)!r}; make it first")
    return file
