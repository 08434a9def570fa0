"""A torch model where it is, with the loss and the data that it is trained with, as a problem."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.func import functional_call
from torch.nn import functional as F

from samviz.checks import check_bool, check_type
from samviz.problems.batches import Batches, Data, call, placed_at
from samviz.problems.parameters import by_name, chosen, filters_of
from samviz.problems.problem import Operator, Problem
from samviz.problems.training import averaging, check_repeats, fixed
from samviz.problems.untouched import free, seed, untouched

LossFunction = Callable[[Any, Any], Tensor]  # outputs, target -> the mean over the batch's samples, ()
Piece = tuple[int, Any, float]  # a batch: its turn, its tensors, the number that its loss is divided by

AT_ONCE = 2**26  # numbers in the points that share a pass over the data: 256 MB in single precision
MODEL_SEED = 2**31  # where the seeds of what the model draws start; those of the data start at 0


class Attached(Problem):
    """A torch model as a problem, where it is: its own device and precision, its own loss, its own data.

    Unlike `from_module` it copies nothing, takes the data batch by batch, and follows the model while that is trained:
    `Attached.initial` is where it is now. Looking leaves the model bit for bit as it was: parameters, gradients,
    buffers, mode, and the random generators of torch, numpy and Python. A model in half precision is looked at in
    single precision.

    Args:
        model: as it is called in training. DistributedDataParallel, DataParallel and torch.compile are looked through.
        loss_fn: outputs and target to the mean over the batch's samples, a tensor of one number. Where a batch is a
            mapping, it takes the place of the target. Batches count by their samples; with CrossEntropyLoss and
            NLLLoss by the weights of the targets that are not ignored. Another loss that weights or ignores targets is
            the mean over the data only where all of the data is one batch. Its random numbers may come from the global
            generators of torch, numpy and Python, which start alike at each pass; a loss that changes from one
            evaluation to the next is refused when it is first computed.
        data: a pair of tensors (inputs, targets), a DataLoader, or a list of batches; each batch a pair (inputs,
            target) or a mapping of named inputs. Every pass sees the same batches: shuffling and augmentation alike.
        names: patterns of the parameters that vary, such as ["layer4.*", "*.bias"]; None for all that are trained.
        samples: so many samples at most, the first, are kept in memory; None for all, taken from data at each pass.
        batch_size: samples in each evaluation of a pair of tensors.
        training: whether the model is in training mode: BatchNorm by the batch, dropout alike at each pass.
        recompute: whether BatchNorm's statistics are averaged anew over the batches of the data at every point. The
            loss can then be drawn, but not differentiated.

    Raises:
        ValueError: when nothing varies, names fit nothing, or the model lies on several devices.
        TypeError: when model, loss_fn or data are none.

    Everything in `samviz.geometry` takes it:

    >>> model = nn.Linear(2, 1, bias=False)
    >>> problem = attach(model, nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> problem.hessian(problem.initial()[None])
    tensor([[[1., 0.],
             [0., 1.]]])
    """

    work = math.inf  # no toy: it runs on as many threads as its owner has set

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        data: Batches,
        *,
        names: Sequence[str] | None = None,
        samples: int | None = None,
        batch_size: int = 256,
        training: bool = False,
        recompute: bool = False,
    ) -> None:
        check_type("model", model, nn.Module, "a torch.nn.Module")
        if not callable(loss_fn):
            raise TypeError(f"loss_fn is {loss_fn!r:.200}; expected a function of outputs and target")
        if getattr(loss_fn, "reduction", "mean") not in ("mean", "batchmean"):
            raise ValueError(f"loss_fn has reduction={loss_fn.reduction!r}; expected reduction='mean'")  # type: ignore[attr-defined]
        training, recompute = check_bool("training", training), check_bool("recompute", recompute)
        if training and recompute:
            raise ValueError("training and recompute are both True; recompute is for a model in evaluation mode")
        while hasattr(model, "_orig_mod") or isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model._orig_mod if hasattr(model, "_orig_mod") else model.module  # type: ignore[assignment]
        self.model, self.loss_fn, self.training, self.recompute = model, loss_fn, training, recompute
        self.shapes = chosen("model", model, names)
        parameters = list(model.parameters())
        devices = {p.device for p in parameters}
        if len(devices) > 1:
            raise ValueError(f"model lies on {', '.join(sorted(map(str, devices)))}; expected one device")
        self.device = devices.pop()
        self.dtype = torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32
        self.dim = sum(shape.numel() for shape in self.shapes.values())
        self.filters = filters_of(self.shapes.values()).to(self.device)
        self.name = type(model).__name__
        self._repeats = False  # whether the loss is known to have the same value again
        self.data = Data(data, samples, batch_size, self.device)

    @property
    def at_once(self) -> int:
        """How many parameter vectors share a pass over the data; they are evaluated one by one."""
        return max(1, min(16, AT_ONCE // self.dim))

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
        check_type("state", state, Mapping, "a state_dict of the model")
        for name, shape in self.shapes.items():
            if getattr(state.get(name), "shape", None) != shape:
                found = f"of shape {tuple(getattr(state[name], 'shape', ()))}" if name in state else "missing"
                raise ValueError(f"state has {name} {found}; expected {tuple(shape)}, as in {self.name}.state_dict()")
        return torch.cat([state[name].detach().to(self.device, self.dtype).flatten() for name in self.shapes])

    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Mean loss over the data, (runs,), with a graph only where x asks for one; `batch` must be None."""
        self._check(x, batch)
        graph = x.requires_grad and torch.is_grad_enabled()
        if graph:
            self._check_differentiable()
        with self._pass(), torch.set_grad_enabled(graph):
            sums = [self._sum(point) for point in (x if graph else free(x)).unbind()]
            total, count = x.new_zeros(len(x)), 0.0
            for piece in self._pieces():
                total = total + torch.stack([sum_of(piece) for sum_of in sums])
                count += piece[-1]
            return total / count

    def gradient(self, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Loss, (runs,), and gradient, (runs, dim), detached; `batch` must be None."""
        self._check(x, batch)
        self._check_differentiable()
        with self._pass(), torch.enable_grad():
            points = [free(point).requires_grad_() for point in x.unbind()]
            sums = [self._sum(point) for point in points]
            total, slope, count = x.new_zeros(len(x)), x.new_zeros(x.shape), 0.0
            for piece in self._pieces():
                for run, point in enumerate(points):
                    loss = sums[run](piece)
                    total[run] += loss.detach()
                    slope[run] += torch.autograd.grad(loss, point, materialize_grads=True)[0]
                count += piece[-1]
            return total / count, slope / count

    def hvp(self, x: Tensor, batch: Tensor | None = None) -> Operator:
        """Hessian-vector products at x, one batch of the data at a time; `batch` must be None.

        A product makes the graph of a batch's gradient once for all its columns and drops it before the next batch;
        where there is one batch alone the graph is kept for the next product.
        """
        self._check(x, batch)
        self._check_differentiable()
        products = [self._product(point) for point in x.unbind()]

        def product(v: Tensor) -> Tensor:
            self._check_vectors(v, x)
            return torch.stack([product_at(columns) for product_at, columns in zip(products, v)])

        return product

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """The same problem on another device or in another precision, with a copy of the model."""
        moved = super().to(device, dtype)
        if moved is not self:
            moved.model = deepcopy(self.model).to(device, dtype)
        return moved

    def _check(self, x: Tensor, batch: Tensor | None = None) -> None:
        super()._check(x)
        if batch is not None:
            raise ValueError("batch is given; an attached model is looked at on all of its data: attach a smaller part")

    def _check_differentiable(self) -> None:
        if self.recompute:
            raise ValueError("recompute is True: the loss can be drawn, not differentiated; expected recompute=False")

    def _pass(self) -> AbstractContextManager[None]:
        return untouched(self.model, self.training, self.device, self.data.generators)

    def _pieces(self) -> Iterator[Piece]:
        for turn, (batch, size) in enumerate(self.data.batches(self.device)):
            placed = placed_at(batch, self.device, self.dtype)
            yield turn, placed, _divisor(self.loss_fn, placed, size)

    def _sum(self, point: Tensor) -> Callable[[Piece], Tensor]:
        """The sum of the losses of a batch's samples, (), where the parameters are those of a point (dim,)."""
        varied = by_name(point, self.shapes)
        frozen = {name: p for name, p in self.model.named_parameters() if name not in varied}
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        state = placed_at(frozen | buffers, self.device, self.dtype) | varied

        def model(*given: Any, **named: Any) -> Any:
            return functional_call(self.model, state, given, named)

        def mean_of(piece: Piece) -> Tensor:
            turn, batch, _ = piece
            seed(MODEL_SEED + turn, self.device)  # what dropout leaves out goes with the batch's turn
            with fixed(None, self.device):
                loss = self.loss_fn(*call(model, batch))
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                given = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{loss!r:.200}"
                raise TypeError(f"loss_fn returned {given}; expected the mean over the batch, a tensor of one number")
            if point.requires_grad and torch.is_grad_enabled() and not loss.requires_grad:
                raise ValueError("the loss has no derivative: model and loss_fn have cut it off, as detach() does")
            return loss.reshape(())

        def sum_of(piece: Piece) -> Tensor:
            if piece[-1] == 0:  # all targets are ignored, and the mean over none of them is not a number
                return (0 * point).sum()
            if not self._repeats:
                before = {name: state[name].clone() for name in buffers}
                first = mean_of(piece).detach()
                for name, buffer in before.items():  # which the model may have changed
                    state[name].copy_(buffer)
                loss = mean_of(piece)
                check_repeats("the loss", first, loss, self.dtype)
                self._repeats = True
                return piece[-1] * loss
            return piece[-1] * mean_of(piece)

        if self.recompute:
            with torch.no_grad(), averaging(self.model, state):
                for piece in self._pieces():
                    mean_of(piece)
        return sum_of

    def _product(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Products of columns (k, dim) with the Hessian at one point (dim,)."""
        with torch.inference_mode(False):
            point = free(x).requires_grad_()
        kept: list[tuple[Tensor, float]] = []

        def slopes() -> Iterator[tuple[Tensor, float]]:
            sum_of = self._sum(point)
            for piece in self._pieces():  # no name holds a graph while the next batch's is made
                yield _slope(sum_of(piece), point), piece[-1]

        def product(v: Tensor) -> Tensor:
            with self._pass(), torch.enable_grad(), _twice(self.name):
                image, count = v.new_zeros(v.shape), 0.0
                for slope, size in kept or slopes():
                    if self.data.single:
                        kept[:] = [(slope, size)]
                    for column, to in enumerate(v) if slope.requires_grad else ():  # not where the loss is linear
                        image[column] += torch.autograd.grad(slope, point, to, True, materialize_grads=True)[0]
                    count += size
                    del slope
                return image / count

        return product


attach = Attached


def _divisor(loss_fn: LossFunction, batch: Any, size: int) -> float:
    """What the mean over a batch is divided by: its samples, or the weights of the targets that are not ignored."""
    target = batch[-1] if isinstance(batch, tuple | list) else None
    known = isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss) or loss_fn in (F.cross_entropy, F.nll_loss)
    if not known or not isinstance(target, Tensor) or target.is_floating_point():  # probabilities have a plain mean
        return size
    seen = target[target != getattr(loss_fn, "ignore_index", -100)]  # -100 is what torch's functions ignore
    weight = getattr(loss_fn, "weight", None)
    return seen.numel() if weight is None else float(weight[seen].sum())


def _slope(loss: Tensor, x: Tensor) -> Tensor:
    """Gradient of a loss, with its graph."""
    seen: set[Any] = {None, loss.grad_fn}
    for node in (ahead := [loss.grad_fn]):
        before = {parent for parent, _ in node.next_functions} - seen  # type: ignore[union-attr]
        seen |= before
        ahead += before
        if isinstance(node, BackwardCFunction):
            node.register_hook(partial(_followed, node.name(), node.next_functions))
    return torch.autograd.grad(loss, x, create_graph=True, materialize_grads=True)[0]


def _followed(name: str, before: tuple[Any, ...], slopes: tuple[Tensor | None, ...], _: object) -> None:
    """Refuse what a custom function's backward pass computes where autograd cannot see.

    A kernel of its own, or `once_differentiable`, ends the graph there; torch would take the slope for a constant.
    """
    for slope, (parent, _) in zip(slopes, before):
        if torch.is_grad_enabled() and slope is not None and parent is not None:
            source = slope.grad_fn.name() if slope.grad_fn else ""
            if not slope.requires_grad or source == "torch::autograd::Error":
                raise RuntimeError(f"derivative for {name} is not implemented")


@contextmanager
def _twice(name: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error).lower() for words in ("derivative for", "double backward", "autograd formula")):
            raise
        raise ValueError(
            f"{name} has no Hessian-vector products: {error}. Expected operations that torch can differentiate twice; "
            "a fused kernel has a plain form (attn_implementation='eager', or torch's scaled_dot_product_attention, "
            "which is taken care of)"
        ) from error
