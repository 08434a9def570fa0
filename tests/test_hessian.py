"""Trace, density of eigenvalues, manifold of minimizers and limiting regularizers agree with closed forms."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
import valley_by_hand
from formula import SHARPNESSES, counted, symmetric, tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from samviz.figures import density_figure
from samviz.geometry import (
    hessian_trace,
    limiting_regularizer,
    normal_space,
    spectral_density,
    third_derivative,
    top_eigenpairs,
)
from samviz.geometry.density import lanczos, quadrature
from samviz.problems import attach, mlp, quadratic, valley

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
    problem = counted(quadratic(np.arange(60.0)))
    subspace = None if rows is None else torch.eye(60, dtype=torch.float64)[None, :rows]
    trace = hessian_trace(problem, torch.zeros(60), products=products, subspace=subspace)
    assert trace.products == problem.spent
    assert products - 2 <= problem.spent <= products  # what was granted, up to thirds


def test_known_curvatures_of_the_subspace_take_no_products():
    a, _, basis = spread_matrix()
    problem = counted(quadratic(a))
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


MANY = settings(max_examples=25, deadline=None, derandomize=True)
RNG = np.random.default_rng(0)
# Similar to that of a network: outliers, one of them threefold, a bulk on both sides of 0, and many zeros
SPECTRUM = np.concatenate(
    [[30, 10, -8, 5, 5, 5], 0.5 * np.abs(RNG.normal(size=200)), np.zeros(300), RNG.normal(0, 0.05, 54)]
)
ZERO = torch.zeros(len(SPECTRUM))


def broadened(eigenvalues, points, width):
    """The mean of Gaussians around the eigenvalues."""
    away = (points - eigenvalues[:, None]) / width
    return np.exp(-(away**2) / 2).mean(0) / (width * np.sqrt(2 * np.pi))


@pytest.fixture(scope="module")
def measured(network):
    """A network, its minimum, and the eigenvalues of its dense Hessian there."""
    problem, x = network
    return problem, x, np.linalg.eigvalsh(problem.hessian(x[None])[0].numpy())


# Lanczos


@MANY
@given(seed=st.integers(0, 10**6), dim=st.integers(2, 25), steps=st.integers(1, 8))
def test_lanczos_gives_gauss_quadrature(seed, dim, steps):
    """Σ wθʲ = vᵀHʲv up to 2·steps − 1, with weights that sum to 1, nodes in the spectrum and true residuals."""
    h, steps = torch.from_numpy(symmetric(seed, dim)), min(steps, dim)
    start = torch.from_numpy(np.random.default_rng(seed + 1).normal(size=(1, 3, dim)))
    basis, recurrence, products = lanczos(lambda v: v @ h, start, start[:, :0], steps)
    nodes, mixing, residuals = quadrature(recurrence.numpy())
    ritz = mixing[0, 0].T @ basis[0].numpy()
    remainder = np.linalg.norm(ritz @ h.numpy() - nodes[0, 0][:, None] * ritz, axis=1)
    np.testing.assert_allclose(residuals[0, 0], remainder, atol=1e-11)
    weights = mixing[..., 0, :] ** 2
    values, vectors = np.linalg.eigh(h.numpy())
    along = (start[0].numpy() @ vectors) ** 2
    along /= along.sum(1, keepdims=True)
    assert products == 3 * steps
    np.testing.assert_allclose(weights.sum(2), 1, rtol=1e-12)
    scale = np.abs(values).max()
    assert values[0] - 1e-12 * scale <= nodes.min()
    assert nodes.max() <= values[-1] + 1e-12 * scale
    for j in range(2 * steps):
        np.testing.assert_allclose(
            (weights * (nodes / scale) ** j).sum(2)[0], along @ (values / scale) ** j, atol=1e-11
        )


def test_no_copies_of_eigenvalues_appear():
    spectrum = torch.cat((torch.tensor([1000.0, 300.0]), torch.linspace(0, 1, 98))).double()
    start = torch.ones(1, 1, 100).double()
    nodes, _, _ = quadrature(lanczos(lambda v: v * spectrum, start, start[:, :0], 60)[1].numpy())
    assert (nodes > 2).sum() == 2
    first = torch.eye(100).double()[None, :1]
    nodes, _, _ = quadrature(lanczos(lambda v: v * spectrum, start, first, 60)[1].numpy())
    assert (nodes > 301).sum() == 0  # that direction is excluded


@pytest.mark.parametrize("steps", [8, 20, 40])
@pytest.mark.parametrize(
    "spectrum",
    [
        np.linspace(0, 1, 3000),
        np.sin(np.linspace(-1.57, 1.57, 3000)),
        np.linspace(0, 1, 3000) ** 2,
        np.append(np.zeros(1500), np.linspace(0, 1, 60)),
        np.random.default_rng(0).normal(size=3000),
    ],
    ids=["even", "edges", "root", "sparse", "normal"],
)
def test_the_steps_resolve_the_default_width(spectrum, steps):
    """The default width limits the error of the quadrature to 2 % of the density's height, as documented."""
    start = torch.ones(1, 1, len(spectrum)).double()
    recurrence = lanczos(lambda v: v * torch.from_numpy(spectrum), start, start[:, :0], steps)[1].numpy()
    nodes, mixing, _ = (part[0, 0] for part in quadrature(recurrence))
    width = 0.75 / steps * (max(nodes.max(), 0) - min(nodes.min(), 0))
    points = np.linspace(spectrum.min() - 3 * width, spectrum.max() + 3 * width, 400)
    exact = broadened(spectrum, points, width)
    rule = (mixing[0] ** 2 * len(nodes)) @ np.exp(-(((points - nodes[:, None]) / width) ** 2) / 2)
    np.testing.assert_allclose(rule / len(nodes) / (width * np.sqrt(2 * np.pi)), exact, atol=0.0205 * exact.max())


