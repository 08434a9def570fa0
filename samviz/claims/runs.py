"""Runs of SAM as the claims need them: many at once, each read at its own steps, phase I left out where it may be."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samviz.claims.claim import Array
from samviz.dynamics import Run
from samviz.geometry import top_eigenpairs
from samviz.problems import Problem


def iterates(run: Run, steps: Array) -> Tensor:
    """The iterates (times, runs, dim) of a batch of runs, each at its own steps (times, runs), rounded."""
    marks = np.broadcast_to(np.rint(steps).astype(int), (len(steps), len(run.x)))
    seen = run.x.new_zeros(*marks.shape, run.problem.dim)
    for mark in np.unique(marks):
        run.step(int(mark) - run.steps)
        times, runs = np.nonzero(marks == mark)
        seen[times, runs] = run.x[runs]
    return seen


def on_cycle(problem: Problem, foot: Tensor, lr: Array, rho: Array) -> Tensor:
    """Where phase II begins: for each run the point of Theorem 4.8's 2-cycle above a point (dim,) of Γ, (runs, dim)."""
    pairs = top_eigenpairs(problem, foot)
    top = float(pairs.values)
    return foot + torch.from_numpy(lr * rho * top / (2 - lr * top))[:, None] * pairs.vectors[0]


def phase_two_run(problem: Problem, foot: Tensor, lr: Array, rho: float, tau: Array) -> tuple[Tensor, int]:
    """SAM from the 2-cycle above a point of Γ: the iterates (times, runs, dim) at t = τ/(ηρ²), and the most steps."""
    radii = np.full_like(lr, rho)
    run = Run(problem, "sam", lr, radii, x0=on_cycle(problem, foot, lr, radii), device="cpu")
    seen = iterates(run, np.outer(tau, 1 / (lr * rho**2)))
    return seen, run.steps
