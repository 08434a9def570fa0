"""The figures of the book that have sliders: those of the panels, and finished runs of the lab."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from samviz import panels
from samviz.dynamics import gradient_descent_minimum
from samviz.figures.export import SIZE
from samviz.figures.player import Drawing, PlayerControl
from samviz.lab import Choice, Lab, Panel, Slider
from samviz.lab.controls import GUESS, explanation
from samviz.lab.predictions import SKIPPED
from samviz.lab.status import advice, phase
from samviz.problems import Problem, load, mlp

PANEL = re.compile(r"^\w+ = (\w+_panel)\(\)$", re.MULTILINE)


def lab_panel(problem: Problem, radii: list[float], sizes: list[int], stops: list[int], **options: Any) -> Panel:
    """Return a panel of finished runs from one gradient-descent minimum; the steps are its innermost control."""
    start = gradient_descent_minimum(problem)
    latest: dict[tuple[float, int], Lab] = {}  # one lab: the steps only grow while its settings stay

    def draw(values: dict[str, Any]) -> Drawing:
        setting, steps = (values["rho"], values["size"]), values["steps"]
        if setting not in latest or latest[setting].session.run.steps > steps:
            latest.clear()
            rho, size = setting
            latest[setting] = Lab(problem, rho=rho, batch_size=size, x0=start, device="cpu", **options)
        lab = latest[setting]
        session = lab.run(steps - lab.session.run.steps).session
        now, samples = session.now(), problem.samples
        status = f"{phase(now, samples)}. {advice(now, samples)}"
        figure = lab.figure | {"layout": {"height": SIZE[1]} | lab.figure["layout"]}
        return figure, f"Step {steps:,}. {session.stopped or status}"

    return Panel(
        draw,
        {
            "rho": Slider("ρ radius", radii[0], radii, book=radii),
            "size": Slider("batch size", sizes[-1], sizes, integer=True, book=sizes),
            "steps": Slider("steps", stops[-1], stops, integer=True, book=stops),
        },
        description="The lab: loss, Hessian and alignment against the step, and the loss around the iterate",
    )


def sine_lab() -> Panel:
    """Return the lab of 00, 05 and 06."""
    sine = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
    return lab_panel(sine, [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1], [1, 4, 10, 20], [100, 300, 600, 1000], lr=0.05)


def digits_lab() -> Panel:
    """Return the lab of 06 on handwritten digits."""
    inputs, labels = load("digits")
    digits = mlp([64, 32, 10], activation="tanh", data=(inputs[:500], labels[:500]), loss="mse")
    return lab_panel(digits, [0, 0.02, 0.05, 0.1], [1, 10, 500], [100, 300])


LABS: dict[str, Callable[[], Panel]] = {"lab": sine_lab, "digits": digits_lab}
# By notebook: the line of the cell whose figure is replaced, the name in `LABS`, and the values where controls start.
LAB_CELLS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "00_start_here": {"lab = Lab(problem)": ("lab", {"rho": 0.02, "steps": 1000})},
    "05_one_sample_at_a_time": {
        "lab = Lab(sine, lr=0.05, rho=0.1, batch_size=1)": ("lab", {"rho": 0.1, "size": 1, "steps": 600}),
    },
    "06_where_the_theory_ends": {
        "lab = Lab(sine, lr=0.05)": ("lab", {"rho": 0.005, "steps": 600}),
        "lab2 = Lab(digits, rho=0.05)": ("digits", {"rho": 0.05}),
    },
}


def panel_in(source: str) -> str | None:
    """Return the name of the panel that a cell makes, such as "cycle_panel"."""
    found = PANEL.search(source)
    return found[1] if found and found[1] in panels.__all__ else None


class Frames:
    """A panel at every combination of the values that its controls declare for the book."""

    def __init__(self, name: str, coarse: bool) -> None:
        """Make the panel; with `coarse` use at most two values of each control, one of them its start value."""
        self.panel: Panel = LABS[name]() if name in LABS else getattr(panels, name)()
        self.values = {
            key: list(control.book) for key, control in self.panel.controls.items() if getattr(control, "book", ())
        }
        if coarse:
            cells = [start for places in LAB_CELLS.values() for lab, start in places.values() if lab == name]
            starts = [self.panel.values | start for start in cells or [{}]]
            self.values = {key: few(values, [start[key] for start in starts]) for key, values in self.values.items()}

    def player_controls(self, start: dict[str, Any]) -> list[PlayerControl]:
        """Return the controls, which start where the panel's do or at the values in `start`."""
        starts = self.panel.values | start
        return [
            PlayerControl(
                (control := self.panel.controls[key]).label,
                [control.options[v] if isinstance(control, Choice) else spoken(v) for v in values],
                values.index(starts[key]),
                named=not isinstance(control, Slider),
                help=explanation(key, control),
            )
            for key, values in self.values.items()
        ]

    def predict(self) -> dict[str, Any] | None:
        """Return what the page needs to know of the panel's question, or None if it has none."""
        return next((each for each in self.panel.view.controls if each["name"] == GUESS), None)

    def drawings(self) -> Iterator[Drawing]:
        """Yield figure and sentence for each combination; the last control changes fastest. A question's start is last."""
        combinations = [dict(zip(self.values, values)) for values in product(*self.values.values())]
        if self.panel.question:
            start = {name: self.panel.values[name] for name in self.values}
            combinations = [values | {GUESS: SKIPPED} for values in combinations] + [start | {GUESS: None}]
        for values in combinations:
            self.panel.set(**values)
            if self.panel.view.alert:
                raise RuntimeError(f"no figure for {values}: {self.panel.view.alert}")
            yield self.panel.figure, self.panel.sentence


def few(values: list[Any], starts: list[Any]) -> list[Any]:
    """Return the start values, and one more if there is only one.

    >>> few([1, 2, 3], [3]), few([1, 2, 3], [1, 2])
    ([2, 3], [1, 2])
    """
    other = next(value for value in reversed(values) if value not in starts)
    return [value for value in values if value in starts or (value == other and len(set(starts)) == 1)]


def spoken(value: float | bool) -> str:
    """Return a value as text.

    >>> spoken(0.05), spoken(True)
    ('0.05', 'on')
    """
    return ("off", "on")[value] if isinstance(value, bool) else f"{value:,.12g}"
