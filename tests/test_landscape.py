"""Planes, projections and slices agree with the loss itself, numpy's SVD and numbers computed by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from formula import tensor
from no_float64 import NoFloat64

from samviz.dynamics import Run
from samviz.geometry import Plane, hessian_plane, landscape, pca_plane, projected, random_plane, slices
from samviz.problems import mlp, quadratic, valley


def network():
    return mlp([2, 3, 1], "tanh", "spirals")


# slices


@pytest.mark.parametrize("problem", [network(), valley(), quadratic([3.0, 1.0, -1.0])], ids=repr)
@pytest.mark.parametrize("kind", ["hessian", "random"])
def test_each_value_is_the_loss_at_its_point(problem, kind):
    x = problem.initial(1)
    where = {"hessian": hessian_plane, "random": random_plane}[kind](problem, x)
    slice_ = landscape(problem, where, radius=0.7, resolution=5)
    np.testing.assert_allclose(slice_.axis1, [-0.7, -0.35, 0, 0.35, 0.7])
    np.testing.assert_array_equal(slice_.axis1, slice_.axis2)
    for row, b in enumerate(slice_.axis2):  # rows follow the second axis
        for column, a in enumerate(slice_.axis1):
            point = x + a * where.directions[0] + b * where.directions[1]
            assert slice_.loss[row, column] == pytest.approx(problem.loss(point[None]).item(), rel=1e-12, abs=1e-14)
    assert slice_.plane is where
    assert slice_.plane.kind == kind


@pytest.mark.parametrize("count", [2, 1], ids=["plane", "line"])
def test_a_slice_need_not_contain_the_origin(count):
    problem, x, directions = valley(), tensor(0.6, 0.9, 0.1, 0.2), tensor([0.0, 1.0, 0.0, 0.5], [1.0, 0.0, 0.3, 0.0])
    where = Plane("through", x, directions[:count], ("a", "b")[:count])
    slice_ = landscape(problem, where, radius=0.2, resolution=3, center=(0.5, -1.0)[:count])
    np.testing.assert_allclose(slice_.axis1, [0.3, 0.5, 0.7])
    np.testing.assert_allclose(slice_.axis2, [-1.2, -1.0, -0.8] if count == 2 else [0])
    for (row, column), loss in np.ndenumerate(slice_.loss):
        a, b = slice_.axis1[column], slice_.axis2[row]
        x1, x2, x3, x4 = (x + a * directions[0] + b * directions[1]).tolist()
        by_hand = (x1**2 + 6 * x2**2 + 8) * x3**2 + (4 * (1 - x1) ** 2 + (1 - x2) ** 2 + 1) * x4**2  # Figure 1
        assert loss == pytest.approx(by_hand)


def test_a_point_stands_for_the_plane_of_its_top_eigenvectors():
    """On diag(1, 5, 3) around 0 the loss is ½(5a² + 3b²), whatever the eigenvectors' signs."""
    slice_ = landscape(quadratic([1.0, 5.0, 3.0]), torch.zeros(3), radius=2.0, resolution=3)
    np.testing.assert_allclose(slice_.loss, [[16, 6, 16], [10, 0, 10], [16, 6, 16]], atol=1e-12)
    assert slice_.plane.labels == ("v₁", "v₂")


def test_slices_in_parts_give_the_same_landscape(monkeypatch):
    problem = network()
    where = random_plane(problem, problem.initial(0))
    at_once = landscape(problem, where, resolution=9)
    monkeypatch.setattr("samviz.problems.problem.CHUNK", 4 * 10 * problem.samples * 8)  # ten points at a time
    steps = list(slices(problem, where, radius=1.0, resolution=9))
    assert [s[1] is None for s in steps] == [True] * 8 + [False]
    np.testing.assert_allclose([s[0] for s in steps], np.arange(1, 10) / 9)
    np.testing.assert_allclose(steps[-1][1].loss, at_once.loss, rtol=1e-13)


# planes


