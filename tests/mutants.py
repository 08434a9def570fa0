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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import psutil
import yaml

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tests" / "mutants.yaml"
QUICK, SLOW = "not slow", "slow"  # the selections of tests, the one of every day first
MISSED_QUICKLY = 3  # faults, at most, that only slow tests may detect
HANG_S, HANG_FACTOR = 60, 5  # a run that takes longer than 60 s plus 5 times the run without the fault hangs
WORDS = {QUICK: "detected quickly", SLOW: "detected only by slow tests", "": "NOT DETECTED"}
EMPTY, DETECTED = 5, (1, 2)  # exit statuses of pytest: no test selected; a test failed, or could not be collected


class Fault(NamedTuple):
    """A change of one text in one file that the tests must notice."""

    name: str
    file: str  # relative to the root
    find: str  # occurs exactly once in the file
    put: str
    tests: str  # arguments of pytest
    reason: str = ""  # why only slow tests can detect it


class Verdict(NamedTuple):
    """Whether a fault was detected, and by which selection of tests."""

    fault: Fault
    by: str  # QUICK or SLOW; empty where it was not detected
    seconds: float
    output: str  # the test that failed, or the error
    error: bool = False


def read() -> list[Fault]:
    """Return the faults of the table, in its order."""
    return [Fault(**entry) for entry in yaml.safe_load(TABLE.read_text(encoding="utf-8"))]


def faulty(text: str, fault: Fault) -> str:
    """Return a file's text with the fault in it; raise ValueError unless what it replaces occurs exactly once."""
    if (count := text.count(fault.find)) != 1:
        raise ValueError(f"{fault.name}: {fault.find!r} occurs {count} times in {fault.file}; expected exactly once")
    return text.replace(fault.find, fault.put)


def pytest(copy: Path, tests: str, marker: str, timeout: float | None) -> tuple[int, str]:
    """Run a selection of tests in a copy of the tree, and return pytest's exit status and the test that failed."""
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "SAMVIZ_REQUIRE_BROWSER": "1"}
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", marker]
    command = [sys.executable, "-m", "pytest", *options, *shlex.split(tests)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = psutil.Popen(command, cwd=copy, env=environment, **pipes)
    try:
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, "".join(re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)[:1])
    except subprocess.TimeoutExpired:
        return DETECTED[0], "a hang"
    finally:
        if process.poll() is None:  # a hang is ended with the servers and browsers that it has started
            for each in (*process.children(recursive=True), process):
                each.kill()
            process.wait()


def judged(copy: Path, faults: list[Fault]) -> Iterator[Verdict]:
    """Judge faults that name the same tests, one after the other, in one copy of the tree."""
    clean: dict[str, tuple[int, float]] = {}  # exit status and seconds of the tests without a fault, by selection
    for fault in faults:
        start = time.monotonic()
        try:
            by, output = detected(copy, fault, clean)
            yield Verdict(fault, by, time.monotonic() - start, output)
        except ValueError as error:
            yield Verdict(fault, "", time.monotonic() - start, str(error), error=True)


def detected(copy: Path, fault: Fault, clean: dict[str, tuple[int, float]]) -> tuple[str, str]:
    """Return the selection that detects a fault in a copy of the tree, or "", and the test that failed.

    Raise ValueError if the fault has not exactly one place, or its tests fail or are none without it.
    """
    file = copy / fault.file
    original = file.read_text(encoding="utf-8")
    wrong = faulty(original, fault)
    for marker in (QUICK, SLOW):
        if marker not in clean:
            start = time.monotonic()
            status, output = pytest(copy, fault.tests, marker, None)
            clean[marker] = status, time.monotonic() - start
        status, seconds = clean[marker]
        if status == EMPTY:
            continue
        if status != 0:
            raise ValueError(f"{fault.tests} fails without the fault (exit status {status})")
        try:
            file.write_text(wrong, encoding="utf-8")
            status, output = pytest(copy, fault.tests, marker, HANG_S + HANG_FACTOR * seconds)
        finally:
            file.write_text(original, encoding="utf-8")
        if status in DETECTED or status < 0:  # by a signal: the interpreter has crashed
            return marker, output
        if status != 0:
            raise ValueError(f"pytest ended with exit status {status}")
    if all(status == EMPTY for status, _ in clean.values()):
        raise ValueError(f"{fault.tests} selects no test")
    return "", ""


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
    with tempfile.TemporaryDirectory(prefix="samviz-mutants-") as folder, ThreadPoolExecutor(options.jobs) as pool:
        copies = SimpleQueue[Path]()
        for job in range(options.jobs):
            copies.put(copied(Path(folder, str(job))))

        def work(faults: list[Fault]) -> list[Verdict]:
            copy, verdicts = copies.get(), []
            for verdict in judged(copy, faults):
                verdicts.append(verdict)
                what = "ERROR" if verdict.error else WORDS[verdict.by]
                print(f"{verdict.fault.name:44}{what:28}{verdict.seconds:6.0f} s  {verdict.output}", flush=True)
            copies.put(copy)
            return verdicts

        futures = [pool.submit(work, group) for group in groups]
        verdicts = [verdict for future in as_completed(futures) for verdict in future.result()]
    errors = [verdict.fault.name for verdict in verdicts if verdict.error]
    slow = [verdict.fault for verdict in verdicts if verdict.by == SLOW]
    missed = [verdict.fault.name for verdict in verdicts if not verdict.by and not verdict.error]
    unexplained = [fault.name for fault in slow if not fault.reason]
    print(f"{len(verdicts)} faults, {sum(verdict.by == QUICK for verdict in verdicts)} detected quickly")
    print("detected only by slow tests:", ", ".join(fault.name for fault in slow) or "none")
    print("of these without a reason in the table:", ", ".join(unexplained) or "none")
    print("NOT DETECTED:", ", ".join(missed) or "none")
    print("errors:", ", ".join(errors) or "none")
    return int(bool(missed or errors or unexplained or len(slow) > MISSED_QUICKLY))


if __name__ == "__main__":
    sys.exit(main())
