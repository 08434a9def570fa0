"""What is touched: the live lab, panels of one's own, their views and the loop that drives them."""

from samviz.lab.controls import Button, Choice, Slider, Switch, decades
from samviz.lab.experiments.ablation import ablation_panel, figure_one_panel
from samviz.lab.experiments.batches import batch_panel
from samviz.lab.experiments.cycle import cycle_panel
from samviz.lab.experiments.flow import flow_panel
from samviz.lab.experiments.landscapes import landscapes_panel, slice_panel
from samviz.lab.experiments.minibatch import alignment_panel
from samviz.lab.experiments.sharpness import sharpness_panel
from samviz.lab.experiments.sweep import sweep_panel
from samviz.lab.lab import Lab
from samviz.lab.panel import Panel
from samviz.lab.quiz import quiz

__all__ = [
    "Button",
    "Choice",
    "Lab",
    "Panel",
    "Slider",
    "Switch",
    "ablation_panel",
    "alignment_panel",
    "batch_panel",
    "cycle_panel",
    "decades",
    "figure_one_panel",
    "flow_panel",
    "landscapes_panel",
    "quiz",
    "sharpness_panel",
    "slice_panel",
    "sweep_panel",
]
