"""Built-in problems and the interface of all problems, against numpy, plain torch modules and finite differences."""

import itertools
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import test_attached
import torch
import valley_by_hand as by_hand
from formula import Formula, symmetric, tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax
from test_module import on_images
from torch import nn

from samviz.problems import Attached, attach, from_module, load, mlp, quadratic, valley
from samviz.problems.problem import one_thread

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
    np.testing.assert_array_equal(problem.hessian(tensor([0.0, 0.0]))[0], np.diag([2.0, 1.0]))
    assert (problem.dim, problem.samples, problem.dtype) == (2, 0, torch.float64)


def test_a_symmetric_matrix_has_one_gradient_and_one_hessian_and_a_picture_along_its_eigenvectors():
    problem, x = quadratic([[2.0, 1.0 + 4e-6], [1.0, 3.0]]), tensor([1.0, 1.0])
    hessian = problem.hessian(x)[0]
    assert torch.equal(hessian, hessian.T)
    torch.testing.assert_close(problem.gradient(x)[1], x @ hessian)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    problem = quadratic(turn @ np.diag([1.0, 5.0]) @ turn.T)
    x = 2.0 * turn[:, 0] - 3.0 * turn[:, 1]  # 2 along the flat one, 3 along the sharp one
    np.testing.assert_allclose(problem.picture(tensor(x)).distance, [3, 2])
    assert BOWL.picture(BOWL.initial()[None]) is None


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


BOWL = Formula(3, lambda a, b, c: a**4 + 2 * b**4 + 3 * c**4 + a + b + c)  # everything but its loss comes from autograd
SLOPE = Formula(3, lambda a, b, c: a + b + c)  # a loss without curvature


@pytest.mark.parametrize("given", [[1, 2, 3], (1.0, 2.0, 3.0), np.arange(1, 4), torch.arange(1, 4), [[1, 2, 3]]])
def test_points_of_any_kind(given):
    points = quadratic([1.0, 1.0, 1.0]).points(given)
    assert torch.equal(points, tensor([1.0, 2.0, 3.0]))


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

ACTIVATIONS = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
RNG = np.random.default_rng(5)
SAMPLES, GOALS, LABELS = RNG.normal(size=(9, 3)), RNG.normal(size=(9, 2)), RNG.integers(0, 2, 9)
DIFFERENTIABLE = [
    BOWL,
    SLOPE,
    quadratic(symmetric(0, 4)),
    quadratic(np.stack([symmetric(seed, 3) for seed in range(4)])),
    valley(),
    valley(mean=True),
    *(mlp([3, 5, 4, 2], activation, (SAMPLES, GOALS)) for activation in ACTIVATIONS),
    *(mlp([3, 5, 4, 2], activation, (SAMPLES, LABELS), "cross_entropy") for activation in ACTIVATIONS),
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
        multiply = problem.hvp(at, rows)
        products = multiply(v[:runs])
        torch.testing.assert_close(multiply(v[:runs, :1]), products[:, :1])  # the graph can be used again
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
    x = torch.zeros(2, d, dtype=problem.dtype)
    product = problem.hvp(x)
    for k in (0, 3):
        assert product(torch.zeros(2, k, d, dtype=problem.dtype)).shape == (2, k, d)
    tries = [
        ("x", f"runs, {d}", call, ((d,), (2, d - 1), (2, d + 1), (2, 1), (0, d), (2, d, 1))) for call in calls(problem)
    ]
    tries += [("v", f"2, k, {d}", product, ((2, 3, 1), (2, 3, d + 1), (1, 3, d), (3, 3, d), (2, d), (d,)))]
    tries += [("origin", f"{d},", lambda bad: problem.slice(bad, x), ((d - 1,), (1, d), (d + 1,)))]
    tries += [("directions", f"2, {d}", lambda bad: problem.slice(x[0], bad), ((1, d), (2, d - 1), (4, d), (d,)))]
    tries += [("points", "points, 2", problem.slice(x[0], x), ((3, 1), (3, 3), (2,), (0, 2)))]
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
    tries += [(torch.tensor([[0, 0], [0, index]]), ValueError, message) for index in indices]
    message = r"expected sample indices of torch\.int64"
    tries += [(torch.zeros(2, 1, dtype=dtype), TypeError, message) for dtype in (torch.float64, torch.int32) if n]
    for batch, kind, message in tries or [
        (torch.zeros(2, 1).long(), ValueError, "batch is given, but .* has no samples")
    ]:
        for call in calls(problem, batch):
            with pytest.raises(kind, match=message):
                call(x)


# networks, against plain torch modules


def twin(widths, activation, x):
    """A plain module with the parameters x (dim,), in the order of `Module.parameters`."""
    layers = [layer for shape in pairwise(widths) for layer in (nn.Linear(*shape), ACTIVATIONS[activation]())]
    module = nn.Sequential(*layers[:-1]).double()
    nn.utils.vector_to_parameters(x.clone(), module.parameters())
    return module


def losses_by_hand(outputs, targets, loss):
    """Each sample's loss, in numpy: half the mean square over outputs, or minus the log of a softmax."""
    if loss == "mse":
        return ((outputs - targets) ** 2).mean(1) / 2
    return -log_softmax(outputs, 1)[np.arange(len(targets)), targets]


def some_data(loss, n=9, inputs=3, outputs=2):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, inputs))
    return x, (rng.normal(size=(n, outputs)) if loss == "mse" else rng.integers(0, outputs, n))


