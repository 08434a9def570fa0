"""Top eigenpairs against numpy's and scipy's, on matrices whose spectrum is known and on a network."""

import numpy as np
import pytest
import torch
from counted import Counted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

from samviz.dynamics import gradient_descent_minimum
from samviz.geometry import top_eigenpairs
from samviz.problems import mlp, quadratic

STABLE = settings(max_examples=20, deadline=None, derandomize=True)
LARGE = 520  # more parameters than are diagonalized densely


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def basis():
    """Orthonormal columns (LARGE, LARGE)."""
    return np.linalg.qr(np.random.default_rng(0).normal(size=(LARGE, LARGE)))[0]


def matrix(basis, spectrum):
    a = (basis * spectrum) @ basis.T
    return (a + a.T) / 2


def bulk(*rest, low=0.0, high=1.0):
    """A spectrum of LARGE numbers: those given, and the rest spread over [low, high]."""
    spread = np.random.default_rng(1).uniform(low, high, LARGE - len(rest))
    return np.concatenate([spread, rest])


def check(pairs, a, k, tol=1e-8):
    """The k largest eigenvalues, with true residuals, and orthonormal vectors."""
    expected = np.linalg.eigvalsh(a)[::-1][:k]
    size = np.linalg.norm(a, 2)
    vectors, values = pairs.vectors[0].numpy(), pairs.values[0].numpy()
    np.testing.assert_allclose(values, expected, rtol=0, atol=max(tol * abs(expected).max(), 1e-14 * size))
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), atol=1e-10)
    residuals = np.linalg.norm(vectors @ a - values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(pairs.residuals[0], residuals, rtol=1e-4, atol=1e-12 * size)
    assert bool(pairs.converged.all())


# the dense way, up to 500 parameters


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 30), data=st.data())
def test_small_hessians_are_diagonalized(seed, dim, data):
    k = data.draw(st.integers(1, dim))
    a = np.random.default_rng(seed).normal(size=(dim, dim))
    a = a + a.T
    pairs = top_eigenpairs(quadratic(a), torch.zeros(dim), k)
    check(pairs, a, k, tol=1e-12)
    spectrum = np.linalg.eigvalsh(a)[::-1]
    distances = np.abs(spectrum[:, None] - spectrum) + np.diag([np.inf] * dim)
    np.testing.assert_allclose(pairs.gaps[0], distances.min(1)[:k], atol=1e-12 * dim)
    assert pairs.exact
    assert pairs.products == dim


def test_the_shapes():
    pairs = top_eigenpairs(quadratic([3.0, 2.0, 1.0, -9.0]), torch.zeros(5, 4), 2)
    assert pairs.values.shape == pairs.residuals.shape == pairs.gaps.shape == pairs.converged.shape == (5, 2)
    assert pairs.vectors.shape == (5, 2, 4)
    np.testing.assert_allclose(pairs.values, [[3, 2]] * 5)
    np.testing.assert_allclose(pairs.gaps, [[1, 1]] * 5)
    np.testing.assert_allclose(pairs.vectors.abs()[0], [[1, 0, 0, 0], [0, 1, 0, 0]], atol=1e-14)


# the Krylov way, above


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
        pytest.param(bulk(5.0, 4.0), 40, id="many"),
    ],
)
def test_large_hessians(basis, spectrum, k):
    a = matrix(basis, spectrum)
    pairs = top_eigenpairs(quadratic(a), torch.zeros(LARGE), k)
    check(pairs, a, k)
    assert not pairs.exact


@pytest.mark.parametrize("k", [1, 90, 260, LARGE])
def test_any_number_of_eigenpairs(basis, k):
    a = matrix(basis, np.random.default_rng(2).normal(size=LARGE))
    check(top_eigenpairs(quadratic(a), torch.zeros(LARGE), k), a, k)


