"""Run coroutines on an event loop, as a kernel does, and send messages that a page sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


def in_kernel(coroutine: Callable[[], Coroutine[Any, Any, None]], seconds: float = 60) -> None:
    """Run a coroutine function on an asyncio loop, as a cell in a kernel does."""
    asyncio.run(asyncio.wait_for(coroutine(), seconds))


def kernel_test(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function, which runs on an asyncio loop."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        in_kernel(lambda: test(*args, **kwargs))

    return run


def press(lab: Any, name: str, value: Any = None) -> None:
    """Send what the browser sends when a button of a lab is pressed, or a text is pasted."""
    lab.view._handle_custom_msg({"action": name, "value": value}, [])


def move(panel: Any, **values: Any) -> None:
    """Send what the browser sends when controls of a panel or a lab move."""
    panel.view._handle_custom_msg({"values": values}, [])


async def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition while the loop runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition is still false"
        await asyncio.sleep(0.002)
