"""Steps of SAM on a GPU, where there is one."""

from __future__ import annotations

import torch

from benchmarks.row import Measured
from benchmarks.steps import CHECKED, LR, RHO, TOLERANCE
from benchmarks.subjects import t2
from benchmarks.timing import Side, alternate
from samviz.dynamics import Run

RUNS = 256


def step(seconds: float) -> Measured:
    """A step of one run."""
    run, correct = started(1)
    (timed,) = alternate(finished(run), seconds=seconds)
    return Measured(timed.seconds, None, correct, None)


def many_runs_against_one(seconds: float) -> Measured:
    """A step of 256 runs at once against a step of one."""
    (many, right), (one, alone) = started(RUNS), started(1)
    ours, peer = alternate(finished(many), finished(one), seconds=seconds)
    return Measured(ours.seconds, peer.seconds, right, alone)


def started(runs: int) -> tuple[Run, bool]:
    """Runs from different starts, and whether the first and the last one's first steps are those of the reference."""
    subject = t2()
    starts = torch.stack([subject.start(seed) for seed in range(runs)])
    run = Run(subject.problem, "sam", lr=LR, rho=RHO, x0=starts, device="cuda")
    run.step(CHECKED)
    correct = True
    for start, end in ((starts[each], run.x[each].cpu()) for each in (0, -1)):
        right = subject.sam(start, LR, RHO, [slice(None)] * CHECKED)
        correct &= bool((end - right).norm() <= TOLERANCE * (right - start).norm())
    return run, correct


def finished(run: Run) -> Side:
    """A side that takes n steps and waits for the device."""

    def step(n: int) -> None:
        run.step(n)
        torch.cuda.synchronize()

    return step
