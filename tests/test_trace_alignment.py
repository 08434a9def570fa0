"""The trace and its standard error, and the three measures of alignment, agree with cases computed by hand."""

import numpy as np
import pytest
import torch
import valley_by_hand
from formula import Counted, symmetric, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from samviz.geometry import alignment, hessian_trace, top_eigenpairs
from samviz.problems import quadratic, valley

STABLE = settings(max_examples=25, deadline=None, derandomize=True)


pytestmark = pytest.mark.usefixtures("one_thread")


# trace


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 20))
def test_a_small_trace_is_exact(seed, dim):
    a = symmetric(seed, dim)
    trace = hessian_trace(quadratic(a), torch.zeros(2, dim))
    np.testing.assert_allclose(trace.value, [np.trace(a)] * 2, rtol=1e-12, atol=1e-12)
    assert trace.exact
    assert torch.equal(trace.standard_error, torch.zeros(2).double())
    x = np.array([0.3, 0.7, 0.2, -0.4])
    assert hessian_trace(valley(), tensor(*x)).value.item() == pytest.approx(valley_by_hand.trace(x), rel=1e-12)


def spread_matrix(dim=60):
    """Return a matrix with a few large eigenvalues, also negative ones, and a bulk; its trace and its eigenvectors."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    spectrum = np.concatenate([[30.0, 10.0, -8.0, 5.0], 1 + rng.normal(size=dim - 4)])
    a = (basis * spectrum) @ basis.T
    return (a + a.T) / 2, spectrum.sum(), basis


def estimates(problem, seeds=400, **options):
    traces = [hessian_trace(problem, torch.zeros(problem.dim), seed=s, **options) for s in range(seeds)]
    return np.array([t.value.item() for t in traces]), np.array([t.standard_error.item() for t in traces])


@pytest.mark.parametrize(("products", "known"), [(12, False), (30, False), (30, True), (96, False)])
def test_the_estimate_is_unbiased_and_its_standard_error_is_correct(products, known):
    a, exact, basis = spread_matrix()
    subspace = torch.from_numpy(basis[:, :4].T.copy())[None] if known else None
    assert not hessian_trace(quadratic(a), torch.zeros(60), products=products).exact
    values, errors = estimates(quadratic(a), products=products, subspace=subspace)
    assert abs(values.mean() - exact) < 4 * values.std() / len(values) ** 0.5
    # the mean of the squared standard error is the variance: 400 draws determine it to about 10 %
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.25)
    score = np.abs(values - exact) / errors
    assert 0.55 < np.mean(score < 1) < 0.75  # 68 % for a normal law, less for a t law with 3 degrees of freedom
    assert np.mean(score < 4) > 0.95
    if known:  # 26 rows of random signs: Var = 2(‖B‖² − Σ Bᵢᵢ²)/26 with B = (I − QQᵀ)A(I − QQᵀ)
        rest = np.eye(60) - basis[:, :4] @ basis[:, :4].T
        b = rest @ a @ rest
        assert values.std() == pytest.approx(np.sqrt(2 * ((b**2).sum() - (np.diag(b) ** 2).sum()) / 26), rel=0.15)
    if products == 96:
        assert errors.mean() < estimates(quadratic(a), seeds=60, products=12)[1].mean() / 4


def test_a_subspace_that_contains_the_range_leaves_no_error():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(60, 3)))[0]
    a = (basis * [3.0, -2.0, 7.0]) @ basis.T
    problem = quadratic((a + a.T) / 2)
    given_one = hessian_trace(problem, torch.zeros(60), products=9, subspace=torch.from_numpy(basis.T.copy())[None])
    found = hessian_trace(problem, torch.zeros(60), products=18)
    for trace in (given_one, found):
        assert trace.value.item() == pytest.approx(8.0, rel=1e-10)
        assert trace.standard_error.item() < 1e-10


def test_the_estimate_is_correct_at_two_points_of_a_network(network):
    problem, x = network[0], torch.stack([network[1], network[0].initial(0)])
    exact = problem.hessian(x).diagonal(dim1=1, dim2=2).sum(1)
    for options in ({}, {"products": 36, "subspace": top_eigenpairs(problem, x, 3).start}):
        traces = [hessian_trace(problem, x, seed=s, **options) for s in range(40)]
        values, errors = (torch.stack(part) for part in zip(*((t.value, t.standard_error) for t in traces)))
        assert bool(((values.mean(0) - exact).abs() < 4 * values.std(0) / 40**0.5).all())
        torch.testing.assert_close((errors**2).mean(0).sqrt(), values.std(0), rtol=0.4, atol=0)
        assert errors[:, 0].max() < 0.01 * exact[0]  # at the minimum a few eigenvalues are nearly all of the trace


@pytest.mark.parametrize("rows", [None, 5])
@pytest.mark.parametrize("products", [30, 100])
def test_products_are_counted_and_spent(products, rows):
    problem = Counted(torch.diag(torch.arange(60.0, dtype=torch.float64))[None])
    subspace = None if rows is None else torch.eye(60, dtype=torch.float64)[None, :rows]
    trace = hessian_trace(problem, torch.zeros(60), products=products, subspace=subspace)
    assert trace.products == problem.spent
    assert products - 2 <= problem.spent <= products  # what was granted, up to thirds


def test_known_curvatures_of_the_subspace_take_no_products():
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


@pytest.mark.parametrize(
    ("spectrum", "x", "cos_v1", "cos_eigenspace", "rayleigh", "multiplicity", "gap"),
    [  # the gradient is spectrum · x
        ([4.0, 3.9, 1.0], [1, 1, 0], 4 / np.hypot(4, 3.9), 1, (64 + 3.9**3) / (4 * (16 + 3.9**2)), 2, 0.1 / 4),
        ([4.0, 3.0, 1.0], [1, 1, 1], 4 / 26**0.5, 4 / 26**0.5, (64 + 27 + 1) / (4 * 26), 1, 0.25),
        ([3.0, 1.0], [4 / 3, -3], 0.8, 0.8, (3 * 16 + 9) / (3 * 25), 1, 2 / 3),
        ([3.0, 1.0], [-4 / 3, 3], 0.8, 0.8, (3 * 16 + 9) / (3 * 25), 1, 2 / 3),  # an eigenvector has no sign
        ([2.0, -1.0], [0, 1], 0, 0, -0.5, 1, 1.5),  # negative curvature along the gradient
        ([-1.0, -2.0], [1, 1], 1 / 5**0.5, 1 / 5**0.5, -9 / 5, 1, 1),  # only negative curvature
        ([2.0], [1], 1, 1, 1, 1, np.inf),
    ],
)
def test_alignment_by_hand(spectrum, x, cos_v1, cos_eigenspace, rayleigh, multiplicity, gap):
    found = alignment(quadratic(spectrum), tensor(*map(float, x)))
    assert found.cos_v1.item() == pytest.approx(cos_v1)
    assert found.cos_eigenspace.item() == pytest.approx(cos_eigenspace)
    assert found.rayleigh.item() == pytest.approx(rayleigh)
    assert found.multiplicity.item() == multiplicity
    assert found.gap.item() == pytest.approx(gap)
    assert found.closing.item() is (multiplicity > 1)


@pytest.mark.parametrize(("close", "multiplicity"), [(0.0, 1), (0.02, 1), (0.03, 2), (0.5, 2), (0.8, 3)])
def test_close_determines_the_top_eigenspace(close, multiplicity):
    got = alignment(quadratic([4.0, 3.9, 1.0]), tensor(1.0, 1.0, 1.0), close=close)
    inside = np.array([4.0, 3.9, 1.0])[:multiplicity]
    assert got.multiplicity.item() == multiplicity
    assert got.closing.item() is (multiplicity > 1)
    assert got.cos_eigenspace.item() == pytest.approx(np.linalg.norm(inside) / np.linalg.norm([4.0, 3.9, 1.0]))


def test_a_degenerate_eigenspace_has_full_alignment():
    """In a degenerate eigenspace v₁ may be any vector of it; the other two measures do not depend on it."""
    for angle in np.linspace(0, np.pi, 7):
        point = tensor(np.cos(angle), np.sin(angle), 0.0)
        got = alignment(quadratic([2.0, 2.0, 1.0]), point)
        assert got.cos_eigenspace.item() == pytest.approx(1)
        assert got.rayleigh.item() == pytest.approx(1)
        assert got.gap.item() == pytest.approx(0, abs=1e-14)


def test_the_alignment_of_a_zero_gradient_is_nan():
    got = alignment(quadratic([2.0, 1.0]), tensor([0.0, 0.0], [1.0, 0.0]))
    for measure in (got.cos_v1, got.cos_eigenspace, got.rayleigh):
        assert torch.isnan(measure[0])
        assert measure[1].item() == pytest.approx(1)
    assert got.gap.tolist() == [0.5, 0.5]


def test_a_given_vector_and_given_eigenpairs_are_used():
    problem, x = quadratic([2.0, 1.0]), tensor(1.0, 0.0)
    assert alignment(problem, x, gradient=tensor([0.0, 3.0])).cos_v1.item() == pytest.approx(0)
    assert alignment(problem, x, gradient=tensor([3.0, 4.0])).cos_v1.item() == pytest.approx(0.6)
    others = top_eigenpairs(quadratic([1.0, 2.0]), x, 2)  # of another Hessian, to see that they are used
    assert alignment(problem, x, eigenpairs=others).cos_v1.item() == pytest.approx(0)


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(2, 12))
def test_the_measures_agree_with_the_dense_hessian_and_are_ordered(seed, dim):
    """cos₁ ≤ cos with the eigenspace ≤ 1, and for H ⪰ 0: cos₁² ≤ Rayleigh ≤ 1."""
    a, x = symmetric(seed, dim), np.random.default_rng(seed).normal(size=(4, dim))
    a = a @ a
    got = alignment(quadratic(a), torch.from_numpy(x))
    values, vectors = np.linalg.eigh(a)
    along = ((x @ a) / np.linalg.norm(x @ a, axis=1, keepdims=True) @ vectors)[:, ::-1]
    np.testing.assert_allclose(got.cos_v1, np.abs(along[:, 0]), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(got.rayleigh, along**2 @ values[::-1] / values[-1], rtol=1e-9)
    np.testing.assert_allclose(got.gap, [(values[-1] - values[-2]) / values[-1]] * 4, rtol=1e-9, atol=1e-12)
    slack = 1e-12
    assert bool((got.cos_v1 <= got.cos_eigenspace + slack).all())
    assert bool((got.cos_eigenspace <= 1).all())
    assert bool((got.cos_v1**2 <= got.rayleigh + slack).all())
    assert bool((got.rayleigh <= 1 + slack).all())
