"""The three panels on batch sizes against the theory's own numbers, for every control and at its extremes."""

import itertools
import json

import numpy as np
import pytest
import torch
from pictures import last, trace

from samviz.claims.subjects import interpolating
from samviz.dynamics import Run, gradient_flow_limit
from samviz.panels.batch_sizes import (
    ANGLES,
    SEEDS,
    SPECTRUM,
    BatchRuns,
    batch_runs,
    batches,
    directions,
    draw_alignment,
    draw_batches,
    draw_one_sample,
)

PATHS = {"lr": 0.02, "rho": 0.15, "again": 0}
DIRECTIONS = {"size": 3, "rho": 0.1, "lr": 0.1, "share": 0.0, "guess": "skipped"}


@pytest.fixture(scope="module")
def network():
    return last(draw_batches, PATHS)


def measured(drawn, quantity):
    """Return the decreases and their standard errors by batch size."""
    points = trace(drawn, f"{quantity} decrease")
    return points["y"], points["error_y"]["array"] / 2


def test_one_sample_and_all_samples_follow_their_flows_and_the_other_sizes_are_slower(network):
    drawn, sentence = network
    decrease, error = (np.array(each) for each in measured(drawn, "λ₁"))
    assert decrease[4] == pytest.approx(trace(drawn, "λ₁ Eq. 7")["y"][0], rel=0.1)
    assert (decrease[1:4] + 2 * error[1:4] < decrease[4]).all()
    assert decrease[0] - 2 * error[0] > decrease[4]
    single = measured(drawn, "trace")[0][0]
    assert 1 < single / trace(drawn, "trace Eq. 18")["y"][0] < 1.15  # more than Eq. 18 predicts, since η is not 0
    assert "the theorems do not cover these" in sentence


def test_the_error_bars_are_two_standard_errors_of_the_mean_over_the_seeds():
    runs = BatchRuns(0.02, 0.15, again=0)
    runs.advance()
    problem, x0 = interpolating()
    run = Run(problem, "sam", 0.02, 0.15, 2, x0.expand(SEEDS, -1), seed=0, device="cpu")
    run.step(40)
    values = (
        torch.linalg.eigvalsh(problem.hessian(x0[None]))[:, -1]
        - torch.linalg.eigvalsh(problem.hessian(gradient_flow_limit(problem, run.x).x))[:, -1]
    )
    assert runs.mean[0, 1] == pytest.approx(values.mean().item(), rel=0.05)
    assert runs.error[0, 1] == pytest.approx(values.std().item() / SEEDS**0.5, rel=0.1)


def test_the_figure_is_drawn_while_the_runs_go_on_and_the_first_one_shows_nothing_of_the_answer():
    steps = list(draw_batches(PATHS))
    assert not np.any([measured(steps[0][0], quantity) for quantity in ("λ₁", "trace")])
    assert not np.any([trace(steps[0][0], f"λ₁ {equation}")["y"] for equation in ("Eq. 7", "Eq. 18")])
    axes = [{k: v for k, v in drawn["layout"].items() if "axis" in k} for drawn, _ in steps]
    assert len(steps) == 11
    assert len({json.dumps(each, default=list) for each in axes}) == 1
    ((drawn, sentence),) = itertools.islice(draw_one_sample(FLOOR | {"guess": None}), 1)
    assert not [t["name"] for t in drawn["data"] if "one sample" in t["name"] or t["name"] == "level"]
    assert "trace" not in sentence


# one_sample_panel

FLOOR = {"lr": 0.002, "rho": 0.3, "again": 0, "start": (0.3, 0.9), "guess": "skipped"}


@pytest.mark.parametrize("start", [(0.3, 0.9), (1.0, 0.5)])
def test_one_sample_ends_at_the_least_trace_and_all_samples_at_the_least_top_eigenvalue(start):
    drawn, sentence = last(draw_one_sample, FLOOR | {"start": start})
    single, full = (np.array([trace(drawn, name)[axis][-1] for axis in "xy"]) for name in ("one sample", "all samples"))
    np.testing.assert_allclose(single, (0.8, 1 / 7), atol=0.04)
    np.testing.assert_allclose(full, start * np.exp([-4, -24]), atol=0.01)  # Eq. 7 at τ = 2
    x1, x2 = single
    total = 2 * (x1**2 + 6 * x2**2 + 8 + 4 * (1 - x1) ** 2 + (1 - x2) ** 2 + 1)
    assert trace(drawn, "trace one sample")["y"][-1] == pytest.approx(total)
    assert sentence.startswith("τ = ηρ²t = 2.00.")


def test_the_curves_end_at_the_time_in_the_sentence_where_steps_between_measurements_are_rounded():
    drawn, sentence = last(draw_one_sample, FLOOR | {"lr": 0.016, "rho": 0.4})
    assert sentence.startswith("τ = ηρ²t = 2.05.")
    assert trace(drawn, "trace one sample")["x"][-1] == pytest.approx(2.048)


def test_only_one_sample_and_all_samples_are_aligned_if_each_sample_has_rank_one():
    drawn, sentence = last(draw_alignment, DIRECTIONS)
    means = trace(drawn, "means")["y"]
    assert means[[0, 5]] == pytest.approx(1, abs=1e-9)
    assert (means[1:5] < 0.95).all()
    assert sentence.startswith(f"Batch size 3 of 6: the mean of |cos(∇L_B, v₁)| is {means[2]:.3f}")
    drawn, sentence = last(draw_alignment, DIRECTIONS | {"size": 1, "share": 0.3})
    assert trace(drawn, "means")["y"][0] < 0.95
    assert trace(drawn, "means")["y"][5] == pytest.approx(1, abs=1e-3)
    assert "second eigenvalue" in sentence


def test_the_cosines_are_those_of_the_batches_of_the_run():
    last(draw_alignment, DIRECTIONS)
    runs = batch_runs(0.1, 0.1, 0.0)
    cosines, iterates = directions(runs)[2], torch.cat(list(runs[1].trail))
    turn = np.deg2rad(ANGLES)
    a = np.stack((np.cos(turn), np.sin(turn)), 1)
    for step in (0, 123, 399):
        x, batch = iterates[200 + step].numpy(), sorted(batches(2)[200 + step].tolist())
        assert len(set(batch)) == 2
        matrix = np.mean([SPECTRUM[k] * np.outer(a[k], a[k]) for k in batch], 0)
        slope, top = matrix @ x, np.linalg.eigh(matrix)[1][:, 1]
        assert cosines[1, step] == pytest.approx(abs(slope @ top) / np.linalg.norm(slope))
        perturbed_gradient = matrix @ (x + 0.1 * slope / np.linalg.norm(slope))
        if step < 399:
            np.testing.assert_allclose(iterates[201 + step], x - 0.1 * perturbed_gradient, atol=1e-12)
