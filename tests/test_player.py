"""The player of precomputed figures: its script gives back every figure, its HTML has labelled controls."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samviz.figures.player import PlayerControl, player_data, player_html

FLOATS = st.floats(-1e6, 1e6, width=32)
SHAPES = st.one_of(st.tuples(st.integers(0, 12)), st.tuples(st.integers(1, 4), st.integers(1, 5)))
ARRAYS = arrays(np.float32, SHAPES, elements=FLOATS).map(lambda a: a.astype(float))
LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | FLOATS | st.text("a</!-script", max_size=60) | ARRAYS
KEYS = st.text("abcxyz", min_size=1, max_size=3)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


def plain(node, parts=()):
    """Return a figure without references to parts and with lists for arrays, which plotly.js reads as base64."""
    if isinstance(node, np.ndarray):
        return node.tolist()
    if isinstance(node, list):
        return [plain(each, parts) for each in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"$"}:
        return plain(parts[node["$"]], parts)
    if "bdata" in node:
        flat = np.frombuffer(base64.b64decode(node["bdata"]), np.dtype("<" + node["dtype"]))
        return flat.reshape([int(n) for n in node["shape"].split(",")] if "shape" in node else -1).tolist()
    return {key: plain(value, parts) for key, value in node.items()}


def figures_in(text, name="page"):
    """Return the figures and the sentences that a script or a page defines."""
    prefix = f'(globalThis.samvizFigures ??= {{}})["{name}"] = '
    data, _ = json.JSONDecoder().raw_decode(text, text.index(prefix) + len(prefix))
    return [plain(figure, data["parts"]) for figure in data["figures"]], data["sentences"]


def control(count):
    return PlayerControl("n", [str(i) for i in range(count)], 0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.fixed_dictionaries({"data": st.lists(TREES, max_size=3), "layout": TREES}), min_size=1, max_size=5))
def test_every_figure_and_sentence_comes_back_and_no_text_ends_the_script(figures):
    script = player_data("some", [control(len(figures))], [(f, f"number {i}") for i, f in enumerate(figures)], "f4")
    assert figures_in(script, "some") == (list(map(plain, figures)), [f"number {i}" for i in range(len(figures))])
    assert not re.search("</|<!--", script)


@pytest.mark.parametrize(("precision", "tolerance"), [("f4", 1e-7), ("f8", 0)])
def test_lines_have_the_precision_that_was_chosen_and_values_that_are_not_finite_are_null(precision, tolerance):
    line, plane = np.array([0.1, np.pi, 1e-9, 1e30]), np.arange(12.0).reshape(3, 4)
    trace = {"y": line, "x": np.array([0.1, np.nan]), "z": plane, "text": [np.inf, np.float64(0.5)]}
    script = player_data("a", [], [({"data": [trace], "layout": {}}, "")], precision)
    (found,) = figures_in(script, "a")[0][0]["data"]
    np.testing.assert_allclose(found["y"], line, rtol=tolerance)
    assert (found["x"], found["z"], found["text"]) == ([0.1, None], plane.tolist(), [None, 0.5])


def test_equal_parts_are_stored_once():
    plane = np.arange(1000.0).reshape(20, 50)

    def length(count):
        figures = [{"data": [{"z": plane.copy()}, {"x": [i]}], "layout": {}} for i in range(count)]
        return len(player_data("a", [control(count)], [(figure, "") for figure in figures], "f4"))

    assert length(20) - length(1) < 20 * 120 < plane.size * 4


def test_a_missing_figure_is_an_error_and_only_a_page_with_one_slider_can_be_played():
    with pytest.raises(ValueError, match=r"there are 1 figures; expected 2 × 3 = 6"):
        player_data("a", [control(2), control(3)], [({"data": [], "layout": {}}, "")], "f4")
    for count in range(3):
        assert player_html("a", [control(3)] * count, "", "", 300, zoom=True).count("<button") == (count == 1)
        assert "<button" not in player_html("a", [control(3)] * count, "", "", 300)


def test_a_choice_is_a_select_with_its_start_selected():
    control = PlayerControl("method <m>", ["full & batch", "1-SAM"], 1, named=True)
    page = Elements(player_html("some", [control], "what it shows", "", 300))
    (choice,) = (a for tag, a in page.found if tag == "select")
    assert json.loads(choice["data-stops"]) == ["full & batch", "1-SAM"]
    assert [("selected" in a) for tag, a in page.found if tag == "option"] == [False, True]
    assert {"method <m>", "full & batch"} <= {*page.texts}


class Elements(HTMLParser):
    """The elements of HTML with their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)
