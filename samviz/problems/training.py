"""A module in training mode whose loss is still one function of the parameters and the batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from zlib import crc32

import torch
from torch import Tensor, nn

from samviz.problems.untouched import states_kept, torchs


def in_training(module: nn.Module) -> nn.Module:
    """A copy in training mode that normalizes by the batch's statistics and stores none.

    Args:
        module: with any normalization layers.

    Returns:
        The copy.
    """
    module = deepcopy(module).train()
    for layer in normalizations(module):
        layer.track_running_stats = False
        layer.running_mean = layer.running_var = None
    return module


@contextmanager
def averaging(module: nn.Module, buffers: dict[str, Tensor]) -> Iterator[None]:
    """Inside, BatchNorm is in training mode and collects the plain average over all batches that pass.

    Args:
        module: in evaluation mode, which it is put back to.
        buffers: where the statistics are collected, by name: the module's own or others in their place; they are
            forgotten first.
    """
    momenta = {layer: layer.momentum for layer in normalizations(module)}
    passed = Counter[nn.Module]()

    def weigh(layer: nn.Module, _: object) -> None:
        passed[layer] += 1
        layer.momentum = 1 / passed[layer]  # type: ignore[assignment]

    hooks = [layer.register_forward_pre_hook(weigh) for layer in momenta]
    try:
        for name, layer in module.named_modules():
            if layer in momenta:
                start = f"{name}." if name else ""
                buffers[f"{start}running_mean"].zero_()
                buffers[f"{start}running_var"].fill_(1)
                buffers[f"{start}num_batches_tracked"].zero_()
                layer.train()
        yield
    finally:
        for hook, (layer, momentum) in zip(hooks, momenta.items()):
            hook.remove()
            layer.momentum = momentum
            layer.eval()


def normalizations(module: nn.Module) -> Iterator[nn.modules.batchnorm._NormBase]:
    """The layers that store statistics of what passes through them: BatchNorm, InstanceNorm with tracking."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.track_running_stats:
            yield layer


def draws(module: nn.Module, inputs: Tensor) -> bool:
    """Whether a forward pass on the CPU draws random numbers, as dropout does.

    Args:
        module: what is tried.
        inputs: (n, ...), samples to try it on.

    Returns:
        True when torch's generator has moved.

    Raises:
        ValueError: when the pass changes a buffer: the loss would be no function of the parameters.
    """
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    state = torch.get_rng_state()
    with torch.no_grad():
        module(inputs)
    random = not torch.equal(state, torch.get_rng_state())
    changed = [name for name, buffer in module.named_buffers() if not torch.equal(buffer, before[name])]
    if changed:
        mode = "training" if module.training else "evaluation"
        raise ValueError(
            f"module changes its buffers {', '.join(changed)} in {mode} mode, so its loss is no function of the "
            "parameters; expected a forward pass that leaves them alone (BatchNorm may change its own)"
        )
    return random


def check_repeats(what: str, first: Tensor, second: Tensor, precision: torch.dtype) -> None:
    """Refuse two values of one thing that differ by more than rounding: no derivative of it would mean anything.

    Args:
        what: is evaluated, for the message.
        first: a value.
        second: the value of the same parameters and samples, with torch's generators in the same state.
        precision: in which they were computed.

    Raises:
        ValueError: when they differ.
    """
    before, again = first.detach().cpu().double(), second.detach().cpu().double()
    tolerance = 1000 * torch.finfo(precision).eps  # sums in another order differ by this much at most
    if not torch.allclose(before, again, rtol=tolerance, atol=tolerance, equal_nan=True):
        pair = [value.flatten()[:3].tolist() for value in (before, again)]
        raise ValueError(
            f"{what} gave {pair[0]} and then {pair[1]} for the same parameters and samples, so it is not a function of "
            "the parameters; expected the same value each time. Draw its random numbers once, outside, and leave out "
            "what changes by itself, such as a generator of its own or the clock"
        )


def seed_of(batch: Tensor) -> int:
    """The seed of the random numbers that go with a batch: the same for equal batches, on every machine.

    Args:
        batch: int64 (b,), sample indices.

    Returns:
        A seed, below 2³².

    >>> seed_of(torch.tensor([3, 1])) == seed_of(torch.tensor([3, 1]))
    True
    """
    return crc32(batch.cpu().numpy().astype("<i8").tobytes())


@contextmanager
def fixed(seed: int | None, device: torch.device) -> Iterator[None]:
    """Run a forward pass with the random numbers of a seed; the states of torch's generators are put back.

    Args:
        seed: non-negative int, or None where nothing is drawn.
        device: whose generator is seeded, beside the CPU's.

    Raises:
        ValueError: when BatchNorm meets a batch that has no statistics.
    """
    try:
        with nullcontext() if seed is None else _seeded(seed, device):
            yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "a batch of one sample has no statistics that BatchNorm could use in training mode; "
            "expected batches of 2 or more, or training=False"
        ) from error


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from torch's generators as if just seeded; their states are put back."""
    generators = torchs(device)
    with states_kept(generators):
        for generator in generators:
            generator.manual_seed(seed)
        yield
