"""The answer key, made from the exercises and quizzes themselves, so that it cannot say anything else."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from string import ascii_lowercase

from samviz.exercises import tasks
from samviz.exercises.quizzes import QUIZZES


def answer_key() -> str:
    """All solutions and all right answers, for teachers.

    Returns:
        Markdown.

    >>> print(answer_key()[:125])
    # Answer key
    <BLANKLINE>
    ## Exercises
    <BLANKLINE>
    ### ascent_sharpness
    <BLANKLINE>
    f(loss, gradient, x, rho) with functions of x (2,), and returns a number.
    """
    parts = ["# Answer key", "## Exercises"]
    for name, code in _solutions():
        parts += [
            f"### {name}",
            f"{tasks.EXERCISES[name].takes}.",
            f"```python\n{code}\n```",
            tasks.EXERCISES[name].right,
        ]
    parts.append("## Quizzes")
    for name, quiz in QUIZZES.items():
        parts.append(f"### {name} ({quiz.notebook})")
        for number, question in enumerate(quiz.questions, 1):
            letter, right = next((a, o) for a, o in zip(ascii_lowercase, question.options) if o.right)
            parts.append(f"{number}. {question.text}\n   **{letter}) {right.text}** {right.says}")
    return "\n\n".join(parts)


def _solutions() -> Iterator[tuple[str, str]]:
    """Each exercise's name and the source of its solution: a function, or the expression that stands for it."""
    source = inspect.getsource(tasks)
    nodes = ast.parse(source).body
    functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
    for node in nodes:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            for key, exercise in zip(node.value.keys, node.value.values):
                assert isinstance(key, ast.Constant)
                assert isinstance(exercise, ast.Call)
                solution = next(part.value for part in exercise.keywords if part.arg == "solution")
                named = functions.get(solution.id) if isinstance(solution, ast.Name) else None
                yield str(key.value), ast.get_source_segment(source, named or solution) or ""
