"""The top eigenpairs of the Hessian: dense when small, a warm-started block Krylov method otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samviz.problems import Problem
from samviz.problems.arguments import whole
from samviz.problems.device import one_thread
from samviz.problems.problem import Operator

DENSE = 500  # parameters up to which the whole Hessian is as fast as a few products
GUARDS = 2  # extra vectors carried along: they catch an eigenvalue that overtakes from below
NOISE = 0.01  # a warm start is shaken by this much, or it never sees a direction that it lacks
BLOCKS = 8  # blocks a basis may grow to before it is restarted from its best vectors


@dataclass(frozen=True)
class Eigenpairs:
    """The k largest (algebraic, not by magnitude) eigenvalues of each run's Hessian, with their evidence.

    The angle between a computed and a true eigenvector is at most about residual / gap.
    """

    values: Tensor  # (runs, k), largest first
    vectors: Tensor  # (runs, k, dim), unit rows
    residuals: Tensor  # (runs, k), ‖Hv − λv‖
    gaps: Tensor  # (runs, k), distance from λ to its nearest neighbour
    converged: Tensor  # bool (runs, k)
    products: int  # Hessian-vector products spent on each run
    exact: bool  # True when the dense Hessian was diagonalized
    start: Tensor  # (runs, k + guards, dim), where the next call can start warm


def top_eigenpairs(
    problem: Problem,
    x: Tensor,
    k: int = 1,
    *,
    batch: Tensor | None = None,
    start: Tensor | None = None,
    tol: float | None = None,
    max_products: int = 2000,
    seed: int = 0,
) -> Eigenpairs:
    """The k largest eigenvalues of the Hessian and their eigenvectors.

    Up to 500 parameters the Hessian is diagonalized densely. Above, a block Krylov method with full
    reorthogonalization stops when every residual is at most tol·max(gap, λ₁/10): it looks at the
    residual against the eigengap, never at how little a Rayleigh quotient changes.

    Args:
        problem: whose Hessian.
        x: (dim,) or (runs, dim), where.
        k: how many eigenpairs, 1 to dim.
        batch: int64 (runs, b), the samples whose mean loss is meant; None for all.
        start: (runs, m, dim), `Eigenpairs.start` of a nearby point; None starts from random vectors.
        tol: relative tolerance; None is 1e-6 in float64 and 1e-3 in float32.
        max_products: Hessian-vector products per run after which the method gives up (`converged` says so).
        seed: int, of the random vectors.

    Returns:
        The eigenpairs with residuals, gaps and `converged`.

    Raises:
        ValueError: when k is not between 1 and dim, or x does not fit the problem.

    Source: Knyazev (2001) and Saad, Numerical Methods for Large Eigenvalue Problems, ch. 6.

    >>> from samviz.problems import quadratic
    >>> top_eigenpairs(quadratic([1.0, 3.0, -5.0]), torch.zeros(3), k=2).values
    tensor([[3., 1.]], dtype=torch.float64)
    """
    problem, x = located(problem, x)
    whole("k", k, f"1 to {problem.dim}, the number of parameters of {problem.name}", 1, problem.dim)
    check("start", start, (len(x), -1, problem.dim))
    if tol is not None and not tol > 0:
        raise ValueError(f"tol is {tol}; expected a positive number")
    if tol is None:
        tol = 1e-6 if x.dtype == torch.float64 else 1e-3
    with one_thread(problem):
        if problem.dim <= DENSE:
            return _dense(problem.hessian(x, batch), k, tol)
        return _krylov(problem.hvp(x, batch), x, k, start, tol, max_products, seed)


def located(problem: Problem, x: Tensor) -> tuple[Problem, Tensor]:
    """The problem on x's device and in x's precision, and x as checked (runs, dim)."""
    if isinstance(x, Tensor) and x.is_floating_point():
        dtype = x.dtype if x.device.type != "cpu" or x.dtype == torch.float64 else problem.dtype
        problem = problem.to(x.device, dtype)
    return problem, problem.points(x)


def check(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Say so when a tensor that was given has another shape; −1 is any length."""
    if tensor is not None and (tensor.ndim != len(shape) or any(e not in (-1, n) for n, e in zip(tensor.shape, shape))):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; expected {shape}".replace("-1", "m"))


