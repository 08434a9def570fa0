"""SAM as an optimizer, against closed forms, plain autograd, an independent implementation, and what loops do to it."""

import copy
import io
import warnings

import numpy as np
import pytest
import pytorch_optimizer
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam, AdamW, Optimizer, SparseAdam
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from samviz.optim import SAM

pytestmark = pytest.mark.usefixtures("one_thread")
torch.manual_seed(0)
INPUTS, LABELS = torch.randn(24, 1, 8, 8), torch.randint(0, 4, (24,))
BITS = {torch.float16: torch.int16, torch.bfloat16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}


def cnn(seed=0, norm=True):
    torch.manual_seed(seed)
    middle = [nn.BatchNorm2d(4)] if norm else []
    return nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 4))


def line(*values, **options):
    return nn.Parameter(torch.tensor(values, dtype=torch.float64), **options)


def closure_of(model, loss=cross_entropy, inputs=INPUTS, labels=LABELS):
    def closure(part=slice(None)):
        value = loss(model(inputs[part]), labels[part])
        value.backward()
        return value

    return closure


def differentiated(function):
    """A closure of a function without arguments."""

    def closure():
        value = function()
        value.backward()
        return value

    return closure


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def bits(tensors):
    return [t.detach().clone().view(BITS[t.dtype]) for t in tensors]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def gradient_at(model, weights, inputs, labels):
    """By autograd, without touching the model."""
    leaves = [w.detach().requires_grad_() for w in weights]
    names = [name for name, _ in model.named_parameters()]
    loss = cross_entropy(functional_call(model, dict(zip(names, leaves)), (inputs,)), labels)
    return torch.autograd.grad(loss, leaves)


def norm_of(tensors):
    return torch.linalg.vector_norm(torch.cat([t.flatten() for t in tensors]))


# What it computes


def test_its_iterates_on_a_quadratic_are_those_of_the_papers_equation_3():
    hessian, w, rho, lr = np.diag([3.0, 1.0, 0.2]), np.array([1.0, -2.0, 0.5]), 0.1, 0.05
    p = line(*w)
    optimizer = SAM([p], SGD, rho=rho, lr=lr)
    for _ in range(30):
        loss = optimizer.step(differentiated(lambda: 0.5 * p @ torch.tensor(hessian) @ p))
        assert loss.item() == pytest.approx(0.5 * w @ hessian @ w)  # of the first pass
        g = hessian @ w
        w = w - lr * hessian @ (w + rho * g / np.linalg.norm(g))
    np.testing.assert_allclose(p.detach(), w, rtol=1e-12)


def test_groups_have_a_rho_and_an_adaptive_of_their_own_and_one_norm():
    a, b, c = line(1.0, -2.0), line(0.5), line(3.0)
    groups = [{"params": [a], "rho": 0.3}, {"params": [b], "adaptive": True}, {"params": [c], "rho": 0.0, "lr": 1.0}]
    optimizer = SAM(groups, SGD, rho=0.1, lr=0.5)
    start = [p.detach().numpy().copy() for p in (a, b, c)]
    optimizer.step(differentiated(lambda: (a**3).sum() + (b**3).sum() + (c**3).sum()))
    first = [3 * w**2 for w in start]
    length = np.sqrt(sum((t**2).sum() for t in (first[0], start[1] * first[1], first[2])))
    at = [start[0] + 0.3 * first[0] / length, start[1] + 0.1 * start[1] ** 2 * first[1] / length, start[2]]
    for p, w, perturbed, lr in zip((a, b, c), start, at, (0.5, 0.5, 1.0)):
        np.testing.assert_allclose(p.detach(), w - lr * 3 * perturbed**2, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("adaptive", [False, True])
def test_it_agrees_with_an_independent_implementation_over_100_steps(adaptive, dtype):
    def smooth():  # where ReLU has a kink, rounding decides which way an iterate goes
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 4)).to(dtype)

    ours, theirs, inputs = smooth(), smooth(), INPUTS.to(dtype)
    options = {
        "rho": 0.5 if adaptive else 0.05,
        "adaptive": adaptive,
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 1e-3,
    }
    mine, peer = SAM(ours.parameters(), SGD, **options), pytorch_optimizer.SAM(theirs.parameters(), SGD, **options)
    closure = closure_of(theirs, inputs=inputs)
    for _ in range(100):
        mine.step(closure_of(ours, inputs=inputs))
        peer.zero_grad()
        closure()
        peer.step(closure)
    assert (flat(smooth()) - flat(theirs)).norm() > 0.5  # both went somewhere
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-6)


