"""Any torch module as a batched problem."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from samviz.checks import check_bool, check_type
from samviz.problems.network import Data, Network, SampleLoss
from samviz.problems.parameters import Buffer, by_name, chosen, filters_of
from samviz.problems.training import averaging, check_repeats, draws, fixed, in_training, seed_of


class Module(Network):
    """Any torch module on data; every run has its own copy of the parameters.

    In training mode, too, the loss is one function of the parameters and the batch: BatchNorm normalizes by the
    batch's statistics and stores none, and what dropout leaves out goes with the batch.
    """

    def __init__(self, module: nn.Module, data: Data, loss: str | SampleLoss, training: bool) -> None:
        """Arguments as in `from_module`."""
        check_type("module", module, nn.Module, "a torch.nn.Module")
        training = check_bool("training", training)
        super().__init__(data, loss)
        self.shapes = chosen("module", module)
        self.module = deepcopy(module).to("cpu", torch.float64).eval()  # what `module_at` copies
        self.module.zero_grad()
        self.training = training
        self.fitted = in_training(self.module) if training else self.module  # what the loss is of
        self.dim = sum(shape.numel() for shape in self.shapes.values())
        self.filters = filters_of(self.shapes.values())
        self.name = f"{type(module).__name__} on {self.data_name}"
        own = dict(self.module.named_parameters())
        self.start = torch.cat([own[name].detach().flatten() for name in self.shapes])
        self._buffer: Buffer | None = None
        self.random = True  # until it is known
        self._fit_targets(self._width(), "a module that gives")
        with fixed(0, self.device):
            self.random = draws(self.fitted, self.inputs[:2])
        with torch.no_grad():
            some = self.inputs[:2]
            first, again = (self._answer(self.fitted, some, torch.arange(len(some))) for _ in range(2))
        check_repeats("module", first, again, self.dtype)

    def _width(self) -> int:
        """How many outputs the module has for a sample."""
        first = self.inputs[:1]
        try:
            with torch.no_grad():
                return self._answer(self.module, first, None).shape[1]
        except (RuntimeError, AttributeError, TypeError, IndexError) as error:  # shapes do not fit, or no tensor
            raise ValueError(
                f"module cannot be evaluated on inputs of shape {tuple(first.shape)}: {error}; expected one that takes "
                "those of data and gives a tensor (n, ...)"
            ) from error

    def outputs(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Network outputs in evaluation mode, (runs, n, outputs); see `Network.outputs`."""
        self._check_inputs(x, inputs, ("any",) * (self.inputs.ndim - 1))  # images may have any size
        if not self.training:
            return self._outputs(x, inputs, None)
        rows = inputs.expand(len(x), *inputs.shape) if inputs.ndim == self.inputs.ndim else inputs
        with torch.no_grad():
            return torch.stack([self._answer(self.module_at(p), row, None) for p, row in zip(x, rows)])

    def _outputs(self, x: Tensor, inputs: Tensor, batch: Tensor | None) -> Tensor:
        """What the loss sees of a batch (runs, b): the outputs (runs, b or n, outputs)."""

        def forward(flat: Tensor, samples: Tensor, rows: Tensor | None) -> Tensor:
            own = by_name(flat, self.shapes)
            return self._answer(lambda given: functional_call(self.fitted, own, (given,)), samples, rows)

        shared = inputs.ndim == self.inputs.ndim
        if len(x) > 1 and not self.random:
            return torch.vmap(forward, in_dims=(0, None if shared else 0, None))(x, inputs, None)
        # one by one spares a single run vmap's overhead, and lets each run draw what goes with its batch
        each = [inputs] * len(x) if shared else inputs
        rows = [None] * len(x) if batch is None else batch
        return torch.stack([forward(*one) for one in zip(x, each, rows)])

    def _answer(self, network: Callable[[Tensor], Tensor], inputs: Tensor, batch: Tensor | None) -> Tensor:
        """Outputs (b, outputs) of a module or a function for inputs (b, ...), which may draw what goes with them."""
        if self.random or self.training:
            batch = torch.arange(self.samples) if batch is None else batch
            with fixed(seed_of(batch) if self.random else None, self.device):
                out = network(inputs)
        else:
            out = network(inputs)
        return out if out.ndim == 2 else out.reshape(len(inputs), -1)

    def gradient(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Loss, (runs,), and gradient, (runs, dim): a single run's as fast as a plain backward pass."""
        return super().gradient(x, batch) if len(x) > 1 else self._slope(x, batch, None)

    def noisy_gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Clean loss, (runs,), and gradient for noisy targets, (runs, dim); see `Problem.noisy_gradient`."""
        return super().noisy_gradient(x, batch, noise) if len(x) > 1 else self._slope(x, batch, noise)

    def _slope(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Loss (1,) and gradient (1, dim) of one run, with noise (1, b or n, outputs) on the targets that it sees."""
        self._check(x, batch)
        if noise is not None:
            self._check_noise(noise, x, batch)
        rows = None if batch is None else batch[0]
        inputs, targets = (self.inputs, self.targets) if rows is None else (self.inputs[rows], self.targets[rows])
        if self._buffer is None:
            self._buffer = Buffer(self.fitted, self.shapes)
        self._buffer.place(x)
        with torch.enable_grad():
            outputs = self._answer(self._buffer.module, inputs, rows)
            loss = self._mean(outputs, targets)
            noisy = loss if noise is None else self._mean(outputs, targets + noise.view_as(targets))
        return loss.detach().view(1), self._buffer.slope(noisy)

    def _mean(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of samples, (): their outputs (b, outputs) and targets (b, ...)."""
        mean = MEANS.get(self.loss_name)
        return self.sample_loss(outputs, targets).mean() if mean is None else mean(outputs, targets)

    def initial(self, seed: int = 0) -> Tensor:
        """The parameters that the module came with, (dim,); the seed is not used."""
        return self.start.clone()

    def module_at(self, x: ArrayLike | Tensor) -> nn.Module:
        """The module with given parameters, in evaluation mode, to be used and saved like any other.

        Args:
            x: (dim,) or (1, dim), parameters.

        Returns:
            A copy of the module, in the problem's precision and on its device. Where the problem is in training
            mode, BatchNorm's statistics are those of the whole data at x; else they are the module's own.

        Raises:
            ValueError: when x is no one point, or not finite.

        >>> problem = from_module(nn.Linear(1, 1), data="sine")
        >>> problem.module_at([2.0, 1.0])(torch.ones(1, 1).double()).item()
        3.0
        """
        points = self.points(x)
        if len(points) > 1:
            raise ValueError(f"x has {len(points)} rows; expected one point, such as x[0]")
        module = deepcopy(self.module)
        own = dict(module.named_parameters())
        with torch.no_grad():
            for name, value in by_name(points[0], self.shapes).items():
                own[name].copy_(value)
            if self.training:  # the statistics of all of the data
                with fixed(0, self.device), averaging(module, dict(module.named_buffers())):
                    module(self.inputs)
        return module

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """The same problem on another device or in another precision, with modules of its own."""
        moved = super().to(device, dtype)
        if moved is not self:
            moved.module = deepcopy(self.module).to(device, dtype)
            moved.fitted = deepcopy(self.fitted).to(device, dtype) if self.training else moved.module
        return moved

    def __getstate__(self) -> dict[str, Any]:
        """All but the buffer, which every copy lays out for itself."""
        return {**vars(self), "_buffer": None}


MEANS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # the losses by name, in one call
    "mse": partial(F.huber_loss, delta=math.inf),  # half the mean square, where no error is beyond delta
    "cross_entropy": F.cross_entropy,
}


def from_module(module: nn.Module, data: Data, loss: str | SampleLoss = "mse", training: bool = False) -> Module:
    """Any torch module as a problem.

    The module is copied. In evaluation mode, the default, BatchNorm uses its stored statistics and dropout is off,
    so that samples do not mix. In training mode BatchNorm normalizes by the statistics of the batch, and dropout
    leaves out what it would, drawn afresh for every batch but always the same for the same one: both passes of a
    SAM step, Hessian-vector products and landscapes see one function of the parameters. The stored statistics
    never change, whatever is evaluated; `Module.module_at` gives the trained module with those of the data.

    Args:
        module: maps inputs (n, ...) to outputs (n, ...); only its trainable parameters vary.
        data: as in `mlp`.
        loss: as in `mlp`.
        training: whether the module is in training mode. Runs whose module draws random numbers are then computed
            one by one.

    Returns:
        The problem, float64 on the CPU, starting from the module's own parameters.

    Raises:
        ValueError: when there is nothing to train, a parameter is not real, data and loss do not fit, a forward pass
            changes the module, or the module or the loss gives another value each time.
        TypeError: when it is no module.

    >>> from_module(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)), data="sine").dim
    10
    """
    return Module(module, data, loss, training)
