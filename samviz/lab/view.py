"""What the learner touches of the lab: controls, one live graph and a sentence of status, as a single widget.

The browser half is ``view.js``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets as t

from samviz.lab.controls import decades
from samviz.lab.wire import PlotView, script

KNOBS = "rule", "rho", "lr", "batch_size"
MOST = 2**62  # a whole number that torch and numpy can hold


class LabView(PlotView):
    """The lab's window: choices and settings as synced traits, actions as callbacks, frames by `show`.

    Settings (``rule rho lr batch_size seed steps_per_frame plane compare``) are set from either side. Callbacks and
    observers may run on any thread (ipykernel 7.0 to 7.3), so they should only store what they are told.

    Args:
        kwargs: initial values of the traits.

    >>> import numpy as np
    >>> view = LabView(samples=20, rules=[["gd", "gradient descent"], ["sam", "SAM"]], rule="sam", rho=0.02)
    >>> view.show({"data": [{"y": np.arange(3.0)}], "layout": {}})
    >>> view.ready, view.attended      # one frame is on its way and no browser has answered
    (True, False)
    """

    _esm = script("view.js")

    # choices, each [value, label]; set once
    rules = t.List(t.List(t.Unicode())).tag(sync=True)
    planes = t.List(t.List(t.Unicode())).tag(sync=True)
    presets = t.List(t.Unicode()).tag(sync=True)
    samples = t.Int(0, min=0, help="size of the full batch; 0 hides the batch control").tag(sync=True)
    stops = t.Dict(help="where each slider stops").tag(sync=True)

    # settings, set by the learner or by the kernel; what the browser sends is not echoed back to it
    rule = t.Unicode().tag(sync=True, echo_update=False)
    rho = t.Float(0.0, min=0.0).tag(sync=True, echo_update=False)
    lr = t.Float(0.1, min=0.0).tag(sync=True, echo_update=False)
    batch_size = t.Int(1, min=1).tag(sync=True, echo_update=False)
    seed = t.Int(0, min=0, max=MOST).tag(sync=True, echo_update=False)
    steps_per_frame = t.Int(10, min=1, max=MOST).tag(sync=True, echo_update=False)
    plane = t.Unicode().tag(sync=True, echo_update=False)
    compare = t.Bool(False).tag(sync=True, echo_update=False)

    # what the kernel says
    playing = t.Bool(False).tag(sync=True)
    status = t.Unicode().tag(sync=True)
    shared = t.Unicode(help="the run as a text to share").tag(sync=True)
    progress = t.Float(-1.0, max=1.0, help="0 to 1; negative: hidden").tag(sync=True)
    progress_label = t.Unicode().tag(sync=True)

    def __init__(self, **kwargs: Any) -> None:
        self._callbacks: list[Callable[[str, Any], object]] = []
        samples = kwargs.get("samples", 0)
        kwargs.setdefault("batch_size", max(1, samples))
        stops = {"rho": [0.0, *decades(-3, 0)], "lr": decades(-4, 1), "batch_size": _batches(samples)}
        super().__init__(description="Live figure of the run", stops=stops, **kwargs)

    @t.validate("plane")
    def _offered(self, proposal: Any) -> Any:
        """Refuse a plane that is not there: it would be a name above another one's picture."""
        kinds = [kind for kind, _ in self.planes]
        if proposal.value not in kinds:
            raise t.TraitError(f"plane is {proposal.value!r}; expected one of {', '.join(kinds)}")
        return proposal.value

    def on_action(self, callback: Callable[[str, Any], object]) -> None:
        """Call back when the learner presses a button or chooses a preset.

        Args:
            callback: called as ``callback(name, value)``, on whatever thread, with name one of ``play pause step
                reset recenter share`` (value None), ``preset`` (value its name) or ``load`` (value a shared text).
        """
        self._callbacks.append(callback)

    def knobs(self) -> dict[str, Any]:
        """What the controls of the run stand at, by name."""
        return {name: getattr(self, name) for name in KNOBS}

    def put(self, values: dict[str, Any]) -> None:
        """Set several controls at once.

        Args:
            values: by name.
        """
        with self.hold_trait_notifications():
            for name, value in values.items():
                setattr(self, name, value)

    def _receive(self, widget: object, message: Any, buffers: object) -> None:
        match message:
            case {"action": name}:
                for callback in self._callbacks:
                    callback(name, message.get("value"))
            case _:
                super()._receive(widget, message, buffers)


def _batches(samples: int) -> list[int]:
    """Batch sizes to choose from: every one of a few samples, round numbers of many, and all."""
    sizes = range(1, samples + 1) if samples <= 100 else sorted({round(size) for size in decades(0, 7)})
    return [*(size for size in sizes if size < samples), samples]
