"""Following the top of the spectrum step by step, in the regimes where it is hard: cost, and how often it is right."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

from benchmarks.row import Measured
from benchmarks.subjects import t2
from samviz.dynamics import Run
from samviz.geometry import top_eigenpairs

STEPS, FEW = 40, 10  # that are followed, and in a quick run
TOL = 1e-2  # of `top_eigenpairs`, residual over gap: the error of an eigenvalue is about its square
MOST = 5  # eigenvalues that are followed
TOLERANCE = 1e-3  # of each eigenvalue, relative
SHARE = 0.97  # of the steps that must be within it


@dataclass(frozen=True)
class Regime:
    """Where a run is followed: what it does, from which step on."""

    rule: str
    lr: float
    rho: float
    batch_size: int | None
    after: int


EDGE = Regime("gd", 0.3, 0.0, None, after=2000)  # λ₁ hovers at 2/η = 6.7, and λ₂ comes near
SHARPENING = Regime("sam", 0.1, 0.05, None, after=4500)
CROSSING = Regime("sam", 0.3, 0.1, None, after=6500)  # λ₁, λ₂ and λ₃ within a few percent, taking turns
MINIBATCH = Regime("sam", 0.05, 0.05, 10, after=3000)


def followed(seconds: float, regime: Regime, k: int) -> Measured:
    """Hessian-vector products a step after the first, and whether enough of the steps were right."""
    positions, exact = trajectory(regime, STEPS if seconds >= 0.5 else FEW)
    problem, start, spent, right = t2().problem, None, 0, 0
    for step, (x, values) in enumerate(zip(positions, exact)):
        pairs = top_eigenpairs(problem, x, k, start=start, tol=TOL)
        start = pairs.start
        spent += pairs.products if step else 0
        right += bool(((pairs.values[0] - values[:k]).abs() < TOLERANCE * values[:k].abs()).all())
    return Measured(spent / (len(positions) - 1), None, right >= SHARE * len(positions), None)


@cache
def trajectory(regime: Regime, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """Iterates (dim,) of a regime, and the top eigenvalues (5,) at each: ARPACK, warm, on plain torch's products.

    Raises:
        ArithmeticError: when ARPACK and the dense Hessian differ at the first or the last iterate.
    """
    subject = t2()
    run = Run(subject.problem, regime.rule, lr=regime.lr, rho=regime.rho, batch_size=regime.batch_size, device="cpu")
    run.step(regime.after)
    positions, exact, vectors = [], [], None
    for _ in range(steps):
        positions.append(run.x[0].clone())
        v0 = None if vectors is None else vectors.sum(1)
        values, vectors = eigsh(subject.hessian(run.x[0]), MOST + 1, which="LA", tol=1e-6, v0=v0)
        exact.append(torch.from_numpy(values).sort(descending=True).values[:MOST])
        run.step()
    for end in (0, -1):
        if not torch.allclose(exact[end], subject.top(positions[end], MOST), rtol=1e-6):
            raise ArithmeticError("ARPACK missed an eigenvalue that the dense Hessian has")
    return positions, exact
