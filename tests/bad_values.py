"""Values that an argument of some kind cannot have, and what counts as a refusal in words."""

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
SECONDS = 20  # a case that takes longer hangs; all of them together take about that

NUMBER = (NAN, INF, -INF, 10**400, "0.1", None, 1j, True, (), np.ones((1, 1)))
AT_LEAST_0 = (*NUMBER, -1, -1e-300)
ABOVE_0 = (*AT_LEAST_0, 0, 0.0)
COUNT = (-1, 0, 1.5, NAN, INF, "3", 1j, True, [2], None)
MAYBE_COUNT = COUNT[:-1]  # where None means something
STEPS = (-1, 1.5, NAN, INF, "3", 1j, True, [2], None)  # 0 of them are none
SEED = (-1, 1.5, NAN, "0", True, None, 2**70)
FLAG = ("yes", 1, 0.0, None, NAN)
NAME = ("unknown", "", None, 3, ["sam"], NAN)
OBJECT = (None, 3, "x", NAN, [1.0])
FUNCTION = (None, 3, "mse_", [1.0])
PATH = (None, 3, 1.5)


def points(dim: int) -> tuple[Any, ...]:
    """What are no parameters of a problem with so many."""
    return (
        None,
        "start",
        torch.zeros(dim + 1),
        torch.zeros(0),
        torch.zeros(()),
        torch.zeros(1, 1, dim),
        torch.zeros(0, dim),
        torch.full((dim,), NAN),
        torch.full((2, dim), INF),
        torch.zeros(dim, dtype=torch.complex64),
        torch.zeros(dim, device="meta"),
        np.full(dim, None),
        [[1.0, 2.0], [1.0]],
    )


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
    None,
    3,
    "moons",
    [],
    iter([]),
    torch.ones(3, 2),
    (torch.ones(3, 2), torch.ones(4, 1)),
    (torch.ones(0, 2), torch.ones(0, 1)),
    [3, 4],
)


def no_loss(*_: Any) -> Any:
    return None


def loss_of_each(outputs: Tensor, target: Tensor) -> Tensor:
    return (outputs - target).flatten(1).mean(1)


def rounded(outputs: Tensor, target: Tensor) -> Tensor:
    return (outputs - target).round().argmax().double()


def cut(outputs: Tensor, target: Tensor) -> Tensor:
    return ((outputs - target).detach() ** 2).mean()


class Broken(ValueError):
    """What a function of the user's own raises: it comes through as it is."""


def raising(*_: Any) -> Any:
    raise Broken("mine")


class Odd(nn.Module):
    """A module with nothing to train."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


MODULE = (None, 3, "net", lambda inputs: inputs, Odd(), nn.Linear(1, 1, dtype=torch.complex64), nn.Linear)
REMEDY = re.compile(
    r"\b(expected|use|give|choose|pass|take|drop|make|run|set|attach|measure|call|log|pip install|freeze|define)\b"
)


class Hung(BaseException):
    """A case that did not come back."""


@contextmanager
def no_hang(seconds: float = SECONDS) -> Iterator[None]:
    """Interrupt what takes too long; where there are no alarms, as on Windows, pytest's time limit does."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def rang(*_: object) -> None:
        raise Hung(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, rang)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fault(call: Callable[[], Any], argument: str, value: Any) -> str:
    """What is wrong with the answer to a bad value; empty for a refusal that names argument, value and remedy."""
    try:
        with no_hang():
            answer = call()
            if isinstance(answer, Iterator):
                answer = list(answer)
    except (ValueError, TypeError, FileNotFoundError) as error:
        words = str(error)
        lacks = [] if re.search(rf"\b{re.escape(argument)}\b", words) else ["argument"]
        if not REMEDY.search(words):
            lacks.append("remedy")
        if not told(value, words):
            lacks.append("value")
        return f"{value!r:.60}: no {', no '.join(lacks)} in {words!r:.300}" if lacks else ""
    except BaseException as error:
        return f"{value!r:.60}: {type(error).__name__}: {error!s:.200}"
    return f"{value!r:.60}: taken, {answer!r:.100}"


def told(value: Any, words: str) -> bool:
    """Whether a message tells a value: as it is written, or its kind or shape, or of what is long what is wrong."""
    if re.search(rf"\b{type(value).__name__}\b", words) or repr(value)[:20] in words:
        return True
    if value is None or isinstance(value, str | int | float | complex):
        return str(value) in words.split() or (str(value) in words and len(str(value)) > 3) or "has shape ()" in words
    if isinstance(value, Tensor | np.ndarray):
        rows = len(value) if value.ndim else "()"
        forms = [str(tuple(value.shape)), str(value.dtype), f" {rows} ", f"(1, {rows})", *AMISS]
        if "meta" not in repr(value) and np.prod(value.shape) == 1:
            forms += [f" {value.item():g} ", repr(value.ravel().tolist())]
        return any(form in words for form in forms)
    if isinstance(value, list | tuple):
        return any(form in words for form in (f" {len(value)} ", *AMISS)) or any(told(part, words) for part in value)
    return True  # a module, a function, a state: what it lacks or gives is in the remedy


AMISS = ("NaN or infinity", "not symmetric", "is empty", "fits none", "shape (0,)", "itself", "one line")
AMISS += ("no batches", "records", "classifier")
