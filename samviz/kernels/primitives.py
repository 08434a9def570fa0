"""The compiled primitives of the update rules, which `samviz.problems.primitives` defines in torch; the step loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import cfunc, njit, types
from numba.extending import intrinsic

from samviz.kernels import Floats, Ints, Kernel, drop_stale

_FLOATS, _INTS = types.float64[::1], types.int64[::1]
# floats, ints, x (dim,), batch (b,) or empty for all samples, noise on the targets or empty, out (dim,), workspace
# -> loss
GRADIENT = types.float64(_FLOATS, _INTS, _FLOATS, _INTS, _FLOATS, _FLOATS, _FLOATS)
# floats, ints, x (dim,), batch (b,), v (dim,), out (dim,)
PRODUCT = types.void(_FLOATS, _INTS, _FLOATS, _INTS, _FLOATS, _FLOATS)


class StepInput(NamedTuple):
    """What a rule receives for a step of one run; problems differ only in data, so a rule is compiled once for all."""

    gradient: Kernel
    product: Kernel
    floats: Floats
    ints: Ints
    batch: Ints  # (b,), empty for the full batch
    noise: Floats  # the standard normal numbers of the step
    workspace: Floats


_STEP_INPUT = types.NamedTuple(
    (types.FunctionType(GRADIENT), types.FunctionType(PRODUCT), _FLOATS, _INTS, _INTS, _FLOATS, _FLOATS), StepInput
)
RULE = _FLOATS(_STEP_INPUT, _FLOATS, _FLOATS, types.float64)  # p, x, ∇L(x), ρ -> direction
FLAGS: Any = {"fastmath": {"contract"}, "error_model": "numpy"}
INNER: Any = FLAGS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # half a second less to compile for a lab
# An exception in a function pointer is printed, and then the function returns an empty array.
BAD_DIRECTION = (
    "a compiled rule raised an exception, or its direction is not as long as x; with compiled=False the rule runs in "
    "torch, which shows where"
)
F = TypeVar("F", bound=Callable[..., Any])


def fast(function: F) -> F:
    """Compile a function that only compiled code calls, with fused multiplications and numpy's division by zero."""
    dispatcher: F = njit(**INNER)(function)  # not cached, because the cached code of its callers contains it
    return dispatcher


def _borrow(_: Any, array: Any) -> Any:
    """Build an array without a counter of references."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        borrowed = context.make_array(array)(context, builder, arguments[0])
        borrowed.meminfo = borrowed.meminfo.type(None)
        return borrowed._getvalue()

    return array(array), build


# The same array, whose references are not counted: it must live elsewhere, as the arguments of a call from Python do.
# Counting is atomic, and takes up to half of the time of a short step.
borrowed: Any = intrinsic(_borrow)


def kernel(signature: Any) -> Callable[[Callable[..., Any]], Callable[[], Kernel]]:
    """Replace a function by one that compiles it to a function pointer when it is first called."""
    return lambda function: cache(lambda: cfunc(signature, cache=True, error_model="numpy")(function))


@fast
def loss_and_gradient(p: StepInput, x: Floats) -> tuple[float, Floats]:
    """Return the loss and the gradient at x of the step's batch."""
    out = np.empty_like(x)
    return p.gradient(p.floats, p.ints, x, p.batch, p.noise[:0], out, p.workspace), out


@fast
def noisy_gradient(p: StepInput, x: Floats, noise: Floats) -> Floats:
    """Return the gradient at x of the step's batch, with noise added to the targets of a square loss."""
    out = np.empty_like(x)
    p.gradient(p.floats, p.ints, x, p.batch, noise, out, p.workspace)
    return out


@fast
def gradient(p: StepInput, x: Floats) -> Floats:
    """Return the gradient at x of the step's batch."""
    return noisy_gradient(p, x, p.noise[:0])


@fast
def mean_gradient(p: StepInput, x: Floats, rho: float) -> Floats:
    """Return the mean of ∇L(x ± ρu) over the random directions u that the step's noise holds."""
    dim, total = len(x), np.zeros_like(x)
    for start in range(0, len(p.noise), dim):
        perturbation = rho * unit(p.noise[start : start + dim])
        total += gradient(p, x + perturbation) + gradient(p, x - perturbation)
    return total * (dim / (2 * len(p.noise)))


