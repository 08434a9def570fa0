"""A model as a problem, without a copy, against dense Hessians of code written here and finite differences."""

import random
from collections import UserDict
from copy import deepcopy
from time import perf_counter
from weakref import ref

import numpy as np
import pytest
import torch
from states import state_of
from torch import distributed, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

from samviz.dynamics import Run
from samviz.geometry import top_eigenpairs
from samviz.problems import attach, from_module
from samviz.problems import mlp as network

torch.manual_seed(0)
IMAGES, LABELS = torch.randn(20, 1, 5, 5, dtype=torch.float64), torch.randint(0, 3, (20,))
ROWS, GOALS = torch.randn(12, 4, dtype=torch.float64), torch.randn(12, 2, dtype=torch.float64)
LOSS = nn.CrossEntropyLoss()


def cnn(drop=0.0):
    """A small CNN whose statistics are not those of the data."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Dropout(drop), nn.Linear(18, 3)
    )
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    return model.double()


def mlp(*layers):
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 3), *layers, nn.Linear(3, 2)).double()


def loader(shuffle=False, batch_size=8, **options):
    return DataLoader(TensorDataset(IMAGES, LABELS), batch_size, shuffle, **options)


def dense(model, inputs=IMAGES, labels=LABELS):
    """The Hessian of the mean loss by torch's own, with the CNN written out."""
    sizes = [p.numel() for p in model.parameters()]

    def loss(flat):
        kernel, bias, gain, shift, weight, last = (
            part.view(p.shape) for part, p in zip(flat.split(sizes), model.parameters())
        )
        mean, deviation = model[1].running_mean, (model[1].running_var + model[1].eps).sqrt()
        hidden = (F.conv2d(inputs, kernel, bias) - mean[:, None, None]) / deviation[:, None, None]
        hidden = torch.tanh(hidden * gain[:, None, None] + shift[:, None, None])
        return F.cross_entropy(hidden.flatten(1) @ weight.T + last, labels)

    return torch.autograd.functional.hessian(loss, nn.utils.parameters_to_vector(model.parameters()).detach())


DATA, MODEL = (ROWS, GOALS), mlp()


UNEVEN = [[IMAGES[:1], LABELS[:1]], (IMAGES[1:], LABELS[1:])]


@pytest.mark.parametrize("data", [loader(), loader(True), list(loader(batch_size=6)), UNEVEN])
def test_batches_add_up_to_the_mean_over_the_data_and_its_dense_hessian(data):
    model = cnn()
    together, parts = attach(model, LOSS, (IMAGES, LABELS)), attach(model, LOSS, data)
    x = torch.stack((together.initial(), together.initial() - 0.2))
    for ours, theirs in zip(parts.gradient(x), together.gradient(x)):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(parts.loss(x), together.loss(x), rtol=1e-12, atol=0)
    torch.testing.assert_close(together.hessian(x)[0], dense(model), rtol=1e-9, atol=1e-13)
    torch.testing.assert_close(parts.hessian(x), together.hessian(x), rtol=1e-9, atol=1e-12)
    x.requires_grad_()
    torch.testing.assert_close(torch.autograd.grad(parts.loss(x).sum(), x)[0], together.gradient(x)[1])


def weighted(kind=nn.CrossEntropyLoss, **options):
    return kind(torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64), **options)