def test_a_degenerate_eigenspace_is_found_whole(basis):
    a = matrix(basis, bulk(5.0, 5.0 + 1e-10, 4.9))
    vectors = top_eigenpairs(quadratic(a), torch.zeros(LARGE), 2).vectors[0].numpy()
    shared = vectors @ basis[:, [-3, -2]]
    np.testing.assert_allclose(np.linalg.svd(shared)[1], [1, 1], atol=1e-9)


def test_vectors_are_as_true_as_residual_over_gap(basis):
    spectrum = bulk(5.0, 4.0, 3.0)
    pairs = top_eigenpairs(quadratic(matrix(basis, spectrum)), torch.zeros(LARGE), 3, tol=1e-3)
    for i in range(3):
        cosine = abs(pairs.vectors[0, i].numpy() @ basis[:, LARGE - 3 + i])
        assert np.sqrt(1 - min(cosine, 1) ** 2) <= 2 * (pairs.residuals / pairs.gaps)[0, i] + 1e-7


def test_products_are_counted_and_bounded(basis):
    problem = Counted(torch.from_numpy(matrix(basis, np.random.default_rng(2).normal(size=LARGE)))[None])
    pairs = top_eigenpairs(problem, torch.zeros(LARGE), 3)
    assert pairs.products == problem.spent
    problem.spent = 0
    pairs = top_eigenpairs(problem, torch.zeros(LARGE), 3, max_products=50)
    assert pairs.products == problem.spent <= 50


@pytest.mark.parametrize("max_products", [1, 10, 25])
def test_giving_up_is_said(basis, max_products):
    a = matrix(basis, np.random.default_rng(2).normal(size=LARGE))
    pairs = top_eigenpairs(quadratic(a), torch.zeros(LARGE), 3, max_products=max_products)
    vectors, values = pairs.vectors[0].numpy(), pairs.values[0].numpy()
    assert not bool(pairs.converged.any())
    residuals = np.linalg.norm(vectors @ a - values[:, None] * vectors, axis=1)
    np.testing.assert_allclose(pairs.residuals[0], residuals, rtol=1e-9)
    assert np.abs(values - np.linalg.eigvalsh(a)[::-1][:3]).max() > 1e-3


@pytest.mark.parametrize("lowest", [-1e3, -1e6])
def test_converged_means_close_to_the_largest_whatever_lies_below(basis, lowest):
    """The promise is a residual of tol·max(gap, λ₁/10): a large negative eigenvalue must not loosen it."""
    spectrum = bulk(lowest)
    pairs = top_eigenpairs(quadratic(matrix(basis, spectrum)), torch.zeros(LARGE), 1, max_products=5000)
    error = abs(pairs.values[0, 0].item() - np.sort(spectrum)[-1])
    assert error < 1e-6 or not bool(pairs.converged.all())


