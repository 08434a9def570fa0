"""Update rules against formulas and sharpness-aware losses written in numpy, on quadratics, the valley and networks."""

import numpy as np
import pytest
import torch
import valley_by_hand as by_hand
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import nn

from samviz.dynamics import RULES, Diverged, Run, Settings
from samviz.problems import from_module, load, mlp, quadratic, valley

STABLE = settings(max_examples=20, deadline=None, derandomize=True)
SEEDS = 4000  # of one step from one point
POINT = np.array([0.6, 0.9, 0.1, -0.2])
STARTS = np.array([[0.6, 0.9, 0.1, 0.1], [0.3, 0.2, -0.1, 0.2], [1.0, 1.0, 0.2, 0.01]])


def slope(function, x, h=1e-5):
    """Return the gradient of a function of one point, by central differences."""
    return np.array([(function(x + step) - function(x - step)) / (2 * h) for step in h * np.eye(len(x))])


def sam_by_hand(loss, gradient, x, rho):
    g = gradient(x)
    return gradient(x + rho * g / np.linalg.norm(g))


def asam_by_hand(loss, gradient, x, rho):
    g, t = gradient(x), np.diag(np.abs(x))
    return gradient(x + rho * t @ t @ g / np.linalg.norm(t @ g))


def ascent_by_hand(loss, gradient, x, rho):
    """Return the gradient of L_Asc, which no formula of the rule enters."""
    return slope(lambda y: loss(y + rho * gradient(y) / np.linalg.norm(gradient(y))), x)


BY_HAND = {
    "gd": lambda loss, gradient, x, rho: gradient(x),
    "sam": sam_by_hand,
    "usam": lambda loss, gradient, x, rho: gradient(x + rho * gradient(x)),
    "asam": asam_by_hand,
    "ascent": ascent_by_hand,
    "normalized_gd": lambda loss, gradient, x, rho: gradient(x) / np.linalg.norm(gradient(x)),
}
RANDOM = ["average", "random", "label_noise"]
PERTURBING = [rule for rule in RULES if rule not in ("gd", "normalized_gd")]


def noise_of(seed, problem, rule, runs=1, batch_size=None):
    """Draw the noise of a step."""
    return torch.from_numpy(
        np.random.default_rng(seed).normal(size=(runs, RULES[rule].noise_count(problem, batch_size)))
    )


def direction(problem, rule, x, rho, batch=None, noise=None):
    """Return the direction d of x ← x − ηd at one point."""
    x = torch.from_numpy(np.array([x]))
    step = RULES[rule](problem, x, None if batch is None else torch.tensor([batch]), 1.0, rho, noise)
    return (x - step.x)[0].numpy()


def definite(seed, dim):
    a = np.random.default_rng(seed).normal(size=(dim, dim))
    return a @ a.T + 0.1 * np.eye(dim)


def test_every_rule_has_a_formula_here():
    assert set(RULES) == {*BY_HAND, *RANDOM, "worst", "eigen_sam"}


