"""The batches that a loss is the mean over: tensors, a list, or a data loader, the same ones at every pass."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from samviz.checks import check_int
from samviz.problems.untouched import free, generators_kept, seed

Batches = tuple[Any, Any] | Iterable[Any]


class Data:
    """Batches that can be passed over again and again, alike each time."""

    def __init__(self, data: Batches, samples: int | None, batch_size: int, device: torch.device) -> None:
        """Arguments as in `samviz.problems.attach`; device is where random numbers may be drawn."""
        batch_size = check_int("batch_size", batch_size, "1 or more samples in each evaluation", 1)
        if samples is not None:
            samples = check_int("samples", samples, "1 or more samples to keep, or None for all", 1)
        pair = isinstance(data, tuple | list) and len(data) == 2
        if isinstance(data, Mapping) or (pair and any(isinstance(part, Tensor) for part in data)):
            data = _split(data, batch_size)  # a tensor is no batch
        elif isinstance(data, Iterator | str | Tensor) or not isinstance(data, Iterable):
            raise TypeError(
                f"data is a {type(data).__name__}; expected a pair of tensors (inputs, targets), "
                "a DataLoader, or a list of batches, which can be passed over more than once"
            )
        self._data = data
        batching = getattr(data, "batch_sampler", None)
        holders = (data, getattr(data, "sampler", None), batching, getattr(batching, "sampler", None))
        found = {getattr(holder, "generator", None) for holder in holders}
        self.generators = [generator for generator in found if isinstance(generator, torch.Generator)]
        if samples is not None:
            first: list[Any] = []
            with generators_kept(device, self.generators), closing(self.batches(device)) as batches:
                for batch, size in batches:
                    first.append(_rows(batch, size, slice(samples)))
                    samples -= size
                    if samples <= 0:
                        break
            self._data = first

    @property
    def single(self) -> bool:
        """Whether it is known that there is one batch alone."""
        return isinstance(self._data, list) and len(self._data) == 1

    def batches(self, device: torch.device) -> Generator[tuple[Any, int]]:
        """Batches with the number of their samples.

        Shuffling and augmentation start from the same seeds each time; all generators are left moved, for
        `generators_kept` to put back.

        Args:
            device: where random numbers may be drawn, beside the CPU.
        """
        seed(0, device)
        for generator in self.generators:
            generator.manual_seed(0)
        # a loader whose workers persist would hand out, and so start anew, the pass that training is amid
        anew = getattr(self._data, "persistent_workers", False) and getattr(self._data, "_get_iterator", None)
        turn = 0
        for turn, batch in enumerate(anew() if anew else self._data, 1):
            yield batch, size_of(batch)
            seed(turn, device)  # so that the next batch does not depend on what is drawn from this one
        if not turn:
            raise ValueError("data has no batches in this pass; expected the same ones at every pass, one at least")


def size_of(batch: Any) -> int:
    """Number of samples of a batch: the length of the first tensor in it."""
    for part in _tensors(batch):
        return len(part) if part.ndim else 1
    raise TypeError(f"data: a batch is {batch!r:.200}; expected tensors, as a pair (inputs, target) or by name")


def placed_at(batch: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The tensors of a batch on a device, real numbers in a precision; without history."""
    return _mapped(batch, lambda part: free(part).to(device, dtype if part.is_floating_point() else part.dtype))


def call(model: Callable[..., Any], batch: Any) -> tuple[Any, Any]:
    """A model's outputs for a batch, and what `loss_fn` compares them with.

    Args:
        model: called with the inputs: a tensor as it is, a tuple as arguments, a mapping as named arguments.
        batch: a pair (inputs, target); or a mapping, which is inputs and target in one.

    Returns:
        The outputs, and the target or the mapping.
    """
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


def _split(data: Any, batch_size: int) -> list[Any]:
    """All samples in batches of a size, the last of what is left."""
    lengths = {len(part) for part in _tensors(data) if part.ndim}
    if len(lengths) != 1 or 0 in lengths:
        found = ", ".join(str(tuple(part.shape)) for part in _tensors(data))
        raise ValueError(f"data holds tensors {found or 'of no kind'}; expected the same number of samples in each")
    (n,) = lengths
    return [_rows(data, n, slice(start, start + batch_size)) for start in range(0, n, batch_size)]


def _rows(batch: Any, size: int, rows: slice) -> Any:
    """Some samples of a batch of a size."""
    return _mapped(batch, lambda part: part[rows] if part.ndim and len(part) == size else part)


def _tensors(batch: Any) -> Iterator[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping | tuple | list):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors(part)


def _mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {name: _mapped(part, function) for name, part in batch.items()}
    if isinstance(batch, tuple | list):
        parts = [_mapped(part, function) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch
