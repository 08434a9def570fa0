"""Quadratics: the setting of Theorem 4.8, where everything has a closed form."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.checks import check_array, seeded_generator
from samviz.kernels import Kernels
from samviz.problems.problem import Coordinates, Operator, Problem


class Quadratic(Problem):
    """L(x) = ½ xᵀAx with a symmetric matrix A, or the mean of several of them, in closed form."""

    closed = True

    def __init__(self, matrices: Tensor) -> None:
        """Use symmetric float64 matrices (n, dim, dim), which `quadratic` checks; a single one is not a sample."""
        self.name = "quadratic" if len(matrices) == 1 else f"mean of {len(matrices)} quadratics"
        self.dim = matrices.shape[1]
        self.samples = len(matrices) if len(matrices) > 1 else 0
        self.matrices = matrices  # (n, dim, dim)
        self.matrix = matrices.mean(0)  # (dim, dim)
        self.filters = torch.zeros(self.dim, dtype=torch.int64)
        self.axes = torch.linalg.eigh(self.matrix).eigenvectors.flip(1)  # columns, top eigenvector first

    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return ½ xᵀAx, (runs,)."""
        self._check(x, batch)
        return (self._times(x[:, None], batch)[:, 0] * x).sum(1) / 2

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        gradient = self._times(x[:, None], batch)[:, 0]
        return (gradient * x).sum(1) / 2, gradient

    def _hvp(self, x: Tensor, batch: Tensor | None) -> Operator:
        return lambda v: self._times(v, batch)

    def hessian(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return A for every run, (runs, dim, dim)."""
        self._check(x, batch)
        return self.matrix.expand(len(x), -1, -1) if batch is None else self.matrices[batch].mean(1)

    def _kernels(self) -> Kernels:
        from samviz.kernels.closed_forms import quadratic_gradient, quadratic_product

        floats = torch.cat((self.matrix[None], self.matrices)).flatten().numpy()
        return Kernels(quadratic_gradient(), quadratic_product, floats, np.zeros(0, dtype=np.int64), 0)

    def _times(self, v: Tensor, batch: Tensor | None) -> Tensor:
        """Multiply rows (runs, k, dim) by A, or by the mean of the batch's matrices."""
        return v @ (self.matrix if batch is None else self.matrices[batch].mean(1))

    def initial(self, seed: int = 0) -> Tensor:
        """Return a standard Gaussian point, (dim,)."""
        return torch.randn(self.dim, dtype=torch.float64, generator=seeded_generator(seed)).to(self.device, self.dtype)

    def picture(self, x: Tensor) -> Coordinates:
        """Return the distance of the point from the minimum along each eigenvector."""
        self._check(x)
        return Coordinates(np.abs((x[0] @ self.axes).cpu().numpy()))


def quadratic(spectrum: ArrayLike | Tensor) -> Quadratic:
    """Return the quadratic ½ xᵀAx, or the mean of n of them, each a sample.

    Args:
        spectrum: eigenvalues (dim,) of a diagonal A, a symmetric matrix (dim, dim), or n ≥ 2 of those (n, dim, dim)
            from which batches are drawn; finite.

    Returns:
        The problem, float64 on the CPU.

    Raises:
        ValueError: when the shape does not fit, a number is not finite or a matrix is not symmetric.
        TypeError: when the numbers are not real.

    Source: Theorem 4.8; Example 5.8 for several.

    >>> import torch
    >>> quadratic([3.0, 1.0]).loss(torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    tensor([2.], dtype=torch.float64)
    """
    expected = "finite real numbers, eigenvalues (dim,), or matrices (dim, dim) or (n, dim, dim)"
    array = check_array("spectrum", spectrum, expected)
    if array.ndim not in (1, 2, 3) or array.size == 0 or (array.ndim > 1 and array.shape[-2] != array.shape[-1]):
        raise ValueError(f"spectrum has shape {array.shape}; expected {expected}")
    values = torch.from_numpy(np.array(array, dtype=np.float64))  # a copy: the problem owns its numbers
    if values.ndim == 1:
        values = torch.diag(values)
    if bool((values - values.mT).abs().max() > 1e-5 * values.abs().max()):
        raise ValueError("spectrum is a matrix that is not symmetric; pass (A + Aᵀ)/2 if that is what you mean")
    matrices = (values + values.mT) / 2
    return Quadratic(matrices if matrices.ndim == 3 else matrices[None])
