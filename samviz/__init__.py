"""samviz: an interactive tutorial on how Sharpness-Aware Minimization minimizes sharpness.

Each subpackage imports only from those before it: `kernels` (code compiled by numba), `problems` (losses), `geometry`
(measurements of a loss), `dynamics` (update rules, runs, flows, sweeps), `claims` (the statements of the paper),
`figures`, `lab` (widgets), `panels` (the panels of the notebooks) and `probe` (measurements of your own training);
`optim` (SAM as an optimizer) uses only `problems`. They load on first use, so that `import samviz` itself loads neither
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

_SUBPACKAGES = ("problems", "geometry", "dynamics", "optim", "claims", "figures", "lab", "panels", "probe")
_MODULES = {"Lab": "lab", "Probe": "probe", "Run": "dynamics", "landscape_of": "geometry", "lite": "machine"}
_MODULES |= {"sweep": "dynamics"} | dict.fromkeys(("attach", "from_module", "mlp", "quadratic", "valley"), "problems")


def __getattr__(name: str) -> Any:
    if name in _SUBPACKAGES:
        return import_module(f"samviz.{name}")
    if name in __all__:
        return getattr(import_module(f"samviz.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'samviz' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBPACKAGES, *__all__])
