"""The house stands as it was drawn: arrows go downward only, and each room keeps to its own tools."""

import ast
from pathlib import Path

import pytest
from fresh import python

PACKAGE = Path(__file__).parents[1] / "samviz"

# Each room may look into those below it.
BELOW = {
    "files": set(),
    "compiled": set(),
    "problems": {"compiled"},
    "geometry": {"problems"},
    "dynamics": {"files", "compiled", "problems", "geometry"},
    "optim": set(),
    "claims": {"problems", "geometry", "dynamics"},
    "figures": {"files", "problems", "geometry", "dynamics", "claims"},
    "lab": {"files", "problems", "geometry", "dynamics", "claims", "figures", "exercises"},
    "probe": {"problems", "geometry", "dynamics", "lab"},
    "machine": set(),
    "doctor": {"machine", "problems", "dynamics"},
    "exercises": set(),
    "verify": {"files", "claims", "figures"},
    "cli": {"files", "doctor", "verify", "exercises"},
    # samviz/__init__.py, which loads them when asked
    "": {"machine", "problems", "geometry", "dynamics", "optim", "claims", "figures", "lab", "probe"},
}
# Tools, and the rooms that may hold them.
KEPT = {
    "ipywidgets": {"lab"},
    "anywidget": {"lab"},
    "traitlets": {"lab"},
    "IPython": {"lab"},
    "asyncio": {"lab"},
    "threading": {"lab"},
    "concurrent": {"dynamics", "lab"},
    "multiprocessing": set(),
    "plotly": {"figures", "lab", "verify"},
    "torch": {"problems", "geometry", "dynamics", "optim", "claims", "lab", "probe", "doctor"},
    "jupyterlab": {"cli"},
    "voila": {"cli"},
    "argparse": {"cli"},
    "numba": {"compiled"},
    "llvmlite": {"compiled"},
    "matplotlib": set(),
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module):
    """The room of a path inside the package: the name of its folder or file, "" for samviz/__init__.py."""
    first = module.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported(source, module):
    """Full names of all that a module's source imports, wherever in it; `from a import b` counts as a.b."""
    package = ("samviz", *module.relative_to(PACKAGE).parent.parts)
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (start, node.module)))
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def faults(source, module):
    """What a module imports and may not."""
    room = room_of(module)
    found = []
    for name in sorted(imported(source, module)):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "samviz":
            if target in BELOW and target != room and target not in BELOW[room]:
                found.append(f"{room} looks up to {target}")
        elif room not in KEPT.get(top, {room}):
            found.append(f"{room} holds {top}")
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_go_downward(module):
    assert faults(module.read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("problems/a.py", "import samviz.geometry.trace", "problems looks up to geometry"),
        ("problems/a.py", "from samviz import dynamics", "problems looks up to dynamics"),
        ("geometry/a.py", "from ..dynamics import Run", "geometry looks up to dynamics"),
        ("geometry/a.py", "from ..dynamics.run import Run", "geometry looks up to dynamics"),
        ("dynamics/a.py", "def f():\n    from samviz.lab import Lab", "dynamics looks up to lab"),
        ("dynamics/a.py", "import threading", "dynamics holds threading"),
        ("figures/a.py", "import torch.nn as nn", "figures holds torch"),
        ("figures/a.py", "from ipywidgets import HTML", "figures holds ipywidgets"),
        ("figures/a.py", "from samviz.lab.view import View", "figures looks up to lab"),
        ("doctor.py", "from samviz.lab import Lab", "doctor looks up to lab"),
        ("__init__.py", "import torch", " holds torch"),
    ],
)
def test_a_fault_is_found(module, source, fault):
    assert faults(source, PACKAGE / module) == [fault]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "lab/a.py",
            "import asyncio\nfrom . import view\nfrom ..figures import plane\nfrom samviz import dynamics",
        ),
        ("geometry/a.py", "from .trace import hessian_trace\nfrom samviz import __version__\nimport torch, numpy"),
        ("dynamics/a.py", "from samviz.dynamics import rules"),
    ],
)
def test_what_is_right_is_no_fault(module, source):
    assert faults(source, PACKAGE / module) == []


def test_every_room_is_there():
    assert {room_of(module) for module in MODULES} == set(BELOW), "a new room: say in BELOW what it may look into"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_a_module_tells_one_thing(module):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 300


def loaded_by(statement):
    """Top names of all modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    ran = python("-c", code)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.split())


HEAVY = {"torch", "numpy", "plotly", "ipywidgets", "anywidget", "scipy", "sklearn", "pandas", "IPython", "jupyterlab"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import samviz; dir(samviz); samviz.__version__", HEAVY),
        ("import samviz.cli", HEAVY),
        ("import samviz.exercises", HEAVY - {"numpy"}),
        ("import samviz; samviz.lite()", HEAVY - {"numpy"}),
        ("import samviz; samviz.problems; samviz.dynamics; samviz.geometry", HEAVY - {"torch", "numpy"}),
        ("import samviz; samviz.figures", {"torch", "ipywidgets", "anywidget", "scipy", "sklearn"}),
    ],
)
def test_nothing_heavy_loads_before_its_first_use(statement, absent):
    assert loaded_by(statement) & absent == set()


def test_the_top_names_are_those_of_the_rooms():
    import samviz
    from samviz import dynamics, lab, problems

    assert samviz.Run is dynamics.Run
    assert samviz.sweep is dynamics.sweep
    assert samviz.Lab is lab.Lab
    for name in ("quadratic", "valley", "mlp", "from_module"):
        assert getattr(samviz, name) is getattr(problems, name)
    assert {*samviz.__all__, "problems", "geometry", "dynamics", "figures", "lab"} <= set(dir(samviz))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        samviz.nothing  # noqa: B018
