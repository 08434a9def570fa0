"""How a figure reaches the browser: what every widget with a Plotly graph shares.

The browser half is ``graph.js``. A frame is one custom message: the figure as plain JSON in which every array is a
reference ``{"$": key}``, and after it, as binary buffers, those arrays that the browser does not hold yet. The browser
acknowledges each frame that it has painted. Where it is behind, the newest figure waits here, and the browser is asked
whether it lives. A page that is opened or reloaded, or has missed a frame, says hello and gets the whole figure.
"""

from __future__ import annotations

import gzip
import math
import threading
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import anywidget
import numpy as np
import traitlets as t

from samviz.figures.style import recolour_js

Arrays = dict[int, tuple[int, np.ndarray[Any, Any], Any]]
"""A figure's arrays by their id: the key under which a page holds one, the caller's own, and as it is sent."""
HERE = Path(__file__).parent
IN_FLIGHT = 2
"""Frames that may be on their way to the browser before `PlotView.ready` turns false."""
PATIENCE = 0.5
"""Seconds between two questions to a browser that is behind."""


@cache
def plotly_js() -> tuple[str, bytes]:
    """Give plotly's version and the gzip of the plotly.js that the installed plotly package carries (about 1.5 MB).

    Returns:
        version: of the Python package, under which a page keeps the loaded library.
        data: the compressed source, made once a process.

    >>> version, data = plotly_js()
    >>> gzip.decompress(data)[:3]
    b'/**'
    """
    import plotly

    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return plotly.__version__, gzip.compress(source.read_bytes(), 6)


