"""Update rules x ← x − ηd, each one decorated function that returns the direction d, and the settings of a run.

A rule is written in the primitives of `samviz.problems.primitives`, which work on all runs in torch. The same code is
compiled with the primitives of `samviz.kernels.primitives`, so the formula of a rule exists once. All gradients of a
step are those of the same batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from samviz.checks import check_array, check_float, check_int, check_type
from samviz.geometry.sharpness import frank_wolfe
from samviz.problems import Problem
from samviz.problems.network import LOSSES
from samviz.problems.primitives import (
    Number,
    StepInput,
    divide,
    dot,
    fixed_direction,
    gradient,
    hvp,
    mean_gradient,
    noisy_gradient,
    norm,
    unit,
)

Batch = Tensor | None  # int64 (runs, b), sample indices; None for the full batch

PAIRS = 8  # pairs of opposite directions in a step of `average`
POWER_STEPS, TURN = 5, 0.2  # power iterations of a step of `eigen_sam`, and the length of v₁'s part that it adds


class Step(NamedTuple):
    """A step of every run."""

    x: Tensor  # (runs, dim), the next iterate
    loss: Tensor  # (runs,), loss of the batch at the old iterate
    gradient: Tensor  # (runs, dim), its gradient
    direction: Tensor  # (runs, dim), d in x ← x − ηd


@dataclass(frozen=True)
class Rule:
    """An update rule: the function of its direction, and all that the rest of samviz needs to know about the rule."""

    name: str  # its key in `RULES`
    direction: Callable[[Any, Any, Any, Any], Any]  # the decorated function of (p, x, g, rho)
    label: str  # its name in menus
    watch: str = ""  # one sentence for the lab, on what a learner should watch under this rule
    point: str = ""  # where its direction evaluates the gradient, if not at x, as a formula
    meaning: str = ""  # what its direction d is, if not the gradient at that point
    noise: Callable[[int, int], int] | None = None  # (parameters, targets of the batch) -> normal numbers of a step
    square_loss: bool = False  # whether the rule needs a square loss
    gd_at_zero_rho: bool = False  # whether the rule is gradient descent at ρ = 0
    follows_gradient: bool = False  # whether it perturbs along or near ∇L, which then aligns with v₁ on the full batch
    aligns: bool = False  # whether ∇L along v₁ shows that a full-batch run has reached phase II
    unit_length: bool = False  # whether every step has length η, so that steps do not grow when ηλ₁ > 2
    measures_curvature: bool = False  # whether it is ∇L(x + ρu), u = ∇L/‖∇L‖: a step's two gradients measure uᵀ∇²L u
    capturable: bool = False  # whether its steps never synchronize with the CPU, so that a CUDA graph can capture them
    compiled: bool = False  # whether numba can compile the function

    def __call__(
        self,
        problem: Problem,
        x: Tensor,
        batch: Batch,
        lr: Number,
        rho: Number,
        noise: Tensor | None = None,
        *,
        before: Tensor | None = None,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        micro_batch: int | None = None,
    ) -> Step:
        """Take one step of every run, x ← x − η(d + κx) + β(x − x₋) with the previous iterate x₋.

        Args:
            problem: the loss that is minimized.
            x: (runs, dim), the iterates.
            batch: int64 (runs, b), sample indices; None for the full batch.
            lr: learning rate η, a number or (runs, 1).
            rho: perturbation radius ρ, a number or (runs, 1).
            noise: (runs, count), standard normal numbers, for a rule that draws noise; see `noise_count`.
            before: (runs, dim), x₋, which momentum needs.
            momentum: β of the heavy ball.
            weight_decay: κ; the gradient of ½κ‖x‖² is added to the direction.
            micro_batch: number of samples m; d is the mean of the directions of micro-batches of m samples, each with
                its own perturbation. None is the batch.

        Returns:
            The step.
        """
        loss, g = problem.gradient(x, batch)
        if self.gd_at_zero_rho and isinstance(rho, float | int) and rho == 0:
            direction = g
        elif micro_batch is None:
            direction = self.direction(StepInput(problem, batch, noise), x, g, rho)
        else:
            rows = torch.arange(problem.samples, device=x.device).expand(len(x), -1) if batch is None else batch
            direction = torch.zeros_like(x)
            for part in rows.split(micro_batch, 1):
                each = self.direction(StepInput(problem, part, noise), x, problem.gradient(x, part)[1], rho)
                direction = direction + part.shape[1] / rows.shape[1] * each
        if self.gd_at_zero_rho and isinstance(rho, Tensor):
            direction = torch.where(rho > 0, direction, g)
        after = x - lr * direction
        if weight_decay or momentum:  # otherwise the step is the same bit for bit
            after = after - lr * weight_decay * x + (momentum * (x - before) if before is not None else 0)
        return Step(after, loss, g, direction)

    def noise_count(self, problem: Problem, batch_size: int | None) -> int:
        """Return how many standard normal numbers a step of one run needs."""
        return self.noise(problem.dim, (batch_size or problem.samples) * problem.square_targets) if self.noise else 0


RULES: dict[str, Rule] = {}


def rule(label: str = "", **properties: Any) -> Callable[[Callable[[Any, Any, Any, Any], Any]], Rule]:
    """Register a function as an update rule under its name in `RULES`.

    The function returns the direction d of x ← x − ηd from (p, x, g, rho): the step's input p, whose `p.noise` holds
    the declared noise, the iterates x (runs, dim), their gradients g (runs, dim), and ρ. It uses arithmetic and the
    functions of `samviz.problems.primitives`, imported by their names.

    Args:
        label: the rule's name in menus; the function's name by default.
        **properties: the other attributes of `Rule`.

    Returns:
        The decorator, which returns the registered `Rule`.

    >>> from samviz.problems import quadratic
    >>> @rule("sign descent")
    ... def sign_descent(p, x, g, rho):
    ...     return g.sign()
    >>> RULES.pop("sign_descent")(quadratic([3.0, 1.0]), torch.ones(1, 2, dtype=torch.float64), None, 0.1, 0.0).x
    tensor([[0.9000, 0.9000]], dtype=torch.float64)
    """

    def register(function: Callable[[Any, Any, Any, Any], Any]) -> Rule:
        name = function.__name__
        RULES[name] = Rule(name, function, label or name, **properties)
        return RULES[name]

    return register


PORTABLE = {"capturable": True, "compiled": True}  # for rules written in primitives that never synchronize
PERTURBED = PORTABLE | {"gd_at_zero_rho": True}  # for such rules that are gradient descent at ρ = 0

# The rules


@rule("gradient descent", watch="Gradient descent does not use ρ: choose the rule SAM.", **PORTABLE)
def gd(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Gradient descent, x ← x − η∇L(x); ρ is not used."""
    return g


