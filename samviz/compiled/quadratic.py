"""The quadratic ½ xᵀAx; its `whole` is (n, dim), its `numbers` the mean matrix and then the n of the samples."""

from __future__ import annotations

from numba import cfunc, njit

from samviz.compiled.arrays import Floats, Whole
from samviz.compiled.signatures import GRADIENT, PRODUCT


@njit(cache=True, fastmath={"contract", "reassoc"})
def _add(matrix: Floats, v: Floats, factor: float, out: Floats) -> None:
    for i in range(len(v)):
        total = 0.0
        for j in range(len(v)):
            total += matrix[i * len(v) + j] * v[j]
        out[i] += factor * total


@njit(cache=True)
def _times(numbers: Floats, batch: Whole, v: Floats, out: Floats) -> None:
    """Av with the mean of the batch's matrices; of all when it is empty."""
    for i in range(len(v)):
        out[i] = 0
    if len(batch) == 0:
        _add(numbers, v, 1.0, out)
    for sample in batch:
        _add(numbers[(sample + 1) * len(v) ** 2 :], v, 1.0 / len(batch), out)


@cfunc(GRADIENT, cache=True)
def gradient(numbers: Floats, whole: Whole, x: Floats, batch: Whole, noise: Floats, out: Floats, work: Floats) -> float:
    """½ xᵀAx, and Ax in out (dim,)."""
    _times(numbers, batch, x, out)
    value = 0.0
    for i in range(len(x)):
        value += x[i] * out[i] / 2
    return value


@cfunc(PRODUCT, cache=True)
def product(numbers: Floats, whole: Whole, x: Floats, batch: Whole, v: Floats, out: Floats) -> None:
    """Av, in out (dim,)."""
    _times(numbers, batch, v, out)