def start(problem, runs=1, seed=0):
    return torch.stack([problem.initial(seed + r) for r in range(runs)])


@pytest.mark.parametrize(
    ("widths", "activation", "data", "loss"),
    [
        *(([3, 5, 4, 2], each, some_data(loss), loss) for each in ACTIVATIONS for loss in ("mse", "cross_entropy")),
        ([1, 3, 1], "tanh", "sine", "mse"),
        ([2, 3, 1], "tanh", "spirals", "mse"),
        ([2, 3, 2], "tanh", "spirals", "mse"),
        ([2, 3, 2], "tanh", "spirals", "cross_entropy"),
        ([64, 3, 10], "tanh", "digits", "cross_entropy"),
        ([64, 3, 10], "tanh", "digits", "mse"),
    ],
)
def test_losses_are_those_of_a_plain_module(widths, activation, data, loss):
    problem = mlp(widths, activation, data, loss)
    inputs, targets = load(data) if isinstance(data, str) else data
    if loss == "mse" and targets.dtype.kind == "i":  # classes become ±1, or one-hot vectors
        targets = 2.0 * targets[:, None] - 1 if widths[-1] == 1 else np.eye(widths[-1])[targets]
    assert problem.samples == len(inputs)
    x = start(problem, runs=3)
    for batch in (None, torch.tensor([[0, 3, 3, 8], [1, 2, 5, 7], [8, 0, 4, 4]])):
        together, alone = problem.loss(x, batch), problem.sample_losses(x, batch)
        for r in range(3):
            rows = slice(None) if batch is None else batch[r].numpy()
            outputs = twin(widths, activation, x[r])(torch.from_numpy(inputs[rows])).detach().numpy()
            by_hand = losses_by_hand(outputs, targets[rows], loss)
            np.testing.assert_allclose(together[r], by_hand.mean(), rtol=1e-12)
            np.testing.assert_allclose(alone[r], by_hand, rtol=1e-10)


@pytest.mark.parametrize("z", [-30.0, -1.0, 0.0, 1.0, 19.9, 20.1, 40.0])
def test_the_slope_of_softplus_is_the_logistic_function(z):
    problem = mlp([1, 1, 1], "softplus", ([[1.0]], [0.0]))
    x = torch.tensor([[z, 0.0, 1.0, 0.0]], dtype=torch.float64)  # the output is softplus(z)
    loss, gradient = problem.gradient(x)
    output = np.logaddexp(0, z)
    assert loss.item() == pytest.approx(output**2 / 2, rel=1e-8)
    assert gradient[0, 0].item() == pytest.approx(output * expit(z), rel=1e-8)


ROWS = np.linspace(-1, 1, 6)
LABELLED = np.array([-1, 1, 1, -1, 1, -1])


@pytest.mark.parametrize(
    ("data", "same"),
    [
        ((ROWS[:, None], ROWS**2), (ROWS[:, None], ROWS[:, None] ** 2)),
        ((ROWS, ROWS**2), (ROWS[:, None], ROWS**2)),
        ((ROWS.reshape(1, 2, 3), [1.0]), (ROWS[None], [1.0])),
        ((ROWS, LABELLED), (ROWS, LABELLED.astype(float))),  # labels of ±1 must not become −3 and 1
    ],
    ids=["flat targets", "flat inputs", "images", "labels of ±1"],
)
def test_data_may_have_several_forms(data, same):
    first, second = (mlp([6 if len(each[1]) == 1 else 1, 2, 1], data=each) for each in (data, same))
    assert torch.equal(first.gradient(start(first))[1], second.gradient(start(second))[1])


