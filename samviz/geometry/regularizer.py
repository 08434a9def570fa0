"""The limiting regularizers S = lim R_ρ/ρ² of the three notions of sharpness, on the manifold of minimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from samviz.geometry.arguments import check_samples, check_share, located
from samviz.geometry.eigenpairs import top_eigenpairs
from samviz.geometry.manifold import RANK_TOL, normal_space
from samviz.geometry.trace import hessian_trace
from samviz.problems import Problem

Kind = Literal["worst", "ascent", "average"]
KINDS = ("worst", "ascent", "average")


@dataclass(frozen=True)
class Regularizer:
    """A limiting regularizer S of each run, with its evidence."""

    value: Tensor  # (runs,), S
    error: Tensor  # (runs,), of an iteration (residual) or an estimate (standard error); rounding alone is 0
    rank: Tensor | None  # int64 (runs,), M, where S needs it
    separation: Tensor | None  # (runs,), λ_M over the largest |λ| of the rest: large where the rank is beyond doubt


def limiting_regularizer(
    problem: Problem, x: Tensor, kind: Kind, stochastic: bool = False, *, rank_tol: float = RANK_TOL
) -> Regularizer:
    """The limit of R_ρ/ρ² as ρ → 0 at a minimizer x.

    | kind | S, full batch | S, one sample at a time |
    |---|---|---|
    | "worst" | λ₁/2 | Tr/2 |
    | "ascent" | λ_M/2 | Tr/2 |
    | "average" | Tr/(2D) | Tr/(2D) |

    λ_M is the smallest non-zero eigenvalue: the smallest above rank_tol·λ₁.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), points on Γ; an interpolating minimizer if stochastic.
        kind: "worst", "ascent" or "average".
        stochastic: the limit of the mean over the samples of each one's R_ρ.
        rank_tol: share of λ₁ above which an eigenvalue counts as non-zero.

    Returns:
        S with its evidence.

    Raises:
        ValueError: when kind is none of the three, x does not fit, or stochastic is asked of a loss without samples.

    Source: Theorem 4.2 and Table 1; Theorem 5.3 for the stochastic forms.

    >>> from samviz.problems import valley
    >>> [limiting_regularizer(valley(), torch.zeros(4), kind).value.item() for kind in ("worst", "ascent", "average")]
    [8.0, 6.0, 3.5]
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    problem, x = located(problem, x)
    check_samples(problem, stochastic)
    rank_tol = check_share(rank_tol)
    if kind == "average" or stochastic:
        trace = hessian_trace(problem, x)
        share = 2 * problem.dim if kind == "average" else 2
        return Regularizer(trace.value / share, trace.standard_error / share, None, None)
    if kind == "worst":
        pairs = top_eigenpairs(problem, x)
        return Regularizer(pairs.values[:, 0] / 2, pairs.residuals[:, 0] / 2, None, None)
    space = normal_space(problem, x, rank_tol=rank_tol)
    return Regularizer(space.smallest / 2, torch.zeros_like(space.smallest), space.rank, space.separation)
