"""A probe in a training, against dense float64 Hessians, with a simulated clock, and against no probe."""

import math
from contextlib import contextmanager
from copy import deepcopy
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from states import state_of
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from samviz.geometry import (
    Eigenpairs,
    ascent_direction_sharpness,
    average_direction_sharpness,
    top_eigenpairs,
    worst_direction_sharpness,
)
from samviz.probe import Probe
from samviz.problems import attach
from samviz.problems.torch_model import Attached

torch.manual_seed(0)
DATA = torch.randn(24, 1, 6, 6), torch.randint(0, 3, (24,))
LOSS = nn.CrossEntropyLoss()
RHO = 0.1


def network(width=2, dtype=torch.float64):
    torch.manual_seed(1)
    head = [nn.Tanh(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * width, 3)]
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), *head).to(dtype)


def training(model, steps, probe=None):
    """SGD with momentum in training mode; the optimizer and all losses."""
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), []
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        loss = LOSS(model(DATA[0].to(next(model.parameters()).dtype)), DATA[1])
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if probe:
            probe.step(train_loss=loss)
    return optimizer, losses


@pytest.fixture(scope="module", params=[(2, torch.float64), (9, torch.float64), (9, torch.float32)], ids=str)
def measured(request):
    """A probe of a trained network, its row, and the same network as a problem in double precision."""
    model = network(*request.param)
    training(model, 15)
    probe = Probe(model, LOSS, DATA, rho=RHO, budget=None, batch_size=10)
    problem = attach(deepcopy(model).double(), LOSS, (DATA[0].double(), DATA[1]))
    row = probe.measure()
    return probe, row, problem, problem.initial(), 1e-9 if request.param[1] == torch.float64 else 1e-5


def test_a_row_has_the_numbers_of_the_dense_hessian(measured):
    probe, row, problem, x, rounding = measured
    loss, slope = (tensor[0].numpy() for tensor in problem.gradient(x[None]))
    hessian = problem.hessian(x[None])[0].numpy()
    (values, vectors), unit = np.linalg.eigh(hessian), slope / np.linalg.norm(slope)
    first, top, trace = values[-1], vectors[:, -1], values.sum()
    assert row["loss"] == pytest.approx(float(loss), rel=rounding)
    assert row["grad_norm"] == pytest.approx(np.linalg.norm(slope), rel=10 * rounding)
    assert (np.abs(row["eigenvalues"] - values[:-3:-1]) <= row["residuals"] + rounding * first).all()
    assert row["converged"] == 1
    assert row["residuals"][0] < 0.02 * first
    assert row["gap"] == pytest.approx(1 - values[-2] / first, abs=2e-3)
    assert row["cos_v1"] == pytest.approx(abs(unit @ top), abs=0.02)
    assert row["multiplicity"] == (values >= 0.95 * first).sum() == 1 - row["closing"]
    assert row["cos_eigenspace"] == pytest.approx(row["cos_v1"])
    assert row["rayleigh"] == pytest.approx(unit @ hessian @ unit / first, rel=1e-3)
    assert abs(row["trace"] - trace) <= 4 * row["trace_error"] + 10 * rounding * trace
    ((step, density),) = probe.densities
    assert step == 0
    for f in (np.positive, np.square):
        value, error = density.trace(f)
        assert abs(value[0] - f(values).sum()) <= 4 * error[0] + 1e-4 * np.abs(f(values)).sum()


def test_the_sharpnesses_are_those_of_the_same_point(measured):
    _, row, problem, x, rounding = measured
    assert row["worst"] == pytest.approx(worst_direction_sharpness(problem, x, RHO).value.item(), rel=2e-3)
    assert row["worst_converged"] == 1
    assert 0 <= row["worst_residual"] < 1e-2
    assert row["ascent"] == pytest.approx(ascent_direction_sharpness(problem, x, RHO).value.item(), abs=rounding)
    average = average_direction_sharpness(problem, x, RHO, frames=20, seed=3)
    error = math.hypot(row["average_error"], average.standard_error.item())
    assert abs(row["average"] - average.value.item()) < 4 * error


def test_the_traces_error_is_its_spread_over_seeds():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 11), nn.Tanh(), nn.Linear(11, 1)).double()  # above the dense sizes
    data = torch.randn(8, 50, generator=torch.Generator().manual_seed(0)).double(), torch.ones(8, 1).double()
    probes = [Probe(model, nn.MSELoss(), data, budget=None, measures="trace", seed=100 * seed) for seed in range(12)]
    rows = [probe.measure() for probe in probes]
    spread = np.std([row["trace"] for row in rows], ddof=1)
    error = np.sqrt(np.mean([row["trace_error"] ** 2 for row in rows]))
    assert 0.5 < spread / error < 1.6  # 12 seeds determine the spread to a factor of 1.5


