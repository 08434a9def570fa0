"""The quizzes of the notebooks, by name."""

from samviz.exercises.quiz import Quiz
from samviz.exercises.quizzes.beyond import BEYOND
from samviz.exercises.quizzes.full_batch import FULL_BATCH

QUIZZES: dict[str, Quiz] = FULL_BATCH | BEYOND
