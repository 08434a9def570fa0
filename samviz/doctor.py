"""What `samviz doctor` says: what the lab stands on here, and what to do about what is wrong."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from typing import NamedTuple

from samviz import __version__

NEEDED = {"torch": "2.5", "numpy": "1.26", "plotly": "5.24", "scipy": "1.16", "tqdm": "4.66"}
NEEDED |= {"ipywidgets": "7.7", "anywidget": "0.9"}
WITH_LAB = 'pip install "samviz[lab]"'
OTHER_HOST = f"{WITH_LAB}, unless VS Code, Colab or the like opens your notebooks"
LEAST_SPEED = 200  # SAM steps a second: with fewer, the lab's pictures no longer move


class Finding(NamedTuple):
    """One line of the report."""

    verdict: str  # ok, warning or FAIL: without this the lab cannot run
    about: str
    facts: str
    remedy: str = ""


def doctor() -> int:
    """Print a line on everything that the lab stands on, with a remedy below what is not well.

    Returns:
        The exit status: 1 if the lab cannot run here.
    """
    failed = False
    for check in (_system, _packages, _widget_manager, _memory, _device, _speed, _mode):
        for verdict, about, facts, remedy in check():
            print(f"{verdict:8}{about:20}{facts}", flush=True)
            if verdict != "ok":
                print(f"{'':8}-> {remedy}", flush=True)
            failed = failed or verdict == "FAIL"
    print("The lab cannot run here: see the lines marked FAIL." if failed else "The lab can run here.")
    return int(failed)


def _system() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("ok", "samviz", __version__)


def _packages() -> Iterator[Finding]:
    for name, least in NEEDED.items():
        yield _package(name, least, "FAIL", f'pip install -U "{name}>={least}"')
    yield _package("numba", "0.60", "warning", "pip install numba: small problems run many times faster")
    yield _package("ipykernel", "", "FAIL", WITH_LAB)
    yield _package("jupyterlab", "", "warning", OTHER_HOST)
    yield Finding("ok", "notebook", _version("notebook") or "not here, and not needed beside JupyterLab")


def _package(name: str, least: str, if_not_loaded: str, remedy: str) -> Finding:
    try:
        import_module(name)
    except Exception as error:  # a broken installation raises anything at all, and here that is the finding
        return Finding(if_not_loaded, name, f"cannot be loaded ({error})", remedy)
    version = _version(name) or ""
    if _numbers(version) < _numbers(least):
        return Finding("FAIL", name, f"{version} is older than {least}", remedy)
    return Finding("ok", name, version)


def _widget_manager() -> Iterator[Finding]:
    """JupyterLab draws widgets by a package whose version must go with that of ipywidgets."""
    ipywidgets, manager = _version("ipywidgets"), _version("jupyterlab_widgets")
    if ipywidgets is None or _version("jupyterlab") is None:
        return  # said above
    wanted = {7: 1, 8: 3}.get(_numbers(ipywidgets)[0])
    matches = manager is not None and wanted in (None, _numbers(manager)[0])
    facts = f"{manager or 'not here'}, with ipywidgets {ipywidgets}"
    remedy = "pip install -U ipywidgets jupyterlab_widgets"
    yield Finding("ok" if matches else "FAIL", "jupyterlab_widgets", facts, remedy)


def _memory() -> Iterator[Finding]:
    try:
        import psutil  # comes with ipykernel
    except ImportError:
        return
    free = psutil.virtual_memory().available / 2**30
    remedy = "shut down other kernels and programs; a lab takes up to 0.7 GiB"
    yield Finding("ok" if free > 1 else "warning", "memory", f"{free:.1f} GiB free", remedy)


def _device() -> Iterator[Finding]:
    try:
        import torch
    except Exception:  # said above
        return
    if torch.cuda.is_available():
        yield Finding("ok", "device", f"CUDA ({torch.cuda.get_device_name()}), float64")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "device", f"CPU ({torch.get_num_threads()} threads), float64; MPS on request, in float32")
    else:
        yield Finding("ok", "device", f"CPU ({torch.get_num_threads()} threads), float64")


def _speed() -> Iterator[Finding]:
    try:
        step = _sam()
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < 1:
            step()
            steps += 50
        speed = steps / (time.perf_counter() - start)
    except Exception as error:
        remedy = "mend what is marked above; if nothing is, please report this with all of these lines"
        yield Finding("FAIL", "speed", f"SAM cannot run ({type(error).__name__}: {error})", remedy)
        return
    remedy = "stop what else keeps this machine busy; the lab runs, but slowly"
    facts = f"{speed:,.0f} steps of SAM a second (MLP 1-24-24-1)"
    yield Finding("ok" if speed >= LEAST_SPEED else "warning", "speed", facts, remedy)


def _mode() -> Iterator[Finding]:
    try:
        from samviz.machine import lite
    except ImportError:  # said above
        return
    facts = "lite: they compute less here; SAMVIZ_LITE=0 for all" if lite() else "in full; SAMVIZ_LITE=1 for less"
    yield Finding("ok", "notebooks", facts)


def _sam() -> Callable[[], object]:
    """Fifty steps of SAM on the tutorial's network, once warm."""
    from samviz.dynamics import Run
    from samviz.problems import mlp

    problem = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
    run = Run(problem, rule="sam", lr=0.05, rho=0.005, device="cpu")
    run.step(50)
    return lambda: run.step(50)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:2])
