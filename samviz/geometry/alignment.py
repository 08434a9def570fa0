"""Three measures of the alignment of the gradient with the top of the Hessian's spectrum."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from samviz.checks import check_float, check_tensor, check_type
from samviz.geometry.eigenpairs import Eigenpairs, top_eigenpairs
from samviz.geometry.hessian import at_point
from samviz.problems import Problem
from samviz.problems.device import one_thread

CLOSE = 0.05  # eigenvalues within 5 % of λ₁ belong to the top eigenspace


@dataclass(frozen=True)
class Alignment:
    """The alignment of a gradient with the top of the spectrum; 1 is full alignment.

    Once λ₁ meets λ₂, v₁ is no longer unique and its cosine fluctuates. The measures with the top eigenspace and by the
    Rayleigh ratio stay meaningful.
    """

    cos_v1: Tensor  # (runs,), |cos(∇L, v₁)|
    cos_eigenspace: Tensor  # (runs,), norm of the gradient direction's projection on the top eigenspace
    rayleigh: Tensor  # (runs,), gᵀHg / (|λ₁|‖g‖²), negative where the curvature along g is negative
    multiplicity: Tensor  # int64 (runs,), eigenvalues in the top eigenspace, among those computed
    gap: Tensor  # (runs,), (λ₁ − λ₂)/|λ₁|; inf for one parameter
    closing: Tensor  # bool (runs,), True when λ₂ lies in the top eigenspace


def alignment(
    problem: Problem,
    x: Tensor,
    *,
    batch: Tensor | None = None,
    gradient: Tensor | None = None,
    eigenpairs: Eigenpairs | None = None,
    close: float = CLOSE,
) -> Alignment:
    """Return the alignment of the gradient with the top eigenvector, with the top eigenspace, and by Rayleigh ratio.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), where.
        batch: int64 (runs, b), the samples of the mean loss; None for all.
        gradient: (runs, dim) or (dim,), the vector to align; None is ∇L(x).
        eigenpairs: those at x if they are known; at least two are needed to detect a closing gap. None computes three.
        close: share of λ₁ within which an eigenvalue belongs to the top eigenspace, 0 to 1.

    Returns:
        The three measures and the state of the eigengap; NaN where the gradient is zero.

    Raises:
        ValueError: when x, batch, gradient or eigenpairs do not fit the problem.

    Source: Theorem 4.5, phase II: the angle between ∇L(x(t)) and the top eigenspace is O(ρ).

    >>> from samviz.problems import quadratic
    >>> import torch
    >>> alignment(quadratic([2.0, 1.0]), torch.tensor([1.0, 0.0])).cos_v1
    tensor([1.], dtype=torch.float64)
    """
    problem, x = at_point(problem, x, batch)
    close = check_float("close", close, "a share of λ₁, 0 to 1", lambda share: 0 <= share <= 1)
    if eigenpairs is None:
        eigenpairs = top_eigenpairs(problem, x, min(3, problem.dim), batch=batch)
    else:
        check_type("eigenpairs", eigenpairs, Eigenpairs, "what top_eigenpairs gives, or None")
        check_tensor("eigenpairs.vectors", eigenpairs.vectors, (len(x), -1, problem.dim))
    if gradient is None:
        gradient = problem.gradient(x, batch)[1]
    else:
        gradient = problem.points(gradient, "gradient")
        check_tensor("gradient", gradient, tuple(x.shape))
    with one_thread(problem):
        direction = gradient / gradient.norm(dim=1, keepdim=True)  # NaN where the gradient is zero
        top = eigenpairs.values[:, :1]
        inside = eigenpairs.values >= top - close * top.abs()  # (runs, k)
        cosines = (eigenpairs.vectors @ direction[..., None])[..., 0].abs()  # (runs, k)
        curvature = (direction * problem.hvp(x, batch)(direction[:, None])[:, 0]).sum(1)
    size, gap = top[:, 0].abs(), eigenpairs.gaps[:, 0]
    return Alignment(
        cos_v1=cosines[:, 0].clamp(max=1),
        cos_eigenspace=(cosines * inside).norm(dim=1).clamp(max=1),
        rayleigh=curvature / size,
        multiplicity=inside.sum(1),
        gap=gap / size,
        closing=gap <= close * size,
    )
