"""Update rules against their formulas, written in numpy for quadratics and for the samples of the valley.

What holds for all rules is here; those that follow another loss or draw noise have their formulas in
test_sharpness_rules.py and test_label_noise.py.
"""

import numpy as np
import pytest
import torch
import valley_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from samviz.dynamics import RULES, Diverged, Run
from samviz.problems import mlp, quadratic, valley

STABLE = settings(max_examples=25, deadline=None, derandomize=True)


def sam_by_hand(gradient, x, lr, rho):
    g = gradient(x)
    return x - lr * gradient(x + rho * g / np.linalg.norm(g))


def usam_by_hand(gradient, x, lr, rho):
    return x - lr * gradient(x + rho * gradient(x))


def gd_by_hand(gradient, x, lr, rho):
    return x - lr * gradient(x)


def asam_by_hand(gradient, x, lr, rho):
    g, t = gradient(x), np.diag(np.abs(x))
    return x - lr * gradient(x + rho * t @ t @ g / np.linalg.norm(t @ g))


def normalized_gd_by_hand(gradient, x, lr, rho):
    return x - lr * gradient(x) / np.linalg.norm(gradient(x))


def ascent_by_hand(gradient, x, lr, rho):
    """The Hessian's part by the five-point stencil, exact for these losses of degree 4."""
    g = gradient(x)
    u = g / np.linalg.norm(g)
    ahead = gradient(x + rho * u)
    w = ahead - ahead @ u * u
    near, far = (gradient(x + h * w) - gradient(x - h * w) for h in (0.05, 0.1))
    return x - lr * (ahead + rho / np.linalg.norm(g) * (8 * near - far) / 0.6)


BY_HAND = {
    "gd": gd_by_hand,
    "sam": sam_by_hand,
    "usam": usam_by_hand,
    "asam": asam_by_hand,
    "ascent": ascent_by_hand,
    "normalized_gd": normalized_gd_by_hand,
}
RANDOM = ["average", "random", "label_noise"]
PERTURBING = [rule for rule in RULES if rule not in ("gd", "normalized_gd")]


def noise_of(seed, runs):
    """Standard normal numbers for one step, as a rule asks for them."""
    rng = np.random.default_rng(seed)
    return lambda count: torch.from_numpy(rng.normal(size=(runs, count)))


SMALL = mlp([1, 1], data="sine")  # a line: two parameters and a square loss


def valley_gradient(k):
    """Of the valley's sample k, twice its term; of their mean for None."""
    return valley_by_hand.slope if k is None else lambda x: 2 * valley_by_hand.slopes(x)[k]


def test_every_rule_has_a_formula_here():
    assert set(RULES) == {*BY_HAND, *RANDOM, "worst"}


