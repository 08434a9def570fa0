"""The claims on full-batch SAM and on quadratics can fail: with another rule, another law or a wrong factor they do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import valley_by_hand
from failing import failing

from samviz.claims import falling_sharpness, full_batch, quadratics, runs, toy
from samviz.dynamics import RULES, limiting_flow
from samviz.geometry import normal_space, third_derivative, worst_direction_sharpness
from samviz.problems import quadratic, valley


@pytest.fixture
def instead(monkeypatch):
    """Run one rule where another is asked for."""

    def change(rule, asked="sam"):
        monkeypatch.setitem(RULES, asked, RULES[rule])

    return change


def test_phase_one_needs_the_smallest_eigenvalue(monkeypatch):
    def doubled(problem, x):
        space = normal_space(problem, x)
        return replace(space, values=2 * space.values)

    monkeypatch.setattr(full_batch, "normal_space", doubled)
    assert len(failing("phase_one")) == 3  # the slope at every η


def test_phase_one_is_not_that_of_unit_steps(instead):
    instead("normalized_gd")
    failed = failing("phase_one")
    assert any("e-fold" in quantity for quantity in failed)
    assert any("gradient flow" in quantity for quantity in failed)


def sam_step(x, lr, rho):
    """A step of SAM on the valley."""
    slope = valley_by_hand.slope(x)
    return x - lr * valley_by_hand.slope(x + rho * slope / np.linalg.norm(slope))


def test_phase_two_starts_on_the_2_cycle():
    foot, lr, rho = torch.tensor([1.0, -2.0, 0.5]).double(), np.array([0.02, 0.1, 0.3]), np.array([0.1, 0.01, 0.2])
    matrix = np.diag([1.0, 4.0, 2.0])
    start = runs.on_cycle(quadratic(np.diag(matrix)), foot, lr, rho).numpy() - foot.numpy()
    slope = start @ matrix
    ahead = start + rho[:, None] * slope / np.linalg.norm(slope, axis=1, keepdims=True)
    np.testing.assert_allclose(start - lr[:, None] * ahead @ matrix, -start, atol=1e-12)  # the other side


def test_phase_two_is_read_at_its_times():
    lr, rho, tau = np.array([0.02, 0.008]), 0.2, np.array([0.02, 0.05])
    seen, steps = runs.phase_two_run(valley(), full_batch.FLOOR, lr, rho, tau)
    assert steps == 156  # 0.05/(0.008·0.2²), rounded
    for run, at in enumerate(([25, 62], [62, 156])):
        top = 2 * valley_by_hand.curvatures(full_batch.FLOOR.numpy())[0]
        x, path = full_batch.FLOOR.numpy() + np.array([0, 0, lr[run] * rho * top / (2 - lr[run] * top), 0]), []
        for _ in range(157):
            path.append(np.abs(x))  # the eigenvector may have either sign
            x = sam_step(x, lr[run], rho)
        np.testing.assert_allclose(seen[:, run].abs(), [path[t] for t in at], atol=1e-9)


@pytest.mark.parametrize("lr", [0.001, 0.02, 0.05])
def test_the_overshoot_is_that_of_two_steps_around_the_2_cycle(lr):
    floor, rho = np.array([0.6, 0.9]), 1e-4
    top = 2 * valley_by_hand.curvatures(floor)[0]
    start = x = np.array([*floor, lr * rho * top / (2 - lr * top), 0.0])
    for _ in range(2):
        x = sam_step(x, lr, rho)
    drift = (x - start)[:2] / (2 * lr * rho**2)  # of time τ = ηρ²t
    np.testing.assert_allclose(drift, -toy.overshoot(lr, top) * np.array([2, 12]) * floor, rtol=1e-2)


def test_gradient_descent_tracks_no_flow_in_phase_two(instead):
    instead("gd")
    assert any("exponent" in quantity for quantity in failing("phase_two"))


def test_phase_two_is_not_the_flow_of_the_trace(monkeypatch):
    monkeypatch.setattr(
        full_batch, "limiting_flow", lambda problem, x, times: limiting_flow(problem, x, "average", times=times)
    )
    assert any("exponent" in quantity for quantity in failing("phase_two"))


def test_gradient_descent_does_not_align(instead):
    instead("gd")
    assert any("exponent" in quantity and "valley" in quantity for quantity in failing("gradient_angle"))


def test_the_angle_is_half_of_what_v1_turns(monkeypatch):
    sine = full_batch.sine
    monkeypatch.setattr(full_batch, "sine", lambda problem, x: 2 * sine(problem, x))
    assert failing("gradient_angle") == ["angle over ‖∇λ₁‖ηρ/(2(2 − ηλ₁)), the worst, valley"]


def test_sharpness_on_the_way_has_the_factor_one_half(monkeypatch):
    def doubled(problem, x, rho):
        sharpness = worst_direction_sharpness(problem, x, rho)
        return replace(sharpness, value=2 * sharpness.value)

    monkeypatch.setattr(falling_sharpness, "worst_direction_sharpness", doubled)
    assert len(failing("sharpness_on_the_way")) == 1  # its error falls, but not to zero


def test_gradient_descent_does_not_lower_sharpness_on_the_way(instead):
    instead("gd")
    assert len(failing("sharpness_on_the_way")) >= 1


@pytest.mark.parametrize("rule", ["gd", "usam"])
def test_other_rules_do_not_end_at_the_least_sharpness(instead, rule):
    instead(rule)
    assert any("worst of 9" in quantity for quantity in failing("sharpness_at_the_end"))


def test_the_end_is_the_least_of_lambda_1_and_not_of_another(monkeypatch):
    monkeypatch.setattr(falling_sharpness, "LEAST", 6.0)  # λ_M/2 there
    assert any("worst of 9" in quantity for quantity in failing("sharpness_at_the_end"))


def test_sharpness_falls_as_fast_as_the_third_derivative_says(monkeypatch):
    monkeypatch.setattr(falling_sharpness, "third_derivative", lambda *args: 2 * third_derivative(*args))
    failed = failing("sharpness_per_step")
    assert len([quantity for quantity in failed if quantity.startswith("fall over")]) == 2
    assert not any("exponent" in quantity for quantity in failed)


@pytest.mark.parametrize(("asked", "rule"), [("sam", "normalized_gd"), ("normalized_gd", "sam")])
def test_the_two_rates_of_fall_are_not_each_others(instead, asked, rule):
    instead(rule, asked)
    assert any("exponent of η" in quantity for quantity in failing("sharpness_per_step"))


def test_batches_with_one_eigenspace_align(monkeypatch):
    monkeypatch.setattr(quadratics, "ANGLES", (0, 0.1, 0.2, 0.3))
    monkeypatch.setattr(quadratics, "walk", lambda *_: 0.09)
    assert len([quantity for quantity in failing("minibatch_alignment") if quantity.startswith("mean")]) == 2


def test_alignment_that_comes_with_small_rho_is_told_apart(monkeypatch):
    misses = quadratics.misses
    monkeypatch.setattr(quadratics, "misses", lambda m, b, lr, rho, reads: misses(m, b, lr, rho, reads) * rho[:, None])
    assert len([quantity for quantity in failing("minibatch_alignment") if quantity.startswith("exponent")]) == 2


@pytest.mark.parametrize("rule", ["gd", "usam", "normalized_gd"])
def test_other_rules_have_another_cycle_or_none(instead, rule):
    instead(rule)
    assert any("ηρλ₁" in quantity for quantity in failing("two_cycle"))
