"""Lanczos from single vectors, and the quadrature rule of the spectrum that a vector sees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.problems.problem import Operator

Array = NDArray[np.float64]
EXHAUSTED = 100  # roundings of the largest eigenvalue below which what is left of a vector is nothing


def lanczos(
    product: Operator, start: Tensor, beside: Tensor, steps: int, known: Tensor | None = None
) -> tuple[Tensor, Tensor, int]:
    """Lanczos from each of several vectors by itself, beside given directions.

    Every vector is orthogonalized against all before it, twice: without that, eigenvalues come back as ghosts. Where
    the space is exhausted, β is zero and α stays at its first value, within the spectrum, so that what follows gets no
    weight.

    Args:
        product: the operator, (runs, k, dim) to (runs, k, dim).
        start: (runs, k, dim), not zero.
        beside: (runs, m, dim), orthonormal rows, or rows of zeros; the operator is taken on what is left beside them.
        steps: 1 to dim − m.
        known: (runs,), the largest |eigenvalue| along the given directions, since rounding errors of the products are
            in proportion to it; None where there are no such directions.

    Returns:
        The basis (runs·k, steps, dim), the recurrence's α and the β after it (2, runs, k, steps), and the products
        spent on each run.
    """
    runs, k, dim = start.shape
    m = beside.shape[1]
    basis = start.new_zeros(runs * k, m + steps, dim)
    basis[:, :m] = beside.repeat_interleave(k, 0)
    alpha, beta = start.new_zeros(2, runs * k, steps + 1)
    size = alpha[:, 0].clone()  # of the operator, as far as it was seen; 0 for the starting vectors
    rest = start.reshape(runs * k, 1, dim)
    for step in range(steps + 1):
        old = basis[:, : m + step]
        for _ in range(2):
            rest = rest - torch.bmm(torch.bmm(rest, old.mT), old)
        length = torch.linalg.vector_norm(rest, dim=(1, 2))
        goes_on = ~(length <= EXHAUSTED * torch.finfo(rest.dtype).eps * size)  # NaN does: the caller must see it
        beta[:, step] = torch.where(goes_on, length, 0)
        if step == steps or not goes_on.any():
            alpha[:, step:] = alpha[:, :1]
            break
        fresh = basis[:, m + step] = torch.where(goes_on, 1 / length, 0)[:, None] * rest[:, 0]
        rest = product(fresh.view(runs, k, dim)).reshape(runs * k, 1, dim)
        alpha[:, step] = torch.where(goes_on, (fresh * rest[:, 0]).sum(1), alpha[:, 0])
        size = torch.stack((size, alpha[:, step].abs(), beta[:, step] * (step > 0))).amax(0)
        size = size if known is None else torch.maximum(size, known.repeat_interleave(k))
    return basis[:, m:], torch.stack((alpha[:, :-1], beta[:, 1:])).view(2, runs, k, steps), step * k


def ritz(recurrence: Array) -> tuple[Array, Array, Array]:
    """What a recurrence says of the operator.

    The squares of the first row of the mixing are the weights of Gauss's rule for the spectrum as the starting vector
    sees it, and the Ritz values its nodes: Σ wθʲ = vᵀHʲv for j < 2·steps and a unit vector v.

    Args:
        recurrence: (2, ..., steps), from `lanczos`.

    Returns:
        Ritz values (..., steps), ascending; the mixing (..., steps, steps), whose columns give the Ritz vectors in the
        basis; and the residuals ‖Hv − θv‖ (..., steps).

    Source: Golub & Meurant, Matrices, Moments and Quadrature with Applications (2010), ch. 3.
    """
    alpha, beta = recurrence
    steps = alpha.shape[-1]
    matrix = alpha[..., None] * np.eye(steps)
    matrix[..., range(1, steps), range(steps - 1)] = beta[..., :-1]  # the lower triangle counts
    values, mixing = np.linalg.eigh(matrix)
    return values, mixing, np.abs(beta[..., -1:] * mixing[..., -1, :])
