"""Φ, the limiting flow, phase II, the edge of stability and stored minima agree with independent solutions."""

import numpy as np
import pytest
import torch
import valley_by_hand
from formula import Formula, tensor
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from samviz.dynamics import (
    History,
    Run,
    edge_of_stability,
    gradient_descent_minimum,
    gradient_flow_limit,
    limiting_flow,
    phase_boundary,
    tracking_error,
)
from samviz.problems import mlp, quadratic, valley


@pytest.fixture(scope="module")
def network():
    """A 1-3-1 network through two points (D = 10, M = 2), and three starts."""
    problem = mlp([1, 3, 1], data=(np.array([[-0.5], [1.0]]), np.array([0.3, -0.4])))
    return problem, torch.stack([problem.initial(seed) for seed in range(3)])


def test_phi_of_the_valley_agrees_with_a_different_solver():
    def velocity(_, x):
        return -valley_by_hand.slope(x)

    starts = np.array([[0.6, 0.9, 0.1, 0.1], [0.3, -0.2, 1.0, -2.0], [1.0, 1.0, 0.0, 0.5]])
    limit = gradient_flow_limit(valley(), torch.from_numpy(starts))
    ends = [solve_ivp(velocity, (0, 30), x, method="Radau", rtol=1e-10, atol=1e-12).y[:, -1] for x in starts]
    np.testing.assert_allclose(limit.x, ends, atol=1e-8)
    assert limit.converged.all()
    assert limit.grad_norm.max() < 1e-9
    assert limit.evaluations > 0
    assert np.abs(np.array(ends) - starts)[1:, :2].max() > 0.1  # the moves along the floor are large


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_phi_of_a_quadratic_is_the_projection_on_its_kernel(dim):
    rng = np.random.default_rng(dim)
    basis = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    values = np.array([2.0, 0.7, 0.1, 0.0, 0.0, 0.0])[:dim]
    a = (basis * values) @ basis.T
    x = rng.normal(size=dim)
    limit = gradient_flow_limit(quadratic(a), torch.from_numpy(x))
    time = limit.time.item()
    np.testing.assert_allclose(limit.x[0], expm(-time * a) @ x, atol=1e-8)
    kernel = basis[:, values == 0]
    np.testing.assert_allclose(limit.x[0], kernel @ (kernel.T @ x), atol=1e-8)
    assert limit.grad_norm.item() == pytest.approx(1e-11 * max(1, np.linalg.norm(a @ x)), rel=1e-3)
    slowest = values[values > 0].min()
    share = abs(basis[:, values == slowest][:, 0] @ x)
    decay = np.log(slowest * share / limit.grad_norm.item()) / slowest  # the slowest component alone is left
    assert time == pytest.approx(decay, rel=0.1)  # the solver's error is larger than the gradient where it stops


def test_runs_do_not_depend_on_the_runs_in_the_same_solver(network):
    problem, starts = network
    starts = torch.cat((starts, starts + 0.5))
    alone = torch.cat([gradient_flow_limit(problem, start).x for start in starts])
    torch.testing.assert_close(gradient_flow_limit(problem, starts).x, alone, rtol=0, atol=1e-7)
    assert problem.gradient(alone)[1].norm(dim=1).max() < 1e-9
    assert torch.equal(limiting_flow(problem, starts[:1], times=0.0).x[0], alone[:1])
    again = gradient_flow_limit(problem, alone[0])  # a point of Γ
    assert torch.equal(again.x[0], alone[0])
    assert (again.time.item(), again.evaluations, again.converged.item()) == (0, 0, True)