finite = st.floats(-1e3, 1e3, width=16)


@given(
    st.lists(st.tuples(finite, finite), min_size=1, max_size=6),
    st.sampled_from(list(BITS)),
    st.booleans(),
    st.floats(1e-6, 10.0),
)
@settings(max_examples=150, deadline=None)
def test_weights_come_back_bit_for_bit(pairs, dtype, adaptive, rho):
    p = nn.Parameter(torch.tensor([w for w, _ in pairs], dtype=dtype))
    optimizer, before = SAM([p], SGD, rho=rho, adaptive=adaptive, lr=0.0), bits([p])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p.grad = torch.tensor([g for _, g in pairs], dtype=dtype)
        optimizer.first_step()
        assert torch.isfinite(p).all()
        if dtype is torch.float64 and not adaptive and not optimizer.skipped["zero gradient"]:
            moved = p.detach() - before[0].view(dtype)
            assert moved.norm().item() == pytest.approx(rho, abs=1e-9)
        with pytest.raises(RuntimeError):
            optimizer.first_step()  # restores
        assert same(bits([p]), before)
        optimizer.first_step()
        optimizer.second_step()
    assert torch.equal(p, before[0].view(dtype))  # but for -0, which the base turns into 0


def test_at_a_learning_rate_of_zero_a_step_changes_no_bit():
    model = cnn()
    optimizer, before = SAM(model.parameters(), SGD, rho=0.3, lr=0.0), bits(model.parameters())
    optimizer.step(closure_of(model))
    assert same(bits(model.parameters()), before)


def test_at_rho_zero_it_is_its_base_optimizer_in_one_pass():
    ours, plain, calls = cnn(), cnn(), []
    mine, base = SAM(ours.parameters(), Adam, rho=0.0, lr=0.01), Adam(plain.parameters(), lr=0.01)
    for _ in range(3):
        mine.step(lambda: calls.append(1) or closure_of(ours)())
        base.zero_grad()
        closure_of(plain)()
        base.step()
    assert same(ours.parameters(), plain.parameters())
    assert len(calls) == 3


def test_rho_may_change_between_steps():
    p = line(2.0)
    optimizer = SAM([p], SGD, rho=0.0, lr=1.0)
    optimizer.step(differentiated(lambda: (0.5 * p**2).sum()))  # to 0
    with torch.no_grad():
        p.fill_(2.0)
    optimizer.param_groups[0]["rho"] = 0.5
    optimizer.step(differentiated(lambda: (0.5 * p**2).sum()))
    assert p.item() == pytest.approx(-0.5)  # 2 − (2 + ρ)
    optimizer.param_groups[0]["rho"] = -1.0
    with pytest.raises(ValueError, match=r"rho is -1\.0; expected a number of 0 or more"):
        optimizer.step(differentiated(lambda: (0.5 * p**2).sum()))
    assert p.item() == pytest.approx(-0.5)


# An optimizer among torch's


def test_an_optimizer_that_is_made_does_what_its_class_does():
    models = [cnn() for _ in range(4)]
    params = [m.parameters() for m in models]
    made = [AdamW(params[1], lr=0.01), AdamW(params[2], lr=0.01)]
    optimizers = [
        SAM(params[0], AdamW, lr=0.01),
        SAM(models[1].parameters(), made[0]),
        SAM(made[1].param_groups, made[1]),
        SAM(params[3], lambda params: AdamW(params, lr=0.01)),
    ]
    for optimizer, model in zip(optimizers, models):
        assert isinstance(optimizer, Optimizer)
        for _ in range(3):
            optimizer.step(closure_of(model))
        assert same(model.parameters(), models[0].parameters())
        assert not same(model.parameters(), cnn().parameters())


