"""A torch model as a problem: evaluated in place with its own loss and data (`attach`), or copied (`from_module`)."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._pytree import tree_leaves, tree_map_only

from samviz.checks import check_bool, check_int, check_type
from samviz.problems.network import Data, Network, SampleLoss, check_repeats, in_precision
from samviz.problems.problem import Operator, Problem, filters_of

LossFunction = Callable[[Any, Any], Tensor]  # outputs, target -> the mean over the batch's samples, ()
Batches = tuple[Any, Any] | Iterable[Any]
Batch = tuple[int, Any, float]  # number in the pass, content, and what divides its sum: its samples, or their weights

POINTS_SIZE = 2**26  # numbers in the points that share a pass over the data: 256 MB in single precision
MODEL_SEED = 2**31  # first seed of the random numbers that the model draws; the seeds of the data start at 0
CHECKPOINTING = (
    "activation checkpointing computes a part of the model a second time, with the parameters of the training instead "
    "of those that are evaluated; switch it off for the model that is attached"
)
MEANS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # mean losses by name, each in one call for speed
    "mse": partial(F.huber_loss, delta=math.inf),  # half the mean square, because no error is beyond delta
    "cross_entropy": F.cross_entropy,
}


# parameters


def trainable_shapes(name: str, module: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, torch.Size]:
    """Return the shapes of the trainable parameters whose names match the patterns (None: all), in module order."""
    trainable = {key: p for key, p in module.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError(f"{name} has no parameter with requires_grad, so that nothing can vary; make one require it")
    wanted = ["*"] if patterns is None else [patterns] if isinstance(patterns, str) else patterns
    check_type("names", wanted, Collection, "patterns of parameters' names, or None")
    for pattern in wanted or [""]:
        if not any(isinstance(pattern, str) and fnmatchcase(key, pattern) for key in trainable):
            known = ", ".join(trainable)
            raise ValueError(f"names is {patterns!r:.200}; {pattern!r} fits none of {known:.500}: use some of these")
    varied = {key: p for key, p in trainable.items() if any(fnmatchcase(key, pattern) for pattern in wanted)}
    if wrong := [key for key, p in varied.items() if not p.is_floating_point()]:
        raise ValueError(f"{name} has parameters that are not real numbers: {', '.join(wrong)}; freeze or convert them")
    return {key: p.shape for key, p in varied.items()}


def split_by_name(x: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Return the parameters in a vector (dim,) by name, as views of it."""
    parts = x.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for part, (name, shape) in zip(parts, shapes.items())}


def detached(tensor: Tensor) -> Tensor:
    """Return a tensor without its graph, which can be differentiated even if it was made in inference mode."""
    return (tensor.clone() if tensor.is_inference() else tensor).detach()


# statistics


def tracking_layers(module: nn.Module) -> dict[str, _NormBase]:
    """Return the layers that store running statistics, by name: BatchNorm, and InstanceNorm that tracks them."""
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _NormBase)}
    return {name: layer for name, layer in layers.items() if layer.track_running_stats}


@contextmanager
def averaged_statistics(module: nn.Module, buffers: Mapping[str, Tensor]) -> Iterator[None]:
    """Set the running statistics in `buffers` to the plain average over the batches that pass inside the block."""
    passes = Counter[nn.Module]()

    def weigh(layer: nn.Module, _: object) -> None:
        passes[layer] += 1
        layer.momentum = 1 / passes[layer]  # type: ignore[assignment]

    with ExitStack() as stack:
        for name, layer in tracking_layers(module).items():
            prefix = f"{name}." if name else ""
            buffers[f"{prefix}running_mean"].zero_()
            buffers[f"{prefix}running_var"].fill_(1)
            buffers[f"{prefix}num_batches_tracked"].zero_()
            stack.callback(setattr, layer, "momentum", layer.momentum)
            stack.callback(layer.register_forward_pre_hook(weigh).remove)
            stack.callback(layer.train().eval)
        yield


