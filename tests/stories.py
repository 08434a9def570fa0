"""Stories as a kernel tells them: on an asyncio loop, waiting for what is to happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any


def in_kernel(story: Callable[[], Coroutine[Any, Any, None]], seconds: float = 60) -> None:
    """Run a story on an asyncio loop, as a cell in a kernel does."""
    asyncio.run(asyncio.wait_for(story(), seconds))


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for something, with the loop running."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.002)
