"""What the lab runs: a run, its slice of the landscape and its picture, as work in short pieces; no widget."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from math import isfinite
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from samviz.dynamics import Diverged, History, Run, Settings, descent, edge_of_stability, gradient_descent_minimum
from samviz.figures import POINTS, Frame, lab_figure
from samviz.lab import words
from samviz.lab.scene import Scene
from samviz.problems import Problem
from samviz.problems.device import one_thread

PIECE = 0.005  # seconds of stepping between two looks at the controls
TRAIL = 40  # steps drawn on the landscape
DEAR = 0.03  # seconds a measurement may take before the trace is left out of three in four
ROWS = 8192  # measurements, or estimates, a record may hold, ten minutes of play; then every other one is dropped
BEADS = 60  # estimates that are drawn: a bead every ten pixels
PATIENCE = 0.3  # seconds after which work shows its progress


class Session:
    """A run that can be measured and drawn, and begun again in another session.

    Attributes:
        run: the run on show.
        start: where it began, (dim,).
        x0: where every run begins, (dim,); None for a gradient-descent minimum.
        scene: its slice of the landscape.
        ghost: the record of the run before, or None.
        stopped: why the run cannot go on; empty while it can.
        estimates: SAM's free estimate of the curvature along its gradient, while it has one: step and curvature.
        notice: what the learner should know about the last work; empty for nothing.
        progress: fraction done and what is being done, for work that takes long; None otherwise.
        speed: steps per second lately, 0 while unknown.
    """

    def __init__(
        self, problem: Problem, settings: Settings, seed: int, x0: Tensor | None, minimum: Tensor | None = None
    ) -> None:
        """Begin at x0, (dim,), or where it is None at a gradient-descent minimum, which may be known already."""
        self.problem, self.x0 = problem, x0
        self.ghost: History | None = None
        self.notice = ""
        self.progress: tuple[float, str] | None = None
        start = minimum if x0 is None else x0
        self.begin(settings, seed, gradient_descent_minimum(problem, seed=seed) if start is None else start)

    def begin(self, settings: Settings, seed: int, start: Tensor) -> None:
        """Put a new run at its start, measured but not yet sliced."""
        problem, self.start = self.problem, start
        knobs = settings.rule, settings.lr, settings.rho, settings.batch_size
        self.run = Run(
            problem, *knobs, x0=start, seed=seed, device=problem.device, dtype=problem.dtype, trail=TRAIL + 1
        )
        self.run.measure()
        self.estimates = History()
        self.scene = Scene(self.run)
        self.scene.remember()
        self.start_picture = problem.picture(start[None])
        self.stopped = ""
        self.speed = 0.0
        self._step_cost, self._row_cost, self._rows = 1e-3, 0.0, 0
        self._measured = perf_counter()
        self._clock, self._clock_steps = perf_counter(), 0

    def restarted(self, settings: Settings, seed: int) -> Generator[None, None, Session]:
        """Begin again in another session, so that this one can be drawn until that one can.

        Args:
            settings: of the new run.
            seed: of the new run.

        Yields:
            Nothing, between pieces.

        Returns:
            The other session, measured and sliced; the run so far is its ghost.
        """
        minimum = (yield from self.minimum(seed)) if self.x0 is None else None
        again = Session(self.problem, settings, seed, self.x0, minimum)
        again.scene.kind = self.scene.kind if self.scene.kind != "pca" else "hessian"  # no trajectory yet
        yield from self.succeeded(again)
        return again

    def succeeded(self, again: Session) -> Iterator[None]:
        """Make another session ready to be drawn in place of this one, whose run becomes its ghost.

        Args:
            again: the other session; how far its slice is appears as the `progress` of this one.

        Yields:
            Nothing, between pieces.
        """
        again.ghost = self.run.history if len(self.run.history) > 1 else self.ghost
        for _ in again.look(now=np.inf):
            self.progress = again.progress
            yield

    def minimum(self, seed: int) -> Generator[None, None, Tensor]:
        """A gradient-descent minimum; that of the run on show where it has the seed.

        Args:
            seed: of the descent's start.

        Yields:
            Nothing, between pieces.

        Returns:
            (dim,).
        """
        found = self.start
        if self.x0 is not None or seed != self.run.seed:
            for fraction, point in descent(self.problem, seed=seed):
                found, self.progress = point, (fraction, "finding the minimum")
                yield
        return found

    def frame(self, steps: int, *, live: bool = False) -> Iterator[None]:
        """The steps of one frame, a measurement, and a slice when the landscape has gone stale.

        Args:
            steps: how many.
            live: True goes in pieces and leaves the measurement out as long as less time has passed since the last one
                than that took, and the trace where it is dear: what is recorded then depends on the clock.

        Yields:
            Nothing, between pieces of about 5 ms.
        """
        yield from self.advance(steps, live=live)
        yield from self.look(live=live)

    def advance(self, steps: int, *, live: bool = True) -> Iterator[None]:
        """Steps without a look; a divergence ends them.

        Args:
            steps: how many.
            live: False takes them all at once.

        Yields:
            Nothing, between pieces of about 5 ms.
        """
        while steps:
            n = int(np.clip(PIECE / self._step_cost, 1, steps)) if live else steps
            began = perf_counter()
            try:
                self.run.step(n)
            except Diverged:
                self.stopped = self.run.why_diverged()
                return
            self._step_cost = max(perf_counter() - began, 1e-9) / n  # a coarse clock may not have ticked
            steps -= n
            curvature = float(self.run.curvature[0])
            if isfinite(curvature):
                self.estimates.append({"step": self.run.steps, "curvature": curvature})
                _bound(self.estimates)
            yield

    def look(self, now: float | None = None, *, live: bool = False) -> Iterator[None]:
        """Measure, and slice.

        Args:
            now: as in `slice`.
            live: as in `frame`.

        Yields:
            Nothing, between pieces.
        """
        rested = not live or perf_counter() - self._measured >= self._row_cost
        if rested and self.run.history.rows[-1]["step"] != self.run.steps and not self.stopped:
            self.measure(live=live)
            yield
        yield from self.slice(now)

    def slice(self, now: float | None = None) -> Iterator[None]:
        """Slice the landscape anew when it has gone stale.

        Args:
            now: seconds of `time.perf_counter`; infinity when there is no hurry.

        Yields:
            Nothing, between pieces.
        """
        if not self.scene.stale(perf_counter() if now is None else now):
            return
        began = perf_counter()
        try:
            for fraction in self.scene.slice():
                if perf_counter() - began > PATIENCE:
                    self.progress = fraction, "slicing the landscape"
                yield
        except ValueError as error:  # a trajectory that spans no plane yet
            if self.scene.kind == "hessian":
                raise
            self.notice = f"{error}."
            self.scene.kind, self.scene.wanted = "hessian", True
            yield from self.slice(now)
        self.progress = None

    def measure(self, *, live: bool = False) -> None:
        """Add a row to the history; live, without the trace in three of four where that is dear."""
        began = perf_counter()
        self.run.measure(trace=not live or self._row_cost < DEAR or self._rows % 4 == 0)
        self._rows += 1
        self._measured = perf_counter()
        self._row_cost = self._measured - began
        _bound(self.run.history)
        self.scene.remember()

    def figure(self, compare: bool) -> dict[str, Any]:
        """The picture of things as they are, as plain plotly JSON.

        Args:
            compare: whether to show the ghost.

        Returns:
            From `samviz.figures.lab_figure`.
        """
        with one_thread(self.problem):
            return lab_figure(self._frame(compare))

    def _frame(self, compare: bool) -> Frame:
        run, scene = self.run, self.scene
        history = run.history.thinned(POINTS)
        edge = edge_of_stability(history["lr"], history["rho"], history["grad_norm"])
        full = history["batch_size"] == self.problem.samples
        edge[~full | (history["rule"] != "sam")] = np.nan  # it is about SAM and the full batch's gradient
        trail, lost = scene.trail()
        return Frame(
            history=history,
            edge=edge,
            estimates=np.array([tuple(row.values()) for row in self.estimates.thinned(BEADS).rows]).reshape(-1, 2),
            changes=run.changes,
            ghost=self.ghost.thinned(POINTS) if self.ghost is not None and compare else None,
            samples=self.problem.samples,
            landscape=scene.landscape,
            height=scene.height,
            trail=trail,
            lost=float(lost[-1]),
            shown=f"last {len(trail) - 1} steps" if scene.kind == "hessian" else "the run so far",
            picture=self.problem.picture(run.x),
            start=self.start_picture,
            path=scene.path.cpu().double().numpy(),
        )

    def now(self) -> dict[str, Any]:
        """The latest row of the history under the present settings, which may have changed since."""
        settings = self.run.settings
        knobs = settings.row() | {"batch_size": settings.batch_size or self.problem.samples}
        return self.run.history.rows[-1] | knobs

    def status(self, playing: bool) -> str:
        """The line under the controls: the step, the engine, and what is happening."""
        run, precision = self.run, str(self.problem.dtype).removeprefix("torch.")
        return words.status(
            self.now(),
            self.problem.samples,
            step=run.steps,
            speed=self.clock(),
            place=f"{self.problem.device.type.upper()} {precision}, {run.engine}",
            playing=playing,
            stopped=bool(self.stopped),
            falling=self.falling(),
        )

    def falling(self) -> bool:
        """Whether the loss fell by a fifth over the last twenty measurements."""
        losses = [row["loss"] for row in self.run.history.rows[-20:]]
        return len(losses) == 20 and sum(losses[10:]) < 0.8 * sum(losses[:10])

    def clock(self) -> float:
        """Steps per second since about half a second ago."""
        now, steps = perf_counter(), self.run.steps
        if now - self._clock > 0.5:
            self.speed = max(steps - self._clock_steps, 0) / (now - self._clock)
            self._clock, self._clock_steps = now, steps
        return self.speed


def _bound(history: History) -> None:
    """Drop every other row, and keep the last one, when there are too many."""
    if len(history) > ROWS:
        history.rows = history.rows[::-2][::-1]