def momenta(optimizer):
    return [state["momentum_buffer"] for state in optimizer.state.values()]


def test_a_training_with_a_probe_is_bit_for_bit_the_one_without():
    probed, losses = network(), []
    probe = Probe(probed, LOSS, DATA, every=4, budget=math.inf)
    for model, its_probe in ((network(), None), (probed, probe)):
        torch.manual_seed(5)
        losses.append(training(model, 8, its_probe)[1])
    assert losses[0] == losses[1]
    assert list(probe.history["step"]) == [4, 8]
    assert list(probe.history["train_loss"]) == losses[0][3::4]
    assert all(np.isfinite(column).all() for column in probe.history.to_dict().values())  # rows are complete
    assert len(probe.densities) == 2
    assert probe.budget is None


class Clock:
    """A clock that advances only when something is computed."""

    now = 0.0
    gradient, product = 1.0, 3.0
    error = None  # raised at the next product

    def __call__(self):
        return self.now


@contextmanager
def simulated_clock():
    """Let a gradient and a product take the clock's times, and a loss a third of the first."""
    clock, (loss, gradient, hvp) = Clock(), (Attached.loss, Attached.gradient, Attached.hvp)

    def costing(method, part):
        def slow(problem, x, batch=None):
            clock.now += part * clock.gradient * len(x)
            return method(problem, x, batch)

        return slow

    def multiplying(problem, x, batch=None):
        def product(v):
            clock.now += clock.product * v.shape[1]
            error, clock.error = clock.error, None
            if error:
                raise error
            return multiply(v)

        multiply = hvp(problem, x, batch)
        return product

    slower = {"loss": costing(loss, 1 / 3), "gradient": costing(gradient, 1), "hvp": multiplying}
    with mock.patch("samviz.probe.probe.perf_counter", clock), mock.patch.multiple(Attached, **slower):
        yield clock


@pytest.mark.parametrize("budget", [0.01, 0.3])
def test_a_probe_keeps_its_budget_and_measures_everything_in_turns(budget):
    with simulated_clock() as clock:
        probe = Probe(network(9, torch.float32), LOSS, DATA, every=5, budget=budget)
        for _ in range(300):
            clock.now += 2 / budget  # credit for three products a row
            probe.step()
            assert probe.share <= budget
    h = probe.history
    assert list(h["step"]) == list(range(5, 301, 5))
    assert 0.6 * budget < h["share"][-1] <= h["share"].max() <= budget
    assert np.isfinite(h["loss"]).all()
    assert all(2 <= np.isfinite(h[name]).sum() < len(h) for name in ("trace", "worst", "cos_v1"))
    assert np.isnan(h["eigenvalues"][np.isnan(h["converged"])]).all()
    assert len(probe.densities) >= 2
    assert h["seconds"].sum() == pytest.approx(probe.share * 299 * 2 / budget)


def test_after_unexpected_costs_nothing_is_measured_until_they_are_paid():
    with simulated_clock() as clock:
        probe = Probe(network(9), LOSS, DATA, every=1, budget=0.1, measures=["trace"])
        for step in range(120):
            clock.gradient, clock.product = (1, 3) if step < 20 else (20, 60)
            clock.now += 700
            spent = probe._account.spent
            probe.step()
            assert probe.history["seconds"][-1] == 0 or spent < 0.1 * 700 * step
    assert probe.history["share"].max() > 0.1 >= probe.share
    assert np.isfinite(probe.history["trace"][40:]).sum() > 2


def test_its_repr_contains_how_much_training_pays_for_the_next_measurement():
    with simulated_clock() as clock:
        probe = Probe(network(), LOSS, DATA, every=1, k=1, budget=0.1, measures="trace")
        price = 1 + 3 * (probe.problem.dim + 1)  # of the gradient, and of the Hessian as D + 1 products
        assert f"the next measurement after {20 * price:.2g} s of training" in repr(probe)
        for seconds in (0, 20 * price - 1, 12):  # the loss alone was measured, and is to be paid as well
            clock.now += seconds
            probe.step()
    assert np.isfinite(probe.history["trace"]).tolist() == [False, False, True]