@pytest.mark.parametrize(
    ("loss_fn", "probabilities"),
    [
        (weighted(), False),
        (nn.CrossEntropyLoss(ignore_index=1), False),
        (weighted(ignore_index=2), False),
        (weighted(nn.NLLLoss, ignore_index=0), False),
        (F.cross_entropy, False),
        (weighted(label_smoothing=0.1), True),  # the mean is over samples, without the weights
    ],
)
def test_batches_are_weighted_by_their_targets(loss_fn, probabilities):
    """Against the loss of all of the data in one call; all targets of the first batch of 3 are ignored."""
    rng = np.random.default_rng(3)
    rows, goals = torch.from_numpy(rng.normal(size=(13, 2))), torch.from_numpy(rng.integers(0, 3, 13))
    goals[:3] = getattr(loss_fn, "ignore_index", -100)
    if probabilities:
        goals = torch.from_numpy(rng.dirichlet(np.ones(3), 13))
    model = nn.Sequential(nn.Linear(2, 3), nn.LogSoftmax(1)).double()
    problem = attach(model, loss_fn, (rows, goals), batch_size=3)
    x = problem.initial()[None].requires_grad_()

    def mean_of(flat):
        return loss_fn((rows @ flat[:6].view(3, 2).T + flat[6:]).log_softmax(1), goals)

    slope, hessian = torch.func.grad(mean_of)(x[0]), torch.autograd.functional.hessian(mean_of, x[0])
    torch.testing.assert_close(problem.loss(x)[0], mean_of(x[0]))
    torch.testing.assert_close(problem.gradient(x), (mean_of(x[0]).detach()[None], slope.detach()[None]))
    torch.testing.assert_close(problem.hessian(x)[0], hessian)


def test_names_give_a_block_of_the_hessian_and_samples_are_the_first_ones():
    model = cnn()
    problem = attach(model, LOSS, loader(), names=["1.*", "*.bias"], samples=11)
    chosen = [name in ("0.bias", "1.weight", "1.bias", "5.bias") for name, _ in model.named_parameters()]
    rows = torch.cat([torch.full((p.numel(),), on) for p, on in zip(model.parameters(), chosen)])
    block = dense(model, IMAGES[:11], LABELS[:11])[rows][:, rows]
    torch.testing.assert_close(problem.hessian(problem.initial()[None])[0], block)


def test_recomputed_statistics_are_for_losses_alone():
    """Their values are those of `landscape_of`, whose tests compare with torch's `update_bn`."""
    problem = attach(cnn(), LOSS, loader(), recompute=True)
    x = problem.initial()[None]
    for evaluate in (problem.gradient, problem.hessian, lambda at: problem.loss(at.requires_grad_())):
        with pytest.raises(ValueError, match="the loss can be drawn, not differentiated"):
            evaluate(x)


@pytest.mark.parametrize(("batch_size", "times"), [(20, 1), (5, 8)])
def test_a_graph_serves_all_columns_and_that_of_a_single_batch_all_products(batch_size, times):
    graphs, alive = [], []

    def loss_fn(outputs, labels):
        alive.append(sum(graph() is not None for graph in graphs))
        mark = outputs.grad_fn.metadata["mark"] = nn.Linear(1, 1)  # lives as long as the graph
        graphs.append(ref(mark))
        return LOSS(outputs, labels)

    problem = attach(cnn(), loss_fn, (IMAGES, LABELS), batch_size=batch_size)
    problem.loss(problem.initial()[None].requires_grad_())  # the first evaluation checks that the loss repeats
    graphs.clear()
    alive.clear()
    multiply = problem.hvp(problem.initial()[None])
    for columns in (5, 3):
        multiply(torch.ones(1, columns, problem.dim, dtype=torch.float64))
    assert len(graphs) == times
    assert not any(alive)  # one batch's graph at a time


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5, 0.1, "gelu", batch_first=True), 1)
        self.into, self.out = nn.Linear(4, 12), nn.Linear(4, 2)

    def forward(self, rows):
        padded = torch.tensor([[False, False, False], [False, False, True]], device=rows.device).repeat(2, 1)
        q, k, v = self.into(self.encoder(rows.view(4, 3, 4), src_key_padding_mask=padded)).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True)).flatten(0, 1)


def smooth():
    """Attached models whose derivatives `test_problems` compares with finite differences."""
    torch.manual_seed(3)
    yield from (attach(cnn(drop=0.3), LOSS, loader(shuffle=True), training=training) for training in (False, True))
    yield from (attach(Attention().double(), F.mse_loss, DATA, training=training) for training in (False, True))
    yield attach(Cubed(Cube), F.mse_loss, DATA)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, slope):
        return 3 * ctx.saved_tensors[0] ** 2 * slope


