"""The edge of stability: the sharpness at which an update rule's steps along v₁ stop shrinking."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def edge_of_stability(lr: ArrayLike, rho: ArrayLike, grad_norm: ArrayLike) -> NDArray[np.float64]:
    """The largest λ₁ at which SAM is stable; 2/η for gradient descent.

    On SAM's 2-cycle (Theorem 4.8) the gradient has the length that puts this edge exactly at λ₁.

    Args:
        lr: learning rate η > 0; any shape, broadcast with the others.
        rho: perturbation radius ρ ≥ 0.
        grad_norm: ‖∇L‖ > 0.

    Returns:
        ‖∇L‖/(2ρ)·(√(1 + 8ρ/(η‖∇L‖)) − 1), written so that ρ = 0 is no exception.

    Source: Agarwala & Dauphin, SAM operates far from home (2023); Cohen et al. (2021) for ρ = 0.

    >>> edge_of_stability(0.1, 0.0, 1.0)
    array(20.)
    """
    lr = np.asarray(lr, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(np.asarray(rho) == 0, 0.0, np.asarray(rho, dtype=float) / np.asarray(grad_norm, dtype=float))
        return np.asarray(4 / lr / (np.sqrt(1 + 8 * reach / lr) + 1))
