"""Is anybody there to click? And what to show when nobody is, or when no widget comes up."""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import Callable
from html import escape
from importlib import import_module
from typing import Any

from samviz.figures import figure
from samviz.figures.export import image

PATIENCE = 20.0  # seconds in which a browser may load a widget before a picture is put beside it
REMEDY = (
    "This is a picture, because no widget has come up yet. Run the cell again; if it stays like this, allow "
    "third-party cookies (Colab) or reload the page, and ask <code>samviz doctor</code> what is missing."
)


def attended() -> bool:
    """Whether a person probably looks at this kernel's output.

    Kernels of Jupyter's server, VS Code and Colab say so in their environment; those of nbval, nbconvert and
    Voila's first paint do not. SAMVIZ_STATIC=1 or 0 overrides.

    Returns:
        True when the lab can wait for a click.
    """
    forced = os.environ.get("SAMVIZ_STATIC")
    if forced:
        return forced == "0"
    served = os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
    named = os.environ.get("JPY_SESSION_NAME") or os.environ.get("VSCODE_PID")
    return bool(served or named or on_colab())


def on_colab() -> bool:
    """Whether this kernel is Colab's."""
    return "google.colab" in sys.modules


def static_picture(plain: dict[str, Any], alt: str) -> Any:
    """The figure as something that shows without a kernel.

    Args:
        plain: plotly JSON, as `samviz.figures.figure` takes it.
        alt: what the picture shows, for those who cannot see it.

    Returns:
        An IPython image where kaleido finds a browser to draw it, else the plotly figure itself.
    """
    from IPython.display import Image

    if on_colab():  # no browser there, and the figure itself shows
        return figure(plain)
    try:
        return Image(image(plain, "png"), alt=alt)
    except RuntimeError as error:
        print(f"{error}.")
        return figure(plain)


def present(view: Any, static: Callable[[], Any]) -> None:
    """Show a widget, and its picture as well when nobody is there or no widget comes up.

    Args:
        view: the widget, a `samviz.lab.wire.PlotView`.
        static: gives what shows without a kernel.
    """
    from IPython.core.getipython import get_ipython
    from IPython.display import HTML, display

    trouble = _let_colab_load_widgets()
    display(view)
    if not attended():
        display(static())  # an output of its own: beside the widget it would not survive a reopening
    elif (shell := get_ipython()) and (loop := _running_loop()) and not view.attended:
        beside = display(HTML(""), display_id=True)
        doubt = loop.create_task(_stand_in(view, static, beside, shell, trouble))
        _doubts.add(doubt)
        doubt.add_done_callback(_doubts.discard)


_doubts: set[asyncio.Task[None]] = set()  # references, or a task could vanish


def _let_colab_load_widgets() -> str:
    """Colab draws only its own widgets until it is told to load others; gives what went wrong, for the reader."""
    if on_colab():
        try:
            import_module("google.colab.output").enable_custom_widget_manager()
        except Exception as error:  # Colab's own and unannounced: a picture must show whatever it raises
            return f"Colab was asked to load widgets and answered {type(error).__name__}: {error}."
    return ""


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # IPython in a terminal
        return None


async def _stand_in(view: Any, static: Callable[[], Any], beside: Any, shell: Any, trouble: str) -> None:
    """Put a picture beside a widget for which no browser has answered, until one does."""
    from IPython.display import HTML

    cells = None if not trouble else shell.execution_count
    while cells != shell.execution_count:  # while cells run, the browser's answer waits behind them
        cells = shell.execution_count
        await asyncio.sleep(PATIENCE)
    if view.attended:
        return
    beside.update(HTML(f'<p role="status">{escape(trouble)} {REMEDY}</p>{_html(static())}'))
    while not view.attended:
        await asyncio.sleep(1)
    beside.update(HTML(""))


def _html(picture: Any) -> str:
    """What `static_picture` gave, as HTML."""
    from IPython.display import Image

    if isinstance(picture, Image):
        return f'<img alt="{escape(picture.alt)}" src="data:image/png;base64,{b64encode(picture.data).decode()}">'
    return str(picture.to_html(include_plotlyjs=True, full_html=False))
