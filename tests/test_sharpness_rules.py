"""Rules that descend a sharpness-aware loss, whose value is written in numpy here and differentiated by differences."""

import numpy as np
import pytest
import torch
import valley_by_hand as by_hand
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from samviz.dynamics import RULES, Run
from samviz.problems import mlp, quadratic, valley

STABLE = settings(max_examples=20, deadline=None, derandomize=True)
RUNS = 4000  # estimates of one gradient


def slope(function, x, h=1e-5):
    """The gradient of a function of one point, by central differences."""
    return np.array([(function(x + step) - function(x - step)) / (2 * h) for step in h * np.eye(len(x))])


def followed(problem, rule, x, rho, batch=None, noise=None):
    """The gradient that a rule descends along, at one point."""
    tensor = torch.from_numpy(np.array([x]))
    step = RULES[rule](problem, tensor, None if batch is None else torch.tensor([batch]), 1.0, rho, noise)
    return (tensor - step.x)[0].numpy()


def definite(seed, dim):
    a = np.random.default_rng(seed).normal(size=(dim, dim))
    return a @ a.T + 0.1 * np.eye(dim)


# ascent


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 5), rho=st.floats(0.001, 1))
def test_ascent_descends_the_exact_loss_of_a_quadratic(seed, dim, rho):
    a, x = definite(seed, dim), np.random.default_rng(seed + 1).normal(size=dim)
    assume(np.linalg.norm(a @ x) > 0.1)

    def ascended(y):
        z = y + rho * a @ y / np.linalg.norm(a @ y)
        return 0.5 * z @ a @ z

    np.testing.assert_allclose(followed(quadratic(a), "ascent", x, rho), slope(ascended, x), rtol=1e-5, atol=1e-5)


@STABLE
@given(x=st.tuples(*[st.floats(-1, 1)] * 4), rho=st.floats(0.01, 0.3), k=st.sampled_from([None, 0, 1]))
def test_ascent_descends_the_exact_loss_of_the_valley_and_of_its_samples(x, rho, k):
    kept = np.ones(2) if k is None else 2 * np.eye(2)[k]
    x = np.array(x)
    assume(np.abs(x[2:]).min() > 0.05)

    def ascended(y):
        g = kept @ by_hand.slopes(y)
        return kept @ by_hand.terms(y + rho * g / np.linalg.norm(g))

    batch = None if k is None else [k]
    np.testing.assert_allclose(followed(valley(), "ascent", x, rho, batch), slope(ascended, x), rtol=1e-5, atol=1e-5)


def test_ascent_descends_the_exact_loss_of_a_network_on_a_batch():
    """Written out in numpy: a tanh network with one hidden layer and a square loss."""
    rng = np.random.default_rng(0)
    inputs, targets, batch, rho = rng.normal(size=(9, 2)), rng.normal(size=(9, 1)), [1, 4, 7], 0.1
    problem = mlp([2, 3, 1], "tanh", (inputs, targets))
    x = problem.initial(0).numpy()

    def loss_and_gradient(p):
        w, b, v, c = p[:6].reshape(3, 2), p[6:9], p[9:12], p[12]
        hidden = np.tanh(inputs[batch] @ w.T + b)
        error = (hidden @ v + c - targets[batch, 0]) / len(batch)
        back = error[:, None] * v * (1 - hidden**2)
        parts = ((back.T @ inputs[batch]).ravel(), back.sum(0), hidden.T @ error, [error.sum()])
        return len(batch) * (error @ error) / 2, np.concatenate(parts)

    def ascended(p):
        g = loss_and_gradient(p)[1]
        return loss_and_gradient(p + rho * g / np.linalg.norm(g))[0]

    np.testing.assert_allclose(followed(problem, "ascent", x, rho, batch), slope(ascended, x), rtol=1e-6, atol=1e-8)


# worst


