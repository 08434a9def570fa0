"""The status in words: what is happening, and what to look at."""

from __future__ import annotations

from typing import Any

RULE_NAMES = {"gd": "gradient descent", "sam": "SAM", "usam": "unnormalized SAM"}


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
    if row["rule"] == "gd" or row["rho"] == 0:
        if row["lr"] * row["eigenvalues"][0] > 2.1:
            return "gradient descent beyond the edge of stability, ηλ₁ > 2"
        if row["lr"] * row["eigenvalues"][0] > 1.9:
            return "gradient descent at the edge of stability, λ₁ ≈ 2/η"
        return "gradient descent"
    full = row["batch_size"] == samples
    settled = row["rayleigh"] > 0.9 if full else not falling
    return "phase II: sliding along the valley floor" if settled else "phase I: falling into the valley"


def look(row: dict[str, Any], samples: int) -> str:
    """What deserves a look now, and the statement of the paper that it shows.

    Args:
        row: the latest row of the history.
        samples: n.

    Returns:
        One sentence or two.
    """
    batch = row["batch_size"]
    if row["rule"] == "gd" and row["rho"] > 0:
        return "Gradient descent does not use ρ: choose the rule SAM."
    if row["rule"] == "gd" or row["rho"] == 0:
        hidden = f"cos(∇L, v₁) is {row['cos_v1']:.0e}. " if row["cos_v1"] < 0.01 else ""
        return f"{hidden}Raise ρ and watch the alignment jump to 1."
    if samples and 1 < batch < samples:
        return "Between one sample and all, the alignment need not hold (Example 5.8): what falls?"
    if samples and batch == 1:
        return "Each ∇L_k is an eigenvector of its own ∇²L_k: the trace falls, not λ₁ alone (Theorem 5.4)."
    if row["closing"]:
        return (
            "λ₁ has met λ₂, so v₁ is no longer one direction and its cosine jumps; "
            "the top eigenspace and the Rayleigh ratio hold."
        )
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
        place: device and precision.
        playing: whether the run is going on.
        stopped: whether it has diverged.
        falling: whether the loss still falls fast.

    Returns:
        One line of plain text.
    """
    if stopped:
        return f"step {step:,} · stopped · {place} · diverged"
    rate = f"{speed:,.0f} steps/s" if playing and speed else ("playing" if playing else "paused")
    return f"step {step:,} · {rate} · {place} · {phase(row, samples, falling)}. {look(row, samples)}"
