"""Problems and numbers that several tests of measurements compare with."""

import numpy as np
import torch

from samviz.geometry import ascent_direction_sharpness, average_direction_sharpness, worst_direction_sharpness
from samviz.problems import Problem, Quadratic

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


class Counted(Quadratic):
    """A quadratic that counts the vectors that its Hessian was multiplied with."""

    spent = 0

    def hvp(self, x, batch=None):
        product = super().hvp(x, batch)

        def counted(v):
            self.spent += v.shape[1]
            return product(v)

        return counted


def tensor(*rows):
    return torch.from_numpy(np.array(rows, dtype=np.float64))


def symmetric(seed, dim):
    """Return a random symmetric matrix in numpy."""
    a = np.random.default_rng(seed).normal(size=(dim, dim))
    return (a + a.T) / 2
