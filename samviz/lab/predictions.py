"""Questions that a panel poses before it shows the answer; the browser's half is `figures/predict.js`.

A prediction is a control with the name "guess". Its value is None until the learner answers, and "skipped" if the
learner skips the question. Replies are data, so that they also work on a page without a kernel: the page shows the
first one that fits the guess, or else `otherwise`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from samviz.checks import check_float, check_type, is_finite_number

SKIPPED = "skipped"
Range = tuple[float, float, str]  # from, to, and the reply to a guess between them


@dataclass(frozen=True)
class Prediction:
    """A question that is asked before the answer is shown."""

    question: str  # what the learner reads

    value: ClassVar[None] = None
    reply_form: ClassVar[str] = "(low, high, text)"

    def __post_init__(self) -> None:
        for name in ("question", "otherwise", "label"):
            check_type(name, getattr(self, name, ""), str, "a text")
        if not self.question.strip():
            raise ValueError("question is empty; expected a sentence that asks what the learner expects")
        replies: Any = getattr(self, "replies", ())
        for reply in () if isinstance(replies, Mapping) else replies:
            *limits, text = reply if isinstance(reply, Sequence) and reply else (None,)
            fits = len(limits) == self.reply_form.count(",") and all(map(is_finite_number, limits))
            if not fits or not isinstance(text, str):
                raise ValueError(f"a reply is {reply!r}; expected {self.reply_form}")

    def take(self, name: str, value: Any) -> Any:
        """Return a guess as in `Slider.take`; None (no guess yet) and "skipped" stay."""
        if value is None or (isinstance(value, str) and value == SKIPPED):
            return value
        return self._take(name, value)

    def _take(self, name: str, value: Any) -> Any:
        """Return a guess that is not skipped."""
        raise NotImplementedError


@dataclass(frozen=True)
class PredictPlace(Prediction):
    """A point in the coordinates of the figure's first axes.

    >>> ask = PredictPlace("Where does SAM end?", start=(0.5, 0.5), replies=[(0, 0, 0.1, "So it does.")])
    >>> ask.take("guess", [0.2, 0.1])
    (0.2, 0.1)
    """

    start: tuple[float, float]  # where the mark is at first
    replies: Sequence[tuple[float, float, float, str]] = ()  # (x, y, radius, text): to a guess near (x, y)
    otherwise: str = ""

    reply_form: ClassVar[str] = "(x, y, radius, text)"

    def __post_init__(self) -> None:
        super().__post_init__()
        coordinates("start", self.start, 2)

    def _take(self, name: str, value: Any) -> tuple[float, ...]:
        return coordinates(name, value, 2)


@dataclass(frozen=True)
class PredictDirection(Prediction):
    """The angle of a needle in degrees, counterclockwise from the right, in the coordinates of the first axes.

    >>> ask = PredictDirection("Where does it point?", start=45, center=(0, 0), radius=1, replies=[(-9, 9, "Right.")])
    >>> ask.take("guess", 190)
    10.0
    """

    start: float  # degrees
    center: tuple[float, float]  # of the needle
    radius: float  # length of the needle from its center to its tip
    replies: Sequence[Range] = ()  # low < high in degrees, modulo the period
    otherwise: str = ""
    period: int = 180  # 180 for a line, 360 for an arrow

    def __post_init__(self) -> None:
        super().__post_init__()
        coordinates("start", [self.start], 1)
        coordinates("center", self.center, 2)
        radius = check_float("radius", self.radius, "a positive number", lambda radius: radius > 0)
        object.__setattr__(self, "radius", radius)
        if self.period not in (180, 360):
            raise ValueError(f"period is {self.period!r}; expected 180 for a line or 360 for an arrow")

    def _take(self, name: str, value: Any) -> float:
        return coordinates(name, [value], 1)[0] % self.period


@dataclass(frozen=True)
class PredictNumber(Prediction):
    """A number that is typed.

    >>> PredictNumber("How many steps?", label="steps", low=0, high=100).take("guess", 7)
    7.0
    """

    label: str  # of the field
    low: float  # the least guess
    high: float  # the greatest guess
    replies: Sequence[Range] = ()
    otherwise: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = coordinates("(low, high)", (self.low, self.high), 2)
        if low >= high:
            raise ValueError(f"low is {self.low!r} and high {self.high!r}; expected low < high")

    def _take(self, name: str, value: Any) -> float:
        expected = f"a number from {self.low:g} to {self.high:g}"
        return check_float(name, value, expected, lambda number: self.low <= number <= self.high)


@dataclass(frozen=True)
class PredictCurve(Prediction):
    """The heights of a curve at three places, in the coordinates of the figure's first axes.

    >>> ask = PredictCurve("How does λ₁ change?", x=(0, 50, 100), start=(3, 3, 3), replies=[(0, 2, "It decreases.")])
    >>> ask.take("guess", (3, 2, 1))
    (3.0, 2.0, 1.0)
    """

    x: tuple[float, float, float]  # increasing
    start: tuple[float, float, float]  # the heights at first
    replies: Sequence[Range] = ()  # to the last height
    otherwise: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        first, second, third = coordinates("x", self.x, 3)
        if not first < second < third:
            raise ValueError(f"x is {self.x!r}; expected three increasing numbers")
        coordinates("start", self.start, 3)

    def _take(self, name: str, value: Any) -> tuple[float, ...]:
        return coordinates(name, value, 3)


@dataclass(frozen=True)
class PredictChoice(Prediction):
    """One of several answers.

    >>> PredictChoice("Which is flatter?", options={"sam": "SAM's", "gd": "the other"}).take("guess", "gd")
    'gd'
    """

    options: Mapping[str, str]  # key: what the learner reads
    replies: Mapping[str, str] = field(default_factory=dict)  # key: text

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, texts in (("options", self.options), ("replies", self.replies)):
            check_type(name, texts, Mapping, "a mapping from keys to texts")
        if len(self.options) < 2 or SKIPPED in self.options:
            raise ValueError(f"options have the keys {[*self.options]}; expected two or more, none of them {SKIPPED!r}")
        if unknown := self.replies.keys() - self.options.keys():
            raise ValueError(f"there are replies to {sorted(unknown)}; expected keys of the options, {[*self.options]}")

    def _take(self, name: str, value: Any) -> str:
        if isinstance(value, str) and value in self.options:
            return value
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(map(repr, self.options))}")


def coordinates(name: str, value: Any, count: int) -> tuple[float, ...]:
    """Return so many finite numbers as floats."""
    found = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else []
    if len(found) == count and all(map(is_finite_number, found)):
        return tuple(map(float, found))
    expected = {1: "a finite number", 2: "two finite numbers (x, y)", 3: "three finite numbers"}[count]
    raise ValueError(f"{name} is {value[0] if count == 1 else value!r}; expected {expected}")
