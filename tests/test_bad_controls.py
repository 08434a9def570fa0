"""Bad input from the page: whatever arrives, controls keep what they had or say why not, and the run goes on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import bad_values as bad
import pytest
import torch
from bad_figures import FIGURES, SLIDER
from hypothesis import given
from hypothesis import strategies as st
from kernel_loop import in_kernel, until
from test_bad_input_random import FEW

from samviz.dynamics import Settings
from samviz.lab import Button, Choice, Lab, Panel, Slider, Switch, quiz
from samviz.lab.session import PLANES
from samviz.problems import mlp, quadratic

SINE = mlp([1, 4, 1])
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
    "compare": (*JUNK, 0, 1, 0.0, "yes"),
}
NO_MESSAGE = (
    *JUNK,
    3,
    "ack",
    "values",
    {"unknown": 1},
    *({"values": values} for values in (None, 3, "rho", [], ["rho"], {"unknown": 1}, {"rho": 0.5, "unknown": 1})),
    *({"values": {name: value}} for name, value in (("alert", "x"), ("playing", True), ("sentence", 3), ("_esm", ""))),
    *({"values": {name: value}} for name, value in (("values", {}), ("controls", []), ("layout", "IPY_MODEL_0"))),
    *({"ack": ack} for ack in (None, "1", [], {}, bad.NAN, bad.INF, 1e300, 10**9, 10**400)),
)
ACTIONS = {  # what is no action, and what cannot be given to one
    **dict.fromkeys(("unknown", "__init__", "run"), (5,)),
    "preset": (*JUNK, 3, True, "", "unknown"),
    "load": (*JUNK, 3, True, "", "unknown", "samviz1:", "samviz1:1:A", "samviz9:1:AAAA", "samviz1:1:" + "A" * 10**6),
}
CONTROLS = {
    "rho": Slider(**SLIDER),
    "n": Slider("n", 1, [1, 2, 5], integer=True),
    "rule": Choice("rule", "sam", {"sam": "SAM", "gd": "GD"}),
    "on": Switch("on"),
    "go": Button("go"),
}


def send(view: Any, message: Any) -> None:
    """What the comm does with a message of the page; here an exception comes through."""
    view._receive(view, message, [])


def made() -> Lab:
    return Lab(SINE, lr=0.05, rho=0.01, device="cpu").run(3)


def state(lab: Lab) -> tuple[Any, ...]:
    """All that a refused message may not touch."""
    run, view = lab.session.run, lab.view
    kept = {
        name: value for name, value in view.get_state().items() if name not in ("alert", "sentence", "_esm", "_css")
    }
    return kept, list(run.history.rows), run.x.tolist(), run.steps, run.settings, run.changes, view.acknowledged


def refused(lab: Lab, message: Any, name: str, value: Any) -> None:
    """A message changes nothing, and the alert says what was wrong: what has this name (a pattern) has this value."""
    lab.view.alert = ""
    before = state(lab)
    with bad.no_hang():
        send(lab.view, message)
    assert state(lab) == before
    words = lab.view.alert
    assert re.search(rf"\b({name})\b", words), f"{message!r:.100}: {words!r}"
    assert bad.told(value, words) or f"is {value:.0f}; expected" in words, f"{message!r:.100}: {words!r}"
    assert bad.REMEDY.search(words) or re.search("should not|too large", words), words
    assert not re.match(r"\w+(Error|Exception)\b", words), words


def goes_on(lab: Lab) -> None:
    """A good message works, and the run takes its steps."""
    at, rho = lab.session.run.steps, lab.values["rho"] / 2
    send(lab.view, {"values": {"rho": rho}})
    assert (lab.view.alert, lab.session.run.settings.rho) == ("", rho)
    send(lab.view, {"action": "step", "value": None})
    assert (lab.view.alert, lab.run(2).session.run.steps) == ("", at + 3)


def test_the_table_is_all_that_the_page_may_set() -> None:
    assert set(SETTINGS) == set(made().values)
    assert set(made().view.traits(sync=True, echo_update=False)) == {"values"}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_bad_setting_is_named_and_the_old_one_stays(name: str) -> None:
    lab = made()
    for value in SETTINGS[name]:
        refused(lab, {"values": {name: value}}, name, value)
        if name != "rho":  # settings are taken all together
            refused(lab, {"values": {"rho": 0.5, name: value}}, name, value)
    goes_on(lab)


def test_the_page_is_told_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its slider would stand at what was refused."""
    lab = made()
    sent: list[Any] = []
    monkeypatch.setattr(type(lab.view), "_send", lambda _, message, buffers=None: sent.append(message))
    for value in (bad.NAN, "0.1", -1):
        sent.clear()
        send(lab.view, {"values": {"rho": value}})
        told = [message["content"]["values"] for message in sent if message["method"] == "custom"]
        assert told == [{"rho": 0.01}], value