@pytest.mark.parametrize("base", [lambda ps: SGD(ps, lr=0.1, momentum=0.9), lambda ps: AdamW(ps, lr=0.01)])
def test_a_run_goes_on_from_its_state_dict_as_if_it_had_not_stopped(base):
    def step(model, optimizer):
        for _ in range(4):
            optimizer.step(closure_of(model))

    whole = cnn()
    through = SAM(whole.parameters(), base, rho=0.2)
    step(whole, through)
    through.param_groups[0]["rho"] = 0.4
    file = io.BytesIO()
    torch.save([whole.state_dict(), through.state_dict()], file)
    step(whole, through)

    file.seek(0)
    weights, state = torch.load(file)  # of weights only: nothing but tensors and numbers
    resumed = cnn(seed=1)
    optimizer = SAM(resumed.parameters(), base, rho=0.2)
    resumed.load_state_dict(weights)
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["rho"] == 0.4
    assert optimizer.base.state is optimizer.state
    step(resumed, optimizer)
    assert same(resumed.parameters(), whole.parameters())


def test_a_checkpoint_of_the_base_optimizer_alone_will_do():
    model = cnn()
    base = SGD(model.parameters(), lr=0.1, momentum=0.9)
    closure_of(model)()
    base.step()
    optimizer = SAM(model.parameters(), SGD, rho=0.2, lr=0.5, momentum=0.9)
    optimizer.load_state_dict(base.state_dict())
    assert optimizer.param_groups[0]["rho"] == 0.2
    assert optimizer.param_groups[0]["lr"] == 0.1
    optimizer.step(closure_of(model))


def test_a_copy_steps_like_the_original():
    model = cnn()
    optimizer = SAM(model.parameters(), Adam, lr=0.01)
    optimizer.step(closure_of(model))
    twin, its = copy.deepcopy((model, optimizer))
    optimizer.step(closure_of(model))
    its.step(closure_of(twin))
    assert same(model.parameters(), twin.parameters())


def test_groups_are_added_later_and_a_refused_one_is_not_kept():
    a, b = line(1.0), line(1.0)
    optimizer = SAM([a], SGD, rho=0.1, lr=1.0)
    optimizer.add_param_group({"params": [b], "rho": 0.0, "lr": 0.5})
    with pytest.raises(ValueError, match="rho is -1"):
        optimizer.add_param_group({"params": [line(1.0)], "rho": -1})
    assert len(optimizer.base.param_groups) == 2
    optimizer.step(differentiated(lambda: (0.5 * a**2 + 0.5 * b**2).sum()))
    assert a.item() == pytest.approx(-0.1 / np.sqrt(2))
    assert b.item() == pytest.approx(0.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(
    ("make", "rates"),
    [
        (lambda o: CosineAnnealingLR(o, 4), [1.0, 0.5 + np.sqrt(0.125), 0.5]),
        (lambda o: torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5), [1.0, 0.5, 0.25]),
    ],
)
def test_schedulers_set_the_learning_rate_of_the_base(make, rates, loop):
    p = line(1.0)
    optimizer = SAM([p], SGD, rho=0.1, lr=1.0)
    scheduler = make(optimizer)
    for rate in rates:
        before, closure = p.item(), differentiated(lambda: p.sum())
        if loop:
            closure()
            optimizer.first_step()
            optimizer.zero_grad()
            closure()
            optimizer.second_step()
        else:
            optimizer.step(closure)
        assert before - p.item() == pytest.approx(rate)
        scheduler.step()


def test_schedulers_of_momentum_and_of_plateaus_work_on_it():
    optimizer = SAM([line(1.0)], SGD, lr=1.0, momentum=0.9)
    OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
    assert optimizer.base.param_groups[0]["momentum"] == 0.95
    plateau = ReduceLROnPlateau(optimizer, patience=0)
    rate = optimizer.param_groups[0]["lr"]
    for _ in range(2):
        plateau.step(1.0)
    assert optimizer.base.param_groups[0]["lr"] == pytest.approx(rate / 10)


