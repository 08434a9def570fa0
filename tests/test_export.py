"""Figures and runs as files: their content, that they are written atomically, and the errors if they cannot be."""

import json
import os
import re
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
from test_player import Elements, figures_in

import samviz
from samviz.figures import save
from samviz.figures.export import page
from samviz.figures.style import DARK
from samviz.lab import Lab, Panel
from samviz.problems import mlp, valley

LINE = {"data": [{"type": "scatter", "y": np.array([0.1, 0.7, 0.2, 1e-300])}], "layout": {"height": 300}}
PACKAGE = Path(samviz.__file__).parent


class WithFigure:
    """An object with a figure, like a lab or a panel."""

    figure = LINE


@pytest.mark.parametrize(
    "figure",
    [
        LINE,
        go.Figure(LINE),
        go.FigureWidget(LINE),
        WithFigure(),
        Panel(lambda values: (LINE, "a line"), {}, description="a line"),
    ],
    ids=lambda figure: type(figure).__name__,
)
def test_every_kind_of_figure_becomes_a_page_with_bit_for_bit_identical_numbers(figure, tmp_path):
    text = save(figure, tmp_path / "line.html").read_text(encoding="utf-8")
    (found,), _ = figures_in(text)
    assert found["data"][0]["y"] == LINE["data"][0]["y"].tolist()
    assert found["layout"]["height"] == 300
    assert "<title>line</title>" in text
    assert "<button" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["line.html"]


def own(text):
    """Return a page without plotly.js."""
    return "\n".join(part for part in re.split(r"(?=<script)|(?<=</script>)", text) if len(part) < 1_000_000)


def test_a_page_escapes_its_title_follows_the_color_scheme_and_uploads_nothing():
    title = 'L < 1 & "ρ" {c} <script>alert(1)</script>'
    text = own(page(title, [(LINE, "")]))
    assert Elements(text).texts.count(title) == 1
    assert [a["aria-label"] for _, a in Elements(text).found if a.get("role") == "group"] == [title]
    assert text.count("function recolour(") == 1
    assert all(dark in text for dark in DARK.values())
    assert "displaylogo: false, showSendToCloud: false" in text


@pytest.mark.slow
def test_pictures_have_the_size_of_the_figure(tmp_path):
    """Slow: kaleido starts a browser for each picture."""
    try:
        file = save(LINE, tmp_path / "line.png")
    except RuntimeError as error:
        if os.environ.get("SAMVIZ_REQUIRE_BROWSER") == "1":
            raise
        pytest.skip(str(error))
    picture = pytest.importorskip("PIL.Image").open(file)
    assert picture.size == (2 * 1100, 2 * 300)
    assert len(picture.convert("RGB").getcolors(1 << 16)) > 2  # a line on a ground, not an empty sheet
    assert save(LINE, tmp_path / "line.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    "error", [RuntimeError("Kaleido requires Google Chrome"), ImportError("kaleido"), ValueError()]
)
def test_without_kaleido_or_chrome_the_error_contains_the_remedy(error, tmp_path, monkeypatch):
    def missing(*_, **__):
        raise error

    monkeypatch.setattr(plotly.io, "to_image", missing)
    with pytest.raises(RuntimeError, match=r"no SVG could be drawn .*pip install kaleido.*install Chrome or Chromium"):
        save(LINE, tmp_path / "line.svg")
    assert list(tmp_path.iterdir()) == []


FRAMES = go.Figure(
    data=[{"y": [1]}, {"y": [0], "line": {"color": "red", "width": 2}}],
    layout={"xaxis": {"range": [0, 2], "title": {"text": "x"}}},
    frames=[
        {"name": "</script>", "data": [{"y": [2]}], "traces": [1]},
        {"name": "b", "data": [{"line": {"color": "blue"}}], "traces": [1], "layout": {"xaxis": {"range": [0, 9]}}},
        {"name": "c", "data": [{"y": [3]}, {"y": [4]}]},
    ],
)


