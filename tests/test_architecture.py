"""Subpackages import only from those below them, and each third-party package stays where it belongs."""

import ast
from pathlib import Path

import pytest
from fresh import python

PACKAGE = Path(__file__).parents[1] / "samviz"

# What each subpackage may import.
BELOW = {
    "files": set(),
    "checks": set(),
    "kernels": set(),
    "problems": {"kernels"},
    "geometry": {"problems"},
    "dynamics": {"files", "kernels", "problems", "geometry"},
    "optim": {"problems"},
    "claims": {"problems", "geometry", "dynamics"},
    "figures": {"files", "problems", "geometry", "dynamics", "claims"},
    "lab": {"files", "problems", "geometry", "dynamics", "claims", "figures", "course"},
    "panels": {"problems", "geometry", "dynamics", "claims", "figures", "lab"},
    "probe": {"problems", "geometry", "dynamics", "figures", "lab"},
    "machine": set(),
    "doctor": {"machine", "problems", "dynamics"},
    "course": set(),
    "verify": {"files", "claims", "figures"},
    "server": set(),
    "cli": {"files", "doctor", "verify", "course"},
    "__main__": {"cli"},
    # samviz/__init__.py, which loads them when asked
    "": {"machine", "problems", "geometry", "dynamics", "optim", "claims", "figures", "lab", "panels", "probe"},
}
# Packages, and the subpackages that may import them.
IMPORTED_BY = {
    "ipywidgets": {"lab"},
    "anywidget": {"lab"},
    "traitlets": {"lab"},
    "IPython": {"lab"},
    "asyncio": {"lab"},
    "threading": {"lab", "probe"},
    "concurrent": {"dynamics", "lab"},
    "multiprocessing": set(),
    "plotly": {"figures", "lab", "verify"},
    "torch": {"checks", "problems", "geometry", "dynamics", "optim", "claims", "lab", "panels", "probe", "doctor"},
    "jupyterlab": {"cli"},
    "jupyter_server": {"server"},
    "voila": {"cli"},
    "argparse": {"cli"},
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "matplotlib": set(),
}
# What every subpackage may import.
SHARED = {"checks"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def subpackage_of(module):
    """The subpackage of a path inside the package: the name of its folder or file, "" for samviz/__init__.py."""
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
    subpackage = subpackage_of(module)
    found = []
    for name in sorted(imported(source, module)):
        top, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if top == "samviz":
            if target in BELOW and target != subpackage and target not in BELOW[subpackage] | SHARED:
                found.append(f"{subpackage} may not import {target}")
        elif subpackage not in IMPORTED_BY.get(top, {subpackage}):
            found.append(f"{subpackage} may not import {top}")
    return found


def test_subpackages_import_only_from_those_below_them():
    found = {module.relative_to(PACKAGE): faults(module.read_text(encoding="utf-8"), module) for module in MODULES}
    assert {module: wrong for module, wrong in found.items() if wrong} == {}


def test_every_subpackage_is_listed():
    assert {subpackage_of(module) for module in MODULES} == set(BELOW), (
        "list a new subpackage in BELOW, with what it may import"
    )


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
        ("import samviz.course", HEAVY - {"numpy"}),
        ("import samviz; samviz.lite()", HEAVY - {"numpy"}),
        ("import samviz; samviz.problems; samviz.dynamics; samviz.geometry", HEAVY - {"torch", "numpy"}),
        ("import samviz; samviz.figures", {"torch", "ipywidgets", "anywidget", "scipy", "sklearn"}),
    ],
)
def test_nothing_heavy_loads_before_its_first_use(statement, absent):
    assert loaded_by(statement) & absent == set()


def test_the_top_names_are_those_of_the_subpackages():
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
