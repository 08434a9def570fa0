"""The claims on Φ, on the notions of sharpness and on one sample at a time fail when what they claim is made false."""

from dataclasses import replace

import pytest
import torch
from failing import failing

from samviz.claims import manifold, one_sample, sharpness
from samviz.claims.subjects import interpolating
from samviz.dynamics import FlowLimit, Run, limiting_flow
from samviz.geometry import (
    average_direction_sharpness,
    normal_space,
    third_derivative,
    worst_direction_sharpness,
)


def some_steps(problem, x, tol=0.0):
    """Not gradient flow's limit: twenty steps of gradient descent on the way there."""
    for _ in range(20):
        x = x - 0.005 * problem.gradient(x)[1]
    none = torch.zeros(len(x))
    return FlowLimit(x, none, none, none > 0, 0)


# Lemmas 3.2 and 3.5, Section 4


def test_a_flow_that_has_not_ended_sees_the_gradient(monkeypatch):
    monkeypatch.setattr(manifold, "gradient_flow_limit", some_steps)
    names = failing("flow_is_blind_to_the_gradient")
    assert any(name.startswith("network: exponent") for name in names)
    assert any(name.startswith("valley: exponent") for name in names)


def test_a_flow_that_has_not_ended_does_not_project(monkeypatch):
    monkeypatch.setattr(manifold, "gradient_flow_limit", some_steps)
    names = failing("flow_projects")
    assert any("network: ‖∂Φ − P‖" in name for name in names)
    assert any("valley: ‖∂Φ∂Φ − ∂Φ‖" in name for name in names)


def test_the_projection_is_on_the_whole_tangent_space_and_no_more(monkeypatch):
    monkeypatch.setattr(manifold, "normal_space", lambda problem, x: normal_space(problem, x, rank_tol=0.1))
    assert any("exponent" in name for name in failing("flow_projects"))  # λ₄ and λ₅ of the network count as zero


@pytest.mark.parametrize("rule", ["gd", "usam"])
def test_the_drift_is_that_of_sam(monkeypatch, rule):
    monkeypatch.setattr(manifold, "Run", lambda problem, _, *rest, **more: Run(problem, rule, *rest, **more))
    names = failing("third_order_term")
    assert any("extrapolated" in name for name in names)


def test_the_term_is_third_order_along_v1(monkeypatch):
    monkeypatch.setattr(manifold, "third_derivative", lambda problem, x, v: 1.01 * third_derivative(problem, x, v))
    assert any("∇³L" in name for name in failing("third_order_term"))


# Theorems 4.2 and 5.3, Table 1


def scaled(measure, factor):
    """A sharpness times a factor."""

    def wrong(*arguments, **more):
        found = measure(*arguments, **more)
        return replace(found, value=factor * found.value)

    return wrong


@pytest.mark.parametrize("name", ["three_limits", "one_sample_limits"])
def test_a_constant_that_is_wrong_is_seen(monkeypatch, name):
    monkeypatch.setattr(sharpness, "average_direction_sharpness", scaled(average_direction_sharpness, 1.02))
    wrong = failing(name)
    assert all("average" in check for check in wrong)
    assert {check.split(",")[0] for check in wrong} == {"valley", "network"}


@pytest.mark.parametrize("name", ["three_limits", "explicit_bias"])
def test_the_ascent_direction_is_not_the_worst_one(monkeypatch, name):
    """Slow: in place of the ascent direction it climbs to the worst one in each step of an optimizer."""
    monkeypatch.setattr(sharpness, "ascent_direction_sharpness", worst_direction_sharpness)
    assert all("ascent" in check for check in failing(name))


def test_one_sample_at_a_time_is_not_the_full_batch(monkeypatch):
    def full(problem, x, rho, stochastic=False):
        return worst_direction_sharpness(problem, x, rho)

    monkeypatch.setattr(sharpness, "worst_direction_sharpness", full)
    assert all("worst" in check for check in failing("one_sample_limits"))


def test_the_average_direction_has_its_own_place(monkeypatch):
    monkeypatch.setattr(sharpness, "average_direction_sharpness", worst_direction_sharpness)
    assert all(check.startswith("average") for check in failing("explicit_bias"))


# Lemma 5.5, Theorem 5.4, Corollaries 5.6 and 5.7


@pytest.fixture
def fresh_runs():
    """No run of another test, and none left behind."""
    one_sample._seen.cache_clear()
    yield
    one_sample._seen.cache_clear()


def test_samples_that_are_not_interpolated_have_no_rank_1(monkeypatch):
    network, x = interpolating()
    monkeypatch.setattr(one_sample, "interpolating", lambda: (network, x + 0.1))
    names = failing("rank_one")
    assert any("second eigenvalue" in name for name in names)
    assert any("cos" in name for name in names)


@pytest.mark.parametrize("change", [{"rule": "gd"}, {"batch_size": None}])
def test_the_runs_are_of_sam_on_single_samples(monkeypatch, fresh_runs, change):
    def other(problem, rule, lr, rho, **more):
        more["rule"] = rule
        return Run(problem, lr=lr, rho=rho, **(more | change))

    monkeypatch.setattr(one_sample, "Run", other)
    assert any("error at the smallest η" in name for name in failing("one_sample_flow"))
    names = failing("one_sample_sharpness")
    assert any(name.startswith("E R at the end") for name in names)


def test_the_flow_is_that_of_the_trace_and_the_limit_has_its_factor(monkeypatch):
    def flow_of_lambda_1(problem, x, kind, *, times):
        return limiting_flow(problem, x, "worst", times=times)

    with monkeypatch.context() as patch:
        patch.setattr(one_sample, "limiting_flow", flow_of_lambda_1)
        assert any("error at the smallest η" in name for name in failing("one_sample_flow"))
        assert any("largest ratio" in name for name in failing("one_sample_sharpness"))
    monkeypatch.setattr(one_sample, "worst_direction_sharpness", scaled(worst_direction_sharpness, 0.5))
    assert any("E R at the end" in name for name in failing("one_sample_sharpness"))
