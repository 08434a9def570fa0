"""The density of the Hessian's eigenvalues, with its error and the eigenvalues that are known by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from samviz.figures.arguments import given, index
from samviz.figures.series import SUBSCRIPTS
from samviz.figures.style import BLUE, GHOST, GREY, HALO, ORANGE, VERMILION, WORDS, Layout, Trace, axis, layout, title

if TYPE_CHECKING:
    from samviz.geometry import Eigenpairs, SpectralDensity

HEIGHT = 360  # pixels
BELOW = 10  # how far under the height of a single eigenvalue the picture ends


def density_figure(density: SpectralDensity, top: Eigenpairs | None = None, *, run: int = 0) -> dict[str, Any]:
    """A density of eigenvalues as plain plotly JSON, in which arrays stay numpy arrays.

    The dotted line is the height of a single eigenvalue; what is lower is the foot of a Gaussian. The two triangles
    are the ends of the spectrum. Whiskers are residuals; an eigenvalue that has not converged is an open circle.

    Args:
        density: from `spectral_density`.
        top: eigenpairs to mark, the first nine; None marks none.
        run: which run to draw.

    Returns:
        {"data": traces, "layout": layout}.

    >>> import torch
    >>> from samviz.geometry import spectral_density
    >>> from samviz.problems import quadratic
    >>> found = spectral_density(quadratic([1.0, 4.0]), torch.zeros(2))
    >>> [trace["name"] for trace in density_figure(found)["data"]]
    ['± 1 s.e.', 'density', 'one eigenvalue', 'ends']
    """
    given("density", density, "SpectralDensity", "geometry")
    if top is not None:
        given("top", top, "Eigenpairs", "geometry")
    index("run", run, len(density.nodes))
    traces, across, up = spectrum(density, run)
    if top is not None:
        parts = (part[run, : len(SUBSCRIPTS)].tolist() for part in (top.values, top.residuals, top.converged))
        values, residuals, converged = parts
        colors = [VERMILION, ORANGE, *[GREY] * len(values)][: len(values)]
        words = [WORDS.get(color, color) for color in colors]
        marks = _marks("top eigenvalues", values, _height(density, run), residuals)
        marks["marker"] = {"color": colors, "size": 8, "symbol": ["circle" if c else "circle-open" for c in converged]}
        marks |= {"mode": "markers+text", "textposition": "top center", "textfont": {"color": words, "shadow": HALO}}
        traces.append(marks | {"text": [f"λ{i}" for i in SUBSCRIPTS[: len(values)]]})
    probes = density.nodes.shape[1]
    sure = "exact" if density.exact else f"± 1 s.e. over {probes} probes" if probes > 1 else "one probe, error unknown"
    detail = f"of {density.dim:,}, each a Gaussian of width {density.width[run]:.2g}; {sure}"
    whole = layout(HEIGHT, margin={"l": 64, "r": 20, "t": 34, "b": 46})
    whole |= {"xaxis": axis((0, 1), "y", **across), "yaxis": axis((0, 1), "x", **up)}
    return {"data": traces, "layout": whole | {"annotations": [title("eigenvalue density", detail, 0, 1.02)]}}


def spectrum(density: SpectralDensity, run: int = 0) -> tuple[list[Trace], Layout, Layout]:
    """What one panel shows of a density: its traces, and what its two axes are told."""
    x, y, error = density.grid[run], density.density[run], density.standard_error[run]
    one = _height(density, run)
    floor = one / BELOW
    up, low = (np.maximum(y + side * error, floor / 10) for side in (1, -1))
    line: Trace = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
    ring = {"x": np.concatenate((x, x[::-1])), "y": np.concatenate((up, low[::-1])), "name": "± 1 s.e."}
    fill = {"fill": "toself", "fillcolor": "rgba(58,155,217,0.3)", "line": {"width": 0}}
    curve = {"x": x, "y": np.maximum(y, floor / 10), "name": "density"}
    curve["line"] = {"color": BLUE, "width": 1.8, "simplify": False}  # or its tops are cut
    single = {"x": x[[0, -1]], "y": np.full(2, one), "line": {"color": GREY, "width": 1, "dash": "dot"}}
    words: Trace = {"mode": "lines+text", "text": ["one eigenvalue", ""], "textposition": "top right"}
    words |= {"name": words["text"][0], "textfont": {"color": GREY, "size": 11, "shadow": HALO}}
    ends, residuals = (part[run] for part in density.edges)
    marks = _marks("ends", ends, 1.5 * floor, residuals)
    marks["marker"] = {"symbol": ["triangle-right", "triangle-left"], "color": GREY, "size": 9}
    across = {"title": {"text": "λ", "standoff": 4}, "zeroline": True, "zerolinecolor": GHOST, "range": x[[0, -1]]}
    span = [float(np.log10(floor)), float(np.log10(max(y.max(), one))) + 0.3]
    upward = {"type": "log", "exponentformat": "power", "dtick": 1, "range": span}
    return [line | ring | fill, line | curve, line | single | words, marks], across, upward


def _marks(name: str, x: Any, height: float, residuals: Any) -> Trace:
    whiskers = {"type": "data", "array": residuals, "color": GREY, "thickness": 1}
    places = {"x": x, "y": np.full(len(x), height), "hoverinfo": "x"}
    return {"type": "scatter", "mode": "markers", "name": name, "error_x": whiskers} | places


def _height(density: SpectralDensity, run: int) -> float:
    """The height of a single eigenvalue's Gaussian."""
    return float(1 / (density.dim * density.width[run] * np.sqrt(2 * np.pi)))