@pytest.mark.parametrize("rule", BY_HAND)
@STABLE
@given(x=st.tuples(*[st.floats(-1, 1)] * 4), rho=st.floats(0.01, 0.3))
def test_all_gradients_of_a_step_are_those_of_the_batch(rule, x, rho):
    x = np.array(x)
    assume(np.abs(x[2:]).min() > 0.05)
    points = torch.from_numpy(np.stack([x] * 3))
    step = RULES[rule](valley(), points, torch.tensor([[0, 0], [1, 1], [0, 1]]), 0.02, rho)
    assert (points.numpy() == x).all()  # the input does not change
    tolerance = 1e-6 if rule == "ascent" else 1e-11
    for r, weights in enumerate(np.array([[2, 0], [0, 2], [1, 1]])):
        functions = [lambda y, f=f, w=weights: w @ np.array(f(y)) for f in (by_hand.terms, by_hand.slopes)]
        expected = x - 0.02 * BY_HAND[rule](*functions, x, rho)
        np.testing.assert_allclose(step.x[r], expected, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(step.gradient[r], functions[1](x), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("batch", [None, [0], [1]])
@pytest.mark.parametrize("seed", range(3))
def test_eigen_sam_turns_the_perturbation_toward_the_top_eigenvector_of_the_batch(batch, seed):
    """Against dense eigenvectors in numpy; λ₂ < λ₁/15, so five power iterations find v₁ up to 15⁻⁵."""
    rng, rho = np.random.default_rng(seed), 0.3
    tops = 4 * rng.normal(size=4) + 0.2 * rng.normal(size=(2, 4))
    matrices = tops[:, :, None] * tops[:, None] + definite(seed, 4) / 100
    g, h = rng.normal(size=4), matrices[[0, 1] if batch is None else batch].mean(0)
    values, vectors = np.linalg.eigh(h)
    assert values[-2] < values[-1] / 15
    x, v, u = np.linalg.solve(h, g), vectors[:, -1], g / np.linalg.norm(g)
    turned = u + 0.2 * np.sign(u @ v) * (v - (u @ v) * u)
    expected = h @ (x + rho * turned / np.linalg.norm(turned))
    np.testing.assert_allclose(direction(quadratic(matrices), "eigen_sam", x, rho, batch), expected, rtol=1e-4)


@pytest.mark.parametrize("rule", PERTURBING)
@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])  # gradients in closed form, and by autograd
def test_rho_zero_is_gradient_descent_bit_for_bit(rule, batch_size, activation):
    problem = mlp([1, 6, 6, 1], activation, "sine")
    x0 = torch.stack([problem.initial(0), problem.initial(1)])
    options = {"lr": 0.1, "batch_size": batch_size, "device": "cpu"}
    run, plain = Run(problem, rule, rho=0.0, **options), Run(problem, "gd", rho=0.3, **options)
    two, both_plain = Run(problem, rule, rho=(0.0, 0.1), x0=x0, **options), Run(problem, "gd", x0=x0, **options)
    for each in (run, plain, two, both_plain):
        each.step(30)
    assert torch.equal(run.x, plain.x)
    assert torch.equal(two.x[0], both_plain.x[0])
    assert not torch.equal(two.x[1], both_plain.x[1])


AT_ZERO = np.array([2.0, 1.0]) / np.sqrt(2)  # Au with the arbitrary u = (1, 1)/√2


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ("random", "label_noise")])
def test_a_zero_gradient_gives_no_nan(rule):
    """SAM's direction is then arbitrary, but of unit length: on diag(2, 1) a step is −ηρAu."""
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    problem = quadratic([2.0, 1.0])
    step = RULES[rule](problem, points, None, 0.1, 0.5, noise_of(0, problem, rule, 2))
    assert bool(step.x.isfinite().all())
    expected = {"sam": AT_ZERO, "ascent": AT_ZERO, "worst": np.array([2.0, 0.0])}  # the maximizer is v₁
    expected["eigen_sam"] = np.array([2.0, 1.0]) * (np.array([0.8071, 0.6071]) / 1.01)  # u is turned toward v₁
    tolerance = 1e-2 if rule in ("worst", "eigen_sam") else 1e-15
    np.testing.assert_allclose(step.x[0], -0.1 * 0.5 * expected.get(rule, np.zeros(2)), atol=tolerance)


def test_zero_coordinates_are_not_perturbed_by_asam_and_sam_leaves_the_floor_where_the_gradient_is_zero():
    """Zero coordinates are not perturbed; at a zero gradient elsewhere the direction is arbitrary, scaled by |x|."""
    points = torch.tensor([[0.0, 0.3], [0.0, 0.0]], dtype=torch.float64)
    step = RULES["asam"](quadratic([2.0, 1.0]), points, None, 0.1, 0.5)
    np.testing.assert_allclose(step.x, [[0, 0.3 - 0.1 * (0.3 + 0.5 * 0.3)], [0, 0]], rtol=1e-14)
    flat = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    assert torch.equal(RULES["asam"](quadratic([0.0, 0.0]), flat, None, 0.1, 0.5).x, flat)
    run = Run(valley(), "sam", lr=0.02, rho=0.2, x0=[0.5, 0.5, 0.0, 0.0], device="cpu")
    run.step(200)
    assert bool(run.x.isfinite().all())
    assert run.x[0, 2].abs() > 0.01


def test_the_direction_does_not_depend_on_the_gradients_size():
    for size in (1e-140, 1e-12, 1e140):
        perturbed = direction(quadratic([2.0, 1.0]), "sam", [size, 0.0], 0.5)
        assert perturbed[0] == pytest.approx(2 * (size + 0.5), rel=1e-12)


