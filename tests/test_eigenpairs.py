"""Top eigenpairs agree with numpy's, on matrices with a known spectrum and on a network; so does the alignment."""

from functools import cache

import numpy as np
import pytest
import torch
from formula import counted, symmetric, tensor
from hypothesis import given, settings
from hypothesis import strategies as st

from samviz.dynamics import Run
from samviz.geometry import alignment, top_eigenpairs
from samviz.problems import mlp, quadratic

STABLE = settings(max_examples=20, deadline=None, derandomize=True)
TRACKING = 1e-2  # the tolerance that a run is measured with
LARGE = 520  # more parameters than are diagonalized densely


@pytest.fixture(scope="module")
def basis():
    """Orthonormal columns (LARGE, LARGE)."""
    return np.linalg.qr(np.random.default_rng(0).normal(size=(LARGE, LARGE)))[0]


def matrix(basis, spectrum):
    a = (basis * spectrum) @ basis.T
    return (a + a.T) / 2


def bulk(*rest, low=0.0, high=1.0):
    """Return a spectrum of LARGE numbers: the given ones, and the others distributed over [low, high]."""
    spread = np.random.default_rng(1).uniform(low, high, LARGE - len(rest))
    return np.concatenate([spread, rest])


def check(pairs, a, k, tol=1e-8):
    """Assert that the values are the k largest, the residuals true and the vectors orthonormal."""
    expected = np.linalg.eigvalsh(a)[::-1][:k]
    size = np.linalg.norm(a, 2)
    vectors, values = pairs.vectors[0].numpy(), pairs.values[0].numpy()
    np.testing.assert_allclose(values, expected, rtol=0, atol=max(tol * abs(expected).max(), 1e-14 * size))
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), atol=1e-10)
    residuals = np.linalg.norm(vectors @ a - values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(pairs.residuals[0], residuals, rtol=1e-4, atol=1e-12 * size)
    assert bool(pairs.converged.all())


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 30), data=st.data())
def test_small_hessians_are_diagonalized(seed, dim, data):
    k = data.draw(st.integers(1, dim))
    a = symmetric(seed, dim)
    pairs = top_eigenpairs(quadratic(a), torch.zeros(dim), k)
    check(pairs, a, k, tol=1e-12)
    spectrum = np.linalg.eigvalsh(a)[::-1]
    distances = np.abs(spectrum[:, None] - spectrum) + np.diag([np.inf] * dim)
    np.testing.assert_allclose(pairs.gaps[0], distances.min(1)[:k], atol=1e-12 * dim)
    assert pairs.exact
    assert pairs.products == dim


@pytest.mark.parametrize(
    ("spectrum", "k"),
    [
        pytest.param(np.random.default_rng(2).normal(size=LARGE), 3, id="no gap to speak of"),
        pytest.param(bulk(-20.0, -15.0, -3.0), 3, id="the largest by magnitude are negative"),
        pytest.param(bulk(low=-2.0, high=-1.0), 2, id="all negative"),
        pytest.param(bulk(5.0, 5.0 + 1e-10, 4.9), 2, id="the two largest agree to 1e-10"),
        pytest.param(bulk(*[5.0] * 6), 2, id="six times the same"),
        pytest.param(bulk(*[5.0] * 12, 4.0), 3, id="more often the same than a block is wide"),
        pytest.param(bulk(5.0, 5.0 - 1e-6), 2, id="a gap of 1e-6"),
        pytest.param(bulk(3.0, 2.0, low=0.0, high=0.0), 2, id="rank two"),
        pytest.param(bulk(3.0, 2.0, low=0.0, high=0.0), 5, id="rank below k"),
        pytest.param(bulk(-3.0, -2.0, low=0.0, high=0.0), 2, id="rank two and negative"),
        pytest.param(bulk(low=0.0, high=0.0), 3, id="zero"),
        pytest.param(bulk(low=1.0, high=1.0), 3, id="the identity"),
        pytest.param(1e-9 * bulk(5.0, 4.0), 2, id="tiny numbers"),
        pytest.param(1e9 * bulk(5.0, 4.0), 2, id="huge numbers"),
        *(pytest.param(np.random.default_rng(2).normal(size=LARGE), k, id=f"{k} of many") for k in (1, 90, 260, LARGE)),
    ],
)
def test_large_hessians(basis, spectrum, k):
    """Cold, and from fewer vectors than k, which are off by 1 % or entirely."""
    a = matrix(basis, spectrum)
    exact = np.linalg.eigh(a)[1].T[::-1][: max(1, k - 1)]
    noise = np.random.default_rng(3).normal(size=exact.shape) / LARGE**0.5
    for start in (None, exact + 0.01 * noise, noise):
        warm = None if start is None else torch.from_numpy(start)[None]
        pairs = top_eigenpairs(quadratic(a), torch.zeros(LARGE), k, start=warm)
        check(pairs, a, k)
        assert not pairs.exact


