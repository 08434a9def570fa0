"""The quiz at the end of a notebook: an answer is judged at once, and stored in the text of the cell.

The browser's half is ``quiz.js``. It has the questions and the verdicts, so that a busy kernel delays no answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

import traitlets as t

from samviz.course import QUIZZES, Quiz, note
from samviz.lab.display import is_interactive
from samviz.lab.widget import Widget, script


@dataclass(frozen=True)
class Answers:
    """The answers to a quiz as a control: a letter or ? for each question."""

    quiz: Quiz
    value: str

    def take(self, name: str, value: Any) -> str:
        """Return the answers; raise ValueError or TypeError if one is none of its question's letters."""
        self.quiz.count_right(value)
        return str(value)


class QuizWidget(Widget):
    """The widget of a quiz; its only value is `answers`."""

    _esm = script("quiz.js")
    name = t.Unicode(help="of the quiz").tag(sync=True)
    questions = t.List(t.Dict(), help="text, and options with letter, text, right and verdict").tag(sync=True)


def quiz(name: str, answers: str = "") -> None:
    """Show a quiz; without a front end, as text.

    Nothing is stored or sent: the card shows the call with the answers given so far. A learner who replaces the cell's
    call by it finds the answers whenever the notebook is run.

    Args:
        name: of the quiz, for instance "alignment".
        answers: a letter for each question in turn, or "?" for no answer yet.

    Raises:
        ValueError: when there is no such quiz, or an answer is none of its question's letters.

    >>> quiz("alignments")
    Traceback (most recent call last):
    ValueError: quiz is 'alignments'; expected one of start, alignment, flow, sharpnesses, two_wrongs, ...
    """
    from IPython.display import Markdown, display

    if not isinstance(name, str) or name not in QUIZZES:
        raise ValueError(f"quiz is {name!r}; expected one of {', '.join(QUIZZES)}")
    chosen = QUIZZES[name]
    questions = [
        {
            "text": question.text,
            "options": [
                {"letter": letter, "text": option.text, "right": option.right, "verdict": question.verdict(option)}
                for letter, option in zip(ascii_lowercase, question.options)
            ],
        }
        for question in chosen.questions
    ]
    view = QuizWidget({"answers": Answers(chosen, answers)}, name=name, questions=questions)

    def count(values: dict[str, str]) -> None:
        note(f"quiz {name}", chosen.count_right(values["answers"]), len(questions))

    count(view.values)
    view.observe(lambda change: count(change.new), "values")
    display(view)
    if not is_interactive():
        display(Markdown(chosen.markdown(answers)))  # a separate output, like a panel's picture
