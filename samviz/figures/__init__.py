"""What is drawn: plain results in, plotly figures out."""

from samviz.figures.claim import claim_figure
from samviz.figures.lab import Frame, figure, lab_figure
from samviz.figures.scene import heights
from samviz.figures.series import POINTS

__all__ = ["POINTS", "Frame", "claim_figure", "figure", "heights", "lab_figure"]
