"""The engine for small problems on the CPU: gradients, Hessian-vector products and steps compiled by numba.

It knows plain arrays alone and computes what `problems` and `dynamics` compute in torch, ten to a thousand times
faster. Where numba is missing torch does the work; nobody has to choose. What was compiled is kept on disk, in
`__pycache__` or in NUMBA_CACHE_DIR, so that only a first use waits for it, and is removed when a source has changed.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path


@cache
def available() -> bool:
    """Whether numba is there and can be loaded."""
    try:
        import_module("numba")
    except Exception:  # a numba too old for the NumPy beside it raises what it likes: `samviz doctor` shows it
        return False
    cache = import_module("numba.core.caching").FunctionCache(_drop_stale)  # of any function in this folder
    _drop_stale(Path(__file__).parent, Path(cache.cache_path))
    return True


def _drop_stale(sources: Path, cache: Path) -> None:
    """Remove compiled code older than any source: numba looks at a kernel's own file, not at those it calls into."""
    newest = max(source.stat().st_mtime for source in sources.glob("*.py"))
    for index in cache.glob("*.nbi"):
        if index.stat().st_mtime < newest:
            index.unlink(missing_ok=True)
