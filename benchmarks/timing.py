"""Several ways to do one thing, timed in turn in one process; and calls in a fresh process of their own."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

Side = Callable[[int], Any]  # does n units of work and returns what it made

SHORTEST = 0.01  # seconds that one timed call takes at least: the clock and a call's overhead vanish in it
FLOOR = SHORTEST / 1000  # below it a single unit tells nothing about how many fit


class Timed(NamedTuple):
    """One side's share of an alternation."""

    seconds: float  # of one unit, the median over the rounds
    results: list[Any]  # what each round returned


def alternate(
    *sides: Side, seconds: float = 2.0, least: int = 2, most: int = 101, units: int | None = None
) -> list[Timed]:
    """Time several sides in turn, A B A B …, and give each one's median.

    The garbage collector rests meanwhile.

    Args:
        sides: each does n units of work.
        seconds: after which no new round is begun.
        least: rounds in any case.
        most: rounds at most.
        units: of work in a call, of sides that are warm; None warms them up and finds how many take 10 ms.

    Returns:
        Each side's median and results, in the order given.
    """
    with _no_garbage():
        counts = [units or _units(side) for side in sides]
        times: list[list[float]] = [[] for _ in sides]
        results: list[list[Any]] = [[] for _ in sides]
        begun = perf_counter()
        while len(times[0]) < least or (perf_counter() - begun < seconds and len(times[0]) < most):
            for side, count, own, made in zip(sides, counts, times, results):
                spent, result = _time(side, count)
                own.append(spent / count)
                made.append(result)
    return [Timed(median(own), made) for own, made in zip(times, results)]


def fresh(function: str, numba: bool = True) -> Any:
    """Return as JSON what a function "package.module.name" returns in a new process, in which numba can be missing."""
    module, _, name = function.rpartition(".")
    lines = [
        "import json, sys",
        "" if numba else "sys.modules['numba'] = None",
        f"from {module} import {name}",
        f"print(json.dumps({name}()))",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    ran = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"{function} failed in a process of its own:\n{ran.stderr}")
    return json.loads(ran.stdout.splitlines()[-1])


def _time(side: Side, count: int) -> tuple[float, Any]:
    begun = perf_counter()
    result = side(count)
    return perf_counter() - begun, result


def _units(side: Side) -> int:
    """How many units take the shortest time; the first call, which may compile, does not count."""
    side(1)
    count = 1
    while (spent := min(_time(side, count)[0] for _ in range(2))) < SHORTEST:  # of two, for one may have been disturbed
        count = max(count + 1, int(count * 1.2 * SHORTEST / max(spent, FLOOR)))
    return count


@contextmanager
def _no_garbage() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
