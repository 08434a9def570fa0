"""Matrix products on flat arrays, straight to the BLAS that numba itself calls: no views, no copies, no temporaries."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.np.linalg import ensure_blas

from samviz.compiled.arrays import Floats

ensure_blas()  # SciPy's

_POINTER: types.Type = types.CPointer(types.float64)
_SIZES = types.intp, types.intp, types.intp
_gemm: Any = types.ExternalFunction(
    "numba_xxgemm",
    types.intc(
        *(types.char, types.char, types.char, *_SIZES, _POINTER, _POINTER, types.intp),
        *(_POINTER, types.intp, _POINTER, _POINTER, types.intp),
    ),
)
N, T, D = ord("n"), ord("t"), ord("d")
_FACTORS = np.array([0.0, 1.0])


@njit(cache=True)
def multiply(
    m: int, n: int, k: int, a: Floats, a_flipped: bool, b: Floats, b_flipped: bool, c: Floats, add: bool
) -> None:
    """C ← ab, or c + ab; matrices lie row by row at the start of flat arrays.

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
    # BLAS counts by columns: it is given bᵀaᵀ = cᵀ
    _gemm(
        D,
        T if b_flipped else N,
        T if a_flipped else N,
        n,
        m,
        k,
        _FACTORS[1:].ctypes,
        b.ctypes,
        k if b_flipped else n,
        a.ctypes,
        m if a_flipped else k,
        _FACTORS[1 if add else 0 :].ctypes,
        c.ctypes,
        n,
    )
