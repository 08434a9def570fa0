"""Modules of torch where they are: `samviz.optim.SAM` and `samviz.problems.attach` against what others offer."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache, cached_property

import torch
from curvlinops import HessianLinearOperator
from hessian_eigenthings import HessianOperator, spectral_density, supervised_loss
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import SGD, Optimizer

from benchmarks import spectra, steps
from benchmarks.probe import Task, training
from benchmarks.row import Measured
from benchmarks.steps import CHECKED, LR, RHO, Stepper
from benchmarks.subjects import Subject
from benchmarks.timing import alternate
from samviz import geometry, optim
from samviz.problems import attach

WAY, SAMPLES = 30, 16  # steps of training, after which it is looked at, and on how many samples
TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-4}  # of steps and products, relative
PROBES, LANCZOS = 3, 15  # random vectors of a density, and products from each
SURE = 4  # standard errors by which the means of two densities may differ


class Network(Subject):
    """A model of `models` after some training, in evaluation mode; what must come out is computed in float64."""

    def __init__(self, task: Task, dtype: torch.dtype = torch.float32) -> None:
        """Of a task, in some precision."""
        model, step = training(task)
        for _ in range(WAY):
            step()
        self.at_hand, self.criterion = model.eval().to(dtype), task.loss()
        self.exact = deepcopy(model).double()
        inputs, self.targets = task.samples(SAMPLES)
        self.inputs, self.wide = (inputs, inputs) if inputs.dtype == torch.long else (inputs.to(dtype), inputs.double())
        self.problem = attach(self.at_hand, self.criterion, (self.inputs, self.targets))
        self.trained = self.problem.initial()

    def start(self, seed: int = 0) -> Tensor:
        """Where it is."""
        return self.trained

    def module(self, x: Tensor, dtype: torch.dtype | None = None) -> nn.Module:
        """A copy to train."""
        return deepcopy(self.at_hand).train()

    def loss(self, x: Tensor, chosen: Tensor | slice = slice(None)) -> Tensor:
        """Loss of parameters (dim,), float64."""
        named = dict(self.exact.named_parameters())
        parts = zip(named.items(), x.split([p.numel() for p in named.values()]))
        state = {name: part.view(p.shape) for (name, p), part in parts}
        return self.criterion(functional_call(self.exact, state, (self.wide[chosen],)), self.targets[chosen])

    def hessian(self, x: Tensor) -> LinearOperator:
        """Exact products, in float64."""
        with sdpa_kernel(SDPBackend.MATH):
            return super().hessian(x.double())

    @cached_property
    def highest(self) -> Tensor:
        """The two largest eigenvalues, by ARPACK."""
        return self.top(self.trained, 2)


def step(
    seconds: float, subject: Callable[[torch.dtype], Subject], dtype: torch.dtype, base: type[Optimizer] = SGD
) -> Measured:
    """A step of `samviz.optim.SAM` against pytorch_optimizer's, both after plain torch's in float64."""
    at = subject(dtype)
    sides = own_loop(at, base), steps.pytorch_optimizer(at, None, base)
    correct = [is_correct(side, subject(torch.float64), TOLERANCE[dtype], base) for side in sides]
    ours, peer = alternate(*(side.step for side in sides), seconds=seconds)
    return Measured(ours.seconds, peer.seconds, *correct)


def step_against_passes(seconds: float, subject: Callable[[torch.dtype], Subject], dtype: torch.dtype) -> Measured:
    """A step of `samviz.optim.SAM` over plain SGD against what it must do: two passes and a step of SGD."""
    at = subject(dtype)
    own, module = own_loop(at), at.module(at.start())
    sgd = SGD(module.parameters(), lr=LR)

    def passes(n: int) -> None:
        for _ in range(n):
            for _ in range(2):
                sgd.zero_grad()
                at.criterion(module(at.inputs), at.targets).backward()
            sgd.step()

    correct = is_correct(own, subject(torch.float64), TOLERANCE[dtype])
    ours, peer = alternate(own.step, passes, seconds=seconds)
    return Measured(ours.seconds, peer.seconds, correct, None)


def is_correct(stepper: Stepper, subject: Subject, tolerance: float, base: type[Optimizer] = SGD) -> bool:
    """Whether the first steps lead where those of plain torch lead on a subject in float64: it takes them."""
    right = way(steps.two_passes(subject, None, base))
    return bool((way(stepper) - right).norm() <= tolerance * right.norm())


def way(stepper: Stepper) -> Tensor:
    """Where the first steps lead, (1, dim), as float64: it takes them."""
    start = stepper.position().double()
    stepper.step(CHECKED)
    return stepper.position().double() - start


def own_loop(subject: Subject, base: type[Optimizer] = SGD) -> Stepper:
    """A training with `samviz.optim.SAM` on all samples."""
    module = subject.module(subject.start())
    optimizer = optim.SAM(module.parameters(), base, rho=RHO, lr=LR)

    def closure() -> Tensor:
        loss = subject.criterion(module(subject.inputs), subject.targets)
        loss.backward()
        return loss

    def step(n: int) -> None:
        for _ in range(n):
            optimizer.step(closure)

    return Stepper(step, lambda: steps.flat(module))


def product(seconds: float, task: Task, batches: int) -> Measured:
    """A Hessian-vector product at one place against curvlinops', of data in so many batches."""
    at = network(task)
    data = list(zip(at.inputs.chunk(batches), at.targets.chunk(batches)))
    hvp = attach(at.at_hand, at.criterion, data).hvp(at.trained[None])
    parameters = list(at.at_hand.parameters())
    operator = HessianLinearOperator(at.at_hand, at.criterion, parameters, data, check_deterministic=False)
    v = torch.randn(len(at.trained), generator=torch.Generator().manual_seed(0))

    def ours(n: int) -> Tensor:
        return [hvp(v[None, None])[0, 0] for _ in range(n)][-1]

    def peer(n: int) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative
            return [operator @ v for _ in range(n)][-1]

    timed = alternate(ours, peer, seconds=seconds)
    right = torch.from_numpy(at.hessian(at.trained) @ v.double().numpy())
    most = TOLERANCE[v.dtype] * right.norm()
    correct = [bool((side.results[-1].double() - right).norm() <= most) for side in timed]
    return Measured(timed[0].seconds, timed[1].seconds, *correct)


