"""The engine for small problems on the CPU: gradients, Hessian-vector products and steps compiled by numba.

It knows plain arrays alone and computes what `problems` and `dynamics` compute in torch, ten to a thousand times
faster. Where numba is missing torch does the work; nobody has to choose. What was compiled is kept on disk, in
`__pycache__` or in NUMBA_CACHE_DIR, so that only a first use waits for it, and is removed when a source has changed.
Where that folder cannot be written to, numba keeps it in the user's cache folder, or here in a temporary one.
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
    _drop_stale(Path(__file__).parent, _cache_folder())
    return True


def _drop_stale(sources: Path, cache: Path) -> None:
    """Remove compiled code older than any source: numba looks at a kernel's own file, not at those it calls into."""
    newest = max(source.stat().st_mtime for source in sources.glob("*.py"))
    for index in cache.glob("*.nbi"):
        if index.stat().st_mtime < newest:
            with suppress(OSError):  # in a folder that cannot be written to, where numba reads nothing either
                index.unlink()


def _cache_folder() -> Path:
    """Return where numba keeps this folder's compiled code: a temporary folder if it can write to no other."""
    caching = import_module("numba.core.caching")
    try:
        kept = caching.FunctionCache(_drop_stale)  # of any function in this folder
    except RuntimeError:
        _temporary.append(TemporaryDirectory(prefix="samviz-", ignore_cleanup_errors=True))
        import_module("numba").config.CACHE_DIR = _temporary[0].name
        kept = caching.FunctionCache(_drop_stale)
    return Path(kept.cache_path)


_temporary: list[TemporaryDirectory[str]] = []  # kept until the process ends
