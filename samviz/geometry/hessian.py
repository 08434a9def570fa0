"""The Hessian at a point: top eigenpairs, the gradient's alignment with them, trace, normal space and derivative."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from samviz.checks import check_float, check_int, check_tensor, check_type, seeded_generator
from samviz.problems.problem import Array, Operator, Problem, on_host, one_thread

DENSE = 500  # parameters up to which the dense Hessian is as fast as a few products
RANK_TOL = 1e-6  # an eigenvalue above this share of λ₁ counts as non-zero


def at_point(problem: Problem, x: Tensor, name: str = "x") -> tuple[Problem, Tensor]:
    """Return the problem on x's device and in its precision, and x as (runs, dim); check both."""
    check_type("problem", problem, Problem, "one from samviz.problems")
    if isinstance(x, Tensor) and x.is_floating_point() and not x.is_meta:
        dtype = x.dtype if x.device.type != "cpu" or x.dtype == torch.float64 else problem.dtype
        problem = problem.to(x.device, dtype)
    return problem, problem.points(x, name)


def check_finite(problem: Problem, products: Tensor) -> Tensor:
    """Return a Hessian, or its products with vectors, if all numbers are finite."""
    if not math.isfinite(float(products.sum())) and not bool(products.isfinite().all()):  # finite sums may overflow
        raise ValueError(f"the Hessian of {problem.name} at x has NaN or infinity; pass an x where it is finite")
    return products


