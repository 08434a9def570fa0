"""A run: steps of a rule on a problem, with measurements, and settings that may change between steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.checks import check_bool, check_int, check_seed, check_type
from samviz.dynamics.engines import StepBlock, StepParts, engine, longest_block, step_parts
from samviz.dynamics.history import History, measurement
from samviz.dynamics.rules import RULES, Settings
from samviz.geometry import top_eigenpairs
from samviz.geometry.hessian import COLD_EVERY
from samviz.problems.problem import Problem, one_thread, placed

DIVERGED_LOSS = 1e6  # a run diverges above this multiple of its initial loss, or of 1 if that is larger


class Diverged(RuntimeError):
    """Every run has diverged; the run keeps its last good iterate and its history."""


class Run:
    """SAM, or another rule, on a problem: one parameter vector or many at once.

    `step` takes steps, and `measure` adds a row to `history`; all numbers of a row belong to the same iterate. Settings
    may be replaced between steps. The samples and the noise of a step depend only on (seed, step), so a run is
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
        seed: int | Sequence[int] = 0,
        device: str | torch.device = "auto",
        dtype: torch.dtype | None = None,
        trail: int = 0,
        *,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        micro_batch: int | None = None,
        lr_decay: float = 0.0,
        loss_name: str = "",
    ) -> None:
        """Prepare a run at step 0.

        Args:
            problem: the loss that is minimized.
            rule: a name in `RULES`.
            lr: learning rate η > 0, a number or one per run (runs,).
            rho: perturbation radius ρ ≥ 0, the Euclidean norm of the perturbation, a number or one per run (runs,); for
                "asam" in units of |x|, for "label_noise" the noise's standard deviation in units of the targets.
            batch_size: samples per step, 1 to n; None is the full batch.
            x0: (dim,) or (runs, dim), the start; None is the problem's initial point.
            seed: non-negative int for the start, the samples and the noise: run r draws with seed + r; or one per
                run (runs,), the first of which is also that of the start.
            device: "auto" is CUDA if it is available, else the CPU; or a torch device.
            dtype: float64 (default) or float32 (default on MPS, which has no float64).
            trail: how many of the latest iterates `trail` keeps.
            momentum: β of the heavy ball, 0 ≤ β < 1: x ← x − ηd + β(x − x₋) with the previous iterate x₋.
            weight_decay: κ ≥ 0, in units of the loss over ‖x‖²; the gradient of ½κ‖x‖² is added to d.
            micro_batch: m, samples that share a perturbation (m-sharpness): the direction is the mean of those of
                micro-batches of m samples, a part of the full batch in order. None is the batch.
            lr_decay: δ ≥ 0, per step: step t of the run has the learning rate η/(1 + δt), so 2/η rises linearly.
            loss_name: "mse" or "cross_entropy", if the problem offers both (`problem.losses`); "" is its own.

        Raises:
            ValueError: if an argument is out of range or does not fit; the message names it and what was expected.
            TypeError: if a number is not a number.

        >>> from samviz.problems import quadratic
        >>> run = Run(quadratic([3.0, 1.0]), rule="sam", lr=0.1, rho=0.05, x0=[1.0, 1.0], device="cpu")
        >>> run.step(1000)
        >>> print(f"{run.x.norm():.4f}")  # Theorem 4.8: ηρλ₁/(2 − ηλ₁)
        0.0088
        """
        check_type("problem", problem, Problem, "one from samviz.problems")
        self._original = self.problem = problem.to(*placed(device, dtype))  # `problem` has the loss of the settings
        several = isinstance(seed, tuple | list)
        seeds = tuple(check_seed(s) for s in (seed if several else [seed]))  # type: ignore[union-attr]
        self.seed = seeds[0] if seeds else 0
        start = self.problem.initial(self.seed) if x0 is None else x0
        self.x = self.problem.points(start, "x0").clone()  # (runs, dim)
        self.start = self.x  # (runs, dim), the first iterates
        self.single = np.ndim(start) == 1
        if several and len(seeds) != len(self.x):
            raise ValueError(f"seed has {len(seeds)} values for {len(self.x)} runs; expected one, or one per run")
        self.seeds = seeds if several else tuple(seeds[0] + r for r in range(len(self.x)))  # of each run
        self.before = self.x  # the previous iterate, to which a run returns if its loss is out of bounds
        more = momentum, weight_decay, micro_batch, lr_decay, loss_name
        settings = Settings(rule, lr, rho, batch_size, *more).fit(len(self.x), problem)  # type: ignore[arg-type]
        self.problem = self._original.with_loss(settings.loss_name)
        self.steps = 0
        self.history = History()
        self.changes: list[tuple[int, Settings]] = [(0, settings)]  # steps, and the settings from each on
        self.diverged_at = torch.full((len(self.x),), -1)  # step at which each run diverged, -1 for none
        self.trail: deque[Tensor] = deque([self.x], maxlen=check_int("trail", trail, "0 or more iterates", 0))
        self._curvature: Callable[[], Tensor] | None = None  # None before the first step, and for most rules
        self._bound = DIVERGED_LOSS * self.problem.loss(self.x).detach().clamp_min(1)
        self._warm: Tensor | None = None  # initial vectors of the next eigenpairs
        self._width = 0  # number of eigenpairs that the top eigenspace needed in the last measurement

    @property
    def settings(self) -> Settings:
        """The present settings; replace them between steps: `run.settings = replace(run.settings, rho=0.1)`."""
        return self.changes[-1][1]

    @settings.setter
    def settings(self, settings: Settings) -> None:
        check_type("settings", settings, Settings, "Settings, or use set(lr=..., rho=...)")
        settings = settings.fit(len(self.x), self._original)
        if settings == self.settings:
            return
        self.problem = self._original.with_loss(settings.loss_name)
        kept = [change for change in self.changes if change[0] < self.steps]
        self.changes = kept if kept and kept[-1][1] == settings else [*kept, (self.steps, settings)]

    @property
    def curvature(self) -> Tensor:
        """uᵀ∇²L u (runs,) along the gradient of SAM's last step: its two gradients give it for free, off by O(ρ)."""
        none = self.x.new_full((len(self.x),), torch.nan)
        return torch.where(self.diverged_at.to(none.device) < 0, self._curvature(), none) if self._curvature else none

    @property
    def engine(self) -> str:
        """What takes the steps, chosen by the problem and the settings: "compiled", "CUDA graph" or "torch"."""
        return engine(self.problem, self.settings)[0]

    @property
    def eigenvectors(self) -> Tensor | None:
        """Top eigenvectors (runs, m, dim) of the last measurement, the first three converged; None before it."""
        return self._warm

    def set(self, **changes: Any) -> None:
        """Change some settings from the next step on: `run.set(rho=0.1, lr=0.05)`."""
        if unknown := changes.keys() - self.settings.row().keys():
            raise TypeError(f"{min(unknown)} is not a setting; expected some of {', '.join(self.settings.row())}")
        self.settings = replace(self.settings, **changes)

    def rewound(self, step: int, x: Tensor, before: Tensor | None = None) -> Run:
        """Return the run as it was at an earlier step, from which its steps repeat bit for bit.

        Args:
            step: a step that this run has reached.
            x: (runs, dim), the iterates at that step.
            before: (runs, dim), the previous iterates, from which momentum continues, and to which a run returns if it
                diverges in the next step; None is x, which is exact without momentum and divergence.

        Returns:
            Another run, with the settings of that step and the history up to it.

        Raises:
            ValueError: if the run has not reached the step, or x or before does not fit the runs.

        >>> from samviz.problems import quadratic
        >>> run = Run(quadratic([3.0, 1.0]), x0=[1.0, 1.0], device="cpu")
        >>> run.step(10)
        >>> x = run.x
        >>> run.step(10)
        >>> again = run.rewound(10, x)
        >>> again.step(10)
        >>> bool((again.x == run.x).all())
        True
        """
        past = copy(self)
        past.steps = check_int("step", step, f"0 to {self.steps}, a step of the run", 0, self.steps)
        past.x = self.problem.points(x, "x")
        past.before = past.x if before is None else self.problem.points(before, "before")
        for name, points in (("x", past.x), ("before", past.before)):
            if points.shape != self.x.shape:
                raise ValueError(f"{name} has shape {tuple(points.shape)}; expected {tuple(self.x.shape)}, (runs, dim)")
        past.changes = [change for change in self.changes if change[0] <= step]
        past.problem = self._original.with_loss(past.settings.loss_name)
        past.history = History()
        past.history.rows = [row for row in self.history.rows if row["step"] <= step]
        past.diverged_at = torch.where(self.diverged_at < step, self.diverged_at, -1)
        past.trail = deque([past.x], maxlen=self.trail.maxlen)
        past._curvature = past._warm = None
        past._width = 0
        return past

    def prepare(self) -> None:
        """Compile the code for steps and measurements, which takes seconds for the first time on a machine."""
        run = Run(self.problem, **self.settings.row(), x0=self.x, device=self.x.device, dtype=self.x.dtype)
        with suppress(Diverged):
            run.step()
        self.problem.hvp(self.x)(self.x[:, None])
        self.problem.slice(self.x[0], self.x[[0, 0]])(self.x.new_zeros(1, 2))

    def step(self, n: int = 1) -> None:
        """Take n steps.

        A run whose loss becomes non-finite or a million times its first stays at its last good iterate, and
        `diverged_at` is the step.

        Args:
            n: number of steps, 0 or more.

        Raises:
            Diverged: if every run has diverged; history and iterate are kept.
            ValueError: if n is negative.
        """
        n = check_int("n", n, "0 or more steps", 0)
        while n:
            if bool((self.diverged_at >= 0).all()):
                raise Diverged(f"{self.why_diverged()} Reset, or start again with a smaller learning rate.")
            with one_thread(self.problem):
                n -= self._take_block(n)

    def parts(self) -> StepParts:
        """Return what the next step of a single run computes, up to rounding, without taking it.

        Returns:
            Tensors: the iterate `x`, the `gradient` there, other `points` at which the rule evaluates the `gradients`
            (with micro-batches, those of the last one), the `direction` d of the step x ← x − ηd, and the iterate
            `after` it.

        >>> from samviz.problems import quadratic
        >>> run = Run(quadratic([3.0, 1.0]), rho=0.5, x0=[1.0, 0.0], device="cpu")
        >>> [tuple(tensor.flatten().tolist()) for tensor in run.parts()]
        [(1.0, 0.0), (3.0, 0.0), (1.5, 0.0), (4.5, 0.0), (4.5, 0.0), (0.55, 0.0)]
        """
        with one_thread(self.problem):
            return step_parts(self._block(1))

    def _block(self, n: int) -> StepBlock:
        """Return the next n steps as a block."""
        starts = self.x, self.before, (self.diverged_at < 0).numpy(), self._bound
        length = self.trail.maxlen or 0
        return StepBlock(self.problem, self.settings, *starts, self.seeds, self.steps, n, path_length=length)

    def _take_block(self, n: int) -> int:
        """Take as many of n steps as one block holds; return how many."""
        n = min(n, longest_block(self.problem, self.settings, len(self.x)))
        block = self._block(n)
        _, advance = engine(self.problem, self.settings)
        result, running = advance(block), block.running
        self.x, self.before = result.x, result.before
        measured = block.rule.measures_curvature and not self.settings.micro_batch
        self._curvature = result.curvature if measured else None
        diverging = running & (result.completed < n)
        self.diverged_at[torch.from_numpy(diverging)] = self.steps + torch.from_numpy(result.completed[diverging])
        self.trail.extend(result.path)
        if bool((self.diverged_at < 0).any()):
            self.steps += n
            return n
        last = int(result.completed.max())  # where the last run diverged
        self._curvature = None
        self.steps += last
        if self.steps > 0 and bool(result.rolled_back[running & (result.completed == last)].any()):
            self.steps -= 1
            if self.trail:
                self.trail.pop()
        return last

    def why_diverged(self, r: int = 0) -> str:
        """Return one or two sentences on the step at which run r diverged, and on the bound that ηλ₁ exceeded."""
        r = check_int("r", r, f"0 to {len(self.x) - 1}, a run", 0, len(self.x) - 1)
        if self.diverged_at[r] < 0:
            return "The run has not diverged."
        s = self.settings
        lr, limit, symbol = float(np.broadcast_to(s.rate(self.steps), len(self.x))[r]), 2 * (1 + s.momentum), "λ₁"
        text = f"The run diverged at step {int(self.diverged_at[r])}: its loss left all bounds."
        if self.history.rows:
            row = self.history.rows[-1]
            top, when = float(np.reshape(row["eigenvalues"], (len(self.x), -1))[r, 0]), row["step"]
        else:
            top, when = float(top_eigenpairs(self.problem, self.x[r : r + 1]).values), self.steps
        if s.weight_decay:
            top, symbol = top + s.weight_decay, "(λ₁ + κ)"
        if lr * top > limit and not RULES[s.rule].unit_length:
            return (
                f"{text} η{symbol} = {lr:g}·{top:.3g} = {lr * top:.3g} > {limit:g}, so steps along v₁ grow; "
                f"η below {limit / top:.3g} is stable."
            )
        return f"{text} η{symbol} was {lr * top:.3g} at step {when}."

    def measure(self, k: int = 3, trace: bool = True) -> dict[str, Any]:
        """Measure the current iterate and add the row to `history`.

        Above 500 parameters the eigenpairs start from those of the last measurement, but in every fiftieth row from
        random vectors.

        Args:
            k: number of top eigenvalues in the row, at most dim; up to ten are computed while all of them lie within
                5 % of λ₁, so that the alignment uses the whole top eigenspace.
            trace: False leaves the trace out (NaN), which is much cheaper above 500 parameters.

        Returns:
            The row: step, full-batch loss and gradient norm, eigenvalues (k), their residuals and `converged`,
            trace with its standard error, the alignment measures, and the settings.
        """
        while self.history.rows and self.history.rows[-1]["step"] > self.steps:  # a step that a divergence has undone
            self.history.rows.pop()
        start = self._warm if len(self.history) % COLD_EVERY else None  # a resumed run starts cold at the same row
        measured, self._warm, self._width = measurement(
            self.problem, self.x, k, trace=check_bool("trace", trace), start=start, width=self._width
        )
        row: dict[str, Any] = {"step": self.steps}
        for name, tensor in measured.items():
            array = tensor.cpu().numpy().copy()  # a view would keep all of the tensor's storage alive
            row[name] = array[0] if self.single else array
        row |= self.settings_row()
        self.history.append(row)
        return row

    def settings_row(self) -> dict[str, Any]:
        """Return the settings as a row of the history contains them: the present η, and numbers instead of None."""
        s, batch = self.settings, self.settings.batch_size or self.problem.samples
        return s.row() | {"lr": s.rate(self.steps), "batch_size": batch, "micro_batch": s.micro_batch or batch}

    def state_dict(self) -> dict[str, Any]:
        """Return all that a run needs to continue bit for bit: CPU tensors, numbers, strings, lists and dictionaries.

        After `torch.save`, `torch.load` reads the state with `weights_only=True`.
        """
        return {
            "x": self.x.cpu().clone(),
            "start": self.start.cpu().clone(),
            "before": self.before.cpu().clone(),
            "steps": self.steps,
            "seeds": self.seeds,
            "single": self.single,
            "changes": [(step, settings.row()) for step, settings in self.changes],
            "diverged_at": self.diverged_at.clone(),
            "bound": self._bound.cpu().clone(),
            "warm": None if self._warm is None else self._warm.cpu().clone(),
            "width": self._width,
            "trail": [x.cpu().clone() for x in self.trail],
            "history": [{name: _tensor(value) for name, value in row.items()} for row in self.history.rows],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to a saved state.

        Args:
            state: from `state_dict` of a run on the same problem.

        Raises:
            ValueError: if the state's parameters do not fit the problem, or a number is out of range; the run does not
                change.
            TypeError: if it is no such state.
        """
        if not isinstance(state, Mapping) or (lost := self.state_dict().keys() - state.keys()):
            lacks = f"lacks {', '.join(sorted(lost))}" if isinstance(state, Mapping) else f"is {state!r:.200}"
            raise TypeError(f"state {lacks}; expected the state_dict() of a run on the same problem")
        x = self.problem.points(state["x"], "state['x']")
        changes = [(int(step), Settings(**settings).fit(len(x), self._original)) for step, settings in state["changes"]]
        row, seeds = changes[-1][1].row(), list(state["seeds"])
        loaded = Run(self._original, **row, x0=x, seed=seeds, device=x.device, dtype=x.dtype)

        def tensor(name: str, like: Tensor) -> Tensor:
            value = torch.as_tensor(state[name]).to(like, copy=True)
            if value.shape != like.shape:
                raise ValueError(f"state['{name}'] has shape {tuple(value.shape)}; expected {tuple(like.shape)}")
            return value

        loaded.steps = check_int("state['steps']", state["steps"], "0 or more steps", 0)
        loaded.single = check_bool("state['single']", state["single"])
        loaded.changes = changes
        loaded.diverged_at = tensor("diverged_at", loaded.diverged_at)
        loaded.start = tensor("start", x)
        loaded.before, loaded._bound = tensor("before", x), tensor("bound", loaded._bound)
        loaded._warm = None if state["warm"] is None else torch.as_tensor(state["warm"]).to(x, copy=True)
        loaded._width = int(state["width"])
        loaded.trail = deque((torch.as_tensor(p).to(x, copy=True) for p in state["trail"]), maxlen=self.trail.maxlen)
        loaded.history.rows = [{name: _array(value) for name, value in dict(row).items()} for row in state["history"]]
        vars(self).update(vars(loaded))  # at the end, so that an error changes nothing


def _tensor(value: Any) -> Any:
    """Convert numpy's arrays and numbers to tensors, for `torch.save`."""
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray | np.generic) else value


def _array(value: Any) -> Any:
    """Convert a tensor of `_tensor` back to the numpy array or number."""
    return value.cpu().numpy().copy()[()] if isinstance(value, Tensor) else value
