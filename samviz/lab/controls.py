"""The controls that a panel may declare: the label, the first value, and the possible values of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from samviz.checks import check_array, check_bool, check_int, check_type, is_finite_number
from samviz.lab.predictions import PredictChoice, Prediction, coordinates

GUESS = "guess"  # the name of a panel's prediction
HELP = {  # the explanations of the lab's and the panels' controls by name, unless a control has its own
    "rho": "The perturbation radius: the distance from x to the point at which SAM takes the gradient.",
    "lr": "The learning rate: how far a step goes along the gradient.",
    "batch_size": "How many samples each step sees; at the right end, all of them.",
    "rule": "How a step follows from the gradients.",
    "momentum": "How much of the last displacement is added to each step (heavy ball).",
    "lr_decay": "Step t of the run has the learning rate η/(1 + δt).",
    "loss_name": "The loss that is minimized and measured.",
    "weight_decay": "Pulls the parameters to 0: ½κ‖x‖² is added to the loss that is minimized.",
    "micro_batch": "How many samples of a batch share a perturbation (m-sharpness).",
    "seed": "Determines the start and the samples of each step, from the next Reset on.",
    "steps_per_frame": "How many steps lie between two pictures.",
    "side": "A second run, B, has the same start and seed, and its own settings. Starting it resets the lab.",
    "quantity": "What the plot at the lower right shows. A quantity is measured only while it is shown.",
    "device": "Where the run is computed. A change resets the lab.",
    "plane": "The plane on which the landscape shows the loss.",
    "compare": "Show the previous run in grey.",
    "surface": "Show the loss over the plane as a surface, which you can turn.",
    "again": "Repeat with other random numbers.",
    "size": "How many samples each step sees.",
    "step": "The step of the runs that is drawn.",
    "steps": "How many steps each run takes.",
    "method": "The method whose path is highlighted.",
    "direction": "The perturbation along which the loss is taken.",
    "derivative": "Whether the gradient includes the derivative of the perturbation.",
    "share": "The second eigenvalue as a fraction of the first.",
    "low": "The smallest eigenvalue of the bowls.",
    "ratio": "How much steeper the bowl is along v₁ than along v₂.",
    "left": "Moves the point toward the minima, to this fraction of its distance.",
    "bowl": "The loss that is drawn.",
    "wrong": "Train on data with wrong labels.",
    "radius": "Half the side of each square.",
    "alpha": "Multiplies one layer of SAM's network and divides the next; the function is the same.",
    "normalized": "Scale the random directions like the weights, filter by filter.",
    "start": "Train in the background, from the present parameters.",
    "stop": "Stop after the present step.",
}
MANTISSAS = (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.2, 2.4, 2.7, 3, 3.3, 3.6, 4, 4.5, 5, 5.5, 6, 6.5, 7, 8, 9)


def decades(low: int, high: int) -> list[float]:
    """Return round numbers about 10 % apart, from 10^low to 10^high.

    Args:
        low: the exponent of the first number, -300 or more.
        high: the exponent of the last number, above low and at most 300.

    Raises:
        ValueError, TypeError: when an exponent is no such integer.

    >>> len(decades(-2, 0)), decades(-2, 0)[:3], decades(-2, 0)[-1]
    (49, [0.01, 0.011, 0.012], 1.0)
    """
    low = check_int("low", low, "a whole number, from 10^low on", -300)
    high = check_int("high", high, f"a whole number above low, {low}", low + 1, 300)
    return [*(float(f"{m}e{e}") for e in range(low, high) for m in MANTISSAS), float(f"1e{high}")]


@dataclass(frozen=True)
class Slider:
    """A number: a thumb that moves between stops, and next to it the number, which may be any in the range.

    >>> Slider("ρ radius", 0.1, stops=[0, *decades(-2, 0)]).take("rho", 0.123)
    0.123
    """

    label: str
    value: float
    stops: Sequence[float]  # (stops,), increasing
    low: float | None = None  # the least that may be typed; None: the first stop
    high: float | None = None  # None: the last stop
    integer: bool = False
    book: Sequence[float] = ()  # values for which the book computes figures in advance; (): only the start value
    help: str = ""  # one sentence, which is shown on hover and on focus
    kind: str = "slider"  # how graph.js shows it; in a lab also "batchslider", "numberfield" or "numberlist"

    def __post_init__(self) -> None:
        check_bool("integer", self.integer)
        expected = f"two or more increasing numbers, where {self.label!r} stops"
        if check_array("stops", self.stops, expected).ndim != 1:
            raise TypeError(f"stops is {self.stops!r:.200}; expected {expected}")
        exact = [int(stop) if self.integer else float(f"{stop:.12g}") for stop in self.stops]  # 0.3, not 0.1 + 0.2
        if len(exact) < 2 or any(a >= b for a, b in pairwise(exact)):
            raise ValueError(f"stops of {self.label!r} are {exact}; expected two or more increasing numbers")
        ends = [end if limit is None else limit for limit, end in ((self.low, exact[0]), (self.high, exact[-1]))]
        if not (all(map(is_finite_number, ends)) and ends[0] <= ends[1]):
            raise ValueError(f"low is {self.low!r} and high {self.high!r}; expected finite numbers, low first, or None")
        for name, value in (("stops", tuple(exact)), ("low", float(ends[0])), ("high", float(ends[1]))):
            object.__setattr__(self, name, value)

    def take(self, name: str, value: Any) -> float:
        """Return a value as it is stored: a float, or an int for a slider of whole numbers.

        Args:
            name: of the control, for the message.
            value: from the learner or from a program.

        Raises:
            ValueError: when the control cannot have this value.
        """
        if is_finite_number(value) and self.low <= value <= self.high and not (self.integer and value % 1):
            return int(value) if self.integer else float(value)
        kind = "a whole number" if self.integer else "a number"
        raise ValueError(f"{name} is {value!r}; expected {kind} from {self.low:g} to {self.high:g}")


@dataclass(frozen=True)
class Choice:
    """One of several named values."""

    label: str
    value: str
    options: Mapping[str, str]  # value: what the learner reads
    book: Sequence[str] = ()  # as in `Slider`
    help: str = ""

    def take(self, name: str, value: Any) -> str:
        """Return a value as in `Slider.take`."""
        if isinstance(value, str) and value in self.options:
            return value
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, self.options))}")


@dataclass(frozen=True)
class Switch:
    """On or off."""

    label: str
    value: bool = False
    book: Sequence[bool] = ()  # as in `Slider`
    help: str = ""
    kind: str = "switch"  # "timelineswitch" next to the timeline of a lab

    def take(self, name: str, value: Any) -> bool:
        """Return a value as in `Slider.take`."""
        if isinstance(value, bool | np.bool_):
            return bool(value)
        raise ValueError(f"{name} is {value!r}; expected True or False")


@dataclass(frozen=True)
class Timeline:
    """A slider over the steps of a run; its value is the step at which the learner looks back, or None at the end."""

    label: str
    value: int | None = None

    def take(self, name: str, value: Any) -> int | None:
        """Return a value as in `Slider.take`."""
        if value is None or (is_finite_number(value) and value >= 0 and value % 1 == 0):
            return None if value is None else int(value)
        raise ValueError(f"{name} is {value!r}; expected a step, 0 or more, or None for the present one")


@dataclass(frozen=True)
class Button:
    """Something to press; its value counts the presses, and so serves as a seed."""

    label: str
    value: int = 0
    help: str = ""  # as in `Slider`

    def take(self, name: str, value: Any) -> int:
        """Return a value as in `Slider.take`."""
        if is_finite_number(value) and value >= 0 and value % 1 == 0:
            return int(value)
        raise ValueError(f"{name} is {value!r}; expected a count of presses, 0 or more")


@dataclass(frozen=True)
class Point:
    """A marker that can be dragged over the graph; its value is its position in the coordinates of the first axes."""

    label: str
    value: tuple[float, float]

    def take(self, name: str, value: Any) -> tuple[float, float]:
        """Return a value as in `Slider.take`."""
        x, y = coordinates(name, value, 2)
        return x, y


Control = Slider | Choice | Switch | Timeline | Button | Point | Prediction


def declared(
    controls: Mapping[str, Control], drag: Mapping[str, tuple[float, float]], predict: Prediction | None = None
) -> dict[str, Control]:
    """Return all controls of a panel by name, the draggable points and the guess last; check names and first values."""
    for name, argument in (("controls", controls), ("drag", drag)):
        check_type(name, argument, Mapping, "a mapping from names")
    for name, control in controls.items():
        check_type(f"controls[{name!r}]", control, Control, "a Slider, Choice, Switch or Button")  # type: ignore[arg-type]
    if twice := controls.keys() & drag.keys():
        raise ValueError(f"{', '.join(sorted(twice))}: both a control and a draggable point; expected different names")
    everything = dict(controls) | {name: Point(name, at) for name, at in drag.items()}
    if predict is not None:
        check_type("predict", predict, Prediction, "one of samviz.lab, such as PredictPlace")
        if GUESS in everything:
            raise ValueError(f"a control has the name {GUESS!r}; expected another name, because the prediction has it")
        everything[GUESS] = predict
    for name, control in everything.items():
        for value in (control.value, *getattr(control, "book", ())):
            control.take(name, value)
    return everything


def spec(name: str, control: Control) -> dict[str, Any]:
    """Return what the browser needs to know of a control: its fields, its name and its kind."""
    fields = {key: value for key, value in asdict(control).items() if key not in ("value", "book")}
    if isinstance(control, Choice | PredictChoice):
        fields["options"] = list(control.options.items())  # pairs, since a JavaScript object sorts whole numbers first
    return {"kind": type(control).__name__.lower()} | fields | {"name": name, "help": explanation(name, control)}


def explanation(name: str, control: Control) -> str:
    """Return the sentence that explains a control, or an empty text."""
    return getattr(control, "help", "") or ("" if isinstance(control, Point | Prediction) else HELP.get(name, ""))
