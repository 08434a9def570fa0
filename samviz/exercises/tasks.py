"""The exercises of the notebooks: solution, hint, and the mistakes that are worth a word of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samviz.exercises.judge import Exercise

Array = NDArray[np.float64]

# what the exercises are tried on

MATRIX = np.array([[3.0, 1.0], [1.0, 2.0]])


def _loss(x: Array) -> Any:
    return x @ MATRIX @ x / 2 + x[0] ** 4 / 4


def _gradient(x: Array) -> Array:
    return np.asarray(MATRIX @ x + np.array([x[0] ** 3, 0.0]))


def _hessian(x: Array) -> Array:
    return MATRIX + np.diag([3 * x[0] ** 2, 0.0])


POINTS = (np.array([1.0, -0.5]), np.array([-0.2, 0.7]))
CURVED = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, -1.0], [0.5, -1.0, 1.0]])
SLOPES = (np.array([1.0, -0.5, 2.0]), np.array([-0.2, 0.7, 0.4]))


# the solutions, and the mistakes


def _ascent_sharpness(loss: Any, gradient: Any, x: Array, rho: float) -> Any:
    g = gradient(x)
    return loss(x + rho * g / np.linalg.norm(g)) - loss(x)


def _sam_step(gradient: Any, x: Array, lr: float, rho: float) -> Any:
    g = gradient(x)
    return x - lr * gradient(x + rho * g / np.linalg.norm(g))


def _alignment(gradient: Array, hessian: Array) -> Any:
    top = np.linalg.eigh(hessian)[1][:, -1]
    return abs(gradient @ top) / np.linalg.norm(gradient)


def _ascent_gradient(gradient: Any, hessian: Any, x: Array, rho: float) -> Any:
    g = gradient(x)
    u = g / np.linalg.norm(g)
    ahead = gradient(x + rho * u)
    return ahead + rho / np.linalg.norm(g) * hessian(x) @ (ahead - u * (u @ ahead))


EXERCISES: dict[str, Exercise] = {
    "ascent_sharpness": Exercise(
        takes="f(loss, gradient, x, rho) with functions of x (2,), and returns a number",
        solution=_ascent_sharpness,
        hint="R_Asc is L at the end of an arrow of length ρ along ∇L(x), minus L(x).",
        right="This is where SAM looks; the worst direction would look at least as high.",
        trials=[(f"x = {x}, ρ = {rho}", (_loss, _gradient, x, rho)) for x, rho in zip(POINTS, (0.1, 0.5))],
        mistakes={
            "The arrow has length ρ‖∇L‖: divide the gradient by its norm.": lambda loss, gradient, x, rho: (
                loss(x + rho * gradient(x)) - loss(x)
            ),
            "That is L at the end of the arrow; R_Asc is how far it lies above L(x).": lambda loss, gradient, x, rho: (
                _ascent_sharpness(loss, gradient, x, rho) + loss(x)
            ),
            "That walks downhill: the perturbation goes along +∇L.": lambda loss, gradient, x, rho: _ascent_sharpness(
                loss, gradient, x, -rho
            ),
        },
    ),
    "sam_step": Exercise(
        takes="f(gradient, x, lr, rho) with a function of x (2,), and returns the next x (2,)",
        solution=_sam_step,
        hint="Two gradients: the first says where to look, the one found there is the one to descend (Eq. 3).",
        right="The step starts from x, but the gradient comes from ρ further up.",
        trials=[
            (f"x = {x}, η = {lr}, ρ = {rho}", (_gradient, x, lr, rho))
            for x, lr, rho in zip(POINTS, (0.1, 0.3), (0.1, 0.5))
        ],
        mistakes={
            "The perturbation has length ρ‖∇L‖: divide by the norm (what you wrote is unnormalized SAM).": (
                lambda gradient, x, lr, rho: x - lr * gradient(x + rho * gradient(x))
            ),
            "That is gradient descent: the gradient has to be taken at the perturbed point.": (
                lambda gradient, x, lr, rho: x - lr * gradient(x)
            ),
            "The step has to start from x, not from the perturbed point.": (
                lambda gradient, x, lr, rho: (
                    _sam_step(gradient, x, lr, rho) + rho * gradient(x) / np.linalg.norm(gradient(x))
                )
            ),
            "The perturbation goes uphill, along +∇L.": lambda gradient, x, lr, rho: _sam_step(gradient, x, lr, -rho),
            "The step goes downhill: x minus η times the gradient.": lambda gradient, x, lr, rho: _sam_step(
                gradient, x, -lr, rho
            ),
        },
    ),
    "amplitude": Exercise(
        takes="f(lr, rho, top) with η, ρ and λ₁, and returns ‖x‖",
        solution=lambda lr, rho, top: lr * rho * top / (2 - lr * top),
        hint="On the cycle a step turns a·v₁ into −a·v₁. Write SAM's step for x = a·v₁ and solve for a.",
        right="It is ρ times ηλ₁/(2 − ηλ₁): small η makes a small bounce, and at ηλ₁ = 1 the bounce is as wide as ρ.",
        trials=[(f"η = {a}, ρ = {b}, λ₁ = {c}", (a, b, c)) for a, b, c in ((0.1, 0.05, 3.0), (0.2, 0.3, 2.0))],
        mistakes={
            "That is how far apart the two ends are: the amplitude is half of it.": lambda lr, rho, top: (
                2 * lr * rho * top / (2 - lr * top)
            ),
            "That is the length of the gradient on the cycle, λ₁ times the amplitude.": lambda lr, rho, top: (
                lr * rho * top**2 / (2 - lr * top)
            ),
            "Nearly, for small η: but a turns into −a, which leaves 2 − ηλ₁ below the line.": lambda lr, rho, top: (
                lr * rho * top / 2
            ),
            "The sign: from x = a the gradient is taken at a + ρ, not at a − ρ.": lambda lr, rho, top: (
                -lr * rho * top / (2 - lr * top)
            ),
        },
    ),
    "alignment": Exercise(
        takes="f(gradient, hessian) with arrays (3,) and (3, 3), and returns a number in [0, 1]",
        solution=_alignment,
        hint="np.linalg.eigh gives eigenvalues in increasing order and eigenvectors as columns.",
        right="An eigenvector has no sign, hence the absolute value.",
        trials=[(f"∇L = {slope}", (slope, CURVED)) for slope in SLOPES],
        mistakes={
            "That is the alignment with the eigenvector of the smallest eigenvalue: eigh sorts upwards.": (
                lambda gradient, hessian: abs(gradient @ np.linalg.eigh(hessian)[1][:, 0]) / np.linalg.norm(gradient)
            ),
            "You took a row of eigh's matrix: its eigenvectors are the columns.": (
                lambda gradient, hessian: abs(gradient @ np.linalg.eigh(hessian)[1][-1]) / np.linalg.norm(gradient)
            ),
            "A cosine is of unit vectors: divide by the gradient's norm.": (
                lambda gradient, hessian: _alignment(gradient, hessian) * np.linalg.norm(gradient)
            ),
            "An eigenvector has no sign: take the absolute value.": (
                lambda gradient, hessian: gradient @ np.linalg.eigh(hessian)[1][:, -1] / np.linalg.norm(gradient)
            ),
        },
    ),
    "ascent_gradient": Exercise(
        takes="f(gradient, hessian, x, rho) with functions of x (2,), and returns ∇L_Asc (2,)",
        solution=_ascent_gradient,
        hint="Chain rule: x⁺ = x + ρu depends on x through u = ∇L/‖∇L‖ too, whose derivative is (I − uuᵀ)H/‖∇L‖.",
        right="The second term is what SAM drops.",
        trials=[(f"x = {x}, ρ = {rho}", (_gradient, _hessian, x, rho)) for x, rho in zip(POINTS, (0.1, 0.5))],
        mistakes={
            "That is SAM's gradient: the derivative of the perturbation is missing.": (
                lambda gradient, hessian, x, rho: gradient(x + rho * gradient(x) / np.linalg.norm(gradient(x)))
            ),
        },
    ),
    "least_trace": Exercise(
        takes="the pair (x₁, x₂)",
        solution=(0.8, 1 / 7),
        hint="On the floor the trace is 2(F₁ + F₂). Set its derivatives by x₁ and by x₂ to zero.",
        right="That is where 1-SAM is bound for.",
        mistakes={
            "That is where λ₁ = 2F₁ is least.": (0.0, 0.0),
            "That is where λ_M = 2F₂ is least.": (1.0, 1.0),
            "Some digits more: write 1/7 rather than its rounded value.": (0.8, 0.14),
        },
    ),
    "flow": Exercise(
        takes="f(x0, tau) with x0 (2,), and returns (x₁, x₂) at time τ",
        solution=lambda x0, tau: np.array([x0[0] * np.exp(-2 * tau), x0[1] * np.exp(-12 * tau)]),
        hint="Eq. 7 reads dX/dτ = −½∇λ₁, with λ₁ = 2F₁ = 2(x₁² + 6x₂² + 8): two equations that do not mix.",
        right="x₂ is there six times as fast as x₁: the path bends.",
        trials=[(f"x0 = {x}, τ = {tau}", (x, tau)) for x, tau in zip(POINTS, (0.3, 0.1))],
        mistakes={
            "Eq. 7 has a ½ in front of ∇λ₁.": lambda x0, tau: np.array(
                [x0[0] * np.exp(-4 * tau), x0[1] * np.exp(-24 * tau)]
            ),
            "The flow goes downhill: exponents are negative.": lambda x0, tau: np.array(
                [x0[0] * np.exp(2 * tau), x0[1] * np.exp(12 * tau)]
            ),
            "λ₁ is 2F₁, not F₁: the paper's caption drops the factor 2.": lambda x0, tau: np.array(
                [x0[0] * np.exp(-tau), x0[1] * np.exp(-6 * tau)]
            ),
        },
    ),
    "steps": Exercise(
        takes="f(tau, lr, rho), and returns the number of steps",
        solution=lambda tau, lr, rho: tau / (lr * rho**2),
        hint="Each step moves the flow's time on by ηρ²: τ = ηρ²t.",
        right="Phase II takes 1/(ηρ²) steps: that is why it needs patience, and large ρ to be watched.",
        trials=[(f"τ = {a}, η = {b}, ρ = {c}", (a, b, c)) for a, b, c in ((0.5, 0.02, 0.2), (1.0, 0.1, 0.05))],
        mistakes={
            "Time passes by ηρ² a step: the drift is a term of second order in ρ.": lambda tau, lr, rho: (
                tau / (lr * rho)
            ),
            "That is the time after τ steps; the question is how many steps a time τ takes.": lambda tau, lr, rho: (
                tau * lr * rho**2
            ),
            "SAM's drift is linear in η; η² is normalized gradient descent.": lambda tau, lr, rho: (
                tau / (lr * rho) ** 2
            ),
        },
    ),
    "trace": Exercise(
        takes="f(slopes) with the samples' ∇f_k as rows (n, D), and returns a number",
        solution=lambda slopes: (slopes**2).sum() / len(slopes),
        hint="∇²L_k = ∇f_k∇f_kᵀ, and the trace of an outer product is a squared length. L is the mean of the L_k.",
        right="The trace is the mean of the samples' λ₁: minimizing each sample's sharpness minimizes it.",
        trials=[
            ("3 samples, D = 2", (np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 3.0]]),)),
            ("1 sample", (np.array([[2.0, 1.0]]),)),
        ],
        mistakes={
            "The loss is the mean over the samples, not their sum.": lambda slopes: (slopes**2).sum(),
            "Lengths squared: the trace of ∇f∇fᵀ is ‖∇f‖².": lambda slopes: np.linalg.norm(slopes, axis=1).mean(),
            "That averages over the D parameters too.": lambda slopes: (slopes**2).mean(),
            "First the squared length of each sample's slope, then the mean.": lambda slopes: (
                slopes.mean(0) ** 2
            ).sum(),
        },
    ),
    "rescaled_hessian": Exercise(
        takes="f(hessian, alpha) with the Hessian (2, 2) of L at (a, b), and returns that at (αa, b/α)",
        solution=lambda hessian, alpha: hessian / np.outer([alpha, 1 / alpha], [alpha, 1 / alpha]),
        hint="L(αa, b/α) = L(a, b). Differentiate both sides twice by a, twice by b, and once by each.",
        right="λ₁ grows like α² however flat it was: as a number, flatness is one of parameters, not of the function.",
        trials=[(f"α = {alpha:g}", (MATRIX, alpha)) for alpha in (2.0, 5.0)],
        mistakes={
            "The other way round: where a is larger, L changes less with it.": lambda hessian, alpha: (
                hessian * np.outer([alpha, 1 / alpha], [alpha, 1 / alpha])
            ),
            "Two derivatives, so the factor comes twice: α² and 1/α² on the diagonal.": lambda hessian, alpha: (
                hessian / np.array([[alpha, 1.0], [1.0, 1 / alpha]])
            ),
            "The mixed derivative is divided by α and by 1/α: it stays.": lambda hessian, alpha: (
                hessian * np.diag([alpha**-2, alpha**2])
            ),
        },
    ),
}