@fast
def hvp(p: StepInput, x: Floats, v: Floats) -> Floats:
    """Return the Hessian at x of the step's batch times v."""
    out = np.empty_like(x)
    p.product(p.floats, p.ints, x, p.batch, v, out)
    return out


@njit(fastmath={"contract", "reassoc"}, error_model="numpy")
def dot(a: Floats, b: Floats) -> float:
    """Return aᵀb."""
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@fast
def norm(v: Floats) -> float:
    """Return ‖v‖."""
    return math.sqrt(dot(v, v))


@fast
def unit(v: Floats) -> Floats:
    """Return v/‖v‖, or a fixed arbitrary unit vector where v is zero (appendix B)."""
    length, out = norm(v), np.empty_like(v)
    for i in range(len(v)):  # compiled faster than the division of an array
        out[i] = len(v) ** -0.5 if length == 0 else v[i] / length
    return out


@fast
def divide(a: Any, b: float) -> Any:
    """Return a/b, or 0 where b is 0."""
    return a / b if b > 0 else 0.0 * a


@fast
def fixed_direction(x: Floats) -> Floats:
    """Return a fixed arbitrary unit vector that no symmetry of a network leaves unchanged."""
    return unit(np.sin(np.arange(1.0, len(x) + 1)))


@fast
def where(condition: bool, a: Any, b: Any) -> Any:
    """Return a if the condition holds, else b."""
    return a if condition else b


@fast
def any_run(condition: bool) -> bool:
    """Return the condition of the one run."""
    return condition


NAMES = "gradient loss_and_gradient noisy_gradient mean_gradient hvp dot norm unit divide fixed_direction any_run where"
PRIMITIVES: dict[str, Any] = {name: globals()[name] for name in NAMES.split()}


def _called(function: Callable[..., Any]) -> dict[str, FunctionType]:
    """Return the plain functions that the function calls by name, apart from primitives."""
    variables = {name: function.__globals__.get(name) for name in function.__code__.co_names if name not in PRIMITIVES}
    return {name: value for name, value in variables.items() if isinstance(value, FunctionType)}


def uses_product(function: Callable[..., Any]) -> bool:
    """Return whether the function, or a function that it calls, needs Hessian-vector products."""
    return "hvp" in function.__code__.co_names or any(map(uses_product, _called(function).values()))


def _with_primitives(function: FunctionType) -> FunctionType:
    """Return a function of the same code that calls the primitives above, and so do the functions that it calls."""
    variables = function.__globals__ | PRIMITIVES | {"abs": np.abs}
    for name, called in _called(function).items():
        variables[name] = fast(_with_primitives(called))
    return FunctionType(function.__code__, variables, function.__name__, function.__defaults__, function.__closure__)


@cache
def compiled_rule(function: FunctionType) -> Kernel:
    """Compile the code of a rule with the primitives above in place of those of torch."""
    ours = function.__module__.startswith("samviz.")  # others are compiled in every process
    if ours:
        drop_stale(function, *_called(function).values())
    return cfunc(RULE, cache=ours, **FLAGS)(_with_primitives(function))


@kernel(PRODUCT)
def no_product(floats: Floats, ints: Ints, x: Floats, batch: Ints, v: Floats, out: Floats) -> None:
    """Take the place of a Hessian-vector product for the rules that need none, so that it is not compiled."""


@njit(cache=True, nogil=True, error_model="numpy")
def batched_gradient(
    gradient: Kernel,
    floats: Floats,
    ints: Ints,
    workspaces: Floats,  # (runs, length), or one for all, (1, length)
    x: Floats,  # (runs, dim)
    batches: Ints,  # (runs, b)
    noise: Floats,  # (runs, count)
    out: Floats,  # (runs, dim)
    losses: Floats,  # (runs,)
) -> None:
    """Fill `losses` and `out` with the loss and the gradient of every run."""
    for run in range(len(x)):
        work = workspaces[run % len(workspaces)]
        losses[run] = gradient(floats, ints, x[run], batches[run], noise[run], out[run], work)


