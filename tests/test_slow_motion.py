"""A step in slow motion: its parts are what the rule computes, and the learner sees them one after another."""

from __future__ import annotations

from functools import partial

import kernel_loop
import numpy as np
import pytest
import torch
from kernel_loop import kernel_test, move, press

from samviz.dynamics import RULES, Rule, Run
from samviz.lab import Lab
from samviz.lab.slow_motion import slow_step
from samviz.problems import mlp, quadratic

SINE = mlp([1, 8, 8, 1], data="sine")
NO_POINT = {"gd", "label_noise", "normalized_gd"}  # rules without a perturbed point
NO_GRADIENT = {"average", "random", "label_noise"}  # rules whose direction does not depend on the gradient at x

until = partial(kernel_loop.until, seconds=20)


def run_of(rule: str = "sam", rho: float = 0.05, size: int | None = None) -> Run:
    run = Run(SINE, rule, lr=0.02, rho=rho, batch_size=size, seed=1, device="cpu")
    run.step(20)
    run.measure()
    return run


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("rule", RULES)
def test_the_parts_of_a_step_lead_to_the_next_iterate(rule: str, size: int | None) -> None:
    run = run_of(rule, size=size)
    parts, x = run.parts(), run.x[0]
    run.step()
    torch.testing.assert_close(parts.x, x, rtol=0, atol=0)
    torch.testing.assert_close(parts.x - 0.02 * parts.direction, run.x[0], rtol=1e-12, atol=1e-14)
    assert len(parts.points) == {"average": 16}.get(rule, rule not in NO_POINT)


def test_the_parts_of_a_sam_step_have_their_closed_form() -> None:
    """For L = xᵀAx/2 the gradient is Ax."""
    matrix = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    x = torch.tensor([0.3, -0.4], dtype=torch.float64)
    gradient = matrix @ x
    point = x + 0.1 * gradient / gradient.norm()
    found, end = Run(quadratic([3.0, 1.0]), lr=0.2, rho=0.1, x0=x, device="cpu").parts(), x - 0.2 * matrix @ point
    for mine, expected in zip(
        found, (x, gradient, point[None], (matrix @ point)[None], matrix @ point, end), strict=True
    ):
        torch.testing.assert_close(mine, expected)


def test_with_micro_batches_the_perturbed_point_is_that_of_the_last_one() -> None:
    run = Run(SINE, rho=0.05, micro_batch=8, seed=1, device="cpu")
    gradient = SINE.gradient(run.x, torch.arange(16, 20)[None])[1]
    torch.testing.assert_close(run.parts().points, run.x + 0.05 * gradient / gradient.norm())
    sentences = [part.sentence for part in slow_step(run, 1e-6).parts]
    assert ["micro-batch" in sentence for sentence in sentences] == [False, True, True, True]


@pytest.mark.parametrize("rule", RULES)
def test_slow_motion_draws_what_the_rule_uses_with_true_lengths_on_its_plane(rule: str) -> None:
    run = run_of(rule)
    slow, found = slow_step(run, 1e-6), run.parts()
    slow.shown = len(slow.parts)
    names = {arrow.name for arrow in slow.arrows}
    assert ("gradient" in names) == (rule not in NO_GRADIENT)
    assert ("ascent" in names) == (rule not in NO_POINT)
    assert ("perturbed gradient" in names) == (rule not in NO_POINT | {"average"})
    lengths = {"step": 0.02 * found.direction.norm()} | {"ascent": (found.points - found.x).norm(dim=1).mean()}
    for name, length in lengths.items():
        for arrow in (arrow for arrow in slow.arrows if arrow.name == name):
            seen = np.linalg.norm(arrow.tip - arrow.tail)
            assert seen <= float(length) * (1 + 1e-6)
            part = next(part for part in slow.parts if part.arrows[0].name == name)
            assert seen > 0.95 * float(length) or "projection" in part.sentence
    torch.testing.assert_close(slow.plane.directions @ slow.plane.directions.mT, torch.eye(2, dtype=torch.float64))
    ends = np.array([end for arrow in slow.arrows for end in (arrow.tail, arrow.tip)])
    assert (np.abs(ends - slow.center) < slow.radius).all()


@pytest.mark.parametrize("rule", [rule for rule in RULES if RULES[rule].gd_at_zero_rho])
def test_at_rho_zero_there_is_only_a_gradient_and_a_step(rule: str) -> None:
    slow = slow_step(run_of(rule, rho=0.0), 1e-6)
    assert [arrow.name for part in slow.parts for arrow in part.arrows] == ["gradient", "step"]
    assert "where d is that gradient" in slow.parts[-1].sentence


def test_a_registered_rule_is_watched_without_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "mine", Rule("mine", lambda p, x, g, rho: 2 * p.problem.gradient(x + rho)[1], "mine"))
    slow = slow_step(run_of("mine"), 1e-6)
    assert [part.arrows[0].name for part in slow.parts] == ["gradient", "ascent", "perturbed gradient", "step"]
    assert "where d is the direction of the rule" in slow.parts[-1].sentence


LABELS = ["η∇L(x)", "perturbed point", "η∇L there", "step −ηd"]


@pytest.mark.parametrize(("rule", "rho"), [("sam", 0.1), ("sam", 0.01), ("worst", 0.1)])
def test_no_label_of_an_arrow_covers_another_in_either_phase(rule: str, rho: float) -> None:
    """In phase II all arrows lie on one line. A line of text takes 17 of at least 210 pixels of the axis."""
    lab = Lab(SINE, rule=rule, rho=rho, lr=0.1, device="cpu")
    for steps in (5, 300, 1):
        lab.run(steps)
        list(lab.session.slow_step())
        lab.session.slow.shown = len(lab.session.slow.parts)
        layout = lab.session.figure(False)["layout"]
        low, high = layout["yaxis4"]["range"]
        heights = sorted((each["y"] - low) / (high - low) for each in layout["annotations"] if each["text"] in LABELS)
        assert len(heights) >= 2
        assert min(np.diff(heights)) >= 17 / 210
        assert 0.05 < heights[0] < heights[-1] < 0.95


@kernel_test
async def test_the_parts_are_shown_while_a_step_or_a_run_is_in_slow_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samviz.lab.lab.PART_S", 0.02)
    lab = Lab(SINE, rho=0.02, lr=0.05, device="cpu").run(50)
    move(lab, slow_motion=True)
    press(lab, "step")
    await until(lambda: lab.session.run.steps == 51 and lab.scheduler.idle)
    assert lab.view.sentence.startswith("Slow motion: part 4 of 4")
    press(lab, "play")
    await until(lambda: lab.session.run.steps >= 53)
    press(lab, "pause")
    move(lab, slow_motion=False)
    await until(lambda: lab.session.slow is None and lab.scheduler.idle)
    assert lab.session.landscape.plane.kind == "hessian"


def test_one_parameter_is_drawn_on_the_curve_of_its_loss() -> None:
    lab = Lab(quadratic([2.0]), rho=0.05, lr=0.3, x0=[1.0], device="cpu")
    lab.set(slow_motion=True)
    lab.step()
    for arrow in lab.session.slow.arrows:  # type: ignore[union-attr]
        for x, loss in (arrow.tail, arrow.tip):
            assert loss == pytest.approx(x * x)
    assert lab.session.run.steps == 1
