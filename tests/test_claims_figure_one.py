"""The claims about Figure 1, the two approximations and a network can fail: each is run with something wrong in it."""

import numpy as np
import pytest
from failing import failing

from samviz.claims import ablation, ascent_loss, figure_one, networks
from samviz.claims.ablation import ablation as table
from samviz.dynamics import RULES
from samviz.problems import valley

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # what is wrong may be negative or zero


@pytest.mark.parametrize(
    ("name", "rule", "instead"),
    [
        ("figure_one_full_batch", "sam", "gd"),
        ("figure_one_full_batch", "worst", "average"),
        ("figure_one_one_sample", "sam", "gd"),
        ("figure_one_gradient_descent", "gd", "sam"),
        ("figure_one_ascent", "ascent", "sam"),
        ("ascent_stops_short", "ascent", "sam"),
        ("two_wrongs", "sam", "ascent"),
        ("two_wrongs", "average", "sam"),
        ("network_aligns", "sam", "gd"),
        ("edge_of_sam", "sam", "usam"),
    ],
)
def test_another_rule_fails(monkeypatch, name, rule, instead):
    monkeypatch.setitem(RULES, rule, RULES[instead])
    assert failing(name)


@pytest.mark.parametrize(
    ("name", "module", "prediction", "wrong", "fails"),
    [
        ("figure_one_full_batch", figure_one, "overshoot", lambda lr, curvature: np.ones(len(lr)), "decay rate"),
        ("figure_one_one_sample", figure_one, "balance", lambda lr: np.array([2 / 3, 1 / 13]), "finite-η balance"),
        (
            "ascent_stops_short",
            ascent_loss,
            "ascent_cycle",
            lambda *at: np.array([1, 1, 0.01, 0.2]),
            "stationary point",
        ),
        ("two_wrongs", ablation, "_dropped_limit", lambda: 0.0, "∇L_Asc"),
        ("network_aligns", networks, "fall", None, "over Eq. 7's"),
        ("edge_of_sam", networks, "edge_of_stability", lambda lr, rho, length: 2 / lr + 0 * rho, "network"),
    ],
)
def test_another_prediction_fails(monkeypatch, name, module, prediction, wrong, fails):
    right = getattr(module, prediction)
    monkeypatch.setattr(module, prediction, wrong or (lambda *given: 2 * right(*given)))
    assert any(fails in quantity for quantity in failing(name))


def test_gradient_descent_that_ends_elsewhere_than_gradient_flow_fails(monkeypatch):
    class Elsewhere:
        x = valley().points([[0.64, 0.4, 0, 0]])

    monkeypatch.setattr(figure_one, "gradient_flow_limit", lambda problem, x: Elsewhere)
    assert any("Φ" in quantity for quantity in failing("figure_one_gradient_descent"))


def test_without_the_finite_step_the_descent_on_l_asc_would_reach_its_minimizer():
    """The 2-cycle's equation has (1, 1) as its limit, and the distance falls like √η there."""
    far = [np.linalg.norm(ascent_loss.ascent_cycle(lr, 0.1)[:2] - 1) for lr in (1e-6, 1e-7, 1e-8)]
    assert far[-1] < 0.01
    np.testing.assert_allclose(np.divide(far[1:], far[:-1]), 10**-0.5, rtol=0.1)


@pytest.mark.parametrize("rho", [0.3, 0.01])
def test_the_gradient_of_l_asc_is_that_of_the_rule(rho):
    x = np.array([0.3, 0.7, 0.05, -0.2]) * [1, 1, rho, rho]
    here = valley().points(x)
    step = RULES["ascent"](valley(), here, None, 1.0, rho, None)
    np.testing.assert_allclose(ascent_loss.ascent_loss_gradient(x, rho), (here - step.x)[0], rtol=1e-9)


def test_the_table_says_which_sharpness_each_method_minimizes():
    rows = {row.method: row for row in table(quick=True, lr_ascent=2.5e-4)}
    assert [row.minimizes for row in rows.values()] == ["λ₁", "λ_M", "λ₁", "Tr", "nothing"]
    assert rows["SAM"].drift[1] < 0 < rows["descent on L_Asc"].drift[1]  # λ₁ falls with x₂, λ_M grows
