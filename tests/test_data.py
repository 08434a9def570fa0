"""The data sets are what they claim to be, can be generated again by the code below, and are drawn as images."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from samviz.problems import data, images


def _generate(name):
    """Generate a data set in its stored types. `python tests/test_data.py` writes the package's files."""
    if name == "sine":
        features = np.linspace(-1, 1, 20)[:, None]
        return features, np.sin(3 * features)
    if name == "spirals":
        along = np.linspace(0.1, 1, 50)  # from near the centre to the rim
        angle = 2 * np.pi * 1.25 * along
        arm = 0.92 * along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        noise = np.random.default_rng(0).normal(scale=0.02, size=(100, 2))
        return np.concatenate([arm, -arm]) + noise, np.repeat(np.uint8([0, 1]), 50)
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    return digits.data.astype(np.uint8), digits.target.astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "shape", "targets_shape", "classes"),
    [("sine", (20, 1), (20, 1), None), ("spirals", (100, 2), (100,), 2), ("digits", (1797, 64), (1797,), 10)],
)
def test_a_data_set_is_the_generated_one(name, shape, targets_shape, classes):
    features, targets = data.load(name)
    expected, expected_targets = _generate(name)
    np.testing.assert_allclose(features, expected / (16 if name == "digits" else 1), rtol=0, atol=1e-12)
    np.testing.assert_allclose(targets, expected_targets, rtol=0, atol=1e-12)
    assert (features.shape, targets.shape, features.dtype) == (shape, targets_shape, np.float64)
    assert targets.dtype == (np.int64 if classes else np.float64)
    assert (0 if name == "digits" else -1) <= features.min() <= features.max() <= 1
    assert classes is None or np.unique(targets).tolist() == list(range(classes))
    features[:] = 7
    assert data.load(name)[0].max() <= 1  # each call returns a copy


class CIFAR10:
    """Stands for torchvision's class: bytes (n, height, width, channels), each image of one colour, and labels."""

    def __init__(self, root, train, download):
        assert download
        self.targets = list(range(5)) if train else list(range(5, 8))
        self.data = np.uint8(self.targets)[:, None, None, None] * np.array([1, 10, 30], np.uint8)


def test_digits_are_those_of_scikit_learn_and_each_is_drawn_once():
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    (inputs, labels), (others, other_labels) = images("digits", train=1000, seed=3)
    drawn = torch.cat([inputs, others]).view(-1, 64).numpy() * 16
    found = sorted(map(tuple, np.column_stack([drawn, torch.cat([labels, other_labels])])))
    assert found == sorted(map(tuple, np.column_stack([digits.data, digits.target])))
    assert (inputs.dtype, inputs.shape) == (torch.float32, (1000, 1, 8, 8))
    again, other = (images("digits", train=1000, test=20, seed=seed) for seed in (3, 4))
    assert torch.equal(again[0][0], inputs)
    assert not torch.equal(other[0][0], inputs)
    assert len(other[1][1]) == 20


def test_cifar10_has_its_channels_first_and_values_from_0_to_1(monkeypatch, tmp_path):
    module, datasets = ModuleType("torchvision"), ModuleType("torchvision.datasets")
    datasets.CIFAR10 = CIFAR10
    monkeypatch.setitem(sys.modules, "torchvision", module)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    (inputs, labels), (_, other_labels) = images("cifar10", train=6, root=tmp_path / "here")
    assert inputs.shape == (6, 3, 1, 1)
    assert torch.equal(inputs[:, :, 0, 0], labels[:, None] * torch.tensor([1.0, 10.0, 30.0]) / 255)
    assert sorted([*labels.tolist(), *other_labels.tolist()]) == list(range(8))
    assert (tmp_path / "here").is_dir()
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(ImportError, match="pip install torchvision, or choose 'digits'"):
        images("cifar10", root=tmp_path)


if __name__ == "__main__":
    for each in data.DATASETS:
        features, targets = _generate(each)
        np.savez_compressed(Path(data.__file__).with_name(f"{each}.npz"), features=features, targets=targets)
