"""Is this machine a slow one? The notebooks then compute less, and say the same."""

from __future__ import annotations

import os
from functools import cache
from time import perf_counter, thread_time

import numpy as np

CORES = 2  # with fewer, the browser and the kernel wait for each other
SPEED = 30_000  # small steps a second: a third of what a core does of the server on which a notebook takes a minute
PATIENCE = 0.15  # seconds by the clock that the measurement may take


@cache
def lite() -> bool:
    """Whether this machine is so slow that a notebook had better compute less.

    It has fewer than two cores, or one core does fewer than 30,000 small steps a second. That is asked once a process
    and takes 0.2 s at most. SAMVIZ_LITE=1 or 0 in the environment decides instead.

    Returns:
        True on a slow machine.

    Raises:
        ValueError: when SAMVIZ_LITE is set to something else.

    >>> seeds = 2 if lite() else 5
    """
    forced = os.environ.get("SAMVIZ_LITE", "")
    if forced not in ("", "0", "1"):
        raise ValueError(f"SAMVIZ_LITE is {forced!r}; expected 1 or 0, or unset to let it measure")
    return forced == "1" if forced else cores() < CORES or speed() < SPEED


def cores() -> float:
    """How many cores this process may use; JupyterHub and Binder say in CPU_LIMIT how many they grant."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, float(os.environ.get("CPU_LIMIT") or here))


def speed() -> float:
    """Small steps a second on one core: a product of two 24×24 matrices and a tanh, each called from Python.

    It is counted in the processor's time, since a busy machine is not a slow one.
    """
    matrix = np.full((24, 24), 0.01)
    _steps(matrix)  # loads the library that multiplies
    done, began, clock = 0, thread_time(), perf_counter()
    while perf_counter() - clock < PATIENCE:
        done += _steps(matrix)
    return done / max(thread_time() - began, 1e-9)


def _steps(matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]], count: int = 100) -> int:
    for _ in range(count):
        np.tanh(matrix @ matrix)
    return count
