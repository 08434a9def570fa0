"""The edge of stability: the sharpness at which an update rule's steps along v₁ stop shrinking."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samviz.checks import check_array


def edge_of_stability(lr: ArrayLike, rho: ArrayLike, grad_norm: ArrayLike) -> NDArray[np.float64]:
    """The largest λ₁ at which SAM is stable; 2/η for gradient descent.

    On SAM's 2-cycle (Theorem 4.8) the gradient has the length that puts this edge exactly at λ₁.

    Args:
        lr: learning rate η > 0; any shape, broadcast with the others.
        rho: perturbation radius ρ ≥ 0.
        grad_norm: ‖∇L‖ ≥ 0; NaN, where it was not measured, stays NaN.

    Returns:
        ‖∇L‖/(2ρ)·(√(1 + 8ρ/(η‖∇L‖)) − 1), written so that ρ = 0 is no exception.

    Raises:
        ValueError: when a number is out of range.
        TypeError: when they are no real numbers.

    Source: Agarwala & Dauphin, SAM operates far from home (2023); Cohen et al. (2021) for ρ = 0.

    >>> edge_of_stability(0.1, 0.0, 1.0)
    array(20.)
    """
    given = (("lr", lr, "learning rates above 0"), ("rho", rho, "radii of 0 or more"))
    lr, rho = (check_array(name, value, expected).astype(float) for name, value, expected in given)
    length = check_array("grad_norm", grad_norm, "lengths of 0 or more", finite=False).astype(float)
    for (name, value, expected), low in zip(given, (lr <= 0, rho < 0)):
        if low.any():
            raise ValueError(f"{name} is {value!r:.200}; expected {expected}")
    if (length < 0).any():
        raise ValueError(f"grad_norm is {grad_norm!r:.200}; expected lengths of 0 or more")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        reach = np.where(rho == 0, 0.0, rho / length)
        return np.asarray(4 / lr / (np.sqrt(1 + 8 * reach / lr) + 1))
