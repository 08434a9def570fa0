"""The kernel's half of every widget: the values of its controls, and the transport of its figure to the browser.

The browser's half is ``graph.js``. A frame is one custom message: the figure as plain JSON in which every array is a
reference ``{"$": key}``, followed by binary buffers with those arrays that the browser does not have yet. The browser
draws the newest frame and acknowledges it, at most ten times a second. If it is behind, the newest figure waits here,
and the browser is asked to repeat its acknowledgement. A page that is opened or reloaded, or may have missed messages,
sends hello and gets the entire figure and the present state.
"""

from __future__ import annotations

import gzip
import math
import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import anywidget
import numpy as np
import traitlets as t

from samviz.figures.style import recolour_js
from samviz.lab.controls import Control, spec

Arrays = dict[int, tuple[int, np.ndarray[Any, Any], Any]]
"""The arrays of a figure by their id: the key under which a page stores one, the caller's own, and the one sent."""
HERE = Path(__file__).parent
MAX_IN_FLIGHT, SLOW_IN_FLIGHT = 8, 2  # frames that may be unacknowledged; the second if the browser answers slowly
SLOW_ANSWER_S = 0.25  # from a frame to its acknowledgement
RESEND_S = 0.5  # between two requests to a browser that is behind
WATCHED_S = 600.0  # a widget that nobody has used for so long sends no sign of life, since servers end idle kernels


@cache
def plotly_js() -> tuple[str, bytes]:
    """Return the version of plotly's Python package, and the gzip of the plotly.js in it (about 1.5 MB)."""
    import plotly

    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return plotly.__version__, gzip.compress(source.read_bytes(), 6)


