"""The dynamics agree with the paper's theorems, closed forms and differential equations written by hand.

Theorem numbers are those of Wen, Ma, Li, How Does Sharpness-Aware Minimization Minimize Sharpness? (ICLR 2023).
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samviz.dynamics import Run, edge_of_stability, gradient_descent_minimum
from samviz.problems import Problem, mlp, quadratic, valley

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


# the 1-24-24-1 network on the sine


def test_sam_with_a_small_radius_aligns_with_v1_from_a_minimum_where_the_gradient_is_orthogonal(network):
    problem, x = network
    run = Run(problem, "sam", lr=0.05, rho=0.005, x0=x, device="cpu")
    first = run.measure()  # at the minimum, where ∇L is orthogonal to v₁
    assert first["loss"] < 1e-5
    assert max(first["cos_v1"], first["cos_eigenspace"], first["rayleigh"] / 10) <= 1e-3
    assert first["converged"]
    assert 0.3 < first["gap"] < 0.6  # the paper's facts: λ₁ = 14.80 and λ₂ = 8.58
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


# Where Theorem 4.5 needs a small ρ/η: the constant part of ∇L next to SAM's 2-cycle (notebook 06, our result)


class BentBowl(Problem):
    """L(a, b) = ½(a² + λⱼb² + ½a²b), where λ₁ = 1 and ½∇³L[v₁, v₁, vⱼ] = 0.25 at the minimum."""

    name, dim = "bent bowl", 2

    def __init__(self, other):
        self.other, self.filters = other, torch.zeros(2, dtype=torch.int64)

    def loss(self, x, batch=None):
        a, b = x.unbind(1)
        return (a**2 + self.other * b**2 + 0.5 * a**2 * b) / 2

    def initial(self, seed=0):
        return torch.full((2,), 1e-3, dtype=self.dtype)


@pytest.mark.parametrize("other", [0.5, 0.1, 0.02])
def test_the_gradient_has_a_part_along_other_eigenvectors_that_is_of_order_rho_over_eta_where_they_are_flat(other):
    lr, rho = 0.02, 0.01
    run = Run(BentBowl(other), "sam", lr=lr, rho=rho, device="cpu")
    run.step(int(5 / (lr * other)))
    along, other_part = run.problem.gradient(run.x)[1][0].abs().tolist()
    assert other_part / along == pytest.approx(rho * 0.25 / (other + lr / 2), rel=0.05)