# random numbers


def torch_generators(device: torch.device) -> list[torch.Generator]:
    """Return torch's default generators of the CPU and of a device."""
    if device.type == "cpu":
        return [torch.default_generator]
    if device.type == "mps":
        return [torch.default_generator, torch.mps._get_default_mps_generator()]
    generators = torch.get_device_module(device).default_generators
    return [torch.default_generator, generators[torch.empty(0, device=device).device.index]]


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators of torch, numpy and Python."""
    for generator in torch_generators(device):
        generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


@contextmanager
def torch_states_restored(generators: Iterable[torch.Generator]) -> Iterator[None]:
    """Put some of torch's generators back to their present states at the end of the block."""
    states = [(generator, generator.get_state()) for generator in generators]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


@contextmanager
def generators_restored(device: torch.device, of_loader: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Put the generators of torch, numpy and Python, and those of a data loader, back at the end of the block."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - augmentations draw there
    try:
        with torch_states_restored([*torch_generators(device), *of_loader]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002


# everything that an evaluation could change


@contextmanager
def evaluation_without_side_effects(
    model: nn.Module, training: bool, device: torch.device, of_loader: Sequence[torch.Generator] = ()
) -> Iterator[None]:
    """Make derivatives of any order exact inside the block, and restore attributes, switches and generators."""
    # The values of tensors are not restored: evaluate the model by `torch.func.functional_call` with other tensors.
    attributes = [(module, dict(vars(module))) for module in model.modules()]  # includes the flat weights of a GRU
    switches = _tf32_switches()
    if any(isinstance(module, nn.RNNBase) for module, _ in attributes):
        switches.append((torch.backends.cudnn, "enabled", False))  # its recurrent layers have no second derivative
    with ExitStack() as stack:
        for place, name, value in switches:
            stack.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, value)
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))  # which torch can differentiate twice
        stack.enter_context(torch.autograd.graph.disable_saved_tensors_hooks(CHECKPOINTING))
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):  # torch 2.6 or newer
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(generators_restored(device, of_loader))
        try:
            model.train(training)
            yield
        finally:
            for module, before in attributes:
                for name in vars(module).keys() - before.keys():
                    del vars(module)[name]
                vars(module).update(before)


def _tf32_switches() -> list[tuple[Any, str, Any]]:
    """Return the object, attribute and value of each switch that turns TF32 off (convolutions use it by default)."""
    cuda: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn
    if hasattr(cuda, "fp32_precision"):  # torch 2.9 or newer refuses a mixture of the old and the new switches
        places = (cuda, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)
        return [(place, "fp32_precision", "ieee") for place in places]
    return [(place, "allow_tf32", False) for place in (cuda, cudnn)]


# a model in place


