"""The live panel of a training: what its probe records, Start and Stop, and the settings of the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, nan
from threading import Thread, current_thread, main_thread
from time import monotonic
from traceback import extract_tb
from typing import Any

import torch

from samviz.dynamics import History
from samviz.figures.history import probe_figure
from samviz.lab.controls import Button, Control, Slider, decades
from samviz.lab.display import is_interactive
from samviz.lab.panel import Drawing, Panel
from samviz.lab.scheduler import REPLY_TIMEOUT_S

REDRAW_S, DRAG_S = 0.25, 1.0  # time between two pictures, and time in which moves of a slider are one change
SETTINGS = {"lr": ("η learning rate", decades(-6, 1)), "rho": ("ρ radius", [0.0, *decades(-4, 0)])}


class Watch(Panel):
    """The panel of `Probe.lab`; its training runs in a thread, so that other cells can run.

    Attributes:
        training: whether it is running.
        error: the exception that ended it; None if it has completed or was stopped.
    """

    def __init__(self, probe: Any, train: Callable[[], object] | None, optimizer: Any) -> None:
        """Arguments as in `Probe.lab`."""
        if train is not None and not callable(train):
            raise TypeError(f"train is {train!r}; expected a function without arguments that runs the training")
        if optimizer is not None and not hasattr(optimizer, "param_groups"):
            raise TypeError(f"optimizer is {optimizer!r}; expected one with param_groups, such as torch.optim.SGD")
        self.probe, self.train, self.optimizer = probe, train, optimizer
        self.training = self._stopping = False
        self.error: BaseException | None = None
        self._state = "Watching" if train is None else "Press Start"  # the status while it does not train
        self._thread: Thread | None = None  # of the training
        self._redrawn_at = self._changed_at = -inf  # when a step last redrew, and when a slider was last moved
        self._rates: dict[int, float] = {}  # η by the step of a row
        self._changes: list[tuple[int, str, float, float]] = []  # step, symbol, old and new value
        self._drawn: tuple[Any, dict[str, Any]] = None, {}  # what the last figure shows, and the figure
        self._ratios: dict[str, list[float]] = {}  # the setting of each group, relative to the first group
        controls: dict[str, Control] = {} if train is None else {"start": Button("Start"), "stop": Button("Stop")}
        groups = [] if optimizer is None else optimizer.param_groups
        for name in ["lr", "rho"] if hasattr(optimizer, "first_step") else ["lr"]:  # the rho of Adadelta is no radius
            if groups and name in groups[0]:
                (label, stops), first = SETTINGS[name], float(groups[0][name])
                self._ratios[name] = [float(group[name]) / first if first else 1.0 for group in groups]
                controls[name] = Slider(label, first, stops, low=0.0, high=max(100.0, first))
        self._applied: dict[str, Any] = {name: control.value for name, control in controls.items()}
        self._on_step = probe.on_step
        super().__init__(self._figure, controls, description="What a probe sees of a training, live")
        probe.on_step = self._after_step

    def start(self) -> None:
        """Train in the background, from the model's present parameters.

        Raises:
            ValueError: when there is nothing to train.
        """
        if self.train is None:
            raise ValueError("there is no training to start; expected probe.lab(train=...)")
        if not self.training:
            self.training, self._stopping, self.error = True, False, None
            arguments = self.train, torch.get_num_threads()
            self._thread = Thread(target=self._run, args=arguments, name="samviz training", daemon=True)
            self._thread.start()
        self._redraw()

    def stop(self) -> None:
        """End the training at its next `probe.step()`, which raises KeyboardInterrupt there."""
        self._stopping = self.training
        self._redraw()

    def _ipython_display_(self) -> None:
        if self.train is not None and self._thread is None and not is_interactive():
            self._thread = main_thread()  # there is no front end in which Start could be pressed
            self.train()  # an exception is the cell's own error
            self._state = "Finished"
        self._redraw()
        super()._ipython_display_()

    # in the thread of the training

    def _run(self, train: Callable[[], object], threads: int) -> None:
        torch.set_num_threads(threads)  # a new thread may start with one, while another one computes a small problem
        try:
            train()
        except BaseException as error:  # the panel shows it, because an exception in a thread is not shown
            self.error = None if self._stopping and isinstance(error, KeyboardInterrupt) else error
        self._state = "Failed" if self.error else "Stopped" if self._stopping else "Finished"
        self.training = False
        self.scheduler.post(self._redraw)

    def _after_step(self) -> None:
        if self._on_step is not None:
            self._on_step()
        probe, thread = self.probe, current_thread()
        if "lr" in self._ratios and any(row["step"] == probe.steps for row in probe.history.rows[-1:]):
            self._rates[probe.steps] = self._setting("lr")
        if self._stopping and thread is self._thread:
            raise KeyboardInterrupt("stopped by the panel")
        in_cell = thread is main_thread()
        if self.scheduler.loop is None or monotonic() - self._redrawn_at < (REPLY_TIMEOUT_S if in_cell else REDRAW_S):
            return
        self._redrawn_at = monotonic()
        if in_cell:  # the event loop does not run before the cell ends
            self.scheduler.finish(self._work())
        else:
            self.scheduler.post(self._redraw)

    # in the kernel's thread

    def _update(self) -> None:
        """Apply what was pressed and moved, and draw."""
        before, self._applied = self._applied, self.values
        for name in (name for name, value in self._applied.items() if value != before[name]):
            if name in self._ratios:
                self._set(name, self._applied[name])
            else:
                {"start": self.start, "stop": self.stop}[name]()
        super()._update()

    def _redraw(self) -> None:
        """Draw although no control has moved."""
        self._drawn_values = None
        super()._update()

    def _setting(self, name: str) -> float:
        return float(self.optimizer.param_groups[0][name])

    def _set(self, name: str, value: float) -> None:
        """Change a setting of the running optimizer; its groups keep their ratios."""
        step, symbol, old = self.probe.steps, SETTINGS[name][0][0], self._setting(name)
        for group, ratio in zip(self.optimizer.param_groups, self._ratios[name]):
            group[name] = ratio * value
        if self._changes and self._changes[-1][1] == symbol and monotonic() - self._changed_at < DRAG_S:
            step, _, old, _ = self._changes.pop()
        self._changed_at = monotonic()
        if step:
            self._changes.append((step, symbol, old, value))

    def _figure(self, _: dict[str, Any]) -> Drawing:
        rows, densities, changes = list(self.probe.history.rows), list(self.probe.densities), list(self._changes)
        history = History()
        history.rows = [{"lr": self._rates.get(row["step"], nan)} | row for row in rows]
        content = [id(row) for row in rows[-1:]], len(densities), changes
        if content != self._drawn[0]:
            marks = [(step, f"{symbol} {old:g} → {value:g}") for step, symbol, old, value in changes]
            options: dict[str, Any] = {"rho": self.probe.rho, "budget": self.probe.budget, "changes": marks}
            self._drawn = content, probe_figure(history, densities, **options)
        return self._drawn[1], self._status_text(history.rows)

    def _status_text(self, rows: list[dict[str, Any]]) -> str:
        """Return the status and the latest numbers."""
        state = ("Stopping" if self._stopping else "Training") if self.training else self._state
        parts = [state, f"step {self.probe.steps:,}"]
        parts += [f"loss {row['loss']:.3g}" for row in rows[-1:] if isfinite(row["loss"])]
        for row in [row for row in rows if isfinite(row["eigenvalues"][0])][-1:]:
            top, residual = row["eigenvalues"][0], row["residuals"][0]
            parts.append(f"at step {row['step']:,} λ₁ = {top:.3g} with a residual of {residual:.1g}")
            parts += [f"ηλ₁ = {top * row['lr']:.2f}"] if isfinite(row["lr"]) else []
        for name in self._ratios:
            if self._setting(name) != self._applied[name]:
                parts.append(f"the training itself has set {SETTINGS[name][0][0]} to {self._setting(name):.3g}")
        return " · ".join(parts)

    def _draw(self, can_acknowledge: bool) -> None:
        super()._draw(can_acknowledge)
        if self.error is not None:
            frame = next(iter(extract_tb(self.error.__traceback__)[1:2]), None)
            where = f", in {frame.name}, line {frame.lineno}: {frame.line}" if frame else ""
            self.view.alert = (
                f"{type(self.error).__name__} at step {self.probe.steps:,}{where}\n{self.error}\n"
                "The record is kept; Start trains on from where the model is."
            )