def test_step_hooks_run_once_a_step():
    p, seen = line(1.0), []
    optimizer = SAM([p], SGD, lr=0.1)
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    optimizer.step(differentiated(lambda: (p**2).sum()))
    p.grad = torch.ones_like(p)
    optimizer.first_step()
    optimizer.second_step()
    assert len(seen) == 2


# In loops


def test_the_recipe_for_clipping_steps_with_the_clipped_second_gradient():
    model = cnn(norm=False)
    before = [p.detach().clone() for p in model.parameters()]
    first = gradient_at(model, before, INPUTS, LABELS)
    at = [w + 0.1 * g / norm_of(first) for w, g in zip(before, first)]
    second = gradient_at(model, at, INPUTS, LABELS)

    optimizer, closure = SAM(model.parameters(), SGD, rho=0.1, lr=1.0), closure_of(model)
    with optimizer.first_pass():
        optimizer.zero_grad()
        closure()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-3)  # the perturbation has length ρ all the same
    optimizer.first_step()
    with optimizer.second_pass():
        optimizer.zero_grad()
        closure()
    assert same(model.parameters(), before)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.second_step()
    assert norm.item() == pytest.approx(norm_of(second).item(), rel=1e-4)
    for p, w, g in zip(model.parameters(), before, second):
        torch.testing.assert_close(p.detach(), w - 0.01 * g / norm, rtol=0, atol=1e-6)


def test_a_closure_may_clip_and_may_accumulate():
    whole, parts = cnn(norm=False).double(), cnn(norm=False).double()
    inputs = INPUTS.double()

    def at_once():
        loss = closure_of(whole, inputs=inputs)()
        nn.utils.clip_grad_norm_(whole.parameters(), 0.01)
        return loss

    def accumulated():
        losses = [cross_entropy(parts(inputs[i : i + 8]), LABELS[i : i + 8]) / 3 for i in (0, 8, 16)]
        for loss in losses:
            loss.backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 0.01)
        return sum(losses)

    optimizers = [SAM(m.parameters(), SGD, lr=1.0) for m in (whole, parts)]
    for _ in range(3):
        losses = [o.step(c) for o, c in zip(optimizers, (at_once, accumulated))]
        torch.testing.assert_close(*losses)
    torch.testing.assert_close(flat(whole), flat(parts), rtol=0, atol=1e-10)
    assert (flat(whole) - flat(cnn(norm=False).double())).norm().item() == pytest.approx(0.03, rel=0.01)


def test_m_gives_each_micro_batch_a_perturbation_of_its_own():
    model = cnn(norm=False).double()
    inputs, weights = INPUTS.double(), [p.detach().clone() for p in model.parameters()]
    mean = [torch.zeros_like(w) for w in weights]
    for part in (slice(0, 10), slice(10, 20), slice(20, 24)):  # the last one is smaller
        first = gradient_at(model, weights, inputs[part], LABELS[part])
        at = [w + 0.1 * g / norm_of(first) for w, g in zip(weights, first)]
        share = len(LABELS[part]) / 24
        mean = [a + share * g for a, g in zip(mean, gradient_at(model, at, inputs[part], LABELS[part]))]
    expected = cross_entropy(model(inputs), LABELS)
    optimizer = SAM(model.parameters(), SGD, rho=0.1, m=10, lr=0.5)
    loss = optimizer.step(closure_of(model, inputs=inputs), samples=24)
    torch.testing.assert_close(loss, expected.detach())
    for p, w, g in zip(model.parameters(), weights, mean):
        torch.testing.assert_close(p.detach(), w - 0.5 * g, rtol=0, atol=1e-12)


