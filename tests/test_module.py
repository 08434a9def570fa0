"""Any torch module as a problem, against plain torch loops on a copy of it and finite differences."""

import pickle
from copy import deepcopy
from itertools import pairwise
from zlib import crc32

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from samviz.dynamics import Run
from samviz.problems import from_module, mlp
from samviz.problems.module import flat_copy

N = 12
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.normal(size=(N, 1, 4, 4)), RNG.integers(0, 3, N)
VECTORS, GOALS = RNG.normal(size=(N, 4)), RNG.normal(size=(N, 2))


class Tied(nn.Module):
    """The same weights twice, once transposed, and a number of no dimension."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.gain = nn.Parameter(torch.tensor(1.3))

    def forward(self, x):
        return self.gain * F.linear(self.second(self.first(x).tanh()).tanh(), self.first.weight[:, :2].T)


class Partial(nn.Module):
    """A frozen layer, one that is never used, and a weight that is stored column by column."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(4, 3).requires_grad_(False)
        self.unused = nn.Linear(5, 5)
        self.columns = nn.Parameter(torch.randn(2, 3).T)  # (3, 2), not contiguous
        self.last = nn.Linear(2, 2)

    def forward(self, x):
        return self.last((self.frozen(x).tanh() @ self.columns).tanh())


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRU(2, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.cell(x.view(len(x), 2, 2).transpose(0, 1))[0][-1])


class Picture(nn.Module):
    """A small network with batch normalization after a convolution and after a layer, and dropout."""

    def __init__(self, drop=0.3):
        super().__init__()
        self.filters, self.norm = nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3)
        self.hidden, self.flat, self.drop = nn.Linear(27, 5), nn.BatchNorm1d(5), nn.Dropout(drop)
        self.head = nn.Linear(5, 3)

    def forward(self, images):
        hidden = self.norm(self.filters(images)).tanh().flatten(1)
        return self.head(self.drop(self.flat(self.hidden(hidden)).tanh()))


OWN = torch.Generator()


def built(kind, *args):
    torch.manual_seed(1)
    module = kind(*args).double()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # statistics that are not those of the data
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return module


def free(module):
    return [p for p in module.parameters() if p.requires_grad]


def put(module, x):
    """Write x (dim,) into the module's trainable parameters, one after the other."""
    with torch.no_grad():
        for p, part in zip(free(module), x.split([p.numel() for p in free(module)])):
            p.copy_(part.reshape(p.shape))


def plain(module, x, inputs, targets, loss):
    """Loss and gradient by a plain backward pass on a copy of the module."""
    module = deepcopy(module)
    put(module, x)
    module.zero_grad()
    value = loss(module(torch.as_tensor(inputs)), torch.as_tensor(targets))
    value.backward()
    return value.item(), torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in free(module)]
    )


def half_mse(outputs, targets):
    return ((outputs - targets) ** 2).mean() / 2


def near(problem, runs=1, scale=0.3):
    generator = torch.Generator().manual_seed(2)
    return problem.initial() + scale * torch.randn(runs, problem.dim, generator=generator, dtype=torch.float64)


def batches(runs, size=4):
    generator = torch.Generator().manual_seed(3)
    return torch.stack([torch.randperm(N, generator=generator)[:size] for _ in range(runs)])


# the gradient of one run


@pytest.mark.parametrize("kind", [Tied, Partial, Recurrent])
@pytest.mark.parametrize("rows", [None, [0], [3, 3, 11]])
def test_the_gradient_is_that_of_a_plain_backward_pass(kind, rows):
    module = built(kind)
    problem = from_module(module, (VECTORS, GOALS))
    batch = None if rows is None else torch.tensor([rows])
    chosen = slice(None) if rows is None else rows
    for x in near(problem, 3):  # again and again, through the same memory
        value, slope = plain(module, x, VECTORS[chosen], GOALS[chosen], half_mse)
        loss, gradient = problem.gradient(x[None], batch)
        assert (loss.shape, gradient.shape) == ((1,), (1, problem.dim))
        assert loss.item() == pytest.approx(value, rel=1e-13)
        assert problem.loss(x[None], batch).item() == pytest.approx(value, rel=1e-13)
        torch.testing.assert_close(gradient[0], slope, rtol=1e-11, atol=1e-14)


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    rows=st.lists(st.integers(0, N - 1), min_size=1, max_size=6),
    classes=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_gradients_of_all_sorts_of_networks(widths, rows, classes, seed):
    torch.manual_seed(seed)
    widths = [4, *widths, 3 if classes else 2]
    layers = [part for pair in pairwise(widths) for part in (nn.Linear(*pair, bias=seed % 2 == 0), nn.Sigmoid())]
    module = nn.Sequential(*layers[:-1]).double()
    targets, name, loss = (LABELS, "cross_entropy", nn.CrossEntropyLoss()) if classes else (GOALS, "mse", half_mse)
    problem = from_module(module, (VECTORS, targets), name)
    value, slope = plain(module, problem.initial(), VECTORS[rows], targets[rows], loss)
    got, gradient = problem.gradient(problem.initial()[None], torch.tensor([rows]))
    assert got.item() == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(gradient[0], slope, rtol=1e-10, atol=1e-14)


