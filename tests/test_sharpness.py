"""The highest point of a ball and the three sharpnesses, against brute force, scipy and closed forms."""

import numpy as np
import pytest
import torch
import valley_by_hand as by_hand
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from samviz.geometry import (
    ascent_direction_sharpness,
    average_direction_sharpness,
    worst_direction_sharpness,
)
from samviz.geometry.ball_maximum import maximize_on_sphere, trust_region
from samviz.problems import Problem, mlp, quadratic, valley

STABLE = settings(max_examples=15, deadline=None, derandomize=True)
SHARPNESSES = {
    "worst": worst_direction_sharpness,
    "ascent": ascent_direction_sharpness,
    "average": average_direction_sharpness,
}


pytestmark = pytest.mark.usefixtures("one_thread")


class Formula(Problem):
    """A loss that is written down in place; autograd does the rest."""

    name = "formula"

    def __init__(self, dim, function):
        self.dim, self.function = dim, function
        self.filters = torch.zeros(dim, dtype=torch.int64)

    def loss(self, x, batch=None):
        return self.function(*x.unbind(1))

    def initial(self, seed=0):
        return torch.zeros(self.dim, dtype=self.dtype)


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def symmetric(rng, dim):
    a = rng.normal(size=(dim, dim))
    return (a + a.T) / 2


def solved(a, b):
    """trust_region for one numpy problem."""
    values, vectors = np.linalg.eigh(a)
    parts = (b, values[::-1], vectors.T[::-1])
    return trust_region(*(torch.from_numpy(part.copy())[None] for part in parts))[0].numpy()


def height(a, b, v):
    return v @ b + v @ a @ v / 2


def disc(radii, angles):
    """Points of the unit disc, (radii · angles, 2)."""
    r, t = np.meshgrid(np.linspace(0, 1, radii), np.linspace(0, 2 * np.pi, angles, endpoint=False))
    return np.stack([r * np.cos(t), r * np.sin(t)], -1).reshape(-1, 2)


def highest(f, g, x, rho, starts=8, seed=0):
    """The largest f(x + ρv) − f(x) that BFGS finds, given the gradient g, on the sphere (bend 0) and in the ball."""
    rng = np.random.default_rng(seed)
    unit = rho * np.linalg.norm(g(x)) + rho**2
    best = 0.0
    for bend in (0, 1) * starts:

        def depth(u, bend=bend):
            length = np.sqrt(bend + u @ u)
            v = u / length
            slope = rho * g(x + rho * v)
            return (f(x) - f(x + rho * v)) / unit, -(slope - (v @ slope) * v) / length / unit

        end = minimize(depth, rng.normal(size=len(x)), jac=True, method="BFGS", options={"gtol": 1e-9})
        best = max(best, -unit * end.fun)
    return best


def valley_average(x, rho):
    """E L(x + ρu) − L(x) in closed form: E u_i² = 1/4, E u_i²u_j² = 1/24, and twelve such quartic terms."""
    return rho**2 * by_hand.trace(x) / 8 + rho**4 / 2


# a network, written once more by hand


def network_loss(width):
    """The sine loss of a 1-width-width-1 tanh network, (runs, dim) -> (runs,)."""
    inputs = torch.linspace(-1, 1, 20, dtype=torch.float64)

    def loss(x):
        w1, b1, w2, b2, w3, b3 = x.split([width, width, width**2, width, width, 1], 1)
        hidden = (inputs[None, :, None] * w1[:, None] + b1[:, None]).tanh()
        hidden = (torch.einsum("rni,roi->rno", hidden, w2.view(-1, width, width)) + b2[:, None]).tanh()
        return ((torch.einsum("rni,ri->rn", hidden, w3) + b3 - (3 * inputs).sin()) ** 2).mean(1) / 2

    return loss


def climbed(loss, x, rho, steps, starts=24, stride=1.0):
    """Projected gradient ascent on the sphere, from many random directions: the highest rise."""
    generator = torch.Generator().manual_seed(3)
    v = torch.randn(starts, len(x), generator=generator, dtype=torch.float64)
    v = v / v.norm(dim=1, keepdim=True)
    for _ in range(steps):
        at = (x + rho * v).requires_grad_()
        (slope,) = torch.autograd.grad(loss(at).sum(), at)
        v = v + stride * slope / slope.norm(dim=1, keepdim=True)
        v = v / v.norm(dim=1, keepdim=True)
    return (loss(x + rho * v) - loss(x[None])).max().item()


