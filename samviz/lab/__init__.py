"""Widgets: the live lab, panels with controls, and quizzes."""

from samviz.lab.controls import Button, Choice, Slider, Switch, decades
from samviz.lab.lab import Lab
from samviz.lab.panel import Panel
from samviz.lab.quiz import quiz

__all__ = [
    "Button",
    "Choice",
    "Lab",
    "Panel",
    "Slider",
    "Switch",
    "decades",
    "quiz",
]