# the density


@MANY
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 20))
def test_a_small_spectrum_is_exact(seed, dim):
    for h in (symmetric(seed, dim), -symmetric(seed, dim)):
        found = spectral_density(quadratic(h), torch.zeros(dim))
        values = np.linalg.eigvalsh(h)
        assert found.exact
        assert found.products == dim
        assert not found.standard_error.any()
        np.testing.assert_allclose(found.nodes[0, 0], values, atol=1e-11)
        np.testing.assert_allclose(found.edges[0][0], values[[0, -1]], atol=1e-11)
        np.testing.assert_allclose(found.density[0], broadened(values, found.grid[0], found.width[0]), atol=1e-8)
        np.testing.assert_allclose(found.trace()[0], np.trace(h), atol=1e-10)
        assert np.trapezoid(found.density[0], found.grid[0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_a_hessian_of_low_rank_has_its_trace_without_a_sampling_error(seed, dtype):
    """Three samples give a linear model three non-zero eigenvalues, fewer than the Lanczos steps."""
    torch.manual_seed(seed)
    inputs, targets = torch.randn(3, 2000, dtype=dtype), torch.randn(3, 1, dtype=dtype)
    problem = attach(nn.Linear(2000, 1, bias=False, dtype=dtype), nn.MSELoss(), (inputs, targets))
    found = spectral_density(problem, problem.initial(), seed=seed)
    values = 2 / 3 * np.linalg.svd(inputs.double().numpy(), compute_uv=False) ** 2
    value, error = found.trace()
    assert value[0] == pytest.approx(values.sum(), rel=1e-5)
    assert error[0] < 1e-5 * values.sum()
    np.testing.assert_allclose(found.edges[0][0], [0, values[0]], atol=1e-5 * values[0])
    counted = found.weights[0] * (np.abs(found.nodes[0]) > 1)
    np.testing.assert_allclose(2000 * counted.sum(1), 3, rtol=1e-5)


def test_the_density_of_a_network_agrees_with_its_dense_hessian(measured):
    problem, x, values = measured
    found = spectral_density(problem, x)
    assert not found.exact
    assert found.products == 9 * 40
    assert spectral_density(problem, x, steps=problem.dim).exact
    exact = broadened(values, found.grid[0], found.width[0])
    allowed = 4 * found.standard_error[0] + 0.02 * exact.max()
    assert (np.abs(found.density[0] - exact) < allowed).all()
    outside = found.grid[0] > 0.5 * values[-1]  # known one by one: no sampling error, and none of the rule
    np.testing.assert_allclose(found.density[0][outside], exact[outside], atol=1e-5 * exact.max())
    for f in (np.positive, np.square):
        value, error = found.trace(f)
        assert abs(value[0] - f(values).sum()) < 4 * error[0]
    ends, residuals = (part[0] for part in found.edges)
    assert ends[1] == pytest.approx(values[-1], rel=1e-9)
    assert values[0] <= ends[0]
    assert np.abs(values - ends[0]).min() <= residuals[0] < 0.1 * abs(ends[0])


def test_the_standard_errors_are_correct():
    """With 8 probes, Student's law with 7 degrees of freedom: 91 % within two standard errors."""
    problem, points = quadratic(SPECTRUM), np.linspace(-0.2, 1, 7)
    exact = broadened(SPECTRUM, points, 0.2)
    scores, traces, spread = [], [], []
    for seed in range(80):
        found = spectral_density(problem, ZERO, probes=8, steps=16, seed=seed)
        value, error = found.at(points, 0.2)
        scores.append((value[0] - exact) / error[0])
        value, error = found.trace()
        traces.append((value[0] - SPECTRUM.sum()) / error[0])
        spread.append((value[0], error[0]))
    assert 0.85 < np.mean(np.abs(traces) < 2) < 0.97
    assert 0.83 < np.mean(np.abs(scores) < 2) < 0.97
    value, error = np.array(spread).T
    assert abs(value.mean() - SPECTRUM.sum()) < 4 * value.std() / 80**0.5
    assert np.sqrt((error**2).mean()) == pytest.approx(value.std(), rel=0.25)


@pytest.mark.parametrize("dim", [3, 600])
def test_a_hessian_that_is_not_finite_is_refused(dim):
    model = nn.Linear(dim, 1, bias=False).double()
    problem = attach(
        model, lambda out, y: (out.sum() - out.sum()).sqrt() + y.sum(), (torch.ones(2, dim), torch.ones(2))
    )
    with pytest.raises(ValueError, match="NaN or infinity; pass an x where it is finite"):
        spectral_density(problem, problem.initial())


def test_the_figure_shows_the_density_its_band_and_the_top_eigenvalues(measured):
    problem, x, values = measured
    found, top = spectral_density(problem, x, probes=4), top_eigenpairs(problem, x, 3)
    figure = density_figure(found, top)
    go.Figure(figure["data"], figure["layout"])  # plotly names what it does not know
    traces = {trace["name"]: trace for trace in figure["data"]}
    upper, lower = np.split(traces["± 1 s.e."]["y"], 2)
    visible = lower[::-1] > traces["density"]["y"].min()
    np.testing.assert_allclose(
        (upper - lower[::-1])[visible], 2 * found.standard_error[0][visible], rtol=1e-6, atol=1e-12
    )
    np.testing.assert_allclose(traces["top eigenvalues"]["x"], values[:-4:-1], rtol=1e-5)
    assert traces["top eigenvalues"]["text"] == ["λ₁", "λ₂", "λ₃"]
    assert set(traces["top eigenvalues"]["marker"]["symbol"]) == {"circle"}
    peak = found.at(values[-1:])[0][0]  # λ₁ stands alone, so that its peak is as high as a single eigenvalue's
    np.testing.assert_allclose(traces["one eigenvalue"]["y"], peak[[0, 0]], rtol=1e-3)
    low, high = figure["layout"]["yaxis"]["range"]
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert 10**low < peak[0] < found.density.max() < 10**high
    assert "± 1 s.e. over 4 probes" in figure["layout"]["annotations"][0]["text"]


def test_the_figure_reports_unknown_and_absent_errors_and_marks_what_has_not_converged():
    single = density_figure(spectral_density(quadratic(SPECTRUM), ZERO, probes=1, steps=9))
    exact = density_figure(spectral_density(quadratic([1.0, 4.0]), torch.zeros(2)))
    for figure, words in ((single, "one probe, error unknown"), (exact, "exact")):
        assert figure["layout"]["annotations"][0]["text"].endswith(words)
    assert np.isnan(single["data"][0]["y"]).all()  # no band
    problem = quadratic(SPECTRUM)
    rough = top_eigenpairs(problem, ZERO, 2, max_products=6)
    marks = density_figure(spectral_density(problem, ZERO, probes=2, steps=9), rough)["data"][-1]
    assert "circle-open" in marks["marker"]["symbol"]
    assert marks["error_x"]["array"] == rough.residuals[0].tolist()
