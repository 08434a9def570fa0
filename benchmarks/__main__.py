"""`python -m benchmarks`: measure every row, or those whose names contain a word that is given."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.row import Measured, Row

HERE = Path(__file__).parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
PROCESSES, SECONDS, QUICK = 3, 0.5, 0.2  # each process gives a row about so many seconds


def main() -> None:
    """Measure, print the table; a complete run also writes results.json, scaling.svg and both READMEs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="samviz against its peers")
    parser.add_argument("words", nargs="*", help="measure the rows whose names contain one of these, and write nothing")
    parser.add_argument("--quick", action="store_true", help="one process instead of three, and write nothing")
    parser.add_argument("--profile", action="store_true", help="also print operations, bytes and the hardware limits")
    parser.add_argument("--once", metavar="FILE", type=Path, help="measure in this process and write JSON to a file")
    options = parser.parse_args()
    os.environ |= dict.fromkeys(THREADS, "1")  # read when torch, numpy and numba load, below
    warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")  # pyhessian does

    import torch

    from benchmarks import limits, report, scaling
    from benchmarks.row import Measured, Result
    from benchmarks.rows import ROWS

    torch.set_num_threads(1)
    rows = [row for row in ROWS if not options.words or any(word in row.name for word in options.words)]
    if options.once:
        options.once.write_text(json.dumps(measure(rows, QUICK if options.quick else SECONDS)), encoding="utf-8")
        return
    complete = not (options.words or options.quick)
    readme, page, begun = HERE.parent / "README.md", HERE / "README.md", perf_counter()
    if complete:
        report.with_highlights(readme.read_text(encoding="utf-8"), [])  # fail now if a page lacks the markers
        report.page(page.read_text(encoding="utf-8"), [], "", "")
    with TemporaryDirectory() as folder:
        made = Path(folder) / "measured.json"
        measured = []
        for process in range(1 if options.quick else PROCESSES):
            print(f"Process {process + 1}:", flush=True)
            worker = [sys.executable, "-m", "benchmarks", "--once", str(made), *sys.argv[1:]]
            subprocess.run(worker, cwd=HERE.parent, check=True)
            measured.append([each and Measured(*each) for each in json.loads(made.read_text(encoding="utf-8"))])
    results = [Result.of(row, each) for row, each in zip(rows, zip(*measured))]
    machine = report.machine()
    print(f"\n{report.table(results)}\nMeasured on {machine}.")
    if options.profile:
        works = [first and first.work and limits.Work(*first.work) for first in measured[0]]
        print(f"\n{report.profile(results, works, limits.limits())}")
    if complete:
        costs = scaling.measured()
        minutes = (perf_counter() - begun) / 60
        (HERE / "results.json").write_text(report.as_json(results, machine, costs), encoding="utf-8")
        scaling.draw(costs, HERE / "scaling.svg")
        measured_on = f"{machine}. The run took {minutes:.1f} minutes"
        text = report.page(page.read_text(encoding="utf-8"), results, measured_on, scaling.summary(costs))
        page.write_text(text, encoding="utf-8")
        readme.write_text(report.with_highlights(readme.read_text(encoding="utf-8"), results), encoding="utf-8")
        print(f"All took {minutes:.1f} minutes. Operations, bytes and limits: {sys.executable} -m benchmarks --profile")


def measure(rows: Sequence[Row], seconds: float) -> list[Measured | None]:
    """Measure rows in this process, None for one that fails."""
    measured: list[Measured | None] = []
    for row in rows:
        begun = perf_counter()
        try:
            measured.append(row.measure(seconds))
        except Exception:  # one row that fails must not cost the others
            traceback.print_exc()
            measured.append(None)
        print(f"{perf_counter() - begun:6.1f} s  {row.name}", flush=True)
    return measured


if __name__ == "__main__":
    main()
