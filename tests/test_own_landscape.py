"""The landscape of a torch model agrees with loading each interpolated state and evaluating it with torch."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from samviz.geometry import landscape_of
from samviz.problems import attach

torch.manual_seed(0)
INPUTS = torch.randn(24, 1, 6, 6)
LABELS = torch.randint(0, 3, (24,))
DATA = INPUTS, LABELS
LOSS = nn.CrossEntropyLoss()


def network(seed=0, norm=True):
    torch.manual_seed(seed)
    middle = [nn.BatchNorm2d(3)] if norm else []
    return nn.Sequential(nn.Conv2d(1, 3, 3), *middle, nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)).double()


def trained(model, steps=12):
    """Return the model after some steps of gradient descent, and the states along the way."""
    optimizer, states = torch.optim.SGD(model.parameters(), lr=0.3), []
    model.train()
    for _ in range(steps):
        states.append(deepcopy(model.state_dict()))
        optimizer.zero_grad()
        LOSS(model(INPUTS.double()), LABELS).backward()
        optimizer.step()
    return model.eval(), states


@pytest.fixture(scope="module")
def run():
    return trained(network())


def evaluated(model, state, recompute=False):
    """Return the loss with a state loaded, by torch alone."""
    model = deepcopy(model)
    model.load_state_dict(state)
    if recompute:
        update_bn(DataLoader(TensorDataset(INPUTS.double(), LABELS), batch_size=8), model)
    model.eval()
    with torch.no_grad():
        return float(LOSS(model(INPUTS.double()), LABELS))


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


# the loss at every point


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


# directions


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


# the trajectory


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
    names = ["4.*"]
    result = landscape_of(model, LOSS, DATA, directions=states[0], names=names, radius=1, resolution=3)
    state = model.state_dict() | {name: states[0][name] for name in ("4.weight", "4.bias")}
    assert result.loss[0, 2] == pytest.approx(evaluated(model, state), rel=1e-9)


# the model


# errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": "pca", "checkpoints": [0]}, r"checkpoints holds 1; expected 2 or more in addition to the"),
        ({"directions": "pca", "checkpoints": [-1, -1]}, r"span no plane"),
        ({"directions": [0, -1]}, r"lie on one line"),
        ({"directions": [-1]}, r"the origin itself"),
        ({"directions": [0, 1, -1]}, r"directions holds 3 checkpoints; expected one .* or two"),
        ({"directions": "randm"}, r"directions\[0\], the file randm, is not there; .*'random', 'hessian', 'pca'"),
        ({"checkpoints": [{"4.weight": torch.zeros(3, 2)}]}, r"checkpoints\[0\] does not fit: .* shape \(3, 2\)"),
        ({"checkpoints": [{"0.bias": torch.full((3,), torch.nan)}]}, r"checkpoints\[0\] contains NaN"),
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
