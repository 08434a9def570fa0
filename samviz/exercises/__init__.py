"""Exercises that check themselves: they say what is wrong and why it may be, never only that it is wrong."""

from __future__ import annotations

from typing import Any

from samviz.exercises.judge import Exercise, judged
from samviz.exercises.tasks import EXERCISES

__all__ = ["EXERCISES", "Exercise", "check"]


def check(name: str, answer: Any) -> None:
    """Print whether an answer is right; if it is not, what it gave, what was expected, and a hint.

    Args:
        name: of the exercise.
        answer: the learner's function, or value.

    Raises:
        ValueError: when there is no such exercise.

    >>> check("steps", lambda tau, lr, rho: tau / (lr * rho))
    Not yet. Time passes by ηρ² a step: the drift is a term of second order in ρ.
    >>> check("steps", lambda tau, lr, rho: tau / (lr * rho**2))
    Right. Phase II takes 1/(ηρ²) steps: that is why it needs patience, and large ρ to be watched.
    """
    if name not in EXERCISES:
        raise ValueError(f"exercise is {name!r}; expected one of {', '.join(EXERCISES)}")
    print(judged(EXERCISES[name], answer))
