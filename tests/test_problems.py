"""Quadratics, the valley and the interface of all problems, against numpy, finite differences and numbers by hand."""

import itertools
from functools import partial

import numpy as np
import pytest
import test_attached
import torch
import valley_by_hand as by_hand
from formula import symmetric, tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from test_module import on_images
from torch import nn

from samviz.problems import Attached, Problem, attach, from_module, mlp, quadratic, valley
from samviz.problems.device import one_thread

STABLE = settings(max_examples=25, deadline=None, derandomize=True)
unit_interval = st.floats(0, 1)
numbers = st.floats(-2, 2)


# quadratics


@STABLE
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 6), samples=st.integers(1, 5), size=st.integers(1, 3))
def test_a_quadratic_is_half_x_a_x_with_the_mean_of_the_matrices_that_are_drawn(seed, dim, samples, size):
    rng = np.random.default_rng(seed)
    matrices = np.stack([symmetric(seed + k, dim) for k in range(samples)])
    problem, x = quadratic(matrices), torch.from_numpy(rng.normal(size=(2, dim)))
    assert problem.samples == (samples if samples > 1 else 0)
    for batch in (None, rng.integers(samples, size=(2, size))) if samples > 1 else (None,):
        a = np.stack([matrices.mean(0)] * 2) if batch is None else matrices[batch].mean(1)
        chosen = None if batch is None else torch.from_numpy(batch)
        np.testing.assert_allclose(problem.loss(x, chosen), np.einsum("ri,rij,rj->r", x, a, x) / 2, atol=1e-12)
        np.testing.assert_allclose(problem.hessian(x, chosen), a, atol=1e-12)


@pytest.mark.parametrize("spectrum", [(2, 1), np.array([2.0, 1.0]), torch.tensor([2.0, 1.0]), [[2, 0], [0, 1]]])
def test_a_spectrum_may_be_any_array_and_is_copied(spectrum):
    problem = quadratic(spectrum)
    if not isinstance(spectrum, tuple):
        spectrum[0] = 100
    np.testing.assert_array_equal(problem.hessian(torch.zeros(1, 2))[0], np.diag([2.0, 1.0]))
    assert (problem.dim, problem.samples, problem.dtype) == (2, 0, torch.float64)


def test_a_matrix_symmetric_up_to_rounding_gives_one_gradient_and_one_hessian():
    problem, x = quadratic([[2.0, 1.0 + 4e-6], [1.0, 3.0]]), tensor([1.0, 1.0])
    hessian = problem.hessian(x)[0]
    assert torch.equal(hessian, hessian.T)
    torch.testing.assert_close(problem.gradient(x)[1], x @ hessian)


def test_a_quadratics_picture_is_its_distance_along_each_eigenvector():
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    problem = quadratic(turn @ np.diag([1.0, 5.0]) @ turn.T)
    x = 2.0 * turn[:, 0] - 3.0 * turn[:, 1]  # 2 along the flat one, 3 along the sharp one
    np.testing.assert_allclose(problem.picture(tensor(x)).distance, [3, 2])


# the valley


@pytest.mark.parametrize("mean", [False, True])
@STABLE
@given(x=st.lists(numbers, min_size=4, max_size=4))
def test_the_valley_is_the_mean_of_two_samples(mean, x):
    problem, x = valley(mean=mean), np.array(x)
    first, second = (term * (1 if mean else 2) for term in by_hand.terms(x))
    batches = torch.tensor([[0, 0], [1, 1], [0, 1], [1, 0]])
    both = (first + second) / 2
    np.testing.assert_allclose(problem.loss(tensor(*[x] * 4), batches), [first, second, both, both], atol=1e-12)
    np.testing.assert_allclose(problem.loss(tensor(x), torch.tensor([[1]])), [second], atol=1e-12)
    np.testing.assert_allclose(problem.loss(tensor(x)), [both], atol=1e-12)


