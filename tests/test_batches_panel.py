"""The batch-size panels against the theory's own numbers, for every control and at its extremes."""

import itertools
import json

import numpy as np
import pytest
import torch
from pictures import last, trace

from samviz.claims.subjects import interpolating
from samviz.dynamics import gradient_flow_limit
from samviz.figures import Directions, alignment_figure, figure
from samviz.panels import alignment_panel, batch_panel
from samviz.panels.batch_directions import ANGLES, SIZES, SPECTRUM, draw_alignment, draws, samples, walk
from samviz.panels.batch_sizes import SEEDS, draw_paths, feet, flows, subject
from samviz.problems import valley

PATHS = {"lr": 0.02, "rho": 0.15, "problem": "network", "again": 0}
MIXTURE = {"size": 3, "rho": 0.1, "lr": 0.1, "share": 0.0}


@pytest.fixture(scope="module")
def network():
    return last(draw_paths, PATHS)


@pytest.fixture(scope="module")
def floor():
    return last(draw_paths, PATHS | {"problem": "valley", "lr": 0.005, "rho": 0.2})


# batch_panel


def test_the_feet_are_on_gamma_and_where_gradient_flow_ends():
    problem, x = interpolating()
    off = x + 0.01 * torch.randn(3, 19, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    below = feet(problem, off)
    assert problem.loss(below).max() < 1e-15
    flowed = gradient_flow_limit(problem, off).x
    sharpest = [torch.linalg.eigvalsh(problem.hessian(p))[:, -1] for p in (below, flowed)]
    torch.testing.assert_close(*sharpest, atol=0.01, rtol=0)
    torch.testing.assert_close(feet(problem, x[None])[0], x)
    toy = valley(mean=True)
    torch.testing.assert_close(feet(toy, torch.tensor([[0.6, 0.9, 0.0, 0.0]]).double())[0, 2:], torch.zeros(2).double())


def test_the_flows_are_those_of_the_paper():
    times, found = flows("valley")
    x = subject("valley").start
    for kind, (top, whole) in zip(("worst", "average"), found):
        floor = valley(mean=True).limiting_flow(x, torch.from_numpy(times), kind)
        values = valley(mean=True).eigenvalues(floor).numpy()
        np.testing.assert_allclose(top, values[:, 0])
        np.testing.assert_allclose(whole, values.sum(1))


def test_one_sample_and_all_lie_on_their_flows_and_those_between_fall_behind(network):
    drawn, _ = network
    ends = {size: trace(drawn, f"λ₁ {size}")["y"][-1] for size in range(1, 6)}
    fallen = ends[5] - 3.9353
    assert fallen == pytest.approx(trace(drawn, "λ₁ Eq. 7")["y"][-1] - 3.9353, rel=0.1)
    fell = trace(drawn, "trace 1")["y"][[0, -1]] @ [1, -1]
    assert fell == pytest.approx(trace(drawn, "trace Eq. 18")["y"][[0, -1]] @ [1, -1], rel=0.15)  # η is 0.02, not 0
    assert ends[1] < ends[5] < min(ends[2], ends[3], ends[4])


def test_the_valley_parts_the_two(floor):
    drawn, sentence = floor
    whole, single = trace(drawn, "trace 2")["y"], trace(drawn, "trace 1")["y"]
    assert whole[-1] > whole.min() + 0.02
    assert single[-1] == pytest.approx(10.66, abs=0.15)
    assert np.abs(trace(drawn, "λ₁ 2")["y"][-1] - trace(drawn, "λ₁ Eq. 7")["y"][-1]) < 0.1
    assert sentence.startswith("Step 1600, τ = ηρ²t = 0.32. One sample: trace 10.")
    assert "no theorem" not in sentence  # there are none between


def test_the_rest_is_the_trace_without_the_top(floor):
    drawn, _ = floor
    np.testing.assert_allclose(
        trace(drawn, "path 1")["y"], trace(drawn, "trace 1")["y"] - trace(drawn, "λ₁ 1")["y"], atol=1e-12
    )
    np.testing.assert_allclose(trace(drawn, "path 1")["x"], trace(drawn, "λ₁ 1")["y"])


def test_it_is_drawn_as_it_goes_on_within_the_same_axes():
    steps = list(itertools.islice(draw_paths(PATHS), 12))
    assert np.isfinite(trace(steps[0][0], "λ₁ 1")["y"]).sum() == 2
    assert np.isfinite(trace(steps[0][0], "λ₁ 5")["y"]).sum() == 1
    assert steps[0][1] == "Step 20, τ = ηρ²t = 0.009."
    assert np.isfinite(trace(steps[11][0], "λ₁ 2")["y"]).sum() == 4
    axes = [{k: v for k, v in drawn["layout"].items() if "axis" in k} for drawn, _ in steps]
    assert all(json.dumps(a, default=float) == json.dumps(axes[0], default=float) for a in axes)


def test_the_names_do_not_lie_upon_each_other(network, floor):
    for drawn, _ in (network, floor):
        for panel in ("", "2"):
            low, high = drawn["layout"][f"yaxis{panel}"]["range"]
            heights = np.sort(trace(drawn, f"names {panel}")["y"])
            assert np.diff(heights).min() > 0.07 * (high - low)
            assert low <= heights[0]
            assert heights[-1] <= high


def test_other_samples_give_nearly_the_same(network):
    drawn, _ = last(draw_paths, PATHS | {"again": 1})
    other, first = (trace(d, "λ₁ 1")["y"] for d in (drawn, network[0]))
    assert SEEDS == 4
    assert not np.array_equal(other, first)
    np.testing.assert_allclose(other, first, atol=0.02)


@pytest.mark.parametrize("problem", ["network", "valley"])
@pytest.mark.parametrize(("lr", "rho"), [(0.005, 0.02), (0.06, 0.2), (0.06, 0.02)])
def test_the_extremes_are_drawn(problem, lr, rho):
    drawn, sentence = last(draw_paths, {"lr": lr, "rho": rho, "problem": problem, "again": 7})
    curves = [t["y"] for t in drawn["data"] if t["name"].startswith(("λ₁", "trace", "path"))]
    assert all(np.isfinite(y).all() for y in curves)
    assert "predicted" in sentence


def test_a_run_that_diverges_is_told_and_drawn():
    drawn, sentence = last(draw_paths, PATHS | {"lr": 1.0})
    assert sentence.startswith("Diverged with batch size 1")
    assert np.isfinite(trace(drawn, "names ")["y"]).all()


def test_its_controls():
    panel = batch_panel()
    assert list(panel.values) == ["lr", "rho", "problem", "again"]
    panel.set(problem="valley", lr=0.01, rho=0.1, again=2)
    assert "trace" in panel.sentence
    with pytest.raises(ValueError, match=r"0\.005 to 0\.06"):
        panel.set(lr=1.0)


# alignment_panel


def test_the_samples_are_what_example_5_8_says():
    hessians = samples(0.3).hessian(torch.zeros(6, 2).double(), torch.arange(6)[:, None])
    values, vectors = np.linalg.eigh(hessians.numpy())
    np.testing.assert_allclose(values[:, 1], SPECTRUM)
    np.testing.assert_allclose(values[:, 0], 0.3 * np.array(SPECTRUM))
    turn = np.deg2rad(ANGLES)
    along = vectors[:, 0, 1] * np.cos(turn) + vectors[:, 1, 1] * np.sin(turn)
    np.testing.assert_allclose(np.abs(along), 1)


def test_every_batch_has_its_size():
    for batch, size in zip(draws().transpose(0, 1), SIZES):
        assert {len(set(row.tolist())) for row in batch} == {size}
        assert {len(row) for row in batch} == {60}


def test_one_and_all_are_aligned_and_those_between_are_not():
    drawn, sentence = last(draw_alignment, MIXTURE)
    means = trace(drawn, "means")["y"]
    assert means[[0, 5]] == pytest.approx(1, abs=1e-9)
    assert (means[1:5] < 0.95).all()
    assert sentence.startswith(f"Batch size 3 of 6: |cos(∇L_B, v₁)| is {means[2]:.3f} in the mean")


def test_the_two_pictures_tell_the_same():
    for size in SIZES:
        drawn, _ = last(draw_alignment, MIXTURE | {"size": size})
        tilt, cosine = trace(drawn, "steps")["y"], trace(drawn, f"strip {size}")["y"]
        assert len(tilt) == 400
        np.testing.assert_allclose(np.cos(np.deg2rad(tilt)), cosine, atol=1e-6)


def test_the_cosines_are_those_of_the_step_that_was_taken():
    *_, _ = draw_alignment(MIXTURE)
    going = walk(0.1, 0.1, 0.0)
    cosines = going.directions()[2]
    turn = np.deg2rad(ANGLES)
    a = np.stack((np.cos(turn), np.sin(turn)), 1)
    for step in (0, 123, 399):
        x, batch = going.trail[200 + step][1].numpy(), sorted(set(draws()[200 + step, 1].tolist()))
        matrix = np.mean([SPECTRUM[k] * np.outer(a[k], a[k]) for k in batch], 0)
        slope, top = matrix @ x, np.linalg.eigh(matrix)[1][:, 1]
        assert cosines[1, step] == pytest.approx(abs(slope @ top) / np.linalg.norm(slope))
        ahead = matrix @ (x + 0.1 * slope / np.linalg.norm(slope))
        if step < 399:
            np.testing.assert_allclose(going.trail[201 + step][1], x - 0.1 * ahead, atol=1e-12)


def test_a_small_radius_changes_nothing():
    large, small = (trace(last(draw_alignment, MIXTURE | {"rho": rho})[0], "means")["y"] for rho in (1.0, 2.0**-20))
    np.testing.assert_allclose(large, small, atol=1e-12)


def test_without_rank_one_a_sample_is_not_aligned():
    drawn, sentence = last(draw_alignment, MIXTURE | {"size": 1, "share": 0.3})
    assert trace(drawn, "means")["y"][0] < 0.95
    assert trace(drawn, "means")["y"][5] == pytest.approx(1, abs=1e-3)
    assert "without rank one" in sentence


def test_it_begins_before_there_is_anything_to_see():
    drawn, sentence = next(draw_alignment(MIXTURE | {"lr": 0.13}))
    assert sentence == "On the way to the minimum."
    figure(drawn)
    figure(alignment_figure(Directions(2, ANGLES, *np.zeros((3, 6, 0)))))


@pytest.mark.parametrize("size", [1, 6])
@pytest.mark.parametrize(("lr", "rho"), [(0.02, 1e-6), (0.3, 1.0)])
@pytest.mark.parametrize("share", [0.0, 0.9])
def test_its_extremes_are_drawn(size, lr, rho, share):
    drawn, _ = last(draw_alignment, {"size": size, "lr": lr, "rho": rho, "share": share})
    for name in ("steps", "means"):
        assert np.isfinite(trace(drawn, name)["y"]).all()


def test_its_controls_move_it():
    panel = alignment_panel()
    assert list(panel.values) == ["size", "rho", "lr", "share"]
    panel.set(size=6)
    assert panel.sentence.endswith("Theorem 4.8 says 1.")
    with pytest.raises(ValueError, match="whole number from 1 to 6"):
        panel.set(size=2.5)
