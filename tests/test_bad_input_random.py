"""Bad input at random: mixtures of good and bad values end in words or in finite numbers, and lose no history."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from bad_values import INF, NAN, REMEDY, no_hang
from hypothesis import given, settings
from hypothesis import strategies as st

from samviz.dynamics import Diverged, Run, Settings
from samviz.geometry import hessian_trace, landscape, plane_through, top_eigenpairs, worst_direction_sharpness
from samviz.lab import Slider
from samviz.problems import Problem, mlp, quadratic

FLAT = quadratic([3.0, 1.0])
SINE = mlp([1, 4, 1])
PLANE = plane_through(torch.zeros(2), *torch.eye(2))
HUGE = 10**400  # steps take as long as they take
TOLD = ["lr", "rho", "batch_size", "rule", "n", "k", "load"]
ODD = st.sampled_from([NAN, INF, -INF, None, "0.1", 1j, True, [], -1, 0, 1.5, HUGE, np.ones((2, 2))])
NUMBER = st.one_of(st.floats(1e-6, 1.0), st.sampled_from([1e300, 1e-300]), ODD)
COUNT = st.one_of(st.integers(1, 5), ODD)
FEW = settings(max_examples=60, deadline=None, derandomize=True)


def told(call: Any) -> Any:
    """The answer of a call, or None where it was refused with a remedy."""
    try:
        with no_hang():
            return call()
    except (ValueError, TypeError) as error:
        words = str(error)
    assert REMEDY.search(words), words
    return None


def finite(*numbers: Any) -> bool:
    return all(np.isfinite(np.asarray(number, dtype=float)).all() for number in numbers)


@FEW
@given(
    rule=st.sampled_from(["sam", "gd", "usam", "SAM", None]), lr=NUMBER, rho=NUMBER, size=st.one_of(st.none(), COUNT)
)
def test_settings(rule: Any, lr: Any, rho: Any, size: Any) -> None:
    made = told(lambda: Settings(rule, lr, rho, size))
    if made is not None:
        assert finite(made.lr, made.rho)


@FEW
@given(told_in_vain=st.lists(st.tuples(st.sampled_from(TOLD), ODD), max_size=8))
def test_what_a_run_is_told_in_vain_changes_nothing(told_in_vain: list[tuple[str, Any]]) -> None:
    """History, iterate and settings are as before a refused call, and the run goes on."""
    run = Run(SINE, rho=0.01, device="cpu")
    run.measure()
    for what, value in told_in_vain:
        if what == "n" and value is HUGE:
            continue
        before, rows = run.x.clone(), list(run.history.rows)
        knobs, changes = run.settings, list(run.changes)
        call = {
            "n": lambda value=value: run.step(value) or True,
            "k": lambda value=value: run.measure(value),
            "load": lambda value=value: run.load_state_dict(run.state_dict() | {"x": value}) or True,
        }.get(what, lambda what=what, value=value: run.set(**{what: value}) or True)
        if told(call) is None:
            assert torch.equal(run.x, before)
            assert run.history.rows == rows
            assert (run.settings, run.changes) == (knobs, changes)
    at, rows = run.steps, len(run.history)
    run.set(lr=0.01, rho=0.01)
    run.step(2)
    assert run.steps == at + 2
    assert len(run.history) >= rows >= 1


@pytest.mark.parametrize("problem", [FLAT, SINE], ids=["quadratic", "network"])
@pytest.mark.parametrize(("lr", "rho"), [(0.01, 1e300), (1e300, 0.01), (1e300, 1e300), (1e-300, 1e-300)])
@pytest.mark.parametrize("rule", ["sam", "usam", "gd"])
def test_gigantic_values_stop_the_run_with_its_history_kept(problem: Problem, lr: float, rho: float, rule: str) -> None:
    run = Run(problem, rule, lr=lr, rho=rho, device="cpu")
    first = run.measure()
    words = ""
    try:
        with no_hang():
            run.step(50)
    except Diverged as stopped:
        words = str(stopped)
    assert words == "" or ("diverged at step" in words and "Reset" in words)
    assert run.history.rows[0] == first
    assert bool(run.x.isfinite().all())
    assert math.isfinite(run.measure()["loss"])


@FEW
@given(radius=NUMBER, resolution=COUNT, center=st.one_of(st.tuples(NUMBER, NUMBER), ODD))
def test_landscapes(radius: Any, resolution: Any, center: Any) -> None:
    seen = told(lambda: landscape(FLAT, PLANE, radius=radius, resolution=resolution, center=center))
    if seen is not None and max(radius, *map(abs, center)) < 1e100:
        assert finite(seen.loss, seen.axis1, seen.axis2)


@FEW
@given(k=COUNT, tol=st.one_of(st.none(), NUMBER), seed=COUNT)
def test_eigenpairs(k: Any, tol: Any, seed: Any) -> None:
    pairs = told(lambda: top_eigenpairs(SINE, SINE.initial(), k, tol=tol, seed=seed))
    if pairs is not None:
        assert finite(pairs.values, pairs.vectors, pairs.residuals)


@FEW
@given(products=st.one_of(st.none(), st.integers(6, 9), ODD), seed=COUNT)
def test_traces(products: Any, seed: Any) -> None:
    trace = told(lambda: hessian_trace(SINE, SINE.initial(), products=products, seed=seed))
    if trace is not None:
        assert finite(trace.value, trace.standard_error)


@settings(FEW, max_examples=25)
@given(rho=st.one_of(st.floats(1e-3, 1.0), ODD), stochastic=st.sampled_from([False, True, None, "yes"]))
def test_sharpness(rho: Any, stochastic: Any) -> None:
    found = told(lambda: worst_direction_sharpness(SINE, SINE.initial(), rho, stochastic))
    if found is not None:
        assert finite(found.value, found.bound)


@FEW
@given(value=NUMBER, low=st.one_of(st.none(), NUMBER), high=st.one_of(st.none(), NUMBER))
def test_sliders(value: Any, low: Any, high: Any) -> None:
    slider = told(lambda: Slider("ρ", 0.1, [0.0, 0.1, 1.0], low, high))
    taken = None if slider is None else told(lambda: slider.take("rho", value))
    if taken is not None:
        assert slider.low <= taken <= slider.high


class NowhereSmooth(Problem):
    """A loss that is NaN everywhere, too large for its dense Hessian."""

    name, dim = "NaN", 600
    filters = torch.zeros(600, dtype=torch.int64)

    def loss(self, x: torch.Tensor, batch: torch.Tensor | None = None) -> torch.Tensor:
        return (x**2).sum(1) * NAN

    def initial(self, seed: int = 0) -> torch.Tensor:
        return torch.ones(self.dim, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 2])  # eigh is silent about NaN in one or two rows, and raises in three
@pytest.mark.parametrize("warm", [False, True])
def test_a_loss_that_is_nan_hangs_no_search_for_eigenvectors(warm: bool, k: int) -> None:
    problem = NowhereSmooth()
    start = torch.eye(600, dtype=torch.float64)[None, : k + 1] if warm else None
    with no_hang(), pytest.raises(ValueError, match="Hessian of NaN at x has NaN or infinity; pass an x"):
        top_eigenpairs(problem, problem.initial(), k, start=start)
