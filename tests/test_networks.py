"""Networks against plain torch modules written here, numpy, and finite differences."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from samviz.problems import load, mlp

ACTIVATIONS = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


def sequential(widths, activation):
    layers = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1]).double()


def twin(widths, activation, x):
    """A plain module with the parameters x (dim,), in the order of `Module.parameters`."""
    module = sequential(widths, activation)
    nn.utils.vector_to_parameters(x.clone(), module.parameters())
    return module


def plain(widths, activation, x, inputs, targets, loss):
    """The outputs of the plain module, and the gradient of its mean loss."""
    module = twin(widths, activation, x)
    outputs, goals = module(torch.from_numpy(inputs)), torch.from_numpy(targets)
    (nn.MSELoss()(outputs, goals) / 2 if loss == "mse" else nn.CrossEntropyLoss()(outputs, goals)).backward()
    return outputs.detach().numpy(), torch.cat([p.grad.flatten() for p in module.parameters()])


def losses_by_hand(outputs, targets, loss):
    """Each sample's loss, in numpy: half the mean square over outputs, or minus the log of a softmax."""
    if loss == "mse":
        return ((outputs - targets) ** 2).mean(1) / 2
    shifted = outputs - outputs.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(targets)), targets]


def some_data(loss, n=9, inputs=3, outputs=2):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, inputs))
    return x, (rng.normal(size=(n, outputs)) if loss == "mse" else rng.integers(0, outputs, n))


