"""The top eigenpairs of the Hessian, against the three packages that compute them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import count
from statistics import median
from typing import NamedTuple

import torch
from curvlinops import HessianLinearOperator
from hessian_eigenthings import EigenResult, HessianOperator, lanczos, supervised_loss
from pyhessian import hessian
from scipy.sparse.linalg import eigsh
from torch import Tensor

from benchmarks.limits import gradients
from benchmarks.row import Measured
from benchmarks.subjects import Subject
from benchmarks.timing import Side, alternate
from samviz.geometry import top_eigenpairs
from samviz.problems import MLP

TOLERANCE = 1e-3  # of each eigenvalue, relative to λ₁
ROUNDING = 1e-8  # relative to λ₁: residuals below it are equal, for eigenvalues err by their squares


class Pairs(NamedTuple):
    """Eigenvalues (k,) and eigenvectors (k, dim), and how many products ours took."""

    values: Tensor
    vectors: Tensor
    products: int = 0


Solver = Callable[[Subject, int, int], Pairs]  # subject, k, seed


def samviz(subject: Subject, k: int, seed: int, tol: float | None) -> Pairs:
    """`top_eigenpairs`, from random vectors, to a tolerance; None is its default."""
    pairs = top_eigenpairs(subject.problem, subject.trained, k, tol=tol, seed=seed)
    return Pairs(pairs.values[0], pairs.vectors[0], pairs.products)


def pyhessian(subject: Subject, k: int, seed: int) -> Pairs:
    """Power iteration with deflation, as its defaults are."""
    torch.manual_seed(seed)
    torch.set_default_dtype(subject.trained.dtype)  # of its random vectors
    try:
        data = (subject.inputs, subject.targets)
        values, vectors = hessian(subject.at_hand, subject.criterion, data=data, cuda=False).eigenvalues(top_n=k)
    finally:
        torch.set_default_dtype(torch.float32)
    return Pairs(torch.tensor(values), torch.stack([torch.cat([part.flatten() for part in v]) for v in vectors]))


def curvlinops(subject: Subject, k: int, seed: int) -> Pairs:
    """ARPACK, through scipy, on curvlinops' Hessian, to its default tolerance, the machine's."""
    module = subject.at_hand
    operator = HessianLinearOperator(
        module,
        subject.criterion,
        list(module.parameters()),
        [(subject.inputs, subject.targets)],
        check_deterministic=False,
    ).to_scipy()
    start = torch.randn(len(subject.trained), generator=torch.Generator().manual_seed(seed)).numpy()
    values, vectors = eigsh(operator, k, which="LA", v0=start)
    return Pairs(torch.from_numpy(values), torch.from_numpy(vectors.T.copy()))


def eigenthings(subject: Subject, k: int, seed: int) -> Pairs:
    """Lanczos with full reorthogonalization, in the fewest products that meet its default tolerance."""
    found = _lanczos(subject, k, _enough(subject, k), seed)
    return Pairs(found.eigenvalues, found.eigenvectors)


def compared(
    seconds: float, subject: Callable[[], Subject], k: int, peer: Solver, tol: float | None, **rounds: int
) -> Measured:
    """Ours against a peer's, in rounds as in `alternate`; ours count as right only where their residual is no larger.

    Every call starts from other random vectors; residuals and errors are medians over the timed calls.
    """
    at = subject()
    right = at.highest[:k]
    ours = _side(at, k, partial(samviz, tol=tol))
    timed = alternate(ours, _side(at, k, peer), seconds=seconds, **{"most": 15} | rounds)
    residuals, errors = [], []
    for side in timed:
        residuals.append(median(at.residual(at.trained, pairs.values, pairs.vectors) for pairs in side.results))
        errors.append(median(float((pairs.values - right).abs().max() / right[0]) for pairs in side.results))
    equal_or_better = residuals[0] <= max(residuals[1], ROUNDING * float(right[0]))
    correct = [error <= TOLERANCE for error in errors]
    products = timed[0].results[-1].products
    work = gradients(at.problem, count=2 * products) if isinstance(at.problem, MLP) else None
    return Measured(timed[0].seconds, timed[1].seconds, correct[0] and equal_or_better, correct[1], work)


def _side(subject: Subject, k: int, solver: Solver) -> Side:
    """A solver as a side for `alternate`: one call's last eigenpairs, largest first."""
    seeds = count()

    def solve(n: int) -> Pairs:
        for _ in range(n):
            values, vectors, products = solver(subject, k, next(seeds))
        order = values.argsort(descending=True)
        return Pairs(values[order], vectors[order], products)

    return solve


def _lanczos(subject: Subject, k: int, products: int, seed: int) -> EigenResult:
    data = [(subject.inputs, subject.targets)]
    operator = HessianOperator(subject.at_hand, data, supervised_loss(subject.criterion))
    return lanczos(operator, k=k, max_iter=products, which="LA", reorthogonalize=True, seed=seed)


@cache
def _enough(subject: Subject, k: int) -> int:
    """How many products it has to be told to take: found beforehand, and not timed."""
    return next(m for m in range(k + 1, 500) if bool(_lanczos(subject, k, m, 0).converged.all()))
