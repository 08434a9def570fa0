"""What was measured, as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.row import Result

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
PEERS = ("pytorch_optimizer", "pyhessian", "curvlinops-for-pytorch", "hessian-eigenthings", "loss-landscapes")
EXPLAINED = """\
T2 is a tanh network 2-32-32-1 on the two spirals (n = 100, D = 1185), T3 64-64-64-10 on the digits (n = 1797, D = 8970).
Times are medians of one unit of work (a step of SAM, a set of eigenpairs, a landscape), both sides in turn in one process, on one thread, in float64 unless float32 is said.
The ratio is the number that the target bounds: the peer's time over ours for “≥”, ours over the peer's for “≤ …×”; a target with a unit bounds ours alone.
“One torch run” is samviz's torch engine or a plain loop of two passes, whichever is faster.
✗ marks a side that missed its tolerance in the same run: iterates within 1e-6 of the way they went, eigenvalues within 1e-3 of λ₁ (tracking: of each, in 99 % of the steps), losses within 1e-9, in float32 1e-4. For eigenpairs ours must also have residuals no larger than the peer's, or than 1e-8 λ₁."""  # noqa: E501 a sentence a line
SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))


def table(results: Sequence[Result], machine: str) -> str:
    """The results as a Markdown table, with a sentence on how to read it and the machine."""
    head = ["| | samviz | peer | ratio | target | |", "|---|---:|---:|---:|---:|---|"]
    return "\n".join([*head, *map(line, results), "", EXPLAINED, f"Measured on {machine}."])


def line(result: Result) -> str:
    """A result as a line of the table."""
    count = result.target.endswith("HVPs")
    cells = [
        result.name,
        _cost(result.ours, result.ours_correct, count),
        _cost(result.peer, result.peer_correct, count),
        "–" if result.peer is None else f"{result.ratio:.3g}×",
        result.target,
        "met" if result.met else "**missed**",
    ]
    return f"| {' | '.join(cells)} |"


def as_json(results: Sequence[Result], machine: str, scaling: dict[str, Any]) -> str:
    """results.json: {"machine", "rows", "scaling"}; times in seconds."""
    content = {"machine": machine, "rows": [result.as_json() for result in results], "scaling": scaling}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def replaced(text: str, between: str) -> str:
    """A text with what stands between its two markers replaced.

    Raises:
        ValueError: when the markers are not there, once each and in order.
    """
    if (text.count(BEGIN), text.count(END)) != (1, 1) or text.index(BEGIN) > text.index(END):
        raise ValueError(f"expected {BEGIN} and after it {END}, once each: the table goes between them")
    return f"{text[: text.index(BEGIN)]}{BEGIN}\n{between}\n{text[text.index(END) :]}"


def machine() -> str:
    """Processor, system and the versions that matter, in a line."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU (the rows on CUDA are left out)"
    packages = [f"{name} {_version(name)}" for name in ("torch", "numpy", "numba", *PEERS)]
    return ", ".join([_processor(), gpu, platform.system(), f"Python {platform.python_version()}", *packages])


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return "not there"


def _cost(value: float | None, correct: bool | None, count: bool) -> str:
    if value is None:
        return "–" if correct is None else "failed"
    return f"{f'{value:.3g} HVPs' if count else readable(value)}{' ✗' if correct is False else ''}"


def readable(seconds: float) -> str:
    """A time in the unit in which it has one to three digits before the point."""
    scale, unit = next(each for each in SCALES if seconds >= each[0])
    return f"{seconds / (scale or 1e-9):.3g} {unit}"
