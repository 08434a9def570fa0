"""SAM around any optimizer of torch, in a loop that is otherwise as it was."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from samviz.optim.arguments import SKIPS, base_of, check_flag, check_real, check_scaler, listed, loss_of, radius, rows
from samviz.optim.passes import States, buffers_kept, random_states, replayed
from samviz.optim.perturbation import Stash, graded, length, perturb, put_back, tilted


class SAM(Optimizer):
    """Sharpness-aware minimization around any base optimizer, which steps with ∇L(w + ρ∇L(w)/‖∇L(w)‖).

    A loop becomes one with SAM by two lines, the optimizer's and the step's:

    >>> model, loss_of = torch.nn.Linear(3, 1), torch.nn.MSELoss()
    >>> optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.05, lr=0.1)
    >>> for inputs, targets in [(torch.randn(8, 3), torch.zeros(8, 1))]:
    ...     def closure():
    ...         loss = loss_of(model(inputs), targets)
    ...         loss.backward()
    ...         return loss
    ...     loss = optimizer.step(closure)  # of the first pass, at w

    `step` zeroes the gradients before each pass; those of the second stay when it returns. Both passes draw the same
    numbers from torch's generators, and so the same dropout masks. What the first writes into buffers, such as
    BatchNorm's statistics, stays; what the second writes is undone. Weights are restored to the bit, also when the
    closure raises.

    Groups: each may have a `rho` and an `adaptive` of its own, to be changed between steps like its `lr`. The norm is
    over all of them: e = ρ_group T²g_group/‖Tg‖, with T = diag|w| where adaptive, 1 elsewhere. With ρ = 0 everywhere it
    is the base optimizer, in one pass.

    Skipped: at zero gradient the perturbation is left out, and where a gradient is not finite the whole step. `skipped`
    counts them by reason, and the first of a kind warns.

    Accumulation: the closure calls backward on each part of the batch, and returns the mean of the losses. With
    `SAM(..., m=16)` and `step(closure, samples=64)` each 16 samples have a perturbation of their own (m-sharpness):
    the closure takes the slice of their rows, and runs backward on the mean of their losses.

    Clipping: in the closure, or in a loop of one's own. The norm of the first gradient does not matter, its
    perturbation has length ρ; clipping it by value, before `first_step`, turns it. Two contexts protect as `step` does:

    >>> with optimizer.first_pass():
    ...     optimizer.zero_grad()
    ...     loss_of(model(inputs), targets).backward()
    >>> optimizer.first_step()  # to the perturbed weights
    >>> with optimizer.second_pass():
    ...     optimizer.zero_grad()
    ...     loss_of(model(inputs), targets).backward()  # the weights are back at its end
    >>> norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    >>> optimizer.second_step()

    Loops written for other implementations of SAM work too: `first_step(zero_grad=True)` and
    `second_step(zero_grad=True)` zero the gradients after the step.

    Mixed precision: run the forward in the closure under `torch.autocast`. With a `torch.amp.GradScaler` its backward
    is `scaler.scale(loss).backward()`; then `step(closure, scaler=scaler)` or `second_step(scaler)`, and
    `scaler.update()`. To clip, call `scaler.unscale_(optimizer)` after the second pass, clip, and leave the scaler out
    of `second_step()`. Weights that are themselves in half precision round a small perturbation away.

    DistributedDataParallel: wrap the model, give its parameters to SAM, and `step(closure)` on all processes. Both
    passes average their gradients, so that all perturb alike: SAM of the whole batch. With
    `with model.no_sync(), optimizer.first_pass():` in the loop above each process perturbs by the gradient of its own
    samples, and the second pass averages: m-sharpness, m being the batch of a process.

    Source: Foret et al. (ICLR 2021); adaptive: Kwon et al. (ICML 2021); the paper's Eq. 3, with m = 1 near Eq. 17.
    """

    def __init__(
        self,
        params: Iterable[Any],
        base_optimizer: Callable[..., Optimizer] | Optimizer,
        rho: float = 0.05,
        adaptive: bool = False,
        m: int | None = None,
        **options: Any,
    ) -> None:
        """Make the base optimizer, and share its parameter groups and state.

        Args:
            params: parameters, real and floating-point, or groups of them, as for any optimizer of torch.
            base_optimizer: a class or a function, called with params and the options; or an optimizer of the params.
            rho: perturbation radius ρ ≥ 0, in units of ‖w‖; where adaptive in units of |w|.
            adaptive: whether to perturb in proportion to the weights (ASAM).
            m: samples that share a perturbation, for `step(closure, samples=n)`; None for all of the batch.
            options: of the base optimizer to be made, such as lr.

        Raises:
            ValueError: when rho or m is out of range, or a parameter is complex or an integer or given twice.
            TypeError: when base_optimizer is or gives no optimizer that can be wrapped.
        """
        self.m = None if m is None else rows("m", m)
        self.skipped = dict.fromkeys(SKIPS, 0)
        self._stash: Stash | None = None  # a list from first_step to second_step
        self._random: States = {}  # where the first pass began, until the second ends
        self._lost = False  # whether the first gradient was not finite
        radius({"rho": rho, "adaptive": adaptive})
        self.base = base_of(base_optimizer, listed(params), options)
        self.base.defaults.update(rho=rho, adaptive=adaptive)
        super().__init__(self.base.param_groups, self.base.defaults)
        self.param_groups, self.state = self.base.param_groups, self.base.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, {"params": ..., "rho": ..., "lr": ...}, as to any optimizer of torch."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"param_group is {param_group!r:.200}; expected a dictionary with params, as any group")
        if self.param_groups is self.base.param_groups:
            self.base.add_param_group(param_group)
        else:  # torch's constructor goes through the groups that the base has already
            super().add_param_group(param_group)
        try:
            radius(self.param_groups[-1])
            check_real(self.param_groups[-1]["params"], len(self.param_groups) - 1)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def step(
        self,
        closure: Callable[..., Any] | None = None,
        samples: int | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> Any:
        """Take a step with both gradients.

        Args:
            closure: runs forward and backward on the same data each time it is called, and returns the loss, a number
                or a tensor of one element. With m it takes a slice of the batch's rows, and its loss is their mean.
            samples: rows in the batch, with m only; the base optimizer steps once, with the mean over all rows.
            scaler: that scaled the loss; its `update` remains to be called.

        Returns:
            The loss of the first pass, at the unperturbed weights, without its graph.

        Raises:
            TypeError: when there is no closure, or it returns no loss.
            ValueError: when only one of m and samples is given.
            RuntimeError: when no parameter has a gradient after the closure.
        """
        if not callable(closure):
            expected = "a function that runs forward and backward and returns the loss"
            given = "got no closure" if closure is None else f"got {closure!r:.200} for closure"
            raise TypeError(f"step() {given}; expected {expected}. Or call first_step() and second_step()")
        check_scaler(scaler)
        if (samples is None) != (self.m is None):
            raise ValueError(f"m is {self.m} and samples is {samples!r}; expected both or neither: m=16 and samples=64")
        loss = self._both(closure) if self.m is None else self._average(closure, rows("samples", samples), self.m)
        self._descend(scaler)
        return loss

    def _both(self, closure: Callable[..., Any], *part: slice) -> Any:
        """The loss at the weights, which are back; the parameters hold the gradient at the perturbed ones."""
        with self.first_pass(), torch.enable_grad():
            self.zero_grad()
            loss = loss_of(closure(*part))
        self.first_step()
        if any(group["rho"] > 0 for group in self.param_groups):  # alike on all processes, which must keep in step
            with self.second_pass(), torch.enable_grad():
                self.zero_grad()
                closure(*part)
        self._restore()
        return loss

    def _average(self, closure: Callable[..., Any], samples: int, m: int) -> Any:
        """The same, averaged over micro-batches of m with perturbations of their own."""
        loss, mean, lost = 0.0, dict[Tensor, Any](), False
        for start in range(0, samples, m):
            part = slice(start, min(start + m, samples))
            share = (part.stop - part.start) / samples
            loss = loss + share * self._both(closure, part)
            lost |= self._lost
            with torch.no_grad():
                for p in graded(self.param_groups):
                    gradient = p.grad * share  # type: ignore[operator]
                    mean[p] = mean[p] + gradient if p in mean else gradient
        self._lost = lost
        for p, gradient in mean.items():
            p.grad = gradient
        return loss

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Run forward and backward in this context before `first_step`; it records where the random numbers begin."""
        self._begin("first_pass")
        states = random_states({torch.device("cpu"), *(p.device for g in self.param_groups for p in g["params"])})
        yield
        self._random = states

    def first_step(self, zero_grad: bool = False) -> None:
        """Perturb the weights along the gradient.

        Args:
            zero_grad: whether to zero the gradients then, for a loop that does not do so before its second pass.

        Raises:
            TypeError: when zero_grad is neither True nor False.
            RuntimeError: when the last step was not ended, whose weights are restored, or no parameter has a gradient.
        """
        check_flag("zero_grad", zero_grad)
        self._begin("first_step")
        self._graded()
        stash = perturb(self.param_groups)
        self._lost, self._stash = stash is None, stash or []
        torch.clear_autocast_cache()  # which holds weights in half precision
        if stash == [] and any(group["rho"] > 0 and graded([group]) for group in self.param_groups):
            self._skip("zero gradient")
        if zero_grad:
            self.zero_grad()

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        """Run forward and backward in this context after `first_step`; at its end the weights are back.

        The random numbers of the first pass are drawn again, and no buffer changes.

        Raises:
            RuntimeError: when first_pass and first_step were not run before; the weights are restored.
        """
        if self._stash is None or not self._random:
            self._restore()
            raise RuntimeError("second_pass() was entered before first_pass() and first_step(); run the three in turn")
        # One process whose gradient is not finite must stop all: it is made NaN before it is averaged over them.
        lost = graded(self.param_groups) if self._lost else []
        hooks = [p.register_hook(lambda g: g * math.nan) for p in lost if p.requires_grad]
        pending = False  # second_step; not after an exception
        try:
            with replayed(self._random), buffers_kept():
                yield
            pending = True
        finally:
            for hook in hooks:
                hook.remove()
            self._restore(pending)

    @Optimizer.profile_hook_step
    def second_step(self, scaler: torch.amp.GradScaler | None = None, zero_grad: bool = False) -> None:
        """Restore the weights, and take the base optimizer's step with the gradient that is there.

        Args:
            scaler: that scaled the loss, unless `scaler.unscale_(optimizer)` was called.
            zero_grad: whether to zero the gradients after the step.

        Raises:
            TypeError: when scaler cannot unscale gradients, or zero_grad is neither True nor False.
            RuntimeError: when first_step was not called, no parameter has a gradient, or m is set.
        """
        check_scaler(scaler)
        check_flag("zero_grad", zero_grad)
        if self._stash is None:
            raise RuntimeError("second_step() was called before first_step(); call that at the first gradient")
        self._restore()
        if self.m is not None:
            raise RuntimeError(f"m is {self.m}, which goes with step(closure, samples=64); use that, or leave m out")
        self._opt_called = True  # what LR schedulers look for
        self._descend(scaler)
        if zero_grad:
            self.zero_grad()

    def _descend(self, scaler: torch.amp.GradScaler | None) -> None:
        """The base step, or none where a gradient is not finite."""
        parameters = self._graded()
        if self._lost:
            for p in parameters:
                p.grad.mul_(math.nan)  # type: ignore[union-attr]
        if scaler is not None:
            scaler.unscale_(self)
        if math.isfinite(length(tilted(p, False, 1) for p in parameters)):
            self.base.step()
            return
        self._skip("first gradient" if self._lost else "second gradient")

    def _skip(self, reason: str) -> None:
        self.skipped[reason] += 1
        if self.skipped[reason] == 1:
            warnings.warn(f"{SKIPS[reason]}. Further ones are counted in optimizer.skipped", stacklevel=2)

    def _graded(self) -> list[Tensor]:
        if parameters := graded(self.param_groups):
            return parameters
        raise RuntimeError("none of the parameters has a gradient; call loss.backward() in each pass, of their model")

    def _begin(self, name: str) -> None:
        if self._stash is not None:
            self._restore()
            raise RuntimeError(f"{name}() came before second_step() ended the last step; its weights are restored")

    def _restore(self, pending: bool = False) -> None:
        """The weights of before first_step; pending while second_step is still to come."""
        put_back(self._stash or [])
        self._stash, self._random = [] if pending else None, {}
        torch.clear_autocast_cache()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "base": self.base, "m": self.m, "skipped": self.skipped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # of a copy; or, from load_state_dict, the groups and their state alone
        self._stash, self._random, self._lost = None, {}, False
        self.base.__setstate__({"state": self.state, "param_groups": self.param_groups})
        for group in self.param_groups:  # a checkpoint of the base optimizer alone will do
            group.setdefault("rho", self.defaults["rho"])
            group.setdefault("adaptive", self.defaults["adaptive"])
