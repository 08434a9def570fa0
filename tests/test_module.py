"""A copy of a torch module as a problem, against plain torch loops on another copy and finite differences."""

import pickle
from copy import deepcopy
from zlib import crc32

import numpy as np
import pytest
import torch
from test_attached import IMAGES, LABELS, cnn
from torch import nn
from torch.nn import functional as F

from samviz.dynamics import Run
from samviz.problems import from_module

N = 12
RNG = np.random.default_rng(0)
VECTORS, GOALS = RNG.normal(size=(N, 4)), RNG.normal(size=(N, 2))
DATA = IMAGES.numpy(), LABELS.numpy()
both_modes = pytest.mark.parametrize("training", [False, True])


class Tied(nn.Module):
    """Uses the same weights twice, once transposed, and a parameter without dimensions."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.gain = nn.Parameter(torch.tensor(1.3))

    def forward(self, x):
        return self.gain * F.linear(self.second(self.first(x).tanh()).tanh(), self.first.weight[:, :2].T)


class Partial(nn.Module):
    """Has a frozen layer, an unused one, and a weight that is stored column by column."""

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


def on_images(*, drop=0.3, training=True):
    return from_module(cnn(drop), DATA, "cross_entropy", training)


def trainable(module):
    return [p for p in module.parameters() if p.requires_grad]


def plain(module, x, inputs, targets, loss):
    """Loss and gradient by a plain backward pass on a copy of the module."""
    module = deepcopy(module)
    nn.utils.vector_to_parameters(x.clone(), parameters := trainable(module))
    value = loss(module(torch.as_tensor(inputs)), torch.as_tensor(targets))
    gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
    return value.detach()[None], nn.utils.parameters_to_vector(gradients)[None]


def half_mse(outputs, targets):
    return ((outputs - targets) ** 2).mean() / 2


def absolute(outputs, targets):
    return (outputs - targets).abs().sum(1)


def points_near(problem, runs=1):
    generator = torch.Generator().manual_seed(2)
    return problem.initial() + 0.3 * torch.randn(runs, problem.dim, generator=generator, dtype=torch.float64)


def assert_same(first, second):
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("kind", [Tied, Partial, Recurrent])
@pytest.mark.parametrize("rows", [None, [0], [3, 3, 11]])
def test_the_gradient_is_that_of_a_plain_backward_pass(kind, rows):
    torch.manual_seed(1)
    module = kind().double()
    batch, chosen = (None, slice(None)) if rows is None else (torch.tensor([rows]), rows)
    noise = torch.from_numpy(RNG.normal(size=(1, N if rows is None else len(rows), 2)))
    for loss, mean in (("mse", half_mse), (absolute, lambda outputs, y: absolute(outputs, y).mean())):
        problem = from_module(module, (VECTORS, GOALS), loss)
        for x in points_near(problem, 3):  # several times, in the same memory
            expected = plain(module, x, VECTORS[chosen], GOALS[chosen], mean)
            assert_close(problem.gradient(x[None], batch), expected)
            assert_close(problem.loss(x[None], batch), expected[0])
            if loss == "mse":
                _, slope = plain(module, x, VECTORS[chosen], GOALS[chosen] + noise[0].numpy(), mean)
                assert_close(problem.noisy_gradient(x[None], batch, noise), (expected[0], slope))
                assert_same(problem.noisy_gradient(x[None], batch, 0 * noise), problem.gradient(x[None], batch))


def test_outputs_and_targets_may_be_images():
    module = nn.Conv2d(1, 1, 3, padding=1).double()
    for images in (DATA[0], DATA[0][:, :, :1, :1]):
        problem = from_module(module, (images, 2 * images))
        value, slope = plain(module, problem.initial(), images, 2 * images, half_mse)
        for runs in (1, 2):
            found = problem.gradient(problem.initial().expand(runs, -1))
            assert_close(found, (value.expand(runs), slope.expand(runs, -1)))


def test_returned_gradients_and_products_do_not_share_memory_with_later_ones():
    problem = from_module(Tied().double(), (VECTORS, GOALS))
    x, v = points_near(problem, 2), torch.ones(1, 1, problem.dim, dtype=torch.float64)
    before, product = x.clone(), problem.hvp(x[:1])
    first, image = problem.gradient(x[:1]), product(v)
    saved = [tensor.clone() for tensor in first]
    assert not torch.equal(problem.gradient(x[1:])[1], saved[1])
    assert_same(first, saved)
    first[1].mul_(7)  # the caller may do this
    third = problem.gradient(x[:1])
    assert_same((x, first[0], third[1], product(v)), (before, saved[0], saved[1], image))
    assert not third[1].requires_grad


def through_float32(problem):
    return problem.to("cpu", torch.float32).to("cpu", torch.float64)


@pytest.mark.parametrize("duplicate", [deepcopy, lambda p: pickle.loads(pickle.dumps(p)), through_float32])
@both_modes
def test_a_copy_has_its_own_memory(duplicate, training):
    problem = on_images(training=training)
    x = points_near(problem, 2)
    problem = through_float32(problem)  # the stored statistics lose their last digits here, not later
    before = [problem.gradient(x[r : r + 1]) for r in range(2)]
    copy = duplicate(problem)
    for r in (0, 1, 0):
        assert_same(copy.gradient(x[r : r + 1]), before[r])
        assert_same(problem.gradient(x[1 - r : 2 - r]), before[1 - r])
    assert copy._workspace[1].data_ptr() != problem._workspace[1].data_ptr()


def test_sam_on_a_network_with_batchnorm_and_dropout_is_a_plain_loop(monkeypatch):
    """Against 50 steps of SAM written out in torch; before each pass the generator is seeded for the batch."""
    problem, module, batches = on_images(), cnn(0.3).train(), []
    compute = problem.gradient
    monkeypatch.setattr(problem, "gradient", lambda x, batch: batches.append(batch[0]) or compute(x, batch))
    run = Run(problem, "sam", lr=0.2, rho=0.1, batch_size=4, seed=7, device="cpu")
    run.step(50)
    assert len(batches) == 100
    assert_same(batches[::2], batches[1::2])

    def backward(batch):
        torch.manual_seed(crc32(np.asarray(batch, dtype="<i8").tobytes()))
        module.zero_grad()
        F.cross_entropy(module(IMAGES[batch]), LABELS[batch]).backward()
        return nn.utils.parameters_to_vector(p.grad for p in module.parameters())

    for batch in batches[::2]:
        w = nn.utils.parameters_to_vector(module.parameters()).detach()
        gradient = backward(batch)
        nn.utils.vector_to_parameters(w + 0.1 * gradient / gradient.norm(), module.parameters())
        nn.utils.vector_to_parameters(w - 0.2 * backward(batch), module.parameters())
    w = nn.utils.parameters_to_vector(module.parameters()).detach()
    assert (w - problem.initial()).norm() > 0.5
    torch.testing.assert_close(run.x[0], w, rtol=1e-9, atol=1e-10)
    module[4].p = 0.0  # dropout
    torch.optim.swa_utils.update_bn([IMAGES], module)  # torch's function for the statistics of the data
    outputs = module.eval()(IMAGES)
    torch.testing.assert_close(problem.module_at(run.x)(IMAGES), outputs, rtol=1e-8, atol=1e-9)
    right = outputs.argmax(1) == LABELS
    accuracy = [right[c == LABELS].double().mean() for c in range(3)]
    np.testing.assert_allclose(problem.picture(run.x).accuracy, accuracy)


def test_in_training_mode_the_returned_module_has_the_statistics_of_the_data():
    """InstanceNorm stores the mean over samples of the statistics of each sample; BatchNorm is in the test above."""
    norm = nn.InstanceNorm2d(2, track_running_stats=True)
    module = nn.Sequential(nn.Conv2d(1, 2, 2), norm, nn.Flatten(), nn.Linear(32, 3)).double()
    problem = from_module(module, DATA, "cross_entropy", training=True)
    features = module[0](IMAGES).transpose(0, 1).flatten(2)  # (2, n, 16)
    layer = problem.module_at(problem.initial())[1]
    torch.testing.assert_close(layer.running_mean, features.mean((1, 2)))
    torch.testing.assert_close(layer.running_var, features.var(2).mean(1))
    assert (layer.track_running_stats, layer.momentum) == (True, norm.momentum)


class Counting(nn.Linear):
    """Counts its calls in training mode."""

    def __init__(self):
        super().__init__(4, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += self.training
        return super().forward(x)


def test_a_module_that_changes_its_own_buffers_is_refused():
    from_module(Counting(), (VECTORS, GOALS))
    with pytest.raises(ValueError, match="module changes its buffers calls in training mode"):
        from_module(Counting(), (VECTORS, GOALS), training=True)


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_a_batch_that_batchnorm_refuses_leaves_the_run_as_it_was(runs, drop):
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(drop), nn.Linear(5, 2))
    problem = from_module(module, (VECTORS, GOALS), training=True)
    run = Run(problem, "sam", 0.1, 0.1, batch_size=1, x0=points_near(problem, runs), device="cpu")
    x, state = run.x, torch.get_rng_state()
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training, got input size"):
        run.step()
    assert_same((run.x, torch.get_rng_state()), (x, state))
    run.set(batch_size=2)
    run.step()
    assert run.steps == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_dropout_on_cuda_depends_only_on_the_batch():
    problem, rows = on_images().to("cuda", torch.float64), torch.tensor([[0, 4, 7], [3, 8, 1]]).cuda()
    x, states = points_near(on_images(), 2).cuda(), (torch.get_rng_state(), torch.cuda.get_rng_state())
    once = problem.gradient(x, rows)
    torch.cuda.manual_seed(5)
    again = [problem.gradient(x[r : r + 1], rows[r : r + 1]) for r in range(2)]
    torch.cuda.set_rng_state(states[1])
    problem.gradient(x, rows)
    assert_same((torch.get_rng_state(), torch.cuda.get_rng_state()), states)
    for r in range(2):
        for a, b in zip(once, again[r]):
            torch.testing.assert_close(a[r], b[0], rtol=1e-9, atol=1e-12)
