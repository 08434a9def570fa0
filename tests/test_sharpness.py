"""The maximum of the loss in a ball and the three sharpnesses, against brute force, scipy and closed forms."""

import numpy as np
import pytest
import torch
import valley_by_hand as by_hand
from formula import SHARPNESSES, Formula, symmetric, tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from samviz.geometry import ascent_direction_sharpness, average_direction_sharpness, worst_direction_sharpness
from samviz.geometry.sharpness import maximize_on_sphere, trust_region
from samviz.problems import mlp, quadratic, valley

STABLE = settings(max_examples=15, deadline=None, derandomize=True)


def valley_average(x, rho):
    """Return E L(x + ρu) − L(x): E u_i² = 1/4, E u_i²u_j² = 1/24, and there are twelve such quartic terms."""
    return rho**2 * by_hand.trace(x) / 8 + rho**4 / 2


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    dim=st.integers(1, 8),
    slope=st.sampled_from(["any", "none", "orthogonal to v₁", "nearly orthogonal to v₁", "large", "small"]),
    shift=st.sampled_from(["none", "negative", "positive", "top is zero", "degenerate", "zero"]),
    size=st.sampled_from([1e-12, 1.0, 1e9]),
)
def test_a_trust_region_solution_satisfies_the_conditions_of_a_global_maximum(seed, dim, slope, shift, size):
    """‖v‖ ≤ 1 and (μ − A)v = b with μ ≥ max(λ₁, 0), μ(1 − ‖v‖) = 0: necessary and sufficient."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    values = np.sort(rng.normal(size=dim))[::-1]
    values = {
        "none": values,
        "negative": values - values[0] - 0.5,
        "positive": values - values[-1] + 0.5,
        "top is zero": values - values[0],
        "degenerate": np.where(np.arange(dim) < 2, values[0], values),
        "zero": 0 * values,
    }[shift]
    part = rng.normal(size=dim)
    if "orthogonal" in slope:
        part[0] = 1e-13 * rng.normal() if "nearly" in slope else 0.0
    part *= {"none": 0.0, "large": 100.0, "small": 1e-4}.get(slope, 1.0)
    a, b = size * (vectors * values) @ vectors.T, size * vectors @ part
    a = (a + a.T) / 2
    values, vectors = np.linalg.eigh(a)
    parts = (torch.from_numpy(part.copy())[None] for part in (b, values[::-1], vectors.T[::-1]))
    v = trust_region(*parts)[0].numpy()
    length = np.linalg.norm(v)
    assert length <= 1 + 1e-12
    scale = max(np.abs(values).max(), np.linalg.norm(b))
    mu = v @ (a @ v + b) / length**2 if length > 1 - 1e-9 else 0.0
    assert mu >= max(values[-1], 0) - 1e-9 * scale
    np.testing.assert_allclose(mu * v - a @ v, b, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("slope", "values"), [([1e-16, 0.0], [-1e-17, -1.0]), ([1e-30, 1e-30], [0.0, 0.0]), ([-0.0, 0.0], [1e-30, 0.0])]
)
def test_rounding_does_not_leave_the_unit_ball(dtype, slope, values):
    slope, values = torch.tensor([slope], dtype=dtype), torch.tensor([values], dtype=dtype)
    v = trust_region(slope, values, torch.eye(2).to(dtype)[None])
    assert v.dtype == dtype
    assert v.norm().item() <= 1 + 1e-6
    assert (v[0] @ slope[0]).item() >= 0


def hills(x, y):
    return (3 * x).sin() + (2 * y).cos() * x + 0.5 * y**3


def starts(count, dim):
    random = torch.randn(1, count, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return random / random.norm(dim=2, keepdim=True)


@pytest.mark.parametrize("rho", [0.01, 0.3, 1.0, 2.5])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.4, -0.7), (-1.2, 0.9)])
def test_a_maximization_in_the_plane_against_brute_force(rho, centre):
    problem, x = Formula(2, hills), tensor(centre)
    radii, angles = torch.meshgrid(torch.linspace(0, 1, 201), torch.arange(1440) * torch.pi / 720, indexing="ij")
    grid = torch.stack((radii * angles.cos(), radii * angles.sin()), -1).reshape(-1, 2).double()
    best = (problem.loss(x + rho * grid) - problem.loss(x)).max().item()
    end = maximize_on_sphere(problem, x, rho, starts(12, 2), gain=1e-10, most=500)
    assert best * (1 - 1e-6) <= end.rise.item() <= best * (1 + 2e-4)
    assert end.direction.norm().item() <= 1 + 1e-12
    assert end.rise.item() == pytest.approx((problem.loss(x + rho * end.direction) - problem.loss(x)).item(), rel=1e-12)


@pytest.mark.parametrize("rho", [0.3, 1.0, 3.0])
def test_a_maximum_inside_the_ball_is_found_and_at_a_maximum_the_sharpness_is_zero(rho):
    """A bump of height 1 at (0.1, 0.2), at a distance of √0.05."""
    problem = Formula(2, lambda x, y: torch.exp(-((x - 0.1) ** 2) - 4 * (y - 0.2) ** 2))
    sharpness = worst_direction_sharpness(problem, tensor(0.0, 0.0), rho)
    assert sharpness.value.item() == pytest.approx(1 - np.exp(-0.17), rel=1e-4)
    np.testing.assert_allclose(rho * sharpness.direction[0], [0.1, 0.2], atol=1e-3)
    at_the_top = worst_direction_sharpness(problem, tensor(0.1, 0.2), rho)
    assert (at_the_top.value.item(), at_the_top.converged.item()) == (0, True)
    assert at_the_top.direction.norm().item() == 0


def test_a_maximization_continues_across_a_plateau_and_returns_the_best_of_several_starts():
    """Almost orthogonal to v₁ the first steps gain little; there 1 − cos is 5e-7."""
    x, start = torch.zeros(1, 3).double(), tensor([1e-3, 1.0, 0.0])
    problem = Formula(3, lambda x, y, z: 1.5 * x**2 + 1.4 * y**2 + 0.5 * z**2 + 0.1 * x**4)
    end = maximize_on_sphere(problem, x, 0.1, start / start.norm(), gain=1e-9, most=1000)
    assert end.rise.item() == pytest.approx(0.015 + 1e-5, rel=1e-6)
    assert abs(end.direction[0, 0].item()) == pytest.approx(1, abs=1e-5)
    # A start on the saddle stays there with a residual of 0; only a different start finds the maximum.
    problem, x = Formula(2, lambda x, y: 1.5 * x**2 + 0.5 * y**2), torch.zeros(1, 2).double()
    alone = maximize_on_sphere(problem, x, 0.1, tensor([0.0, 1.0]))
    assert (alone.rise.item(), alone.residual.item()) == pytest.approx((0.005, 0))
    assert maximize_on_sphere(problem, x, 0.1, tensor([[0.0, 1.0], [0.6, 0.8]])).rise.item() == pytest.approx(0.015)


def test_a_maximization_with_too_few_gradients_reports_it(network):
    problem, x = network
    full, *short = (
        maximize_on_sphere(problem, x[None], 0.01, starts(1, 673)[:, 0], gain=1e-9, most=n) for n in (1000, 1, 2, 4)
    )
    assert full.gain.item() <= 1e-9
    assert full.residual.item() < 1e-6
    for most, end in zip((1, 2, 4), short):
        assert end.evaluations == most
        assert end.gain.item() > 1e-3
        assert end.residual.item() > 1e-5
        assert end.rise.item() < 0.999 * full.rise.item()


def secular(a, b):
    """Return the maximum of bᵀv + ½vᵀAv over the ball if b has a part along v₁: ‖(μ − A)⁻¹b‖ = 1."""
    values, vectors = np.linalg.eigh(a)
    part, top, size = vectors.T @ b, max(values[-1], 0), np.linalg.norm(b)
    mu = brentq(lambda m: np.linalg.norm(part / (m - values)) - 1, top + 1e-9 * size, top + 2 * size)
    v = part / (mu - values)
    return part @ v + values @ v**2 / 2


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.sampled_from([1, 2, 3, 7, 10, 520]), rho=st.sampled_from([1e-3, 0.1, 2.0]))
def test_the_worst_direction_of_a_quadratic_solves_the_secular_equation(seed, dim, rho):
    """Also above the 500 parameters up to which it has a closed form."""
    a, x = symmetric(seed, dim), np.random.default_rng(seed + 1).normal(size=dim) / dim
    a = a + 4 * dim * np.outer(x, x) / (x @ x)  # at least one positive curvature, and a slope along it
    sharpness = worst_direction_sharpness(quadratic(a), torch.from_numpy(x), rho)
    v, rel = rho * sharpness.direction[0].numpy(), 1e-9 if dim < 500 else 1e-6
    assert sharpness.value.item() == pytest.approx(secular(rho**2 * a, rho * a @ x), rel=rel)
    assert sharpness.value.item() == pytest.approx(v @ a @ x + v @ a @ v / 2, rel=rel)
    assert np.linalg.norm(v) <= rho * (1 + 1e-12)
    assert sharpness.exact == (dim < 500)
    assert sharpness.converged.item()
    assert sharpness.value.item() <= sharpness.bound.item() * (1 + rel)  # λ₁ has a tolerance, too


def test_a_gradient_orthogonal_to_v1_does_not_hide_the_worst_direction():
    """diag(3, 1, 0, …) at ξe₂: the hard case, with v₂ = ξ/(2ρ). From the gradient alone it stays on e₂."""
    problem, x = quadratic([3.0, 1.0] + [0.0] * 518), torch.zeros(520).double()
    x[1] = 1e-3
    assert maximize_on_sphere(problem, x[None], 0.1, x[None] / 1e-3).rise.item() == pytest.approx(0.1 * 1e-3 + 0.005)
    v2 = 0.005
    expected = 1e-4 * v2 + 0.005 * (3 * (1 - v2**2) + v2**2)
    assert worst_direction_sharpness(problem, x, 0.1).value.item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("rho", [0.01, 0.3])
@pytest.mark.parametrize("name", ["valley", "floor", "8", "24"])
def test_the_worst_direction_agrees_with_projected_gradient_ascent(network, name, rho):
    """On the valley, and on networks below and above the 500 parameters up to which the Hessian is diagonalized."""
    small, large = mlp([1, 8, 8, 1], "tanh", "sine"), name == "24"
    problem, x = {
        "valley": (valley(), tensor(1.2, -0.3, -0.5, 0.7)),
        "floor": (valley(), tensor(0.2, 0.9, 1e-4, 0.0)),
        "8": (small, small.initial(0)),
        "24": network,
    }[name]
    v = torch.randn(24, len(x), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for _ in range(120 if large else 600):
        v = v / v.norm(dim=1, keepdim=True)
        slope = problem.gradient(x + rho * v)[1]
        v = v + (1e6 if large else 1.0) * slope / slope.norm(dim=1, keepdim=True)
    v = v / v.norm(dim=1, keepdim=True)
    best = (problem.loss(x + rho * v) - problem.loss(x[None])).max().item()
    sharpness = worst_direction_sharpness(problem, x, rho)
    assert sharpness.value.item() == pytest.approx(best, rel=1e-5)
    rise = problem.loss(x[None] + rho * sharpness.direction) - problem.loss(x[None])
    assert rise.item() == pytest.approx(best, rel=1e-5)
    slope = problem.gradient(x + rho * sharpness.direction)[1]
    cosine = torch.nn.functional.cosine_similarity(slope, sharpness.direction)
    assert sharpness.residual.item() == pytest.approx(1 - cosine.item(), abs=1e-9)
    assert sharpness.converged.item()
    assert not sharpness.exact


def test_the_bound_is_exceeded_only_by_the_cubic_term():
    """L = x + x² + x³/6 + y²/2 at 0: ρ + ρ² is the bound, and the rise exceeds it by ρ³/6."""
    problem = Formula(2, lambda x, y: x + x**2 + x**3 / 6 + y**2 / 2)
    for rho in (0.4, 0.1, 0.01):
        sharpness = worst_direction_sharpness(problem, tensor(0.0, 0.0), rho)
        assert sharpness.bound.item() == pytest.approx(rho + rho**2, rel=1e-12)
        assert sharpness.value.item() - sharpness.bound.item() == pytest.approx(rho**3 / 6, rel=1e-6)


THREE_SAMPLES = np.array([[-0.5], [0.1], [0.9]]), np.array([[1.0], [-1.0], [0.3]])


@pytest.mark.parametrize(
    ("kind", "widths", "data"),
    [*((kind, [1, 4, 1], "sine") for kind in SHARPNESSES), ("worst", [1, 24, 24, 1], THREE_SAMPLES)],
)
def test_the_stochastic_form_is_the_mean_over_single_samples(kind, widths, data):
    problem, measure = mlp(widths, "tanh", data), SHARPNESSES[kind]
    x = torch.stack([problem.initial(0), problem.initial(1)])
    together = measure(problem, x, 0.2, True)
    samples = zip(problem.inputs.split(1), problem.targets.split(1))
    alone = [measure(mlp(widths, "tanh", (i.numpy(), t.numpy())), x, 0.2) for i, t in samples]
    assert together.direction is None
    torch.testing.assert_close(together.value, torch.stack([s.value for s in alone]).mean(0), rtol=1e-7, atol=0)
    assert together.converged.tolist() == torch.stack([s.converged for s in alone]).all(0).tolist()
    if kind != "average" and problem.dim < 500:
        torch.testing.assert_close(together.bound, torch.stack([s.bound for s in alone]).mean(0), rtol=1e-9, atol=0)
        largest = torch.stack([s.residual for s in alone]).amax(0)
        torch.testing.assert_close(together.residual, largest, rtol=1e-5, atol=1e-8)


@STABLE
@given(seed=st.integers(0, 10**6), rho=st.floats(1e-3, 3))
def test_the_ascent_direction_agrees_with_its_formula(seed, rho):
    x = np.random.default_rng(seed).normal(size=(3, 4))
    sharpness = ascent_direction_sharpness(valley(), torch.from_numpy(x), rho)
    for r in range(3):
        u = by_hand.slope(x[r]) / np.linalg.norm(by_hand.slope(x[r]))
        there = by_hand.slope(x[r] + rho * u)
        assert sharpness.value[r].item() == pytest.approx(by_hand.loss(x[r] + rho * u) - by_hand.loss(x[r]), rel=1e-9)
        np.testing.assert_allclose(sharpness.direction[r], u, atol=1e-12)
        assert sharpness.residual[r].item() == pytest.approx(1 - u @ there / np.linalg.norm(there), abs=1e-12)


def test_the_ascent_direction_sharpness_is_infinite_where_the_gradient_is_zero():
    sharpness = ascent_direction_sharpness(valley(), tensor([0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.1, 0.0]), 0.1)
    assert (sharpness.value == torch.inf).tolist() == [True, False]
    assert sharpness.converged.tolist() == [False, True]
    assert torch.isinf(ascent_direction_sharpness(valley(), tensor(0.5, 0.5, 0.1, 0.0), 0.1, True).value).item()


@pytest.mark.parametrize("size", [1e-14, 1e-7, 1.0, 1e12])
def test_the_evidence_does_not_depend_on_the_unit_of_the_loss(size):
    """diag(3, 1) at (1, 1): g = (3, 1), and at x + ρg/√10 with ρ = √10 the gradient is (12, 2)."""
    ascent = ascent_direction_sharpness(quadratic([3 * size, size]), tensor(1.0, 1.0), 10**0.5)
    assert ascent.residual.item() == pytest.approx(1 - 38 / np.sqrt(10 * 148), rel=1e-9)
    assert ascent.value.item() == pytest.approx(size * ((3 * 16 + 4) / 2 - 2), rel=1e-12)
    problems = (Formula(2, lambda x, y, s=s: s * (1.5 * x**2 + 0.5 * y**2 + 0.1 * x**4)) for s in (size, 1))
    scaled, unit = (worst_direction_sharpness(problem, tensor(0.01, 0.01), 0.1).value for problem in problems)
    assert scaled.item() == pytest.approx(size * unit.item(), rel=1e-9)


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 40), rho=st.sampled_from([0.01, 1.0]))
def test_the_average_of_a_quadratic_is_its_trace(seed, dim, rho):
    a, x = symmetric(seed, dim), np.random.default_rng(seed).normal(size=(2, dim))
    sharpness = average_direction_sharpness(quadratic(a), torch.from_numpy(x), rho, frames=3)
    size = rho * np.abs(a).sum() * (1 + np.abs(x).max() ** 2)
    np.testing.assert_allclose(sharpness.value, [rho**2 * np.trace(a) / (2 * dim)] * 2, atol=1e-12 * size)
    assert sharpness.standard_error.max().item() < 1e-12 * size
    assert sharpness.direction is None


def test_the_average_above_256_parameters_has_a_standard_error():
    a = np.diag(np.random.default_rng(0).normal(size=300))
    sharpness = average_direction_sharpness(quadratic(a), torch.zeros(300), 0.5)
    assert 0 < sharpness.standard_error.item() < 0.01
    assert abs(sharpness.value.item() - 0.25 * np.trace(a) / 600) < 4 * sharpness.standard_error.item()


def test_the_standard_error_of_the_average_is_correct():
    x, rho = (0.6, 0.9, 0.1, -0.4), 1.0
    results = [average_direction_sharpness(valley(), tensor(*x), rho, seed=s) for s in range(100)]
    scores = np.array([(g.value.item() - valley_average(x, rho)) / g.standard_error.item() for g in results])
    assert abs(scores.mean()) < 0.4
    assert 0.8 < scores.std() < 1.4  # √(15/13) = 1.07 for a t law with 15 degrees of freedom
    assert average_direction_sharpness(valley(), tensor(*x), rho, seed=1).value == results[1].value != results[0].value
    few, many = (average_direction_sharpness(valley(), tensor(*x), rho, frames=n).standard_error for n in (16, 256))
    assert many.item() == pytest.approx(few.item() / 4, rel=0.5)


@pytest.mark.parametrize("kind", SHARPNESSES)
@pytest.mark.parametrize(
    ("problem", "stochastic"),
    [
        *((problem, stochastic) for problem in (valley(), mlp([1, 4, 1])) for stochastic in (False, True)),
        (mlp([1, 24, 24, 1]), False),
    ],
)
def test_runs_are_independent_and_single_precision_agrees_with_double(problem, kind, stochastic):
    points = torch.randn(3, problem.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64) / 2
    together = SHARPNESSES[kind](problem, points, 0.3, stochastic)
    alone = SHARPNESSES[kind](problem, points[1], 0.3, stochastic)  # (dim,) is one run
    for name in ("value", "standard_error", "bound", "converged", "residual"):
        assert getattr(together, name).shape == (3,)
        assert getattr(alone, name).shape == (1,)
    torch.testing.assert_close(alone.value[0], together.value[1], rtol=1e-8, atol=0)
    torch.testing.assert_close(alone.bound[0], together.bound[1], rtol=1e-6, atol=0)
    assert together.direction is None or together.direction.shape == points.shape
    single = SHARPNESSES[kind](problem.to("cpu", torch.float32), points.float(), 0.3, stochastic)
    tensors = [single.value, single.standard_error, single.bound, single.residual, single.direction]
    assert {t.dtype for t in tensors if t is not None} == {torch.float32}
    torch.testing.assert_close(single.value.double(), together.value, rtol=2e-5, atol=1e-6)