@pytest.mark.parametrize("tol", [None, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize("overtaker", [5.001, 6.0, 20.0])
@pytest.mark.parametrize("axes", [True, False], ids=["on the axes", "turned"])
def test_a_warm_start_sees_an_eigenvalue_that_overtakes_from_outside(basis, axes, overtaker, tol):
    """The start holds the old top five exactly, and nothing of the vector that is now the top: on the axes not even
    by rounding, so that its residuals are zero."""
    basis = np.eye(LARGE) if axes else basis
    spectrum = bulk(5.0, 4.0, 3.0, 2.5, 2.2, overtaker)
    start = torch.from_numpy(basis[:, LARGE - 6 : LARGE - 1].T.copy())[None]
    problem = quadratic(matrix(basis, spectrum))
    pairs = top_eigenpairs(problem, torch.zeros(LARGE), 3, start=start, tol=tol)
    np.testing.assert_allclose(pairs.values[0], [overtaker, 5.0, 4.0], rtol=tol or 1e-9)


def test_a_warm_start_saves_products(basis):
    problem = quadratic(matrix(basis, np.random.default_rng(2).normal(size=LARGE)))
    cold = top_eigenpairs(problem, torch.zeros(LARGE), 3, tol=1e-4)
    for k in (3, 2, 5):  # more or fewer than before are welcome
        warm = top_eigenpairs(problem, torch.zeros(LARGE), k, start=cold.start, tol=1e-4)
        assert bool(warm.converged.all())
        np.testing.assert_allclose(warm.values[0, :2], cold.values[0, :2], rtol=1e-7)
        if k == 3:
            assert warm.products < cold.products


def test_single_precision(basis):
    a = matrix(basis, bulk(5.0, 4.0, 3.0))
    problem = quadratic(a).to("cpu", torch.float32)
    pairs = top_eigenpairs(problem, torch.zeros(LARGE), 3)
    assert pairs.values.dtype == torch.float32
    assert bool(pairs.converged.all())
    np.testing.assert_allclose(pairs.values[0], [5, 4, 3], rtol=1e-5)


# a network


@pytest.fixture(scope="module")
def network():
    problem = mlp([1, 24, 24, 1], "tanh", "sine")
    return problem, gradient_descent_minimum(problem)


def test_a_network_has_the_eigenpairs_of_its_dense_hessian(network):
    problem, x = network
    pairs = top_eigenpairs(problem, x, 4)
    values, vectors = np.linalg.eigh(problem.hessian(x[None])[0].numpy())
    np.testing.assert_allclose(pairs.values[0], values[::-1][:4], rtol=1e-9)
    cosines = np.abs((pairs.vectors[0].numpy() * vectors.T[::-1][:4]).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-8)
    assert not pairs.exact
    assert bool(pairs.converged.all())


def test_a_network_has_the_eigenvalues_of_torchs_own_hessian(network):
    problem, x = network
    inputs = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]

    def loss(flat):  # the network written once more, by hand
        w1, b1, w2, b2, w3, b3 = flat.split([24, 24, 576, 24, 24, 1])
        hidden = (inputs * w1 + b1).tanh()
        hidden = (hidden @ w2.view(24, 24).T + b2).tanh()
        return ((hidden @ w3 + b3 - (3 * inputs[:, 0]).sin()) ** 2).mean() / 2

    hessian = torch.autograd.functional.hessian(loss, x, vectorize=True).numpy()
    assert loss(x).item() == pytest.approx(problem.loss(x[None]).item(), rel=1e-9)
    expected = np.linalg.eigvalsh(hessian)[::-1]
    np.testing.assert_allclose(top_eigenpairs(problem, x, 4).values[0], expected[:4], rtol=1e-9)


def test_several_runs_at_once(network):
    problem, x = network
    points = torch.stack([x, problem.initial(1), 0.5 * x + 0.1])
    together = top_eigenpairs(problem, points, 3)
    assert bool(together.converged.all())
    for r, point in enumerate(points):
        exact = np.linalg.eigvalsh(problem.hessian(point[None])[0].numpy())[::-1][:3]
        np.testing.assert_allclose(together.values[r], exact, atol=1e-9 * abs(exact[0]))


def test_scipy_agrees_on_a_network_seen_through_products_alone():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1)).double()
    problem = mlp([2, 32, 32, 1], "tanh", "spirals")
    inputs, targets = problem.inputs, problem.targets  # ±1, which the tests of networks hold
    parameters = list(module.parameters())

    def product(v):
        gradients = torch.autograd.grad(((module(inputs) - targets) ** 2).mean() / 2, parameters, create_graph=True)
        inner = torch.cat([g.flatten() for g in gradients]) @ torch.from_numpy(v.ravel())
        return torch.cat([h.flatten() for h in torch.autograd.grad(inner, parameters)]).numpy()

    x = nn.utils.parameters_to_vector(parameters).detach()
    expected = eigsh(LinearOperator((len(x), len(x)), product, dtype=np.float64), k=3, which="LA", tol=1e-9)[0][::-1]
    np.testing.assert_allclose(top_eigenpairs(problem, x, 3).values[0], expected, rtol=1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_same_eigenvalues(network):
    problem, x = network
    here, there = top_eigenpairs(problem, x, 3), top_eigenpairs(problem, x.cuda(), 3)
    assert there.values.device.type == "cuda"
    np.testing.assert_allclose(there.values.cpu(), here.values, rtol=1e-8)