@pytest.mark.parametrize("rule", BY_HAND)
@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 5), lr=st.floats(0.01, 1), rho=st.floats(0, 1))
def test_a_step_on_a_quadratic(rule, seed, dim, lr, rho):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(dim, dim))
    a = a + a.T
    x = rng.normal(size=(3, dim))
    step = RULES[rule](quadratic(a), torch.from_numpy(x), None, lr, rho)
    expected = [BY_HAND[rule](lambda y: a @ y, row, lr, rho) for row in x]
    np.testing.assert_allclose(step.x, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(step.loss, [0.5 * row @ a @ row for row in x], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(step.gradient, x @ a, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", BY_HAND)
def test_both_gradients_are_of_the_same_batch(rule):
    x = np.array([0.3, 0.7, 0.2, -0.4])
    batches = torch.tensor([[0, 0], [1, 1], [0, 1]])
    step = RULES[rule](valley(), torch.from_numpy(np.stack([x] * 3)), batches, 0.02, 0.2)
    for r, k in enumerate((0, 1, None)):
        expected = BY_HAND[rule](valley_gradient(k), x, 0.02, 0.2)
        np.testing.assert_allclose(step.x[r], expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(step.gradient[r], valley_gradient(k)(x), rtol=1e-12, atol=1e-14)


def test_a_rule_leaves_its_input_alone():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    for name, rule in RULES.items():
        problem = SMALL if name == "label_noise" else quadratic([3.0, 1.0])
        rule(problem, x, None, 0.1, 0.1, noise_of(0, 1))
    assert x.tolist() == [[1.0, 2.0]]


# ρ = 0 is gradient descent, to the bit


@pytest.mark.parametrize("rule", PERTURBING)
@pytest.mark.parametrize("batch_size", [None, 1, 7])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])  # written-out and autograd gradients
def test_rho_zero_is_gradient_descent_to_the_bit(rule, batch_size, activation):
    problem = mlp([1, 6, 6, 1], activation, "sine")
    options = {"lr": 0.1, "batch_size": batch_size, "device": "cpu"}
    run, plain = Run(problem, rule, rho=0.0, **options), Run(problem, "gd", rho=0.3, **options)
    run.step(30)
    plain.step(30)
    assert torch.equal(run.x, plain.x)


@pytest.mark.parametrize("rule", PERTURBING)
@pytest.mark.parametrize("batch_size", [None, 1])
def test_rho_zero_is_gradient_descent_beside_other_runs_too(rule, batch_size):
    problem = mlp([1, 6, 6, 1], "tanh", "sine")
    x0 = torch.stack([problem.initial(0), problem.initial(1)])
    options = {"lr": 0.1, "batch_size": batch_size, "x0": x0, "device": "cpu"}
    run, plain = Run(problem, rule, rho=(0.0, 0.1), **options), Run(problem, "gd", **options)
    run.step(30)
    plain.step(30)
    assert torch.equal(run.x[0], plain.x[0])
    assert not torch.equal(run.x[1], plain.x[1])


# one value per run


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("batch_size", [None, 1])
def test_one_lr_and_rho_per_run_are_separate_runs(rule, batch_size):
    """A climb goes on until the slowest run's is done, so under `worst` company adds a little precision."""
    x0 = np.array([[0.6, 0.9, 0.1, 0.1], [0.3, 0.2, -0.1, 0.2], [1.0, 1.0, 0.2, 0.01]])
    lrs, rhos = (0.005, 0.0075, 0.01), (0.0, 0.01, 0.03)
    together = Run(valley(), rule, lrs, rhos, batch_size, x0=x0, seed=5, device="cpu")
    together.step(10)
    for r in range(3):
        alone = Run(valley(), rule, lrs[r], rhos[r], batch_size, x0=x0[r], seed=5 + r, device="cpu")
        alone.step(10)
        near = {"rtol": 0, "atol": 1e-4} if rule == "worst" else {"rtol": 1e-12, "atol": 1e-14}
        torch.testing.assert_close(together.x[r], alone.x[0], **near)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_grouping_of_steps_does_not_matter_under_any_rule(rule, batch_size):
    """70 steps, over the end of a block of samples and of several blocks of noise."""
    problem = mlp([1, 6, 1], "tanh", "sine")
    one, other = (Run(problem, rule, 0.05, 0.05, batch_size, seed=3, device="cpu") for _ in range(2))
    one.step(70)
    for n in (5, 0, 1, 57):
        other.step(n)
    other.measure()
    for _ in range(7):
        other.step()
    assert torch.equal(one.x, other.x)


@pytest.mark.parametrize("rule", RANDOM)
def test_the_noise_depends_on_the_seed_and_survives_a_save(rule):
    problem = mlp([1, 6, 1], "tanh", "sine")
    start = problem.initial(0)
    one, same, other = (Run(problem, rule, 0.05, 0.1, x0=start, seed=s, device="cpu") for s in (1, 1, 2))
    for run in (one, other):
        run.step(20)
    same.step(9)
    resumed = Run(problem, "sam", seed=7, device="cpu")
    resumed.load_state_dict(same.state_dict())
    resumed.step(11)
    assert torch.equal(one.x, resumed.x)
    assert not torch.equal(one.x, other.x)


def test_rules_without_noise_draw_none():
    def never(count):
        raise AssertionError("drawn")

    for rule in (*BY_HAND, "worst"):
        RULES[rule](valley(), torch.tensor([[0.6, 0.9, 0.1, 0.1]], dtype=torch.float64), None, 0.01, 0.1, never)


@pytest.mark.parametrize("given", [[0.1, 0.2], np.array([0.1, 0.2]), torch.tensor([0.1, 0.2], dtype=torch.float64)])
def test_one_value_per_run_may_come_in_any_array(given):
    x0 = np.ones((2, 2))
    run = Run(quadratic([2.0, 1.0]), "sam", lr=given, rho=given, x0=x0, device="cpu")
    run.step()
    for r, value in enumerate((0.1, 0.2)):
        expected = sam_by_hand(lambda y: np.array([2.0, 1.0]) * y, x0[r], value, value)
        np.testing.assert_allclose(run.x[r], expected, rtol=1e-13)
    assert run.settings.lr == (0.1, 0.2)


# zero gradients


AT_ZERO = np.array([2.0, 1.0]) / np.sqrt(2)  # Au with the arbitrary u = (1, 1)/√2


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in ("random", "label_noise")])
def test_a_zero_gradient_gives_no_nan(rule):
    """There SAM's direction is arbitrary but of unit length: on diag(2, 1) a step moves by −ηρAu."""
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    step = RULES[rule](quadratic([2.0, 1.0]), points, None, 0.1, 0.5, noise_of(0, 2))
    assert bool(step.x.isfinite().all())
    moved = {"sam": AT_ZERO, "ascent": AT_ZERO, "worst": np.array([2.0, 0.0])}  # the climb ends at v₁
    tolerance = 1e-2 if rule == "worst" else 1e-15
    np.testing.assert_allclose(step.x[0], -0.1 * 0.5 * moved.get(rule, np.zeros(2)), atol=tolerance)


