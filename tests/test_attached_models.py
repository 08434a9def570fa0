"""Models and data of many kinds, as they come from training: attention, wrappers, kernels, checkpointing, mappings."""

import pytest
import torch
from test_attached import GOALS, IMAGES, LABELS, LOSS, ROWS, cnn, dense, differences, mlp, product
from torch import distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from samviz.geometry import top_eigenpairs
from samviz.problems import attach

pytestmark = pytest.mark.usefixtures("one_thread")


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 5, 0.1, "gelu", batch_first=True), 1)
        self.into, self.out = nn.Linear(4, 12), nn.Linear(4, 2)

    def forward(self, rows):
        padded = torch.tensor([[False, False, False], [False, False, True]]).repeat(2, 1)
        q, k, v = self.into(self.encoder(rows.view(4, 3, 4), src_key_padding_mask=padded)).chunk(3, -1)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True)).flatten(0, 1)


@pytest.mark.parametrize("training", [False, True])
def test_attention_has_true_second_derivatives(training):
    torch.manual_seed(3)
    problem = attach(Attention().double(), F.mse_loss, (ROWS, GOALS), training=training)
    x, v = problem.initial() + 0.05, torch.randn(problem.dim, dtype=torch.float64)
    torch.testing.assert_close(product(problem, x, v), differences(problem, x, v), rtol=1e-5, atol=1e-7)
    without_graph = problem.loss(x[None])  # where torch's fast path would leave the padding at zero
    torch.testing.assert_close(without_graph, problem.gradient(x[None])[0], rtol=1e-12, atol=0)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, slope):
        return 3 * ctx.saved_tensors[0] ** 2 * slope


class Kernel(Cube):
    @staticmethod
    def backward(ctx, slope):
        return Cube.backward(ctx, slope).detach()  # as of a kernel that autograd does not see into


class Once(Cube):
    backward = staticmethod(once_differentiable(Cube.backward))


class Cubed(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.before, self.after = function, mlp(), nn.Linear(2, 2).double()

    def forward(self, rows):
        before = self.before(rows)
        return self.after(self.function.apply(before)) + before.square()  # a way round that torch can differentiate


def test_a_custom_function_is_taken_where_torch_differentiates_it_twice_and_refused_else():
    good, kernel, once = (attach(Cubed(kind), F.mse_loss, (ROWS, GOALS)) for kind in (Cube, Kernel, Once))
    x, v = good.initial(), torch.randn(good.dim, dtype=torch.float64)
    torch.testing.assert_close(product(good, x, v), differences(good, x, v), rtol=1e-6, atol=1e-8)
    for problem, name in ((kernel, "Kernel"), (once, "Once")):
        torch.testing.assert_close(problem.gradient(x[None])[1], good.gradient(x[None])[1])
        with pytest.raises(ValueError, match=f"Cubed has no Hessian-vector products: derivative for {name}Backward"):
            product(problem, x, v)
        with pytest.raises(ValueError, match="Expected operations that torch can differentiate twice"):
            top_eigenpairs(problem, x)


def test_activation_checkpointing_is_refused_where_it_would_be_wrong():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = mlp(nn.Tanh())

        def forward(self, rows):
            return checkpoint(self.part, rows, use_reentrant=False)

    problem = attach(Twice(), F.mse_loss, (ROWS, GOALS))
    assert problem.loss(problem.initial()[None]).item() > 0
    for look in (problem.gradient, problem.hessian):
        with pytest.raises(RuntimeError, match="activation checkpointing computes a part of the model a second time"):
            look(problem.initial()[None])


def test_a_batch_may_be_a_mapping_that_holds_the_targets():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = mlp(nn.Tanh())

        def forward(self, *, rows, labels, kind):
            return {"loss": F.mse_loss(self.part(rows), labels), "kind": kind}

    def loss_fn(outputs, batch):
        assert outputs["kind"] == batch["kind"] == "text"
        return outputs["loss"]

    whole = {"rows": ROWS, "labels": GOALS, "kind": "text"}
    halves = [{**whole, "rows": ROWS[part], "labels": GOALS[part]} for part in (slice(6), slice(6, 12))]
    plain = attach(mlp(nn.Tanh()), F.mse_loss, (ROWS, GOALS))
    x = plain.initial()[None]
    for data in (whole, halves, [whole]):
        torch.testing.assert_close(attach(Named(), loss_fn, data).hessian(x), plain.hessian(x))
    named = attach(mlp(nn.Tanh()), F.mse_loss, ({"input": ROWS}, GOALS), batch_size=5)
    torch.testing.assert_close(named.hessian(x), plain.hessian(x))
    two = nn.Bilinear(4, 4, 2).double()
    pairs = attach(two, F.mse_loss, ((ROWS, ROWS.flip(0)), GOALS), batch_size=5)
    assert pairs.loss(pairs.initial()[None]).item() == pytest.approx(F.mse_loss(two(ROWS, ROWS.flip(0)), GOALS).item())


def test_a_model_in_half_precision_is_looked_at_in_single():
    half, data = cnn().bfloat16(), (IMAGES.bfloat16(), LABELS)
    problem = attach(half, LOSS, data, names=["0.*"])
    assert problem.dtype == torch.float32
    found = problem.hessian(problem.initial()[None])[0].double()
    hessian = dense(half.double(), data[0].double())[: problem.dim, : problem.dim]
    torch.testing.assert_close(found, hessian, rtol=1e-4, atol=1e-6)
    moved = attach(half.float(), LOSS, data).to("cpu", torch.float64)
    torch.testing.assert_close(moved.hessian(moved.initial()[None])[0], dense(half.double(), data[0].double()))


class Compiled(nn.Module):
    """Its part has the name that DistributedDataParallel gives to all of a model."""

    def __init__(self):
        super().__init__()
        self.module, self.last = mlp(nn.Tanh()), nn.Linear(2, 2).double()

    def forward(self, rows):
        return self.last(self.module(rows))


@pytest.mark.parametrize("wrapper", ["compile", "parallel", "distributed"])
def test_wrappers_are_looked_through(wrapper, tmp_path):
    model = Compiled()
    if wrapper == "compile":
        wrapped = torch.compile(model, backend="eager", fullgraph=True)
    elif wrapper == "parallel":
        wrapped = nn.DataParallel(model)
    else:
        distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        wrapped = torch.compile(nn.parallel.DistributedDataParallel(model), backend="eager")
    try:
        seen, plain = (attach(given, F.mse_loss, (ROWS, GOALS)) for given in (wrapped, model))
        x = plain.initial()[None]
        assert seen.model is model
        assert torch.equal(seen.hessian(x), plain.hessian(x))
    finally:
        if wrapper == "distributed":
            distributed.destroy_process_group()


def test_compiled_parts_run_eagerly():
    model = mlp(torch.compile(nn.Tanh(), backend=lambda *_: 1 / 0))
    problem, plain = (attach(m, F.mse_loss, (ROWS, GOALS)) for m in (model, mlp(nn.Tanh())))
    assert torch.equal(problem.hessian(problem.initial()[None]), plain.hessian(plain.initial()[None]))
