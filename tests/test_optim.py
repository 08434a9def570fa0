"""SAM as an optimizer, against closed forms, plain autograd and an independent implementation."""

import copy
import io
import math
import warnings
from contextlib import nullcontext
from datetime import timedelta
from itertools import cycle

import numpy as np
import pytest
import pytorch_optimizer
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed import destroy_process_group, init_process_group
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy, dropout
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Adam, AdamW, Optimizer, SparseAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from samviz.optim import SAM

torch.manual_seed(0)
INPUTS, LABELS = torch.randn(24, 1, 8, 8), torch.randint(0, 4, (24,))
BITS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}


def cnn(seed=0, norm=True):
    torch.manual_seed(seed)
    middle = [nn.BatchNorm2d(4), nn.ReLU()] if norm else [nn.Tanh()]
    return nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 4))


def smooth():
    return cnn(norm=False).double()


def line(*values, **options):
    return nn.Parameter(torch.tensor(values, dtype=torch.float64), **options)


def closure_of(function):
    """A closure that differentiates a function without arguments."""

    def closure():
        value = function()
        value.backward()
        return value

    return closure


def fitting(model, scale=lambda loss: loss):
    """A closure that fits a model to rows of the data."""

    def closure(part=slice(None)):
        loss = cross_entropy(model(INPUTS[part].to(next(model.parameters()).dtype)), LABELS[part])
        scale(loss).backward()
        return loss

    return closure


def take_loop_step(optimizer, closure, before_second_step=lambda: None):
    """A step written as a loop with the two contexts; the loss at the unperturbed weights."""
    with optimizer.first_pass():
        optimizer.zero_grad()
        loss = closure()
    optimizer.first_step()
    with optimizer.second_pass():
        optimizer.zero_grad()
        closure()
    before_second_step()
    optimizer.second_step()
    return loss


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def bits(tensors):
    return [t.detach().clone().view(BITS[t.dtype]) for t in tensors]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def perturbed_gradient(model, weights, rho, part=slice(None)):
    """The gradient at the perturbed weights by torch.func, without touching the model."""
    names, inputs = [name for name, _ in model.named_parameters()], INPUTS[part].to(weights[0].dtype)

    def loss(values):
        return cross_entropy(functional_call(model, dict(zip(names, values)), (inputs,)), LABELS[part])

    first = grad(loss)(weights)
    return grad(loss)([w + rho * g / norm_of(first) for w, g in zip(weights, first)])


def norm_of(tensors):
    return torch.linalg.vector_norm(torch.cat([t.flatten() for t in tensors]))


# what it computes


def test_groups_have_their_own_rho_and_adaptive_and_one_norm():
    """Against equation 3 by hand, for the loss Σw³."""
    a, b, c = line(1.0, -2.0), line(0.5), line(3.0)
    groups = [{"params": [a], "rho": 0.3}, {"params": [b], "adaptive": True}, {"params": [c], "rho": 0.0, "lr": 1.0}]
    optimizer = SAM(groups, SGD, rho=0.1, lr=0.5)
    start = [p.detach().numpy().copy() for p in (a, b, c)]
    loss = optimizer.step(closure_of(lambda: (a**3).sum() + (b**3).sum() + (c**3).sum()))
    assert loss.item() == pytest.approx(sum((w**3).sum() for w in start))  # of the first pass
    first = [3 * w**2 for w in start]
    length = np.sqrt(sum((t**2).sum() for t in (first[0], start[1] * first[1], first[2])))
    at = [start[0] + 0.3 * first[0] / length, start[1] + 0.1 * start[1] ** 2 * first[1] / length, start[2]]
    for p, w, perturbed, lr in zip((a, b, c), start, at, (0.5, 0.5, 1.0)):
        np.testing.assert_allclose(p.detach(), w - lr * 3 * perturbed**2, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("adaptive", "loop"), [(False, False), (True, False), (False, True)])
