"""samviz: an interactive tutorial on how Sharpness-Aware Minimization minimizes sharpness.

The rooms, each looking only at those before it: `compiled` (kernels for the CPU), `problems` (what is minimized),
`geometry` (what is measured), `dynamics` (how it moves), `claims` (what the paper says), `figures` (what is drawn),
`lab` (what is touched), `panels` (the panels of the notebooks) and `probe` (what watches a training of one's own);
`optim` (SAM for one's own loop) stands alone. They load on first use, so that `import samviz` itself loads neither
torch nor plotly.

Example:
    >>> import samviz
    >>> run = samviz.Run(samviz.quadratic([3.0, 1.5, 1.0]), rule="sam", lr=0.1, rho=0.05)
    >>> run.step(10)
    >>> tuple(run.x.shape)
    (1, 3)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers, which cannot follow __getattr__
    from samviz.dynamics import Run
    from samviz.dynamics.sweep import sweep
    from samviz.geometry import landscape_of
    from samviz.lab import Lab
    from samviz.machine import lite
    from samviz.probe import Probe
    from samviz.problems import attach, from_module, mlp, quadratic, valley

__version__ = "0.1.0"

_ROOMS = ("problems", "geometry", "dynamics", "optim", "claims", "figures", "lab", "panels", "probe")
_HOMES = {
    "Lab": "lab",
    "Probe": "probe",
    "Run": "dynamics",
    "attach": "problems",
    "from_module": "problems",
    "landscape_of": "geometry",
    "lite": "machine",
    "mlp": "problems",
    "quadratic": "problems",
    "sweep": "dynamics",
    "valley": "problems",
}

__all__ = [
    "Lab",
    "Probe",
    "Run",
    "attach",
    "from_module",
    "landscape_of",
    "lite",
    "mlp",
    "quadratic",
    "sweep",
    "valley",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"samviz.{name}")
    if name in _HOMES:
        return getattr(import_module(f"samviz.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'samviz' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS, *_HOMES])