def test_a_grad_scaler_changes_nothing_but_the_scale():
    plain, scaled, clipped = cnn(), cnn(), cnn()
    options = {"rho": 0.1, "lr": 0.1, "momentum": 0.9}
    reference = SAM(plain.parameters(), SGD, **options)
    optimizer = SAM(scaled.parameters(), SGD, **options)
    loop = SAM(clipped.parameters(), SGD, **options)
    scalers = [torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=2) for _ in range(2)]

    def backward(model, scaler):
        loss = cross_entropy(model(INPUTS), LABELS)
        scaler.scale(loss).backward()
        return loss

    for _ in range(5):
        reference.step(closure_of(plain))
        optimizer.step(lambda: backward(scaled, scalers[0]), scaler=scalers[0])
        with loop.first_pass():
            loop.zero_grad()
            backward(clipped, scalers[1])
        loop.first_step()
        with loop.second_pass():
            loop.zero_grad()
            backward(clipped, scalers[1])
        scalers[1].unscale_(loop)
        nn.utils.clip_grad_norm_(clipped.parameters(), 1e6)  # of the unscaled ones, which are smaller
        loop.second_step()
        for scaler in scalers:
            scaler.update()
    assert scalers[0].get_scale() == scalers[1].get_scale() == 2.0**12  # it grew on the way
    for model in (scaled, clipped):
        torch.testing.assert_close(flat(model), flat(plain), rtol=0, atol=1e-6)


@pytest.mark.parametrize("reason", ["first gradient", "second gradient"])
def test_a_grad_scaler_that_overflows_skips_the_step_and_lowers_its_scale(reason):
    p, calls = line(1.0, 2.0), []
    optimizer = SAM([p], Adam, lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def closure():
        calls.append(1)
        loss = (p**2).sum() * (
            float("inf") if len(calls) == ("first gradient", "second gradient").index(reason) + 1 else 1
        )
        scaler.scale(loss).backward()
        return loss

    with pytest.warns(UserWarning, match=reason.split()[0] if reason[0] == "f" else "at the perturbed weights"):
        optimizer.step(closure, scaler=scaler)
    scaler.update()
    assert p.tolist() == [1.0, 2.0]
    assert optimizer.skipped[reason] == 1
    assert scaler.get_scale() == 2.0**9
    optimizer.step(closure, scaler=scaler)
    scaler.update()
    assert (p < torch.tensor([1.0, 2.0])).all()
    assert sum(optimizer.skipped.values()) == 1


def test_autocast_to_bfloat16_around_steps_reuses_no_weights_of_another_pass():
    inside, around = cnn(), cnn()
    optimizers = [SAM(m.parameters(), SGD, rho=1.0, lr=0.1) for m in (inside, around)]

    def autocast():
        return torch.autocast("cpu", torch.bfloat16)

    def closure():
        with autocast():
            loss = cross_entropy(inside(INPUTS), LABELS)
        loss.backward()
        return loss

    first = [optimizers[0].step(closure) for _ in range(3)]
    with autocast():
        second = [optimizers[1].step(closure_of(around)) for _ in range(3)]
    assert same(first, second)
    assert same(inside.parameters(), around.parameters())
    exact = cnn()
    sharp = SAM(exact.parameters(), SGD, rho=1.0, lr=0.1)
    for _ in range(3):
        sharp.step(closure_of(exact))
    torch.testing.assert_close(flat(inside), flat(exact), rtol=0, atol=0.02)


def test_the_usual_loop_with_zero_grad_takes_the_same_steps_as_another_implementation():
    ours, theirs = cnn(norm=False).double(), cnn(norm=False).double()
    mine = SAM(ours.parameters(), SGD, rho=0.1, lr=0.05, momentum=0.9)
    peer = pytorch_optimizer.SAM(theirs.parameters(), SGD, rho=0.1, lr=0.05, momentum=0.9)
    for _ in range(5):
        for optimizer, model in ((mine, ours), (peer, theirs)):
            closure_of(model, inputs=INPUTS.double())()
            optimizer.first_step(zero_grad=True)
            assert all(p.grad is None for p in model.parameters())
            closure_of(model, inputs=INPUTS.double())()
            optimizer.second_step(zero_grad=True)
            assert all(p.grad is None for p in model.parameters())
    assert (flat(ours) - flat(cnn(norm=False).double())).norm() > 0.1
    torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=1e-7)  # it adds a small number to the norm


# Both passes see one function


def test_batch_statistics_are_touched_once():
    model, plain = cnn(), cnn()
    SAM(model.parameters(), SGD, rho=1.0, lr=0.1).step(closure_of(model))
    plain(INPUTS)
    assert same(model.buffers(), plain.buffers())
    assert model[1].num_batches_tracked == 1