def diagonalize(problem: Problem, x: Tensor, batch: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the Hessian (runs, dim, dim), its eigenvalues (runs, dim), largest first, and its eigenvectors as rows."""
    hessian = check_finite(problem, problem.hessian(x, batch))
    double = hessian if hessian.device.type == "mps" else hessian.double()  # in single precision it may not converge
    values, vectors = (part.to(hessian) for part in torch.linalg.eigh(double))
    return hessian, values.flip(1), vectors.flip(2).mT


@dataclass(frozen=True)
class Trace:
    """The trace of each run's Hessian, with its evidence."""

    value: Tensor  # (runs,)
    standard_error: Tensor  # (runs,), 0 when exact
    products: int  # Hessian-vector products spent on each run
    exact: bool


def hessian_trace(
    problem: Problem,
    x: Tensor,
    *,
    products: int | None = None,
    subspace: Tensor | None = None,
    known: Tensor | None = None,
    seed: int = 0,
) -> Trace:
    """Return the trace of the full-batch Hessian.

    Hutch++: the part of the trace inside a subspace is exact, and the rest is estimated with random signs. A third of
    the products finds the subspace, unless it is given; the top eigenvectors are a good choice.

    Args:
        problem: whose Hessian.
        x: (dim,) or (runs, dim), where the Hessian is taken.
        products: Hessian-vector products to spend on each run, at least 6; None is exact up to 500 parameters
            and 96 products above.
        subspace: (runs, m, dim), orthonormal rows whose part is exact and takes m products; None finds them.
        known: (runs, j), vᵀHv of the first j rows v of the subspace where it is known, as for Ritz vectors: these rows
            take no products.
        seed: of the random signs; the same seed gives errors that vary smoothly along a run.

    Raises:
        ValueError: when products is below 6, or x does not fit the problem.

    Source: Meyer, Musco, Musco, Woodruff, Hutch++ (SOSA 2021).

    >>> from samviz.problems import quadratic
    >>> hessian_trace(quadratic([1.0, 3.0]), torch.zeros(2)).value
    tensor([4.], dtype=torch.float64)
    """
    problem, x = at_point(problem, x)
    generator = seeded_generator(seed)
    exact = products is None and problem.dim <= DENSE
    total = check_int("products", 96 if products is None else products, "at least 6, for a standard error", 6)
    if subspace is not None:
        check_tensor("subspace", subspace, (len(x), -1, problem.dim))
    if known is not None:
        check_tensor("known", known, (len(x), -1))
    with one_thread(problem):
        if exact:
            value = check_finite(problem, problem.hessian(x)).diagonal(dim1=1, dim2=2).sum(1)
            return Trace(value, torch.zeros_like(value), problem.dim, True)
        hvp = problem.hvp(x)

        def signs(rows: int) -> Tensor:
            draw = torch.randint(0, 2, (rows, problem.dim), generator=generator) * 2 - 1
            return draw.to(x).expand(len(x), -1, -1)

        spent = total // 3 if subspace is None else 0
        subspace = torch.linalg.qr(hvp(signs(spent)).mT).Q.mT if subspace is None else subspace.to(x)
        known = x[:, :0] if known is None else known.to(x)
        rest = subspace[:, known.shape[1] :]
        inside = known.sum(1) + (rest * hvp(rest)).sum((1, 2))
        spent += rest.shape[1]
        count = max(total - spent, 2)  # at least two, for a standard error
        probes = signs(count)
        probes = probes - (probes @ subspace.mT) @ subspace
        outside = (probes * hvp(probes)).sum(2)  # (runs, count), independent estimates of the rest
        return Trace(inside + outside.mean(1), outside.std(1) / count**0.5, spent + count, False)


@dataclass(frozen=True)
class NormalSpace:
    """The Hessian's spectrum on Γ, split into M non-zero eigenvalues and D − M zeros."""

    values: Tensor  # (runs, dim), eigenvalues, largest first
    vectors: Tensor  # (runs, dim, dim), unit rows; the first M span the normal space
    rank: Tensor  # int64 (runs,), M

    @property
    def inside(self) -> Tensor:
        """Which eigenvectors span the normal space, bool (runs, dim)."""
        return torch.arange(self.values.shape[1], device=self.values.device) < self.rank[:, None]

    @property
    def smallest(self) -> Tensor:
        """λ_M, the smallest non-zero eigenvalue, (runs,); NaN where all are zero."""
        last = self.values.gather(1, (self.rank - 1).clamp_min(0)[:, None])[:, 0]
        return torch.where(self.rank > 0, last, torch.nan)

    @property
    def separation(self) -> Tensor:
        """λ_M over the largest |eigenvalue| of the rest, (runs,): large where the rank is certain."""
        return self.smallest / self.values.masked_fill(self.inside, 0.0).abs().amax(1)

    def tangent(self, v: Tensor) -> Tensor:
        """Return the part of vectors (runs, k, dim) that is tangent to Γ: ∂Φ v, by Lemma 3.5."""
        check_tensor("v", v, (len(self.values), -1, self.values.shape[1]))
        v = v.to(self.vectors)
        normal = self.vectors * self.inside[..., None]
        return v - (v @ normal.mT) @ normal


def normal_space(problem: Problem, x: Tensor, *, rank_tol: float = RANK_TOL) -> NormalSpace:
    """Return the normal space of Γ at its point x, from the dense Hessian.

    Args:
        problem: whose minimizers; D up to about a thousand, the Hessian is diagonalized.
        x: (dim,) or (runs, dim), points on Γ; off Γ the zero eigenvalues are only small.
        rank_tol: an eigenvalue is non-zero when it is above this share of λ₁.

    Returns:
        Spectrum, eigenvectors and rank M; `separation` shows how certain the rank is.

    Raises:
        ValueError: when rank_tol is not between 0 and 1, or x does not fit the problem.

    Source: Assumption 3.3 and Lemma 3.5.

    >>> from samviz.problems import valley
    >>> space = normal_space(valley(), torch.tensor([0.0, 0.0, 0.0, 0.0]))
    >>> space.rank, space.smallest
    (tensor([2]), tensor([12.], dtype=torch.float64))
    """
    rank_tol = check_float("rank_tol", rank_tol, "a share of λ₁ between 0 and 1", lambda share: 0 < share < 1)
    problem, x = at_point(problem, x)
    with one_thread(problem):
        _, values, vectors = diagonalize(problem, x)
    rank = (values > rank_tol * values[:, :1].clamp_min(0)).sum(1)
    return NormalSpace(values, vectors, rank)


def third_derivative(problem: Problem, x: Tensor, v: Tensor) -> Tensor:
    """Return ∇³L(x)[v, v], the gradient of the curvature vᵀ∇²L(x)v along fixed vectors v, (runs, k, dim).

    For a simple eigenvalue with unit eigenvector v it is ∇λ (first-order perturbation theory).

    Args:
        problem: whose loss; three times differentiable by autograd.
        x: (dim,) or (runs, dim), where.
        v: (runs, k, dim).

    Raises:
        ValueError: when the shapes do not fit.

    Source: Section 4, the step from the third-order term of the Taylor expansion to ∇λ₁.

    >>> from samviz.problems import valley
    >>> v = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]]).double()
    >>> third_derivative(valley(), torch.tensor([0.5, 0.5, 0.0, 0.0]), v)[0, 0]  # ∇(2F₁) = (4x₁, 24x₂, 0, 0)
    tensor([ 2., 12.,  0.,  0.], dtype=torch.float64)
    """
    problem, x = at_point(problem, x)
    check_tensor("v", v, (len(x), -1, problem.dim))
    with one_thread(problem), torch.enable_grad():
        copies = x.repeat_interleave(v.shape[1], 0).requires_grad_()
        flat = v.reshape(-1, problem.dim).to(copies)
        (change,) = torch.autograd.grad(problem.loss(copies).sum(), copies, create_graph=True)
        for _ in range(2):  # twice along v
            if not change.requires_grad:  # a quadratic's curvature does not change
                return torch.zeros_like(flat).view(v.shape)
            (change,) = torch.autograd.grad((change * flat).sum(), copies, create_graph=True, materialize_grads=True)
    return change.detach().view(v.shape)


# ---- the top eigenpairs, by block Lanczos or LOBPCG when large, and the alignment of the gradient

BLOCK_WIDTH = 2  # block size of a cold start: finds a double λ₁
LOOSE = 0.01  # tolerance above which a cold start has a single vector, which takes fewer products
WARM_PRODUCTS = 5  # least number of products in new directions in a warm start (k of them if k < 5)
NOISE = 0.01  # size of the noise in the guard vector, without which it stays orthogonal to some eigenvectors
NEGLIGIBLE = 1e-9  # share of the Hessian's norm below which the direction of a residual is rounding error
SMALL_DIM = 4000  # a cold start adds SMALL_DIM // dim blocks, one to three, before each `eigh`
COLD_EVERY = 50  # calls: warm ones may never find an eigenvalue that appears above those that they follow
CAPACITY = 8  # times (k + 2) vectors, up to which a basis may grow before it is restarted from its best half
CLOSE = 0.05  # eigenvalues within 5 % of λ₁ belong to the top eigenspace
ORTHOGONAL = 1e-5  # component of unit vectors in the basis that one last projection removes
ROUNDED = 10  # rounding errors in that component that need no projection


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
    """Return the k largest eigenvalues of the Hessian and their eigenvectors.

    Up to 500 parameters the Hessian is diagonalized. Above, block Lanczos with full reorthogonalization, or from old
    vectors LOBPCG, stops when every residual is at most tol·max(gap, ⅔|λ|). A residual r bounds the distance to an
    eigenvalue by r, and by r²/gap where that is less.

    Args:
        problem: whose Hessian.
        x: (dim,) or (runs, dim), where the Hessian is taken.
        k: how many eigenpairs, 1 to dim.
        batch: int64 (runs, b), the samples of the mean loss; None for all.
        start: the result of this function at a nearby point, for a warm start; every fiftieth call ignores it, because
            warm starts may miss an eigenvalue that appears above. Or vectors (runs, m, dim), which are always used.
        tol: relative tolerance; None is 1e-6 in float64 and 1e-3 in float32. Above 1e-2 a cold start takes about a
            third fewer products, but counts a multiple eigenvalue once.
        max_products: Hessian-vector products per run after which the method stops without convergence.
        seed: of the random vectors.

    Returns:
        The eigenpairs with residuals, gaps and `converged`, and the `age` of the warm start.

    Raises:
        ValueError: when k is not between 1 and dim, x does not fit the problem, or the Hessian is not finite.

    Source: Knyazev, LOBPCG (2001); Saad, Numerical Methods for Large Eigenvalue Problems, ch. 6.

    >>> from samviz.problems import quadratic
    >>> top_eigenpairs(quadratic([1.0, 3.0, -5.0]), torch.zeros(3), k=2).values
    tensor([[3., 1.]], dtype=torch.float64)
    """
    problem, x = at_point(problem, x)
    k = check_int("k", k, f"1 to {problem.dim}, the number of parameters of {problem.name}", 1, problem.dim)
    age = 0
    if isinstance(start, Eigenpairs):
        age, start = start.age, start.start
    if start is not None:
        check_tensor("start", start, (len(x), -1, problem.dim))
        age += 1
    if age == COLD_EVERY:
        start, age = None, 0
    default = 1e-6 if x.dtype == torch.float64 else 1e-3
    tol = default if tol is None else check_float("tol", tol, "a positive number, or None", lambda t: t > 0)
    max_products = check_int("max_products", max_products, "1 or more", 1)
    seeded_generator(seed)  # refuses an invalid seed also where no random vector is needed
    with one_thread(problem):
        if problem.dim <= DENSE:
            return _dense(*diagonalize(problem, x, batch), k, tol)
        hvp = problem.hvp(x, batch)
        width = 1 if tol > LOOSE else BLOCK_WIDTH
        pairs = _krylov(lambda v: check_finite(problem, hvp(v)), x, k, start, tol, max_products, seed, width)
        return replace(pairs, age=age)


def _dense(hessian: Tensor, spectrum: Tensor, basis: Tensor, k: int, tol: float) -> Eigenpairs:
    values, vectors = spectrum[:, :k], basis[:, :k]
    residuals = (vectors @ hessian - values[..., None] * vectors).norm(dim=2)
    host_gaps, allowed = _gaps_and_tolerances(on_host(spectrum), k, tol, spectrum.dtype)
    converged = residuals <= torch.from_numpy(allowed).to(residuals)
    gaps = torch.from_numpy(host_gaps).to(values)
    return Eigenpairs(values, vectors, residuals, gaps, converged, hessian.shape[1], True, vectors)


def _krylov(
    product: Operator,
    x: Tensor,
    k: int,
    start: Tensor | None,
    tol: float,
    max_products: int,
    seed: int,
    width: int,
) -> Eigenpairs:
    """Apply Rayleigh–Ritz in a basis that grows by residuals until they are small: block Lanczos, or LOBPCG if warm."""
    # A warm start contains the old vectors and a guard below them, which finds an eigenvalue that rises. Where the
    # vectors turn, the next start also contains the directions that they came from: at the edge of stability, these
    # are the other half of a period-two orbit.
    runs, dim = x.shape
    generator = seeded_generator(seed)

    def noise(rows: int) -> Tensor:  # unit rows, the same for every run, so that no run depends on the others
        draw = torch.rand(rows, dim, generator=generator, dtype=torch.float64) - 0.5
        return torch.nn.functional.normalize(draw).to(x).expand(runs, -1, -1)

    def on_device(array: Array) -> Tensor:
        return torch.from_numpy(array.copy()).to(x)

    least = min(k + 1, dim)  # the gap of the k-th eigenvalue needs the next one
    if start is None:
        block, min_products = noise(min(width, dim)), 0
    else:
        block = start[:, : min(2 * k + 1, dim)].to(x)
        block = torch.cat((block, noise(max(0, least - block.shape[1]))), 1)
        block[:, k : k + 1] += NOISE * noise(least - k)
        old, min_products = block[:, :k], max(block.shape[1] + min(k, WARM_PRODUCTS), 2 * k + 2)
    capacity = min(dim, CAPACITY * (k + 2))
    space = Subspace(product, block, capacity)
    pace = width * max(min(SMALL_DIM // dim, 3), 1)
    spent, next_check = space.rows, least + pace
    while True:
        step = min(width, dim - space.rows)
        affordable = spent + step <= max_products
        may_grow = start is None and 0 < step <= capacity - space.rows and affordable
        grow = space.rows < (max(least, next_check) if may_grow else least)
        if not grow:
            values = space.solve()
            gaps, allowed = _gaps_and_tolerances(values, k, tol, x.dtype)
            next_check = space.rows + max(pace, space.rows // 5)
            grow = may_grow and bool((space.expected_residuals(width)[:, :k] > allowed).any())
        if grow:
            space.grow(step)
            spent += step
            continue
        vectors, remainder = space.ritz(least)
        size = np.maximum(np.abs(values).max(1), torch.finfo(x.dtype).tiny)[:, None]
        unit = np.ldexp(1.0, np.frexp(size)[1] - 1)  # squares of tiny residuals underflow; a power of two is exact
        remainder /= on_device(unit[..., None])
        residuals = on_host(torch.linalg.vector_norm(remainder, dim=2)) * unit
        unconverged = ~(residuals[:, :k] <= allowed)
        if step == 0 or not affordable or (not unconverged.any() and spent >= min_products):
            break
        if start is not None:
            step = min(max(1, int(unconverged.sum(1).max())), dim - space.rows, max_products - spent)
        if step > capacity - space.rows:
            space.restart()
        # extend by the residuals that have not converged, then by that of the guard
        rank = np.concatenate((np.where(unconverged, 0, 2), np.ones((runs, least - k))), 1)
        order = np.argsort(rank, 1, kind="stable")[:, :step]
        new = remainder[np.arange(runs)[:, None], order]
        new = torch.nn.functional.normalize(new, dim=2)
        rounding = np.take_along_axis(residuals <= NEGLIGIBLE * size, order, 1)
        if rounding.any():
            new = torch.where(torch.from_numpy(rounding).to(x.device)[..., None], noise(step), new)
        space.extend(new)
        spent += step
    if start is None and k > width > 1 and not unconverged.any() and spent + least <= max_products:
        spread = values[:, : k - width + 1] - values[:, width - 1 : k]
        if (spread <= max(tol**2, NEGLIGIBLE) * size).any():  # as many equal values as the block is wide: perhaps more
            again = _krylov(product, x, k, None, tol, max_products - spent, seed, least)
            return replace(again, products=again.products + spent)
    top, tail = vectors[:, :k], vectors[:, k:]
    if k < dim:
        # one step of the power method, which costs no product, moves the guard towards larger eigenvalues
        guard = tail + remainder[:, k:] / on_device(2 * (size / unit)[..., None])
        if start is not None:
            left = old - (old @ top.mT) @ top
            guard = torch.cat((guard, left[:, left.norm(dim=2).amax(0) > tol]), 1)
        tail = orthonormal(guard[:, : dim - k], top)
    rows = torch.cat((top, tail), 1)
    found, errors, distances = (on_device(array) for array in (values[:, :k], residuals[:, :k], gaps))
    converged = torch.from_numpy(~unconverged).to(x.device)
    return Eigenpairs(found, rows[:, :k], errors, distances, converged, spent, False, rows)


def _gaps_and_tolerances(spectrum: Array, k: int, tol: float, dtype: torch.dtype) -> tuple[Array, Array]:
    """Return the gaps of the first k of a descending spectrum (runs, m), and the largest residuals that converged."""
    steps = np.full((len(spectrum), spectrum.shape[1] + 1), np.inf)
    steps[:, 1:-1] = spectrum[:, :-1] - spectrum[:, 1:]
    gaps = np.minimum(steps[:, :k], steps[:, 1 : k + 1])
    top, size = np.abs(spectrum[:, :1]), np.abs(spectrum).max(1, keepdims=True)
    floor = np.maximum(np.abs(spectrum[:, :k]) / 1.5, top / 1000)  # where the gap closes, or the eigenvalue is near 0
    rounding = 100 * torch.finfo(dtype).eps * size  # of any residual
    return gaps, np.maximum(tol * np.maximum(np.minimum(gaps, top), floor), rounding)


class Subspace:
    """An orthonormal basis, its products with a symmetric operator, and the operator restricted to its span."""

    def __init__(self, product: Operator, block: Tensor, capacity: int) -> None:
        """Start with the span of the rows of a block, (runs, m, dim); allocate memory for `capacity` rows."""
        runs, _, dim = block.shape
        self.product = product
        self.rows = 0
        self._basis = block.new_empty(runs, capacity, dim)
        self._image = block.new_empty(runs, capacity, dim)
        # On the host, where small matrices cost microseconds, and on a GPU milliseconds.
        self._projected = torch.zeros(runs, capacity, capacity, dtype=torch.float64)  # only the lower triangle is used
        self.extend(block)

    @property
    def basis(self) -> Tensor:
        """The orthonormal rows, (runs, rows, dim)."""
        return self._basis[:, : self.rows]

    @property
    def image(self) -> Tensor:
        """The products of the basis with the operator, (runs, rows, dim)."""
        return self._image[:, : self.rows]

    def extend(self, block: Tensor, inside: Tensor | None = None) -> None:
        """Add the span of the rows of a block (runs, m, dim), as `orthonormal` takes it; this takes m products."""
        old, new = self.rows, self.rows + block.shape[1]
        self._basis[:, old:new] = orthonormal(block, self.basis, inside)
        self._image[:, old:new] = image = self.product(self._basis[:, old:new])
        self._projected[:, old:new, :new] = torch.bmm(image, self._basis[:, :new].mT)
        self.rows = new

    def grow(self, width: int) -> None:
        """Add the span of the last products, which makes a Krylov space; this takes `width` products."""
        self.extend(self.image[:, -width:], self._last_rows(width).to(self._basis))

    def solve(self) -> Array:
        """Return the Ritz values (runs, rows), largest first."""
        values, mixing = torch.linalg.eigh(self._projected[:, : self.rows, : self.rows])
        self._values, self._mixing = values.flip(1), mixing.flip(2).mT  # coefficients as rows
        found: Array = self._values.numpy()
        return found

    def expected_residuals(self, width: int) -> Array:
        """Return the residuals (runs, rows) if only the last `width` products leave the space, as in a Krylov space."""
        image, inside = self.image[:, -width:], self._last_rows(width)
        outside = torch.bmm(image, image.mT).cpu().double() - inside @ inside.mT
        last = self._mixing[:, :, -width:]
        found: Array = (last @ outside * last).sum(2).clamp(min=0).sqrt().numpy()
        return found

    def _last_rows(self, width: int) -> Tensor:
        return self._projected[:, self.rows - width : self.rows, : self.rows]

    def ritz(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first Ritz vectors v of the last call of `solve`, with their Hv − λv, (runs, count, dim)."""
        mixing = self._mixing[:, :count].to(self._basis)
        vectors = torch.bmm(mixing, self.basis)
        first = self._values[:, :count, None].to(vectors)
        return vectors, torch.bmm(mixing, self.image).addcmul_(first, vectors, value=-1)

    def restart(self) -> None:
        """Keep only the best half of the Ritz vectors, those of the last call of `solve`."""
        keep = self.rows // 2
        mixing = self._mixing[:, :keep].to(self._basis)
        self._basis[:, :keep], self._image[:, :keep] = mixing @ self.basis, mixing @ self.image
        self._projected[:, :keep, :keep] = torch.diag_embed(self._values[:, :keep])
        self.rows = keep


def orthonormal(block: Tensor, basis: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return orthonormal rows that span the components of a block (runs, m, dim) orthogonal to a basis."""
    if inside is None:  # the components of the block in the basis, (runs, m, rows)
        inside = torch.bmm(block, basis.mT)
    while True:  # two passes suffice, except for nearly dependent rows, whose difference is rounding error at first
        block = torch.linalg.qr(torch.baddbmm(block, inside, basis, alpha=-1).mT).Q.mT
        inside = torch.bmm(block, basis.mT)
        size = float(torch.linalg.vector_norm(inside))
        if size <= ROUNDED * torch.finfo(block.dtype).eps:
            return block
        if not size >= ORTHOGONAL:  # with NaN, too, which the next product reports
            return torch.baddbmm(block, inside, basis, alpha=-1)


@dataclass(frozen=True)
class Alignment:
    """The alignment of a gradient with the top of the spectrum; 1 is full alignment.

    Once λ₁ meets λ₂, v₁ is no longer unique and its cosine fluctuates. The measures with the top eigenspace and by the
    Rayleigh ratio stay meaningful.
    """

    cos_v1: Tensor  # (runs,), |cos(∇L, v₁)|
    cos_eigenspace: Tensor  # (runs,), norm of the gradient direction's projection on the top eigenspace
    rayleigh: Tensor  # (runs,), gᵀHg / (|λ₁|‖g‖²), negative where the curvature along g is negative
    multiplicity: Tensor  # int64 (runs,), eigenvalues in the top eigenspace, among those computed
    gap: Tensor  # (runs,), (λ₁ − λ₂)/|λ₁|; inf for one parameter
    closing: Tensor  # bool (runs,), True when λ₂ lies in the top eigenspace


def alignment(
    problem: Problem,
    x: Tensor,
    *,
    batch: Tensor | None = None,
    gradient: Tensor | None = None,
    eigenpairs: Eigenpairs | None = None,
    close: float = CLOSE,
) -> Alignment:
    """Return the alignment of the gradient with the top eigenvector, with the top eigenspace, and by Rayleigh ratio.

    Args:
        problem: whose loss.
        x: (dim,) or (runs, dim), where.
        batch: int64 (runs, b), the samples of the mean loss; None for all.
        gradient: (runs, dim) or (dim,), the vector to align; None is ∇L(x).
        eigenpairs: those at x if they are known; at least two are needed to detect a closing gap. None computes three.
        close: share of λ₁ within which an eigenvalue belongs to the top eigenspace, 0 to 1.

    Returns:
        The three measures and the state of the eigengap; NaN where the gradient is zero.

    Raises:
        ValueError: when x, batch, gradient or eigenpairs do not fit the problem.

    Source: Theorem 4.5, phase II: the angle between ∇L(x(t)) and the top eigenspace is O(ρ).

    >>> from samviz.problems import quadratic
    >>> import torch
    >>> alignment(quadratic([2.0, 1.0]), torch.tensor([1.0, 0.0])).cos_v1
    tensor([1.], dtype=torch.float64)
    """
    problem, x = at_point(problem, x)
    close = check_float("close", close, "a share of λ₁, 0 to 1", lambda share: 0 <= share <= 1)
    if eigenpairs is None:
        eigenpairs = top_eigenpairs(problem, x, min(3, problem.dim), batch=batch)
    else:
        check_type("eigenpairs", eigenpairs, Eigenpairs, "what top_eigenpairs gives, or None")
        check_tensor("eigenpairs.vectors", eigenpairs.vectors, (len(x), -1, problem.dim))
    if gradient is None:
        gradient = problem.gradient(x, batch)[1]
    else:
        gradient = problem.points(gradient, "gradient")
        check_tensor("gradient", gradient, tuple(x.shape))
    with one_thread(problem):
        direction = gradient / gradient.norm(dim=1, keepdim=True)  # NaN where the gradient is zero
        top = eigenpairs.values[:, :1]
        inside = eigenpairs.values >= top - close * top.abs()  # (runs, k)
        cosines = (eigenpairs.vectors @ direction[..., None])[..., 0].abs()  # (runs, k)
        curvature = (direction * problem.hvp(x, batch)(direction[:, None])[:, 0]).sum(1)
    size, gap = top[:, 0].abs(), eigenpairs.gaps[:, 0]
    return Alignment(
        cos_v1=cosines[:, 0].clamp(max=1),
        cos_eigenspace=(cosines * inside).norm(dim=1).clamp(max=1),
        rayleigh=curvature / size,
        multiplicity=inside.sum(1),
        gap=gap / size,
        closing=gap <= close * size,
    )
