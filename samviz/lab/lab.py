"""The lab: a panel whose controls change the settings of a run while it continues."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
import torch
import traitlets as t
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.checks import check_int, check_type
from samviz.dynamics import RULES, History, Run, Settings
from samviz.dynamics.history import csv_text
from samviz.dynamics.quantities import QUANTITIES
from samviz.figures.drawing import typeset
from samviz.figures.export import check_path
from samviz.files import write
from samviz.lab.controls import Choice, Control, Slider, Switch, Timeline, decades
from samviz.lab.display import is_interactive
from samviz.lab.panel import Panel
from samviz.lab.session import Progress, Session, planes_of
from samviz.lab.share import Shared, check_same_problem, read, replayed, run_page, share_text
from samviz.lab.status import status_text
from samviz.lab.widget import PlotWidget, script
from samviz.problems import Problem
from samviz.problems.problem import placed

BUTTONS = "play", "pause", "step", "reset", "recenter"
SETTINGS = tuple(Settings().row())  # the controls that are settings of the run
STATIC_STEPS, STATIC_RHO = (100, 900), 0.02  # without a front end, a lab at ρ = 0 takes steps before and after this ρ
STEPS_PER_FRAME = 1, 2, 5, 10, 20, 50, 100, 200, 500
SENTENCE_S = 0.25  # between two sentences while the lab plays: each is another message
MAX_INT = 2**62  # a whole number that torch and numpy can store
PART_S = 0.45  # of a step in slow motion
WAIT_S = 0.005  # a piece of waiting, as long as a piece of work
SIDES = {"": "one run", "A": "two runs, controls set A", "B": "two runs, controls set B"}
PICTURE = "what the parameters mean"
LOSS_LABELS = {"mse": "squared error", "cross_entropy": "cross-entropy"}
THEOREM = "SAM, small ρ (the theorem)"


class LabWidget(PlotWidget):
    """The widget of a lab."""

    _esm = script("tour.js", "save.js", "screen.js", "timeline.js", "lab.js")
    act: Callable[[Any, Any], object]  # handles an action's name and value, on any thread

    presets = t.List(t.Unicode()).tag(sync=True)
    playing = t.Bool(False).tag(sync=True)
    shared = t.Unicode(help="the run as a text to share").tag(sync=True)
    last_step = t.Int(help="of the run, at which the timeline ends").tag(sync=True)
    progress = t.Float(-1.0, max=1.0, help="0 to 1; negative: hidden").tag(sync=True)
    progress_label = t.Unicode().tag(sync=True)

    def _receive(self, widget: object, message: Any, buffers: object) -> None:
        match message:
            case {"action": name}:
                self.act(name, message.get("value"))
            case _:
                super()._receive(widget, message, buffers)


class Lab(Panel):
    """SAM on a problem, live: sliders change the run while it continues, and the picture shows what follows.

    Show it by leaving it as the last line of a cell. It starts at a gradient-descent minimum with ρ = 0.

    Attributes:
        session: the run, its slice of the landscape, and the previous run.
        problem: the problem, on the device on which the run is computed.
        controls: the declared controls by name.
        presets: named values of the controls.

    >>> from samviz.problems import mlp
    >>> lab = Lab(mlp([1, 24, 24, 1], data="sine"), rho=0.005, device="cpu").run(200)
    >>> bool(lab.history["cos_v1"][-1] > 0.99)
    True
    """

    view: LabWidget

    def __init__(
        self,
        problem: Problem,
        *,
        rule: str = "sam",
        lr: float | None = None,
        rho: float = 0.0,
        batch_size: int | None = None,
        x0: ArrayLike | Tensor | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        steps_per_frame: int | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        micro_batch: int | None = None,
        lr_decay: float = 0.0,
        loss_name: str = "",
    ) -> None:
        """Find the start, measure it and draw it, without taking a step.

        Args:
            problem: the loss to minimize.
            rule: a name in `samviz.dynamics.RULES`.
            lr: learning rate η > 0; None is about 0.75/λ₁ at the start.
            rho: perturbation radius ρ ≥ 0; under label noise, the noise's standard deviation.
            batch_size: samples per step, 1 to n; None is the full batch.
            x0: (dim,), the start; None is a gradient-descent minimum.
            seed: non-negative int, of the start and of the samples.
            device: "auto" is CUDA if available, else the CPU; or a torch device.
            dtype: float64 (default) or float32.
            steps_per_frame: steps between two measurements and pictures; None suits the problem's size.
            momentum: β of the heavy ball, as in `samviz.Run`.
            weight_decay: κ, as in `samviz.Run`.
            micro_batch: m, samples that share a perturbation, as in `samviz.Run`; None is the batch.
            lr_decay: δ, as in `samviz.Run`: step t has the learning rate η/(1 + δt).
            loss_name: as in `samviz.Run`. The start of the lab is a minimum of the problem's own loss.

        Raises:
            ValueError: when an argument is out of range, named with what was expected.
            TypeError: if a numeric argument is not a number, or `problem` is not a problem of samviz.
        """
        check_type("problem", problem, Problem, "one from samviz.problems")
        if steps_per_frame is not None:
            steps_per_frame = check_int("steps_per_frame", steps_per_frame, "1 or more steps, at most 2⁶²", 1, MAX_INT)
        self._original_problem = problem
        self.problem = problem.to(*placed(device, dtype))
        start = None if x0 is None else self.problem.points(x0, "x0")[0]
        rate = 1.0 if lr is None else lr
        settings = Settings(rule, rate, rho, batch_size, momentum, weight_decay, micro_batch, lr_decay, loss_name)
        self.session = Session(self.problem, settings, seed, start)
        self.presets = presets(self.problem, float(self.history["eigenvalues"][0, 0]))
        if lr is None:
            settings = replace(settings, lr=self.presets[THEOREM]["lr"])
            self.session = Session(self.problem, settings, seed, start, self.session.start)
        self.controls = self._declare(steps_per_frame or suitable_steps_per_frame(problem))
        self._connect(LabWidget(self.controls, presets=list(self.presets), description="Live figure of the run"))
        self._applied = self.values  # those that `_update` has handled
        self._said_at = -SENTENCE_S  # when the sentence was last updated
        self.view.act = lambda name, value: self.scheduler.post(self._act, name, value)
        self.scheduler.finish(self.session.look())
        if self.scheduler.loop and self.problem.compiled():  # the picture does not wait until the steps are compiled
            threading.Thread(target=self.session.run.prepare).start()
        else:
            self.session.run.prepare()

    def _declare(self, steps_per_frame: int) -> dict[str, Control]:
        """Return the controls, at the settings of the run."""
        settings, n, seed = self.session.run.settings_row(), self.problem.samples, self.session.run.seed
        square = bool(self.problem.square_targets)
        quantities = {name: each.label for name, each in QUANTITIES.items() if each.fits(self.problem)}
        rules = {name: rule.label for name, rule in RULES.items() if square or not rule.square_loss}
        places = list(dict.fromkeys((str(self.problem.device), *devices())))
        losses = {name: LOSS_LABELS[name] for name in self.problem.losses}
        rho, lr = settings["rho"], settings["lr"]
        rates = [lr, *(preset["lr"] for preset in self.presets.values())]
        controls: dict[str, Control] = {
            "rho": Slider("ρ radius", rho, [0.0, *decades(-3, 0)], high=max(100.0, rho)),
            "lr": Slider("η learning rate", lr, decades(-4, 1), low=min(1e-9, *rates), high=max(100.0, *rates)),
        }
        if n > 1:  # the sizes are all numbers up to a few samples, or round numbers
            sizes = range(1, n) if n <= 100 else sorted({round(size) for size in decades(0, 7) if round(size) < n})
            controls["batch_size"] = Slider(
                "batch size", settings["batch_size"], [*sizes, n], integer=True, kind="batchslider"
            )
            controls["micro_batch"] = Slider("m", settings["micro_batch"], [1, n], integer=True, kind="numberfield")
        return controls | {
            "momentum": Slider("momentum β", settings["momentum"], [0, 0.999], kind="numberfield"),
            "weight_decay": Slider("weight decay κ", settings["weight_decay"], [0, 1], kind="numberfield"),
            "lr_decay": Slider("decay of η, δ", settings["lr_decay"], [0, 1], kind="numberfield"),
            **({"loss_name": Choice("loss", settings["loss_name"], losses)} if losses else {}),
            "rule": Choice("rule", settings["rule"], rules),
            "steps_per_frame": Slider(
                "steps per frame", steps_per_frame, STEPS_PER_FRAME, high=MAX_INT, integer=True, kind="numberlist"
            ),
            "seed": Slider("seed", seed, [0, 2**31 - 1], high=max(2**31 - 1, seed), integer=True, kind="numberfield"),
            "plane": Choice("plane", "hessian", planes_of(self.problem)),
            "side": Choice("A | B", "", SIDES),
            "quantity": Choice("lower right plot", "", {"": PICTURE} | quantities),
            **({"device": Choice("device", places[0], dict(zip(places, places)))} if len(places) > 1 else {}),
            **({"surface": Switch("landscape in 3-D")} if self.problem.dim > 1 else {}),
            "compare": Switch("ghost of the last run"),
            "look_back": Timeline("timeline"),
            "slow_motion": Switch("slow motion", kind="timelineswitch"),
        }

    @classmethod
    def from_share(cls, text: str, device: str | torch.device = "cpu") -> Lab:
        """Return the lab of a shared text, with the same run.

        The runs are equal bit for bit if the version of samviz, the engine and the processor are the same.

        Args:
            text: from `share`. It is data: nothing in it is evaluated.
            device: a torch device, or "auto" for CUDA if it is available.

        Raises:
            ValueError: when the text is damaged, of another format, or asks for too much.

        >>> from samviz.problems import valley
        >>> text = Lab(valley(), lr=0.01, rho=0.1, device="cpu").run(100).share()
        >>> Lab.from_share(text).session.run.steps
        100
        """
        shared = read(text)
        first, precision = shared.changes[0][1].row(), getattr(torch, shared.dtype)
        lab = cls(shared.problem, **first, x0=shared.x0, seed=shared.seed, device=device, dtype=precision)
        lab.load(text)
        return lab

    # what a person or a script can do

    @property
    def history(self) -> History:
        """The history of the present run; while it looks back, up to the step that is shown."""
        return self.session.run.history

    def run(self, n: int) -> Lab:
        """Take n steps now, measure and draw: for scripts, tests and pages that are not interactive.

        Args:
            n: number of steps, 0 or more; there is a measurement after every `steps_per_frame` of them.

        Returns:
            The lab itself.

        Raises:
            ValueError, TypeError: when n is no integer of 0 or more.
        """
        n = check_int("n", n, "0 or more steps", 0)
        self._update()
        self.scheduler.finish(self._frames(n))  # completes a pending Reset or shared run first
        return self

    def play(self) -> None:
        """Continue until paused.

        Raises:
            RuntimeError: outside a running kernel.
        """
        if self.scheduler.loop is None:
            raise RuntimeError("play needs a running kernel; in a script use lab.run(n)")
        if self.session.stopped and not self.scheduler.required and self.values["look_back"] is None:
            return  # the alert says why
        self.view.playing, self.view.alert = True, ""
        self.session.restart_speed()
        self.scheduler.wake()

    def pause(self) -> None:
        """Stop after the present piece of work."""
        self.view.playing = False
        self.scheduler.due = False  # the button answers first, and then the last measurement is drawn
        self.scheduler.begin(self._look())

    def step(self) -> None:
        """Take one step and measure."""
        self.view.playing = False
        self.scheduler.begin(self._slow_frame() if self.values["slow_motion"] else self._frames(1))

    def reset(self) -> None:
        """Start again from the start with the settings of the controls; the present run becomes the ghost."""
        self.view.playing, self.view.alert = False, ""
        self.scheduler.begin(self._restart(self.values["seed"]), required=True)

    def look_back(self, step: int | None) -> Lab:
        """Show an earlier step of the run, with the settings that it had; what is played from there is a new branch.

        The steps since the last stored iterate are taken again, bit for bit. The run is kept until a branch begins, and
        then becomes the ghost.

        Args:
            step: a step of the run, 0 or more; None, or the last step, is the end of the run.

        Returns:
            The lab itself.

        Raises:
            ValueError, TypeError: when the step is no integer from 0 to the last step of the run.

        >>> from samviz.problems import valley
        >>> lab = Lab(valley(), lr=0.01, rho=0.1, device="cpu").run(200)
        >>> lab.look_back(100).set(rho=0.05)
        >>> [(step, settings.rho) for step, settings in lab.run(50).session.run.changes]
        [(0, 0.1), (100, 0.05)]
        """
        if step is not None:
            last = self.session.at_end.run.steps
            step = check_int("step", step, f"0 to {last}, a step of the run, or None", 0, last)
        self.view.playing = False
        self.view.put({"look_back": step})
        self.scheduler.finish(self._look())
        return self

    def recenter(self) -> None:
        """Slice the landscape around the present iterate."""
        self.session.recenter()
        if not self.view.playing:
            self.scheduler.begin(self._look())

    def preset(self, name: str) -> None:
        """Set the controls to a named setting; the run continues with it.

        Args:
            name: one of the presets' names.

        Raises:
            ValueError: when there is no such preset.
        """
        if not isinstance(name, str) or name not in self.presets:
            raise ValueError(f"preset is {name!r}; expected one of {', '.join(self.presets)}")
        self.view.put(self.presets[name])
        self._update()

    def export(self, path: str | Path, frames: int = 60) -> Path:
        """Write the run so far, repeated from its start, as a page that plays without kernel and network.

        Args:
            path: of the page; ends in .html.
            frames: pictures, 2 or more; fewer if that makes the steps between them a round number.

        Returns:
            The path.

        Raises:
            ValueError: when the path ends otherwise, there are too few frames, or no step was taken.
            FileNotFoundError: when its folder does not exist.
        """
        return write(check_path(path, ".html"), run_page(self.session, frames).encode())

    def share(self) -> str:
        """Return the run so far as one line of text, which `Lab.from_share` or the share field of a lab repeats.

        Raises:
            ValueError: when the problem or the start cannot be written as a few numbers, with what to do.
        """
        return share_text(self.session, self._original_problem)

    def load(self, text: str) -> None:
        """Replace the present run, which becomes the ghost, by a shared run on the same problem.

        Args:
            text: from `share`. In a kernel its steps are taken in short pieces. If another action cancels them, the
                present run stays.

        Raises:
            ValueError: when the text is damaged, of another format, or of another problem, with what to do.
        """
        shared = read(text)
        check_same_problem(shared, text, self._original_problem, self.problem.dtype)
        self.view.playing, self.view.alert = False, ""
        self.scheduler.due = True  # the status says at once that the present run is paused
        self.scheduler.begin(self._replay(shared))

    def _ipython_display_(self) -> None:
        if not is_interactive() and self.run(0).session.run.steps == 0:
            before, after = STATIC_STEPS
            self.run(before)
            if self.values["rho"] == 0:
                self.set(rho=STATIC_RHO)
            self.run(after)
        super()._ipython_display_()

    # how controls reach the run

    def _act(self, name: Any, value: Any) -> None:
        """Handle a button, a preset or a pasted text."""
        try:
            if name in ("preset", "load"):
                getattr(self, name)(value)
            elif name == "share":
                self.view.shared = ""  # so that the same text is a change as well
                self.view.shared = self.share()
            elif name == "csv":
                self.view.send({"csv": True}, buffers=[csv_text(self.history).encode()])
            elif name in BUTTONS:
                getattr(self, name)()
            else:
                raise ValueError(
                    f"action is {name!r:.100}; expected one of {', '.join(BUTTONS)}, share, csv, preset, load"
                )
        except (ValueError, TypeError) as error:
            self.view.alert = f"{error}."

    def _settings(self) -> Settings:
        """Return the settings of the controls."""
        return Settings(**{name: value for name, value in self.values.items() if name in SETTINGS})

    def _update(self) -> None:
        """Give changed settings to the running run, slice another plane, and draw."""
        before, self._applied = self._applied, self.values
        changed = {name for name, value in self._applied.items() if value != before[name]}
        if not changed:
            return
        if "device" in changed:
            self.reset()
        if "side" in changed:
            if not self._applied["side"]:  # run A is left alone
                self.session.rival = self.session.at_end.rival = None
            elif not before["side"]:  # both runs start again
                self.reset()
            self._put_settings({name: self._applied[name] for name in changed & {*SETTINGS}})
        if changed & {*SETTINGS} and not self.session.stopped:  # a stopped run keeps the settings of its end
            run = self._steered()
            present, self.session.changed_at = run.settings, perf_counter()
            try:
                run.settings = self._settings()
            except ValueError as error:  # label noise needs a square loss
                self.view.alert = f"{error}."
                self._put_settings({})
            if run.settings is not present:
                self.view.alert = ""
        if "look_back" in changed and self._applied["look_back"] != self.session.looks_back_at:
            self.view.playing = False
            if not self.scheduler.work or self.session.slow:  # otherwise a drag would replace work again and again
                self.scheduler.begin(self._look())
        if self.session.slow and changed & {*SETTINGS, "slow_motion"}:  # its parts are those of other settings
            self.session.end_slow_motion()
            self.scheduler.begin(self._look())
        other_plane = "plane" in changed and (self.scheduler.required or self.session.plane != self._applied["plane"])
        if self.view.playing and not self.scheduler.required:
            self.session.choose_plane(self._applied["plane"])  # the next frame slices it
        elif other_plane or "loss_name" in changed:
            self.scheduler.begin(self._look())
        self.session.choose_quantity(self._applied["quantity"])
        self.scheduler.redraw()

    def _steered(self) -> Run:
        """Return the run whose settings the controls set."""
        session = self.session
        return session.rival if self.values["side"] == "B" and session.rival else session.run

    def _next_work(self) -> Iterator[Progress] | None:
        if self.values["look_back"] != self.session.looks_back_at:
            return self._look()
        if self.view.playing and self.values["slow_motion"]:
            return self._slow_frame()
        return self._live_frame() if self.view.playing else None

    def _live_frame(self) -> Iterator[Progress]:
        self._branch()
        yield from self.session.frame(self.values["steps_per_frame"], live=True)

    def _slow_frame(self) -> Iterator[Progress]:
        """Draw the parts of one step for a while each, and take the step with the last one."""
        yield from self._seek()
        self._branch()
        yield from self.session.slow_step()
        while (slow := self.session.slow) and slow.shown <= len(slow.parts):
            if slow.shown == len(slow.parts):
                yield from self.session.advance(1)
                yield from self.session.look()
            self.scheduler.due = self.scheduler.urgent = True
            end = perf_counter() + PART_S
            while self.scheduler.loop and perf_counter() < end:
                sleep(WAIT_S)
                yield None
            if slow.shown == len(slow.parts):
                return
            slow.shown += 1

    def _seek(self) -> Iterator[Progress]:
        """Go to the step of the timeline, and show the settings that the run had there."""
        while (step := self.values["look_back"]) != self.session.looks_back_at:
            session = yield from self.session.look_back(step)
            self._replace(session)
            newer = self.values["look_back"] != step
            self._put_settings({} if newer else {"look_back": session.looks_back_at})
            self.view.alert = session.stopped

    def _branch(self) -> None:
        """Begin a new branch if the session looks back, with the recorded run as the ghost."""
        session = self.session
        if session.recorded:
            session.ghost, session.recorded = session.recorded.run.history, None
            self.view.put({"look_back": None, "compare": True})

    def _look(self) -> Iterator[Progress]:
        yield None  # what is sent now does not wait for the measurement
        yield from self._seek()
        if not self.values["slow_motion"]:
            self.session.end_slow_motion()
        self.session.choose_plane(self.values["plane"])
        yield from self.session.look()

    def _frames(self, n: int) -> Iterator[Progress]:
        yield from self._seek()
        while n and not self.session.stopped:
            self._branch()
            steps = min(n, self.values["steps_per_frame"])
            yield from self.session.frame(steps)
            n -= steps
        yield from self.session.look(now=np.inf)

    def _restart(self, seed: int) -> Iterator[Progress]:
        """Build the new session while the present one is drawn, and replace it."""
        session = self.session
        again = yield from session.restarted(session.run.settings, seed, session.x0, self.values.get("device", ""))
        again.choose_plane("hessian" if session.plane == "pca" else session.plane)  # there is no trajectory yet
        yield from again.follow(session)
        if self.values["side"]:
            again.add_rival((session.rival or session.run).settings)
        again.run.settings, steered = session.run.settings, self.values["side"] == "B"
        (again.rival if again.rival and steered else again.run).settings = self._settings()  # it may have changed since
        plane = {"plane": "hessian"} if self.values["plane"] == "pca" else {}
        self.view.put({"look_back": None} | plane)
        self._replace(again)

    def _replay(self, shared: Shared) -> Iterator[Progress]:
        """Take the steps of a shared run while the present session is drawn, and replace it."""
        again = yield from replayed(self.session, shared)
        self._replace(again)
        self._put_settings({"seed": again.run.seed, "look_back": None, "side": ""})  # a shared run is one run

    def _replace(self, session: Session) -> None:
        """Replace the session by another one, with the quantity that has been chosen meanwhile."""
        self.session, self.problem = session, session.problem
        session.choose_quantity(self.values["quantity"])

    def _put_settings(self, more: dict[str, Any]) -> None:
        """Show the settings of the run, and more values."""
        run = self._steered()
        row = run.settings_row() | {"lr": run.settings.lr} | more  # the control has η of the first step
        self.view.put({name: value for name, value in row.items() if name in self.controls})

    # how the run reaches the screen

    def _report(self, progress: Progress) -> None:
        """Show the progress of work, and what a session has to say."""
        view, session = self.view, self.session
        view.progress, view.progress_label = progress or (-1.0, view.progress_label)
        if session.notice:
            view.alert, session.notice = session.notice, ""
            view.put({"plane": session.plane})  # the plane that was chosen may not exist yet
            view.playing = view.playing and not session.stopped

    def _draw(self, can_acknowledge: bool) -> None:
        if not self.view.playing or perf_counter() - self._said_at >= SENTENCE_S:
            self._said_at = perf_counter()
            self.view.last_step = self.session.at_end.run.steps
            sentence = status_text(self.session, self.view.playing)
            if self.values["seed"] != self.session.run.seed:
                sentence += f" Seed {self.values['seed']} starts at Reset."
            self.sentence = typeset(sentence)
        self.figure = self.session.figure(self.values["compare"], self.values.get("surface", False))
        self._show(can_acknowledge)

    def _fail(self, error: BaseException) -> None:
        """Show an exception of the work, stop, and stay usable."""
        self.view.playing = False
        self.view.progress = -1.0
        if isinstance(error, KeyboardInterrupt):
            self.view.alert = "Interrupted; press Play to continue."
        else:
            self.view.alert = f"{type(error).__name__}: {error}. The history is kept; press Reset to start again."


def presets(problem: Problem, sharpness: float) -> dict[str, dict[str, Any]]:
    """Return the values of the controls by the name of a preset: ηλ₁ is near 0.75, and near 1.5 at SAM's edge."""
    slow, fast = (nice(rate / max(sharpness, 1e-6)) for rate in (0.75, 1.5))
    plain = {"momentum": 0.0, "weight_decay": 0.0, "lr_decay": 0.0}
    sizes = dict.fromkeys(("batch_size", "micro_batch"), problem.samples) if problem.samples > 1 else {}
    sam = {"rule": "sam", "lr": slow} | plain | sizes
    named = {
        "gradient descent": sam | {"rho": 0.0},  # SAM at ρ = 0, so that raising ρ shows what SAM does
        THEOREM: sam | {"rho": 0.005},
        "SAM, large ρ (its edge)": sam | {"rho": 0.02, "lr": fast},
    }
    return named | ({"1-SAM": sam | {"rho": 0.1, "batch_size": 1}} if problem.samples > 1 else {})


def devices() -> tuple[str, ...]:
    """Return the devices that every lab offers: the CPU, and CUDA if it is available."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def suitable_steps_per_frame(problem: Problem) -> int:
    """Return a number of steps that keeps a frame near 50 ms."""
    affordable = 4e8 / (12 * max(problem.samples, 1) * problem.dim)
    return max((n for n in STEPS_PER_FRAME if n <= min(affordable, 50)), default=1)


def nice(value: float) -> float:
    """Return the nearest of 1, 2 and 5 times a power of ten.

    >>> nice(0.0487)
    0.05
    """
    power = 10.0 ** np.floor(np.log10(value))
    return float(f"{power * min((1, 2, 5, 10), key=lambda m: abs(np.log(m * power / value))):.3g}")