def test_ones_own_loss():
    module = built(Partial)
    problem = from_module(module, (VECTORS, GOALS), lambda outputs, targets: (outputs - targets).abs().sum(1))
    x = near(problem)
    value, slope = plain(module, x[0], VECTORS, GOALS, lambda outputs, y: (outputs - y).abs().sum(1).mean())
    loss, gradient = problem.gradient(x)
    assert loss.item() == pytest.approx(value, rel=1e-13)
    torch.testing.assert_close(gradient[0], slope, rtol=1e-11, atol=1e-14)


def test_outputs_and_targets_may_be_images():
    module = nn.Conv2d(1, 1, 3, padding=1).double()
    for images in (IMAGES, IMAGES[:, :, :1, :1]):
        problem = from_module(module, (images, 2 * images))
        value, slope = plain(module, problem.initial(), images, 2 * images, half_mse)
        for runs in (1, 2):
            loss, gradient = problem.gradient(problem.initial().expand(runs, -1))
            np.testing.assert_allclose(loss, [value] * runs, rtol=1e-13)
            torch.testing.assert_close(gradient, slope.expand(runs, -1), rtol=1e-11, atol=1e-14)


def test_what_is_returned_stays():
    problem = from_module(built(Tied), (VECTORS, GOALS))
    x = near(problem, 2)
    before = x.clone()
    first = problem.gradient(x[:1])
    kept = [tensor.clone() for tensor in first]
    second = problem.gradient(x[1:])
    first[1].mul_(7)  # which the caller may do
    third = problem.gradient(x[:1])
    assert torch.equal(x, before)
    assert torch.equal(first[0], kept[0])
    assert torch.equal(third[1], kept[1])
    assert not torch.equal(second[1], kept[1])
    assert not third[1].requires_grad


def test_parameters_and_gradients_are_views_of_two_vectors():
    module = built(Partial)
    shapes = {name: p.shape for name, p in module.named_parameters() if p.requires_grad}
    copy, x, gradient = flat_copy(module, shapes)
    x.copy_(torch.randn(len(x), dtype=torch.float64))
    half_mse(copy(torch.from_numpy(VECTORS)), torch.from_numpy(GOALS)).backward()
    for flat, parts in ((x, free(copy)), (gradient, [p.grad for p in free(copy)])):
        assert torch.equal(torch.cat([part.flatten() for part in parts]), flat)
        offsets = [part.data_ptr() - flat.data_ptr() for part in parts]
        assert offsets == [0, *np.cumsum([8 * part.numel() for part in parts])[:-1]]


def test_products_made_earlier_keep_their_point():
    """The graph of a Hessian-vector product outlives later gradients, which write into shared memory."""
    problem = from_module(built(Tied), (VECTORS, GOALS))
    x, v = near(problem, 2), torch.ones(1, 1, problem.dim, dtype=torch.float64)
    product = problem.hvp(x[:1])
    once = product(v)
    problem.gradient(x[1:])
    assert torch.equal(product(v), once)


