"""What was measured, as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.limits import Limits, Work
from benchmarks.row import Result

HIGHLIGHTS = (  # the rows that the main README shows
    "one SAM step of a torch module, T2, against pytorch_optimizer",
    "step, T2, against pytorch_optimizer",
    "step, T3, against pytorch_optimizer",
    "top 5 eigenpairs, T2, against pyhessian",
    "landscape 51×51, T2, float32, against loss-landscapes",
    "share of a probe, CNN",
)
PEERS = ("pytorch_optimizer", "pyhessian", "curvlinops-for-pytorch", "hessian-eigenthings", "loss-landscapes")
SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    head = ["| | samviz | peer | ratio | spread | target | |", "|---|---:|---:|---:|---:|---:|---|"]
    return "\n".join([*head, *map(line, results)])


def page(text: str, results: Sequence[Result], machine: str, scaling: str) -> str:
    """Return benchmarks/README.md with these results between its markers."""
    slower = [f"“{result.name}”" for result in results if result.target[0] == "≥" and (result.highest or 1) < 1]
    better = "In this run no other tool was faster in all three processes of a row."
    if slower:
        better = f"In this run another tool was faster in all three processes of {', '.join(slower)}."
    parts = {"bench": table(results), "machine": f"Measured on {machine}.", "scaling": scaling, "better": better}
    for name, part in parts.items():
        text = replaced(text, part, name)
    return text


def profile(results: Sequence[Result], works: Sequence[Work | None], limits: Limits) -> str:
    """Return a table of our times with the operations, the bytes and their shares of the limits."""
    bounds = [f"{rate / 1e9:.3g} GFLOP/s in {dtype}" for dtype, rate in limits.operations.items()]
    lines = [
        f"A matrix product: {', '.join(bounds)}. A copy: {limits.bandwidth / 1e9:.3g} GB/s.",
        "| | samviz | operations | share of a matrix product's rate | bytes | share of a copy's rate |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for result, work in zip(results, works):
        if work and result.ours:
            shares = [f"{least / result.ours:.1%}" for least in limits.seconds(work)]
            cells = f"{work.operations / 1e6:.3g} MFLOP | {shares[0]} | {work.moved / 1e6:.3g} MB | {shares[1]}"
            lines.append(f"| {result.name} | {readable(result.ours)} | {cells} |")
    return "\n".join(lines)


def with_highlights(readme: str, results: Sequence[Result]) -> str:
    """Return the main README with the highlighted rows of these results."""
    return replaced(readme, table([result for result in results if result.name in HIGHLIGHTS]))


def line(result: Result) -> str:
    """A result as a line of the table."""
    unit = result.target.split()[-1]  # with "×" there is no blank before it
    end = "×" if unit.endswith("×") else f" {unit}"
    cells = [
        result.name,
        _cost(result.ours, result.ours_correct, unit),
        _cost(result.peer, result.peer_correct, unit),
        f"{result.ratio:.3g}×" if end == "×" and result.peer is not None else "–",
        "–" if result.lowest is None else f"{result.lowest:.3g}–{result.highest:.3g}{end}",
        result.target,
        "met" if result.met else "**missed**",
    ]
    return f"| {' | '.join(cells)} |"


def as_json(results: Sequence[Result], machine: str, scaling: dict[str, Any]) -> str:
    """results.json: {"machine", "rows", "scaling"}; times in seconds."""
    content = {"machine": machine, "rows": [asdict(result) for result in results], "scaling": scaling}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def replaced(text: str, between: str, name: str = "bench") -> str:
    """Return a text with the part between its markers <!-- name --> and <!-- /name --> replaced.

    Raises:
        ValueError: when the markers are not there, once each and in order.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if (text.count(begin), text.count(end)) != (1, 1) or text.index(begin) > text.index(end):
        raise ValueError(f"expected {begin} and after it {end}, once each: the results go between them")
    return f"{text[: text.index(begin)]}{begin}\n{between}\n{text[text.index(end) :]}"


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


def _cost(value: float | None, correct: bool | None, unit: str) -> str:
    if value is None:
        return "–" if correct is None else "failed"
    in_words = {"HVPs": f"{value:.3g} HVPs", "%": f"{100 * value:.3g} %"}.get(unit) or readable(value)
    return f"{in_words}{' ✗' if correct is False else ''}"


def readable(seconds: float) -> str:
    """A time in the unit in which it has one to three digits before the point."""
    scale, unit = next(each for each in SCALES if seconds >= each[0])
    return f"{seconds / (scale or 1e-9):.3g} {unit}"