class Kernel(Cube):
    backward = staticmethod(lambda *args: Cube.backward(*args).detach())  # autograd cannot see into a kernel


class Cubed(nn.Module):
    """The cube by a custom function, plus a term that torch can differentiate twice."""

    def __init__(self, function):
        super().__init__()
        self.function, self.before, self.after = function, mlp(), nn.Linear(2, 2).double()

    def forward(self, rows):
        before = self.before(rows)
        return self.after(self.function.apply(before)) + before.square()


def test_custom_functions_are_refused_unless_torch_differentiates_them_twice():
    problem, good = (attach(Cubed(kind), F.mse_loss, DATA) for kind in (Kernel, Cube))
    x, message = good.initial(), "Cubed has no Hessian-vector products: derivative for KernelBackward"
    torch.testing.assert_close(problem.gradient(x[None])[1], good.gradient(x[None])[1])
    with pytest.raises(ValueError, match=f"{message}.*Expected operations that torch can differentiate twice"):
        top_eigenpairs(problem, x)


class Wrapped(nn.Module):
    """Calls a part of the name that DistributedDataParallel gives to a model."""

    def __init__(self, call=lambda part, *args, **named: part(*args, **named)):
        super().__init__()
        self.module, self.call = mlp(nn.Tanh()), call

    def forward(self, *args, **named):
        return self.call(self.module, *args, **named)


def test_activation_checkpointing_is_refused():
    problem = attach(Wrapped(lambda part, rows: checkpoint(part, rows, use_reentrant=False)), F.mse_loss, DATA)
    assert problem.loss(problem.initial()[None]).item() > 0
    for evaluate in (problem.gradient, problem.hessian):
        with pytest.raises(RuntimeError, match="activation checkpointing computes a part of the model a second time"):
            evaluate(problem.initial()[None])


def test_a_batch_may_be_a_mapping_and_inputs_several_tensors():
    def call(part, *, rows, labels, kind):
        return {"loss": F.mse_loss(part(rows), labels), "kind": kind}

    def loss_fn(outputs, batch):
        assert outputs["kind"] == batch["kind"] == "text"
        return outputs["loss"]

    tokens = UserDict({"rows": ROWS, "labels": GOALS, "kind": "text"})  # a mapping, as tokenizers return it
    halves = [{**tokens, "rows": ROWS[part], "labels": GOALS[part]} for part in (slice(6), slice(6, 12))]
    plain = attach(mlp(nn.Tanh()), F.mse_loss, DATA)
    problems = [attach(Wrapped(call), loss_fn, data) for data in (tokens, halves, [tokens])]
    problems.append(attach(mlp(nn.Tanh()), F.mse_loss, (UserDict({"input": ROWS}), GOALS), batch_size=5))
    for problem in problems:
        torch.testing.assert_close(problem.hessian(plain.initial()[None]), plain.hessian(plain.initial()[None]))
    two = nn.Bilinear(4, 4, 2).double()
    pairs = attach(two, F.mse_loss, ((ROWS, ROWS.flip(0)), GOALS), batch_size=5)
    assert pairs.loss(pairs.initial()[None]).item() == pytest.approx(F.mse_loss(two(ROWS, ROWS.flip(0)), GOALS).item())


def test_a_model_in_half_precision_is_evaluated_in_single():
    half, data = cnn().bfloat16(), (IMAGES.bfloat16(), LABELS)
    problem = attach(half, LOSS, data, names=["0.*"])
    assert problem.dtype == torch.float32
    hessian = dense(half.double(), data[0].double())
    found = problem.hessian(problem.initial()[None])[0].double()
    torch.testing.assert_close(found, hessian[: problem.dim, : problem.dim], rtol=1e-4, atol=1e-6)
    moved = attach(half.float(), LOSS, data).to("cpu", torch.float64)
    torch.testing.assert_close(moved.hessian(moved.initial()[None])[0], hessian)


