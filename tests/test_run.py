"""A run: its samples, settings, steps and history; resuming, several runs at once, and divergence."""

import io
from contextlib import suppress
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from formula import history_of
from no_float64 import NoFloat64
from scipy.stats import chisquare, kstest

from samviz.dynamics import RULES, Diverged, History, Run, Settings, engines
from samviz.dynamics.engines import BLOCK, NORMALS, batches, noise
from samviz.geometry import alignment
from samviz.problems import Quadratic, mlp, quadratic, valley


def sine(**options):
    return Run(mlp([1, 6, 6, 1], "tanh", "sine"), **{"lr": 0.1, "rho": 0.05, "device": "cpu", **options})


# the loop


@pytest.mark.parametrize("batch_size", [1, 3])
def test_each_step_uses_the_samples_drawn_for_it(batch_size):
    """130 steps, over two ends of a block of 64."""
    run = sine(batch_size=batch_size, seed=9)
    x = run.x
    for drawn in torch.from_numpy(batches((9,), 0, 130, batch_size, 20)):
        x = RULES["sam"](run.problem, x, drawn, 0.1, 0.05).x
    run.step(130)
    torch.testing.assert_close(run.x, x, rtol=1e-12, atol=1e-14)


# where and how precisely


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("rule", [rule for rule in RULES if RULES[rule].capturable])
def test_cuda_gives_the_same_numbers(rule, batch_size):
    on_cpu, on_gpu = (sine(rule=rule, batch_size=batch_size, device=device) for device in ("cpu", "cuda"))
    for run in (on_cpu, on_gpu):
        run.step(50)
        run.measure()
    torch.testing.assert_close(on_gpu.x.cpu(), on_cpu.x, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(on_gpu.history["eigenvalues"], on_cpu.history["eigenvalues"], rtol=1e-7, atol=1e-9)
    resumed = sine(batch_size=batch_size)
    resumed.load_state_dict(on_gpu.state_dict())
    resumed.step(10)
    on_gpu.step(10)
    torch.testing.assert_close(on_gpu.x.cpu(), resumed.x, rtol=1e-9, atol=1e-11)


# measuring


@pytest.mark.parametrize("widths", [[1, 6, 6, 1], [1, 24, 24, 1]], ids=["dense", "Krylov"])
def test_every_number_of_a_row_belongs_to_one_iterate(widths):
    problem = mlp(widths, "tanh", "sine")
    run = Run(problem, lr=0.1, rho=0.05, device="cpu")
    for _ in range(3):
        run.step(20)
        row = run.measure()
        x = run.x
        loss, gradient = problem.gradient(x)
        values = np.linalg.eigvalsh(problem.hessian(x)[0].numpy())[::-1]
        assert row["step"] == run.steps
        assert row["loss"] == loss.item()
        assert row["grad_norm"] == pytest.approx(gradient.norm().item(), rel=1e-14)
        np.testing.assert_allclose(row["eigenvalues"], values[:3], rtol=1e-6, atol=1e-3 * values[0])
        assert (np.abs(row["eigenvalues"] - values[:3]) <= row["residuals"] + 1e-9).all()
        assert abs(row["trace"] - values.sum()) <= 5 * row["trace_error"] + 1e-9
        assert row["converged"]
        exact = alignment(problem, x)
        for name in ("cos_v1", "cos_eigenspace", "rayleigh", "gap"):
            assert row[name] == pytest.approx(getattr(exact, name).item(), rel=1e-3)
        assert row["multiplicity"] == exact.multiplicity.item()
        assert row["closing"] == exact.closing.item()
    assert run.history["step"].tolist() == [20, 40, 60]


def test_a_second_measurement_of_one_step_replaces_the_first_and_parts_may_be_left_out():
    run = sine()
    run.measure()
    run.step(3)
    run.measure(k=1)
    run.set(rho=0.2)
    run.measure(k=2)
    assert run.history["step"].tolist() == [0, 3]
    assert run.history.rows[-1]["rho"] == 0.2
    assert run.history.rows[-1]["eigenvalues"].shape == (2,)
    assert np.isnan(sine().measure(k=1, trace=False)["trace"])
    assert Run(quadratic([2.0, 1.0]), device="cpu").measure(k=9)["eigenvalues"].tolist() == [2.0, 1.0]


@pytest.mark.parametrize("dim", [8, 600])
def test_all_of_a_top_eigenspace_larger_than_k_is_measured(dim):
    """Five eigenvalues within 5 % of λ₁, three shown: the gradient lies in their span, and half of it beyond three."""
    spectrum = np.concatenate([[5.0, 4.99, 4.98, 4.97, 4.96], np.linspace(0, 1, dim - 5)])
    x0 = np.zeros(dim)
    x0[:5] = 1 / spectrum[:5]
    run = Run(quadratic(spectrum), x0=x0, device="cpu")
    for _ in range(2):  # cold, then warm
        row = run.measure()
        assert row["multiplicity"] == 5
        assert row["cos_eigenspace"] == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(row["eigenvalues"], spectrum[:3], rtol=1e-4)


# steering


def test_changes_act_from_the_next_step_on_and_are_recorded_once_and_with_each_row():
    run = sine()
    run.measure()
    run.step(5)
    run.set(rho=0.2, lr=0.05)
    run.measure()
    run.step(5)
    run.settings = replace(run.settings, rule="gd", batch_size=4)
    run.measure()
    assert run.history["rho"].tolist() == [0.05, 0.2, 0.2]
    assert run.history["lr"].tolist() == [0.1, 0.05, 0.05]
    assert run.history["rule"].tolist() == ["sam", "sam", "gd"]
    assert run.history["batch_size"].tolist() == [20, 20, 4]
    run = Run(quadratic([2.0, 1.0]), "gd", lr=0.1, x0=[1.0, 1.0], device="cpu")
    run.step()
    run.set(lr=0.5)
    run.step()
    np.testing.assert_allclose(run.x[0], [0.8 * 0.0, 0.9 * 0.5], atol=1e-15)
    run = sine()
    for change in ({"rho": 0.05}, {"rho": 0.2}, {"rho": 0.3}, {"lr": 0.01}, {"lr": 0.1}):  # all before the first step
        run.set(**change)
    run.step(5)
    for rho in (0.3, 0.2, 0.3, 0.1):  # no change, and then the last of the same step
        run.set(rho=rho)
    run.step(5)
    run.set(rho=0.4)
    run.set(rho=0.1)  # taken back at once: no change
    assert [(step, s.lr, s.rho) for step, s in run.changes] == [(0, 0.1, 0.3), (5, 0.1, 0.1)]


# saving and resuming


@pytest.mark.parametrize("batch_size", [None, 1])
@pytest.mark.parametrize("widths", [[1, 6, 6, 1], [1, 24, 24, 1]], ids=["dense", "Krylov"])
def test_resuming_gives_the_same_numbers_to_the_bit(widths, batch_size):
    def fresh(**options):
        problem = mlp(widths, "tanh", "sine")
        return Run(problem, lr=0.05, rho=0.1, batch_size=batch_size, device="cpu", trail=3, **options)

    run = fresh(seed=5)
    run.step(np.int64(40))  # a state has no numbers of numpy
    run.measure(k=np.int64(3))
    run.set(rho=0.2)
    run.step(30)
    run.measure()
    file = io.BytesIO()
    torch.save(run.state_dict(), file)
    saved = torch.load(io.BytesIO(file.getvalue()), weights_only=True)  # which unpickles tensors and plain data alone
    resumed = fresh()  # another seed and start, all of which the state replaces
    resumed.step(3)
    resumed.load_state_dict(saved)
    for r in (run, resumed):
        r.step(70)
        r.measure()
    assert torch.equal(run.x, resumed.x)
    assert run.changes == resumed.changes
    assert all(torch.equal(a, b) for a, b in zip(run.trail, resumed.trail))
    assert len(resumed.history) == 3
    for row, same in zip(run.history.rows, resumed.history.rows):
        assert {name: type(value) for name, value in row.items()} == {name: type(same[name]) for name in row}
        for name, value in row.items():
            np.testing.assert_array_equal(value, same[name])
    again = fresh()
    again.load_state_dict(saved)  # the steps since have not changed the state
    assert (again.steps, len(again.history)) == (70, 2)


def test_a_rewound_run_needs_as_many_previous_iterates():
    run = Run(quadratic([3.0, 1.0]), x0=np.ones((2, 2)), momentum=0.5, device="cpu")
    run.step(5)
    with pytest.raises(ValueError, match=r"before has shape \(1, 2\); expected \(2, 2\)"):
        run.rewound(5, run.x, run.x[:1])


@pytest.mark.parametrize("compiled", [True, False])
def test_after_a_divergence_no_step_is_measured_twice_and_the_diverged_run_has_no_curvature(monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr(Quadratic, "compiled", lambda self: None)
    run = Run(quadratic([3.0, 1.0]), lr=[0.1, 50.0], x0=np.ones((2, 2)), device="cpu")
    run.step(4)
    assert run.diverged_at.tolist()[0] == -1 < run.diverged_at.tolist()[1]
    assert torch.isfinite(run.curvature).tolist() == [True, False]
    alone = Run(quadratic([3.0, 1.0]), lr=50.0, rho=0.0, x0=[1.0, 1.0], device="cpu")
    with suppress(Diverged):
        for _ in range(9):
            alone.measure()
            alone.step()
    assert alone.diverged_at[0] > 0
    alone.measure()
    assert np.all(np.diff(alone.history["step"]) >= 0)


def test_a_rewound_run_repeats_the_first_measurement_bit_for_bit():
    """Of five equal λ₁ the first measurement first computes three, and later ones all of them at once."""
    run = Run(quadratic(np.r_[np.full(5, 3.0), np.linspace(1, 0.1, 595)]), x0=np.ones(600), device="cpu")
    first, x = run.measure(trace=False), run.x
    run.step(3)
    run.measure(trace=False)
    np.testing.assert_equal(run.rewound(0, x).measure(trace=False), first)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("x", torch.ones(1, 2), r"state\['x'\] has shape"),
        ("steps", -5, r"state\['steps'\] is -5; expected 0 or more steps"),
        ("seeds", (0, 1), "seed has 2 values for 1 runs"),
        ("diverged_at", torch.zeros(3), r"state\['diverged_at'\] has shape \(3,\); expected \(1,\)"),
    ],
)
def test_an_invalid_state_is_refused_and_changes_nothing(name, value, words):
    run = sine()
    run.step(5)
    before = run.x.clone()
    with pytest.raises((ValueError, TypeError), match=words):
        run.load_state_dict(run.state_dict() | {name: value})
    assert torch.equal(run.x, before)
    assert run.steps == 5


