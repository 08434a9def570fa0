"""Which figures of the book have sliders, over which values, and where in the notebooks they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

from samviz.dynamics import gradient_descent_minimum
from samviz.figures.frames import Dial, Drawing
from samviz.lab import Choice, Lab, Panel, Slider, words
from samviz.panels import (
    ablation_panel,
    alignment_panel,
    batch_panel,
    cycle_panel,
    figure_one_panel,
    flow_panel,
    landscapes_panel,
    sharpness_panel,
    sweep_panel,
)
from samviz.problems import Problem, load, mlp

Values = dict[str, list[Any]]


def lab_panel(problem: Problem, radii: list[float], sizes: list[int], stops: list[int], **options: Any) -> Panel:
    """Finished runs of the lab from one gradient-descent minimum, to be called with growing numbers of steps."""
    start = gradient_descent_minimum(problem)
    latest: dict[tuple[float, int], Lab] = {}  # one: the steps are the innermost control

    def draw(values: dict[str, Any]) -> Drawing:
        setting, steps = (values["rho"], values["size"]), values["steps"]
        if setting not in latest or latest[setting].session.run.steps > steps:
            latest.clear()
            rho, size = setting
            latest[setting] = Lab(problem, rho=rho, batch_size=size, x0=start, device="cpu", **options)
        lab = latest[setting]
        session = lab.run(steps - lab.session.run.steps).session
        now, samples = session.now(), problem.samples
        told = f"{words.phase(now, samples, session.falling())}. {words.look(now, samples)}"
        return lab.figure, f"Step {steps:,}: {session.stopped or told}"

    return Panel(
        draw,
        {
            "rho": Slider("ρ radius", radii[0], stops=radii),
            "size": Slider("batch size", sizes[-1], stops=sizes, integer=True),
            "steps": Slider("steps", stops[-1], stops=stops, integer=True),
        },
        description="The lab: loss, Hessian and alignment against the step, and the loss around the iterate",
    )


def sine_lab() -> Panel:
    """The lab of 00, 05 and 06."""
    sine = mlp([1, 24, 24, 1], activation="tanh", data="sine", loss="mse")
    return lab_panel(sine, [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1], [1, 4, 10, 20], [100, 300, 600, 1000], lr=0.05)


def digits_lab() -> Panel:
    """The lab of 06 on handwritten digits."""
    inputs, labels = load("digits")
    digits = mlp([64, 32, 10], activation="tanh", data=(inputs[:500], labels[:500]), loss="mse")
    return lab_panel(digits, [0, 0.02, 0.05, 0.1], [1, 10, 500], [100, 300])


# By the name of a set of pictures: its panel, and the values of its controls; the others stay where they start.
SETS: dict[str, tuple[Callable[[], Panel], Values]] = {
    "lab": (sine_lab, {"rho": [], "size": [], "steps": []}),
    "digits": (digits_lab, {"rho": [], "size": [], "steps": []}),
    "sharpness": (
        sharpness_panel,
        {
            "rho": [0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0],
            "left": [0.001, 0.01, 0.1, 0.5, 1.0],
            "bowl": ["round", "bent", "valley"],
        },
    ),
    "cycle": (
        cycle_panel,
        {
            "rho": [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0],
            "lr": [0.1, 0.2, 0.4, 0.6, 0.8, 0.98],
            "share": [0.5, 0.95, 1.0],
            "rule": ["sam", "gd"],
        },
    ),
    "ablation": (ablation_panel, {"rho": [0.5, 0.7, 1.0], "lr": [0.002, 0.01], "shown": ["top", "low", "trace"]}),
    "figure-one": (figure_one_panel, {"share": [round(0.1 * k, 1) for k in range(11)]}),
    "flow": (flow_panel, {"rho": [0.1, 0.15, 0.2, 0.3], "lr": [0.01, 0.02], "kind": ["worst", "average"]}),
    "batches": (
        batch_panel,
        {"rho": [0.05, 0.08, 0.1, 0.15, 0.2], "lr": [0.02, 0.04], "problem": ["network", "valley"]},
    ),
    "alignment": (
        alignment_panel,
        {"size": [1, 2, 3, 4, 5, 6], "rho": [1e-6, 1e-3, 0.1, 1.0], "share": [0.0, 0.5]},
    ),
    "sweep": (sweep_panel, {"steps": [10, 30, 100, 300, 1000], "size": ["1", "8", "all"]}),
    "landscapes": (
        landscapes_panel,
        {
            "radius": [0.05, 0.1, 0.2, 0.5, 1.0, 2.0],
            "plane": ["random", "hessian", "pca", "through"],
            "normalized": [True, False],
        },
    ),
}

# By notebook: the line of the cell whose picture is replaced, the set of pictures, and where controls start instead.
PLACES: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "00_start_here": {"lab = Lab(problem)": ("lab", {"rho": 0.005, "steps": 600})},
    "01_three_sharpnesses": {"panel = sharpness_panel()": ("sharpness", {})},
    "02_alignment": {"panel = cycle_panel()": ("cycle", {})},
    "03_two_wrongs_make_a_right": {
        "panel = ablation_panel()": ("ablation", {}),
        "sides = figure_one_panel()": ("figure-one", {}),
    },
    "04_limiting_flow": {"panel = flow_panel()": ("flow", {})},
    "05_one_sample_at_a_time": {
        "lab = Lab(sine, lr=0.05, rho=0.1, batch_size=1)": ("lab", {"rho": 0.1, "size": 1, "steps": 600}),
        "panel = batch_panel()": ("batches", {}),
        "panel2 = alignment_panel()": ("alignment", {}),
    },
    "06_networks": {
        "lab = Lab(sine, lr=0.05)": ("lab", {"rho": 0.005, "steps": 600}),
        "lab2 = Lab(digits, rho=0.05)": ("digits", {"rho": 0.05}),
        "panel = sweep_panel()": ("sweep", {}),
    },
    "07_loss_landscapes": {"panel = landscapes_panel()": ("landscapes", {})},
}


class Frames:
    """A panel at every combination of a few values of its controls."""

    def __init__(self, name: str, coarse: bool) -> None:
        """Make the panel; with `coarse` two values of each control at most, its start among them."""
        make, values = SETS[name]
        self.panel = make()
        self.values = {key: list(given or self.panel.controls[key].stops) for key, given in values.items()}
        if coarse:
            starts = [
                {**self.panel.values, **start} for at in PLACES.values() for of, start in at.values() if of == name
            ]
            self.values = {key: few(given, [start[key] for start in starts]) for key, given in self.values.items()}

    def dials(self, start: dict[str, Any]) -> list[Dial]:
        """The controls, standing where the panel's do, or as `start` says by their names."""
        starts = self.panel.values | start
        return [
            Dial(
                (control := self.panel.controls[key]).label,
                [control.options[v] if isinstance(control, Choice) else spoken(v) for v in values],
                values.index(starts[key]),
                named=not isinstance(control, Slider),
            )
            for key, values in self.values.items()
        ]

    def drawings(self) -> Iterator[Drawing]:
        """Figure and sentence for each combination, the last control changing fastest."""
        for values in product(*self.values.values()):
            self.panel.set(**dict(zip(self.values, values)))
            if self.panel.view.alert:
                raise RuntimeError(f"no picture for {dict(zip(self.values, values))}: {self.panel.view.alert}")
            yield self.panel.figure, self.panel.sentence


def few(values: list[Any], starts: list[Any]) -> list[Any]:
    """The starts among the values, and one more where they are a single one.

    >>> few([1, 2, 3], [3]), few([1, 2, 3], [1, 2])
    ([2, 3], [1, 2])
    """
    other = next(value for value in reversed(values) if value not in starts)
    return [value for value in values if value in starts or (value == other and len(set(starts)) == 1)]


def spoken(value: float | bool) -> str:
    """A value as a slider says it.

    >>> spoken(0.05), spoken(True)
    ('0.05', 'on')
    """
    return ("off", "on")[value] if isinstance(value, bool) else f"{value:,.12g}"
