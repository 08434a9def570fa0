"""Steps of SAM: any module, the built-in networks, many runs at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from itertools import cycle, islice
from typing import Any, NamedTuple

import torch
from pytorch_optimizer import SAM
from torch import Tensor
from torch.optim import SGD, Optimizer

from benchmarks.limits import gradients
from benchmarks.row import Measured
from benchmarks.subjects import Subject, t2
from benchmarks.timing import alternate
from samviz.dynamics import Run, engines
from samviz.problems import Problem, from_module

LR, RHO = 0.02, 0.05
DRAWN = 4096  # steps whose samples are drawn; later steps use them again
CHECKED = 3  # steps that are compared with the reference
TOLERANCE = 1e-6  # of a side's error, relative to the way it went


class Stepper(NamedTuple):
    """Something that takes n steps, and where it is then, (runs, dim)."""

    step: Callable[[int], object]
    position: Callable[[], Tensor]


def module_against_passes(seconds: float) -> Measured:
    """One SAM step of a torch module against twice zero_grad, forward, backward: what every SAM must at least do."""
    subject = t2()
    module = subject.module(subject.start())

    def passes(n: int) -> None:
        for _ in range(2 * n):
            module.zero_grad()
            subject.criterion(module(subject.inputs), subject.targets).backward()

    passes(1)
    gradient = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
    right = torch.func.grad(subject.loss)(subject.start())
    ours = samviz(as_module(subject), subject.start())
    correct = is_correct(ours, subject, None)
    mine, peer = alternate(ours.step, passes, seconds=seconds)
    passes_correct = bool((gradient - right).norm() <= TOLERANCE * right.norm())
    return Measured(mine.seconds, peer.seconds, correct, passes_correct, gradients(subject.problem, count=2))


def module_against_pytorch_optimizer(seconds: float) -> Measured:
    """One SAM step of a torch module against pytorch_optimizer's on the same module."""
    subject = t2()
    return compared(
        samviz(as_module(subject), subject.start()), pytorch_optimizer(subject, None), subject, None, seconds
    )


def network_against_pytorch_optimizer(seconds: float, subject: Callable[[], Subject], batch: int | None) -> Measured:
    """The built-in network's step against pytorch_optimizer's on the module of the same parameters."""
    network = subject()
    ours = samviz(network.problem, network.start(), batch)
    return compared(ours, pytorch_optimizer(network, batch), network, batch, seconds)


def setting_against_plain(seconds: float, **setting: Any) -> Measured:
    """A step with a setting such as momentum against a plain SAM step; torch takes the same steps as a reference."""
    subject = t2()
    more, plain, reference = (
        Run(problem, "sam", LR, RHO, x0=subject.start(), device="cpu", **settings)
        for problem, settings in (
            (subject.problem, setting),
            (subject.problem, {}),
            (through_torch(subject.problem), setting),
        )
    )
    more.step(CHECKED)
    reference.step(CHECKED)
    correct = bool((more.x - reference.x).norm() <= TOLERANCE * (reference.x - reference.start).norm())
    mine, peer = alternate(more.step, plain.step, seconds=seconds)
    return Measured(mine.seconds, peer.seconds, correct, True, gradients(subject.problem, count=2))


def many_runs_against_one(seconds: float, runs: int, batch: int | None) -> Measured:
    """A step of one of many runs against one torch run's: samviz's torch engine, or a plain loop if that is faster."""
    subject = t2()
    ours = samviz(subject.problem, torch.stack([subject.start(seed) for seed in range(runs)]), batch)
    one, plain = samviz(through_torch(subject.problem), subject.start(), batch), two_passes(subject, batch)
    correct = [is_correct(stepper, subject, batch) for stepper in (ours, one, plain)]
    timed = alternate(ours.step, one.step, plain.step, seconds=seconds)
    peer = min(timed[1:], key=lambda side: side.seconds)
    work = gradients(subject.problem, batch, count=2)
    return Measured(timed[0].seconds / runs, peer.seconds, correct[0], all(correct[1:]), work)


