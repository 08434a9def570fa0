"""Estimate the operations and the bytes of a task, and measure how fast one thread can compute and move data."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch

from benchmarks.timing import Side, alternate
from samviz.problems import MLP

SIZES = {"float32": 4, "float64": 8}  # bytes of a number
SIZE = 1024  # of the matrices that are multiplied
COPIED = 2**28  # bytes, more than a cache holds


class Work(NamedTuple):
    """Floating-point operations of the matrix products, and bytes of all numbers that a layer reads or writes."""

    operations: float
    moved: float
    dtype: str = "float64"


class Limits(NamedTuple):
    """Rates of one thread: operations of a large matrix product, and bytes read and written by a large copy."""

    operations: dict[str, float]
    bandwidth: float

    def seconds(self, work: Work) -> tuple[float, float]:
        """Return the least seconds for the operations, and those for the bytes if they come from memory."""
        return work.operations / self.operations[work.dtype], work.moved / self.bandwidth


def limits() -> Limits:
    """Measure the rates."""
    source, target = torch.ones(2, COPIED // 4)

    def product(dtype: str) -> Side:
        matrix = torch.ones(SIZE, SIZE, dtype=getattr(torch, dtype))
        return lambda _: matrix @ matrix

    *products, copy = alternate(*map(product, SIZES), lambda _: target.copy_(source), seconds=1.0, units=1)
    rates = {dtype: 2 * SIZE**3 / each.seconds for dtype, each in zip(SIZES, products)}
    return Limits(rates, 2 * COPIED / copy.seconds)


def losses(network: MLP, samples: int | None = None, count: int = 1, dtype: str = "float64") -> Work:
    """So many losses of a network, on all samples by default."""
    widths, samples = network.widths, samples or len(network.inputs)
    weights = sum(a * b for a, b in pairwise(widths))
    moved = SIZES[dtype] * (weights + samples * (widths[0] + 2 * sum(widths[1:])))
    return Work(count * 2 * samples * weights, count * moved, dtype)


def gradients(network: MLP, samples: int | None = None, count: int = 1) -> Work:
    """So many losses with their gradients: two more products for each layer, but one for the first.

    A step of SAM has two gradients, and a Hessian-vector product is as much work as two.
    """
    loss, (first, second, *_) = losses(network, samples, count), network.widths
    unneeded = count * 2 * (samples or len(network.inputs)) * first * second
    return Work(3 * loss.operations - unneeded, 3 * loss.moved)