@pytest.mark.parametrize("mean", [False, True])
@STABLE
@given(x1=unit_interval, x2=unit_interval)
def test_the_eigenvalues_on_the_valley_floor(mean, x1, x2):
    """The non-zero eigenvalues of the Hessian on Γ are 2F₁ and 2F₂ (F₁ and F₂ for the mean), F₁ the larger one."""
    x, problem = np.array([x1, x2, 0.0, 0.0]), valley(mean=mean)
    f1, f2 = by_hand.curvatures(x)
    expected = np.array([f1, f2]) * (1 if mean else 2)
    spectrum = np.linalg.eigvalsh(problem.hessian(tensor(x))[0])[::-1]
    np.testing.assert_allclose(spectrum, [*expected, 0, 0], atol=1e-12)
    np.testing.assert_allclose(problem.eigenvalues(tensor(x))[0], expected, rtol=1e-14)
    assert f1 > f2


def test_the_valleys_picture_shows_the_level_of_lambda_1():
    floor = valley().picture(tensor([0.3, 0.7, 0.1, 0.1]))
    np.testing.assert_allclose(floor.point, [0.3, 0.7])
    np.testing.assert_allclose(floor.axis[[0, -1]], [0, 1])
    np.testing.assert_allclose(floor.level[-1, 0], 2 * (6 + 8))  # rows are x₂
    np.testing.assert_allclose(floor.level[0, -1], 2 * (1 + 8))


# what every problem does


class Bowl(Problem):
    """Σᵢ cᵢxᵢ⁴ plus a slope that is linear: only a loss, so that everything else comes from autograd."""

    name = "bowl"
    dim = 3
    filters = torch.zeros(3, dtype=torch.int64)
    quartic = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def loss(self, x, batch=None):
        return (self.quartic.to(x) * x**4).sum(1) + x.sum(1)

    def initial(self, seed=0):
        return torch.full((3,), 0.5, dtype=self.dtype, device=self.device)


class Slope(Bowl):
    """A loss without curvature."""

    def loss(self, x, batch=None):
        return x.sum(1)


def test_the_graph_of_a_product_can_be_used_again_and_points_stay_without_gradients():
    x, v = tensor([1.0, -1.0, 2.0], [0.5, 0.0, -1.0]), torch.arange(12.0).double().view(2, 2, 3)
    product = Bowl().hvp(x)
    for _ in range(2):
        torch.testing.assert_close(product(v), 12 * (Bowl.quartic * x**2)[:, None] * v)
    torch.testing.assert_close(product(v[:, :1]), 12 * (Bowl.quartic * x**2)[:, None] * v[:, :1])
    assert x.grad is None
    assert Bowl().picture(x) is None


@pytest.mark.parametrize("given", [[1, 2, 3], (1.0, 2.0, 3.0), np.arange(1, 4), torch.arange(1, 4), [[1, 2, 3]]])
def test_points_of_any_kind(given):
    points = quadratic([1.0, 1.0, 1.0]).points(given)
    assert torch.equal(points, tensor([1.0, 2.0, 3.0]))


def test_starting_points_follow_the_seed():
    problem = quadratic([1.0, 2.0, 3.0])
    assert torch.equal(problem.initial(4), problem.initial(4))
    assert not torch.equal(problem.initial(4), problem.initial(5))
    assert valley().loss(valley().initial()[None]) > 0


def test_one_thread_for_a_toy_and_the_users_number_afterwards():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread(quadratic([1.0])):
            assert torch.get_num_threads() == 1
        with pytest.raises(ZeroDivisionError), one_thread(quadratic([1.0])):
            1 / 0  # noqa: B018
        assert torch.get_num_threads() == 2
        large = quadratic([1.0])
        large.samples = 10**9
        with one_thread(large):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


# derivatives, runs and precision of every problem

