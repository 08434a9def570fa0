"""The panels of the notebooks: each module computes, draws and describes one panel, or a few on one topic.

Each function returns a `samviz.lab.Panel`, to be left as the last line of a cell. A new panel is a new module here and
one import line below.
"""

from samviz.panels.batch_sizes import alignment_panel as alignment_panel
from samviz.panels.batch_sizes import batch_panel as batch_panel
from samviz.panels.batch_sizes import one_sample_panel as one_sample_panel
from samviz.panels.beyond import batch_sharpness_panel as batch_sharpness_panel
from samviz.panels.beyond import cross_entropy_panel as cross_entropy_panel
from samviz.panels.beyond import edge_panel as edge_panel
from samviz.panels.beyond import generalization_panel as generalization_panel
from samviz.panels.beyond import micro_batch_panel as micro_batch_panel
from samviz.panels.beyond import momentum_panel as momentum_panel
from samviz.panels.beyond import normalization_panel as normalization_panel
from samviz.panels.beyond import practice_panel as practice_panel
from samviz.panels.beyond import rates_panel as rates_panel
from samviz.panels.beyond import scale_panel as scale_panel
from samviz.panels.landscape_planes import landscapes_panel as landscapes_panel
from samviz.panels.landscape_planes import slice_panel as slice_panel
from samviz.panels.sine_network import closing_gap_panel as closing_gap_panel
from samviz.panels.sine_network import first_change_panel as first_change_panel
from samviz.panels.square import square_panel as square_panel
from samviz.panels.sweep_maps import sweep_panel as sweep_panel
from samviz.panels.three_sharpnesses import sharpness_panel as sharpness_panel
from samviz.panels.two_cycle import cycle_panel as cycle_panel
from samviz.panels.valley import ablation_panel as ablation_panel
from samviz.panels.valley import flow_panel as flow_panel

__all__ = [name for name in dir() if name.endswith("_panel")]
