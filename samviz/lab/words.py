"""The status in words: what is happening, and what to look at."""

from __future__ import annotations

from typing import Any

RULE_NAMES = {
    "gd": "gradient descent",
    "sam": "SAM",
    "usam": "unnormalized SAM",
    "asam": "adaptive SAM",
    "ascent": "exact ∇L_Asc",
    "worst": "exact ∇L_Max",
    "average": "∇L_Avg, estimated",
    "random": "random perturbation",
    "label_noise": "label noise",
    "normalized_gd": "normalized GD",
}
BIAS = {  # what deserves a look under the rules that are neither gradient descent nor SAM
    "usam": "Not normalized, the perturbation vanishes with ∇L, and so does the pull on λ₁ (Dai et al. 2023).",
    "asam": "ρ counts in units of each |xᵢ|: what is near zero is hardly perturbed (Kwon et al. 2021).",
    "ascent": "L_Asc favours a small λ_M, the least non-zero eigenvalue (Table 1), but only as η → 0: "
    "a larger step keeps the iterate away from its minimizers.",
    "worst": "L_Max favours a small λ₁ (Table 1): SAM gets there with two gradients a step, this climbs each time.",
    "average": "L_Avg favours a small trace (Table 1), but its pull is only ρ²/(2D) of it.",
    "random": "On average a step on L_Avg: the trace falls (Table 1), slowly where D is large.",
    "label_noise": "The noise on the targets, of size ρ, makes the trace fall along the floor (Damian et al. 2021).",
    "normalized_gd": "Steps of one length bounce along v₁ and λ₁ falls by O(η²) a step, without ρ (Arora et al. 2022).",
}
SHARP = "sam", "ascent", "worst"  # perturb along or near ∇L: alike for single samples, and aligned at the full batch
ALIGNED = "sam", "worst", "normalized_gd"  # ∇L along v₁ tells that the full batch has settled


def rule_name(rule: str) -> str:
    """Return what a rule is called on the screen; a rule that the user has registered is called by its key."""
    return RULE_NAMES.get(rule, rule)


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
    told = row["batch_size"] == samples and row["rule"] in ALIGNED
    settled = row["rayleigh"] > 0.9 if told else not falling
    if settled and row["rule"] == "usam":
        return "at rest on the valley floor"
    return "phase II: sliding along the valley floor" if settled else "phase I: falling into the valley"


def _plain(row: dict[str, Any]) -> bool:
    """Whether the rule is gradient descent at its present ρ."""
    perturbing = row["rule"] in RULE_NAMES and row["rule"] != "normalized_gd"
    return bool(row["rule"] == "gd" or (row["rho"] == 0 and perturbing))


def look(row: dict[str, Any], samples: int) -> str:
    """What deserves a look now, and the statement of the paper that it shows.

    Args:
        row: the latest row of the history.
        samples: n.

    Returns:
        One sentence or two.
    """
    rule, single, part = row["rule"], row["batch_size"] == 1 < samples, row["batch_size"] < samples
    if rule not in RULE_NAMES:
        return f"The rule {rule!r} was registered by you: the paper makes no statement about it."
    if rule == "gd" and row["rho"] > 0:
        return "Gradient descent does not use ρ: choose the rule SAM."
    if _plain(row) and rule not in ("gd", *SHARP):
        return "At ρ = 0 this is gradient descent: raise ρ."
    if _plain(row):
        hidden = f"cos(∇L, v₁) is {row['cos_v1']:.0e}. " if row["cos_v1"] < 0.01 else ""
        return f"{hidden}Raise ρ and watch the alignment jump to 1."
    if part and rule == "normalized_gd":
        return "That λ₁ falls is known for the full batch (Arora et al. 2022): what falls here?"
    if part and not single and rule in SHARP:
        return "Between one sample and all, the alignment need not hold (Example 5.8): what falls?"
    if single and rule == "sam":
        return "Each ∇L_k is an eigenvector of its own ∇²L_k: the trace falls, not λ₁ alone (Theorem 5.4)."
    if single and rule in SHARP:
        return "For single samples all three notions of sharpness favour a small trace (Theorem 5.3)."
    if row["closing"] and rule in ALIGNED:
        return (
            "λ₁ has met λ₂, so v₁ is no longer one direction and its cosine jumps; "
            "the top eigenspace and the Rayleigh ratio hold."
        )
    if rule in BIAS:
        return BIAS[rule]
    if row["rayleigh"] > 0.9:
        return "∇L points along v₁, the iterate bounces, and λ₁ falls by O(ηρ²) a step (Theorem 4.5)."
    return "The alignment rises as the loss settles."


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
