"""Both passes of a step see one function: the second draws what the first drew, and leaves no trace in buffers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

States = dict[torch.device, Tensor]  # of torch's default generators


def random_states(devices: Iterable[torch.device]) -> States:
    """Where the default random number generators of some devices are.

    >>> states = random_states([torch.device("cpu")])
    >>> with replayed(states):
    ...     first = torch.rand(3)
    >>> torch.equal(torch.rand(3), first)
    True
    """
    return {device: _state(device) for device in devices}


@contextmanager
def replayed(states: States) -> Iterator[None]:
    """Draw from recorded states; at the end the generators are where they were before."""
    now = random_states(states)
    try:
        for device, state in states.items():
            _state(device, state)
        yield
    finally:
        for device, state in now.items():
            _state(device, state)


def _state(device: torch.device, *new: Tensor) -> Any:
    """Get, or set, the state of a device's default generator; there is one CPU and one MPS to be named."""
    module = torch if device.type == "cpu" else torch.get_device_module(device)
    named = () if device.type in ("cpu", "mps") else (device,)
    return module.set_rng_state(*new, *named) if new else module.get_rng_state(*named)


@contextmanager
def buffers_kept() -> Iterator[None]:
    """Put the buffers of every module that is called in the block back as they were before; torch's hooks see them all.

    >>> layer = nn.BatchNorm1d(2)
    >>> with buffers_kept():
    ...     _ = layer(torch.randn(8, 2))
    >>> layer.num_batches_tracked
    tensor(0)
    """
    kept: dict[nn.Module, dict[str, tuple[Tensor, Tensor]]] = {}  # each buffer and what was in it

    def before(module: nn.Module, _: Any) -> None:
        if module not in kept:
            for part in set(module.modules()) - kept.keys():
                buffers = part._buffers.items()
                kept[part] = {name: (buffer, buffer.clone()) for name, buffer in buffers if buffer is not None}

    def after(module: nn.Module, *_: Any) -> None:
        # A forward may replace a buffer rather than write into it. That is undone as soon as it returns:
        # functional_call lends buffers for the length of a call, and they must not be taken for the module's own.
        module._buffers.update({name: buffer for name, (buffer, _) in kept.get(module, {}).items()})

    hooks = register_module_forward_pre_hook(before), register_module_forward_hook(after, always_call=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            for buffer, was in (pair for pairs in kept.values() for pair in pairs.values()):
                buffer.copy_(was)
