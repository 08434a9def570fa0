"""Decide whether a front end can show a widget, and show a static picture if none does."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from html import escape
from importlib import import_module
from typing import Any

from samviz.figures import figure
from samviz.figures.export import image

BEAT_S = 0.7  # between two signs of life
WIDGET_TIMEOUT_S = 20.0  # a browser may take so long to load a widget before a picture is shown next to it
REMEDY = (
    "This is a picture, because no widget has come up yet. Run the cell again; if it stays like this, allow "
    "third-party cookies (Colab) or reload the page, and ask <code>samviz doctor</code> what is missing."
)
_waiting: set[asyncio.Task[None]] = set()  # references, or a task could be garbage-collected
_displayed: dict[asyncio.AbstractEventLoop, list[Any]] = {}  # the widgets that send signs of life


def is_interactive() -> bool:
    """Return whether a person probably looks at this kernel's output and can click.

    Kernels of Jupyter's server, VS Code and Colab say so in their environment; those of nbval, nbconvert and
    Voila's first paint do not. SAMVIZ_STATIC=1 or 0 overrides.
    """
    forced = os.environ.get("SAMVIZ_STATIC")
    if forced:
        return forced == "0"
    served = os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
    named = os.environ.get("JPY_SESSION_NAME") or os.environ.get("VSCODE_PID")
    return bool(served or named or on_colab())


def on_colab() -> bool:
    """Return whether this kernel is Colab's."""
    return "google.colab" in sys.modules


def static_picture(plain: dict[str, Any], alt: str) -> Any:
    """Return plotly JSON as an IPython image if kaleido finds a browser to draw it, else as a plotly figure."""
    from IPython.display import Image

    if on_colab():  # it has no browser for kaleido, and shows plotly figures
        return figure(plain)
    try:
        return Image(image(plain, "png"), alt=alt)
    except RuntimeError as error:
        print(f"{error}.")
        return figure(plain)


def display_widget(view: Any, static: Callable[[], Any]) -> None:
    """Show a widget, and what `static` returns as well without a front end or if no widget comes up."""
    from IPython.core.getipython import get_ipython
    from IPython.display import HTML, display

    trouble = ""
    if on_colab():  # which shows only its own widgets until it is asked to load others
        try:
            import_module("google.colab.output").enable_custom_widget_manager()
        except Exception as error:  # Colab may raise anything, and a picture must be shown all the same
            trouble = f"Colab was asked to load widgets and answered {type(error).__name__}: {error}."
    display(view)
    if not is_interactive():
        display(static())  # a separate output: in the widget's output it would not survive a reopening
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # IPython in a terminal
        return
    send_beats(view, loop)
    output = display(HTML(""), display_id=True)
    view.on_picture = lambda url: output.update(HTML(picture_html(url, view.description)))
    if (shell := get_ipython()) and not view.acknowledged:
        task = loop.create_task(_show_picture_meanwhile(view, static, output, shell, trouble))
        _waiting.add(task)
        task.add_done_callback(_waiting.discard)


def send_beats(view: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Let a displayed widget send signs of life from a thread, also while the event loop is blocked by a cell."""
    views = _displayed.setdefault(loop, [])
    if not views:
        threading.Thread(target=_beat, args=(loop, views), daemon=True).start()
    if view not in views:
        views.append(view)


def _beat(loop: asyncio.AbstractEventLoop, views: list[Any]) -> None:
    free = threading.Event()
    while not loop.is_closed():
        free.clear()
        with suppress(RuntimeError):  # the loop has just been closed
            loop.call_soon_threadsafe(free.set)
        time.sleep(BEAT_S)
        for view in tuple(views):
            with suppress(Exception):  # one widget that cannot send must not stop the others
                view.beat(not free.is_set())
    del _displayed[loop]


def picture_html(url: str, alt: str) -> str:
    """Return a widget's last picture as HTML, which widget.css hides next to the widget: a saved notebook shows it."""
    return f'<img class="samviz-picture" alt="{escape(alt)}" src="{escape(url)}">'


async def _show_picture_meanwhile(view: Any, static: Callable[[], Any], output: Any, shell: Any, trouble: str) -> None:
    """Show a picture next to a widget that no browser has acknowledged, until one does."""
    from IPython.display import HTML, Image

    count = None if not trouble else shell.execution_count
    while count != shell.execution_count:  # while cells run, the browser's answer waits
        count = shell.execution_count
        await asyncio.sleep(WIDGET_TIMEOUT_S)
    if view.acknowledged:
        return
    picture = static()
    if isinstance(picture, Image):
        source = f"data:image/png;base64,{b64encode(picture.data).decode()}"
        html = f'<img alt="{escape(picture.alt)}" src="{source}">'
    else:
        html = picture.to_html(include_plotlyjs=True, full_html=False)
    output.update(HTML(f'<p role="status">{escape(trouble)} {REMEDY}</p>{html}'))
    while not view.acknowledged:
        await asyncio.sleep(1)
    output.update(HTML(""))