@pytest.mark.parametrize("rule", ["label_noise", "unknown"])
def test_a_rule_that_the_problem_lacks_is_refused(rule: str) -> None:
    lab = Lab(quadratic([3.0, 1.0]), lr=0.05, rho=0.01, device="cpu").run(3)
    refused(lab, {"values": {"rule": rule}}, "rule", rule)
    goes_on(lab)


def test_a_stopped_run_refuses_as_well_and_starts_again() -> None:
    lab = made()
    send(lab.view, {"values": {"lr": 100}})
    lab.run(50)
    assert "diverged" in lab.view.alert
    for name in ("lr", "batch_size", "rule"):
        for value in SETTINGS[name]:
            refused(lab, {"values": {name: value}}, name, value)
    send(lab.view, {"values": {"lr": 0.05}})
    send(lab.view, {"action": "reset"})
    assert (lab.view.alert, lab.run(5).session.run.steps) == ("", 5)


def test_what_is_no_message_changes_nothing() -> None:
    lab = made()
    for message in NO_MESSAGE:
        ready = lab.view.ready
        refused(lab, message, "The page sent", message)
        assert lab.view.ready == ready
        lab.view._handle_custom_msg(message, [])  # as ipywidgets calls it
    goes_on(lab)


def test_what_is_no_action_changes_nothing() -> None:
    lab = made()
    for name, values in ACTIONS.items():
        for value in values:
            said = {"preset": "preset", "load": "text"}.get(name, "action")
            told = name if said == "action" else value if len(str(value)) < 9 else {}  # of a long text why
            refused(lab, {"action": name, "value": value}, said, told)
    for name in JUNK:
        refused(lab, {"action": name}, "action", name)
    goes_on(lab)


@pytest.mark.parametrize("action", ["pause", "recenter", "step", "reset", "share"])
def test_an_action_without_a_value_heeds_none(action: str) -> None:
    lab = made()
    for value in (*JUNK, True, 10**400, "now"):
        with bad.no_hang():
            send(lab.view, {"action": action, "value": value})
        assert lab.view.alert == ""
    goes_on(lab)


def test_a_run_under_way_goes_on() -> None:
    """In a kernel, where messages arrive between pieces of work."""

    async def story() -> None:
        lab = made()
        send(lab.view, {"action": "play"})
        await until(lambda: lab.view.playing, 20)
        bads = [{"values": {name: value}} for name in SETTINGS if name != "plane" for value in SETTINGS[name]]
        bads += [{"action": name, "value": value} for name in ACTIONS for value in ACTIONS[name]]
        before = lab.values
        first = lab.history.rows[0]
        for message in (*bads, *NO_MESSAGE):
            lab.view.alert = ""
            send(lab.view, message)
            await asyncio.sleep(0)  # what was posted
            await asyncio.sleep(0)
            assert lab.view.alert, message
            assert not re.match(r"\w+Error\b", lab.view.alert), lab.view.alert
            assert lab.view.playing, message
        assert lab.values == before
        at = lab.session.run.steps
        await until(lambda: lab.session.run.steps >= at + 20, 60)
        assert lab.history.rows[0] is first
        send(lab.view, {"action": "pause"})

    in_kernel(story, 120)


def draw(values: dict[str, Any]) -> tuple[dict[str, Any], str]:
    return {"data": [{"y": [0, 1]}], "layout": {}}, f"{values}"


