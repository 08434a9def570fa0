"""Label noise: gradient descent on noisy targets, against networks that were given those targets."""

import numpy as np
import pytest
import torch
from torch import nn
from valley_by_hand import curvatures

from samviz.dynamics import RULES, Diverged, Run, Settings
from samviz.problems import Problem, from_module, load, mlp, quadratic, valley

RUNS = 4000
POINT = np.array([0.6, 0.9, 0.1, -0.2])


def drawn(seed, runs):
    """The numbers that a step will ask for, (runs, count), and a function that hands them out."""
    rng = np.random.default_rng(seed)
    given = []

    def noise(count):
        given.append(torch.from_numpy(rng.normal(size=(runs, count))))
        return given[-1]

    return given, noise


def problems():
    inputs, labels = load("digits")
    rng = np.random.default_rng(0)
    pair = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return {
        "written out": (lambda data: mlp([3, 5, 2], "tanh", data), pair),
        "autograd": (lambda data: mlp([3, 5, 2], "gelu", data), pair),
        "module": (lambda data: from_module(net, data), pair),
        "classes": (lambda data: mlp([64, 3, 10], "relu", data), (inputs[:20], np.eye(10)[labels[:20]])),
    }


@pytest.mark.parametrize("kind", problems())
@pytest.mark.parametrize("batch", [None, [[1, 4, 2], [0, 6, 3]]])
def test_a_step_is_gradient_descent_on_a_network_with_noisy_targets(kind, batch):
    build, (inputs, targets) = problems()[kind]
    clean, rhos = build((inputs, targets)), (0.3, 0.05)
    x = torch.stack([clean.initial(0), clean.initial(1) + 0.1])
    given, noise = drawn(1, 2)
    chosen = None if batch is None else torch.tensor(batch)
    step = RULES["label_noise"](clean, x, chosen, 0.1, torch.tensor(rhos, dtype=x.dtype)[:, None], noise)
    assert len(given) == 1
    for r in range(2):
        noisy = targets.copy()
        rows = slice(None) if batch is None else batch[r]
        noisy[rows] += rhos[r] * given[0][r].numpy().reshape(-1, targets.shape[1])
        expected = RULES["gd"](
            build((inputs, noisy)), x[r : r + 1], None if batch is None else chosen[r : r + 1], 0.1, 0.0
        )
        torch.testing.assert_close(step.x[r], expected.x[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(step.direction[r], expected.direction[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(step.loss, clean.loss(x, chosen))


def test_a_step_on_a_network_written_in_numpy():
    """A hidden layer of tanh and two outputs; half the mean square over samples and outputs."""
    rng = np.random.default_rng(2)
    inputs, targets, rho = rng.normal(size=(5, 1)), rng.normal(size=(5, 2)), 0.4
    problem = mlp([1, 3, 2], "tanh", (inputs, targets))
    x = problem.initial(3)
    given, noise = drawn(4, 1)
    step = RULES["label_noise"](problem, x[None], None, 1.0, rho, noise)
    noisy = targets + rho * given[0].numpy().reshape(5, 2)

    def loss(p):
        hidden = np.tanh(inputs @ p[:3].reshape(3, 1).T + p[3:6])
        return ((hidden @ p[6:12].reshape(2, 3).T + p[12:14] - noisy) ** 2).mean() / 2

    x = x.numpy()
    slope = [(loss(x + h) - loss(x - h)) / 2e-5 for h in 1e-5 * np.eye(len(x))]
    np.testing.assert_allclose(x - step.x[0].numpy(), slope, rtol=1e-7, atol=1e-9)


# the valley, whose samples are ½f² with f₁ = √(4sF₁)·x₃ and f₂ = √(4sF₂)·x₄


def outputs(x, scale):
    first, second = curvatures(x)
    return torch.stack(((4 * scale * first).sqrt() * x[2], (4 * scale * second).sqrt() * x[3]))


@pytest.mark.parametrize("mean", [False, True])
def test_the_valley_is_a_square_loss(mean):
    x = torch.from_numpy(POINT)
    f = outputs(x, 0.5 if mean else 1.0)
    problem = valley(mean)
    torch.testing.assert_close((f**2 / 2).mean(), problem.loss(x[None])[0])
    for k in (0, 1):
        torch.testing.assert_close(f[k] ** 2 / 2, problem.loss(x[None], torch.tensor([[k]]))[0])


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("batch", [None, [0], [1], [0, 1], [1, 0], [1, 1]])
def test_a_step_on_the_valley_sees_noisy_targets(mean, batch):
    problem, scale, rho = valley(mean), 0.5 if mean else 1.0, 0.3
    given, noise = drawn(5, 1)
    chosen = None if batch is None else torch.tensor([batch])
    x = torch.from_numpy(POINT).requires_grad_()
    step = RULES["label_noise"](problem, x.detach()[None], chosen, 1.0, rho, noise)
    errors = outputs(x, scale)[[0, 1] if batch is None else batch] - rho * given[0][0]
    (gradient,) = torch.autograd.grad((errors**2 / 2).mean(), x)
    torch.testing.assert_close((x - step.x[0]).detach(), gradient, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(step.loss, problem.loss(x.detach()[None], chosen))


@pytest.mark.parametrize("problem", [valley(), mlp([1, 3, 1], "tanh", "sine")], ids=["valley", "network"])
def test_over_many_seeds_it_is_gradient_descent_with_the_noise_of_theory(problem):
    """∇L − (ρ/(nc)) Σ ξ_k ∇f_k: its mean is ∇L and its covariance ρ²/(nc)² Σ ∇f_k∇f_kᵀ."""
    rho, lr = 0.5, 0.1
    x = torch.from_numpy(POINT) if problem.dim == 4 else problem.initial(0)
    run = Run(problem, "label_noise", lr, rho, x0=x.expand(RUNS, -1), seed=3, device="cpu")
    run.step()
    moved = run.x.numpy()
    plain = RULES["gd"](problem, x[None], None, lr, 0.0).x[0].numpy()
    error = moved.std(0, ddof=1) / np.sqrt(RUNS)
    assert np.all(np.abs(moved.mean(0) - plain) < 4 * error + 1e-14)

    def all_outputs(p):
        return outputs(p, 1.0) if problem.dim == 4 else problem.outputs(p[None], problem.inputs).flatten()

    jacobian = torch.autograd.functional.jacobian(all_outputs, x).numpy()  # (n, dim)
    expected = (lr * rho / len(jacobian)) ** 2 * jacobian.T @ jacobian
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    np.testing.assert_array_less(np.abs(np.cov(moved.T) - expected), 6 / np.sqrt(RUNS) * scale + 1e-14)


# losses that are no square


NO_SQUARE = [
    quadratic([3.0, 1.0]),
    mlp([2, 4, 2], data="spirals", loss="cross_entropy"),
    mlp([1, 4, 1], data="sine", loss=lambda outputs, targets: (outputs - targets).abs().mean(1)),
]


@pytest.mark.parametrize("problem", NO_SQUARE, ids=["quadratic", "cross-entropy", "one's own"])
def test_other_losses_are_refused_and_nothing_is_lost(problem):
    told = r"rule is 'label_noise', which needs a square loss; .* has none: use mlp\(\.\.\., loss='mse'\) or valley\(\)"
    with pytest.raises(ValueError, match=told):
        Run(problem, "label_noise", device="cpu")
    run = Run(problem, "sam", 0.01, 0.01, device="cpu")
    run.step(3)
    run.measure()
    before, x = run.settings, run.x
    with pytest.raises(ValueError, match=told):
        run.set(rule="label_noise")
    with pytest.raises(ValueError, match=told):
        run.settings = Settings("label_noise")
    state = run.state_dict()
    state["settings"]["rule"] = "label_noise"
    with pytest.raises(ValueError, match=told):
        run.load_state_dict(state)
    assert run.settings == before
    assert torch.equal(run.x, x)
    assert (run.steps, len(run.history), len(run.changes)) == (3, 1, 1)
    run.step()


def test_a_problem_without_square_loss_says_so():
    with pytest.raises(NotImplementedError, match="quadratic has no square loss"):
        quadratic([1.0]).noisy_gradient(torch.ones(1, 1), None, torch.ones(1, 1, 1))
    assert Problem.square_targets == 0


def test_square_losses_know_how_many_numbers_they_fit():
    assert valley().square_targets == 1
    assert mlp([64, 3, 10], data="digits").square_targets == 10
    assert from_module(nn.Linear(1, 1), "sine").square_targets == 1
    assert mlp([64, 3, 10], data="digits", loss="cross_entropy").square_targets == 0


def test_the_bound_on_the_loss_is_for_the_clean_targets():
    run = Run(valley(), "label_noise", lr=0.001, rho=1e5, x0=[0.6, 0.9, 0.0, 0.0], device="cpu")
    step = RULES["label_noise"](run.problem, run.x, None, 0.001, 1e5, drawn(0, 1)[1])
    assert step.loss.tolist() == [0.0]
    with pytest.raises(Diverged):
        run.step(100)