# the trust region


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    dim=st.integers(1, 8),
    slope=st.sampled_from(["any", "none", "orthogonal to v₁", "nearly orthogonal to v₁", "large", "small"]),
    shift=st.sampled_from(["none", "negative definite", "positive definite", "top is zero", "degenerate"]),
    size=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_a_trust_region_solution_fulfils_the_conditions_that_make_it_global(seed, dim, slope, shift, size):
    """‖v‖ ≤ 1 and (μ − A)v = b with μ ≥ max(λ₁, 0), μ(1 − ‖v‖) = 0: necessary and sufficient."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    values = np.sort(rng.normal(size=dim))[::-1]
    values = {
        "none": values,
        "negative definite": values - values[0] - 0.5,
        "positive definite": values - values[-1] + 0.5,
        "top is zero": values - values[0],
        "degenerate": np.where(np.arange(dim) < 2, values[0], values),
    }[shift]
    part = rng.normal(size=dim)
    if "orthogonal" in slope:
        part[0] = 1e-13 * rng.normal() if "nearly" in slope else 0.0
    part *= {"none": 0.0, "large": 100.0, "small": 1e-4}.get(slope, 1.0)
    a, b = size * (vectors * values) @ vectors.T, size * vectors @ part
    a = (a + a.T) / 2
    v = solved(a, b)
    length = np.linalg.norm(v)
    assert length <= 1 + 1e-12
    scale = size * max(np.abs(values).max(), np.linalg.norm(part))
    mu = v @ (a @ v + b) / length**2 if length > 1 - 1e-9 else 0.0
    assert mu >= max(size * values[0], 0) - 1e-9 * scale
    np.testing.assert_allclose(mu * v - a @ v, b, rtol=0, atol=1e-9 * scale)


@STABLE
@given(seed=st.integers(0, 10**6), shift=st.floats(-3, 3), slope=st.sampled_from([0.0, 0.01, 1.0, 30.0]))
def test_a_trust_region_in_the_plane_against_brute_force(seed, shift, slope):
    rng = np.random.default_rng(seed)
    a, b = symmetric(rng, 2) + shift * np.eye(2), slope * rng.normal(size=2)
    grid = disc(201, 1000)
    best = (grid @ b + ((grid @ a) * grid).sum(1) / 2).max()
    size = np.linalg.norm(a) + np.linalg.norm(b)
    assert -1e-12 * size <= height(a, b, solved(a, b)) - best <= 1e-4 * size


@pytest.mark.parametrize("dim", [2, 4, 6])
@pytest.mark.parametrize("hard", [False, True])
def test_a_trust_region_against_scipy(dim, hard):
    rng = np.random.default_rng(dim)
    a, b = symmetric(rng, dim), rng.normal(size=dim)
    if hard:
        top = np.linalg.eigh(a)[1][:, -1]
        b = 0.1 * (b - (b @ top) * top)
    best = highest(lambda v: height(a, b, v), lambda v: a @ v + b, np.zeros(dim), 1.0)
    assert height(a, b, solved(a, b)) == pytest.approx(best, rel=1e-9)


def test_trust_regions_by_hand():
    np.testing.assert_allclose(np.abs(solved(np.diag([3.0, 1.0]), np.zeros(2))), [1, 0])  # only curvature
    np.testing.assert_allclose(solved(np.zeros((2, 2)), np.array([3.0, 4.0])), [0.6, 0.8])  # only slope
    np.testing.assert_allclose(solved(np.zeros((2, 2)), np.zeros(2)), [0, 0])
    np.testing.assert_allclose(solved(-np.eye(2), np.array([0.3, 0.4])), [0.3, 0.4])  # the top lies inside
    np.testing.assert_allclose(solved(-np.eye(2), np.array([3.0, 4.0])), [0.6, 0.8])  # or it would lie outside
    v = solved(np.diag([3.0, 1.0]), np.array([0.0, 1.0]))  # hard: μ = 3, v₂ = 1/(3 − 1)
    np.testing.assert_allclose(np.abs(v), [np.sqrt(0.75), 0.5])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("slope", "values"),
    [
        ([1e-17, 0.0], [0.0, -1.0]),
        ([1e-16, 0.0], [-1e-17, -1.0]),
        ([1e-30, 1e-30], [0.0, 0.0]),
        ([1e-17, 1.0], [0.0, -1e-17]),
        ([-1e-20, 0.0], [3.0, 1.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([-0.0, 0.0], [1e-30, 0.0]),
    ],
)
def test_rounding_never_leaves_the_ball(dtype, slope, values):
    v = trust_region(
        torch.tensor([slope], dtype=dtype), torch.tensor([values], dtype=dtype), torch.eye(2).to(dtype)[None]
    )
    assert v.dtype == dtype
    assert v.norm().item() <= 1 + 1e-6
    assert (v[0] @ torch.tensor(slope, dtype=dtype)).item() >= 0


def test_a_tiny_top_eigenvalue_beside_a_huge_negative_one():
    """λ = (1e-8, 0.9e-8, −1), b = 0.5e-9·e₂: v₂ = 0.5e-9/(1e-8 − 0.9e-8) = ½."""
    v = solved(np.diag([1e-8, 0.9e-8, -1.0]), np.array([0.0, 0.5e-9, 0.0]))
    np.testing.assert_allclose(np.abs(v), [np.sqrt(0.75), 0.5, 0], atol=1e-5)


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(2, 6))
def test_trust_regions_turn_with_their_problem_and_do_not_mix(seed, dim):
    rng = np.random.default_rng(seed)
    problems = [(symmetric(rng, dim), rng.normal(size=dim)) for _ in range(3)]
    turn = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    each = np.stack([solved(a, b) for a, b in problems])
    for (a, b), v in zip(problems, each):
        np.testing.assert_allclose(solved(turn @ a @ turn.T, turn @ b), turn @ v, atol=1e-8)
    spectra = [np.linalg.eigh(a) for a, _ in problems]
    together = trust_region(
        torch.from_numpy(np.stack([b for _, b in problems])),
        torch.from_numpy(np.stack([values[::-1] for values, _ in spectra])),
        torch.from_numpy(np.stack([vectors.T[::-1] for _, vectors in spectra])),
    )
    np.testing.assert_allclose(together, each, atol=1e-12)


# the climb


def hills(x, y):
    return (3 * x).sin() + (2 * y).cos() * x + 0.5 * y**3


def starts(count, dim, seed=0):
    random = torch.randn(1, count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return random / random.norm(dim=2, keepdim=True)


@pytest.mark.parametrize("rho", [0.01, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.4, -0.7), (-1.2, 0.9)])
def test_a_climb_in_the_plane_against_brute_force(rho, centre):
    problem, x = Formula(2, hills), tensor(centre)
    grid = torch.from_numpy(disc(201, 1440))
    best = (problem.loss(x + rho * grid) - problem.loss(x)).max().item()
    end = maximize_on_sphere(problem, x, rho, starts(12, 2), gain=1e-10, most=500)
    assert best * (1 - 1e-9) <= end.rise.item() <= best * (1 + 2e-4)
    assert end.direction.norm().item() <= 1 + 1e-12
    assert end.rise.item() == pytest.approx((problem.loss(x + rho * end.direction) - problem.loss(x)).item(), rel=1e-12)


def test_a_climb_in_space_against_brute_force():
    problem = Formula(3, lambda x, y, z: hills(x, y) + (x * z).cos() * z + y * z**2)
    rng = np.random.default_rng(0)
    for rho in (0.2, 1.0):
        x = torch.from_numpy(rng.normal(size=(1, 3)))
        sphere = rng.normal(size=(40000, 3))
        sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
        ball = torch.from_numpy(np.concatenate([r * sphere for r in (0.25, 0.5, 0.75, 0.9, 1.0)]))
        best = (problem.loss(x + rho * ball) - problem.loss(x)).max().item()
        end = maximize_on_sphere(problem, x, rho, starts(12, 3), gain=1e-10, most=500)
        assert best * (1 - 1e-9) <= end.rise.item() <= best * 1.003


@pytest.mark.parametrize("rho", [0.1, 0.3, 1.0, 3.0])
def test_a_maximum_inside_the_ball(rho):
    """A bump of height 1 over (0.1, 0.2), which lies √0.05 away."""
    problem = Formula(2, lambda x, y: torch.exp(-((x - 0.1) ** 2) - 4 * (y - 0.2) ** 2))
    grid = disc(401, 1440) * rho
    at = np.exp(-((grid[:, 0] - 0.1) ** 2) - 4 * (grid[:, 1] - 0.2) ** 2) - np.exp(-0.17)
    best = 1 - np.exp(-0.17) if rho**2 > 0.05 else at.max()
    sharpness = worst_direction_sharpness(problem, tensor(0.0, 0.0), rho)
    assert sharpness.value.item() == pytest.approx(best, rel=1e-4)
    assert maximize_on_sphere(problem, tensor([0.0, 0.0]), rho, starts(5, 2), most=500).rise.item() == pytest.approx(
        best, rel=1e-4
    )
    if rho**2 > 0.05:
        np.testing.assert_allclose(rho * sharpness.direction[0], [0.1, 0.2], atol=1e-3)


def test_at_the_top_no_direction_rises():
    problem = Formula(2, lambda x, y: -(x**2) - 2 * y**2 - x**4)
    sharpness = worst_direction_sharpness(problem, tensor(0.0, 0.0), 0.1)
    assert sharpness.value.item() == 0
    assert sharpness.converged.item()
    assert sharpness.direction.norm().item() == 0


def test_a_climb_leaves_a_plateau():
    """Almost orthogonal to v₁ the first steps gain little: 1 − cos is 5e-7 there."""
    x, start = torch.zeros(1, 3).double(), tensor([1e-3, 1.0, 0.0])
    problem = Formula(3, lambda x, y, z: 1.5 * x**2 + 1.4 * y**2 + 0.5 * z**2 + 0.1 * x**4)
    end = maximize_on_sphere(problem, x, 0.1, start / start.norm(), gain=1e-9, most=1000)
    assert end.rise.item() == pytest.approx(0.015 + 1e-5, rel=1e-6)
    assert abs(end.direction[0, 0].item()) == pytest.approx(1, abs=1e-5)


def test_of_several_starts_the_best_counts():
    """A start on the saddle stays there: its residual is 0, and only another start tells."""
    problem, x = Formula(2, lambda x, y: 1.5 * x**2 + 0.5 * y**2), torch.zeros(1, 2).double()
    alone = maximize_on_sphere(problem, x, 0.1, tensor([0.0, 1.0]))
    assert (alone.rise.item(), alone.residual.item()) == pytest.approx((0.005, 0))
    both = maximize_on_sphere(problem, x, 0.1, tensor([[0.0, 1.0], [0.6, 0.8]]))
    assert both.rise.item() == pytest.approx(0.015)
    assert both.evaluations == 2 * (both.evaluations // 2)


def test_a_climb_cut_short_says_so(network):
    problem, x = network
    start = starts(1, 673)[:, 0]
    full = maximize_on_sphere(problem, x[None], 0.01, start, gain=1e-9, most=1000)
    assert full.gain.item() <= 1e-9
    assert full.residual.item() < 1e-6
    for most in (1, 2, 4):
        cut = maximize_on_sphere(problem, x[None], 0.01, start, gain=1e-9, most=most)
        assert cut.evaluations == most
        assert cut.gain.item() > 1e-3
        assert cut.residual.item() > 1e-5
        assert cut.rise.item() < 0.999 * full.rise.item()


def test_a_radius_per_run():
    problem = Formula(2, hills)
    x, start = tensor([0.1, 0.2], [-0.5, 0.3]), starts(6, 2).expand(2, -1, -1)
    together = maximize_on_sphere(problem, x, tensor([0.2], [0.7]), start, gain=1e-10, most=500)
    for r, rho in enumerate((0.2, 0.7)):
        alone = maximize_on_sphere(problem, x[r : r + 1], rho, start[:1], gain=1e-10, most=500)
        assert together.rise[r].item() == pytest.approx(alone.rise.item(), rel=1e-8)


# worst direction


def secular(a, b):
    """max of bᵀv + ½vᵀAv over the ball when b has a part along v₁: ‖(μ − A)⁻¹b‖ = 1."""
    values, vectors = np.linalg.eigh(a)
    part = vectors.T @ b
    top = max(values[-1], 0)
    mu = brentq(
        lambda m: np.linalg.norm(part / (m - values)) - 1, top + 1e-9 * np.linalg.norm(b), top + 2 * np.linalg.norm(b)
    )
    v = part / (mu - values)
    return part @ v + values @ v**2 / 2


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 10), rho=st.sampled_from([1e-3, 0.1, 2.0]))
def test_a_quadratics_worst_direction(seed, dim, rho):
    rng = np.random.default_rng(seed)
    a, x = symmetric(rng, dim), rng.normal(size=dim)
    a = a + 4 * dim * np.outer(x, x) / (x @ x)  # a positive curvature at least, and a slope along it
    sharpness = worst_direction_sharpness(quadratic(a), torch.from_numpy(x), rho)
    v = sharpness.direction[0].numpy()
    assert sharpness.value.item() == pytest.approx(secular(rho**2 * a, rho * a @ x), rel=1e-9)
    assert sharpness.value.item() == pytest.approx(height(rho**2 * a, rho * a @ x, v), rel=1e-9)
    assert np.linalg.norm(v) <= 1 + 1e-12
    assert sharpness.exact
    assert sharpness.converged.item()
    assert sharpness.value.item() <= sharpness.bound.item() * (1 + 1e-12)
    turn = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    turned = worst_direction_sharpness(quadratic(turn @ a @ turn.T), torch.from_numpy(turn @ x), rho)
    assert turned.value.item() == pytest.approx(sharpness.value.item(), rel=1e-9)


@pytest.mark.parametrize("x", [(0.0, 0.0), (0.0, 1.0), (0.0, -2.0), (1.0, 0.0), (0.3, 0.4)])
@pytest.mark.parametrize("spectrum", [(3.0, 1.0), (1.0, -2.0), (-1.0, -2.0), (0.0, 0.0)])
def test_a_quadratic_in_the_plane_against_brute_force(spectrum, x):
    grid = disc(201, 1440)
    for rho in (0.1, 1.0):
        rise = ((x + rho * grid) ** 2 @ spectrum).max() / 2 - np.square(x) @ spectrum / 2
        sharpness = worst_direction_sharpness(quadratic(list(spectrum)), tensor(*x), rho)
        assert rise - 1e-12 <= sharpness.value.item() <= rise + 1e-4 * (1 + rise)


def test_a_large_quadratics_worst_direction():
    rng = np.random.default_rng(0)
    a, x = symmetric(rng, 520), 0.01 * rng.normal(size=520)
    sharpness = worst_direction_sharpness(quadratic(a), torch.from_numpy(x), 0.3)
    assert sharpness.value.item() == pytest.approx(secular(0.09 * a, 0.3 * a @ x), rel=1e-6)
    assert sharpness.converged.item()
    assert not sharpness.exact


def test_a_gradient_orthogonal_to_v1_is_no_trap():
    """diag(3, 1, 0, …) at ξe₂: the hard case, with v₂ = ξ/(2ρ). From the gradient alone the climb stays on e₂."""
    x = torch.zeros(520).double()
    x[1] = 1e-3
    end = maximize_on_sphere(quadratic([3.0, 1.0] + [0.0] * 518), x[None], 0.1, x[None] / 1e-3)
    assert end.rise.item() == pytest.approx(0.1 * 1e-3 + 0.005)
    sharpness = worst_direction_sharpness(quadratic([3.0, 1.0] + [0.0] * 518), x, 0.1)
    v2 = 0.005
    assert sharpness.value.item() == pytest.approx(1e-4 * v2 + 0.005 * (3 * (1 - v2**2) + v2**2), rel=1e-8)


@pytest.mark.parametrize("rho", [0.01, 0.1, 1.0, 3.0])
@pytest.mark.parametrize(
    "x",
    [
        (0.5, 0.5, 0.0, 0.0),  # on the floor
        (0.2, 0.9, 1e-4, 0.0),
        (0.6, 0.9, 0.1, 0.1),
        (-0.4, 1.4, 0.0, 0.0),
        (1.2, -0.3, -0.5, 0.7),
    ],
)
def test_the_valleys_worst_direction_against_scipy(x, rho):
    best = highest(by_hand.loss, by_hand.slope, np.array(x), rho)
    sharpness = worst_direction_sharpness(valley(), tensor(*x), rho)
    assert sharpness.value.item() == pytest.approx(best, rel=1e-8)
    assert sharpness.converged.item()
    v = sharpness.direction[0].numpy()
    assert by_hand.loss(x + rho * v) - by_hand.loss(x) == pytest.approx(best, rel=1e-8)
    slope = by_hand.slope(x + rho * v)
    assert sharpness.residual.item() == pytest.approx(1 - v @ slope / np.linalg.norm(slope), abs=1e-12)


@pytest.mark.parametrize("rho", [0.01, 0.1, 1.0])
def test_a_small_networks_worst_direction(rho):
    problem, loss = mlp([1, 8, 8, 1], "tanh", "sine"), network_loss(8)
    x = problem.initial(0)
    assert loss(x[None]).item() == pytest.approx(problem.loss(x[None]).item(), rel=1e-12)
    best = climbed(loss, x, rho, 600)
    sharpness = worst_direction_sharpness(problem, x, rho)
    assert sharpness.value.item() == pytest.approx(best, rel=1e-5)
    assert (loss(x + rho * sharpness.direction) - loss(x[None])).item() == pytest.approx(best, rel=1e-5)
    assert sharpness.converged.item()


@pytest.mark.parametrize("rho", [0.01, 0.3])
def test_a_networks_worst_direction_at_a_minimum(network, rho):
    problem, x = network
    sharpness = worst_direction_sharpness(problem, x, rho)
    assert sharpness.value.item() == pytest.approx(climbed(network_loss(24), x, rho, 120, 6, stride=1e6), rel=1e-6)
    assert sharpness.converged.item()
    assert not sharpness.exact


def test_one_step_of_ascent_from_the_gradient_is_far_from_the_worst(network):
    """At a gradient-descent minimum the gradient is orthogonal to v₁; the worst direction has to be looked for."""
    problem, x = network
    rho, loss = 0.001, network_loss(24)

    def direction(at):
        at = at.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(at).sum(), at)
        return slope / slope.norm()

    once = direction(x[None] + rho * direction(x[None]))
    worst = worst_direction_sharpness(problem, x, rho).value.item()
    top = np.linalg.eigvalsh(torch.autograd.functional.hessian(lambda p: loss(p[None])[0], x, vectorize=True).numpy())[
        -1
    ]
    assert (loss(x + rho * once) - loss(x[None])).item() < 0.1 * worst
    assert worst == pytest.approx(rho**2 * top / 2, rel=0.01)
    assert ascent_direction_sharpness(problem, x, rho).value.item() < 0.02 * worst


@STABLE
@given(seed=st.integers(0, 10**6), rho=st.sampled_from([1e-3, 0.03, 0.5, 2.0]), stochastic=st.booleans())
@pytest.mark.parametrize("problem", [valley(), mlp([1, 4, 1], "tanh", "sine")], ids=["valley", "network"])
def test_the_worst_direction_rises_most(problem, seed, rho, stochastic):
    x = torch.randn(2, problem.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    worst = worst_direction_sharpness(problem, x, rho, stochastic)
    average = average_direction_sharpness(problem, x, rho, stochastic, frames=4)
    slack = 1e-9 * worst.value
    assert bool((worst.value >= ascent_direction_sharpness(problem, x, rho, stochastic).value - slack).all())
    assert bool((worst.value >= average.value - slack).all())
    assert bool((worst.value >= 0).all())


def test_the_bound_is_exceeded_by_the_cubic_term_alone():
    """L = x + x² + x³/6 + y²/2 at 0: ρ + ρ² is the bound, and the rise exceeds it by ρ³/6."""
    problem = Formula(2, lambda x, y: x + x**2 + x**3 / 6 + y**2 / 2)
    for rho in (0.4, 0.1, 0.01):
        sharpness = worst_direction_sharpness(problem, tensor(0.0, 0.0), rho)
        assert sharpness.bound.item() == pytest.approx(rho + rho**2, rel=1e-12)
        assert sharpness.value.item() - sharpness.bound.item() == pytest.approx(rho**3 / 6, rel=1e-6)


def test_a_networks_excess_over_the_bound_is_cubic(network):
    problem, x = network
    radii = (0.5, 0.2, 0.1, 0.05, 0.02)
    sharpness = [worst_direction_sharpness(problem, x, rho) for rho in radii]
    excess = [(s.value - s.bound).item() / rho**3 for s, rho in zip(sharpness, radii)]
    assert 0.5 < excess[0] < 2
    assert max(excess) == excess[0]


def single(problem, k, widths):
    """The network on sample k alone."""
    return mlp(widths, "tanh", (problem.inputs[k : k + 1].numpy(), problem.targets[k : k + 1].numpy()))


@pytest.mark.parametrize("kind", ["worst", "ascent", "average"])
def test_stochastic_is_the_mean_of_single_samples(kind):
    problem = mlp([1, 4, 1], "tanh", "sine")
    x, measure = torch.stack([problem.initial(0), problem.initial(1)]), SHARPNESSES[kind]
    together = measure(problem, x, 0.2, True)
    alone = [measure(single(problem, k, [1, 4, 1]), x, 0.2) for k in range(20)]
    torch.testing.assert_close(together.value, torch.stack([s.value for s in alone]).mean(0), rtol=1e-8, atol=0)
    assert together.converged.tolist() == torch.stack([s.converged for s in alone]).all(0).tolist()
    assert together.direction is None
    if kind != "average":
        torch.testing.assert_close(together.bound, torch.stack([s.bound for s in alone]).mean(0), rtol=1e-9, atol=0)
        largest = torch.stack([s.residual for s in alone]).amax(0)
        torch.testing.assert_close(together.residual, largest, rtol=1e-5, atol=1e-8)


def test_stochastic_above_the_dense_sizes():
    widths = [1, 24, 24, 1]
    problem = mlp(widths, "tanh", (np.array([[-0.5], [0.1], [0.9]]), np.array([[1.0], [-1.0], [0.3]])))
    x = torch.stack([problem.initial(0), problem.initial(1)])
    together = worst_direction_sharpness(problem, x, 0.2, True)
    alone = [worst_direction_sharpness(single(problem, k, widths), x, 0.2).value for k in range(3)]
    torch.testing.assert_close(together.value, torch.stack(alone).mean(0), rtol=1e-7, atol=0)


def test_stochastic_quadratics_by_hand():
    """Example 5.8's kind: at 0 the two of them have λ₁ = 4 and 2."""
    problem = quadratic(np.stack([np.diag([4.0, 1.0]), np.diag([0.0, 2.0])]))
    x = torch.zeros(2)
    assert worst_direction_sharpness(problem, x, 0.1).value.item() == pytest.approx(0.01 * 2 / 2)  # of their mean
    assert worst_direction_sharpness(problem, x, 0.1, True).value.item() == pytest.approx(0.01 * (4 + 2) / 2 / 2)
    assert average_direction_sharpness(problem, x, 0.1, True).value.item() == pytest.approx(0.01 * 3.5 / 4)