def test_noisy_targets_for_one_run():
    module, rng = built(Tied), np.random.default_rng(4)
    problem = from_module(module, (VECTORS, GOALS))
    x, noise = near(problem), rng.normal(size=(N, 2))
    value, _ = plain(module, x[0], VECTORS, GOALS, half_mse)
    _, slope = plain(module, x[0], VECTORS, GOALS + noise, half_mse)
    loss, gradient = problem.noisy_gradient(x, None, torch.from_numpy(noise)[None])
    assert loss.item() == pytest.approx(value, rel=1e-13)
    torch.testing.assert_close(gradient[0], slope, rtol=1e-11, atol=1e-14)
    silent = problem.noisy_gradient(x, None, torch.zeros(1, N, 2, dtype=torch.float64))
    for a, b in zip(silent, problem.gradient(x)):
        assert torch.equal(a, b)


# copies


def moved(problem):
    return problem.to("cpu", torch.float32).to("cpu", torch.float64)


WAYS = {"deepcopy": deepcopy, "pickle": lambda problem: pickle.loads(pickle.dumps(problem)), "there and back": moved}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("training", [False, True])
def test_a_copy_has_memory_of_its_own(way, training):
    problem = from_module(built(Picture), (IMAGES, LABELS), "cross_entropy", training)
    x = near(problem, 2)
    problem = moved(problem)  # the stored statistics lose their last digits here, not later
    before = [problem.gradient(x[r : r + 1]) for r in range(2)]
    copy = WAYS[way](problem)
    for r in (0, 1, 0):
        mine, other = copy.gradient(x[r : r + 1]), problem.gradient(x[1 - r : 2 - r])
        for a, b in zip((*mine, *other), (*before[r], *before[1 - r])):
            assert torch.equal(a, b)
    assert copy._workspace[1].data_ptr() != problem._workspace[1].data_ptr()


@pytest.mark.parametrize("training", [False, True])
def test_single_precision(training):
    problem = from_module(built(Picture, 0.0), (IMAGES, LABELS), "cross_entropy", training)
    x = near(problem, 2)
    exact = problem.gradient(x[:1])
    single = problem.to("cpu", torch.float32)
    for runs in (1, 2):
        got = single.gradient(x[:runs].float())
        for a, b in zip(got, exact):
            assert a.dtype == torch.float32
            torch.testing.assert_close(a[0].double(), b[0], rtol=1e-3, atol=1e-5)
    assert next(single.module_at(x[0].float()).parameters()).dtype == torch.float32
    for a, b in zip(problem.gradient(x[:1]), exact):  # which still stands
        assert torch.equal(a, b)


