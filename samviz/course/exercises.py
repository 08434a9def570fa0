"""Check answers to the exercises, count what is right, and print the answer key."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import numpy as np

from samviz.course.quiz import QUIZZES
from samviz.course.tasks import EXERCISES, SENTENCES, Exercise

SYMBOLS = {"lr": "η", "rho": "ρ", "tau": "τ", "alpha": "α", "beta": "β"}
SYMBOLS |= {"top": "λ₁", "second": "λ₂", "rank": "M", "dim": "D", "gradient": "∇L", "hessian": "∇²L"}
SHORTEST_SENTENCE = 20  # characters
_scores: dict[str, tuple[int, int]] = {}  # by exercise or quiz: the number of right answers, and of all answers


def check(name: str, answer: Any) -> None:
    """Print whether an answer is right; otherwise its value, the expected value, and a remark or a hint.

    If the exercise asks for a sentence, print a model answer next to the learner's answer. There is no hint and no
    model answer before the learner has tried.

    Args:
        name: of the exercise.
        answer: the learner's function or text; if the function returns None or ..., the expected form is printed.

    Raises:
        ValueError: if there is no such exercise.

    >>> check("steps", lambda tau, lr, rho: tau / (lr * rho))
    Not yet. A step takes the time ηρ²: the drift is a term of second order in ρ.
    >>> check("steps", lambda tau, lr, rho: tau / (lr * rho**2))
    Right. Phase II takes 1/(ηρ²) steps, so it is slow, and a demonstration needs a large ρ.
    """
    if name in SENTENCES:
        if not isinstance(answer, str) or len(answer.strip()) < SHORTEST_SENTENCE:
            print("Nothing to compare yet: write one or two sentences between the quotation marks.")
            return
        print(f"Your answer: {answer.strip()}\nA model answer: {SENTENCES[name]['model']}")
        print(f"Compare them: does your answer mention {SENTENCES[name]['mentions']}?")
        return
    if name not in EXERCISES:
        raise ValueError(f"exercise is {name!r}; expected one of {', '.join([*EXERCISES, *SENTENCES])}")
    problem = _find_problem(EXERCISES[name], answer)
    note(name, int(not problem), 1)
    print(problem or f"Right. {EXERCISES[name].takeaway}")


def note(name: str, right: int, of: int) -> None:
    """Record the latest score of an exercise or a quiz.

    Args:
        name: of the exercise, or "quiz NAME".
        right: the number of right answers.
        of: the number of questions.
    """
    _scores[name] = right, of


def progress() -> None:
    """Print the latest scores of the exercises and quizzes whose cells have been run in this kernel.

    >>> _scores.clear()
    >>> note("amplitude", 1, 1)
    >>> note("quiz alignment", 3, 4)
    >>> progress()
    amplitude               1 of 1 right
    quiz alignment          3 of 4 right
    all                     4 of 5 right
    """
    total = sum(right for right, _ in _scores.values()), sum(of for _, of in _scores.values())
    for name, (right, of) in (_scores | {"all": total}).items():
        print(f"{name:23} {right} of {of} right")


def answer_key() -> str:
    """Return all solutions of the exercises and all right answers of the quizzes as Markdown, for teachers.

    >>> answer_key().splitlines()[0]
    '# Answer key'
    """
    parts = ["# Answer key", "## Exercises"]
    for name, exercise in EXERCISES.items():
        source = inspect.getsource(exercise.solution)
        code = source[source.find("\ndef ") + 1 :]  # without the decorator
        parts += [f"### {name}", f"{exercise.call}.", f"```python\n{code}```", exercise.takeaway]
    parts.append("## Sentences")
    for name, text in SENTENCES.items():
        parts += [f"### {name}", text["question"], f"{text['model']} It should mention {text['mentions']}."]
    parts.append("## Quizzes")
    for name, quiz in QUIZZES.items():
        parts.append(f"### {name} ({quiz.notebook})")
        for number, question in enumerate(quiz.questions, 1):
            letter, right = next((a, o) for a, o in zip(ascii_lowercase, question.options) if o.right)
            parts.append(f"{number}. {question.text}\n   **{letter}) {right.text}** {right.feedback}")
    return "\n\n".join(parts)


def _find_problem(exercise: Exercise, answer: Any) -> str:
    """Return what is wrong with an answer, in one or two sentences; "" if it is right."""
    if not callable(answer):
        return f"Pass the function itself, not its result: {exercise.call}."
    values, solutions = [], []
    for arguments in exercise.trials:
        try:
            value = _call(answer, arguments)
        except Exception as error:
            return f"Your function raised {type(error).__name__}: {error}. It is called as {exercise.call}."
        if value is None or value is ...:
            return f"Nothing to check yet: replace the dots by your answer. Expected: {exercise.call}."
        solution = np.asarray(_call(exercise.solution, arguments), dtype=float)
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            return f"The answer is {value!r}; expected {'numbers' if solution.ndim else 'a number'}. {exercise.hint}"
        if array.shape != solution.shape:
            return f"The answer has shape {array.shape}; expected {solution.shape}: {exercise.call}."
        values.append(array)
        solutions.append(solution)
    wrong = [number for number, pair in enumerate(zip(values, solutions)) if not _close(*pair)]
    if not wrong:
        return ""
    for remark, mistake in exercise.mistakes.items():
        if all(_close(value, _call(mistake, arguments)) for value, arguments in zip(values, exercise.trials)):
            return f"Not yet. {remark}"
    shown, expected = (np.array2string(each[wrong[0]], precision=5) for each in (values, solutions))
    named = zip(inspect.signature(exercise.solution).parameters, exercise.trials[wrong[0]])
    plain = [f"{SYMBOLS.get(name, name)} = {np.asarray(a).tolist()}" for name, a in named if not callable(a)]
    return f"Not yet: {shown} for {', '.join(plain)}, expected {expected}. Hint: {exercise.hint}"


def _call(answer: Any, arguments: Sequence[Any]) -> Any:
    """Return the value of an answer; it is called with copies of the arrays, because it may write into them."""
    return answer(*(a.copy() if isinstance(a, np.ndarray) else a for a in arguments))


def _close(value: Any, expected: Any) -> bool:
    """Return whether two arrays have one shape and agree to four digits."""
    return np.shape(value) == np.shape(expected) and np.allclose(value, expected, rtol=1e-4, atol=1e-9)