ACTIVATIONS = ("tanh", "relu", "gelu", "softplus", "sigmoid", "identity")
RNG = np.random.default_rng(5)
ROWS, GOALS, LABELS = RNG.normal(size=(9, 3)), RNG.normal(size=(9, 2)), RNG.integers(0, 2, 9)
DIFFERENTIABLE = [
    Bowl(),
    Slope(),
    quadratic(symmetric(0, 4)),
    quadratic(np.stack([symmetric(seed, 3) for seed in range(4)])),
    valley(),
    valley(mean=True),
    *(mlp([3, 5, 4, 2], activation, (ROWS, GOALS)) for activation in ACTIVATIONS),
    *(mlp([3, 5, 4, 2], activation, (ROWS, LABELS), "cross_entropy") for activation in ACTIVATIONS),
    mlp([3, 70, 70, 2], data=(RNG.normal(size=(601, 3)), RNG.normal(size=(601, 2)))),  # several tiles of samples
    *(on_images(drop=drop, training=training) for drop in (0.0, 0.3) for training in (False, True)),
    *test_attached.smooth(),
]


def each_of(problems):
    return pytest.mark.parametrize("problem", problems, ids=[f"{type(p).__name__}-{i}" for i, p in enumerate(problems)])


def points_and_batches(problem, runs):
    """Random points, and no batch, batches with a repeated sample, and larger ones."""
    generator = torch.Generator().manual_seed(2)
    x = problem.initial() + 0.3 * torch.randn(runs, problem.dim, generator=generator, dtype=torch.float64)
    sizes = (3, 4) if problem.samples else ()
    drawn = [torch.randint(problem.samples, (runs, size), generator=generator) for size in sizes]
    for batch in drawn:
        batch[:, 0] = batch[:, 1]
    return x, [None, *drawn]