def to_wire(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Narrow an array to what a browser's typed arrays and plotly.js read: float32, int32, or float64 if need be.

    Args:
        array: any shape; real numbers or booleans.

    Returns:
        The same numbers, contiguous; float64 only where float32 would make one of them infinite or zero.

    Raises:
        TypeError: for text, objects or complex numbers.

    >>> to_wire(np.array([1, 2])).dtype, to_wire(np.array([0.5, np.nan])).dtype, to_wire(np.array([1e-60])).dtype
    (dtype('int32'), dtype('float32'), dtype('float64'))
    """
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a figure's arrays must hold real numbers, got dtype {array.dtype}; use a list for text")
    if array.dtype.kind in "biu" and (array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)):
        return np.ascontiguousarray(array, np.int32)
    with np.errstate(over="ignore", under="ignore"):
        single = np.ascontiguousarray(array, np.float32)
    kept = (np.isfinite(single) == np.isfinite(array)) & ((single == 0) == (array == 0))
    return single if kept.all() else np.ascontiguousarray(array, np.float64)


def script(name: str) -> str:
    """Give a widget's browser half: a module is one text, so the shared part comes before its own.

    Args:
        name: of a file beside this one, which holds the module's only export.

    Returns:
        JavaScript.

    >>> script("panel.js").rstrip().endswith("export default widget(createPanel);")
    True
    """
    own = [(HERE / part).read_text(encoding="utf-8") for part in ("graph.js", name)]
    return "\n".join([recolour_js(), *own])


class View(anywidget.AnyWidget):
    """A widget whose settings come from the browser as messages of their own, each of which is confirmed.

    ipywidgets' own way waits for an answer before it sends the next one: once an answer is lost with a broken
    connection, no setting would ever arrive again. Here the page sends what is not confirmed again. All pages hear the
    confirmation, with the values that now hold.

    Args:
        kwargs: initial values of the traits.
    """

    _css = (HERE / "view.css").read_text(encoding="utf-8")

    alert = t.Unicode(help="an error with its reason and remedy; empty: none").tag(sync=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_msg(self._receive)

    def _receive(self, widget: object, message: Any, buffers: object) -> None:
        match message:
            case {"state": dict(state)} if state.keys() <= self.traits(sync=True, echo_update=False).keys():
                self._set(state)
                self.send({"got": message.get("told"), "state": {name: getattr(self, name) for name in state}})
            case _:
                self.alert = f"The page sent {message!r:.100}; expected a setting or an action. Nothing was changed."

    def _set(self, state: dict[str, Any]) -> None:
        """Take settings all together; where one is refused, by its trait or by an observer, none."""
        before = {name: getattr(self, name) for name in state}
        try:
            for name, value in state.items():
                if isinstance(value, bool) != isinstance(before[name], bool):  # traitlets reads True as 1
                    raise t.TraitError(f"{name} is {value!r:.100}; expected {type(before[name]).__name__}")
            self.set_state({name: value for name, value in state.items() if value != before[name]})  # True is 1, too
        except (t.TraitError, ValueError, OverflowError) as error:
            for name, value in before.items():
                setattr(self, name, value)
            self.alert = f"The page sent {state!r:.100}: {error}".rstrip(".") + ". The old value is kept."


class PlotView(View):
    """A widget with one Plotly graph: frames by `show`, and when the browser is ready for another.

    Args:
        kwargs: initial values of the traits.
    """

    description = t.Unicode(help="what the graph shows, for screen readers").tag(sync=True)
    _plotly = t.Unicode(help="version under which a page keeps plotly.js").tag(sync=True)

    _pushed_plotly = False  # by the first widget of this process

    def __init__(self, **kwargs: Any) -> None:
        self._lock = threading.Lock()  # a reloaded page may say hello on another thread than the one that shows
        self._figure: Any = None  # the newest one, arrays replaced by references
        self._arrays: Arrays = {}  # its own
        self._unsent = False  # whether it waits for a browser that is behind
        self._held: Arrays = {}  # of the last frame
        self._seq = self._ack = self._keys = 0
        self._sent = -PATIENCE  # when something was
        super().__init__(_plotly=plotly_js()[0], **kwargs)
        if not PlotView._pushed_plotly:  # unasked, so that "Run all" need not be over before the first picture
            PlotView._pushed_plotly = True
            self._send_plotly()

    @property
    def ready(self) -> bool:
        """Whether fewer than two frames are unacknowledged, so that another may be shown without queueing."""
        return self._seq - self._ack < IN_FLIGHT

    @property
    def attended(self) -> bool:
        """Whether any browser has ever acknowledged a frame."""
        return self._ack > 0

    def show(self, figure: dict[str, Any], heard: bool = True) -> None:
        """Send a figure to every browser that looks at this view, now or as soon as one is ready.

        Args:
            figure: ``{"data": [...], "layout": {...}}``, plotly's JSON in which 1-D and 2-D numpy arrays may stand
                anywhere. An array object that was part of the last figure is not sent again, so do not write into an
                array that was shown. Non-finite numbers become gaps.
            heard: False while a cell computes, so that no answer can be heard: then a figure goes out unasked, but not
                too often.

        Raises:
            TypeError: if an array does not hold real numbers.
        """
        with self._lock:
            arrays: Arrays = {}
            self._figure, self._arrays = self._refer(figure, arrays), arrays
            late = monotonic() - self._sent >= PATIENCE
            if self.ready or (late and not heard):
                self._send_latest()
                return
            self._unsent = True
            if late:
                self._sent = monotonic()
                self.send({"ask": self._seq})

    def _refer(self, node: Any, arrays: Arrays) -> Any:
        """Copy a tree with each array replaced by a reference, collecting the arrays."""
        if isinstance(node, np.ndarray):
            if id(node) not in arrays:  # an id in _held is alive, hence the same array
                self._keys += id(node) not in self._held
                arrays[id(node)] = self._held.get(id(node)) or (self._keys, node, to_wire(node))
            return {"$": arrays[id(node)][0]}
        if isinstance(node, dict):
            return {key: self._refer(value, arrays) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [self._refer(value, arrays) for value in node]
        if isinstance(node, np.generic):
            node = node.item()
        return None if isinstance(node, float) and not math.isfinite(node) else node

    def _send_latest(self) -> None:
        fresh = [entry for at, entry in self._arrays.items() if at not in self._held]
        self._held, self._unsent, self._sent = self._arrays, False, monotonic()
        self._seq += 1
        headers = [[key, wire.dtype.name, wire.shape] for key, _, wire in fresh]
        message = {"seq": self._seq, "figure": self._figure, "arrays": headers}
        self.send(message, buffers=[memoryview(wire).cast("B") if wire.size else b"" for _, _, wire in fresh])

    def _send_plotly(self) -> None:
        self.send({"plotly": True}, buffers=[plotly_js()[1]])

    def _receive(self, widget: object, message: Any, buffers: object) -> None:
        match message:
            case {"ack": int(seq)} if seq <= self._seq:
                with self._lock:
                    self._ack = max(self._ack, seq)
                    if self._unsent and self.ready:
                        self._send_latest()
            case {"hello": has}:
                if has == "no plotly":
                    self._send_plotly()
                with self._lock:
                    if self._figure is not None:
                        self._held = {}
                        self._send_latest()
            case _:
                super()._receive(widget, message, buffers)
