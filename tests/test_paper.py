"""The dynamics agree with the paper's theorems, closed forms and differential equations written by hand.

Theorem numbers are those of Wen, Ma, Li, How Does Sharpness-Aware Minimization Minimize Sharpness? (ICLR 2023).
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import fsolve
from valley_by_hand import curvatures

from samviz.dynamics import Run, edge_of_stability, gradient_descent_minimum
from samviz.problems import mlp, quadratic, valley

STABLE = settings(max_examples=15, deadline=None, derandomize=True)


# Theorem 4.8: on a quadratic SAM ends in a 2-cycle along v₁ of norm ηρλ₁/(2 − ηλ₁)


def check_cycle(run, top, lr, rho):
    """Assert the direction v₁, the norm, the edge of stability λ₁ for that gradient, and that a step maps x to −x."""
    x = run.x.numpy()
    lengths = np.linalg.norm(x, axis=1)
    values, vectors = np.linalg.eigh(run.problem.hessian(run.x)[0].numpy())
    assert values[-1] == pytest.approx(top)
    assert (1 - np.abs(x @ vectors[:, -1]) / lengths < 1e-8).all()
    np.testing.assert_allclose(lengths, lr * rho * top / (2 - lr * top), rtol=1e-8)
    np.testing.assert_allclose(edge_of_stability(lr, rho, run.problem.gradient(run.x)[1].norm(dim=1)), top, rtol=1e-7)
    run.step()
    np.testing.assert_allclose(run.x, -x, rtol=0, atol=1e-7 * lengths.max())


@STABLE
@given(
    top=st.floats(0.1, 50),
    ratios=st.lists(st.floats(0.2, 0.9), min_size=0, max_size=4),
    product=st.floats(0.05, 0.95),  # ηλ₁
    rho=st.floats(1e-3, 2),
    seed=st.integers(0, 1000),
)
def test_sam_on_any_quadratic_ends_on_the_two_cycle(top, ratios, product, rho, seed):
    """On the cycle the component along vᵢ is multiplied by 1 − ηλᵢ − r²(2 − ηλ₁), r = λᵢ/λ₁: 0.92 at most here."""
    rng = np.random.default_rng(seed)
    spectrum = top * np.array([1.0, *ratios])
    basis = np.linalg.qr(rng.normal(size=(len(spectrum), len(spectrum))))[0]
    a = (basis * spectrum) @ basis.T
    run = Run(quadratic((a + a.T) / 2), "sam", product / top, rho, x0=rng.normal(size=(2, len(spectrum))), device="cpu")
    run.step(1200)
    check_cycle(run, top, product / top, rho)


# the edge of stability


def test_the_edge_tends_to_two_over_lr():
    rho = np.array([1e-1, 1e-2, 1e-4, 1e-8, 0.0])
    edge = edge_of_stability(0.1, rho, 2.0)
    by_formula = 2.0 / (2 * rho[:-1]) * (np.sqrt(1 + 8 * rho[:-1] / (0.1 * 2.0)) - 1)
    np.testing.assert_allclose(edge[:-1], by_formula, rtol=1e-6)
    assert (np.diff(edge) > 0).all()
    np.testing.assert_allclose(edge[-2:], 20, rtol=1e-6)
    np.testing.assert_array_equal(edge_of_stability([0.1, 0.2], 0.0, 0.0), [20, 10])
    assert edge_of_stability(0.1, 0.1, 0.0) == 0


def test_below_the_edge_a_step_of_sam_shrinks_and_above_it_grows():
    """Along v₁ a step multiplies x by 1 − ηλ(1 + ρλ/‖∇L‖): by −1 where λ is at the edge for that gradient."""
    for grad_norm in (0.1, 1.0, 10.0):
        edge = float(edge_of_stability(0.1, 0.05, grad_norm))
        for factor, grows in ((0.99, False), (1.01, True)):
            curvature = factor * edge
            run = Run(quadratic([curvature]), "sam", lr=0.1, rho=0.05, x0=[grad_norm / curvature], device="cpu")
            run.step()
            assert (abs(run.x.item()) > grad_norm / curvature) is grows


# the valley: L = F₁x₃² + F₂x₄², whose floor is Γ = {x₃ = x₄ = 0}


def slopes(x):
    """∇F₁ and ∇F₂."""
    return np.array([2 * x[0], 12 * x[1]]), np.array([-8 * (1 - x[0]), -2 * (1 - x[1])])


def overshoot(lr, curvature):
    """Return the ratio of the drift to its limit η → 0.

    On the 2-cycle the perturbed point lies not ρ but ρ + ηρλ/(2 − ηλ) = 2ρ/(2 − ηλ) from the floor, and the drift is
    proportional to the square of this distance.
    """
    return (2 / (2 - lr * curvature)) ** 2


def flow(start, tau, kind, scale=1.0, lr=0.0):
    """−½∇λ₁ (Eq. 7) or −½∇Tr (Eq. 18) on Γ, λ₁ = 2sF₁ and Tr = 2s(F₁ + F₂), solved numerically."""

    def velocity(_, x):
        first, second = slopes(x)
        drift = first * overshoot(lr, 2 * scale * curvatures(x)[0])
        return -scale * (drift if kind == "worst" else first + second)

    times = np.atleast_1d(tau)
    return solve_ivp(velocity, (0, times[-1]), start, t_eval=times, rtol=1e-10, atol=1e-12).y.T


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("kind", ["worst", "average"])
def test_the_closed_form_of_the_flow_agrees_with_its_equation(kind, mean):
    start, times = [0.9, 0.6], np.linspace(0, 1, 6)[1:]
    point = torch.tensor([*start, 0.3, 0.3], dtype=torch.float64)
    closed = valley(mean=mean).limiting_flow(point, torch.from_numpy(times), kind)
    np.testing.assert_allclose(closed, flow(start, times, kind, scale=0.5 if mean else 1.0), atol=1e-8)


@pytest.mark.parametrize("start", [torch.tensor([1, 1]), torch.tensor([1, 1, 0, 0])])
def test_the_flow_accepts_integer_starts(start):
    end = valley().limiting_flow(start, torch.tensor([50.0]), "average")
    np.testing.assert_allclose(end[0], [0.8, 1 / 7], rtol=1e-6)


def test_sam_tracks_its_flow_with_an_error_that_shrinks():
    """Theorem 4.5, phase II: the error is O(η ln(1/ρ)), so it halves with η.

    With the finite η in the equation (see `overshoot`) the error is O(ρ²), which is much smaller.
    """
    start, rho, tau = np.array([0.6, 0.9]), 0.2, np.array([0.1, 0.3, 0.5])
    errors, remainders = [], []
    for lr in (0.02, 0.01, 0.005):
        curvature = 2 * curvatures(start)[0]
        x0 = [*start, lr * rho * curvature / (2 - lr * curvature), 1e-3]  # on the 2-cycle: phase I is over
        run = Run(valley(), "sam", lr, rho, x0=x0, device="cpu")
        seen = []
        for t in tau:
            run.step(round(t / (lr * rho**2)) - run.steps)
            seen.append(run.x[0, :2].numpy())
        closed = start * np.exp(-np.outer(tau, [2, 12]))
        errors.append(np.abs(seen - closed).max())
        remainders.append(np.abs(seen - flow(start, tau, "worst", lr=lr)).max())
    assert errors[0] < 0.15
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.6 * errors[1]
    assert max(remainders) < 0.005
    assert remainders[0] < errors[0] / 10


STARTS = np.array([[0.6, 0.9, 0.1, 0.1], [0.3, 0.2, 0.05, -0.1], [1.0, 1.0, 0.1, 0.1], [0.9, 0.1, -0.1, 0.02]])


def test_full_batch_sam_ends_where_lambda_1_is_least():
    """With η = 0.02, ρ = 0.2 and 10⁴ steps, τ = ηρ²t = 8: e⁻¹⁶ of the initial distance is left, or less for finite η.

    The gradient points along x₃, on the 2-cycle of the curvature 2F₁ = 16.
    """
    run = Run(valley(), "sam", lr=0.02, rho=0.2, x0=STARTS, device="cpu")
    run.step(10_000)
    np.testing.assert_allclose(run.x[:, :2], 0, atol=1e-6)
    np.testing.assert_allclose(run.x[:, 2].abs(), 0.02 * 0.2 * 16 / (2 - 0.02 * 16), rtol=1e-6)
    np.testing.assert_allclose(run.x[:, 3], 0, atol=1e-9)


@pytest.mark.parametrize("mean", [False, True])
def test_sam_on_single_samples_ends_where_the_trace_is_least(mean):
    """1-SAM tends to (0.8, 1/7), the least trace, with an error Õ(√η + ρ) (Theorem 5.4).

    At finite η each sample's drift is stronger by its own `overshoot`, and more so the sharper one: the balance
    0 = w₁∇F₁ + w₂∇F₂ moves towards (0, 0), to (0.68, 0.08) or (0.75, 0.11) at η = 0.02. Around it the iterates jump
    with a deviation of 0.03 or less (measured), so that the mean of 24 runs knows it to 0.03/√24 = 0.006; four of
    those, and 0.01 for the curvature of the balance over such jumps, are granted.
    """
    scale, rho, lrs = (0.5 if mean else 1.0), 0.2, (0.02, 0.01, 0.005)
    x0 = np.tile([0.6, 0.4, 0.1, 0.1], (72, 1))
    run = Run(valley(mean=mean), "sam", np.repeat(lrs, 24), rho, batch_size=1, x0=x0, device="cpu")
    run.step(6000)  # τ = 1.2 at the smallest η: e⁻⁶ of the way is left on the mean, where the rates are least
    ends = run.x[:, :2].numpy().reshape(3, 24, 2)
    off = []
    for lr, end in zip(lrs, ends):

        def drift(x, lr=lr):
            first, second = (
                overshoot(lr, 4 * scale * f) * slope for f, slope in zip(curvatures(x), slopes(x))
            )  # the sample's curvature is twice that of its term in the mean
            return first + second

        np.testing.assert_allclose(end.mean(0), fsolve(drift, [0.8, 1 / 7]), atol=0.035)
        off.append(np.linalg.norm(end.mean(0) - [0.8, 1 / 7]))
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.05


def test_gradient_descent_stays_at_the_point_of_the_floor_that_it_reaches():
    run = Run(valley(), "gd", lr=0.02, rho=0.2, x0=STARTS, device="cpu")
    run.step(1000)
    floor = run.x.clone()
    run.step(2000)
    np.testing.assert_allclose(floor[:, 2:], 0, atol=1e-15)
    np.testing.assert_allclose(run.x, floor, atol=1e-15)
    np.testing.assert_allclose(run.x[:, :2], STARTS[:, :2], atol=0.01)  # phase I moved it by O(‖(x₃, x₄)‖²)


# the 1-24-24-1 network on the sine


def test_at_a_gradient_descent_minimum_the_gradient_is_orthogonal_to_v1(network):
    problem, x = network
    row = Run(problem, "gd", lr=0.05, x0=x, device="cpu").measure()
    assert row["loss"] < 1e-5
    assert row["cos_v1"] <= 1e-3
    assert row["cos_eigenspace"] <= 1e-3
    assert row["rayleigh"] < 0.01
    assert row["converged"]
    assert 0.3 < row["gap"] < 0.6  # λ₁ and λ₂ apart, as in the paper's facts: 14.80 and 8.58


def test_sam_with_a_small_radius_aligns_with_v1(network):
    problem, x = network
    run = Run(problem, "sam", lr=0.05, rho=0.005, x0=x, device="cpu")
    first = run.measure()
    run.step(1000)
    row = run.measure()
    assert row["cos_v1"] >= 0.99
    assert row["rayleigh"] >= 0.99
    assert not row["closing"]
    assert 0.9 * first["eigenvalues"][0] < row["eigenvalues"][0] < first["eigenvalues"][0]
    assert row["trace"] < first["trace"]
    # Theorem 4.8 holds along v₁: ‖∇L‖ = λ₁·ηρλ₁/(2 − ηλ₁), and the predicted edge is λ₁
    top = row["eigenvalues"][0]
    assert row["grad_norm"] == pytest.approx(0.05 * 0.005 * top**2 / (2 - 0.05 * top), rel=0.02)
    assert edge_of_stability(0.05, 0.005, row["grad_norm"]) == pytest.approx(top, rel=0.02)


def test_sam_with_a_large_radius_lowers_lambda_1_until_it_meets_lambda_2(network):
    problem, x = network
    run = Run(problem, "sam", lr=0.1, rho=0.02, x0=x, device="cpu")
    tops = [run.measure(trace=False)["eigenvalues"][0]]
    met = []
    for _ in range(9):
        run.step(500)
        row = run.measure(trace=False)
        assert row["converged"]
        assert row["cos_eigenspace"] >= 0.99
        assert row["rayleigh"] >= 0.98
        tops.append(row["eigenvalues"][0])
        met.append(row["gap"] <= 0.05)
        assert row["closing"] == met[-1]
        assert row["multiplicity"] == 1 + met[-1]
    assert tops[-1] < 0.5 * tops[0]
    assert (np.diff(tops) < 0).all()
    assert all(met[5:])  # from 3,000 steps on
    assert not any(met[:2])
    assert run.history["cos_v1"][1:4].min() > 0.99  # before they meet …
    assert run.history["cos_v1"].min() < 0.99 or run.history["cos_v1"][5:].std() > 1e-3  # … and after


# the minimum from which the tutorial starts


def test_minima_of_other_problems():
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


def test_the_stored_minimum_has_the_precision_of_the_problem():
    problem = mlp([1, 24, 24, 1], "tanh", "sine")
    single = gradient_descent_minimum(problem.to("cpu", torch.float32))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), gradient_descent_minimum(problem), rtol=1e-6, atol=1e-6)
