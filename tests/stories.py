"""Stories as a kernel tells them: on an asyncio loop, with what a page sends, waiting for what is to happen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


def in_kernel(story: Callable[[], Coroutine[Any, Any, None]], seconds: float = 60) -> None:
    """Run a story on an asyncio loop, as a cell in a kernel does."""
    asyncio.run(asyncio.wait_for(story(), seconds))


def kernel_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine as a test, on an asyncio loop."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        in_kernel(lambda: test(*args, **kwargs))

    return run


def press(lab: Any, name: str, value: Any = None) -> None:
    """What the browser sends when a button of a lab is pressed, or a text is pasted."""
    lab.view._handle_custom_msg({"action": name, "value": value}, [])


def move(panel: Any, **values: Any) -> None:
    """What the browser sends when controls of a panel or a lab move."""
    panel.view._handle_custom_msg({"values": values}, [])


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for something, with the loop running."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.002)
