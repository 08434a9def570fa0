"""Measure loss, sharpness, trace and alignment at one iterate, for a row of a run's history."""

from __future__ import annotations

import torch
from torch import Tensor

from samviz.checks import check_int
from samviz.geometry import alignment, hessian_trace, top_eigenpairs
from samviz.problems import Problem
from samviz.problems.device import one_thread

# A residual of tol·max(gap, ⅔|λ|) bounds the error of an eigenvalue by residual²/gap: by tol²·gap if the gap is large,
# and always by ⅔tol·|λ|; along runs it stays below |λ|/1000 in 99 of 100 steps. Eigenvectors with a gap above ⅔λ have
# an angular error of at most 0.01, and so has each cosine with them; for small gaps the top eigenspace is used.
TRACKING = 1e-2
MAX_PAIRS = 10  # eigenpairs that are computed at most, to find the end of the top eigenspace
TRACE_PRODUCTS = 24  # Hessian-vector products of a trace estimate, if the dense Hessian is too large


def measurement(
    problem: Problem, x: Tensor, k: int, *, trace: bool, start: Tensor | None, width: int
) -> tuple[dict[str, Tensor], Tensor, int]:
    """Return the measured columns by name, each (runs,) or (runs, k), and `start` and `width` for the next measurement.

    `start` (runs, m, dim) are initial vectors, and `width` is the number of eigenpairs that the top eigenspace needed
    in the last measurement; None and 0 for the first. Without `trace` the trace is NaN.
    """
    k = check_int("k", k, f"1 to {problem.dim}, the number of parameters, or more", 1)
    with one_thread(problem):
        dim, shown = problem.dim, min(k, problem.dim)
        loss, gradient = problem.gradient(x)
        while True:
            pairs = top_eigenpairs(problem, x, min(max(k, width), dim), start=start, tol=TRACKING)
            start = pairs.start
            aligned = alignment(problem, x, gradient=gradient, eigenpairs=pairs)
            multiplicity = int(aligned.multiplicity.max())
            computed = pairs.values.shape[1]
            complete = multiplicity < computed or not bool(aligned.closing.any())
            if complete or computed >= min(max(k, MAX_PAIRS), dim):
                break
            width = min(multiplicity + 3, max(k, MAX_PAIRS))  # the top eigenspace is larger: compute more
        width = min(width, multiplicity + 3)
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
