"""A torch model as a problem, without a copy: on its own device, with its own loss and its own data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.func import functional_call
from torch.nn import functional as F

from samviz.checks import check_bool, check_int, check_type
from samviz.problems.model_state import (
    averaged_statistics,
    check_repeats,
    detached,
    filters_of,
    generators_restored,
    seed_generators,
    seeded_pass,
    split_by_name,
    trainable_shapes,
    untouched,
)
from samviz.problems.problem import Operator, Problem

LossFunction = Callable[[Any, Any], Tensor]  # outputs, target -> the mean over the batch's samples, ()
Batches = tuple[Any, Any] | Iterable[Any]
Batch = tuple[int, Any, float]  # its index in the pass, its tensors, and the number that its mean loss divides by

POINTS_SIZE = 2**26  # numbers in the points that share a pass over the data: 256 MB in single precision
MODEL_SEED = 2**31  # first seed of the random numbers that the model draws; the seeds of the data start at 0


class Attached(Problem):
    """A torch model as a problem, evaluated in place: its own device and precision, its own loss, its own data.

    Unlike `from_module` it does not copy the model, reads the data batch by batch, and follows the model while it is
    trained: `Attached.initial` returns the present parameters. Evaluating it leaves the model bit for bit unchanged:
    parameters, gradients, buffers, mode, and the random generators of torch, numpy and Python. A model in half
    precision is evaluated in single precision.

    Args:
        model: as it is called in training. Wrappers (DistributedDataParallel, DataParallel, torch.compile) are removed.
        loss_fn: maps outputs and target to the mean over the batch's samples, a tensor of one number. Where a batch is
            a mapping, the mapping takes the place of the target. Batches are weighted by their number of samples; with
            CrossEntropyLoss and NLLLoss by the weights of the targets that are not ignored. Any other loss that weights
            or ignores targets is the mean over the data only if the data is one batch. It may draw from the global
            generators of torch, numpy and Python, which are seeded before each pass; a loss that changes from one
            evaluation to the next is refused when it is first computed.
        data: a pair of tensors (inputs, targets), a DataLoader, or a list of batches; each batch is a pair (inputs,
            target) or a mapping of named inputs. Every pass uses the same batches, with shuffling and augmentation.
        names: patterns of the parameters that vary, such as ["layer4.*", "*.bias"]; None for all trainable ones.
        samples: keep at most this many samples, the first ones, in memory; None to read all of them in each pass.
        batch_size: number of samples in each evaluation of a pair of tensors.
        training: whether the model is in training mode: BatchNorm uses the statistics of the batch, and dropout draws
            the same mask in each pass.
        recompute: whether BatchNorm's statistics are averaged over the batches of the data at every point. The loss
            can then be evaluated, but not differentiated.

    Raises:
        ValueError: when nothing varies, names match nothing, or the model is on several devices.
        TypeError: when model, loss_fn or data have another type.

    Everything in `samviz.geometry` accepts it:

    >>> model = nn.Linear(2, 1, bias=False)
    >>> problem = attach(model, nn.MSELoss(), (torch.eye(2), torch.zeros(2, 1)))
    >>> problem.hessian(problem.initial()[None])
    tensor([[[1., 0.],
             [0., 1.]]])
    """

    work = math.inf  # never so small that one thread is used: the user's setting stays

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
        self.shapes = trainable_shapes("model", model, names)
        parameters = list(model.parameters())
        devices = {p.device for p in parameters}
        if len(devices) > 1:
            raise ValueError(f"model lies on {', '.join(sorted(map(str, devices)))}; expected one device")
        self.device = devices.pop()
        self.dtype = torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32
        self.dim = sum(shape.numel() for shape in self.shapes.values())
        self.filters = filters_of(self.shapes.values()).to(self.device)
        self.name = type(model).__name__
        self._repeats = False  # whether the loss has been found to give the same value twice
        self._set_data(data, samples, batch_size)

    def _set_data(self, data: Batches, samples: int | None, batch_size: int) -> None:
        """Split tensors into batches, find the generators of a data loader, and keep the first samples."""
        batch_size = check_int("batch_size", batch_size, "1 or more samples in each evaluation", 1)
        if samples is not None:
            samples = check_int("samples", samples, "1 or more samples to keep, or None for all", 1)
        pair = isinstance(data, tuple | list) and len(data) == 2
        if isinstance(data, Mapping) or (pair and any(isinstance(part, Tensor) for part in data)):
            data = _split(data, batch_size)
        elif isinstance(data, Iterator | str | Tensor) or not isinstance(data, Iterable):
            raise TypeError(
                f"data is a {type(data).__name__}; expected a pair of tensors (inputs, targets), "
                "a DataLoader, or a list of batches, which can be passed over more than once"
            )
        self.data = data
        batch_sampler = getattr(data, "batch_sampler", None)
        owners = (data, getattr(data, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
        generators = {getattr(owner, "generator", None) for owner in owners}
        self._generators = [generator for generator in generators if isinstance(generator, torch.Generator)]
        if samples is not None:
            first: list[Any] = []
            with generators_restored(self.device, self._generators):
                for batch, size in self._read():
                    first.append(_rows(batch, size, slice(samples)))
                    samples -= size
                    if samples <= 0:
                        break
            self.data = first

    @property
    def at_once(self) -> int:
        """Number of parameter vectors that share a pass over the data; they are evaluated one by one."""
        return max(1, min(16, POINTS_SIZE // self.dim))

    def initial(self, seed: int = 0) -> Tensor:
        """Return a copy of the model's present parameters, (dim,); the seed is not used."""
        return self.vector(dict(self.model.named_parameters()))

    def vector(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return the parameters of a checkpoint as a point.

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
        """Return the mean loss over the data, (runs,), with a graph if x requires one; `batch` must be None."""
        self._check(x, batch)
        graph = x.requires_grad and torch.is_grad_enabled()
        if graph:
            self._check_differentiable()
        with self._pass(), torch.set_grad_enabled(graph):
            sums = [self._sum_at(point) for point in (x if graph else detached(x)).unbind()]
            total, count = x.new_zeros(len(x)), 0.0
            for piece in self._batches():
                total = total + torch.stack([sum_of(piece) for sum_of in sums])
                count += piece[-1]
            return total / count

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        self._check_differentiable()
        with self._pass(), torch.enable_grad():
            points = [detached(point).requires_grad_() for point in x.unbind()]
            sums = [self._sum_at(point) for point in points]
            total, gradient, count = x.new_zeros(len(x)), x.new_zeros(x.shape), 0.0
            for piece in self._batches():
                for run, point in enumerate(points):
                    loss = sums[run](piece)
                    total[run] += loss.detach()
                    gradient[run] += torch.autograd.grad(loss, point, materialize_grads=True)[0]
                count += piece[-1]
            return total / count, gradient / count

    def _hvp(self, x: Tensor, batch: Tensor | None) -> Operator:
        self._check_differentiable()
        products = [self._product_at(point) for point in x.unbind()]
        return lambda v: torch.stack([product_at(columns) for product_at, columns in zip(products, v)])

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return the same problem on another device or in another precision, with a copy of the model."""
        moved = super().to(device, dtype)
        if moved is not self:
            moved.model = deepcopy(self.model).to(device, dtype)
        return moved

    def _check(self, x: Tensor, batch: Tensor | None = None) -> None:
        super()._check(x)
        if batch is not None:
            raise ValueError("batch is given; an attached model is evaluated on all of its data: attach a smaller part")

    def _check_differentiable(self) -> None:
        if self.recompute:
            raise ValueError("recompute is True: the loss can be drawn, not differentiated; expected recompute=False")

    def _pass(self) -> AbstractContextManager[None]:
        return untouched(self.model, self.training, self.device, self._generators)

    def _read(self) -> Iterator[tuple[Any, int]]:
        """Yield the batches and their numbers of samples; shuffling and augmentation are the same each time."""
        seed_generators(0, self.device)
        for generator in self._generators:
            generator.manual_seed(0)
        # Iterating over a loader with persistent workers would restart the epoch that the training is in.
        new_pass = getattr(self.data, "persistent_workers", False) and getattr(self.data, "_get_iterator", None)
        index = 0
        for index, batch in enumerate(new_pass() if new_pass else self.data, 1):
            yield batch, _size(batch)
            seed_generators(index, self.device)  # the next batch must not depend on what the model drew for this one
        if not index:
            raise ValueError("data has no batches in this pass; expected the same ones at every pass, one at least")

    def _batches(self) -> Iterator[Batch]:
        """Yield the batches of a pass on the model's device and in its precision."""
        for index, (batch, size) in enumerate(self._read()):
            placed = _placed(batch, self.device, self.dtype)
            yield index, placed, _divisor(self.loss_fn, placed, size)

    def _sum_at(self, point: Tensor) -> Callable[[Batch], Tensor]:
        """Return the function that sums the loss over a batch's samples, (), at the parameters `point` (dim,)."""
        varied = split_by_name(point, self.shapes)
        frozen = {name: p for name, p in self.model.named_parameters() if name not in varied}
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        state = _placed(frozen | buffers, self.device, self.dtype) | varied

        def model(*args: Any, **named: Any) -> Any:
            return functional_call(self.model, state, args, named)

        def mean_of(piece: Batch) -> Tensor:
            seed_generators(MODEL_SEED + piece[0], self.device)  # a batch has the same dropout mask in each pass
            with seeded_pass(None, self.device):
                loss = self.loss_fn(*_call(model, piece[1]))
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                result = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{loss!r:.200}"
                raise TypeError(f"loss_fn returned {result}; expected the mean over the batch, a tensor of one number")
            if point.requires_grad and torch.is_grad_enabled() and not loss.requires_grad:
                raise ValueError("the loss has no derivative: model and loss_fn have cut it off, as detach() does")
            return loss.reshape(())

        def sum_of(piece: Batch) -> Tensor:
            if piece[-1] == 0:  # all targets are ignored, so that the mean over the others is NaN
                return (0 * point).sum()
            if not self._repeats:
                before = {name: state[name].clone() for name in buffers}
                first = mean_of(piece).detach()
                for name, buffer in before.items():  # the model may have changed its buffers
                    state[name].copy_(buffer)
                check_repeats("the loss", first, mean := mean_of(piece), self.dtype)
                self._repeats = True
                return piece[-1] * mean
            return piece[-1] * mean_of(piece)

        if self.recompute:
            with torch.no_grad(), averaged_statistics(self.model, state):
                for piece in self._batches():
                    mean_of(piece)
        return sum_of

    def _product_at(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function that multiplies columns (k, dim) by the Hessian at one point (dim,).

        The graph of a batch's gradient is built once for all columns and freed before the next batch; if the data is
        one batch, the graph is kept for later products.
        """
        with torch.inference_mode(False):
            point = detached(x).requires_grad_()
        kept: list[tuple[Tensor, float]] = []

        def gradients() -> Iterator[tuple[Tensor, float]]:
            sum_of = self._sum_at(point)
            for piece in self._batches():  # no variable keeps a graph while that of the next batch is built
                yield _gradient_with_graph(sum_of(piece), point), piece[-1]

        def product(v: Tensor) -> Tensor:
            with self._pass(), torch.enable_grad(), _second_derivatives(self.name):
                image, count = v.new_zeros(v.shape), 0.0
                for gradient, size in kept or gradients():
                    if isinstance(self.data, list) and len(self.data) == 1:
                        kept[:] = [(gradient, size)]
                    if gradient.requires_grad:  # false where the loss is linear
                        for column, out in zip(v, image):
                            out += torch.autograd.grad(gradient, point, column, True, materialize_grads=True)[0]
                    count += size
                    del gradient
                return image / count

        return product


attach = Attached


# batches: pairs (inputs, target) or mappings, of tensors in any nesting


def _call(model: Callable[..., Any], batch: Any) -> tuple[Any, Any]:
    """Return the model's outputs for a batch, and what the loss compares them with: the target, or the mapping."""
    if isinstance(batch, Mapping):
        return model(**batch), batch
    if not (isinstance(batch, tuple | list) and len(batch) == 2):
        raise TypeError(
            f"data: a batch is a {type(batch).__name__} of {len(batch)}; expected a pair (inputs, target), where "
            "inputs may be a tuple, or a mapping of named inputs"
        )
    inputs, target = batch
    if isinstance(inputs, Mapping):
        return model(**inputs), target
    return (model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)), target


def _divisor(loss_fn: LossFunction, batch: Any, size: int) -> float:
    """Return what the mean over a batch divides by: its samples, or the weights of the targets that are not ignored."""
    target = batch[-1] if isinstance(batch, tuple | list) else None
    known = isinstance(loss_fn, nn.CrossEntropyLoss | nn.NLLLoss) or loss_fn in (F.cross_entropy, F.nll_loss)
    if not known or not isinstance(target, Tensor) or target.is_floating_point():  # probabilities have a plain mean
        return size
    counted = target[target != getattr(loss_fn, "ignore_index", -100)]  # -100 is the default of torch's functions
    weight = getattr(loss_fn, "weight", None)
    return counted.numel() if weight is None else float(weight[counted].sum())


def _size(batch: Any) -> int:
    """Return the number of samples of a batch: the length of the first tensor in it."""
    for tensor in _tensors(batch):
        return len(tensor) if tensor.ndim else 1
    raise TypeError(f"data: a batch is {batch!r:.200}; expected tensors, as a pair (inputs, target) or by name")


def _split(data: Any, batch_size: int) -> list[Any]:
    """Split tensors into batches along their first axis."""
    tensors = _tensors(data)
    lengths = {len(tensor) for tensor in tensors if tensor.ndim}
    if len(lengths) != 1 or 0 in lengths:
        found = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f"data holds tensors {found or 'of no kind'}; expected the same number of samples in each")
    (n,) = lengths
    return [_rows(data, n, slice(start, start + batch_size)) for start in range(0, n, batch_size)]


