"""Looking at a model without leaving a trace."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

CHECKPOINTING = (
    "activation checkpointing computes the model a second time where it is, not where it is looked at; switch it off "
    "for the model that is attached"
)


@contextmanager
def untouched(
    model: nn.Module, training: bool, device: torch.device, own: Sequence[torch.Generator] = ()
) -> Iterator[None]:
    """Evaluate a model inside as if it had never been: attributes of its modules, switches and generators are put back.

    Inside, derivatives of any order can be taken, in full precision: inference mode, autocast and TF32 are off, what is
    compiled runs eagerly, attention is computed by its plain formula and recurrent layers by torch's own kernels.

    Args:
        model: what is looked at. What its tensors and lists hold is not put back: `torch.func.functional_call` gives
            it other tensors.
        training: the mode inside.
        device: where it computes.
        own: generators of random numbers that are put back beside torch's, numpy's and Python's.
    """
    attributes = [(module, dict(vars(module))) for module in model.modules()]  # of a GRU its hold on the weights, too
    switches = _exact()
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
        stack.enter_context(generators_kept(device, own))
        try:
            model.train(training)
            yield
        finally:
            for module, before in attributes:
                for name in vars(module).keys() - before.keys():
                    del vars(module)[name]
                vars(module).update(before)


def free(tensor: Tensor) -> Tensor:
    """A tensor without its history, that derivatives can be taken at even if it comes from inference mode."""
    return (tensor.clone() if tensor.is_inference() else tensor).detach()


def _exact() -> list[tuple[Any, str, Any]]:
    """Where TF32 is allowed, as it is for convolutions unless told otherwise, and what turns it off."""
    cuda: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn
    if hasattr(cuda, "fp32_precision"):  # torch 2.9 or newer, which takes either way of saying it but not both
        places = (cuda, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)
        return [(place, "fp32_precision", "ieee") for place in places]
    return [(place, "allow_tf32", False) for place in (cuda, cudnn)]


@contextmanager
def generators_kept(device: torch.device, own: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Random numbers may be drawn inside; torch's, numpy's and Python's generators are put back.

    Args:
        device: whose generator is kept, beside the CPU's.
        own: others.
    """
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - augmentations draw there
    try:
        with states_kept((*torchs(device), *own)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002


@contextmanager
def states_kept(generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Some of torch's generators may be moved inside; they are put back."""
    states = [generator.get_state() for generator in generators]
    try:
        yield
    finally:
        for generator, before in zip(generators, states):
            generator.set_state(before)


def seed(number: int, device: torch.device) -> None:
    """Start torch's, numpy's and Python's random numbers anew.

    Args:
        number: the seed, non-negative.
        device: whose generator is seeded, beside the CPU's.
    """
    for generator in torchs(device):
        generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002


def torchs(device: torch.device) -> list[torch.Generator]:
    """Torch's own generators for the CPU and a device."""
    if device.type == "cpu":
        return [torch.default_generator]
    if device.type == "mps":
        return [torch.default_generator, torch.mps._get_default_mps_generator()]
    there = torch.get_device_module(device)
    return [torch.default_generator, there.default_generators[torch.empty(0, device=device).device.index]]