def test_the_loss_may_be_a_users_function():
    data = some_data("mse")
    x = start(mine := mlp([3, 4, 2], "tanh", data, lambda outputs, targets: ((outputs - targets) ** 2).sum(1) / 4))
    ours = mlp([3, 4, 2], "tanh", data)
    assert (mine.closed, ours.closed) == (False, True)
    torch.testing.assert_close(mine.sample_losses(x), ours.sample_losses(x))
    torch.testing.assert_close(mine.gradient(x), ours.gradient(x), rtol=1e-10, atol=1e-13)


def test_the_hessian_does_not_depend_on_how_many_rows_are_computed_at_once(monkeypatch):
    problem = mlp([3, 4, 2], "tanh", some_data("mse"))
    x = start(problem, runs=2)
    at_once = problem.hessian(x)
    monkeypatch.setattr("samviz.problems.problem.CHUNK", 7 * problem.samples * problem.dim)  # 7 rows at a time of 26
    torch.testing.assert_close(problem.hessian(x), at_once, rtol=1e-13, atol=1e-15)


def test_starting_points_follow_the_seed_and_the_scale_of_the_layers():
    problem = mlp([64, 7, 10], data="digits", loss="cross_entropy")
    first, last = problem.initial(3)[: 65 * 7], problem.initial(3)[65 * 7 :]
    assert torch.equal(problem.initial(3), problem.initial(3))
    assert not torch.equal(problem.initial(3), problem.initial(4))
    assert 0.9 / 8 < first.abs().max() <= 1 / 8  # ±1/√fan_in, torch's default for linear layers
    assert 0.9 / 7**0.5 < last.abs().max() <= 1 / 7**0.5
    problem = quadratic([1.0, 2.0, 3.0])
    assert torch.equal(problem.initial(4), problem.initial(4))
    assert not torch.equal(problem.initial(4), problem.initial(5))
    assert valley().loss(valley().initial()[None]) > 0


# what a network computes, as a picture


def picture_of(widths, data, loss="mse"):
    """The picture of a network at its starting point, and the same network as a plain module."""
    problem = mlp(widths, "tanh", data, loss)
    x = start(problem, runs=2)
    return problem.picture(x), twin(widths, "tanh", x[0])


def test_the_picture_of_a_curve():
    curve, module = picture_of([1, 4, 1], "sine")
    np.testing.assert_allclose(
        curve.outputs, module(torch.from_numpy(curve.inputs)[:, None])[:, 0].detach(), rtol=1e-12
    )
    np.testing.assert_allclose(curve.data_targets, np.sin(3 * curve.data_inputs), atol=1e-12)
    assert curve.inputs[0] < -1 < 1 < curve.inputs[-1]


@pytest.mark.parametrize(("outputs", "loss"), [(1, "mse"), (2, "cross_entropy"), (2, "mse")])
def test_the_picture_of_two_classes(outputs, loss):
    regions, module = picture_of([2, 4, outputs], "spirals", loss)
    answer = module(torch.tensor([[regions.axis1[3], regions.axis2[30]]]))[0].tolist()
    assert regions.score.shape == (41, 41)
    assert regions.score[30, 3] == pytest.approx(answer[-1] - (answer[0] if outputs == 2 else 0), rel=1e-10)
    np.testing.assert_array_equal(regions.labels, load("spirals")[1])
    np.testing.assert_allclose(regions.points, load("spirals")[0])


def test_the_pictures_of_many_classes_and_of_any_regression():
    images, labels = load("digits")
    classes, module = picture_of([64, 5, 10], "digits", "cross_entropy")
    guess = module(torch.from_numpy(images)).argmax(1).numpy()
    np.testing.assert_allclose(classes.accuracy, [np.mean(guess[labels == c] == c) for c in range(10)], rtol=1e-12)
    inputs, targets = some_data("mse")
    residuals, module = picture_of([3, 4, 2], (inputs, targets))
    np.testing.assert_allclose(residuals.targets, targets.ravel())
    outputs = module(torch.from_numpy(inputs)).detach().numpy().ravel()
    np.testing.assert_allclose(residuals.predictions, outputs, rtol=1e-12)
