"""Problems in closed form: quadratics (Theorem 4.8), and the paper's 4-D valley with minima Γ = {x₃ = x₄ = 0}."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from samviz.checks import check_array, check_bool, check_tensor, seeded_generator
from samviz.kernels import Kernels
from samviz.problems.problem import Coordinates, Floor, Operator, Problem, on_host


class Quadratic(Problem):
    """L(x) = ½ xᵀAx with a symmetric matrix A, or the mean of several of them, in closed form."""

    closed = True

    def __init__(self, matrices: Tensor) -> None:
        """Use symmetric float64 matrices (n, dim, dim), which `quadratic` checks; a single one is not a sample."""
        self.name = "quadratic" if len(matrices) == 1 else f"mean of {len(matrices)} quadratics"
        self.dim = matrices.shape[1]
        self.samples = len(matrices) if len(matrices) > 1 else 0
        self.matrices = matrices  # (n, dim, dim)
        self.matrix = matrices.mean(0)  # (dim, dim)
        self.filters = torch.zeros(self.dim, dtype=torch.int64)
        self.axes = torch.linalg.eigh(self.matrix).eigenvectors.flip(1)  # columns, top eigenvector first

    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return ½ xᵀAx, (runs,)."""
        self._check(x, batch)
        return (self._times(x[:, None], batch)[:, 0] * x).sum(1) / 2

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        gradient = self._times(x[:, None], batch)[:, 0]
        return (gradient * x).sum(1) / 2, gradient

    def _hvp(self, x: Tensor, batch: Tensor | None) -> Operator:
        return lambda v: self._times(v, batch)

    def _kernels(self) -> Kernels:
        from samviz.kernels.closed_forms import quadratic_gradient, quadratic_product

        floats = torch.cat((self.matrix[None], self.matrices)).flatten().numpy()
        return Kernels(quadratic_gradient(), quadratic_product, floats, np.zeros(0, dtype=np.int64), 0)

    def _times(self, v: Tensor, batch: Tensor | None) -> Tensor:
        """Multiply rows (runs, k, dim) by A, or by the mean of the batch's matrices."""
        return v @ (self.matrix if batch is None else self.matrices[batch].mean(1))

    def initial(self, seed: int = 0) -> Tensor:
        """Return a standard Gaussian point, (dim,)."""
        return torch.randn(self.dim, dtype=torch.float64, generator=seeded_generator(seed)).to(self.device, self.dtype)

    def picture(self, x: Tensor) -> Coordinates:
        """Return the distance of the point from the minimum along each eigenvector."""
        self._check(x)
        return Coordinates(np.abs(on_host(x[0] @ self.axes)))


def quadratic(spectrum: ArrayLike | Tensor) -> Quadratic:
    """Return the quadratic ½ xᵀAx, or the mean of n of them, each a sample.

    Args:
        spectrum: eigenvalues (dim,) of a diagonal A, a symmetric matrix (dim, dim), or n ≥ 2 of those (n, dim, dim)
            from which batches are drawn; finite.

    Returns:
        The problem, float64 on the CPU.

    Raises:
        ValueError: when the shape does not fit, a number is not finite or a matrix is not symmetric.
        TypeError: when the numbers are not real.

    Source: Theorem 4.8; Example 5.8 for several.

    >>> import torch
    >>> quadratic([3.0, 1.0]).loss(torch.tensor([[1.0, 1.0]], dtype=torch.float64))
    tensor([2.], dtype=torch.float64)
    """
    expected = "finite real numbers, eigenvalues (dim,), or matrices (dim, dim) or (n, dim, dim)"
    array = check_array("spectrum", spectrum, expected)
    if array.ndim not in (1, 2, 3) or array.size == 0 or (array.ndim > 1 and array.shape[-2] != array.shape[-1]):
        raise ValueError(f"spectrum has shape {array.shape}; expected {expected}")
    values = torch.from_numpy(np.array(array, dtype=np.float64))  # a copy: the problem owns its numbers
    if values.ndim == 1:
        values = torch.diag(values)
    if bool((values - values.mT).abs().max() > 1e-5 * values.abs().max()):
        raise ValueError("spectrum is a matrix that is not symmetric; pass (A + Aᵀ)/2 if that is what you mean")
    matrices = (values + values.mT) / 2
    return Quadratic(matrices if matrices.ndim == 3 else matrices[None])


