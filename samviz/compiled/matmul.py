"""Matrix products on flat arrays, straight to the BLAS that numba itself calls: no views, no copies, no temporaries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.np.linalg import ensure_blas

from samviz.compiled.arrays import Floats

ensure_blas()  # SciPy's

_SIZES = types.intp, types.intp, types.intp
_MATRIX = types.voidptr, types.intp
_gemm: Any = types.ExternalFunction(
    "numba_xxgemm",
    types.intc(types.char, types.char, types.char, *_SIZES, types.voidptr, *_MATRIX, *_MATRIX, types.voidptr, *_MATRIX),
)
S, D, N, T = (ord(letter) for letter in "sdnt")
_FORMS = [
    types.void(*_SIZES, kind[::1], types.bool_, kind[::1], types.bool_, kind[::1], types.bool_)
    for kind in (types.float64, types.float32)
]


@njit(_FORMS, cache=True)
def multiply(
    m: int, n: int, k: int, a: Floats, a_flipped: bool, b: Floats, b_flipped: bool, c: Floats, add: bool
) -> None:
    """C ← ab, or c + ab; matrices lie row by row at the start of flat arrays of one precision.

    Args:
        m: rows of c.
        n: columns of c.
        k: what is summed over.
        a: (m, k), or (k, m) when flipped.
        a_flipped: whether aᵀ is meant.
        b: (k, n), or (n, k) when flipped.
        b_flipped: whether bᵀ is meant.
        c: (m, n).
        add: whether c keeps what is in it.
    """
    factors = np.empty(2, a.dtype)
    factors[0], factors[1] = 1.0, 1.0 if add else 0.0
    # BLAS counts by columns: it is given bᵀaᵀ = cᵀ
    _gemm(
        D if a.itemsize == 8 else S,
        T if b_flipped else N,
        T if a_flipped else N,
        n,
        m,
        k,
        factors.ctypes,
        b.ctypes,
        k if b_flipped else n,
        a.ctypes,
        m if a_flipped else k,
        factors[1:].ctypes,
        c.ctypes,
        n,
    )
