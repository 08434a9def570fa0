"""Checks of what figures are given; no room whose results they draw is loaded for them."""

from __future__ import annotations

import sys


def given(name: str, value: object, kind: str, room: str) -> None:
    """Refuse what is no instance of a class; one whose room was never loaded has none.

    Args:
        name: the argument's, for the message.
        value: what was given.
        kind: the name of the class.
        room: of samviz, where it is found, such as "dynamics".

    Raises:
        TypeError: when it is another thing.

    >>> given("found", 3, "Sweep", "dynamics")
    Traceback (most recent call last):
    TypeError: found is 3; expected a Sweep of samviz.dynamics
    """
    home = sys.modules.get(f"samviz.{room}")
    if home is None or not isinstance(value, getattr(home, kind)):
        raise TypeError(f"{name} is {value!r:.200}; expected a {kind} of samviz.{room}")


def index(name: str, value: object, count: int) -> int:
    """A place on an axis of some length, 0 the first: the name of the argument, what was given, the length."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise ValueError(f"{name} is {value!r}; expected an integer from 0 to {count - 1}")
    return value
