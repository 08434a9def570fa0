"""Named settings of the controls, and the pace that suits a problem's size."""

from __future__ import annotations

from typing import Any

import numpy as np

from samviz.problems import Problem

PACES = (1, 2, 5, 10, 20, 50)  # steps per frame to choose from
THEOREM = "SAM, small ρ (the theorem)"


def presets(problem: Problem, sharpness: float) -> dict[str, dict[str, Any]]:
    """The controls' values by the preset's name.

    Args:
        problem: what is minimized.
        sharpness: λ₁ at the start; it sets the learning rates: ηλ₁ near 0.75, and near 1.5 at SAM's edge.

    Returns:
        For each preset, the controls that it sets.
    """
    n = max(problem.samples, 1)
    sam = {"rule": "sam", "lr": nice(0.75 / max(sharpness, 1e-6)), "batch_size": n}
    named = {
        "gradient descent": sam | {"rho": 0.0},  # SAM at ρ = 0, so that the first touch of ρ tells the story
        THEOREM: sam | {"rho": 0.005},
        "SAM, large ρ (its edge)": sam | {"rho": 0.02, "lr": nice(1.5 / max(sharpness, 1e-6))},
    }
    if problem.samples:
        named["1-SAM"] = sam | {"rho": 0.1, "batch_size": 1}
    return named


def pace(problem: Problem) -> int:
    """Steps per frame that keep a frame near 50 ms."""
    affordable = 4e8 / (12 * max(problem.samples, 1) * problem.dim)
    return max((p for p in PACES if p <= affordable), default=1)


def nice(value: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten.

    >>> nice(0.0487)
    0.05
    """
    power = 10.0 ** np.floor(np.log10(value))
    return float(f"{power * min((1, 2, 5, 10), key=lambda m: abs(np.log(m * power / value))):.3g}")
