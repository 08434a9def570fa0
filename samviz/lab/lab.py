"""The lab: controls that steer a running session, and its live picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.dynamics import RULES, History, Settings
from samviz.figures.export import place, write
from samviz.lab import words
from samviz.lab.attended import attended, present, static_picture
from samviz.lab.player import Player
from samviz.lab.presets import THEOREM, pace, presets
from samviz.lab.record import run_page
from samviz.lab.scene import PLANES
from samviz.lab.session import Session
from samviz.lab.view import LabView
from samviz.problems import Problem
from samviz.problems.device import placed

BURST = 100, 500  # steps at ρ = 0 and then of SAM that are run when nobody is there to press play


class Lab:
    """SAM on a problem, live: sliders change the running run, and the picture shows what follows.

    Show it by leaving it as the last line of a cell. It starts at a gradient-descent minimum with ρ = 0.

    >>> from samviz.problems import mlp
    >>> lab = Lab(mlp([1, 24, 24, 1], data="sine"), rho=0.005, device="cpu").run(200)
    >>> bool(lab.history["cos_v1"][-1] > 0.99)
    True
    """

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
    ) -> None:
        """Find the start, measure it and draw it; nothing moves yet.

        Args:
            problem: what is minimized.
            rule: a name in `samviz.dynamics.RULES`.
            lr: learning rate η > 0; None is about 0.75/λ₁ at the start.
            rho: perturbation radius ρ ≥ 0; under label noise, the noise's standard deviation.
            batch_size: samples per step, 1 to n; None is the full batch.
            x0: (dim,), the start; None is a gradient-descent minimum.
            seed: non-negative int, of the start and of the samples.
            device: "auto" is CUDA when it is there, else the CPU; or a torch device.
            dtype: float64 (default) or float32.
            steps_per_frame: steps between two measurements and pictures; None suits the problem's size.

        Raises:
            ValueError: when an argument is out of range, named with what was expected.
            TypeError: when a number is not a number.
        """
        if steps_per_frame is not None and steps_per_frame < 1:
            raise ValueError(f"steps_per_frame is {steps_per_frame}; expected 1 or more")
        self.problem = problem.to(*placed(device, dtype))
        start = None if x0 is None else self.problem.points(x0, "x0")[0]
        self.session = Session(self.problem, Settings(rule, 1.0 if lr is None else lr, rho, batch_size), seed, start)
        self.presets = presets(self.problem, float(self.history["eigenvalues"][0, 0]))
        if lr is None:
            run = self.session.run
            self.session.begin(replace(run.settings, lr=self.presets[THEOREM]["lr"]), seed, run.x[0])
        settings, samples = self.session.run.settings, problem.samples
        self.view = LabView(
            rules=[[n, words.RULE_NAMES[n]] for n in RULES if n != "label_noise" or problem.square_targets],
            planes=[[kind, label] for kind, label in PLANES.items() if problem.dim > 2 or kind == "hessian"],
            presets=list(self.presets),
            samples=samples,
            rule=settings.rule,
            rho=settings.rho,
            lr=settings.lr,
            batch_size=settings.batch_size or max(samples, 1),
            seed=seed,
            steps_per_frame=steps_per_frame or pace(problem),
            plane="hessian",
        )
        self.player = Player(more=self._more, draw=self._draw, ready=lambda: self.view.ready, fail=self._fail)
        self.view.on_action(lambda name, value: self.player.post(self._act, name, value))
        for names, react in (
            (("rule", "rho", "lr", "batch_size"), self._steer),
            (("plane",), self._replane),
            (("compare", "seed"), self.player.redraw),
        ):
            self.view.observe(lambda _, react=react: self.player.post(react), names)
        self.session.run.prepare()
        self.player.finish(self._shown(self.session.look()))

    # what a person or a script can do

    @property
    def history(self) -> History:
        """The record of the run on show."""
        return self.session.run.history

    def run(self, n: int) -> Lab:
        """Take n steps here and now, measure and draw: for scripts, tests and pages without a reader.

        Args:
            n: number of steps, 0 or more; a measurement after every `steps_per_frame` of them.

        Returns:
            The lab itself.

        Raises:
            ValueError: when n is negative.
        """
        if n < 0:
            raise ValueError(f"n is {n}; expected 0 or more steps")
        while n and not self.session.stopped:
            steps = min(n, self.view.steps_per_frame)
            for _ in self._shown(self.session.frame(steps)):
                pass
            n -= steps
        self.player.finish(self._shown(self.session.look(now=np.inf)))
        return self

    def play(self) -> None:
        """Go on until paused.

        Raises:
            RuntimeError: outside a running kernel.
        """
        if self.player.loop is None:
            raise RuntimeError("play needs a running kernel; in a script use lab.run(n)")
        if self.session.stopped:
            return  # the alert says why
        self.view.playing = True
        self.player.wake()

    def pause(self) -> None:
        """Stop after the piece of work under way."""
        self.view.playing = False
        self._begin(self.session.look())

    def step(self) -> None:
        """Take one step and look."""
        self.view.playing = False
        self._begin(self.session.frame(0 if self.session.stopped else 1))

    def reset(self) -> None:
        """Start again from the start with the settings of the controls; the run so far becomes the ghost."""
        self.view.playing = False
        self.view.alert = ""
        self._begin(self.session.restart(self._settings(), self.view.seed))

    def recenter(self) -> None:
        """Slice the landscape anew around the present iterate."""
        self.session.scene.wanted = True
        if not self.view.playing:
            self._begin(self.session.look())

    def preset(self, name: str) -> None:
        """Set the controls to a named setting; the run goes on with it.

        Args:
            name: one of the presets' names.

        Raises:
            ValueError: when there is no such preset.
        """
        if name not in self.presets:
            raise ValueError(f"preset is {name!r}; expected one of {', '.join(self.presets)}")
        with self.view.hold_trait_notifications():
            for control, value in self.presets[name].items():
                setattr(self.view, control, value)

    @property
    def figure(self) -> dict[str, Any]:
        """The present picture, as plain plotly JSON."""
        return self.session.figure(self.view.compare)

    def export(self, path: str | Path, frames: int = 60) -> Path:
        """Write the run so far, taken again from its start, as one page that plays with neither kernel nor network.

        Args:
            path: of the page; ends in .html.
            frames: pictures, 2 or more; fewer where that makes the steps between them a round number.

        Returns:
            Where it is.

        Raises:
            ValueError: when the path ends otherwise, there are too few frames, or no step was taken.
            FileNotFoundError: when its folder is not there.
        """
        return write(place(path, ".html"), run_page(self.session, frames).encode())

    def static(self) -> Any:
        """The present picture as something that shows without a kernel: a PNG where one can be drawn."""
        return static_picture(self.figure, f"samviz lab: {self.view.status}")

    def _ipython_display_(self) -> None:
        if not attended() and self.session.run.steps == 0:
            still, moving = BURST
            self.run(still)
            if self.view.rho == 0:
                self.preset(THEOREM)
                self._steer()
            self.run(moving)
        present(self.view, self.static)

    # how controls reach the run

    def _act(self, name: str, value: Any) -> None:
        """A button or a preset, by the name that the browser sends."""
        if name == "preset":
            self.preset(value)
        else:
            press = {"play": self.play, "pause": self.pause, "step": self.step}
            press |= {"reset": self.reset, "recenter": self.recenter}
            press[name]()

    def _settings(self) -> Settings:
        view = self.view
        return Settings(view.rule, view.lr, view.rho, view.batch_size if self.problem.samples else None)

    def _steer(self) -> None:
        """Hand the controls' values to the running run."""
        try:
            self.session.run.settings = self._settings()
        except (ValueError, TypeError) as error:
            self.view.alert = f"{error}. The run goes on with the old value."
            return
        if not self.session.stopped:
            self.view.alert = ""
        self.player.redraw()

    def _replane(self) -> None:
        scene = self.session.scene
        if scene.kind != self.view.plane:
            scene.kind, scene.wanted = self.view.plane, True
            if not self.view.playing:
                self._begin(self.session.look())

    # how work reaches the screen

    def _more(self) -> Iterator[None] | None:
        return self._shown(self.session.frame(self.view.steps_per_frame, live=True)) if self.view.playing else None

    def _begin(self, work: Iterator[None]) -> None:
        self.player.begin(self._shown(work))

    def _shown(self, work: Iterator[None]) -> Iterator[None]:
        """The work, with its progress, its notices and its end shown in the view."""
        view, session = self.view, self.session
        for piece in work:
            view.progress, view.progress_label = session.progress or (-1.0, view.progress_label)
            yield piece
        view.progress = -1.0
        view.plane = session.scene.kind
        if session.notice:
            view.alert, session.notice = session.notice, ""
        if session.stopped:
            view.playing = False
            view.alert = f"{session.stopped} The history is kept; lower η and press Reset."

    def _draw(self) -> None:
        session, view = self.session, self.view
        precision = str(self.problem.dtype).removeprefix("torch.")
        line = words.status(
            session.now(),
            self.problem.samples,
            step=session.run.steps,
            speed=session.clock(),
            place=f"{self.problem.device.type.upper()} {precision}, {session.run.engine}",
            playing=view.playing,
            stopped=bool(session.stopped),
            falling=session.falling(),
        )
        view.status = line + (f" Seed {view.seed} starts at Reset." if view.seed != session.run.seed else "")
        view.show(self.figure)

    def _fail(self, error: BaseException) -> None:
        """An exception in the work: say so, stop, and stay usable."""
        self.view.playing = False
        self.view.progress = -1.0
        if isinstance(error, KeyboardInterrupt):
            self.view.alert = "Interrupted; press Play to go on."
        else:
            self.view.alert = f"{type(error).__name__}: {error}. The history is kept; press Reset to start again."