@pytest.mark.parametrize("rest", [(5.0, 4.0, 3.0), (5.0, 5.0), (-20.0, -15.0), ()], ids=str)
@pytest.mark.parametrize("high", [0.0, 1.0])
@pytest.mark.parametrize("k", [1, 2])
def test_a_loose_tolerance_takes_fewer_products_and_its_residuals_are_true(basis, rest, high, k):
    a, x = matrix(basis, bulk(*rest, high=high)), torch.zeros(LARGE)
    loose, strict = (top_eigenpairs(quadratic(a), x, k, tol=tol) for tol in (0.05, 1e-6))
    assert loose.products < strict.products or not high
    assert bool(loose.converged.all())
    vectors, values = loose.vectors[0].numpy(), loose.values[0].numpy()
    residuals = np.linalg.norm(vectors @ a - values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(loose.residuals[0], residuals, rtol=1e-4, atol=1e-12)
    distances = np.abs(np.linalg.eigvalsh(a) - values[:, None]).min(1)
    assert (distances <= residuals + 1e-12).all()
    assert abs(values[0] - np.linalg.eigvalsh(a)[-1]) <= 0.05 * np.linalg.norm(a, 2)


@pytest.mark.parametrize("max_products", [2000, 50, 25, 10, 1])
def test_products_are_counted_and_too_few_are_reported_as_not_converged(basis, max_products):
    a = matrix(basis, np.random.default_rng(2).normal(size=LARGE))
    problem = counted(quadratic(a))
    pairs = top_eigenpairs(problem, torch.zeros(LARGE), 3, max_products=max_products)
    vectors, values = pairs.vectors[0].numpy(), pairs.values[0].numpy()
    assert pairs.products == problem.spent <= max(max_products, 4)
    residuals = np.linalg.norm(vectors @ a - values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(pairs.residuals[0], residuals, rtol=1e-9, atol=1e-12)
    if max_products < 50:
        assert not bool(pairs.converged.any())
        assert np.abs(values - np.linalg.eigvalsh(a)[::-1][:3]).max() > 1e-3


@pytest.mark.parametrize("lowest", [-1e3, -1e6])
def test_converged_values_are_correct_whatever_lies_below(basis, lowest):
    """The tolerance of a residual is tol·max(gap, ⅔|λ|): a large negative eigenvalue must not increase it."""
    spectrum = bulk(lowest)
    pairs = top_eigenpairs(quadratic(matrix(basis, spectrum)), torch.zeros(LARGE), 1, max_products=5000)
    error = abs(pairs.values[0, 0].item() - np.sort(spectrum)[-1])
    assert error < 1e-6 or not bool(pairs.converged.all())


@pytest.mark.parametrize("tol", [None, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("overtaker", [5.001, 6.0, 20.0])
@pytest.mark.parametrize("axes", [True, False], ids=["on the axes", "turned"])
def test_a_warm_start_finds_a_new_largest_eigenvalue_outside_its_span(basis, axes, overtaker, tol):
    """The start contains the old top five exactly, and has no component along the new top vector.

    On the axes there is none even by rounding, so that the residuals of the start are zero.
    """
    basis = np.eye(LARGE) if axes else basis
    spectrum = bulk(5.0, 4.0, 3.0, 2.5, 2.2, overtaker)
    start = torch.from_numpy(basis[:, LARGE - 6 : LARGE - 1].T.copy())[None]
    problem = quadratic(matrix(basis, spectrum))
    pairs = top_eigenpairs(problem, torch.zeros(LARGE), 3, start=start, tol=tol)
    np.testing.assert_allclose(pairs.values[0], [overtaker, 5.0, 4.0], rtol=tol or 1e-9)


def test_every_fiftieth_call_starts_cold_and_finds_what_warm_calls_miss(basis):
    """An eigenvalue of 1.1 appears above a dense bulk from −100 to 1: the guard rises by 1/200 of the gap per call."""
    low = np.linspace(-100, 1, LARGE)
    before, after = (quadratic(matrix(basis, np.where(np.arange(LARGE) == 9, ninth, low))) for ninth in (0.0, 1.1))
    pairs, x = top_eigenpairs(before, torch.zeros(LARGE), tol=TRACKING), torch.zeros(LARGE)
    assert pairs.age == 0
    assert top_eigenpairs(after, x, start=pairs.start, tol=TRACKING).age == 1  # the age of plain vectors is unknown
    for age in [*range(1, 50), 0, 1]:
        pairs = top_eigenpairs(after, x, start=pairs, tol=TRACKING)
        assert pairs.age == age
        assert bool(pairs.converged.all())
        assert age != 49 or float(pairs.values) < 1.001  # the warm calls have missed it
    assert float(pairs.values) == pytest.approx(1.1, rel=1e-3)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize(("scale", "dtype"), [(1, torch.float32), (1e-36, torch.float32), (1e-200, torch.float64)])
def test_single_precision_and_tiny_hessians_whose_squares_underflow(basis, scale, dtype, warm):
    problem = quadratic(scale * matrix(basis, bulk(5.0, 4.0, 3.0))).to("cpu", dtype)
    start = torch.from_numpy(basis[:, :4].T.copy())[None] if warm else None  # far from the top
    pairs = top_eigenpairs(problem, torch.zeros(LARGE), 3, start=start)
    assert pairs.values.dtype == dtype
    np.testing.assert_allclose(pairs.values[0].double() / scale, [5, 4, 3], rtol=1e-4)
    assert bool(pairs.converged.all())
    assert (pairs.residuals > 0).all()


def track(path, k):
    """Errors of the first k eigenvalues, relative to λ₁ (calls, k), and products (calls,), of every warm call."""
    start, errors, products = None, [], []
    for problem, x, exact in path:
        pairs = top_eigenpairs(problem, x, k, start=start, tol=TRACKING)
        if start is not None:
            errors.append(np.abs(pairs.values[0].numpy() - exact[:k]) / abs(exact[0]))
            products.append(pairs.products)
            assert bool(pairs.converged.all())
        start = pairs.start
    return np.array(errors), np.array(products)


@cache
def small_network():
    """Return a network with 501 parameters, one more than are diagonalized densely."""
    problem = counted(mlp([2, 20, 20, 1], "tanh", "spirals"))
    assert problem.dim == 501
    return problem


EDGES = {
    "gradient descent at the edge of stability": ({"rule": "gd", "lr": 0.3, "rho": 0.0}, 3000),
    "SAM with batches of 8": ({"rule": "sam", "lr": 0.1, "rho": 0.05, "batch_size": 8}, 1500),
    "from the start": ({"rule": "gd", "lr": 0.3, "rho": 0.0}, 0),
}


@cache
def trajectory(regime):
    """Return the problem, the iterate and all eigenvalues at each of 100 steps of a regime."""
    problem, (settings, begin) = small_network(), EDGES[regime]
    run = Run(problem, **settings, x0=problem.initial(0), device="cpu")
    run.step(begin)
    path = []
    for _ in range(101):
        x = run.x.clone()
        path.append((problem, x, np.linalg.eigvalsh(problem.hessian(x)[0].numpy())[::-1].copy()))
        run.step(1)
    return path


@pytest.mark.parametrize("regime", EDGES)
@pytest.mark.parametrize(("k", "granted"), [(1, 5), (5, 24)])
def test_the_eigenvalues_of_a_run_are_tracked_step_by_step(regime, k, granted):
    path = trajectory(regime)
    if regime.endswith("edge of stability"):
        assert np.mean([values[0] for _, _, values in path]) == pytest.approx(2 / 0.3, rel=0.1)
    small_network().spent = 0
    errors, products = track(path, k)
    assert np.mean((errors < 1e-3).all(1)) >= 0.99
    assert products.mean() <= granted * (1.15 if "batches" in regime else 1)  # λ₃ to λ₅ lie in the bulk there
    assert products.sum() < small_network().spent <= products.sum() + 100  # the reported products, and the cold start


def test_a_measurement_of_one_eigenvalue_costs_a_few_products():
    """Four products for λ₁ and one for the Rayleigh ratio, as long as the gap is open."""
    run = Run(small_network(), "sam", lr=0.1, rho=0.1, x0=small_network().initial(0), device="cpu")
    run.step(1500)
    run.measure(k=1, trace=False)
    small_network().spent = 0
    for _ in range(20):
        run.step(1)
        assert not run.measure(k=1, trace=False)["closing"]
    assert small_network().spent <= 20 * 6


def test_several_runs_of_a_network_have_the_eigenpairs_of_their_dense_hessians(network):
    problem, x = network
    points = torch.stack([x, problem.initial(1), 0.5 * x + 0.1])
    pairs = top_eigenpairs(problem, points, 3)
    assert not pairs.exact
    assert bool(pairs.converged.all())
    for r, hessian in enumerate(problem.hessian(points).numpy()):
        values, vectors = np.linalg.eigh(hessian)
        np.testing.assert_allclose(pairs.values[r], values[:-4:-1], atol=1e-9 * abs(values[-1]))
        cosines = np.abs((pairs.vectors[r].numpy() * vectors.T[:-4:-1]).sum(1))
        np.testing.assert_allclose(cosines, 1, atol=1e-8)


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
        ([2.0, 2.0, 1.0], [0.6, 0.8, 0], None, 1, 1, 2, 0),  # v₁ may be any vector of the eigenspace
    ],
)
def test_alignment_by_hand(spectrum, x, cos_v1, cos_eigenspace, rayleigh, multiplicity, gap):
    found = alignment(quadratic(spectrum), tensor(*map(float, x)))
    assert cos_v1 is None or found.cos_v1.item() == pytest.approx(cos_v1)
    assert found.cos_eigenspace.item() == pytest.approx(cos_eigenspace)
    assert found.rayleigh.item() == pytest.approx(rayleigh)
    assert found.multiplicity.item() == multiplicity
    assert found.gap.item() == pytest.approx(gap, abs=1e-14)
    assert found.closing.item() is (multiplicity > 1)


@pytest.mark.parametrize(("close", "multiplicity"), [(0.0, 1), (0.02, 1), (0.03, 2), (0.5, 2), (0.8, 3)])
def test_close_determines_the_top_eigenspace(close, multiplicity):
    got = alignment(quadratic([4.0, 3.9, 1.0]), tensor(1.0, 1.0, 1.0), close=close)
    inside = np.array([4.0, 3.9, 1.0])[:multiplicity]
    assert got.multiplicity.item() == multiplicity
    assert got.closing.item() is (multiplicity > 1)
    assert got.cos_eigenspace.item() == pytest.approx(np.linalg.norm(inside) / np.linalg.norm([4.0, 3.9, 1.0]))


def test_the_alignment_of_a_zero_gradient_is_nan_and_given_vectors_are_used():
    got = alignment(quadratic([2.0, 1.0]), tensor([0.0, 0.0], [1.0, 0.0]))
    for measure in (got.cos_v1, got.cos_eigenspace, got.rayleigh):
        assert torch.isnan(measure[0])
        assert measure[1].item() == pytest.approx(1)
    assert got.gap.tolist() == [0.5, 0.5]
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
