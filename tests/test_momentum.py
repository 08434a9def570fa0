"""Momentum, weight decay, micro-batches, decay of η: against torch's SGD, closed forms, and SAM of samples in numpy."""

import numpy as np
import pytest
import torch
import valley_by_hand as by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engines import ENGINES, TORCH
from torch import nn

import samviz.dynamics.run as run_module
from samviz.dynamics import Run, Settings
from samviz.dynamics.engines import torch_steps
from samviz.lab import Lab
from samviz.problems import from_module, mlp, quadratic, valley

FEW = settings(max_examples=20, deadline=None, derandomize=True)


@FEW
@given(momentum=st.floats(0, 0.95), weight_decay=st.floats(0, 0.1))
def test_gradient_descent_takes_the_steps_of_torch(momentum, weight_decay):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    problem = from_module(module, data="sine")
    run = Run(problem, "gd", lr=0.05, momentum=momentum, weight_decay=weight_decay, device="cpu")
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=momentum, weight_decay=weight_decay)
    for _ in range(30):
        run.step()
        optimizer.zero_grad()
        ((module(problem.inputs) - problem.targets) ** 2).mean().div(2).backward()
        optimizer.step()
    expected = torch.cat([p.detach().flatten() for p in module.parameters()])
    torch.testing.assert_close(run.x[0], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_2_cycle_of_sam_with_momentum(momentum):
    """−A = A − ηλ(A + ρ) + 2βA gives A = ηλρ/(2 + 2β − ηλ) (Theorem 4.8: β = 0); it is stable."""
    lr, rho, top = 0.1, 0.05, 3.0
    amplitude = lr * top * rho / (2 + 2 * momentum - lr * top)
    run = Run(quadratic([top, 1.0]), lr=lr, rho=rho, x0=[1.01 * amplitude, 1e-4], momentum=momentum, device="cpu")
    run.before = -run.x
    run.step(3000)
    np.testing.assert_allclose(run.x[0].abs(), [amplitude, 0], rtol=1e-9, atol=1e-12)


def test_a_micro_batch_has_its_own_perturbation():
    """With m = 1 the direction is the mean of SAM's directions on the samples, and 1-SAM takes one of them."""
    x, rho = np.array([0.6, 0.9, 0.1, -0.2]), 0.2
    expected = []
    for weights in np.array([[2, 0], [0, 2]]):
        gradient = weights @ np.array(by_hand.slopes(x))
        expected.append(weights @ np.array(by_hand.slopes(x + rho * gradient / np.linalg.norm(gradient))))
    for engine in ("torch", "chosen"):
        run = Run(valley(), lr=0.01, rho=rho, x0=x, micro_batch=1, device="cpu")
        if engine == "torch":
            run.x = torch_steps(run._block(1)).x
        else:
            run.step()
        np.testing.assert_allclose((x - run.x[0].numpy()) / 0.01, np.mean(expected, 0), rtol=1e-9)


@pytest.mark.parametrize("engine", [*ENGINES.values(), lambda *_: TORCH], ids=[*ENGINES, "torch"])
def test_gradient_descent_with_a_decaying_rate_has_a_closed_form(monkeypatch, engine):
    """On a quadratic x is multiplied by Π(1 − η_tλ), η_t = η/(1 + δt), however the steps are grouped."""
    monkeypatch.setattr(run_module, "engine", engine)
    lrs, decay, top = (0.6, 0.3), 0.01, np.array([3.0, 1.0])
    run = Run(quadratic(top), "gd", lrs, x0=np.ones((2, 2)), lr_decay=decay, device="cpu")
    whole = Run(quadratic(top), "gd", lrs, x0=np.ones((2, 2)), lr_decay=decay, device="cpu")
    for n in (1, 7, 64):
        run.step(n)
    whole.step(72)
    assert torch.equal(run.x, whole.x)
    for r, lr in enumerate(lrs):
        factors = np.array([1 - lr / (1 + decay * t) * top for t in range(72)])
        np.testing.assert_allclose(run.x[r], factors.prod(0), rtol=1e-11)
    np.testing.assert_allclose(run.measure()["lr"], np.array(lrs) / 1.72, rtol=1e-15)


def test_a_change_of_the_decay_counts_from_the_first_step_and_the_control_keeps_the_initial_rate():
    lab = Lab(quadratic([3.0, 1.0]), rule="gd", lr=0.1, x0=[1.0, 1.0], device="cpu", steps_per_frame=5).run(10)
    lab.set(lr_decay=0.1)
    lab.run(10)
    factors = [1 - 0.1 / (1 + 0.1 * t * (t >= 10)) * np.array([3, 1]) for t in range(20)]
    np.testing.assert_allclose(lab.session.run.x[0], np.prod(factors, 0), rtol=1e-12)
    np.testing.assert_allclose(lab.history["lr"], [0.1, 0.1, 0.1, 0.1 / 2.5, 0.1 / 3], rtol=1e-12)
    lab.look_back(12)
    assert (lab.values["lr"], lab.values["lr_decay"]) == (0.1, 0.1)
    np.testing.assert_allclose(lab.session.run.parts().after, np.prod(factors[:13], 0), rtol=1e-12)
    edges = [trace for trace in lab.figure["data"] if trace.get("name") == "2/η"]
    assert max(max(edge["y"]) for edge in edges) == pytest.approx(2 / 0.1 * 3)


def test_a_size_that_changes_nothing_is_none_and_a_noisy_rule_has_no_micro_batches():
    problem = mlp([1, 4, 1], data="sine")
    for size, batch_size, kept in ((20, None, None), (5, None, 5), (5, 4, None), (5, 6, 5)):
        assert Settings(micro_batch=size, batch_size=batch_size).fit(1, problem).micro_batch == kept
    assert Settings("average", micro_batch=5).fit(1, problem).micro_batch is None
    with pytest.raises(ValueError, match="micro_batch is 21; expected 1 to 20"):
        Settings(micro_batch=21).fit(1, problem)
    with pytest.raises(ValueError, match="micro_batch is 2 but this loss is not a mean"):
        Settings(micro_batch=2).fit(1, quadratic([1.0]))


def test_a_diverging_run_names_the_limit_with_momentum():
    run = Run(quadratic([3.0]), "gd", lr=1.3, momentum=0.9, x0=[1.0], device="cpu")
    with pytest.raises(RuntimeError, match=r"ηλ₁ = 1.3·3 = 3.9 > 3.8.*η below 1.27 is stable"):
        run.step(10_000)
    stable = Run(quadratic([3.0]), "gd", lr=1.25, momentum=0.9, x0=[1.0], device="cpu")
    stable.step(10_000)
    assert float(stable.x.abs()) < 1e-3