def _rows(batch: Any, size: int, rows: slice) -> Any:
    return _mapped(batch, lambda tensor: tensor[rows] if tensor.ndim and len(tensor) == size else tensor)


def _placed(batch: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Move the tensors of a batch to a device, floating-point ones also to a precision, without their graphs."""
    return _mapped(batch, lambda t: detached(t).to(device, dtype if t.is_floating_point() else t.dtype))


def _tensors(batch: Any) -> list[Tensor]:
    tensors: list[Tensor] = []
    _mapped(batch, lambda tensor: tensors.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return tensors


def _mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to each tensor of a batch."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {name: _mapped(part, function) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [_mapped(part, function) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


# second derivatives


def _gradient_with_graph(loss: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of a loss with its graph, and check each custom function in the graph of the loss."""
    visited: set[Any] = {None, loss.grad_fn}
    for node in (queue := [loss.grad_fn]):
        parents = {parent for parent, _ in node.next_functions} - visited  # type: ignore[union-attr]
        visited |= parents
        queue += parents
        if isinstance(node, BackwardCFunction):
            node.register_hook(partial(_check_graph, node.name(), node.next_functions))
    return torch.autograd.grad(loss, x, create_graph=True, materialize_grads=True)[0]


def _check_graph(name: str, parents: tuple[Any, ...], gradients: tuple[Tensor | None, ...], _: object) -> None:
    """Refuse a backward pass without a graph (`once_differentiable`, a kernel), which torch would take for constant."""
    for gradient, (parent, _) in zip(gradients, parents):
        if torch.is_grad_enabled() and gradient is not None and parent is not None:
            source = gradient.grad_fn.name() if gradient.grad_fn else ""
            if not gradient.requires_grad or source == "torch::autograd::Error":
                raise RuntimeError(f"derivative for {name} is not implemented")


@contextmanager
def _second_derivatives(name: str) -> Iterator[None]:
    """Explain torch's errors about operations that cannot be differentiated twice."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error).lower() for words in ("derivative for", "double backward", "autograd formula")):
            raise
        raise ValueError(
            f"{name} has no Hessian-vector products: {error}. Expected operations that torch can differentiate twice; "
            "a fused kernel has a plain form (attn_implementation='eager', or torch's scaled_dot_product_attention, "
            "which is handled)"
        ) from error
