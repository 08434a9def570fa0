"""What came after the paper: each panel asks a question, and then runs a claim with the learner's settings.

The questions are in `beyond.json`, by the name of the claim. Leave a panel as the last line of a cell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samviz.claims import BEYOND, Check, Claim, Curve, Finding, Plot, Verdict
from samviz.claims.claim import collect
from samviz.dynamics import RULES, Diverged
from samviz.figures import claim_figure
from samviz.lab.controls import GUESS, Choice, Control, Slider, Switch, decades
from samviz.lab.panel import Drawing, Panel
from samviz.lab.predictions import PredictChoice

QUESTIONS = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
VERDICTS = {
    "holds": "This holds here.",
    "does not hold here": "This does not hold here.",
    "open": "The question is open: there is no prediction.",
}
FOUND: dict[tuple[Any, ...], Finding] = {}  # by the name of the claim and its settings


def normalization_panel() -> Panel:
    """Show how far SAM and unnormalized SAM drift along the valley's floor, against ρ.

    Source: Dai, Ahn & Sra, The crucial role of normalization in sharpness-aware minimization (2023, 2305.15287).

    >>> panel = normalization_panel()
    >>> panel.set(guess="never")
    >>> "steps 3,000 to 6,000 (farthest of 3 from the prediction): 0 (predicted 0, within 1·10⁻¹²)" in panel.sentence
    True
    """
    return _experiment(
        "normalization",
        rho=Slider("largest ρ", 0.1, decades(-2, 0)[:33], high=0.25, book=[0.02, 0.05, 0.1]),
        lr=Slider("η learning rate", 0.02, [0.005, 0.01, 0.015, 0.02, 0.03, 0.04], book=[0.01, 0.02]),
    )


def rates_panel() -> Panel:
    """Show the drift per step of four methods on the valley against η.

    Source: this paper; Damian, Ma & Lee, Label noise SGD provably prefers flat global minimizers (2021, 2106.06530);
    Arora, Li & Panigrahi, Understanding gradient descent on edge of stability in deep learning (2022, 2205.09745).

    >>> rates_panel().question
    "SAM's drift along the valley's floor is proportional to η: ...
    """
    return _experiment(
        "drift_rates",
        rho=Slider("ρ radius", 0.05, decades(-2, 0)[:33], book=[0.02, 0.05, 0.1]),
        noise=Slider(
            "σ of the labels", 0.2, [0.05, 0.1, 0.2, 0.5], book=[0.1, 0.2, 0.5], help="The size of the noise."
        ),
    )


def edge_panel() -> Panel:
    """Show λ₁ during a training with SAM from random weights, SAM's edge of stability and 2/η.

    Source: Long & Bartlett, Sharpness-aware minimization and the edge of stability (2024, 2309.12488).

    >>> edge_panel().question
    'SAM trains a network from random weights, with η = 0.1 and ...
    """
    return _experiment(
        "edge_in_training",
        lr=Slider("η learning rate", 0.1, [0.05, 0.07, 0.1, 0.15, 0.2, 0.3], book=[0.05, 0.1, 0.2]),
        rho=Slider("ρ radius", 0.05, [0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2], book=[0.02, 0.05, 0.1]),
    )


def batch_sharpness_panel() -> Panel:
    """Show λ₁ and batch sharpness, in units of 2/η, against the batch size.

    Source: Andreyev & Beneventano, Edge of stochastic stability (2024, 2412.20553).

    >>> batch_sharpness_panel().question
    'Gradient descent with the full batch raises λ₁ until it ...
    """
    return _experiment(
        "stochastic_edge",
        steps=Slider("steps", 10_000, [300, 1000, 3000, 10_000, 20_000], integer=True, book=[1000, 3000, 10_000]),
        lr=Slider("η learning rate", 0.2, [0.05, 0.1, 0.15, 0.2, 0.25, 0.3], book=[0.1, 0.2]),
    )


def micro_batch_panel() -> Panel:
    """Show test accuracy, or the trace of the Hessian, for several sizes of micro-batches.

    Source: Foret et al. (2021, 2010.01412); Andriushchenko & Flammarion, Towards understanding sharpness-aware
    minimization (2022, 2206.06232).

    >>> micro_batch_panel().question
    'A network learns 40 digits, of which 4 have a wrong label. ...
    """
    claims = {"accuracy_against_m": "test accuracy on digits", "micro_batches": "trace on the sine data"}
    return _experiment(
        "accuracy_against_m",
        claim=Choice("measure", "accuracy_against_m", claims, book=list(claims), help="What is measured, and where."),
        rho=Slider("ρ radius", 0.05, [0.02, 0.03, 0.05, 0.07, 0.1], book=[0.02, 0.05, 0.1]),
    )


def momentum_panel() -> Panel:
    """Show how momentum and weight decay change SAM's drift on its 2-cycle.

    Source: our results, for the heavy ball and for weight decay on the 2-cycle of Theorem 4.8.

    >>> momentum_panel().question
    "SAM with heavy-ball momentum β = 0.9 oscillates across the ...
    """
    claims = {"momentum_drift": "momentum β", "weight_decay_drift": "weight decay κ"}
    return _experiment(
        "momentum_drift",
        claim=Choice("vary", "momentum_drift", claims, book=list(claims), help="The setting that is varied."),
        lr=Slider("η learning rate", 0.01, [0.001, 0.002, 0.005, 0.01, 0.02, 0.03], book=[0.005, 0.01, 0.02]),
    )


def cross_entropy_panel() -> Panel:
    """Show λ₁ and ‖x‖ while a classifier is trained with cross-entropy, with and without SAM.

    Source: Cohen et al. (2021, 2103.00065); Lyu & Li, Gradient descent maximizes the margin of homogeneous neural
    networks (2020, 1906.05890).

    >>> cross_entropy_panel().question
    'Gradient descent, without SAM, trains a classifier with ...
    """
    activations = {"tanh": "tanh", "relu": "ReLU"}
    return _experiment(
        "cross_entropy",
        activation=Choice("activation", "tanh", activations, book=list(activations), help="That of the neurons."),
        lr=Slider("η learning rate", 0.5, [0.1, 0.2, 0.5, 1], book=[0.2, 0.5]),
    )


def scale_panel() -> Panel:
    """Show λ₁ against the length of the weights of a network with a normalization layer.

    Source: Arora, Li & Lyu (2019, 1812.03981); Kwon et al., ASAM (2021, 2102.11600).

    >>> scale_panel().question
    'A normalization layer makes the loss independent of the ...
    """
    return _experiment(
        "scale_invariance",
        power=Switch("ρ grows with ‖w‖", True, book=[True, False], help="Whether longer weights have a larger ρ."),
        rho=Slider("ρ radius", 0.05, decades(-2, 0), book=[0.02, 0.05, 0.1]),
    )


def practice_panel() -> Panel:
    """Show how well the gradient is aligned with v₁ during a training with mini-batches.

    Source: Luo et al., Explicit eigenvalue regularization improves sharpness-aware minimization (2024, 2501.12666).

    >>> practice_panel().question
    'A network learns digits from random weights, with SAM ...
    """
    rules = {name: RULES[name].label for name in ("sam", "usam", "eigen_sam")}
    return _experiment(
        "alignment_in_practice",
        rule=Choice("rule", "sam", rules, book=list(rules)),
        rho=Slider("ρ radius", 0.05, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5], book=[0.02, 0.05, 0.2]),
    )


def generalization_panel() -> Panel:
    """Show λ₁ of networks that compute the same function with other weights.

    Source: Dinh, Pascanu, Bengio & Bengio, Sharp minima can generalize for deep nets (2017, 1703.04933); Wen, Li & Ma,
    Sharpness minimization algorithms do not only minimize sharpness (2023, 2307.11007).

    >>> generalization_panel().question
    'Two ReLU networks with the same layers compute the same ...
    """
    activations = {"relu": "ReLU", "tanh": "tanh"}
    return _experiment(
        "reparametrization",
        alpha=Slider("largest α", 4, [1, 2, 4, 8, 16], book=[2, 4, 16], help="Multiplies one layer, divides the next."),
        activation=Choice("activation", "relu", activations, book=list(activations), help="That of the neurons."),
    )


def _experiment(name: str, **controls: Control) -> Panel:
    """Return a panel that runs a claim; the controls have the names of keyword arguments of its function."""

    def draw(values: dict[str, Any]) -> Iterator[Drawing]:
        """Yield the figure and a sentence while the claim runs, first without curves, and at last with the verdict."""
        claim = BEYOND[values.get("claim", name)]
        settings = {key: value for key, value in values.items() if key not in (GUESS, "claim")}
        key = (claim.name, *settings.items())
        parts: list[Any] = []
        try:
            for part in () if values[GUESS] is not None and key in FOUND else claim.find(True, **settings):
                parts.append(part)
                if isinstance(part, Plot | Curve):  # the first part is the Plot
                    plot = collect(parts).plot
                    drawing = claim_figure(plot), f"The figure will show {plot.y_label} against {plot.x_label}."
                yield drawing
        except Diverged as error:
            remedy = "Lower η" if "lr" in controls else "Lower ρ" if "rho" in controls else "Choose smaller settings"
            raise ValueError(f"The runs diverged. {remedy}") from error
        if parts:
            FOUND[key] = collect(parts)
        yield claim_figure(FOUND[key].plot), describe(claim, FOUND[key])

    plot = next(BEYOND[name].find(True))
    assert isinstance(plot, Plot)
    description = f"{plot.y_label} against {plot.x_label}"
    return Panel(draw, controls, predict=PredictChoice(**QUESTIONS[name]), description=description)


def describe(claim: Claim, found: Finding) -> str:
    """Return the statement, the verdict, the measured numbers with their predictions, and the remark."""
    measured = "; ".join(map(_measurement, found.checks))
    return f"{claim.statement} {VERDICTS[Verdict(claim, found, 0.0).word]} Measured: {measured}. {found.remark}"


def _measurement(check: Check) -> str:
    """Return a measured number, with its error and its prediction."""
    quantity, predicted, measured, interval = check.cells
    expected = f"{predicted}, {interval}" if interval.startswith("within") else interval
    expected = predicted if interval == "nothing" else expected
    return f"{quantity}: {measured}" + f" (predicted {expected})" * (expected != "nothing")
