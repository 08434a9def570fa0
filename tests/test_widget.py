"""The kernel's half of a widget: what is sent to a browser, and when."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from kernel_loop import kernel_test, until

from samviz.lab import display, widget
from samviz.lab.controls import Slider
from samviz.lab.lab import LabWidget
from samviz.lab.widget import PlotWidget, plotly_js, script, to_wire

CONTROLS = {"rho": Slider("ρ", 0.02, [0, 1]), "batch_size": Slider("batch size", 20, [1, 20], integer=True)}
EMPTY = {"data": [], "layout": {}}


class Recorded(LabWidget):
    """A widget whose messages are recorded instead of sent."""

    def __init__(self):
        self.sent = []
        super().__init__(CONTROLS)

    def send(self, content, buffers=None):
        self.sent.append((content, buffers or []))

    def frames(self):
        return [(content, buffers) for content, buffers in self.sent if "seq" in content]

    def receive(self, **message):
        self._handle_custom_msg(message, [])


@pytest.fixture
def view():
    return Recorded()


def titled(title, **trace):
    return {"data": [trace], "layout": {"title": title}}


def unpacked(message, buffers):
    """The arrays of a message by key, read as a browser does."""
    return {
        key: np.frombuffer(buffer, dtype).reshape(shape)
        for (key, dtype, shape), buffer in zip(message["arrays"], buffers, strict=True)
    }


@pytest.mark.parametrize("name", ["lab.js", "panel.js", "quiz.js"])
def test_a_module_defines_what_it_uses_once_and_has_one_export(name):
    text = script(name)
    assert [text.count(f"function {used}(") for used in ("recolour", "createParts", "createGraph")] == [1, 1, 1]
    assert text.count("\nexport ") == 1


# frames


def test_arrays_are_sent_as_binary_and_the_rest_as_json(view):
    z = np.arange(12.0).reshape(3, 4)[:, ::2]  # not contiguous
    view.show({"data": [{"z": z, "x": [1, np.float32(0.5), np.nan], "n": np.int64(3)}], "layout": {"t": (None, True)}})
    [(message, buffers)] = view.frames()
    assert json.loads(json.dumps(message, allow_nan=False))["figure"] == {
        "data": [{"z": {"$": 1}, "x": [1, 0.5, None], "n": 3}],
        "layout": {"t": [None, True]},
    }
    np.testing.assert_array_equal(unpacked(message, buffers)[1], z)
    assert sum(len(buffer) for buffer in buffers) == 6 * 4


def test_an_array_is_sent_once_while_it_is_shown(view):
    z, x = np.ones((5, 5)), np.arange(3.0)
    for trace in ({"z": z, "x": x, "y": x}, {"z": z, "x": x + 1}, {"x": x}, {"z": z}):
        view.show({"data": [trace], "layout": {}})
        view.receive(ack=view._seq)
    sent = [[shape for _, _, shape in message["arrays"]] for message, _ in view.frames()]
    assert sent == [[(5, 5), (3,)], [(3,)], [(3,)], [(5, 5)]]
    keys = [key for message, _ in view.frames() for key, _, _ in message["arrays"]]
    assert len(set(keys)) == len(keys)
    first = view.frames()[0][0]["figure"]["data"][0]
    assert first["x"] == first["y"]


def test_a_new_page_gets_the_entire_newest_figure_even_if_that_waited(view):
    view.receive(hello="again")
    assert view.frames() == []
    z = np.ones((5, 5))
    for n, title in enumerate("abc"):
        view.show(titled(title, z=z, x=np.arange(n)))
    view.receive(hello="again")
    message, buffers = view.frames()[-1]
    assert message["figure"]["layout"] == {"title": "c"}
    assert [shape for _, _, shape in message["arrays"]] == [(5, 5), (2,)]
    np.testing.assert_array_equal(list(unpacked(message, buffers).values())[1], np.arange(2))
    view.receive(ack=message["seq"])
    assert view.frames()[-1][0] is message
    view.show({"data": [{"z": z}], "layout": {}})
    assert view.frames()[-1][0]["arrays"] == []


def test_plotly_is_sent_by_the_first_widget_of_a_process_and_on_request(monkeypatch):
    monkeypatch.setattr(PlotWidget, "_plotly_was_sent", False)
    first, second = Recorded(), Recorded()
    [(message, [data])] = first.sent
    assert message == {"plotly": True}
    assert b"plotly.js v" in gzip.decompress(data)[:100]
    assert len(data) < 2e6
    assert second.sent == []
    second.receive(hello="again")
    assert second.sent == []
    second.receive(hello="no plotly")
    assert second.sent == [({"plotly": True}, [data])]
    assert second._plotly == plotly_js()[0]


def test_a_saved_widget_is_small(view):
    view.show({"data": [{"z": np.ones((200, 200))}], "layout": {}})
    assert len(json.dumps({key: value for key, value in view.get_state().items() if key != "layout"})) < 70_000


def test_two_frames_may_be_unacknowledged(view):
    assert view.ready
    assert not view.acknowledged
    view.show(EMPTY)
    assert view.ready
    view.show(EMPTY)
    assert not view.ready
    view.receive(ack=1)
    assert view.ready
    assert view.acknowledged
    view.show(EMPTY)
    view.receive(ack=3)
    view.receive(ack=2)  # of a second page, late
    view.show(EMPTY)
    assert view.ready


def test_only_one_thread_at_a_time_sends_frames(view):
    figure = {"data": [{"x": np.arange(3.0)}], "layout": {}}
    for _ in range(3):
        view.show(figure)  # two are sent, and one waits
    for act in (lambda: view.show(figure), lambda: view.receive(hello="again"), lambda: view.receive(ack=1)):
        sent, begun = len(view.frames()), Event()
        other = Thread(target=lambda act=act, begun=begun: (begun.set(), act()))
        with view._lock:
            other.start()
            assert begun.wait(20)
            other.join(0.05)
            assert other.is_alive()
            assert len(view.frames()) == sent
        other.join()


def test_a_browser_that_is_behind_is_asked_and_then_gets_the_newest_frame(view, monkeypatch):
    x = [np.arange(float(n)) for n in range(5)]
    for _ in range(9):
        view.show(titled("", x=x[4]))
    assert [message for message, _ in view.sent if "repeat" in message] == []  # not too often
    monkeypatch.setattr(widget, "RESEND_S", 0)
    for n in (2, 3):
        view.show(titled("", x=x[n], z=x[4]))
    assert [message for message, _ in view.sent if "repeat" in message] == 2 * [{"repeat": 2}]
    assert len(view.frames()) == 2
    view.receive(ack=1)
    [message, _] = view.frames()[2]
    assert (message["seq"], [shape for _, _, shape in message["arrays"]]) == (3, [(3,)])  # x[3]; x[4] was sent before
    view.receive(ack=3)
    assert len(view.frames()) == 3  # nothing is newer


def test_while_a_cell_computes_frames_are_sent_without_acknowledgement_but_not_too_often(view, monkeypatch):
    for _ in range(9):
        view.show(EMPTY, can_acknowledge=False)
    assert len(view.frames()) == 2
    monkeypatch.setattr(widget, "RESEND_S", 0)
    view.show(EMPTY, can_acknowledge=False)
    assert len(view.frames()) == 3


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1j])])
def test_an_array_without_real_numbers_is_refused_and_the_figure_stays(view, array):
    view.show(titled("before"))
    with pytest.raises(TypeError, match=f"real numbers, got dtype {array.dtype}".replace("<", ".")):
        view.show(titled("after", x=array))
    view.receive(hello="again")
    assert view.frames()[-1][0]["figure"]["layout"] == {"title": "before"}


@given(arrays(np.float64, array_shapes(max_dims=2, min_side=0, max_side=5), elements=st.floats()))
def test_conversion_keeps_every_number_up_to_single_precision(array):
    wire = to_wire(array)
    assert wire.shape == array.shape
    assert wire.flags.c_contiguous
    for property_ in (np.isnan, np.isinf, np.sign):
        np.testing.assert_array_equal(property_(wire), property_(array))
    near = np.isfinite(array) & (np.abs(array) > 1e-37)
    np.testing.assert_allclose(wire[near], array[near], rtol=1e-6)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_are_int32_when_they_fit(values):
    wire = to_wire(np.array(values, np.int64))
    assert (wire.dtype == np.int32) == all(-(2**31) <= value < 2**31 for value in values)
    np.testing.assert_allclose(wire, values, rtol=1e-6)


# values and actions


def test_values_are_confirmed_with_those_that_now_hold_and_are_not_sent_back(view, monkeypatch):
    states = []
    monkeypatch.setattr(Recorded, "_send", lambda self, message, buffers=None: states.append(message))
    view.sent = []
    view.receive(values={"rho": 0.0123}, id=["a page", 1])
    assert states == []
    view.receive(values={"rho": -1.0, "batch_size": 5}, id=["a page", 2])  # refused: neither is accepted
    assert [message for message, _ in view.sent] == [
        {"confirmed": ["a page", 1], "values": {"rho": 0.0123}},
        {"confirmed": ["a page", 2], "values": {"rho": 0.0123, "batch_size": 20}},
    ]
    assert view.alert == "rho is -1.0; expected a number from 0 to 1. Nothing was changed."
    view.receive(values={"rho": 0.0123}, id=["a page", 3])
    view.put({"rho": 0.02})
    view.receive(values={"rho": 0.0123}, id=["a page", 3])  # again, since no answer came
    assert view.sent[-1] == ({"confirmed": ["a page", 3], "values": {"rho": 0.02}}, [])
    assert view.values["rho"] == 0.02


def test_signs_of_life_end_while_nobody_uses_the_widget_unless_a_cell_runs(view, monkeypatch):
    clock = 0.0
    monkeypatch.setattr(widget, "monotonic", lambda: clock)
    view.receive(watched=True)
    for clock, busy in ((1.0, False), (2.0, True), (1e4, False), (2e4, False), (3e4, True), (4e4, False)):  # noqa: B007
        view.beat(busy)
    view.receive(watched=True)
    view.beat(False)
    beats = [message["beat"] for message, _ in view.sent if "beat" in message]
    assert beats == ["free", "busy", "idle", "busy", "idle", "free"]


@kernel_test
async def test_a_displayed_widget_beats_while_a_cell_blocks_the_event_loop(view, monkeypatch):
    monkeypatch.setattr(display, "BEAT_S", 0.05)
    display.send_beats(view, asyncio.get_running_loop())
    end = time.monotonic() + 20
    while {"beat": "busy"} not in [message for message, _ in view.sent] and time.monotonic() < end:
        time.sleep(0.05)  # a cell that computes
    assert {"beat": "busy"} in [message for message, _ in view.sent]
    await until(lambda: {"beat": "free"} in [message for message, _ in view.sent], 20)
