"""The stored data sets are what they claim to be, and can be made again from the code below."""

from pathlib import Path

import numpy as np
import pytest

from samviz.problems import data


def _generate(name):
    """Make a data set anew, in the types it is stored with. `python tests/test_data.py` writes the package's files."""
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


@pytest.mark.parametrize("name", data.DATASETS)
def test_is_what_the_generator_makes(name):
    features, targets = data.load(name)
    made_features, made_targets = _generate(name)
    scale = 16 if name == "digits" else 1
    np.testing.assert_allclose(features, made_features / scale, rtol=0, atol=1e-12)
    np.testing.assert_allclose(targets, made_targets, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "target_shape", "target_type", "classes"),
    [
        ("sine", (20, 1), (20, 1), np.float64, None),
        ("spirals", (100, 2), (100,), np.int64, 2),
        ("digits", (1797, 64), (1797,), np.int64, 10),
    ],
)
def test_shapes_types_and_ranges(name, shape, target_shape, target_type, classes):
    features, targets = data.load(name)
    assert features.shape == shape
    assert features.dtype == np.float64
    assert features.min() >= (0 if name == "digits" else -1)
    assert features.max() <= 1
    assert targets.shape == target_shape
    assert targets.dtype == target_type
    if classes is not None:
        assert np.unique(targets).tolist() == list(range(classes))


def test_spirals_cannot_be_separated_by_a_line():
    features, labels = data.load("spirals")
    design = np.column_stack([features, np.ones(len(features))])
    weights = np.linalg.lstsq(design, 2.0 * labels - 1, rcond=None)[0]
    assert np.mean((design @ weights > 0) == labels) < 0.75


def test_each_load_is_a_copy_of_its_own():
    first, _ = data.load("sine")
    first[:] = 7
    assert data.load("sine")[0].max() <= 1


def test_the_files_are_small():
    files = [Path(data.__file__).with_name(f"{name}.npz") for name in data.DATASETS]
    assert sum(path.stat().st_size for path in files) < 150_000


if __name__ == "__main__":
    for each in data.DATASETS:
        features, targets = _generate(each)
        np.savez_compressed(Path(data.__file__).with_name(f"{each}.npz"), features=features, targets=targets)
