"""Figure 1's exact L_Asc: where its minimizers are, and why gradient descent on it stops short of them."""

from __future__ import annotations

import numpy as np
import torch

from samviz.claims.claim import Array, Check, Curve, Finding, Plot, claim, exponent, falls, near, worst
from samviz.claims.figure_one import FLATTEST
from samviz.claims.toy import curvatures, slopes
from samviz.dynamics import RULES, Run
from samviz.geometry import ascent_direction_sharpness
from samviz.problems import valley


def ascent_loss_gradient(x: Array, rho: float) -> Array:
    """∇L_Asc on the valley, (4,), by complex steps through L(x + ρ∇L/‖∇L‖): no derivative is worked out."""

    def loss(x: Array) -> complex:
        first, second = curvatures(x)
        (a1, a2), (b1, b2) = slopes(x)
        g = np.array(
            [a1 * x[2] ** 2 + b1 * x[3] ** 2, a2 * x[2] ** 2 + b2 * x[3] ** 2, 2 * first * x[2], 2 * second * x[3]]
        )
        ahead = x + rho * g / np.sqrt((g**2).sum())  # not a norm, which would take the modulus
        first, second = curvatures(ahead)
        return complex(first * ahead[2] ** 2 + second * ahead[3] ** 2)

    return np.array([loss(x + 1e-30j * axis).imag / 1e-30 for axis in np.eye(4)])


def ascent_cycle(lr: float, rho: float, floor: Array | None = None) -> Array:
    """The 2-cycle x₃ → −x₃ of gradient descent on L_Asc, (4,): a stationary point of L_Asc − x₃²/η.

    With (x₁, x₂) held at `floor`, or where they rest when it is None. The first guess is that of small η: x₄ where the
    curvature 2ρ²(F₁ − F₂)F₁²/(F₂x₄)² along x₃ is 2/η, and x₃ where it holds x₄ there.
    """
    from scipy.optimize import root

    here = np.array([0.9, 0.3]) if floor is None else floor
    f1, f2 = curvatures(here)
    x4 = lr**0.5 * f1 * (f1 - f2) ** 0.5 / f2
    guess = [(f2**3 * x4**3 * (1 + x4) / (f1 - f2)) ** 0.5 / f1, x4, *here]

    def unmoved(y: Array) -> Array:
        x = np.array([*(y[2:] if floor is None else floor), rho * y[0], rho * y[1]])
        slope = ascent_loss_gradient(x, rho)
        fast = np.array([slope[2] - 2 * x[2] / lr, slope[3]]) / rho
        return np.array([*fast, *slope[:2] / rho**2]) if floor is None else fast

    solved = root(unmoved, guess if floor is None else guess[:2], tol=1e-10)
    if not solved.success:
        raise RuntimeError(f"no 2-cycle was found at η = {lr:g}: {solved.message}")
    return np.array([*(solved.x[2:] if floor is None else floor), rho * solved.x[0], rho * solved.x[1]])


@claim("Figure 1")
def figure_one_ascent(quick: bool) -> Finding:
    """The minimizers of exact L_Asc are at (1, 1) on the valley's floor, where λ_M is least.

    L_Asc is discontinuous on Γ and its infimum ρ²λ_M/2 is approached, not taken: so it is minimized over all points at
    least ε from Γ, where its minimum is (ρ + ε)²λ_M/2.
    """
    from scipy.optimize import minimize

    problem, shares = valley(), np.array([1e-1, 1e-2, 1e-3])
    radii = np.array([0.1]) if quick else np.array([0.1, 0.03, 0.01])
    starts = [(0.6, 0.9, 0.8), (0.2, 0.1, 2.2)] if quick else [(0.6, 0.9, 0.8), (0.2, 0.1, 2.2), (0.9, 0.1, -0.3)]
    off, least = np.empty((2, len(radii), len(shares), len(starts)))
    for where in np.ndindex(off.shape):
        rho, start = float(radii[where[0]]), starts[where[2]]
        nearest = float(shares[where[1]])  # ε/ρ

        def raised(y: Array, rho: float = rho) -> tuple[float, Array]:
            """L_Asc/ρ² and its gradient in (x₁, x₂, θ, r), where (x₃, x₄) = ρr(cos θ, sin θ)."""
            along, across = np.array([np.cos(y[2]), np.sin(y[2])]), np.array([-np.sin(y[2]), np.cos(y[2])])
            x = torch.from_numpy(np.array([[*y[:2], *(rho * y[3] * along)]]))
            value = problem.loss(x) + ascent_direction_sharpness(problem, x, rho).value
            slope = (x - RULES["ascent"](problem, x, None, 1.0, rho, torch.zeros).x)[0].numpy()
            fast = rho * slope[2:]
            return float(value) / rho**2, np.array([*slope[:2], y[3] * fast @ across, fast @ along]) / rho**2

        bounds = [(None, None)] * 3 + [(nearest, 1.0)]
        found = minimize(raised, [*start, min(3 * nearest, 1)], jac=True, method="L-BFGS-B", bounds=bounds)
        off[where], least[where] = np.linalg.norm(found.x[:2] - FLATTEST), found.fun
    least = least.max(2)
    excess = least - 1  # λ_M/2 = F₂ = 1 at (1, 1)
    checks = [
        Check("distance from (1, 1), the farthest of all starts, ε and ρ", 0, float(off.max()), high=0.05),
        near("minimum over (ρ + ε)²λ_M/2, the worst", 1, worst(least / (1 + shares) ** 2), absolute=1e-3),
        falls("minimum over ρ²λ_M/2, less 1, as ε falls", excess.max(0)),
        exponent("minimum over ρ²λ_M/2, less 1, ∝ (ε/ρ)^p: p", shares, excess.max(0), 1, within=0.1),
    ]
    curves = [Curve(f"ρ = {rho:g}", shares, line) for rho, line in zip(radii, excess)]
    curves.append(Curve("(1 + ε/ρ)² − 1", shares, (1 + shares) ** 2 - 1, predicted=True))
    settings = {
        "problem": "valley()",
        "rho": radii.tolist(),
        "epsilon over rho": shares.tolist(),
        "starts (x1, x2, theta)": [list(start) for start in starts],
        "method": "scipy L-BFGS-B, gradient of the rule 'ascent'",
    }
    remark = (
        "At every ε the minimizer is (1, 1) itself, approached along x₄; only its value depends on ε. This is the bias "
        "of the minimizer: gradient descent with a step size does not get there (see ascent_stops_short)."
    )
    return Finding(checks, settings, Plot("ε/ρ", "min L_Asc/(ρ²λ_M/2) − 1", curves), remark)


