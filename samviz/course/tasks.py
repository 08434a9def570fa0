"""The code of the exercises, named as in exercises.json: solutions, arguments to try answers with, common mistakes."""

# ruff: noqa: D103 (the texts of exercises.json say what each solution computes)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Task(NamedTuple):
    """The code of one exercise."""

    solution: Any  # a function, or the value itself
    trials: Sequence[tuple[Any, ...]]  # the arguments of each call
    mistakes: Mapping[str, Any]  # a function or a value for each common mistake


MATRIX = np.array([[3.0, 1.0], [1.0, 2.0]])
POINTS = np.array([1.0, -0.5]), np.array([-0.2, 0.7])
GRADIENTS = np.array([1.0, -0.5, 2.0]), np.array([-0.2, 0.7, 0.4])
HESSIAN = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 1.0]])


def _loss(x: Any) -> Any:
    return x @ MATRIX @ x / 2 + x[0] ** 4 / 4


def _gradient(x: Any) -> Any:
    return MATRIX @ x + np.array([x[0] ** 3, 0.0])


def _hessian(x: Any) -> Any:
    return MATRIX + np.diag([3 * x[0] ** 2, 0.0])


def _unit(vector: Any) -> Any:
    return vector / np.linalg.norm(vector)


# The solutions, as the answer key shows them.


def ascent_sharpness(loss: Any, gradient: Any, x: Any, rho: float) -> Any:
    g = gradient(x)
    return loss(x + rho * g / np.linalg.norm(g)) - loss(x)


def sam_step(gradient: Any, x: Any, lr: float, rho: float) -> Any:
    g = gradient(x)
    return x - lr * gradient(x + rho * g / np.linalg.norm(g))


def amplitude(lr: float, rho: float, top: float) -> float:
    return lr * rho * top / (2 - lr * top)


def alignment(gradient: Any, hessian: Any) -> Any:
    top = np.linalg.eigh(hessian)[1][:, -1]
    return abs(gradient @ top) / np.linalg.norm(gradient)


def ascent_gradient(gradient: Any, hessian: Any, x: Any, rho: float) -> Any:
    g = gradient(x)
    u = g / np.linalg.norm(g)
    perturbed_gradient = gradient(x + rho * u)
    tangential = perturbed_gradient - u * (u @ perturbed_gradient)
    return perturbed_gradient + rho / np.linalg.norm(g) * hessian(x) @ tangential


def flow(x0: Any, tau: float) -> Any:
    return np.array([x0[0] * np.exp(-2 * tau), x0[1] * np.exp(-12 * tau)])


def steps(tau: float, lr: float, rho: float) -> float:
    return tau / (lr * rho**2)


def trace(slopes: Any) -> Any:
    return (slopes**2).sum() / len(slopes)


def rescaled_hessian(hessian: Any, alpha: float) -> Any:
    return hessian / np.outer([alpha, 1 / alpha], [alpha, 1 / alpha])


TASKS = {
    "ascent_sharpness": Task(
        ascent_sharpness,
        [(_loss, _gradient, x, rho) for x, rho in zip(POINTS, (0.1, 0.5))],
        {
            "not normalized": lambda loss, gradient, x, rho: loss(x + rho * gradient(x)) - loss(x),
            "loss itself": lambda loss, gradient, x, rho: loss(x + rho * _unit(gradient(x))),
            "downhill": lambda loss, gradient, x, rho: loss(x - rho * _unit(gradient(x))) - loss(x),
        },
    ),
    "sam_step": Task(
        sam_step,
        [(_gradient, x, lr, rho) for x, lr, rho in zip(POINTS, (0.1, 0.3), (0.1, 0.5))],
        {
            "not normalized": lambda gradient, x, lr, rho: x - lr * gradient(x + rho * gradient(x)),
            "gradient descent": lambda gradient, x, lr, rho: x - lr * gradient(x),
            "wrong start": lambda gradient, x, lr, rho: sam_step(gradient, x, lr, rho) + rho * _unit(gradient(x)),
            "perturbed downhill": lambda gradient, x, lr, rho: sam_step(gradient, x, lr, -rho),
            "step uphill": lambda gradient, x, lr, rho: sam_step(gradient, x, -lr, rho),
        },
    ),
    "amplitude": Task(
        amplitude,
        [(0.1, 0.05, 3.0), (0.2, 0.3, 2.0)],
        {
            "twice": lambda lr, rho, top: 2 * lr * rho * top / (2 - lr * top),
            "gradient": lambda lr, rho, top: lr * rho * top**2 / (2 - lr * top),
            "small lr": lambda lr, rho, top: lr * rho * top / 2,
            "sign": lambda lr, rho, top: -lr * rho * top / (2 - lr * top),
        },
    ),
    "alignment": Task(
        alignment,
        [(gradient, HESSIAN) for gradient in GRADIENTS],
        {
            "smallest": lambda gradient, hessian: abs(_unit(gradient) @ np.linalg.eigh(hessian)[1][:, 0]),
            "row": lambda gradient, hessian: abs(_unit(gradient) @ np.linalg.eigh(hessian)[1][-1]),
            "not normalized": lambda gradient, hessian: abs(gradient @ np.linalg.eigh(hessian)[1][:, -1]),
            "sign": lambda gradient, hessian: _unit(gradient) @ np.linalg.eigh(hessian)[1][:, -1],
        },
    ),
    "ascent_gradient": Task(
        ascent_gradient,
        [(_gradient, _hessian, x, rho) for x, rho in zip(POINTS, (0.1, 0.5))],
        {"SAM": lambda gradient, hessian, x, rho: gradient(x + rho * _unit(gradient(x)))},
    ),
    "least_trace": Task((0.8, 1 / 7), [()], {"least λ₁": (0.0, 0.0), "least λ_M": (1.0, 1.0), "rounded": (0.8, 0.14)}),
    "flow": Task(
        flow,
        list(zip(POINTS, (0.3, 0.1))),
        {
            "no half": lambda x0, tau: flow(x0, 2 * tau),
            "uphill": lambda x0, tau: flow(x0, -tau),
            "no factor 2": lambda x0, tau: flow(x0, tau / 2),
        },
    ),
    "steps": Task(
        steps,
        [(0.5, 0.02, 0.2), (1.0, 0.1, 0.05)],
        {
            "first order": lambda tau, lr, rho: tau / (lr * rho),
            "inverse": lambda tau, lr, rho: tau * lr * rho**2,
            "square of lr": lambda tau, lr, rho: tau / (lr * rho) ** 2,
        },
    ),
    "trace": Task(
        trace,
        [(np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]]),), (np.array([[2.0, 1.0]]),)],
        {
            "sum": lambda slopes: (slopes**2).sum(),
            "lengths": lambda slopes: np.linalg.norm(slopes, axis=1).mean(),
            "mean over parameters": lambda slopes: (slopes**2).mean(),
            "mean first": lambda slopes: (slopes.mean(0) ** 2).sum(),
        },
    ),
    "rescaled_hessian": Task(
        rescaled_hessian,
        [(MATRIX, 2.0), (MATRIX, 5.0)],
        {
            "inverse": lambda hessian, alpha: hessian * np.outer([alpha, 1 / alpha], [alpha, 1 / alpha]),
            "single factor": lambda hessian, alpha: hessian / np.array([[alpha, 1.0], [1.0, 1 / alpha]]),
            "mixed derivative": lambda hessian, alpha: hessian * np.diag([alpha**-2, alpha**2]),
        },
    ),
}
