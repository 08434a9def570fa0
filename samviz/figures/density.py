"""The density of the Hessian's eigenvalues, with its standard error and the largest eigenvalues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from samviz.figures.drawing import LOG, Layout, Trace, add_axes, band, line, marks, new_layout
from samviz.figures.style import BLUE, GHOST, GREY, HALO, ORANGE, SKY, TEXT_COLORS, VERMILION

if TYPE_CHECKING:
    from samviz.geometry import Eigenpairs, SpectralDensity

SUBSCRIPTS = "₁₂₃₄₅₆₇₈₉"


def density_figure(density: SpectralDensity, top: Eigenpairs | None = None, *, run: int = 0) -> dict[str, Any]:
    """Draw a density of eigenvalues as plain plotly JSON, in which arrays stay numpy arrays.

    The dotted line is the height of a single eigenvalue; lower values are the tails of Gaussians. The two triangles are
    the ends of the spectrum. Whiskers are residuals; an eigenvalue that has not converged is an open circle.

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
    from samviz.checks import check_int, check_type
    from samviz.geometry import Eigenpairs, SpectralDensity

    check_type("density", density, SpectralDensity, "a SpectralDensity of samviz.geometry")
    check_type("top", top, (Eigenpairs, type(None)), "Eigenpairs of samviz.geometry, or None")
    runs, probes = density.nodes.shape[:2]
    check_int("run", run, f"0 to {runs - 1}", 0, runs - 1)
    traces, x, y = density_panel(density, run)
    if top is not None:
        values, residuals, converged = (
            part[run, : len(SUBSCRIPTS)].tolist() for part in (top.values, top.residuals, top.converged)
        )
        colors = [VERMILION, ORANGE, *[GREY] * len(values)][: len(values)]
        symbols = ["circle" if c else "circle-open" for c in converged]
        pairs = _marks("top eigenvalues", values, _single_height(density, run), residuals, colors, 8, symbols)
        font = {"color": [TEXT_COLORS.get(color, color) for color in colors], "shadow": HALO}
        names = {"text": [f"λ{i}" for i in SUBSCRIPTS[: len(values)]], "textposition": "top center", "textfont": font}
        traces.append(pairs | names | {"mode": "markers+text"})
    error = "exact" if density.exact else f"± 1 s.e. over {probes} probes" if probes > 1 else "one probe, error unknown"
    detail = f"of {density.dim:,}, each a Gaussian of width {density.width[run]:.2g}; {error}"
    layout = new_layout(360, left=64, right=20, top=34, bottom=46)
    add_axes(layout, 1, (0, 1), (0, 1), ("eigenvalue density", detail), x=x, y=y)
    return {"data": traces, "layout": layout}


def density_panel(density: SpectralDensity, run: int = 0) -> tuple[list[Trace], Layout, Layout]:
    """Return the traces of a density, and the properties of the horizontal and the vertical axis."""
    x, y, error = density.grid[run], density.density[run], density.standard_error[run]
    single = _single_height(density, run)
    floor = single / 10
    low, high = (np.maximum(y + side * error, floor / 10) for side in (-1, 1))
    curve = line(x, np.maximum(y, floor / 10), "density", BLUE, 1.8, hoverinfo="skip")
    curve["line"]["simplify"] = False  # plotly would cut its peaks
    label = {"text": ["one eigenvalue", ""], "textposition": "top right"}
    font = {"textfont": {"color": GREY, "size": 11, "shadow": HALO}, "hoverinfo": "skip"}
    height = line(x[[0, -1]], np.full(2, single), "one eigenvalue", GREY, 1, "dot", **label | font)
    ends, residuals = (part[run] for part in density.edges)
    triangles = _marks("ends", ends, 1.5 * floor, residuals, GREY, 9, ["triangle-right", "triangle-left"])
    xaxis = {"label": "λ", "standoff": 4, "zeroline": True, "zerolinecolor": GHOST, "range": x[[0, -1]]}
    span = [float(np.log10(floor)), float(np.log10(max(y.max(), single))) + 0.3]
    area = band(x, low, high, "± 1 s.e.", SKY, 0.3)
    return [area, curve, height | {"mode": "lines+text"}, triangles], xaxis, LOG | {"dtick": 1, "range": span}


def _marks(name: str, x: Any, height: float, residuals: Any, color: Any, size: float, symbols: list[str]) -> Trace:
    """Return marks at one height, with the residuals as whiskers."""
    whiskers = {"type": "data", "array": residuals, "color": GREY, "thickness": 1}
    return marks(
        x, np.full(len(x), height), name, color, size, symbols, error_x=whiskers, hovertemplate="%{x}<extra></extra>"
    )


def _single_height(density: SpectralDensity, run: int) -> float:
    """Return the height of the Gaussian of a single eigenvalue."""
    return float(1 / (density.dim * density.width[run] * np.sqrt(2 * np.pi)))
