"""The panel without a browser: values are set as a browser sets them, and its figure is read as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import kernel_loop
import numpy as np
import pytest
from kernel_loop import kernel_test, move

from samviz.lab import Button, Choice, Panel, Slider, Switch, decades
from samviz.lab.controls import spec

CONTROLS = {
    "rho": Slider("ρ radius", 0.1, stops=[0, *decades(-2, 0)], high=5),
    "batch": Slider("batch size", 20, stops=range(1, 21), integer=True),
    "rule": Choice("rule", "sam", {"sam": "SAM", "gd": "gradient descent"}),
    "show": Switch("show flow", True),
    "again": Button("Draw again"),
}

until = partial(kernel_loop.until, seconds=10)


def line(y: float) -> dict[str, Any]:
    return {"data": [{"type": "scatter", "x": np.arange(2.0), "y": np.array([0.0, y])}], "layout": {}}


def draw(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    if values["rule"] == "gd" and values["rho"] > 0:
        raise ValueError("rho must be 0 for gradient descent")
    return line(values["rho"]), f"ρ is {values['rho']:g}, seed {values['again']}"


def steps(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for n in range(1, 6):
        yield line(n), f"{n} of 5 at {values['rho']:g}"


def line_panel() -> Panel:
    return Panel(draw, CONTROLS, drag={"x": (0.6, 0.4)}, description="a line")


def test_a_panel_is_drawn_for_the_first_values_and_for_those_of_the_browser() -> None:
    panel = line_panel()
    assert panel.values == {"rho": 0.1, "batch": 20, "rule": "sam", "show": True, "again": 0, "x": (0.6, 0.4)}
    assert panel.sentence == panel.view.sentence == "ρ is 0.1, seed 0"
    move(panel, rho=0.3, again=2, x=[0.1, 0.2])
    assert panel.sentence == panel.view.sentence == "ρ is 0.3, seed 2"
    assert panel.values["x"] == (0.1, 0.2)
    move(panel, rho=1)  # JSON has no 1.0
    assert isinstance(panel.values["rho"], float)
    assert panel.figure["data"][0]["y"][1] == 1


def test_set_moves_controls_and_keeps_the_digits() -> None:
    panel = line_panel()
    values = {"rho": 1.23456, "batch": 3, "show": False, "x": (1.0, -2.0)}
    assert panel.set(rho=np.float64(1.23456), batch=np.int64(3), show=False, x=np.array([1.0, -2.0])) is None
    assert panel.values == values | {"rule": "sam", "again": 0}
    assert panel.sentence.startswith("ρ is 1.23456")


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Slider("ρ", 0, stops=[1]), "stops of 'ρ' are .1.0.; expected two or more increasing numbers"),
        (lambda: Slider("ρ", 0, stops=[1, 1]), "increasing"),
        (lambda: Panel(draw, {"rho": Slider("ρ", 3, stops=[0, 1])}, description=""), "rho is 3; expected .* 0 to 1"),
        (lambda: Panel(draw, {"rule": Choice("rule", "a", {"b": "B"})}, description=""), "rule is 'a'"),
        (lambda: Panel(draw, CONTROLS, drag={"rho": (0, 0)}, description=""), "rho: both a control and a draggable"),
    ],
)
def test_a_wrong_declaration_is_refused(declare: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        declare()


def test_the_browser_gets_stops_as_they_are_meant_and_options_in_order() -> None:
    sent = spec("a", Slider("a", 0.3, stops=np.linspace(0, 1, 11), low=-1))
    assert sent["stops"][3] == 0.3
    assert (sent["low"], sent["high"], sent["kind"], sent["name"]) == (-1, 1, "slider", "a")
    assert spec("r", Choice("r", "20", {"20": "all", "1": "one"}))["options"] == [("20", "all"), ("1", "one")]


def test_a_control_explains_itself_and_common_names_have_an_explanation() -> None:
    controls = {"a": Slider("slope", 1.0, stops=[0, 1], help="How steep it is."), "rho": Slider("ρ", 1.0, stops=[0, 1])}
    sentences = [
        control["help"] for control in Panel(lambda _: ({"data": []}, ""), controls, description="").view.controls
    ]
    assert sentences[0] == "How steep it is."
    assert sentences[1].startswith("The perturbation radius")


def test_an_error_is_shown_and_the_last_figure_stays() -> None:
    panel = line_panel()
    before = panel.figure
    panel.set(rule="gd")
    assert panel.view.alert.startswith("rho must be 0 for gradient descent. ")
    assert panel.figure is before
    assert panel.sentence == "ρ is 0.1, seed 0"
    panel.set(rho=0)
    assert panel.view.alert == ""
    assert panel.sentence == "ρ is 0, seed 0"
    with pytest.raises(ZeroDivisionError):  # while a panel is made, it is the error of the cell
        Panel(lambda values: 1 / 0, {}, description="")  # type: ignore[arg-type,return-value]


@kernel_test
async def test_without_a_front_end_the_work_is_completed_and_leaves_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMVIZ_STATIC", "1")
    outputs: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda shown, **_: outputs.append(shown))
    monkeypatch.setattr("samviz.lab.panel.static_picture", lambda plain, alt: (plain["data"][0]["y"][1], alt))
    panel = Panel(steps, CONTROLS, description="a line")
    panel._ipython_display_()
    assert outputs == [panel.view, (5, "a line: 5 of 5 at 0.1")]
    panel.set(rho=0.2)
    assert panel.sentence == "5 of 5 at 0.2"  # before the cell continues
    monkeypatch.setenv("SAMVIZ_STATIC", "0")
    panel._ipython_display_()
    assert outputs[2] is panel.view
    assert outputs[3].data == ""  # the place of the last picture
