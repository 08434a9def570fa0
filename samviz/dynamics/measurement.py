"""All that is measured at one iterate, for a row of a run's history."""

from __future__ import annotations

import torch
from torch import Tensor

from samviz.checks import check_int
from samviz.geometry import alignment, hessian_trace, top_eigenpairs
from samviz.problems import Problem
from samviz.problems.device import one_thread

# A residual of tol·max(gap, ⅔|λ|) leaves an eigenvalue an error of residual²/gap: where the gap is wide tol²·gap, and
# never more than ⅔tol·|λ|; along runs it stays below |λ|/1000 in 99 of 100 steps. Vectors with a gap above ⅔λ are true
# to an angle of 0.01, and so is each cosine with them; where the gap is small the top eigenspace is looked at.
TRACKING = 1e-2
MOST = 10  # eigenpairs that are computed, at most, to see where the top eigenspace ends
TRACE_PRODUCTS = 24  # Hessian-vector products of a trace estimate, when the dense Hessian is too large


def measurement(
    problem: Problem, x: Tensor, k: int, *, trace: bool, start: Tensor | None, width: int
) -> tuple[dict[str, Tensor], Tensor, int]:
    """Loss, sharpness, trace and alignment at one iterate of every run.

    Args:
        problem: what is minimized.
        x: (runs, dim), the iterates.
        k: top eigenvalues to give, at most dim of them.
        trace: False leaves the trace out (NaN).
        start: (runs, m, dim), from the last measurement; None starts cold.
        width: how many eigenpairs the top eigenspace needed last time; 0 for the first.

    Returns:
        The columns by name, each (runs,) or (runs, k); and start and width for the next measurement.

    Raises:
        ValueError: when k is below 1.
    """
    k = check_int("k", k, f"1 to {problem.dim}, the number of parameters, or more", 1)
    with one_thread(problem):
        dim, shown = problem.dim, min(k, problem.dim)
        loss, gradient = problem.gradient(x)
        while True:
            pairs = top_eigenpairs(problem, x, min(max(k, width), dim), start=start, tol=TRACKING)
            start = pairs.start
            aligned = alignment(problem, x, gradient=gradient, eigenpairs=pairs)
            held = int(aligned.multiplicity.max())
            computed = pairs.values.shape[1]
            ends = held < computed or not bool(aligned.closing.any())
            if ends or computed >= min(max(k, MOST), dim):
                break
            width = min(held + 3, max(k, MOST))  # the top eigenspace goes on: look further
        width = min(width, held + 3)
        nan = torch.full_like(loss, torch.nan)
        value, error = nan, nan
        if trace:
            if pairs.exact:
                estimate = hessian_trace(problem, x)
            else:
                estimate = hessian_trace(problem, x, products=TRACE_PRODUCTS, subspace=pairs.start, known=pairs.values)
            value, error = estimate.value, estimate.standard_error
        measured = {
            "loss": loss,
            "grad_norm": gradient.norm(dim=1),
            "eigenvalues": pairs.values[:, :shown],
            "residuals": pairs.residuals[:, :shown],
            "converged": pairs.converged.all(1),
            "trace": value,
            "trace_error": error,
            **vars(aligned),  # cos_v1, cos_eigenspace, rayleigh, multiplicity, gap, closing
        }
        return measured, start, width
