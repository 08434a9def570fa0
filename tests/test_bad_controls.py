"""Bad messages from the page change nothing: an alert says what was wrong, and the run continues."""

from __future__ import annotations

import re
from typing import Any

import bad_table as bad
import pytest
from bad_table import SINE, SLIDER, bad_arguments, draw

from samviz.lab import Button, Choice, Lab, Panel, Slider, Switch, quiz

pytestmark = bad.HANG
JUNK = (None, [], {}, [1.0], {"a": 1}, bad.NAN)
NO_NUMBER = (*JUNK, bad.INF, -bad.INF, "0.1", True, 10**400, -1, -1e-300)
NO_COUNT = (*JUNK, bad.INF, "3", True, 1.5, 1e300, -1, 2**70, 10**400)
SETTINGS = {
    "rule": (*JUNK, True, 3, "", "unknown", "SAM"),
    "rho": NO_NUMBER,
    "lr": (*NO_NUMBER, 0, 0.0),
    **dict.fromkeys(("batch_size", "micro_batch"), (*NO_COUNT, 0, 21)),
    **{"momentum": (*NO_NUMBER, 1), "weight_decay": (*NO_NUMBER, 1.1), "lr_decay": (*NO_NUMBER, 1.1)},
    "seed": NO_COUNT,
    "steps_per_frame": (*NO_COUNT, 0),
    "plane": (*JUNK, True, 3, "", "unknown"),
    **dict.fromkeys(("side", "quantity"), (*JUNK, True, 3, "unknown")),
    **dict.fromkeys(("compare", "surface", "slow_motion"), (*JUNK, 0, 1, 0.0, "yes")),
    "look_back": (*JUNK[1:], bad.INF, "3", True, 1.5, -1, 10**400),  # None is the end of the run
}
NO_MESSAGE = (
    *(*JUNK, 3, "ack", "values", {"unknown": 1}),
    *({"values": values} for values in (None, 3, "rho", [], ["rho"], {"unknown": 1}, {"rho": 0.5, "unknown": 1})),
    *({"values": {name: value}} for name, value in (("alert", "x"), ("playing", True), ("sentence", 3), ("_esm", ""))),
    *({"values": {name: value}} for name, value in (("values", {}), ("controls", []), ("layout", "IPY_MODEL_0"))),
    *({"ack": ack} for ack in (None, "1", [], {}, bad.NAN, bad.INF, 1e300, 10**9, 10**400)),
)
ACTIONS = {  # unknown actions, and bad values of known ones
    **dict.fromkeys(("unknown", "__init__", "run"), (5,)),
    "preset": (*JUNK, 3, True, "", "unknown"),
    "load": (*JUNK, 3, True, "", "unknown", "samviz1:", "samviz1:1:A", "samviz9:1:AAAA", "samviz1:1:" + "A" * 10**6),
}


def send(view: Any, message: Any) -> None:
    """Receive a message of the page as the comm does, but let exceptions through."""
    view.alert = ""
    view._receive(view, message, [])


def new_lab() -> Lab:
    return Lab(SINE, lr=0.05, rho=0.01, device="cpu").run(3)


def state(lab: Lab) -> tuple[Any, ...]:
    """Return everything that a refused message must not change."""
    run, view = lab.session.run, lab.view
    shown = {name: value for name, value in view.get_state().items() if name in ("values", "controls", "playing")}
    return shown, list(run.history.rows), run.x.tolist(), run.steps, run.settings, run.changes, view.acknowledged


def refused(lab: Lab, message: Any, name: str) -> None:
    """Check that a message changes nothing, and that the alert has a name and a remedy."""
    before = state(lab)
    send(lab.view, message)
    assert state(lab) == before
    alert = lab.view.alert
    assert re.search(rf"\b({name})\b", alert), f"{message!r:.100}: {alert!r}"
    assert bad.REMEDY.search(alert) or re.search("should not|too large", alert), alert
    assert not re.match(r"\w+(Error|Exception)\b", alert), alert


