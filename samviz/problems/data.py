"""The data sets that ship inside the package, and images to train a network on.

"sine" and "spirals" are generated (tests/test_data.py contains the code). digits.md states the source of "digits".
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.checks import check_int, seeded_generator
from samviz.problems.problem import placed

DATASETS = ("sine", "spirals", "digits")
Labelled = tuple[Tensor, Tensor]  # images, float32 (n, channels, height, width), and labels, int64 (n,)


def load(name: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the features and the targets of a data set.

    Args:
        name: "sine" (20 points of sin 3x on [-1, 1]), "spirals" (100 points of two interleaved spirals in
            [-1, 1]²) or "digits" (1797 images of 8x8 grey levels in [0, 1]).

    Returns:
        Features, float64 (n, inputs), and targets: float64 (n, outputs) for a regression, int64 (n,) labels
        counted from 0 for a classification.

    Raises:
        ValueError: if there is no data set of that name.

    Example:
        >>> features, labels = load("digits")
        >>> features.shape, labels.shape
        ((1797, 64), (1797,))
    """
    if name not in DATASETS:
        raise ValueError(f"data={name!r} is the name of no data set; choose one of {', '.join(map(repr, DATASETS))}")
    with np.load(Path(__file__).with_name(f"{name}.npz"), allow_pickle=False) as stored:
        features, targets = stored["features"], stored["targets"]
    if features.dtype == np.uint8:  # grey levels 0 to 16
        features = features / 16
    if targets.dtype == np.uint8:  # labels
        targets = targets.astype(np.int64)
    return features, targets


def images(
    name: str = "digits",
    train: int = 300,
    test: int | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    root: str | Path | None = None,
) -> tuple[Labelled, Labelled]:
    """Draw labelled images at random, some to train on and others to test on.

    Args:
        name: "digits" (1797 images of 1×8×8 grey levels), or "cifar10" (60,000 of 3×32×32), which torchvision reads.
        train: number of images to train on.
        test: number of other images to test on; None for all.
        seed: of the draw.
        device: where the tensors are put.
        root: folder of CIFAR-10, which is downloaded there (170 MB) if it is missing; None for ~/.cache/samviz.

    Returns:
        Images, float32 (n, channels, height, width), in [0, 1], and labels, int64 (n,): to train on, and to test on.

    Raises:
        ValueError: when there is no such set, device or seed, or not so many images.
        ImportError: when torchvision is not installed, or does not fit torch.

    Example:
        >>> (inputs, labels), (others, _) = images("digits", train=300)
        >>> inputs.shape, labels.shape, len(others)
        (torch.Size([300, 1, 8, 8]), torch.Size([300]), 1497)
    """
    where, single = placed(device, torch.float32)
    if name == "digits":
        features, targets = load("digits")
        pixels, labels, white = torch.from_numpy(features).view(-1, 1, 8, 8), torch.from_numpy(targets), 1
    elif name == "cifar10":
        (pixels, labels), white = _cifar10(Path.home() / ".cache" / "samviz" if root is None else Path(root)), 255
    else:
        raise ValueError(f"name is {name!r}; expected 'digits' or 'cifar10'")
    n = len(pixels)
    train = check_int("train", train, f"1 to {n - 1} images, of {n}", 1, n - 1)
    if test is not None:
        test = check_int("test", test, f"1 to {n - train} images, all that are left", 1, n - train)
    order = torch.randperm(n, generator=seeded_generator(seed))
    rows = order[:train], order[train:][:test]
    first, second = ((pixels[part].to(where, single) / white, labels[part].to(where)) for part in rows)
    return first, second


def _cifar10(root: Path) -> Labelled:
    """Return all 60,000 images, in bytes, and their labels."""
    try:
        from torchvision.datasets import CIFAR10
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision was built for another torch
        raise ImportError(
            f"name is 'cifar10', which needs torchvision in a version that fits torch {torch.__version__} ({error}); "
            "pip install torchvision, or choose 'digits'"
        ) from error
    root.mkdir(parents=True, exist_ok=True)
    halves = [CIFAR10(str(root), train=half, download=True) for half in (True, False)]
    pixels = torch.cat([torch.from_numpy(half.data) for half in halves]).permute(0, 3, 1, 2)
    return pixels, torch.cat([torch.tensor(half.targets) for half in halves])
