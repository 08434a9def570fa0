"""Figures of runs, sweeps, claims and slices of the loss: plain results in, plotly JSON out."""

from samviz.figures.claim import claim_figure
from samviz.figures.density import density_figure
from samviz.figures.export import save
from samviz.figures.heatmap import heatmap_figure
from samviz.figures.history import POINTS, probe_figure
from samviz.figures.lab import Frame, figure, lab_figure
from samviz.figures.landscape import heights, slice_figure
from samviz.figures.literature import literature_figure
from samviz.figures.seeds import seeds_figure

__all__ = [
    "POINTS",
    "Frame",
    "claim_figure",
    "density_figure",
    "figure",
    "heatmap_figure",
    "heights",
    "lab_figure",
    "literature_figure",
    "probe_figure",
    "save",
    "seeds_figure",
    "slice_figure",
]
