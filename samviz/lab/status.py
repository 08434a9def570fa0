"""The status of a run as text: the phase of the theory that it is in, what to watch, and the facts of the run."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from samviz.dynamics import RULES

if TYPE_CHECKING:
    from samviz.lab.session import Session

FAR = 10.0  # times the loss of the oscillation across the floor: above this the iterate is far from the floor
LOST = 1 / 3  # of the loss of an untrained network: above this the fit is lost
FIT_LOST, ABOVE_FLOOR, BEYOND_EDGE, PHASE_ONE = (  # phases in which `advice` differs
    "The fit is lost",
    "Above the valley floor",
    "Beyond the edge of stability",
    "Phase I: falling into the valley",
)
WITH_MOMENTUM = "The theorems have no momentum or weight decay. Momentum speeds up the drift by 1/(1 − β) or more."
ALIGNED = 0.9  # Rayleigh ratio above which a full-batch run is in phase II


def oscillation_loss(row: dict[str, Any], samples: int) -> float:
    """Return the loss of the 2-cycle across the floor, λd²/2 at the distance d = ηρλ/(2 + 2β − ηλ) (Theorem 4.8).

    λ is λ₁, or with fewer than all samples the trace, which is the mean curvature of the loss of one sample. Steps of
    length η oscillate at the distance η/2, and unnormalized SAM does not oscillate.
    """
    if row["rule"] == "usam":
        return 0.0
    curvature = row["trace"] if row["batch_size"] < samples else row["eigenvalues"][0]
    rate, rest = row["lr"] * curvature, 2 + 2 * row["momentum"] - row["lr"] * curvature
    distance = row["lr"] / 2 if RULES[row["rule"]].unit_length else row["rho"] * rate / rest if rest > 0 else inf
    return float(curvature / 2 * distance**2)


def phase(row: dict[str, Any], samples: int) -> str:
    """Name the phase of a run from `Session.now` and n (Theorems 4.5 and 5.4)."""
    rule, loss = RULES[row["rule"]], row["loss"]
    edge = row["lr"] * (row["eigenvalues"][0] + row["weight_decay"]) / (2 + 2 * row["momentum"])  # 1 at the edge
    limit = "(2 + 2β)" if row["momentum"] else "2"
    full = row["batch_size"] == samples
    far = loss > FAR * oscillation_loss(row, samples)
    if loss > max(LOST * row["untrained_loss"], FAR * row["lowest_loss"]):
        return FIT_LOST
    if _is_gradient_descent(row):
        if not full:
            return "Stochastic gradient descent"
        where = f"beyond the edge of stability, λ₁ > {limit}/η" if edge > 1.05 else ""
        where = where or (f"at the edge of stability, λ₁ ≈ {limit}/η" if edge > 0.95 else "")
        return f"Gradient descent {where}".strip()
    if edge > 1.05 and full and not rule.unit_length:
        return BEYOND_EDGE
    if far and loss > FAR * row["lowest_loss"] and not row["falling"]:
        return ABOVE_FLOOR
    turning = full and rule.aligns and row["rayleigh"] <= ALIGNED
    if (far and row["falling"]) or (turning and (far or row["falling"])):
        return PHASE_ONE
    if turning:
        return "The gradient is not aligned with v₁"
    return "At rest on the valley floor" if rule.name == "usam" else "Phase II: sliding along the valley floor"


def _is_gradient_descent(row: dict[str, Any]) -> bool:
    """Return whether the rule is gradient descent at its present ρ."""
    return bool(row["rule"] == "gd" or (row["rho"] == 0 and RULES[row["rule"]].gd_at_zero_rho))


def advice(row: dict[str, Any], samples: int) -> str:
    """Say what to watch, given `Session.now` and n, with the statement of the paper that holds there."""
    rule, single, partial = RULES[row["rule"]], row["batch_size"] == 1 < samples, row["batch_size"] < samples
    where = phase(row, samples)
    if where == FIT_LOST:
        return "The loss is not small next to that of an untrained network. Lower ρ or η and press Reset."
    if where == ABOVE_FLOOR:
        return "The loss is too large for an oscillation across the floor. Lower ρ."
    if where == BEYOND_EDGE:
        return "λ₁ is so large that steps along v₁ grow. Lower η."
    if not rule.watch:
        return f"The rule {rule.name!r} was registered by you: the paper makes no statement about it."
    if rule.name == "gd" and row["rho"] > 0:
        return rule.watch
    if _is_gradient_descent(row) and rule.name != "gd" and not rule.follows_gradient:
        return "At ρ = 0 this is gradient descent: raise ρ."
    if _is_gradient_descent(row):
        if partial:
            return "Raise ρ and watch the trace."
        hidden = "∇L is orthogonal to v₁. " if row["cos_v1"] < 0.01 else ""
        return f"{hidden}Raise ρ and watch the alignment jump to 1."
    if partial and rule.name == "normalized_gd":
        return "For the full batch λ₁ decreases (Arora et al. 2022). Does it decrease here?"
    if partial and not single and rule.follows_gradient:
        return "Between one sample and all, ∇L need not align (Example 5.8). Does λ₁ or the trace decrease?"
    if row["momentum"] or row["weight_decay"]:
        return WITH_MOMENTUM
    if row["micro_batch"] < row["batch_size"] and rule.follows_gradient:
        return "Each micro-batch has its own perturbation: with m = 1 the trace should fall as in 1-SAM."
    if single and rule.name == "sam":
        if where == PHASE_ONE:
            return "Near the floor each ∇L_k is an eigenvector of its own ∇²L_k."
        return "Each ∇L_k is an eigenvector of its own ∇²L_k: the trace falls, not λ₁ alone (Theorem 5.4)."
    if single and rule.follows_gradient:
        return "For single samples all three notions of sharpness favour a small trace (Theorem 5.3)."
    if where == PHASE_ONE and row["rayleigh"] > ALIGNED:
        return "The loss still falls to that of the oscillation across the floor. There the drift begins."
    if row["closing"] and rule.aligns and row["rayleigh"] > ALIGNED:
        return "λ₁ has met λ₂: v₁ alone jumps, so watch the top eigenspace or the Rayleigh ratio."
    if rule.name == "sam" and row["rho"] > row["lr"]:
        seen = "∇L points along v₁. " if row["rayleigh"] > ALIGNED else ""
        return f"{seen}Theorem 4.5 assumes a small ρ/η, and here it is {row['rho'] / row['lr']:.3g}."
    if rule.name == "sam" and row["rayleigh"] > ALIGNED:
        return "∇L points along v₁, and each step lowers λ₁ by O(ηρ²) (Theorem 4.5)."
    return rule.watch


def status_text(session: Session, playing: bool) -> str:
    """Return three lines: the phase; what to watch; the step, the speed and the engine."""
    run, problem, row = session.run, session.problem, session.now()
    place = f"{problem.device.type.upper()} {str(problem.dtype).removeprefix('torch.')}, {run.engine}"
    if session.stopped:
        return f"Diverged.\nLower η and press Reset.\nstep {run.steps:,} · stopped · {place}"
    speed = session.update_speed()
    rate = f"{speed:,.0f} steps/s" if playing and speed else ("playing" if playing else "paused")
    if session.recorded:
        rate = f"looking back from step {session.recorded.run.steps:,}"
    where = phase(row, problem.samples) if run.steps else "At the start"
    if session.rival:
        other = session.rival.history.rows[-1]
        where = f"A: {where[0].lower()}{where[1:]}" if run.steps else where
        place += f" · B: λ₁ {other['eigenvalues'][0]:.3g}, loss {other['loss']:.1e}"
        place += " (diverged)" * bool(session.rival.diverged_at[0] >= 0)
    text = session.slow.text if session.slow else f"{where}.\n{advice(row, problem.samples)}"
    return f"{text}\nstep {run.steps:,} · {rate} · {place}"
