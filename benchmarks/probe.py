"""What a probe costs a training: a share of its time, also against the same steps without it; a call with none due."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.models import GPT, NextToken, ResNet, pictures, sentences
from benchmarks.row import Measured
from benchmarks.timing import alternate
from samviz import Probe
from samviz.optim import SAM

LONGEST = 40  # a training, in seconds for each that a row is given: it ends when everything was measured, or then
BATCH, BATCHES, SEEN = 16, 64, 2  # samples of a step, how many steps have their own, samples that are measured on
EVERY, PROBED, BARE = 4, 64, 8  # steps from row to row, and in turn with a probe and without one
AGREED = 0.02  # of the training time: how far the wall clock may be from what the probe says it took


class Task(NamedTuple):
    """What is trained, by which loss, on which samples, so many of them."""

    model: Callable[[], nn.Module]
    loss: Callable[[], nn.Module]
    samples: Callable[[int], tuple[Tensor, Tensor]]


TRANSFORMER = Task(GPT, NextToken, sentences)
CNN = Task(ResNet, nn.CrossEntropyLoss, pictures)
# With fewer parameters, a probe has measured everything after seconds instead of minutes.
SMALL_TRANSFORMER = Task(partial(GPT, 48, 2), NextToken, sentences)
SMALL_CNN = Task(partial(ResNet, 27, 3), nn.CrossEntropyLoss, pictures)


def share(seconds: float, task: Task) -> Measured:
    """Share of the training time by a probe's account, and by the wall clock against the same steps without a probe.

    Two trainings take turns, so that both see the machine as it is; the one without a probe is off the other's clock.
    Ours is right where every quantity was measured meanwhile, and the eigenvalue until it converged.
    """
    (model, step), (_, bare) = training(task), training(task)
    probe = Probe(model, task.loss(), task.samples(SEEN), every=EVERY, k=1)
    probed, alone = [], []

    def beside() -> None:
        if probe.steps % PROBED == 0:
            end = perf_counter()
            probed.append(end - start)
            for _ in range(BARE):
                bare()
            alone.append(perf_counter() - end)

    step()
    bare()
    probe.on_step = beside
    while sum(probed) < LONGEST * seconds and not is_complete(probe):
        start = perf_counter()
        for _ in range(PROBED):
            probe.step(train_loss=step())
    overhead = sum(probed) / len(probed) / PROBED / (sum(alone) / len(alone) / BARE) - 1
    return Measured(probe.share, overhead, is_complete(probe), abs(overhead - probe.share) <= AGREED)


def is_complete(probe: Probe) -> bool:
    """Whether every quantity was measured, and the eigenvalue until it converged."""
    record = probe.history
    if not probe.densities or not (record["converged"] == 1).any():
        return False
    return all(np.isfinite(record[name]).any() for name in ("grad_norm", "trace", "worst", "ascent", "average"))


def idle(seconds: float) -> Measured:
    """A call of `Probe.step` where no row is due."""
    model, step = training(SMALL_TRANSFORMER)
    probe, loss = Probe(model, NextToken(), sentences(SEEN), every=10**9), step()

    def called(n: int) -> None:
        for _ in range(n):
            probe.step(train_loss=loss)

    (alone,) = alternate(called, seconds=seconds)
    return Measured(alone.seconds, None, probe.steps > 0 and len(probe.history) == 0, None)


def training(task: Task) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A model, the same each time, and a step of its training with SAM, which returns the loss."""
    torch.manual_seed(0)
    model, loss_of, turns = task.model(), task.loss(), count()
    optimizer = SAM(model.parameters(), torch.optim.SGD, rho=0.05, lr=0.05, momentum=0.9)
    batches = list(zip(*(part.split(BATCH) for part in task.samples(BATCH * BATCHES))))

    def step() -> Tensor:
        inputs, targets = batches[next(turns) % BATCHES]

        def closure() -> Tensor:
            loss = loss_of(model(inputs), targets)
            loss.backward()
            return loss

        return optimizer.step(closure)

    return model, step
