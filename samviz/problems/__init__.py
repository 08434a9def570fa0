"""Losses to minimize: quadratics, the 4-D valley, networks on data, and any torch module."""

from samviz.problems.closed_forms import Quadratic, Valley, quadratic, valley
from samviz.problems.data import images, load
from samviz.problems.network import MLP, Network, mlp
from samviz.problems.problem import Problem
from samviz.problems.torch_model import Attached, Module, attach, from_module

__all__ = [
    "MLP",
    "Attached",
    "Module",
    "Network",
    "Problem",
    "Quadratic",
    "Valley",
    "attach",
    "from_module",
    "images",
    "load",
    "mlp",
    "quadratic",
    "valley",
]
