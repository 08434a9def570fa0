"""Checks of arguments. Each error message names the argument, the value that was given, and what was expected."""

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
    """Return an integer from low to high (None: no upper limit); `expected` is the range in words."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}; expected an integer, {expected}")
    number = int(value)
    if number < low or (high is not None and number > high):
        raise ValueError(f"{name} is {value}; expected {expected}")
    return number


def is_finite_number(value: Any) -> bool:
    """Return whether a value is a real number that fits into a float; True and False are not numbers."""
    return isinstance(value, Real) and not isinstance(value, bool) and bool(abs(value) <= sys.float_info.max)  # type: ignore[operator]


def check_float(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """Return a finite number for which `fits` is true, as a float."""
    if not is_finite_number(value) or not fits(float(value)):
        raise ValueError(f"{name} is {value!r}; expected {expected}")
    return float(value)


def check_array(name: str, value: Any, expected: str, finite: bool = True) -> NDArray[Any]:
    """Return real numbers of any shape as an array on the CPU, in their own precision."""
    try:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of different lengths, or a type unknown to numpy
        raise TypeError(f"{name} is {value!r:.200}; expected {expected}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} is {value!r:.200}; expected {expected}")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity; expected {expected}")
    return array


def check_bool(name: str, value: object) -> bool:
    """Return True or False; values that are only truthy or falsy are refused."""
    check_type(name, value, (bool, np.bool_), "True or False")
    return bool(value)


def check_type(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Refuse a value that is not an instance of the given classes."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name} is {value!r:.200}; expected {expected}")


def check_seed(seed: object, name: str = "seed") -> int:
    """Return a seed that torch and numpy accept."""
    return check_int(name, seed, "0 or more, below 2⁶²", 0, 2**62 - 1)


def seeded_generator(seed: object) -> torch.Generator:
    """Return a random generator on the CPU, started from a seed."""
    return torch.Generator().manual_seed(check_seed(seed))


def check_shape(name: str, tensor: Any, shape: tuple[int | str, ...], of: str, empty: bool = False) -> None:
    """Refuse a value that is not a tensor of the shape; a word stands for any length, 0 only where `empty` is true."""
    found: tuple[int, ...] = tuple(tensor.shape) if isinstance(tensor, Tensor) else ()
    if len(found) != len(shape) or any(
        n != e and (not isinstance(e, str) or not (n or empty)) for n, e in zip(found, shape)
    ):
        expected = f"expected a tensor ({', '.join(map(str, shape))}{',' * (len(shape) == 1)}) for {of}"
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} is {tensor!r:.200}; {expected}")
        raise ValueError(f"{name} has shape {found}; {expected}")


def check_tensor(name: str, tensor: Any, shape: tuple[int, ...]) -> None:
    """Refuse a value that is not a tensor of finite real numbers of the shape; −1 stands for any length."""
    expected = f"a tensor {shape} of finite real numbers".replace("-1", "m")
    if not isinstance(tensor, Tensor) or tensor.is_complex() or tensor.is_meta:
        raise TypeError(f"{name} is {tensor!r:.200}; expected {expected}")
    if tensor.ndim != len(shape) or any(e not in (-1, n) for n, e in zip(tensor.shape, shape)):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {expected}")
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} contains NaN or infinity; expected {expected}")