def test_adaptive_sam_at_a_zero_coordinate_and_a_zero_point():
    """What is zero is not perturbed; at a zero gradient elsewhere the direction is arbitrary, scaled by |x|."""
    points = torch.tensor([[0.0, 0.3], [0.0, 0.0]], dtype=torch.float64)
    step = RULES["asam"](quadratic([2.0, 1.0]), points, None, 0.1, 0.5)
    np.testing.assert_allclose(step.x, [[0, 0.3 - 0.1 * (0.3 + 0.5 * 0.3)], [0, 0]], rtol=1e-14)
    flat = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    step = RULES["asam"](quadratic([0.0, 0.0]), flat, None, 0.1, 0.5)
    assert torch.equal(step.x, flat)


def test_sam_leaves_the_valley_floor_it_starts_on():
    run = Run(valley(), "sam", lr=0.02, rho=0.2, x0=[0.5, 0.5, 0.0, 0.0], device="cpu")
    run.step(200)
    assert bool(run.x.isfinite().all())
    assert run.x[0, 2].abs() > 0.01


def test_the_direction_does_not_depend_on_the_gradients_size():
    for size in (1e-140, 1e-12, 1e140):
        step = RULES["sam"](quadratic([2.0, 1.0]), torch.tensor([[size, 0.0]], dtype=torch.float64), None, 0.1, 0.5)
        assert step.x[0, 0].item() == pytest.approx(size - 0.1 * 2 * (size + 0.5), rel=1e-12)


def test_single_precision_stays_single():
    x0 = np.array([[0.6, 0.9, 0.1, 0.1], [0.3, 0.2, -0.1, 0.2]])
    for rule in RULES:
        for rho in (0.1, (0.1, 0.0)):
            run = Run(valley(), rule, lr=0.02, rho=rho, x0=x0, dtype=torch.float32, device="cpu")
            run.step(5)
            assert run.x.dtype == torch.float32
            twin = Run(valley(), rule, lr=0.02, rho=rho, x0=x0, device="cpu")
            twin.step(5)
            tolerance = 1e-3 if rule == "worst" else 1e-5
            torch.testing.assert_close(run.x.double(), twin.x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", sorted(RULES.keys() - {"gd", "normalized_gd"}))
def test_a_radius_beyond_single_precision_diverges_as_any_other(rule, dtype):
    run = Run(valley(), rule, lr=0.01, rho=1e308, x0=[1.0, 1.0, 0.1, 0.1], device="cpu", dtype=dtype)
    with pytest.raises(Diverged, match="The run diverged at step 0"):
        run.step(3)
    assert torch.isfinite(run.x).all()


def test_a_learning_rate_beyond_single_precision_diverges_as_any_other():
    run = Run(mlp([1, 6, 1], "tanh", "sine"), lr=1e308, device="cpu", dtype=torch.float32)
    with pytest.raises(Diverged):
        run.step(3)
