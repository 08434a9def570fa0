"""Quantities on request: batch sharpness against dense Hessians, the drift against Eq. 7 in closed form."""

import numpy as np
import pytest
import torch
import valley_by_hand as by_hand

from samviz.dynamics import Run
from samviz.dynamics.quantities import QUANTITIES
from samviz.figures import figure
from samviz.geometry import batch_sharpness
from samviz.lab import Lab
from samviz.problems import load, mlp, quadratic, valley

ON_FLOOR = np.array([0.6, 0.9, 0.0, 0.0])


def test_batch_sharpness_is_the_mean_curvature_of_all_batches_along_their_gradients():
    """Against dense Hessians in numpy: the mean and the standard error agree over the three batches of two samples."""
    matrices = np.array([np.diag([3.0, 1.0]), np.diag([1.0, 2.0]), [[2.0, 0.5], [0.5, 1.0]]])
    x, exact, slopes = np.array([0.3, -0.2]), [], []
    for pair in ((0, 1), (0, 2), (1, 2)):
        h = matrices[list(pair)].mean(0)
        g = h @ x
        exact.append(g @ h @ g / (g @ g))
        slopes.append(g[0])
    top = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    found = batch_sharpness(quadratic(matrices), torch.from_numpy(x), 2, batches=3000, direction=top)
    assert float(found.value) == pytest.approx(np.mean(exact), abs=4 * float(found.standard_error))
    assert float(found.standard_error) == pytest.approx(np.std(exact) / 3000**0.5, rel=0.05)
    assert float(found.noise) == pytest.approx(np.std(slopes), abs=4 * float(found.noise_error))


def test_the_batch_sharpness_of_the_full_batch_is_the_curvature_along_the_gradient():
    problem = mlp([1, 5, 1], data="sine")
    x = problem.initial(0)[None]
    gradient, hessian = problem.gradient(x)[1][0], problem.hessian(x)[0]
    expected = float(gradient @ hessian @ gradient / (gradient @ gradient))
    found = batch_sharpness(problem, x, 20, batches=2)
    assert float(found.value) == pytest.approx(expected, rel=1e-9)
    assert float(found.standard_error) == pytest.approx(0, abs=1e-12)


def measured(run, name):
    run.measure()
    return QUANTITIES[name].measure(run)


def test_the_predicted_decrease_is_that_of_eq_7():
    """On the valley's floor ∂Φ∇λ₁ = (4x₁, 24x₂), and on the 2-cycle the run is (2/(2 − ηλ₁))² times as fast."""
    lr, rho, top = 0.02, 0.05, 2 * by_hand.curvatures(ON_FLOOR)[0]
    cycle = ON_FLOOR + np.array([0, 0, lr * top * rho / (2 - lr * top), 0])
    run = Run(valley(), lr=lr, rho=rho, x0=cycle, device="cpu")
    for _ in range(4):
        run.step(10)
        found = measured(run, "drift")
    x1, x2 = run.x[0, :2].tolist()
    predicted = lr * rho**2 / 2 * ((4 * x1) ** 2 + (24 * x2) ** 2)
    assert found["predicted_decrease"] == pytest.approx(predicted, rel=1e-3)
    assert found["decrease"] == pytest.approx(found["faster_decrease"], rel=0.1)
    assert found["decrease"] > 1.3 * predicted


def test_the_distance_from_the_limiting_flow_falls_with_the_learning_rate():
    """Theorem 4.5, phase II: it is O(η) at one time τ, also if ρ has changed on the way."""
    distances = []
    for lr in (0.004, 0.002, 0.001):
        run = Run(valley(), lr=lr, rho=0.3, x0=[0.6, 0.9, 0.01, 0.01], device="cpu")
        run.step(round(0.1 / (lr * 0.09)))
        run.set(rho=0.15)
        run.step(round(0.1 / (lr * 0.0225)))
        distances.append(measured(run, "tracking")["tracking"])
    assert np.polyfit(np.log([4, 2, 1]), np.log(distances), 1)[0] == pytest.approx(1, abs=0.2)