@njit(fastmath={"reassoc"})
def _is_finite(x: Floats) -> bool:
    """Return whether all of x is finite: zero times it is then zero, and otherwise NaN."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] * 0.0
    return total == 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def advance(
    rule: Kernel,
    gd_at_zero_rho: bool,
    gradient: Kernel,
    product: Kernel,
    floats: Floats,
    ints: Ints,
    work: Floats,  # (3·dim + length of the gradient's workspace,)
    x: Floats,  # (runs, dim), the iterates, changed in place
    before: Floats,  # (runs, dim), the previous iterates, changed in place
    lr: Floats,  # (runs,)
    lr_decay: float,
    first: int,  # index of the first step
    rho: Floats,  # (runs,)
    momentum: float,
    weight_decay: float,
    micro: int,  # samples of the batch that share a perturbation; 0 is all
    bound: Floats,  # (runs,), the loss above which a run counts as diverged
    running: Any,  # bool (runs,), False for a run that takes no steps
    batches: Ints,  # (n, runs, b), samples of each step; b = 0 is the full batch
    noise: Floats,  # (n, runs, count), standard normal numbers of each step
    path: Floats,  # (k, runs, dim), row t mod k is filled with the iterates after step t
    completed: Ints,  # (runs,), increased by the number of steps that a run takes before it diverges
    rolled_back: Any,  # bool (runs,), set to True where a run that diverges returns to the previous iterate
    curvature: Floats,  # (runs,), filled with u·(direction − ∇L(x))/ρ of the last step, u = ∇L(x)/‖∇L(x)‖
) -> None:
    """Take n steps of every run; a run that diverges stays at its last good iterate."""
    n, dim = len(noise), x.shape[1]
    floats, ints, work, x = borrowed(floats), borrowed(ints), borrowed(work), borrowed(x)
    batches, noise = borrowed(batches), borrowed(noise)
    g, new, total, work = work[:dim], work[dim : 2 * dim], work[2 * dim : 3 * dim], work[3 * dim :]
    for run in range(len(x)):
        for t in range(n if running[run] else 0):
            p = StepInput(gradient, product, floats, ints, batches[t, run], noise[t, run], work)
            if gd_at_zero_rho and rho[run] == 0:  # merged with the next branch, a step takes 30 ns longer
                loss = gradient(floats, ints, x[run], p.batch, p.noise[:0], g, work)
                direction = g
            elif micro == 0:
                loss = gradient(floats, ints, x[run], p.batch, p.noise[:0], g, work)
                direction = rule(p, x[run], g, rho[run])
                if len(direction) != dim:
                    raise ValueError(BAD_DIRECTION)
            else:
                loss = 0.0
                total[:] = 0.0
                for start in range(0, len(p.batch), micro):
                    part = p.batch[start : start + micro]
                    share = len(part) / len(p.batch)
                    q = StepInput(gradient, product, floats, ints, part, p.noise, work)
                    loss += share * gradient(floats, ints, x[run], part, p.noise[:0], g, work)
                    each = rule(q, x[run], g, rho[run])
                    if len(each) != dim:
                        raise ValueError(BAD_DIRECTION)
                    for i in range(dim):
                        total[i] += share * each[i]
                direction = total
            rate = lr[run] / (1.0 + lr_decay * (first + t))
            for i in range(dim):
                new[i] = x[run, i] - rate * direction[i]
            if momentum != 0 or weight_decay != 0:  # otherwise the step is the same bit for bit
                for i in range(dim):
                    new[i] += momentum * (x[run, i] - before[run, i]) - rate * weight_decay * x[run, i]
            if not loss <= bound[run]:
                rolled_back[run] = True
                for i in range(dim):
                    x[run, i] = before[run, i]
                break
            if not _is_finite(new):
                break
            for i in range(dim):
                before[run, i], x[run, i] = x[run, i], new[i]
            if len(path):
                for i in range(dim):  # compiled faster than the assignment of an array
                    path[t % len(path), run, i] = new[i]
            completed[run] += 1
            if t == n - 1:
                for i in range(dim):
                    new[i] = direction[i] - g[i]
                curvature[run] = dot(unit(g), new) / rho[run]
