"""Random mixtures of good and bad values are refused with a remedy or accepted, and never lose a run's history."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from bad_table import CALLABLES, FLAT, SINE, bad_arguments, call
from bad_values import INF, NAN, REMEDY, no_hang
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samviz.dynamics import Diverged, Run
from samviz.geometry import top_eigenpairs
from samviz.problems import Problem

ODD = st.sampled_from([NAN, INF, -INF, None, "0.1", 1j, True, [], -1, 0, 1.5, 10**400, np.ones((2, 2))])
FEW = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def refused(function: Any) -> bool:
    """Return whether a call was refused, with a remedy."""
    message = ""
    try:
        with no_hang():
            answer = function()
            if isinstance(answer, Iterator):
                list(answer)
    except (ValueError, TypeError, FileNotFoundError) as error:
        message = str(error)
    assert not message or REMEDY.search(message), message
    return bool(message)


@FEW
@pytest.mark.filterwarnings("ignore")
@given(data=st.data())
def test_several_bad_arguments_at_once_are_refused(data: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow: each example calls a function of the whole public surface."""
    monkeypatch.chdir(tmp_path)
    name = data.draw(st.sampled_from(sorted(CALLABLES)))
    bad = {argument: values for argument, values in bad_arguments(name) if values}
    if bad:
        chosen = data.draw(st.sets(st.sampled_from([*bad]), min_size=1))
        wrong = {argument: bad[argument][data.draw(st.integers(0, len(bad[argument]) - 1))] for argument in chosen}
        assert refused(lambda: call(name, **wrong)), (name, wrong)


@FEW
@given(calls=st.lists(st.tuples(st.sampled_from(["lr", "rho", "batch_size", "rule", "n", "k", "x"]), ODD), max_size=8))
def test_a_refused_call_does_not_change_a_run(calls: list[tuple[str, Any]]) -> None:
    """History, iterate and settings stay as they were, and the run continues."""
    run = Run(SINE, rho=0.01, device="cpu")
    run.measure()
    for name, value in calls:
        if name == "n" and isinstance(value, int) and value > 10:
            continue  # so many steps take their time
        before = run.x.clone(), list(run.history.rows), run.settings, list(run.changes)
        function = {
            "n": lambda value=value: run.step(value),
            "k": lambda value=value: run.measure(value),
            "x": lambda value=value: run.load_state_dict(run.state_dict() | {"x": value}),
        }.get(name, lambda name=name, value=value: run.set(**{name: value}))
        if refused(function):
            assert torch.equal(run.x, before[0])
            assert (run.history.rows, run.settings, run.changes) == before[1:]
    steps, rows = run.steps, len(run.history)
    run.set(lr=0.01, rho=0.01)
    run.step(2)
    assert run.steps == steps + 2
    assert len(run.history) >= rows >= 1


@pytest.mark.parametrize("problem", [FLAT, SINE], ids=["quadratic", "network"])
@pytest.mark.parametrize(("lr", "rho"), [(0.01, 1e300), (1e300, 0.01), (1e300, 1e300), (1e-300, 1e-300)])
@pytest.mark.parametrize("rule", ["sam", "usam", "gd"])
def test_gigantic_values_stop_the_run_and_keep_its_history(problem: Problem, lr: float, rho: float, rule: str) -> None:
    run = Run(problem, rule, lr=lr, rho=rho, device="cpu")
    first = run.measure()
    message = "diverged at step; Reset"
    try:
        with no_hang():
            run.step(50)
    except Diverged as stopped:
        message = str(stopped)
    assert "diverged at step" in message
    assert "Reset" in message
    assert run.history.rows[0] == first
    assert bool(run.x.isfinite().all())
    assert math.isfinite(run.measure()["loss"])


class NotANumber(Problem):
    """A loss that is NaN everywhere, too large for its dense Hessian."""

    name, dim = "NaN", 600
    filters = torch.zeros(600, dtype=torch.int64)

    def loss(self, x: torch.Tensor, batch: torch.Tensor | None = None) -> torch.Tensor:
        return (x**2).sum(1) * NAN

    def initial(self, seed: int = 0) -> torch.Tensor:
        return torch.ones(self.dim, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 2])  # eigh is silent about NaN in one or two rows, and raises in three
@pytest.mark.parametrize("warm", [False, True])
def test_a_search_for_eigenvectors_ends_if_the_loss_is_nan(warm: bool, k: int) -> None:
    problem = NotANumber()
    start = torch.eye(600, dtype=torch.float64)[None, : k + 1] if warm else None
    with no_hang(), pytest.raises(ValueError, match="Hessian of NaN at x has NaN or infinity; pass an x"):
        top_eigenpairs(problem, problem.initial(), k, start=start)
