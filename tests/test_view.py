"""The kernel's half of the lab's window: what is sent to a browser, and when."""

from __future__ import annotations

import gzip
import json
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from samviz.lab import wire
from samviz.lab.view import LabView
from samviz.lab.wire import PlotView, plotly_js, script, to_wire


class Recorded(LabView):
    """A view whose messages are kept instead of sent."""

    def __init__(self, **settings):
        self.sent = []
        super().__init__(**settings)

    def send(self, content, buffers=None):
        self.sent.append((content, buffers or []))

    def frames(self):
        return [(content, buffers) for content, buffers in self.sent if "seq" in content]

    def hear(self, **message):
        self._handle_custom_msg(message, [])


@pytest.fixture
def view():
    return Recorded(samples=20)


def unpacked(message, buffers):
    """The arrays of a message by key, read as a browser does."""
    return {
        key: np.frombuffer(buffer, dtype).reshape(shape)
        for (key, dtype, shape), buffer in zip(message["arrays"], buffers, strict=True)
    }


@pytest.mark.parametrize("name", ["view.js", "panel.js"])
def test_a_module_holds_what_it_uses_once_and_exports_one_thing(name):
    text = script(name)
    assert [text.count(f"function {used}(") for used in ("recolour", "createParts", "createGraph")] == [1, 1, 1]
    assert text.count("\nexport ") == 1


def test_arrays_travel_as_binary_and_the_rest_as_json(view):
    z = np.arange(12.0).reshape(3, 4)[:, ::2]  # not contiguous
    view.show({"data": [{"z": z, "x": [1, np.float32(0.5), np.nan], "n": np.int64(3)}], "layout": {"t": (None, True)}})
    [(message, buffers)] = view.frames()
    assert json.loads(json.dumps(message, allow_nan=False))["figure"] == {
        "data": [{"z": {"$": 1}, "x": [1, 0.5, None], "n": 3}],
        "layout": {"t": [None, True]},
    }
    np.testing.assert_array_equal(unpacked(message, buffers)[1], z)
    assert sum(len(buffer) for buffer in buffers) == 6 * 4


def test_an_array_is_sent_once_while_it_is_on_show(view):
    z, x = np.ones((5, 5)), np.arange(3.0)
    for trace in ({"z": z, "x": x, "y": x}, {"z": z, "x": x + 1}, {"x": x}, {"z": z}):
        view.show({"data": [trace], "layout": {}})
        view.hear(ack=view._seq)
    sent = [[shape for _, _, shape in message["arrays"]] for message, _ in view.frames()]
    assert sent == [[(5, 5), (3,)], [(3,)], [(3,)], [(5, 5)]]
    keys = [key for message, _ in view.frames() for key, _, _ in message["arrays"]]
    assert len(set(keys)) == len(keys)
    first = view.frames()[0][0]["figure"]["data"][0]
    assert first["x"] == first["y"]


def test_a_new_page_gets_the_whole_figure(view):
    z = np.ones((5, 5))
    view.show({"data": [{"z": z, "x": np.arange(4)}], "layout": {"title": "a"}})
    view.show({"data": [{"z": z, "x": np.arange(5)}], "layout": {"title": "b"}})
    view.hear(hello="again")
    message, buffers = view.frames()[-1]
    assert message["figure"]["layout"] == {"title": "b"}
    assert [shape for _, _, shape in message["arrays"]] == [(5, 5), (5,)]
    np.testing.assert_array_equal(list(unpacked(message, buffers).values())[1], np.arange(5))
    view.hear(ack=3)
    view.show({"data": [{"z": z}], "layout": {}})
    assert view.frames()[-1][0]["arrays"] == []


def test_a_new_page_before_the_first_figure_gets_none(view):
    view.hear(hello="again")
    assert view.frames() == []


def test_plotly_is_sent_when_it_is_asked_for(view):
    view.sent = []
    view.hear(hello="again")
    assert view.sent == []
    view.hear(hello="no plotly")
    [(message, [data])] = view.sent
    assert message == {"plotly": True}
    assert b"plotly.js v" in gzip.decompress(data)[:100]
    assert len(data) < 2e6
    assert view._plotly == plotly_js()[0]


def test_only_the_first_widget_of_a_process_pushes_plotly(monkeypatch):
    monkeypatch.setattr(PlotView, "_pushed_plotly", False)
    first, second = Recorded(), Recorded()
    assert [message for message, _ in first.sent] == [{"plotly": True}]
    assert second.sent == []


def test_a_saved_widget_is_small(view):
    view.show({"data": [{"z": np.ones((200, 200))}], "layout": {}})
    assert len(json.dumps({key: value for key, value in view.get_state().items() if key != "layout"})) < 40_000


def test_two_frames_may_be_under_way(view):
    figure = {"data": [], "layout": {}}
    assert view.ready
    assert not view.attended
    view.show(figure)
    assert view.ready
    view.show(figure)
    assert not view.ready
    view.hear(ack=1)
    assert view.ready
    assert view.attended
    view.show(figure)
    view.hear(ack=3)
    view.hear(ack=2)  # of a second page, late
    view.show(figure)
    assert view.ready


