"""A copy of a torch module as a batched problem, with data in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, Self
from zlib import crc32

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from samviz.checks import check_bool, check_type
from samviz.problems.model_state import (
    averaged_statistics,
    check_repeats,
    filters_of,
    seeded_pass,
    split_by_name,
    tracking_layers,
    trainable_shapes,
)
from samviz.problems.network import Data, Network, SampleLoss

MEANS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # mean losses by name, each in one call for speed
    "mse": partial(F.huber_loss, delta=math.inf),  # half the mean square, because no error is beyond delta
    "cross_entropy": F.cross_entropy,
}


class Module(Network):
    """A copy of a torch module as a problem; every run has its own parameters.

    In training mode, too, the loss is one function of the parameters and the batch: BatchNorm normalizes by the
    batch's statistics and stores none, and the mask of dropout depends only on the batch.
    """

    def __init__(self, module: nn.Module, data: Data, loss: str | SampleLoss, training: bool) -> None:
        """Arguments as in `from_module`."""
        check_type("module", module, nn.Module, "a torch.nn.Module")
        self.training = check_bool("training", training)
        super().__init__(data, loss)
        self.shapes = trainable_shapes("module", module)
        self.module = deepcopy(module).to("cpu", torch.float64).eval()  # `module_at` copies it
        self.module.zero_grad()
        self.evaluated = self.module  # what the loss evaluates
        if training:
            self.evaluated = deepcopy(self.module).train()
            for layer in tracking_layers(self.evaluated).values():
                layer.track_running_stats = False
                layer.running_mean = layer.running_var = None
        self.dim = sum(shape.numel() for shape in self.shapes.values())
        self.filters = filters_of(self.shapes.values())
        self.name = f"{type(module).__name__} on {self.data_name}"
        parameters = dict(self.module.named_parameters())
        self.start = torch.cat([parameters[name].detach().flatten() for name in self.shapes])
        self._workspace: tuple[nn.Module, Tensor, Tensor] | None = None
        self.random = True  # until the first pass shows whether random numbers are drawn
        self._fit_targets(self._width(), "a module that gives")
        self.random = self._draws()
        with torch.no_grad():
            some = self.inputs[:2]
            first, second = (self._answer(self.evaluated, some, torch.arange(len(some))) for _ in range(2))
        check_repeats("module", first, second, self.dtype)

    def _width(self) -> int:
        """Return the number of outputs for a sample."""
        first = self.inputs[:1]
        try:
            with torch.no_grad():
                return self._answer(self.module, first, None).shape[1]
        except (RuntimeError, AttributeError, TypeError, IndexError) as error:  # shapes do not fit, or no tensor
            raise ValueError(
                f"module cannot be evaluated on inputs of shape {tuple(first.shape)}: {error}; expected one that takes "
                "those of data and gives a tensor (n, ...)"
            ) from error

    def _draws(self) -> bool:
        """Return whether a forward pass draws random numbers, and refuse a module whose pass changes its buffers."""
        before = {name: buffer.clone() for name, buffer in self.evaluated.named_buffers()}
        with torch.no_grad(), seeded_pass(0, self.device):
            state = torch.get_rng_state()
            self.evaluated(self.inputs[:2])
            random = not torch.equal(state, torch.get_rng_state())
        if changed := [name for name, b in self.evaluated.named_buffers() if not torch.equal(b, before[name])]:
            raise ValueError(
                f"module changes its buffers {', '.join(changed)} in {'training' if self.training else 'evaluation'} "
                "mode, so its loss is no function of the parameters; expected a forward pass that leaves them alone "
                "(BatchNorm may change its own)"
            )
        return random

    def outputs(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs in evaluation mode, (runs, n, outputs); see `Network.outputs`."""
        self._check_inputs(x, inputs, ("any",) * (self.inputs.ndim - 1))  # images may have any size
        if not self.training:
            return self._outputs(x, inputs, None)
        rows = inputs.expand(len(x), *inputs.shape) if inputs.ndim == self.inputs.ndim else inputs
        with torch.no_grad():
            return torch.stack([self._answer(self.module_at(point), row, None) for point, row in zip(x, rows)])

    def _outputs(self, x: Tensor, inputs: Tensor, batch: Tensor | None) -> Tensor:
        def forward(point: Tensor, samples: Tensor, rows: Tensor | None) -> Tensor:
            parameters = split_by_name(point, self.shapes)
            return self._answer(lambda row: functional_call(self.evaluated, parameters, (row,)), samples, rows)

        shared = inputs.ndim == self.inputs.ndim
        if len(x) > 1 and not self.random:
            return torch.vmap(forward, in_dims=(0, None if shared else 0, None))(x, inputs, None)
        # A single run avoids the overhead of vmap, and with dropout each run needs the mask of its own batch.
        inputs_of_runs = [inputs] * len(x) if shared else inputs
        rows_of_runs = [None] * len(x) if batch is None else batch
        return torch.stack([forward(*run) for run in zip(x, inputs_of_runs, rows_of_runs)])

    def _answer(self, network: Callable[[Tensor], Tensor], inputs: Tensor, batch: Tensor | None) -> Tensor:
        """Return the outputs (b, outputs) for inputs (b, ...), with random numbers that depend only on the batch."""
        if self.random or self.training:
            rows = torch.arange(self.samples) if batch is None else batch
            seed = crc32(rows.cpu().numpy().astype("<i8").tobytes()) if self.random else None
            with seeded_pass(seed, self.device):
                out = network(inputs)
        else:
            out = network(inputs)
        return out if out.ndim == 2 else out.reshape(len(inputs), -1)

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the gradient of a single run by a plain backward pass in preallocated memory, which is faster."""
        if len(x) > 1:
            return super()._gradient(x, batch, noise)
        rows = None if batch is None else batch[0]
        inputs, targets = (self.inputs, self.targets) if rows is None else (self.inputs[rows], self.targets[rows])
        if self._workspace is None:
            self._workspace = flat_copy(self.evaluated, self.shapes)
        module, parameters, gradient = self._workspace
        parameters.copy_(x.detach()[0])
        gradient.zero_()
        mean = MEANS.get(self.loss_name) or (lambda *pair: self.sample_loss(*pair).mean())
        with torch.enable_grad():
            outputs = self._answer(module, inputs, rows)
            loss = mean(outputs, targets)
            noisy = loss if noise is None else mean(outputs, targets + noise.view_as(targets))
        if noisy.requires_grad:
            noisy.backward()
        return loss.detach().view(1), gradient.clone()[None]

    def initial(self, seed: int = 0) -> Tensor:
        """Return the parameters that the module came with, (dim,); the seed is not used."""
        return self.start.clone()

    def module_at(self, x: ArrayLike | Tensor) -> nn.Module:
        """Return the module with the given parameters, in evaluation mode, to be used and saved like any other.

        Args:
            x: (dim,) or (1, dim), parameters.

        Returns:
            A copy of the module, in the problem's precision and on its device. If the problem is in training mode,
            BatchNorm's statistics are those of all of the data at x; otherwise they are the module's own.

        Raises:
            ValueError: when x is more than one point, or not finite.

        >>> problem = from_module(nn.Linear(1, 1), data="sine")
        >>> problem.module_at([2.0, 1.0])(torch.ones(1, 1).double()).item()
        3.0
        """
        points = self.points(x)
        if len(points) > 1:
            raise ValueError(f"x has {len(points)} rows; expected one point, such as x[0]")
        module = deepcopy(self.module)
        module.load_state_dict(split_by_name(points[0], self.shapes), strict=False)
        if self.training:
            statistics = averaged_statistics(module, dict(module.named_buffers()))
            with torch.no_grad(), seeded_pass(0, self.device), statistics:
                module(self.inputs)
        return module

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return the same problem on another device or in another precision, with copies of its modules."""
        moved = super().to(device, dtype)
        if moved is not self:
            moved.module = deepcopy(self.module).to(device, dtype)
            moved.evaluated = deepcopy(self.evaluated).to(device, dtype) if self.training else moved.module
            moved._workspace = None
        return moved

    def __getstate__(self) -> dict[str, Any]:
        """All but the workspace, which every copy allocates for itself."""
        return {**vars(self), "_workspace": None}


