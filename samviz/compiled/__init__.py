"""The engine for small problems on the CPU: gradients, Hessian-vector products and steps compiled by numba.

It knows plain arrays alone and computes what `problems` and `dynamics` compute in torch, ten to a thousand times
faster. Where numba is missing torch does the work; nobody has to choose. What was compiled is kept in `__pycache__`,
so that only a first use waits for it, and is thrown away when a source has changed. Where that folder cannot be
written to, numba keeps it in the user's cache folder, or here in a temporary one.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory


@cache
def available() -> bool:
    """Whether numba is there and can be loaded."""
    try:
        import_module("numba")
    except Exception:  # a numba too old for the NumPy beside it raises what it likes: `samviz doctor` shows it
        return False
    _drop_stale(Path(__file__).parent)
    _find_cache()
    return True


def _drop_stale(folder: Path) -> None:
    """Remove compiled code older than any source: numba looks at a kernel's own file, not at those it calls into."""
    newest = max(source.stat().st_mtime for source in folder.glob("*.py"))
    for index in folder.glob("__pycache__/*.nbi"):
        if index.stat().st_mtime < newest:
            with suppress(OSError):  # in a folder that cannot be written to, where numba reads nothing either
                index.unlink()


def _find_cache() -> None:
    """Name a temporary folder for compiled code where numba can write to no other, and would refuse to compile."""
    import numba

    try:
        numba.njit(cache=True)(_drop_stale)  # compiles nothing, but looks for a folder
    except RuntimeError:
        _temporary.append(TemporaryDirectory(prefix="samviz-", ignore_cleanup_errors=True))
        numba.config.CACHE_DIR = _temporary[0].name  # type: ignore[attr-defined]


_temporary: list[TemporaryDirectory[str]] = []  # kept until the process ends
