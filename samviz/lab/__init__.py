"""What is touched: the live lab, its view and the loop that drives it."""

from samviz.lab.lab import Lab

__all__ = ["Lab"]