def continues(lab: Lab) -> None:
    """Check that a valid message works, and that the run takes its steps."""
    steps, rho = lab.session.run.steps, lab.values["rho"] / 2
    send(lab.view, {"values": {"rho": rho}})
    assert (lab.view.alert, lab.session.run.settings.rho) == ("", rho)
    send(lab.view, {"action": "step", "value": None})
    assert (lab.view.alert, lab.run(2).session.run.steps) == ("", steps + 3)


def test_the_table_contains_every_setting_of_the_page() -> None:
    assert set(SETTINGS) == set(new_lab().values)
    assert set(new_lab().view.traits(sync=True, echo_update=False)) == {"values"}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_bad_setting_is_named_and_the_old_one_is_kept(name: str) -> None:
    """Also together with a valid setting: all settings of a message are taken, or none."""
    lab = new_lab()
    for value in SETTINGS[name]:
        refused(lab, {"values": {name: value}}, name)
        if name != "rho":
            refused(lab, {"values": {"rho": 0.5, name: value}}, name)
    continues(lab)


def test_an_invalid_message_or_action_changes_nothing() -> None:
    lab = new_lab()
    for message in NO_MESSAGE:
        ready = lab.view.ready
        refused(lab, message, "The page sent")
        assert lab.view.ready == ready
        lab.view._handle_custom_msg(message, [])  # as ipywidgets calls it
    for name, values in ACTIONS.items():
        for value in values:
            refused(lab, {"action": name, "value": value}, {"preset": "preset", "load": "text"}.get(name, "action"))
    for name in JUNK:
        refused(lab, {"action": name}, "action")
    continues(lab)


def test_a_panel_keeps_its_values_and_its_picture() -> None:
    controls = {"rho": Slider(**SLIDER), "n": Slider("n", 1, [1, 2, 5], integer=True), "on": Switch("on")}
    controls |= {"rule": Choice("rule", "sam", {"sam": "SAM", "gd": "GD"}), "go": Button("go")}
    panel = Panel(draw, controls, drag={"at": (0.0, 1.0)}, description="a line")
    before, sentence, figure = panel.values, panel.sentence, panel.figure
    cases = [("at", value) for value in (None, 3, "ab", [], [0.0], [0.0, bad.NAN], [0.0, "1"], {"x": 0.0, "y": 1.0})]
    for name, control in (("rho", "Slider"), ("rule", "Choice"), ("on", "Switch"), ("go", "Button")):
        ((_, values),) = bad_arguments(f"lab.{control}.take")
        cases += [(name, value) for value in values if isinstance(value, int | float | str | list | None)]
    cases += [("n", value) for value in (*bad.COUNT, 6, 10**400) if not isinstance(value, complex)]
    for name, value in cases:
        send(panel.view, {"values": {"go": 5, name: value}})
        assert (panel.values, panel.sentence) == (before, sentence)
        assert panel.figure is figure
        assert re.search(rf"\b{name}\b.*expected", panel.view.alert), f"{value}: {panel.view.alert}"
    for message in NO_MESSAGE:
        send(panel.view, message)
        assert "The page sent" in panel.view.alert
    assert panel.values == before
    send(panel.view, {"values": {"rho": 0.5, "at": [1, 2]}})
    assert (panel.view.alert, panel.values) == ("", before | {"rho": 0.5, "at": (1.0, 2.0)})


def test_a_quiz_keeps_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: shown.extend(things))
    quiz("alignment", "b")
    view = shown[0]
    for answers in (*JUNK, True, 3, "z", "A", "b z", "?" * 100):
        send(view, {"values": {"answers": answers}})
        assert view.values["answers"] == "b", answers
        assert re.search(r"answers?\b.*expected", view.alert), f"{answers}: {view.alert}"
    for message in NO_MESSAGE:
        send(view, message)
    send(view, {"values": {"answers": "ba"}})
    assert view.values["answers"] == "ba"
