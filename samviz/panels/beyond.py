"""What came after the paper: each panel asks a question, and then runs a claim with the learner's settings.

The functions return a `Panel`; leave it as the last line of a cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from samviz.claims import BEYOND, Check, Claim, Curve, Finding, Plot, Verdict
from samviz.claims.claim import finding
from samviz.dynamics import Diverged
from samviz.figures import claim_figure
from samviz.lab.controls import GUESS, Choice, Control, Slider, Switch, decades
from samviz.lab.panel import Drawing, Panel
from samviz.lab.predictions import PredictChoice

VERDICTS = {
    "holds": "The statement holds here.",
    "does not hold here": "The statement does not hold here.",
    "open": "The question is open: there is no prediction.",
}
FOUND: dict[tuple[Any, ...], Finding] = {}  # by the name of the claim and its settings


def normalization_panel() -> Panel:
    """Show how far SAM and unnormalized SAM drift along the valley's floor, against ρ.

    Source: Dai, Ahn & Sra, The crucial role of normalization in sharpness-aware minimization (2023, 2305.15287).

    >>> panel = normalization_panel()
    >>> panel.set(guess="never")
    >>> "steps 3,000 to 6,000 (largest of 3): 0 (predicted at most 1·10⁻¹²)" in panel.sentence
    True
    """
    return _experiment(
        "normalization",
        "Distance moved along the floor against ρ",
        "Unnormalized SAM perturbs by ρ∇L instead of ρ∇L/‖∇L‖. Both methods start next to the valley's floor. How far "
        "does unnormalized SAM move along the floor in steps 3,000 to 6,000?",
        same=(
            "As far as SAM, with another ρ.",
            "You assumed that the division by ‖∇L‖ only changes the units of ρ. But the perturbation ρ∇L vanishes with "
            "the gradient, and the drift with it.",
        ),
        slower=(
            "Less far than SAM, and farther with a larger ρ.",
            "You expected a slow drift. But unnormalized SAM converges to a minimum, where ∇L = 0.",
        ),
        never=("Not at all.", "It has converged to a minimum, where ∇L = 0 and nothing perturbs it."),
        rho=Slider("largest ρ", 0.1, decades(-2, 0)[:33], high=0.25, book=[0.05, 0.1, 0.2]),
        lr=Slider("η learning rate", 0.02, [0.005, 0.01, 0.015, 0.02, 0.03, 0.04], book=[0.01, 0.02]),
    )


def batch_sharpness_panel() -> Panel:
    """Show λ₁ and batch sharpness, in units of 2/η, against the batch size.

    Source: Andreyev & Beneventano, Edge of stochastic stability (2024, 2412.20553).

    >>> panel = batch_sharpness_panel()
    >>> panel.set(guess="below", steps=300)
    >>> "Measured: λ₁η/2 with batch sizes 4 and 16" in panel.sentence
    True
    """
    return _experiment(
        "stochastic_edge",
        "λ₁ and batch sharpness, in units of 2/η, against the batch size",
        "Gradient descent with the full batch raises λ₁ until it reaches 2/η. Where is λ₁ after as many steps with "
        "batches of 4 samples?",
        edge=(
            "At 2/η, too.",
            "You assumed that the edge of stability is the same for every batch size. What the paper expects at 2/η is "
            "batch sharpness, the mean curvature of a batch along its own gradient.",
        ),
        above=("Above 2/η.", "You expected that noise lets λ₁ grow. But it makes the steps unstable at a smaller λ₁."),
        below=("Below 2/η.", "What the paper expects at 2/η is the mean curvature of a batch along its own gradient."),
        steps=Slider("steps", 10_000, [300, 1000, 3000, 10_000, 20_000], integer=True, book=[1000, 3000, 10_000]),
        lr=Slider("η of the full batch", 0.2, [0.05, 0.1, 0.15, 0.2, 0.25, 0.3], book=[0.1, 0.2]),
    )


def momentum_panel() -> Panel:
    """Show how momentum and weight decay change SAM's drift on its 2-cycle.

    Source: our results, for the heavy ball and for weight decay on the 2-cycle of Theorem 4.8.

    >>> panel = momentum_panel()
    >>> panel.set(guess="ten")
    >>> panel.sentence
    'The statement holds here. Measured: drift divided by the prediction, all β ...
    """
    claims = {"momentum_drift": "momentum β", "weight_decay_drift": "weight decay κ"}
    return _experiment(
        "momentum_drift",
        "Drift along the floor against momentum or weight decay",
        "SAM with heavy-ball momentum β = 0.9 oscillates across the valley's floor. How fast does it drift along the "
        "floor, compared with SAM without momentum?",
        same=(
            "As fast: the displacements of the 2-cycle cancel each other.",
            "You considered the oscillation only. The drift has the same sign in each step, and momentum sums it.",
        ),
        ten=("About 10 times as fast.", "The drift has the same sign in each step, and momentum sums 1/(1 − β) steps."),
        hundred=(
            "About 100 times as fast.",
            "You expected that the amplitude of the oscillation grows, too. But its displacements change sign.",
        ),
        claim=Choice("vary", "momentum_drift", claims, book=list(claims), help="The setting that is varied."),
        lr=Slider("η learning rate", 0.01, [0.001, 0.002, 0.005, 0.01, 0.02, 0.03], book=[0.005, 0.01, 0.02]),
    )


def scale_panel() -> Panel:
    """Show λ₁ against the length of the weights of a network with a normalization layer.

    Source: Arora, Li & Lyu (2019, 1812.03981); Kwon et al., ASAM (2021, 2102.11600).

    >>> panel = scale_panel()
    >>> panel.set(guess="quarter")
    >>> panel.sentence
    'The statement holds here. ...
    """
    return _experiment(
        "scale_invariance",
        "λ₁ against the scale of the weights",
        "A normalization layer makes the loss independent of the length of the weights w. All weights are doubled. "
        "What happens to λ₁?",
        same=(
            "It does not change.",
            "You assumed that the function determines the curvature. But a step of the same length now changes the "
            "function half as much: λ₁ is a quarter.",
        ),
        half=("It halves.", "You described the gradient. A second derivative is divided by 2²."),
        quarter=("It is a quarter.", "L(2w) = L(w) implies that ∇L is halved and ∇²L divided by 2²."),
        four=("It is four times as large.", "You multiplied by the scale. L(2w) = L(w) implies ∇²L(2w) = ∇²L(w)/2²."),
        power=Switch("ρ grows with ‖w‖", True, book=[True, False], help="Whether longer weights have a larger ρ."),
        rho=Slider("ρ radius", 0.05, decades(-2, 0), book=[0.02, 0.05, 0.1]),
    )


def practice_panel() -> Panel:
    """Show how well the gradient is aligned with v₁ during a training with mini-batches.

    Source: Luo et al., Explicit eigenvalue regularization improves sharpness-aware minimization (2024, 2501.12666).

    >>> panel = practice_panel()
    >>> panel.set(guess="small")
    >>> panel.sentence
    'The statement does not hold here. ...
    """
    rules = {"sam": "SAM", "usam": "unnormalized SAM"}
    return _experiment(
        "alignment_in_practice",
        "Alignment of the gradient with v₁ against the step",
        "A network learns digits from random weights, with SAM, cross-entropy and batches of 32 samples. What is "
        "|cos(∇L, v₁)| after 800 steps? (Two random directions in this space have 0.02.)",
        small=("Less than 0.5.", "The theorems are about a neighbourhood of Γ, and this training is far from it."),
        medium=("Between 0.5 and 0.9.", "It is smaller: this training is far from Γ, where the theorems apply."),
        large=(
            "More than 0.9.",
            "You applied Theorem 4.5. But it is about full-batch SAM in a neighbourhood of Γ, which is far away here.",
        ),
        rule=Choice("rule", "sam", rules, book=list(rules)),
        rho=Slider("ρ radius", 0.05, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5], book=[0.02, 0.05, 0.2]),
    )


def generalization_panel() -> Panel:
    """Show λ₁ of networks that compute the same function with other weights.

    Source: Dinh, Pascanu, Bengio & Bengio, Sharp minima can generalize for deep nets (2017, 1703.04933); Wen, Li & Ma,
    Sharpness minimization algorithms do not only minimize sharpness (2023, 2307.11007).

    >>> panel = generalization_panel()
    >>> panel.set(guess="any")
    >>> panel.sentence
    'The statement holds here. ...
    """
    activations = {"relu": "ReLU", "tanh": "tanh"}
    return _experiment(
        "reparametrization",
        "λ₁ against the factor of a layer",
        "Two ReLU networks with the same layers compute the same function, and so they generalize equally well. By "
        "what factor can their λ₁ differ?",
        none=("They are equal.", "You assumed that the function determines the curvature. The weights determine it."),
        little=("By a few per cent.", "You assumed that the function nearly determines the curvature. It does not."),
        any=(
            "By any factor.",
            "Multiply one layer by α and divide the next by α: the function is the same, and λ₁ is not.",
        ),
        alpha=Slider("largest α", 4, [1, 2, 4, 8, 16], book=[2, 4, 16], help="Multiplies one layer, divides the next."),
        activation=Choice("activation", "relu", activations, book=list(activations), help="That of the neurons."),
    )


def _experiment(name: str, description: str, question: str, **answers_and_controls: tuple[str, str] | Control) -> Panel:
    """Return a panel that runs a claim: answers with their replies, and controls of keyword arguments of the claim."""
    answers = {key: each for key, each in answers_and_controls.items() if isinstance(each, tuple)}
    controls = {key: each for key, each in answers_and_controls.items() if not isinstance(each, tuple)}
    options, replies = ({key: each[i] for key, each in answers.items()} for i in (0, 1))

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
                    plot = finding(parts).plot
                    drawing = claim_figure(plot), f"The figure will show {plot.y_label} against {plot.x_label}."
                yield drawing
        except Diverged as error:
            raise ValueError("The runs diverged. Lower η") from error
        if parts:
            FOUND[key] = finding(parts)
        yield claim_figure(FOUND[key].plot), describe(claim, FOUND[key])

    return Panel(draw, controls, predict=PredictChoice(question, options, replies), description=description)


def describe(claim: Claim, found: Finding) -> str:
    """Return the verdict, the measured numbers with their predictions, and the remark."""
    measured = "; ".join(map(_measurement, found.checks))
    return f"{VERDICTS[Verdict(claim, found, 0.0).word]} Measured: {measured}. {found.remark}"


def _measurement(check: Check) -> str:
    """Return a measured number, with its error and its prediction."""
    quantity, predicted, measured, interval = check.cells
    expected = f"{predicted}, {interval}" if interval.startswith("within") else interval
    expected = predicted if interval == "nothing" else expected
    return f"{quantity}: {measured}" + f" (predicted {expected})" * (expected != "nothing")
