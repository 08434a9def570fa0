"""Checks of arguments in one voice: the name, the value given, and what was expected."""

from __future__ import annotations

from numbers import Integral


def whole(name: str, value: object, expected: str, low: int, high: int | None = None) -> int:
    """A whole number in a range.

    Args:
        name: the argument's, for the message.
        value: what was given.
        expected: the range in words.
        low: the least that is allowed.
        high: the most; None for no limit.

    Returns:
        The number as an int.

    Raises:
        TypeError: when it is no integer.
        ValueError: when it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}; expected an integer, {expected}")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} is {value}; expected {expected}")
    return number