def test_iterates_agree_with_an_independent_implementation(adaptive, loop, dtype):
    ours, theirs = (cnn(norm=False).to(dtype) for _ in range(2))
    options = {"rho": 0.5 if adaptive else 0.05, "adaptive": adaptive, "lr": 0.05, "momentum": 0.9}
    mine, peer = SAM(ours.parameters(), SGD, **options), pytorch_optimizer.SAM(theirs.parameters(), SGD, **options)
    for _ in range(100):
        if loop:  # the usual loop, with zero_grad
            for optimizer, model in ((mine, ours), (peer, theirs)):
                for step in (optimizer.first_step, optimizer.second_step):
                    fitting(model)()
                    step(zero_grad=True)
                    assert all(p.grad is None for p in model.parameters())
        else:
            mine.step(fitting(ours))
            peer.zero_grad()
            fitting(theirs)()
            peer.step(fitting(theirs))
    assert (flat(cnn(norm=False)) - flat(theirs)).norm() > 0.5  # both moved
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-6)


finite = st.floats(-1e3, 1e3, width=16)


@given(
    st.lists(st.tuples(finite, finite), min_size=1, max_size=6),
    st.sampled_from(list(BITS)),
    st.booleans(),
    st.floats(1e-6, 10.0),
)
@settings(max_examples=150, deadline=None)
def test_weights_are_restored_bit_for_bit(pairs, dtype, adaptive, rho):
    p = nn.Parameter(torch.tensor([w for w, _ in pairs], dtype=dtype))
    p.grad = torch.tensor([g for _, g in pairs], dtype=dtype)
    optimizer, before = SAM([p], SGD, rho=rho, adaptive=adaptive, lr=0.0), bits([p])
    with warnings.catch_warnings(action="ignore"):
        optimizer.first_step()
        assert torch.isfinite(p).all()
        if dtype is torch.float64 and not adaptive and not optimizer.skipped["zero gradient"]:
            assert (p.detach() - before[0].view(dtype)).norm().item() == pytest.approx(rho, abs=1e-9)
        with pytest.raises(RuntimeError):
            optimizer.first_step()  # restores
    assert same(bits([p]), before)


@pytest.mark.parametrize(
    ("base", "options"),
    [(Adam, {}), (SGD, {}), (SGD, {"maximize": True}), (SGD, {"weight_decay": 0.1}), (SGD, {"momentum": 0.5})],
)
@pytest.mark.parametrize("observed", [False, True])
def test_at_rho_zero_it_is_its_base_optimizer_in_one_pass_and_rho_may_change(base, options, observed):
    ours, plain, calls, hooked = cnn(), cnn(), [], []
    mine, theirs = SAM(ours.parameters(), base, rho=0.0, lr=0.01, **options), base(plain.parameters(), 0.01, **options)
    if observed:
        mine.base.register_step_post_hook(lambda *_: hooked.append(1))

    def closure():
        calls.append(1)
        return fitting(ours)()

    for _ in range(3):
        mine.step(closure)
        theirs.zero_grad()
        fitting(plain)()
        theirs.step()
    assert same(ours.parameters(), plain.parameters())
    assert (len(calls), len(hooked)) == (3, 3 * observed)
    mine.param_groups[0]["rho"] = 0.5
    mine.step(closure)
    assert len(calls) == 5
    before, mine.param_groups[0]["rho"] = bits(ours.parameters()), -1.0
    with pytest.raises(ValueError, match=r"rho is -1\.0; expected a number of 0 or more"):
        mine.step(closure)
    assert same(bits(ours.parameters()), before)


@pytest.mark.parametrize(("scale", "size"), [(1e-30, 4), (1e-10, 4), (1e30, 4), (1.0, 2**21)])
def test_the_perturbation_has_norm_rho_where_float32_cannot_add_the_squares(scale, size):
    p = nn.Parameter(torch.zeros(size))
    p.grad = torch.full_like(p, scale)
    SAM([p], SGD, rho=0.1, lr=0.0).first_step()
    assert p.detach().double().norm().item() == pytest.approx(0.1, rel=1e-6)


# as one of torch's optimizers


