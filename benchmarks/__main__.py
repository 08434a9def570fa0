"""`python -m benchmarks`: measure every row, or those whose names contain a word that is given."""

from __future__ import annotations

import argparse
import os
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> None:
    """Measure, print the table; a complete run also writes results.json, scaling.svg and both READMEs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="samviz against its peers")
    parser.add_argument("words", nargs="*", help="measure the rows whose names contain one of these, and write nothing")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time for each row, and write nothing")
    options = parser.parse_args()
    os.environ |= dict.fromkeys(THREADS, "1")  # read when torch, numpy and numba load, below
    warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")  # pyhessian does

    import torch

    from benchmarks import report, scaling
    from benchmarks.row import Result
    from benchmarks.rows import ROWS

    torch.set_num_threads(1)
    complete = not (options.words or options.quick)
    readme = HERE.parent / "README.md"
    if complete:
        report.with_highlights(readme.read_text(encoding="utf-8"), [])  # fail now if README lacks the markers
    results = []
    for row in ROWS:
        if options.words and not any(word in row.name for word in options.words):
            continue
        try:
            measured = row.measure(0.2 if options.quick else 2.0)
        except Exception:  # one row that fails must not cost the others
            traceback.print_exc()
            measured = None
        results.append(Result.of(row, measured))
        print(report.line(results[-1]), flush=True)
    machine = report.machine()
    print(f"\n{report.table(results)}\nMeasured on {machine}.")
    if complete:
        costs = scaling.measured()
        (HERE / "results.json").write_text(report.as_json(results, machine, costs), encoding="utf-8")
        scaling.draw(costs, HERE / "scaling.svg")
        (HERE / "README.md").write_text(report.page(results, machine), encoding="utf-8")
        readme.write_text(report.with_highlights(readme.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
