"""Checks of what geometry is given: a problem, a point, samples; and of the Hessian found there."""

from __future__ import annotations

import torch
from torch import Tensor

from samviz.checks import check_bool, check_float, check_type
from samviz.problems import Problem


def located(problem: Problem, x: Tensor, name: str = "x") -> tuple[Problem, Tensor]:
    """The problem on x's device and in x's precision, and x, called by its name, as checked (runs, dim)."""
    check_type("problem", problem, Problem, "one from samviz.problems")
    if isinstance(x, Tensor) and x.is_floating_point() and not x.is_meta:
        dtype = x.dtype if x.device.type != "cpu" or x.dtype == torch.float64 else problem.dtype
        problem = problem.to(x.device, dtype)
    return problem, problem.points(x, name)


def point(problem: Problem, x: Tensor) -> tuple[Problem, Tensor]:
    """The problem where x is, and x as the one point (dim,) that it should be."""
    problem, points = located(problem, x)
    if len(points) > 1:
        raise ValueError(f"x has shape {tuple(points.shape)}; expected one point, ({problem.dim},), such as x[0]")
    return problem, points[0]


def finite(problem: Problem, products: Tensor) -> Tensor:
    """A Hessian, or its products with vectors, if all its numbers are finite."""
    if not bool(products.isfinite().all()):
        raise nowhere(problem)
    return products


def nowhere(problem: Problem) -> ValueError:
    """What to say of a Hessian that is not finite."""
    return ValueError(f"the Hessian of {problem.name} at x has NaN or infinity; pass an x where it is finite")


def check_batch(problem: Problem, batch: Tensor | None, runs: int) -> None:
    """Refuse what is no batch of the problem's samples for each run."""
    if batch is None:
        return
    expected = f"int64 indices ({runs}, b) of the samples 0 to {problem.samples - 1}, or None for all"
    if not isinstance(batch, Tensor) or batch.dtype != torch.int64 or batch.is_meta:
        raise TypeError(f"batch is {batch!r:.200}; expected {expected}")
    if batch.ndim != 2 or len(batch) != runs or batch.shape[1] == 0:
        raise ValueError(f"batch has shape {tuple(batch.shape)}; expected {expected}")
    if bool((batch < 0).any()) or bool((batch >= problem.samples).any()):
        raise ValueError(f"batch holds {int(batch.min())} to {int(batch.max())}; expected {expected}")


def check_samples(problem: Problem, stochastic: bool) -> None:
    """Refuse to look at single samples of a loss that has none."""
    if check_bool("stochastic", stochastic) and problem.samples == 0:
        raise ValueError(f"stochastic is True but the loss of {problem.name} is no mean over samples; use False")


def check_radius(rho: float) -> float:
    """A perturbation radius ρ > 0; above what single precision holds, ρ² would overflow in double precision."""
    most = torch.finfo(torch.float32).max
    return check_float("rho", rho, f"a perturbation radius above 0, {most:.0e} at most", lambda r: 0 < r <= most)


def check_share(rank_tol: float) -> float:
    """The share of λ₁ above which an eigenvalue counts as non-zero."""
    return check_float("rank_tol", rank_tol, "a share of λ₁ between 0 and 1", lambda share: 0 < share < 1)
