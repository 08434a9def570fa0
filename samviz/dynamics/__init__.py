"""Update rules, runs and their histories, limiting flows, and sweeps."""

from samviz.dynamics.history import History
from samviz.dynamics.minimum import descent, gradient_descent_minimum
from samviz.dynamics.rules import RULES, Rule, Settings, rule
from samviz.dynamics.run import Diverged, Run
from samviz.dynamics.sweep import Sweep, sweep
from samviz.dynamics.theory import (
    FlowLimit,
    LimitingFlow,
    edge_of_stability,
    gradient_flow_limit,
    limiting_flow,
    phase_boundary,
    tracking_error,
)

__all__ = [
    "RULES",
    "Diverged",
    "FlowLimit",
    "History",
    "LimitingFlow",
    "Rule",
    "Run",
    "Settings",
    "Sweep",
    "descent",
    "edge_of_stability",
    "gradient_descent_minimum",
    "gradient_flow_limit",
    "limiting_flow",
    "phase_boundary",
    "rule",
    "sweep",
    "tracking_error",
]
