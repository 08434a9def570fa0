"""The mean loss of a network over samples, with its data and its losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from samviz.checks import check_array, check_shape
from samviz.problems.data import load
from samviz.problems.picture import Classes, Curve, Picture, Regions, Residuals
from samviz.problems.problem import Problem
from samviz.problems.training import check_repeats

Data = str | tuple[ArrayLike, ArrayLike]
SampleLoss = Callable[[Tensor, Tensor], Tensor]  # outputs (m, ...), targets (m, ...) -> (m,)


def half_mean_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half the mean over a sample's outputs of the squared error: (m, c), (m, c) -> (m,)."""
    return ((outputs - targets) ** 2).flatten(1).mean(1) / 2


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each sample, in nats: (m, classes), int64 (m,) -> (m,)."""
    return F.cross_entropy(outputs, targets, reduction="none")


LOSSES: dict[str, SampleLoss] = {"mse": half_mean_square, "cross_entropy": cross_entropy}


class Network(Problem):
    """The mean loss of a network over samples; subclasses say how parameters turn inputs into outputs."""

    def __init__(self, data: Data, loss: str | SampleLoss) -> None:
        """Load the data and choose the loss; arguments as in `samviz.problems.mlp`."""
        if isinstance(data, str):
            inputs, targets = load(data)
        elif isinstance(data, tuple | list) and len(data) == 2:
            inputs, targets = (
                check_array("data", part, "arrays (n, ...) of real numbers", finite=False) for part in data
            )
        else:
            given = f"a {type(data).__name__} of {len(data)}" if isinstance(data, tuple | list) else repr(data)
            raise TypeError(f"data is {given}; expected the name of a data set, or a pair (inputs, targets)")
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
        """Bring the targets into the form that the loss takes, or say why that cannot be.

        The remedy goes before the width that there should be.
        """
        if self.loss_name == "mse":
            if self.labels is not None:  # classes become ±1, or one-hot vectors
                classes = int(self.labels.max()) + 1
                if int(self.labels.min()) < 0:
                    raise ValueError(
                        f"labels run from {int(self.labels.min())} to {classes - 1}; expected 0 and up, or -1 and 1"
                    )
                if width == 1 and classes <= 2:
                    self.targets = (2 * self.labels - 1)[:, None].double()
                elif width >= classes:
                    self.targets = F.one_hot(self.labels, width).double()
                else:
                    raise ValueError(
                        f"the network has {width} outputs for {classes} classes; expected {remedy} {classes}"
                    )
            else:
                self.targets = self.targets.reshape(self.samples, -1).double()
            if (numbers := self.targets[0].numel()) != width:
                raise ValueError(
                    f"the network has {width} outputs but a target has {numbers} numbers; expected {remedy} {numbers}"
                )
            self.square_targets = width
        elif self.loss_name == "cross_entropy":
            if self.labels is None:
                raise ValueError("loss is 'cross_entropy' but the targets are no integer labels (n,); use loss='mse'")
            if int(self.labels.min()) < 0 or int(self.labels.max()) >= width:
                raise ValueError(
                    f"labels run from {int(self.labels.min())} to {int(self.labels.max())}; "
                    f"expected 0 to {width - 1} for {width} outputs"
                )
        else:
            self._try_loss(width)

    def _try_loss(self, width: int) -> None:
        """Refuse a function of one's own that gives no loss for each sample, or none that can be differentiated."""
        n = min(2, self.samples)
        outputs = torch.linspace(0.1, 0.9, n * width, dtype=torch.float64).view(n, width).requires_grad_()
        losses = self.sample_loss(outputs, self.targets[:n])
        told = f"of shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else f"{losses!r:.200}"
        if not isinstance(losses, Tensor) or losses.shape != outputs.shape[:1]:
            raise TypeError(f"loss returned {told} for {len(outputs)} samples; expected the loss of each, (samples,)")
        if not losses.requires_grad:
            raise ValueError("loss has no derivative; expected operations that torch can differentiate, no detach()")
        check_repeats("loss", losses, self.sample_loss(outputs, self.targets[:n]), self.dtype)

    def outputs(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Network outputs.

        Args:
            x: (runs, dim), parameters.
            inputs: (n, ...) shared by all runs, or (runs, n, ...).

        Returns:
            (runs, n, outputs).
        """
        self._check_inputs(x, inputs, tuple(self.inputs.shape[1:]))
        return self._outputs(x, inputs, None)

    def sample_losses(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """The losses ℓ(f_k(x), y_k), exact for every sample.

        Args:
            x: (runs, dim), parameters.
            batch: int64 (runs, b), sample indices; None for all n.

        Returns:
            (runs, b), or (runs, n).
        """
        self._check(x, batch)
        return self._losses(*self._fit(x, batch))

    def _fit(self, x: Tensor, batch: Tensor | None) -> tuple[Tensor, Tensor]:
        """Outputs (runs, b or n, outputs) and the targets (runs, b or n, ...) that they should meet."""
        if batch is None:
            return self._outputs(x, self.inputs, None), self.targets.expand(len(x), *self.targets.shape)
        return self._outputs(x, self.inputs[batch], batch), self.targets[batch]

    @abstractmethod
    def _outputs(self, x: Tensor, inputs: Tensor, batch: Tensor | None) -> Tensor:
        """What the loss sees of a batch (runs, b) with these inputs: the outputs (runs, b or n, outputs)."""

    def _check_inputs(self, x: Tensor, inputs: Tensor, sample: tuple[int | str, ...]) -> None:
        """Refuse parameters that are not (runs, dim), and inputs that are not samples of a shape, as in `shaped`."""
        self._check(x)
        own = isinstance(inputs, Tensor) and inputs.ndim == len(sample) + 2  # every run has inputs of its own
        check_shape("inputs", inputs, (len(x), "n", *sample) if own else ("n", *sample), self.name)

    def _losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of every sample, (runs, b or n)."""
        return self.sample_loss(outputs.flatten(0, 1), targets.flatten(0, 1)).view(outputs.shape[:2])

    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Mean of the samples' losses, (runs,)."""
        return self.sample_losses(x, batch).mean(1)

    def noisy_gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Clean loss, (runs,), and gradient for noisy targets, (runs, dim); see `Problem.noisy_gradient`."""
        self._check(x, batch)
        self._check_noise(noise, x, batch)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            outputs, targets = self._fit(x, batch)
            noisy = self._losses(outputs, targets + noise.view_as(targets)).mean(1)
            (gradient,) = torch.autograd.grad(noisy.sum(), x)
        return self._losses(outputs.detach(), targets).mean(1), gradient

    @torch.no_grad()
    def picture(self, x: Tensor) -> Picture:
        """What the network computes: a curve, decision regions, accuracy per class, or predictions."""
        self._check(x)
        x = x[:1]
        outputs = self.outputs(x, self.inputs)[0]
        inputs = self.inputs.flatten(1)
        labels = self.labels
        if labels is None and inputs.shape[1] == 1 and outputs.shape[1:] == (1,):
            low, high = inputs.min().item(), inputs.max().item()
            margin = 0.15 * (high - low)
            grid = torch.linspace(low - margin, high + margin, 101, device=x.device, dtype=x.dtype)
            curve = self.outputs(x, grid[:, None])[0, :, 0]
            return Curve(*map(_plain, (grid, curve, inputs[:, 0], self.targets.flatten())))
        if labels is not None and inputs.shape[1] == 2 and int(labels.max()) <= 1:
            corners = torch.stack((inputs.min(0).values, inputs.max(0).values), 1)  # (2, low and high)
            margins = 0.1 * (corners[:, 1] - corners[:, 0])
            first, second = (
                torch.linspace(c[0] - m, c[1] + m, 41, device=x.device, dtype=x.dtype) for c, m in zip(corners, margins)
            )
            grid = torch.stack(torch.meshgrid(first, second, indexing="xy"), -1).reshape(-1, 2)
            score = _score(self.outputs(x, grid)[0]).view(41, 41)
            return Regions(_plain(first), _plain(second), _plain(score), _plain(inputs), labels.cpu().numpy())
        if labels is not None:
            guess = outputs.argmax(1) if outputs.shape[1] > 1 else (_score(outputs) > 0).long()
            right = (guess == labels).double()
            return Classes(np.array([right[labels == c].mean().item() for c in labels.unique()]))
        return Residuals(_plain(outputs.flatten()), _plain(self.targets.flatten()))


def _plain(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor as a numpy array in float64."""
    return np.asarray(tensor.cpu(), dtype=np.float64)


def _score(outputs: Tensor) -> Tensor:
    """Evidence for the second of two classes, positive when it wins: (n, 1 or 2) -> (n,)."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
