"""The samples and the noise of each step, the settings of a run, and its history."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
import torch

from samviz.dynamics import History, Settings, engines
from samviz.dynamics.engines import BLOCK, NORMALS, batches, noise
from samviz.problems import mlp, quadratic


def draws(seed, batch_size, samples, n=200 * BLOCK):
    return batches((seed,), 0, n, batch_size, samples)[:, 0]


def chi_square(counts):
    expected = counts.sum() / counts.size
    return ((counts - expected) ** 2 / expected).sum()


# samples; the bounds are the 99.9 % points of chi-square with 19, 15, 19 and 5 degrees of freedom


@pytest.mark.parametrize("seed", [0, 1])
def test_single_samples_are_uniform_and_independent(seed):
    assert chi_square(np.bincount(draws(seed, 1, 20).ravel(), minlength=20)) < 43.8
    drawn = draws(seed, 1, 4).ravel()
    for lag in (1, BLOCK):  # successive steps, and successive blocks
        assert chi_square(np.bincount(drawn[:-lag] * 4 + drawn[lag:], minlength=16)) < 37.7


@pytest.mark.parametrize("batch_size", [2, 7, 19, 20])
def test_a_batch_contains_no_sample_twice_and_all_samples_equally_often(batch_size):
    drawn = draws(3, batch_size, 20)
    assert drawn.shape == (200 * BLOCK, batch_size)
    assert (drawn.min(), drawn.max()) == (0, 19)
    assert (np.diff(np.sort(drawn, 1), axis=1) > 0).all()
    counts = np.bincount(drawn.ravel(), minlength=20)
    # without replacement the counts vary less, by the factor (n − b)/(n − 1)
    assert chi_square(counts) <= 43.8 * (20 - batch_size) / 19


# samples and noise


@pytest.mark.parametrize("draw", [lambda *a: batches(*a, 2, 1000), lambda *a: noise(*a, 3), lambda *a: noise(*a, 5000)])
def test_a_draw_depends_only_on_seed_and_step(draw):
    together = draw((7, 8), 0, 150).copy()
    engines._batch_block.cache_clear()
    engines._noise_block.cache_clear()
    np.testing.assert_array_equal(draw((8,), 60, 75)[:, 0], together[60:135, 1])
    for step in (149, 63, 64):
        np.testing.assert_array_equal(draw((7,), step, 1)[0, 0], together[step, 0])
    rows = together.reshape(300, -1)
    assert len(np.unique(rows, axis=0)) == 300  # another seed or another step draws something else


@pytest.mark.parametrize("count", [1, 4, 63, 100, NORMALS // 2, NORMALS, NORMALS + 1])
def test_noise_is_standard_normal_and_differs_from_step_to_step(count):
    """Kolmogorov's distance, whose 99.9 % point is 1.95/√n; and no two numbers of the steps are the same."""
    steps = max(3, 20_000 // count)
    drawn = noise((3,), 0, steps, count)[:, 0]
    assert drawn.shape == (steps, count)
    flat = np.sort(drawn.ravel())
    below = torch.special.ndtr(torch.from_numpy(flat)).numpy()
    assert np.abs(below - (np.arange(flat.size) + 0.5) / flat.size).max() < 1.95 / np.sqrt(flat.size)
    assert np.unique(flat).size == flat.size
    assert abs(np.mean(drawn[1:] * drawn[:-1])) < 4 / np.sqrt(flat.size - count)


def test_noise_and_samples_are_drawn_independently():
    """The generators' keys differ, also where as many numbers are drawn as a batch has samples."""
    chosen = draws(0, 1, 2).ravel()
    normals = noise((0,), 0, len(chosen), 2)[:, 0, 0]
    assert abs(np.corrcoef(normals, chosen)[0, 1]) < 4 / np.sqrt(len(chosen))
    assert not np.intersect1d(noise((7,), 130, 1, 1000), noise((7,), 130, 1, 999)).size


# settings


def test_settings_are_frozen_and_compared_by_value():
    settings = Settings("sam", lr=0.1, rho=[0.1, 0.2])
    assert settings == Settings("sam", lr=np.float64(0.1), rho=torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert hash(settings) == hash(Settings(**settings.row()))
    assert settings != replace(settings, batch_size=3)
    with pytest.raises(FrozenInstanceError):
        settings.lr = 0.2


@pytest.mark.parametrize("number", [1, np.int64(1), np.float32(1), np.array(1.0), torch.tensor(1.0)])
def test_numbers_of_any_kind_become_floats(number):
    settings = Settings("gd", lr=number, rho=(number, 2), batch_size=np.int32(4))
    assert (settings.lr, settings.rho) == (1.0, (1.0, 2.0))
    assert {type(value) for value in (settings.lr, *settings.rho)} == {float}
    assert type(settings.batch_size) is int


def test_settings_fit_a_run():
    sine, flat = mlp([1, 4, 1], data="sine"), quadratic([1.0])
    assert Settings(batch_size=20).fit(1, sine).batch_size is None
    assert Settings(batch_size=19).fit(1, sine).batch_size == 19
    assert Settings(lr=(0.1, 0.2)).fit(2, flat).lr == (0.1, 0.2)
    assert Settings(lr=0.1).fit(3, flat).lr == 0.1


# history


def record(*rows):
    history = History()
    for row in rows:
        history.append(row)
    return history


def test_rows_of_different_length_are_filled_with_nan():
    history = record(
        {"step": 0, "values": np.array([3.0, 1.0]), "lr": 0.1, "runs": np.ones((2, 1))},
        {"step": 1, "values": np.array([3.0]), "lr": (0.1, 0.2), "runs": np.full((2, 2), 2.0)},
        {"step": 2, "values": np.array([4.0, 2.0, 1.0]), "lr": 0.3},
    )
    np.testing.assert_array_equal(history["values"], [[3, 1, np.nan], [3, np.nan, np.nan], [4, 2, 1]])
    np.testing.assert_array_equal(history["lr"], [[0.1, 0.1], [0.1, 0.2], [0.3, 0.3]])  # a number holds for every run
    np.testing.assert_array_equal(history["runs"], [[[1, np.nan]] * 2, [[2, 2]] * 2, [[np.nan] * 2] * 2])


def test_a_column_is_nan_in_the_rows_that_lack_it():
    history = record(
        {"step": 0, "loss": 1.0, "rule": "sam"},
        {"step": 1, "values": np.array([3.0, 1.0]), "converged": True},
        {"step": 2, "values": np.array([2.0]), "rule": "gd"},
    )
    assert history.columns == tuple(history.to_dict()) == ("step", "loss", "rule", "values", "converged")
    assert "3 rows" in repr(history)
    np.testing.assert_array_equal(history["step"], [0, 1, 2])
    np.testing.assert_array_equal(history["loss"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(history["values"], [[np.nan, np.nan], [3, 1], [2, np.nan]])
    np.testing.assert_array_equal(history["converged"], [np.nan, 1, np.nan])
    first, second, third = history["rule"]
    assert (first, third) == ("sam", "gd")
    assert np.isnan(second)  # the number, not the string "nan"
    assert history.to_pandas()["rule"].isna().tolist() == [False, True, False]
    assert history.thinned(2)["loss"].tolist() == [1.0, pytest.approx(np.nan, nan_ok=True)]


def test_a_row_of_the_same_step_replaces_the_last_one():
    history = record({"step": 0, "loss": 1.0}, {"step": 4, "loss": 2.0}, {"step": 4, "loss": 3.0})
    assert history["loss"].tolist() == [1.0, 3.0]


def test_the_error_for_an_unknown_column_names_those_that_exist():
    with pytest.raises(KeyError, match=r"no column 'los'.*step, loss"):
        record({"step": 0, "loss": 1.0})["los"]
    with pytest.raises(KeyError, match="no rows yet"):
        History()["loss"]


@pytest.mark.parametrize("rows", [1, 2, 9, 10, 11, 39, 40, 41, 1000])
def test_a_thinned_history(rows):
    history = record(*({"step": 3 * i} for i in range(rows)))
    thin = history.thinned(10)
    steps = thin["step"] // 3
    assert steps[0] == 0
    assert steps[-1] == rows - 1
    assert min(rows, 5) <= len(thin) <= 11
    strides = set(np.diff(steps[:-1]))
    assert len(strides) <= 1
    assert all(stride & (stride - 1) == 0 for stride in strides)  # a power of two
    assert len(history) == rows


def test_a_growing_history_keeps_showing_the_same_rows():
    history = History()
    shown = set()
    for i in range(200):
        history.append({"step": i})
        inner = set(history.thinned(10)["step"].tolist()[:-1])
        assert inner <= shown | {i - 1, i} or not shown
        shown = inner


def test_an_empty_history():
    history = History()
    assert (len(history), history.columns, history.to_dict()) == (0, (), {})
    assert len(history.thinned(5)) == 0
    assert history.to_pandas().empty


def test_a_table_splits_columns_of_several_numbers(tmp_path):
    history = record(
        {"step": 0, "values": np.array([[3.0, 1.0], [4.0, 2.0]]), "rule": "sam"},
        {"step": 5, "values": np.array([[2.0, 0.5], [6.0, 7.0]]), "rule": "gd"},
    )
    table = history.to_pandas()
    assert table.columns.tolist() == ["step", "values_0_0", "values_0_1", "values_1_0", "values_1_1", "rule"]
    assert table["values_1_0"].tolist() == [4.0, 6.0]
    assert table["rule"].tolist() == ["sam", "gd"]
    history.append({"step": 7, "values": history["values"][0], "rule": "a, b"})
    history.to_csv(tmp_path / "run.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run.csv"), history.to_pandas())