@each_of(DIFFERENTIABLE)
def test_derivatives_are_finite_differences(problem):
    x, batches = points_and_batches(problem, 2)
    v = torch.randn(2, 2, problem.dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    v, h = v / v.norm(dim=2, keepdim=True), 1e-5
    for batch, runs in itertools.product(batches, (1, 2)):  # a single run may be computed differently
        at, rows = x[:runs], None if batch is None else batch[:runs]
        loss, gradient = problem.gradient(at, rows)
        torch.testing.assert_close(loss, problem.loss(at, rows), rtol=1e-12, atol=1e-14)
        products = problem.hvp(at, rows)(v[:runs])
        if problem.dim < 100:  # the Hessian of a network with dropout takes long
            hessian = problem.hessian(at, rows)
            assert torch.equal(hessian, hessian.mT)
            torch.testing.assert_close(products, v[:runs] @ hessian, rtol=1e-9, atol=1e-11)
        assert not any(result.requires_grad for result in (loss, gradient, products))
        for k in range(2):
            after, before = at + h * v[:runs, k], at - h * v[:runs, k]
            slope = (problem.loss(after, rows) - problem.loss(before, rows)) / (2 * h)
            torch.testing.assert_close((gradient * v[:runs, k]).sum(1), slope, rtol=1e-6, atol=1e-7)
            change = (problem.gradient(after, rows)[1] - problem.gradient(before, rows)[1]) / (2 * h)
            torch.testing.assert_close(products[:, k], change, rtol=1e-5, atol=1e-7)


@each_of(DIFFERENTIABLE)
def test_a_slice_is_the_loss_on_it(problem):
    x, _ = points_and_batches(problem, 3)
    origin, directions, points = x[0], x[1:], torch.tensor([[0.0, 0.0], [0.5, -0.3], [-1.0, 2.0]], dtype=torch.float64)
    expected = problem.loss(origin + points @ directions)
    torch.testing.assert_close(problem.slice(origin, directions)(points), expected, rtol=1e-10, atol=1e-13)
    single = problem.to("cpu", torch.float32).slice(origin.float(), directions.float())(points.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-3, atol=1e-5)


@each_of(DIFFERENTIABLE)
def test_runs_are_independent(problem):
    x, batches = points_and_batches(problem, 5)
    v = torch.randn(5, 2, problem.dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with_nan = x.clone()
    with_nan[2] = torch.nan
    for batch in batches:
        together = [*problem.gradient(x, batch), problem.hvp(x, batch)(v)]
        next_to_nan = [*problem.gradient(with_nan, batch), problem.hvp(with_nan, batch)(v)]
        for r in (0, 1, 3, 4):
            one, rows = x[r : r + 1], None if batch is None else batch[r : r + 1]
            alone = [*problem.gradient(one, rows), problem.hvp(one, rows)(v[r : r + 1])]
            for a, b, c in zip(together, alone, next_to_nan):
                torch.testing.assert_close(a[r], b[0], rtol=1e-10, atol=1e-12)
                assert torch.equal(a[r], c[r])


@each_of(DIFFERENTIABLE[3:])
def test_single_precision_agrees_and_does_not_change_the_problem(problem):
    single, (x, _) = problem.to("cpu", torch.float32), points_and_batches(problem, 2)
    assert problem.to("cpu", torch.float64) is problem
    for runs in (1, 2):
        v = torch.eye(problem.dim)[:3].expand(runs, -1, -1)
        exact = [*problem.gradient(x[:runs]), problem.hvp(x[:runs])(v.double())]
        for a, b in zip([*single.gradient(x[:runs].float()), single.hvp(x[:runs].float())(v)], exact):
            assert (a.dtype, b.dtype) == (torch.float32, torch.float64)
            torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-4)
    assert single.initial().dtype == torch.float32
    assert [repr(p).split()[-1] for p in (single, problem)] == ["float32>", "float64>"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_of([p for p in DIFFERENTIABLE if not getattr(p, "random", isinstance(p, Attached) and p.training)])
def test_cuda_computes_the_same_numbers(problem):
    there, (x, batches) = problem.to("cuda", torch.float64), points_and_batches(problem, 2)
    v = torch.ones(2, 1, problem.dim, dtype=torch.float64)
    for batch, runs in itertools.product(batches, (1, 2)):
        rows = None if batch is None else batch[:runs]
        on_gpu = x[:runs].cuda(), None if rows is None else rows.cuda()
        found = [*there.gradient(*on_gpu), there.hvp(*on_gpu)(v[:runs].cuda())]
        for a, b in zip(found, [*problem.gradient(x[:runs], rows), problem.hvp(x[:runs], rows)(v[:runs])]):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-11)


# arguments

PROBLEMS = [
    *DIFFERENTIABLE[3:5],
    *(mlp([1, 4, 1], activation) for activation in ("tanh", "gelu")),  # closed form and autograd
    mlp([1, 3, 1]).to("cpu", torch.float32),
    from_module(nn.Sequential(nn.Linear(1, 3), nn.Dropout(0.1), nn.Linear(3, 1)), "sine"),
    from_module(nn.Linear(1, 1), "sine", training=True),
    attach(nn.Linear(2, 1), nn.MSELoss(), (torch.ones(3, 2), torch.zeros(3, 1))),
]


def calls(problem, batch=None):
    """The methods of a problem as functions of x."""
    names = [n for n in ("loss", "gradient", "hvp", "hessian", "sample_losses") if hasattr(problem, n)]
    functions = [partial(getattr(problem, name), batch=batch) for name in names]
    if problem.square_targets:
        noise = torch.zeros(2, problem.samples if batch is None else 1, 1, dtype=problem.dtype)
        functions.append(partial(problem.noisy_gradient, batch=batch, noise=noise))
    if batch is None and not isinstance(problem, Attached):
        functions.append(problem.picture)
        functions += [partial(problem.outputs, inputs=problem.inputs)] if hasattr(problem, "inputs") else []
    return functions


@each_of(PROBLEMS)
def test_tensors_of_another_shape_are_refused(problem):
    d, n = problem.dim, problem.samples * hasattr(problem, "inputs")
    x, origin, plane = (torch.zeros(*shape, d, dtype=problem.dtype) for shape in ((2,), (), (2,)))
    product, on_plane = problem.hvp(x), problem.slice(origin, plane)
    for k in (0, 3):
        assert product(torch.zeros(2, k, d, dtype=problem.dtype)).shape == (2, k, d)
    assert on_plane(torch.zeros(3, 2, dtype=problem.dtype)).shape == (3,)
    tries = [
        ("x", f"runs, {d}", call, ((d,), (2, d - 1), (2, d + 1), (2, 1), (0, d), (2, d, 1))) for call in calls(problem)
    ]
    tries += [("v", f"2, k, {d}", product, ((2, 3, 1), (2, 3, d + 1), (1, 3, d), (3, 3, d), (2, d), (d,)))]
    tries += [("origin", f"{d},", lambda bad: problem.slice(bad, plane), ((d - 1,), (1, d), (d + 1,)))]
    shapes = ((1, d), (2, d - 1), (2, d + 1), (4, d), (d,))
    tries += [("directions", f"2, {d}", lambda bad: problem.slice(origin, bad), shapes)]
    tries += [("points", "points, 2", on_plane, ((3, 1), (3, 3), (2,), (0, 2)))]
    if problem.square_targets:
        batch, shapes = torch.zeros(2, 2, dtype=torch.int64), ((2, 1, 1), (1, 2, 1), (2, 2, 2), (2, 2), (4,))
        tries += [("noise", "2, 2, 1", lambda bad: problem.noisy_gradient(x, batch, bad), shapes)]
    if n:
        assert problem.outputs(x, problem.inputs.expand(2, -1, -1)).shape == (2, n, 1)
        shapes = ((n,), (1, n, 1), (1, 1, n, 1), (0, 1))
        tries += [("inputs", "(2, )?n, (any|1)", lambda bad: problem.outputs(x, bad), shapes)]
    for name, expected, method, shapes in tries:
        for shape in shapes:
            with pytest.raises(ValueError, match=rf"{name} has shape .*; expected a tensor \({expected}\)"):
                method(torch.zeros(shape, dtype=problem.dtype))
    for call in calls(problem):
        call(x)
        with pytest.raises(TypeError, match=rf"(?s)x is .*; expected a tensor \(runs, {d}\)"):
            call(x.numpy())


@each_of(PROBLEMS)
def test_batches_that_do_not_fit_are_refused(problem):
    x, n = torch.zeros(2, problem.dim, dtype=problem.dtype), problem.samples
    shapes = ((2, 0), (1, 1), (3, 1), (2,), (2, 1, 1)) if n else ()
    tries = [
        (torch.zeros(shape).long(), ValueError, r"batch has shape .*; expected a tensor \(2, b\)") for shape in shapes
    ]
    indices, message = (-1, n, 2**62) if n else (), f"expected sample indices, 0 to {n - 1}"
    tries += [(torch.tensor([[0, 0], [0, index]]), IndexError, message) for index in indices]
    message = r"expected sample indices of torch\.int64"
    tries += [(torch.zeros(2, 1, dtype=dtype), TypeError, message) for dtype in (torch.float64, torch.int32) if n]
    for batch, kind, message in tries or [
        (torch.zeros(2, 1).long(), ValueError, "batch is given, but .* has no samples")
    ]:
        for call in calls(problem, batch):
            with pytest.raises(kind, match=message):
                call(x)


def test_noise_on_labels_is_refused():
    problem = mlp([2, 2], data="spirals", loss="cross_entropy")
    with pytest.raises(NotImplementedError, match="has no square loss"):
        problem.noisy_gradient(problem.initial()[None], None, torch.zeros(1, problem.samples, 2).double())
