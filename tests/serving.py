"""Start a server for a test on a free port, wait until it answers, and end it with the test."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    """Return an unused port below those that systems give to connections, one of which could take it at once."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def served(
    command: Sequence[Any], log: Path, connect: Callable[[], object], seconds: float, **options: Any
) -> Iterator[None]:
    """Run a server until the block ends; it is ready once `connect` raises no OSError."""
    with log.open("w") as out:
        process = subprocess.Popen([*map(str, command)], stdout=out, stderr=subprocess.STDOUT, **options)
    deadline = time.monotonic() + seconds
    try:
        while True:
            try:
                connect()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"the server did not start; its log {log} ends with:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