def test_the_stochastic_valley_against_scipy():
    x, rho = np.array([0.3, 0.6, 0.05, -0.1]), 0.4
    losses = [lambda p, k=k: 2 * by_hand.terms(p)[k] for k in (0, 1)]
    slopes = [lambda p, k=k: 2 * by_hand.slopes(p)[k] for k in (0, 1)]
    best = np.mean([highest(f, g, x, rho) for f, g in zip(losses, slopes)])
    assert worst_direction_sharpness(valley(), torch.from_numpy(x), rho, True).value.item() == pytest.approx(
        best, rel=1e-8
    )
    asc = [f(x + rho * g(x) / np.linalg.norm(g(x))) - f(x) for f, g in zip(losses, slopes)]
    assert ascent_direction_sharpness(valley(), torch.from_numpy(x), rho, True).value.item() == pytest.approx(
        np.mean(asc)
    )


# ascent direction


@STABLE
@given(seed=st.integers(0, 10**6), rho=st.floats(1e-3, 3))
def test_the_ascent_direction_by_the_formula(seed, rho):
    x = np.random.default_rng(seed).normal(size=(3, 4))
    sharpness = ascent_direction_sharpness(valley(), torch.from_numpy(x), rho)
    for r in range(3):
        u = by_hand.slope(x[r]) / np.linalg.norm(by_hand.slope(x[r]))
        there = by_hand.slope(x[r] + rho * u)
        assert sharpness.value[r].item() == pytest.approx(by_hand.loss(x[r] + rho * u) - by_hand.loss(x[r]), rel=1e-9)
        np.testing.assert_allclose(sharpness.direction[r], u, atol=1e-12)
        assert sharpness.residual[r].item() == pytest.approx(1 - u @ there / np.linalg.norm(there), abs=1e-12)


