"""The flows that the paper compares SAM with: gradient flow to its limit Φ, and the limiting flow on Γ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from samviz.checks import check_array, check_float, check_tensor, check_type
from samviz.geometry import normal_space, third_derivative
from samviz.geometry.hessian import at_point, diagonalize
from samviz.problems import Problem, Valley
from samviz.problems.device import one_thread

TOGETHER = 1000  # unknowns that one solver is given: a gradient of many runs costs as much as one
FLAT = 1e-11  # a gradient this small, or this share of the first one, ends gradient flow
HORIZON = 1e8  # time after which gradient flow is given up
TOUCHING = 1e-3  # (λ₁ − λ₂)/λ₁ at which ∇λ₁ is no longer defined
PULL = 20.0  # how often, over the time asked for, numerical error off Γ is taken back

Kind = Literal["worst", "average"]


@dataclass(frozen=True)
class FlowLimit:
    """Where gradient flow of L ends, with its evidence."""

    x: Tensor  # (runs, dim), Φ
    grad_norm: Tensor  # (runs,), ‖∇L‖ there
    time: Tensor  # (runs,), flow time after which it, and those it was solved with, had landed
    converged: Tensor  # bool (runs,)
    evaluations: int  # gradients, over all runs


@dataclass(frozen=True)
class LimitingFlow:
    """The Riemannian gradient flow on Γ that SAM follows in phase II, with its evidence."""

    times: Tensor  # (times,), τ = ηρ²t
    x: Tensor  # (times, runs, dim), points of Γ; NaN from where the flow stopped
    grad_norm: Tensor  # (times, runs), ‖∇L‖ along it: how far it strays from Γ
    stopped: Tensor  # (runs,), τ at which λ₁ met λ₂ and ∇λ₁ ceased to exist; inf where it did not
    exact: bool  # by a closed form


def gradient_flow_limit(problem: Problem, x: Tensor, *, tol: float = 1e-10) -> FlowLimit:
    """Φ(x), the point to which gradient flow dx/dt = −∇L(x) started at x converges.

    LSODA, which controls its error and switches to a stiff method near Γ, until the gradient has vanished. Many runs
    share a solver, and its steps, at the cost of few.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), starts.
        tol: relative and absolute error tolerance of the solver.

    Returns:
        The limits; `converged` is False where the gradient has not vanished in the time given, as on a network
        that does not interpolate: it creeps on along flat directions.

    Raises:
        ValueError: when tol is not positive and below 1, or x does not fit the problem.

    Source: Section 3, Φ; Petzold (1983) for LSODA.

    >>> from samviz.problems import quadratic
    >>> gradient_flow_limit(quadratic([2.0, 0.0]), torch.tensor([1.0, 3.0])).x.round(decimals=6)
    tensor([[0., 3.]], dtype=torch.float64)
    """
    from scipy.integrate import solve_ivp

    tol = check_float("tol", tol, "a positive number below 1", lambda t: 0 < t < 1)
    problem, x = at_point(problem, x)

    def velocity(_: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
        return -_array(problem.gradient(_rows(y, x))[1])

    def jacobian(_: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
        return -_banded(np.asarray(problem.hessian(_rows(y, x)).cpu(), dtype=np.float64))

    band = problem.dim - 1  # of the Jacobian: no run feels another
    ends, times, arrived, evaluations = [], [], [], 0
    with one_thread(problem):
        first = problem.gradient(x)[1].norm(dim=1)
        flat = (FLAT if x.dtype == torch.float64 else 1e-5) * first.clamp_min(1)
        group = max(1, TOGETHER // problem.dim)
        for start, allowed in zip(x.split(group), flat.split(group)):
            level = allowed.cpu().numpy()

            def landed(time: float, y: NDArray[np.float64], level: NDArray[np.float64] = level) -> float:
                lengths = np.linalg.norm(velocity(time, y).reshape(len(level), -1), axis=1)
                return float((lengths / level).max()) - 1

            landed.terminal = True  # type: ignore[attr-defined]
            end, time, there = _array(start), 0.0, True
            if landed(0, end) > 0:
                options = {"rtol": tol, "atol": tol, "lband": band, "uband": band}
                solved = solve_ivp(velocity, (0, HORIZON), end, "LSODA", jac=jacobian, events=landed, **options)
                end, time, there = solved.y[:, -1], solved.t[-1], solved.status == 1
                evaluations += solved.nfev * len(start)
            ends.append(_rows(end, x))
            times += [time] * len(start)
            arrived += [there] * len(start)
        limit = torch.cat(ends)
        slope = problem.gradient(limit)[1].norm(dim=1)
    landed_on = slope <= 100 * flat  # the solver's interpolation leaves a little
    return FlowLimit(limit, slope, torch.tensor(times), torch.tensor(arrived).to(slope.device) & landed_on, evaluations)


def limiting_flow(problem: Problem, x0: Tensor, kind: Kind = "worst", *, times: ArrayLike | Tensor) -> LimitingFlow:
    """The flow dX/dτ = −½∂Φ(X)∇S(X) on Γ from Φ(x0), with S = λ₁ for full-batch SAM or S = Tr for 1-SAM.

    ∂Φ is the projection on the tangent space (Lemma 3.5) and ∇λ₁ = ∇³L[v₁, v₁]; closed form for the valley.

    Args:
        problem: whose loss; D up to about a thousand, the Hessian is diagonalized all along.
        x0: (dim,) or (runs, dim), starts; gradient flow takes them to Γ first.
        kind: "worst" (λ₁, Eq. 7) or "average" (trace, Eq. 18).
        times: (times,), increasing, τ = ηρ²t ≥ 0.

    Returns:
        The flow at those times.

    Raises:
        ValueError: when kind is neither, times do not increase from 0 or later, or x0 does not fit the problem.

    Source: Theorem 4.5, Eq. 7; Theorem 5.4, Eq. 18.

    >>> from samviz.problems import valley
    >>> limiting_flow(valley(), torch.tensor([1.0, 1.0, 0.0, 0.0]), times=[0.0, 0.5]).x[:, 0, 0]  # e^{−2τ}
    tensor([1.0000, 0.3679], dtype=torch.float64)
    """
    if kind not in ("worst", "average"):
        raise ValueError(f"kind is {kind!r}; expected 'worst' (Eq. 7) or 'average' (Eq. 18)")
    problem, x0 = at_point(problem, x0, name="x0")
    expected = "numbers τ ≥ 0, increasing"
    clock = np.atleast_1d(check_array("times", times, expected)).astype(np.float64)
    if clock.ndim > 1 or clock.size == 0 or clock[0] < 0 or (np.diff(clock) < 0).any():
        raise ValueError(f"times is {times!r}; expected {expected}")
    start = gradient_flow_limit(problem, x0).x
    tau = torch.as_tensor(clock, dtype=x0.dtype, device=x0.device)
    if isinstance(problem, Valley):
        floor = torch.stack([problem.limiting_flow(point, tau, kind) for point in start], 1)  # (times, runs, 2)
        path, stopped = torch.cat((floor, torch.zeros_like(floor)), 2), torch.full_like(start[:, 0], torch.inf)
    else:
        with one_thread(problem):
            solved = [_along(problem, point, kind, clock) for point in start]
        path = torch.stack([x for x, _ in solved], 1)
        stopped = torch.tensor([end for _, end in solved], dtype=x0.dtype, device=x0.device)
    slope = problem.gradient(path.nan_to_num().flatten(0, 1))[1].norm(dim=1).view(path.shape[:2])
    return LimitingFlow(tau, path, slope, stopped, isinstance(problem, Valley))


def _along(problem: Problem, start: Tensor, kind: Kind, clock: NDArray[np.float64]) -> tuple[Tensor, float]:
    """The limiting flow of one run at the times asked for, (times, dim), and when it stopped."""
    from scipy.integrate import solve_ivp

    like = start[None]
    rank = int(normal_space(problem, like).rank)
    pull = PULL / max(clock[-1], 1e-300)

    def velocity(_: float, y: NDArray[np.float64]) -> NDArray[np.float64]:
        x = _rows(y, like)
        values, normal = (part[0, :rank] for part in diagonalize(problem.hessian(x)))  # (rank,), (rank, dim)
        moving = normal[:1] if kind == "worst" else normal  # the tangent part of ∇Tr needs no more
        drift = third_derivative(problem, x, moving[None])[0].sum(0)
        tangent = drift - (drift @ normal.T) @ normal
        back = ((problem.gradient(x)[1][0] @ normal.T) / values) @ normal  # Newton's step to Γ
        return _array(-tangent / 2 - pull * back)

    def apart(_: float, y: NDArray[np.float64]) -> float:
        values = torch.linalg.eigvalsh(problem.hessian(_rows(y, like))[0]).flip(0)
        return float((values[0] - values[1]) / values[0]) - TOUCHING

    apart.terminal = True  # type: ignore[attr-defined]
    if clock[-1] == 0:
        return start.expand(len(clock), -1), np.inf
    events = apart if kind == "worst" and rank > 1 else None
    moments, place = np.unique(clock, return_inverse=True)  # the solver wants no time twice
    solved = solve_ivp(velocity, (0, clock[-1]), _array(start), t_eval=moments, events=events, rtol=1e-8, atol=1e-10)
    path = torch.full((len(moments), len(start)), torch.nan, dtype=start.dtype, device=start.device)
    path[: solved.y.shape[1]] = torch.as_tensor(solved.y.T).to(path)
    return path[place], float(solved.t_events[0][0]) if events is not None and solved.status == 1 else np.inf


def tracking_error(problem: Problem, x: Tensor, flow: LimitingFlow) -> Tensor:
    """How far the iterates' shadows on Γ are from the limiting flow, ‖Φ(x(t)) − X(ηρ²t)‖.

    Args:
        problem: whose loss.
        x: (times, runs, dim), the iterates at t = τ/(ηρ²).
        flow: from `limiting_flow`, one for each run or one for all.

    Returns:
        (times, runs); NaN where the flow had stopped.

    Raises:
        ValueError: when the shapes differ.

    Source: Theorem 4.5, phase II: O(η ln(1/ρ)).

    >>> from samviz.problems import valley
    >>> flow = limiting_flow(valley(), torch.tensor([1.0, 1.0, 0.0, 0.0]), times=[0.0, 0.5])
    >>> tracking_error(valley(), flow.x + torch.tensor([0.0, 0.1, 0.0, 0.0]), flow)
    tensor([[0.1000],
            [0.1000]], dtype=torch.float64)
    """
    check_type("problem", problem, Problem, "one from samviz.problems")
    check_type("flow", flow, LimitingFlow, "what limiting_flow gives")
    times, runs, dim = flow.x.shape
    check_tensor("x", x, (times, -1 if runs == 1 else runs, dim))
    shadow = gradient_flow_limit(problem, x.reshape(-1, x.shape[2])).x.view(x.shape)
    error: Tensor = (shadow - flow.x).norm(dim=2)
    return error


def _rows(y: NDArray[np.float64], like: Tensor) -> Tensor:
    """A solver's vector as runs, (runs, dim)."""
    return torch.as_tensor(y).to(like).view(-1, like.shape[1])


def _banded(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The block diagonal matrix of blocks (runs, dim, dim) as LSODA wants it: (2·dim − 1, runs·dim), by diagonals."""
    runs, dim, _ = blocks.shape
    row, column = np.indices((dim, dim))
    bands = np.zeros((2 * dim - 1, runs, dim))
    bands[row - column + dim - 1, :, column] = blocks.transpose(1, 2, 0)
    return bands.reshape(2 * dim - 1, -1)


def _array(x: Tensor) -> NDArray[np.float64]:
    """Runs as a solver's vector."""
    return np.asarray(x.detach().cpu(), dtype=np.float64).ravel()
