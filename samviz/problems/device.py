"""Where to compute: device, precision, engine and threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from samviz.compiled import available

if TYPE_CHECKING:
    from samviz.problems.problem import Problem

TOY = 50_000_000  # samples × parameters up to which one thread is used: beside a busy neighbour two are far slower


def toy(problem: Problem) -> bool:
    """Whether a problem is so small, and on the CPU, that one thread does best."""
    return problem.device.type == "cpu" and problem.work <= TOY


def compiles(problem: Problem) -> bool:
    """Whether the compiled engine takes a problem whose kernels there are: a toy in float64, and numba is there."""
    return toy(problem) and problem.dtype == torch.float64 and available()


@contextmanager
def one_thread(problem: Problem) -> Iterator[None]:
    """Compute on one thread inside, when the problem is a toy on the CPU; the user's setting is put back.

    Args:
        problem: what is about to be computed.
    """
    threads = torch.get_num_threads()
    changes = threads > 1 and toy(problem)
    if changes:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if changes:
            torch.set_num_threads(threads)


def placed(device: str | torch.device, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    """Where to compute and in which precision, from what was asked for.

    Args:
        device: "auto" or a torch device.
        dtype: float64, float32, or None.

    Returns:
        The device and the dtype.

    Raises:
        ValueError: when the device is not there, the dtype is neither, or the device has no float64.
    """
    try:
        where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        torch.empty(0, device=where)
    except (TypeError, RuntimeError, AssertionError) as error:  # no such name, or none on this machine
        raise ValueError(f"device is {device!r}; expected 'auto', 'cpu', or a device that torch finds here") from error
    if where.type == "meta":
        raise ValueError(f"device is {device!r}, which holds no numbers; expected 'auto', 'cpu' or another")
    if dtype is None:
        dtype = torch.float32 if where.type == "mps" else torch.float64
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype!r}; expected torch.float64 or torch.float32")
    if where.type == "mps" and dtype == torch.float64:
        raise ValueError("dtype is torch.float64 but the MPS device has none; use dtype=torch.float32 or device='cpu'")
    return where, dtype