def density(seconds: float, task: Task) -> Measured:
    """The spectral density against hessian-eigenthings', from as many products: one of our vectors is no probe."""
    at = network(task)
    operator = HessianOperator(at.at_hand, [(at.inputs, at.targets)], supervised_loss(at.criterion))

    def ours(_: int) -> list[Tensor]:
        found = geometry.spectral_density(at.problem, at.trained, probes=PROBES - 1, steps=LANCZOS)
        return [torch.from_numpy(part[0]) for part in (found.nodes, found.weights)]

    def peer(_: int) -> list[Tensor]:
        found = spectral_density(operator, num_runs=PROBES, lanczos_steps=LANCZOS)
        return [found.raw_eigenvalues.double(), found.raw_weights.double()]

    timed = alternate(ours, peer, seconds=seconds, least=1, units=1)
    found = [side.results[-1] for side in timed]
    means = [(nodes * weights).sum(1) for nodes, weights in found]  # of all eigenvalues
    error = torch.stack([each.std() / len(each) ** 0.5 for each in means]).norm()
    equal = abs(means[0].mean() - means[1].mean()) <= SURE * error
    first = at.highest[0]
    correct = [bool(equal and abs(nodes.max() - first) <= spectra.TOLERANCE * first) for nodes, _ in found]
    return Measured(timed[0].seconds, timed[1].seconds, *correct)


@cache
def network(task: Task, dtype: torch.dtype = torch.float32) -> Network:
    """A network, made once."""
    return Network(task, dtype)
