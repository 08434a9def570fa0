"""What the theory predicts: gradient flow's limit Φ, the limiting flow on Γ, stability, and where phase II begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from samviz.checks import check_array, check_float, check_tensor, check_type
from samviz.dynamics.history import History
from samviz.geometry import normal_space, third_derivative
from samviz.geometry.hessian import at_point, diagonalize
from samviz.problems import Problem, Valley
from samviz.problems.problem import Array, on_host, one_thread

GROUP_SIZE = 1000  # unknowns in one solver: the gradient of many runs costs as much as that of one
FLAT = 1e-11  # a gradient of this length, or of this share of the initial length, ends gradient flow
HORIZON = 1e8  # time after which gradient flow stops without convergence
MIN_GAP = 1e-3  # (λ₁ − λ₂)/λ₁ below which ∇λ₁ is not defined
RESTORING_RATE = 20.0  # rate, times the requested time, at which numerical errors off Γ decay
PHASE_II = 2.0  # phase II begins where the gradient is at most so many times as long as on the 2-cycle

Kind = Literal["worst", "average"]
Fits = Callable[[Array], NDArray[np.bool_]]


@dataclass(frozen=True)
class FlowLimit:
    """The limit of gradient flow of L, with its evidence."""

    x: Tensor  # (runs, dim), Φ
    grad_norm: Tensor  # (runs,), ‖∇L‖ there
    time: Tensor  # (runs,), flow time after which all runs that share its solver had converged
    converged: Tensor  # bool (runs,)
    evaluations: int  # gradients, over all runs


@dataclass(frozen=True)
class LimitingFlow:
    """The Riemannian gradient flow on Γ that SAM follows in phase II, with its evidence."""

    times: Tensor  # (times,), τ = ηρ²t
    x: Tensor  # (times, runs, dim), points of Γ; NaN after the flow has stopped
    grad_norm: Tensor  # (times, runs), ‖∇L‖ along the flow: how far the solution is from Γ
    stopped: Tensor  # (runs,), τ at which λ₁ = λ₂, where ∇λ₁ does not exist; inf if this does not happen
    exact: bool  # by a closed form


def gradient_flow_limit(problem: Problem, x: Tensor, *, tol: float = 1e-10) -> FlowLimit:
    """Return Φ(x), the point to which gradient flow dx/dt = −∇L(x) started at x converges.

    LSODA controls its error and switches to a stiff method near Γ. It runs until the gradient has vanished. Many runs
    share a solver and its steps, which cost as much as those of a few runs.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), starts.
        tol: relative and absolute error tolerance of the solver.

    Returns:
        The limits; `converged` is False where the gradient has not vanished, as on a network that does not interpolate,
        where the flow continues slowly along flat directions.

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

    def velocity(_: float, y: Array) -> Array:
        return -_flat(problem.gradient(_runs(y, x))[1])

    band = problem.dim - 1  # of the Jacobian, which is block diagonal: runs do not interact
    row, column = np.indices((problem.dim, problem.dim))

    def jacobian(_: float, y: Array) -> Array:
        blocks = on_host(problem.hessian(_runs(y, x)))
        bands = np.zeros((2 * band + 1, *blocks.shape[:2]))
        bands[row - column + band, :, column] = -blocks.transpose(1, 2, 0)
        return bands.reshape(2 * band + 1, -1)

    options = {"rtol": tol, "atol": tol, "lband": band, "uband": band}
    limits, times, ended, evaluations = [], [], [], 0
    with one_thread(problem):
        first = problem.gradient(x)[1].norm(dim=1)
        threshold = (FLAT if x.dtype == torch.float64 else 1e-5) * first.clamp_min(1)
        group = max(1, GROUP_SIZE // problem.dim)
        for start, allowed in zip(x.split(group), threshold.split(group)):
            level = allowed.cpu().numpy()

            def above(time: float, y: Array, level: Array = level) -> float:  # of the threshold
                lengths = np.linalg.norm(velocity(time, y).reshape(len(level), -1), axis=1)
                return float((lengths / level).max()) - 1

            above.terminal = True  # type: ignore[attr-defined]
            y, time, converged = _flat(start), 0.0, True
            if above(0, y) > 0:
                solved = solve_ivp(velocity, (0, HORIZON), y, "LSODA", jac=jacobian, events=above, **options)
                y, time, converged = solved.y[:, -1], solved.t[-1], solved.status == 1
                evaluations += solved.nfev * len(start)
            limits.append(_runs(y, x))
            times += [time] * len(start)
            ended += [converged] * len(start)
        limit = torch.cat(limits)
        length = problem.gradient(limit)[1].norm(dim=1)
    flat = length <= 100 * threshold  # the solver interpolates between its steps
    return FlowLimit(limit, length, torch.tensor(times), torch.tensor(ended).to(flat.device) & flat, evaluations)


def limiting_flow(problem: Problem, x0: Tensor, kind: Kind = "worst", *, times: ArrayLike | Tensor) -> LimitingFlow:
    """Return the flow dX/dτ = −½∂Φ(X)∇S(X) on Γ from Φ(x0), with S = λ₁ for full-batch SAM or S = Tr for 1-SAM.

    ∂Φ is the projection on the tangent space (Lemma 3.5) and ∇λ₁ = ∇³L[v₁, v₁]; closed form for the valley.

    Args:
        problem: whose loss; D up to about a thousand, since the Hessian is diagonalized in every step.
        x0: (dim,) or (runs, dim), starts of the gradient flow to Γ.
        kind: "worst" (λ₁, Eq. 7) or "average" (trace, Eq. 18).
        times: (times,), increasing, τ = ηρ²t ≥ 0.

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
    clock = np.atleast_1d(check_array("times", times, expected := "numbers τ ≥ 0, increasing")).astype(np.float64)
    if clock.ndim > 1 or clock.size == 0 or clock[0] < 0 or (np.diff(clock) < 0).any():
        raise ValueError(f"times is {times!r}; expected {expected}")
    start = gradient_flow_limit(problem, x0).x
    tau = torch.as_tensor(clock, dtype=x0.dtype, device=x0.device)
    if isinstance(problem, Valley):
        floor = torch.stack([problem.limiting_flow(point, tau, kind) for point in start], 1)  # (times, runs, 2)
        path, stopped = torch.cat((floor, torch.zeros_like(floor)), 2), torch.full_like(start[:, 0], torch.inf)
    else:
        with one_thread(problem):
            solved = [_solve_limiting_flow(problem, point, kind, clock) for point in start]
        path = torch.stack([x for x, _ in solved], 1)
        stopped = torch.tensor([end for _, end in solved], dtype=x0.dtype, device=x0.device)
    length = problem.gradient(path.nan_to_num().flatten(0, 1))[1].norm(dim=1).view(path.shape[:2])
    return LimitingFlow(tau, path, length, stopped, isinstance(problem, Valley))


def _solve_limiting_flow(problem: Problem, start: Tensor, kind: Kind, clock: Array) -> tuple[Tensor, float]:
    """Return the limiting flow of one run at given times, (times, dim), and the time at which it stopped."""
    from scipy.integrate import solve_ivp

    if clock[-1] == 0:
        return start.expand(len(clock), -1), np.inf
    like = start[None]
    rank = int(normal_space(problem, like).rank)
    rate = RESTORING_RATE / clock[-1]

    def velocity(_: float, y: Array) -> Array:
        x = _runs(y, like)
        values, normal = (part[0, :rank] for part in diagonalize(problem, x)[1:])  # (rank,), (rank, dim)
        vectors = normal[:1] if kind == "worst" else normal  # the other terms of ∇Tr are normal to Γ
        drift = third_derivative(problem, x, vectors[None])[0].sum(0)
        tangent = drift - (drift @ normal.T) @ normal
        newton = ((problem.gradient(x)[1][0] @ normal.T) / values) @ normal  # minus the step to Γ
        return _flat(-tangent / 2 - rate * newton)

    def gap(_: float, y: Array) -> float:
        values = torch.linalg.eigvalsh(problem.hessian(_runs(y, like))[0]).flip(0)
        return float((values[0] - values[1]) / values[0]) - MIN_GAP

    gap.terminal = True  # type: ignore[attr-defined]
    events = gap if kind == "worst" and rank > 1 else None
    moments, index = np.unique(clock, return_inverse=True)  # the solver accepts no time twice
    solved = solve_ivp(velocity, (0, clock[-1]), _flat(start), t_eval=moments, events=events, rtol=1e-8, atol=1e-10)
    path = torch.full((len(moments), len(start)), torch.nan, dtype=start.dtype, device=start.device)
    path[: solved.y.shape[1]] = torch.as_tensor(solved.y.T).to(path)
    return path[index], float(solved.t_events[0][0]) if events is not None and solved.status == 1 else np.inf


def tracking_error(problem: Problem, x: Tensor, flow: LimitingFlow) -> Tensor:
    """Return the distance of the iterates' limit points from the limiting flow, ‖Φ(x(t)) − X(ηρ²t)‖.

    Args:
        problem: whose loss.
        x: (times, runs, dim), the iterates at t = τ/(ηρ²).
        flow: from `limiting_flow`, one for each run or one for all.

    Returns:
        (times, runs); NaN after the flow has stopped.

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
    limit_point = gradient_flow_limit(problem, x.flatten(0, 1)).x.view(x.shape)
    error: Tensor = (limit_point - flow.x).norm(dim=2)
    return error


def _runs(y: Array, like: Tensor) -> Tensor:
    """Return a solver's vector as runs, (runs, dim)."""
    return torch.as_tensor(y).to(like).view(-1, like.shape[1])


def _flat(x: Tensor) -> Array:
    """Return runs as a solver's vector."""
    return on_host(x).ravel()


def edge_of_stability(lr: ArrayLike, rho: ArrayLike, grad_norm: ArrayLike) -> Array:
    """Return the largest λ₁ at which SAM is stable; 2/η for gradient descent.

    On SAM's 2-cycle (Theorem 4.8) the length of the gradient makes this edge equal to λ₁: there it predicts nothing.

    Args:
        lr: learning rate η > 0; any shape, broadcast with the others.
        rho: perturbation radius ρ ≥ 0.
        grad_norm: ‖∇L‖ ≥ 0, or NaN where it is unknown.

    Returns:
        ‖∇L‖/(2ρ)·(√(1 + 8ρ/(η‖∇L‖)) − 1), in a form that is also valid for ρ = 0.

    Raises:
        ValueError: when a number is out of range.
        TypeError: when an argument does not consist of real numbers.

    Source: Long & Bartlett, Sharpness-aware minimization and the edge of stability (2024); Cohen et al. (2021) for
    ρ = 0. Agarwala & Dauphin (2023) derive an edge in a simplified model.

    >>> edge_of_stability(0.1, 0.0, 1.0)
    array(20.)
    """
    eta = _in_range("lr", lr, "learning rates above 0", lambda values: values > 0)
    radius = _in_range("rho", rho, "radii of 0 or more", lambda values: values >= 0)
    length = _in_range("grad_norm", grad_norm, "lengths of 0 or more", lambda values: ~(values < 0), finite=False)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(radius == 0, 0.0, radius / length)
        return np.asarray(4 / eta / (np.sqrt(1 + 8 * ratio / eta) + 1))


def _in_range(name: str, value: ArrayLike, expected: str, fits: Fits, finite: bool = True) -> Array:
    """Return the numbers as floats if all of them fit."""
    values = check_array(name, value, expected, finite=finite).astype(float)
    if not fits(values).all():
        raise ValueError(f"{name} is {value!r:.200}; expected {expected}")
    return values


def phase_boundary(history: History) -> Array:
    """Return the step at which phase II begins: from there on ‖∇L‖ stays within twice its length on SAM's 2-cycle.

    Args:
        history: of a run of SAM; the answer is as precise as the interval between measurements.

    Returns:
        The first such measured step, shape () or (runs,); NaN where the last row is still in phase I.

    Raises:
        ValueError: when the history lacks a column, or has no rows.

    Source: Theorem 4.5, phase I ends O(ηρ) from Γ; Theorem 4.8, on the 2-cycle ‖∇L‖ = ηρλ₁²/(2 − ηλ₁).

    >>> from samviz.dynamics import Run
    >>> from samviz.problems import quadratic
    >>> run = Run(quadratic([3.0, 1.0]), lr=0.1, rho=0.05, x0=[1.0, 1.0], device="cpu")
    >>> for _ in range(100):
    ...     _ = run.measure()
    ...     run.step()
    >>> phase_boundary(run.history)
    array(23.)
    """
    check_type("history", history, History, "the history of a run")
    if missing := {"step", "grad_norm", "lr", "rho", "eigenvalues"} - set(history.columns):
        raise ValueError(f"history has no {', '.join(sorted(missing))}; measure the run first")
    rows = len(history)
    length, lr, rho = (history[name].reshape(rows, -1) for name in ("grad_norm", "lr", "rho"))  # (rows, runs or 1)
    top = history["eigenvalues"].reshape(*length.shape, -1)[..., 0]
    cycle = np.where(lr * top < 2, lr * rho * top**2 / np.maximum(2 - lr * top, 1e-12), 0)
    outside = ~(length <= PHASE_II * cycle)
    first = np.where(outside.any(0), rows - outside[::-1].argmax(0), 0)  # the row after the last one outside
    boundary = np.append(history["step"].astype(float), np.nan)[first]
    return np.asarray(boundary if history["grad_norm"].ndim > 1 else boundary[0])
