"""A probe for a user's own training: it measures within a share of the time, and changes nothing."""

from samviz.probe.probe import MEASURES, Probe

__all__ = ["MEASURES", "Probe"]