def compared(ours: Stepper, peer: Stepper, subject: Subject, batch: int | None, seconds: float) -> Measured:
    """Two steppers, first checked on their first steps, then timed in turn."""
    correct = [is_correct(stepper, subject, batch) for stepper in (ours, peer)]
    timed = alternate(ours.step, peer.step, seconds=seconds)
    return Measured(timed[0].seconds, timed[1].seconds, *correct, gradients(subject.problem, batch, count=2))


def is_correct(stepper: Stepper, subject: Subject, batch: int | None) -> bool:
    """Whether the first steps of every run are those of the reference: it takes them."""
    starts = stepper.position().clone()
    stepper.step(CHECKED)
    for run, (start, end) in enumerate(zip(starts, stepper.position())):
        right = subject.sam(start, LR, RHO, islice(batches(subject, batch, run), CHECKED))
        if not (end - right).norm() <= TOLERANCE * (right - start).norm():
            return False
    return True


def batches(subject: Subject, size: int | None, seed: int = 0) -> Iterator[Tensor | slice]:
    """The samples of each step: those that a run of samviz with this seed draws, the same for every 4,096 steps."""
    if size is None:
        return cycle([slice(None)])
    drawn = engines.batches((seed,), 0, DRAWN, size, len(subject.inputs))[:, 0]
    return cycle(list(torch.from_numpy(drawn)))


def as_module(subject: Subject) -> Problem:
    """The subject as any module would come, nothing of its form known."""
    return from_module(subject.module(subject.start()), (subject.inputs, subject.targets), subject.problem.loss_name)


def through_torch(problem: Problem) -> Problem:
    """The same problem, run by the torch engine: it says that it has no kernels."""
    plain = copy(problem)
    plain.compiled = lambda: None
    return plain


def samviz(problem: Problem, x0: Tensor, batch: int | None = None) -> Stepper:
    """A run of samviz."""
    run = Run(problem, "sam", lr=LR, rho=RHO, batch_size=batch, x0=x0, device="cpu")
    return Stepper(run.step, lambda: run.x)


def pytorch_optimizer(subject: Subject, batch: int | None, base: type[Optimizer] = SGD) -> Stepper:
    """pytorch_optimizer's SAM over a base optimizer, used as its documentation says; the samples are at hand."""
    module, data = subject.module(subject.start()), samples(subject, batch)
    optimizer = SAM(module.parameters(), base, rho=RHO, lr=LR)

    def step(n: int) -> None:
        for inputs, targets in islice(data, n):

            def closure(inputs: Tensor = inputs, targets: Tensor = targets) -> Tensor:
                optimizer.zero_grad()
                loss = subject.criterion(module(inputs), targets)
                loss.backward()
                return loss

            closure()
            optimizer.step(closure)

    return Stepper(step, lambda: flat(module))


def two_passes(subject: Subject, batch: int | None, base: type[Optimizer] = SGD) -> Stepper:
    """The plainest loop in torch: two passes, SAM's two lines, and a step of the base; plain SGD is written out."""
    module, data = subject.module(subject.start()), samples(subject, batch)
    parameters = list(module.parameters())
    optimizer = base(parameters, lr=LR)

    def gradient(inputs: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(subject.criterion(module(inputs), targets), parameters)

    def step(n: int) -> None:
        for inputs, targets in islice(data, n):
            first = gradient(inputs, targets)
            with torch.no_grad():
                way = torch._foreach_mul(first, RHO / torch.stack(torch._foreach_norm(first)).norm().item())
                torch._foreach_add_(parameters, way)
            second = gradient(inputs, targets)
            with torch.no_grad():
                torch._foreach_sub_(parameters, way)
                if base is SGD:
                    torch._foreach_add_(parameters, second, alpha=-LR)
            if base is not SGD:
                for p, g in zip(parameters, second):
                    p.grad = g
                optimizer.step()

    return Stepper(step, lambda: flat(module))


def samples(subject: Subject, batch: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of each step, cut out beforehand."""
    if batch is None:
        return cycle([(subject.inputs, subject.targets)])
    chosen = islice(batches(subject, batch), DRAWN)
    return cycle([(subject.inputs[i], subject.targets[i]) for i in chosen])


def flat(module: torch.nn.Module) -> Tensor:
    """A module's parameters as (1, dim), detached."""
    return torch.cat([p.detach().flatten() for p in module.parameters()])[None]
