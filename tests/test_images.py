"""Images to train on: the digits as scikit-learn has them, and CIFAR-10 as torchvision hands it over."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from samviz.problems import images


class CIFAR10:
    """What torchvision's class of that name gives: bytes (n, height, width, channels) and a list of labels."""

    def __init__(self, root, train, download):
        assert download
        first, count = (0, 5) if train else (5, 3)
        self.data = np.arange(first, first + count, dtype=np.uint8)[:, None, None, None] * np.array(
            [1, 10, 30], np.uint8
        )
        self.targets = list(range(first, first + count))


@pytest.fixture
def torchvision(monkeypatch):
    """A torchvision whose CIFAR-10 has eight images, each of one colour that tells its label."""
    module, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    datasets.CIFAR10 = CIFAR10
    monkeypatch.setitem(sys.modules, "torchvision", module)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)


def test_digits_are_scikit_learns_and_each_is_drawn_once():
    whole = pytest.importorskip("sklearn.datasets").load_digits()
    (inputs, labels), (others, other_labels) = images("digits", train=1000, seed=3)
    drawn = torch.cat([inputs, others]).view(-1, 64).numpy() * 16
    found = sorted(map(tuple, np.column_stack([drawn, torch.cat([labels, other_labels])])))
    assert found == sorted(map(tuple, np.column_stack([whole.data, whole.target])))
    assert inputs.dtype == torch.float32
    assert inputs.shape == (1000, 1, 8, 8)


def test_the_seed_decides_the_draw():
    first, again, other = (images(train=50, test=20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first[0][0], again[0][0])
    assert not torch.equal(first[0][0], other[0][0])
    assert len(first[1][1]) == 20


def test_cifar10_has_its_channels_first_and_lies_between_0_and_1(torchvision, tmp_path):
    (inputs, labels), (_, other_labels) = images("cifar10", train=6, root=tmp_path / "here")
    assert inputs.shape == (6, 3, 1, 1)
    colours = labels[:, None] * torch.tensor([1.0, 10.0, 30.0]) / 255
    assert torch.equal(inputs[:, :, 0, 0], colours)
    assert sorted([*labels.tolist(), *other_labels.tolist()]) == list(range(8))
    assert (tmp_path / "here").is_dir()


def test_cifar10_without_a_torchvision_that_fits_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ImportError, match="pip install torchvision, or choose 'digits'"):
        images("cifar10", root=tmp_path)


def test_more_than_are_left_are_refused():
    with pytest.raises(ValueError, match="test is 798; expected 1 to 797 images"):
        images(train=1000, test=798)
