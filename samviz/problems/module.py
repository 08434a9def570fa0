"""Any torch module as a batched problem."""

from __future__ import annotations

from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn

from samviz.problems.network import Data, Network, SampleLoss, filters_of


class Module(Network):
    """Any torch module on data, in evaluation mode; every run has its own copy of the parameters."""

    def __init__(self, module: nn.Module, data: Data, loss: str | SampleLoss) -> None:
        """Arguments as in `from_module`."""
        if not isinstance(module, nn.Module):
            raise TypeError(f"module is {module!r}; expected a torch.nn.Module")
        super().__init__(data, loss)
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        if not named:
            raise ValueError("module has no parameter with requires_grad; there is nothing to minimize")
        odd = [name for name, p in named if not p.is_floating_point()]
        if odd:
            raise ValueError(
                f"module has parameters that are not real numbers: {', '.join(odd)}; freeze or convert them"
            )
        self.module = deepcopy(module).to("cpu", torch.float64).eval()
        self.shapes = {name: p.shape for name, p in named}
        self.dim = sum(shape.numel() for shape in self.shapes.values())
        self.filters = filters_of(list(self.shapes.values()))
        self.name = f"{type(module).__name__} on {self.data_name}"
        self.start = torch.cat([p.detach().flatten() for p in self._trainable()])
        with torch.no_grad():
            shape = self.outputs(self.start[None], self.inputs[:1]).shape
        self._fit_targets(shape[2])

    def _trainable(self) -> list[Tensor]:
        parameters = dict(self.module.named_parameters())
        return [parameters[name] for name in self.shapes]

    def outputs(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Network outputs, (runs, n, outputs); see `Network.outputs`."""

        def forward(flat: Tensor, samples: Tensor) -> Tensor:
            parts = flat.split([shape.numel() for shape in self.shapes.values()])
            parameters = {name: part.view(shape) for part, (name, shape) in zip(parts, self.shapes.items())}
            out: Tensor = torch.func.functional_call(self.module, parameters, (samples,))
            return out.reshape(len(samples), -1)

        shared = inputs.ndim == self.inputs.ndim
        if len(x) == 1:  # spares vmap's overhead, and layers that it cannot batch
            return forward(x[0], inputs if shared else inputs[0])[None]
        return torch.vmap(forward, in_dims=(0, None if shared else 0))(x, inputs)

    def initial(self, seed: int = 0) -> Tensor:
        """The parameters that the module came with, (dim,); the seed is not used."""
        return self.start.clone()

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """The same problem on another device or in another precision, with a module of its own."""
        moved = super().to(device, dtype)
        if moved is not self:
            moved.module = deepcopy(self.module).to(device, dtype)
        return moved


def from_module(module: nn.Module, data: Data, loss: str | SampleLoss = "mse") -> Module:
    """Any torch module as a problem.

    The module is copied and put in evaluation mode: BatchNorm uses its stored statistics and dropout is off,
    so that samples do not mix and the loss is one function of the parameters.

    Args:
        module: maps inputs (n, ...) to outputs (n, ...); only its trainable parameters vary.
        data: as in `mlp`.
        loss: as in `mlp`.

    Returns:
        The problem, float64 on the CPU, starting from the module's own parameters.

    Raises:
        ValueError: when there is nothing to train, a parameter is not real, or data and loss do not fit.
        TypeError: when it is no module.

    >>> from_module(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)), data="sine").dim
    10
    """
    return Module(module, data, loss)
