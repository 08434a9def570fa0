"""The Hessian at a point: dense when small; its trace, by Hutch++ when large; and the checks of the point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from samviz.checks import check_int, check_shape, check_tensor, check_type, seeded_generator
from samviz.problems import Problem
from samviz.problems.device import one_thread

DENSE = 500  # parameters up to which the whole Hessian is as fast as a few products


def at_point(problem: Problem, x: Tensor, batch: Tensor | None = None, name: str = "x") -> tuple[Problem, Tensor]:
    """Return the problem on x's device and in its precision, and x as (runs, dim); check both and the batch."""
    check_type("problem", problem, Problem, "one from samviz.problems")
    if isinstance(x, Tensor) and x.is_floating_point() and not x.is_meta:
        dtype = x.dtype if x.device.type != "cpu" or x.dtype == torch.float64 else problem.dtype
        problem = problem.to(x.device, dtype)
    x = problem.points(x, name)
    if batch is not None:
        check_shape("batch", batch, (len(x), "b"), expected := f"indices of the {problem.samples} samples, or None")
        if batch.dtype != torch.int64 or batch.is_meta:
            raise TypeError(f"batch holds numbers of {batch.dtype}; expected int64 {expected}")
        if bool((batch < 0).any()) or bool((batch >= problem.samples).any()):
            raise ValueError(f"batch holds {int(batch.min())} to {int(batch.max())}; expected {expected}")
    return problem, x


def check_finite(problem: Problem, products: Tensor) -> Tensor:
    """Return a Hessian, or its products with vectors, if all numbers are finite."""
    if not bool(products.isfinite().all()):
        raise ValueError(f"the Hessian of {problem.name} at x has NaN or infinity; pass an x where it is finite")
    return products


def diagonalize(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Return all eigenvalues (runs, dim), largest first, and the eigenvectors (runs, dim, dim) as rows."""
    double = hessian if hessian.device.type == "mps" else hessian.double()  # in single precision it may not converge
    values, vectors = (part.to(hessian) for part in torch.linalg.eigh(double))
    return values.flip(1), vectors.flip(2).mT


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
