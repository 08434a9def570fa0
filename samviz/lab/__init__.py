"""Widgets: the live lab, panels with controls, and quizzes."""

from samviz.lab.controls import Button, Choice, Slider, Switch, decades
from samviz.lab.lab import Lab
from samviz.lab.panel import Panel
from samviz.lab.predictions import PredictChoice, PredictCurve, PredictDirection, PredictNumber, PredictPlace
from samviz.lab.quiz import quiz

__all__ = [
    "Button",
    "Choice",
    "Lab",
    "Panel",
    "PredictChoice",
    "PredictCurve",
    "PredictDirection",
    "PredictNumber",
    "PredictPlace",
    "Slider",
    "Switch",
    "decades",
    "quiz",
]
