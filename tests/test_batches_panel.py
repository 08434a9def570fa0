"""The two panels on batch sizes against the theory's own numbers, for every control and at its extremes."""

import itertools
import json

import numpy as np
import pytest
import torch
from pictures import last, trace

from samviz.claims.subjects import interpolating
from samviz.dynamics import gradient_flow_limit
from samviz.figures import figure
from samviz.panels.batch_directions import (
    ANGLES,
    SIZES,
    SPECTRUM,
    batch_runs,
    batches,
    draw_alignment,
    quadratic_samples,
)
from samviz.panels.batch_sizes import draw_batches, experiment, flows, project
from samviz.problems import valley

PATHS = {"lr": 0.02, "rho": 0.15, "problem": "network", "again": 0}
DIRECTIONS = {"size": 3, "rho": 0.1, "lr": 0.1, "share": 0.0}


@pytest.fixture(scope="module")
def network():
    return last(draw_batches, PATHS)


@pytest.fixture(scope="module")
def on_the_valley():
    return last(draw_batches, PATHS | {"problem": "valley", "lr": 0.005, "rho": 0.2})


# batch_panel


def test_the_projection_is_on_gamma_and_where_gradient_flow_ends():
    problem, x = interpolating()
    near = x + 0.01 * torch.randn(3, 19, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    projected = project(problem, near)
    assert problem.loss(projected).max() < 1e-15
    limit = gradient_flow_limit(problem, near).x
    tops = [torch.linalg.eigvalsh(problem.hessian(points))[:, -1] for points in (projected, limit)]
    torch.testing.assert_close(*tops, atol=0.01, rtol=0)
    torch.testing.assert_close(project(problem, x[None])[0], x)
    start = torch.tensor([[0.6, 0.9, 0.0, 0.0]]).double()
    torch.testing.assert_close(project(valley(mean=True), start)[0, 2:], torch.zeros(2).double())


def test_the_flows_are_those_of_the_paper():
    times, found = flows("valley")
    x0 = experiment("valley").x0
    for kind, (top, total) in zip(("worst", "average"), found):
        floor = valley(mean=True).limiting_flow(x0, torch.from_numpy(times), kind)
        values = valley(mean=True).eigenvalues(floor).numpy()
        np.testing.assert_allclose(top, values[:, 0])
        np.testing.assert_allclose(total, values.sum(1))


def test_one_sample_and_all_samples_follow_their_flows_and_the_other_sizes_are_slower(network):
    drawn, _ = network
    ends = {size: trace(drawn, f"λ₁ {size}")["y"][-1] for size in range(1, 6)}
    assert ends[5] - 3.9353 == pytest.approx(trace(drawn, "λ₁ Eq. 7")["y"][-1] - 3.9353, rel=0.1)
    decrease, predicted = (trace(drawn, f"trace {name}")["y"][[0, -1]] @ [1, -1] for name in ("1", "Eq. 18"))
    assert decrease == pytest.approx(predicted, rel=0.15)  # η is 0.02, not 0
    assert ends[1] < ends[5] < min(ends[2], ends[3], ends[4])


def test_on_the_valley_the_two_limits_differ(on_the_valley):
    drawn, sentence = on_the_valley
    full, single = trace(drawn, "trace 2")["y"], trace(drawn, "trace 1")["y"]
    assert full[-1] > full.min() + 0.02
    assert single[-1] == pytest.approx(10.66, abs=0.15)
    assert np.abs(trace(drawn, "λ₁ 2")["y"][-1] - trace(drawn, "λ₁ Eq. 7")["y"][-1]) < 0.1
    assert sentence.startswith("Step 1600, τ = ηρ²t = 0.32. One sample: trace 10.")
    assert "no theorem" not in sentence  # there is no size between one and all
    path = trace(drawn, "path 1")
    np.testing.assert_allclose(path["y"], single - trace(drawn, "λ₁ 1")["y"], atol=1e-12)
    np.testing.assert_allclose(path["x"], trace(drawn, "λ₁ 1")["y"])


def test_the_figure_is_drawn_while_the_runs_go_on_with_the_same_axes():
    steps = list(itertools.islice(draw_batches(PATHS), 12))
    known = [np.isfinite(trace(steps[i][0], f"λ₁ {size}")["y"]).sum() for i, size in ((0, 1), (0, 5), (11, 2))]
    assert known == [2, 1, 4]
    assert steps[0][1] == "Step 20, τ = ηρ²t = 0.009."
    axes = [{k: v for k, v in drawn["layout"].items() if "axis" in k} for drawn, _ in steps]
    assert len({json.dumps(each, default=float) for each in axes}) == 1


def test_the_labels_do_not_overlap(network, on_the_valley):
    for drawn, _ in (network, on_the_valley):
        for axis, name in (("yaxis", "λ₁"), ("yaxis2", "trace")):
            low, high = drawn["layout"][axis]["range"]
            heights = np.sort(trace(drawn, f"names {name}")["y"])
            assert np.diff(heights).min() > 0.07 * (high - low)
            assert low <= heights[0]
            assert heights[-1] <= high


def test_other_samples_give_nearly_the_same_result(network):
    drawn, _ = last(draw_batches, PATHS | {"again": 1})
    other, first = (trace(d, "λ₁ 1")["y"] for d in (drawn, network[0]))
    assert not np.array_equal(other, first)
    np.testing.assert_allclose(other, first, atol=0.02)


@pytest.mark.parametrize("problem", ["network", "valley"])
@pytest.mark.parametrize(("lr", "rho"), [(0.005, 0.02), (0.06, 0.2), (0.06, 0.02)])
def test_extreme_values_are_drawn(problem, lr, rho):
    drawn, sentence = last(draw_batches, {"lr": lr, "rho": rho, "problem": problem, "again": 7})
    curves = [t["y"] for t in drawn["data"] if t["name"].startswith(("λ₁", "trace", "path"))]
    assert all(np.isfinite(y).all() for y in curves)
    assert "predicted" in sentence


def test_divergence_is_reported_and_drawn():
    drawn, sentence = last(draw_batches, PATHS | {"lr": 1.0})
    assert sentence.startswith("Diverged with batch size 1")
    assert np.isfinite(trace(drawn, "names λ₁")["y"]).all()


# alignment_panel


def test_the_samples_are_those_of_example_5_8():
    hessians = quadratic_samples(0.3).hessian(torch.zeros(6, 2).double(), torch.arange(6)[:, None])
    values, vectors = np.linalg.eigh(hessians.numpy())
    np.testing.assert_allclose(values, np.outer(SPECTRUM, [0.3, 1]))
    turn = np.deg2rad(ANGLES)
    np.testing.assert_allclose(np.abs(vectors[:, 0, 1] * np.cos(turn) + vectors[:, 1, 1] * np.sin(turn)), 1)


def test_only_one_sample_and_all_samples_are_aligned():
    drawn, sentence = last(draw_alignment, DIRECTIONS)
    means = trace(drawn, "means")["y"]
    assert means[[0, 5]] == pytest.approx(1, abs=1e-9)
    assert (means[1:5] < 0.95).all()
    assert sentence.startswith(f"Batch size 3 of 6: the mean of |cos(∇L_B, v₁)| is {means[2]:.3f}")


@pytest.mark.parametrize("size", SIZES)
def test_angles_and_cosines_agree(size):
    drawn, _ = last(draw_alignment, DIRECTIONS | {"size": size})
    angle, cosine = trace(drawn, "steps")["y"], trace(drawn, f"strip {size}")["y"]
    assert len(angle) == 400
    np.testing.assert_allclose(np.cos(np.deg2rad(angle)), cosine, atol=1e-6)


def test_the_cosines_are_those_of_the_batches_of_the_run():
    last(draw_alignment, DIRECTIONS)
    runs = batch_runs(0.1, 0.1, 0.0)
    cosines = runs.directions()[2]
    turn = np.deg2rad(ANGLES)
    a = np.stack((np.cos(turn), np.sin(turn)), 1)
    for step in (0, 123, 399):
        x, batch = runs.iterates(2)[200 + step].numpy(), sorted(batches(2)[200 + step].tolist())
        assert len(set(batch)) == 2
        matrix = np.mean([SPECTRUM[k] * np.outer(a[k], a[k]) for k in batch], 0)
        slope, top = matrix @ x, np.linalg.eigh(matrix)[1][:, 1]
        assert cosines[1, step] == pytest.approx(abs(slope @ top) / np.linalg.norm(slope))
        perturbed_gradient = matrix @ (x + 0.1 * slope / np.linalg.norm(slope))
        if step < 399:
            np.testing.assert_allclose(runs.iterates(2)[201 + step], x - 0.1 * perturbed_gradient, atol=1e-12)


def test_the_radius_changes_nothing():
    large, small = (trace(last(draw_alignment, DIRECTIONS | {"rho": rho})[0], "means")["y"] for rho in (1.0, 2.0**-20))
    np.testing.assert_allclose(large, small, atol=1e-12)


def test_a_sample_that_does_not_have_rank_one_is_not_aligned():
    drawn, sentence = last(draw_alignment, DIRECTIONS | {"size": 1, "share": 0.3})
    assert trace(drawn, "means")["y"][0] < 0.95
    assert trace(drawn, "means")["y"][5] == pytest.approx(1, abs=1e-3)
    assert "second eigenvalue" in sentence


def test_the_first_figure_has_no_steps_yet():
    drawn, sentence = next(draw_alignment(DIRECTIONS | {"lr": 0.13}))
    assert sentence == "The runs approach the minimum."
    figure(drawn)


@pytest.mark.parametrize("size", [1, 6])
@pytest.mark.parametrize(("lr", "rho"), [(0.02, 1e-6), (0.3, 1.0)])
@pytest.mark.parametrize("share", [0.0, 0.9])
def test_extreme_directions_are_drawn(size, lr, rho, share):
    drawn, _ = last(draw_alignment, {"size": size, "lr": lr, "rho": rho, "share": share})
    for name in ("steps", "means"):
        assert np.isfinite(trace(drawn, name)["y"]).all()
