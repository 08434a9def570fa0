"""What is touched: the live lab, panels of one's own, their views and the loop that drives them."""

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
