"""The status in words: what is happening, and what to look at."""

from __future__ import annotations

from typing import Any

from samviz.dynamics import RULES


def phase(row: dict[str, Any], samples: int, falling: bool) -> str:
    """Which part of the theory the run is in.

    Args:
        row: the latest row of the history, under the present settings.
        samples: n.
        falling: whether the loss still falls fast.

    Returns:
        A few words.

    Source: Theorem 4.5; Theorem 5.4 for batch size 1.
    """
    if _plain(row):
        if row["lr"] * row["eigenvalues"][0] > 2.1:
            return "gradient descent beyond the edge of stability, ηλ₁ > 2"
        if row["lr"] * row["eigenvalues"][0] > 1.9:
            return "gradient descent at the edge of stability, λ₁ ≈ 2/η"
        return "gradient descent"
    told = row["batch_size"] == samples and RULES[row["rule"]].aligns
    settled = row["rayleigh"] > 0.9 if told else not falling
    if settled and row["rule"] == "usam":
        return "at rest on the valley floor"
    return "phase II: sliding along the valley floor" if settled else "phase I: falling into the valley"


def _plain(row: dict[str, Any]) -> bool:
    """Whether the rule is gradient descent at its present ρ."""
    return bool(row["rule"] == "gd" or (row["rho"] == 0 and RULES[row["rule"]].gd_at_zero_rho))


def look(row: dict[str, Any], samples: int) -> str:
    """What deserves a look now, and the statement of the paper that it shows.

    Args:
        row: the latest row of the history.
        samples: n.

    Returns:
        One sentence or two.
    """
    rule, single, part = RULES[row["rule"]], row["batch_size"] == 1 < samples, row["batch_size"] < samples
    if not rule.watch:
        return f"The rule {rule.name!r} was registered by you: the paper makes no statement about it."
    if rule.name == "gd" and row["rho"] > 0:
        return rule.watch
    if _plain(row) and rule.name != "gd" and not rule.follows_gradient:
        return "At ρ = 0 this is gradient descent: raise ρ."
    if _plain(row):
        hidden = f"cos(∇L, v₁) is {row['cos_v1']:.0e}. " if row["cos_v1"] < 0.01 else ""
        return f"{hidden}Raise ρ and watch the alignment jump to 1."
    if part and rule.name == "normalized_gd":
        return "That λ₁ falls is known for the full batch (Arora et al. 2022): what falls here?"
    if part and not single and rule.follows_gradient:
        return "Between one sample and all, the alignment need not hold (Example 5.8): what falls?"
    if single and rule.name == "sam":
        return "Each ∇L_k is an eigenvector of its own ∇²L_k: the trace falls, not λ₁ alone (Theorem 5.4)."
    if single and rule.follows_gradient:
        return "For single samples all three notions of sharpness favour a small trace (Theorem 5.3)."
    if row["closing"] and rule.aligns:
        return (
            "λ₁ has met λ₂, so v₁ is no longer one direction and its cosine jumps; "
            "the top eigenspace and the Rayleigh ratio hold."
        )
    if rule.name == "sam" and row["rayleigh"] > 0.9:
        return "∇L points along v₁, the iterate bounces, and λ₁ falls by O(ηρ²) a step (Theorem 4.5)."
    return rule.watch


def status(
    row: dict[str, Any],
    samples: int,
    *,
    step: int,
    speed: float,
    place: str,
    playing: bool,
    stopped: bool,
    falling: bool,
) -> str:
    """The line under the controls.

    Args:
        row: the latest row of the history.
        samples: n.
        step: steps taken.
        speed: steps per second, 0 when unknown.
        place: device, precision and engine.
        playing: whether the run is going on.
        stopped: whether it has diverged.
        falling: whether the loss still falls fast.

    Returns:
        One line of plain text.
    """
    if stopped:
        return f"step {step:,} · stopped · {place} · diverged"
    rate = f"{speed:,.0f} steps/s" if playing and speed else ("playing" if playing else "paused")
    where = phase(row, samples, falling) if step else "at the start"
    return f"step {step:,} · {rate} · {place} · {where}. {look(row, samples)}"
