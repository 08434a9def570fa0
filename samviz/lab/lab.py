"""The lab: controls that steer a running session, and its live picture."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.checks import check_int, check_type
from samviz.dynamics import History, Settings
from samviz.figures.export import check_path
from samviz.files import write
from samviz.lab.attended import attended, present, static_picture
from samviz.lab.presets import THEOREM, pace, presets
from samviz.lab.record import run_page
from samviz.lab.session import Session
from samviz.lab.share import check_same_problem, read, share_text
from samviz.lab.stage import Stage
from samviz.lab.view import KNOBS, MOST
from samviz.problems import Problem
from samviz.problems.device import placed

BUTTONS = "play", "pause", "step", "reset", "recenter"
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
            TypeError: when a number is not a number, or the problem none of samviz.problems.
        """
        check_type("problem", problem, Problem, "one from samviz.problems")
        if steps_per_frame is not None:
            steps_per_frame = check_int("steps_per_frame", steps_per_frame, "1 or more steps, at most 2⁶²", 1, MOST)
        self._given = problem
        self.problem = problem.to(*placed(device, dtype))
        start = None if x0 is None else self.problem.points(x0, "x0")[0]
        session = Session(self.problem, Settings(rule, 1.0 if lr is None else lr, rho, batch_size), seed, start)
        self.presets = presets(self.problem, float(session.run.history["eigenvalues"][0, 0]))
        if lr is None:
            session.begin(replace(session.run.settings, lr=self.presets[THEOREM]["lr"]), seed, session.start)
        self.stage = Stage(session, list(self.presets), steps_per_frame or pace(problem))
        self.view, self.player = self.stage.view, self.stage.player
        self._taken = self.view.knobs()
        self.view.on_action(lambda name, value: self.player.post(self._act, name, value))
        for names, react in (
            (KNOBS, self._steer),
            (("plane",), self._replane),
            (("compare", "seed"), self.player.redraw),
        ):
            self.view.observe(lambda _, react=react: self.player.post(react), names)
        session.run.prepare()
        self.player.finish(self.stage.shown(session.look()))

    @classmethod
    def from_share(cls, text: str, device: str | torch.device = "cpu") -> Lab:
        """The lab of a shared text, with the same run: bit for bit where samviz, engine and processor are the same.

        Args:
            text: from `share`. It is data: nothing in it is evaluated.
            device: as above.

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
    def session(self) -> Session:
        """What the lab runs."""
        return self.stage.session

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
            ValueError, TypeError: when n is no integer of 0 or more.
        """
        n = check_int("n", n, "0 or more steps", 0)
        if self.player.work is not None:  # a Reset or a shared run, which come first
            self.player.finish(self.player.work)
        while n and not self.session.stopped:
            steps = min(n, self.view.steps_per_frame)
            for _ in self.stage.shown(self.session.frame(steps)):
                pass
            n -= steps
        self.player.finish(self.stage.shown(self.session.look(now=np.inf)))
        return self

    def play(self) -> None:
        """Go on until paused.

        Raises:
            RuntimeError: outside a running kernel.
        """
        if self.player.loop is None:
            raise RuntimeError("play needs a running kernel; in a script use lab.run(n)")
        if self.session.stopped and self.stage.restarting is None:
            return  # the alert says why
        self.view.playing, self.view.alert = True, ""
        self.player.wake()

    def pause(self) -> None:
        """Stop after the piece of work under way."""
        self.view.playing = False
        self.stage.begin(Session.look)

    def step(self) -> None:
        """Take one step and look."""
        self.view.playing = False
        self.stage.begin(lambda session: session.frame(0 if session.stopped else 1))

    def reset(self) -> None:
        """Start again from the start with the settings of the controls; the run so far becomes the ghost."""
        self.view.playing, self.view.alert = False, ""
        self.stage.restart(self._restarted(self._settings(self.view.knobs()), self.view.seed))

    def recenter(self) -> None:
        """Slice the landscape anew around the present iterate."""
        self.session.scene.wanted = True
        if not self.view.playing:
            self.stage.begin(Session.look)

    def preset(self, name: str) -> None:
        """Set the controls to a named setting; the run goes on with it.

        Args:
            name: one of the presets' names.

        Raises:
            ValueError: when there is no such preset.
        """
        if not isinstance(name, str) or name not in self.presets:
            raise ValueError(f"preset is {name!r}; expected one of {', '.join(self.presets)}")
        self.view.put(self.presets[name])

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
        return write(check_path(path, ".html"), run_page(self.session, frames).encode())

    def share(self) -> str:
        """The run so far as one line of text, from which `Lab.from_share` or the share field of a lab makes it again.

        Raises:
            ValueError: when the problem or the start cannot be told in a few numbers, with what to do.
        """
        return share_text(self.session, self._given)

    def load(self, text: str) -> None:
        """Put a shared run on the lab's own problem in place of the run on show, which becomes the ghost.

        Args:
            text: from `share`. In a kernel its steps are taken beside other work; what cuts them short loses nothing.

        Raises:
            ValueError: when the text is damaged, of another format, or of another problem, with what to do.
        """
        shared = read(text)
        check_same_problem(shared, text, self._given, self.problem.dtype)
        self.view.playing, self.view.alert = False, ""
        self.stage.begin(lambda session: self.stage.replay(shared))

    def static(self) -> Any:
        """The present picture as something that shows without a kernel: a PNG where one can be drawn."""
        return static_picture(self.figure, f"samviz lab: {self.view.status}")

    def _ipython_display_(self) -> None:
        if not attended() and self.run(0).session.run.steps == 0:
            still, moving = BURST
            self.run(still)
            if self.view.rho == 0:
                self.preset(THEOREM)
                self._steer()
            self.run(moving)
        present(self.view, self.static)

    # how controls reach the run

    def _act(self, name: str, value: Any) -> None:
        """A button, a preset or a pasted text, by the name that the browser sends."""
        try:
            if name in ("preset", "load"):
                getattr(self, name)(value)
            elif name == "share":
                self.view.shared = ""  # so that the same text is news as well
                self.view.shared = self.share()
            elif name in BUTTONS:
                getattr(self, name)()
            else:
                raise ValueError(f"action is {name!r:.100}; expected one of {', '.join(BUTTONS)}, share, preset, load")
        except (ValueError, TypeError) as error:
            self.view.alert = f"{error}."

    def _settings(self, knobs: dict[str, Any]) -> Settings:
        return Settings(**knobs | ({} if self.problem.samples else {"batch_size": None})).fit(1, self.problem)

    def _restarted(self, settings: Settings, seed: int) -> Generator[None, None, Session]:
        again = yield from self.session.restarted(settings, seed)
        again.run.settings = self._settings(self._taken)  # a control may have moved since Reset was pressed
        return again

    def _steer(self) -> None:
        """Hand the controls' values to the running run; where they cannot be had, put all back."""
        if (wanted := self.view.knobs()) == self._taken:
            return
        try:
            settings = self._settings(wanted)
        except (ValueError, TypeError) as error:
            self.view.put(self._taken)
            self.view.alert = f"{error}. The old value is kept."
            return
        self._taken = wanted
        if not self.session.stopped:  # else Reset takes them: the run keeps those that it fell under
            self.session.run.settings, self.view.alert = settings, ""
        self.player.redraw()

    def _replane(self) -> None:
        if self.view.playing and self.stage.restarting is None:
            self._choose_plane(self.session)  # the next frame slices it
        elif self.session.scene.kind != self.view.plane or self.stage.restarting is not None:
            self.stage.begin(self._choose_plane)

    def _choose_plane(self, session: Session) -> Iterator[None]:
        """Let the session's scene show the plane that the learner has chosen; the work is the slice."""
        if session.scene.kind != self.view.plane:
            session.scene.kind, session.scene.wanted = self.view.plane, True
        return session.look()
