"""Planes, projections and slices agree with the loss itself, and those of a torch model with torch's own evaluation."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from formula import tensor
from test_attached import IMAGES, LABELS, LOSS, cnn, loader
from torch import nn
from torch.optim.swa_utils import update_bn

from samviz.dynamics import Run
from samviz.geometry import Plane, hessian_plane, landscape, landscape_of, pca_plane, random_plane, slices
from samviz.problems import attach, mlp, quadratic, valley


def spirals():
    return mlp([2, 3, 1], "tanh", "spirals")


@pytest.mark.parametrize("problem", [spirals(), valley(), quadratic([3.0, 1.0, -1.0])], ids=repr)
@pytest.mark.parametrize(
    ("kind", "center"), [("hessian", (0.0, 0.0)), ("random", (0.0, 0.0)), ("through", (0.5, -1.0)), ("through", (0.5,))]
)
def test_each_value_is_the_loss_at_its_point(problem, kind, center):
    """On planes and on a line, around the origin and elsewhere."""
    x, directions = problem.initial(1), torch.eye(2, problem.dim).double()[: len(center)] + 0.3
    through = Plane("through", x, directions, ("a", "b")[: len(center)])
    planes = {"hessian": hessian_plane(problem, x), "random": random_plane(problem, x), "through": through}
    slice_ = landscape(problem, planes[kind], radius=0.7, resolution=5, center=center)
    for axis, middle in zip((slice_.axis1, slice_.axis2), center):
        np.testing.assert_allclose(axis, np.array([-0.7, -0.35, 0, 0.35, 0.7]) + middle, atol=1e-15)
    assert slice_.loss.shape == (5 if len(center) == 2 else 1, 5)  # rows follow the second axis
    for (row, column), loss in np.ndenumerate(slice_.loss):
        coordinates = tensor(slice_.axis1[column], slice_.axis2[row])[: len(center)]
        point = x + coordinates @ planes[kind].directions
        assert loss == pytest.approx(problem.loss(point[None]).item(), rel=1e-12, abs=1e-14)
    assert slice_.plane is planes[kind]
    assert slice_.plane.kind == kind


def test_slices_in_parts_give_the_same_landscape(monkeypatch):
    problem = spirals()
    where = random_plane(problem, problem.initial(0))
    at_once = landscape(problem, where, resolution=9)
    monkeypatch.setattr("samviz.problems.problem.CHUNK", 4 * 10 * problem.samples * 8)  # ten points at a time
    steps = list(slices(problem, where, radius=1.0, resolution=9))
    assert [s[1] is None for s in steps] == [True] * 8 + [False]
    np.testing.assert_allclose([s[0] for s in steps], np.arange(1, 10) / 9)
    np.testing.assert_allclose(steps[-1][1].loss, at_once.loss, rtol=1e-13)


def test_the_hessian_plane_contains_the_top_two_eigenvectors_or_those_that_are_given():
    problem = spirals()
    x = problem.initial(3)
    vectors = np.linalg.eigh(problem.hessian(x[None])[0].numpy())[1].T[::-1][:2].copy()
    found = hessian_plane(problem, x)
    np.testing.assert_allclose(np.abs((found.directions.numpy() * vectors).sum(1)), 1, atol=1e-10)
    assert torch.equal(found.origin, x)
    np.testing.assert_array_equal(hessian_plane(problem, x, vectors=torch.from_numpy(vectors)).directions, vectors)


def test_random_directions_have_the_lengths_of_the_filters():
    """A 2-3-1 network: three neurons with two weights each, one with three; biases do not move."""
    problem = spirals()
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


def test_a_trail_in_single_precision_is_accepted_in_both_precisions():
    problem = spirals()
    run = Run(problem, lr=0.1, rho=0.05, device="cpu", dtype=torch.float32, trail=8)
    run.step(8)
    trail = torch.cat(list(run.trail))
    for of in (problem, run.problem):
        for where in (pca_plane(trail), hessian_plane(of, run.x[0]), random_plane(of, run.x[0])):
            assert landscape(of, where, resolution=3).loss[1, 1] == pytest.approx(of.loss(run.x.to(of.dtype)).item())
            assert where.project(trail)[0].shape == (8, 2)


# of a torch model, against loading each interpolated state and evaluating it with torch


DATA = IMAGES, LABELS


@pytest.fixture(scope="module")
def run():
    """Return a model after some steps of gradient descent, and the states along the way."""
    model = cnn()
    optimizer, states = torch.optim.SGD(model.parameters(), lr=0.3), []
    model.train()
    for _ in range(12):
        states.append(deepcopy(model.state_dict()))
        optimizer.zero_grad()
        LOSS(model(IMAGES), LABELS).backward()
        optimizer.step()
    return model.eval(), states


def evaluated(model, state, recompute=False):
    """Return the loss with a state loaded, by torch alone."""
    model = deepcopy(model)
    model.load_state_dict(state)
    if recompute:
        update_bn(loader(), model)
    model.eval()
    with torch.no_grad():
        return float(LOSS(model(IMAGES), LABELS))


def moved(model, plane, coordinates):
    """Return the model's state at a point of the plane; buffers are the model's."""
    vector = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    for coordinate, direction in zip(coordinates, plane.directions):
        vector = vector + coordinate * direction
    twin = deepcopy(model)
    torch.nn.utils.vector_to_parameters(vector, twin.parameters())
    return twin.state_dict()


def vector_of(model, state):
    return np.concatenate([state[name].numpy().ravel() for name, _ in model.named_parameters()])


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("directions", ["random", "hessian", "pca", "two", "one"])
def test_every_value_on_a_plane_or_line_is_the_loss_at_its_point(run, directions, recompute):
    """Recomputed statistics are those of update_bn."""
    model, states = run
    where = {"one": states[0], "two": [states[0], states[6]]}.get(directions, directions)
    options = {"directions": where, "checkpoints": states[::4], "resolution": 3, "batch_size": 8}
    result = landscape_of(model, LOSS, DATA, **options, recompute=recompute)
    assert result.loss.shape == (1 if directions == "one" else 3, 3)
    for row, b in enumerate(result.axis2):
        for column, a in enumerate(result.axis1):
            wanted = evaluated(model, moved(model, result.plane, (a, b)), recompute)
            assert result.loss[row, column] == pytest.approx(wanted, rel=1e-9)
    for state, loss in zip(states[::4], result.trajectory.loss):
        assert loss == pytest.approx(evaluated(model, state, recompute), rel=1e-9)
    if directions == "one":
        np.testing.assert_allclose(result.axis1, [-0.2, 0.5, 1.2])  # a fifth beyond both ends
        there = model.state_dict() | {name: states[0][name] for name, _ in model.named_parameters()}
        assert evaluated(model, moved(model, result.plane, (1,))) == evaluated(model, there)
    if directions == "two":  # the first is at (1, 0), and angles are true
        first, second = result.plane.directions.numpy()
        np.testing.assert_allclose(first, vector_of(model, states[0]) - vector_of(model, model.state_dict()))
        np.testing.assert_allclose([first @ second, second @ second], [0, first @ first], atol=1e-9)
    if directions == "hessian":  # is always taken without recomputing
        other = landscape_of(model, LOSS, DATA, **options).plane
        assert torch.equal(result.plane.directions, other.directions)


def test_the_hessian_directions_come_with_their_eigenpairs(run):
    model, _ = run
    result = landscape_of(model, LOSS, DATA, directions="hessian", resolution=3)
    problem = attach(model, LOSS, DATA)
    values, vectors = np.linalg.eigh(problem.hessian(problem.initial()[None])[0].numpy())
    np.testing.assert_allclose(result.plane.pairs.values[0], values[:-3:-1], rtol=1e-8)
    assert result.plane.pairs.converged.all()
    np.testing.assert_allclose(np.abs(np.sum(result.plane.directions.numpy() * vectors.T[:-3:-1], 1)), 1, atol=1e-8)
    assert values[-1] * result.axis1[-1] ** 2 / 2 == pytest.approx(1)  # the quadratic has risen by one
    linear, data = nn.Linear(1, 2, bias=False).double(), (torch.ones(2, 1), torch.ones(2, 2))
    saddle = landscape_of(linear, lambda out, y: -(out**2).mean(), data, directions="hessian", resolution=3)
    assert saddle.axis1[-1] == 1


@pytest.mark.parametrize("line", [False, True])
@pytest.mark.parametrize("directions", ["pca", "random", "hessian"])
def test_a_trajectory_is_projected_by_least_squares(run, directions, line):
    model, states = run
    result = landscape_of(model, LOSS, DATA, directions=directions, checkpoints=states, line=line, resolution=2)
    positions = np.stack([vector_of(model, state) for state in [*states, model.state_dict()]])
    offset = positions - positions[-1]
    basis = result.plane.directions.numpy()
    assert len(basis) == (1 if line else 2)
    assert result.loss.shape == ((1, 2) if line else (2, 2))
    found = np.linalg.lstsq(basis.T, offset.T)[0].T
    np.testing.assert_allclose(result.trajectory.coordinates, found, atol=1e-9)
    distance = np.linalg.norm(offset, axis=1)
    lost = np.linalg.norm(offset - found @ basis, axis=1) / np.where(distance > 0, distance, 1)
    np.testing.assert_allclose(result.trajectory.lost, lost, atol=1e-9)
    for k in (0, 5, len(states)):
        state = [*states, model.state_dict()][k]
        assert result.trajectory.loss[k] == pytest.approx(evaluated(model, state), rel=1e-9)  # with its own statistics
        below = moved(model, result.plane, found[k])
        assert result.trajectory.shown[k] == pytest.approx(evaluated(model, below), rel=1e-9)
    assert (result.axis1[0] <= found[:, 0]).all()
    assert (found[:, 0] <= result.axis1[-1]).all()


def test_checkpoints_may_be_files_or_states_of_a_wrapped_model(run, tmp_path):
    model, states = run
    torch.save(states[0], tmp_path / "first.pt")
    wrapped = {f"module._orig_mod.{name}": value for name, value in states[1].items()}
    saved = [tmp_path / "first.pt", wrapped]
    result, plain = (
        landscape_of(model, LOSS, DATA, directions="pca", checkpoints=c, resolution=2) for c in (saved, states[:2])
    )
    for name in ("coordinates", "lost", "loss", "shown"):
        assert np.array_equal(getattr(result.trajectory, name), getattr(plain.trajectory, name))


def test_only_the_named_parameters_vary(run):
    model, states = run
    names = ["5.*"]
    result = landscape_of(model, LOSS, DATA, directions=states[0], names=names, radius=1, resolution=3)
    state = model.state_dict() | {name: states[0][name] for name in ("5.weight", "5.bias")}
    assert result.loss[0, 2] == pytest.approx(evaluated(model, state), rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": "pca", "checkpoints": [0]}, r"checkpoints holds 1; expected 2 or more in addition to the"),
        ({"directions": "pca", "checkpoints": [-1, -1]}, r"span no plane"),
        ({"directions": [0, -1]}, r"lie on one line"),
        ({"directions": [-1]}, r"the origin itself"),
        ({"directions": [0, 1, -1]}, r"directions holds 3 checkpoints; expected one .* or two"),
        ({"directions": "randm"}, r"directions\[0\], the file randm, is not there; .*'random', 'hessian', 'pca'"),
        ({"checkpoints": [{"5.weight": torch.zeros(3, 2)}]}, r"checkpoints\[0\] does not fit: .* shape \(3, 2\)"),
        ({"checkpoints": [{"0.bias": torch.full((2,), torch.nan)}]}, r"checkpoints\[0\] contains NaN"),
        ({"checkpoints": [{"1.running_mean": torch.zeros(5)}]}, r"checkpoints\[0\] does not fit: .*running_mean"),
    ],
)
def test_errors_name_the_argument(run, options, message):
    """A number stands for a state of the run, and a dictionary for a state with other tensors."""
    model, states = run
    states = [*states, model.state_dict()]
    arguments = {
        name: value if isinstance(value, str) else [states[0] | v if isinstance(v, dict) else states[v] for v in value]
        for name, value in options.items()
    }
    with pytest.raises((ValueError, TypeError), match=message):
        landscape_of(model, LOSS, DATA, resolution=2, **arguments)
