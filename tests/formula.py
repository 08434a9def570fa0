"""Problems and numbers that several tests of measurements compare with."""

import numpy as np
import torch

from samviz.dynamics import History
from samviz.geometry import ascent_direction_sharpness, average_direction_sharpness, worst_direction_sharpness
from samviz.problems import Problem

SHARPNESSES = {
    "worst": worst_direction_sharpness,
    "ascent": ascent_direction_sharpness,
    "average": average_direction_sharpness,
}


class Formula(Problem):
    """The loss f(x₁, …, x_dim), differentiated by autograd."""

    name = "formula"

    def __init__(self, dim, function):
        self.dim, self.function = dim, function
        self.filters = torch.zeros(dim, dtype=torch.int64)

    def loss(self, x, batch=None):
        return self.function(*x.unbind(1))

    def initial(self, seed=0):
        return torch.zeros(self.dim, dtype=self.dtype)


def counted(problem):
    """Count in `spent` the vectors that a problem's Hessian is multiplied with."""
    problem.spent, hvp = 0, problem.hvp

    def counting(x, batch=None):
        product = hvp(x, batch)

        def multiply(v):
            problem.spent += v.shape[1]
            return product(v)

        return multiply

    problem.hvp = counting
    return problem


def history_of(*rows):
    """Return a history of these rows."""
    history = History()
    for row in rows:
        history.append(row)
    return history


def tensor(*rows):
    return torch.from_numpy(np.array(rows, dtype=np.float64))


def symmetric(seed, dim):
    """Return a random symmetric matrix in numpy."""
    a = np.random.default_rng(seed).normal(size=(dim, dim))
    return (a + a.T) / 2
