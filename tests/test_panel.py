"""The panel without a browser: values are set as a browser sets them, and its figure is read as data."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import stories
from stories import in_kernel, move

from samviz.lab import Button, Choice, Panel, Slider, Switch, decades
from samviz.lab.controls import spec

CONTROLS = {
    "rho": Slider("ρ radius", 0.1, stops=[0, *decades(-2, 0)], high=5),
    "batch": Slider("batch size", 20, stops=range(1, 21), integer=True),
    "rule": Choice("rule", "sam", {"sam": "SAM", "gd": "gradient descent"}),
    "show": Switch("show flow", True),
    "again": Button("Draw again"),
}


def line(y: float) -> dict[str, Any]:
    return {"data": [{"type": "scatter", "x": np.arange(2.0), "y": np.array([0.0, y])}], "layout": {}}


def draw(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    if values["rule"] == "gd" and values["rho"] > 0:
        raise ValueError("rho must be 0 for gradient descent")
    return line(values["rho"]), f"ρ is {values['rho']:g}, seed {values['again']}"


def line_panel() -> Panel:
    return Panel(draw, CONTROLS, drag={"x": (0.6, 0.4)}, description="a line")


until = partial(stories.until, seconds=10)


@pytest.fixture
def interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMVIZ_STATIC", "0")


def test_it_is_drawn_for_where_the_controls_start() -> None:
    panel = line_panel()
    assert panel.values == {"rho": 0.1, "batch": 20, "rule": "sam", "show": True, "again": 0, "x": (0.6, 0.4)}
    assert panel.figure["data"][0]["y"][1] == 0.1
    assert panel.sentence == panel.view.sentence == "ρ is 0.1, seed 0"


def test_what_the_browser_sends_is_drawn() -> None:
    panel = line_panel()
    move(panel, rho=0.3, again=2, x=[0.1, 0.2])
    assert panel.sentence == panel.view.sentence == "ρ is 0.3, seed 2"
    assert panel.values["x"] == (0.1, 0.2)
    move(panel, rho=1)  # JSON has no 1.0
    assert isinstance(panel.values["rho"], float)
    assert panel.figure["data"][0]["y"][1] == 1


def test_set_moves_controls_and_keeps_the_digits() -> None:
    panel = line_panel()
    assert panel.set(rho=np.float64(1.23456), batch=np.int64(3), show=False, x=np.array([1.0, -2.0])) is None
    assert panel.values | {"rule": 0, "again": 0} == {
        "rho": 1.23456, "batch": 3, "show": False, "x": (1.0, -2.0), "rule": 0, "again": 0
    }  # fmt: skip
    assert panel.sentence.startswith("ρ is 1.23456")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rho": 6}, "rho is 6; expected a number from 0 to 5"),
        ({"rho": float("nan")}, "rho is nan; expected a number"),
        ({"rho": "0.1"}, "rho is '0.1'; expected a number"),
        ({"rho": True}, "rho is True; expected a number"),
        ({"batch": 2.5}, "batch is 2.5; expected a whole number from 1 to 20"),
        ({"rule": "adam"}, "rule is 'adam'; expected one of 'sam', 'gd'"),
        ({"show": "yes"}, "show is 'yes'; expected True or False"),
        ({"show": np.array([1, 0])}, "expected True or False"),
        ({"again": -1}, "again is -1; expected a count of presses, 0 or more"),
        ({"x": 3}, r"x is 3; expected two finite numbers \(x, y\)"),
        ({"x": (0.0, float("inf"))}, "expected two finite numbers"),
        ({"eta": 1, "rho": 0.2}, "there is no control 'eta'; expected 'rho', 'batch', 'rule', 'show', 'again', 'x'"),
    ],
)
def test_what_cannot_be_is_named_with_what_was_expected(values: dict[str, Any], message: str) -> None:
    panel = line_panel()
    before = panel.values
    with pytest.raises(ValueError, match=message):
        panel.set(**values)
    assert panel.values == before


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


def test_notches_are_written_as_they_are_meant() -> None:
    sent = spec("a", Slider("a", 0.3, stops=np.linspace(0, 1, 11), low=-1))
    assert sent["stops"][3] == 0.3
    assert (sent["low"], sent["high"], sent["kind"], sent["name"]) == (-1, 1, "slider", "a")
    assert spec("r", Choice("r", "20", {"20": "all", "1": "one"}))["options"] == [("20", "all"), ("1", "one")]


def test_an_error_is_said_and_the_last_figure_stays() -> None:
    panel = line_panel()
    before = panel.figure
    panel.set(rule="gd")
    assert panel.view.alert.startswith("rho must be 0 for gradient descent. ")
    assert panel.figure is before
    assert panel.sentence == "ρ is 0.1, seed 0"
    panel.set(rho=0)
    assert panel.view.alert == ""
    assert panel.sentence == "ρ is 0, seed 0"


def test_a_mistake_in_draw_is_the_cells_own_error() -> None:
    with pytest.raises(ZeroDivisionError):
        Panel(lambda values: 1 / 0, {}, description="")  # type: ignore[arg-type,return-value]


def steps(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for n in range(1, 6):
        yield line(n), f"{n} of 5 at {values['rho']:g}"


def test_drawing_in_pieces_ends_at_the_last() -> None:
    panel = Panel(steps, CONTROLS, description="")
    assert panel.sentence == panel.view.sentence == "5 of 5 at 0.1"
    panel.set(rho=0.2)
    assert panel.figure["data"][0]["y"][1] == 5


@pytest.mark.usefixtures("interactive")
def test_a_moved_control_kills_the_work_under_way() -> None:
    begun: list[float] = []
    ended: list[float] = []
    shown: list[str] = []

    def slowly(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
        begun.append(values["rho"])
        try:
            for n in range(1, 21):
                time.sleep(0.01)
                yield line(n), f"{n} of 20 at {values['rho']:g}"
        finally:
            ended.append(values["rho"])

    async def story() -> None:
        panel = Panel(slowly, CONTROLS, description="")
        panel.scheduler.ready = lambda: True
        panel.view.observe(lambda change: shown.append(change["new"]), "sentence")
        assert panel.sentence == "1 of 20 at 0.1"  # the rest follows on the loop
        await until(lambda: panel.sentence == "3 of 20 at 0.1")
        thread = threading.Thread(target=lambda: [move(panel, rho=rho) for rho in (0.2, 0.3, 0.4)])
        thread.start()
        thread.join()
        assert begun == [0.1]  # a callback only stores
        await until(lambda: bool(panel.view.sentence == "20 of 20 at 0.4"))
        assert begun == ended == [0.1, 0.4]
        assert panel.scheduler.idle

    in_kernel(story)
    assert "20 of 20 at 0.1" not in shown
    assert len(shown) > 2  # progress was to be seen


@pytest.mark.usefixtures("interactive")
def test_frames_wait_for_the_browser_and_an_error_leaves_it_usable() -> None:
    async def story() -> None:
        panel = line_panel()
        panel.scheduler.ready = lambda: False
        sent: list[Any] = []
        panel.view.show = lambda figure, can_acknowledge: sent.append(figure)  # type: ignore[method-assign]
        for k in range(100):
            move(panel, rho=0.01 * k)
            await asyncio.sleep(0.005)
        assert len(sent) <= 2
        panel.scheduler.ready = lambda: True
        await until(lambda: bool(sent) and sent[-1]["data"][0]["y"][1] == 0.99)
        move(panel, rule="gd")
        await until(lambda: "rho must be 0" in panel.view.alert)
        move(panel, rule="sam", rho=0.5)
        await until(lambda: panel.view.alert == "" and panel.sentence == "ρ is 0.5, seed 0")

    in_kernel(story)


def test_with_nobody_there_it_is_finished_and_leaves_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMVIZ_STATIC", "1")
    outputs: list[Any] = []
    monkeypatch.setattr("IPython.display.display", outputs.append)
    monkeypatch.setattr("samviz.lab.panel.static_picture", lambda plain, alt: (plain["data"][0]["y"][1], alt))

    async def story() -> None:
        panel = Panel(steps, CONTROLS, description="a line")
        panel._ipython_display_()
        assert outputs == [panel.view, (5, "a line: 5 of 5 at 0.1")]
        panel.set(rho=0.2)  # and a cell that goes on finds it done
        assert panel.sentence == "5 of 5 at 0.2"
        monkeypatch.setenv("SAMVIZ_STATIC", "0")
        panel._ipython_display_()
        assert len(outputs) == 3

    in_kernel(story)


def test_a_panel_with_nothing_to_move_is_a_picture() -> None:
    assert Panel(lambda values: (line(1), "Still."), {}, description="").sentence == "Still."
