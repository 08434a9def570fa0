"""Looking at a model without leaving a trace."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def untouched(model: nn.Module, training: bool, device: torch.device) -> Iterator[None]:
    """Evaluate a model inside as if it had never been: each attribute of its modules and each switch is put back.

    Inside, derivatives of any order can be taken, in full precision: inference mode, autocast and TF32 are off, what is
    compiled runs eagerly, attention is computed by its plain formula and recurrent layers by torch's own kernels.

    Args:
        model: what is looked at. What its tensors and lists hold is not put back: `torch.func.functional_call` gives
            it other tensors.
        training: the mode inside.
        device: where it computes.
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
        for kind in {"cpu", device.type}:
            stack.enter_context(torch.autocast(kind, enabled=False))
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):  # torch 2.6 or newer
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            model.train(training)
            yield
        finally:
            for module, before in attributes:
                for name in vars(module).keys() - before.keys():
                    del vars(module)[name]
                vars(module).update(before)


def _exact() -> list[tuple[Any, str, Any]]:
    """Where TF32 is allowed, as it is for convolutions unless told otherwise, and what turns it off."""
    cuda: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    if hasattr(cuda, "fp32_precision"):  # torch 2.9 or newer, which takes either way of saying it but not both
        return [(place, "fp32_precision", "ieee") for place in (cuda, cudnn.conv, cudnn.rnn)]
    return [(place, "allow_tf32", False) for place in (cuda, cudnn)]


@contextmanager
def generators_kept(device: torch.device, own: Iterable[torch.Generator] = ()) -> Iterator[None]:
    """Random numbers may be drawn inside; torch's, numpy's and Python's generators are put back.

    Args:
        device: whose generator is kept, beside the CPU's.
        own: others.
    """
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - augmentations draw there
    states = [(generator, generator.get_state()) for generator in (torch.default_generator, *own)]
    there = None if device.type == "cpu" else torch.get_device_module(device)
    state = there and there.get_rng_state(*_which(device))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
        for generator, before in states:
            generator.set_state(before)
        if there:
            there.set_rng_state(state, *_which(device))


def seed(number: int, device: torch.device) -> None:
    """Start torch's, numpy's and Python's random numbers anew.

    Args:
        number: the seed, non-negative.
        device: whose generator is seeded, beside the CPU's.
    """
    torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    if device.type != "cpu":
        state = torch.Generator(device).manual_seed(number).get_state()
        torch.get_device_module(device).set_rng_state(state, *_which(device))


def _which(device: torch.device) -> tuple[torch.device, ...]:
    """How a device's random numbers are told from another's: MPS has one generator and takes no name."""
    return () if device.type == "mps" else (device,)
