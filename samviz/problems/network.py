"""The mean loss of a network over samples, the picture of what it computes, and the multilayer perceptron."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from copy import copy, deepcopy
from functools import partial
from numbers import Integral
from typing import Any, Self
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from samviz.checks import check_array, check_shape, seeded_generator
from samviz.kernels import Floats, Kernels
from samviz.problems.data import load
from samviz.problems.problem import (
    Classes,
    Curve,
    Operator,
    Picture,
    Problem,
    Regions,
    Residuals,
    filters_of,
    is_small,
    on_host,
)

Data = str | tuple[ArrayLike, ArrayLike]
SampleLoss = Callable[[Tensor, Tensor], Tensor]  # outputs (m, ...), targets (m, ...) -> (m,)


def half_mean_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return half the mean of the squared errors over each sample's outputs: (m, c), (m, c) -> (m,)."""
    return ((outputs - targets) ** 2).flatten(1).mean(1) / 2


LOSSES: dict[str, SampleLoss] = {
    "mse": half_mean_square,
    "cross_entropy": partial(F.cross_entropy, reduction="none"),  # in nats
}


def in_precision(loss: Any, dtype: torch.dtype) -> Any:
    """Return a loss function; a copy in a higher precision if it is a module whose weights have a lower one."""
    tensors = [*loss.parameters(), *loss.buffers()] if isinstance(loss, nn.Module) else []
    if any(tensor.is_floating_point() and tensor.dtype.itemsize < dtype.itemsize for tensor in tensors):
        return deepcopy(loss).to(dtype)
    return loss


def check_repeats(first: Tensor, second: Tensor, precision: torch.dtype) -> None:
    """Refuse two losses at the same point, with the same random numbers, that differ by more than rounding."""
    before, after = first.detach().cpu().double(), second.detach().cpu().double()
    tolerance = 1000 * torch.finfo(precision).eps  # summing in another order changes a value by less
    if not torch.allclose(before, after, rtol=tolerance, atol=tolerance, equal_nan=True):
        raise ValueError(
            f"the loss gave {before.tolist()} and then {after.tolist()} for the same parameters and samples, so it is "
            "not a function of the parameters; expected the same value each time. Draw the random numbers of model and "
            "loss once, outside, and remove whatever changes by itself, such as an own generator or the clock"
        )


