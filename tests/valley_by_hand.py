"""The valley L = F₁x₃² + F₂x₄² in numpy, so that tests compare with code that is not samviz's.

Coordinates lie on the first axis: x is a point (4,), or many (4, n), of numpy or torch.
"""

import numpy as np


def curvatures(x):
    """F₁ and F₂, of which x₁ and x₂ are enough."""
    return x[0] ** 2 + 6 * x[1] ** 2 + 8, 4 * (1 - x[0]) ** 2 + (1 - x[1]) ** 2 + 1


def terms(x):
    """F₁x₃² and F₂x₄²; of the mean over two samples, each sample is twice its own."""
    first, second = curvatures(x)
    return first * x[2] ** 2, second * x[3] ** 2


def loss(x):
    return sum(terms(x))


def slopes(x):
    """The gradients of the two terms, each of the shape of x."""
    x1, x2, x3, x4 = x
    first, second = curvatures(x)
    return (
        np.array([2 * x1 * x3**2, 12 * x2 * x3**2, 2 * first * x3, 0 * x3]),
        np.array([-8 * (1 - x1) * x4**2, -2 * (1 - x2) * x4**2, 0 * x4, 2 * second * x4]),
    )


def slope(x):
    return sum(slopes(x))


def trace(x):
    """Of the Hessian."""
    return 14 * x[2] ** 2 + 10 * x[3] ** 2 + 2 * sum(curvatures(x))
