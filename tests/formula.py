"""A loss given as a function of its parameters, differentiated by autograd, for comparison with closed forms."""

import torch

from samviz.problems import Problem


class Formula(Problem):
    """The loss f(x₁, …, x_dim)."""

    name = "formula"

    def __init__(self, dim, function):
        self.dim, self.function = dim, function
        self.filters = torch.zeros(dim, dtype=torch.int64)

    def loss(self, x, batch=None):
        return self.function(*x.unbind(1))

    def initial(self, seed=0):
        return torch.zeros(self.dim, dtype=self.dtype)