class Valley(Problem):
    """L = s·(F₁x₃² + F₂x₄²) with F₁ = x₁² + 6x₂² + 8 and F₂ = 4(1−x₁)² + (1−x₂)² + 1.

    The loss is the mean of two samples, 2s·F₁x₃² and 2s·F₂x₄²: batch size 1 is the paper's 1-SAM. Each is the square
    loss ½f² of one output, f₁ = √(4sF₁)·x₃ and f₂ = √(4sF₂)·x₄, whose target is 0.
    """

    samples = 2
    dim = 4
    square_targets = 1
    closed = True

    def __init__(self, scale: float) -> None:
        """Set s: 1 for the paper's L, ½ for the mean of F₁x₃² and F₂x₄²."""
        self.name = "valley"
        self.scale = scale
        self.filters = torch.zeros(4, dtype=torch.int64)

    def _weights(self, batch: Tensor | None) -> tuple[Tensor | float, Tensor | float]:
        """Return the factors of F₁x₃² and F₂x₄² in the loss, each a number or (runs,)."""
        if batch is None:
            return self.scale, self.scale
        second = batch.to(self.dtype).mean(1)  # the share of sample 1 in the batch
        return 2 * self.scale * (1 - second), 2 * self.scale * second

    @staticmethod
    def curvatures(x: Tensor) -> tuple[Tensor, Tensor]:
        """Return F₁ and F₂, each (...), at x (..., 2 or more), of which x₁ and x₂ are used."""
        x1, x2 = x[..., 0], x[..., 1]
        return x1**2 + 6 * x2**2 + 8, 4 * (1 - x1) ** 2 + (1 - x2) ** 2 + 1

    def eigenvalues(self, x: Tensor) -> Tensor:
        """Return the non-zero Hessian eigenvalues on Γ, 2sF₁ and 2sF₂, (..., 2), at x₁ and x₂ of x (..., 2 or more).

        The first is the larger one wherever x₁ and x₂ are in [0, 1].
        """
        return 2 * self.scale * torch.stack(self.curvatures(x), -1)

    def loss(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return the loss, (runs,)."""
        self._check(x, batch)
        f1, f2 = self.curvatures(x)
        w1, w2 = self._weights(batch)
        return w1 * f1 * x[:, 2] ** 2 + w2 * f2 * x[:, 3] ** 2

    def _gradient(self, x: Tensor, batch: Tensor | None, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        x1, x2, x3, x4 = x.unbind(1)
        f1, f2 = self.curvatures(x)
        w1, w2 = self._weights(batch)
        a, b = w1 * x3, w2 * x4
        a3, b4 = a * x3, b * x4  # the weighted squares
        gradient = torch.stack(
            (2 * x1 * a3 - 8 * (1 - x1) * b4, 12 * x2 * a3 - 2 * (1 - x2) * b4, 2 * f1 * a, 2 * f2 * b), 1
        )
        loss = f1 * a3 + f2 * b4
        if noise is None:
            return loss, gradient
        root1, root2 = 2 * (self.scale * f1).sqrt(), 2 * (self.scale * f2).sqrt()  # f₁ = root₁·x₃, f₂ = root₂·x₄
        share = noise[:, :, 0] / noise.shape[1]
        second = torch.arange(2, device=x.device) if batch is None else batch
        n1, n2 = (share * (1 - second)).sum(1), (share * second).sum(1)
        a, b = 4 * self.scale * n1 * x3 / root1, 4 * self.scale * n2 * x4 / root2
        change = torch.stack((x1 * a - 4 * (1 - x1) * b, 6 * x2 * a - (1 - x2) * b, n1 * root1, n2 * root2), 1)
        return loss, gradient - change

    def hessian(self, x: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return the Hessian, (runs, 4, 4), in closed form."""
        self._check(x, batch)
        x1, x2, x3, x4 = x.unbind(1)
        f1, f2 = self.curvatures(x)
        w1, w2 = self._weights(batch)
        a, b = w1 * x3, w2 * x4
        h = x.new_zeros(len(x), 4, 4)
        h[:, 0, 0] = 2 * a * x3 + 8 * b * x4
        h[:, 1, 1] = 12 * a * x3 + 2 * b * x4
        h[:, 2, 2], h[:, 3, 3] = 2 * w1 * f1, 2 * w2 * f2
        h[:, 0, 2] = h[:, 2, 0] = 4 * x1 * a
        h[:, 1, 2] = h[:, 2, 1] = 24 * x2 * a
        h[:, 0, 3] = h[:, 3, 0] = -16 * (1 - x1) * b
        h[:, 1, 3] = h[:, 3, 1] = -4 * (1 - x2) * b
        return h

    def _hvp(self, x: Tensor, batch: Tensor | None) -> Operator:
        hessian = self.hessian(x, batch)
        return lambda v: v @ hessian

    def _kernels(self) -> Kernels:
        from samviz.kernels.closed_forms import valley_gradient, valley_product

        return Kernels(valley_gradient(), valley_product, np.array([self.scale]), np.zeros(0, dtype=np.int64), 0)

    def initial(self, seed: int = 0) -> Tensor:
        """Return a point near Γ, (0.6, 0.9, 0.1, 0.1); the seed is not used."""
        return torch.tensor([0.6, 0.9, 0.1, 0.1], dtype=self.dtype, device=self.device)

    def limiting_flow(self, x0: Tensor, times: Tensor, kind: Literal["worst", "average"] = "worst") -> Tensor:
        """Return the Riemannian gradient flow on Γ that SAM follows in phase II.

        Args:
            x0: (4,) or (2,), the start, of which x₁ and x₂ are used.
            times: (times,), τ = ηρ²t.
            kind: "worst" is dX/dτ = −½∇λ₁, full-batch SAM; "average" is dX/dτ = −½∇Tr, 1-SAM.

        Returns:
            (times, 2), x₁ and x₂ on Γ.

        Raises:
            ValueError: when kind is another word, or a shape does not fit.

        Source: Eqs. 7 and 18; λ₁ = 2sF₁ and Tr = 2s(F₁ + F₂) on Γ.

        >>> import torch
        >>> valley().limiting_flow(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.5]))[:, 0]
        tensor([1.0000, 0.3679])
        """
        if kind not in ("worst", "average"):
            raise ValueError(f"kind is {kind!r}; expected 'worst' (Eq. 7) or 'average' (Eq. 18)")
        check_tensor("x0", x0, (2,) if isinstance(x0, Tensor) and x0.shape == (2,) else (4,))
        check_tensor("times", times, (-1,))
        end, rate = ((0.0, 0.0), (2.0, 12.0)) if kind == "worst" else ((0.8, 1 / 7), (10.0, 14.0))
        x0 = x0 if x0.is_floating_point() else x0.to(self.dtype)
        ends, rates = x0.new_tensor(end), self.scale * x0.new_tensor(rate)
        return ends + (x0[:2] - ends) * torch.exp(-times[:, None] * rates)

    def picture(self, x: Tensor) -> Floor:
        """Return the point's projection to Γ, and the contours of λ₁ there."""
        self._check(x)
        axis = torch.linspace(0, 1, 41, dtype=torch.float64)
        grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
        levels = self.eigenvalues(grid)[..., 0].numpy()
        return Floor(axis.numpy(), levels, on_host(x[0, :2]))


def valley(mean: bool = False) -> Valley:
    """Return the paper's 4-D example, in closed form.

    Args:
        mean: False for L = F₁x₃² + F₂x₄² (eigenvalues 2F₁, 2F₂ on Γ); True for the mean of the two terms,
            L = ½(F₁x₃² + F₂x₄²) (eigenvalues F₁, F₂), the loss of 1-SAM in Setting 5.1.

    Returns:
        The problem, float64 on the CPU.

    Source: Figure 1.

    >>> import torch
    >>> valley().eigenvalues(torch.zeros(4))
    tensor([16., 12.])
    """
    return Valley(0.5 if check_bool("mean", mean) else 1.0)