def test_many_runs_are_solved_in_groups_and_in_single_precision():
    x = torch.randn(1500, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    limit = gradient_flow_limit(quadratic([1.0, 0.0]), x)
    torch.testing.assert_close(limit.x, x * tensor(0.0, 1.0), rtol=0, atol=1e-8)
    assert len(set(limit.time.tolist())) == 3  # 500 runs of two unknowns a group
    problem = valley().to("cpu", torch.float32)
    limit = gradient_flow_limit(problem, torch.tensor([0.6, 0.9, 0.1, 0.1]))
    assert limit.x.dtype == torch.float32
    assert limit.converged.all()
    torch.testing.assert_close(limit.x.double(), gradient_flow_limit(valley(), valley().initial()).x, atol=1e-4, rtol=0)


def test_a_flow_without_a_limit_has_not_converged():
    limit = gradient_flow_limit(Formula(1, lambda x: torch.exp(-x)), tensor(0.0))
    assert not limit.converged
    assert limit.x.item() == pytest.approx(np.log(1 + limit.time.item()), abs=1e-5)


STARTS = tensor([0.9, 0.6, 0.2, -0.1], [0.2, 0.3, 0.0, 0.0])
TIMES = np.array([0.0, 0.1, 0.3, 0.3, 0.5])


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("kind", "rates", "goal"), [("worst", (2, 12), (0, 0)), ("average", (10, 14), (0.8, 1 / 7))])
def test_the_flow_of_the_valley_agrees_with_its_closed_form(kind, rates, goal, scale):
    """x₁ and x₂ decay to their goal from Φ(x₀)."""
    start = gradient_flow_limit(valley(mean=scale == 0.5), STARTS).x[:, :2].numpy()
    decay = np.exp(-scale * TIMES[:, None, None] * np.array(rates))
    flow = limiting_flow(valley(mean=scale == 0.5), STARTS, kind, times=TIMES)
    assert flow.exact
    np.testing.assert_allclose(flow.x[..., :2], goal + (start - goal) * decay, atol=1e-12)
    np.testing.assert_array_equal(flow.x[..., 2:], 0)
    integers = valley(mean=scale == 0.5).limiting_flow(torch.tensor([1, 1]), torch.tensor([50.0]), kind)
    np.testing.assert_allclose(integers[0], goal, atol=1e-6)


@pytest.mark.parametrize("kind", ["worst", "average"])
def test_the_general_solver_agrees_with_the_closed_form_of_the_valley(kind):
    general = Formula(4, lambda *x: valley_by_hand.loss(x) / 2)
    flow = limiting_flow(general, STARTS[:1], kind, times=torch.from_numpy(TIMES))
    assert not flow.exact
    assert flow.x.shape == (5, 1, 4)
    closed = limiting_flow(valley(mean=True), STARTS[:1], kind, times=TIMES)
    np.testing.assert_allclose(flow.x, closed.x, atol=1e-6)
    np.testing.assert_array_equal(flow.times, TIMES)
    assert flow.grad_norm.max() < 1e-5
    assert torch.isinf(flow.stopped).all()


def test_the_flow_stops_where_lambda_1_meets_lambda_2():
    """λ₁ = 2(1 + x₁²) decreases by dx₁/dτ = −2x₁ until it is λ₂ = 2.5, up to a gap of 1e-3 of λ₁."""
    problem = Formula(4, lambda x1, x2, x3, x4: (1 + x1**2) * x3**2 + 1.25 * x4**2)
    meeting = np.log(1 / np.sqrt(1.25 / (1 - 1e-3) - 1)) / 2
    times = np.linspace(0, 1, 21)
    flow = limiting_flow(problem, tensor(1.0, 0.0, 0.0, 0.0), times=times)
    assert flow.stopped.item() == pytest.approx(meeting, abs=1e-5)
    before = times < meeting
    np.testing.assert_allclose(flow.x[before, 0, 0], np.exp(-2 * times[before]), atol=1e-6)
    assert flow.x[~before].isnan().all()
    assert tracking_error(problem, flow.x.nan_to_num(), flow)[~before].isnan().all()
    trace = limiting_flow(problem, tensor(1.0, 0.0, 0.0, 0.0), "average", times=times)  # which does not stop
    np.testing.assert_allclose(trace.x[:, 0, 0], np.exp(-2 * times), atol=1e-6)
    assert torch.isinf(trace.stopped)


def test_the_tracking_error_is_the_distance_of_the_limit_points():
    flow = limiting_flow(valley(), STARTS, times=[0.0, 0.3])
    iterates = flow.x + tensor(0.0, 0.0, 0.1, 0.2)
    limit_point = gradient_flow_limit(valley(), iterates.view(-1, 4)).x.view(iterates.shape)
    error = tracking_error(valley(), iterates, flow)
    assert error.shape == (2, 2)
    np.testing.assert_allclose(error, (limit_point - flow.x).norm(dim=2), atol=1e-9)
    assert error.min() > 0.005
    np.testing.assert_allclose(tracking_error(valley(), flow.x, flow), 0, atol=1e-12)
    with pytest.raises(ValueError, match="x has shape"):
        tracking_error(valley(), iterates[0], flow)