# in evaluation and in training mode


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("rows", [None, [1, 5, 2], [9, 0]])
def test_gradients_and_products_are_finite_differences(training, rows):
    problem = from_module(built(Picture), (IMAGES, LABELS), "cross_entropy", training)
    x, h = near(problem, 2), 1e-5
    batch = None if rows is None else torch.tensor([rows, rows[::-1]])
    v = torch.randn(2, 3, problem.dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    v /= v.norm(dim=2, keepdim=True)
    for runs in (1, 2):  # a single run goes another way than several
        part = None if batch is None else batch[:runs]
        gradient, product = problem.gradient(x[:runs], part)[1], problem.hvp(x[:runs], part)(v[:runs])
        for k in range(3):
            ahead, behind = x[:runs] + h * v[:runs, k], x[:runs] - h * v[:runs, k]
            slope = (problem.loss(ahead, part) - problem.loss(behind, part)) / (2 * h)
            torch.testing.assert_close((gradient * v[:runs, k]).sum(1), slope, rtol=1e-6, atol=1e-8)
            turn = (problem.gradient(ahead, part)[1] - problem.gradient(behind, part)[1]) / (2 * h)
            torch.testing.assert_close(product[:, k], turn, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rows", [None, [[1, 5, 2], [9, 0, 4], [1, 5, 2]]])
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_runs_in_training_mode_never_mix(rows, drop):
    problem = from_module(built(Picture, drop), (IMAGES, LABELS), "cross_entropy", training=True)
    assert problem.random == (drop > 0)
    x, batch = near(problem, 3), None if rows is None else torch.tensor(rows)
    many = problem.gradient(x, batch)
    for r in range(3):
        one = problem.gradient(x[r : r + 1], None if batch is None else batch[r : r + 1])
        for a, b in zip(many, one):
            torch.testing.assert_close(a[r], b[0], rtol=1e-10, atol=1e-13)
    again = problem.loss(x[:1].expand(3, -1), batch)
    assert torch.equal(again[0], again[2])  # equal batches


@pytest.mark.parametrize("rows", [None, [2, 7, 1, 8]])
def test_training_mode_normalizes_by_the_batch(rows):
    module = built(Picture, 0.0)
    problem = from_module(module, (IMAGES, LABELS), "cross_entropy", training=True)
    chosen = slice(None) if rows is None else rows
    x = near(problem)
    value, slope = plain(module.train(), x[0], IMAGES[chosen], LABELS[chosen], nn.CrossEntropyLoss())
    loss, gradient = problem.gradient(x, None if rows is None else torch.tensor([rows]))
    assert loss.item() == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(gradient[0], slope, rtol=1e-9, atol=1e-13)


def test_dropout_goes_with_the_batch():
    dropout = nn.Sequential(nn.Linear(1, 400, bias=False), nn.Dropout(0.25), nn.Linear(400, 1, bias=False)).double()
    nn.init.ones_(dropout[0].weight)
    nn.init.ones_(dropout[2].weight)  # at ones, input 1, an output is 4/3 times how many neurons are kept
    problem = from_module(dropout, (np.ones((30, 1)), np.zeros(30)), lambda outputs, y: outputs[:, 0], training=True)
    x = problem.initial()[None]
    rows = [[k] for k in range(30)] + [[3, 4], [4, 3]]
    kept = [problem.loss(x, torch.tensor([row])).item() * 0.75 for row in rows]
    assert len({round(number) for number in kept[:30]}) > 10
    np.testing.assert_allclose(kept[:30], np.round(kept[:30]), atol=1e-9)
    assert abs(np.mean(kept) - 300) < 5 * np.sqrt(400 * 0.25 * 0.75 / len(kept))
    state = torch.get_rng_state()
    for row, number in zip(rows, kept):  # again, and seen by the gradient: of the last weights, 4/3 or 0 each
        torch.rand(5)
        batch = torch.tensor([row])
        assert problem.loss(x, batch).item() * 0.75 == number
        last = problem.gradient(x, batch)[1][0, 400:]
        assert last.sum().item() * 0.75 == pytest.approx(number)
    torch.set_rng_state(state)
    everything = torch.arange(30)[None]
    assert torch.equal(problem.loss(x), problem.loss(x, everything))
    assert problem.outputs(x, problem.inputs)[0, 0].item() == pytest.approx(400)  # in evaluation mode, all are kept


def test_dropout_that_is_on_in_evaluation_mode_is_fixed_as_well():
    class Always(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return F.dropout(self.layer(x))

    problem = from_module(built(Always), (VECTORS, GOALS))
    x = near(problem, 2)
    assert torch.equal(problem.loss(x), problem.loss(x))
    assert problem.loss(x)[0].item() == pytest.approx(problem.gradient(x[:1])[0].item(), rel=1e-13)


def test_sam_on_a_network_with_batchnorm_and_dropout_is_a_plain_loop(monkeypatch):
    """50 steps of SAM written out in torch; before each pass the generator is seeded for the batch."""
    module = built(Picture)
    problem = from_module(module, (IMAGES, LABELS), "cross_entropy", training=True)
    ours, used, gradient = deepcopy(module).train(), [], problem.gradient

    def noted(x, batch):
        used.append(batch[0])
        return gradient(x, batch)

    monkeypatch.setattr(problem, "gradient", noted)
    run = Run(problem, "sam", lr=0.2, rho=0.1, batch_size=4, seed=7, device="cpu")
    run.step(50)
    assert len(used) == 100
    images, labels = torch.from_numpy(IMAGES), torch.from_numpy(LABELS)

    def backward(batch):
        torch.manual_seed(crc32(np.asarray(batch, dtype="<i8").tobytes()))
        ours.zero_grad()
        F.cross_entropy(ours(images[batch]), labels[batch]).backward()
        return [p.grad.clone() for p in ours.parameters()]

    for batch, same in zip(used[::2], used[1::2]):
        assert torch.equal(batch, same)
        first = backward(batch)
        length = torch.sqrt(sum((g**2).sum() for g in first))
        with torch.no_grad():
            for p, g in zip(ours.parameters(), first):
                p.add_(0.1 * g / length)
        second = backward(batch)
        with torch.no_grad():
            for p, g, ahead in zip(ours.parameters(), first, second):
                p.sub_(0.1 * g / length + 0.2 * ahead)
    there = torch.cat([p.detach().flatten() for p in ours.parameters()])
    assert (there - problem.initial()).norm() > 0.5
    torch.testing.assert_close(run.x[0], there, rtol=1e-9, atol=1e-10)
    ours.drop.p = 0.0
    torch.optim.swa_utils.update_bn([images], ours)  # torch's own way to the statistics of the data
    theirs, back = ours.eval()(images), problem.module_at(run.x)
    torch.testing.assert_close(back(images), theirs, rtol=1e-8, atol=1e-9)
    guess = problem.picture(run.x).accuracy
    right = (theirs.argmax(1) == labels).numpy()
    np.testing.assert_allclose(guess, [right[(labels == c).numpy()].mean() for c in range(3)])


# what is left alone


@pytest.mark.parametrize("training", [False, True])
def test_the_users_module_and_generator_are_left_alone(training):
    module = built(Picture).float().train()
    module.norm.eval()
    module.hidden.weight.requires_grad_(False)
    F.cross_entropy(module(torch.from_numpy(IMAGES).float()), torch.from_numpy(LABELS)).backward()

    def everything():
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        grads = {f"{name} slope": p.grad for name, p in module.named_parameters() if p.grad is not None}
        modes = [(m.training, getattr(m, "track_running_stats", None)) for m in module.modules()]
        return {name: t.detach().clone() for name, t in (tensors | grads).items()}, modes, torch.get_rng_state()

    before = everything()
    problem = from_module(module, (IMAGES, LABELS), "cross_entropy", training)
    run = Run(problem, "sam", lr=0.1, rho=0.1, device="cpu")
    run.step(2)
    run.measure()
    problem.picture(run.x)
    back = problem.module_at(run.x)
    after = everything()
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1] == after[1]
    assert torch.equal(before[2], after[2])
    assert problem.dim == sum(p.numel() for p in free(module))
    assert torch.equal(back.hidden.weight, module.hidden.weight.double())


def test_stored_statistics_do_not_move():
    problem = from_module(built(Picture), (IMAGES, LABELS), "cross_entropy", training=True)
    x = near(problem, 2)
    before = {name: buffer.clone() for name, buffer in built(Picture).named_buffers()}
    for runs in (1, 2):
        problem.gradient(x[:runs])
        problem.loss(x[:runs], batches(runs))
        problem.hvp(x[:runs])(torch.ones(runs, 1, problem.dim, dtype=torch.float64))
    after = dict(problem.module.named_buffers())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# the module with given parameters


def test_the_module_in_evaluation_mode_has_its_own_statistics():
    module = built(Picture)
    problem = from_module(module, (IMAGES, LABELS), "cross_entropy")
    x = near(problem)[0]
    back, expected = problem.module_at(x), deepcopy(module).eval()
    put(expected, x)
    assert type(back) is Picture
    assert not any(layer.training for layer in back.modules())
    assert back.state_dict().keys() == module.state_dict().keys()
    for a, b in zip(back.state_dict().values(), expected.state_dict().values()):
        assert torch.equal(a, b)
    assert all(p.grad is None for p in back.parameters())
    loss = F.cross_entropy(back(torch.from_numpy(IMAGES)), torch.from_numpy(LABELS))
    assert loss.item() == pytest.approx(problem.loss(x[None]).item(), rel=1e-12)
    loss.backward()  # it trains like any other, and the problem does not notice
    assert problem.gradient(x[None])[1].norm() > 0


def test_the_module_in_training_mode_gets_the_statistics_of_the_data():
    module = built(Picture)
    problem = from_module(module, (IMAGES, LABELS), "cross_entropy", training=True)
    back = problem.module_at(problem.initial())
    seen = module.filters(torch.from_numpy(IMAGES)).transpose(0, 1).flatten(1)  # what `norm` normalizes
    torch.testing.assert_close(back.norm.running_mean, seen.mean(1))
    torch.testing.assert_close(back.norm.running_var, seen.var(1))
    assert back.norm.track_running_stats
    assert back.norm.momentum == module.norm.momentum


def test_statistics_of_single_images():
    """InstanceNorm stores, when asked to, the mean of what it computes for each sample."""
    layer = nn.InstanceNorm2d(2, track_running_stats=True)
    module = nn.Sequential(nn.Conv2d(1, 2, 2), layer, nn.Flatten(), nn.Linear(18, 3)).double()
    problem = from_module(module, (IMAGES, LABELS), "cross_entropy", training=True)
    seen = module[0](torch.from_numpy(IMAGES)).flatten(2)  # (n, 2, 9)
    back = problem.module_at(problem.initial())[1]
    torch.testing.assert_close(back.running_mean, seen.mean((0, 2)))
    torch.testing.assert_close(back.running_var, seen.var(2).mean(0))


# bad input


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.calls += 1
        return self.layer(x)


def test_bad_input():
    from_module(Counting(), (VECTORS, GOALS))
    with pytest.raises(ValueError, match="module changes its buffers calls in training mode"):
        from_module(Counting(), (VECTORS, GOALS), training=True)
    with pytest.raises(TypeError, match="training is 'yes'; expected True or False"):
        from_module(Counting(), (VECTORS, GOALS), training="yes")
    problem = from_module(built(Picture), (IMAGES, LABELS), "cross_entropy", training=True)
    with pytest.raises(ValueError, match=r"x has 2 rows; expected one point, such as x\[0\]"):
        problem.module_at(near(problem, 2))
    with pytest.raises(ValueError, match="x has shape"):
        problem.module_at(torch.zeros(3))


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_batchnorm_and_batches_of_one_sample(runs, drop):
    problem = from_module(built(Picture, drop), (IMAGES, LABELS), "cross_entropy", training=True)
    run = Run(problem, "sam", 0.1, 0.1, batch_size=1, x0=near(problem, runs), device="cpu")
    x, state = run.x, torch.get_rng_state()
    words = "a batch of one sample has no statistics that BatchNorm could use in training mode; expected batches of 2"
    with pytest.raises(ValueError, match=words):
        run.step()
    assert torch.equal(run.x, x)
    assert torch.equal(torch.get_rng_state(), state)
    run.set(batch_size=2)
    run.step()
    assert run.steps == 1
    with pytest.raises(ValueError, match="a batch of one sample"):
        from_module(built(Picture, drop), (IMAGES[:1], LABELS[:1]), "cross_entropy", training=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("training", [False, True])
def test_cuda(training):
    module = built(Picture, 0.0)
    problem = from_module(module, (IMAGES, LABELS), "cross_entropy", training)
    there, x = problem.to("cuda", torch.float64), near(problem, 2)
    for runs in (1, 2):
        for a, b in zip(there.gradient(x[:runs].cuda()), problem.gradient(x[:runs])):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        there.module_at(x[0])(there.inputs).cpu(), problem.module_at(x[0])(problem.inputs), rtol=1e-9, atol=1e-12
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_dropout_goes_with_the_batch():
    problem = from_module(built(Picture), (IMAGES, LABELS), "cross_entropy", training=True).to("cuda", torch.float64)
    x, rows = near(problem.to("cpu", torch.float64), 2).cuda(), batches(2).cuda()
    states = torch.get_rng_state(), torch.cuda.get_rng_state()
    once = problem.gradient(x, rows)
    torch.cuda.manual_seed(5)
    again = [problem.gradient(x[r : r + 1], rows[r : r + 1]) for r in range(2)]
    torch.cuda.set_rng_state(states[1])
    problem.gradient(x, rows)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert torch.equal(torch.cuda.get_rng_state(), states[1])
    for r in range(2):
        for a, b in zip(once, again[r]):
            torch.testing.assert_close(a[r], b[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "draw", [np.random.default_rng(0).normal, lambda: torch.randn((), generator=OWN), np.random.randn]
)
def test_a_module_or_a_loss_that_changes_from_one_evaluation_to_the_next_is_refused(draw):
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + 0.01 * draw()

    def loss(outputs, targets):
        return ((outputs - targets) ** 2).flatten(1).mean(1) + 0.01 * outputs[:, 0] * draw()

    said = "gave .* and then .* for the same parameters and samples"
    for training in (False, True):
        with pytest.raises(ValueError, match=f"module {said}"):
            from_module(Noisy(1, 1), "sine", training=training)
    with pytest.raises(ValueError, match=f"loss {said}"):
        from_module(nn.Linear(1, 1), "sine", loss)
    with pytest.raises(ValueError, match=f"loss {said}"):
        mlp([1, 2, 1], data="sine", loss=loss)