@claim("Figure 1")
def ascent_stops_short(quick: bool) -> Finding:
    """Gradient descent on exact L_Asc does not reach (1, 1): it rests on a 2-cycle beside Γ, nearer for smaller η.

    On the cycle x₃ → −x₃, so that it is a stationary point of L_Asc − x₃²/η: four equations that know no dynamics.
    """
    pairs = [(0.003, 0.5), (0.002, 0.5), (0.001, 0.5)]  # η, ρ
    if not quick:
        pairs = [(0.002, 0.3), (0.001, 0.3), (0.0005, 0.3), (0.00025, 0.3), (0.002, 0.15)]
    lr, rho = np.array(pairs).T
    places = np.array([[0.8, 0.3], [0.95, 0.15]])  # two starts on either side of where it rests
    x0 = np.array([[*place, 0.02 * r, 0.3 * r] for r in rho for place in places])
    run = Run(valley(), "ascent", np.repeat(lr, 2), np.repeat(rho, 2), x0=x0, device="cpu")
    run.step(int((0.6 if quick else 1.0) / (lr * rho**2).min()))
    before = run.x.numpy().copy()
    run.step()
    after = run.x.numpy()
    ends = ((before + after) / 2).reshape(len(pairs), 2, 4)
    amplitude = (np.abs(before - after)[:, 2] / 2).reshape(len(pairs), 2)
    rest, spread = ends.mean(1), np.linalg.norm(ends[:, 0, :2] - ends[:, 1, :2], axis=1)
    law = np.array([ascent_cycle(eta, r) for eta, r in pairs])
    same = rho == rho[0]
    off, off_law = (np.linalg.norm(x[:, :2] - FLATTEST, axis=1) for x in (rest, law))
    missed = np.linalg.norm(rest[:, :2] - law[:, :2], axis=1)
    x3, x4 = amplitude.mean(1) / law[:, 2], rest[:, 3] / law[:, 3]
    tiny = np.array([1e-5, 1e-6, 1e-7])
    far = [float(np.linalg.norm(ascent_cycle(float(eta), 0.1)[:2] - FLATTEST)) for eta in (1e-3, 1e-4, *tiny)]
    rate = np.polyfit(np.log(tiny), np.log(far[2:]), 1)[0]
    checks = [
        Check(
            "distance from the stationary point of L_Asc − x₃²/η, the farthest of all settings",
            0,
            float(missed.max()),
            high=0.005,
            error=float(spread.max()),
        ),
        near("amplitude of x₃ over that point's, the worst", 1, worst(x3), relative=0.02),
        near("x₄ over that point's, the worst", 1, worst(x4), relative=0.02),
        falls("distance from (1, 1) as η falls", off[same]),
        Check(f"distance from (1, 1) at η = {lr[same][-1]:g}", float(off_law[same][-1]), float(off[same][-1]), 0.05),
    ]
    if not quick:
        apart = float(np.linalg.norm(rest[0, :2] - rest[-1, :2]))
        predicted = float(np.linalg.norm(law[0, :2] - law[-1, :2]))
        checks.append(Check("the resting points at ρ = 0.3 and 0.15 apart, η = 0.002", predicted, apart, high=0.03))
    curves = [
        Curve("measured", lr[same], off[same]),
        Curve("stationary point of L_Asc − x₃²/η", lr[same], off_law[same], predicted=True),
    ]
    settings = {"problem": "valley()", "lr": lr.tolist(), "rho": rho.tolist(), "x0": x0.tolist(), "steps": run.steps}
    remark = (
        "L_Asc curves along x₃ like 1/x₄², so near Γ any step size is beyond its edge of stability. The bouncing lifts "
        "x₄ to about ρ√η·F₁√(F₁ − F₂)/F₂, where that curvature is 2/η, and there F₁ still pulls. It rests at "
        + "; ".join(f"({x[0]:.3f}, {x[1]:.3f}) for η = {e:g}, ρ = {r:g}" for x, (e, r) in zip(rest, pairs))
        + f". By the same equation at ρ = 0.1 the distance is {far[0]:.2f} at η = 1e-3, {far[1]:.2f} at 1e-4 and "
        f"{far[-1]:.3f} at 1e-7, and falls like η^{rate:.2f} below 1e-5; x₄/ρ and with it the distance end as √η."
    )
    return Finding(checks, settings, Plot("η", "distance from (1, 1)", curves), remark)
