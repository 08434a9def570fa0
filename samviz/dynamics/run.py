"""A run: a rule applied to a problem again and again, measured on request, steered between steps."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.dynamics.history import History
from samviz.dynamics.measurement import measurement
from samviz.dynamics.rules import RULES, Rule
from samviz.dynamics.sampling import BLOCK, batch_indices, normals
from samviz.dynamics.settings import Settings, per_run
from samviz.geometry import top_eigenpairs
from samviz.problems import Problem
from samviz.problems.arguments import whole
from samviz.problems.device import one_thread, placed

BLOWN_UP = 1e6  # a loss this many times the first one (or 1, the larger) has diverged


class Diverged(RuntimeError):
    """Every run has diverged; the run keeps its last good iterate and its history."""


class Run:
    """SAM, or another rule, on a problem: one parameter vector or many at once.

    `step` moves, `measure` adds a row to `history`; every number of a row belongs to one iterate. Settings may
    be replaced between steps. The samples and the noise of a step depend on (seed, step) alone, so a run is
    repeatable bit for bit on one device, however its steps are grouped.
    """

    def __init__(
        self,
        problem: Problem,
        rule: str = "sam",
        lr: float | ArrayLike | Tensor = 0.1,
        rho: float | ArrayLike | Tensor = 0.05,
        batch_size: int | None = None,
        x0: ArrayLike | Tensor | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        trail: int = 0,
    ) -> None:
        """Prepare a run at step 0.

        Args:
            problem: what is minimized.
            rule: a name in `RULES`.
            lr: learning rate η > 0, a number or one per run (runs,).
            rho: perturbation radius ρ ≥ 0, a number or one per run (runs,), in units of ‖x‖; for "asam" in units of
                |x|, for "label_noise" the noise's standard deviation in units of the targets.
            batch_size: samples per step, 1 to n; None is the full batch.
            x0: (dim,) or (runs, dim), the start; None asks the problem.
            seed: non-negative int, of the start, the samples and the noise; run r draws with seed + r.
            device: "auto" is CUDA when it is there, else the CPU; or a torch device.
            dtype: float64 (default) or float32 (default on MPS, which has no float64).
            trail: how many of the latest iterates `trail` keeps.

        Raises:
            ValueError: when an argument is out of range or does not fit, named with what was expected.
            TypeError: when a number is not a number.

        >>> from samviz.problems import quadratic
        >>> run = Run(quadratic([3.0, 1.0]), rule="sam", lr=0.1, rho=0.05, x0=[1.0, 1.0], device="cpu")
        >>> run.step(1000)
        >>> print(f"{run.x.norm():.4f}")  # Theorem 4.8: ηρλ₁/(2 − ηλ₁)
        0.0088
        """
        where, precision = placed(device, dtype)
        if not isinstance(problem, Problem):
            raise TypeError(f"problem is {problem!r}; expected one from samviz.problems")
        whole("trail", trail, "0 or more iterates", 0)
        self.problem = problem.to(where, precision)
        self.seed = whole("seed", seed, "an integer of 0 or more, below 2⁶²", 0, 2**62)
        start = self.problem.initial(self.seed) if x0 is None else x0
        self.single = (start.ndim if isinstance(start, Tensor) else np.ndim(start)) == 1
        self.x = self.problem.points(start, "x0").clone()  # (runs, dim)
        self._before = self.x  # the iterate before, to go back to from one whose loss is out of bounds
        self._settings = Settings(rule, lr, rho, batch_size).fit(len(self.x), problem)  # type: ignore[arg-type]
        self.steps = 0
        self.history = History()
        self.changes: list[tuple[int, Settings]] = [(0, self._settings)]
        self.diverged_at = torch.full((len(self.x),), -1)  # step at which each run diverged, -1 for none
        self.trail: deque[Tensor] = deque([self.x], maxlen=trail) if trail else deque(maxlen=0)
        self._bound = BLOWN_UP * self.problem.loss(self.x).detach().clamp_min(1)
        self._warm: Tensor | None = None  # where the next eigenpairs start
        self._width = 0  # how many of them the top eigenspace needed last time

    @property
    def settings(self) -> Settings:
        """Rule, lr, rho and batch size; replace them between steps: `run.settings = replace(run.settings, rho=0.1)`."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        if not isinstance(settings, Settings):
            raise TypeError(f"settings is {settings!r}; expected Settings, or use set(lr=..., rho=...)")
        settings = settings.fit(len(self.x), self.problem)
        if settings == self._settings:
            return
        self._settings = settings
        if self.changes[-1][0] == self.steps:
            self.changes.pop()
        if not self.changes or self.changes[-1][1] != settings:
            self.changes.append((self.steps, settings))

    @property
    def eigenvectors(self) -> Tensor | None:
        """Top eigenvectors (runs, m, dim) of the last measurement, the first three converged; None before it."""
        return self._warm

    def set(self, **changes: Any) -> None:
        """Change some settings from the next step on: `run.set(rho=0.1, lr=0.05)`."""
        self.settings = replace(self._settings, **changes)

    def step(self, n: int = 1) -> None:
        """Take n steps.

        A run whose loss turns non-finite or a million times its first stays at its last good iterate, and
        `diverged_at` tells the step.

        Args:
            n: number of steps, 0 or more.

        Raises:
            Diverged: when every run has diverged; history and iterate are kept.
            ValueError: when n is negative.
        """
        whole("n", n, "0 or more steps", 0)
        rule = RULES[self._settings.rule]
        lr, rho = per_run(self._settings.lr, self.x), per_run(self._settings.rho, self.x)
        with one_thread(self.problem):
            self._step(n, rule, lr, rho)

    def _step(self, n: int, rule: Rule, lr: float | Tensor, rho: float | Tensor) -> None:
        for _ in range(n):
            if bool((self.diverged_at >= 0).all()):
                raise self._stop()
            step = rule(self.problem, self.x, self._batch(), lr, rho, self._noise)
            bounded = step.loss <= self._bound  # False for NaN, too
            good = bounded & step.x.isfinite().all(1)
            if bool(good.all()) and bool((self.diverged_at < 0).all()):
                self._before, self.x = self.x, step.x
            else:
                going = self.diverged_at.to(good.device) < 0
                alive, back = (good & going)[:, None], (~bounded & going)[:, None]
                stopped = torch.where(back, self._before, self.x)  # an iterate whose loss is out of bounds is left
                self._before, self.x = self.x, torch.where(alive, step.x, stopped)
                self.diverged_at[(~good & going).cpu()] = self.steps
                if not bool(alive.any()):
                    if bool(back.any()) and self.steps > 0:
                        self.steps -= 1
                        if self.trail:
                            self.trail.pop()
                    raise self._stop()
            self.steps += 1
            if self.trail.maxlen:
                self.trail.append(self.x)

    def _stop(self) -> Diverged:
        return Diverged(f"{self.why_diverged()} Reset, or start again with a smaller learning rate.")

    def why_diverged(self, r: int = 0) -> str:
        """Which run, where, and the bound that was broken, in one sentence or two."""
        lr = float(np.broadcast_to(self._settings.lr, len(self.x))[r])
        text = f"The run diverged at step {int(self.diverged_at[r])}: its loss left all bounds."
        measured = [row for row in self.history.rows if "eigenvalues" in row]
        if measured:
            top, when = float(np.reshape(measured[-1]["eigenvalues"], (len(self.x), -1))[r, 0]), measured[-1]["step"]
        else:
            top, when = float(top_eigenpairs(self.problem, self.x[r : r + 1]).values), self.steps
        if lr * top > 2 and self._settings.rule != "normalized_gd":  # whose steps cannot grow
            return (
                f"{text} ηλ₁ = {lr:g}·{top:.3g} = {lr * top:.3g} > 2, so steps along v₁ grow; "
                f"η below {2 / top:.3g} is stable."
            )
        return f"{text} ηλ₁ was {lr * top:.3g} at step {when}."

    def measure(self, k: int = 3, trace: bool = True) -> dict[str, Any]:
        """Measure the present iterate and add the row to `history`.

        Args:
            k: top eigenvalues in the row, at most dim of them; up to ten are computed while all of them lie within
                5 % of λ₁, so that the alignment sees the whole top eigenspace.
            trace: False leaves the trace out (NaN), which is much cheaper above 500 parameters.

        Returns:
            The row: step, full-batch loss and gradient norm, eigenvalues (k), their residuals and `converged`,
            trace with its standard error, the alignment measures, and the settings.
        """
        measured, self._warm, self._width = measurement(
            self.problem, self.x, k, trace=trace, start=self._warm, width=self._width
        )
        row: dict[str, Any] = {"step": self.steps}
        for name, tensor in measured.items():
            array = tensor.cpu().numpy().copy()  # a view would keep the tensor's whole storage alive
            row[name] = array[0] if self.single else array
        row |= self._settings.row() | {"batch_size": self._settings.batch_size or self.problem.samples}
        self.history.append(row)
        return row

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit for bit: plain numbers, strings, lists and arrays."""
        return {
            "x": self.x.cpu().numpy().copy(),
            "before": self._before.cpu().numpy().copy(),
            "steps": self.steps,
            "seed": self.seed,
            "single": self.single,
            "settings": self._settings.row(),
            "changes": [(step, settings.row()) for step, settings in self.changes],
            "diverged_at": self.diverged_at.numpy().copy(),
            "bound": self._bound.cpu().numpy().copy(),
            "warm": None if self._warm is None else self._warm.cpu().numpy().copy(),
            "width": self._width,
            "trail": [x.cpu().numpy().copy() for x in self.trail],
            "history": [dict(row) for row in self.history.rows],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state.

        Args:
            state: from `state_dict` of a run on the same problem.

        Raises:
            ValueError: when the state's parameters do not fit the problem; the run is left as it was.
        """
        x = self.problem.points(state["x"], "state['x']").clone()
        settings = Settings(**state["settings"]).fit(len(x), self.problem)

        def tensor(array: ArrayLike) -> Tensor:
            return torch.tensor(array, device=x.device, dtype=x.dtype)

        self.x, self._settings = x, settings
        self.steps, self.seed, self.single = state["steps"], state["seed"], state["single"]
        self.changes = [(step, Settings(**row)) for step, row in state["changes"]]
        self.diverged_at = torch.as_tensor(state["diverged_at"]).clone()
        self._before = tensor(state["before"])
        self._bound = tensor(state["bound"])
        self._warm = None if state["warm"] is None else tensor(state["warm"])
        self._width = state["width"]
        self.trail = deque((tensor(p) for p in state["trail"]), maxlen=self.trail.maxlen)
        self.history = History()
        self.history.rows = [dict(row) for row in state["history"]]

    def _batch(self) -> Tensor | None:
        """Sample indices (runs, b) of the coming step; None for the full batch."""
        size = self._settings.batch_size
        if size is None:
            return None
        block, row = divmod(self.steps, BLOCK)
        draws = [batch_indices(self.seed + r, block, size, self.problem.samples)[row] for r in range(len(self.x))]
        return torch.from_numpy(np.stack(draws)).to(self.x.device)

    def _noise(self, count: int) -> Tensor:
        """Standard normal numbers (runs, count) of the coming step, for the rules that ask for them."""
        draws = [normals(self.seed + r, self.steps, count) for r in range(len(self.x))]
        return torch.from_numpy(np.stack(draws)).to(self.x)
