"""Exercises and quizzes: they report what is wrong with an answer and which mistake it looks like."""

from samviz.course.exercises import answer_key, check, note, progress
from samviz.course.quiz import QUIZZES, Option, Question, Quiz
from samviz.course.tasks import EXERCISES, SENTENCES, Exercise

__all__ = [
    "EXERCISES",
    "QUIZZES",
    "SENTENCES",
    "Exercise",
    "Option",
    "Question",
    "Quiz",
    "answer_key",
    "check",
    "note",
    "progress",
]
