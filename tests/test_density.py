"""The density of eigenvalues agrees with dense Hessians and with moments in closed form; and its figure."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from formula import symmetric
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from samviz.figures import density_figure
from samviz.geometry import spectral_density, top_eigenpairs
from samviz.geometry.density import lanczos, quadrature
from samviz.problems import attach, quadratic

STABLE = settings(max_examples=25, deadline=None, derandomize=True)
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


@STABLE
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


@STABLE
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


# the figure


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


def test_the_figure_reports_unknown_and_absent_errors():
    single = density_figure(spectral_density(quadratic(SPECTRUM), ZERO, probes=1, steps=9))
    exact = density_figure(spectral_density(quadratic([1.0, 4.0]), torch.zeros(2)))
    for figure, words in ((single, "one probe, error unknown"), (exact, "exact")):
        assert figure["layout"]["annotations"][0]["text"].endswith(words)
    assert np.isnan(single["data"][0]["y"]).all()  # no band


def test_the_figure_marks_an_eigenvalue_that_has_not_converged():
    problem = quadratic(SPECTRUM)
    rough = top_eigenpairs(problem, ZERO, 2, max_products=6)
    marks = density_figure(spectral_density(problem, ZERO, probes=2, steps=9), rough)["data"][-1]
    assert "circle-open" in marks["marker"]["symbol"]
    assert marks["error_x"]["array"] == rough.residuals[0].tolist()