def test_single_precision_stays_single():
    for rule in RULES:
        for rho in (0.1, (0.1, 0.0)):
            runs = []
            for dtype in (torch.float32, torch.float64):
                runs.append(Run(valley(), rule, lr=0.02, rho=rho, x0=STARTS[:2], dtype=dtype, device="cpu"))
                runs[-1].step(5)
                assert runs[-1].x.dtype == dtype
            tolerance = 1e-3 if rule == "worst" else 1e-5
            torch.testing.assert_close(runs[0].x.double(), runs[1].x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("x", [[0.6, 0.9, 0.1, 0.1], [0.2, 0.3, -0.2, 0.1], [0.9, 0.1, 0.05, -0.3]])
@pytest.mark.parametrize("rho", [0.05, 0.2])
def test_worst_descends_the_exact_loss_of_the_valley(x, rho):
    """The maximum is the highest one that BFGS finds from 40 random directions."""
    starts = np.random.default_rng(0).normal(size=(40, 4))

    def negative(v, y):
        return -by_hand.loss(y + rho * v / np.linalg.norm(v))

    def maximum(y, starts):
        return max((-found.fun, *found.x) for v in starts for found in [minimize(negative, v, (y,), tol=1e-12)])

    best = np.array(maximum(np.array(x), starts)[1:])
    expected = slope(lambda y: maximum(y, [best])[0], np.array(x), 1e-4)
    error = direction(valley(), "worst", x, rho) - expected
    assert np.linalg.norm(error) < 2e-3 * np.linalg.norm(expected)


def test_worst_on_a_sample_uses_the_maximum_of_that_sample():
    x, rho = np.array([0.6, 0.9, 0.1, 0.1]), 0.1
    found = direction(valley(), "worst", x, rho, [0])
    assert found[3] == 0
    angles = np.random.default_rng(0).normal(size=(200_000, 4))
    points = x + rho * angles / np.linalg.norm(angles, axis=1, keepdims=True)
    expected = 2 * by_hand.slopes(points[np.argmax(by_hand.terms(points.T)[0])])[0]
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


def many(problem, rule, x, rho, **options):
    """Return the directions (SEEDS, dim) of one step from one point."""
    run = Run(problem, rule, 1.0, rho, x0=np.tile(x, (SEEDS, 1)), device="cpu", **options)
    before = run.x
    run.step()
    return (before - run.x).numpy()


def within_standard_errors(samples, expected, standard_error=0.0):
    """Assert that the mean lies within four standard errors, given the standard error of the expected value."""
    error = np.hypot(samples.std(0, ddof=1) / np.sqrt(len(samples)), standard_error)
    np.testing.assert_array_less(np.abs(samples.mean(0) - expected), 4 * error + 1e-12)


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 6), rho=st.floats(0, 2))
def test_average_of_a_quadratic_is_gradient_descent(seed, dim, rho):
    """L_Avg is L plus a constant there, and the pairs of opposite directions cancel exactly."""
    a, x = definite(seed, dim), np.random.default_rng(seed + 1).normal(size=dim)
    found = direction(quadratic(a), "average", x, rho, noise=noise_of(seed + 2, quadratic(a), "average"))
    np.testing.assert_allclose(found, a @ x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["average", "random"])
@pytest.mark.parametrize("k", [None, 1])
def test_the_estimates_of_the_gradient_of_l_avg_are_unbiased(rule, k):
    """Against the mean over two million directions."""
    rho, u = 0.5, np.random.default_rng(0).normal(size=(2_000_000, 4))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    if k is None:
        gradients, samples = by_hand.slope((POINT + rho * u).T).T, many(valley(), rule, POINT, rho)
    else:  # the second sample alone, 2F₂x₄²
        gradients = 2 * by_hand.slopes((POINT + rho * u).T)[1].T
        samples = many(valley(), rule, POINT, rho, batch_size=1)
        second = samples[:, 2] == 0  # ∂/∂x₃ is zero for that sample only
        assert 0.45 < second.mean() < 0.55
        samples = samples[second]
    within_standard_errors(samples, gradients.mean(0), gradients.std(0) / np.sqrt(len(u)))
    assert np.abs(gradients.mean(0) - by_hand.slope(POINT)).max() > 0.5  # far from gradient descent


def test_pairs_of_directions_reduce_the_variance_of_the_average():
    single, paired = (many(valley(), rule, POINT, 0.1).var(0).sum() for rule in ("random", "average"))
    assert paired < single / 100  # 16 independent directions would give a sixteenth


def outputs(x, scale=1.0):
    """Return f₁ and f₂ of the valley, whose samples are the square losses ½f²."""
    first, second = by_hand.curvatures(x)
    return torch.stack(((4 * scale * first).sqrt() * x[2], (4 * scale * second).sqrt() * x[3]))