def test_eigenvectors_start_from_the_last_ones_with_more_products_until_they_have_converged():
    search = mock.patch("samviz.probe.probe.top_eigenpairs", wraps=top_eigenpairs)
    with simulated_clock() as clock, search as searched:
        probe = Probe(network(9), LOSS, DATA, every=1, budget=0.1, measures="eigenvalues")
        for _ in range(12):
            probe.step()
            clock.now += 800  # credit for a dozen products, of the twenty or more that it takes from random vectors
    starts = [call.kwargs["start"] for call in searched.call_args_list]
    assert starts[0] is None
    assert all(isinstance(start, Eigenpairs) for start in starts[1:])  # whose age leads to a cold start in time
    products = probe.history["products"]
    first, second, *_, last = np.flatnonzero(products)
    assert list(probe.history["converged"][[first, second, last]]) == [0, 1, 1]
    assert probe.history["residuals"][last, 0] < probe.history["residuals"][first, 0] / 10
    assert products[first] <= 13
    assert products[last] < 10


def test_a_loss_that_is_not_finite_is_recorded_and_training_goes_on():
    model = network()
    probe = Probe(model, LOSS, DATA, every=1, budget=None, measures=["eigenvalues", "trace"])
    good = model[-1].weight.data.clone()
    probe.step()
    model[-1].weight.data.fill_(math.nan)
    with pytest.warns(RuntimeWarning, match="the loss is nan"):
        probe.step(lr=0.1)
    model[-1].weight.data.copy_(good)
    probe.step()
    assert list(np.isfinite(probe.history["trace"])) == list(np.isfinite(probe.history["loss"])) == [True, False, True]
    assert probe.history["eigenvalues"][2] == pytest.approx(probe.history["eigenvalues"][0])


def test_an_interrupt_of_a_measurement_leaves_model_and_record_unchanged():
    model = network(9)
    optimizer, _ = training(model, 2)
    with simulated_clock() as clock:
        probe = Probe(model, LOSS, DATA, every=1, budget=0.5)
        probe.measure()
        rows, before = list(probe.history.rows), state_of(model, tensors=momenta(optimizer))
        clock.now += 1e5
        clock.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            probe.step()
        assert (probe.history.rows, len(probe.densities)) == (rows, 1)
        assert state_of(model, tensors=momenta(optimizer)) == before
        clock.error = RuntimeError("out of memory")
        with pytest.warns(RuntimeWarning, match="eigenvalues could not be measured: out of memory"):
            probe.step()
    last = probe.history.rows[-1]
    assert (last["step"], np.isnan(last["cos_v1"]), np.isfinite(last["trace"])) == (2, True, True)


def test_a_step_without_a_due_row_computes_nothing():
    class Forbidden(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            raise AssertionError(f"{function} was called")

    probe = Probe(network(), LOSS, DATA, every=3)
    with pytest.raises(ValueError, match="loss is a column of the probe's own; log yours by another name"):
        probe.step(loss=1.0)
    logged = torch.ones(1, requires_grad=True)
    with Forbidden():
        probe.step(lr=logged)
        probe.step(lr=logged)
        with pytest.raises(AssertionError):
            probe.step(lr=logged)


def test_columns_may_be_logged_later_and_the_record_is_written_out(tmp_path):
    probe = Probe(network(), LOSS, DATA, every=1, budget=None, measures="trace")
    probe.step()
    probe.step(lr=torch.tensor(0.5))
    probe.measure()  # of the same step: in place of its row
    assert list(probe.history["step"]) == [1, 2]
    np.testing.assert_equal(probe.history["lr"], [math.nan, 0.5])
    probe.to_csv(tmp_path / "record.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "record.csv"), probe.to_pandas())
    assert {"eigenvalues_0", "eigenvalues_1", "residuals_1"} <= set(probe.to_pandas())


def test_a_function_that_is_logged_is_called_where_a_row_is_due_in_evaluation_mode_and_counts_on_neither_side():
    model, called = network().train(), []

    def accuracy():
        clock.now += 1000
        called.append(probe.steps)
        return (model(DATA[0].double()).argmax(1) == DATA[1]).double().mean()

    with simulated_clock() as clock:
        probe = Probe(model, LOSS, DATA, every=2, budget=0.1)
        for _ in range(4):
            clock.now += 1
            probe.step(accuracy=accuracy)
        assert probe.share == 0
    assert called == [2, 4]
    assert all(module.training for module in model.modules())
    model.eval()
    np.testing.assert_array_equal(probe.history["accuracy"], [float(accuracy())] * 2)


def test_on_step_is_called_in_the_same_thread_and_counts_on_neither_side():
    with simulated_clock() as clock:
        probe = Probe(network(), LOSS, DATA, every=100, budget=0.1)
        probe.on_step = lambda: setattr(clock, "now", clock.now + 1000)
        for _ in range(3):
            clock.now += 6
            probe.step()
        assert probe.share == 0
        spent = -clock.now
        probe.measure()  # without credit, but counted
        assert probe.share == pytest.approx((spent + clock.now) / 12)
    probe.on_step = mock.Mock(side_effect=StopIteration)
    with pytest.raises(StopIteration):
        probe.step()
