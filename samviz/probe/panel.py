"""A training of one's own, live: what its probe records, Start and Stop, and the optimizer's settings to steer by."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite, nan
from threading import Thread, current_thread, main_thread
from time import monotonic
from traceback import extract_tb
from typing import Any

from samviz.dynamics import History
from samviz.figures.history import probe_figure
from samviz.lab.controls import Button, Control, Slider, decades
from samviz.lab.display import is_interactive
from samviz.lab.panel import Drawing, Panel
from samviz.lab.scheduler import REPLY_TIMEOUT_S

PAUSE, DRAG = 0.25, 1.0  # seconds between two pictures, and within which moves of a slider are one change
SETTINGS = {"lr": ("η learning rate", decades(-6, 1)), "rho": ("ρ radius", [0.0, *decades(-4, 0)])}


class Watch(Panel):
    """The panel that `Probe.lab` gives; leave it as the last line of a cell.

    Training goes on in a thread of its own, beside other cells; while one of those computes, the panel waits.

    Attributes:
        training: whether it goes on.
        error: what ended it; None when it has come to its end or was stopped.
    """

    def __init__(self, probe: Any, train: Callable[[], object] | None, optimizer: Any) -> None:
        """As in `watch_panel`."""
        if train is not None and not callable(train):
            raise TypeError(f"train is {train!r}; expected a function without arguments that runs the training")
        if optimizer is not None and not hasattr(optimizer, "param_groups"):
            raise TypeError(f"optimizer is {optimizer!r}; expected one with param_groups, such as torch.optim.SGD")
        self.probe, self.train, self.optimizer = probe, train, optimizer
        self.training = self._stopping = False
        self.error: BaseException | None = None
        self._state = "Watching" if train is None else "Press Start"  # while it does not train
        self._thread: Thread | None = None  # the training's
        self._told = self._moved = -inf  # when a step last asked for a picture, and when a slider was moved
        self._rates: dict[int, float] = {}  # η at the rows' steps
        self._changes: list[tuple[int, str, float, float]] = []  # step, symbol, from and to
        self._drawn: tuple[Any, dict[str, Any]] = None, {}  # what the last figure is of, and that figure
        self._ratios: dict[str, list[float]] = {}  # each group's setting, as a multiple of the first one's
        controls: dict[str, Control] = {} if train is None else {"start": Button("Start"), "stop": Button("Stop")}
        groups = [] if optimizer is None else optimizer.param_groups
        offered = ["lr", "rho"] if hasattr(optimizer, "first_step") else ["lr"]  # Adadelta has a rho that is no radius
        for name in (name for name in offered if groups and name in groups[0]):
            (label, stops), first = SETTINGS[name], float(groups[0][name])
            self._ratios[name] = [float(group[name]) / first if first else 1.0 for group in groups]
            controls[name] = Slider(label, first, stops, low=0.0, high=max(100.0, first))
        self._heard: dict[str, Any] = {name: control.value for name, control in controls.items()}
        self._before = probe.on_step
        super().__init__(self._drawing, controls, description="What a probe sees of a training, live")
        probe.on_step = self._stepped

    def start(self) -> None:
        """Train in the background, from where the model is.

        Raises:
            ValueError: when there is nothing to train.
        """
        if self.train is None:
            raise ValueError("there is no training to start; expected probe.lab(train=...)")
        if not self.training:
            self.training, self._stopping, self.error = True, False, None
            self._thread = Thread(target=self._run, args=(self.train,), name="samviz training", daemon=True)
            self._thread.start()
        self._refresh()

    def stop(self) -> None:
        """End the training at its next `probe.step()`, which raises KeyboardInterrupt there."""
        self._stopping = self.training
        self._refresh()

    def _ipython_display_(self) -> None:
        if self.train is not None and self._thread is None and not is_interactive():
            self._thread = main_thread()  # nobody is there to press Start
            self.train()  # an error is the cell's own
            self._state = "Finished"
        self._refresh()
        super()._ipython_display_()

    # in the training's thread

    def _run(self, train: Callable[[], object]) -> None:
        try:
            train()
        except BaseException as error:  # shown in the panel: how a thread ends is seen nowhere
            self.error = None if self._stopping and isinstance(error, KeyboardInterrupt) else error
        self._state = "Failed" if self.error else "Stopped" if self._stopping else "Finished"
        self.training = False
        self.scheduler.post(self._refresh)

    def _stepped(self) -> None:
        if self._before is not None:
            self._before()
        probe, here = self.probe, current_thread()
        if "lr" in self._ratios and any(row["step"] == probe.steps for row in probe.history.rows[-1:]):
            self._rates[probe.steps] = self._now("lr")
        if self._stopping and here is self._thread:
            raise KeyboardInterrupt("stopped by the panel")
        pause = REPLY_TIMEOUT_S if here is main_thread() else PAUSE
        if self.scheduler.loop is None or monotonic() - self._told < pause:
            return
        self._told = monotonic()
        if here is main_thread():  # it trains in a cell, and the loop cannot be heard before that ends
            self.scheduler.finish(self._work())
        else:
            self.scheduler.post(self._refresh)

    # in the kernel's thread

    def _update(self) -> None:
        """Do what was pressed and moved, and draw."""
        before, self._heard = self._heard, self.values
        for name in (name for name, value in self._heard.items() if value != before[name]):
            if name in self._ratios:
                self._steer(name, self._heard[name])
            else:
                {"start": self.start, "stop": self.stop}[name]()
        super()._update()

    def _refresh(self) -> None:
        """Draw although no control has moved."""
        self._drawn_values = None
        super()._update()

    def _now(self, name: str) -> float:
        return float(self.optimizer.param_groups[0][name])

    def _steer(self, name: str, value: float) -> None:
        """Give the running optimizer a new setting; its groups keep their ratios."""
        step, symbol, old = self.probe.steps, SETTINGS[name][0][0], self._now(name)
        for group, ratio in zip(self.optimizer.param_groups, self._ratios[name]):
            group[name] = ratio * value
        if self._changes and self._changes[-1][1] == symbol and monotonic() - self._moved < DRAG:
            step, _, old, _ = self._changes.pop()
        self._moved = monotonic()
        if step:
            self._changes.append((step, symbol, old, value))

    def _drawing(self, _: dict[str, Any]) -> Drawing:
        rows, densities, changes = list(self.probe.history.rows), list(self.probe.densities), list(self._changes)
        seen = History()
        seen.rows = [{"lr": self._rates.get(row["step"], nan)} | row for row in rows]
        new = [id(row) for row in rows[-1:]], len(densities), changes
        if new != self._drawn[0]:
            words = [(step, f"{symbol} {old:g} → {value:g}") for step, symbol, old, value in changes]
            more: dict[str, Any] = {"rho": self.probe.rho, "budget": self.probe.budget, "changes": words}
            self._drawn = new, probe_figure(seen, densities, **more)
        return self._drawn[1], self._words(seen)

    def _words(self, seen: History) -> str:
        """What is going on, and the latest numbers."""
        state = ("Stopping" if self._stopping else "Training") if self.training else self._state
        told = [state, f"step {self.probe.steps:,}"]
        told += [f"loss {row['loss']:.3g}" for row in seen.rows[-1:] if isfinite(row["loss"])]
        for row in [row for row in seen.rows if isfinite(row["eigenvalues"][0])][-1:]:
            first, residual = row["eigenvalues"][0], row["residuals"][0]
            told.append(f"at step {row['step']:,} λ₁ = {first:.3g} with a residual of {residual:.1g}")
            told += [f"ηλ₁ = {first * row['lr']:.2f}"] if isfinite(row["lr"]) else []
        odd = [name for name in self._ratios if self._now(name) != self._heard[name]]
        told += [f"the training itself has set {SETTINGS[name][0][0]} to {self._now(name):.3g}" for name in odd]
        return " · ".join(told)

    def _draw(self, can_acknowledge: bool) -> None:
        super()._draw(can_acknowledge)
        if self.error is not None:
            frame = next(iter(extract_tb(self.error.__traceback__)[1:2]), None)
            where = f", in {frame.name}, line {frame.lineno}: {frame.line}" if frame else ""
            told = f"{type(self.error).__name__} at step {self.probe.steps:,}{where}\n{self.error}"
            self.view.alert = f"{told}\nThe record is kept; Start trains on from where the model is."


def watch_panel(probe: Any, train: Callable[[], object] | None = None, optimizer: Any = None) -> Watch:
    """A live panel of what a probe records.

    Args:
        probe: a `samviz.Probe`.
        train: runs the training and calls `probe.step()`; Start and Stop run it in the background, and without a reader
            it runs when the panel is shown. None where it runs elsewhere: then the panel only shows.
        optimizer: has `param_groups`, whose learning rate and, if it is SAM, ρ get a slider each; groups keep their
            ratios. A scheduler that sets them again has the last word. None for no sliders.

    Returns:
        The panel; the one that there is already while its training goes on.

    Raises:
        TypeError: when train cannot be called, or optimizer has no groups of parameters.
    """
    owner = getattr(probe.on_step, "__self__", None)
    if isinstance(owner, Watch):
        if owner.training:
            return owner
        probe.on_step = owner._before
    return Watch(probe, train, optimizer)