class Network(Problem):
    """The mean loss of a network over samples; a subclass computes the outputs from parameters and inputs.

    Args:
        data: as in `mlp`.
        loss: as in `mlp`.
    """

    test: tuple[Tensor, Tensor] | None = None  # inputs (m, ...) and labels int64 (m,), on the CPU

    def __init__(self, data: Data, loss: str | SampleLoss) -> None:
        if isinstance(data, str):
            inputs, targets = load(data)
        elif isinstance(data, tuple | list) and len(data) == 2:
            inputs, targets = (check_array("data", part, "arrays (n, ...) of finite real numbers") for part in data)
        else:
            found = f"a {type(data).__name__} of {len(data)}" if isinstance(data, tuple | list) else repr(data)
            raise TypeError(f"data is {found}; expected the name of a data set, or a pair (inputs, targets)")
        if min(inputs.ndim, targets.ndim) == 0:
            raise TypeError(f"data holds {inputs!r} and {targets!r:.200}; expected arrays (n, ...) of real numbers")
        if len(inputs) == 0 or len(inputs) != len(targets):
            raise ValueError(
                f"data has {len(inputs)} inputs and {len(targets)} targets; expected the same number, at least one"
            )
        if not callable(loss) and (not isinstance(loss, str) or loss not in LOSSES):
            raise ValueError(
                f"loss is {loss!r}; expected one of {', '.join(LOSSES)}, or a function of outputs, targets"
            )
        self.data_name = data if isinstance(data, str) else "your data"
        self.loss_name = loss if isinstance(loss, str) else "your loss"
        self.sample_loss = LOSSES[loss] if isinstance(loss, str) else in_precision(loss, self.dtype)
        self.samples = len(inputs)
        self.inputs = torch.from_numpy(np.array(inputs, dtype=np.float64))  # (n, ...)
        integer = np.issubdtype(targets.dtype, np.integer)
        self.targets = torch.from_numpy(np.array(targets, dtype=np.int64 if integer else np.float64))
        if integer and targets.ndim == 1 and set(np.unique(targets)) <= {-1, 1}:
            self.targets = (self.targets + 1) // 2  # −1 and 1 are two classes as well
        self.labels = self.targets if integer and targets.ndim == 1 else None  # int64 (n,), for pictures

    def with_test(self, inputs: ArrayLike, labels: ArrayLike) -> Self:
        """Return the classifier with samples on which its accuracy is measured, but on which it is not trained.

        Args:
            inputs: (m, ...), as those of the training samples.
            labels: integers (m,).

        Raises:
            ValueError, TypeError: if they do not fit, or the targets are no labels.

        >>> inputs, labels = load("digits")
        >>> problem = mlp([64, 10], data=(inputs[:300], labels[:300])).with_test(inputs[300:], labels[300:])
        >>> problem.samples, len(problem.test[1])
        (300, 1497)
        """
        result = copy(self)
        result.test = labelled_samples(self, (inputs, labels))
        return result

    def _fit_targets(self, width: int, remedy: str) -> None:
        """Convert the targets for the loss of `width` outputs; errors end in the remedy and the width it needs."""
        labels = self.labels
        low, high = (0, 0) if labels is None else (int(labels.min()), int(labels.max()))
        if self.loss_name == "cross_entropy":
            if labels is None:
                raise ValueError("loss is 'cross_entropy' but the targets are no integer labels (n,); use loss='mse'")
            if low < 0 or high >= width:
                raise ValueError(f"labels run from {low} to {high}; expected 0 to {width - 1} for {width} outputs")
        elif self.loss_name == "mse":
            if labels is None:
                self.targets = self.targets.reshape(self.samples, -1).double()
            elif low < 0:
                raise ValueError(f"labels run from {low} to {high}; expected 0 and up, or -1 and 1")
            elif width == 1 and high <= 1:
                self.targets = (2 * labels - 1)[:, None].to(self.dtype)
            elif width > high:
                self.targets = F.one_hot(labels, width).to(self.dtype)
            else:
                raise ValueError(
                    f"the network has {width} outputs for {high + 1} classes; expected {remedy} {high + 1}"
                )
            if (length := self.targets[0].numel()) != width:
                raise ValueError(
                    f"the network has {width} outputs but a target has {length} numbers; expected {remedy} {length}"
                )
            self.square_targets = width

    def _check_loss(self) -> None:
        """Refuse a loss that is not one number for each sample, has no derivative, or gives another value each time."""
        x, batch = self.initial()[None].requires_grad_(), torch.arange(min(2, self.samples))[None]
        outputs, targets = self._outputs_and_targets(x, batch)
        losses = self.sample_loss(outputs[0], targets[0])
        if not isinstance(losses, Tensor) or losses.shape != batch[0].shape:
            result = f"of shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else f"{losses!r:.200}"
            raise TypeError(
                f"loss returned {result} for {batch.numel()} samples; expected the loss of each, (samples,)"
            )
        if outputs.requires_grad and not losses.requires_grad:
            raise ValueError("loss has no derivative; expected operations that torch can differentiate, no detach()")
        check_repeats(losses, self.sample_losses(x, batch)[0], self.dtype)

    def outputs(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Return the network's outputs.

        Args:
            x: (runs, dim), parameters.
            inputs: (n, ...) shared by all runs, or (runs, n, ...).

        Returns:
            (runs, n, outputs).
        """
        self._check_inputs(x, inputs, tuple(self.inputs.shape[1:]))
        return self._outputs(x, inputs, None)

    def sample_losses(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return the losses ℓ(f_k(x), y_k), exact for every sample.

        Args:
            x: (runs, dim), parameters.
            batch: int64 (runs, b), sample indices; None for all n.

        Returns:
            (runs, b), or (runs, n).
        """
        self._check(x, batch)
        return self._losses(*self._outputs_and_targets(x, batch))

    def _outputs_and_targets(self, x: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return outputs (runs, b or n, outputs) and targets (runs, b or n, ...)."""
        if batch is None:
            return self._outputs(x, self.inputs, None), self.targets.expand(len(x), *self.targets.shape)
        return self._outputs(x, self.inputs[batch], batch), self.targets[batch]

    @abstractmethod
    def _outputs(self, x: Tensor, inputs: Tensor, batch: Tensor | None) -> Tensor:
        """Return the outputs (runs, b or n, outputs) for the inputs of a batch (runs, b), as the loss uses them."""

    def _check_inputs(self, x: Tensor, inputs: Tensor, sample: tuple[int | str, ...]) -> None:
        """Refuse inputs that are not (n, *sample) or (runs, n, *sample)."""
        self._check(x)
        per_run = isinstance(inputs, Tensor) and inputs.ndim == len(sample) + 2
        check_shape("inputs", inputs, (len(x), "n", *sample) if per_run else ("n", *sample), self.name)

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.sample_loss(outputs.flatten(0, 1), targets.flatten(0, 1)).view(outputs.shape[:2])

    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return the mean of the samples' losses, (runs,)."""
        return self.sample_losses(x, batch).mean(1)

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        if noise is None:
            return super()._gradient(x, batch, None)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            outputs, targets = self._outputs_and_targets(x, batch)
            noisy = self._losses(outputs, targets + noise.view_as(targets)).mean(1)
            (gradient,) = torch.autograd.grad(noisy.sum(), x)
        return self._losses(outputs.detach(), targets).mean(1), gradient

    @torch.no_grad()
    def picture(self, x: Tensor) -> Picture:
        """Return what the network computes: a curve, decision regions, accuracy per class, or predictions."""
        self._check(x)
        x, inputs, labels = x[:1], self.inputs.flatten(1), self.labels
        outputs = self.outputs(x, self.inputs)[0]
        low, high = inputs.min(0).values, inputs.max(0).values

        def axis(k: int, margin: float, n: int) -> Tensor:
            span = margin * (high[k] - low[k]).item()
            return torch.linspace(low[k].item() - span, high[k].item() + span, n, device=x.device, dtype=x.dtype)

        def score(at: Tensor) -> Tensor:  # evidence for the second of two classes
            return at[:, 0] if at.shape[1] == 1 else at[:, 1] - at[:, 0]

        if labels is None and inputs.shape[1] == 1 and outputs.shape[1:] == (1,):
            grid = axis(0, 0.15, 101)
            curve = self.outputs(x, grid[:, None])[0, :, 0]
            return Curve(*map(on_host, (grid, curve, inputs[:, 0], self.targets.flatten())))
        if labels is not None and inputs.shape[1] == 2 and int(labels.max()) <= 1:
            first, second = axis(0, 0.1, 41), axis(1, 0.1, 41)
            grid = torch.stack(torch.meshgrid(first, second, indexing="xy"), -1).reshape(-1, 2)
            level = score(self.outputs(x, grid)[0]).view(41, 41)
            points = on_host(inputs)
            return Regions(on_host(first), on_host(second), on_host(level), points, labels.cpu().numpy())
        if labels is not None:
            guess = outputs.argmax(1) if outputs.shape[1] > 1 else (score(outputs) > 0).long()
            right = (guess == labels).double()
            return Classes(np.array([right[labels == c].mean().item() for c in labels.unique()]))
        return Residuals(on_host(outputs.flatten()), on_host(self.targets.flatten()))


def labelled_samples(problem: Problem, test: tuple[ArrayLike, ArrayLike]) -> tuple[Tensor, Tensor]:
    """Return the test set as tensors: inputs (m, ...) as the network takes them, and int64 labels (m,)."""
    if not isinstance(problem, Network) or problem.labels is None:
        raise ValueError(f"test is given but {problem.name} is no classifier; expected a network on integer labels")
    inputs, labels = (np.asarray(part) for part in test)
    shape = tuple(problem.inputs.shape[1:])
    if len(inputs) == 0 or labels.shape != inputs.shape[:1] or inputs[0].size != int(np.prod(shape)):
        expected = f"inputs (m, {', '.join(map(str, shape))}) and labels (m,)"
        raise ValueError(f"test holds {inputs.shape} and {labels.shape}; expected {expected}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"test labels are {labels.dtype}; expected integers, classes counted from 0")
    if set(np.unique(labels)) <= {-1, 1}:
        labels = (labels + 1) // 2  # as for the training samples
    return torch.from_numpy(inputs.astype(np.float64)).reshape(-1, *shape), torch.from_numpy(labels.astype(np.int64))


# The multilayer perceptron, whose forward pass is one batch over all runs

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
    """The loss of a multilayer perceptron on data, in float64 on the CPU.

    A layer's parameters are its weights (out, in), row by row, then its biases.

    Args:
        widths: number of neurons of every layer, inputs first, outputs last.
        activation: "tanh", "relu", "gelu", "softplus", "sigmoid" or "identity", between layers.
        data: "sine", "spirals", "digits", or (inputs (n, ...), targets): float targets (n,) or (n, outputs),
            or integer labels (n,).
        loss: "mse", half the mean square (labels become ±1 or one-hot); "cross_entropy", in nats; or a function
            of outputs (m, c) and targets (m, ...) that returns each sample's loss (m,).

    Raises:
        ValueError: when widths, activation, data and loss do not fit together.

    >>> mlp([1, 24, 24, 1], activation="tanh", data="sine").dim
    673
    """

    def __init__(
        self, widths: Sequence[int], activation: str = "tanh", data: Data = "sine", loss: str | SampleLoss = "mse"
    ) -> None:
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
        if self.labels is not None and self.loss_name in LOSSES and self.widths[-1] > max(1, int(self.labels.max())):
            self.losses = tuple(LOSSES)
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
        from samviz.kernels.mlp import products

        point, kept = _array(x), np.empty((len(x), 3 * shape[1]))
        _fill(arrays, point, _indices(batch, len(x)), np.zeros((len(x), 0)), np.empty((len(x), 0)), kept)

        def product(v: Tensor) -> Tensor:
            vectors = _array(v)
            out = np.empty_like(vectors)
            products(arrays.ints, point, vectors, kept, used, out)
            return torch.from_numpy(out)

        return product

    def _slice(self, origin: Tensor, directions: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the loss on a plane, compiled if possible."""
        # The kernels compute in the origin's precision from data in float64, which not every device has.
        arrays = self.to("cpu", torch.float64).compiled() if is_small(self) else None
        if arrays is None:
            return super()._slice(origin, directions)
        from samviz.kernels.mlp import plane_losses

        point, plane, (i, o) = _array(origin), _array(directions), self.layers[0]
        floats, vectors = arrays.floats.astype(point.dtype), torch.cat((origin[None], directions)).detach()
        inputs, weights = torch.from_numpy(floats[: self.samples * i]).view(-1, i), vectors[:, : i * o].view(3, o, i)
        first = (inputs @ weights.mT + vectors[:, None, i * o : i * o + o]).view(3, -1).numpy()

        def losses(points: Tensor) -> Tensor:
            out = np.zeros(len(points), dtype=point.dtype)
            plane_losses(floats, arrays.ints, point, plane, first, _array(points), out)
            return torch.from_numpy(out)

        return losses

    def _kernels(self) -> Kernels | None:
        if self.closed and self not in _arrays:
            from samviz.kernels.mlp import WORKSPACE, description, mlp_gradient, mlp_product

            square = self.loss_name == "mse"
            labels = [] if square else self.targets.tolist()
            ints = description(self.samples, self.widths, self.activation, self.loss_name, labels)
            floats = torch.cat((self.inputs.flatten(), self.targets.flatten() if square else self.inputs.new_empty(0)))
            _arrays[self] = Kernels(mlp_gradient(), mlp_product, floats.numpy(), ints, int(ints[WORKSPACE]))
        return _arrays.get(self)

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the gradient by backpropagation in closed form, compiled if possible, else by autograd."""
        if not self.closed:
            return super()._gradient(x, batch, noise)
        if (arrays := self.compiled()) is not None:
            points = _array(x)
            added = np.zeros((len(x), 0)) if noise is None else _array(noise).reshape(len(x), -1)
            out, workspace = np.empty_like(points), np.empty((1, arrays.workspace))
            losses = _fill(arrays, points, _indices(batch, len(x)), added, out, workspace)
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

    def with_loss(self, loss_name: str) -> Problem:
        """Return the network with another loss: "mse" or "cross_entropy", if there is an output for each class."""
        super().with_loss(loss_name)
        if loss_name in ("", self.loss_name):
            return self
        others = _with_other_loss.setdefault(self, {})
        if loss_name not in others:
            others[loss_name] = other = copy(self)
            assert self.labels is not None
            other.loss_name, other.sample_loss = loss_name, LOSSES[loss_name]
            other.targets, other.square_targets = self.labels, 0
            other._fit_targets(self.widths[-1], "widths that end in")
        return others[loss_name]

    def initial(self, seed: int = 0) -> Tensor:
        """Draw weights and biases uniformly from ±1/√fan_in, torch's default for linear layers."""
        generator = seeded_generator(seed)
        parts = [
            (2 * torch.rand((fan_in + 1) * fan_out, generator=generator, dtype=torch.float64) - 1) / math.sqrt(fan_in)
            for fan_in, fan_out in self.layers
        ]
        return torch.cat(parts).to(self.device, self.dtype)


mlp = MLP

_arrays: WeakKeyDictionary[MLP, Kernels] = WeakKeyDictionary()  # so that data is copied once
_with_other_loss: WeakKeyDictionary[MLP, dict[str, MLP]] = WeakKeyDictionary()


def _fill(
    arrays: Kernels, x: Floats, batches: NDArray[np.int64], noise: Floats, out: Floats, workspaces: Floats
) -> Floats:
    """Return the losses (runs,), and fill the gradients (runs, dim) or, if they are empty, what products need."""
    from samviz.kernels.primitives import batched_gradient

    losses = np.empty(len(x))
    batched_gradient(arrays.gradient, arrays.floats, arrays.ints, workspaces, x, batches, noise, out, losses)
    return losses


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