def test_with_one_sample_the_limiting_flow_is_that_of_the_trace():
    """Eq. 18: dX/dτ = −½∇Tr = (8 − 10x₁, 2 − 14x₂). One change of the batch size in between."""
    run = Run(valley(), lr=0.001, rho=0.3, x0=[0.6, 0.9, 0.001, 0.001], device="cpu")
    run.step(500)
    run.set(batch_size=1)
    run.step(500)
    expected = np.array([0.6, 0.9]) * np.exp(-np.array([2, 12]) * 500 * 0.001 * 0.09)
    end, rate = np.array([0.8, 1 / 7]), np.array([10, 14])
    expected = end + (expected - end) * np.exp(-rate * 500 * 0.001 * 0.09)
    distance = np.linalg.norm(run.x[0, :2].numpy() - expected)  # the run is next to Γ, and so is its limit point
    assert measured(run, "tracking")["tracking"] == pytest.approx(distance, abs=1e-3)
    assert distance < 0.03


@pytest.mark.parametrize("changes", [{"rule": "label_noise"}, {"rule": "gd"}, {"batch_size": 1}, {"micro_batch": 1}])
def test_the_decrease_has_a_prediction_only_with_full_batch_sam(changes):
    run = Run(valley(), **({"rule": "sam", "lr": 0.01, "x0": ON_FLOOR + 0.01, "device": "cpu"} | changes))
    for _ in range(4):
        run.step(10)
        found = measured(run, "drift")
    assert np.isnan([found["predicted_decrease"], found["faster_decrease"]]).all()
    assert np.isfinite(found["decrease"])


def test_norm_accuracy_and_noise():
    problem = mlp([2, 6, 1], data="spirals")
    run = Run(problem, batch_size=5, device="cpu")
    assert measured(run, "norm")["norm"] == pytest.approx(float(np.linalg.norm(run.x[0].numpy())))
    right = (problem.outputs(run.x, problem.inputs)[0, :, 0] > 0).numpy() == problem.labels.numpy()
    assert measured(run, "training_accuracy")["accuracy"] == pytest.approx(right.mean())
    assert measured(run, "noise_along_top")["gradient_noise"] > 0


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_accuracy_on_other_samples_has_a_standard_error(loss):
    inputs, labels = load("spirals")
    train, test = np.arange(100) % 4 > 0, np.arange(100) % 4 == 0
    problem = mlp([2, 6, 2], data=(inputs[train], labels[train]), loss=loss)
    run = Run(problem.with_test(inputs[test], labels[test]), device="cpu")
    assert run.problem.with_loss("mse").test is run.problem.test
    run.step(50)
    outputs = problem.outputs(run.x, torch.from_numpy(inputs))[0].numpy()
    right = outputs.argmax(1) == labels
    found = measured(run, "training_accuracy")
    assert found["accuracy"] == pytest.approx(right[train].mean())
    assert found["test_accuracy"] == pytest.approx(right[test].mean())
    assert found["test_accuracy_error"] == pytest.approx(right[test].std() / 25**0.5)
    with pytest.raises(ValueError, match="no classifier"):
        mlp([1, 4, 1], data="sine").with_test([[0.0]], [0])


@pytest.mark.parametrize("problem", [mlp([2, 5, 1], data="spirals"), valley(), quadratic([3.0, 1.0])])
def test_a_lab_measures_a_quantity_only_while_it_is_chosen(problem):
    lab = Lab(problem, lr=0.01, rho=0.02, device="cpu", steps_per_frame=5).run(10)
    offered = [name for name in lab.controls["quantity"].options if name]
    assert offered == [name for name, each in QUANTITIES.items() if each.fits(problem)]
    for name in offered:
        columns = QUANTITIES[name].curves
        before = len(lab.history)
        lab.set(quantity=name)
        lab.run(20)
        for column in columns:
            assert np.isnan(lab.history[column][: before - 1].astype(float)).all()
        assert np.isfinite(lab.history[next(iter(columns))][-1])
        assert QUANTITIES[name].label in str(lab.figure["layout"]["annotations"])
        figure(lab.figure)
    lab.set(quantity="")
    lab.run(5)
    assert not {column for name in offered for column in QUANTITIES[name].curves} & lab.history.rows[-1].keys()