def test_a_resumed_run_diverges_where_the_run_did_and_stays_diverged():
    def fresh(start):
        return Run(quadratic([3.0, 1.0]), "gd", lr=1.0, x0=start, device="cpu")

    run, at_once, later = fresh([1.0, 1.0]), fresh([0.5, 0.5]), fresh([0.5, 0.5])
    run.step(11)  # the loss, 1.5·4¹¹ now, is above a million times its first value
    at_once.load_state_dict(run.state_dict())
    for each in (run, at_once):
        with pytest.raises(Diverged):
            each.step()
        assert each.x.tolist() == [[2.0**10, 0.0]]  # the iterate before the saved one
        assert each.steps == 10
    later.load_state_dict(run.state_dict())
    with pytest.raises(Diverged, match="step 11"):
        later.step()


# many runs


def test_the_history_of_several_runs():
    x0 = torch.stack([mlp([1, 6, 6, 1]).initial(r) for r in range(3)])
    run = sine(x0=x0, lr=(0.1, 0.05, 0.02))
    for _ in range(2):
        run.step(10)
        run.measure()
    assert run.history["loss"].shape == run.history["trace"].shape == run.history["cos_v1"].shape == (2, 3)
    assert run.history["eigenvalues"].shape == (2, 3, 3)
    assert run.history["lr"].shape == (2, 3)
    assert run.history["rho"].shape == run.history["step"].shape == (2,)
    alone = sine(x0=x0[1], lr=0.05)
    for _ in range(2):
        alone.step(10)
        alone.measure()
    np.testing.assert_allclose(run.history["eigenvalues"][:, 1], alone.history["eigenvalues"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(run.history["loss"][:, 1], alone.history["loss"], rtol=1e-11)
    batch_of_one = sine(x0=x0[1:2])
    batch_of_one.measure()
    assert batch_of_one.history["loss"].shape == (1, 1)
    assert alone.history["loss"].shape == (2,)


# divergence: on diag(3, 1) from (1, 1), gradient descent at η = 1 doubles x₁, so the loss is 1.5·4ᵗ after the first
# step; the bound is a million times the first loss, 2, which t = 11 is the first to pass.


def test_the_error_of_a_divergence_names_the_step_and_the_bound():
    run = Run(quadratic([3.0, 1.0]), "gd", lr=1.0, x0=[1.0, 1.0], device="cpu")
    with pytest.raises(Diverged, match=r"step 11\b.*1·3 = 3 > 2"):
        run.step(100)
    assert run.diverged_at.tolist() == [11]
    with pytest.raises(Diverged, match="step 11"):
        run.step()
    run.step(0)  # nothing to do


@pytest.mark.parametrize(
    "run",
    [
        lambda: Run(quadratic([3.0, 1.0]), "gd", lr=1.0, x0=[1.0, 1.0], device="cpu"),
        lambda: Run(valley(), lr=1e90, rho=0.1, device="cpu"),
        lambda: Run(mlp([1, 16, 16, 1], "relu", "sine"), lr=20.0, rho=0.05, dtype=torch.float32, device="cpu"),
        lambda: Run(mlp([1, 16, 16, 1], "relu", "sine"), lr=1e3, rho=0.05, dtype=torch.float32, device="cpu"),
    ],
    ids=["quadratic", "valley", "network", "wild network"],
)
def test_a_diverged_run_stays_at_its_last_good_iterate(run):
    run = run()
    allowed = 1e6 * max(1, run.measure()["loss"])
    with pytest.raises(Diverged):
        run.step(1000)
    assert bool(run.x.isfinite().all())
    assert run.problem.loss(run.x).item() <= allowed
    row = run.measure()  # the lab draws it once more
    assert np.isfinite(row["eigenvalues"]).all()


def test_the_other_runs_continue():
    x0 = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    run = Run(quadratic([3.0, 1.0]), "sam", lr=(0.1, 1.0, 0.2), rho=0.05, x0=x0, device="cpu", trail=2)
    run.measure()
    run.step(60)
    row = run.measure()
    for r, lr in ((0, 0.1), (2, 0.2)):
        alone = Run(quadratic([3.0, 1.0]), "sam", lr=lr, rho=0.05, x0=x0[r], device="cpu")
        alone.step(60)
        torch.testing.assert_close(run.x[r], alone.x[0], rtol=1e-13, atol=1e-15)
    assert run.steps == 60
    assert (run.diverged_at >= 0).tolist() == [False, True, False]
    assert bool(run.x.isfinite().all())
    assert np.isfinite(row["loss"]).all()
    assert "> 2" in run.why_diverged(1)
    assert run.why_diverged(0) == "The run has not diverged."
    stuck = run.x[1].clone()
    run.step(5)
    assert torch.equal(run.x[1], stuck)


def test_a_device_without_float64_takes_the_same_steps():
    start = mlp([1, 4, 1]).initial()
    expected = Run(mlp([1, 4, 1]), lr=0.1, rho=0.05, x0=start, device="cpu")
    expected.step(5)
    with NoFloat64():
        run = Run(mlp([1, 4, 1]), lr=0.1, rho=0.05, x0=start, device="mps")
        run.prepare()
        run.step(5)
        row = run.measure(2)
        x = run.x.cpu()
    torch.testing.assert_close(x.double(), expected.x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(row["eigenvalues"], expected.measure(2)["eigenvalues"], rtol=1e-3)


# samples and noise


def draws(seed, batch_size, samples, n=200 * BLOCK):
    return batches((seed,), 0, n, batch_size, samples)[:, 0]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 19, 20])
def test_a_batch_contains_no_sample_twice_and_all_samples_equally_often(batch_size):
    drawn = draws(3, batch_size, 20)
    assert drawn.shape == (200 * BLOCK, batch_size)
    assert (drawn.min(), drawn.max()) == (0, 19)
    assert (np.diff(np.sort(drawn, 1), axis=1) > 0).all()
    counts = np.bincount(drawn.ravel(), minlength=20)
    # the 99.9 % point; without replacement the counts vary less, by the factor (n − b)/(n − 1)
    assert chisquare(counts).statistic <= 43.8 * (20 - batch_size) / 19


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
    """By Kolmogorov's test; and no two numbers of the steps are the same."""
    steps = max(3, 20_000 // count)
    drawn = noise((3,), 0, steps, count)[:, 0]
    assert drawn.shape == (steps, count)
    assert kstest(drawn.ravel(), "norm").pvalue > 1e-3
    assert np.unique(drawn).size == drawn.size
    assert abs(np.mean(drawn[1:] * drawn[:-1])) < 4 / np.sqrt(drawn.size - count)


def test_noise_and_samples_are_drawn_independently():
    """The generators' keys differ, also where as many numbers are drawn as a batch has samples."""
    chosen = draws(0, 1, 2).ravel()
    normals = noise((0,), 0, len(chosen), 2)[:, 0, 0]
    assert abs(np.corrcoef(normals, chosen)[0, 1]) < 4 / np.sqrt(len(chosen))
    assert not np.intersect1d(noise((7,), 130, 1, 1000), noise((7,), 130, 1, 999)).size


# settings


def test_settings_are_frozen_compared_by_value_and_fitted_to_a_run():
    settings = Settings("sam", lr=0.1, rho=[0.1, 0.2])
    assert settings == Settings("sam", lr=np.float64(0.1), rho=torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert hash(settings) == hash(Settings(**settings.row()))
    assert settings != replace(settings, batch_size=3)
    with pytest.raises(FrozenInstanceError):
        settings.lr = 0.2
    sine, flat = mlp([1, 4, 1], data="sine"), quadratic([1.0])
    assert Settings(batch_size=20).fit(1, sine).batch_size is None
    assert Settings(batch_size=19).fit(1, sine).batch_size == 19
    assert Settings(lr=(0.1, 0.2)).fit(2, flat).lr == (0.1, 0.2)
    assert Settings(lr=0.1).fit(3, flat).lr == 0.1


# history


def test_rows_of_different_columns_and_lengths_are_filled_with_nan():
    history = history_of(
        {"step": 0, "values": np.array([3.0, 1.0]), "lr": 0.1, "runs": np.ones((2, 1))},
        {"step": 1, "values": np.array([3.0]), "lr": (0.1, 0.2), "runs": np.full((2, 2), 2.0)},
        {"step": 2, "values": np.array([4.0, 2.0, 1.0]), "lr": 0.3},
    )
    np.testing.assert_array_equal(history["values"], [[3, 1, np.nan], [3, np.nan, np.nan], [4, 2, 1]])
    np.testing.assert_array_equal(history["lr"], [[0.1, 0.1], [0.1, 0.2], [0.3, 0.3]])  # a number holds for every run
    np.testing.assert_array_equal(history["runs"], [[[1, np.nan]] * 2, [[2, 2]] * 2, [[np.nan] * 2] * 2])
    history = history_of({"step": 0, "rule": "sam"}, {"step": 1, "converged": True})
    assert history.columns == tuple(history.to_dict()) == ("step", "rule", "converged")
    np.testing.assert_array_equal(history["converged"], [np.nan, 1])
    assert np.isnan(history["rule"][1])  # the number, not the string "nan"


def test_a_row_of_the_same_step_replaces_the_last_one_and_unknown_columns_are_named():
    history = history_of({"step": 0, "loss": 1.0}, {"step": 4, "loss": 2.0}, {"step": 4, "loss": 3.0})
    assert history["loss"].tolist() == [1.0, 3.0]
    with pytest.raises(KeyError, match=r"no column 'los'.*step, loss"):
        history_of({"step": 0, "loss": 1.0})["los"]
    with pytest.raises(KeyError, match="no rows yet"):
        History()["loss"]
    history = History()
    assert (len(history), history.columns, history.to_dict()) == (0, (), {})
    assert len(history.thinned(5)) == 0


@pytest.mark.parametrize("rows", [1, 2, 9, 10, 11, 39, 40, 41, 1000])
def test_a_thinned_history(rows):
    history = history_of(*({"step": 3 * i} for i in range(rows)))
    thin = history.thinned(10)
    steps = thin["step"] // 3
    assert steps[0] == 0
    assert steps[-1] == rows - 1
    assert min(rows, 5) <= len(thin) <= 11
    strides = set(np.diff(steps[:-1]))
    assert len(strides) <= 1
    assert all(stride & (stride - 1) == 0 for stride in strides)  # a power of two
    assert len(history) == rows


def test_a_table_splits_columns_of_several_numbers(tmp_path):
    history = history_of(
        {"step": 0, "values": np.array([[3.0, 1.0], [4.0, 2.0]]), "rule": "sam"},
        {"step": 5, "values": np.array([[2.0, 0.5], [6.0, 7.0]]), "rule": "gd"},
    )
    pd = pytest.importorskip("pandas")
    table = history.to_pandas()
    assert table.columns.tolist() == ["step", "values_0_0", "values_0_1", "values_1_0", "values_1_1", "rule"]
    assert table["values_1_0"].tolist() == [4.0, 6.0]
    assert table["rule"].tolist() == ["sam", "gd"]
    history.append({"step": 7, "values": history["values"][0], "rule": "a, b"})
    history.to_csv(tmp_path / "run.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run.csv"), history.to_pandas())
    assert history_of({"step": 0, "rule": "sam"}, {"step": 1}).to_pandas()["rule"].isna().tolist() == [False, True]
    assert History().to_pandas().empty
