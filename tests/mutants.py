"""Put each small fault of mutants.yaml into a copy of the tree and see whether the tests notice it: `make mutants`."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import psutil
import yaml

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tests" / "mutants.yaml"
DETECTED, MISSED, ERROR = "detected", "NOT DETECTED", "error"
HANG_S, HANG_FACTOR = 60, 5  # a run that takes longer than 60 s plus 5 times the run without the fault hangs
FAILED = (1, 2)  # exit statuses of pytest: a test failed, or could not be collected


class Fault(NamedTuple):
    """A change of one text in one file that the tests must notice."""

    name: str
    file: str  # relative to the root
    find: str  # occurs exactly once in the file
    put: str
    tests: str  # arguments of pytest


def read() -> list[Fault]:
    """Return the faults of the table, in its order."""
    return [Fault(**entry) for entry in yaml.safe_load(TABLE.read_text(encoding="utf-8"))]


def faulty(text: str, fault: Fault) -> str:
    """Return a file's text with the fault in it; raise ValueError unless what it replaces occurs exactly once."""
    if (count := text.count(fault.find)) != 1:
        raise ValueError(f"{fault.name}: {fault.find!r} occurs {count} times in {fault.file}; expected exactly once")
    return text.replace(fault.find, fault.put)


def pytest(copy: Path, tests: str, timeout: float | None = None) -> tuple[int, str, float]:
    """Run a selection of tests in a copy of the tree: pytest's exit status, the test that failed, and the seconds."""
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "SAMVIZ_REQUIRE_BROWSER": "1"}
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    command = [sys.executable, "-m", "pytest", *options, *shlex.split(tests)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    start, process = time.monotonic(), psutil.Popen(command, cwd=copy, env=environment, **pipes)
    try:
        output, _ = process.communicate(timeout=timeout)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        return process.returncode, "".join(failed[:1]), time.monotonic() - start
    except subprocess.TimeoutExpired:
        return FAILED[0], "a hang", time.monotonic() - start
    finally:
        if process.poll() is None:  # a hang is ended with the servers and browsers that it has started
            for each in (*process.children(recursive=True), process):
                each.kill()
            process.wait()


without_fault = cache(pytest)


def judge(copy: Path, fault: Fault) -> tuple[str, str]:
    """Return whether the tests detect a fault in a copy of the tree, and the test that failed or the error."""
    file = copy / fault.file
    original = file.read_text(encoding="utf-8")
    status, output, seconds = without_fault(copy, fault.tests)
    if status != 0:
        return ERROR, f"{fault.tests} selects no test, or fails without the fault (exit status {status}) {output}"
    try:
        file.write_text(faulty(original, fault), encoding="utf-8")
        status, output, _ = pytest(copy, fault.tests, HANG_S + HANG_FACTOR * seconds)
    finally:
        file.write_text(original, encoding="utf-8")
    crashed = status < 0  # by a signal
    return (DETECTED, output) if status in FAILED or crashed else (MISSED, "")


def copied(folder: Path) -> Path:
    """Copy the tracked files of the tree to a folder."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def main() -> int:
    """Judge the faults that are named, or all of them, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="faults of tests/mutants.yaml to try (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="copies of the tree that are tested at once (default: 2)")
    options = parser.parse_args()
    table = read()
    if unknown := set(options.names) - {fault.name for fault in table}:
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}")
    table = [fault for fault in table if not options.names or fault.name in options.names]
    groups = [list(group) for _, group in groupby(sorted(table, key=lambda f: f.tests), lambda f: f.tests)]
    verdicts: dict[Fault, str] = {}
    with tempfile.TemporaryDirectory(prefix="samviz-mutants-") as folder, ThreadPoolExecutor(options.jobs) as pool:
        copies = SimpleQueue[Path]()
        for job in range(options.jobs):
            copies.put(copied(Path(folder, str(job))))

        def work(faults: list[Fault]) -> None:
            copy = copies.get()
            for fault in faults:
                verdicts[fault], output = judge(copy, fault)
                print(f"{fault.name:44}{verdicts[fault]:28}{output}", flush=True)
            copies.put(copy)

        list(pool.map(work, groups))
    counts = Counter(verdicts.values())
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return int(bool(counts[MISSED] or counts[ERROR]))


if __name__ == "__main__":
    sys.exit(main())
