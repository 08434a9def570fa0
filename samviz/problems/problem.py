"""The interface of every problem: a loss of many parameter vectors at once, its derivatives, and where to compute."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from samviz.checks import check_array, check_shape
from samviz.kernels import Kernels, available

Operator = Callable[[Tensor], Tensor]  # (runs, k, dim) -> (runs, k, dim)
Array = NDArray[np.float64]

CHUNK = 2**22  # numbers that a batched evaluation may keep per layer: limits memory to about 100 MB


class Curve(NamedTuple):
    """A function of one input, with its data."""

    inputs: Array  # (grid,)
    outputs: Array  # (grid,)
    data_inputs: Array  # (n,)
    data_targets: Array  # (n,)


class Regions(NamedTuple):
    """A classifier of the plane, with its data."""

    axis1: Array  # (grid1,)
    axis2: Array  # (grid2,)
    score: Array  # (grid2, grid1), above 0 for the second class
    points: Array  # (n, 2)
    labels: NDArray[np.int64]  # (n,)


class Classes(NamedTuple):
    """The accuracy of a classifier on each class."""

    accuracy: Array  # (classes,), in [0, 1]


class Residuals(NamedTuple):
    """Predictions next to their targets."""

    predictions: Array  # (n,)
    targets: Array  # (n,)


class Coordinates(NamedTuple):
    """The distance from the minimum along each Hessian eigenvector, the top one first."""

    distance: Array  # (dim,)


class Floor(NamedTuple):
    """A point of the valley projected to Γ, with λ₁ on Γ."""

    axis: Array  # (grid,), of x₁ and of x₂
    level: Array  # (grid, grid), λ₁; rows are x₂
    point: Array  # (2,)


Picture = Curve | Regions | Classes | Residuals | Coordinates | Floor


class Problem(ABC):
    """A batched loss L: parameters of shape (runs, dim) give losses of shape (runs,).

    Runs are independent, so one backward pass of the sum gives the gradient of every run. A subclass defines `loss`
    and `initial`, and overrides whatever it has in closed form.

    Attributes:
        name: what the problem is called in plots and messages.
        dim: D, number of parameters.
        samples: n, number of samples that the loss is the mean over; 0 if it is not a mean.
        filters: int64 (dim,), the filter (a neuron's incoming weights) that each parameter belongs to;
            -1 where filter normalization leaves the parameter unchanged (biases).
        square_targets: c, number of targets of each sample that a square loss fits; 0 if the loss is not square.
        loss_name: name of a network's loss; empty for other problems.
        losses: names of the losses that `with_loss` offers; none if there is no choice.
        closed: whether loss and gradient are in closed form and never wait for a number on the CPU.
        device: where the problem's tensors are.
        dtype: their floating-point type.
    """

    name: str
    dim: int
    samples: int = 0
    filters: Tensor
    square_targets: int = 0
    loss_name: str = ""
    losses: tuple[str, ...] = ()
    closed: bool = False
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float64

    @property
    def work(self) -> float:
        """Samples times parameters, the approximate cost of one evaluation of the loss."""
        return max(self.samples, 1) * self.dim

    @property
    def at_once(self) -> int:
        """Number of parameter vectors that one evaluation of the loss may take without using much memory."""
        return max(1, CHUNK // 4 // (max(self.samples, 1) * max(self.dim // 8, 8)))

    @abstractmethod
    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return the loss of every run.

        Args:
            x: (runs, dim), parameters.
            batch: int64 (runs, b), indices of the samples to average over; None for all of them.

        Returns:
            (runs,), differentiable in x.
        """

    def gradient(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the losses (runs,) and the gradients (runs, dim), detached; arguments as in `loss`."""
        self._check(x, batch)
        return self._gradient(x, batch, None)

    def noisy_gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of a square loss with noise on its targets, for problems that have `square_targets`.

        Args:
            x: (runs, dim), parameters.
            batch: int64 (runs, b), sample indices; None for all n.
            noise: (runs, b or n, square_targets), added to the targets.

        Returns:
            The losses (runs,) of the clean targets and the gradients (runs, dim) of the noisy ones; with zero noise
            they are bit-for-bit those of `gradient`.
        """
        self._check(x, batch)
        if not self.square_targets:
            raise NotImplementedError(f"{self.name} has no square loss")
        used = self.samples if batch is None else batch.shape[1]
        check_shape("noise", noise, (len(x), used, self.square_targets), self.name)
        return self._gradient(x, batch, noise)

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return losses and gradients at checked arguments; there is noise only if the loss is square."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            loss = self.loss(x, batch)
            (gradient,) = torch.autograd.grad(loss.sum(), x)
        return loss.detach(), gradient

    def hvp(self, x: Tensor, batch: Tensor | None = None) -> Operator:
        """Return the Hessian-vector product at x, a function from v (runs, k, dim) to Hv (runs, k, dim).

        Arguments as in `loss`.
        """
        self._check(x, batch)
        multiply = self._hvp(x, batch)

        def product(v: Tensor) -> Tensor:
            check_shape("v", v, (len(x), "k", self.dim), self.name, empty=True)
            return multiply(v)

        return product

    def _hvp(self, x: Tensor, batch: Tensor | None) -> Operator:
        """Return the product by reverse over reverse, which keeps the graph of the gradient for each k."""
        graphs: dict[int, tuple[Tensor, Tensor]] = {}

        def product(v: Tensor) -> Tensor:
            if not (width := v.shape[1]):
                return torch.zeros_like(v)
            with torch.enable_grad():
                if width not in graphs:
                    copies = x.detach().repeat_interleave(width, 0).requires_grad_()  # (runs·k, dim)
                    rows = None if batch is None else batch.repeat_interleave(width, 0)
                    (gradient,) = torch.autograd.grad(self.loss(copies, rows).sum(), copies, create_graph=True)
                    graphs[width] = copies, gradient
                copies, gradient = graphs[width]
                if not gradient.requires_grad:  # the loss is linear in its parameters
                    return torch.zeros_like(v)
                (hv,) = torch.autograd.grad(gradient, copies, v.reshape(-1, self.dim), retain_graph=True)
            return hv.view_as(v)

        return product

    def hessian(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return the dense Hessians (runs, dim, dim), symmetric; arguments as in `loss`."""
        self._check(x, batch)
        used = max(self.samples, 1) if batch is None else batch.shape[1]
        rows = max(1, CHUNK // (used * len(x) * self.dim))
        identity = torch.eye(self.dim, dtype=x.dtype, device=x.device)
        blocks = [self.hvp(x, batch)(block.expand(len(x), -1, -1)) for block in identity.split(rows)]
        hessian = torch.cat(blocks, 1)
        return (hessian + hessian.mT) / 2

    def compiled(self) -> Kernels | None:
        """Return the problem for the compiled engine; None if it has no such form or is large, or numba is missing."""
        return self._kernels() if is_small(self) and self.dtype == torch.float64 and available() else None

    def _kernels(self) -> Kernels | None:
        return None

    def slice(self, origin: Tensor, directions: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the loss on a plane, without a graph.

        Args:
            origin: (dim,), parameters.
            directions: (2, dim), d₁ and d₂.

        Returns:
            A function from coordinates (points, 2) to the losses (points,) at origin + a·d₁ + b·d₂.
        """
        check_shape("origin", origin, (self.dim,), self.name)
        check_shape("directions", directions, (2, self.dim), self.name)
        evaluate = self._slice(origin, directions)

        def losses(points: Tensor) -> Tensor:
            check_shape("points", points, ("points", 2), "a plane")
            return evaluate(points)

        return losses

    def _slice(self, origin: Tensor, directions: Tensor) -> Callable[[Tensor], Tensor]:
        return torch.no_grad()(lambda points: self.loss(origin + points @ directions))

    def with_loss(self, loss_name: str) -> Problem:
        """Return the problem with another loss of the same parameters and samples, the same object each time.

        Args:
            loss_name: one of `losses`; an empty name is the loss of this problem.

        Raises:
            ValueError: if the problem has no such loss.
        """
        if loss_name not in ("", *self.losses):
            raise ValueError(f"loss_name is {loss_name!r}; expected one of {self.losses or ('',)} for {self.name}")
        return self

    @abstractmethod
    def initial(self, seed: int = 0) -> Tensor:
        """Return a starting point (dim,) on the problem's device; the seed chooses it if it is random."""

    def picture(self, x: Tensor) -> Picture | None:
        """Return what the parameters mean, as arrays that a figure can draw; None if there is nothing to draw."""
        return None

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return the same problem on another device, in float64 or float32; itself if nothing changes.

        Modules are copied, so that those of this problem stay as they are. Everything else that the device and the
        precision leave unchanged, such as integers on the same device, belongs to both problems.
        """
        if device != self.device or dtype != self.dtype:
            device, dtype = placed(device, dtype)
        if device == self.device and dtype == self.dtype:
            return self
        result = copy(self)
        result.device, result.dtype = device, dtype
        copies: dict[int, Any] = {}  # so that two names of one module stay two names of one copy
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(result, name, value.to(device, dtype if value.is_floating_point() else value.dtype))
            elif isinstance(value, nn.Module):
                setattr(result, name, deepcopy(value, copies).to(device, dtype))
        return result

    def points(self, x: object, name: str = "x") -> Tensor:
        """Check parameters, and return them as (runs, dim) on the problem's device, detached.

        Args:
            x: array-like or tensor, (dim,) or (runs, dim).
            name: the argument's name in the error message.

        Raises:
            ValueError: when the shape does not fit or a number is not finite.
            TypeError: when they are not real numbers.
        """
        expected = f"real numbers, ({self.dim},) or (runs, {self.dim})"
        if not isinstance(x, Tensor):
            x = torch.as_tensor(check_array(name, x, expected, finite=False).astype(np.float64))
        elif x.is_complex() or x.is_meta:
            raise TypeError(f"{name} is {x!r:.200}; expected {expected}")
        points: Tensor = torch.atleast_2d(x.detach().to(self.device, self.dtype))
        if points.ndim != 2 or points.shape[1] != self.dim or len(points) == 0:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; expected ({self.dim},) or (runs, {self.dim}): "
                f"{self.name} has {self.dim} parameters"
            )
        if not bool(points.isfinite().all()):
            raise ValueError(f"{name} contains NaN or infinity; pass finite parameters")
        return points

    def _check(self, x: Tensor, batch: Tensor | None = None) -> None:
        """Refuse parameters that are not (runs, dim) and batches that are not sample indices (runs, b)."""
        check_shape("x", x, ("runs", self.dim), self.name)
        if batch is None:
            return
        if not self.samples:
            raise ValueError(f"batch is given, but {self.name} has no samples to draw from; expected None")
        check_shape("batch", batch, (len(x), "b"), self.name)
        if batch.dtype != torch.int64 or batch.is_meta != x.is_meta:
            raise TypeError(f"batch holds {batch.dtype} on {batch.device}; expected sample indices of torch.int64")
        if batch.device.type == "cpu":  # where compiled code reads memory without a check; elsewhere torch checks
            low, high = map(int, batch.aminmax())
            if low < 0 or high >= self.samples:
                raise ValueError(f"batch holds {low} to {high}; expected sample indices, 0 to {self.samples - 1}")

    def __repr__(self) -> str:
        samples = f", samples={self.samples}" if self.samples else ""
        return f"<{self.name}: dim={self.dim}{samples}, {self.device.type} {str(self.dtype).removeprefix('torch.')}>"


def filters_of(shapes: Iterable[tuple[int, ...]]) -> Tensor:
    """Return the filter of each parameter: one per output unit of a weight, -1 for vectors (biases, norms)."""
    parts, count = [torch.zeros(0, dtype=torch.int64)], 0
    for shape in shapes:
        size = math.prod(shape)
        if len(shape) < 2:
            parts.append(torch.full((size,), -1))
        else:
            parts.append(torch.arange(count, count + shape[0]).repeat_interleave(size // shape[0]))
            count += shape[0]
    return torch.cat(parts) if count else torch.zeros(sum(map(len, parts)), dtype=torch.int64)


# ---- device, precision and number of threads

SMALL_WORK = 50_000_000  # samples × parameters up to which one thread is used: two are far slower on a busy machine


def is_small(problem: Problem) -> bool:
    """Return whether a problem is on the CPU and so small that one thread is fastest."""
    return problem.device.type == "cpu" and problem.work <= SMALL_WORK


@contextmanager
def one_thread(problem: Problem) -> Iterator[None]:
    """Compute on one thread inside the block if the problem is small, and restore the user's setting."""
    threads = torch.get_num_threads()
    changes = threads > 1 and is_small(problem)
    if changes:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if changes:
            torch.set_num_threads(threads)


def on_host(tensor: Tensor) -> Array:
    """Return a tensor as a float64 array on the CPU."""
    array: Array = tensor.detach().cpu().double().numpy()
    return array


def placed(device: str | torch.device, dtype: torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    """Return the torch device ("auto": CUDA if there is one) and a precision that it has (None: the highest)."""
    try:
        where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        torch.empty(0, device=where)
    except (TypeError, RuntimeError, AssertionError) as error:  # no such name, or none on this machine
        raise ValueError(f"device is {device!r}; expected 'auto', 'cpu', or a device that torch finds here") from error
    if where.type == "meta":
        raise ValueError(f"device is {device!r}, which holds no numbers; expected 'auto', 'cpu' or another")
    if dtype is None:
        dtype = torch.float32 if where.type == "mps" else torch.float64
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype is {dtype!r}; expected torch.float64 or torch.float32")
    if where.type == "mps" and dtype == torch.float64:
        raise ValueError("dtype is torch.float64 but the MPS device has none; use dtype=torch.float32 or device='cpu'")
    return where, dtype