def test_the_weights_of_a_loss_take_the_precision_of_the_problem():
    weights, images = torch.tensor([0.5, 1.0, 4.0]), IMAGES.bfloat16()
    model, of_single, of_half = cnn().bfloat16(), nn.CrossEntropyLoss(weights), nn.CrossEntropyLoss(weights.bfloat16())
    half = attach(model, of_half, (images, LABELS))
    exact = F.cross_entropy(deepcopy(model).double().eval()(images.double()), LABELS, weights.double())
    assert half.loss(half.initial()[None]).item() == pytest.approx(exact.item(), rel=1e-5)
    single = attach(model.float(), of_single, (images, LABELS))
    double = single.to("cpu", torch.float64)
    assert double.loss(double.initial()[None]).item() == pytest.approx(exact.item(), rel=1e-12)
    of_samples = nn.CrossEntropyLoss(weights, reduction="none")
    copied = from_module(model, (images.float().numpy(), LABELS.numpy()), of_samples)
    exact = F.cross_entropy(model.double().eval()(images.double()), LABELS, weights.double(), reduction="none").mean()
    assert copied.loss(copied.initial()[None]).item() == pytest.approx(exact.item(), rel=1e-12)
    assert single.loss_fn is of_single
    assert [loss.weight.dtype for loss in (of_half, of_samples)] == [torch.bfloat16, torch.float32]


@pytest.mark.parametrize("wrapper", ["compile", "parallel", "distributed", "compiled part"])
def test_wrappers_are_removed_and_compiled_parts_run_eagerly(wrapper, tmp_path, request):
    model, plain = Wrapped(), attach(mlp(nn.Tanh()), F.mse_loss, DATA)
    if wrapper == "compile":
        wrapped = torch.compile(model, backend="eager", fullgraph=True)
    elif wrapper == "parallel":
        wrapped = nn.DataParallel(model)
    elif wrapper == "distributed":
        distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        request.addfinalizer(distributed.destroy_process_group)
        wrapped = torch.compile(nn.parallel.DistributedDataParallel(model), backend="eager")
    else:
        wrapped = model = mlp(torch.compile(nn.Tanh(), backend=lambda *_: 1 / 0))
    problem = attach(wrapped, F.mse_loss, DATA)
    assert problem.model is model
    assert torch.equal(problem.hessian(problem.initial()[None]), plain.hessian(plain.initial()[None]))


class Recurrent(nn.GRU):
    def forward(self, outputs):
        return super().forward(outputs[:, None])[0][:, 0]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_evaluations_change_no_bit(training, fails, request):
    torch.set_float32_matmul_precision("high")  # allow TF32, as many training scripts do
    request.addfinalizer(lambda: torch.set_float32_matmul_precision("highest"))
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
    copied = from_module(model[0], (IMAGES.numpy(), LABELS.numpy()), "cross_entropy", training)
    run = Run(copied, "sam", lr=0.1, rho=0.1, device="cpu")
    run.step(2)
    run.measure()
    copied.picture(run.x)
    copied.module_at(run.x)
    assert state_of(model, [own]) == before
    assert torch.backends.cuda.matmul.allow_tf32
    assert len(calls) > 4


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
    problem = attach(model, loss_fn, DataLoader(Drawn(IMAGES, LABELS), 10), training=True)
    x = problem.initial().expand(2, -1)
    problem.loss(x)  # the first evaluation checks that the loss repeats
    model[0].register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model[4].register_forward_hook(lambda *_: masks.append(_[2].detach() == 0))
    assert len({*problem.loss(x).tolist(), *problem.loss(x[:1]).tolist(), *problem.gradient(x)[0].tolist()}) == 1
    problem.hvp(x[:1])(torch.ones_like(x)[None, :1])
    batches = [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1]  # of 2 runs, 1 run, 2 runs and 1 run
    assert all(torch.equal(mask, masks[2 * batch]) for mask, batch in zip(masks, batches, strict=True))
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