def test_named_plotly_frames_get_a_slider_unless_the_figure_has_controls(tmp_path):
    text = save(FRAMES, tmp_path / "plays.html").read_text(encoding="utf-8")
    figures, _ = figures_in(text)
    shown = [(*(t["y"] for t in f["data"]), f["data"][1]["line"], f["layout"]["xaxis"]["range"]) for f in figures]
    red, blue = ({"color": color, "width": 2} for color in ("red", "blue"))
    assert shown == [([1], [2], red, [0, 2]), ([1], [2], blue, [0, 9]), ([3], [4], blue, [0, 9])]
    assert {figure["layout"]["xaxis"]["title"]["text"] for figure in figures} == {"x"}
    (slider,) = (a for tag, a in Elements(own(text)).found if tag == "input")
    assert (slider["aria-label"], slider["max"], slider["value"]) == ("picture", "2", "2")
    assert json.loads(slider["data-stops"]) == ["</script>", "b", "c"]
    with_controls = go.Figure(FRAMES).update_layout(sliders=[{"steps": [{"method": "animate", "args": [["b"]]}]}])
    text = save(with_controls, tmp_path / "own.html").read_text(encoding="utf-8")
    assert "<button" not in text
    assert [frame["name"] for frame in figures_in(text)[0][0]["frames"]] == ["</script>", "b", "c"]


def steered(lab):
    """Run a lab while ρ, the batch size and the rule change."""
    for steps, changes in ((30, {"rho": 0.02}), (40, {"batch_size": 1}), (35, {"rule": "usam", "batch_size": None})):
        lab.run(steps).session.run.set(**changes)
    return lab.run(45)


@pytest.mark.parametrize("problem", [valley(), mlp([1, 6, 1], data="sine")], ids=["valley", "network"])
def test_an_exported_run_has_the_numbers_of_the_lab_and_leaves_it_unchanged(problem, tmp_path):
    lab = steered(Lab(problem, lr=0.01, device="cpu", steps_per_frame=5))
    before = repr(lab.session.run.state_dict())
    text = lab.export(tmp_path / "run.html", frames=31).read_text(encoding="utf-8")
    assert repr(lab.session.run.state_dict()) == before
    figures, sentences = figures_in(text)
    (slider,) = (a for tag, a in Elements(own(text)).found if tag == "input")
    assert json.loads(slider["data-stops"]) == [f"step {step}" for step in range(0, 151, 5)]
    assert [sentence.split(".")[0] for sentence in sentences] == [f"Step {step}" for step in range(0, 151, 5)]
    for row, figure in enumerate(figures):
        curves = {t.get("name"): t for t in figure["data"] if t["type"] == "scatter"}
        for name, own_values in (("loss", lab.history["loss"]), ("λ₁", lab.history["eigenvalues"][:, 0])):
            np.testing.assert_array_equal(curves[name]["x"], lab.history["step"][: row + 1])
            np.testing.assert_allclose(curves[name]["y"], own_values[: row + 1], rtol=1e-13)
    assert "it ended at the same iterate, bit for bit" in text
    for cells in (
        "<td>30<td>SAM<td>0.01<td>0.02<td>",
        "<td>70<td>SAM<td>0.01<td>0.02<td>1<",
        "<td>105<td>unnormalized SAM<td>0.01",
    ):
        assert cells in text


def test_the_page_of_a_run_that_diverged_reports_it(tmp_path):
    lab = Lab(valley(), device="cpu")
    with pytest.raises(ValueError, match="the run has 0 steps; expected 1 or more"):
        lab.export(tmp_path / "run.html")
    lab.run(10)
    lab.session.run.settings = replace(lab.session.run.settings, lr=5.0)
    text = lab.run(200).export(tmp_path / "run.html").read_text(encoding="utf-8")
    assert lab.session.stopped
    assert escape(lab.session.stopped) in text


def test_the_files_of_the_package_contact_no_host():
    """Scripts are imported from a blob only; the hosts that are named are sources of data, licences and papers."""
    sources = {"data.py": {"doi.org", "creativecommons.org"}, "literature.py": {"arxiv.org"}}
    for path in (path for suffix in ("py", "js", "css", "json", "ipynb") for path in PACKAGE.rglob(f"*.{suffix}")):
        text = path.read_text(encoding="utf-8")
        hosts = set(re.findall(r"(?:https?|wss?):\\?/\\?/([\w.-]+)", text)) - {"127.0.0.1", "localhost"}
        assert hosts <= sources.get(path.name, set()), path
        requests = re.search(r"\bfetch\(|XMLHttpRequest|sendBeacon|new WebSocket|EventSource|@import|url\(.?http", text)
        assert path.suffix not in (".js", ".css") or not requests, path
