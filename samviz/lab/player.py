"""One asyncio task that does work in short pieces and draws only as fast as the browser takes it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

FRAMES = 15  # per second at most: a browser that draws all the time is slow to hear a click
SILENCE = 1.0  # seconds after which a picture is drawn for a browser that does not answer, which is asked for a sign


_running: set[Player] = set()


def _interrupt(number: int, frame: object) -> None:
    for player in _running:
        player.interrupted = True


def _handle_interrupts(handle: bool) -> None:
    """Handle SIGINT where nobody else does, or ignore it again.

    Between cells ipykernel ignores SIGINT; while a cell or a message of a widget is handled it has its own handler, and
    then puts back the one before. So this is asked for again before each piece of work. What is put back after the last
    piece is at worst `_interrupt`, which then does nothing either.
    """
    before, after = (signal.SIG_IGN, _interrupt) if handle else (_interrupt, signal.SIG_IGN)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is before:
        signal.signal(signal.SIGINT, after)


class Player:
    """Runs work beside the kernel's other duties.

    Work is an iterator of short pieces (about 5 ms each). When it ends a picture is due; the next work starts
    only after that is drawn. New work replaces what is under way, which dies with its iterator. Everything
    happens on the loop's own thread; `post` is how other threads get there.
    """

    def __init__(
        self,
        *,
        more: Callable[[], Iterator[None] | None],
        draw: Callable[[bool], None],
        ready: Callable[[], bool],
        fail: Callable[[BaseException], None],
    ) -> None:
        """Prepare; nothing runs until there is work.

        Args:
            more: the next work, or None when there is none.
            draw: draws the picture that is due; is told whether a browser's answer will be heard.
            ready: whether the browser can take another frame.
            fail: is told of an exception in the work, which stops it.
        """
        self.more, self.draw, self.ready, self.fail = more, draw, ready, fail
        try:
            self.loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # a plain script: work is done where it is asked for
            self.loop = None
        self.work: Iterator[None] | None = None
        self.due = False
        self.urgent = False
        self.drawn = -SILENCE
        self.task: asyncio.Task[None] | None = None  # a reference, or the task could vanish
        self.interrupted = False  # by SIGINT, since the last piece of work

    def post(self, action: Callable[..., Any], *args: Any) -> None:
        """Do something on the loop's thread, from whatever thread this is."""
        if self.loop is None or self.loop.is_closed():
            self._safely(action, *args)
        else:
            self.loop.call_soon_threadsafe(self._safely, action, *args)

    def begin(self, work: Iterator[None]) -> None:
        """Put work in place of what is under way."""
        if self.loop is None:
            self.finish(work)
        else:
            self.work = work
            self.wake()

    def finish(self, work: Iterator[None]) -> None:
        """Do work here and now instead of what is under way, and draw."""
        self.work = None
        for _ in work:
            pass
        self.due = False
        self.draw(False)  # until the cell that asked for it ends

    def redraw(self) -> None:
        """Ask for a picture of things as they are, before the next one is due: the learner has touched something."""
        self.due = self.urgent = True
        self.wake()

    def wake(self) -> None:
        """See to it that the task runs while there is something to do."""
        if self.loop is None:
            self.finish(iter(()))
        elif self.task is None or self.task.done():
            self.task = self.loop.create_task(self._run())

    def _safely(self, action: Callable[..., Any], *args: Any) -> None:
        try:
            action(*args)
        except Exception as error:  # shown in the lab: the kernel would show it nowhere
            self.fail(error)

    async def _run(self) -> None:
        self.interrupted = False
        _running.add(self)
        try:
            while True:
                try:
                    _handle_interrupts(True)
                    if self.interrupted:
                        raise KeyboardInterrupt
                    if not self._advance():
                        return
                except (Exception, KeyboardInterrupt) as error:
                    self.work, self.due, self.interrupted = None, False, False
                    self.fail(error)
                await asyncio.sleep(0.002)  # the kernel hears a slider here
        finally:
            _running.discard(self)
            if not _running:
                _handle_interrupts(False)

    def _advance(self) -> bool:
        """One piece of work or one picture; False when there is neither."""
        if self.due:
            silent = perf_counter() - self.drawn
            rest = (0.5 if self.urgent else 1) / FRAMES
            if silent >= SILENCE or (silent >= rest and self.ready()):
                self.due, self.urgent, self.drawn = False, False, perf_counter()
                self.draw(True)
            elif self.work is None:
                return True
        if self.work is None and not self.due:
            self.work = self.more()
        if self.work is None:
            return self.due
        try:
            next(self.work)
        except StopIteration:
            self.work, self.due = None, True
        return True
