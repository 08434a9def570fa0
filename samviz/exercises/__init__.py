"""Exercises and quizzes that check themselves: they say what is wrong and why it may be, never only that it is."""

from __future__ import annotations

from typing import Any

from samviz.exercises.answers import answer_key
from samviz.exercises.judge import Exercise, fault
from samviz.exercises.quiz import Option, Question, Quiz
from samviz.exercises.quizzes import QUIZZES
from samviz.exercises.seen import note, progress
from samviz.exercises.tasks import EXERCISES

__all__ = ["EXERCISES", "QUIZZES", "Exercise", "Option", "Question", "Quiz", "answer_key", "check", "note", "progress"]


def check(name: str, answer: Any) -> None:
    """Print whether an answer is right; if it is not, what it gave, what was expected, and a hint.

    Args:
        name: of the exercise.
        answer: the learner's function, or value; None or ... asks for the hint.

    Raises:
        ValueError: when there is no such exercise.

    >>> check("steps", lambda tau, lr, rho: tau / (lr * rho))
    Not yet. Time passes by ηρ² a step: the drift is a term of second order in ρ.
    >>> check("steps", lambda tau, lr, rho: tau / (lr * rho**2))
    Right. Phase II takes 1/(ηρ²) steps: that is why it needs patience, and large ρ to be watched.
    """
    if name not in EXERCISES:
        raise ValueError(f"exercise is {name!r}; expected one of {', '.join(EXERCISES)}")
    wrong = fault(EXERCISES[name], answer)
    note(name, int(not wrong), 1)
    print(wrong or f"Right. {EXERCISES[name].right}")