def test_the_hessian_plane_contains_the_top_two_eigenvectors_or_those_that_are_given():
    problem = network()
    x = problem.initial(3)
    vectors = np.linalg.eigh(problem.hessian(x[None])[0].numpy())[1].T[::-1][:2].copy()
    found = hessian_plane(problem, x)
    np.testing.assert_allclose(np.abs((found.directions.numpy() * vectors).sum(1)), 1, atol=1e-10)
    assert torch.equal(found.origin, x)
    np.testing.assert_array_equal(hessian_plane(problem, x, vectors=torch.from_numpy(vectors)).directions, vectors)


def test_random_directions_have_the_lengths_of_the_filters():
    """A 2-3-1 network: three neurons with two weights each, one with three; biases do not move."""
    problem = network()
    x = problem.initial(0)
    directions = random_plane(problem, x, seed=4).directions
    weights = [slice(0, 2), slice(2, 4), slice(4, 6), slice(9, 12)]
    for direction in directions:
        for part in weights:
            assert direction[part].norm().item() == pytest.approx(x[part].norm().item(), rel=1e-12)
        assert torch.equal(direction[[6, 7, 8, 12]], torch.zeros(4).double())
    ratio = directions[0, :2] / directions[1, :2]
    assert abs(ratio[0] - ratio[1]) > 1e-3  # the two directions differ
    x = tensor(3.0, 0.0, 4.0)  # without filters a direction has the length of the point
    np.testing.assert_allclose(random_plane(quadratic([1.0, 2.0, 3.0]), x).directions.norm(dim=1), [5, 5])


@pytest.mark.parametrize("shape", [(40, 5), (3, 30), (200, 2)])
def test_the_pca_plane_agrees_with_numpys_svd(shape):
    positions = np.random.default_rng(0).normal(size=shape) * np.arange(1, shape[1] + 1)
    found = pca_plane(torch.from_numpy(positions))
    _, strengths, components = np.linalg.svd(positions - positions.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs((found.directions.numpy() * components[:2]).sum(1)), 1, atol=1e-10)
    share = strengths**2 / (strengths**2).sum()
    assert found.labels == (f"PC 1 ({share[0]:.0%})", f"PC 2 ({share[1]:.0%})")
    np.testing.assert_array_equal(found.origin, positions[-1])


@pytest.mark.parametrize("positions", [torch.eye(5)[:2], torch.ones(9, 5), torch.arange(9.0)[:, None] * torch.ones(5)])
def test_points_that_span_no_plane_are_refused(positions):
    with pytest.raises(ValueError, match=f"positions holds {len(positions)} points that span no plane"):
        pca_plane(positions.double())
    with pytest.raises(ValueError, match="expected 1 to 1"):
        landscape(quadratic([1.0]), torch.zeros(1))


# precision and a run's own trail


def test_a_trail_in_single_precision_is_accepted_in_both_precisions():
    problem = network()
    run = Run(problem, lr=0.1, rho=0.05, device="cpu", dtype=torch.float32, trail=8)
    run.step(8)
    trail = torch.cat(list(run.trail))
    for of in (problem, run.problem):
        for where in (pca_plane(trail), hessian_plane(of, run.x[0]), random_plane(of, run.x[0])):
            assert landscape(of, where, resolution=3).loss[1, 1] == pytest.approx(of.loss(run.x.to(of.dtype)).item())
            assert where.project(trail)[0].shape == (8, 2)


def test_a_device_without_float64_gives_the_same_landscape():
    network = mlp([1, 4, 1])
    x = network.initial()
    plane = random_plane(network, x)
    wanted = landscape(network, plane, resolution=5).loss
    with NoFloat64():
        there = network.to("mps", torch.float32)
        origin = there.initial()
        assert landscape(there, origin, resolution=3).loss.dtype == np.float64
        same = replace(plane, origin=origin, directions=plane.directions.to(origin))
        np.testing.assert_allclose(landscape(there, same, resolution=5).loss, wanted, rtol=1e-5)
        trajectory = projected(there, same, origin[None])
    np.testing.assert_allclose(trajectory.loss, network.loss(x[None]), rtol=1e-5)