def bad_values() -> Iterator[tuple[str, Any]]:
    """Of each control of the panel, from the table of what `take` refuses, what JSON can hold."""
    for name, case in FIGURES.items():
        if ".take" in name:
            yield from ((case.said, v) for v in case.bad["value"] if isinstance(v, int | float | str | list | None))
    yield from (("at", value) for value in (None, 3, "ab", [], [0.0], [0.0, bad.NAN], [0.0, "1"], {"x": 0.0, "y": 1.0}))


def test_a_panel_keeps_its_values_and_its_picture() -> None:
    panel = Panel(draw, CONTROLS, drag={"at": (0.0, 1.0)}, description="a line")
    before, sentence, figure = panel.values, panel.sentence, panel.figure
    for name, value in bad_values():
        panel.view.alert = ""
        send(panel.view, {"values": {"go": 5, name: value}})
        assert (panel.values, panel.sentence) == (before, sentence)
        assert panel.figure is figure
        assert re.search(rf"\b{name}\b.*expected", panel.view.alert), f"{value}: {panel.view.alert}"
    for message in NO_MESSAGE:
        panel.view.alert = ""
        send(panel.view, message)
        assert "The page sent" in panel.view.alert
    assert panel.values == before
    send(panel.view, {"values": {"rho": 0.5, "at": [1, 2]}})
    assert (panel.view.alert, panel.values) == ("", before | {"rho": 0.5, "at": (1.0, 2.0)})
    assert panel.sentence == f"{panel.values}"


def test_a_quiz_keeps_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *things, **_: shown.extend(things))
    quiz("alignment", "b")
    view = shown[0]
    for answers in (*JUNK, True, 3, "z", "A", "b z", "?" * 100):
        view.alert = ""
        send(view, {"values": {"answers": answers}})
        assert view.values["answers"] == "b", answers
        assert re.search(r"answers?\b.*expected", view.alert), f"{answers}: {view.alert}"
    for message in NO_MESSAGE:
        send(view, message)
    send(view, {"values": {"answers": "ba"}})
    assert view.values["answers"] == "ba"


SCALAR = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(SCALAR, lambda some: st.lists(some, max_size=2) | st.dictionaries(st.text(max_size=3), some))
GOOD = st.fixed_dictionaries(
    {},
    optional={
        "rule": st.sampled_from(["gd", "sam", "usam"]) | ANYTHING,
        "rho": st.floats(0, 1) | ANYTHING,
        "lr": st.floats(1e-3, 0.1) | ANYTHING,
        "batch_size": st.integers(1, 25) | ANYTHING,
        "seed": st.integers(0, 5) | ANYTHING,
        "compare": st.booleans() | ANYTHING,
        "plane": st.sampled_from([*PLANES]) | ANYTHING,
        "steps_per_frame": st.integers(1, 100) | ANYTHING,
    },
)
MESSAGE = (
    GOOD.map(lambda sent: {"values": sent}) | ANYTHING | st.dictionaries(st.sampled_from(["ack", "values"]), ANYTHING)
)


@FEW
@given(messages=st.lists(MESSAGE, max_size=4))
def test_whatever_arrives_the_settings_can_be_run(messages: list[Any]) -> None:
    lab, run = LAB, LAB.session.run
    for message in messages:
        lab.view.alert = ""
        x, rows = run.x.clone(), list(run.history.rows)
        with bad.no_hang():
            send(lab.view, message)
        sent = message.get("values") if isinstance(message, dict) else None
        taken = isinstance(sent, dict) and all(lab.values.get(name) == value for name, value in sent.items())
        assert taken or lab.view.alert or "ack" in message
        assert torch.equal(run.x, x)
        assert run.history.rows == rows
        assert run.settings == Settings(**{name: lab.values[name] for name in ("rule", "rho", "lr", "batch_size")}).fit(
            1, SINE
        )
    at = run.steps
    send(lab.view, {"values": {"rule": "sam", "lr": 0.01, "rho": 0.01}})
    assert lab.run(1).session.run.steps == at + 1


LAB = made()
