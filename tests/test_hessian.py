"""Trace, manifold of minimizers and limiting regularizers agree with closed forms and finite differences."""

import numpy as np
import pytest
import torch
import valley_by_hand
from formula import SHARPNESSES, Counted, symmetric, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from samviz.geometry import (
    hessian_trace,
    limiting_regularizer,
    normal_space,
    spectral_density,
    third_derivative,
    top_eigenpairs,
)
from samviz.problems import mlp, quadratic, valley

STABLE = settings(max_examples=15, deadline=None, derandomize=True)
FLOOR = [(0.5, 0.5, 0.0, 0.0), (0.2, 0.9, 0.0, 0.0), (1.0, 0.1, 0.0, 0.0)]


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
    """Return the estimates and the standard errors of the second of two runs."""
    traces = [hessian_trace(problem, torch.zeros(2, problem.dim), seed=s, **options) for s in range(seeds)]
    return np.array([t.value[1].item() for t in traces]), np.array([t.standard_error[1].item() for t in traces])


@pytest.mark.parametrize(("products", "known"), [(12, False), (30, False), (30, True), (96, False)])
def test_the_estimate_is_unbiased_and_its_standard_error_is_correct(products, known):
    a, exact, basis = spread_matrix()
    subspace = torch.from_numpy(basis[:, :4].T.copy()).expand(2, -1, -1) if known else None
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


def singular(rng, dim, spectrum):
    """Return a symmetric matrix with these non-zero eigenvalues, and its eigenvectors as columns."""
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    a = (basis[:, : len(spectrum)] * spectrum) @ basis[:, : len(spectrum)].T
    return (a + a.T) / 2, basis


# normal and tangent space


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(2, 15), data=st.data())
def test_the_tangent_part_is_an_orthogonal_projection(seed, dim, data):
    rank = data.draw(st.integers(0, dim))
    rng = np.random.default_rng(seed)
    a, basis = singular(rng, dim, rng.uniform(0.1, 5, rank))
    space = normal_space(quadratic(a), torch.zeros(2, dim))
    assert space.rank.tolist() == [rank, rank]
    projector = space.tangent(torch.eye(dim).double().expand(2, -1, -1))[1].numpy()
    np.testing.assert_allclose(projector, projector.T, atol=1e-12)
    np.testing.assert_allclose(projector @ projector, projector, atol=1e-12)
    np.testing.assert_allclose(projector, basis[:, rank:] @ basis[:, rank:].T, atol=1e-8)
    np.testing.assert_allclose(projector @ a, 0, atol=1e-8)
    assert np.trace(projector) == pytest.approx(dim - rank)
    vectors, values = space.vectors[0].numpy(), space.values[0].numpy()
    np.testing.assert_allclose((vectors.T * values) @ vectors, a, atol=1e-12)


def test_an_interpolating_network_has_as_many_normal_directions_as_samples():
    """Setting 5.1: at a zero of three losses the Hessian is the Gram matrix of three gradients: rank 3."""
    inputs, targets = np.array([[-0.5], [0.1], [0.9]]), np.array([[1.0], [-1.0], [0.3]])
    probe = mlp([1, 6, 1], "tanh", (inputs, targets))
    x = probe.initial(3)
    problem = mlp([1, 6, 1], "tanh", (inputs, probe.outputs(x[None], probe.inputs)[0].numpy()))
    space = normal_space(problem, x)
    assert space.rank.item() == 3
    assert space.separation.item() > 1e6
    # its stochastic limits: each sample's Hessian has rank one, so λ₁ = λ_M = Tr, and the mean of the traces is Tr
    away = x + 1e-7 * torch.randn(problem.dim, generator=torch.Generator().manual_seed(0)).double()
    rho = 1e-3
    for kind, measure in SHARPNESSES.items():
        expected = measure(problem, away if kind == "ascent" else x, rho, True).value.item() / rho**2
        assert limiting_regularizer(problem, x, kind, True).value.item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("spectrum", "rank_tol", "rank", "separation"),
    [
        ([2.0, 0.1, 1e-4, 1e-7, 0.0], 1e-1, 1, 2 / 0.1),
        ([2.0, 0.1, 1e-4, 1e-7, 0.0], 1e-2, 2, 0.1 / 1e-4),
        ([2.0, 0.1, 1e-4, 1e-7, 0.0], 1e-5, 3, 1e-4 / 1e-7),
        ([2.0, 0.1, 1e-4, 1e-7, 0.0], 1e-8, 4, np.inf),
        ([3.0, 1e-3, 0.0, -2.0], 1e-6, 2, 5e-4),  # off Γ: the rank is uncertain, in spite of the zero in between
        ([3.0, 1.0], 1e-6, 2, np.inf),
        ([0.0, 0.0], 1e-6, 0, np.nan),
        ([-1.0, -2.0], 1e-6, 0, np.nan),
    ],
)
def test_the_rank_counts_eigenvalues_above_the_tolerance(spectrum, rank_tol, rank, separation):
    dim = len(spectrum)
    space = normal_space(quadratic(spectrum), torch.zeros(dim), rank_tol=rank_tol)
    assert space.rank.item() == rank
    assert space.smallest.item() == pytest.approx(spectrum[rank - 1] if rank else np.nan, nan_ok=True)
    assert space.separation.item() == pytest.approx(separation, nan_ok=True)
    expected = np.where(np.arange(dim) < rank, 0, 1)
    np.testing.assert_allclose(space.tangent(torch.ones(1, 1, dim))[0, 0], expected, atol=1e-12)


