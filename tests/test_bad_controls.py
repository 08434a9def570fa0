"""Bad messages from the page change nothing: an alert says what was wrong, and the run continues."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import bad_table as bad
import pytest
import torch
from bad_table import FEW, SINE, SLIDER, bad_arguments, draw
from hypothesis import given
from hypothesis import strategies as st
from kernel_loop import in_kernel, until

from samviz.dynamics import Settings
from samviz.lab import Button, Choice, Lab, Panel, Slider, Switch, quiz
from samviz.lab.session import PLANES
from samviz.problems import quadratic

pytestmark = bad.HANG
JUNK = (None, [], {}, [1.0], {"a": 1}, bad.NAN)
NO_NUMBER = (*JUNK, bad.INF, -bad.INF, "0.1", True, 10**400, -1, -1e-300)
NO_COUNT = (*JUNK, bad.INF, "3", True, 1.5, 1e300, -1, 2**70, 10**400)
SETTINGS = {
    "rule": (*JUNK, True, 3, "", "unknown", "SAM"),
    "rho": NO_NUMBER,
    "lr": (*NO_NUMBER, 0, 0.0),
    "batch_size": (*NO_COUNT, 0, 21),
    "seed": NO_COUNT,
    "steps_per_frame": (*NO_COUNT, 0),
    "plane": (*JUNK, True, 3, "", "unknown"),
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


def refused(lab: Lab, message: Any, name: str, value: Any) -> None:
    """Check that a message changes nothing, and that the alert has a name (a pattern), the value and a remedy."""
    before = state(lab)
    send(lab.view, message)
    assert state(lab) == before
    alert = lab.view.alert
    assert re.search(rf"\b({name})\b", alert), f"{message!r:.100}: {alert!r}"
    assert bad.names_value(value, alert) or f"is {value:.0f}; expected" in alert, f"{message!r:.100}: {alert!r}"
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
        refused(lab, {"values": {name: value}}, name, value)
        if name != "rho":
            refused(lab, {"values": {"rho": 0.5, name: value}}, name, value)
    continues(lab)


def test_the_page_receives_the_value_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its slider would show the value that was refused."""
    lab, sent = new_lab(), []
    monkeypatch.setattr(type(lab.view), "_send", lambda _, message, buffers=None: sent.append(message))
    for value in (bad.NAN, "0.1", -1):
        sent.clear()
        send(lab.view, {"values": {"rho": value}})
        received = [message["content"]["values"] for message in sent if message["method"] == "custom"]
        assert received == [{"rho": 0.01}], value


def test_a_rule_that_the_problem_lacks_is_refused() -> None:
    lab = Lab(quadratic([3.0, 1.0]), lr=0.05, rho=0.01, device="cpu").run(3)
    refused(lab, {"values": {"rule": "label_noise"}}, "rule", "label_noise")
    continues(lab)


def test_a_diverged_run_refuses_bad_settings_too_and_starts_again() -> None:
    lab = new_lab()
    send(lab.view, {"values": {"lr": 100}})
    lab.run(50)
    assert "diverged" in lab.view.alert
    refused(lab, {"values": {"lr": bad.NAN}}, "lr", bad.NAN)
    send(lab.view, {"values": {"lr": 0.05}})
    send(lab.view, {"action": "reset"})
    assert (lab.view.alert, lab.run(5).session.run.steps) == ("", 5)


def test_an_invalid_message_or_action_changes_nothing() -> None:
    lab = new_lab()
    for message in NO_MESSAGE:
        ready = lab.view.ready
        refused(lab, message, "The page sent", message)
        assert lab.view.ready == ready
        lab.view._handle_custom_msg(message, [])  # as ipywidgets calls it
    for name, values in ACTIONS.items():
        for value in values:
            argument = {"preset": "preset", "load": "text"}.get(name, "action")
            named = name if argument == "action" else value if len(str(value)) < 9 else {}  # of a long text the reason
            refused(lab, {"action": name, "value": value}, argument, named)
    for name in JUNK:
        refused(lab, {"action": name}, "action", name)
    continues(lab)


@pytest.mark.parametrize("action", ["pause", "recenter", "step", "reset", "share"])
def test_an_action_without_a_value_ignores_it(action: str) -> None:
    lab = new_lab()
    for value in (*JUNK, True, 10**400, "now"):
        send(lab.view, {"action": action, "value": value})
        assert lab.view.alert == ""
    continues(lab)


def test_a_playing_run_continues() -> None:
    """In a kernel, where messages arrive between slices of work."""

    async def story() -> None:
        lab = new_lab()
        send(lab.view, {"action": "play"})
        await until(lambda: lab.view.playing, 20)
        messages = [{"values": {name: value}} for name in SETTINGS if name != "plane" for value in SETTINGS[name]]
        messages += [{"action": name, "value": value} for name in ACTIONS for value in ACTIONS[name]]
        before, first = lab.values, lab.history.rows[0]
        for message in (*messages, *NO_MESSAGE):
            send(lab.view, message)
            for _ in range(2):  # until posted callbacks have run
                await asyncio.sleep(0)
            assert lab.view.alert, message
            assert not re.match(r"\w+Error\b", lab.view.alert), lab.view.alert
            assert lab.view.playing, message
        assert lab.values == before
        steps = lab.session.run.steps
        await until(lambda: lab.session.run.steps >= steps + 20, 60)
        assert lab.history.rows[0] is first
        send(lab.view, {"action": "pause"})

    in_kernel(story, 120)


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


SCALAR = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(SCALAR, lambda some: st.lists(some, max_size=2) | st.dictionaries(st.text(max_size=3), some))
VALID = {"rule": st.sampled_from(["gd", "sam", "usam"]), "rho": st.floats(0, 1), "lr": st.floats(1e-3, 0.1)}
VALID |= {"batch_size": st.integers(1, 25), "seed": st.integers(0, 5), "compare": st.booleans()}
VALID |= {"plane": st.sampled_from([*PLANES]), "steps_per_frame": st.integers(1, 100)}
VALUES = st.fixed_dictionaries({}, optional={name: valid | ANYTHING for name, valid in VALID.items()})
MESSAGE = VALUES.map(lambda values: {"values": values}) | ANYTHING
MESSAGE |= st.dictionaries(st.sampled_from(["ack", "values"]), ANYTHING)
LAB = new_lab()


@FEW
@given(messages=st.lists(MESSAGE, max_size=4))
def test_after_any_messages_the_settings_are_valid(messages: list[Any]) -> None:
    lab, run = LAB, LAB.session.run
    for message in messages:
        x, rows = run.x.clone(), list(run.history.rows)
        send(lab.view, message)
        sent = message.get("values") if isinstance(message, dict) else None
        taken = isinstance(sent, dict) and all(lab.values.get(name) == value for name, value in sent.items())
        assert taken or lab.view.alert or "ack" in message
        assert torch.equal(run.x, x)
        assert run.history.rows == rows
        settings = {name: lab.values[name] for name in ("rule", "rho", "lr", "batch_size")}
        assert run.settings == Settings(**settings).fit(1, SINE)
    steps = run.steps
    send(lab.view, {"values": {"rule": "sam", "lr": 0.01, "rho": 0.01}})
    assert lab.run(1).session.run.steps == steps + 1
