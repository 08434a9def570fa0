"""How it moves: update rules, the run loop and its record."""

from samviz.dynamics.edge import edge_of_stability
from samviz.dynamics.history import History
from samviz.dynamics.minimum import descent, gradient_descent_minimum
from samviz.dynamics.rules import RULES
from samviz.dynamics.run import Diverged, Run
from samviz.dynamics.settings import Settings

__all__ = [
    "RULES",
    "Diverged",
    "History",
    "Run",
    "Settings",
    "descent",
    "edge_of_stability",
    "gradient_descent_minimum",
]
