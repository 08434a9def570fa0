"""Rayleigh–Ritz in a growing subspace: what every Krylov method for eigenpairs is made of."""

from __future__ import annotations

from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.problems.problem import Operator

NEAR = 1e-5  # what is taken off a unit vector once more without changing its length


class NotFinite(ArithmeticError):
    """A product with the operator holds NaN or infinity."""


class Subspace:
    """Orthonormal rows, their products with a symmetric operator, and the operator as seen inside them.

    The small matrices live on the host in double precision: there they cost microseconds, on a GPU milliseconds.
    """

    def __init__(self, product: Operator, block: Tensor, capacity: int) -> None:
        """Start with the span of a block's rows, at the price of as many products.

        Args:
            product: the operator, (runs, m, dim) to (runs, m, dim).
            block: (runs, m, dim), m at least 1 and at most the capacity.
            capacity: rows that there is room for.
        """
        runs, _, dim = block.shape
        self.product = product
        self.rows = 0
        self._basis = block.new_empty(runs, capacity, dim)
        self._image = block.new_empty(runs, capacity, dim)
        self._inside = torch.zeros(runs, capacity, capacity, dtype=torch.float64)  # the lower triangle counts
        self._take(torch.linalg.qr(block.mT).Q.mT)

    @property
    def basis(self) -> Tensor:
        """The orthonormal rows, (runs, rows, dim)."""
        return self._basis[:, : self.rows]

    @property
    def image(self) -> Tensor:
        """Their products with the operator, (runs, rows, dim)."""
        return self._image[:, : self.rows]

    @property
    def room(self) -> int:
        """How many more rows there is room for."""
        return self._basis.shape[1] - self.rows

    def extend(self, block: Tensor) -> None:
        """Take in the span of a block's rows (runs, m, dim), at the price of m products."""
        self._take(orthonormal(block, self.basis))

    def _take(self, fresh: Tensor) -> None:
        old, new = self.rows, self.rows + fresh.shape[1]
        self._basis[:, old:new] = fresh
        self._image[:, old:new] = image = self.product(self._basis[:, old:new])
        self._inside[:, old:new, :new] = torch.bmm(image, self._basis[:, :new].mT)
        self.rows = new

    def ritz(self, count: int) -> tuple[NDArray[np.float64], Tensor, Tensor]:
        """Ritz pairs, largest first.

        Args:
            count: how many vectors, at most `rows`.

        Returns:
            All Ritz values (runs, rows); the first vectors (runs, count, dim), unit rows; and what is left of Hv − λv
            for each of them, (runs, count, dim).

        Raises:
            NotFinite: when the operator is not finite, which `eigh` may not tell.
        """
        inside = self._inside[:, : self.rows, : self.rows]
        if not isfinite(float(inside.sum())):
            raise NotFinite
        values, mixing = torch.linalg.eigh(inside)
        self._values, self._mixing = values.flip(1), mixing.flip(2).mT  # coefficients as rows
        mixing = self._mixing[:, :count].to(self._basis)
        vectors = torch.bmm(mixing, self.basis)
        first = self._values[:, :count, None].to(vectors)
        return self._values.numpy(), vectors, torch.bmm(mixing, self.image).addcmul_(first, vectors, value=-1)

    def restart(self) -> None:
        """Go on from the best half of the Ritz vectors, those of the last call of `ritz`."""
        keep = self.rows // 2
        mixing = self._mixing[:, :keep].to(self._basis)
        self._basis[:, :keep], self._image[:, :keep] = mixing @ self.basis, mixing @ self.image
        self._inside[:, :keep, :keep] = torch.diag_embed(self._values[:, :keep])
        self.rows = keep


def orthonormal(block: Tensor, basis: Tensor) -> Tensor:
    """Orthonormal rows spanning what is left of the block's rows (runs, m, dim) beside an orthonormal basis."""
    inside = torch.bmm(block, basis.mT)
    while True:  # twice is enough, but for rows that hardly differed: what rounding left of them is no direction yet
        block = torch.linalg.qr(torch.baddbmm(block, inside, basis, alpha=-1).mT).Q.mT
        inside = torch.bmm(block, basis.mT)
        left = float(inside.abs().max())
        if left < NEAR:
            return torch.baddbmm(block, inside, basis, alpha=-1)
        if not isfinite(left):  # the search would never end
            raise NotFinite
