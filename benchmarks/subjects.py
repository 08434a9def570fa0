"""The two networks that all are timed on, in every form that a peer asks for, and what must come out of them.

What must come out is computed here in plain torch, in float64, with nothing of samviz and nothing of a peer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, cached_property

import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from samviz.problems import MLP, mlp

DENSE = 2000  # parameters up to which the reference diagonalizes the whole Hessian


class HalfMeanSquare(nn.MSELoss):
    """Half the mean square of outputs (n, c) and targets (n, c), as samviz takes it."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """A number."""
        return super().forward(outputs, targets) / 2


class Subject:
    """A tanh network on data, at a random start and at a point some way down."""

    def __init__(self, widths: Sequence[int], data: str, loss: str, way: tuple[int, float]) -> None:
        """As in `samviz.problems.mlp`, and how many steps of gradient descent lead down, of which learning rate."""
        self.widths, self.way = widths, way
        self.problem: MLP = mlp(widths, "tanh", data, loss)
        self.inputs, self.targets = self.problem.inputs, self.problem.targets
        self.criterion: nn.Module = nn.CrossEntropyLoss() if loss == "cross_entropy" else HalfMeanSquare()

    def start(self, seed: int = 0) -> Tensor:
        """Parameters (dim,) before any step."""
        return self.problem.initial(seed)

    def module(self, x: Tensor, dtype: torch.dtype = torch.float64) -> nn.Sequential:
        """The network as a torch module with the parameters x (dim,)."""
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip(self.widths, self.widths[1:]):
            layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
        module = nn.Sequential(*layers[:-1]).to(dtype)
        nn.utils.vector_to_parameters(x.to(dtype), module.parameters())
        return module

    def loss(self, x: Tensor, chosen: Tensor | slice = slice(None)) -> Tensor:
        """Loss of parameters (dim,) on some samples, all by default."""
        layer, start = self.inputs[chosen], 0
        for depth, (fan_in, fan_out) in enumerate(zip(self.widths, self.widths[1:])):
            end = start + fan_in * fan_out
            layer = torch.tanh(layer) if depth else layer
            layer = layer @ x[start:end].view(fan_out, fan_in).T + x[end : end + fan_out]
            start = end + fan_out
        return self.criterion(layer, self.targets[chosen])

    def sam(self, x: Tensor, lr: float, rho: float, batches: Iterable[Tensor | slice]) -> Tensor:
        """The iterate after a step of SAM (Eq. 3) on each batch."""
        gradient = torch.func.grad(self.loss)
        for chosen in batches:
            g = gradient(x, chosen)
            x = x - lr * gradient(x + rho * g / g.norm(), chosen)
        return x

    @cached_property
    def trained(self) -> Tensor:
        """A point (dim,) some way down, where the top of the spectrum has come apart."""
        x, (steps, lr) = self.start(), self.way
        for _ in range(steps):
            x = x.detach().requires_grad_()
            x = x - lr * torch.autograd.grad(self.loss(x), x)[0]
        return x.detach()

    @cached_property
    def at_hand(self) -> nn.Sequential:
        """The module at that point, made once: a peer's user has it already."""
        return self.module(self.trained)

    def hessian(self, x: Tensor) -> LinearOperator:
        """Exact Hessian-vector products at x, by differentiating the gradient once more."""
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.loss(x), x, create_graph=True)

        def product(v: Tensor) -> Tensor:
            return torch.autograd.grad(gradient, x, torch.as_tensor(v).reshape(-1), retain_graph=True)[0]

        return LinearOperator((len(x), len(x)), matvec=lambda v: product(v).numpy(), dtype="float64")

    def top(self, x: Tensor, k: int) -> Tensor:
        """The k largest eigenvalues at x, largest first: dense where that can be, else by ARPACK to 1e-10."""
        hessian = self.hessian(x)
        if len(x) <= DENSE:
            dense = torch.from_numpy(hessian @ torch.eye(len(x), dtype=torch.float64).numpy())
            return torch.linalg.eigvalsh(dense).flip(0)[:k]
        values = eigsh(hessian, k, which="LA", tol=1e-10, return_eigenvectors=False)
        return torch.from_numpy(values.copy()).sort(descending=True).values

    @cached_property
    def highest(self) -> Tensor:
        """The five largest eigenvalues at the trained point."""
        return self.top(self.trained, 5)

    def residual(self, x: Tensor, values: Tensor, vectors: Tensor) -> float:
        """The largest ‖Hv − λv‖ over eigenpairs (k,), (k, dim), their vectors brought to length 1."""
        vectors = nn.functional.normalize(vectors.detach().double(), dim=1)
        images = torch.from_numpy(self.hessian(x) @ vectors.T.numpy()).T
        return float((images - values.double()[:, None] * vectors).norm(dim=1).max())


@cache
def t2() -> Subject:
    """T2: 2-32-32-1 on the two spirals, n = 100, D = 1185, half the mean square."""
    return Subject((2, 32, 32, 1), "spirals", "mse", way=(1500, 0.3))


@cache
def t3() -> Subject:
    """T3: 64-64-64-10 on the digits, n = 1797, D = 8970, cross-entropy."""
    return Subject((64, 64, 64, 10), "digits", "cross_entropy", way=(300, 0.1))