class Counter(nn.Module):
    """Replaces a buffer rather than writing into it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return self.weight**2 * x


def test_buffers_that_are_replaced_or_lent_are_put_back_too():
    model = Counter()
    optimizer = SAM(model.parameters(), SGD, lr=0.1)
    optimizer.step(differentiated(lambda: model(torch.ones(()))))
    assert model.calls == 1
    lent = {"calls": torch.full((), 7.0)}
    optimizer.step(differentiated(lambda: functional_call(model, lent, (torch.ones(()),))))
    assert model.calls == 1
    assert lent["calls"] == 8  # into which torch writes what was lent


def test_dropout_masks_are_the_same_in_both_passes_and_drawn_once():
    p, masks = line(*[1.0] * 50), []

    def loss():
        masks.append(nn.functional.dropout(torch.ones(50, dtype=torch.float64), 0.5))
        return (masks[-1] * p**2).sum()

    optimizer = SAM([p], SGD, lr=0.1)
    torch.manual_seed(3)
    for _ in range(2):
        optimizer.step(differentiated(loss))
    after = torch.rand(3)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])
    torch.manual_seed(3)
    for _ in range(2):
        nn.functional.dropout(torch.ones(50, dtype=torch.float64), 0.5)
    assert torch.equal(torch.rand(3), after)  # as if there had been one pass a step


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("m", [None, 8])
def test_a_closure_that_raises_leaves_the_weights_as_they_were(call, m):
    model, calls = cnn(), []
    optimizer, before = SAM(model.parameters(), SGD, rho=0.5, m=m, lr=0.1), bits(model.parameters())
    samples = None if m is None else 24

    def closure(*part):
        loss = closure_of(model)(*part)
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return loss

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure, samples)
    assert same(bits(model.parameters()), before)
    assert model[1].num_batches_tracked == 1
    optimizer.step(closure, samples)  # and goes on
    assert not same(bits(model.parameters()), before)


def test_a_second_pass_that_raises_restores_the_weights():
    p = line(1.0)
    optimizer = SAM([p], SGD, rho=0.5, lr=0.1)
    with optimizer.first_pass():
        p.grad = torch.ones_like(p)
    optimizer.first_step()
    assert p.item() == 1.5
    with pytest.raises(KeyError), optimizer.second_pass():
        raise KeyError
    assert p.item() == 1.0
    with optimizer.first_pass():
        pass


# Gradients that are not there, or not numbers


def test_at_zero_gradient_the_perturbation_is_skipped_counted_and_reported():
    p = line(1.0, -1.0)
    optimizer = SAM([p], SGD, rho=0.1, lr=0.5, weight_decay=1.0)
    with pytest.warns(UserWarning, match="perturbation was left out: the gradient is zero"):
        optimizer.step(differentiated(lambda: (0 * p).sum()))
    assert p.tolist() == [0.5, -0.5]  # the base's step, of weight decay
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # only the first one warns
        optimizer.step(differentiated(lambda: (0 * p).sum()))
    assert optimizer.skipped == {"zero gradient": 2, "first gradient": 0, "second gradient": 0}


@pytest.mark.filterwarnings("error")
def test_a_gradient_in_a_group_that_is_not_perturbed_is_not_reported_as_zero():
    still, moved = line(1.0), line(2.0)
    optimizer = SAM([{"params": [still], "rho": 0.0}, {"params": [moved]}], SGD, rho=0.1, lr=0.5)
    optimizer.step(differentiated(lambda: (still**2).sum()))  # the group with ρ > 0 has no gradient at all
    assert optimizer.skipped["zero gradient"] == 0
    assert (still.item(), moved.item()) == (0.0, 2.0)


def test_a_tiny_gradient_of_half_precision_gives_a_perturbation_and_no_nan():
    p = nn.Parameter(torch.ones(4, dtype=torch.float16))
    optimizer = SAM([p], SGD, rho=1.0, lr=0.0)
    p.grad = torch.full((4,), 6e-8, dtype=torch.float16)
    optimizer.first_step()
    assert p.tolist() == [1.5] * 4
    optimizer.second_step()
    assert p.tolist() == [1.0] * 4


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize(
    ("reason", "told"), [("first", "first gradient is"), ("second", "at the perturbed weights is")]
)
def test_a_gradient_that_is_not_finite_is_skipped_counted_and_reported(reason, told, value):
    model, calls = cnn(), []
    optimizer = SAM(model.parameters(), Adam, rho=0.1, lr=0.1)
    optimizer.step(closure_of(model))
    before, state = bits(model.parameters()), copy.deepcopy(optimizer.state_dict()["state"])

    def closure():
        calls.append(1)
        loss = closure_of(model)()
        if len(calls) == ("first", "second").index(reason) + 1:
            model[0].weight.grad[0] = value
        return loss

    with pytest.warns(UserWarning, match=f"a step was left out: the (gradient )?{told} not finite"):
        optimizer.step(closure)
    assert same(bits(model.parameters()), before)
    assert optimizer.skipped[f"{reason} gradient"] == sum(optimizer.skipped.values()) == 1
    for key, entry in optimizer.state_dict()["state"].items():
        assert same(entry.values(), state[key].values())
    optimizer.step(closure)
    assert torch.isfinite(flat(model)).all()
    assert not same(bits(model.parameters()), before)


def test_a_first_gradient_that_is_not_finite_is_not_forgotten_by_the_second_step():
    p = line(1.0)
    optimizer = SAM([p], SGD, lr=0.1)
    p.grad = torch.full_like(p, float("inf"))
    optimizer.first_step()
    p.grad = torch.ones_like(p)
    with pytest.warns(UserWarning, match="first gradient is not finite"):
        optimizer.second_step()
    assert p.item() == 1.0


@pytest.mark.parametrize("adaptive", [False, True])
def test_sparse_gradients_step_like_dense_ones_and_move_only_their_rows(adaptive):
    tables = [nn.Embedding(9, 3, sparse=sparse) for sparse in (True, False)]
    tables[1].load_state_dict(tables[0].state_dict())
    index, seen = torch.tensor([1, 4, 4, 7]), []
    before = tables[0].weight.detach().clone()
    for table in tables:
        optimizer = SAM(table.parameters(), SGD, rho=0.5, adaptive=adaptive, lr=0.1)

        def loss(table=table):
            seen.append(table.weight.detach().clone())
            return (table(index) ** 3).sum()

        for _ in range(3):
            optimizer.step(differentiated(loss))
    torch.testing.assert_close(tables[0].weight, tables[1].weight)
    moved = (seen[1] != before).any(1)
    assert moved.nonzero().flatten().tolist() == [1, 4, 7]
    assert torch.equal(tables[0].weight[[0, 2, 3, 5, 6, 8]], before[[0, 2, 3, 5, 6, 8]])


def test_sparse_gradients_go_with_m_and_with_a_base_of_their_own():
    table = nn.Embedding(9, 3, sparse=True)
    before = table.weight.detach().clone()
    optimizer = SAM(table.parameters(), SparseAdam, m=2, lr=0.1)
    index = torch.tensor([1, 4, 4, 7])

    def closure(part):
        loss = (table(index[part]) ** 2).mean()
        loss.backward()
        return loss

    optimizer.step(closure, samples=4)
    moved = (table.weight != before).any(1)
    assert moved.nonzero().flatten().tolist() == [1, 4, 7]
    with pytest.warns(UserWarning, match="first gradient is not finite"):
        optimizer.step(lambda part: (table(index[part]) * float("inf")).sum().backward() or 0.0, samples=4)


def test_parameters_without_a_gradient_stay_as_they_are():
    used, unused, frozen = line(1.0), line(2.0), line(3.0, requires_grad=False)
    optimizer = SAM([used, unused, frozen], SGD, rho=0.5, lr=0.1)
    optimizer.step(differentiated(lambda: (used**2).sum()))
    assert used.item() == pytest.approx(1 - 0.1 * 2 * 1.5)
    assert (unused.item(), frozen.item()) == (2.0, 3.0)


# What is refused


def refused(p=None, **options):
    return SAM([line(1.0) if p is None else p], **{"base_optimizer": SGD, "lr": 0.1} | options)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"p": torch.zeros(2, dtype=torch.complex64)}, r"parameter 0 of group 0 is torch\.complex64.*view_as_real"),
        ({"rho": 1e308}, r"rho is 1e\+308; expected a number of 0 or more, 3e\+38 at most"),
        ({"base_optimizer": torch.optim.LBFGS}, "gives LBFGS.*needs no closure"),
        ({"base_optimizer": torch.optim.Adadelta}, "gives Adadelta.*no option rho"),
        ({"base_optimizer": SGD([line(1.0)], lr=0.1)}, r"with other params or options \(lr\)"),
    ],
)
def test_bad_arguments_are_refused_with_what_to_do(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        refused(**given)


def test_params_must_be_those_of_an_optimizer_that_is_made_and_each_is_given_once():
    p = line(1.0)
    with pytest.raises(ValueError, match=r"with other params or options \(none\); expected its param_groups"):
        SAM([line(1.0)], SGD([p], lr=0.1))
    with pytest.raises(ValueError, match="other params"):
        SAM([{"params": [p], "rho": 0.3}], SGD([p], lr=0.1))  # whose rho would be lost
    with pytest.warns(UserWarning, match="duplicate"), pytest.raises(ValueError, match="a parameter twice"):
        SAM([p, p], SGD, lr=0.1)
    with pytest.raises(TypeError, match="gives SAM"):
        SAM([p], SAM([p], SGD, lr=0.1))


def test_a_step_without_a_closure_says_what_to_do():
    optimizer = refused()
    with pytest.raises(TypeError, match="got no closure; expected a function that runs forward and backward"):
        optimizer.step()
    with pytest.raises(TypeError, match="the closure returned None; expected the loss"):
        optimizer.step(lambda: None)
    with pytest.raises(TypeError, match=r"the closure returned a tensor of shape \(2,\)"):
        optimizer.step(lambda: torch.zeros(2))
    with pytest.raises(RuntimeError, match=r"none of the parameters has a gradient; call loss\.backward"):
        optimizer.step(lambda: torch.zeros(()))


def test_m_and_samples_go_together():
    def closure(*_):
        raise AssertionError("is not called")

    with pytest.raises(ValueError, match="m is None and samples is 8"):
        refused().step(closure, samples=8)
    with pytest.raises(ValueError, match="m is 4 and samples is None"):
        refused(m=4).step(closure)
    with pytest.raises(ValueError, match="samples is 0; expected 1 or more samples"):
        refused(m=4).step(closure, samples=0)
    optimizer = refused(p := line(1.0), m=4)
    p.grad = torch.ones_like(p)
    optimizer.first_step()
    with pytest.raises(RuntimeError, match="m is 4, which goes with step"):
        optimizer.second_step()
    assert p.item() == 1.0


def test_the_two_steps_come_in_turn():
    p = line(1.0)
    optimizer = refused(p)
    with pytest.raises(RuntimeError, match="none of the parameters has a gradient"):
        optimizer.first_step()
    p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match=r"second_step\(\) was called before first_step\(\)"):
        optimizer.second_step()
    for late in (optimizer.first_step, optimizer.first_pass().__enter__, lambda: optimizer.step(lambda: 0.0)):
        optimizer.first_step()
        assert p.item() == 1.05
        with pytest.raises(RuntimeError, match=r"before second_step\(\) ended the last step; its weights are restored"):
            late()
        assert p.item() == 1.0


def test_a_second_pass_needs_a_first_and_runs_once():
    p = line(1.0)
    optimizer = refused(p)
    p.grad = torch.ones_like(p)
    words = r"second_pass\(\) was entered before first_pass\(\) and first_step\(\)"
    with pytest.raises(RuntimeError, match=words), optimizer.second_pass():
        pass
    optimizer.first_step()  # without a first pass, whose random numbers would be drawn again
    with pytest.raises(RuntimeError, match=words), optimizer.second_pass():
        pass
    assert p.item() == 1.0
    with optimizer.first_pass():
        pass
    optimizer.first_step()
    with optimizer.second_pass():
        pass
    with pytest.raises(RuntimeError, match=words), optimizer.second_pass():  # at the weights that are back
        pass
