"""Checks of arguments in one voice: the name, the value given, and what was expected."""

from __future__ import annotations

import sys
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def check_int(name: str, value: object, expected: str, low: int, high: int | None = None) -> int:
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


def is_finite_number(value: Any) -> bool:
    """Whether a value is a finite real number that fits into a float; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    size: Any = abs(value)
    return bool(size <= sys.float_info.max)


def check_float(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """A finite number that fits.

    Args:
        name: the argument's, for the message.
        value: what was given.
        expected: what fits, in words.
        fits: whether a finite number is allowed.

    Returns:
        The number as a float.

    Raises:
        ValueError: when it is no number, or does not fit.
    """
    if not is_finite_number(value) or not fits(float(value)):
        raise ValueError(f"{name} is {value!r}; expected {expected}")
    return float(value)


def check_array(name: str, value: Any, expected: str, finite: bool = True) -> NDArray[Any]:
    """Real numbers of any shape, on the host.

    Args:
        name: the argument's, for the message.
        value: array-like or tensor.
        expected: what fits, in words.
        finite: whether NaN and infinity are refused.

    Returns:
        The numbers in a precision of their own.

    Raises:
        TypeError: when they are no real numbers, or rows of different lengths.
        ValueError: when one is not finite.
    """
    try:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged, or a tensor that numpy cannot hold
        raise TypeError(f"{name} is {value!r:.200}; expected {expected}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} is {value!r:.200}; expected {expected}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity; expected {expected}")
    return array


def check_bool(name: str, value: object) -> bool:
    """True or False, not what only counts as such: the name of the argument, and what was given."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} is {value!r:.200}; expected True or False")
    return bool(value)


def check_type(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Refuse what is none of some classes: the name of the argument, what was given, the classes, and in words."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name} is {value!r:.200}; expected {expected}")


def seeded_generator(seed: object) -> torch.Generator:
    """A generator of random numbers on the host, started from a seed of 0 or more."""
    return torch.Generator().manual_seed(check_int("seed", seed, "0 or more, below 2⁶²", 0, 2**62))


def check_shape(name: str, tensor: Any, shape: tuple[int | str, ...], of: str, empty: bool = False) -> None:
    """Refuse what is not a tensor of a shape.

    Args:
        name: the argument's, for the message.
        tensor: what was given.
        shape: expected; a word stands for any length.
        of: what the argument is for, in words.
        empty: whether a length that a word stands for may be 0.

    Raises:
        TypeError: when it is no tensor.
        ValueError: when its shape is another.
    """
    given: tuple[int, ...] = tuple(tensor.shape) if isinstance(tensor, Tensor) else ()
    if len(given) != len(shape) or any(
        n != e and (not isinstance(e, str) or not (n or empty)) for n, e in zip(given, shape)
    ):
        expected = f"expected a tensor ({', '.join(map(str, shape))}{',' * (len(shape) == 1)}) for {of}"
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is {tensor!r:.200}; {expected}")
        raise ValueError(f"{name} has shape {given}; {expected}")


def check_tensor(name: str, tensor: Any, shape: tuple[int, ...]) -> None:
    """Refuse what is no tensor of finite real numbers of a shape.

    Args:
        name: the argument's, for the message.
        tensor: what was given.
        shape: expected; −1 is any length.

    Raises:
        TypeError: when it is no tensor, or its numbers are not real.
        ValueError: when its shape is another, or a number is not finite.
    """
    expected = f"a tensor {shape} of finite real numbers".replace("-1", "m")
    if not isinstance(tensor, Tensor) or tensor.is_complex() or tensor.is_meta:
        raise TypeError(f"{name} is {tensor!r:.200}; expected {expected}")
    if tensor.ndim != len(shape) or any(e not in (-1, n) for n, e in zip(tensor.shape, shape)):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {expected}")
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} contains NaN or infinity; expected {expected}")
