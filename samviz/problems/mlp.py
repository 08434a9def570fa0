"""A multilayer perceptron whose forward pass is one batch over all runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from samviz.checks import seeded_generator
from samviz.kernels import ACTIVATION_KINDS, LOSS_KINDS, Kernels
from samviz.problems.device import is_small
from samviz.problems.network import LOSSES, Data, Network, SampleLoss
from samviz.problems.problem import Operator, filters_of

MAX_ACTIVATIONS = 2**22  # kept for Hessian-vector products: 100 MB in all

# The derivative of each activation at z as a function of a = activation(z), if a determines it.
SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda a: 1 - a * a,
    "relu": lambda a: (a > 0).to(a.dtype),
    "softplus": lambda a: -torch.expm1(-a),
    "sigmoid": lambda a: a * (1 - a),
    "identity": torch.ones_like,
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "identity": lambda z: z,
}


class MLP(Network):
    """A fully connected network; a layer's parameters are its weights (out, in), row by row, then its biases."""

    def __init__(self, widths: Sequence[int], activation: str, data: Data, loss: str | SampleLoss) -> None:
        """Arguments as in `mlp`."""
        if not isinstance(activation, str) or activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        sizes = list(widths) if isinstance(widths, Iterable) else [widths]
        if len(sizes) < 2 or not all(isinstance(w, Integral) and w >= 1 and w is not True for w in sizes):
            found = sizes if isinstance(widths, Iterable) else widths
            raise ValueError(f"widths is {found!r}; expected two or more positive integers, inputs to outputs")
        self.widths = tuple(map(int, sizes))
        super().__init__(data, loss)
        self.inputs = self.inputs.reshape(self.samples, -1)
        if (inputs := self.inputs.shape[1]) != self.widths[0]:
            raise ValueError(f"widths[0] is {self.widths[0]} but the data has {inputs} inputs; expected {inputs}")
        self._fit_targets(self.widths[-1], "widths that end in")
        self.activation = activation
        self.layers = list(zip(self.widths[:-1], self.widths[1:]))  # (in, out)
        self.dim = sum((fan_in + 1) * fan_out for fan_in, fan_out in self.layers)
        self.filters = filters_of([shape for i, o in self.layers for shape in ((o, i), (o,))])
        self.name = f"{'-'.join(map(str, self.widths))} {activation} MLP on {self.data_name}"
        self.closed = activation in SLOPES and self.loss_name in LOSSES
        self._check_loss()

    def _outputs(self, x: Tensor, inputs: Tensor, batch: Tensor | None) -> Tensor:
        """Return the outputs (runs, n, outputs)."""
        return self._forward(x, inputs)[0][-1]

    def _forward(self, x: Tensor, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the activations (runs, n, width) of the layers, inputs first, and the weights (runs, out, in)."""
        runs, start = len(x), 0
        layers = [inputs if inputs.ndim == 3 else inputs.expand(runs, *inputs.shape)]
        weights: list[Tensor] = []
        for fan_in, fan_out in self.layers:
            if weights:
                layers[-1] = ACTIVATIONS[self.activation](layers[-1])
            end = start + fan_in * fan_out
            weights.append(x[:, start:end].view(runs, fan_out, fan_in))
            layers.append(torch.baddbmm(x[:, None, end : end + fan_out], layers[-1], weights[-1].mT))
            start = end + fan_out
        return layers, weights

    def _hvp(self, x: Tensor, batch: Tensor | None) -> Operator:
        """Return the product by the compiled R-operator if possible, else by autograd."""
        arrays = self.compiled()
        used = self.samples if batch is None else batch.shape[1]
        shape = len(x), used * sum(self.widths)
        if arrays is None or math.prod(shape) > MAX_ACTIVATIONS:
            return super()._hvp(x, batch)
        from samviz.kernels.mlp import linearized, products

        point, samples = _array(x), _indices(batch, len(x))
        acts, ups, deltas = np.empty(shape), np.empty(shape), np.empty(shape)
        linearized(arrays.floats, arrays.ints, point, samples, acts, ups, deltas)

        def product(v: Tensor) -> Tensor:
            vectors = _array(v)
            out = np.empty_like(vectors)
            products(arrays.ints, point, vectors, acts, ups, deltas, used, out)
            return torch.from_numpy(out)

        return product

    def _slice(self, origin: Tensor, directions: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the loss on a plane, compiled if possible."""
        # The kernels compute in the origin's precision from data in float64, which not every device has.
        arrays = self.to("cpu", torch.float64).compiled() if is_small(self) else None
        if arrays is None:
            return super()._slice(origin, directions)
        from samviz.kernels.mlp import plane_losses, plane_preactivations

        point, plane = _array(origin), _array(directions)
        floats = arrays.floats.astype(point.dtype)
        first = plane_preactivations(floats, arrays.ints, point, plane)

        def losses(points: Tensor) -> Tensor:
            out = np.zeros(len(points), dtype=point.dtype)
            plane_losses(floats, arrays.ints, point, plane, first, _array(points), out)
            return torch.from_numpy(out)

        return losses

    def _kernels(self) -> Kernels | None:
        if self.closed and self not in _arrays:
            from samviz.kernels.mlp import mlp_gradient, mlp_product, workspace_length

            square = self.loss_name == "mse"
            kind = ACTIVATION_KINDS.index(self.activation), LOSS_KINDS.index(self.loss_name)
            labels = [] if square else self.targets.tolist()
            ints = np.array([self.samples, len(self.layers), *kind, *self.widths, *labels])
            floats = torch.cat((self.inputs.flatten(), self.targets.flatten() if square else self.inputs.new_empty(0)))
            length = workspace_length(ints, self.samples)
            _arrays[self] = Kernels(mlp_gradient(), mlp_product, floats.numpy(), ints, length)
        return _arrays.get(self)

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the gradient by backpropagation in closed form, compiled if possible, else by autograd."""
        if not self.closed:
            return super()._gradient(x, batch, noise)
        if (arrays := self.compiled()) is not None:
            from samviz.kernels.primitives import batched_gradient

            points = _array(x)
            added = np.zeros((len(x), 0)) if noise is None else _array(noise).reshape(len(x), -1)
            losses, out = np.empty(len(x)), np.empty_like(points)
            data = arrays.gradient, arrays.floats, arrays.ints, arrays.workspace
            batched_gradient(*data, points, _indices(batch, len(x)), added, out, losses)
            return torch.from_numpy(losses), torch.from_numpy(out)
        inputs, targets = (self.inputs, self.targets) if batch is None else (self.inputs[batch], self.targets[batch])
        with torch.no_grad():
            layers, weights = self._forward(x, inputs)
            loss, delta = _loss_and_slope(layers[-1], targets, self.loss_name, noise)
            gradient = torch.empty_like(x)
            end = self.dim
            for depth in reversed(range(len(weights))):
                fan_in, fan_out = self.layers[depth]
                start = end - fan_out
                torch.sum(delta, 1, out=gradient[:, start:end])
                end = start - fan_in * fan_out
                gradient[:, end:start].view(len(x), fan_out, fan_in).copy_(delta.mT @ layers[depth])
                if depth:
                    delta = (delta @ weights[depth]).mul_(SLOPES[self.activation](layers[depth]))
        return loss, gradient

    def initial(self, seed: int = 0) -> Tensor:
        """Draw weights and biases uniformly from ±1/√fan_in, torch's default for linear layers."""
        generator = seeded_generator(seed)
        parts = [
            (2 * torch.rand((fan_in + 1) * fan_out, generator=generator, dtype=torch.float64) - 1) / math.sqrt(fan_in)
            for fan_in, fan_out in self.layers
        ]
        return torch.cat(parts).to(self.device, self.dtype)


_arrays: WeakKeyDictionary[MLP, Kernels] = WeakKeyDictionary()  # so that data is copied once


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return np.ascontiguousarray(tensor.detach().numpy())


def _indices(batch: Tensor | None, runs: int) -> NDArray[np.int64]:
    """Return sample indices (runs, b), b = 0 for the full batch."""
    return np.zeros((runs, 0), dtype=np.int64) if batch is None else np.ascontiguousarray(batch.numpy())


def _loss_and_slope(outputs: Tensor, targets: Tensor, loss: str, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean loss (runs,) of outputs (runs, n, c), and its derivative, for which the targets have noise."""
    n = outputs.shape[1]
    if loss == "mse":
        error = outputs - targets
        scale = 1 / (n * outputs.shape[2])
        value = (error * error).sum((1, 2)) * (scale / 2)
        return value, (error if noise is None else error - noise) * scale
    logs = outputs.log_softmax(2)
    hot = F.one_hot(targets, outputs.shape[2]).to(outputs.dtype)
    return -(logs * hot).sum((1, 2)) / n, (logs.exp() - hot) / n


def mlp(widths: Sequence[int], activation: str = "tanh", data: Data = "sine", loss: str | SampleLoss = "mse") -> MLP:
    """Return the loss of a multilayer perceptron on data.

    Args:
        widths: number of neurons of every layer, inputs first, outputs last.
        activation: "tanh", "relu", "gelu", "softplus", "sigmoid" or "identity", between layers.
        data: "sine", "spirals", "digits", or (inputs (n, ...), targets): float targets (n,) or (n, outputs),
            or integer labels (n,).
        loss: "mse", half the mean square (labels become ±1 or one-hot); "cross_entropy", in nats; or a function
            of outputs (m, c) and targets (m, ...) that returns each sample's loss (m,).

    Returns:
        The problem, float64 on the CPU.

    Raises:
        ValueError: when widths, activation, data and loss do not fit together.

    >>> mlp([1, 24, 24, 1], activation="tanh", data="sine").dim
    673
    """
    return MLP(widths, activation, data, loss)