@pytest.mark.parametrize(
    ("model", "loss_fn", "data", "options", "message"),
    [
        (mlp(nn.Linear(3, 3, device="meta")), F.mse_loss, DATA, {}, "lies on cpu, meta; expected one"),
        (MODEL, F.mse_loss, DATA, {"training": True, "recompute": True}, "are both True"),
        (MODEL, F.mse_loss, iter([DATA]), {}, "data is a list_iterator; expected .*more than once"),
        (MODEL, F.mse_loss, TensorDataset(ROWS), {}, "data is a TensorDataset; expected .*a DataLoader"),
        (MODEL, F.mse_loss, (ROWS.numpy(), GOALS.numpy()), {}, "(?s)a batch is array.*expected tensors"),
        (MODEL, F.mse_loss, [(ROWS, GOALS, ROWS)], {}, "a batch is a tuple of 3; expected a pair"),
        (MODEL, lambda out, _: out, DATA, {}, r"a tensor of shape \(12, 2\); expected the mean over the batch"),
        (MODEL, lambda out, _: out.sum().item(), DATA, {}, r"returned -?\d.*; expected the mean over the batch"),
        (MODEL, lambda out, goal: F.mse_loss(out.detach(), goal), DATA, {}, "the loss has no derivative"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_the_reason(model, loss_fn, data, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        (problem := attach(model, loss_fn, data, **options)).gradient(problem.initial()[None])


class Noisy(nn.Module):
    """A linear layer whose input is disturbed by random numbers."""

    def __init__(self, draw):
        super().__init__()
        self.layer, self.draw = nn.Linear(4, 2).double(), draw

    def forward(self, x):
        return self.layer(x + 0.01 * self.draw())


OWN, OWN_NUMPY = torch.Generator(), np.random.default_rng(0)
CHANGING = [lambda: torch.rand((), generator=OWN), OWN_NUMPY.normal, lambda: np.sin(1e6 * perf_counter())]
SEEDED = [lambda: torch.rand(()), lambda: np.random.rand(), random.random]  # noqa: NPY002


@pytest.mark.parametrize("draw", CHANGING)
def test_a_loss_that_changes_from_one_evaluation_to_the_next_is_refused(draw):
    """An attached model's when it is first evaluated, a copied one's and a network's at once."""

    def changing(outputs, goals):
        return F.mse_loss(outputs * (1 + 0.01 * draw()), goals)

    def of_samples(outputs, goals):
        return ((outputs - goals) ** 2).mean(1) + 0.01 * outputs[:, 0] * draw()

    def evaluate(model, loss_fn):
        problem = attach(model, loss_fn, DATA, batch_size=5)
        problem.loss(problem.initial()[None])

    for construct in (
        lambda: evaluate(Noisy(draw), F.mse_loss),
        lambda: evaluate(MODEL, changing),
        lambda: from_module(Noisy(draw), DATA),
        lambda: from_module(Noisy(draw), DATA, training=True),
        lambda: from_module(MODEL, DATA, of_samples),
        lambda: network([4, 2, 2], data=DATA, loss=of_samples),
    ):
        with pytest.raises(ValueError, match=r"the loss gave .* for the same parameters and samples, so it is not"):
            construct()


@pytest.mark.parametrize("draw", SEEDED)
def test_a_loss_may_draw_from_global_generators_and_have_rounding_errors(draw):
    problem = attach(Noisy(draw), F.mse_loss, DATA, batch_size=5)
    x, order = problem.initial()[None], iter(range(100))
    assert torch.equal(problem.gradient(x)[0], problem.loss(x))
    rounded = attach(MODEL, lambda out, goal: F.mse_loss(out, goal) * (1 + 1e-15 * next(order)), DATA)
    loss = rounded.loss(rounded.initial()[None])[0]
    torch.testing.assert_close(loss, F.mse_loss(MODEL(ROWS), GOALS).detach())
