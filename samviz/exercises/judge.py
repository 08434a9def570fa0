"""How an answer is judged: what it gave, what was expected, and which mistake it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Trial = tuple[str, tuple[Any, ...]]  # what is tried, in words, and the arguments


@dataclass(frozen=True)
class Exercise:
    """A task with its solution, where to try it, and the mistakes that are worth a word of their own."""

    takes: str  # how the answer is called, in words
    solution: Any  # a function, or the value itself
    hint: str
    right: str  # what to take away from having it right
    trials: Sequence[Trial] = (("", ()),)
    mistakes: Mapping[str, Any] | None = None  # what went wrong: a function, or a value, that goes wrong like that


def fault(exercise: Exercise, answer: Any) -> str:
    """What is wrong with an answer.

    Args:
        exercise: the task.
        answer: the learner's function, or value.

    Returns:
        One sentence or two; "" if the answer is right.
    """
    if answer is None or answer is ...:
        return f"Nothing to check yet. Hint: {exercise.hint}"
    if callable(exercise.solution) and not callable(answer):
        return f"Pass the function itself, not a result of it: {exercise.takes}."
    given, wanted = [], []
    for _, arguments in exercise.trials:
        try:
            value = _call(answer, arguments)
        except Exception as error:
            return f"Your function ended in {type(error).__name__}: {error}. It is called as {exercise.takes}."
        if value is None or value is ...:
            return f"Your function returns nothing yet: put the formula in place of the dots. Hint: {exercise.hint}"
        expected = np.asarray(_call(exercise.solution, arguments), dtype=float)
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            return (
                f"The answer is {value!r}; expected {'a number' if expected.ndim == 0 else 'numbers'}. {exercise.hint}"
            )
        if array.shape != expected.shape:
            return f"The answer has shape {array.shape}; expected {expected.shape}: {exercise.takes}."
        given.append(array)
        wanted.append(expected)
    if _same(given, wanted):
        return ""
    for remark, mistake in (exercise.mistakes or {}).items():
        if _same(given, [_call(mistake, arguments) for _, arguments in exercise.trials]):
            return f"Not yet. {remark}"
    tried = zip(exercise.trials, given, wanted)
    told, array, expected = next((told, a, e) for (told, _), a, e in tried if not _same([a], [e]))
    where = f" for {told}" if told else ""
    shown = f", expected {np.array2string(expected, precision=5)}" if callable(exercise.solution) else ""
    return f"Not yet: {np.array2string(array, precision=5)}{where}{shown}. Hint: {exercise.hint}"


def _call(answer: Any, arguments: tuple[Any, ...]) -> Any:
    """The value of an answer; arrays are handed over as copies, so that it may write into them."""
    if not callable(answer):
        return answer
    return answer(*(a.copy() if isinstance(a, np.ndarray) else a for a in arguments))


def _same(given: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-4, atol=1e-9)
        for a, b in zip(given, wanted, strict=True)
    )
