"""Loss, gradient and Hessian-vector product of the built-in problems on plain arrays, compiled by numba for the CPU.

They compute what `problems` and `dynamics` compute in torch, ten to a thousand times faster. Where numba is missing,
torch is used. Compiled code is cached on disk, in `__pycache__` or in NUMBA_CACHE_DIR, so that only the first use
compiles, and it is removed when a source has changed. If that folder is read-only, numba uses the user's cache folder,
and `available` chooses a temporary folder where even that is impossible.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Kernel = Callable[..., Any]  # a function pointer of one of the signatures in `samviz.kernels.primitives`

ACTIVATION_KINDS = ("identity", "tanh", "relu", "softplus", "sigmoid")  # kernels know them by their index
LOSS_KINDS = ("mse", "cross_entropy")  # likewise


class Kernels(NamedTuple):
    """A problem as function pointers and flat arrays."""

    gradient: Kernel
    product: Callable[[], Kernel]  # returns the kernel of Hessian-vector products, which is compiled when first called
    floats: Floats
    ints: Ints
    workspace: int  # length of the workspace array that the gradient needs


@cache
def available() -> bool:
    """Return whether numba is installed and can be imported."""
    try:
        import_module("numba")
    except Exception:  # a numba too old for the installed NumPy raises various errors; `samviz doctor` shows them
        return False
    drop_stale(_cache_folder)
    return True


def drop_stale(function: Any, *called: FunctionType) -> None:
    """Remove cached code of the function's folder older than a kernel or a called function: numba checks one file."""
    sources = [*Path(__file__).parent.glob("*.py"), *(Path(f.__code__.co_filename) for f in called)]
    newest = max(source.stat().st_mtime for source in sources)
    for index in _cache_folder(function).glob("*.nbi"):
        with suppress(OSError):  # another process was faster, or the folder is read-only: numba reads no stale code
            if index.stat().st_mtime < newest:
                index.unlink()


def _cache_folder(function: Any) -> Path:
    """Return where numba caches code of the function's folder: a temporary folder if no other is writable."""
    caching = import_module("numba.core.caching")
    try:
        cached = caching.FunctionCache(function)
    except RuntimeError:
        _temporary.append(TemporaryDirectory(prefix="samviz-", ignore_cleanup_errors=True))
        import_module("numba").config.CACHE_DIR = _temporary[0].name
        cached = caching.FunctionCache(function)
    return Path(cached.cache_path)


_temporary: list[TemporaryDirectory[str]] = []  # deleted when the process ends