def networks():
    images, labels = load("digits")
    rng = np.random.default_rng(0)
    pair = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return {
        "closed form": (lambda data: mlp([3, 5, 2], "tanh", data), pair),
        "autograd": (lambda data: mlp([3, 5, 2], "gelu", data), pair),
        "module": (lambda data: from_module(net, data), pair),
        "classes": (lambda data: mlp([64, 3, 10], "relu", data), (images[:20], np.eye(10)[labels[:20]])),
    }


@pytest.mark.parametrize("kind", networks())
@pytest.mark.parametrize("batch", [None, [[1, 4, 2], [0, 6, 3]]])
def test_label_noise_is_gradient_descent_on_a_network_with_noisy_targets(kind, batch):
    build, (inputs, targets) = networks()[kind]
    clean, rhos = build((inputs, targets)), (0.3, 0.05)
    noise = noise_of(1, clean, "label_noise", 2, batch and 3)
    x = torch.stack([clean.initial(0), clean.initial(1) + 0.1])
    chosen = None if batch is None else torch.tensor(batch)
    rho = torch.tensor(rhos, dtype=x.dtype)[:, None]
    step = RULES["label_noise"](clean, x, chosen, 0.1, rho, noise)
    for r in range(2):
        noisy = targets.copy()
        noisy[slice(None) if batch is None else batch[r]] += rhos[r] * noise[r].numpy().reshape(-1, targets.shape[1])
        rows = None if batch is None else chosen[r : r + 1]
        expected = RULES["gd"](build((inputs, noisy)), x[r : r + 1], rows, 0.1, 0.0)
        torch.testing.assert_close(step.x[r], expected.x[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(step.loss, clean.loss(x, chosen))


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("batch", [None, [0], [1], [0, 1], [1, 0], [1, 1]])
def test_label_noise_on_the_valley_changes_the_targets_of_its_outputs(mean, batch):
    problem, scale, rho = valley(mean), 0.5 if mean else 1.0, 0.3
    noise = noise_of(5, problem, "label_noise", batch_size=batch and len(batch))
    chosen = None if batch is None else torch.tensor([batch])
    x = torch.from_numpy(POINT).requires_grad_()
    step = RULES["label_noise"](problem, x.detach()[None], chosen, 1.0, rho, noise)
    f = outputs(x, scale)[[0, 1] if batch is None else batch]
    (gradient,) = torch.autograd.grad(((f - rho * noise[0]) ** 2 / 2).mean(), x)
    torch.testing.assert_close((x - step.x[0]).detach(), gradient, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(step.loss[0], (f**2 / 2).mean().detach())
    torch.testing.assert_close(step.loss, problem.loss(x.detach()[None], chosen))


def test_label_noise_on_other_losses_is_refused_and_changes_nothing():
    expected = r"rule is 'label_noise', which needs a square loss; .* has none: use mlp\(\.\.\., loss='mse'\) or valley"
    problem = mlp([2, 4, 2], data="spirals", loss="cross_entropy")
    assert (problem.square_targets, quadratic([3.0, 1.0]).square_targets) == (0, 0)
    with pytest.raises(NotImplementedError, match="has no square loss"):
        problem.noisy_gradient(problem.initial()[None], None, torch.zeros(1, problem.samples, 2).double())
    run = Run(problem, "sam", 0.01, 0.01, device="cpu")
    run.step(3)
    run.measure()
    before, x, state = run.settings, run.x, run.state_dict()
    state["changes"][-1][1]["rule"] = "label_noise"
    for refused in (
        lambda: Run(problem, "label_noise", device="cpu"),
        lambda: run.set(rule="label_noise"),
        lambda: setattr(run, "settings", Settings("label_noise")),
        lambda: run.load_state_dict(state),
    ):
        with pytest.raises(ValueError, match=expected):
            refused()
    assert run.settings == before
    assert torch.equal(run.x, x)
    assert (run.steps, len(run.history), len(run.changes)) == (3, 1, 1)


def test_the_bound_on_the_loss_applies_to_the_clean_targets():
    run = Run(valley(), "label_noise", lr=0.001, rho=1e5, x0=[0.6, 0.9, 0.0, 0.0], device="cpu")
    noise = noise_of(0, run.problem, "label_noise")
    assert RULES["label_noise"](run.problem, run.x, None, 0.001, 1e5, noise).loss.tolist() == [0.0]
    with pytest.raises(Diverged):
        run.step(100)