def test_only_one_thread_at_a_time_sends_frames(view):
    figure = {"data": [{"x": np.arange(3.0)}], "layout": {}}
    for _ in range(3):
        view.show(figure)  # two are sent, and one waits
    for act in (lambda: view.show(figure), lambda: view.hear(hello="again"), lambda: view.hear(ack=1)):
        sent, other = len(view.frames()), Thread(target=act)
        with view._lock:
            other.start()
            other.join(0.05)
            assert other.is_alive()
            assert len(view.frames()) == sent
        other.join()


def test_a_browser_that_is_behind_is_asked_and_then_gets_the_newest_frame(view, monkeypatch):
    monkeypatch.setattr(wire, "PATIENCE", 0)
    x = [np.arange(float(n)) for n in range(5)]
    for n in range(4):
        view.show({"data": [{"x": x[n], "z": x[4]}], "layout": {}})
    assert [message for message, _ in view.sent if "ask" in message] == 2 * [{"ask": 2}]
    assert len(view.frames()) == 2
    view.hear(ack=1)
    [message, _] = view.frames()[2]
    assert (message["seq"], [shape for _, _, shape in message["arrays"]]) == (3, [(3,)])  # of x[3]; x[4] is there
    assert len(view.frames()) == 3
    view.hear(ack=3)
    assert len(view.frames()) == 3  # nothing is newer


def test_questions_are_not_asked_all_the_time(view):
    for _ in range(9):
        view.show({"data": [], "layout": {}})
    assert [message for message, _ in view.sent if "ask" in message] == []


def test_while_a_cell_computes_frames_go_out_unheard_but_not_too_often(view, monkeypatch):
    for _ in range(9):
        view.show({"data": [], "layout": {}}, heard=False)
    assert len(view.frames()) == 2
    monkeypatch.setattr(wire, "PATIENCE", 0)
    view.show({"data": [], "layout": {}}, heard=False)
    assert len(view.frames()) == 3


def test_a_new_page_gets_the_newest_figure_even_if_it_waited(view):
    for title in "abc":
        view.show({"data": [{"z": np.ones(3)}], "layout": {"title": title}})
    view.hear(hello="again")
    message, _ = view.frames()[-1]
    assert (message["figure"]["layout"], len(message["arrays"])) == ({"title": "c"}, 1)
    view.hear(ack=message["seq"])
    assert view.frames()[-1][0] is message


def test_settings_are_confirmed_with_what_now_holds(view):
    view.sent = []
    view.hear(state={"rho": 0.3}, told=["a page", 1])
    view.hear(state={"rho": -1.0, "lr": 0.5}, told=["a page", 2])  # refused: neither is taken
    assert [message for message, _ in view.sent] == [
        {"got": ["a page", 1], "state": {"rho": 0.3}},
        {"got": ["a page", 2], "state": {"rho": 0.3, "lr": 0.1}},
    ]


def test_actions_reach_every_callback(view):
    heard = []
    view.on_action(lambda *it: heard.append(it))
    view.on_action(lambda *it: heard.append(it))
    view.hear(action="play")
    view.hear(action="preset", value="1-SAM")
    assert heard == [("play", None)] * 2 + [("preset", "1-SAM")] * 2


def test_settings_from_the_browser_are_kept_exactly_and_not_echoed(view, monkeypatch):
    heard, states = [], []
    view.observe(lambda change: heard.append((change["name"], change["new"])), ["rho", "batch_size"])
    monkeypatch.setattr(Recorded, "_send", lambda self, message, buffers=None: states.append(message))
    view.set_state({"rho": 0.0123, "batch_size": 7})
    assert heard == [("rho", 0.0123), ("batch_size", 7)]
    assert states == []


def test_the_batch_is_full_at_first_and_settings_have_bounds():
    assert LabView(samples=20).batch_size == 20
    assert LabView(samples=20, batch_size=3).batch_size == 3
    assert LabView().batch_size == 1
    for wrong in ({"rho": -0.1}, {"lr": -1.0}, {"batch_size": 0}, {"seed": -1}):
        with pytest.raises(Exception, match=next(iter(wrong))):
            LabView(**wrong)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([None]), np.array([1j])])
def test_what_is_no_number_is_refused_and_leaves_the_picture(view, array):
    view.show({"data": [], "layout": {"title": "before"}})
    with pytest.raises(TypeError, match=f"real numbers, got dtype {array.dtype}".replace("<", ".")):
        view.show({"data": [{"x": array}], "layout": {}})
    view.hear(hello="again")
    assert view.frames()[-1][0]["figure"]["layout"] == {"title": "before"}


@given(arrays(np.float64, array_shapes(max_dims=2, min_side=0, max_side=5), elements=st.floats()))
def test_no_number_is_lost_on_the_way(array):
    wire = to_wire(array)
    assert wire.shape == array.shape
    assert wire.flags.c_contiguous
    np.testing.assert_array_equal(np.isnan(wire), np.isnan(array))
    np.testing.assert_array_equal(np.isinf(wire), np.isinf(array))
    np.testing.assert_array_equal(np.sign(wire), np.sign(array))
    near = np.isfinite(array) & (np.abs(array) > 1e-37)
    np.testing.assert_allclose(wire[near], array[near], rtol=1e-6)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_are_int32_when_they_fit(values):
    wire = to_wire(np.array(values, np.int64))
    small = all(-(2**31) <= value < 2**31 for value in values)
    assert (wire.dtype == np.int32) == small
    np.testing.assert_allclose(wire, values, rtol=1e-6)
