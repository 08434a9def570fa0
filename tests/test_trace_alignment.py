"""The trace and its standard error, and the three measures of alignment, on cases worked out by hand."""

import numpy as np
import pytest
import torch
import valley_by_hand
from counted import Counted
from hypothesis import given, settings
from hypothesis import strategies as st

from samviz.dynamics import gradient_descent_minimum
from samviz.geometry import alignment, hessian_trace, top_eigenpairs
from samviz.problems import mlp, quadratic, valley

STABLE = settings(max_examples=25, deadline=None, derandomize=True)


pytestmark = pytest.mark.usefixtures("one_thread")


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# trace


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 20))
def test_a_small_trace_is_exact(seed, dim):
    a = np.random.default_rng(seed).normal(size=(dim, dim))
    trace = hessian_trace(quadratic(a + a.T), torch.zeros(2, dim))
    np.testing.assert_allclose(trace.value, [2 * np.trace(a)] * 2, rtol=1e-12, atol=1e-12)
    assert trace.exact
    assert torch.equal(trace.standard_error, torch.zeros(2).double())


def test_the_valleys_trace():
    x = np.array([0.3, 0.7, 0.2, -0.4])
    assert hessian_trace(valley(), tensor(*x)).value.item() == pytest.approx(valley_by_hand.trace(x), rel=1e-12)


