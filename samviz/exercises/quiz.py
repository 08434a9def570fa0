"""A quiz: questions with a few options each, one of them right, and a word on every one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

OPEN = "?"  # stands for a question that has no answer yet


@dataclass(frozen=True)
class Option:
    """An answer to choose, and what is said to one who has chosen it."""

    text: str
    says: str  # which misconception it is, or why it is right
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question, its options, and the place in the notebook that answers it."""

    text: str
    see: str  # "section 2", or how a heading begins
    options: Sequence[Option]

    def verdict(self, option: Option) -> str:
        """What is said about one of the options, in a sentence or two."""
        return f"✓ Right. {option.says}" if option.right else f"✗ Not yet. {option.says} Look again at {self.see}."


@dataclass(frozen=True)
class Quiz:
    """The questions at the end of a notebook.

    Answers are one text, a letter for each question in turn: "b?a" is the second option of the first question, no
    answer to the second, and the first option of the third. Those that are left out at its end have no answer yet.

    >>> says = Option("4", "Twice two."), Option("5", "Not twice two.")
    >>> quiz = Quiz("arithmetic", [Question("What is 2 + 2?", "section 1", says)])
    >>> print(quiz.told("b"))
    **1. What is 2 + 2?**
    <BLANKLINE>
    - a) 4
    - b) 5
    <BLANKLINE>
    Your answer: b. ✗ Not yet. Not twice two. Look again at section 1.
    """

    notebook: str  # the stem of its file's name
    questions: Sequence[Question]

    def chosen(self, answers: str) -> list[Option | None]:
        """The option that was chosen for each question.

        Args:
            answers: a letter or "?" for each question.

        Returns:
            One for each question; None where there is no answer yet.

        Raises:
            TypeError: when they are no text.
            ValueError: when there are more answers than questions, or one is none of its options' letters.
        """
        if not isinstance(answers, str):
            raise TypeError(f"answers is {answers!r}; expected a text, a letter for each question")
        if len(answers) > len(self.questions):
            raise ValueError(f"answers is {answers!r}; expected at most {len(self.questions)} letters, one a question")
        found: list[Option | None] = []
        for number, question in enumerate(self.questions):
            letters = ascii_lowercase[: len(question.options)]
            letter = answers[number : number + 1] or OPEN
            if letter not in letters + OPEN:
                expected = f"one of {', '.join(letters)}, or {OPEN} for no answer yet"
                raise ValueError(f"answer {number + 1} of {answers!r} is {letter!r}; expected {expected}")
            found.append(None if letter == OPEN else question.options[letters.index(letter)])
        return found

    def right(self, answers: str) -> int:
        """How many of the answers are right; `answers` as in `chosen`."""
        return sum(option.right for option in self.chosen(answers) if option)

    def told(self, answers: str) -> str:
        """The questions as Markdown, with a verdict on those that are answered.

        Args:
            answers: as in `chosen`.

        Returns:
            Text that reads well without being rendered, too.

        Raises:
            ValueError: as in `chosen`.
        """
        parts = []
        for number, (question, option) in enumerate(zip(self.questions, self.chosen(answers)), 1):
            letters = dict(zip(ascii_lowercase, question.options))
            parts += [f"**{number}. {question.text}**", "\n".join(f"- {a}) {o.text}" for a, o in letters.items())]
            if option:
                parts.append(f"Your answer: {answers[number - 1]}. {question.verdict(option)}")
        return "\n\n".join(parts)
