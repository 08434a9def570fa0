"""A pytest plugin: what each notebook's kernel takes while nbval runs it, and a limit to that.

pytest -p tests.kernels --nbval-lax notebooks

Seconds are of the processor, since those by the clock tell more about who else is on the machine. The browser that
kaleido draws still pictures with is left out: a reader has no need of them.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

EVERY = 0.2  # seconds between two looks
METER = pytest.StashKey["Meter"]()


@dataclass
class Use:
    """What the kernel of one notebook, and every Python process that it started, have taken so far."""

    began: float = field(default_factory=time.monotonic)
    clock: float = 0.0  # seconds
    cpu: dict[int, float] = field(default_factory=lambda: defaultdict(float))  # seconds by process, ended ones too
    peak: float = 0.0  # MB in memory, of all of them together

    @property
    def seconds(self) -> float:
        return sum(self.cpu.values())

    def look(self, processes: list[psutil.Process]) -> None:
        self.clock, held = time.monotonic() - self.began, 0
        for process in processes:
            try:
                if "python" not in process.name().lower():
                    continue
                times, memory = process.cpu_times(), process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            self.cpu[process.pid] = times.user + times.system
            held += memory
        self.peak = max(self.peak, held / 1e6)


class Meter(threading.Thread):
    """Looks at the children of this process, which are one notebook's kernel and what that has started."""

    def __init__(self, seconds: float, megabytes: float) -> None:
        super().__init__(daemon=True)
        self.seconds, self.megabytes = seconds, megabytes
        self.uses: dict[Path, Use] = {}
        self.now: Use | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(EVERY):
            self.look()

    def look(self) -> None:
        if self.now is not None:
            self.now.look(psutil.Process().children(recursive=True))

    def begin(self, path: Path) -> None:
        if path not in self.uses:
            self.now = self.uses[path] = Use()

    def end(self) -> None:
        self.look()
        self.now = None

    def judge(self, path: Path) -> None:
        """Fail when the notebook took too much."""
        use = self.uses[path]
        if use.seconds > self.seconds:
            pytest.fail(f"{path.name}: {use.seconds:.0f} s of the processor; at most {self.seconds:g}", pytrace=False)
        if use.peak > self.megabytes:
            pytest.fail(f"{path.name}: {use.peak:.0f} MB of memory; at most {self.megabytes:g}", pytrace=False)

    def stop(self) -> None:
        self._ended.set()
        self.join()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kernels", "what a notebook may take")
    group.addoption("--seconds", type=float, default=60, help="of the processor (default 60)")
    group.addoption("--megabytes", type=float, default=1024, help="of memory at the peak (default 1024)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[METER] = Meter(config.getoption("seconds"), config.getoption("megabytes"))
    config.stash[METER].start()


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[METER].stop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.path.suffix == ".ipynb":
        item.config.stash[METER].begin(item.path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    last = item.path.suffix == ".ipynb" and (nextitem is None or nextitem.path != item.path)
    if last:
        item.config.stash[METER].end()  # while there is a kernel
    yield
    if last:
        item.config.stash[METER].judge(item.path)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section("kernels")
    terminalreporter.line(f"{'notebook':32}{'seconds':>9}{'of CPU':>9}{'MB':>7}")
    for path, use in config.stash[METER].uses.items():
        terminalreporter.line(f"{path.stem:32}{use.clock:9.1f}{use.seconds:9.1f}{use.peak:7.0f}")