def test_an_optimizer_and_a_function_that_returns_one_step_like_its_class():
    models = [cnn() for _ in range(4)]
    weights, built = [model.parameters() for model in models], [AdamW(m.parameters(), lr=0.01) for m in models[1:3]]
    optimizers = [SAM(weights[0], AdamW, lr=0.01), SAM(weights[1], built[0]), SAM(built[1].param_groups, built[1])]
    optimizers.append(SAM(weights[3], lambda params: AdamW(params, lr=0.01)))
    for optimizer, model in zip(optimizers, models):
        assert isinstance(optimizer, Optimizer)
        for _ in range(3):
            optimizer.step(fitting(model))
        assert same(model.parameters(), models[0].parameters())
    assert not same(models[0].parameters(), cnn().parameters())


@pytest.mark.parametrize("base", [lambda ps: SGD(ps, lr=0.1, momentum=0.9), lambda ps: AdamW(ps, lr=0.01)])
def test_a_resumed_run_continues_as_if_it_had_not_stopped(base):
    model, file = cnn(), io.BytesIO()
    optimizer = SAM(model.parameters(), base, rho=0.2)
    optimizer.step(fitting(model))
    optimizer.param_groups[0]["rho"] = 0.4
    torch.save([model.state_dict(), optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file)  # weights_only: nothing but tensors and numbers
    resumed = cnn(seed=1)
    second = SAM(resumed.parameters(), base, rho=0.2)
    resumed.load_state_dict(weights)
    second.load_state_dict(state)
    assert second.param_groups[0]["rho"] == 0.4
    assert second.base.state is second.state
    twin, third = copy.deepcopy((model, optimizer))
    for _ in range(4):
        for each, its in ((model, optimizer), (resumed, second), (twin, third)):
            its.step(fitting(each))
    assert same(resumed.parameters(), model.parameters())
    assert same(twin.parameters(), model.parameters())


def test_checkpoints_of_the_base_can_be_loaded_and_groups_added():
    model = cnn()
    base = SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = SAM(model.parameters(), SGD, rho=0.2, lr=0.5, momentum=0.9)
    optimizer.load_state_dict(base.state_dict())
    assert (optimizer.param_groups[0]["rho"], optimizer.param_groups[0]["lr"]) == (0.2, 0.1)
    optimizer.step(fitting(model))
    a, b = line(1.0), line(1.0)
    optimizer = SAM([a], SGD, rho=0.1, lr=1.0)
    optimizer.add_param_group({"params": [b], "rho": 0.0, "lr": 0.5})
    with pytest.raises(ValueError, match="rho is -1"):
        optimizer.add_param_group({"params": [line(1.0)], "rho": -1})
    assert len(optimizer.base.param_groups) == 2
    optimizer.step(closure_of(lambda: (0.5 * a**2 + 0.5 * b**2).sum()))
    assert a.item() == pytest.approx(-0.1 / np.sqrt(2))
    assert b.item() == pytest.approx(0.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("take_step", [lambda optimizer, closure: optimizer.step(closure), take_loop_step])
def test_schedulers_set_the_rate_and_momentum_of_the_base_and_step_hooks_run(take_step):
    p, calls = line(1.0), []
    optimizer = SAM([p], SGD, rho=0.1, lr=1.0)
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    cosine = CosineAnnealingLR(optimizer, 4)
    for rate in (1.0, 0.5 + np.sqrt(0.125), 0.5):
        before = p.item()
        take_step(optimizer, closure_of(lambda: p.sum()))
        assert before - p.item() == pytest.approx(rate)
        cosine.step()
    assert len(calls) == 3  # one for each step
    optimizer = SAM([p], SGD, lr=1.0, momentum=0.9)
    OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
    assert optimizer.base.param_groups[0]["momentum"] == 0.95
    plateau, rate = ReduceLROnPlateau(optimizer, patience=0), optimizer.param_groups[0]["lr"]
    for _ in range(2):
        plateau.step(1.0)
    assert optimizer.base.param_groups[0]["lr"] == pytest.approx(rate / 10)


# in loops


def test_a_loop_may_clip_both_gradients():
    """The first gradient's norm does not matter; the step is taken with the clipped second gradient."""
    model, norms = smooth(), []
    before = [p.detach().clone() for p in model.parameters()]
    second, optimizer = perturbed_gradient(model, before, 0.1), SAM(model.parameters(), SGD, rho=0.1, lr=1.0)

    def closure():
        fitting(model)()
        if not norms:
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1e-3))

    def clip():
        assert same(model.parameters(), before)
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.01))

    take_loop_step(optimizer, closure, clip)
    assert norms[1].item() == pytest.approx(norm_of(second).item(), rel=1e-9)
    for p, w, g in zip(model.parameters(), before, second):
        torch.testing.assert_close(p.detach(), w - 0.01 * g / norm_of(second), rtol=0, atol=1e-6)


