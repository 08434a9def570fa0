"""SAM as a `torch.optim.Optimizer`, for a user's own training loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from numbers import Real
from types import NoneType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.optim import LBFGS, SGD, Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils.hooks import RemovableHandle

from samviz.checks import check_bool, check_float, check_int, check_type
from samviz.problems.torch_model import torch_generators, torch_states_restored

__all__ = ["SAM"]

Saved = list[tuple[Tensor, Any, Tensor]]  # parameter, its perturbed rows (... for all), their values before
Buffers = dict[nn.Module, dict[str, tuple[Tensor, Tensor]]]  # of each module: each buffer and a copy of its values

GLOBAL_STEP_HOOKS = (_global_optimizer_pre_hooks, _global_optimizer_post_hooks)
OF_SGD = ("momentum", "weight_decay", "maximize", "differentiable")  # options that plain SGD does without

LONG = 2**20  # numbers whose squares float32 adds up with an error of less than 1e-4
SQUARES = (1e-15, 1e18)  # norms between which the squares in float32 neither under- nor overflow

FLOAT32_MAX = torch.finfo(torch.float32).max
SCALER = "the torch.amp.GradScaler that scaled the loss, or None"

# What is skipped and what the user can do about it, by the reason.
SKIPS = {
    "zero gradient": "a perturbation was left out: the gradient is zero and has no direction. The base optimizer takes "
    "its step. Look for dead units, and for a loss that does not depend on the weights",
    "first gradient": "a step was left out: the first gradient is not finite. Look for infinite losses or inputs, or "
    "lower the learning rate; a GradScaler lowers its scale by itself",
    "second gradient": "a step was left out: the gradient at the perturbed weights is not finite. Lower rho or the "
    "learning rate; a GradScaler lowers its scale by itself",
}


class SAM(Optimizer):
    """Sharpness-aware minimization with any base optimizer, which steps with ∇L(w + ρ∇L(w)/‖∇L(w)‖).

    Two lines of a training loop change, the optimizer and the step:

    >>> model, loss_of = torch.nn.Linear(3, 1), torch.nn.MSELoss()
    >>> optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.05, lr=0.1)
    >>> for inputs, targets in [(torch.randn(8, 3), torch.zeros(8, 1))]:
    ...     def closure():
    ...         loss = loss_of(model(inputs), targets)
    ...         loss.backward()
    ...         return loss
    ...     loss = optimizer.step(closure)  # the loss of the first pass, at w

    `step` zeroes the gradients before each pass, and leaves those of the second pass. Both passes draw the same numbers
    from torch's generators, hence the same dropout masks. Buffers, such as BatchNorm's statistics, keep what the first
    pass writes; a model that has none in its first step is not searched for them again. Weights are restored bit for
    bit, even if the closure raises.

    Groups: each may have its own `rho` and `adaptive`, which may change between steps like `lr`. The norm is over all
    groups: e = ρ_group T²g_group/‖Tg‖, with T = diag|w| if adaptive, else 1. With ρ = 0 in every group SAM is the base
    optimizer, in one pass.

    Skipped: at zero gradient the perturbation, and if a gradient is not finite the whole step. `skipped` counts them by
    reason, and the first of each kind warns.

    Accumulation: the closure calls backward on each part of the batch, and returns the mean of the losses. With
    `SAM(..., m=16)` and `step(closure, samples=64)` every 16 samples have their own perturbation (m-sharpness):
    the closure takes the slice of their rows, and runs backward on the mean of their losses.

    Loops: to clip the second gradient, for example, write the step out. The two contexts handle random numbers, buffers
    and exceptions as `step` does. `first_step(zero_grad=True)` and `second_step(zero_grad=True)`, as other
    implementations of SAM have them, zero the gradients after the step.

    >>> with optimizer.first_pass():
    ...     optimizer.zero_grad()
    ...     loss_of(model(inputs), targets).backward()
    >>> optimizer.first_step()  # to the perturbed weights
    >>> with optimizer.second_pass():
    ...     optimizer.zero_grad()
    ...     loss_of(model(inputs), targets).backward()  # the weights are restored at its end
    >>> norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    >>> optimizer.second_step()

    Mixed precision: run the forward in the closure under `torch.autocast`. With a `torch.amp.GradScaler` call
    `scaler.scale(loss).backward()` there, `step(closure, scaler=scaler)` or `second_step(scaler)`, and then
    `scaler.update()`. To clip, call `scaler.unscale_(optimizer)` after the second pass, clip, and call `second_step()`
    without the scaler. Weights that are themselves in half precision round a small perturbation away.

    DistributedDataParallel: wrap the model, give its parameters to SAM, and call `step(closure)` on all processes. Both
    passes average their gradients: SAM of the whole batch. With `with model.no_sync(), optimizer.first_pass():` in the
    loop above each process perturbs by the gradient of its own samples: m-sharpness, where m is its batch size.

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
        """Build the base optimizer, and share its parameter groups and state.

        Args:
            params: parameters, real and floating-point, or groups of them, as for any optimizer of torch.
            base_optimizer: a class or a function, called with params and the options; or an optimizer of the params.
            rho: perturbation radius ρ ≥ 0, in units of ‖w‖; if adaptive in units of |w|.
            adaptive: whether to perturb in proportion to the weights (ASAM).
            m: number of samples that share a perturbation, for `step(closure, samples=n)`; None for the whole batch.
            options: of the base optimizer, such as lr.

        Raises:
            ValueError: when rho or m is out of range, or a parameter is complex, an integer, or appears twice.
            TypeError: when base_optimizer is not, and does not return, an optimizer that can be wrapped.
        """
        self.m = None if m is None else check_int("m", m, "1 or more samples", 1)
        self.skipped = dict.fromkeys(SKIPS, 0)
        self._reset()
        _radius({"rho": rho, "adaptive": adaptive})
        self.base = _base_optimizer(base_optimizer, params, options)
        self.base.defaults.update(rho=rho, adaptive=adaptive)
        super().__init__(self.base.param_groups, self.base.defaults)
        self.param_groups, self.state = self.base.param_groups, self.base.state

    def _reset(self) -> None:
        self._saved: Saved | None = None  # the unperturbed weights, from first_step to second_step
        self._states: dict[torch.Generator, Tensor] = {}  # from the start of the first pass to the end of the second
        self._first_finite = True  # whether the first gradient was finite
        self._used: list[Tensor] = []  # the parameters that had a gradient at the first step
        self._without_buffers: set[int] = set()  # ids of parameters whose passes called only modules without buffers

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, {"params": ..., "rho": ..., "lr": ...}, as to any optimizer of torch."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"param_group is {param_group!r:.200}; expected a dictionary with params, as any group")
        if self.param_groups is self.base.param_groups:
            self.base.add_param_group(param_group)
        else:  # torch's constructor adds the groups that the base has already
            super().add_param_group(param_group)
        try:
            _check_group(self.param_groups[-1], len(self.param_groups) - 1)
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
            scaler: the one that scaled the loss; its `update` is not called.

        Returns:
            The loss of the first pass, at the unperturbed weights, without its graph.

        Raises:
            TypeError: when there is no closure, or it returns no loss.
            ValueError: when only one of m and samples is given.
            RuntimeError: when no parameter has a gradient after the closure.
        """
        if not callable(closure):
            expected = (
                "a function that runs forward and backward and returns the loss, or first_step() and second_step()"
            )
            raise TypeError(f"closure is {closure!r:.200}; expected {expected}")
        check_type("scaler", scaler, (torch.amp.GradScaler, NoneType), SCALER)
        if samples is None and self.m is None:
            loss = self._both_passes(closure)
        elif samples is None or self.m is None:
            raise ValueError(f"m is {self.m} and samples is {samples!r}; expected both or neither: m=16 and samples=64")
        else:
            loss = self._average(closure, check_int("samples", samples, "1 or more samples", 1), self.m)
        self._descend(scaler)
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # torch adds nothing: `_descend` runs the hooks of a step

    def _both_passes(self, closure: Callable[..., Any], *part: slice) -> Any:
        """Compute the gradient at the perturbed weights, restore the weights, and return the loss at them."""
        with self.first_pass(), torch.enable_grad():
            self._forget_gradients()
            loss = closure(*part)
        if isinstance(loss, Tensor) and loss.numel() == 1:
            loss = loss.detach().clone().view(())
        elif not isinstance(loss, Real):
            raise TypeError(f"closure returned {loss!r:.200}; expected the loss, a number or a tensor of one element")
        self.first_step()
        if any(group["rho"] > 0 for group in self.param_groups):  # the same on all processes, which wait for each other
            with self.second_pass(), torch.enable_grad():
                self._forget_gradients()
                closure(*part)
        self._restore()
        return loss

    def _average(self, closure: Callable[..., Any], samples: int, m: int) -> Any:
        """Average the losses and the gradients of micro-batches of m with their own perturbations."""
        loss, mean, finite = 0.0, dict[Tensor, Any](), True
        for start in range(0, samples, m):
            part = slice(start, min(start + m, samples))
            share = (part.stop - part.start) / samples
            loss = loss + share * self._both_passes(closure, part)
            finite &= self._first_finite
            with torch.no_grad():
                for p in _with_gradient(self.param_groups):
                    gradient = p.grad * share  # type: ignore[operator]
                    mean[p] = mean[p] + gradient if p in mean else gradient
        self._first_finite = finite
        for p, gradient in mean.items():
            p.grad = gradient
        return loss

    @contextmanager
    def first_pass(self) -> Iterator[None]:
        """Run forward and backward in this context before `first_step`; it records the states of the generators."""
        self._check_ended("first_pass")
        devices = {torch.device("cpu"), *(p.device for group in self.param_groups for p in group["params"])}
        states = {g: g.get_state() for device in devices for g in torch_generators(device)}
        yield
        self._states = states

    def first_step(self, zero_grad: bool = False) -> None:
        """Perturb the weights along the gradient.

        Args:
            zero_grad: whether to zero the gradients afterwards, for a loop that does not do so before its second pass.

        Raises:
            TypeError: when zero_grad is neither True nor False.
            RuntimeError: when the last step was not ended, whose weights are restored, or no parameter has a gradient.
        """
        check_bool("zero_grad", zero_grad)
        self._check_ended("first_step")
        self._used = self._parameters()
        saved = _perturb(self.param_groups)
        self._first_finite, self._saved = saved is not None, saved or []
        torch.clear_autocast_cache()  # it holds copies of the weights in half precision
        if saved == [] and any(group["rho"] > 0 and _with_gradient([group]) for group in self.param_groups):
            self._skip("zero gradient")
        if zero_grad:
            self.zero_grad()

    @contextmanager
    def second_pass(self) -> Iterator[None]:
        """Run forward and backward in this context after `first_step`; at its end the weights are restored.

        The random numbers of the first pass are drawn again, and no buffer changes.

        Raises:
            RuntimeError: when first_pass and first_step were not run before; the weights are restored.
        """
        if self._saved is None or not self._states:
            self._restore()
            raise RuntimeError("second_pass() was entered before first_pass() and first_step(); run the three in turn")
        # One process whose gradient is not finite must stop all, so its gradient is NaN before it is averaged.
        poisoned = [] if self._first_finite else self._used
        hooks = [p.register_hook(lambda g: g * math.nan) for p in poisoned if p.requires_grad]
        pending = False  # whether second_step is still to come; not after an exception
        ids = {id(p) for p in self._used}
        known = ids <= self._without_buffers  # no time is spent on a search for buffers that will find none
        search: AbstractContextManager[Buffers] = nullcontext({}) if known else _buffers_restored()
        try:
            with torch_states_restored(self._states), search as buffers:
                for generator, state in self._states.items():
                    generator.set_state(state)
                yield
            pending = True
            if buffers and not any(buffers.values()):
                self._without_buffers |= ids
        finally:
            for hook in hooks:
                hook.remove()
            self._restore(pending)

    def second_step(self, scaler: torch.amp.GradScaler | None = None, zero_grad: bool = False) -> None:
        """Restore the weights, and take the base optimizer's step with the present gradient.

        Args:
            scaler: the one that scaled the loss, unless `scaler.unscale_(optimizer)` was called.
            zero_grad: whether to zero the gradients after the step.

        Raises:
            TypeError: when scaler cannot unscale gradients, or zero_grad is neither True nor False.
            RuntimeError: when first_step was not called, no parameter has a gradient, or m is set.
        """
        check_type("scaler", scaler, (torch.amp.GradScaler, NoneType), SCALER)
        check_bool("zero_grad", zero_grad)
        if self._saved is None:
            raise RuntimeError("second_step() was called before first_step(); call that at the first gradient")
        self._restore()
        if self.m is not None:
            raise RuntimeError(f"m is {self.m}, which goes with step(closure, samples=64); use that, or leave m out")
        self._opt_called = True  # learning rate schedulers look for it
        self._descend(scaler)
        if zero_grad:
            self.zero_grad()

    def _descend(self, scaler: torch.amp.GradScaler | None) -> None:
        """Take the base optimizer's step, or skip it if a gradient is not finite."""
        parameters = self._parameters()
        for hook in self._optimizer_step_pre_hooks.values():
            hook(self, (), {})
        if not self._first_finite:
            for p in parameters:
                p.grad.mul_(math.nan)  # type: ignore[union-attr]
        if scaler is not None:
            scaler.unscale_(self)
        if math.isfinite(_norm([_single(p.grad) for p in parameters])):  # type: ignore[arg-type]
            self._base_step()
        else:
            self._skip("second gradient" if self._first_finite else "first gradient")
        for hook in self._optimizer_step_post_hooks.values():
            hook(self, (), {})

    def _base_step(self) -> None:
        """Take the base optimizer's step; plain SGD that nothing observes is a single operation for each group."""
        hooks = (self.base._optimizer_step_pre_hooks, self.base._optimizer_step_post_hooks, *GLOBAL_STEP_HOOKS)
        observed = any(hooks) or "step" in vars(self.base)  # schedulers replace the method of the base
        if type(self.base) is not SGD or observed or any(group[key] for group in self.param_groups for key in OF_SGD):
            self.base.step()
            return
        with torch.no_grad():
            for group in self.param_groups:
                if parameters := _with_gradient([group]):
                    gradients = [p.grad for p in parameters]
                    torch._foreach_add_(parameters, gradients, alpha=-float(group["lr"]))  # type: ignore[arg-type]

    def _forget_gradients(self) -> None:
        """Do what `zero_grad` does, in a tenth of its time."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def _skip(self, reason: str) -> None:
        self.skipped[reason] += 1
        if self.skipped[reason] == 1:
            warnings.warn(f"{SKIPS[reason]}. Further ones are counted in optimizer.skipped", stacklevel=2)

    def _parameters(self) -> list[Tensor]:
        if parameters := _with_gradient(self.param_groups):
            return parameters
        raise RuntimeError("none of the parameters has a gradient; call loss.backward() in each pass, of their model")

    def _check_ended(self, name: str) -> None:
        if self._saved is not None:
            self._restore()
            raise RuntimeError(f"{name}() came before second_step() ended the last step; its weights are restored")

    def _restore(self, pending: bool = False) -> None:
        """Restore the unperturbed weights; `pending` if second_step is still to come."""
        _restore_values(self._saved or [])
        self._saved, self._states = [] if pending else None, {}
        torch.clear_autocast_cache()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "base": self.base, "m": self.m, "skipped": self.skipped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # the state of a copy, or only groups and state from load_state_dict
        self._reset()
        self.base.__setstate__({"state": self.state, "param_groups": self.param_groups})
        for group in self.param_groups:  # a checkpoint of the base optimizer has neither
            group.setdefault("rho", self.defaults["rho"])
            group.setdefault("adaptive", self.defaults["adaptive"])


# the perturbation


@torch.no_grad()
def _perturb(groups: list[dict[str, Any]]) -> Saved | None:
    """Add e = ρ T²g/‖Tg‖ to the weights in place, and return their values before; None if a gradient is not finite."""
    # Source: the paper's Eq. 3; adaptive: Kwon et al. (ICML 2021).
    parts = []  # of each group: whether it is adaptive, its radius, its parameters p and their Tg
    for group in groups:
        adaptive, rho, parameters = group["adaptive"], _radius(group), _with_gradient([group])
        tg = [_scaled(p, p.grad) if adaptive else _single(p.grad) for p in parameters]  # type: ignore[arg-type]
        parts.append((adaptive, rho, parameters, tg))
    norm = _norm([g for *_, tg in parts for g in tg])
    if not math.isfinite(norm):
        return None
    if norm * FLOAT32_MAX <= max(rho for _, rho, *_ in parts):  # otherwise ρ/‖Tg‖ would overflow float32
        return []
    saved: Saved = []
    try:
        for adaptive, rho, parameters, tg in parts:
            if rho and parameters:
                saved += [(p, *_values_before(p)) for p in parameters]
                steps = [_scaled(p, g) for p, g in zip(parameters, tg)] if adaptive else tg
                torch._foreach_add_(parameters, steps, alpha=rho / norm)
    except BaseException:  # no memory, or an interrupt
        _restore_values(saved)
        raise
    return saved


def _values_before(p: Tensor) -> tuple[Any, Tensor]:
    """Return the rows that a perturbation of p will change, and their values."""
    if p.grad.is_sparse:  # type: ignore[union-attr]
        rows = p.grad.coalesce().indices()[0]  # type: ignore[union-attr]
        return rows, p.detach()[rows]
    return ..., p.clone()


@torch.no_grad()
def _restore_values(saved: Saved) -> None:
    dense = [(p, values) for p, rows, values in saved if rows is ...]
    if dense:
        torch._foreach_copy_([p for p, _ in dense], [values for _, values in dense])
    for p, rows, values in saved:
        if rows is not ...:
            p[rows] = values


def _with_gradient(groups: list[dict[str, Any]]) -> list[Tensor]:
    return [p for group in groups for p in group["params"] if p.grad is not None]


def _single(g: Tensor) -> Tensor:
    """Return a gradient in float32 at least."""
    return g.float() if g.dtype.itemsize < 4 else g


def _scaled(p: Tensor, g: Tensor) -> Tensor:
    """Return |w|g up to signs, in float32 at least, because w²g underflows."""
    g = _single(g.coalesce() if g.is_sparse else g)
    return g * _single(p.sparse_mask(g) if g.is_sparse else p)


@torch.no_grad()
def _norm(tensors: list[Tensor]) -> float:
    """Return the Euclidean norm of all tensors together, in float64 where float32 is not accurate."""
    values = [tensor.coalesce().values() if tensor.is_sparse else tensor for tensor in tensors]
    devices = {tensor.device for tensor in values}
    accurate = all(tensor.numel() <= LONG for tensor in values)
    for dtype in (None, torch.float64) if accurate else (torch.float64,):
        if any(device.type == "mps" for device in devices):
            dtype = None  # MPS has no float64
        norms = torch._foreach_norm(values, 2, dtype=dtype)
        norm = math.hypot(*torch.stack([norm.cpu() for norm in norms] if len(devices) > 1 else norms).tolist())
        if SQUARES[0] < norm < SQUARES[1]:
            break
    return norm


@contextmanager
def _buffers_restored() -> Iterator[Buffers]:
    """Restore the buffers of every module that is called in the block, which global hooks of torch report."""
    saved: Buffers = {}
    hooks: list[RemovableHandle] = []

    def before(module: nn.Module, _: Any) -> None:
        if module in saved:
            return
        for part in set(module.modules()) - saved.keys():
            buffers = part._buffers.items()
            saved[part] = {name: (buffer, buffer.clone()) for name, buffer in buffers if buffer is not None}
            if saved[part] and len(hooks) == 1:  # a second hook costs time in each call of a module
                hooks.append(register_module_forward_hook(after, always_call=True))

    def after(module: nn.Module, *_: Any) -> None:
        # A forward may replace a buffer instead of writing into it. Undo that as soon as it returns, because
        # functional_call replaces buffers for the duration of a call, and those do not belong to the module.
        module._buffers.update({name: buffer for name, (buffer, _) in saved.get(module, {}).items()})

    hooks.append(register_module_forward_pre_hook(before))
    try:
        yield saved
    finally:
        for hook in hooks:
            hook.remove()
        if pairs := [pair for buffers in saved.values() for pair in buffers.values()]:
            with torch.no_grad():
                torch._foreach_copy_([buffer for buffer, _ in pairs], [values for _, values in pairs])


# arguments


def _radius(group: dict[str, Any]) -> float:
    """Check the options of a parameter group that are SAM's own, and return its radius ρ."""
    check_bool("adaptive", group["adaptive"])
    expected = f"a number of 0 or more, {FLOAT32_MAX:.0e} at most"
    return check_float("rho", group["rho"], expected, lambda rho: 0 <= rho <= FLOAT32_MAX)


