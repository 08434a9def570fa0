"""The mean loss of a network over samples: its data, its losses, and the picture of what it computes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from samviz.checks import check_array, check_shape
from samviz.problems.data import load
from samviz.problems.problem import Classes, Curve, Picture, Problem, Regions, Residuals

Data = str | tuple[ArrayLike, ArrayLike]
SampleLoss = Callable[[Tensor, Tensor], Tensor]  # outputs (m, ...), targets (m, ...) -> (m,)


def half_mean_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return half the mean of the squared errors over each sample's outputs: (m, c), (m, c) -> (m,)."""
    return ((outputs - targets) ** 2).flatten(1).mean(1) / 2


LOSSES: dict[str, SampleLoss] = {
    "mse": half_mean_square,
    "cross_entropy": partial(F.cross_entropy, reduction="none"),  # in nats
}


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
    """The mean loss of a network over samples; a subclass computes the outputs from parameters and inputs."""

    def __init__(self, data: Data, loss: str | SampleLoss) -> None:
        """Load the data and choose the loss; arguments as in `samviz.problems.mlp`."""
        if isinstance(data, str):
            inputs, targets = load(data)
        elif isinstance(data, tuple | list) and len(data) == 2:
            inputs, targets = (check_array("data", part, "arrays (n, ...) of real numbers", False) for part in data)
        else:
            found = f"a {type(data).__name__} of {len(data)}" if isinstance(data, tuple | list) else repr(data)
            raise TypeError(f"data is {found}; expected the name of a data set, or a pair (inputs, targets)")
        if min(inputs.ndim, targets.ndim) == 0:
            raise TypeError(f"data holds {inputs!r} and {targets!r:.200}; expected arrays (n, ...) of real numbers")
        if len(inputs) == 0 or len(inputs) != len(targets):
            raise ValueError(
                f"data has {len(inputs)} inputs and {len(targets)} targets; expected the same number, at least one"
            )
        if not (np.isfinite(inputs).all() and np.isfinite(targets).all()):
            raise ValueError("data contains NaN or infinity; drop or repair those samples")
        if not callable(loss) and (not isinstance(loss, str) or loss not in LOSSES):
            raise ValueError(
                f"loss is {loss!r}; expected one of {', '.join(LOSSES)}, or a function of outputs, targets"
            )
        self.data_name = data if isinstance(data, str) else "your data"
        self.loss_name = loss if isinstance(loss, str) else "your loss"
        self.sample_loss = LOSSES[loss] if isinstance(loss, str) else loss
        self.samples = len(inputs)
        self.inputs = torch.from_numpy(np.array(inputs, dtype=np.float64))  # (n, ...)
        integer = np.issubdtype(targets.dtype, np.integer)
        self.targets = torch.from_numpy(np.array(targets, dtype=np.int64 if integer else np.float64))
        if integer and targets.ndim == 1 and set(np.unique(targets)) <= {-1, 1}:
            self.targets = (self.targets + 1) // 2  # −1 and 1 are two classes as well
        self.labels = self.targets if integer and targets.ndim == 1 else None  # int64 (n,), for pictures

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
                self.targets = (2 * labels - 1)[:, None].double()
            elif width > high:
                self.targets = F.one_hot(labels, width).double()
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
            return Curve(*map(_array, (grid, curve, inputs[:, 0], self.targets.flatten())))
        if labels is not None and inputs.shape[1] == 2 and int(labels.max()) <= 1:
            first, second = axis(0, 0.1, 41), axis(1, 0.1, 41)
            grid = torch.stack(torch.meshgrid(first, second, indexing="xy"), -1).reshape(-1, 2)
            level = score(self.outputs(x, grid)[0]).view(41, 41)
            points = _array(inputs)
            return Regions(_array(first), _array(second), _array(level), points, labels.cpu().numpy())
        if labels is not None:
            guess = outputs.argmax(1) if outputs.shape[1] > 1 else (score(outputs) > 0).long()
            right = (guess == labels).double()
            return Classes(np.array([right[labels == c].mean().item() for c in labels.unique()]))
        return Residuals(_array(outputs.flatten()), _array(self.targets.flatten()))


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.cpu(), dtype=np.float64)
