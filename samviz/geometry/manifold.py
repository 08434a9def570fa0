"""The manifold Γ of minimizers at one of its points: normal and tangent space, and the change of curvature."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samviz.checks import check_float, check_tensor
from samviz.geometry.hessian import at_point, check_finite, diagonalize
from samviz.problems import Problem
from samviz.problems.device import one_thread

RANK_TOL = 1e-6  # an eigenvalue above this share of λ₁ counts as non-zero


@dataclass(frozen=True)
class NormalSpace:
    """The Hessian's spectrum on Γ, split into M non-zero eigenvalues and D − M zeros."""

    values: Tensor  # (runs, dim), eigenvalues, largest first
    vectors: Tensor  # (runs, dim, dim), unit rows; the first M span the normal space
    rank: Tensor  # int64 (runs,), M

    @property
    def inside(self) -> Tensor:
        """Which eigenvectors span the normal space, bool (runs, dim)."""
        return torch.arange(self.values.shape[1], device=self.values.device) < self.rank[:, None]

    @property
    def smallest(self) -> Tensor:
        """λ_M, the smallest non-zero eigenvalue, (runs,); NaN where all are zero."""
        last = self.values.gather(1, (self.rank - 1).clamp_min(0)[:, None])[:, 0]
        return torch.where(self.rank > 0, last, torch.nan)

    @property
    def separation(self) -> Tensor:
        """λ_M over the largest |eigenvalue| of the rest, (runs,): large where the rank is certain."""
        return self.smallest / self.values.masked_fill(self.inside, 0.0).abs().amax(1)

    def tangent(self, v: Tensor) -> Tensor:
        """Return the part of vectors (runs, k, dim) that is tangent to Γ: ∂Φ v, by Lemma 3.5."""
        check_tensor("v", v, (len(self.values), -1, self.values.shape[1]))
        v = v.to(self.vectors)
        normal = self.vectors * self.inside[..., None]
        return v - (v @ normal.mT) @ normal


def normal_space(problem: Problem, x: Tensor, *, rank_tol: float = RANK_TOL) -> NormalSpace:
    """Return the normal space of Γ at its point x, from the dense Hessian.

    Args:
        problem: whose minimizers; D up to about a thousand, the Hessian is diagonalized.
        x: (dim,) or (runs, dim), points on Γ; off Γ the zero eigenvalues are only small.
        rank_tol: an eigenvalue is non-zero when it is above this share of λ₁.

    Returns:
        Spectrum, eigenvectors and rank M; `separation` shows how certain the rank is.

    Raises:
        ValueError: when rank_tol is not between 0 and 1, or x does not fit the problem.

    Source: Assumption 3.3 and Lemma 3.5.

    >>> from samviz.problems import valley
    >>> space = normal_space(valley(), torch.tensor([0.0, 0.0, 0.0, 0.0]))
    >>> space.rank, space.smallest
    (tensor([2]), tensor([12.], dtype=torch.float64))
    """
    rank_tol = check_float("rank_tol", rank_tol, "a share of λ₁ between 0 and 1", lambda share: 0 < share < 1)
    problem, x = at_point(problem, x)
    with one_thread(problem):
        values, vectors = diagonalize(check_finite(problem, problem.hessian(x)))
    rank = (values > rank_tol * values[:, :1].clamp_min(0)).sum(1)
    return NormalSpace(values, vectors, rank)


def third_derivative(problem: Problem, x: Tensor, v: Tensor) -> Tensor:
    """Return ∇³L(x)[v, v], the gradient of the curvature vᵀ∇²L(x)v along fixed vectors v, (runs, k, dim).

    For a simple eigenvalue with unit eigenvector v it is ∇λ (first-order perturbation theory).

    Args:
        problem: whose loss; three times differentiable by autograd.
        x: (dim,) or (runs, dim), where.
        v: (runs, k, dim).

    Raises:
        ValueError: when the shapes do not fit.

    Source: Section 4, the step from the third-order term of the Taylor expansion to ∇λ₁.

    >>> from samviz.problems import valley
    >>> v = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]]).double()
    >>> third_derivative(valley(), torch.tensor([0.5, 0.5, 0.0, 0.0]), v)[0, 0]  # ∇(2F₁) = (4x₁, 24x₂, 0, 0)
    tensor([ 2., 12.,  0.,  0.], dtype=torch.float64)
    """
    problem, x = at_point(problem, x)
    check_tensor("v", v, (len(x), -1, problem.dim))
    with one_thread(problem), torch.enable_grad():
        copies = x.repeat_interleave(v.shape[1], 0).requires_grad_()
        flat = v.reshape(-1, problem.dim).to(copies)
        (change,) = torch.autograd.grad(problem.loss(copies).sum(), copies, create_graph=True)
        for _ in range(2):  # twice along v
            if not change.requires_grad:  # a quadratic's curvature does not change
                return torch.zeros_like(flat).view(v.shape)
            (change,) = torch.autograd.grad((change * flat).sum(), copies, create_graph=True, materialize_grads=True)
    return change.detach().view(v.shape)