def check_samples(problem: Problem, stochastic: bool) -> None:
    """Say so when single samples are asked of a loss that has none."""
    if stochastic and problem.samples == 0:
        raise ValueError(f"stochastic is True but the loss of {problem.name} is no mean over samples; use False")


def _dense(hessian: Tensor, k: int, tol: float) -> Eigenpairs:
    spectrum, basis = torch.linalg.eigh(hessian)
    spectrum, basis = spectrum.flip(1), basis.flip(2).mT  # largest first, vectors as rows
    values, vectors = spectrum[:, :k], basis[:, :k]
    residuals = (vectors @ hessian - values[..., None] * vectors).norm(dim=2)
    gaps = _gaps(spectrum, k)
    return Eigenpairs(
        values, vectors, residuals, gaps, residuals <= _allowed(gaps, spectrum, tol), hessian.shape[1], True, vectors
    )


def _krylov(
    product: Operator, x: Tensor, k: int, start: Tensor | None, tol: float, max_products: int, seed: int
) -> Eigenpairs:
    runs, dim = x.shape
    width = min(k + GUARDS, dim)
    generator = torch.Generator().manual_seed(seed)

    def noise(rows: int) -> Tensor:  # unit rows, the same for every run: a run does not depend on its company
        return torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64)).to(x)

    block = noise(width).expand(runs, -1, -1)
    if start is not None:
        block = torch.cat((start[:, :width].to(x), block[:, min(width, start.shape[1]) :]), 1) + NOISE * block
    looks = 1 if start is None or tol <= 1e-3 else 3  # one beyond the start; until a loose tol has felt the shaking
    basis = _orthonormal(block, None)  # (runs, m, dim)
    image = product(basis)  # its rows times H
    spent = width
    while True:
        small = basis @ image.mT  # (runs, m, m)
        ritz, mixing = torch.linalg.eigh((small + small.mT) / 2)
        ritz, mixing = ritz.flip(1), mixing.flip(2).mT  # largest first, coefficients as rows
        vectors, images = mixing[:, :width] @ basis, mixing[:, :width] @ image
        remainder = images - ritz[:, :width, None] * vectors  # (runs, width, dim)
        residuals = remainder.norm(dim=2)
        gaps = _gaps(ritz, k)
        converged = residuals[:, :k] <= _allowed(gaps, ritz, tol)
        done = bool(converged.all()) and spent > looks * width
        room = min(width, dim - basis.shape[1])
        if done or spent + room > max_products or room == 0:
            return Eigenpairs(
                ritz[:, :k], vectors[:, :k], residuals[:, :k], gaps, converged, spent, False, vectors[:, :width]
            )
        if basis.shape[1] + width > BLOCKS * width:
            keep = mixing[:, : 2 * width]
            basis, image = keep @ basis, keep @ image
        scale = residuals.clamp_min(torch.finfo(x.dtype).tiny)[..., None]
        fresh = _orthonormal((remainder / scale + 1e-10 * noise(width))[:, :room], basis)  # noise: it may be 0
        basis, image = torch.cat((basis, fresh), 1), torch.cat((image, product(fresh)), 1)
        spent += room


def _orthonormal(block: Tensor, basis: Tensor | None) -> Tensor:
    """Orthonormal rows spanning the block's rows, orthogonal to the basis; twice is enough."""
    for _ in range(2):
        if basis is not None:
            block = block - (block @ basis.mT) @ basis
        block = torch.linalg.qr(block.mT).Q.mT
    return block


def _gaps(spectrum: Tensor, k: int) -> Tensor:
    """Distance of each of the first k of a descending spectrum (runs, m) to its nearest neighbour."""
    if spectrum.shape[1] == 1:
        return torch.full_like(spectrum, torch.inf)
    steps = spectrum[:, :-1] - spectrum[:, 1:]  # (runs, m − 1)
    edge = torch.full_like(steps[:, :1], torch.inf)
    return torch.minimum(torch.cat((edge, steps), 1), torch.cat((steps, edge), 1))[:, :k]


def _allowed(gaps: Tensor, spectrum: Tensor, tol: float) -> Tensor:
    """The largest residual (runs, k) that counts as converged."""
    top, size = spectrum[:, :1].abs(), spectrum.abs().amax(1, keepdim=True)
    rounding = 100 * torch.finfo(gaps.dtype).eps * size  # of any residual
    return torch.maximum(tol * torch.maximum(gaps.minimum(top), top / 10), rounding)
