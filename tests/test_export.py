"""Figures and runs as files: what is in them, that they come whole or not at all, and what is said when they cannot."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
from torch import Tensor

from samviz.figures import save
from samviz.figures.page import coded
from samviz.figures.replay import replay
from samviz.lab import Lab, Panel
from samviz.problems import mlp, valley

LINE = {"data": [{"type": "scatter", "y": np.array([0.1, 0.7, 0.2, 1e-300])}], "layout": {"height": 300}}
PLANE = {"data": [{"type": "contour", "z": np.arange(12.0).reshape(3, 4)}], "layout": {}}


def told(page: str, call: str) -> list[Any]:
    """The arguments that a page hands to a function of plotly.js, after the graph's id."""
    start = page.rindex(f"Plotly.{call}(")  # the page's own, after the library
    rest, arguments = page[page.index(",", start) + 1 :].lstrip(), []
    while rest[0] in "[{":
        argument, end = json.JSONDecoder().raw_decode(rest)
        arguments.append(argument)
        rest = rest[end:].lstrip().lstrip(",").lstrip()
    return arguments


def numbers(value: Any) -> np.ndarray:
    """An array as plotly.js would decode it."""
    if isinstance(value, list):
        return np.array(value, float)
    flat = np.frombuffer(base64.b64decode(value["bdata"]), "<" + value["dtype"])
    return flat.reshape([int(n) for n in value["shape"].split(",")]) if "shape" in value else flat


def shown(state: Any, change: Any) -> Any:
    """A tree after a frame, as plotly merges it: dicts by key, annotations and shapes by place, the rest replaced."""
    if isinstance(change, dict) and isinstance(state, dict | None):
        state = state or {}
        return state | {
            key: [shown(a, b) for a, b in zip(state[key], value, strict=True)]
            if key in ("annotations", "shapes")
            else shown(state.get(key), value)
            for key, value in change.items()
        }
    return change


