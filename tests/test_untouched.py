"""Evaluating an attached model changes neither the model nor generators and settings, and does not depend on them."""

import random

import numpy as np
import pytest
import torch
from test_attached import IMAGES, LABELS, LOSS, cnn, dense, loader
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from samviz.geometry import top_eigenpairs
from samviz.problems import attach

pytestmark = pytest.mark.usefixtures("one_thread")


def state_of(model, generators=()):
    """Everything that an evaluation must not change."""
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
    return (
        [(id(tensor), tensor.detach().numpy().tobytes()) for tensor in tensors],
        [{name: id(value) for name, value in vars(module).items()} for module in model.modules()],
        [p.requires_grad for p in model.parameters()],
        torch.get_rng_state().tolist(),
        [generator.get_state().tolist() for generator in generators],
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
        (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, torch.is_grad_enabled()),
    )


@pytest.fixture
def tf32():
    """Allow TF32, as many training scripts do."""
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision("highest")


class Recurrent(nn.GRU):
    def forward(self, outputs):
        return super().forward(outputs[:, None])[0][:, 0]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_evaluations_change_no_bit(training, fails, tf32):
    own, calls = torch.Generator().manual_seed(5), []

    def loss_fn(outputs, labels):
        calls.append(random.random() + np.random.random() + torch.rand(()).item())  # noqa: NPY002
        assert getattr(torch.backends.cuda.matmul, "fp32_precision", "ieee") == "ieee"
        if fails and len(calls) > 4:
            raise ZeroDivisionError
        return LOSS(outputs, labels)

    model = nn.Sequential(cnn(drop=0.5), Recurrent(3, 3, batch_first=True).double())
    model[0][1].train()
    model[0][5].eval().bias.requires_grad_(False)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    before = state_of(model, [own])
    problem = attach(model, loss_fn, loader(True, generator=own), training=training)
    x = problem.initial()[None]
    for evaluate in (problem.loss, problem.gradient, problem.hessian):
        try:
            evaluate(x)
        except ZeroDivisionError:
            assert fails
    attach(model, LOSS, loader(), recompute=True).loss(x)
    attach(model, LOSS, loader(True, generator=own), samples=9)
    assert state_of(model, [own]) == before
    assert torch.backends.cuda.matmul.allow_tf32
    assert len(calls) > 4


@pytest.mark.parametrize(
    "options", [dict, lambda: {"generator": torch.Generator()}, lambda: {"num_workers": 1, "persistent_workers": True}]
)
def test_training_draws_the_same_batches_with_and_without_evaluations(options):
    def epochs(evaluate):
        torch.manual_seed(7)
        data, batches, losses = loader(True, **options()), [], set()
        problem = attach(cnn(), LOSS, data, training=True)
        for _ in range(2):
            for _, labels in data:
                batches.append(labels.tolist())
                if evaluate:
                    losses.add(problem.loss(problem.initial()[None]).item())
        return batches, losses

    (batches, losses), (alone, _) = epochs(True), epochs(False)
    assert batches == alone
    assert len(losses) == 1
    assert batches[:3] != batches[3:]


def test_random_numbers_depend_only_on_the_batch():
    """Dropout's masks, augmentation and a loss that draws are the same at each pass and for each run."""
    masks, inputs = [], []

    class Drawn(TensorDataset):
        def __getitem__(self, index):
            images, labels = super().__getitem__(index)
            return images + random.random() + float(np.random.random()) + torch.rand(()), labels  # noqa: NPY002

    def loss_fn(outputs, labels):
        return LOSS(outputs, labels) * (1 + random.random() + np.random.random())  # noqa: NPY002

    model = cnn(drop=0.5)
    model[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model[4].register_forward_hook(lambda *_: masks.append(_[2].detach() == 0))
    problem = attach(model, loss_fn, DataLoader(Drawn(IMAGES, LABELS), 10), training=True)
    x = problem.initial().expand(2, -1)
    problem.loss(x)  # the first evaluation checks that the loss repeats
    masks.clear()
    inputs.clear()
    assert len({*problem.loss(x).tolist(), *problem.loss(x[:1]).tolist(), *problem.gradient(x)[0].tolist()}) == 1
    problem.hvp(x[:1])(torch.ones_like(x)[None, :1])
    assert len(masks) == 12  # in the order of batches and runs: 2 × 2, 2 × 1, 2 × 2, 2 × 1
    assert all(torch.equal(masks[0], masks[i]) for i in (1, 4, 6, 7, 10))
    assert all(torch.equal(masks[2], masks[i]) for i in (3, 5, 8, 9, 11))
    assert not torch.equal(masks[0], masks[2])
    attach(model, LOSS, problem.data).loss(x[:1])  # this loss draws nothing
    assert all(torch.equal(inputs[i], batch) for i, batch in zip((0, 2), inputs[-2:]))


@pytest.mark.parametrize(
    "context", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_numbers_do_not_depend_on_the_callers_modes(context):
    model = cnn()
    plain = attach(model, LOSS, (IMAGES, LABELS), batch_size=15)
    x, wanted = plain.initial()[None], dense(model)
    single = attach(cnn().float(), LOSS, (IMAGES, LABELS))
    alone = single.gradient(single.initial()[None])
    with context():
        torch.testing.assert_close(single.gradient(single.initial()[None]), alone)
        problem = attach(model, LOSS, [(IMAGES.clone(), LABELS.clone())])
        here = problem.initial()[None]
        loss, slope = problem.gradient(here)
        found = problem.hessian(here)[0], problem.loss(here), top_eigenpairs(problem, here[0], k=1).values
        has_graph = plain.loss(x.clone().requires_grad_()).requires_grad
    assert has_graph == (context not in (torch.inference_mode, torch.no_grad))
    torch.testing.assert_close(found[0], wanted, rtol=1e-9, atol=1e-13)
    torch.testing.assert_close((loss, slope), plain.gradient(x))
    torch.testing.assert_close((found[1], found[2][0, 0]), (loss, torch.linalg.eigvalsh(wanted)[-1]))
