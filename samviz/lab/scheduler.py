"""Work and drawing in short pieces on the kernel's event loop, as fast as the browser draws."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

FRAME_S = 1 / 30  # between two frames: a browser that draws all the time handles clicks late
URGENT_FRAME_S = 1 / 60  # between a frame and one that shows what the learner has changed
LOOP_TURNS = 10  # of the event loop between two pieces of work: a message takes several
REPLY_TIMEOUT_S = 1.0  # draw for a browser that has not answered for so long; `show` then requests an answer

_running: set[Scheduler] = set()


def _interrupt(number: int, frame: object) -> None:
    for scheduler in _running:
        scheduler.interrupted = True


def _handle_interrupts(handle: bool) -> None:
    """Handle SIGINT, which ipykernel ignores between cells, or ignore it again, unless another handler is installed."""
    before, after = (signal.SIG_IGN, _interrupt) if handle else (_interrupt, signal.SIG_IGN)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is before:
        signal.signal(signal.SIGINT, after)


class Scheduler:
    """Runs work, an iterator of pieces of about 5 ms, and draws, between the other tasks of the kernel's event loop."""

    def __init__(
        self,
        *,
        next_work: Callable[[], Iterator[object] | None],
        draw: Callable[[bool], None],  # gets whether the kernel can receive an acknowledgement
        ready: Callable[[], bool],  # whether the browser is ready for a picture
        fail: Callable[[BaseException], None],
        report: Callable[[Any], None],  # gets what each piece of work yields, and None at the end of the work
    ) -> None:
        """Use these functions to get the next work, to draw it, and to show errors and progress."""
        self.next_work, self.draw, self.ready, self.fail, self.report = next_work, draw, ready, fail, report
        try:
            self.loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # a plain script
            self.loop = None
        self.required: Iterator[object] | None = None
        self.work: Iterator[object] | None = None
        self.due = self.urgent = False
        self.drawn_at = self.frame_at = -REPLY_TIMEOUT_S  # when the last frame was drawn, and when it was due
        self.task: asyncio.Task[None] | None = None  # a reference, or the task could be garbage-collected
        self.interrupted = False  # by SIGINT, since the last piece of work

    @property
    def idle(self) -> bool:
        """Whether there is neither work nor a picture that is due."""
        return not (self.required or self.work or self.due)

    def post(self, action: Callable[..., Any], *args: Any) -> None:
        """Call an action on the loop's thread, from any thread."""
        if self.loop is None or self.loop.is_closed():
            self._call(action, *args)
        else:
            self.loop.call_soon_threadsafe(self._call, action, *args)

    def begin(self, work: Iterator[object], *, required: bool = False) -> None:
        """Replace the current work; required work, such as a Reset, cancels other work and delays later work."""
        if required:
            self.required, self.work = work, None
        else:
            self.work = work
        self.wake()

    def finish(self, *more: Iterator[object]) -> None:
        """Complete the pending work and then the given work without returning to the event loop, and draw once."""
        pending = self.required, self.work, *more
        self.required = self.work = None
        for work in pending:
            while work is not None and self._do_piece(work):
                pass
        self.due = False
        self.draw(False)  # the kernel is busy until the present cell ends

    def redraw(self) -> None:
        """Draw the present state soon, because the learner has changed something."""
        self.due = self.urgent = True
        self.wake()

    def wake(self) -> None:
        """Start the task unless it is running; without an event loop, do all work now."""
        if self.loop is None:
            self.finish()
        elif self.task is None or self.task.done():
            self.task = self.loop.create_task(self._run())

    def _call(self, action: Callable[..., Any], *args: Any) -> None:
        try:
            action(*args)
        except (Exception, KeyboardInterrupt) as error:  # shown in the widget, since the kernel would not show it
            self.fail(error)

    async def _run(self) -> None:
        self.interrupted = False
        _running.add(self)
        try:
            while True:
                try:
                    _handle_interrupts(True)  # each time, since ipykernel has its own handler during a message
                    if self.interrupted:
                        raise KeyboardInterrupt
                    if not self._advance():
                        return
                except (Exception, KeyboardInterrupt) as error:
                    self.due |= not self.idle  # what ended the work is shown, but a failed drawing not again and again
                    self.required = self.work = None
                    self.interrupted = False
                    self.fail(error)
                if self.required or self.work:
                    for _ in range(LOOP_TURNS):  # the kernel handles messages of the browser here
                        await asyncio.sleep(0)
                else:
                    await asyncio.sleep(0.002)
        finally:
            _running.discard(self)
            if not _running:
                _handle_interrupts(False)

    def _advance(self) -> bool:
        """Do one piece of work or draw one picture; return False if there is neither."""
        if self.due:
            now = perf_counter()
            start = self.drawn_at + URGENT_FRAME_S if self.urgent else self.frame_at + FRAME_S
            if now >= self.drawn_at + REPLY_TIMEOUT_S or (now >= start and self.ready()):
                self.due, self.urgent, self.drawn_at = False, False, now
                self.frame_at = max(start, now - FRAME_S / 2)  # so that a little delay does not delay all later frames
                self.draw(True)
            elif not (self.required or self.work):
                return True
        if self.idle:
            self.work = self.next_work()
        work = self.required or self.work
        if work is None:
            return self.due
        if not self._do_piece(work):
            if work is self.required:
                self.required = None
            elif work is self.work:
                self.work = None
            self.due = True  # the next work starts after the picture has been drawn
        return True

    def _do_piece(self, work: Iterator[object]) -> bool:
        """Do one piece of work; return False at its end."""
        try:
            self.report(next(work))
        except StopIteration:
            self.report(None)
            return False
        return True
