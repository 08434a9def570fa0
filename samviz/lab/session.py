"""The model of a lab: a run, its history, a slice of the loss around it, and the previous run. It knows no widget.

Long work is a generator whose pieces yield their progress, as (fraction, label) or None. Live steps and slices are
split into pieces of about 5 ms; a measurement is one piece.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from copy import copy
from math import ceil, inf, isfinite, log2, nan
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samviz.dynamics import Diverged, History, Run, Settings, descent, edge_of_stability, gradient_descent_minimum
from samviz.dynamics.quantities import QUANTITIES
from samviz.figures import POINTS, Frame, heights, lab_figure
from samviz.geometry import Landscape, Plane, hessian_plane, pca_plane, random_plane, slices
from samviz.lab.slow_motion import SlowStep, slow_step
from samviz.lab.status import ALIGNED
from samviz.problems import MLP, Problem
from samviz.problems.problem import Array, on_host, one_thread

Progress = tuple[float, str] | None
Keyframe = tuple[int, list[tuple[Tensor, Tensor]]]

STEP_PIECE_S = 0.005  # compute at most about this long before control events are handled
SLOW_MEASUREMENT_S = 0.03  # above this, measure the trace only every fourth time
CONTROL_REST_S = 0.5  # without a change of the settings before the landscape is sliced: plotly draws a slice slowly
PROGRESS_DELAY_S = 0.3  # show the progress of a slice that takes longer than this
TRAIL_STEPS = 40  # latest steps that are drawn on the landscape
MAX_PATH = 256  # iterates of a path of the entire run
KEYFRAME_BYTES = 2**26  # memory for the iterates of the run from which others are computed again
MAX_ROWS = 8192  # rows of a history, ten minutes of play; above this, every other row is dropped
DRAWN_ESTIMATES = 60  # curvature estimates that are drawn, one every ten pixels
RESOLUTION = 41  # points along each side of the slice
PLANES = {"hessian": "v₁ and v₂ of the Hessian", "random": "two random directions", "pca": "trajectory's PCA"}


def planes_of(problem: Problem) -> dict[str, str]:
    """Return the planes to choose from and their labels: one parameter spans a line, two span a single plane."""
    if problem.dim == 1:
        return {"hessian": "the one parameter"}
    return {kind: label for kind, label in PLANES.items() if problem.dim > 2 or kind == "hessian"}


class Session:
    """A run that can be measured and drawn, and started again in another session."""

    landscape: Landscape  # the slice of the loss
    height: Array  # the array that the figure shows: the same object for the same slice, so sent once

    def __init__(
        self, problem: Problem, settings: Settings, seed: int, x0: Tensor | None, minimum: Tensor | None = None
    ) -> None:
        """Start at x0, (dim,), or else at a gradient-descent minimum, which may be known; measure, but do not slice."""
        self.problem = problem
        self.x0 = x0  # (dim,), the start that the user gave; None for a gradient-descent minimum
        start = minimum if x0 is None else x0
        start = gradient_descent_minimum(problem, seed=seed) if start is None else start
        self.start = start.to(problem.device)  # (dim,), the first iterate of the run
        self.run = self._new_run(settings, seed)
        self.rival: Run | None = None  # a second run, B, with its own settings and the start and the seed of run A
        self._untrained_losses: dict[str, float] = {}
        self.start_picture = problem.picture(self.start[None])
        self.ghost: History | None = None  # of the previous run
        self.recorded: Session | None = None  # the session of the entire run if this one looks back at a step of it
        self.slow: SlowStep | None = None  # the next or the latest step in slow motion, while it is drawn
        self.estimates = History()  # SAM's free estimate of the curvature along its gradient: step and curvature
        self.stopped = ""  # why the run cannot continue; empty while it can
        self.notice = ""  # what the learner should know about the last work; empty for nothing
        # the start and measurements: the step, and for each run the iterate then and the one before, (1, dim)
        self.keyframes: list[Keyframe] = [(0, [(self.run.x, self.run.x)] * 2)]
        self._keyframe_stride = 1  # measurements from one keyframe to the next
        self.plane = "hessian"  # the kind of plane that is sliced, a key of `PLANES`
        self.quantity = ""  # a name in `QUANTITIES`, measured in addition; empty for none
        self._slices_wanted, self._slices_done = 1, 0  # a slice that other work replaces is not done
        self._sliced_at, self._slice_cost = -np.inf, 0.0
        self.changed_at = -np.inf  # when the settings last changed, by `perf_counter`
        self._step_cost, self._measurement_cost, self._measurements = 1e-3, 0.0, 0
        self._measured_at = perf_counter()
        self.restart_speed()

    def _new_run(self, settings: Settings, seed: int) -> Run:
        """Return a measured run at the start."""
        place: dict[str, Any] = {"device": self.problem.device, "dtype": self.problem.dtype, "trail": TRAIL_STEPS + 1}
        run = Run(self.problem, **settings.row(), x0=self.start, seed=seed, **place)
        run.measure()
        return run

    @property
    def runs(self) -> list[Run]:
        """The run, and its rival if there is one."""
        return [self.run, self.rival] if self.rival else [self.run]

    def add_rival(self, settings: Settings) -> None:
        """Add a second run at the start, before the first step."""
        self.rival = self._new_run(settings, self.run.seed)

    # sessions that replace this one

    def restarted(
        self, settings: Settings, seed: int, x0: Tensor | None, device: str = ""
    ) -> Generator[Progress, None, Session]:
        """Start another session, measured but not sliced, at x0 or else at the seed's gradient-descent minimum."""
        minimum = self.start if self.x0 is None and seed == self.run.seed else None
        if x0 is None and minimum is None:
            for fraction, point in descent(self.problem, seed=seed):
                minimum = point
                yield fraction, "finding the minimum"
        problem = self.problem.to(device or self.problem.device, self.problem.dtype)
        again = Session(problem, settings, seed, x0, minimum)
        again.choose_quantity(self.quantity)
        return again

    def follow(self, previous: Session) -> Iterator[Progress]:
        """Take the run of the previous session as the ghost, and slice the loss, so that this session can be drawn."""
        previous = previous.at_end
        self.ghost = previous.run.history if len(previous.run.history) > 1 else previous.ghost
        yield from self.look(now=np.inf)

    # earlier steps of the run

    @property
    def at_end(self) -> Session:
        """The session of the entire run, which is this one unless it looks back."""
        return self.recorded or self

    @property
    def looks_back_at(self) -> int | None:
        """The step at which this session looks back, or None if it is at the end of its run."""
        return self.run.steps if self.recorded else None

    def look_back(self, step: int | None) -> Generator[Progress, None, Session]:
        """Return the session as it was at an earlier step, measured and sliced, or that of the entire run for None."""
        full = self.at_end
        if step is None or step >= full.run.steps:
            return full
        before = bisect_right(full.keyframes, max(0, step - TRAIL_STEPS), key=lambda keyframe: keyframe[0])
        past = copy(full)
        at, iterates = full.keyframes[before - 1]
        past.run, *rival = (run.rewound(min(at, run.steps), *pair) for run, pair in zip(full.runs, iterates))
        past.rival = next(iter(rival), None)
        past.estimates, past.stopped, past.notice, past.slow = History(), "", "", None
        changes = [{at: settings for at, settings in run.changes if past.run.steps < at <= step} for run in full.runs]
        # take the steps since the keyframe again, with the settings that they had
        for end in sorted({*(at for each in changes for at in each), step}):
            yield from past.advance(end - past.run.steps)
            for run, each in zip(past.runs, changes):
                run.settings = each.get(end, run.settings)
        for run, entire in zip(past.runs, full.runs):
            run.history.rows = [row for row in entire.history.rows if row["step"] <= step]
        past.estimates.rows = [row for row in full.estimates.rows if row["step"] <= step]
        past.keyframes = [keyframe for keyframe in full.keyframes if keyframe[0] < step]
        past.measure(live=True)
        yield None
        past.plane, past.landscape, past.height = self.plane, self.landscape, self.height
        if self.plane == "hessian" or self.landscape.plane.kind != self.plane:  # the others show the entire run
            past.recenter()
        yield from past.slice(now=np.inf)
        past.recorded = full
        return past

    # steps and measurements

    def frame(self, steps: int, *, live: bool = False) -> Iterator[Progress]:
        """Take the steps of one frame, measure, and slice the loss if the slice is out of date."""
        self.end_slow_motion()
        yield from self.advance(steps, live=live)
        yield from self.look(live=live)

    def slow_step(self) -> Iterator[Progress]:
        """Prepare the next step in slow motion, and slice the plane on which its parts lie."""
        self.slow = slow = slow_step(self.run, self._least_radius())
        yield from self._slice(slow.plane, slow.radius, slow.center)

    def end_slow_motion(self) -> None:
        """Draw the run as usual again, with a new slice."""
        if self.slow:
            self.slow = None
            self.recenter()

    def advance(self, steps: int, *, live: bool = True) -> Iterator[Progress]:
        """Take steps without a measurement, in pieces if live; a divergence ends them."""
        while steps:
            n = int(np.clip(STEP_PIECE_S / self._step_cost, 1, steps)) if live else steps
            began = perf_counter()
            try:
                if self.rival:
                    with suppress(Diverged):  # the status says so
                        self.rival.step(n)
                self.run.step(n)
            except Diverged:
                self.stopped = self.run.why_diverged()
                self.notice = f"{self.stopped} The history is kept; lower η and press Reset."
                return
            self._step_cost = max(perf_counter() - began, 1e-9) / n  # a coarse clock may not have ticked
            steps -= n
            curvature = float(self.run.curvature[0])
            if isfinite(curvature):
                self.estimates.append({"step": self.run.steps, "curvature": curvature})
                _limit_rows(self.estimates)
            yield None

    def look(self, now: float | None = None, *, live: bool = False) -> Iterator[Progress]:
        """Measure the present iterate if that has not been done, and slice the loss if the slice is out of date."""
        # a live run is measured for at most half of the time, so that its record depends on the clock
        rested = not live or perf_counter() - self._measured_at >= self._measurement_cost
        row = self.run.history.rows[-1]
        measured = row["step"] == self.run.steps and row["loss_name"] == self.run.settings.loss_name
        if rested and not measured and not self.stopped:
            self.measure(live=live)
            yield None
        yield from self.slice(now)

    def measure(self, *, live: bool = False) -> None:
        """Add a row to the history; if live and slow, with the trace only every fourth time."""
        began = perf_counter()
        trace = not live or self._measurement_cost < SLOW_MEASUREMENT_S or self._measurements % 4 == 0
        for run in self.runs:
            run.measure(trace=trace)
            _limit_rows(run.history)
        self._measure_quantity()
        self._measurements += 1
        self._measured_at = perf_counter()
        self._measurement_cost = self._measured_at - began
        if self._measurements % self._keyframe_stride == 0:
            self.keyframes.append((self.run.steps, [(run.x, run.before) for run in self.runs]))
        if len(self.keyframes) > min(MAX_ROWS, max(2, KEYFRAME_BYTES // (2 * len(self.runs) * self.run.x.nbytes))):
            self.keyframes, self._keyframe_stride = self.keyframes[::2], 2 * self._keyframe_stride

    def choose_quantity(self, name: str) -> None:
        """Measure another quantity from now on; an empty name is none."""
        if name != self.quantity:
            self.quantity = name
            if not self.stopped:
                self._measure_quantity()

    def _measure_quantity(self) -> None:
        """Add the chosen quantity to the last row of the history if that belongs to the present iterate."""
        row = self.run.history.rows[-1]
        if self.quantity and row["step"] == self.run.steps:
            with one_thread(self.problem):
                row.update(QUANTITIES[self.quantity].measure(self.run))

    # the slice of the loss

    @property
    def path(self) -> Tensor:
        """The iterates over the entire run, (steps, dim), the present one last."""
        stride = 2 ** max(0, ceil(log2(len(self.keyframes) / MAX_PATH)))  # a growing run keeps the same iterates
        return torch.cat([*(iterates[0][0] for _, iterates in self.keyframes[::stride]), self.run.x])

    def choose_plane(self, kind: str) -> None:
        """Slice another plane from the next look on."""
        if kind != self.plane:
            self.plane = kind
            self.recenter()

    def recenter(self) -> None:
        """Slice around the present iterate at the next look."""
        self.slow = None
        self._slices_wanted += 1

    def slice(self, now: float | None = None) -> Iterator[Progress]:
        """Slice the loss if the slice is out of date; an infinite `now` does not wait for a better time."""
        if self.slow or not self._out_of_date(perf_counter() if now is None else now):
            return
        wanted = self._slices_wanted
        try:
            with one_thread(self.problem):
                plane, radius, center = self._next_plane()
        except ValueError as error:  # the trajectory spans no plane yet
            if self.plane == "hessian":
                raise
            self.notice = f"{error}."
            self.choose_plane("hessian")
            yield from self.slice(now)
            return
        yield from self._slice(plane, radius, center)
        self._slices_done = wanted

    def _slice(self, plane: Plane, radius: float, center: tuple[float, ...]) -> Iterator[Progress]:
        """Slice the loss on a square of a plane."""
        began = perf_counter()
        for fraction, landscape in slices(self.run.problem, plane, radius=radius, resolution=RESOLUTION, center=center):
            if landscape is not None:
                self.landscape, self.height = landscape, heights(landscape)
            yield (fraction, "slicing the landscape") if perf_counter() - began > PROGRESS_DELAY_S else None
        self._sliced_at, self._sliced = perf_counter(), self.run.problem
        self._slice_cost = self._sliced_at - began

    def _drawn_iterates(self) -> Tensor:
        """Return the iterates to draw, (steps, dim): the latest in the Hessian's plane, the entire run in others."""
        if self.slow:
            return self.run.x
        return torch.cat(tuple(self.run.trail)) if self.plane == "hessian" else self.path

    def _out_of_date(self, now: float) -> bool:
        """Return whether the slice no longer shows the trail and the valley floor, or the eigenvectors have turned."""
        if self._slices_done < self._slices_wanted or self._sliced is not self.run.problem:
            return True
        rested = now - self._sliced_at  # slicing takes up to a fifth of the time, half while the trail is out of view
        if self.plane != "hessian" or rested < max(2.0, self._slice_cost) or now - self.changed_at < CONTROL_REST_S:
            return False
        with one_thread(self.problem):
            coordinates, lost = self.landscape.plane.project(self._drawn_iterates())
        low, high = self.landscape.axis1[[0, -1]]
        radius = (high - low) / 2
        if np.linalg.norm(coordinates - (low + high) / 2, axis=1).max() > radius:
            return True
        if rested < max(4.0, 4 * self._slice_cost):
            return False
        spread = np.ptp(coordinates, axis=0).max()
        off_plane = lost[-1] * float((self.run.x[0] - self.landscape.plane.origin).norm())
        if off_plane > radius or (spread < 0.25 * radius and radius > 1.2 * self._least_radius()):
            return True
        vectors = self.run.eigenvectors
        return vectors is not None and float((vectors[0, :2] @ self.landscape.plane.directions[0]).norm()) < 0.8

    def _least_radius(self) -> float:
        return max(1e-4 * float(self.run.x.norm()), 1e-6)

    def _next_plane(self) -> tuple[Plane, float, tuple[float, ...]]:
        """Return the plane to slice (for one parameter a line), half the side of the square on it, and its centre."""
        run = self.run
        if self.plane == "random":
            return random_plane(self.problem, run.x[0], seed=run.seed), 1.0, (0.0, 0.0)
        if self.plane == "pca":
            plane = pca_plane(self.path)
            return plane, 1.1 * float(np.abs(plane.project(self.path)[0]).max()), (0.0, 0.0)
        latest = torch.cat(tuple(run.trail))
        middle = (latest[-1] + latest[-2]) / 2 if len(latest) > 1 else latest[-1]  # the bottom of a 2-cycle
        if self.problem.dim == 1:  # the coordinate on the line is the parameter itself
            line = Plane("hessian", torch.zeros_like(middle), torch.ones_like(middle)[None], ("x",))
            return line, max(1.4 * float((latest - middle).abs().max()), self._least_radius()), (float(middle),)
        vectors = run.eigenvectors
        assert vectors is not None, "the run has been measured"
        vectors = vectors[0, :2]
        if hasattr(self, "landscape") and self.landscape.plane.kind == "hessian":  # do not mirror the picture
            products = (vectors * self.landscape.plane.directions).sum(1, keepdim=True)
            vectors = torch.where(products < 0, -vectors, vectors)
        plane = hessian_plane(run.problem, middle, vectors=vectors)
        return plane, max(1.4 * float(np.abs(plane.project(latest)[0]).max()), self._least_radius()), (0.0, 0.0)

    # what is shown

    def figure(self, compare: bool, surface: bool = False) -> dict[str, Any]:
        """Draw the present state as plain plotly JSON, with the ghost if `compare`, in 3-D if `surface`."""
        run, iterates, end = self.run, self._drawn_iterates(), self.at_end
        with one_thread(self.problem), torch.no_grad():
            history = end.run.history.thinned(POINTS)
            trail, _ = self.landscape.plane.project(iterates)
            if self.problem.dim == 1:  # drawn on the curve of the loss
                trail = np.column_stack((trail, on_host(self.problem.loss(iterates))))
            rival, at = None, None
            if end.rival and self.rival:
                rival, (at, _) = end.rival.history.thinned(POINTS), self.landscape.plane.project(self.rival.x)
            estimates = end.estimates.thinned(DRAWN_ESTIMATES).rows
            return lab_figure(
                Frame(
                    history=history,
                    edge=edge_on_the_cycle(history, end.run.changes, self.problem.samples),
                    estimates=np.array([tuple(row.values()) for row in estimates]).reshape(-1, 2),
                    changes=end.run.changes,
                    looks_back_at=self.looks_back_at,
                    arrows=self.slow.arrows if self.slow else (),
                    ghost=self.ghost.thinned(POINTS) if self.ghost is not None and compare else None,
                    rival=rival,
                    rival_at=at,
                    samples=self.problem.samples,
                    landscape=self.landscape,
                    height=self.height,
                    trail=trail,
                    surface=surface,
                    trail_text=f"last {len(trail) - 1} steps" if self.plane == "hessian" else "the run so far",
                    picture=None if self.quantity else self.problem.picture(run.x),
                    quantity=QUANTITIES.get(self.quantity),
                    start=self.start_picture,
                    path=on_host(self.path),
                )
            )

    def now(self) -> dict[str, Any]:
        """Return the latest measurement with the present settings, and with what `phase` compares its loss."""
        rows = self.run.history.rows
        name = rows[-1]["loss_name"]  # other losses are not comparable with this one
        latest = [row["loss"] for row in rows[-20:] if row["loss_name"] == name]
        half = len(latest) // 2
        # the loss is falling if it fell by a fifth over the last measurements, at most twenty
        falling = half > 1 and float(np.mean(latest[half:])) < 0.8 * float(np.mean(latest[:half]))
        lowest = min(row["loss"] for row in rows if row["loss_name"] == name)
        losses = {"lowest_loss": lowest, "untrained_loss": self._untrained_loss(name), "falling": falling}
        trace = next((row["trace"] for row in reversed(rows) if isfinite(row["trace"])), nan)  # seldom measured if slow
        return rows[-1] | {"trace": trace} | self.run.settings_row() | losses

    def _untrained_loss(self, loss_name: str) -> float:
        """Return the loss of an untrained MLP; infinity for another network, whose first parameters may be trained."""
        if loss_name not in self._untrained_losses:
            problem = self.problem.with_loss(loss_name)
            untrained = problem.initial(self.run.seed)[None]
            self._untrained_losses[loss_name] = float(problem.loss(untrained)) if isinstance(problem, MLP) else inf
        return self._untrained_losses[loss_name]

    def restart_speed(self) -> None:
        """Forget the speed, since the run has paused."""
        self.speed, self._speed_at, self._speed_steps = 0.0, perf_counter(), self.run.steps

    def update_speed(self) -> float:
        """Return the steps per second, averaged over half a second or more."""
        now, steps = perf_counter(), self.run.steps
        if now - self._speed_at > 0.5:
            self.speed = max(steps - self._speed_steps, 0) / (now - self._speed_at)
            self._speed_at, self._speed_steps = now, steps
        return self.speed


def edge_on_the_cycle(history: History, changes: Sequence[tuple[int, Settings]], samples: int) -> Array:
    """Return SAM's edge of stability (rows,) where the run is on its 2-cycle, else NaN."""
    # The edge is a function of ‖∇L‖, and means nothing before ‖∇L‖ has the length that belongs to ρ and η. With
    # momentum, weight decay or micro-batches it is not known.
    h = history.to_dict()
    edge = edge_of_stability(h["lr"], h["rho"], h["grad_norm"])
    begins = np.array([step for step, _ in changes])
    since = h["step"] - begins[np.maximum(np.searchsorted(begins, h["step"]) - 1, 0)]
    with np.errstate(divide="ignore", over="ignore"):
        settled = since * h["lr"] * h["eigenvalues"][:, 0] > np.log(1 / h["rho"])  # phase I of Theorem 4.5 is over
    aligned = (h["batch_size"] == samples) & (h["rule"] == "sam") & (h["rayleigh"] > ALIGNED)
    plain = (h["momentum"] == 0) & (h["weight_decay"] == 0) & (h["micro_batch"] == samples)
    edge[~(settled & aligned & plain)] = np.nan
    return edge


def _limit_rows(history: History) -> None:
    """Drop every other row but the last one if there are too many."""
    if len(history) > MAX_ROWS:
        history.rows = history.rows[::-2][::-1]
