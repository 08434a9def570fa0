"""Is anybody there to click? And what to show when nobody is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from samviz.figures import figure
from samviz.figures.export import image


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
    return bool(os.environ.get("JPY_SESSION_NAME") or os.environ.get("VSCODE_PID") or "google.colab" in sys.modules)


def static_picture(plain: dict[str, Any], alt: str) -> Any:
    """The figure as something that shows without a kernel.

    Args:
        plain: plotly JSON, as `samviz.figures.figure` takes it.
        alt: what the picture shows, for those who cannot see it.

    Returns:
        An IPython image where kaleido finds a browser to draw it, else the plotly figure itself.
    """
    from IPython.display import Image

    try:
        return Image(image(plain, "png"), alt=alt)
    except RuntimeError as error:
        print(f"{error}.")
        return figure(plain)


def present(view: Any, static: Callable[[], Any]) -> None:
    """Show a widget, and when nobody is there its picture as well.

    Args:
        view: the widget.
        static: gives what shows without a kernel.
    """
    from IPython.display import display

    display(view)
    if not attended():
        display(static())  # an output of its own: beside the widget it would not survive a reopening