def test_a_zero_gradient_rises_without_limit():
    sharpness = ascent_direction_sharpness(valley(), tensor([0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.1, 0.0]), 0.1)
    assert torch.isinf(sharpness.value).tolist() == [True, False]
    assert sharpness.value[0] > 0
    assert sharpness.converged.tolist() == [False, True]
    assert torch.isinf(ascent_direction_sharpness(valley(), tensor(0.5, 0.5, 0.1, 0.0), 0.1, True).value).item()


@pytest.mark.parametrize("size", [1e-14, 1e-7, 1.0, 1e12])
def test_the_evidence_does_not_depend_on_the_unit_of_loss(size):
    """diag(3, 1) at (1, 1): g = (3, 1), and at x + ρg/√10 with ρ = √10 the gradient is (12, 2)."""
    problem, x = quadratic([3 * size, size]), tensor(1.0, 1.0)
    ascent = ascent_direction_sharpness(problem, x, 10**0.5)
    assert ascent.residual.item() == pytest.approx(1 - 38 / np.sqrt(10 * 148), rel=1e-9)
    assert ascent.value.item() == pytest.approx(size * ((3 * 16 + 4) / 2 - 2), rel=1e-12)
    same = Formula(2, lambda x, y: size * (1.5 * x**2 + 0.5 * y**2 + 0.1 * x**4))
    unit = Formula(2, lambda x, y: 1.5 * x**2 + 0.5 * y**2 + 0.1 * x**4)
    got, expected = (worst_direction_sharpness(p, 0.01 * x, 0.1) for p in (same, unit))
    assert got.value.item() == pytest.approx(size * expected.value.item(), rel=1e-9)


