"""The quiz at the end of a notebook: an answer is judged as soon as it is chosen, and kept in the cell's own text.

The browser half is ``quiz.js``. It holds the questions and the verdicts, so that a busy kernel delays no answer.
"""

from __future__ import annotations

from string import ascii_lowercase
from typing import Any

import traitlets as t

from samviz.course import QUIZZES, Question, note
from samviz.lab.attended import attended
from samviz.lab.wire import HERE, View, script


class QuizView(View):
    """The quiz's window: what is asked, and `answers`, which is the text that the cell keeps.

    Args:
        kwargs: initial values of the traits.
    """

    _esm = script("quiz.js")
    _css = "".join((HERE / name).read_text(encoding="utf-8") for name in ("view.css", "quiz.css"))

    name = t.Unicode(help="of the quiz").tag(sync=True)
    questions = t.List(t.Dict(), help="text, and options with letter, text, right and verdict").tag(sync=True)
    answers = t.Unicode(help="a letter or ? for each question").tag(sync=True, echo_update=False)


def quiz(name: str, answers: str = "") -> None:
    """Show a quiz; where nobody is there to click, as text.

    Nothing is stored or sent: the card shows the call with the answers given so far, and a learner who puts it in the
    cell's place finds them there whenever the notebook is run.

    Args:
        name: of the quiz, for instance "alignment".
        answers: a letter for each question in turn, or "?" where there is no answer yet.

    Raises:
        ValueError: when there is no such quiz, or an answer is none of its question's letters.

    >>> quiz("alignments")
    Traceback (most recent call last):
    ValueError: quiz is 'alignments'; expected one of start, sharpnesses, alignment, two_wrongs, flow, ...
    """
    from IPython.display import Markdown, display

    if not isinstance(name, str) or name not in QUIZZES:
        raise ValueError(f"quiz is {name!r}; expected one of {', '.join(QUIZZES)}")
    chosen = QUIZZES[name]
    view = QuizView(name=name, questions=[_spec(question) for question in chosen.questions])

    def count(latest: str) -> None:
        note(f"quiz {name}", chosen.count_right(latest), len(chosen.questions))

    view.observe(lambda change: count(change.new), "answers")
    count(answers)
    view.answers = answers
    display(view)
    if not attended():
        display(Markdown(chosen.markdown(answers)))  # an output of its own, like a panel's picture


def _spec(question: Question) -> dict[str, Any]:
    """A question as the browser reads it."""
    options = [
        {"letter": letter, "text": option.text, "right": option.right, "verdict": question.verdict(option)}
        for letter, option in zip(ascii_lowercase, question.options)
    ]
    return {"text": question.text, "options": options}
