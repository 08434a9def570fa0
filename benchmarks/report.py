"""What was measured, as a table for people and as JSON for machines."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.row import Result

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
HIGHLIGHTS = (  # the rows that the main README shows
    "one SAM step of a torch module, T2, against pytorch_optimizer",
    "step, T2, against pytorch_optimizer",
    "step, T3, against pytorch_optimizer",
    "top 5 eigenpairs, T2, against pyhessian",
    "landscape 51×51, T2, float32, against loss-landscapes",
    "share of a probe, CNN",
)
PAGE = """\
# Benchmarks

`make bench` measures samviz and its peers from PyPI in one run, in an environment of its own. It writes this file, \
[results.json](results.json), scaling.svg, and the six rows in the main README.

{table}

![Time of one SAM step as a function of the number of parameters D, samples n and runs, and time of k eigenpairs as a \
function of k](scaling.svg)
"""
PEERS = ("pytorch_optimizer", "pyhessian", "curvlinops-for-pytorch", "hessian-eigenthings", "loss-landscapes")
EXPLAINED = """\
T2 is a tanh network 2-32-32-1 on the two spirals (n = 100, D = 1185), T3 64-64-64-10 on the digits (n = 1797, D = 8970).
The transformer (5 blocks of width 128, on a made-up language) and the CNN (residual, with BatchNorm, on made-up pictures) have 1e6 parameters; in evaluation mode and on 16 samples where SAM does not train them.
A probe's share is that of the training time of samviz.Probe's default budget, on 2 samples, in a training of at most 120 s in float32 that ends when all its quantities were measured and λ₁ converged (✗: never); beside it stands how much longer the same steps took than without a probe (✗: more than 2 % of the training time from the share).
Times are medians of one unit of work (a step of SAM, a set of eigenpairs, a landscape), both sides in turn in one process, on one thread, in float64 unless float32 is said.
The ratio is the number that the target bounds: the peer's time over ours for “≥”, ours over the peer's for “≤ …×”; a target with a unit bounds ours alone.
“One torch run” is samviz's torch engine or a plain loop of two passes, whichever is faster.
✗ marks a side that missed its tolerance in the same run: iterates within 1e-6 of the way they went, eigenvalues within 1e-3 of λ₁ (tracking: of each, in 99 % of the steps), losses within 1e-9, products within 1e-6, all in float32 within 1e-4; of a density the largest node as an eigenvalue, and the two means within 4 standard errors. For eigenpairs ours must also have residuals no larger than the peer's, or than 1e-8 λ₁."""  # noqa: E501 a sentence a line
SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    head = ["| | samviz | peer | ratio | target | |", "|---|---:|---:|---:|---:|---|"]
    return "\n".join([*head, *map(line, results)])


def page(results: Sequence[Result], machine: str) -> str:
    """Return benchmarks/README.md: the complete table, how to read it, and the machine."""
    return PAGE.format(table=f"{table(results)}\n\n{EXPLAINED}\nMeasured on {machine}.")


def with_highlights(readme: str, results: Sequence[Result]) -> str:
    """Return the main README with the highlighted rows of these results."""
    return replaced(readme, table([result for result in results if result.name in HIGHLIGHTS]))


def line(result: Result) -> str:
    """A result as a line of the table."""
    unit = result.target.split()[-1]  # with "×" there is no blank before it
    cells = [
        result.name,
        _cost(result.ours, result.ours_correct, unit),
        _cost(result.peer, result.peer_correct, unit),
        f"{result.ratio:.3g}×" if unit.endswith("×") and result.peer is not None else "–",
        result.target,
        "met" if result.met else "**missed**",
    ]
    return f"| {' | '.join(cells)} |"


def as_json(results: Sequence[Result], machine: str, scaling: dict[str, Any]) -> str:
    """results.json: {"machine", "rows", "scaling"}; times in seconds."""
    content = {"machine": machine, "rows": [asdict(result) for result in results], "scaling": scaling}
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


def _cost(value: float | None, correct: bool | None, unit: str) -> str:
    if value is None:
        return "–" if correct is None else "failed"
    in_words = {"HVPs": f"{value:.3g} HVPs", "%": f"{100 * value:.3g} %"}.get(unit) or readable(value)
    return f"{in_words}{' ✗' if correct is False else ''}"


def readable(seconds: float) -> str:
    """A time in the unit in which it has one to three digits before the point."""
    scale, unit = next(each for each in SCALES if seconds >= each[0])
    return f"{seconds / (scale or 1e-9):.3g} {unit}"
