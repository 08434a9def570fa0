"""The exercises: their code, and their texts from `exercises.json`, which has the same names.

A text with a "model" answer is an exercise that asks for a sentence; it has no code.
"""

# ruff: noqa: D103 (the texts say what each solution computes)

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TEXTS = json.loads((Path(__file__).parent / "exercises.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Exercise:
    """A task with its solution, the arguments to try answers with, and the mistakes that are recognized."""

    call: str  # how the answer is called and what it returns
    hint: str
    takeaway: str  # shown with a right answer
    solution: Callable[..., Any]
    trials: Sequence[tuple[Any, ...]]  # the arguments of each call
    mistakes: Mapping[str, Callable[..., Any]]  # a remark on each mistake, with a function that makes it


EXERCISES: dict[str, Exercise] = {}
SENTENCES: dict[str, dict[str, str]] = {name: text for name, text in TEXTS.items() if "model" in text}
MATRIX = np.array([[3.0, 1.0], [1.0, 2.0]])
HESSIAN = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 1.0]])
GRADIENTS = np.array([1.0, -0.5, 2.0]), np.array([-0.2, 0.7, 0.4])
SLOPES = np.array([[1.0, 2.0, 0.0, -1.0], [0.5, -1.0, 3.0, 0.0]])
POINTS = np.array([1.0, -0.5]), np.array([-0.2, 0.7])


def _exercise(trials: Sequence[tuple[Any, ...]], **mistakes: Any) -> Callable[[Any], Any]:
    """Decorate the solution of an exercise, which has the name of that function."""

    def add(solution: Any) -> Any:
        text = TEXTS[solution.__name__]
        remarks = {text["mistakes"][key]: mistake for key, mistake in mistakes.items()}
        exercise = Exercise(text["call"], text["hint"], text["takeaway"], solution, trials, remarks)
        EXERCISES[solution.__name__] = exercise
        return solution

    return add


def _loss(x: Any) -> Any:
    return x @ MATRIX @ x / 2 + x[0] ** 4 / 4


def _gradient(x: Any) -> Any:
    return MATRIX @ x + np.array([x[0] ** 3, 0.0])


def _hessian(x: Any) -> Any:
    return MATRIX + np.diag([3 * x[0] ** 2, 0.0])


def _unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


@_exercise(
    [(SLOPES.T @ SLOPES,), (np.diag([3.0, 1.0, 0.0]),)],
    all_directions=lambda hessian: np.trace(hessian) / (2 * len(hessian)),
    no_half=lambda hessian: np.trace(hessian) / np.linalg.matrix_rank(hessian),
    worst=lambda hessian: np.linalg.eigvalsh(hessian)[-1] / 2,
)
def curved_average(hessian: Any) -> Any:
    return np.trace(hessian) / (2 * np.linalg.matrix_rank(hessian))


@_exercise(
    [(HESSIAN, np.array([1.0, 2.0, -1.0])), (MATRIX, np.array([0.0, 1.0]))],
    offset_itself=lambda hessian, d: _unit(d) @ hessian @ _unit(d) / 2,
    no_half=lambda hessian, d: _unit(hessian @ d) @ hessian @ _unit(hessian @ d),
    infimum=lambda hessian, d: np.linalg.eigvalsh(hessian)[0] / 2,
    not_normalized=lambda hessian, d: d @ hessian @ hessian @ hessian @ d / 2,
)
def ascent_limit(hessian: Any, d: Any) -> Any:
    u = hessian @ d / np.linalg.norm(hessian @ d)
    return u @ hessian @ u / 2


@_exercise(
    [(_gradient, x, lr, rho) for x, lr, rho in zip(POINTS, (0.1, 0.3), (0.1, 0.5))],
    not_normalized=lambda gradient, x, lr, rho: x - lr * gradient(x + rho * gradient(x)),
    gradient_descent=lambda gradient, x, lr, rho: x - lr * gradient(x),
    wrong_start=lambda gradient, x, lr, rho: x + rho * _unit(gradient(x)) - lr * gradient(x + rho * _unit(gradient(x))),
    perturbed_downhill=lambda gradient, x, lr, rho: x - lr * gradient(x - rho * _unit(gradient(x))),
    step_uphill=lambda gradient, x, lr, rho: x + lr * gradient(x + rho * _unit(gradient(x))),
)
def sam_step(gradient: Any, x: Any, lr: float, rho: float) -> Any:
    g = gradient(x)
    return x - lr * gradient(x + rho * g / np.linalg.norm(g))


@_exercise(
    [(0.1, 0.05, 3.0), (0.2, 0.3, 2.0)],
    twice=lambda lr, rho, top: 2 * lr * rho * top / (2 - lr * top),
    gradient=lambda lr, rho, top: lr * rho * top**2 / (2 - lr * top),
    small_lr=lambda lr, rho, top: lr * rho * top / 2,
    sign=lambda lr, rho, top: -lr * rho * top / (2 - lr * top),
)
def amplitude(lr: float, rho: float, top: float) -> float:
    return lr * rho * top / (2 - lr * top)