def spread_matrix(dim=60):
    """A few large eigenvalues, negative ones too, over a bulk with a trace of its own."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    spectrum = np.concatenate([[30.0, 10.0, -8.0, 5.0], 1 + rng.normal(size=dim - 4)])
    a = (basis * spectrum) @ basis.T
    return (a + a.T) / 2, spectrum.sum(), basis


def estimates(problem, seeds=400, **options):
    traces = [hessian_trace(problem, torch.zeros(problem.dim), seed=s, **options) for s in range(seeds)]
    return np.array([t.value.item() for t in traces]), np.array([t.standard_error.item() for t in traces])


@pytest.mark.parametrize("products", [12, 30])
def test_the_estimate_is_unbiased_and_its_error_honest(products):
    a, exact, _ = spread_matrix()
    values, errors = estimates(quadratic(a), products=products)
    assert not hessian_trace(quadratic(a), torch.zeros(60), products=products).exact
    assert abs(values.mean() - exact) < 4 * values.std() / len(values) ** 0.5
    # the mean of the squared standard error is the variance: 400 draws know it to about 10 %
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.25)
    score = np.abs(values - exact) / errors
    assert 0.55 < np.mean(score < 1) < 0.75  # 68 % for a normal law, less for a t law with 3 degrees of freedom
    assert np.mean(score < 4) > 0.95


def test_more_products_give_a_smaller_error():
    problem = quadratic(spread_matrix()[0])
    few, many = (estimates(problem, seeds=60, products=p)[1].mean() for p in (12, 96))
    assert many < few / 4


def test_a_known_subspace_takes_its_part_out_of_the_error():
    a, exact, basis = spread_matrix()
    top = torch.from_numpy(basis[:, :4].T.copy())[None]
    problem = quadratic(a)
    values, errors = estimates(problem, products=30, subspace=top)
    assert abs(values.mean() - exact) < 4 * values.std() / len(values) ** 0.5
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.25)
    # 26 rows of random signs: Var = 2(‖B‖² − Σ Bᵢᵢ²)/26 with B = (I − QQᵀ)A(I − QQᵀ)
    left = np.eye(60) - basis[:, :4] @ basis[:, :4].T
    b = left @ a @ left
    assert values.std() == pytest.approx(np.sqrt(2 * ((b**2).sum() - (np.diag(b) ** 2).sum()) / 26), rel=0.15)


def test_a_subspace_that_holds_everything_leaves_no_error():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 3)))[0]
    a = (basis * [3.0, -2.0, 7.0]) @ basis.T
    problem = quadratic((a + a.T) / 2)
    given_one = hessian_trace(problem, torch.zeros(60), products=9, subspace=torch.from_numpy(basis.T.copy())[None])
    found = hessian_trace(problem, torch.zeros(60), products=18)
    for trace in (given_one, found):
        assert trace.value.item() == pytest.approx(8.0, rel=1e-10)
        assert trace.standard_error.item() < 1e-10


def test_the_estimate_holds_on_a_network():
    problem = mlp([1, 24, 24, 1], "tanh", "sine")
    x = torch.stack([gradient_descent_minimum(problem), problem.initial(0)])
    exact = problem.hessian(x).diagonal(dim1=1, dim2=2).sum(1)
    known = top_eigenpairs(problem, x, 3).start
    for options in ({}, {"products": 36, "subspace": known}):
        traces = [hessian_trace(problem, x, seed=s, **options) for s in range(40)]
        values = torch.stack([t.value for t in traces])
        errors = torch.stack([t.standard_error for t in traces])
        assert not any(t.exact for t in traces)
        assert bool(((values.mean(0) - exact).abs() < 4 * values.std(0) / 40**0.5).all())
        torch.testing.assert_close((errors**2).mean(0).sqrt(), values.std(0), rtol=0.4, atol=0)
        assert errors[:, 0].max() < 0.01 * exact[0]  # at the minimum a few eigenvalues are nearly all of the trace


def test_runs_do_not_change_each_other():
    problem = mlp([1, 24, 24, 1], "tanh", "sine")
    x = torch.stack([problem.initial(r) for r in range(3)])
    together = hessian_trace(problem, x)
    torch.testing.assert_close(hessian_trace(problem, x[1]).value[0], together.value[1], rtol=1e-9, atol=0)


@pytest.mark.parametrize("rows", [None, 5])
@pytest.mark.parametrize("products", [30, 100])
def test_products_are_counted_and_spent(products, rows):
    problem = Counted(torch.diag(torch.arange(60.0, dtype=torch.float64))[None])
    subspace = None if rows is None else torch.eye(60, dtype=torch.float64)[None, :rows]
    trace = hessian_trace(problem, torch.zeros(60), products=products, subspace=subspace)
    assert trace.products == problem.spent
    assert products - 2 <= problem.spent <= products  # what was granted, up to thirds


def test_what_is_known_of_the_subspace_takes_no_products():
    a, _, basis = spread_matrix()
    problem = Counted(torch.from_numpy(a)[None])
    top = torch.from_numpy(basis[:, :4].T.copy())[None]
    curvature = torch.einsum("rmi,ij,rmj->rm", top, torch.from_numpy(a), top)
    plain = hessian_trace(problem, torch.zeros(60), products=24, subspace=top)
    for j in (1, 3, 4):
        problem.spent = 0
        known = hessian_trace(problem, torch.zeros(60), products=24 - j, subspace=top, known=curvature[:, :j])
        assert problem.spent == known.products == 24 - j
        torch.testing.assert_close(known.value, plain.value)  # the same probes
        torch.testing.assert_close(known.standard_error, plain.standard_error)


# alignment


def test_alignment_by_hand():
    """diag(4, 3.9, 1) at (1, 1, 0): the gradient is (4, 3.9, 0), and 3.9 lies within 5 % of 4."""
    got = alignment(quadratic([4.0, 3.9, 1.0]), tensor(1.0, 1.0, 0.0))
    length = np.hypot(4, 3.9)
    assert got.cos_v1.item() == pytest.approx(4 / length)
    assert got.cos_eigenspace.item() == pytest.approx(1)
    assert got.rayleigh.item() == pytest.approx((4 * 16 + 3.9 * 3.9**2) / (4 * length**2))
    assert got.multiplicity.item() == 2
    assert got.gap.item() == pytest.approx(0.1 / 4)
    assert got.closing.item() is True


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_eigenvector_has_no_sign(sign):
    problem, x = quadratic([3.0, 1.0]), tensor(sign * 4 / 3, -sign * 3.0)  # the gradient is ±(4, −3)
    found = alignment(problem, x)
    assert found.cos_v1.item() == pytest.approx(0.8)
    assert found.cos_eigenspace.item() == pytest.approx(0.8)


def test_an_open_gap_by_hand():
    """diag(4, 3, 1) at (1, 1, 1): the gradient is (4, 3, 1)."""
    got = alignment(quadratic([4.0, 3.0, 1.0]), tensor(1.0, 1.0, 1.0))
    assert got.cos_v1.item() == pytest.approx(4 / np.sqrt(26))
    assert got.cos_eigenspace.item() == pytest.approx(4 / np.sqrt(26))
    assert got.rayleigh.item() == pytest.approx((64 + 27 + 1) / (4 * 26))
    assert got.multiplicity.item() == 1
    assert got.gap.item() == pytest.approx(0.25)
    assert got.closing.item() is False


@pytest.mark.parametrize(("close", "multiplicity"), [(0.0, 1), (0.02, 1), (0.03, 2), (0.5, 2), (0.8, 3)])
def test_what_counts_as_close(close, multiplicity):
    got = alignment(quadratic([4.0, 3.9, 1.0]), tensor(1.0, 1.0, 1.0), close=close)
    inside = np.array([4.0, 3.9, 1.0])[:multiplicity]
    assert got.multiplicity.item() == multiplicity
    assert got.closing.item() is (multiplicity > 1)
    assert got.cos_eigenspace.item() == pytest.approx(np.linalg.norm(inside) / np.linalg.norm([4.0, 3.9, 1.0]))


def test_the_top_eigenspace_tells_the_truth_where_v1_is_no_direction():
    """In a degenerate eigenspace v₁ may be any vector of it; the other two measures do not care."""
    for angle in np.linspace(0, np.pi, 7):
        point = tensor(np.cos(angle), np.sin(angle), 0.0)
        got = alignment(quadratic([2.0, 2.0, 1.0]), point)
        assert got.cos_eigenspace.item() == pytest.approx(1)
        assert got.rayleigh.item() == pytest.approx(1)
        assert got.gap.item() == pytest.approx(0, abs=1e-14)


def test_negative_curvature_has_a_negative_rayleigh_ratio():
    got = alignment(quadratic([2.0, -1.0]), tensor(0.0, 1.0))
    assert got.cos_v1.item() == pytest.approx(0)
    assert got.rayleigh.item() == pytest.approx(-0.5)


def test_where_all_curvature_is_negative_the_rayleigh_ratio_is_negative_too():
    """diag(−1, −2) at (1, 1): gᵀHg = −1 − 8 = −9."""
    assert alignment(quadratic([-1.0, -2.0]), tensor(1.0, 1.0)).rayleigh.item() < 0


def test_a_zero_gradient_has_no_direction():
    got = alignment(quadratic([2.0, 1.0]), tensor([0.0, 0.0], [1.0, 0.0]))
    for measure in (got.cos_v1, got.cos_eigenspace, got.rayleigh):
        assert torch.isnan(measure[0])
        assert measure[1].item() == pytest.approx(1)
    assert got.gap.tolist() == [0.5, 0.5]


def test_one_parameter_is_always_aligned():
    got = alignment(quadratic([2.0]), tensor(1.0))
    assert (got.cos_v1.item(), got.rayleigh.item(), got.gap.item(), got.closing.item()) == (1, 1, np.inf, False)


def test_another_vector_and_known_eigenpairs():
    problem, x = quadratic([2.0, 1.0]), tensor(1.0, 0.0)
    assert alignment(problem, x, gradient=tensor([0.0, 3.0])).cos_v1.item() == pytest.approx(0)
    assert alignment(problem, x, gradient=tensor([3.0, 4.0])).cos_v1.item() == pytest.approx(0.6)
    others = top_eigenpairs(quadratic([1.0, 2.0]), x, 2)  # of another Hessian, to see that they are used
    assert alignment(problem, x, eigenpairs=others).cos_v1.item() == pytest.approx(0)


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(2, 12))
def test_the_measures_are_ordered(seed, dim):
    """cos₁ ≤ cos with the eigenspace ≤ 1, and for H ⪰ 0: cos₁² ≤ Rayleigh ≤ 1."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(dim, dim))
    got = alignment(quadratic(a @ a.T), torch.from_numpy(rng.normal(size=(4, dim))))
    slack = 1e-12
    assert bool((got.cos_v1 <= got.cos_eigenspace + slack).all())
    assert bool((got.cos_eigenspace <= 1).all())
    assert bool((got.cos_v1**2 <= got.rayleigh + slack).all())
    assert bool((got.rayleigh <= 1 + slack).all())


def test_alignment_on_a_network_is_that_of_its_dense_hessian():
    problem = mlp([1, 24, 24, 1], "tanh", "sine")
    x = problem.initial(2)[None]
    values, vectors = np.linalg.eigh(problem.hessian(x)[0].numpy())
    gradient = problem.gradient(x)[1][0].numpy()
    direction = gradient / np.linalg.norm(gradient)
    along = (vectors.T @ direction)[::-1]
    got = alignment(problem, x)
    assert got.cos_v1.item() == pytest.approx(abs(along[0]), rel=1e-6)
    assert got.rayleigh.item() == pytest.approx((along**2 * values[::-1]).sum() / values[-1], rel=1e-6)
    assert got.gap.item() == pytest.approx((values[-1] - values[-2]) / values[-1], rel=1e-6)