# average direction


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 40), rho=st.sampled_from([0.01, 1.0]))
def test_a_quadratics_average_is_its_trace(seed, dim, rho):
    rng = np.random.default_rng(seed)
    a, x = symmetric(rng, dim), rng.normal(size=(2, dim))
    sharpness = average_direction_sharpness(quadratic(a), torch.from_numpy(x), rho, frames=3)
    size = rho * np.abs(a).sum() * (1 + np.abs(x).max() ** 2)
    np.testing.assert_allclose(sharpness.value, [rho**2 * np.trace(a) / (2 * dim)] * 2, atol=1e-12 * size)
    assert sharpness.standard_error.max().item() < 1e-12 * size
    assert sharpness.direction is None


def test_more_parameters_than_a_frame_holds():
    a = np.diag(np.random.default_rng(0).normal(size=300))
    sharpness = average_direction_sharpness(quadratic(a), torch.zeros(300), 0.5)
    assert 0 < sharpness.standard_error.item() < 0.01
    assert abs(sharpness.value.item() - 0.25 * np.trace(a) / 600) < 4 * sharpness.standard_error.item()


@pytest.mark.parametrize("x", [(0.5, 0.5, 0.0, 0.0), (0.6, 0.9, 0.1, -0.4)])
@pytest.mark.parametrize("rho", [0.1, 1.0])
def test_the_valleys_average(x, rho):
    g = np.random.default_rng(0).normal(size=(4, 400_000))
    rises = by_hand.loss(np.array(x)[:, None] + rho * g / np.linalg.norm(g, axis=0)) - by_hand.loss(x)
    plain, error = rises.mean(), rises.std() / 400_000**0.5
    assert plain == pytest.approx(valley_average(x, rho), abs=4 * error)  # the closed form stands
    for stochastic in (False, True):
        got = average_direction_sharpness(valley(), tensor(*x), rho, stochastic)
        assert abs(got.value.item() - plain) < 4 * np.hypot(error, got.standard_error.item())
        assert got.value.item() == pytest.approx(valley_average(x, rho), abs=5 * got.standard_error.item() + 1e-15)