@_exercise(
    [(20.0, 5, 673), (3.0, 2, 10)],
    no_half=lambda top, rank, dim: (top / dim, rank * top / dim),
    all_positive=lambda top, rank, dim: (top / (2 * dim), top / 2),
    curved_only=lambda top, rank, dim: (top / (2 * rank), top / 2),
)
def average_bounds(top: float, rank: int, dim: int) -> Any:
    return top / (2 * dim), rank * top / (2 * dim)


@_exercise(
    [(gradient, HESSIAN) for gradient in GRADIENTS],
    smallest=lambda gradient, hessian: abs(_unit(gradient) @ np.linalg.eigh(hessian)[1][:, 0]),
    row=lambda gradient, hessian: abs(_unit(gradient) @ np.linalg.eigh(hessian)[1][-1]),
    not_normalized=lambda gradient, hessian: abs(gradient @ np.linalg.eigh(hessian)[1][:, -1]),
    sign=lambda gradient, hessian: _unit(gradient) @ np.linalg.eigh(hessian)[1][:, -1],
)
def alignment(gradient: Any, hessian: Any) -> Any:
    top = np.linalg.eigh(hessian)[1][:, -1]
    return abs(gradient @ top) / np.linalg.norm(gradient)


def _factor(lr: float, top: float, second: float, power: int = 2) -> float:
    """Return the factor of the component along v₂ in a step near SAM's 2-cycle along v₁."""
    return float(1 - lr * second - (second / top) ** power * (2 - lr * top))


@_exercise(
    [(0.1, 3.0, 2.85), (0.2, 2.0, 1.5)],
    gradient_descent=lambda lr, top, second: -np.log(1000) / np.log(1 - lr * second),
    ratio=lambda lr, top, second: -np.log(1000) / np.log(abs(_factor(lr, top, second, 1))),
    negative=lambda lr, top, second: np.log(1000) / np.log(abs(_factor(lr, top, second))),
    tenth=lambda lr, top, second: -np.log(10) / np.log(abs(_factor(lr, top, second))),
)
def steps_to_align(lr: float, top: float, second: float) -> float:
    factor = 1 - lr * second - (second / top) ** 2 * (2 - lr * top)
    return float(-np.log(1000) / np.log(abs(factor)))


@_exercise(
    [(_gradient, _hessian, x, rho) for x, rho in zip(POINTS, (0.1, 0.5))],
    sam=lambda gradient, hessian, x, rho: gradient(x + rho * _unit(gradient(x))),
)
def ascent_gradient(gradient: Any, hessian: Any, x: Any, rho: float) -> Any:
    g = gradient(x)
    u = g / np.linalg.norm(g)
    perturbed_gradient = gradient(x + rho * u)
    tangential = perturbed_gradient - u * (u @ perturbed_gradient)
    return perturbed_gradient + rho / np.linalg.norm(g) * hessian(x) @ tangential


@_exercise(
    [(3.0, 0.75), (2.0, 1.5)],
    not_divided=lambda top, second: EXERCISES["largest_rate"].solution(1.0, second / top),
    sam=lambda top, second: 2 / top,
    small_rate=lambda top, second: 2 * (1 - second / top) / top,
)
def largest_rate(top: float, second: float) -> float:
    r = second / top
    b = r * (3 - 2 * r)
    return float((np.sqrt(b**2 + 4 * r * (1 - r) ** 3) - b) / (1 - r) ** 2 / top)


@_exercise(
    [*zip(POINTS, (0.3, 0.1))],
    no_half=lambda x0, tau: x0 * np.exp(np.multiply([-4.0, -24.0], tau)),
    uphill=lambda x0, tau: x0 * np.exp(np.multiply([2.0, 12.0], tau)),
    no_factor_2=lambda x0, tau: x0 * np.exp(np.multiply([-1.0, -6.0], tau)),
)
def flow(x0: Any, tau: float) -> Any:
    return np.array([x0[0] * np.exp(-2 * tau), x0[1] * np.exp(-12 * tau)])


@_exercise(
    [(0.5, 0.02, 0.2), (1.0, 0.1, 0.05)],
    first_order=lambda tau, lr, rho: tau / (lr * rho),
    inverse=lambda tau, lr, rho: tau * lr * rho**2,
    square_of_lr=lambda tau, lr, rho: tau / (lr * rho) ** 2,
)
def steps(tau: float, lr: float, rho: float) -> float:
    return tau / (lr * rho**2)


