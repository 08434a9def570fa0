"""The quizzes of the notebooks. A quiz is a file `quizzes/NAME.json`; a new file needs no registration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

OPEN = "?"  # stands for a question without an answer


@dataclass(frozen=True)
class Option:
    """An option of a question, with the feedback to a learner who chooses it: why it is right or wrong."""

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question, the section of the notebook that answers it ("section 2", or how its heading begins), and options."""

    text: str
    section: str
    options: Sequence[Option]

    def verdict(self, option: Option) -> str:
        """Return what is shown to a learner who has chosen an option."""
        end = "" if option.right else f" Look again at {self.section}."
        return f"{'✓ Right.' if option.right else '✗ Not yet.'} {option.feedback}{end}"


@dataclass(frozen=True)
class Quiz:
    """The questions at the end of a notebook, which is given by its file name without a suffix.

    Answers are a string with one letter for each question: "b?a" chooses the second option of the first question,
    leaves the second question open, and chooses the first option of the third. Omitted letters are open questions.

    >>> options = Option("4", "Twice two."), Option("5", "Not twice two.")
    >>> quiz = Quiz("arithmetic", [Question("What is 2 + 2?", "section 1", options)])
    >>> print(quiz.markdown("b"))
    **1. What is 2 + 2?**
    <BLANKLINE>
    - a) 4
    - b) 5
    <BLANKLINE>
    Your answer: b. ✗ Not yet. Not twice two. Look again at section 1.
    """

    notebook: str
    questions: Sequence[Question]

    def choices(self, answers: str) -> list[Option | None]:
        """Return the chosen option of each question.

        Args:
            answers: a letter or "?" for each question.

        Returns:
            One entry for each question; None where it is open.

        Raises:
            TypeError: if answers is not a string.
            ValueError: if there are more answers than questions, or a letter belongs to no option.
        """
        if not isinstance(answers, str):
            raise TypeError(f"answers is {answers!r}; expected a string with a letter for each question")
        if len(answers) > len(self.questions):
            raise ValueError(f"answers is {answers!r}; expected at most {len(self.questions)} letters, one a question")
        chosen: list[Option | None] = []
        for number, (question, letter) in enumerate(zip(self.questions, answers.ljust(len(self.questions), OPEN)), 1):
            options = dict(zip(ascii_lowercase, question.options))
            if letter != OPEN and letter not in options:
                expected = f"one of {', '.join(options)}, or {OPEN} for an open question"
                raise ValueError(f"answer {number} of {answers!r} is {letter!r}; expected {expected}")
            chosen.append(options.get(letter))
        return chosen

    def count_right(self, answers: str) -> int:
        """Return how many of the answers are right; `answers` and exceptions as in `choices`."""
        return sum(option.right for option in self.choices(answers) if option)

    def markdown(self, answers: str) -> str:
        """Return the questions with a verdict on each answer; `answers` and exceptions as in `choices`."""
        parts = []
        for number, (question, chosen) in enumerate(zip(self.questions, self.choices(answers)), 1):
            options = zip(ascii_lowercase, question.options)
            parts += [f"**{number}. {question.text}**", "\n".join(f"- {letter}) {o.text}" for letter, o in options)]
            if chosen:
                parts.append(f"Your answer: {answers[number - 1]}. {question.verdict(chosen)}")
        return "\n\n".join(parts)


QUIZZES: dict[str, Quiz] = {}
for _file in (Path(__file__).parent / "quizzes").glob("*.json"):
    _data = json.loads(_file.read_text(encoding="utf-8"))
    _questions = [Question(**q | {"options": [Option(**o) for o in q["options"]]}) for q in _data["questions"]]
    QUIZZES[_file.stem] = Quiz(_data["notebook"], _questions)
QUIZZES = dict(sorted(QUIZZES.items(), key=lambda item: (item[1].notebook, item[0])))  # in the order of the notebooks
