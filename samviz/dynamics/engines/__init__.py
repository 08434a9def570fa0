"""Ways of taking steps, all to the same trajectory: torch, compiled code on the CPU, graphs on the GPU."""

from samviz.dynamics.engines.choice import Engine, engine, longest
from samviz.dynamics.engines.stretch import Stretch

__all__ = ["Engine", "Stretch", "engine", "longest"]