def highest(loss, x, rho, samples=720):
    """The maximum of a loss of points (..., 2) on the circle around x: a scan, then a search in its best interval."""

    def at(angle):
        return loss(x + rho * np.stack((np.cos(angle), np.sin(angle)), -1))

    scan = np.linspace(0, 2 * np.pi, samples, endpoint=False)
    best, width = scan[np.argmax(at(scan))], 2 * np.pi / samples
    found = minimize_scalar(lambda t: -at(t), bounds=(best - width, best + width), options={"xatol": 1e-10})
    return -found.fun


@STABLE
@given(seed=st.integers(0, 10**6), rho=st.floats(0.01, 1))
def test_worst_descends_the_exact_loss_of_a_quadratic(seed, rho):
    a, x = definite(seed, 2), np.random.default_rng(seed + 1).normal(size=2)
    assume(abs(np.linalg.eigh(a)[1][:, 1] @ x) > 0.1)  # L_Max has a kink where both ends are equally high

    def maximum(y):
        return highest(lambda z: ((z @ a) * z).sum(-1) / 2, y, rho)

    expected = slope(maximum, x, 1e-4)
    error = followed(quadratic(a), "worst", x, rho) - expected
    assert np.linalg.norm(error) < 2e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("x", [[0.6, 0.9, 0.1, 0.1], [0.2, 0.3, -0.2, 0.1], [0.9, 0.1, 0.05, -0.3]])
@pytest.mark.parametrize("rho", [0.05, 0.2])
def test_worst_descends_the_exact_loss_of_the_valley(x, rho):
    """The maximum is the highest of climbs by another method from 40 random directions."""
    rng = np.random.default_rng(0)
    starts = rng.normal(size=(40, 4))

    def lowered(v, y):
        return -by_hand.loss(y + rho * v / np.linalg.norm(v))

    def maximum(y):
        nearby = starts if first is None else [first]
        return max((-found.fun, *found.x) for v in nearby for found in [minimize(lowered, v, (y,), tol=1e-12)])

    first = None
    first = np.array(maximum(np.array(x))[1:])
    expected = slope(lambda y: maximum(y)[0], np.array(x), 1e-4)
    error = followed(valley(), "worst", np.array(x), rho) - expected
    assert np.linalg.norm(error) < 2e-3 * np.linalg.norm(expected)


def test_worst_on_a_sample_is_its_own_maximum():
    """2F₁x₃² is highest where its gradient, of the perturbed point, points along the perturbation."""
    x, rho = np.array([0.6, 0.9, 0.1, 0.1]), 0.1
    way = followed(valley(), "worst", x, rho, [0])
    assert way[3] == 0
    angles = np.random.default_rng(0).normal(size=(200_000, 4))
    points = x + rho * angles / np.linalg.norm(angles, axis=1, keepdims=True)
    scanned = 2 * by_hand.slopes(points[np.argmax(by_hand.terms(points.T)[0])])[0]
    assert np.linalg.norm(way - scanned) < 0.1 * np.linalg.norm(scanned)


# average and random


def many(problem, rule, x, rho, **options):
    """The gradients (RUNS, dim) that one step from one point follows, each with a seed of its own."""
    run = Run(problem, rule, 1.0, rho, x0=np.tile(x, (RUNS, 1)), device="cpu", **options)
    before = run.x
    run.step()
    return (before - run.x).numpy()


def within_standard_errors(samples, expected, more=0.0):
    """Whether the mean lies within four standard errors; `more` is the standard error of what is expected."""
    error = np.hypot(samples.std(0, ddof=1) / np.sqrt(len(samples)), more)
    np.testing.assert_array_less(np.abs(samples.mean(0) - expected), 4 * error + 1e-12)


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 6), rho=st.floats(0, 2))
def test_average_of_a_quadratic_is_gradient_descent(seed, dim, rho):
    """L_Avg is L plus a constant there, and the pairs of opposite directions cancel exactly."""
    a, x = definite(seed, dim), np.random.default_rng(seed + 1).normal(size=dim)
    rng = np.random.default_rng(seed + 2)
    way = followed(quadratic(a), "average", x, rho, noise=lambda count: torch.from_numpy(rng.normal(size=(1, count))))
    np.testing.assert_allclose(way, a @ x, rtol=1e-12, atol=1e-12)


