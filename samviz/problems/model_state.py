"""The state of a torch model: its parameters as one vector, its statistics, and the random numbers that it draws."""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from samviz.checks import check_type

CHECKPOINTING = (
    "activation checkpointing computes a part of the model a second time, with the parameters of the training instead "
    "of those that are evaluated; switch it off for the model that is attached"
)


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
def generators_restored(device: torch.device, own: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Put the generators of torch, numpy and Python, and a data loader's own, back at the end of the block."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - augmentations draw there
    try:
        with torch_states_restored([*torch_generators(device), *own]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002


@contextmanager
def seeded_pass(seed: int | None, device: torch.device) -> Iterator[None]:
    """Run a forward pass with torch's random numbers from a seed (None: as they come), and put their states back."""
    try:
        with torch_states_restored([] if seed is None else torch_generators(device)):
            if seed is not None:
                for generator in torch_generators(device):
                    generator.manual_seed(seed)
            yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "a batch of one sample has no statistics that BatchNorm could use in training mode; "
            "expected batches of 2 or more, or training=False"
        ) from error


def check_repeats(what: str, first: Tensor, second: Tensor, precision: torch.dtype) -> None:
    """Refuse two values at the same point, with the same random numbers, that differ by more than rounding."""
    before, after = first.detach().cpu().double(), second.detach().cpu().double()
    tolerance = 1000 * torch.finfo(precision).eps  # summing in another order changes a value by less
    if not torch.allclose(before, after, rtol=tolerance, atol=tolerance, equal_nan=True):
        pair = [value.flatten()[:3].tolist() for value in (before, after)]
        raise ValueError(
            f"{what} gave {pair[0]} and then {pair[1]} for the same parameters and samples, so it is not a function of "
            "the parameters; expected the same value each time. Draw its random numbers once, outside, and remove "
            "whatever changes by itself, such as a generator of its own or the clock"
        )


# all of it


@contextmanager
def untouched(
    model: nn.Module, training: bool, device: torch.device, own: Sequence[torch.Generator] = ()
) -> Iterator[None]:
    """Evaluate a model inside the block, and restore its modules' attributes, torch's switches and all generators.

    Derivatives of any order are exact inside: inference mode, autocast and TF32 are off, compiled parts run eagerly,
    and attention and recurrent layers use the kernels that torch can differentiate twice. The values of tensors are
    not restored: evaluate the model by `torch.func.functional_call` with other tensors.
    """
    attributes = [(module, dict(vars(module))) for module in model.modules()]  # includes the flat weights of a GRU
    switches = _tf32_switches()
    if any(isinstance(module, nn.RNNBase) for module, _ in attributes):
        switches.append((torch.backends.cudnn, "enabled", False))
    with ExitStack() as stack:
        for place, name, value in switches:
            stack.callback(setattr, place, name, getattr(place, name))
            setattr(place, name, value)
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.autograd.graph.disable_saved_tensors_hooks(CHECKPOINTING))
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):  # torch 2.6 or newer
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(generators_restored(device, own))
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
