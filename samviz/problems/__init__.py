"""Losses to minimize: quadratics, the 4-D valley, networks on data, and any torch module."""

from samviz.problems.data import images, load
from samviz.problems.mlp import MLP, mlp
from samviz.problems.network import Network
from samviz.problems.problem import Problem
from samviz.problems.quadratic import Quadratic, quadratic
from samviz.problems.torch_model import Attached, Module, attach, from_module
from samviz.problems.valley import Valley, valley

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