def to_wire(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Convert an array to float32 or int32, which plotly.js reads; to float64 if float32 would lose a number.

    >>> to_wire(np.array([1, 2])).dtype, to_wire(np.array([0.5, np.nan])).dtype, to_wire(np.array([1e-60])).dtype
    (dtype('int32'), dtype('float32'), dtype('float64'))
    """
    if array.dtype.kind not in "biuf":
        raise TypeError(f"a figure's arrays must hold real numbers, got dtype {array.dtype}; use a list for text")
    if array.dtype.kind in "biu" and (array.size == 0 or (array.min() >= -(2**31) and array.max() < 2**31)):
        return np.ascontiguousarray(array, np.int32)
    with np.errstate(over="ignore", under="ignore"):
        single = np.ascontiguousarray(array, np.float32)
    exact = (np.isfinite(single) == np.isfinite(array)) & ((single == 0) == (array == 0))
    return single if exact.all() else np.ascontiguousarray(array, np.float64)


def script(*names: str) -> str:
    """Return a widget's JavaScript module: the shared part and the named files, the last with the only export."""
    parts = ("../figures/elements.js", "graph.js", "alive.js", *names)
    return "\n".join([recolour_js(), *((HERE / part).read_text(encoding="utf-8") for part in parts)])


class Widget(anywidget.AnyWidget):
    """Controls whose values the browser sends as custom messages, until each is confirmed."""

    # The protocol of ipywidgets would send no further value after an answer is lost with a broken connection.

    _css = "".join((HERE / name).read_text(encoding="utf-8") for name in ("widget.css", "../figures/help.css"))

    alert = t.Unicode(help="an error with its reason and remedy; empty: none").tag(sync=True)
    values = t.Dict(help="each control's value by its name").tag(sync=True, echo_update=False)

    def __init__(self, controls: Mapping[str, Any], /, **traits: Any) -> None:
        """Start with the controls' own values; a control's `take(name, value)` checks a value."""
        self._controls = controls
        self._watched_at, self._beat = monotonic(), ""
        self._handled: dict[str | None, float] = {}  # the number of the latest values from each page
        self._lock = threading.RLock()  # messages arrive on another thread in ipykernel 7.0 to 7.3
        values = {name: control.take(name, control.value) for name, control in controls.items()}
        super().__init__(values=values, **traits)
        self.on_msg(self._receive)

    def take(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values as they are stored; raise ValueError for an unknown name or an impossible value."""
        if unknown := values.keys() - self._controls.keys():
            names, known = (", ".join(map(repr, names)) for names in (sorted(unknown), self._controls))
            raise ValueError(f"there is no control {names}; expected {known}")
        return {name: self._controls[name].take(name, value) for name, value in values.items()}

    def put(self, values: dict[str, Any]) -> None:
        """Change some values, which are known to be possible, and send them to every page."""
        with self._lock:
            self.values = self.values | values

    def beat(self, busy: bool) -> None:
        """Tell the pages that the kernel lives, and whether it runs a cell; say once that no more signs will follow."""
        state = "busy" if busy else "free" if monotonic() - self._watched_at < WATCHED_S else "idle"
        if state != "idle" or self._beat != "idle":
            self.send({"beat": state})
        self._beat = state

    def _receive(self, widget: object, message: Any, buffers: object) -> None:
        match message:
            case {"watched": True}:
                self._watched_at = monotonic()
            case {"values": dict(values)} if values.keys() <= self.values.keys():
                page, number = message.get("id") or (None, math.nan)  # a number of NaN is always new
                if not number <= self._handled.get(page, -1):  # sent again, they would undo what was done since then
                    self._handled[page] = number
                    try:
                        with self._lock:  # set_state does not send the values back to the page
                            self.set_state({"values": self.values | self.take(values)})
                    except (ValueError, TypeError) as error:
                        self.alert = f"{error}. Nothing was changed."
                current = {name: self.values[name] for name in values}
                self.send({"confirmed": message.get("id"), "values": current})
            case _:
                self.alert = f"The page sent {message!r:.100}; expected a setting or an action. Nothing was changed."


class PlotWidget(Widget):
    """Controls and one Plotly graph, whose frames the browser acknowledges."""

    controls = t.List(t.Dict(), help="from `samviz.lab.controls.spec`").tag(sync=True)
    sentence = t.Unicode(help="about the graph").tag(sync=True)
    description = t.Unicode(help="what the graph shows, for screen readers").tag(sync=True)
    _plotly = t.Unicode(help="version under which a page stores plotly.js").tag(sync=True)

    _plotly_was_sent = False  # by the first widget of this process
    on_picture: Callable[[str], object] | None = None  # handles the address (data:) of a picture that a page has made

    def __init__(self, controls: Mapping[str, Control], /, **traits: Any) -> None:
        """Describe the controls to the browser, and send plotly.js unless another widget has."""
        self._figure: Any = None  # the newest one, with references instead of arrays
        self._arrays: Arrays = {}  # of the newest figure
        self._sent_arrays: Arrays = {}  # of the last frame
        self._waiting = False  # whether the newest figure is not sent yet, because the browser is behind
        self._seq = self._ack = self._keys = 0
        self._sent_times: dict[int, float] = {}  # of the frames that are not acknowledged
        self._answer_s = math.inf  # from the last frame that was acknowledged to its acknowledgement
        self._sent_at = -RESEND_S
        specs = [spec(name, control) for name, control in controls.items()]
        super().__init__(controls, controls=specs, _plotly=plotly_js()[0], **traits)
        if not PlotWidget._plotly_was_sent:  # without a request, which is only handled after "Run all"
            PlotWidget._plotly_was_sent = True
            self._send_plotly()

    @property
    def ready(self) -> bool:
        """Whether another frame may be sent, since few are unacknowledged; many frames would wait in a slow network."""
        return self._seq - self._ack < (MAX_IN_FLIGHT if self._answer_s < SLOW_ANSWER_S else SLOW_IN_FLIGHT)

    @property
    def acknowledged(self) -> bool:
        """Whether any browser has ever acknowledged a frame."""
        return self._ack > 0

    def show(self, figure: dict[str, Any], can_acknowledge: bool = True) -> None:
        """Send a figure, plotly JSON with numpy arrays that never change, now or when a browser is ready."""
        with self._lock:
            arrays: Arrays = {}
            self._figure, self._arrays = self._refer(figure, arrays), arrays
            late = monotonic() - self._sent_at >= RESEND_S
            if self.ready or (late and not can_acknowledge):  # while a cell computes, no acknowledgement arrives
                self._send_latest()
                return
            self._waiting = True
            if late:
                self._sent_at = monotonic()
                self.send({"repeat": self._seq})

    def _refer(self, node: Any, arrays: Arrays) -> Any:
        """Copy a tree with a reference instead of each array, and collect the arrays."""
        if isinstance(node, np.ndarray):
            if id(node) not in arrays:  # an array in _sent_arrays is alive, so an equal id is the same array
                self._keys += id(node) not in self._sent_arrays
                arrays[id(node)] = self._sent_arrays.get(id(node)) or (self._keys, node, to_wire(node))
            return {"$": arrays[id(node)][0]}
        if isinstance(node, dict):
            return {key: self._refer(value, arrays) for key, value in node.items()}
        if isinstance(node, list | tuple):
            return [self._refer(value, arrays) for value in node]
        if isinstance(node, np.generic):
            node = node.item()
        return None if isinstance(node, float) and not math.isfinite(node) else node

    def _send_latest(self) -> None:
        new = [entry for key, entry in self._arrays.items() if key not in self._sent_arrays]
        self._sent_arrays, self._waiting, self._sent_at = self._arrays, False, monotonic()
        self._seq += 1
        self._sent_times[self._seq] = self._sent_at
        headers = [[key, wire.dtype.name, wire.shape] for key, _, wire in new]
        message = {"seq": self._seq, "figure": self._figure, "arrays": headers}
        self.send(message, buffers=[memoryview(wire).cast("B") if wire.size else b"" for _, _, wire in new])

    def _send_plotly(self) -> None:
        self.send({"plotly": True}, buffers=[plotly_js()[1]])

    def _receive(self, widget: object, message: Any, buffers: object) -> None:
        match message:
            case {"ack": int(seq)} if seq <= self._seq:
                with self._lock:
                    if seq in self._sent_times:
                        self._answer_s = monotonic() - self._sent_times[seq]
                    self._ack = max(self._ack, seq)
                    self._sent_times = {n: sent for n, sent in self._sent_times.items() if n > self._ack}
                    if self._waiting and self.ready:
                        self._send_latest()
            case {"picture": str(url)} if url.startswith("data:image/png;base64,"):
                if self.on_picture:
                    self.on_picture(url)
            case {"hello": has}:
                if has == "no plotly":
                    self._send_plotly()
                self.send_state([name for name in self.keys if not name.startswith("_")])
                with self._lock:
                    if self._figure is not None:
                        self._sent_arrays = {}
                        self._send_latest()
            case _:
                super()._receive(widget, message, buffers)
