"""The status of a run as text: the phase of the theory that it is in, and what to watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from samviz.dynamics import RULES

if TYPE_CHECKING:
    from samviz.lab.session import Session


def phase(row: dict[str, Any], samples: int, falling: bool) -> str:
    """Name the phase of a run from its latest row, n, and whether the loss falls fast (Theorems 4.5 and 5.4)."""
    if _is_gradient_descent(row):
        if row["lr"] * row["eigenvalues"][0] > 2.1:
            return "gradient descent beyond the edge of stability, ηλ₁ > 2"
        if row["lr"] * row["eigenvalues"][0] > 1.9:
            return "gradient descent at the edge of stability, λ₁ ≈ 2/η"
        return "gradient descent"
    aligns = row["batch_size"] == samples and RULES[row["rule"]].aligns
    settled = row["rayleigh"] > 0.9 if aligns else not falling
    if settled and row["rule"] == "usam":
        return "at rest on the valley floor"
    return "phase II: sliding along the valley floor" if settled else "phase I: falling into the valley"


def _is_gradient_descent(row: dict[str, Any]) -> bool:
    """Return whether the rule is gradient descent at its present ρ."""
    return bool(row["rule"] == "gd" or (row["rho"] == 0 and RULES[row["rule"]].gd_at_zero_rho))


def advice(row: dict[str, Any], samples: int) -> str:
    """Say what to watch, given the latest row and n, with the statement of the paper that it shows."""
    rule, single, partial = RULES[row["rule"]], row["batch_size"] == 1 < samples, row["batch_size"] < samples
    if not rule.watch:
        return f"The rule {rule.name!r} was registered by you: the paper makes no statement about it."
    if rule.name == "gd" and row["rho"] > 0:
        return rule.watch
    if _is_gradient_descent(row) and rule.name != "gd" and not rule.follows_gradient:
        return "At ρ = 0 this is gradient descent: raise ρ."
    if _is_gradient_descent(row):
        hidden = f"cos(∇L, v₁) is {row['cos_v1']:.0e}. " if row["cos_v1"] < 0.01 else ""
        return f"{hidden}Raise ρ and watch the alignment jump to 1."
    if partial and rule.name == "normalized_gd":
        return "For the full batch λ₁ decreases (Arora et al. 2022). Does it decrease here?"
    if partial and not single and rule.follows_gradient:
        return "Between one sample and all, the gradient need not align (Example 5.8). Does λ₁ or the trace decrease?"
    if single and rule.name == "sam":
        return "Each ∇L_k is an eigenvector of its own ∇²L_k: the trace falls, not λ₁ alone (Theorem 5.4)."
    if single and rule.follows_gradient:
        return "For single samples all three notions of sharpness favour a small trace (Theorem 5.3)."
    if row["closing"] and rule.aligns:
        return (
            "λ₁ has met λ₂, so v₁ is no longer unique and its cosine jumps; "
            "use the top eigenspace or the Rayleigh ratio instead."
        )
    if rule.name == "sam" and row["rayleigh"] > 0.9:
        if row["rho"] > row["lr"]:
            ratio = row["rho"] / row["lr"]
            return f"∇L points along v₁, and λ₁ falls. Theorem 4.5 assumes a small ρ/η, and here it is {ratio:.3g}."
        return "∇L points along v₁, the iterate oscillates, and λ₁ falls by O(ηρ²) in each step (Theorem 4.5)."
    return rule.watch


def status_text(session: Session, playing: bool) -> str:
    """Return the line under the controls: the step, the speed, the engine, the phase, and what to watch."""
    run, problem, row = session.run, session.problem, session.now()
    place = f"{problem.device.type.upper()} {str(problem.dtype).removeprefix('torch.')}, {run.engine}"
    if session.stopped:
        return f"step {run.steps:,} · stopped · {place} · diverged"
    speed = session.update_speed()
    rate = f"{speed:,.0f} steps/s" if playing and speed else ("playing" if playing else "paused")
    where = phase(row, problem.samples, session.falling()) if run.steps else "at the start"
    return f"step {run.steps:,} · {rate} · {place} · {where}. {advice(row, problem.samples)}"