# the third derivative


@pytest.mark.parametrize(
    "problem", [valley(), *(mlp([1, 6, 6, 1], name, "sine") for name in ("tanh", "softplus"))], ids=repr
)
def test_the_third_derivative_is_the_gradient_of_the_curvature_along_fixed_vectors(problem):
    """By central differences of vᵀHv; along an eigenvector of a simple eigenvalue that is the eigenvalue's gradient."""
    x = torch.stack([1.5 * problem.initial(0) + 0.1, problem.initial(1)])
    v = torch.randn(2, 3, problem.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v[0, 0] = torch.linalg.eigh(problem.hessian(x[:1])[0]).eigenvectors[:, -1]
    got = third_derivative(problem, x, v)
    assert not got.requires_grad
    flat = third_derivative(quadratic([3.0, 1.0]), torch.ones(2).double(), torch.ones(1, 3, 2))
    assert torch.equal(flat, torch.zeros(1, 3, 2).double())  # in x's precision, not v's
    shifts = 1e-5 * torch.eye(problem.dim).double()
    for r in range(2):
        ahead, behind = (problem.hessian(x[r] + sign * shifts) for sign in (1, -1))
        for j in range(3):
            expected = torch.einsum("a,iab,b->i", v[r, j], ahead - behind, v[r, j]) / 2e-5
            np.testing.assert_allclose(got[r, j], expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))
    ahead, behind = (torch.linalg.eigvalsh(problem.hessian(x[0] + sign * shifts))[:, -1] for sign in (1, -1))
    slope = (ahead - behind) / 2e-5
    np.testing.assert_allclose(got[0, 0], slope, rtol=1e-5, atol=1e-6 * float(slope.abs().max()))


# limiting regularizers


@pytest.mark.parametrize("x", FLOOR)
def test_the_regularizers_of_the_valley_agree_with_their_closed_forms(x):
    f = np.array(valley_by_hand.curvatures(x))
    got = {kind: limiting_regularizer(valley(), tensor(*x), kind) for kind in SHARPNESSES}
    assert got["worst"].value.item() == pytest.approx(f.max())
    assert got["ascent"].value.item() == pytest.approx(f.min())
    assert got["average"].value.item() == pytest.approx(f.sum() / 4)
    assert got["ascent"].rank.item() == 2
    assert got["ascent"].separation.item() > 1e10
    assert got["worst"].rank is None
    for regularizer in got.values():
        assert regularizer.error.item() < 1e-12
    for kind, expected in (("worst", f.sum()), ("ascent", f.sum()), ("average", f.sum() / 4)):
        assert limiting_regularizer(valley(), tensor(*x), kind, True).value.item() == pytest.approx(expected)


def test_the_regularizers_of_a_network_agree_with_its_dense_hessian(network):
    """At the sine network's minimum: λ₁/2 with its residual, Tr/(2D) with its standard error, λ_M/2."""
    problem, x = network
    spectrum = np.linalg.eigvalsh(problem.hessian(x[None])[0].numpy())[::-1]
    worst, average = (limiting_regularizer(problem, x, kind) for kind in ("worst", "average"))
    assert worst.value.item() == pytest.approx(spectrum[0] / 2, rel=1e-8)
    assert abs(worst.value.item() - spectrum[0] / 2) <= worst.error.item() + 1e-12
    assert 0 < worst.error.item() < 1e-5 * worst.value.item()
    assert abs(average.value.item() - spectrum.sum() / (2 * 673)) < 4 * average.error.item()
    assert 0 < average.error.item() < 0.01 * average.value.item()
    for rank_tol in (1e-6, 1e-2):
        ascent = limiting_regularizer(problem, x, "ascent", rank_tol=rank_tol)
        rank = int((spectrum > rank_tol * spectrum[0]).sum())
        assert ascent.rank.item() == rank
        assert ascent.value.item() == pytest.approx(spectrum[rank - 1] / 2, rel=1e-6)
        assert ascent.separation.item() == pytest.approx(spectrum[rank - 1] / np.abs(spectrum[rank:]).max(), rel=1e-6)


# all measures

OF_VALLEY = {kind: lambda problem, x, kind=kind: limiting_regularizer(problem, x, kind).value for kind in SHARPNESSES}
OF_VALLEY |= {"normal space": lambda problem, x: normal_space(problem, x).smallest}
OF_NETWORK = {
    "eigenvalues": lambda problem, x: top_eigenpairs(problem, x, 2).values,
    "trace": lambda problem, x: hessian_trace(problem, x).value,
    "density": lambda problem, x: torch.from_numpy(spectral_density(problem, x, probes=2, steps=20).trace()[0]),
}


@pytest.mark.parametrize("name", [*OF_VALLEY, *OF_NETWORK])
def test_runs_are_independent_and_single_precision_agrees_with_double(name, network):
    problem, x, measure = valley(), tensor(*map(list, FLOOR)), OF_VALLEY.get(name)
    if measure is None:
        problem, x, measure = network[0], torch.stack((0.5 * network[1], network[1])), OF_NETWORK[name]
    together = measure(problem, x)
    assert len(together) == len(x)
    torch.testing.assert_close(measure(problem, x[1]), together[1:2], rtol=1e-6, atol=0)
    single = measure(problem.to("cpu", torch.float32), x.float())
    assert single.dtype == (torch.float64 if name == "density" else torch.float32)
    torch.testing.assert_close(single.double(), together, rtol=1e-3, atol=0)