def test_with_m_each_micro_batch_has_its_own_perturbation():
    model = smooth()
    weights = [p.detach().clone() for p in model.parameters()]
    mean = [torch.zeros_like(w) for w in weights]
    for part in (slice(0, 10), slice(10, 20), slice(20, 24)):  # the last one is smaller
        share = len(LABELS[part]) / 24
        mean = [a + share * g for a, g in zip(mean, perturbed_gradient(model, weights, 0.1, part))]
    expected = cross_entropy(model(INPUTS.double()), LABELS)
    optimizer = SAM(model.parameters(), SGD, rho=0.1, m=10, lr=0.5)
    torch.testing.assert_close(optimizer.step(fitting(model), samples=24), expected.detach())
    for p, w, g in zip(model.parameters(), weights, mean):
        torch.testing.assert_close(p.detach(), w - 0.5 * g, rtol=0, atol=1e-12)


def test_a_grad_scaler_changes_only_the_scale():
    models = [cnn() for _ in range(3)]
    plain, scaled, loop = (SAM(m.parameters(), SGD, rho=0.1, lr=0.1, momentum=0.9) for m in models)
    scalers = [torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2) for _ in range(2)]

    def unscale_and_clip():
        scalers[1].unscale_(loop)
        nn.utils.clip_grad_norm_(models[2].parameters(), 1e6)  # the unscaled ones are smaller

    for _ in range(5):
        plain.step(fitting(models[0]))
        scaled.step(fitting(models[1], scalers[0].scale), scaler=scalers[0])
        take_loop_step(loop, fitting(models[2], scalers[1].scale), unscale_and_clip)
        for scaler in scalers:
            scaler.update()
    assert scalers[0].get_scale() == scalers[1].get_scale() == 2.0**12  # it has grown
    for model in models[1:]:
        torch.testing.assert_close(flat(model), flat(models[0]), rtol=0, atol=1e-6)


