"""Where to compute: device, precision, engine and number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from samviz.problems.problem import Problem

SMALL_WORK = 50_000_000  # samples × parameters up to which one thread is used: two are far slower on a busy machine


def is_small(problem: Problem) -> bool:
    """Return whether a problem is on the CPU and so small that one thread is fastest."""
    return problem.device.type == "cpu" and problem.work <= SMALL_WORK


@contextmanager
def one_thread(problem: Problem) -> Iterator[None]:
    """Compute on one thread inside the block if the problem is small, and restore the user's setting."""
    threads = torch.get_num_threads()
    changes = threads > 1 and is_small(problem)
    if changes:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if changes:
            torch.set_num_threads(threads)


def placed(device: str | torch.device, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    """Return the torch device ("auto": CUDA if there is one) and a precision that it has (None: the highest)."""
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
