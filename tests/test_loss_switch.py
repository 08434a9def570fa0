"""Cross-entropy and the squared error in one run: against formulas in numpy, dense Hessians and separate runs."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from samviz.dynamics import Run, Settings
from samviz.figures import figure
from samviz.lab import Lab
from samviz.problems import mlp, valley

WIDTHS = [2, 6, 2]


def new_lab(loss="mse"):
    return Lab(mlp(WIDTHS, data="spirals", loss=loss), lr=0.05, rho=0.02, device="cpu", steps_per_frame=5)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_other_loss_is_that_of_the_same_outputs_and_labels(loss, dtype):
    problem = mlp(WIDTHS, data="spirals", loss=loss).to("cpu", dtype)
    x = problem.initial(0)[None]
    outputs, labels = problem.outputs(x, problem.inputs)[0].double().numpy(), problem.labels.numpy()
    losses = {
        "mse": ((outputs - np.eye(2)[labels]) ** 2).mean() / 2,
        "cross_entropy": np.mean(logsumexp(outputs, 1) - outputs[np.arange(len(labels)), labels]),
    }
    for name, expected in losses.items():
        other = problem.with_loss(name)
        assert other is problem.with_loss(name)
        assert float(other.loss(x)) == pytest.approx(expected, rel=1e-6)
        assert other.gradient(x)[0].dtype == dtype
        assert other.square_targets == (2 if name == "mse" else 0)


def test_a_run_switches_the_loss_and_measures_the_new_one():
    """It takes the steps of two runs, and the eigenvalues are those of a dense Hessian by autograd."""
    run = Run(mlp(WIDTHS, data="spirals"), "sam", 0.1, 0.02, device="cpu")
    run.step(20)
    run.set(loss_name="cross_entropy")
    run.step(30)
    row = run.measure()
    first = Run(mlp(WIDTHS, data="spirals"), "sam", 0.1, 0.02, device="cpu")
    first.step(20)
    entropy = mlp(WIDTHS, data="spirals", loss="cross_entropy")
    second = Run(entropy, "sam", 0.1, 0.02, x0=first.x[0], device="cpu")
    second.step(30)
    assert torch.equal(run.x, second.x)
    hessian = torch.autograd.functional.hessian(lambda x: entropy.loss(x[None])[0], run.x[0]).numpy()
    np.testing.assert_allclose(row["eigenvalues"], np.linalg.eigvalsh(hessian)[:-4:-1], rtol=1e-6)
    assert (row["loss_name"], row["loss"]) == ("cross_entropy", pytest.approx(float(entropy.loss(run.x))))
    again = Run(mlp(WIDTHS, data="spirals"), device="cpu")
    again.load_state_dict(run.state_dict())
    for each in (run, again):
        each.set(loss_name="")
        each.step(5)
    assert run.settings.loss_name == "mse"
    assert torch.equal(run.x, again.x)
    assert run.measure()["loss"] == pytest.approx(float(mlp(WIDTHS, data="spirals").loss(run.x)))


def test_a_problem_offers_the_losses_that_fit_its_targets():
    for problem in (mlp([1, 4, 1], data="sine"), mlp([2, 4, 1], data="spirals"), valley()):
        assert problem.losses == ()
        assert "loss_name" not in Lab(problem, lr=0.01, device="cpu").controls
        with pytest.raises(ValueError, match="loss_name is 'cross_entropy'; expected one of"):
            Settings(loss_name="cross_entropy").fit(1, problem)
    assert mlp(WIDTHS, data="spirals").losses == ("mse", "cross_entropy")
    with pytest.raises(ValueError, match="rule is 'label_noise', which needs a square loss"):
        Settings("label_noise", loss_name="cross_entropy").fit(1, mlp(WIDTHS, data="spirals"))


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_a_lab_switches_the_loss_looks_back_and_is_shared(loss):
    lab = new_lab(loss).run(20)
    other = {"mse": "cross_entropy", "cross_entropy": "mse"}[loss]
    assert lab.values["loss_name"] == loss
    lab.set(loss_name=other)
    values = []
    for name in (other, loss):  # the slice belongs to the loss that is shown
        problem, landscape = lab.problem.with_loss(name), lab.session.landscape
        origin, middle = landscape.plane.origin, len(landscape.axis1) // 2
        values.append(float(problem.loss(origin[None])))
        assert landscape.loss[middle, middle] == pytest.approx(values[-1], rel=0.05, abs=1e-3)
        lab.run(40)
        if name == other:
            x = lab.session.run.x.clone()
            assert lab.session.run.settings.loss_name == other
            assert set(lab.history["loss_name"]) == {loss, other}
            figure(lab.figure)
            assert torch.equal(Lab.from_share(lab.share()).session.run.x, x)
            lab.look_back(10)
            assert lab.values["loss_name"] == loss
            assert lab.session.now()["lowest_loss"] == lab.history["loss"].min() < np.inf
    assert abs(values[0] - values[1]) > 0.01


def test_label_noise_is_refused_under_cross_entropy():
    lab = new_lab()
    lab.set(loss_name="cross_entropy")
    lab.set(rule="label_noise")
    assert "needs a square loss" in lab.view.alert
    assert (lab.values["rule"], lab.session.run.settings.rule) == ("sam", "sam")
    lab.run(10)
    assert lab.session.run.steps == 10