def start(problem, runs=1, seed=0):
    return torch.stack([problem.initial(seed + r) for r in range(runs)])


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_loss_and_gradient_are_those_of_a_plain_module(activation, loss):
    widths, (inputs, targets) = [3, 5, 4, 2], some_data(loss)
    problem = mlp(widths, activation, (inputs, targets), loss)
    x = start(problem, runs=3)
    for batch in (None, torch.tensor([[0, 3, 3, 8], [1, 2, 5, 7], [8, 0, 4, 4]])):
        value, gradient = problem.gradient(x, batch)
        together, alone = problem.loss(x, batch), problem.sample_losses(x, batch)
        for r in range(3):
            rows = slice(None) if batch is None else batch[r].numpy()
            outputs, slope = plain(widths, activation, x[r], inputs[rows], targets[rows], loss)
            by_hand = losses_by_hand(outputs, targets[rows], loss)
            np.testing.assert_allclose([value[r], together[r]], by_hand.mean(), rtol=1e-12)
            np.testing.assert_allclose(alone[r], by_hand, rtol=1e-11)
            torch.testing.assert_close(gradient[r], slope, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("z", [-30.0, -1.0, 0.0, 1.0, 19.9, 20.1, 40.0])
def test_the_slope_of_softplus_is_the_logistic_function(z):
    problem = mlp([1, 1, 1], "softplus", ([[1.0]], [0.0]))
    x = torch.tensor([[z, 0.0, 1.0, 0.0]], dtype=torch.float64)  # the output is softplus(z)
    loss, gradient = problem.gradient(x)
    output = np.logaddexp(0, z)
    assert loss.item() == pytest.approx(output**2 / 2, rel=1e-8)
    assert gradient[0, 0].item() == pytest.approx(output * expit(z), rel=1e-8)


@pytest.mark.parametrize(
    ("widths", "data", "loss", "samples"),
    [
        ([1, 3, 1], "sine", "mse", 20),
        ([2, 3, 1], "spirals", "mse", 100),
        ([2, 3, 2], "spirals", "mse", 100),
        ([2, 3, 2], "spirals", "cross_entropy", 100),
        ([64, 3, 10], "digits", "cross_entropy", 1797),
        ([64, 3, 10], "digits", "mse", 1797),
    ],
)
def test_the_data_sets(widths, data, loss, samples):
    problem = mlp(widths, "tanh", data, loss)
    inputs, targets = load(data)
    if loss == "mse" and targets.dtype.kind == "i":  # classes become ±1, or one-hot vectors
        targets = 2.0 * targets[:, None] - 1 if widths[-1] == 1 else np.eye(widths[-1])[targets]
    x = start(problem)
    outputs = twin(widths, "tanh", x[0])(torch.from_numpy(inputs)).detach().numpy()
    assert problem.samples == samples
    np.testing.assert_allclose(problem.sample_losses(x)[0], losses_by_hand(outputs, targets, loss), rtol=1e-10)
    assert problem.loss(x).item() == pytest.approx(losses_by_hand(outputs, targets, loss).mean(), rel=1e-12)
    assert problem.gradient(x)[0].item() == pytest.approx(problem.loss(x).item(), rel=1e-12)


ROWS = np.linspace(-1, 1, 6)
LABELLED = np.array([-1, 1, 1, -1, 1, -1])


@pytest.mark.parametrize(
    ("data", "same"),
    [
        ((ROWS[:, None], ROWS**2), (ROWS[:, None], ROWS[:, None] ** 2)),
        ((ROWS, ROWS**2), (ROWS[:, None], ROWS**2)),
        ((ROWS.reshape(1, 2, 3), [1.0]), (ROWS[None], [1.0])),
        ((ROWS, LABELLED), (ROWS, LABELLED.astype(float))),  # labels of ±1 must not become −3 and 1
    ],
    ids=["flat targets", "flat inputs", "images", "labels of ±1"],
)
def test_data_may_have_several_forms(data, same):
    first, second = (mlp([6 if len(each[1]) == 1 else 1, 2, 1], data=each) for each in (data, same))
    assert torch.equal(first.gradient(start(first))[1], second.gradient(start(second))[1])


def test_the_loss_may_be_a_users_function():
    data = some_data("mse")
    x = start(mine := mlp([3, 4, 2], "tanh", data, lambda outputs, targets: ((outputs - targets) ** 2).sum(1) / 4))
    ours = mlp([3, 4, 2], "tanh", data)
    assert (mine.closed, ours.closed) == (False, True)
    torch.testing.assert_close(mine.sample_losses(x), ours.sample_losses(x))
    torch.testing.assert_close(mine.gradient(x), ours.gradient(x), rtol=1e-10, atol=1e-13)


def test_the_hessian_does_not_depend_on_how_many_rows_are_computed_at_once(monkeypatch):
    problem = mlp([3, 4, 2], "tanh", some_data("mse"))
    x = start(problem, runs=2)
    at_once = problem.hessian(x)
    monkeypatch.setattr("samviz.problems.problem.CHUNK", 7 * problem.samples * problem.dim)  # 7 rows at a time of 26
    torch.testing.assert_close(problem.hessian(x), at_once, rtol=1e-13, atol=1e-15)


def test_the_starting_point():
    problem = mlp([64, 7, 10], data="digits", loss="cross_entropy")
    first, last = problem.initial(3)[: 65 * 7], problem.initial(3)[65 * 7 :]
    assert torch.equal(problem.initial(3), problem.initial(3))
    assert not torch.equal(problem.initial(3), problem.initial(4))
    assert 0.9 / 8 < first.abs().max() <= 1 / 8  # ±1/√fan_in, torch's default for linear layers
    assert 0.9 / 7**0.5 < last.abs().max() <= 1 / 7**0.5


# what a network computes, as a picture


def picture_of(widths, data, loss="mse"):
    """The picture of a network at its starting point, and the same network as a plain module."""
    problem = mlp(widths, "tanh", data, loss)
    x = start(problem, runs=2)
    return problem.picture(x), twin(widths, "tanh", x[0])


def test_the_picture_of_a_curve():
    curve, module = picture_of([1, 4, 1], "sine")
    np.testing.assert_allclose(
        curve.outputs, module(torch.from_numpy(curve.inputs)[:, None])[:, 0].detach(), rtol=1e-12
    )
    np.testing.assert_allclose(curve.data_targets, np.sin(3 * curve.data_inputs), atol=1e-12)
    assert curve.inputs[0] < -1 < 1 < curve.inputs[-1]


@pytest.mark.parametrize(("outputs", "loss"), [(1, "mse"), (2, "cross_entropy"), (2, "mse")])
def test_the_picture_of_two_classes(outputs, loss):
    regions, module = picture_of([2, 4, outputs], "spirals", loss)
    answer = module(torch.tensor([[regions.axis1[3], regions.axis2[30]]]))[0].tolist()
    assert regions.score.shape == (41, 41)
    assert regions.score[30, 3] == pytest.approx(answer[-1] - (answer[0] if outputs == 2 else 0), rel=1e-10)
    np.testing.assert_array_equal(regions.labels, load("spirals")[1])
    np.testing.assert_allclose(regions.points, load("spirals")[0])


def test_the_pictures_of_many_classes_and_of_any_regression():
    images, labels = load("digits")
    classes, module = picture_of([64, 5, 10], "digits", "cross_entropy")
    guess = module(torch.from_numpy(images)).argmax(1).numpy()
    np.testing.assert_allclose(classes.accuracy, [np.mean(guess[labels == c] == c) for c in range(10)], rtol=1e-12)
    inputs, targets = some_data("mse")
    residuals, module = picture_of([3, 4, 2], (inputs, targets))
    np.testing.assert_allclose(residuals.targets, targets.ravel())
    outputs = module(torch.from_numpy(inputs)).detach().numpy().ravel()
    np.testing.assert_allclose(residuals.predictions, outputs, rtol=1e-12)