def after(figure: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """A figure after a frame."""
    data = list(figure["data"])
    for i, part in zip(frame["traces"], frame["data"], strict=True):
        data[i] = shown(data[i], part)
    return figure | {"data": data, "layout": shown(figure["layout"], frame["layout"])}


def bare(tree: Any) -> Any:
    """A tree as plain JSON without what is unset or unseen."""
    if isinstance(tree, np.ndarray | Tensor):
        return tree.tolist()
    if isinstance(tree, dict):
        kept = {key: bare(value) for key, value in tree.items() if key != "visible" or value is False}
        return {
            key: value
            for key, value in kept.items()
            if value is not None and not (isinstance(value, dict | list) and not value)
        }
    if isinstance(tree, list | tuple):
        return [bare(item) for item in tree if not (isinstance(item, dict) and item.get("visible") is False)]
    return tree


class Holder:
    """What has a figure, as a lab or a panel has."""

    figure = LINE


@pytest.mark.parametrize(
    "figure",
    [
        LINE,
        go.Figure(LINE),
        go.FigureWidget(LINE),
        Holder(),
        Panel(lambda values: (LINE, "a line"), {}, description="a line"),
    ],
    ids=lambda figure: type(figure).__name__,
)
def test_whatever_is_a_figure_becomes_a_page_with_its_numbers_to_the_last_bit(figure: Any, tmp_path: Path) -> None:
    page = save(figure, tmp_path / "line.html").read_text(encoding="utf-8")
    data, layout, *_ = told(page, "newPlot")
    np.testing.assert_array_equal(numbers(data[0]["y"]), LINE["data"][0]["y"])
    assert layout["height"] == 300
    assert "<title>line</title>" in page
    assert "<button" not in page
    assert [path.name for path in tmp_path.iterdir()] == ["line.html"]


def test_a_plane_keeps_its_shape() -> None:
    z = coded(PLANE)["data"][0]["z"]
    np.testing.assert_array_equal(numbers(z), PLANE["data"][0]["z"])


def test_a_title_cannot_break_its_page(tmp_path: Path) -> None:
    page = save(LINE, tmp_path / "a<b>&{c}.html").read_text(encoding="utf-8")
    assert "<title>a&lt;b&gt;&amp;{c}</title>" in page


@pytest.mark.slow
def test_images_are_drawn_in_the_figures_own_size(tmp_path: Path) -> None:
    """Slow: kaleido starts a browser for each picture."""
    try:
        drawn = save(LINE, tmp_path / "line.png")
    except RuntimeError as error:
        if os.environ.get("SAMVIZ_REQUIRE_BROWSER") == "1":
            raise
        pytest.skip(str(error))
    image = pytest.importorskip("PIL.Image").open(drawn)
    assert image.size == (2 * 1100, 2 * 300)
    assert len(image.convert("RGB").getcolors(1 << 16)) > 2  # a line on a ground, not an empty sheet
    assert save(LINE, tmp_path / "line.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize("name", ["line.pdf", "line", ".html", "there.html"])
def test_a_path_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "there.html").mkdir()
    with pytest.raises(ValueError, match=r"expected a file that ends in \.html or \.png or \.svg"):
        save(LINE, tmp_path / name)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere'; make it first"):
        save(LINE, tmp_path / "nowhere" / "line.html")


@pytest.mark.parametrize("figure", [None, "line", {"layout": {}}, 3])
def test_what_is_no_figure_is_refused(figure: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"figure is a {type(figure).__name__}; expected plotly JSON"):
        save(figure, tmp_path / "line.html")


@pytest.mark.parametrize(
    "error", [RuntimeError("Kaleido requires Google Chrome"), ImportError("kaleido"), ValueError()]
)
def test_without_kaleido_or_chrome_the_remedy_is_told(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> bytes:
        raise error

    monkeypatch.setattr(plotly.io, "to_image", missing)
    with pytest.raises(RuntimeError, match=r"no SVG could be drawn .*pip install kaleido.*install Chrome or Chromium"):
        save(LINE, tmp_path / "line.svg")
    assert list(tmp_path.iterdir()) == []


def picture(**more: Any) -> dict[str, Any]:
    """A picture of a dot, with more in its trace, and annotations and a range in its layout."""
    layout = {name: more.pop(name) for name in ("annotations", "shapes", "xaxis") if name in more}
    return {
        "data": [{"type": "scatter", "name": "still", "y": [1]}, {"type": "scatter", "name": "dot", **more}],
        "layout": layout,
    }


PICTURES = [
    picture(y=np.arange(5.0), annotations=[{"text": "a", "x": 1}]),
    picture(y=np.arange(6.0), line={"color": "red", "width": 2}, xaxis={"range": [0, 2]}),
    picture(y=np.arange(2.0), annotations=[{"text": "b"}, {"text": "c"}], shapes=[{"x0": 1}], text=["two"]),
    picture(y=np.arange(6.0), line={"color": "blue"}, annotations=[{"text": "a", "x": 1}], xaxis={"type": "log"}),
]


def test_a_frame_shows_its_picture_wherever_one_jumps_from() -> None:
    figure = replay(PICTURES, list("abcd"))
    assert bare(figure["data"]) == bare(PICTURES[-1]["data"])
    jumps = [(a, b) for a in range(4) for b in range(4)]
    for jump in (i for pair in jumps for i in pair):
        figure = after(figure, figure["frames"][jump])
        assert bare({key: figure[key] for key in ("data", "layout")}) == bare(PICTURES[jump])


def test_a_frame_holds_only_what_moves() -> None:
    frames = replay(PICTURES, list("abcd"))["frames"]
    assert [frame["traces"] for frame in frames] == [[1]] * 4
    still = replay([PICTURES[0]] * 2, ["one", "two"])["frames"]
    assert [(frame["data"], frame["layout"]) for frame in still] == [([], {})] * 2


def test_a_figure_that_plays_gets_controls_unless_it_has_its_own(tmp_path: Path) -> None:
    figure = replay(PICTURES, ["</script>", "b", "c", "d"])
    page = save(go.Figure(figure), tmp_path / "plays.html").read_text(encoding="utf-8")
    assert page.count("<button") == page.count('type="range" max="3"') == 1
    assert 'names = ["\\u003c/script>", "b", "c", "d"];' in page
    own = go.Figure(figure).update_layout(sliders=[{"steps": [{"method": "animate", "args": [["b"]]}]}])
    assert "<button" not in save(own, tmp_path / "own.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("pictures", "labels", "message"),
    [
        ([], [], "there are 0 pictures and 0 different labels"),
        (PICTURES[:2], ["a", "a"], "there are 2 pictures and 1 different labels"),
        (PICTURES[:2], ["a"], "there are 2 pictures and 1 different labels"),
        ([LINE, PLANE], ["a", "b"], "the traces at 'b' are .*contour.*leave a trace empty rather than out"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(pictures: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replay(pictures, labels)


def steered(lab: Lab) -> Lab:
    """A lab whose ρ, batch size and rule were changed on the way."""
    for steps, changes in ((30, {"rho": 0.02}), (40, {"batch_size": 1}), (35, {"rule": "usam", "batch_size": None})):
        lab.run(steps).session.run.set(**changes)
    return lab.run(45)


@pytest.mark.parametrize("problem", [valley(), mlp([1, 6, 1], data="sine")], ids=["valley", "network"])
def test_an_exported_run_replays_the_labs_own_numbers(problem: Any, tmp_path: Path) -> None:
    lab = steered(Lab(problem, lr=0.01, device="cpu", steps_per_frame=5))
    page = lab.export(tmp_path / "run.html", frames=31).read_text(encoding="utf-8")
    frames = told(page, "addFrames")[0]
    assert [frame["name"] for frame in frames] == [f"step {step}" for step in range(0, 151, 5)]
    figure = dict(zip(("data", "layout"), told(page, "newPlot")))
    for jump in (30, 0, 17, 4, 30):  # there and back
        figure = after(figure, frames[jump])
        curves = {t.get("name"): t for t in figure["data"] if t["type"] == "scatter"}
        for name, own in (("loss", lab.history["loss"]), ("λ₁", lab.history["eigenvalues"][:, 0])):
            np.testing.assert_array_equal(numbers(curves[name]["x"]), lab.history["step"][: jump + 1])
            np.testing.assert_allclose(numbers(curves[name]["y"]), own[: jump + 1], rtol=1e-13)
    assert "it ended at the same iterate, bit for bit" in page
    for cells in (
        "<td>30<td>SAM<td>0.01<td>0.02<td>",
        "<td>70<td>SAM<td>0.01<td>0.02<td>1<",
        "<td>105<td>unnormalized SAM<td>0.01",
    ):
        assert cells in page


def test_an_export_leaves_the_run_as_it_is(tmp_path: Path) -> None:
    lab = Lab(valley(), rho=0.01, device="cpu").run(20)
    before = json.dumps(bare(lab.session.run.state_dict()), default=float)
    lab.export(tmp_path / "run.html", frames=3)
    assert json.dumps(bare(lab.session.run.state_dict()), default=float) == before


def test_a_page_says_that_its_run_diverged(tmp_path: Path) -> None:
    lab = Lab(valley(), device="cpu").run(10)
    lab.session.run.settings = replace(lab.session.run.settings, lr=5.0)
    page = lab.run(200).export(tmp_path / "run.html").read_text(encoding="utf-8")
    assert lab.session.stopped
    assert escape(lab.session.stopped) in page


@pytest.mark.parametrize(
    ("steps", "frames", "path", "error", "message"),
    [
        (0, 9, "run.html", ValueError, "the run has 0 steps; expected 1 or more"),
        (5, 1, "run.html", ValueError, "frames is 1; expected 2 or more"),
        (5, 9, "run.png", ValueError, r"expected a file that ends in \.html"),
        (5, 9, "nowhere/run.html", FileNotFoundError, "there is no folder"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    steps: int, frames: Any, path: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        Lab(valley(), device="cpu").run(steps).export(tmp_path / path, frames)
    assert list(tmp_path.iterdir()) == []
