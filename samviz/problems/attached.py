"""A torch model where it is, with the loss and the data that it is trained with, as a problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from fnmatch import fnmatchcase
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from samviz.problems.batches import Batches, Data, call, placed_at
from samviz.problems.network import filters_of
from samviz.problems.problem import Operator, Problem
from samviz.problems.training import averaging, fixed
from samviz.problems.untouched import generators_kept, untouched

LossFunction = Callable[[Any, Any], Tensor]  # outputs, target -> the mean over the batch's samples, ()


class Attached(Problem):
    """The mean loss of a model over its data, one batch at a time; the model is looked at and never changed."""

    work = math.inf  # no toy: it runs on as many threads as its owner has set

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        data: Batches,
        names: Sequence[str] | None,
        samples: int | None,
        batch_size: int,
        training: bool,
        recompute: bool,
    ) -> None:
        """Arguments as in `attach`."""
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is {model!r:.200}; expected a torch.nn.Module")
        if not callable(loss_fn):
            raise TypeError(f"loss_fn is {loss_fn!r}; expected a function of outputs and target")
        if getattr(loss_fn, "reduction", "mean") != "mean":
            raise ValueError(f"loss_fn has reduction={loss_fn.reduction!r}; expected reduction='mean'")  # type: ignore[attr-defined]
        if training and recompute:
            raise ValueError("training and recompute are both True; recompute is for a model in evaluation mode")
        while isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel) or hasattr(model, "_orig_mod"):
            model = model.module if hasattr(model, "module") else model._orig_mod  # type: ignore[assignment]
        self.model, self.loss_fn, self.training, self.recompute = model, loss_fn, training, recompute
        self.shapes = {name: p.shape for name, p in _chosen(model, names).items()}
        parameters = list(model.parameters())
        devices = {p.device for p in parameters}
        if len(devices) > 1:
            raise ValueError(f"model lies on {', '.join(sorted(map(str, devices)))}; expected one device")
        self.device = devices.pop()
        self.dtype = torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32
        self.dim = sum(shape.numel() for shape in self.shapes.values())
        self.filters = filters_of(list(self.shapes.values()))
        self.name = type(model).__name__
        self.data = Data(data, samples, batch_size, self.device)

    @property
    def at_once(self) -> int:
        """How many parameter vectors one evaluation takes: they are evaluated one by one anyway."""
        return 16

    def initial(self, seed: int = 0) -> Tensor:
        """The model's parameters as they are now, (dim,), a copy; the seed is not used."""
        return self.vector(dict(self.model.named_parameters()))

    def vector(self, state: Mapping[str, Tensor]) -> Tensor:
        """The parameters of a checkpoint as a point.

        Args:
            state: a `state_dict` of the model.

        Returns:
            (dim,), a copy in the problem's precision and on its device.

        Raises:
            ValueError: when a parameter is missing or has another shape.
        """
        for name, shape in self.shapes.items():
            if name not in state or state[name].shape != shape:
                found = f"of shape {tuple(state[name].shape)}" if name in state else "missing"
                raise ValueError(f"state has {name} {found}; expected {tuple(shape)}, as in {self.name}.state_dict()")
        return torch.cat([state[name].detach().to(self.device, self.dtype).flatten() for name in self.shapes])

    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Mean loss over the data, (runs,), with a graph only where x asks for one; `batch` must be None."""
        _whole_data(batch)
        with self._pass(x) as networks, torch.set_grad_enabled(x.requires_grad and torch.is_grad_enabled()):
            total, count = x.new_zeros(len(x)), 0
            for piece, size in self._pieces():
                total = total + size * torch.stack([self._mean(network, piece) for network in networks])
                count += size
            return total / count

    def gradient(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Loss, (runs,), and gradient, (runs, dim), detached; `batch` must be None."""
        _whole_data(batch)
        self._differentiable()
        points = x.detach().requires_grad_()
        loss, slope, count = x.new_zeros(len(x)), torch.zeros_like(points), 0
        with self._pass(points) as networks, torch.enable_grad():
            for piece, size in self._pieces():
                for run, network in enumerate(networks):
                    mean = self._mean(network, piece)
                    loss[run] += size * mean.detach()
                    slope[run] += size * _slope(mean, points)[run]
                count += size
        return loss / count, slope.detach() / count

    def hvp(self, x: Tensor, batch: Tensor | None = None) -> Operator:
        """Hessian-vector products at x, one batch of the data at a time; where there is only one its graph is kept."""
        _whole_data(batch)
        self._differentiable()
        points = x.detach().requires_grad_()
        kept: list[Tensor] = []

        def product(v: Tensor) -> Tensor:
            image, count = torch.zeros_like(v), 0
            with self._pass(points) as networks, torch.enable_grad(), self._twice():
                for piece, size in self._pieces():
                    slopes = kept or [_slope(self._mean(net, piece), points, graph=True) for net in networks]
                    if self.data.single:
                        kept[:] = slopes
                    for run, slope in enumerate(slopes):
                        for column in range(v.shape[1]) if slope.requires_grad else ():
                            (hv,) = torch.autograd.grad(slope[run], points, v[run, column], retain_graph=True)
                            image[run, column] += size * hv[run]
                    count += size
            return image / count

        return product

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """The same problem on another device or in another precision, with a copy of the model."""
        if torch.device(device) == self.device and dtype == self.dtype:
            return self
        moved = copy(self)
        moved.device, moved.dtype = torch.device(device), dtype
        moved.model = deepcopy(self.model).to(device, dtype)
        return moved

    @contextmanager
    def _pass(self, x: Tensor) -> Iterator[list[Callable[[tuple[int, Any]], Any]]]:
        """For one pass over the data: the model at each run's parameters, as a function of a batch."""
        with untouched(self.model, self.training, self.device), generators_kept(self.device, self.data.generators):
            yield [self._network(point) for point in x.unbind()]

    def _network(self, point: Tensor) -> Callable[[tuple[int, Any]], Any]:
        def own(tensor: Tensor) -> Tensor:
            return tensor.detach().to(self.dtype) if tensor.is_floating_point() else tensor.detach()

        parts = point.split([shape.numel() for shape in self.shapes.values()])
        varied = {name: part.view(shape) for part, (name, shape) in zip(parts, self.shapes.items())}
        frozen = {name: own(p) for name, p in self.model.named_parameters() if name not in varied}
        state = {name: own(buffer).clone() for name, buffer in self.model.named_buffers()}
        everything = frozen | state | varied

        def model(*given: Any, **named: Any) -> Any:
            return functional_call(self.model, everything, given, named)

        def network(piece: tuple[int, Any]) -> Any:  # what dropout leaves out goes with the batch's turn
            with fixed(piece[0], self.device):
                return call(model, piece[1])

        if self.recompute:
            with torch.no_grad(), averaging(self.model, everything):
                for piece, _ in self._pieces():
                    network(piece)
        return network

    def _pieces(self) -> Iterator[tuple[tuple[int, Any], int]]:
        """The batches with their turns, and how many samples each has."""
        for turn, (batch, size) in enumerate(self.data.batches(self.device)):
            yield (turn, placed_at(batch, self.device, self.dtype)), size

    def _mean(self, network: Callable[[tuple[int, Any]], Any], piece: tuple[int, Any]) -> Tensor:
        loss = self.loss_fn(*network(piece))
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            given = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
            raise TypeError(f"loss_fn returned {given}; expected the mean over the batch, a tensor of one number")
        return loss.reshape(())

    def _differentiable(self) -> None:
        if self.recompute:
            raise ValueError(
                "recompute is True: with BatchNorm's statistics taken anew at each point the loss can be drawn but not "
                "differentiated; expected recompute=False"
            )

    @contextmanager
    def _twice(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if "derivative for" not in str(error) and "double backward" not in str(error).lower():
                raise
            raise ValueError(
                f"{self.name} has no Hessian-vector products: {error}. Expected operations that torch can "
                "differentiate twice; a fused attention kernel has a plain form (attn_implementation='eager', or "
                "torch's scaled_dot_product_attention, which is taken care of)"
            ) from error


def _chosen(model: nn.Module, names: Sequence[str] | None) -> dict[str, Tensor]:
    """The parameters that vary, by name."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("model has no parameter with requires_grad; there is nothing to look at")
    patterns = ["*"] if names is None else [names] if isinstance(names, str) else list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in trainable):
            raise ValueError(f"names holds {pattern!r}, which fits none of {', '.join(trainable):.500}")
    chosen: dict[str, Tensor] = {
        name: p for name, p in trainable.items() if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    odd = [name for name, p in chosen.items() if not p.is_floating_point()]
    if odd:
        raise ValueError(f"model has parameters that are not real numbers: {', '.join(odd)}; freeze or convert them")
    return chosen


def _slope(loss: Tensor, x: Tensor, graph: bool = False) -> Tensor:
    """Gradient of a loss, zero where it does not depend on x."""
    if not loss.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(loss, x, create_graph=graph, materialize_grads=True)[0]


def _whole_data(batch: Tensor | None) -> None:
    if batch is not None:
        raise ValueError("batch is given; an attached model is looked at on all of its data: attach a smaller part")


def attach(
    model: nn.Module,
    loss_fn: LossFunction,
    data: Batches,
    *,
    names: Sequence[str] | None = None,
    samples: int | None = None,
    batch_size: int = 256,
    training: bool = False,
    recompute: bool = False,
) -> Attached:
    """A torch model as a problem, where it is: its own device and precision, its own loss, its own data.

    Unlike `from_module` it copies nothing, takes the data batch by batch, and follows the model while that is trained:
    `Attached.initial` is where it is now. Looking leaves the model bit for bit as it was: parameters, gradients,
    buffers, mode, and the random generators of torch, numpy and Python. A model in half precision is looked at in
    single precision.

    Args:
        model: as it is called in training. DistributedDataParallel, DataParallel and torch.compile are looked through.
        loss_fn: outputs and target to the mean over the batch's samples, a tensor of one number. Where a batch is a
            mapping, it takes the place of the target.
        data: a pair of tensors (inputs, targets), a DataLoader, or a list of batches; each batch a pair (inputs,
            target) or a mapping of named inputs. Every pass sees the same batches: shuffling and augmentation start
            from the same seed each time.
        names: patterns of the parameters that vary, such as ["layer4.*", "*.bias"]; None for all that are trained.
        samples: at most so many samples, the first ones, are kept in memory; None for all, taken from data anew
            at each pass.
        batch_size: samples in each evaluation of a pair of tensors.
        training: whether the model is in training mode: BatchNorm by the batch, dropout with the same masks at each
            pass.
        recompute: whether BatchNorm's statistics are taken from the data anew at every point, as the plain average over
            its batches. The loss can then be drawn, but not differentiated.

    Returns:
        The problem; everything in `samviz.geometry` takes it.

    Raises:
        ValueError: when nothing varies, names fit nothing, or the model lies on several devices.
        TypeError: when model, loss_fn or data are none.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> problem = attach(model, nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> problem.hessian(problem.initial()[None])
    tensor([[[1., 0.],
             [0., 1.]]])
    """
    return Attached(model, loss_fn, data, names, samples, batch_size, training, recompute)