@rule(
    "SAM",
    watch="The alignment rises as the loss settles.",
    point="x + ρ∇L/‖∇L‖",
    follows_gradient=True,
    aligns=True,
    measures_curvature=True,
    **PERTURBED,
)
def sam(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Sharpness-aware minimization, x ← x − η∇L(x + ρ∇L(x)/‖∇L(x)‖) (Eq. 3); batch size 1 is 1-SAM (Eq. 17)."""
    return gradient(p, x + rho * unit(g))


@rule(
    "unnormalized SAM",
    watch="Not normalized, the perturbation vanishes with ∇L, and so does the decrease of λ₁ (Dai et al. 2023).",
    point="x + ρ∇L",
    **PERTURBED,
)
def usam(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Unnormalized SAM, x ← x − η∇L(x + ρ∇L(x)) (Andriushchenko & Flammarion 2022)."""
    return gradient(p, x + rho * g)


@rule(
    "adaptive SAM",
    watch="ρ counts in units of each |xᵢ|: what is near zero is hardly perturbed (Kwon et al. 2021).",
    point="x + ρT²∇L/‖T∇L‖ with T = diag|x|",
    **PERTURBED,
)
def asam(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Adaptive SAM, x ← x − η∇L(x + ρT²∇L(x)/‖T∇L(x)‖) with T = diag|x| (Kwon et al. 2021)."""
    scale = abs(x)
    return gradient(p, x + rho * (scale * unit(scale * g)))


@rule(
    "exact ∇L_Asc",
    watch="L_Asc favours a small λ_M, the least non-zero eigenvalue (Table 1), but only as η → 0.",
    point="x + ρ∇L/‖∇L‖",
    meaning="that gradient and a term for how ∇L/‖∇L‖ turns with x",
    follows_gradient=True,
    **PERTURBED,
)
def ascent(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Gradient descent on the exact L_Asc(x) = L(x + ρu), u = g/‖g‖, g = ∇L(x).

    ∇L_Asc(x) = ∇L(x + ρu) + ρ/‖g‖ · ∇²L(x)(I − uuᵀ)∇L(x + ρu): SAM's gradient, and how u turns with x. Where g is
    zero, u is arbitrary and no function of x, and the second term is left out.
    """
    u = unit(g)
    perturbed_gradient = gradient(p, x + rho * u)
    across = perturbed_gradient - dot(perturbed_gradient, u) * u
    return perturbed_gradient + divide(rho, norm(g)) * hvp(p, x, across)


@rule(
    "exact ∇L_Max",
    watch="L_Max favours a small λ₁ (Table 1): SAM needs two gradients a step, and this rule a maximization.",
    point="x + ρv*, the highest that it finds",
    gd_at_zero_rho=True,
    follows_gradient=True,
    aligns=True,
    compiled=True,
)
def worst(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Gradient descent on L_Max(x) = max over ‖v‖ ≤ 1 of L(x + ρv), whose gradient is ∇L(x + ρv*).

    The maximizer v* counts as fixed (Danskin's envelope theorem). The search for it starts from ∇L/‖∇L‖, shifted by a
    tenth: at a minimum found by gradient descent ∇L is orthogonal to v₁. The search synchronizes with the CPU to test
    whether it has converged, so no CUDA graph can capture it.
    """
    start = unit(unit(g) + 0.1 * fixed_direction(x))
    return gradient(p, x + rho * frank_wolfe(p, x, rho, start, 1e-6, 100)[0])


@rule(
    "Eigen-SAM",
    watch="The perturbation is turned toward v₁ (Luo et al. 2024), so ∇L aligns sooner.",
    point="x + ρu/‖u‖, u = ∇L/‖∇L‖ turned toward v₁",
    follows_gradient=True,
    aligns=True,
    **PERTURBED,
)
def eigen_sam(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Eigen-SAM, SAM with u + 0.2·sign(vᵀu)(v − (vᵀu)u) instead of u = ∇L/‖∇L‖, scaled to length ρ (Luo et al. 2024).

    v estimates v₁ by five power iterations with the Hessian of the batch. The authors continue from the last v, every
    100 steps. A rule keeps no state, so here every step starts from u and a fixed vector, because u may be orthogonal
    to v₁. The five Hessian-vector products make a compiled step about ten times as expensive as SAM's.
    """
    u = unit(g)
    v = unit(u + fixed_direction(x))
    for _ in range(POWER_STEPS):
        v = unit(hvp(p, x, v))
    along = dot(u, v)
    turned = u + TURN * divide(along, abs(along)) * (v - along * u)
    return gradient(p, x + rho * unit(turned))


@rule(
    "∇L_Avg, estimated",
    watch="L_Avg favours a small trace (Table 1), but the factor of the trace is only ρ²/(2D).",
    point="x ± ρu for 8 random directions u",
    meaning="the mean of these gradients",
    noise=lambda dim, targets: PAIRS * dim,
    **PERTURBED,
)
def average(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Gradient descent on L_Avg(x) = E L(x + ρu), u uniform on the sphere, with an unbiased estimate of ∇L_Avg.

    The estimate is the mean of ∇L(x ± ρu) over 8 new directions u a step: pairs cancel what is linear in u.
    """
    return mean_gradient(p, x, rho)


@rule(
    "random perturbation",
    watch="On average a step on L_Avg: the trace falls (Table 1), slowly where D is large.",
    point="x + ρu for one random direction u",
    noise=lambda dim, targets: dim,
    **PERTURBED,
)
def random(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """One random direction a step, x ← x − η∇L(x + ρu), u uniform on the sphere: on average a step on L_Avg."""
    return gradient(p, x + rho * unit(p.noise))


@rule(
    "label noise",
    watch="The noise on the targets, of size ρ, makes the trace fall along the floor (Damian et al. 2021).",
    meaning="the gradient for targets with noise of size ρ",
    noise=lambda dim, targets: targets,
    square_loss=True,
    **PERTURBED,
)
def label_noise(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Gradient descent on a square loss with targets y + ρξ, ξ standard normal, new for every sample and step.

    ρ is the noise's standard deviation. The step's loss is that of the clean targets.

    Source: Blanc et al. (2020); Damian, Ma & Lee (2021); Li, Wang & Arora (2022).
    """
    return noisy_gradient(p, x, rho * p.noise)


@rule(
    "normalized GD",
    watch="Steps of one length bounce along v₁ and λ₁ falls by O(η²) a step, without ρ (Arora et al. 2022).",
    meaning="∇L/‖∇L‖, which has length 1",
    aligns=True,
    unit_length=True,
    **PORTABLE,
)
def normalized_gd(p: StepInput, x: Tensor, g: Tensor, rho: Number) -> Tensor:
    """Normalized gradient descent, x ← x − η∇L/‖∇L‖ (Arora, Li & Panigrahi 2022); ρ is not used.

    Where the gradient is zero, x does not move.
    """
    return divide(g, norm(g))


def directional_curvature(step: Step, rho: Number) -> Tensor:
    """Return u·(∇L(x + ρu) − ∇L(x))/ρ ≈ uᵀ∇²L u of a SAM step, u = ∇L/‖∇L‖, (runs,), off by O(ρ); NaN where ρ = 0."""
    rise: Tensor = dot(step.direction - step.gradient, unit(step.gradient))  # 0 where ρ = 0
    return (rise / rho)[:, 0]


# The settings


@dataclass(frozen=True)
class Settings:
    """What may be changed between two steps of a run.

    Raises:
        ValueError: if a value is out of its range; the message states the range.
        TypeError: if a value is not a number.

    >>> Settings("sam", lr=0.1, rho=0.05).batch_size is None
    True
    """

    rule: str = "sam"  # a name in `RULES`
    lr: float | tuple[float, ...] = 0.1  # η > 0, one or one per run
    rho: float | tuple[float, ...] = 0.05  # perturbation radius ρ ≥ 0, or the label noise's size; one or one per run
    batch_size: int | None = None  # samples per step; None is the full batch
    momentum: float = 0.0  # β of the heavy ball, 0 ≤ β < 1
    weight_decay: float = 0.0  # κ ≥ 0: ½κ‖x‖² is added to the loss that is minimized, but not to the one measured
    micro_batch: int | None = None  # m, samples that share a perturbation (m-sharpness); None is the batch
    lr_decay: float = 0.0  # δ ≥ 0: step t has the learning rate η/(1 + δt)
    loss_name: str = ""  # "mse" or "cross_entropy", if the problem has both; "" is the problem's own

    def __post_init__(self) -> None:
        """Check and normalize every value."""
        if not isinstance(self.rule, str) or self.rule not in RULES:
            raise ValueError(f"rule is {self.rule!r}; expected one of {', '.join(RULES)}")
        if self.loss_name not in ("", *LOSSES):
            raise ValueError(f"loss_name is {self.loss_name!r}; expected one of {', '.join(LOSSES)}, or ''")
        object.__setattr__(self, "lr", _float_or_tuple("lr", self.lr))
        object.__setattr__(self, "rho", _float_or_tuple("rho", self.rho))
        if min(_tuple(self.lr)) <= 0:
            raise ValueError(f"lr is {self.lr}; expected a learning rate above 0")
        if min(_tuple(self.rho)) < 0:
            raise ValueError(f"rho is {self.rho}; expected a perturbation radius of 0 or more (0 is gradient descent)")
        for name, expected, fits in (
            ("momentum", "a number β with 0 ≤ β < 1", lambda value: 0 <= value < 1),
            ("weight_decay", "a number of 0 or more", lambda value: value >= 0),
            ("lr_decay", "a number of 0 or more", lambda value: value >= 0),
        ):
            object.__setattr__(self, name, check_float(name, getattr(self, name), expected, fits))
        for name, of in (("batch_size", "samples, or None for the full batch"), ("micro_batch", "samples, or None")):
            if (size := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_int(name, size, f"1 to the number of {of}", 1))

    def fit(self, runs: int, problem: Problem) -> Settings:
        """Check the settings against a run, and return them with None for a size that changes nothing.

        These are a batch size of n, and a micro-batch of the batch's size or of a rule that draws noise, whose
        perturbation does not depend on the samples. The loss is returned by its name if there is a choice.

        Args:
            runs: number of runs.
            problem: the loss that is minimized.

        Raises:
            ValueError: if they do not fit.
        """
        check_type("problem", problem, Problem, "one from samviz.problems")
        for name in ("lr", "rho"):
            count = len(_tuple(getattr(self, name)))
            if count not in (1, runs):
                raise ValueError(f"{name} has {count} values for {runs} runs; expected one, or one per run")
        loss = problem.with_loss(self.loss_name)
        if RULES[self.rule].square_loss and not loss.square_targets:
            raise ValueError(
                f"rule is {self.rule!r}, which needs a square loss; {problem.name} has none: "
                "use mlp(..., loss='mse') or valley()"
            )
        samples = problem.samples
        for name in ("batch_size", "micro_batch"):
            if (size := getattr(self, name)) is not None and samples == 0:
                raise ValueError(f"{name} is {size} but this loss is not a mean over samples; expected None")
            if size is not None and size > samples:
                raise ValueError(f"{name} is {size}; expected 1 to {samples}, the number of samples")
        batch = self.batch_size if self.batch_size != samples else None
        useless = RULES[self.rule].noise or (self.micro_batch or samples) >= (batch or samples)
        micro_batch, name = None if useless else self.micro_batch, loss.loss_name if problem.losses else ""
        return replace(self, batch_size=batch, micro_batch=micro_batch, loss_name=name)

    def rate(self, step: int) -> float | tuple[float, ...]:
        """Return the learning rate of a step of the run, η/(1 + δ·step), one or one per run.

        >>> Settings(lr=0.1, lr_decay=0.01).rate(100)
        0.05
        """
        divisor = 1 + self.lr_decay * check_int("step", step, "0 or more", 0)
        return tuple(lr / divisor for lr in self.lr) if isinstance(self.lr, tuple) else self.lr / divisor

    def row(self) -> dict[str, Any]:
        """Return the settings by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def per_run(value: float | tuple[float, ...], like: Tensor) -> float | Tensor:
    """Return one number, or one per run as a column (runs, 1) that multiplies (runs, dim)."""
    return torch.tensor(value, dtype=like.dtype, device=like.device)[:, None] if isinstance(value, tuple) else value


def _tuple(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _float_or_tuple(name: str, value: object) -> float | tuple[float, ...]:
    """Return a finite float, or a tuple of them."""
    array = check_array(name, value, expected := "a number, or one per run")
    if array.dtype.kind == "b" or array.ndim > 1:
        raise TypeError(f"{name} is {value!r:.200}; expected {expected}")
    if array.size == 0:
        raise ValueError(f"{name} is empty; expected {expected}")
    return tuple(array.astype(float).tolist()) if array.ndim else float(array)
