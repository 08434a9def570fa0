"""Images to train a network of one's own on: the digits that are here, or CIFAR-10 where torchvision is."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from samviz.checks import check_int, seeded_generator
from samviz.problems.data import load
from samviz.problems.device import placed

Labelled = tuple[Tensor, Tensor]  # images, float32 (n, channels, height, width), and labels, int64 (n,)


def images(
    name: str = "digits",
    train: int = 300,
    test: int | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    root: str | Path | None = None,
) -> tuple[Labelled, Labelled]:
    """Labelled images, drawn at random: some to train on and others to test on.

    Args:
        name: "digits" (1797 images of 1×8×8 grey levels), or "cifar10" (60,000 of 3×32×32), which torchvision reads.
        train: number of images to train on.
        test: number of others to test on; None for all.
        seed: of the draw.
        device: where they are put.
        root: folder of CIFAR-10, which is downloaded there (170 MB) unless it is there; None for ~/.cache/samviz.

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
        every, labels, top = torch.from_numpy(features).view(-1, 1, 8, 8), torch.from_numpy(targets), 1
    elif name == "cifar10":
        (every, labels), top = _cifar10(Path.home() / ".cache" / "samviz" if root is None else Path(root)), 255
    else:
        raise ValueError(f"name is {name!r}; expected 'digits' or 'cifar10'")
    train = check_int("train", train, f"1 to {len(every) - 1} images, of {len(every)}", 1, len(every) - 1)
    if test is not None:
        test = check_int("test", test, f"1 to {len(every) - train} images, all that are left", 1, len(every) - train)
    order = torch.randperm(len(every), generator=seeded_generator(seed))
    rows = order[:train], order[train:][:test]
    ours, others = ((every[part].to(where, single) / top, labels[part].to(where)) for part in rows)
    return ours, others


def _cifar10(root: Path) -> Labelled:
    """All 60,000, in bytes."""
    try:
        from torchvision.datasets import CIFAR10
    except (ImportError, RuntimeError) as error:  # RuntimeError: one that was built for another torch
        raise ImportError(
            f"name is 'cifar10', which needs torchvision in a version that fits torch {torch.__version__} ({error}); "
            "pip install torchvision, or choose 'digits'"
        ) from error
    root.mkdir(parents=True, exist_ok=True)
    halves = [CIFAR10(str(root), train=half, download=True) for half in (True, False)]
    pixels = torch.cat([torch.from_numpy(half.data) for half in halves]).permute(0, 3, 1, 2)
    return pixels, torch.cat([torch.tensor(half.targets) for half in halves])
