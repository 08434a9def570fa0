"""How far a learner is: what this kernel has seen answered. What lasts is in the notebook's cells, not here."""

from __future__ import annotations

_seen: dict[str, tuple[int, int]] = {}  # by exercise or quiz: how many answers are right, and of how many


def note(name: str, right: int, of: int) -> None:
    """Note the latest answers to an exercise or a quiz, in place of those before.

    Args:
        name: of the exercise, or "quiz …".
        right: how many answers are right.
        of: how many there are to give.
    """
    _seen[name] = right, of


def progress() -> None:
    """Print what has been answered right among the exercises and quizzes whose cells have been run in this kernel.

    After "Run All" it is whole again.

    >>> _seen.clear()
    >>> note("amplitude", 1, 1)
    >>> note("quiz alignment", 3, 4)
    >>> progress()
    amplitude               1 of 1 right
    quiz alignment          3 of 4 right
    all                     4 of 5 right
    """
    for name, (right, of) in _seen.items():
        print(f"{name:23} {right} of {of} right")
    print(f"{'all':23} {sum(right for right, _ in _seen.values())} of {sum(of for _, of in _seen.values())} right")