def flat_copy(module: nn.Module, shapes: Mapping[str, torch.Size]) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a copy of a module, and two vectors (dim,) of which its parameters and their gradients are views."""
    module = deepcopy(module)
    parameters = dict(module.named_parameters())
    x = next(iter(parameters.values())).new_zeros(sum(shape.numel() for shape in shapes.values())).detach()
    gradient = torch.zeros_like(x)
    for flat, attribute in ((x, "data"), (gradient, "grad")):
        for name, view in split_by_name(flat, shapes).items():
            setattr(parameters[name], attribute, view)
    return module, x, gradient


def from_module(module: nn.Module, data: Data, loss: str | SampleLoss = "mse", training: bool = False) -> Module:
    """Return a problem that minimizes the loss of a copy of a torch module.

    In evaluation mode, the default, BatchNorm uses its stored statistics and dropout is off, so that samples are
    independent. In training mode BatchNorm normalizes by the statistics of the batch, and dropout draws a new mask for
    every batch but always the same one for the same batch: both passes of a SAM step, Hessian-vector products and
    landscapes evaluate one function of the parameters. The stored statistics never change; `Module.module_at` returns
    the trained module with the statistics of the data.

    Args:
        module: maps inputs (n, ...) to outputs (n, ...); only its trainable parameters vary.
        data: as in `mlp`.
        loss: as in `mlp`.
        training: whether the module is in training mode. Runs whose module draws random numbers are then computed
            one by one.

    Returns:
        The problem, float64 on the CPU, starting from the module's own parameters.

    Raises:
        ValueError: when nothing is trainable, a parameter is not real, data and loss do not fit, a forward pass
            changes the module, or the module or the loss gives another value each time.
        TypeError: when module is not a torch.nn.Module.

    >>> from_module(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)), data="sine").dim
    10
    """
    return Module(module, data, loss, training)
