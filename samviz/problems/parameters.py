"""A module's parameters as one vector: which of them, in which filters, and where in memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from samviz.checks import check_type


def chosen(name: str, module: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, torch.Size]:
    """The parameters of a module that vary.

    Args:
        name: the argument's, for messages.
        module: with parameters that are trained.
        patterns: of the names of those that vary, such as "layer4.*"; None for all that are trained.

    Returns:
        Their shapes by name, in the module's order.

    Raises:
        ValueError: when none is trained, a pattern fits none, or one is not real.
    """
    trainable = {key: p for key, p in module.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError(f"{name} has no parameter with requires_grad, so that nothing can vary; make one require it")
    wanted = ["*"] if patterns is None else [patterns] if isinstance(patterns, str) else patterns
    check_type("names", wanted, Collection, "patterns of parameters' names, or None")
    for pattern in wanted or [""]:
        if not any(isinstance(pattern, str) and fnmatchcase(key, pattern) for key in trainable):
            known = ", ".join(trainable)
            raise ValueError(f"names is {patterns!r:.200}; {pattern!r} fits none of {known:.500}: use some of these")
    found = {key: p for key, p in trainable.items() if any(fnmatchcase(key, pattern) for pattern in wanted)}
    if odd := [key for key, p in found.items() if not p.is_floating_point()]:
        raise ValueError(f"{name} has parameters that are not real numbers: {', '.join(odd)}; freeze or convert them")
    return {key: p.shape for key, p in found.items()}


def by_name(x: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The parameters that a point (dim,) holds one after the other, as views of it."""
    parts = x.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for part, (name, shape) in zip(parts, shapes.items())}


def filters_of(shapes: Iterable[tuple[int, ...]]) -> Tensor:
    """Filter of each parameter: one per output unit of a weight, -1 for vectors (biases, norms)."""
    parts, count = [], 0
    for shape in shapes:
        size = math.prod(shape)
        if len(shape) < 2:
            parts.append(torch.full((size,), -1))
        else:
            parts.append(torch.arange(count, count + shape[0]).repeat_interleave(size // shape[0]))
            count += shape[0]
    return torch.cat(parts) if count else torch.zeros(sum(map(len, parts)), dtype=torch.int64)


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
