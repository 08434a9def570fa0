"""A learner enters a prediction, in JupyterLab and in a page without a kernel, by pointer and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import samviz.figures
from samviz.figures.player import PlayerControl, player_data, player_html, player_js
from samviz.lab import Panel, PredictChoice, PredictCurve, PredictDirection, PredictNumber, PredictPlace, Slider

from .pages import offline

KINDS = {
    "place": PredictPlace(
        "Where does it end?", start=(0.5, 0.5), replies=[(0, 0, 0.2, "It does.")], otherwise="It moves on."
    ),
    "direction": PredictDirection(
        "Where does it point?", start=30, center=(0.5, 0.5), radius=0.4, replies=[(-20, 20, "Yes.")], otherwise="No."
    ),
    "arrow": PredictDirection(
        "Where does the arrow point?", start=30, center=(0.5, 0.5), radius=0.4, period=360, otherwise="No."
    ),
    "curve": PredictCurve(
        "How does it change?", x=(0, 0.5, 1), start=(0.5, 0.5, 0.5), replies=[(-1, 0.3, "Yes.")], otherwise="No."
    ),
    "number": PredictNumber("How many?", label="steps", low=0, high=9, replies=[(0, 5, "More.")], otherwise="Fewer."),
    "choice": PredictChoice("Which?", options={"a": "the first", "b": "the second"}, replies={"a": "No.", "b": "Yes."}),
}
CONTROLS = {"slope": Slider("slope", 1.0, stops=[0.5, 1.0], book=[0.5, 1.0])}
ANSWER = "The line ends at height"


def draw(values: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    axis = {"range": [-0.2, 1.2]}
    layout = {"height": 420, "showlegend": False, "xaxis": axis, "yaxis": axis}
    start = {"type": "scatter", "mode": "markers", "x": [0], "y": [0], "name": "start"}
    yield {"data": [start], "layout": layout}, "The mark is the start."
    line = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, values["slope"]], "name": "line"}
    yield {"data": [start, line], "layout": layout}, f"{ANSWER} {values['slope']:g}."


def panel_of(kind: str) -> Panel:
    return Panel(draw, CONTROLS, predict=KINDS[kind], description="A line")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a page for each kind of question, as the book has them."""
    import plotly

    path = tmp_path_factory.mktemp("player")
    plotly_js = Path(plotly.__file__).parent / "package_data/plotly.min.js"
    css = Path(samviz.figures.__file__).parent / "predict.css"
    (path / "player.js").write_text(player_js(), encoding="utf-8")
    for kind in KINDS:
        panel, drawings = panel_of(kind), []
        (spec,) = (each for each in panel.view.controls if each["name"] == "guess")
        for values in ({"slope": 0.5, "guess": "skipped"}, {"slope": 1.0, "guess": "skipped"}, {"guess": None}):
            panel.set(**values)
            drawings.append((panel.figure, panel.sentence))
        controls = [PlayerControl("slope", ["0.5", "1"], 1)]
        (path / f"{kind}.html").write_text(
            f'<!doctype html><html lang="en"><title>{kind}</title><style>{css.read_text(encoding="utf-8")}</style>'
            f"<body><main><h1>{kind}</h1>{player_html('page', controls, 'A line', '', 420)}</main>"
            f'<script src="{plotly_js.as_uri()}"></script>'
            f"<script>{player_data('page', controls, drawings, 'f8', spec)}</script>"
            '<script src="player.js"></script></body></html>',
            encoding="utf-8",
        )
    return path


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    with offline(browser) as page:
        yield page


def show(page: Any, folder: Path, kind: str) -> Any:
    """Open the page of a kind of question; return its player."""
    page.goto((folder / f"{kind}.html").as_uri())
    page.locator(".samviz-player[data-drawn]").wait_for()
    return page.locator(".samviz-player")


def traces(page: Any) -> dict[str, list[float]]:
    """The heights of the traces by name."""
    return page.evaluate(
        "Object.fromEntries(document.querySelector('.js-plotly-plot').data.map(t => [t.name, Array.from(t.y)]))"
    )


def test_a_click_sets_the_place(page: Any, folder: Path) -> None:
    player = show(page, folder, "place")
    box = page.locator(".nsewdrag").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 7, box["y"] + box["height"] * 6 / 7)
    fields = [float(field.input_value()) for field in player.get_by_role("spinbutton").all()]
    assert fields == pytest.approx([0, 0], abs=0.01)
