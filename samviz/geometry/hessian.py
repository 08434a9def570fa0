"""The dense Hessian at a point, and the checks of that point."""

from __future__ import annotations

import torch
from torch import Tensor

from samviz.checks import check_shape, check_type
from samviz.problems import Problem

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
        raise not_finite(problem)
    return products


def not_finite(problem: Problem) -> ValueError:
    """Return the error for a Hessian that is not finite."""
    return ValueError(f"the Hessian of {problem.name} at x has NaN or infinity; pass an x where it is finite")


def diagonalize(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Return all eigenvalues (runs, dim), largest first, and the eigenvectors (runs, dim, dim) as rows."""
    double = hessian if hessian.device.type == "mps" else hessian.double()  # in single precision it may not converge
    values, vectors = (part.to(hessian) for part in torch.linalg.eigh(double))
    return values.flip(1), vectors.flip(2).mT