def _check_group(group: dict[str, Any], number: int) -> None:
    """Check what SAM needs of a parameter group: its options, and real parameters that differ."""
    _radius(group)
    for i, p in enumerate(group["params"]):
        if not p.is_floating_point():
            raise ValueError(
                f"parameter {i} of group {number} is {p.dtype}; expected real floating-point numbers in params. Leave "
                "it out, or make it real: torch.view_as_real gives the two parts of complex numbers"
            )
    if len(set(group["params"])) < len(group["params"]):
        raise ValueError(f"group {number} has a parameter twice; expected each once")


def _base_optimizer(base_optimizer: Any, params: Any, options: dict[str, Any]) -> Optimizer:
    """Return the optimizer, or the one that a class or a function returns for params, if SAM can step with it."""
    params = list(params) if isinstance(params, Iterator) else params
    usable = isinstance(params, Iterable) and not isinstance(params, Tensor) and params
    if not (usable and all(isinstance(each, Tensor | dict | tuple) for each in params)):
        raise TypeError(f"params is {params!r:.200}; expected parameters or groups of them, such as model.parameters()")
    base: Optimizer = base_optimizer(params, **options) if callable(base_optimizer) else base_optimizer
    if not isinstance(base, Optimizer) or isinstance(base, LBFGS) or {"rho", "adaptive"} & base.defaults.keys():
        raise TypeError(
            f"base_optimizer is or gives {type(base).__name__}; expected an optimizer such as torch.optim.SGD, a class "
            "or a function that makes one from parameters, that needs no closure and has no option rho or adaptive"
        )
    if base is base_optimizer:
        ids = {id(p) for group in base.param_groups for p in group["params"]}
        if options or (params is not base.param_groups and {id(p) for p in params} != ids):
            raise ValueError(
                f"an optimizer was given with other params or options ({', '.join(options) or 'none'}); expected its "
                "param_groups or all its parameters, and no options: set them, and rho, in its param_groups"
            )
    return base
