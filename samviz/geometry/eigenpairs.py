"""The top eigenpairs of the Hessian: dense when small, block Lanczos or, from old vectors, LOBPCG otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samviz.checks import check_float, check_int, check_tensor, seeded_generator
from samviz.geometry.arguments import check_batch, finite, located, nowhere
from samviz.geometry.krylov import NotFinite, Subspace, orthonormal
from samviz.problems import Problem
from samviz.problems.device import one_thread
from samviz.problems.problem import Operator

DENSE = 500  # parameters up to which the whole Hessian is as fast as a few products
THIN = 2  # vectors that a cold start grows from: nearly as few products as from one, and a double λ₁ is seen
LOOKS = 5  # products at least, for k of 5 or more, that a warm start spends on what lies outside of it
NOISE = 0.01  # the guard is shaken by this much, or it never sees a direction that it lacks
NEGLIGIBLE = 1e-9  # share of the Hessian's norm below which a residual has no direction but rounding's
PATIENT = 4000  # parameters: with fewer, a cold start takes up to three blocks between two looks, each as dear
COLD_EVERY = 50  # calls: warm ones may never see an eigenvalue that appears above those they follow
ROOM = 8  # times (k + 2) vectors, to which a basis may grow before it is restarted from its best half


@dataclass(frozen=True)
class Eigenpairs:
    """The k largest (algebraic, not by magnitude) eigenvalues of each run's Hessian, with their evidence.

    The angle between a computed and a true eigenvector is at most about residual / gap.
    """

    values: Tensor  # (runs, k), largest first
    vectors: Tensor  # (runs, k, dim), unit rows
    residuals: Tensor  # (runs, k), ‖Hv − λv‖
    gaps: Tensor  # (runs, k), distance from λ to its nearest neighbour
    converged: Tensor  # bool (runs, k)
    products: int  # Hessian-vector products spent on each run
    exact: bool  # True when the dense Hessian was diagonalized
    start: Tensor  # (runs, m ≥ k, dim), orthonormal rows, the vectors first: where the next call can start warm
    age: int = 0  # calls in a row that started warm, up to this one; 0 when it started cold or is exact


def top_eigenpairs(
    problem: Problem,
    x: Tensor,
    k: int = 1,
    *,
    batch: Tensor | None = None,
    start: Eigenpairs | Tensor | None = None,
    tol: float | None = None,
    max_products: int = 2000,
    seed: int = 0,
) -> Eigenpairs:
    """The k largest eigenvalues of the Hessian and their eigenvectors.

    Up to 500 parameters the Hessian is diagonalized densely. Above, block Lanczos with full reorthogonalization, or
    from old vectors LOBPCG, stops when every residual is at most tol·max(gap, ⅔|λ|): it looks at the residual
    against the eigengap, never at how little a Rayleigh quotient changes. A residual r bounds the distance to an
    eigenvalue by r, and by r²/gap where that is less.

    Args:
        problem: whose Hessian.
        x: (dim,) or (runs, dim), where.
        k: how many eigenpairs, 1 to dim.
        batch: int64 (runs, b), the samples whose mean loss is meant; None for all.
        start: the result of this function at a nearby point. Every fiftieth call of such a sequence ignores it and
            starts cold, because warm starts may miss an eigenvalue that appears above those they follow. Or vectors
            (runs, m, dim), which are always used. None starts cold, from random vectors.
        tol: relative tolerance; None is 1e-6 in float64 and 1e-3 in float32.
        max_products: Hessian-vector products per run after which the method gives up (`converged` says so).
        seed: int, of the random vectors.

    Returns:
        The eigenpairs with residuals, gaps and `converged`, and the `age` of the warm start.

    Raises:
        ValueError: when k is not between 1 and dim, x does not fit the problem, or the Hessian there is not finite.

    Source: Knyazev, LOBPCG (2001); Saad, Numerical Methods for Large Eigenvalue Problems, ch. 6.

    >>> from samviz.problems import quadratic
    >>> top_eigenpairs(quadratic([1.0, 3.0, -5.0]), torch.zeros(3), k=2).values
    tensor([[3., 1.]], dtype=torch.float64)
    """
    problem, x = located(problem, x)
    k = check_int("k", k, f"1 to {problem.dim}, the number of parameters of {problem.name}", 1, problem.dim)
    check_batch(problem, batch, len(x))
    age = 0
    if isinstance(start, Eigenpairs):
        age, start = start.age, start.start
    if start is not None:
        check_tensor("start", start, (len(x), -1, problem.dim))
        age += 1
    if age == COLD_EVERY:
        start, age = None, 0
    usual = 1e-6 if x.dtype == torch.float64 else 1e-3
    tol = usual if tol is None else check_float("tol", tol, "a positive number, or None", lambda t: t > 0)
    max_products = check_int("max_products", max_products, "1 or more", 1)
    seeded_generator(seed)  # refuses a bad one also where nothing is drawn
    with one_thread(problem):
        if problem.dim <= DENSE:
            return _dense(finite(problem, problem.hessian(x, batch)), k, tol)
        try:
            return replace(_krylov(problem.hvp(x, batch), x, k, start, tol, max_products, seed), age=age)
        except NotFinite as error:
            raise nowhere(problem) from error


def diagonalized(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """All eigenvalues (runs, dim) of (runs, dim, dim), largest first, and their vectors (runs, dim, dim) as rows."""
    exact = hessian if hessian.device.type == "mps" else hessian.double()  # in single precision it may not converge
    spectrum, basis = (part.to(hessian) for part in torch.linalg.eigh(exact))
    return spectrum.flip(1), basis.flip(2).mT


def _dense(hessian: Tensor, k: int, tol: float) -> Eigenpairs:
    spectrum, basis = diagonalized(hessian)
    values, vectors = spectrum[:, :k], basis[:, :k]
    residuals = (vectors @ hessian - values[..., None] * vectors).norm(dim=2)
    gaps, allowed = _judged(spectrum.cpu().double().numpy(), k, tol, spectrum.dtype)
    converged = residuals <= torch.from_numpy(allowed).to(residuals)
    apart = torch.from_numpy(gaps).to(values)
    return Eigenpairs(values, vectors, residuals, apart, converged, hessian.shape[1], True, vectors)


def _krylov(
    product: Operator,
    x: Tensor,
    k: int,
    start: Tensor | None,
    tol: float,
    max_products: int,
    seed: int,
    width: int = THIN,
) -> Eigenpairs:
    """Rayleigh–Ritz in a basis that grows by residuals until they are small.

    From `width` random vectors this is block Lanczos with full reorthogonalization, whose basis may grow several
    times between two looks. A warm start is LOBPCG: the old vectors, a guard below them that catches an eigenvalue
    on its way up, and where the vectors have just turned the directions that they came from, which hold the other
    half of a period-two orbit at the edge of stability; then the residuals of what has not converged.
    """
    runs, dim = x.shape
    generator = seeded_generator(seed)

    def noise(rows: int) -> Tensor:  # unit rows, the same for every run: a run does not depend on its company
        draw = torch.rand(rows, dim, generator=generator, dtype=torch.float64) - 0.5
        return torch.nn.functional.normalize(draw).to(x).expand(runs, -1, -1)

    least = min(k + 1, dim)  # a gap has two sides
    if start is None:
        block, floor = noise(min(width, dim)), 0
    else:
        block = start[:, : min(2 * k + 1, dim)].to(x)
        block = torch.cat((block, noise(max(0, least - block.shape[1]))), 1)
        block[:, k : k + 1] += NOISE * noise(least - k)
        old, floor = block[:, :k], max(block.shape[1] + min(k, LOOKS), 2 * k + 2)
    space = Subspace(product, block, min(dim, ROOM * (k + 2)))
    spent, due = space.rows, least
    each = torch.arange(runs, device=x.device)[:, None]
    while True:
        step = min(width, dim - space.rows)
        affordable = spent + step <= max_products
        if space.rows < least or (0 < step <= space.room and affordable and space.rows < due):
            space.extend(space.image[:, -step:])
            spent += step
            continue
        values, vectors, remainder = space.ritz(least)
        size = np.maximum(np.abs(values).max(1), torch.finfo(x.dtype).tiny)[:, None]
        unit = np.ldexp(1.0, np.frexp(size)[1] - 1)  # squares of tiny residuals underflow; a power of two is exact
        remainder /= torch.from_numpy(unit[..., None]).to(x)
        residuals = torch.linalg.vector_norm(remainder, dim=2).cpu().double().numpy() * unit
        gaps, allowed = _judged(values, k, tol, x.dtype)
        lacking = residuals[:, :k] > allowed
        if step == 0 or not affordable or (not lacking.any() and spent >= floor):
            break
        if start is not None:
            step = min(max(1, int(lacking.sum(1).max())), dim - space.rows, max_products - spent)
        if step > space.room:
            space.restart()
        turn = np.concatenate((np.where(lacking, 0, 2), np.ones((runs, least - k))), 1)  # what lags, then the guard
        order = np.argsort(turn, 1, kind="stable")[:, :step]
        scale = np.take_along_axis(residuals, order, 1)[..., None]
        fresh = remainder[each, torch.from_numpy(order).to(x.device)] / torch.from_numpy(scale / unit[..., None]).to(x)
        blind = scale <= NEGLIGIBLE * size[..., None]
        if blind.any():
            fresh = torch.where(torch.from_numpy(blind).to(x.device), noise(step), fresh)
        if start is None:
            due = space.rows + max(min(max(PATIENT // dim, 1), 3) * step, space.rows // 5)
        space.extend(fresh)
        spent += step
    if start is None and k > width and not lacking.any() and spent + least <= max_products:
        spread = values[:, : k - width + 1] - values[:, width - 1 : k]
        if (spread <= max(tol**2, NEGLIGIBLE) * size).any():  # as many alike as the block is wide: are there more?
            again = _krylov(product, x, k, None, tol, max_products - spent, seed, least)
            return replace(again, products=again.products + spent)
    top, tail = vectors[:, :k], vectors[:, k:]
    if k < dim:
        # one step of the power method, at no cost, keeps the guard climbing
        guard = tail + remainder[:, k:] / torch.from_numpy(2 * (size / unit)[..., None]).to(x)
        if start is not None:
            past = old - (old @ top.mT) @ top
            turned = past.norm(dim=2).amax(0) > tol
            guard = torch.cat((guard, past[:, turned]), 1)
        tail = orthonormal(guard[:, : dim - k], top)
    rows = torch.cat((top, tail), 1)
    host = (values[:, :k], residuals[:, :k], gaps, ~lacking)
    found, left, apart, converged = (torch.from_numpy(a.copy()).to(x.device) for a in host)
    return Eigenpairs(found.to(x), rows[:, :k], left.to(x), apart.to(x), converged, spent, False, rows)


def _judged(
    spectrum: NDArray[np.float64], k: int, tol: float, dtype: torch.dtype
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaps of the first k of a descending spectrum (runs, m) and the largest residuals that count as converged."""
    steps = np.full((len(spectrum), spectrum.shape[1] + 1), np.inf)
    steps[:, 1:-1] = spectrum[:, :-1] - spectrum[:, 1:]
    gaps = np.minimum(steps[:, :k], steps[:, 1 : k + 1])
    top, size = np.abs(spectrum[:, :1]), np.abs(spectrum).max(1, keepdims=True)
    enough = np.maximum(np.abs(spectrum[:, :k]) / 1.5, top / 1000)  # where the gap closes, or the eigenvalue is near 0
    rounding = 100 * torch.finfo(dtype).eps * size  # of any residual
    return gaps, np.maximum(tol * np.maximum(np.minimum(gaps, top), enough), rounding)