def history_of(lengths, lr=0.1, rho=0.05, top=4.0):
    """Return a history of gradient lengths, times that on the 2-cycle, ηρλ₁²/(2 − ηλ₁), every ten steps."""
    history = History()
    for i, length in enumerate(lengths):
        cycle = np.asarray(lr) * np.asarray(rho) * top**2 / abs(2 - np.asarray(lr) * top)
        values = np.broadcast_to([top, 1.0], (*np.shape(length), 2))
        row = {"step": 10 * i, "grad_norm": np.asarray(length * cycle), "eigenvalues": values, "lr": lr, "rho": rho}
        history.append(row)
    return history


MANY = np.array([[9.0, 9.0, 1.0], [1.0, 9.0, 1.0], [1.0, 9.0, 1.0]])


@pytest.mark.parametrize(
    ("history", "step"),
    [
        (history_of([50.0, 9.0, 2.1, 1.9, 1.0, 1.0]), 30),
        (history_of([1.0, 1.0, 1.0]), 0),
        (history_of([9.0, 1.0, 3.0, 1.0, 1.0]), 30),  # it leaves the neighbourhood once more
        (history_of([9.0, 5.0, 3.0]), np.nan),
        (history_of([1.0, 1.0, 2.1]), np.nan),
        (history_of([9.0, np.nan, 1.0]), 20),
        (history_of([3.0]), np.nan),
        (history_of([1.0, 1.0], lr=0.6), np.nan),  # ηλ₁ = 2.4, beyond the edge of stability
        (history_of(MANY), [10, np.nan, 0]),
        (history_of(MANY, lr=(0.1, 0.2, 0.3), rho=(0.05, 0.01, 1.0)), [10, np.nan, 0]),
    ],
)
def test_the_boundary_is_the_first_step_after_the_last_long_gradient(history, step):
    boundary = phase_boundary(history)
    assert boundary.shape == np.shape(step)
    np.testing.assert_equal(boundary, np.asarray(step, dtype=float))


def test_the_edge_tends_to_two_over_lr_and_separates_steps_that_shrink_from_those_that_grow():
    """Along v₁ a step multiplies x by 1 − ηλ(1 + ρλ/‖∇L‖): by −1 where λ is at the edge for that gradient."""
    rho = np.array([1e-1, 1e-2, 1e-4, 1e-8, 0.0])
    edge = edge_of_stability(0.1, rho, 2.0)
    by_formula = 2.0 / (2 * rho[:-1]) * (np.sqrt(1 + 8 * rho[:-1] / (0.1 * 2.0)) - 1)
    np.testing.assert_allclose(edge[:-1], by_formula, rtol=1e-6)
    assert (np.diff(edge) > 0).all()
    np.testing.assert_allclose(edge[-2:], 20, rtol=1e-6)
    np.testing.assert_array_equal(edge_of_stability([0.1, 0.2], 0.0, 0.0), [20, 10])
    assert edge_of_stability(0.1, 0.1, 0.0) == 0
    for grad_norm in (0.1, 1.0, 10.0):
        edge = float(edge_of_stability(0.1, 0.05, grad_norm))
        for factor, grows in ((0.99, False), (1.01, True)):
            curvature = factor * edge
            run = Run(quadratic([curvature]), "sam", lr=0.1, rho=0.05, x0=[grad_norm / curvature], device="cpu")
            run.step()
            assert (abs(run.x.item()) > grad_norm / curvature) is grows


def test_minima_of_other_problems_and_the_precision_of_the_stored_one():
    problem = mlp([1, 6, 1], "tanh", "sine")
    x = gradient_descent_minimum(problem, seed=1)
    loss, gradient = problem.gradient(x[None])
    start_loss, start_gradient = problem.gradient(problem.initial(1)[None])
    assert x.shape == (19,)
    assert loss < 0.05 * start_loss
    assert gradient.norm() < 0.05 * start_gradient.norm()
    assert Run(problem, "gd", x0=x, device="cpu").measure()["cos_v1"] < 3e-6  # the last tenth is without momentum
    assert torch.equal(gradient_descent_minimum(problem, seed=1), x)
    for problem in (quadratic([3.0, 1.0]), valley()):
        start = gradient_descent_minimum(problem)
        assert torch.equal(start, problem.initial(0))
        assert problem.gradient(start[None])[1].norm() > 0  # there is something to see
    problem = mlp([1, 24, 24, 1], "tanh", "sine")
    single = gradient_descent_minimum(problem.to("cpu", torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), gradient_descent_minimum(problem), rtol=1e-6, atol=1e-6)
