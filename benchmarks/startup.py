"""What an import costs, each time in a fresh process."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.row import Measured
from benchmarks.timing import Side, alternate


def imports(seconds: float) -> Measured:
    """A process that imports samviz against one that imports torch, Python's own start included in both."""
    ours, peer = alternate(process("samviz"), process("torch"), seconds=seconds, least=2, most=9, units=1)
    return Measured(ours.seconds, peer.seconds, set(ours.results) == {0}, set(peer.results) == {0})


def process(module: str) -> Side:
    """A side that imports a module in a process of its own and returns the largest exit status."""
    command = [sys.executable, "-c", f"import {module}; {module}.__version__"]
    return lambda n: max(subprocess.run(command, check=False).returncode for _ in range(n))