class Attached(Problem):
    """A torch model as a problem, evaluated in place: its own device and precision, its own loss, its own data.

    Unlike `from_module` it does not copy the model, reads the data batch by batch, and follows the model while it is
    trained: `Attached.initial` returns the present parameters. Evaluating it leaves the model bit for bit unchanged:
    parameters, gradients, buffers, mode, and the random generators of torch, numpy and Python. A model in half
    precision is evaluated in single precision.

    Args:
        model: as it is called in training. DistributedDataParallel, DataParallel and torch.compile are unwrapped.
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
        self.model, self.training, self.recompute = model, training, recompute
        self.shapes = trainable_shapes("model", model, names)
        parameters = list(model.parameters())
        devices = {p.device for p in parameters}
        if len(devices) > 1:
            raise ValueError(f"model lies on {', '.join(sorted(map(str, devices)))}; expected one device")
        self.device = devices.pop()
        self.dtype = torch.float64 if any(p.dtype == torch.float64 for p in parameters) else torch.float32
        self.loss_fn: LossFunction = in_precision(loss_fn, self.dtype)
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
        with self._pass(), torch.set_grad_enabled(graph):
            total, count = x.new_zeros(len(x)), 0.0
            for losses, divisor in self._losses((x if graph else detached(x)).unbind()):
                total = total + torch.stack([*losses])
                count += divisor
            return total / count

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        with self._pass(), torch.enable_grad():
            points = [detached(point).requires_grad_() for point in x.unbind()]
            total, gradient, count = x.new_zeros(len(x)), x.new_zeros(x.shape), 0.0
            for losses, divisor in self._losses(points):
                for run, loss in enumerate(losses):
                    total[run] += loss.detach()
                    gradient[run] += torch.autograd.grad(loss, points[run], materialize_grads=True)[0]
                count += divisor
            return total / count, gradient / count

    def _hvp(self, x: Tensor, batch: Tensor | None) -> Operator:
        products = [self._product_at(point) for point in x.unbind()]
        return lambda v: torch.stack([product_at(columns) for product_at, columns in zip(products, v)])

    def _pass(self) -> AbstractContextManager[None]:
        return evaluation_without_side_effects(self.model, self.training, self.device, self._generators)

    def _read(self) -> Iterator[tuple[Any, int]]:
        """Yield the batches and their numbers of samples; shuffling and augmentation are the same each time."""
        seed_generators(0, self.device)
        for generator in self._generators:
            generator.manual_seed(0)
        # Iterating over a loader with persistent workers would restart the epoch that the training is in.
        new_pass = getattr(self.data, "persistent_workers", False) and getattr(self.data, "_get_iterator", None)
        index = 0
        for index, batch in enumerate(map(_with_dicts, new_pass() if new_pass else self.data), 1):
            yield batch, _size(batch)
            seed_generators(index, self.device)  # the next batch must not depend on what the model drew for this one
        if not index:
            raise ValueError("data has no batches in this pass; expected the same ones at every pass, one at least")

    def _batches(self) -> Iterator[Batch]:
        """Yield the batches of a pass on the model's device and in its precision."""
        for index, (batch, size) in enumerate(self._read()):
            content = _placed(batch, self.device, self.dtype)
            yield index, content, _divisor(self.loss_fn, content, size)

    def _losses(self, points: Sequence[Tensor]) -> Iterator[tuple[Iterator[Tensor], float]]:
        """Yield for each batch the sums of its losses at the points, computed one by one, and its divisor."""
        sums = [self._sum_at(point) for point in points]
        for batch in self._batches():
            yield (sum_of(batch) for sum_of in sums), batch[2]

    def _sum_at(self, point: Tensor) -> Callable[[Batch], Tensor]:
        """Return the function that sums the loss over a batch's samples, (), at the parameters `point` (dim,)."""
        varied = split_by_name(point, self.shapes)
        frozen = {name: p for name, p in self.model.named_parameters() if name not in varied}
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        state = _placed(frozen | buffers, self.device, self.dtype) | varied

        def model(*args: Any, **named: Any) -> Any:
            return functional_call(self.model, state, args, named)

        def mean_of(batch: Batch) -> Tensor:
            number, content, _ = batch
            seed_generators(MODEL_SEED + number, self.device)  # a batch has the same dropout mask in each pass
            loss = self.loss_fn(*_call(model, content))
            if not isinstance(loss, Tensor) or loss.numel() != 1:
                result = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"{loss!r:.200}"
                raise TypeError(f"loss_fn returned {result}; expected the mean over the batch, a tensor of one number")
            if point.requires_grad and torch.is_grad_enabled() and not loss.requires_grad:
                raise ValueError("the loss has no derivative: model and loss_fn have cut it off, as detach() does")
            return loss.reshape(())

        def sum_of(batch: Batch) -> Tensor:
            divisor = batch[2]
            if divisor == 0:  # all targets are ignored, so that the mean over the others is NaN
                return (0 * point).sum()
            if not self._repeats:
                before = {name: state[name].clone() for name in buffers}
                first = mean_of(batch).detach()
                for name, buffer in before.items():  # the model may have changed its buffers
                    state[name].copy_(buffer)
                check_repeats(first, mean := mean_of(batch), self.dtype)
                self._repeats = True
                return divisor * mean
            return divisor * mean_of(batch)

        if self.recompute:
            if point.requires_grad:
                raise ValueError("recompute is True: the loss can be drawn, not differentiated; use recompute=False")
            with torch.no_grad(), averaged_statistics(self.model, state):
                for batch in self._batches():
                    mean_of(batch)
        return sum_of

    def _product_at(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function that multiplies columns (k, dim) by the Hessian at one point (dim,)."""
        with torch.inference_mode(False):
            point = detached(x).requires_grad_()
        stored: list[tuple[Tensor, float]] = []  # the gradient's graph if the data is one batch, for later products

        def gradients() -> Iterator[tuple[Tensor, float]]:
            for losses, divisor in self._losses([point]):  # no variable keeps a graph while the next one is built
                yield _gradient_with_graph(next(losses), point), divisor

        def product(v: Tensor) -> Tensor:
            with self._pass(), torch.enable_grad(), _second_derivatives(self.name):
                image, count = v.new_zeros(v.shape), 0.0
                for gradient, divisor in stored or gradients():
                    if isinstance(self.data, list) and len(self.data) == 1:
                        stored[:] = [(gradient, divisor)]
                    if gradient.requires_grad:  # false where the loss is linear
                        for column, out in zip(v, image):
                            out += torch.autograd.grad(gradient, point, column, True, materialize_grads=True)[0]
                    count += divisor
                    del gradient
                return image.div_(count)

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
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Tensor):
            return len(leaf) if leaf.ndim else 1
    raise TypeError(f"data: a batch is {batch!r:.200}; expected tensors, as a pair (inputs, target) or by name")


def _split(data: Any, batch_size: int) -> list[Any]:
    """Split tensors into batches along their first axis."""
    data = _with_dicts(data)
    tensors = [leaf for leaf in tree_leaves(data) if isinstance(leaf, Tensor)]
    lengths = {len(tensor) for tensor in tensors if tensor.ndim}
    if len(lengths) != 1 or 0 in lengths:
        found = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f"data holds tensors {found or 'of no kind'}; expected the same number of samples in each")
    (n,) = lengths
    return [_rows(data, n, slice(start, start + batch_size)) for start in range(0, n, batch_size)]


def _with_dicts(batch: Any) -> Any:
    """Turn the mappings that are unknown to torch's functions on trees, such as those of tokenizers, into dicts."""
    return tree_map_only(Mapping, dict, batch)


def _rows(batch: Any, size: int, rows: slice) -> Any:
    """Select samples of a batch of `size` samples."""
    return tree_map_only(Tensor, lambda tensor: tensor[rows] if tensor.ndim and len(tensor) == size else tensor, batch)


def _placed(batch: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Move the tensors of a batch to a device, floating-point ones also to a precision, without their graphs."""
    return tree_map_only(Tensor, lambda t: detached(t).to(device, dtype if t.is_floating_point() else t.dtype), batch)


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
        if not any(part in str(error).lower() for part in ("derivative for", "double backward", "autograd formula")):
            raise
        raise ValueError(
            f"{name} has no Hessian-vector products: {error}. Expected operations that torch can differentiate twice; "
            "a fused kernel has a plain form (attn_implementation='eager', or torch's scaled_dot_product_attention, "
            "which is handled)"
        ) from error


# a copy of a module


class Module(Network):
    """The loss of a copy of a torch module on data, in float64 on the CPU; every run has its own parameters.

    In evaluation mode, the default, BatchNorm uses its stored statistics and dropout is off, so that samples are
    independent. In training mode BatchNorm normalizes by the statistics of the batch. Dropout draws a new mask for
    every batch, but always the same one for the same batch. Both passes of a SAM step, Hessian-vector products and
    landscapes therefore evaluate one function of the parameters. The stored statistics never change;
    `Module.module_at` returns the trained module with the statistics of the data.

    Args:
        module: maps inputs (n, ...) to outputs (n, ...). Only its trainable parameters vary, starting from its own.
        data: as in `mlp`.
        loss: as in `mlp`.
        training: whether the module is in training mode. Runs whose module draws random numbers are then computed
            one by one.

    Raises:
        ValueError: when nothing is trainable, a parameter is not real, data and loss do not fit, a forward pass
            changes the module, or the module or the loss gives another value each time.
        TypeError: when module is not a torch.nn.Module.

    >>> from_module(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)), data="sine").dim
    10
    """

    def __init__(self, module: nn.Module, data: Data, loss: str | SampleLoss = "mse", training: bool = False) -> None:
        check_type("module", module, nn.Module, "a torch.nn.Module")
        self.training = check_bool("training", training)
        super().__init__(data, loss)
        self.shapes = trainable_shapes("module", module)
        self.module = deepcopy(module).to("cpu", torch.float64).eval()  # `module_at` copies it
        self.module.zero_grad()
        self.evaluated = self.module  # what the loss evaluates
        if training:
            self.evaluated = deepcopy(self.module).train()
            for layer in tracking_layers(self.evaluated).values():
                layer.track_running_stats = False
                layer.running_mean = layer.running_var = None
        self.dim = sum(shape.numel() for shape in self.shapes.values())
        self.filters = filters_of(self.shapes.values())
        self.name = f"{type(module).__name__} on {self.data_name}"
        parameters = dict(self.module.named_parameters())
        self.start = torch.cat([parameters[name].detach().flatten() for name in self.shapes])
        self._workspace: tuple[nn.Module, Tensor, Tensor] | None = None
        width, self.random = self._first_pass()
        self._fit_targets(width, "a module that gives")
        self._check_loss()

    def _first_pass(self) -> tuple[int, bool]:
        """Return the number of outputs, and whether a forward pass draws random numbers; refuse changing buffers."""
        before = {name: buffer.clone() for name, buffer in self.evaluated.named_buffers()}
        inputs = self.inputs[:2]
        with torch.no_grad(), generators_restored(self.device):
            state = torch.get_rng_state()
            try:
                width = self.evaluated(inputs).reshape(len(inputs), -1).shape[1]
            except (RuntimeError, AttributeError, TypeError, IndexError) as error:  # shapes do not fit, or no tensor
                raise ValueError(
                    f"module cannot be evaluated on inputs of shape {tuple(inputs.shape)}: {error}; expected one that "
                    "takes those of data and gives a tensor (n, ...)"
                ) from error
            draws = not torch.equal(state, torch.get_rng_state())
        if changed := [name for name, b in self.evaluated.named_buffers() if not torch.equal(b, before[name])]:
            raise ValueError(
                f"module changes its buffers {', '.join(changed)} in {'training' if self.training else 'evaluation'} "
                "mode, so its loss is no function of the parameters; expected a forward pass that leaves them alone "
                "(BatchNorm may change its own)"
            )
        return width, draws

    def outputs(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs in evaluation mode, (runs, n, outputs); see `Network.outputs`."""
        self._check_inputs(x, inputs, ("any",) * (self.inputs.ndim - 1))  # images may have any size
        if not self.training:
            return self._outputs(x, inputs, None)
        rows = inputs.expand(len(x), *inputs.shape) if inputs.ndim == self.inputs.ndim else inputs
        with torch.no_grad():
            return torch.stack([self._answer(self.module_at(point), row, None) for point, row in zip(x, rows)])

    def _outputs(self, x: Tensor, inputs: Tensor, batch: Tensor | None) -> Tensor:
        def forward(point: Tensor, samples: Tensor, rows: Tensor | None) -> Tensor:
            parameters = split_by_name(point, self.shapes)
            return self._answer(lambda row: functional_call(self.evaluated, parameters, (row,)), samples, rows)

        shared = inputs.ndim == self.inputs.ndim
        if len(x) > 1 and not self.random:
            return torch.vmap(forward, in_dims=(0, None if shared else 0, None))(x, inputs, None)
        # A single run avoids the overhead of vmap, and with dropout each run needs the mask of its own batch.
        inputs_of_runs = [inputs] * len(x) if shared else inputs
        rows_of_runs = [None] * len(x) if batch is None else batch
        return torch.stack([forward(*run) for run in zip(x, inputs_of_runs, rows_of_runs)])

    def _answer(self, network: Callable[[Tensor], Tensor], inputs: Tensor, batch: Tensor | None) -> Tensor:
        """Return the outputs (b, outputs) for inputs (b, ...), with random numbers that depend only on the batch."""
        if self.random:
            rows = torch.arange(self.samples) if batch is None else batch
            with generators_restored(self.device):
                seed_generators(crc32(rows.cpu().numpy().astype("<i8").tobytes()), self.device)
                out = network(inputs)
        else:
            out = network(inputs)
        return out if out.ndim == 2 else out.reshape(len(inputs), -1)

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the gradient of a single run by a plain backward pass in preallocated memory, which is faster."""
        if len(x) > 1:
            return super()._gradient(x, batch, noise)
        rows = None if batch is None else batch[0]
        inputs, targets = (self.inputs, self.targets) if rows is None else (self.inputs[rows], self.targets[rows])
        if self._workspace is None:  # a copy of the module, whose parameters and gradients are views of two vectors
            module, vectors = deepcopy(self.evaluated), (self.start.clone(), torch.zeros_like(self.start))
            named = dict(module.named_parameters())
            for attribute, vector in zip(("data", "grad"), vectors):
                for name, view in split_by_name(vector, self.shapes).items():
                    setattr(named[name], attribute, view)
            self._workspace = module, *vectors
        module, parameters, gradient = self._workspace
        parameters.copy_(x.detach()[0])
        gradient.zero_()
        mean = MEANS.get(self.loss_name) or (lambda *pair: self.sample_loss(*pair).mean())
        with torch.enable_grad():
            outputs = self._answer(module, inputs, rows)
            loss = mean(outputs, targets)
            noisy = loss if noise is None else mean(outputs, targets + noise.view_as(targets))
        if noisy.requires_grad:
            noisy.backward()
        return loss.detach().view(1), gradient.clone()[None]

    def initial(self, seed: int = 0) -> Tensor:
        """Return the parameters that the module came with, (dim,); the seed is not used."""
        return self.start.clone()

    def module_at(self, x: ArrayLike | Tensor) -> nn.Module:
        """Return the module with the given parameters, in evaluation mode, to be used and saved like any other.

        Args:
            x: (dim,) or (1, dim), parameters.

        Returns:
            A copy of the module, in the problem's precision and on its device. If the problem is in training mode,
            BatchNorm's statistics are those of all of the data at x; otherwise they are the module's own.

        Raises:
            ValueError: when x is more than one point, or not finite.

        >>> problem = from_module(nn.Linear(1, 1), data="sine")
        >>> problem.module_at([2.0, 1.0])(torch.ones(1, 1).double()).item()
        3.0
        """
        points = self.points(x)
        if len(points) > 1:
            raise ValueError(f"x has {len(points)} rows; expected one point, such as x[0]")
        module = deepcopy(self.module)
        module.load_state_dict(split_by_name(points[0], self.shapes), strict=False)
        if self.training:
            statistics = averaged_statistics(module, dict(module.named_buffers()))
            with torch.no_grad(), generators_restored(self.device), statistics:
                seed_generators(0, self.device)
                module(self.inputs)
        return module

    def __getstate__(self) -> dict[str, Any]:
        """All but the workspace, which every copy allocates for itself."""
        return {**vars(self), "_workspace": None}


from_module = Module