def test_the_averages_error_is_honest():
    x, rho = (0.6, 0.9, 0.1, -0.4), 1.0
    got = [average_direction_sharpness(valley(), tensor(*x), rho, seed=s) for s in range(100)]
    scores = np.array([(g.value.item() - valley_average(x, rho)) / g.standard_error.item() for g in got])
    assert abs(scores.mean()) < 0.4
    assert 0.8 < scores.std() < 1.4  # √(15/13) = 1.07 for a t law with 15 degrees of freedom
    few, many = (average_direction_sharpness(valley(), tensor(*x), rho, frames=n).standard_error for n in (16, 256))
    assert many.item() == pytest.approx(few.item() / 4, rel=0.5)


def test_a_seed_repeats_itself():
    x = tensor(0.6, 0.9, 0.1, -0.4)
    first, again, other = (average_direction_sharpness(valley(), x, 1.0, seed=s).value.item() for s in (1, 1, 2))
    assert first == again != other


# all three


@pytest.mark.parametrize("kind", ["worst", "ascent", "average"])
@pytest.mark.parametrize(
    ("problem", "stochastic"),
    [
        pytest.param(valley(), False, id="valley"),
        pytest.param(valley(), True, id="valley, stochastic"),
        pytest.param(mlp([1, 4, 1], "tanh", "sine"), False, id="13"),
        pytest.param(mlp([1, 4, 1], "tanh", "sine"), True, id="13, stochastic"),
        pytest.param(mlp([1, 24, 24, 1], "tanh", "sine"), False, id="673"),
    ],
)
def test_runs_do_not_change_each_other(problem, kind, stochastic):
    points = torch.randn(3, problem.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 2
    together = SHARPNESSES[kind](problem, points, 0.3, stochastic)
    alone = SHARPNESSES[kind](problem, points[1], 0.3, stochastic)  # (dim,) is one run
    for name in ("value", "standard_error", "bound", "converged", "residual"):
        assert getattr(together, name).shape == (3,)
        assert getattr(alone, name).shape == (1,)
    torch.testing.assert_close(alone.value[0], together.value[1], rtol=1e-8, atol=0)
    torch.testing.assert_close(alone.bound[0], together.bound[1], rtol=1e-6, atol=0)
    if not stochastic and kind != "average":
        assert together.direction.shape == points.shape


@pytest.mark.parametrize("kind", ["worst", "ascent", "average"])
@pytest.mark.parametrize(
    "problem",
    [quadratic([3.0, 1.0, -1.0]), valley(), mlp([1, 24, 24, 1], "tanh", "sine")],
    ids=["quadratic", "valley", "network"],
)
def test_single_precision(problem, kind):
    x = problem.initial(1)
    double = SHARPNESSES[kind](problem, x, 0.3)
    got = SHARPNESSES[kind](problem.to("cpu", torch.float32), x.float(), 0.3)
    assert {got.value.dtype, got.standard_error.dtype, got.bound.dtype, got.residual.dtype} == {torch.float32}
    assert got.direction is None or got.direction.dtype == torch.float32
    torch.testing.assert_close(got.value.double(), double.value, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["worst", "ascent", "average"])
def test_the_given_point_stays_as_it_was(kind):
    x = tensor(0.6, 0.9, 0.1, -0.4)
    SHARPNESSES[kind](valley(), x, 0.3)
    assert x.tolist() == [0.6, 0.9, 0.1, -0.4]
    assert not x.requires_grad


@pytest.mark.parametrize("kind", SHARPNESSES)
def test_a_radius_whose_square_overflows_is_refused(kind):
    with pytest.raises(ValueError, match=r"rho is 1e\+308; expected a perturbation radius above 0, 3e\+38 at most"):
        SHARPNESSES[kind](valley(), torch.ones(4), 1e308)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", SHARPNESSES)
def test_a_radius_of_extended_precision_counts_as_its_float(kind):
    x = torch.tensor([1.0, 1.0, 0.1, 0.1], dtype=torch.float64)
    given, plain = (SHARPNESSES[kind](valley(), x, rho) for rho in (np.longdouble("0.1"), 0.1))
    assert torch.equal(given.value, plain.value)
