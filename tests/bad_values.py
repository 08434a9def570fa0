"""Values that an argument of some kind must refuse, and what counts as a refusal in words."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

NAN, INF = float("nan"), float("inf")
CASE_LIMIT_S = 20  # a case that takes longer hangs; all of them together take about that

NUMBER = (NAN, INF, -INF, 10**400, "0.1", None, 1j, True, (), np.ones((1, 1)))
AT_LEAST_0 = (*NUMBER, -1, -1e-300)
ABOVE_0 = (*AT_LEAST_0, 0, 0.0)
STEPS = (-1, 1.5, NAN, INF, "3", 1j, True, [2], None)
COUNT = (*STEPS, 0)
SEED = (-1, 1.5, NAN, "0", True, None, 2**70)
FLAG = ("yes", 1, 0.0, None, NAN)
NAME = ("unknown", "", None, 3, ["sam"], NAN)
OBJECT = (None, 3, "x", NAN, [1.0])
DEVICE = ("gpu", 2.5, None, "", "meta9")
DTYPE = (torch.float16, torch.int64, torch.complex64, "float32", 3)
DATA = (
    None,
    3,
    "moons",
    (np.ones((3, 1)),),
    (np.ones((3, 1)), np.ones(4)),
    (np.ones((0, 1)), np.ones((0, 1))),
    (np.full((3, 1), NAN), np.ones(3)),
    (np.ones((3, 1)), np.full(3, INF)),
    (np.ones((3, 1)) * 1j, np.ones(3)),
    ([[1.0], [1.0, 2.0]], [1.0, 2.0]),
    ([["a"]], [1.0]),
    (None, None),
)
BATCHES = (
    *(None, 3, "moons", [], iter([]), torch.ones(3, 2), [3, 4]),
    (torch.ones(3, 2), torch.ones(4, 1)),
    (torch.ones(0, 2), torch.ones(0, 1)),
)


def points(dim: int) -> tuple[Any, ...]:
    """Values that are not parameters of a problem of this dimension."""
    tensors = (torch.zeros(dim + 1), torch.zeros(0), torch.zeros(()), torch.zeros(1, 1, dim), torch.zeros(0, dim))
    tensors += (torch.full((dim,), NAN), torch.full((2, dim), INF), torch.zeros(dim, dtype=torch.complex64))
    return (None, "start", *tensors, torch.zeros(dim, device="meta"), np.full(dim, None), [[1.0, 2.0], [1.0]])


def tensors(shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Values that are not finite tensors of this shape."""
    wrong = (torch.ones(*shape, 1), torch.ones(*shape[:-1], shape[-1] + 1), torch.full(shape, NAN))
    return (3, "up", *wrong)


def no_loss(*_: Any) -> Any:
    return None


def rounded(outputs: Tensor, target: Tensor) -> Tensor:
    """Return a loss without a gradient."""
    return (outputs - target).round().argmax().double()


class Untrainable(nn.Module):
    """A module without parameters."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


MODULE = (None, 3, "net", lambda inputs: inputs, Untrainable(), nn.Linear(1, 1, dtype=torch.complex64))
LOSS = (*NAME, no_loss, rounded, lambda outputs, targets: outputs.mean())
REMEDY = re.compile(
    r"\b(expected|use|give|choose|pass|take|drop|make|run|set|attach|measure|call|log|pip install|freeze|define)\b"
)


class Hung(BaseException):
    """A case without an answer."""


@contextmanager
def no_hang(seconds: float = CASE_LIMIT_S) -> Iterator[None]:
    """Interrupt what takes too long; without alarms, as on Windows, pytest's time limit does."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def interrupt(*_: object) -> None:
        raise Hung(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fault(call: Callable[[], Any], argument: str, value: Any) -> str:
    """Return what is wrong with the answer to a bad value; empty for a message with argument, value and remedy."""
    try:
        with no_hang():
            answer = call()
            if isinstance(answer, Iterator):
                answer = list(answer)
    except (ValueError, TypeError, FileNotFoundError) as error:
        message = str(error)
        lacks = [] if re.search(rf"\b{re.escape(argument)}\b", message) else ["argument"]
        if not REMEDY.search(message):
            lacks.append("remedy")
        if not names_value(value, message):
            lacks.append("value")
        return f"{value!r:.60}: no {', no '.join(lacks)} in {message!r:.300}" if lacks else ""
    except BaseException as error:
        return f"{value!r:.60}: {type(error).__name__}: {error!s:.200}"
    return f"{value!r:.60}: taken, {answer!r:.100}"


def names_value(value: Any, message: str) -> bool:
    """Return whether a message names a value: as it is written, or its type or shape, or what is wrong with it."""
    if re.search(rf"\b{type(value).__name__}\b", message) or repr(value)[:20] in message:
        return True
    if value is None or isinstance(value, str | int | float | complex):
        text = str(value)
        return text in message.split() or (text in message and len(text) > 3) or "has shape ()" in message
    if isinstance(value, Tensor | np.ndarray):
        rows = len(value) if value.ndim else "()"
        forms = [str(tuple(value.shape)), str(value.dtype), f" {rows} ", f"(1, {rows})", *PROBLEMS]
        if "meta" not in repr(value) and np.prod(value.shape) == 1:
            forms += [f" {value.item():g} ", repr(value.ravel().tolist())]
        return any(form in message for form in forms)
    if isinstance(value, list | tuple):
        found = any(form in message for form in (f" {len(value)} ", *PROBLEMS))
        return found or any(names_value(part, message) for part in value)
    return True  # of a module, a function or a state the remedy says what it lacks


PROBLEMS = ("NaN or infinity", "not symmetric", "is empty", "fits none", "shape (0,)", "itself", "one line")
PROBLEMS += ("no batches", "records", "classifier")
