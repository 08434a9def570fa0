"""A pytest plugin that measures the kernel of each notebook while nbval runs it, and fails above a limit.

pytest -p tests.kernels --nbval-lax notebooks

Seconds are CPU time, since wall-clock time depends on the load of the machine. The browser in which kaleido draws
static pictures is left out, because a reader does not need it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SAMPLING_INTERVAL_S = 0.2
USES = pytest.StashKey[dict[Path, "Use"]]()


class Use(threading.Thread):
    """What the kernel of one notebook, and every Python process that it started, have used so far."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.clock, self.megabytes = 0.0, 0.0  # wall-clock seconds, and the peak of all processes together
        self.cpu: dict[int, float] = {}  # seconds by process, including those that have ended
        self._began, self._ended = time.monotonic(), threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(SAMPLING_INTERVAL_S):
            self.sample()

    def sample(self) -> None:
        self.clock, memory = time.monotonic() - self._began, 0
        for process in psutil.Process().children(recursive=True):
            try:
                if "python" in process.name().lower():
                    times = process.cpu_times()
                    self.cpu[process.pid] = times.user + times.system
                    memory += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.megabytes = max(self.megabytes, memory / 1e6)

    def end(self) -> None:
        self.sample()
        self._ended.set()
        self.join()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kernels", "what a notebook may use")
    group.addoption("--seconds", type=float, default=60, help="of CPU time (default 60)")
    group.addoption("--megabytes", type=float, default=1024, help="of memory at the peak (default 1024)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[USES] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    uses = item.config.stash[USES]
    if item.path.suffix == ".ipynb" and item.path not in uses:
        uses[item.path] = Use()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    last = item.path.suffix == ".ipynb" and (nextitem is None or nextitem.path != item.path)
    use = item.config.stash[USES].get(item.path)
    if last and use:
        use.end()  # while the kernel still exists
    yield
    if last and use:
        used = ("seconds", sum(use.cpu.values()), "s of the processor"), ("megabytes", use.megabytes, "MB of memory")
        for option, amount, unit in used:
            if amount > (limit := item.config.getoption(option)):
                pytest.fail(f"{item.path.name}: {amount:.0f} {unit}; at most {limit:g}", pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section("kernels")
    terminalreporter.line(f"{'notebook':32}{'seconds':>9}{'of CPU':>9}{'MB':>7}")
    for path, use in config.stash[USES].items():
        seconds = sum(use.cpu.values())
        terminalreporter.line(f"{path.stem:32}{use.clock:9.1f}{seconds:9.1f}{use.megabytes:7.0f}")