def test_random_on_a_quadratic_has_the_mean_and_the_spread_of_a_uniform_direction():
    a, x, rho = definite(3, 3), np.array([1.0, -0.5, 2.0]), 0.7
    samples = many(quadratic(a), "random", x, rho)
    within_standard_errors(samples, a @ x)
    np.testing.assert_allclose(np.cov(samples.T), rho**2 * a @ a / 3, atol=0.1 * rho**2 * np.abs(a @ a).max() / 3)
    away = np.linalg.norm(np.linalg.solve(a, (samples - a @ x).T), axis=0)
    np.testing.assert_allclose(away, rho, rtol=1e-9)  # one direction each, of length ρ


@pytest.mark.parametrize("rule", ["average", "random"])
@pytest.mark.parametrize("k", [None, 1])
def test_the_gradient_of_the_average_loss_is_met_without_bias(rule, k):
    """Against two million directions drawn here."""
    x, rho = np.array([0.6, 0.9, 0.1, -0.2]), 0.5
    rng = np.random.default_rng(0)
    u = rng.normal(size=(2_000_000, 4))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    if k is None:
        gradients, samples = by_hand.slope((x + rho * u).T).T, many(valley(), rule, x, rho)
    else:  # the second sample alone, 2F₂x₄²
        gradients = 2 * by_hand.slopes((x + rho * u).T)[1].T
        samples = many(valley(), rule, x, rho, batch_size=1)
        kept = samples[:, 2] == 0  # ∂/∂x₃ is zero for that sample only
        assert 0.45 < kept.mean() < 0.55
        samples = samples[kept]
    within_standard_errors(samples, gradients.mean(0), gradients.std(0) / np.sqrt(len(u)))
    assert np.abs(gradients.mean(0) - by_hand.slope(x)).max() > 0.5  # far from gradient descent


def test_pairs_of_directions_make_the_average_steadier():
    x, rho = np.array([0.6, 0.9, 0.1, -0.2]), 0.1
    single, paired = (many(valley(), rule, x, rho).var(0).sum() for rule in ("random", "average"))
    assert paired < single / 100  # 16 times fewer would be sixteen independent directions


# where they lead on the valley: the explicit bias of each loss (Table 1)


@pytest.mark.parametrize(
    ("rule", "steps", "end", "near"),
    [
        ("worst", 1500, (0, 0), 0.05),  # the smallest λ₁
        ("average", 2500, (0.8, 1 / 7), 0.05),  # the smallest trace
        ("random", 2500, (0.8, 1 / 7), 0.15),
        ("gd", 2000, (0.605, 0.898), 0.01),  # none
        ("asam", 2000, (0.605, 0.898), 0.01),  # where x₃ and x₄ vanish, so does the perturbation
    ],
)
def test_where_a_rule_leads_on_the_valley(rule, steps, end, near):
    run = Run(valley(), rule, lr=0.02, rho=0.2, device="cpu")
    run.step(steps)
    np.testing.assert_allclose(run.x[0, :2], end, atol=near)


@pytest.mark.parametrize(("rule", "rho"), [("label_noise", 0.5), ("normalized_gd", 0.0)])
def test_label_noise_lowers_the_trace_and_normalized_descent_the_sharpness(rule, rho):
    run = Run(valley(), rule, lr=0.02, rho=rho, device="cpu")
    before = run.measure()
    run.step(3000)
    after = run.measure()
    key = "trace" if rule == "label_noise" else "eigenvalues"
    assert np.max(after[key]) < 0.9 * np.max(before[key])
