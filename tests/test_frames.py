"""Pictures made beforehand: what the browser puts together is each picture as it was, to single precision."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samviz.figures.frames import Dial, frames_data, frames_figure, frames_js

FLOATS = st.floats(-1e6, 1e6, width=32)
ARRAYS = arrays(
    np.float32,
    st.one_of(st.tuples(st.integers(0, 12)), st.tuples(st.integers(1, 4), st.integers(1, 5))),
    elements=FLOATS,
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | FLOATS
    | st.text(max_size=60)
    | ARRAYS.map(lambda a: a.astype(float))
)
KEYS = st.text("abcxyz", min_size=1, max_size=3)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def read(script):
    """The name and the data in a script of frames."""
    name, data = re.fullmatch(
        r'\(globalThis\.samvizFrames \?\?= \{\}\)\[(".*?")\] = (.*);\n', script, re.DOTALL
    ).groups()
    return json.loads(name), json.loads(data)


def assembled(node, parts):
    """A picture with its references followed and its arrays decoded, as lists."""
    if isinstance(node, list):
        return [assembled(each, parts) for each in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"$"}:
        return assembled(parts[node["$"]], parts)
    if "bdata" in node:
        flat = np.frombuffer(base64.b64decode(node["bdata"]), np.dtype("<" + node["dtype"]))
        return flat.reshape([int(n) for n in node["shape"].split(",")] if "shape" in node else -1).tolist()
    return {key: assembled(value, parts) for key, value in node.items()}


def listed(node):
    """A tree with lists for arrays."""
    if isinstance(node, dict):
        return {key: listed(value) for key, value in node.items()}
    return (
        [listed(each) for each in node]
        if isinstance(node, list)
        else node.tolist()
        if isinstance(node, np.ndarray)
        else node
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.fixed_dictionaries({"data": st.lists(TREES, max_size=3), "layout": TREES}), min_size=1, max_size=5))
def test_every_picture_comes_back(pictures):
    dial = Dial("n", [str(i) for i in range(len(pictures))], 0)
    name, data = read(frames_data("some", [dial], [(p, f"sentence {i}") for i, p in enumerate(pictures)]))
    assert name == "some"
    assert data["sentences"] == [f"sentence {i}" for i in range(len(pictures))]
    assert [assembled(p, data["parts"]) for p in data["pictures"]] == [listed(p) for p in pictures]


def test_doubles_are_rounded_and_what_is_not_finite_is_null():
    line = np.array([0.1, np.pi, 1e-9, 1e30])
    plain = {"data": [{"y": line, "x": np.array([0.1, np.nan]), "z": [np.inf, np.float64(0.5)]}], "layout": {}}
    _, data = read(frames_data("a", [], [(plain, "")]))
    (trace,) = assembled(data["pictures"][0], data["parts"])["data"]
    np.testing.assert_allclose(trace["y"], line, rtol=1e-7)
    assert (trace["x"], trace["z"]) == ([0.1, None], [None, 0.5])


def test_what_is_equal_is_kept_once():
    plane = np.arange(1000.0).reshape(20, 50)

    def script(count):
        dial = Dial("n", [str(i) for i in range(count)], 0)
        return frames_data(
            "a", [dial], [({"data": [{"z": plane.copy()}, {"x": [i]}], "layout": {}}, "") for i in range(count)]
        )

    assert len(script(20)) - len(script(1)) < 20 * 120 < plane.size * 4


def test_a_missing_picture_is_an_error():
    dials = [Dial("a", ["0", "1"], 0), Dial("b", ["0", "1", "2"], 0)]
    with pytest.raises(ValueError, match=r"there are 1 pictures; expected 2 × 3 = 6"):
        frames_data("a", dials, [({"data": [], "layout": {}}, "")])


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_place_in_the_page_has_labelled_controls_where_they_start():
    dials = [Dial("ρ <radius>", ["0", "0.1", '"'], 1), Dial("method", ["full & batch", "1-SAM"], 1, named=True)]
    text = frames_figure("some", dials, 'what "it" shows', '<img src="a.png" alt="b">', 300)
    found = Elements(text).found
    (slider,), (choice,) = ([a for tag, a in found if tag == name] for name in ("input", "select"))
    assert (slider["type"], slider["max"], slider["value"]) == ("range", "2", "1")
    assert json.loads(slider["data-stops"]) == ["0", "0.1", '"']
    assert json.loads(choice["data-stops"]) == ["full & batch", "1-SAM"]
    assert [("selected" in a) for tag, a in found if tag == "option"] == [False, True]
    assert "ρ &lt;radius&gt;" in text
    assert "full &amp; batch" in text
    assert [a["aria-label"] for _, a in found if "aria-label" in a] == ['what "it" shows']
    assert any(a.get("aria-live") == "polite" for _, a in found)
    assert ("img", {"src": "a.png", "alt": "b"}) in found


def test_the_script_asks_for_nothing_elsewhere():
    assert not re.search(r"https?:|fetch\(|import\(|XMLHttpRequest", frames_js())
    assert "showSendToCloud: false" in frames_js()
