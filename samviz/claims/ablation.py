"""Figure 1 and Section 4: where each method ends on the valley, and what SAM's two approximations change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import fsolve, minimize, root
from torch import Tensor

from samviz.claims.claim import Array, Check, Curve, Evidence, Plot, at_most, claim, decreasing, exponent, line, near
from samviz.claims.subjects import (
    VALLEY_START,
    ascent_direction_sharpness,
    curvatures,
    cycle_size,
    gradient_flow_limit,
    iterates,
    new_run,
    overshoot,
    slopes,
)
from samviz.dynamics import Run
from samviz.dynamics.rules import RULES
from samviz.geometry import worst_direction_sharpness
from samviz.geometry.sharpness import trust_region
from samviz.problems import quadratic, valley

# ---- Figure 1: the point of the valley's floor at which each method ends

SMALLEST_TRACE = np.array([0.8, 1 / 7])


@claim("Figure 1", order=4.91, symbols="F₁, F₂; ∇L_Max", fails_with=[{"sam": "gd"}, {"worst": "average"}])
def figure_one_full_batch(quick: bool, sam: str = "sam", worst: str = "worst") -> Evidence:
    """Full-batch SAM and descent on exact L_Max end where λ₁ is smallest: at (0, 0) on the valley's floor.

    Near there x₁ decays at rate 2 in τ = ηρ²t by Eq. 7, and at 2·(2/(2 − ηλ₁))² at a finite η.
    """
    lr, rho = (np.array([0.04, 0.03, 0.02]), 0.5) if quick else (np.array([0.02, 0.01, 0.005]), 0.3)
    tau = np.array([0.5, 1.0, 1.5, 2.0])
    excess = {}
    for rule, name in ((sam, "SAM"), (worst, "descent on L_Max")):
        run = new_run(valley(), rule, lr, rho, x0=VALLEY_START)
        x = iterates(run, tau[:, None] / (lr * rho**2)).numpy()[..., :2]  # (times, runs, 2)
        distance = np.linalg.norm(x, axis=2)
        rate = np.log(x[-2, :, 0] / x[-1, :, 0]) / (tau[-1] - tau[-2])
        predicted = 2 * overshoot(lr, 2 * curvatures(x[-1])[0])
        excess[name] = rate / 2 - 1
        yield near(f"{name}: distance from (0, 0) at τ = 2", 0, distance[-1], absolute=0.02)
        yield decreasing(f"{name}: largest distance from (0, 0), at τ = 0.5, 1, 1.5, 2", distance.max(1))
        tolerance = rho**2 / 2  # the worst direction has the component ρ²/F₁ of x₁ along x₁, F₁ = 8
        yield near(f"{name}: decay rate of x₁ divided by 2·(2/(2 − ηλ₁))²", 1, rate / predicted, absolute=tolerance)
        yield decreasing(f"{name}: decay rate of x₁ divided by Eq. 7's, minus 1, as η falls", excess[name])
        for r, eta in enumerate(lr):
            yield Curve(f"{name}, η = {eta:g}", tau, distance[:, r])
    yield Plot("τ", "distance from (0, 0)", log_x=False)
    eq7 = np.linalg.norm(np.array(VALLEY_START[:2]) * np.exp(-np.outer(tau, [2, 12])), axis=1)
    yield Curve("Eq. 7", tau, eq7, predicted=True)
    yield (
        f"At η = {lr[0]:g} SAM's x₁ decays {1 + excess['SAM'][0]:.2f} times as fast as by Eq. 7, at η = {lr[-1]:g} "
        f"{1 + excess['SAM'][-1]:.2f} times: the 2-cycle's overshoot, which is not in the paper."
    )


def balance_point(lr: float) -> Array:
    """Return where 1-SAM's mean drift vanishes at a finite η: −½∇λ_k has weight (2/(2 − ηλ_k))², λ_k = 4F_k."""

    def drift(x: Array) -> Array:
        return np.asarray(sum(overshoot(lr, 4 * f) * slope for f, slope in zip(curvatures(x), slopes(x))))

    return np.asarray(fsolve(drift, SMALLEST_TRACE))


