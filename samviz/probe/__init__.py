"""A probe for a training of one's own: it measures within a share of the time, and leaves no trace."""

from samviz.probe.probe import MEASURES, Probe

__all__ = ["MEASURES", "Probe"]
