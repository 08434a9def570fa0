"""A module's parameters as one vector in memory, and its gradients as another."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy

import torch
from torch import Tensor, nn


class Buffer:
    """A copy of a module whose parameters are views of one vector, and whose gradients are views of another.

    Both are written in place and never move, so that a gradient costs what a plain backward pass costs.
    """

    def __init__(self, module: nn.Module, names: Iterable[str]) -> None:
        """Copy the module and lay its parameters out in memory.

        Args:
            module: what is copied.
            names: of the parameters that vary, in the order in which the vector holds them.
        """
        self.module = deepcopy(module)
        own = dict(self.module.named_parameters())
        parameters = [own[name] for name in names]
        sizes = [p.numel() for p in parameters]
        self._x = parameters[0].detach().new_zeros(1, sum(sizes))
        self._slope = torch.zeros_like(self._x)
        for p, here, slope in zip(parameters, self._x[0].split(sizes), self._slope[0].split(sizes)):
            p.data, p.grad = here.view(p.shape), slope.view(p.shape)

    def place(self, x: Tensor) -> None:
        """Give the module new parameters.

        Args:
            x: (1, dim), which is copied.
        """
        self._x.copy_(x.detach())

    def slope(self, loss: Tensor) -> Tensor:
        """Gradient of a loss of the module's present outputs.

        Args:
            loss: (), as the module's parameters make it.

        Returns:
            (1, dim), in memory of its own; zero for parameters that the loss does not use.
        """
        self._slope.zero_()
        if loss.requires_grad:
            loss.backward()
        return self._slope.clone()