@claim("Figure 1", order=4.92, symbols="F₁, F₂", fails_with=[{"rule": "gd"}])
def figure_one_one_sample(quick: bool, rule: str = "sam") -> Evidence:
    """1-SAM ends where the trace is smallest, at (0.8, 1/7) on the valley's floor, once η is small enough.

    At a finite η the sharper sample has more weight, and the run ends where Σ_k (2/(2 − ηλ_k))²∇λ_k vanishes.
    """
    rates = np.array([0.01, 0.005, 0.0025])
    lr, rho, seeds = (rates, 0.4, 12) if quick else (rates / 2, 0.3, 24)
    steps = 1200 if quick else 12_000
    run = new_run(valley(), rule, np.repeat(lr, seeds), rho, batch_size=1, x0=(0.75, 0.2, 0.02, 0.02))
    run.step(steps // 2)
    total = np.zeros((len(run.x), 2))
    for _ in range(steps - run.steps):
        run.step()
        total += run.x[:, :2].numpy()
    ends = (total / (steps - steps // 2)).reshape(len(lr), seeds, 2)
    mean, error = ends.mean(1), np.linalg.norm(ends.std(1, ddof=1), axis=1) / seeds**0.5
    predicted = np.array([balance_point(eta) for eta in lr])
    distance, distance_from_predicted = (np.linalg.norm(mean - goal, axis=1) for goal in (SMALLEST_TRACE, predicted))
    yield near(f"distance from (0.8, 1/7) at η = {lr[-1]:g}", 0, distance[-1], absolute=0.02, error=error[-1])
    yield decreasing("distance from (0.8, 1/7) as η falls", distance)
    quantity, error_of_largest = "distance from the balance point at finite η", error[distance_from_predicted.argmax()]
    yield near(quantity, 0, distance_from_predicted, absolute=0.01, error=error_of_largest)
    quantity = "that distance divided by the distance from (0.8, 1/7)"
    yield at_most(quantity, distance_from_predicted / distance, 1, low=0)
    yield Plot("η", "distance from (0.8, 1/7)")
    yield Curve("measured", lr, distance, error=error)
    yield Curve("balance point at finite η", lr, np.linalg.norm(predicted - SMALLEST_TRACE, axis=1), predicted=True)
    texts = "; ".join(
        f"η = {eta:g}: ({x[0]:.3f}, {x[1]:.3f}), {d:.3f} away, predicted ({p[0]:.3f}, {p[1]:.3f})"
        for eta, x, d, p in zip(lr, mean, distance, predicted)
    )
    distant = ", ".join(f"{eta:g}" for eta, d in zip(lr, distance) if d > 0.02)
    yield f"{texts}. " + (f"Farther than 0.02 from (0.8, 1/7), as predicted, at η = {distant}." if distant else "")


@claim("Figure 1", order=4.93, symbols="x ← x − η∇L", fails_with=[{"rule": "sam"}])
def figure_one_gradient_descent(quick: bool, rule: str = "gd") -> Evidence:
    """Gradient descent on L stays where phase I ended: at Φ(x₀), up to O(η)."""
    lr = np.array([0.01, 0.005, 0.0025]) if quick else np.array([0.01, 0.005, 0.0025, 0.00125])
    x0 = np.array([0.6, 0.4, 0.3, 0.3])
    run = new_run(valley(), rule, lr, x0=x0)
    run.step(int(5 / lr.min()))  # flow time 5 or more: 2F₂ = 3.8 leaves e⁻¹⁹ of x₄, and x₁, x₂ depend on its square
    before = run.x[:, :2].numpy().copy()
    run.step(run.steps // 2)
    floor_distance = np.linalg.norm(run.x[:, :2].numpy() - before, axis=1)
    limit = gradient_flow_limit(valley(), run.problem.points(x0)).x.numpy()
    distance = np.linalg.norm(run.x.numpy() - limit, axis=1)
    share = floor_distance / np.linalg.norm((limit - x0)[:, :2])
    yield near("distance moved along the floor after phase I", 0, floor_distance, absolute=1e-10)
    yield near("that distance divided by the one from x₀ to Φ(x₀)", 0, share, absolute=1e-8)
    yield decreasing("distance from Φ(x₀) as η falls", distance)
    yield exponent("‖x − Φ(x₀)‖ ∝ η^p: p", lr, distance, 1, 0.15)
    yield Plot("η", "‖x − Φ(x₀)‖")
    yield Curve("measured", lr, distance)
    yield Curve("∝ η", lr, distance[-1] * lr / lr[-1], predicted=True)
    yield f"Φ(x₀) = ({limit[0, 0]:.4f}, {limit[0, 1]:.4f}) is none of (0, 0), (1, 1), (0.8, 1/7): no bias."


def step_gradient(rule: str, x: Tensor, rho: float) -> Array:
    """Return the gradient along which a rule steps on the valley from points (runs, 4): a step with η = 1."""
    run = Run(valley(), rule, 1.0, rho, x0=x, device="cpu")
    run.step()
    return (x - run.x).numpy()


def ascent_loss_gradient(x: Array, rho: float) -> Array:
    """Return ∇L_Asc on the valley, (4,), by complex steps through L(x + ρ∇L/‖∇L‖), without a derivative by hand."""

    def loss(x: Array) -> complex:
        first, second = curvatures(x)
        (a1, a2), (b1, b2) = slopes(x)
        g = np.array(
            [a1 * x[2] ** 2 + b1 * x[3] ** 2, a2 * x[2] ** 2 + b2 * x[3] ** 2, 2 * first * x[2], 2 * second * x[3]]
        )
        perturbed = x + rho * g / np.sqrt((g**2).sum())  # not a norm, which would take the modulus
        first, second = curvatures(perturbed)
        return complex(first * perturbed[2] ** 2 + second * perturbed[3] ** 2)

    return np.array([loss(x + 1e-30j * axis).imag / 1e-30 for axis in np.eye(4)])


def ascent_cycle(lr: float, rho: float, floor: Array | None = None) -> Array:
    """Return the 2-cycle x₃ → −x₃ of gradient descent on L_Asc, (4,): a stationary point of L_Asc − x₃²/η.

    (x₁, x₂) is fixed at `floor`, or part of the solution if that is None. The first guess is the cycle of a quadratic.
    """
    here = np.array([0.9, 0.3]) if floor is None else floor
    f1, f2 = curvatures(here)
    guess = [*ascent_cycle_near_low(lr, 1.0, 2 * float(f1), 2 * float(f2)), *here]

    def stationary(y: Array) -> Array:
        x = np.array([*(y[2:] if floor is None else floor), rho * y[0], rho * y[1]])
        slope = ascent_loss_gradient(x, rho)
        fast = np.array([slope[2] - 2 * x[2] / lr, slope[3]]) / rho
        return np.array([*fast, *slope[:2] / rho**2]) if floor is None else fast

    solved = root(stationary, guess if floor is None else guess[:2], tol=1e-10)
    if not solved.success:
        raise RuntimeError(f"no 2-cycle was found at η = {lr:g}: {solved.message}")
    return np.array([*(solved.x[2:] if floor is None else floor), rho * solved.x[0], rho * solved.x[1]])


@claim("Figure 1", order=4.94, symbols="∇L_Asc", fails_with=[{"rule": "sam"}])
def figure_one_ascent(quick: bool, rule: str = "ascent") -> Evidence:
    """The minimizers of exact L_Asc are at (1, 1) on the valley's floor, where λ_M is smallest.

    L_Asc is discontinuous on Γ and does not attain its infimum ρ²λ_M/2. Therefore it is minimized over all points at
    distance ε or more from Γ, where its minimum is (ρ + ε)²λ_M/2.
    """
    radii, ratios = np.array([0.1] if quick else [0.1, 0.03, 0.01]), np.array([1e-1, 1e-2, 1e-3])  # ρ, ε/ρ
    starts = [(0.6, 0.9, 0.8), (0.2, 0.1, 2.2), (0.9, 0.1, -0.3)][: 2 if quick else 3]
    found = np.array([[[_minimize_ascent_loss(rule, r, e, x) for x in starts] for e in ratios] for r in radii])
    distance, minimum = found[..., 0], found[..., 1].max(2)
    excess = minimum - 1  # λ_M/2 = F₂ = 1 at (1, 1)
    yield near("distance from (1, 1), all starts, ε and ρ", 0, distance, absolute=0.05)
    yield near("minimum divided by (ρ + ε)²λ_M/2", 1, minimum / (1 + ratios) ** 2, absolute=1e-3)
    yield decreasing("minimum divided by ρ²λ_M/2, minus 1, as ε falls", excess.max(0))
    yield exponent("minimum divided by ρ²λ_M/2, minus 1, ∝ (ε/ρ)^p: p", ratios, excess.max(0), 1, 0.1)
    yield Plot("ε/ρ", "min L_Asc/(ρ²λ_M/2) − 1")
    for rho, row in zip(radii, excess):
        yield Curve(f"ρ = {rho:g}", ratios, row)
    yield Curve("(1 + ε/ρ)² − 1", ratios, (1 + ratios) ** 2 - 1, predicted=True)
    yield (
        "At every ε the minimizer is (1, 1) itself, approached along x₄; only its value depends on ε. This is the bias "
        "of the minimizer: gradient descent with a step size does not get there (see ascent_stops_short)."
    )


def _minimize_ascent_loss(rule: str, rho: float, ratio: float, start: tuple[float, ...]) -> tuple[float, float]:
    """Minimize L_Asc/ρ² at distance ε = ratio·ρ or more from Γ, and return the distance from (1, 1) and the minimum."""
    problem = valley()

    def loss(y: Array) -> tuple[float, Array]:
        """Return L_Asc/ρ² and its gradient in (x₁, x₂, θ, r), where (x₃, x₄) = ρr(cos θ, sin θ)."""
        radial, angular = np.array([np.cos(y[2]), np.sin(y[2])]), np.array([-np.sin(y[2]), np.cos(y[2])])
        x = torch.from_numpy(np.array([[*y[:2], *(rho * y[3] * radial)]]))
        value = problem.loss(x) + ascent_direction_sharpness(problem, x, rho).value
        slope = step_gradient(rule, x, rho)[0]
        fast = rho * slope[2:]
        return float(value) / rho**2, np.array([*slope[:2], y[3] * fast @ angular, fast @ radial]) / rho**2

    bounds = [(None, None)] * 3 + [(ratio, 1.0)]
    found = minimize(loss, [*start, min(3 * ratio, 1)], jac=True, method="L-BFGS-B", bounds=bounds)
    return float(np.linalg.norm(found.x[:2] - 1)), found.fun


@claim("Figure 1", order=4.95, symbols="∇L_Asc", fails_with=[{"rule": "sam"}])
def ascent_stops_short(quick: bool, rule: str = "ascent") -> Evidence:
    """Gradient descent on exact L_Asc does not reach (1, 1): it ends on a 2-cycle next to Γ, closer for smaller η.

    On the cycle x₃ → −x₃, so that it is a stationary point of L_Asc − x₃²/η: four equations without any dynamics.
    """
    settings = [(0.003, 0.5), (0.002, 0.5), (0.001, 0.5)]  # η, ρ
    if not quick:
        settings = [(0.002, 0.3), (0.001, 0.3), (0.0005, 0.3), (0.00025, 0.3), (0.002, 0.15)]
    lr, rho = np.array(settings).T
    starts = ((0.8, 0.3), (0.95, 0.15))  # (x₁, x₂) on either side of the end
    x0 = np.array([[*start, 0.02 * r, 0.3 * r] for r in rho for start in starts])
    run = new_run(valley(), rule, np.repeat(lr, 2), np.repeat(rho, 2), x0=x0)
    run.step(int((0.6 if quick else 1.0) / (lr * rho**2).min()))
    before = run.x.numpy().copy()
    run.step()
    after = run.x.numpy()
    ends = ((before + after) / 2).reshape(-1, 2, 4)
    amplitude = (np.abs(before - after)[:, 2] / 2).reshape(-1, 2).mean(1)
    center, spread = ends.mean(1), np.linalg.norm(ends[:, 0, :2] - ends[:, 1, :2], axis=1)
    predicted = np.array([ascent_cycle(eta, r) for eta, r in settings])
    same = rho == rho[0]
    distance, predicted_distance = (np.linalg.norm(x[:, :2] - 1, axis=1) for x in (center, predicted))
    error = np.linalg.norm(center[:, :2] - predicted[:, :2], axis=1)
    tiny = np.array([1e-5, 1e-6, 1e-7])
    at_small_lr = [float(np.linalg.norm(ascent_cycle(float(eta), 0.1)[:2] - 1)) for eta in (1e-3, 1e-4, *tiny)]
    power, _ = line(np.log(tiny), np.log(at_small_lr[2:]))
    quantity = "distance from the stationary point of L_Asc − x₃²/η, all settings"
    yield near(quantity, 0, error, absolute=0.005, error=spread.max())
    yield near("amplitude of x₃ divided by that point's", 1, amplitude / predicted[:, 2], relative=0.02)
    yield near("x₄ divided by that point's", 1, center[:, 3] / predicted[:, 3], relative=0.02)
    high, low = (2 * f for f in curvatures(center))
    length = run.problem.gradient(torch.from_numpy(before))[1].norm(dim=1).numpy().reshape(-1, 2).mean(1)
    of_formula = gradient_near_low(lr, rho, high, low)
    quantity, tolerance = "‖∇L‖ divided by ρλ₁√(ηΔλ_M/(2λ_M + ηλ₁Δ))", 0.05 if quick else 0.03
    yield near(quantity, 1, length / of_formula, absolute=tolerance)
    yield decreasing("distance from (1, 1) as η falls", distance[same])
    quantity = f"distance from (1, 1) at η = {lr[same][-1]:g}"
    yield Check(quantity, float(predicted_distance[same][-1]), float(distance[same][-1]), 0.05)
    if not quick:
        measured, expected = (float(np.linalg.norm(x[0, :2] - x[-1, :2])) for x in (center, predicted))
        yield Check("distance between the ends at ρ = 0.3 and 0.15, η = 0.002", expected, measured, high=0.03)
    yield Plot("η", "distance from (1, 1)")
    yield Curve("measured", lr[same], distance[same])
    yield Curve("stationary point of L_Asc − x₃²/η", lr[same], predicted_distance[same], predicted=True)
    yield (
        "The curvature of L_Asc along x₃ is proportional to 1/x₄², so near Γ any step size is beyond its edge of "
        "stability. The oscillation raises ‖∇L‖, so that F₁ has an effect (Δ = λ₁ − λ_M). The runs end at "
        + "; ".join(f"({x[0]:.3f}, {x[1]:.3f}) for η = {e:g}, ρ = {r:g}" for x, (e, r) in zip(center, settings))
        + f". By the same equation at ρ = 0.1 the distance is {at_small_lr[0]:.2f} at η = 1e-3, "
        f"{at_small_lr[1]:.2f} at 1e-4 and {at_small_lr[-1]:.3f} at 1e-7. It is ∝ η^{power:.2f} below η = 1e-5; in the "
        "limit x₄/ρ and the distance are ∝ √η."
    )


# ---- what each method minimizes: the ascent direction alone gives λ_M, and dropping its derivative restores λ₁

POINT = np.array([0.5, 0.25])  # on the floor, where −∇λ₁, −∇λ_M and −∇Tr have three different directions
TABLE_RHO = 0.02  # of the table
CURVATURES = 2 * np.array(curvatures(POINT))  # the loss next to POINT is ½xᵀHx, H = diag(CURVATURES)
OF_TOP, OF_LOW = slopes(POINT)  # half of ∇λ₁ and of ∇λ_M at POINT
GRADIENTS = {"λ₁": OF_TOP, "λ_M": OF_LOW, "Tr": OF_TOP + OF_LOW}  # half of ∇S at POINT


@dataclass(frozen=True)
class Ablation:
    """A method of the table, and its drift along the valley's floor."""

    method: str
    drift: Array  # (2,), of (x₁, x₂) per τ
    cosines: dict[str, float]  # of the drift with −∇S, for S = λ₁, λ_M and Tr
    minimizes: str  # the S with the largest cosine; "nothing" without a drift


TABLE = {  # rule: method, and what it minimizes
    "worst": ("descent on L_Max", "λ₁"),
    "ascent": ("descent on L_Asc", "λ_M"),
    "sam": ("SAM", "λ₁"),
    "average": ("descent on L_Avg", "Tr"),
    "gd": ("gradient descent", "nothing"),
}


def ablation(quick: bool = False, lr_ascent: float = 1e-4) -> list[Ablation]:
    """Measure the table of the two approximations at (0.5, 0.25); L_Asc drifts like λ_M only in the limit η → 0."""
    return [_row(rule, _drifts(rule, quick, np.array([lr_ascent]))) for rule in TABLE]


def _drifts(rule: str, quick: bool, lr_ascent: Array) -> Array:
    """Return the drift of (x₁, x₂) per τ = ηρ²t next to POINT, (runs, 2), over an even number of steps of phase II."""
    lr = {"ascent": lr_ascent, "average": np.full(16, 0.02)}.get(rule, np.array([0.02]))  # 16 seeds
    times = 1 if quick else 2
    run = new_run(valley(), rule, lr, TABLE_RHO, x0=(*POINT, 0.02 * TABLE_RHO, 0.3 * TABLE_RHO))
    run.step(times * (600 if rule == "ascent" else 200))
    before = run.x.numpy().copy()
    run.step(times * 200)
    return np.asarray((run.x.numpy() - before)[:, :2] / (lr[:, None] * TABLE_RHO**2 * times * 200))


def _row(rule: str, drifts: Array) -> Ablation:
    drift = drifts.mean(0)
    cosines = _cosines(drift)
    best = max(cosines, key=lambda name: cosines[name]) if np.linalg.norm(drift) > 1e-6 else "nothing"
    return Ablation(TABLE[rule][0], drift, cosines, best)


def _cosines(drift: Array) -> dict[str, float]:
    """Return the cosines of a drift with −∇λ₁, −∇λ_M and −∇Tr at POINT."""
    size = max(float(np.linalg.norm(drift)), 1e-300)
    return {name: -float(drift @ g) / size / float(np.linalg.norm(g)) for name, g in GRADIENTS.items()}


@claim(
    "Table 1, Section 4",
    order=4.96,
    symbols="∇L_Asc; ∇L_Max; ∇L_Avg",
    fails_with=[{"sam": "ascent"}, {"average": "sam"}, {"worst": "sam"}],
)
def two_wrongs(quick: bool, sam: str = "sam", average: str = "average", worst: str = "worst") -> Evidence:
    """SAM replaces L_Max by L_Asc, which turns λ₁ into λ_M, and drops a term of its gradient, which restores λ₁.

    The first replaces the worst direction by the ascent direction, which changes the loss: λ₁ becomes λ_M. The second
    drops the derivative of the direction. That is exact for L_Max and changes ∇L_Asc by a relative amount that does not
    vanish as ρ → 0 at a fixed angle between ∇L and v₁. It does vanish in SAM's phase II, where ∇L turns to v₁ (see
    `dropped_term_decides_stability`).
    """
    rates = np.array([1e-3, 5e-4, 2.5e-4]) if quick else np.array([1e-3, 3e-4, 1e-4])
    rules = {"worst": worst, "ascent": "ascent", "sam": sam, "average": average, "gd": "gd"}
    drifts = {name: _drifts(rule, quick, rates) for name, rule in rules.items()}
    rows = [_row(name, drift[-1:] if name == "ascent" else drift) for name, drift in drifts.items()]
    for row, (_, expected) in zip(rows, TABLE.values()):
        if expected == "nothing":
            size = np.linalg.norm(row.drift) / np.linalg.norm(GRADIENTS["λ₁"])
            yield near(f"{row.method}: drift divided by SAM's", 0, size, absolute=1e-6)
            continue
        name = f"{row.method}: cos(drift, −∇"
        yield near(f"{name}{expected})", 1, row.cosines[expected], absolute=0.02)
        for other, value in _cosines(-GRADIENTS[expected]).items():
            if other != expected:
                yield near(f"{name}{other})", value, row.cosines[other], absolute=0.1)
    distance = np.array([1 - _cosines(drift)["λ_M"] for drift in drifts["ascent"]])
    cycles = [ascent_cycle(float(eta), TABLE_RHO, POINT) for eta in rates]
    predicted = np.array([1 - _cosines(-ascent_loss_gradient(x, TABLE_RHO)[:2])["λ_M"] for x in cycles])
    yield decreasing("descent on L_Asc: 1 − cos(drift, −∇λ_M) as η falls", distance)
    yield near("that distance divided by its 2-cycle's", 1, distance / predicted, relative=0.1)
    gradient_error, rise_error = _errors_of_worst(worst, 1e-3)
    yield near("∇L_Max, relative error at ρ = 1e-3, ρ/10 from Γ along x₄", 0, gradient_error, absolute=0.01)
    yield near("R_Max, relative error there", 0, rise_error, absolute=1e-4)
    exact = GRADIENTS["Tr"] / 4  # ∇L_Avg/ρ² is ∇Tr/(2D) on Γ, where Tr = 2(F₁ + F₂) and D = 4
    on_floor = torch.tensor([[*POINT, 0, 0]], dtype=torch.float64).repeat(2000, 1)
    error = step_gradient(average, on_floor, 1e-3)[:, :2].mean(0) / 1e-3**2 - exact
    quantity = "∇L_Avg, relative distance from ρ²∇Tr/(2D) on Γ at ρ = 1e-3"
    yield near(quantity, 0, np.linalg.norm(error) / np.linalg.norm(exact), absolute=0.05)
    limit, dropped = _dropped_limit(), np.array([_dropped(sam, rho) for rho in (1e-1, 1e-2, 1e-3)])
    yield near("‖∇L(x⁺) − ∇L_Asc‖/‖∇L_Asc‖ at ρ = 1e-3, ρ/10 from Γ", limit, dropped[-1], relative=1e-3)
    yield decreasing("distance of that ratio from its limit as ρ falls", np.abs(dropped - limit))
    yield Plot("η", "1 − cos(drift, −∇λ_M)")
    yield Curve("descent on L_Asc", rates, distance)
    yield Curve("its 2-cycle", rates, predicted, predicted=True)
    trace = _cosines(drifts["ascent"][0])["Tr"]
    yield (
        "; ".join(f"{r.method}: " + ", ".join(f"{c:+.3f} {s}" for s, c in r.cosines.items()) for r in rows[:-1])
        + f". The step size matters to L_Asc: at η = {rates[0]:g} its cosine with −∇Tr is {trace:.2f} already."
    )


def _errors_of_worst(rule: str, rho: float) -> tuple[float, float]:
    """Return the relative errors of ∇L_Max and R_Max, ρ/10 from Γ along x₄, where the ascent direction is across v₁.

    The worst direction of ½xᵀHx, H = diag(h), is (±√(1 − s²), s) there, with s = λ_M x₄/(ρ(λ₁ − λ_M)).
    """
    h, x = CURVATURES, torch.tensor([[*POINT, 0, 0.1 * rho]], dtype=torch.float64)
    s = 0.1 * h[1] / (h[0] - h[1])
    end = np.array([(1 - s**2) ** 0.5, 0.1 + s])
    error = np.abs(step_gradient(rule, x, rho)[0, 2:]) / rho - h * end
    rise, exact = float(worst_direction_sharpness(valley(), x, rho).value), (h @ end**2 - h[1] * 0.1**2) / 2
    return float(np.linalg.norm(error) / np.linalg.norm(h * end)), abs(rise / rho**2 / exact - 1)


def _dropped(rule: str, rho: float) -> float:
    """Return the relative error of SAM's gradient as one of L_Asc, ρ/10 from Γ at 45° between x₃ and x₄."""
    x = torch.tensor([[*POINT, *np.full(2, 0.1 * rho / 2**0.5)]], dtype=torch.float64)
    sam, exact = (step_gradient(each, x, rho) for each in (rule, "ascent"))
    return float(np.linalg.norm(sam - exact) / np.linalg.norm(exact))


def _dropped_limit() -> float:
    """Return the same error for ½xᵀHx, which L is next to its floor: it does not depend on ρ."""
    h = CURVATURES
    x = np.full(2, 0.1 / 2**0.5)
    g = h * x
    u = g / np.linalg.norm(g)
    perturbed = h * (x + u)
    dropped = h * (perturbed - u * (u @ perturbed)) / np.linalg.norm(g)
    return float(np.linalg.norm(dropped) / np.linalg.norm(perturbed + dropped))


# ---- the term that SAM drops from ∇L_Asc: zero on SAM's 2-cycle, and what decides whether that cycle is stable

SPECTRUM = 3.0, 1.0  # λ₁ and λ_M of the quadratic
RHO = 0.1
START_ON_VALLEY = (0.3, 0.6, 0.01, 0.1)


def cycle_multiplier(rule: str, lr: float, top: float, other: float) -> float:
    """Return the factor per step of a small component along vⱼ next to the 2-cycle along v₁ (λ₁ = top, λⱼ = other)."""
    if rule == "worst":
        return 1 - lr * other * (1 + other / (2 * top / (2 - lr * top) - other))
    kept = 1 - lr * other - (other / top) ** 2 * (2 - lr * top)
    dropped = (other / top) ** 2 * (2 - lr * top) ** 2 * (top - other) / (lr * top**2)
    return kept + dropped if rule == "ascent" else kept


def gradient_near_low(lr: Any, rho: Any, top: Any, low: Any) -> Any:
    """Return ‖∇L‖ on the cycle near v_M where descent on L_Asc ends on a quadratic."""
    return rho * top * np.sqrt(lr * (top - low) * low / (2 * low + lr * top * (top - low)))


def ascent_cycle_near_low(lr: float, rho: float, top: float, low: float) -> Array:
    """Return (x₁, x₂) on the cycle x₁ → −x₁ near v_M where descent on L_Asc ends on a quadratic; NaN if none exists."""
    size = gradient_near_low(lr, rho, top, low)
    sine2 = size * (size + rho * low) / (rho**2 * low * (top - low))
    with np.errstate(invalid="ignore"):
        return np.asarray(size * np.sqrt([sine2, 1 - sine2]) / [top, low])


def angle_to_top(x: Array, spectrum: tuple[float, float]) -> Array:
    """Return the angle in degrees between ∇L and v₁ at points (..., 2) of ½xᵀAx, from 0 to 90."""
    g = np.abs(x * spectrum)
    return np.asarray(np.degrees(np.arctan2(g[..., 1], g[..., 0])))


def multipliers(rule: str, lr: float, rho: float, spectrum: tuple[float, float], x: Array) -> Array:
    """Return the eigenvalues, largest modulus last, of the numerical Jacobian of a step followed by x₁ → −x₁.

    A point on one of the two cycles is a fixed point of this map, so the cycle is stable if all moduli are below 1.
    """
    h = 1e-5 * np.linalg.norm(x)
    points = torch.from_numpy(x + h * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]))
    if rule == "worst":  # with the exact maximizer, because the rule's search has a tolerance
        values = torch.tensor(spectrum, dtype=torch.float64).expand(4, 2)
        v = trust_region(values * points, rho * values, torch.eye(2, dtype=torch.float64).expand(4, 2, 2))
        after = (points - lr * values * (points + rho * v)).numpy()
    else:
        run = new_run(quadratic(spectrum), rule, lr, rho, x0=points)
        run.step()
        after = run.x.numpy()
    after = after * [-1, 1]
    jacobian = np.stack(((after[0] - after[1]) / (2 * h), (after[2] - after[3]) / (2 * h)), 1)
    return np.asarray(sorted(np.linalg.eigvals(jacobian), key=abs))


def dropped_over_kept(run: Run) -> float:
    """Return ‖dropped‖/‖kept‖ at the iterate of a single run: ∇L_Asc minus SAM's gradient, over SAM's gradient."""
    rho = float(np.asarray(run.settings.rho).flat[0])
    kept, exact = (RULES[rule](run.problem, run.x, None, 1.0, rho).direction for rule in ("sam", "ascent"))
    return float((exact - kept).norm() / kept.norm())


@claim(
    "Section 4, Theorem 4.8",
    order=4.97,
    symbols="∇L_Asc; A, a = ηρλ₁/(2 − ηλ₁)",
    fails_with=[{"sam": "ascent"}, {"ascent": "sam"}, {"worst": "ascent"}],
)
def dropped_term_decides_stability(
    quick: bool, sam: str = "sam", ascent: str = "ascent", worst: str = "worst"
) -> Evidence:
    """The term that SAM drops is zero on the 2-cycle along v₁ and decides its stability: v₁ for SAM, v_M for L_Asc.

    Without the term, a small component along another eigenvector decays (SAM); with it, the component grows by a
    factor ∝ 1/η (exact L_Asc). For L_Max the term is zero everywhere, and v₁ is stable. Therefore the size of the
    term depends on the trajectory: it vanishes next to SAM's gradient in phase II, and along exact L_Asc it dominates.
    """
    top, low = SPECTRUM
    rates = np.array([0.1, 0.03, 0.003, 0.0003]) / top
    yield Plot("η", "|factor per step| of a small component along v_M")
    for name, rule, label in (("sam", sam, "SAM"), ("ascent", ascent, "L_Asc"), ("worst", worst, "L_Max")):
        jacobian = [multipliers(rule, lr, RHO, SPECTRUM, np.array([cycle_size(lr, RHO, top), 0.0])) for lr in rates]
        measured = np.array(
            [float(values[abs(values + 1 - lr * top).argmax()].real) for values, lr in zip(jacobian, rates)]
        )
        predicted = np.array([cycle_multiplier(name, lr, top, low) for lr in rates])
        yield near(f"{label}: multiplier divided by its formula", 1, measured / predicted, absolute=1e-5)
        if name == "ascent":
            yield at_most(f"{label}: 1/|multiplier| next to v₁", 1 / np.abs(measured), 1)
            yield exponent("exponent of η in that multiplier", rates[1:], np.abs(measured)[1:], -1, 0.02)
        else:
            yield at_most(f"{label}: |multiplier| next to v₁", np.abs(measured), 1)
        yield Curve(label, rates, np.abs(measured))
        yield Curve(f"predicted, {label}", rates, np.abs(predicted), predicted=True)
    limits = []
    for lr in rates[1:]:
        x = ascent_cycle_near_low(lr, RHO, top, low)
        limits.append(90 - float(angle_to_top(x, SPECTRUM)))
        moduli = np.abs(multipliers(ascent, lr, RHO, SPECTRUM, x))
        yield at_most(f"L_Asc: |multiplier| on the cycle near v_M, ηλ₁ = {lr * top:g}", moduli, 1)
        starts = np.array([(0.06, 0.1), (0.003, 0.001), (0.02, -0.02)])
        for label, rule, angle in (("L_Asc", ascent, limits[-1]), ("SAM", sam, 90.0)):
            run = new_run(quadratic(SPECTRUM), rule, np.full(3, lr), RHO, x0=starts)
            run.step(int(10 / (lr * top)))
            angles = 90 - angle_to_top(run.x.numpy(), SPECTRUM)
            yield near(f"{label}: angle(∇L, v_M), ηλ₁ = {lr * top:g}", angle, angles, absolute=0.01)
    cycles = [(lr, ascent_cycle_near_low(lr, RHO, top, low)) for lr in np.array([0.2, 0.45]) / top]
    middle, large = (np.abs(multipliers(ascent, lr, RHO, SPECTRUM, x)).max() for lr, x in cycles)
    yield at_most("L_Asc: 1/|multiplier| on that cycle, ηλ₁ = 0.2", 1 / middle, 1)
    yield at_most("L_Asc: |multiplier| on that cycle, now closer to v₁, ηλ₁ = 0.45", large, 1)
    tiny = np.array([1e-5, 1e-6, 1e-7]) / top
    on_cycles = [angle_to_top(ascent_cycle_near_low(lr, RHO, top, low), SPECTRUM) for lr in tiny]
    yield exponent("L_Asc: exponent of η in that angle as η → 0", tiny, 90 - np.array(on_cycles), 0.25, 0.01)
    run = new_run(quadratic(SPECTRUM), worst, rates[0], RHO, x0=(0.06, 0.1))
    run.step(2000)
    yield near("L_Max: angle(∇L, v_M), ηλ₁ = 0.1", 90, 90 - angle_to_top(run.x.numpy(), SPECTRUM)[0], absolute=1)
    of_sam = _ratios_of_dropped_term(sam, 0.02, 400)
    of_ascent = _ratios_of_dropped_term(ascent, 0.002, 500 if quick else 4000).mean()
    yield decreasing("valley, SAM: ‖dropped‖/‖kept‖ at steps 2, 10, 20 and 400", of_sam[[2, 10, 20, 400]])
    yield at_most("valley, SAM: ‖dropped‖/‖kept‖ at step 10", of_sam[10], 0.05)
    yield at_most("valley, SAM: ‖dropped‖/‖kept‖ at step 400", of_sam[400], 1e-3)
    yield near("valley, L_Asc: mean ‖dropped‖/‖kept‖", 3.7, of_ascent, absolute=1)
    yield (
        "On the valley ‖dropped‖/‖kept‖ is "
        + ", ".join(f"{of_sam[t]:.2g} at step {t}" for t in (0, 1, 2, 10, 20, 400))
        + f" of SAM, and on average {of_ascent:.1f} along descent on L_Asc. L_Asc ends at an angle of "
        + ", ".join(f"{angle:.1f}°" for angle in limits)
        + " to v_M."
    )


def _ratios_of_dropped_term(rule: str, lr: float, steps: int) -> Array:
    """Return ‖dropped‖/‖kept‖ at the start of a run on the valley and after each of its steps."""
    run, ratios = new_run(valley(), rule, lr, RHO, x0=START_ON_VALLEY), []
    for _ in range(steps + 1):
        ratios.append(dropped_over_kept(run))
        run.step()
    return np.array(ratios)