def test_autocast_around_steps_does_not_reuse_weights_of_another_pass():
    inside, around, exact = cnn(), cnn(), cnn()
    optimizers = [SAM(m.parameters(), SGD, rho=1.0, lr=0.1) for m in (inside, around, exact)]

    def closure():
        with torch.autocast("cpu", torch.bfloat16):
            loss = cross_entropy(inside(INPUTS), LABELS)
        loss.backward()
        return loss

    first = [optimizers[0].step(closure) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        assert same(first, [optimizers[1].step(fitting(around)) for _ in range(3)])
    assert same(inside.parameters(), around.parameters())
    for _ in range(3):
        optimizers[2].step(fitting(exact))
    torch.testing.assert_close(flat(inside), flat(exact), rtol=0, atol=0.02)


# both passes evaluate the same function


class Counter(nn.Module):
    """Replaces a buffer instead of writing into it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return self.weight**2 * x


def test_buffers_keep_what_the_first_pass_writes_or_replaces():
    model, plain = cnn(), cnn()
    SAM(model.parameters(), SGD, rho=1.0, lr=0.1).step(fitting(model))
    plain(INPUTS)
    assert same(model.buffers(), plain.buffers())
    model, ones, substituted = Counter(), torch.ones(()), {"calls": torch.full((), 7.0)}
    optimizer = SAM(model.parameters(), SGD, lr=0.1)
    optimizer.step(closure_of(lambda: model(ones)))
    assert model.calls == 1
    optimizer.step(closure_of(lambda: functional_call(model, substituted, (ones,))))
    assert (model.calls, substituted["calls"]) == (1, 8)


def test_a_model_without_buffers_is_searched_for_them_once_and_another_model_again():
    plain, normalized, hooks = cnn(norm=False), cnn(), []
    optimizer = SAM([*plain.parameters(), *normalized.parameters()], SGD, rho=1.0, lr=0.1)
    for model in (plain, plain, normalized, normalized):

        def closure(model=model):
            hooks.append(len(torch.nn.modules.module._global_forward_pre_hooks))
            return fitting(model)()

        optimizer.step(closure)
    assert hooks == [0, 1, 0, 0, 0, 1, 0, 1]  # in the second pass of each step
    assert normalized[1].num_batches_tracked == 2


def test_dropout_masks_are_the_same_in_both_passes_and_drawn_once():
    p, ones, masks = line(*[1.0] * 50), torch.ones(50, dtype=torch.float64), []

    def loss():
        masks.append(dropout(ones, 0.5))
        return (masks[-1] * p**2).sum()

    optimizer = SAM([p], SGD, lr=0.1)
    torch.manual_seed(3)
    for _ in range(2):
        optimizer.step(closure_of(loss))
    after = torch.rand(3)
    torch.manual_seed(3)
    once = [dropout(ones, 0.5) for _ in range(2)]
    assert same(masks, [once[0], once[0], once[1], once[1]])
    assert torch.equal(torch.rand(3), after)


@pytest.mark.parametrize("failing_call", [1, 2])
@pytest.mark.parametrize("m", [None, 8])
def test_a_closure_that_raises_leaves_the_weights_unchanged(failing_call, m):
    model, calls = cnn(), iter(range(1, 100))
    optimizer, before = SAM(model.parameters(), SGD, rho=0.5, m=m, lr=0.1), bits(model.parameters())
    samples = None if m is None else 24

    def closure(*part):
        loss = fitting(model)(*part)
        if next(calls) == failing_call:
            raise KeyboardInterrupt
        return loss

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure, samples)
    assert same(bits(model.parameters()), before)
    assert model[1].num_batches_tracked == 1
    optimizer.step(closure, samples)  # continues
    assert not same(bits(model.parameters()), before)


# gradients that are missing, zero, not finite, or sparse


def test_at_zero_gradient_the_perturbation_is_skipped_counted_and_reported_once():
    p = line(1.0, -1.0)
    optimizer = SAM([p], SGD, rho=0.1, lr=0.5, weight_decay=1.0)
    with pytest.warns(UserWarning, match="perturbation was left out: the gradient is zero"):
        optimizer.step(closure_of(lambda: (0 * p).sum()))
    assert p.tolist() == [0.5, -0.5]  # the step of weight decay
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step(closure_of(lambda: (0 * p).sum()))
    assert optimizer.skipped == {"zero gradient": 2, "first gradient": 0, "second gradient": 0}


@pytest.mark.filterwarnings("error")
def test_parameters_without_gradient_and_groups_with_rho_zero_are_not_perturbed():
    still, moved, frozen = line(1.0), line(2.0), line(3.0, requires_grad=False)
    optimizer = SAM([{"params": [still], "rho": 0.0}, {"params": [moved, frozen]}], SGD, rho=0.5, lr=0.5)
    optimizer.step(closure_of(lambda: (still**2).sum()))  # the group with ρ > 0 has no gradient
    assert optimizer.skipped["zero gradient"] == 0
    optimizer.step(closure_of(lambda: (moved**2).sum()))
    assert (still.item(), moved.item(), frozen.item()) == (0.0, -0.5, 3.0)  # 2 − 0.5 · 2 (2 + ρ)


def test_a_tiny_gradient_in_half_precision_gives_a_perturbation():
    p = nn.Parameter(torch.ones(4, dtype=torch.float16))
    p.grad = torch.full((4,), 6e-8, dtype=torch.float16)
    SAM([p], SGD, rho=1.0, lr=0.0).first_step()
    assert p.tolist() == [1.5] * 4


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("call", "reason", "message"),
    [(1, "first gradient", "the first gradient is"), (2, "second gradient", "at the perturbed weights is")],
)
def test_a_step_with_a_gradient_that_is_not_finite_is_skipped(call, reason, message, scaled, value):
    model, calls = cnn(), []
    optimizer = SAM(model.parameters(), Adam, rho=0.1, lr=0.1)
    optimizer.step(fitting(model))
    before, state = bits(model.parameters()), copy.deepcopy(optimizer.state_dict()["state"])
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10) if scaled else None

    def closure():
        calls.append(1)
        loss = fitting(model, scaler.scale if scaled else lambda loss: loss)()
        if len(calls) == call:
            model[0].weight.grad[0] = value
        return loss

    with pytest.warns(UserWarning, match=f"a step was left out: .*{message} not finite"):
        optimizer.step(closure, scaler=scaler)
    assert same(bits(model.parameters()), before)
    assert optimizer.skipped[reason] == sum(optimizer.skipped.values()) == 1
    for key, entry in optimizer.state_dict()["state"].items():
        assert same(entry.values(), state[key].values())
    if scaled:
        scaler.update()
        assert scaler.get_scale() == 2.0**9
    optimizer.step(closure, scaler=scaler)
    assert torch.isfinite(flat(model)).all()
    assert not same(bits(model.parameters()), before)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sparse_gradients_step_like_dense_ones_and_perturb_only_their_rows(adaptive):
    tables = [nn.Embedding(9, 3, sparse=sparse) for sparse in (True, False)]
    tables[1].load_state_dict(tables[0].state_dict())
    index, weights = torch.tensor([1, 4, 4, 7]), []
    for table in tables:
        optimizer = SAM(table.parameters(), SGD, rho=0.5, adaptive=adaptive, lr=0.1)

        def loss(table=table):
            weights.append(table.weight.detach().clone())
            return (table(index) ** 3).sum()

        for _ in range(3):
            optimizer.step(closure_of(loss))
    torch.testing.assert_close(tables[0].weight, tables[1].weight)
    before, table = weights[0], nn.Embedding.from_pretrained(weights[0].clone(), freeze=False, sparse=True)
    optimizer = SAM(table.parameters(), SparseAdam, m=2, lr=0.1)
    optimizer.step(lambda part: closure_of((table(index[part]) ** 2).mean)(), samples=4)
    for changed in (weights[1], tables[0].weight, table.weight):
        assert (changed != before).any(1).nonzero().flatten().tolist() == [1, 4, 7]
    with pytest.warns(UserWarning, match="first gradient is not finite"):
        optimizer.step(lambda part: closure_of((math.inf * table(index[part])).mean)(), samples=4)


# what is refused


P = line(1.0)


@pytest.mark.parametrize(
    ("params", "base", "options", "message"),
    [
        ([P], SGD, {"rho": 1e308}, r"rho is 1e\+308; expected a number of 0 or more, 3e\+38 at most"),
        ([torch.zeros(2, dtype=torch.complex64)], SGD, {}, r"parameter 0 of group 0 is torch\.complex64.*view_as_real"),
        ([P], torch.optim.Adadelta, {}, "gives Adadelta.*no option rho"),
        ([P], lambda params, lr: SAM(params, SGD, lr=lr), {}, "gives SAM"),
        ([P], SGD([P], lr=0.1), {}, r"with other params or options \(lr\)"),
        ([line(1.0)], SGD([P], lr=0.1), {"lr": None}, r"params or options \(none\); expected its param_groups"),
        ([{"params": [P], "rho": 0.3}], SGD([P], lr=0.1), {"lr": None}, "other params"),  # this rho would be ignored
        pytest.param([P, P], SGD, {}, "a parameter twice", marks=pytest.mark.filterwarnings("ignore:.*duplicate")),
    ],
)
def test_what_sam_cannot_optimize_is_refused_with_a_remedy(params, base, options, message):
    options = {name: value for name, value in ({"lr": 0.1} | options).items() if value is not None}
    with pytest.raises((TypeError, ValueError), match=message):
        SAM(params, base, **options)


def test_a_step_has_its_parts_in_order_and_errors_restore_the_weights():
    p = line(1.0)
    optimizer = SAM([p], SGD, lr=0.1)

    def refused(message, call):
        with pytest.raises(RuntimeError, match=message):
            call()
        assert p.item() == 1.0

    def perturb():
        optimizer.first_step()
        assert p.item() == 1.05

    refused("none of the parameters has a gradient", optimizer.first_step)
    p.grad = torch.ones_like(p)
    refused(r"second_step\(\) was called before first_step\(\)", optimizer.second_step)
    out_of_order = r"second_pass\(\) was entered before first_pass\(\) and first_step\(\)"
    refused(out_of_order, lambda: optimizer.second_pass().__enter__())
    perturb()  # without a first pass there are no random numbers to repeat
    refused(out_of_order, lambda: optimizer.second_pass().__enter__())
    for late in (optimizer.first_step, optimizer.first_pass().__enter__, lambda: optimizer.step(lambda: 0.0)):
        perturb()
        refused(r"before second_step\(\) ended the last step; its weights are restored", late)
    for error in (None, KeyError):
        with optimizer.first_pass():
            pass
        perturb()
        with pytest.raises(error) if error else nullcontext(), optimizer.second_pass():
            if error:
                raise error
        assert p.item() == 1.0
        if not error:
            refused(out_of_order, lambda: optimizer.second_pass().__enter__())  # it ran already
    optimizer.m = 4
    perturb()
    refused("m is 4, which goes with step", optimizer.second_step)


# with DistributedDataParallel on two processes, against one process that has the whole batch


STEPS, SETTINGS = 4, {"rho": 0.5, "lr": 0.2, "momentum": 0.9}


def half(rank):
    return slice(12 * rank, 12 * rank + 12)


def state_after(rank, loop=False, steps=STEPS, broken=False, training=False):
    """The state after steps on this process's half of the batch, and what was skipped.

    In evaluation mode, the default, samples are independent. In a loop the first passes are not synchronized.
    """
    model = DistributedDataParallel(cnn().double().train(training))
    closure = fitting(model, lambda loss: loss * math.inf if broken and rank == 1 else loss)
    optimizer, contexts = SAM(model.parameters(), SGD, **SETTINGS), cycle([model.no_sync, nullcontext])

    def closure_in_loop():
        with next(contexts)():
            return closure(half(rank))

    for _ in range(steps):
        if loop:
            take_loop_step(optimizer, closure_in_loop)
        else:
            optimizer.step(lambda: closure(half(rank)))
    return model.module.state_dict(), optimizer.skipped


def worker(rank, folder):
    torch.set_num_threads(1)
    init_process_group("gloo", f"file://{folder}/rendezvous", timedelta(seconds=60), world_size=2, rank=rank)
    with warnings.catch_warnings(action="ignore"):
        results = {(loop, broken): state_after(rank, loop, broken=broken) for loop in (0, 1) for broken in (0, 1)}
        results["training"] = state_after(rank, steps=1, training=True)
    torch.save(results, f"{folder}/{rank}")
    destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(worker, (str(folder),), nprocs=2)
    return [torch.load(folder / str(rank)) for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize(("loop", "options"), [(0, {}), (1, {"samples": 24})])
def test_two_processes_step_like_one_with_the_whole_batch(results, loop, options):
    """Slow: the fixture starts processes. In a loop each process has its own perturbation, as with m."""
    model = cnn().double().eval()
    optimizer = SAM(model.parameters(), SGD, m=12 if loop else None, **SETTINGS)
    for _ in range(STEPS):
        optimizer.step(fitting(model), **options)
    for state, skipped in (result[loop, 0] for result in results):
        assert sum(skipped.values()) == 0
        for name, value in model.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)
    assert (model[0].weight - cnn()[0].weight).norm() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("loop", [0, 1])
def test_a_gradient_that_is_not_finite_on_one_process_stops_both(results, loop):
    for state, skipped in (result[loop, 1] for result in results):
        assert sum(skipped.values()) == STEPS
        assert all(torch.equal(state[name], value) for name, value in cnn().double().state_dict().items())


@pytest.mark.slow
def test_each_process_updates_its_batch_statistics_once(results):
    for rank, result in enumerate(results):
        plain = cnn().double()
        plain(INPUTS[half(rank)].double())
        for name, value in plain.named_buffers():
            torch.testing.assert_close(result["training"][0][name], value)
