"""The Hessian at a point: its trace, the normal space of the manifold of minimizers, and its derivative."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samviz.checks import check_float, check_int, check_tensor, check_type, seeded_generator
from samviz.problems import Problem
from samviz.problems.device import one_thread

DENSE = 500  # parameters up to which the dense Hessian is as fast as a few products
RANK_TOL = 1e-6  # an eigenvalue above this share of λ₁ counts as non-zero


def at_point(problem: Problem, x: Tensor, name: str = "x") -> tuple[Problem, Tensor]:
    """Return the problem on x's device and in its precision, and x as (runs, dim); check both."""
    check_type("problem", problem, Problem, "one from samviz.problems")
    if isinstance(x, Tensor) and x.is_floating_point() and not x.is_meta:
        dtype = x.dtype if x.device.type != "cpu" or x.dtype == torch.float64 else problem.dtype
        problem = problem.to(x.device, dtype)
    return problem, problem.points(x, name)


def check_finite(problem: Problem, products: Tensor) -> Tensor:
    """Return a Hessian, or its products with vectors, if all numbers are finite."""
    if not bool(products.isfinite().all()):
        raise ValueError(f"the Hessian of {problem.name} at x has NaN or infinity; pass an x where it is finite")
    return products


def diagonalize(problem: Problem, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the Hessian (runs, dim, dim), its eigenvalues (runs, dim), largest first, and its eigenvectors as rows."""
    hessian = check_finite(problem, problem.hessian(x, batch))
    double = hessian if hessian.device.type == "mps" else hessian.double()  # in single precision it may not converge
    values, vectors = (part.to(hessian) for part in torch.linalg.eigh(double))
    return hessian, values.flip(1), vectors.flip(2).mT


@dataclass(frozen=True)
class Trace:
    """The trace of each run's Hessian, with its evidence."""

    value: Tensor  # (runs,)
    standard_error: Tensor  # (runs,), 0 when exact
    products: int  # Hessian-vector products spent on each run
    exact: bool


def hessian_trace(
    problem: Problem,
    x: Tensor,
    *,
    products: int | None = None,
    subspace: Tensor | None = None,
    known: Tensor | None = None,
    seed: int = 0,
) -> Trace:
    """Return the trace of the full-batch Hessian.

    Hutch++: the part of the trace inside a subspace is exact, and the rest is estimated with random signs. A third of
    the products finds the subspace, unless it is given; the top eigenvectors are a good choice.

    Args:
        problem: whose Hessian.
        x: (dim,) or (runs, dim), where the Hessian is taken.
        products: Hessian-vector products to spend on each run, at least 6; None is exact up to 500 parameters
            and 96 products above.
        subspace: (runs, m, dim), orthonormal rows whose part is exact and takes m products; None finds them.
        known: (runs, j), vᵀHv of the first j rows v of the subspace where it is known, as for Ritz vectors: these rows
            take no products.
        seed: of the random signs; the same seed gives errors that vary smoothly along a run.

    Raises:
        ValueError: when products is below 6, or x does not fit the problem.

    Source: Meyer, Musco, Musco, Woodruff, Hutch++ (SOSA 2021).

    >>> from samviz.problems import quadratic
    >>> hessian_trace(quadratic([1.0, 3.0]), torch.zeros(2)).value
    tensor([4.], dtype=torch.float64)
    """
    problem, x = at_point(problem, x)
    generator = seeded_generator(seed)
    exact = products is None and problem.dim <= DENSE
    total = check_int("products", 96 if products is None else products, "at least 6, for a standard error", 6)
    if subspace is not None:
        check_tensor("subspace", subspace, (len(x), -1, problem.dim))
    if known is not None:
        check_tensor("known", known, (len(x), -1))
    with one_thread(problem):
        if exact:
            value = check_finite(problem, problem.hessian(x)).diagonal(dim1=1, dim2=2).sum(1)
            return Trace(value, torch.zeros_like(value), problem.dim, True)
        hvp = problem.hvp(x)

        def signs(rows: int) -> Tensor:
            draw = torch.randint(0, 2, (rows, problem.dim), generator=generator) * 2 - 1
            return draw.to(x).expand(len(x), -1, -1)

        spent = total // 3 if subspace is None else 0
        subspace = torch.linalg.qr(hvp(signs(spent)).mT).Q.mT if subspace is None else subspace.to(x)
        known = x[:, :0] if known is None else known.to(x)
        rest = subspace[:, known.shape[1] :]
        inside = known.sum(1) + (rest * hvp(rest)).sum((1, 2))
        spent += rest.shape[1]
        count = max(total - spent, 2)  # at least two, for a standard error
        probes = signs(count)
        probes = probes - (probes @ subspace.mT) @ subspace
        outside = (probes * hvp(probes)).sum(2)  # (runs, count), independent estimates of the rest
        return Trace(inside + outside.mean(1), outside.std(1) / count**0.5, spent + count, False)


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
        _, values, vectors = diagonalize(problem, x)
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
