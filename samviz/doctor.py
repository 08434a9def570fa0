"""Check that the lab can run here, and print what to do if it cannot."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module, metadata
from typing import NamedTuple

from samviz import __version__

NEEDED = {"torch": "2.5", "numpy": "1.26", "plotly": "5.24", "scipy": "1.16", "tqdm": "4.66"}
NEEDED |= {"ipywidgets": "7.7", "anywidget": "0.9"}
WITH_LAB = 'pip install "samviz[lab]"'
MIN_SPEED = 200  # SAM steps a second: with fewer, the lab's figures no longer move


class Finding(NamedTuple):
    """One line of the report."""

    verdict: str  # ok, warning or FAIL: the lab cannot run
    subject: str
    facts: str
    remedy: str = ""


def doctor() -> int:
    """Print one line for each thing that the lab needs, with a remedy for each problem, and return the exit status."""
    failed = False
    for check in (_packages, _widget_manager, _machine, _speed):
        for verdict, subject, facts, remedy in check():
            print(f"{verdict:8}{subject:20}{facts}", flush=True)
            if verdict != "ok":
                print(f"{'':8}-> {remedy}", flush=True)
            failed = failed or verdict == "FAIL"
    print("The lab cannot run here: see the lines marked FAIL." if failed else "The lab can run here.")
    return int(failed)


def _packages() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("ok", "samviz", __version__)
    for name, minimum in NEEDED.items():
        yield _package(name, minimum, "FAIL", f'pip install -U "{name}>={minimum}"')
    yield _package("numba", "0.60", "warning", "pip install numba: small problems run many times faster")
    yield _package("ipykernel", "", "FAIL", WITH_LAB)
    yield _package("jupyterlab", "", "warning", f"{WITH_LAB}, unless you open notebooks in VS Code, Colab or similar")
    yield Finding("ok", "notebook", _version("notebook") or "not installed, and not needed with JupyterLab")


def _package(name: str, minimum: str, if_missing: str, remedy: str) -> Finding:
    """Import a package and compare its version with the oldest that works."""
    try:
        import_module(name)
    except Exception as error:  # a broken installation can raise anything, which is the finding here
        return Finding(if_missing, name, f"cannot be loaded ({error})", remedy)
    version = _version(name) or ""
    if _version_parts(version) < _version_parts(minimum):
        return Finding("FAIL", name, f"{version} is older than {minimum}", remedy)
    return Finding("ok", name, version)


def _widget_manager() -> Iterator[Finding]:
    """Compare the version of JupyterLab's package that draws widgets with that of ipywidgets."""
    ipywidgets, manager = _version("ipywidgets"), _version("jupyterlab_widgets")
    if ipywidgets is None or _version("jupyterlab") is None:
        return  # reported by _packages
    major = {7: 1, 8: 3}.get(_version_parts(ipywidgets)[0])
    matches = manager is not None and major in (None, _version_parts(manager)[0])
    facts = f"{manager or 'not installed'}, with ipywidgets {ipywidgets}"
    remedy = "pip install -U ipywidgets jupyterlab_widgets"
    yield Finding("ok" if matches else "FAIL", "jupyterlab_widgets", facts, remedy)


def _machine() -> Iterator[Finding]:
    """Report memory, device, and how much the notebooks compute; _packages reports a package that is missing."""
    with suppress(ImportError):
        import psutil  # a dependency of ipykernel

        free = psutil.virtual_memory().available / 2**30
        remedy = "shut down other kernels and programs; a lab takes up to 0.7 GiB"
        yield Finding("ok" if free > 1 else "warning", "memory", f"{free:.1f} GiB free", remedy)
    with suppress(Exception):  # a broken installation can raise anything
        import torch

        mps = "; MPS on request, in float32" if torch.backends.mps.is_available() else ""
        cpu = f"CPU ({torch.get_num_threads()} threads), float64{mps}"
        cuda = torch.cuda.is_available()
        yield Finding("ok", "device", f"CUDA ({torch.cuda.get_device_name()}), float64" if cuda else cpu)
    with suppress(ImportError):
        from samviz.machine import lite

        lines = "in full; SAMVIZ_LITE=1 for less", "lite: they compute less here; SAMVIZ_LITE=0 for all"
        yield Finding("ok", "notebooks", lines[lite()])


def _speed() -> Iterator[Finding]:
    try:
        speed = _steps_per_second()
    except Exception as error:
        remedy = "repair what is marked above; if nothing is, please report this with all of these lines"
        yield Finding("FAIL", "speed", f"SAM cannot run ({type(error).__name__}: {error})", remedy)
        return
    remedy = "stop other programs that keep this machine busy; the lab runs, but slowly"
    facts = f"{speed:,.0f} steps of SAM a second (MLP 1-24-24-1)"
    yield Finding("ok" if speed >= MIN_SPEED else "warning", "speed", facts, remedy)


def _steps_per_second() -> float:
    """Measure SAM on the tutorial's network for a second."""
    from samviz.dynamics import Run
    from samviz.problems import mlp

    run = Run(mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse"), "sam", lr=0.05, rho=0.005, device="cpu")
    run.step(50)
    start = time.perf_counter()
    while time.perf_counter() - start < 1:
        run.step(50)
    return (run.steps - 50) / (time.perf_counter() - start)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _version_parts(version: str) -> tuple[int, ...]:
    """Return the major and minor version."""
    return tuple(int(each) for each in re.findall(r"\d+", version)[:2])
