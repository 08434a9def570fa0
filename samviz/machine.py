"""Decide whether this machine is slow; the notebooks then compute less and reach the same conclusions."""

from __future__ import annotations

import os
from functools import cache
from time import perf_counter, thread_time

import numpy as np

CORES = 2  # with fewer, the browser and the kernel wait for each other
SPEED = 30_000  # small steps a second: a third of one core of the server that runs a notebook in a minute
MEASUREMENT_S = 0.15  # elapsed time of the measurement


@cache
def lite() -> bool:
    """Return whether this machine is so slow that a notebook should compute less.

    It has fewer than two cores, or one core does fewer than 30,000 small steps a second. This is measured once per
    process and takes at most 0.2 s. SAMVIZ_LITE=1 or 0 in the environment decides instead.

    Returns:
        True on a slow machine.

    Raises:
        ValueError: when SAMVIZ_LITE is set to something else.

    >>> seeds = 2 if lite() else 5
    """
    forced = os.environ.get("SAMVIZ_LITE", "")
    if forced not in ("", "0", "1"):
        raise ValueError(f"SAMVIZ_LITE is {forced!r}; expected 1 or 0, or unset to measure the machine")
    return forced == "1" if forced else cores() < CORES or speed() < SPEED


def cores() -> float:
    """Return how many cores this process may use; JupyterHub and Binder set the limit in CPU_LIMIT."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, float(os.environ.get("CPU_LIMIT") or here))


def speed() -> float:
    """Measure small steps a second of CPU time, which does not depend on what else the machine does."""
    matrix = np.full((24, 24), 0.01)
    np.tanh(matrix @ matrix)  # loads the library that multiplies
    steps, start, end = 0, thread_time(), perf_counter() + MEASUREMENT_S
    while perf_counter() < end:
        np.tanh(matrix @ matrix)  # a step: two operations on a 24×24 matrix, called from Python
        steps += 1
    return steps / max(thread_time() - start, 1e-9)