@_exercise(
    [(0.6, 0.4, 0.01, 0.1), (0.2, 0.5, 0.02, 0.3)],
    no_half=lambda x1, x2, lr, rho: lr * rho**2 * ((4 * x1) ** 2 + (24 * x2) ** 2),
    no_square=lambda x1, x2, lr, rho: lr * rho**2 * np.hypot(4 * x1, 24 * x2) / 2,
    no_factor_2=lambda x1, x2, lr, rho: lr * rho**2 * ((2 * x1) ** 2 + (12 * x2) ** 2) / 2,
)
def decrease(x1: float, x2: float, lr: float, rho: float) -> float:
    return lr * rho**2 * ((4 * x1) ** 2 + (24 * x2) ** 2) / 2


@_exercise(
    [(np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]]),), (np.array([[2.0, 1.0]]),)],
    sum=lambda slopes: (slopes**2).sum(),
    lengths=lambda slopes: np.linalg.norm(slopes, axis=1).mean(),
    mean_over_parameters=lambda slopes: (slopes**2).mean(),
    mean_first=lambda slopes: (slopes.mean(0) ** 2).sum(),
)
def trace(slopes: Any) -> Any:
    return (slopes**2).sum() / len(slopes)


@_exercise(
    [(2, 1), (1, 3)],
    swapped=lambda a, b: (4 * a / (b + 4 * a), a / (6 * b + a)),
    without_copies=lambda a, b: (0.8, 1 / 7),
    all_samples=lambda a, b: (0.0, 0.0),
)
def copies(a: float, b: float) -> Any:
    return 4 * b / (a + 4 * b), b / (6 * a + b)


@_exercise(
    [(1000, 0.1, 0.02, 0.05, 0.1), (200, 0.05, 0.2, 0.01, 0.1)],
    same_steps=lambda t, lr, rho, new_lr, new_rho: t,
    first_order=lambda t, lr, rho, new_lr, new_rho: t * lr * rho / (new_lr * new_rho),
    inverse=lambda t, lr, rho, new_lr, new_rho: t * new_lr * new_rho**2 / (lr * rho**2),
    only_rate=lambda t, lr, rho, new_lr, new_rho: t * lr / new_lr,
)
def fair_steps(t: int, lr: float, rho: float, new_lr: float, new_rho: float) -> float:
    return t * lr * rho**2 / (new_lr * new_rho**2)


@_exercise(
    [(MATRIX, 2.0), (MATRIX, 5.0)],
    inverse=lambda hessian, alpha: hessian * np.outer([alpha, 1 / alpha], [alpha, 1 / alpha]),
    single_factor=lambda hessian, alpha: hessian / np.array([[alpha, 1.0], [1.0, 1 / alpha]]),
    mixed_derivative=lambda hessian, alpha: hessian * np.diag([alpha**-2, alpha**2]),
)
def rescaled_hessian(hessian: Any, alpha: float) -> Any:
    return hessian / np.outer([alpha, 1 / alpha], [alpha, 1 / alpha])


@_exercise(
    [(2.0,), (0.5,), (-3.0,)],
    largest_entry=lambda a: np.maximum(a**2, 1 / a**2),
    square_root=lambda a: np.sqrt(a**2 + 1 / a**2),
    one_weight=lambda a: 2 * a**2,
)
def product_sharpness(a: float) -> float:
    return a**2 + 1 / a**2


@_exercise(
    [(0.01,), (0.1,), (0.2,)],
    probability=lambda fraction: (1 + np.sqrt(1 - fraction)) / 2,
    other_side=lambda fraction: -2 * np.arctanh(np.sqrt(1 - fraction)),
    not_relative=lambda fraction: 2 * np.arctanh(np.sqrt(1 - 4 * fraction)),
)
def certain_weight(fraction: float) -> Any:
    return 2 * np.arctanh(np.sqrt(1 - fraction))


@_exercise(
    [(0.1, 0.05, 3.0, 0.9), (0.2, 0.3, 2.0, 0.5)],
    without_momentum=lambda lr, rho, top, beta: lr * rho * top / (2 - lr * top),
    one_displacement=lambda lr, rho, top, beta: lr * rho * top / (2 + beta - lr * top),
    same_direction=lambda lr, rho, top, beta: lr * rho * top / (2 - 2 * beta - lr * top),
)
def momentum_cycle(lr: float, rho: float, top: float, beta: float) -> float:
    return lr * rho * top / (2 + 2 * beta - lr * top)


@_exercise(
    [(2.0, 0.1, 0.05), (5.0, 0.01, 0.2)],
    rho_unchanged=lambda scale, lr, rho: (scale**2 * lr, rho),
    linear_rate=lambda scale, lr, rho: (scale * lr, scale * rho),
    rate_unchanged=lambda scale, lr, rho: (lr, scale * rho),
    inverse=lambda scale, lr, rho: (lr / scale**2, rho / scale),
)
def rescaled_settings(scale: float, lr: float, rho: float) -> Any:
    return scale**2 * lr, scale * rho
